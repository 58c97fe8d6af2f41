#include "formats/samples_source.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/exec/element.h"

/* ---- problems ---- */

void vqc_samples_problem(vqc_samples_problems *problems, vqc_status code, const char *format, ...)
{
    vqc_error line = {code, ""};
    va_list args;

    va_start(args, format);
    (void)vsnprintf(line.message, sizeof line.message, format, args);
    va_end(args);
    for (char *p = line.message; *p != '\0'; p++) {
        if ((unsigned char)*p < ' ' || *p == 0x7f) {
            *p = '?'; /* names come from files */
        }
    }
    vqc_samples_problem_error(problems, &line);
}

void vqc_samples_problem_error(vqc_samples_problems *problems, const vqc_error *error)
{
    if (problems->count == 0) {
        problems->status = error->code;
        if (problems->error != NULL) {
            *problems->error = *error;
        }
    }
    problems->count++;
    if (problems->list == NULL || problems->count > VQC_SAMPLES_MAX_PROBLEMS + 1) {
        return;
    }
    if (problems->count > VQC_SAMPLES_MAX_PROBLEMS) {
        (void)vqc_messages_add(problems->list, "there are more problems; these are the first %d",
                               (int)VQC_SAMPLES_MAX_PROBLEMS);
    } else {
        (void)vqc_messages_add(problems->list, "%s", error->message);
    }
}

/* ---- the source ---- */

static void empty_slot(const vqc_samples_source *self, vqc_samples_slot *slot)
{
    for (size_t i = 0; slot->inputs != NULL && i < self->port_count; i++) {
        vqc_buffer_destroy(&slot->inputs[i]);
    }
    vqc_buffer_destroy(&slot->target);
    free(slot->labels);
    slot->labels = NULL;
    slot->label_count = 0;
}

static vqc_status source_read(vqc_samples *samples, size_t index, size_t slot_index,
                              vqc_sample *out, vqc_error *error)
{
    vqc_samples_source *self = samples->state;
    vqc_samples_slot *slot;
    size_t from;
    vqc_status status;

    if (index >= samples->count || slot_index >= VQC_SAMPLES_MAX_SLOTS) {
        return vqc_fail(error, VQC_ERR_INTERNAL, "%s: sample %zu of %zu, slot %zu", self->path,
                        index, samples->count, slot_index);
    }
    slot = &self->slots[slot_index];
    if (slot->inputs == NULL) {
        slot->inputs = calloc(self->port_count + 1, sizeof(vqc_buffer *));
        if (slot->inputs == NULL) {
            return vqc_fail_memory(error, (self->port_count + 1) * sizeof(vqc_buffer *));
        }
    }
    empty_slot(self, slot);
    /* evenly spread: floor(index * total / count) without overflow */
    from = index * (self->total / samples->count) +
           index * (self->total % samples->count) / samples->count;
    status = self->fill(self, from, slot, error);
    if (status != VQC_OK) {
        empty_slot(self, slot);
        return status;
    }
    *out = (vqc_sample){
        .index = index,
        .inputs = (const vqc_buffer *const *)slot->inputs,
        .labels = slot->labels,
        .label_count = slot->label_count,
        .target = slot->target,
    };
    return VQC_OK;
}

static void source_release(vqc_samples *samples, size_t slot)
{
    vqc_samples_source *self = samples->state;

    empty_slot(self, &self->slots[slot]);
}

static void source_destroy(vqc_samples *samples)
{
    vqc_samples_source *self = samples->state;

    vqc_samples_source_destroy(&self);
}

/* A copy of `text` that the source owns; NULL when out of memory. */
static const char *keep_string(vqc_samples_source *self, const char *text)
{
    char *copy = strdup(text);

    if (copy != NULL) {
        self->strings[self->string_count++] = copy;
    }
    return copy;
}

