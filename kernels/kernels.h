/* Inner loops of vqc: one table of function pointers per instruction set, one of them active.
 *
 *     const vqc_kernels *k = vqc_kernels_get();
 *     k->f32_s8_quantize(x, n, 1.0f / scale, 0, -127, 127, q);
 *
 * What holds for every kernel:
 * - Same result bits on every ISA. Reductions run in VQC_LANES float lanes (element i of a row
 * belongs to lane i % VQC_LANES), which go through one fixed tree of double additions into the
 * caller's accumulator every VQC_CHUNK elements; the files kernels/..._c.c are the definition.
 * - Tensors (x, ref, dec, q, out, codes, packed) may lie at any byte address; parameter and result
 *   arrays (scale, zero_point, min, max, sse, counts) have their type's alignment. n, rows and cols
 * may be 0; nothing outside the arrays is touched. Input and output do not overlap
 * (u8_extract_plane may run in place). A sum that is NaN may be any NaN.
 * - Rounding mode is the default (to nearest, ties to even), denormals are not flushed.
 * - No allocation, no errors, no state. Strides count elements and are >= cols.
 * - "accumulates" means that the caller initialises the outputs (sums 0, min +INFINITY, max
 * -INFINITY).
 *
 * _rows kernels take one parameter per row ([rows] arrays): a channel of an [M,K] weight, or a
 * block of a blocked one (cols = block size). _cols kernels take one parameter per column ([cols]
 * arrays): a channel of [K,N].
 *
 * Quantize: q = clamp(round(x * inv_scale) + zero_point, lo, hi), round to nearest even; NaN (also
 * from 0 * inf) counts as 0, so it becomes zero_point, clamped; infinities and huge values clamp.
 * lo <= hi must fit the code type and |lo - zero_point|, |hi - zero_point| must be <= 2^21, which
 * holds for any zero_point of the code type. A NULL zero_point array means all 0. Dequantize: x =
 * (float)(q - zero_point) * scale: one exact conversion, one rounding.
 *
 * Squares are float: |x| below 1e-19 contributes 0 and above 1e19 infinity to a sum of squares. */
#ifndef VQC_KERNELS_KERNELS_H
#define VQC_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernel_list.h"

enum {
    VQC_LANES = 16,                 /* float lanes of a reduction: one 512-bit vector */
    VQC_CHUNK = 1024,               /* elements between flushes of the lanes into double */
    VQC_COUNT_BOUNDS = 8,           /* of f32_count_above */
    VQC_HISTOGRAM_HALF_BINS = 4096, /* most that f32_histogram takes */
    VQC_MOMENTS_ROWS = 64,          /* rows that f32_moments_cols adds in float */
    VQC_PROBE_FMA_FLOPS = 384       /* float operations in one iteration of probe_fma */
};

typedef enum vqc_isa {
    VQC_ISA_C,
    VQC_ISA_AVX2,   /* with FMA, F16C and BMI2 */
    VQC_ISA_AVX512, /* F, BW, VL, DQ */
    VQC_ISA_NEON,
    VQC_ISA_COUNT
} vqc_isa;

/* Running range. min and max skip NaN but include infinities: look at nonfinite before using them.
 */
typedef struct vqc_f32_range {
    float min;
    float max;
    uint64_t nonfinite; /* NaNs and infinities seen */
} vqc_f32_range;

/* Running moments of the finite values of an array. */
typedef struct vqc_f32_moments {
    float min, max;          /* of the finite values */
    uint64_t nonfinite;      /* NaNs and infinities seen */
    uint64_t zeros;          /* +0 and -0 seen */
    double sum, sum_squares; /* of the finite values */
} vqc_f32_moments;

/* Running error of a decoded tensor `dec` against its reference `ref`. f32_error fills every field;
 * the fused
 * *_quantize_error* kernels leave sum_dec2 and sum_ref_dec alone. NaN in either input makes the
 * sums NaN; max_abs_err skips it. */
typedef struct vqc_error_sums {
    double sum_err2;    /* sum of (ref - dec)^2 */
    double sum_ref2;    /* sum of ref^2 */
    double sum_dec2;    /* sum of dec^2 */
    double sum_ref_dec; /* sum of ref * dec */
    uint64_t count;     /* elements */
    float max_abs_err;  /* largest |ref - dec| */
} vqc_error_sums;

