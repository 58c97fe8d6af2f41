#include "kernels/kernel_call.h"

#define KERNEL_INFO(name, family, kind, ret, params) {#name, VQC_FAMILY_##family, VQC_KIND_##kind},
const vqc_kernel_info vqc_kernel_infos[VQC_KERNEL_COUNT] = {VQC_KERNEL_LIST(KERNEL_INFO)};

size_t vqc_kernel_kind_size(vqc_kernel_kind kind)
{
    switch (kind) {
    case VQC_KIND_U8:
    case VQC_KIND_S8:
    case VQC_KIND_E4M3FN:
    case VQC_KIND_E4M3FNUZ:
    case VQC_KIND_E5M2:
    case VQC_KIND_E5M2FNUZ:
        return 1;
    case VQC_KIND_U16:
    case VQC_KIND_S16:
    case VQC_KIND_F16:
    case VQC_KIND_BF16:
        return 2;
    case VQC_KIND_F32:
        return 4;
    case VQC_KIND_F64:
        return 8;
    }
    return 0;
}

void vqc_kernel_tensor_bytes(const vqc_kernel_info *info, size_t elements, int width,
                             size_t *in_bytes, size_t *out_bytes)
{
    const vqc_kernel_family f = info->family;
    const size_t code_bytes = elements * vqc_kernel_kind_size(info->kind);
    const size_t float_bytes = elements * sizeof(float);
    const size_t packed_bytes = (elements * (size_t)width + 7) / 8;
    *in_bytes = float_bytes;
    *out_bytes = 0;
    if (f == VQC_FAMILY_THRESHOLD_MASK || f == VQC_FAMILY_GROUP_MASK) {
        *out_bytes = elements;
    } else if (f == VQC_FAMILY_TRANSPOSE || f == VQC_FAMILY_SCORE_COLS) {
        *out_bytes = float_bytes;
    } else if ((f >= VQC_FAMILY_QUANTIZE && f <= VQC_FAMILY_QUANTIZE_ERROR_COLS) ||
               f == VQC_FAMILY_FROM_F32) {
        *out_bytes = code_bytes;
    } else if ((f >= VQC_FAMILY_DEQUANTIZE && f <= VQC_FAMILY_DEQUANTIZE_COLS) ||
               f == VQC_FAMILY_TO_F32) {
        *in_bytes = code_bytes;
        *out_bytes = float_bytes;
    } else if (f == VQC_FAMILY_PACK || f == VQC_FAMILY_PACK_PLANE) {
        *in_bytes = code_bytes;
        *out_bytes = packed_bytes;
    } else if (f == VQC_FAMILY_UNPACK || f == VQC_FAMILY_UNPACK_PLANE) {
        *in_bytes = packed_bytes;
        *out_bytes = code_bytes;
    } else if (f == VQC_FAMILY_EXTRACT_PLANE) {
        *in_bytes = *out_bytes = code_bytes;
    } else if (f == VQC_FAMILY_INT_PACK_ROWS || f == VQC_FAMILY_INT_PACK_COLS) {
        *in_bytes = code_bytes;
        *out_bytes = elements * sizeof(int16_t);
    } else if (f == VQC_FAMILY_INT_DIVIDE || f == VQC_FAMILY_INT_REQUANTIZE_ROWS ||
               f == VQC_FAMILY_INT_REQUANTIZE_COLS || f == VQC_FAMILY_INT_SCALE_COLS) {
        *out_bytes = code_bytes;
    } else if (f >= VQC_FAMILY_MATH_UNARY && f <= VQC_FAMILY_MATH_NORMALIZE) {
        *out_bytes = f == VQC_FAMILY_MATH_MOMENTS ? 0 : float_bytes;
    } else if (f == VQC_FAMILY_PROBE_FMA || f == VQC_FAMILY_NEAREST || f == VQC_FAMILY_INT_GEMM ||
               f == VQC_FAMILY_INT_TAPS ||
               (f >= VQC_FAMILY_GEMM_ROWS && f <= VQC_FAMILY_DEPTHWISE)) {
        *in_bytes = 0;
    } else if (f >= VQC_FAMILY_GEMM_PACK && f <= VQC_FAMILY_GEMM_GATHER) {
        *out_bytes = float_bytes;
    }
}