vqc_status vqc_samples_source_create(const char *path, const vqc_program_port *inputs,
                                     size_t input_count, vqc_samples_source **out, vqc_error *error)
{
    vqc_samples_source *self = calloc(1, sizeof *self);
    bool good = self != NULL;

    *out = NULL;
    if (good) {
        self->ports = calloc(input_count + 1, sizeof *self->ports);
        self->strings = calloc((input_count + 1) * (VQC_EXEC_MAX_RANK + 1), sizeof *self->strings);
        self->slots = calloc(VQC_SAMPLES_MAX_SLOTS, sizeof *self->slots);
        self->path = strdup(path);
        good = self->ports != NULL && self->strings != NULL && self->slots != NULL &&
               self->path != NULL;
    }
    for (size_t i = 0; good && i < input_count; i++) {
        vqc_program_port *port = &self->ports[i];
        *port = inputs[i];
        port->name = keep_string(self, inputs[i].name);
        good = port->name != NULL;
        for (int d = 0; good && d < port->rank; d++) {
            if (port->dim_names[d] != NULL) {
                port->dim_names[d] = keep_string(self, port->dim_names[d]);
                good = port->dim_names[d] != NULL;
            }
        }
        self->port_count = i + 1;
    }
    if (!good) {
        vqc_samples_source_destroy(&self);
        return vqc_fail_memory(error, VQC_SAMPLES_MAX_SLOTS * sizeof(vqc_samples_slot));
    }
    self->samples.path = self->path;
    self->samples.state = self;
    self->samples.read = source_read;
    self->samples.release = source_release;
    self->samples.destroy = source_destroy;
    *out = self;
    return VQC_OK;
}

void vqc_samples_source_set_count(vqc_samples_source *self, size_t total, size_t max_samples)
{
    self->total = total;
    self->samples.count = max_samples != 0 && max_samples < total ? max_samples : total;
}

void vqc_samples_source_destroy(vqc_samples_source **source)
{
    vqc_samples_source *self;

    if (source == NULL || *source == NULL) {
        return;
    }
    self = *source;
    for (size_t i = 0; self->slots != NULL && i < VQC_SAMPLES_MAX_SLOTS; i++) {
        empty_slot(self, &self->slots[i]);
        free(self->slots[i].inputs);
    }
    if (self->close != NULL) {
        self->close(self->detail);
    }
    for (size_t i = 0; i < self->string_count; i++) {
        free(self->strings[i]);
    }
    free(self->strings);
    free(self->slots);
    free(self->ports);
    free(self->path);
    free(self);
    *source = NULL;
}

/* ---- ports ---- */

bool vqc_samples_shape_fits(const vqc_program_port *port, const int64_t *dims, size_t rank)
{
    if (port->rank < 0) {
        return true;
    }
    if ((size_t)port->rank != rank) {
        return false;
    }
    for (size_t d = 0; d < rank; d++) {
        if (port->dims[d] >= 0 && port->dims[d] != dims[d]) {
            return false;
        }
    }
    return true;
}

/* Text that grows in a fixed buffer and ends in "..." when it is full. */
typedef struct short_text {
    char *text; /* [VQC_SAMPLES_TEXT] */
    size_t used;
} short_text;

