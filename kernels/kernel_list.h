/* The one list of kernels. The table, the declarations, the dispatch, tests/kernels and `vqc bench`
 * are all made from it, so a kernel that is listed here is implemented, tested and timed on every
 * ISA.
 *
 * Each row: X(name, family, kind, return type, (parameters)). `family` picks the driver in the test
 * and the benchmark; `kind` is the code or storage type that tells members of one family apart. The
 * meaning of the parameters is in kernels/kernels.h. */
#ifndef VQC_KERNELS_KERNEL_LIST_H
#define VQC_KERNELS_KERNEL_LIST_H

#include "kernels/kernel_list_gemm.h"
#include "kernels/kernel_list_int.h"
#include "kernels/kernel_list_math.h"
#include "kernels/kernel_list_move.h"
#include "kernels/kernel_list_observe.h"
#include "kernels/kernel_list_prune.h"
#include "kernels/kernel_list_qdq.h"
#include "kernels/kernel_list_vq.h"

/* Kernels that exist once per integer code type: t = name part, K = kind, T = C type. */
#define VQC_KERNEL_LIST_CODES(X, t, K, T)                                                          \
    X(f32_##t##_quantize, QUANTIZE, K, void,                                                       \
      (const float *x, size_t n, float inv_scale, int32_t zero_point, int32_t lo, int32_t hi,      \
       T *q))                                                                                      \
    X(f32_##t##_quantize_rows, QUANTIZE_ROWS, K, void,                                             \
      (const float *x, size_t rows, size_t cols, size_t x_stride, const float *inv_scale,          \
       const int32_t *zero_point, int32_t lo, int32_t hi, T *q, size_t q_stride))                  \
    X(f32_##t##_quantize_cols, QUANTIZE_COLS, K, void,                                             \
      (const float *x, size_t rows, size_t cols, size_t x_stride, const float *inv_scale,          \
       const int32_t *zero_point, int32_t lo, int32_t hi, T *q, size_t q_stride))                  \
    X(f32_##t##_quantize_error, QUANTIZE_ERROR, K, void,                                           \
      (const float *x, size_t n, float scale, float inv_scale, int32_t zero_point, int32_t lo,     \
       int32_t hi, T *q, vqc_error_sums *acc))                                                     \
    X(f32_##t##_quantize_error_rows, QUANTIZE_ERROR_ROWS, K, void,                                 \
      (const float *x, size_t rows, size_t cols, size_t x_stride, const float *scale,              \
       const float *inv_scale, const int32_t *zero_point, int32_t lo, int32_t hi, T *q,            \
       size_t q_stride, vqc_error_sums *acc))                                                      \
    X(f32_##t##_quantize_error_cols, QUANTIZE_ERROR_COLS, K, void,                                 \
      (const float *x, size_t rows, size_t cols, size_t x_stride, const float *scale,              \
       const float *inv_scale, const int32_t *zero_point, int32_t lo, int32_t hi, T *q,            \
       size_t q_stride, vqc_error_sums *acc))                                                      \
    X(t##_f32_dequantize, DEQUANTIZE, K, void,                                                     \
      (const T *q, size_t n, float scale, int32_t zero_point, float *x))                           \
    X(t##_f32_dequantize_rows, DEQUANTIZE_ROWS, K, void,                                           \
      (const T *q, size_t rows, size_t cols, size_t q_stride, const float *scale,                  \
       const int32_t *zero_point, float *x, size_t x_stride))                                      \
    X(t##_f32_dequantize_cols, DEQUANTIZE_COLS, K, void,                                           \
      (const T *q, size_t rows, size_t cols, size_t q_stride, const float *scale,                  \
       const int32_t *zero_point, float *x, size_t x_stride))

#define VQC_KERNEL_LIST_STATS(X)                                                                   \
    X(f32_stats, STATS, F32, void, (const float *x, size_t n, vqc_f32_range *acc))                 \
    X(f32_minmax, MINMAX, F32, void, (const float *x, size_t n, float *min, float *max))           \
    X(f32_minmax_rows, MINMAX_ROWS, F32, void,                                                     \
      (const float *x, size_t rows, size_t cols, size_t x_stride, float *min, float *max,          \
       size_t *nonfinite))                                                                         \
    X(f32_minmax_cols, MINMAX_COLS, F32, void,                                                     \
      (const float *x, size_t rows, size_t cols, size_t x_stride, float *min, float *max,          \
       size_t *nonfinite))                                                                         \
    X(f32_count_nonfinite, COUNT_NONFINITE, F32, size_t, (const float *x, size_t n))               \
    X(f32_absmax, ABSMAX, F32, float, (const float *x, size_t n))                                  \
    X(f32_sums, SUMS, F32, void, (const float *x, size_t n, double *sum, double *sum_squares))     \
    X(f32_error, ERROR, F32, void,                                                                 \
      (const float *ref, const float *dec, size_t n, vqc_error_sums *acc))                         \
    X(f32_quantize_sse, SSE, F32, double,                                                          \
      (const float *x, size_t n, float scale, float inv_scale, int32_t zero_point, int32_t lo,     \
       int32_t hi))                                                                                \
    X(f32_quantize_sse_rows, SSE_ROWS, F32, void,                                                  \
      (const float *x, size_t rows, size_t cols, size_t x_stride, const float *scale,              \
       const float *inv_scale, const int32_t *zero_point, int32_t lo, int32_t hi, double *sse))    \
    X(f32_quantize_sse_cols, SSE_COLS, F32, void,                                                  \
      (const float *x, size_t rows, size_t cols, size_t x_stride, const float *scale,              \
       const float *inv_scale, const int32_t *zero_point, int32_t lo, int32_t hi, double *sse))

