/* Samples of random numbers: only for speed, memory and smoke tests, hence callers warn. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/exec/element.h"
#include "formats/samples_source.h"

enum { DEFAULT_COUNT = 16 };

/* Most bytes of one synthetic input: a free dimension set to a huge value is a mistake. */
#define MAX_INPUT_BYTES ((size_t)1 << 32)

typedef struct synthetic {
    uint64_t seed;
    int64_t dims[][VQC_EXEC_MAX_RANK]; /* [port_count] */
} synthetic;

/* SplitMix64: any seed is a good one. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = vqc_samples_draw(*state);

    *state += VQC_SAMPLES_DRAW_STEP;
    return z;
}

/* Two standard normal numbers (Box and Muller 1958). */
static void next_normals(uint64_t *state, double out[2])
{
    double u = ((double)(next_random(state) >> 11) + 1.0) * 0x1p-53; /* (0, 1] */
    double v = (double)(next_random(state) >> 11) * 0x1p-53;
    double radius = sqrt(-2.0 * log(u));
    double angle = 2.0 * 3.14159265358979323846 * v;

    out[0] = radius * cos(angle);
    out[1] = radius * sin(angle);
}

static void fill_chunk(uint64_t *state, int32_t dtype, vqc_class class, size_t n, vqc_chunk *chunk)
{
    for (size_t i = 0; i < n; i++) {
        double normals[2] = {0.0, 0.0};
        if (class == VQC_CLASS_F32 || class == VQC_CLASS_F64) {
            next_normals(state, normals);
        }
        switch (class) {
        case VQC_CLASS_F32:
            chunk->f32[i] = (float)normals[0];
            break;
        case VQC_CLASS_F64:
            chunk->f64[i] = normals[0];
            break;
        default:
            chunk->u64[i] = next_random(state) >> (dtype == VQC_DTYPE_UINT8 ? 56 : 63);
            break;
        }
    }
}

static vqc_status fill_synthetic(vqc_samples_source *self, size_t index, vqc_samples_slot *slot,
                                 vqc_error *error)
{
    const synthetic *detail = self->detail;

    for (size_t i = 0; i < self->port_count; i++) {
        const vqc_program_port *port = &self->ports[i];
        uint64_t state = detail->seed;
        vqc_class class = vqc_class_of(port->dtype);
        vqc_buffer *buffer;
        vqc_chunk chunk;
        if (port->has_default) {
            continue;
        }
        /* a stream of its own for every sample and input */
        state = next_random(&state) ^ (uint64_t)index * 0xd1342543de82ef95u;
        state = next_random(&state) ^ (uint64_t)i * 0xaf251af3b0f025b5u;
        buffer = vqc_buffer_create(port->dtype, detail->dims[i], (size_t)port->rank);
        if (buffer == NULL) {
            return vqc_fail_memory(error, MAX_INPUT_BYTES);
        }
        slot->inputs[i] = buffer;
        for (size_t at = 0; at < buffer->elements; at += VQC_EXEC_CHUNK) {
            size_t left = buffer->elements - at;
            size_t n = left < VQC_EXEC_CHUNK ? left : VQC_EXEC_CHUNK;
            fill_chunk(&state, port->dtype, class, n, &chunk);
            vqc_element_store(port->dtype, class, &chunk, n, NULL,
                              buffer->data + at * buffer->width);
        }
    }
    return VQC_OK;
}

/* The value of free dimension d of a port. */
static int64_t choose_dim(const vqc_program_port *port, int d, const vqc_samples_request *request)
{
    for (size_t k = 0; k < request->dim_count && port->dim_names[d] != NULL; k++) {
        if (strcmp(request->dims[k].name, port->dim_names[d]) == 0) {
            return request->dims[k].value;
        }
    }
    return 1;
}

static bool is_dim_name(const vqc_samples_source *self, const char *name)
{
    for (size_t i = 0; i < self->port_count; i++) {
        for (int d = 0; d < self->ports[i].rank; d++) {
            if (self->ports[i].dims[d] < 0 && self->ports[i].dim_names[d] != NULL &&
                strcmp(self->ports[i].dim_names[d], name) == 0) {
                return true;
            }
        }
    }
    return false;
}

vqc_status vqc_samples_open_synthetic(vqc_samples_source *self, const vqc_samples_request *request,
                                      vqc_samples_problems *problems, vqc_error *error)
{
    synthetic *detail = calloc(1, sizeof *detail + (self->port_count + 1) * sizeof detail->dims[0]);

    if (detail == NULL) {
        return vqc_fail_memory(error, sizeof *detail);
    }
    self->detail = detail;
    self->close = free;
    self->fill = fill_synthetic;
    self->samples.is_synthetic = self->samples.is_finite = true;
    detail->seed = request->seed;
    for (size_t i = 0; i < self->port_count; i++) {
        const vqc_program_port *port = &self->ports[i];
        size_t elements = 0;
        size_t size_bytes = 0;
        if (port->has_default) {
            continue;
        }
        if (port->rank < 0 || vqc_class_of(port->dtype) == VQC_CLASS_NONE) {
            vqc_samples_problem(problems, VQC_ERR_MODEL,
                                "synthetic samples: input \"%.100s\": the model must say its "
                                "numeric type and its rank",
                                port->name);
            continue;
        }
        for (int d = 0; d < port->rank; d++) {
            detail->dims[i][d] = port->dims[d] >= 0 ? port->dims[d] : choose_dim(port, d, request);
        }
        if (!vqc_exec_sizes(detail->dims[i], (size_t)port->rank, vqc_exec_width(port->dtype),
                            &elements, &size_bytes) ||
            size_bytes > MAX_INPUT_BYTES) {
            vqc_samples_problem(problems, VQC_ERR_MODEL,
                                "synthetic samples: input \"%.100s\" would take more than 4 GiB",
                                port->name);
        }
    }
    for (size_t k = 0; k < request->dim_count; k++) {
        if (!is_dim_name(self, request->dims[k].name)) {
            vqc_samples_problem(
                problems, VQC_ERR_USAGE,
                "synthetic samples: no input has a free dimension called \"%.100s\"",
                request->dims[k].name);
        }
    }
    vqc_samples_source_set_count(
        self, request->synthetic_count > 0 ? request->synthetic_count : DEFAULT_COUNT,
        request->max_samples);
    return VQC_OK;
}