static void call_stats(const vqc_kernels *k, size_t index, const vqc_kernel_args *a,
                       vqc_kernel_results *r)
{
    const float *x = a->in;
    switch (index) {
    case VQC_INDEX_f32_stats:
        k->f32_stats(x, a->cols, &r->range);
        break;
    case VQC_INDEX_f32_minmax:
        k->f32_minmax(x, a->cols, &r->range.min, &r->range.max);
        break;
    case VQC_INDEX_f32_minmax_rows:
        k->f32_minmax_rows(x, a->rows, a->cols, a->in_stride, a->min, a->max, &r->count);
        break;
    case VQC_INDEX_f32_minmax_cols:
        k->f32_minmax_cols(x, a->rows, a->cols, a->in_stride, a->min, a->max, &r->count);
        break;
    case VQC_INDEX_f32_count_nonfinite:
        r->count = k->f32_count_nonfinite(x, a->cols);
        break;
    case VQC_INDEX_f32_absmax:
        r->value = k->f32_absmax(x, a->cols);
        break;
    case VQC_INDEX_f32_sums:
        k->f32_sums(x, a->cols, &r->sum, &r->sum_squares);
        break;
    case VQC_INDEX_f32_error:
        k->f32_error(x, a->in2, a->cols, &r->error);
        break;
    case VQC_INDEX_f32_histogram:
        k->f32_histogram(x, a->cols, a->inv_bin_width, a->half_bins, a->counts);
        break;
    case VQC_INDEX_f32_moments:
        k->f32_moments(x, a->cols, &r->moments);
        break;
    case VQC_INDEX_f32_moments_cols:
        k->f32_moments_cols(x, a->rows, a->cols, a->in_stride, a->sse, a->max);
        break;
    case VQC_INDEX_f32_quantize_sse:
        r->sse =
            k->f32_quantize_sse(x, a->cols, *a->scale, *a->inv_scale, *a->zero_point, a->lo, a->hi);
        break;
    case VQC_INDEX_f32_quantize_sse_rows:
        k->f32_quantize_sse_rows(x, a->rows, a->cols, a->in_stride, a->scale, a->inv_scale,
                                 a->zero_point, a->lo, a->hi, a->sse);
        break;
    case VQC_INDEX_f32_quantize_sse_cols:
        k->f32_quantize_sse_cols(x, a->rows, a->cols, a->in_stride, a->scale, a->inv_scale,
                                 a->zero_point, a->lo, a->hi, a->sse);
        break;
    case VQC_INDEX_f32_transpose:
        k->f32_transpose(x, a->rows, a->cols, a->in_stride, a->out, a->out_stride);
        break;
    case VQC_INDEX_probe_fma:
        r->value = k->probe_fma(a->iterations);
        break;
    default:
        break;
    }
}

static void call_prune(const vqc_kernels *k, size_t index, const vqc_kernel_args *a,
                       vqc_kernel_results *r)
{
    switch (index) {
    case VQC_INDEX_f32_score_cols:
        k->f32_score_cols(a->in, a->rows, a->cols, a->in_stride, a->scale, a->out, a->out_stride);
        break;
    case VQC_INDEX_f32_count_above:
        k->f32_count_above(a->in, a->cols, a->bounds, a->counts);
        break;
    case VQC_INDEX_f32_gather_keys:
        r->count = k->f32_gather_keys(a->in, a->cols, a->bounds, a->out);
        break;
    case VQC_INDEX_f32_threshold_mask:
        k->f32_threshold_mask(a->in, a->cols, a->a, a->out);
        break;
    case VQC_INDEX_f32_group_mask:
        k->f32_group_mask(a->in, a->cols, (size_t)a->width, a->depth, a->out);
        break;
    case VQC_INDEX_f32_count_zero:
        r->count = k->f32_count_zero(a->in, a->cols);
        break;
    default:
        break;
    }
}

