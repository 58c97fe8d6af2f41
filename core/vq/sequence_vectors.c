#include "core/vq/sequence_vectors.h"

#include <stdlib.h>
#include <string.h>

#include "core/exec/element.h"
#include "core/exec/exec_op.h"
#include "core/vq/sequence_internal.h"

/* The buffer's values as float32: its own, or a copy that is left in *made. NULL: no memory. */
static const float *as_floats(const vqc_buffer *buffer, float **made)
{
    vqc_chunk chunk;

    if (buffer->dtype == VQC_DTYPE_FLOAT && (uintptr_t)buffer->data % sizeof(float) == 0) {
        return (const float *)(const void *)buffer->data;
    }
    *made = malloc((buffer->elements + 1) * sizeof **made);
    for (size_t i = 0; *made != NULL && i < buffer->elements; i += VQC_EXEC_CHUNK) {
        size_t left = buffer->elements - i;
        size_t n = left < VQC_EXEC_CHUNK ? left : (size_t)VQC_EXEC_CHUNK;
        vqc_element_load(buffer->dtype, buffer->data + i * buffer->width, n, &chunk);
        vqc_element_convert(&chunk, vqc_class_of(buffer->dtype), VQC_CLASS_F32, n);
        memcpy(*made + i, chunk.f32, n * sizeof **made);
    }
    return *made;
}

static vqc_status find_patches(const vqc_layer *layer, const vqc_buffer *x, vqc_vectors *out,
                               vqc_error *error)
{
    vqc_buffer w = {.dtype = layer->dtype, .rank = layer->rank, .elements = layer->elements};
    vqc_exec_call *call = calloc(1, sizeof *call);
    vqc_status status;

    if (call == NULL) {
        return vqc_fail_memory(error, sizeof *call);
    }
    memcpy(w.dims, layer->dims, layer->rank * sizeof *layer->dims);
    call->node = layer->node;
    call->op = "Conv";
    call->error = error;
    status = vqc_conv_geometry(call, x, &w, &out->conv, &call->types[0]);
    free(call);
    if (status == VQC_OK) {
        out->is_conv = true;
        out->groups = out->conv.group;
        out->cols = out->conv.c * out->conv.taps;
        out->count = out->conv.n * out->conv.out_size;
    }
    return status;
}

static vqc_status find_rows(const vqc_layer *layer, const vqc_buffer *x, vqc_vectors *out,
                            vqc_error *error)
{
    size_t cols = (size_t)layer->dims[layer->reduction_axis];
    bool transposed = vqc_node_is(layer->node, "Gemm") &&
                      vqc_node_attr_int(layer->node, "transA", 0) != 0 && x->rank == 2;
    int64_t got = x->rank == 0 ? 1 : transposed ? x->dims[0] : x->dims[x->rank - 1];

    if (got != (int64_t)cols || cols == 0) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "node \"%.200s\" (%.60s): got an input of %lld columns, expected %zu",
                        layer->node_name != NULL ? layer->node_name : "", layer->node->op_type,
                        (long long)got, cols);
    }
    out->groups = 1;
    out->cols = cols;
    out->count = x->elements / cols;
    out->row_stride = transposed ? 1 : cols;
    out->col_stride = transposed ? out->count : 1;
    return VQC_OK;
}

vqc_status vqc_vectors_find(const vqc_layer *layer, const vqc_buffer *x, const vqc_buffer *y,
                            vqc_vectors *out, vqc_error *error)
{
    vqc_status status;

    memset(out, 0, sizeof *out);
    if (vqc_class_of(x->dtype) == VQC_CLASS_NONE || y->dtype != x->dtype || y->rank != x->rank ||
        memcmp(y->dims, x->dims, x->rank * sizeof *x->dims) != 0 || x->elements == 0) {
        return VQC_OK;
    }
    status = vqc_node_is(layer->node, "Conv") ? find_patches(layer, x, out, error)
                                              : find_rows(layer, x, out, error);
    if (status != VQC_OK) {
        return status;
    }
    out->x = as_floats(x, &out->made_x);
    out->y = y == x ? out->x : as_floats(y, &out->made_y);
    return out->x == NULL || out->y == NULL
               ? vqc_fail_memory(error, x->elements * sizeof *out->made_x)
               : VQC_OK;
}

void vqc_vectors_clear(vqc_vectors *vectors)
{
    free(vectors->made_x);
    free(vectors->made_y);
    memset(vectors, 0, sizeof *vectors);
}