#define VQC_KERNEL_LIST_PACK(X)                                                                    \
    X(u8_pack, PACK, U8, void, (const uint8_t *codes, size_t n, int width, uint8_t *packed))       \
    X(u8_unpack, UNPACK, U8, void, (const uint8_t *packed, size_t n, int width, uint8_t *codes))   \
    X(u8_extract_plane, EXTRACT_PLANE, U8, void,                                                   \
      (const uint8_t *codes, size_t n, int shift, int width, uint8_t *plane))                      \
    X(u8_pack_plane, PACK_PLANE, U8, void,                                                         \
      (const uint8_t *codes, size_t n, int shift, int width, uint8_t *packed))                     \
    X(u8_unpack_plane, UNPACK_PLANE, U8, void,                                                     \
      (const uint8_t *packed, size_t n, int shift, int width, uint8_t *codes))

#define VQC_KERNEL_LIST_CONVERT(X)                                                                 \
    X(f32_f16_convert, FROM_F32, F16, void, (const float *x, size_t n, uint16_t *out))             \
    X(f32_bf16_convert, FROM_F32, BF16, void, (const float *x, size_t n, uint16_t *out))           \
    X(f32_e4m3fn_convert, FROM_F32, E4M3FN, void, (const float *x, size_t n, uint8_t *out))        \
    X(f32_e5m2_convert, FROM_F32, E5M2, void, (const float *x, size_t n, uint8_t *out))            \
    X(f32_f64_convert, FROM_F32, F64, void, (const float *x, size_t n, double *out))               \
    X(f16_f32_convert, TO_F32, F16, void, (const uint16_t *x, size_t n, float *out))               \
    X(bf16_f32_convert, TO_F32, BF16, void, (const uint16_t *x, size_t n, float *out))             \
    X(e4m3fn_f32_convert, TO_F32, E4M3FN, void, (const uint8_t *x, size_t n, float *out))          \
    X(e4m3fnuz_f32_convert, TO_F32, E4M3FNUZ, void, (const uint8_t *x, size_t n, float *out))      \
    X(e5m2_f32_convert, TO_F32, E5M2, void, (const uint8_t *x, size_t n, float *out))              \
    X(e5m2fnuz_f32_convert, TO_F32, E5M2FNUZ, void, (const uint8_t *x, size_t n, float *out))      \
    X(f64_f32_convert, TO_F32, F64, void, (const double *x, size_t n, float *out))

#define VQC_KERNEL_LIST_PROBE(X) X(probe_fma, PROBE_FMA, F32, float, (size_t iterations))

#define VQC_KERNEL_LIST(X)                                                                         \
    VQC_KERNEL_LIST_STATS(X)                                                                       \
    VQC_KERNEL_LIST_CODES(X, u8, U8, uint8_t)                                                      \
    VQC_KERNEL_LIST_CODES(X, s8, S8, int8_t)                                                       \
    VQC_KERNEL_LIST_CODES(X, u16, U16, uint16_t)                                                   \
    VQC_KERNEL_LIST_CODES(X, s16, S16, int16_t)                                                    \
    VQC_KERNEL_LIST_PACK(X)                                                                        \
    VQC_KERNEL_LIST_CONVERT(X)                                                                     \
    VQC_KERNEL_LIST_GEMM(X)                                                                        \
    VQC_KERNEL_LIST_INT(X)                                                                         \
    VQC_KERNEL_LIST_MATH(X)                                                                        \
    VQC_KERNEL_LIST_OBSERVE(X)                                                                     \
    VQC_KERNEL_LIST_MOVE(X)                                                                        \
    VQC_KERNEL_LIST_PRUNE(X)                                                                       \
    VQC_KERNEL_LIST_QDQ(X)                                                                         \
    VQC_KERNEL_LIST_VQ(X)                                                                          \
    VQC_KERNEL_LIST_PROBE(X)

#endif