/* The nine kernels of one code type. */
#define CALL_CODES(t)                                                                              \
    case VQC_INDEX_f32_##t##_quantize:                                                             \
        k->f32_##t##_quantize(a->in, a->cols, *a->inv_scale, *a->zero_point, a->lo, a->hi,         \
                              a->out);                                                             \
        break;                                                                                     \
    case VQC_INDEX_f32_##t##_quantize_rows:                                                        \
        k->f32_##t##_quantize_rows(a->in, a->rows, a->cols, a->in_stride, a->inv_scale,            \
                                   a->zero_point, a->lo, a->hi, a->out, a->out_stride);            \
        break;                                                                                     \
    case VQC_INDEX_f32_##t##_quantize_cols:                                                        \
        k->f32_##t##_quantize_cols(a->in, a->rows, a->cols, a->in_stride, a->inv_scale,            \
                                   a->zero_point, a->lo, a->hi, a->out, a->out_stride);            \
        break;                                                                                     \
    case VQC_INDEX_f32_##t##_quantize_error:                                                       \
        k->f32_##t##_quantize_error(a->in, a->cols, *a->scale, *a->inv_scale, *a->zero_point,      \
                                    a->lo, a->hi, a->out, &r->error);                              \
        break;                                                                                     \
    case VQC_INDEX_f32_##t##_quantize_error_rows:                                                  \
        k->f32_##t##_quantize_error_rows(a->in, a->rows, a->cols, a->in_stride, a->scale,          \
                                         a->inv_scale, a->zero_point, a->lo, a->hi, a->out,        \
                                         a->out_stride, &r->error);                                \
        break;                                                                                     \
    case VQC_INDEX_f32_##t##_quantize_error_cols:                                                  \
        k->f32_##t##_quantize_error_cols(a->in, a->rows, a->cols, a->in_stride, a->scale,          \
                                         a->inv_scale, a->zero_point, a->lo, a->hi, a->out,        \
                                         a->out_stride, &r->error);                                \
        break;                                                                                     \
    case VQC_INDEX_##t##_f32_dequantize:                                                           \
        k->t##_f32_dequantize(a->in, a->cols, *a->scale, *a->zero_point, a->out);                  \
        break;                                                                                     \
    case VQC_INDEX_##t##_f32_dequantize_rows:                                                      \
        k->t##_f32_dequantize_rows(a->in, a->rows, a->cols, a->in_stride, a->scale, a->zero_point, \
                                   a->out, a->out_stride);                                         \
        break;                                                                                     \
    case VQC_INDEX_##t##_f32_dequantize_cols:                                                      \
        k->t##_f32_dequantize_cols(a->in, a->rows, a->cols, a->in_stride, a->scale, a->zero_point, \
                                   a->out, a->out_stride);                                         \
        break;

#define CALL_DIVIDE(t)                                                                             \
    case VQC_INDEX_f32_##t##_divide_quantize:                                                      \
        k->f32_##t##_divide_quantize(a->in, a->cols, *a->scale, *a->zero_point, a->out);           \
        break;
#define CALL_DIVIDE_COLS(t)                                                                        \
    case VQC_INDEX_f32_##t##_divide_quantize_cols:                                                 \
        k->f32_##t##_divide_quantize_cols(a->in, a->rows, a->cols, a->in_stride, a->scale,         \
                                          a->zero_point, a->out, a->out_stride);                   \
        break;

static void call_codes(const vqc_kernels *k, size_t index, const vqc_kernel_args *a,
                       vqc_kernel_results *r)
{
    switch (index) {
        CALL_CODES(u8)
        CALL_CODES(s8)
        CALL_CODES(u16)
        CALL_CODES(s16)
        CALL_DIVIDE(u16)
        CALL_DIVIDE(s16)
        CALL_DIVIDE_COLS(u8)
        CALL_DIVIDE_COLS(s8)
        CALL_DIVIDE_COLS(u16)
        CALL_DIVIDE_COLS(s16)
    default:
        break;
    }
}