/* The table. Per kernel, beyond what is said above:
 *
 * - f32_stats: min, max and the count of NaN/Inf in one pass; accumulates.
 * - f32_minmax: accumulates into *min and *max; NaN is skipped, infinities are not.
 * - f32_minmax_rows, f32_minmax_cols: the same per row into min[rows], max[rows] or per column into
 *   min[cols], max[cols]; adds the number of NaN/Inf to *nonfinite.
 * - f32_count_nonfinite: how many of x[n] are NaN or infinite.
 * - f32_absmax: largest |x|, 0 for n = 0; NaN is skipped.
 * - f32_sums: adds to *sum and *sum_squares.
 * - f32_error: accumulates every field of vqc_error_sums.
 * - f32_histogram: counts the finite values other than zero into counts[2 * half_bins], bins of
 *   width w = 1 / inv_width about zero: x > 0 into half_bins + t, x < 0 into half_bins - 1 - t,
 *   t = trunc(|x| * inv_width), at most half_bins - 1; 1 <= half_bins <= VQC_HISTOGRAM_HALF_BINS,
 *   inv_width >= 0. With inv_width a power of two the bins of half the inv_width are exact joins of
 *   pairs of these.
 * - f32_moments: accumulates every field of vqc_f32_moments; other than in f32_sums, values that
 * are not finite are left out.
 * - f32_moments_cols: adds the columns' sums to sum[cols] and raises absmax[cols] (>= 0); values
 *   that are not finite count as 0. Sums of VQC_MOMENTS_ROWS rows at a time are float.
 * - f32_quantize_sse: sum of (x - decode(quantize(x)))^2, nothing stored; _rows adds to sse[rows],
 *   _cols to sse[cols].
 * - f32_T_quantize, _rows, _cols: see above; T = u8, s8, u16, s16.
 * - f32_T_quantize_error, _rows, _cols: writes q and accumulates sum_err2, sum_ref2, count and
 *   max_abs_err of the decoded q (arithmetic of T_f32_dequantize) against x.
 * - T_f32_dequantize, _rows, _cols: see above; |q - zero_point| < 2^24.
 * - u8_pack: width 1, 2 or 4 bits per code, low field first, so byte b holds the codes from
 *   b * 8 / width on; higher bits of a code are dropped, unused bits of the last byte are 0; packed
 *   has ceil(n * width / 8) bytes.
 * - u8_unpack: the reverse, into codes[n].
 * - u8_extract_plane: plane[i] = (codes[i] >> shift) & (2^width - 1), 0 <= shift <= 7,
 *   1 <= width <= 8; in place is allowed.
 * - u8_pack_plane: u8_pack of u8_extract_plane, width 1, 2 or 4.
 * - u8_unpack_plane: codes[i] |= field i << shift, puts a code together again from its planes.
 * - f32_f16_convert: IEEE binary16, overflow to infinity, NaN to quiet NaN with its upper payload.
 * - f32_bf16_convert: the upper half, rounded to nearest even; NaN to quiet NaN.
 * - f32_e4m3fn_convert, f32_e5m2_convert: ONNX Cast (opset 19) with saturate = 1: overflow and
 *   infinities become the largest finite value, NaN becomes 0x7F with the input's sign.
 * - *_f32_convert: exact (f64: rounded to nearest even); NaN comes out quiet, except that bf16
 * keeps its bits.
 * - probe_fma: VQC_PROBE_FMA_FLOPS float multiplies and adds per iteration, for the benchmark's
 *   peak figure; returns 0. */
typedef struct vqc_kernels {
#define VQC_KERNEL_MEMBER(name, family, kind, ret, params) ret(*name) params;
    VQC_KERNEL_LIST(VQC_KERNEL_MEMBER)
#undef VQC_KERNEL_MEMBER
} vqc_kernels;

/* The active table: the best ISA of this CPU, or the one forced by vqc_kernels_select. Thread-safe.
 */
const vqc_kernels *vqc_kernels_get(void);

/* Makes `isa` the active one for the whole process; false (and no change) when this build or CPU
 * lacks it. Call it before the threads that compute are started: a change while they run is safe
 * but takes effect at some later call. */
bool vqc_kernels_select(vqc_isa isa);

/* The ISA of the active table. */
vqc_isa vqc_kernels_isa(void);

/* The table of one ISA, or NULL when this build or CPU lacks it. */
const vqc_kernels *vqc_kernels_table(vqc_isa isa);

/* "c", "avx2", "avx512", "neon"; "unknown" for anything else. */
const char *vqc_isa_name(vqc_isa isa);

/* Reads one of those names (exact match) into *isa; false and *isa untouched when it is none of
 * them. */
bool vqc_isa_parse(const char *name, vqc_isa *isa);

/* The functions themselves and the tables, for each ISA; kernels/dispatch.c, the test and the
 * benchmark use them. */
#define VQC_KERNEL_DECLARE(isa, name, ret, params) ret vqc_##name##__##isa params;
#define VQC_KERNEL_DECLARE_C(name, family, kind, ret, params)                                      \
    VQC_KERNEL_DECLARE(c, name, ret, params)
VQC_KERNEL_LIST(VQC_KERNEL_DECLARE_C)
extern const vqc_kernels vqc_kernels__c;
extern const vqc_kernels vqc_kernels__avx2;
extern const vqc_kernels vqc_kernels__avx512;
extern const vqc_kernels vqc_kernels__neon;

#endif