static void append(short_text *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void append(short_text *out, const char *format, ...)
{
    size_t room = VQC_SAMPLES_TEXT - out->used;
    va_list args;
    int length;

    va_start(args, format);
    length = vsnprintf(out->text + out->used, room, format, args);
    va_end(args);
    if (length < 0) {
        return;
    }
    if ((size_t)length >= room) {
        memcpy(out->text + VQC_SAMPLES_TEXT - 4, "...", 4);
        out->used = VQC_SAMPLES_TEXT - 1;
    } else {
        out->used += (size_t)length;
    }
}

const char *vqc_samples_describe(int32_t dtype, const int64_t *dims, size_t rank, char *text)
{
    short_text out = {text, 0};

    append(&out, "%s [", vqc_dtype_describe(dtype)->name);
    for (size_t d = 0; d < rank; d++) {
        append(&out, "%s%" PRId64, d > 0 ? "," : "", dims[d]);
    }
    append(&out, "]");
    return text;
}

const char *vqc_samples_describe_port(const vqc_program_port *port, char *text)
{
    short_text out = {text, 0};

    append(&out, "%s",
           port->dtype == VQC_DTYPE_UNDEFINED ? "any type" : vqc_dtype_describe(port->dtype)->name);
    if (port->rank < 0) {
        append(&out, " of any shape");
        return text;
    }
    append(&out, " [");
    for (int d = 0; d < port->rank; d++) {
        const char *comma = d > 0 ? "," : "";
        if (port->dims[d] >= 0) {
            append(&out, "%s%" PRId64, comma, port->dims[d]);
        } else {
            append(&out, "%s%.40s", comma, port->dim_names[d] != NULL ? port->dim_names[d] : "?");
        }
    }
    append(&out, "]");
    return text;
}

size_t vqc_samples_find_port(const vqc_samples_source *self, const char *name)
{
    size_t i = 0;

    while (i < self->port_count && strcmp(self->ports[i].name, name) != 0) {
        i++;
    }
    return i;
}

const char *vqc_samples_list_ports(const vqc_samples_source *self, char *text)
{
    short_text out = {text, 0};

    text[0] = '\0';
    for (size_t i = 0; i < self->port_count; i++) {
        const char *before = i == 0 ? "" : i + 1 == self->port_count ? " and " : ", ";
        append(&out, "%s\"%.80s\"", before, self->ports[i].name);
    }
    return text;
}

/* ---- types ---- */

static bool is_float_class(vqc_class class)
{
    return class == VQC_CLASS_F32 || class == VQC_CLASS_F64;
}

bool vqc_samples_type_fits(int32_t from, int32_t to)
{
    vqc_class source = vqc_class_of(from);
    vqc_class target = vqc_class_of(to);

    if (from == to || to == VQC_DTYPE_UNDEFINED) {
        return true;
    }
    if (source == VQC_CLASS_NONE || target == VQC_CLASS_NONE || to == VQC_DTYPE_BOOL) {
        return false;
    }
    return !is_float_class(source) || is_float_class(target);
}

/* Bits of an element's integer range: 2^bits values fit an unsigned type. */
static int integer_bits(int32_t dtype)
{
    return dtype == VQC_DTYPE_BOOL ? 1 : vqc_dtype_describe(dtype)->bits;
}

/* Significant bits of a float type: every integer up to 2^bits is exact. */
static int significand_bits(int32_t dtype)
{
    switch (dtype) {
    case VQC_DTYPE_DOUBLE:
        return 53;
    case VQC_DTYPE_FLOAT:
        return 24;
    case VQC_DTYPE_FLOAT16:
        return 11;
    case VQC_DTYPE_BFLOAT16:
        return 8;
    default:
        return 3; /* what the floats of 8 bits and fewer have at least */
    }
}

/* Whether an integer [value, or |value| when is_signed and negative] fits the type `to`. */
static bool integer_fits(uint64_t magnitude, bool negative, int32_t to)
{
    int bits;

    if (is_float_class(vqc_class_of(to))) {
        return magnitude <= (uint64_t)1 << significand_bits(to);
    }
    bits = integer_bits(to);
    if (vqc_class_of(to) == VQC_CLASS_U64) {
        return !negative && (bits >= 64 || magnitude < (uint64_t)1 << bits);
    }
    return negative ? magnitude <= (uint64_t)1 << (bits - 1)
                    : magnitude < (uint64_t)1 << (bits - 1);
}

/* The first element of the chunk [n] that does not fit `to`, or n. */
static size_t find_misfit(const vqc_chunk *chunk, vqc_class class, size_t n, int32_t to)
{
    for (size_t i = 0; i < n; i++) {
        bool negative = class == VQC_CLASS_I64 && chunk->i64[i] < 0;
        uint64_t magnitude = negative ? 0 - (uint64_t)chunk->i64[i] : chunk->u64[i];
        if (!integer_fits(magnitude, negative, to)) {
            return i;
        }
    }
    return n;
}

/* The first finite element of the chunk that is infinite in `stored`, or n. */
static size_t find_overflow(const vqc_chunk *chunk, vqc_class class, size_t n,
                            const vqc_chunk *stored, vqc_class stored_class)
{
    for (size_t i = 0; i < n; i++) {
        double before = class == VQC_CLASS_F64 ? chunk->f64[i] : (double)chunk->f32[i];
        double after = stored_class == VQC_CLASS_F64 ? stored->f64[i] : (double)stored->f32[i];
        if (isfinite(before) && !isfinite(after)) {
            return i;
        }
    }
    return n;
}

static vqc_status misfit(const vqc_buffer *source, size_t index, int32_t to, const char *what,
                         vqc_error *error)
{
    vqc_class class = vqc_class_of(source->dtype);
    const char *to_name = vqc_dtype_describe(to)->name;
    const char *from_name = vqc_dtype_describe(source->dtype)->name;
    vqc_chunk chunk;

    vqc_element_load(source->dtype, source->data + index * source->width, 1, &chunk);
    if (class == VQC_CLASS_I64) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "%s: element %zu is %" PRId64 " (%s), which %s cannot hold exactly", what,
                        index, chunk.i64[0], from_name, to_name);
    }
    if (class == VQC_CLASS_U64) {
        return vqc_fail(error, VQC_ERR_MODEL,
                        "%s: element %zu is %" PRIu64 " (%s), which %s cannot hold exactly", what,
                        index, chunk.u64[0], from_name, to_name);
    }
    return vqc_fail(
        error, VQC_ERR_MODEL, "%s: element %zu is %g (%s), which is beyond the range of %s", what,
        index, class == VQC_CLASS_F64 ? chunk.f64[0] : (double)chunk.f32[0], from_name, to_name);
}