static void call_pack(const vqc_kernels *k, size_t index, const vqc_kernel_args *a)
{
    switch (index) {
    case VQC_INDEX_u8_pack:
        k->u8_pack(a->in, a->cols, a->width, a->out);
        break;
    case VQC_INDEX_u8_unpack:
        k->u8_unpack(a->in, a->cols, a->width, a->out);
        break;
    case VQC_INDEX_u8_extract_plane:
        k->u8_extract_plane(a->in, a->cols, a->shift, a->width, a->out);
        break;
    case VQC_INDEX_u8_pack_plane:
        k->u8_pack_plane(a->in, a->cols, a->shift, a->width, a->out);
        break;
    case VQC_INDEX_u8_unpack_plane:
        k->u8_unpack_plane(a->in, a->cols, a->shift, a->width, a->out);
        break;
    default:
        break;
    }
}

static void call_convert(const vqc_kernels *k, size_t index, const vqc_kernel_args *a)
{
    switch (index) {
#define CALL_CONVERT(name, family, kind, ret, params)                                              \
    case VQC_INDEX_##name:                                                                         \
        k->name(a->in, a->cols, a->out);                                                           \
        break;
        VQC_KERNEL_LIST_CONVERT(CALL_CONVERT)
#undef CALL_CONVERT
    default:
        break;
    }
}

/* The five integer kernels of one code type. */
#define CALL_INT_CODES(t)                                                                          \
    case VQC_INDEX_##t##_s16_pack_rows:                                                            \
        k->t##_s16_pack_rows(a->in, a->rows, a->cols, a->in_stride, *a->zero_point,                \
                             (size_t)a->width, a->out, a->out_stride);                             \
        break;                                                                                     \
    case VQC_INDEX_##t##_s16_pack_cols:                                                            \
        k->t##_s16_pack_cols(a->in, a->rows, a->cols, a->in_stride, *a->zero_point,                \
                             (size_t)a->width, a->out, a->out_stride);                             \
        break;                                                                                     \
    case VQC_INDEX_s32_##t##_requantize_rows:                                                      \
        k->s32_##t##_requantize_rows(a->in, a->rows, a->cols, a->in_stride, a->bias, a->scale,     \
                                     *a->zero_point, a->out, a->out_stride);                       \
        break;                                                                                     \
    case VQC_INDEX_s32_##t##_requantize_cols:                                                      \
        k->s32_##t##_requantize_cols(a->in, a->rows, a->cols, a->in_stride, a->bias, a->scale,     \
                                     *a->zero_point, a->out, a->out_stride);                       \
        break;                                                                                     \
    case VQC_INDEX_f32_##t##_divide_quantize:                                                      \
        k->f32_##t##_divide_quantize(a->in, a->cols, *a->scale, *a->zero_point, a->out);           \
        break;

static void call_int(const vqc_kernels *k, size_t index, const vqc_kernel_args *a)
{
    switch (index) {
        CALL_INT_CODES(u8)
        CALL_INT_CODES(s8)
    case VQC_INDEX_s32_f32_scale_cols:
        k->s32_f32_scale_cols(a->in, a->rows, a->cols, a->in_stride, a->scale, a->bias, a->out,
                              a->out_stride);
        break;
    case VQC_INDEX_s16_s32_taps:
        k->s16_s32_taps(a->in, a->cols, a->offsets, a->in2, a->depth, a->out);
        break;
    case VQC_INDEX_s16_s32_gemm:
        k->s16_s32_gemm(a->in, a->in_stride, a->in2, a->in2_stride, a->rows, a->cols, a->depth,
                        a->accumulate, a->out, a->out_stride);
        break;
    default:
        break;
    }
}

static void call_nearest(const vqc_kernels *k, size_t index, const vqc_nearest *job)
{
    switch (index) {
#define CALL_NEAREST(name, family, kind, ret, params)                                              \
    case VQC_INDEX_##name:                                                                         \
        k->name(job);                                                                              \
        break;
        VQC_KERNEL_LIST_VQ(CALL_NEAREST)
    default:
        break;
    }
}