/* One row of kernel positions, `n` of them along the last axis from coordinate `at` on. */
static void copy_taps(const vqc_conv *c, const float *line, int64_t at, size_t n, float *to)
{
    for (size_t k = 0; k < n; k++) {
        int64_t x = at + (int64_t)(k * c->dilation[2]);
        to[k] = x >= 0 && x < (int64_t)c->in[2] ? line[x] : 0.0f;
    }
}

/* The patch of one channel [in] whose first tap lies at `at`. */
static void copy_patch(const vqc_conv *c, const float *channel, const int64_t *at, float *to)
{
    size_t width = c->kernel[2];

    for (size_t kd = 0; kd < c->kernel[0]; kd++) {
        int64_t z = at[0] + (int64_t)(kd * c->dilation[0]);
        for (size_t kh = 0; kh < c->kernel[1]; kh++, to += width) {
            int64_t y = at[1] + (int64_t)(kh * c->dilation[1]);
            if (z < 0 || z >= (int64_t)c->in[0] || y < 0 || y >= (int64_t)c->in[1]) {
                memset(to, 0, width * sizeof *to);
            } else {
                copy_taps(c, channel + ((size_t)z * c->in[1] + (size_t)y) * c->in[2], at[2], width,
                          to);
            }
        }
    }
}

static bool is_inside(const vqc_conv *c, const int64_t *at)
{
    for (size_t a = 0; a < VQC_CONV_AXES; a++) {
        if (at[a] < 0 || at[a] >= (int64_t)c->in[a]) {
            return false;
        }
    }
    return true;
}

void vqc_vectors_copy(const vqc_vectors *vectors, const float *data, size_t index, float *to,
                      size_t group_stride)
{
    const vqc_conv *c = &vectors->conv;
    size_t place;
    int64_t at[VQC_CONV_AXES];

    if (!vectors->is_conv) {
        const float *row = data + index * vectors->row_stride;
        for (size_t j = 0; j < vectors->cols; j++) {
            to[j] = row[j * vectors->col_stride];
        }
        return;
    }
    place = index % c->out_size;
    for (size_t a = VQC_CONV_AXES; a-- > 0;) {
        at[a] = (int64_t)(place % c->out[a] * c->stride[a]) - c->pad[a];
        place /= c->out[a];
    }
    data += index / c->out_size * c->group * c->c * c->in_size;
    for (size_t g = 0; c->taps == 1 && is_inside(c, at) && g < c->group; g++) {
        const float *first = data + g * c->c * c->in_size +
                             ((size_t)at[0] * c->in[1] + (size_t)at[1]) * c->in[2] + (size_t)at[2];
        for (size_t i = 0; i < c->c; i++) {
            to[g * group_stride + i] = first[i * c->in_size];
        }
    }
    if (c->taps == 1 && is_inside(c, at)) {
        return;
    }
    for (size_t g = 0; g < c->group; g++) {
        for (size_t i = 0; i < c->c; i++) {
            copy_patch(c, data + (g * c->c + i) * c->in_size, at,
                       to + g * group_stride + i * c->taps);
        }
    }
}

/* ---- layers that see the same ---- */

static bool same_list(const Onnx__AttributeProto *a, const Onnx__AttributeProto *b)
{
    if (a == NULL || b == NULL) {
        return a == b;
    }
    return a->n_ints == b->n_ints && a->s.len == b->s.len && a->i == b->i &&
           (a->n_ints == 0 || memcmp(a->ints, b->ints, a->n_ints * sizeof *a->ints) == 0) &&
           (a->s.len == 0 || memcmp(a->s.data, b->s.data, a->s.len) == 0);
}

bool vqc_sequence_same_vectors(const vqc_layer *a, const vqc_layer *b)
{
    static const char *const names[] = {"auto_pad", "dilations", "group", "pads", "strides"};

    if (vqc_node_is(a->node, "Conv") != vqc_node_is(b->node, "Conv")) {
        return false;
    }
    if (!vqc_node_is(a->node, "Conv")) {
        return vqc_node_attr_int(a->node, "transA", 0) == vqc_node_attr_int(b->node, "transA", 0);
    }
    if (a->rank != b->rank ||
        memcmp(a->dims + 1, b->dims + 1, (a->rank - 1) * sizeof *a->dims) != 0) {
        return false;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!same_list(vqc_node_attr(a->node, names[i]), vqc_node_attr(b->node, names[i]))) {
            return false;
        }
    }
    return true;
}
