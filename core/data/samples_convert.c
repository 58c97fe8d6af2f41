#include "core/data/samples_convert.h"

#include <inttypes.h>
#include <math.h>

#include "core/exec/element.h"

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