static void call_gemm(const vqc_kernels *k, vqc_kernel_family family, const vqc_kernel_args *a,
                      vqc_kernel_results *r)
{
    if (family == VQC_FAMILY_GEMM)
        k->f32_gemm(a->gemm);
    else if (family == VQC_FAMILY_TAPS)
        k->f32_taps(a->taps);
    else if (family == VQC_FAMILY_DEPTHWISE)
        k->f32_depthwise(a->depthwise);
    else if (family == VQC_FAMILY_GEMM_GATHER)
        k->f32_gemm_gather(a->gather);
    else if (family == VQC_FAMILY_COPY_ROWS)
        k->f32_copy_rows(a->in, a->rows, a->cols, a->in_stride, (size_t)a->width, a->out,
                         a->out_stride);
    else if (family == VQC_FAMILY_GEMM_PACK)
        k->f32_gemm_pack(a->in, a->rows, a->cols, a->in_stride, (size_t)a->width, a->out);
    else
        r->count = k->f32_gemm_rows();
}

static void call_math(const vqc_kernels *k, size_t index, const vqc_kernel_args *a,
                      vqc_kernel_results *r)
{
    switch (index) {
#define CALL_UNARY(name, family, kind, ret, params)                                                \
    case VQC_INDEX_##name:                                                                         \
        k->name(a->in, a->cols, a->out);                                                           \
        break;
#define CALL_PARAMETRIC(name, family, kind, ret, params)                                           \
    case VQC_INDEX_##name:                                                                         \
        k->name(a->in, a->cols, a->a, a->b, a->out);                                               \
        break;
#define CALL_BINARY(name, family, kind, ret, params)                                               \
    case VQC_INDEX_##name:                                                                         \
        k->name(a->in, a->a_step, a->in2, a->b_step, a->cols, a->out);                             \
        break;
#define CALL_POOL(name, family, kind, ret, params)                                                 \
    case VQC_INDEX_##name:                                                                         \
        k->name(a->in, a->cols, a->window, a->step, a->dilation, a->out);                          \
        break;
        VQC_KERNEL_LIST_MATH_UNARY(CALL_UNARY)
        VQC_KERNEL_LIST_MATH_PARAMETRIC(CALL_PARAMETRIC)
        VQC_KERNEL_LIST_MATH_BINARY(CALL_BINARY)
        VQC_KERNEL_LIST_MATH_POOL(CALL_POOL)
    case VQC_INDEX_f32_mean_variance:
        k->f32_mean_variance(a->in, a->cols, &r->sum, &r->sum_squares);
        break;
    case VQC_INDEX_f32_normalize:
        k->f32_normalize(a->in, a->cols, a->a, a->b, a->scale, a->bias, a->out);
        break;
    default:
        break;
    }
}

void vqc_kernel_call(const vqc_kernels *table, size_t index, const vqc_kernel_args *a,
                     vqc_kernel_results *r)
{
    const vqc_kernel_family family = vqc_kernel_infos[index].family;
    if (family >= VQC_FAMILY_SCORE_COLS && family <= VQC_FAMILY_COUNT_ZERO)
        call_prune(table, index, a, r);
    else if (family <= VQC_FAMILY_SSE_COLS || family == VQC_FAMILY_PROBE_FMA)
        call_stats(table, index, a, r);
    else if (family <= VQC_FAMILY_DEQUANTIZE_COLS)
        call_codes(table, index, a, r);
    else if (family <= VQC_FAMILY_UNPACK_PLANE)
        call_pack(table, index, a);
    else if (family >= VQC_FAMILY_INT_PACK_ROWS && family <= VQC_FAMILY_INT_GEMM)
        call_int(table, index, a);
    else if (family >= VQC_FAMILY_GEMM_ROWS && family <= VQC_FAMILY_GEMM_GATHER)
        call_gemm(table, family, a, r);
    else if (family == VQC_FAMILY_NEAREST)
        call_nearest(table, index, a->nearest);
    else if (family >= VQC_FAMILY_MATH_UNARY && family <= VQC_FAMILY_MATH_NORMALIZE)
        call_math(table, index, a, r);
    else
        call_convert(table, index, a);
}