vqc_status vqc_samples_convert(vqc_buffer **buffer, int32_t to, const char *what, vqc_error *error)
{
    vqc_buffer *source = *buffer;
    vqc_class from_class = vqc_class_of(source->dtype);
    vqc_class to_class = vqc_class_of(to);
    bool floats = is_float_class(from_class);
    vqc_buffer *target;
    vqc_chunk chunk;
    vqc_chunk copy;
    vqc_status status = VQC_OK;

    if (to == source->dtype || to == VQC_DTYPE_UNDEFINED) {
        return VQC_OK;
    }
    if (!vqc_samples_type_fits(source->dtype, to)) {
        return vqc_fail(error, VQC_ERR_MODEL, "%s: got type %s, expected %s", what,
                        vqc_dtype_describe(source->dtype)->name, vqc_dtype_describe(to)->name);
    }
    target = vqc_buffer_create(to, source->dims, source->rank);
    if (target == NULL) {
        return vqc_fail_memory(error, source->elements * vqc_exec_width(to));
    }
    for (size_t at = 0; at < source->elements && status == VQC_OK; at += VQC_EXEC_CHUNK) {
        size_t left = source->elements - at;
        size_t n = left < VQC_EXEC_CHUNK ? left : VQC_EXEC_CHUNK;
        size_t bad = n;
        unsigned char *out = target->data + at * target->width;
        vqc_element_load(source->dtype, source->data + at * source->width, n, &chunk);
        if (!floats) {
            bad = find_misfit(&chunk, from_class, n, to);
        }
        copy = chunk;
        vqc_element_convert(&copy, from_class, to_class, n);
        vqc_element_store(to, to_class, &copy, n, NULL, out);
        if (floats) {
            vqc_element_load(to, out, n, &copy);
            bad = find_overflow(&chunk, from_class, n, &copy, to_class);
        }
        if (bad < n) {
            status = misfit(source, at + bad, to, what, error);
        }
    }
    if (status != VQC_OK) {
        vqc_buffer_destroy(&target);
        return status;
    }
    vqc_buffer_destroy(buffer);
    *buffer = target;
    return VQC_OK;
}

vqc_status vqc_samples_fit_port(const vqc_program_port *port, vqc_buffer **buffer, const char *what,
                                vqc_error *error)
{
    char got[VQC_SAMPLES_TEXT];
    char wanted[VQC_SAMPLES_TEXT];

    if (!vqc_samples_shape_fits(port, (*buffer)->dims, (*buffer)->rank) ||
        !vqc_samples_type_fits((*buffer)->dtype, port->dtype)) {
        return vqc_fail(
            error, VQC_ERR_MODEL, "%s: input \"%.100s\": got %.200s, expected %.200s", what,
            port->name,
            vqc_samples_describe((*buffer)->dtype, (*buffer)->dims, (*buffer)->rank, got),
            vqc_samples_describe_port(port, wanted));
    }
    return vqc_samples_convert(buffer, port->dtype, what, error);
}
