/* Calls any kernel of the list by its number with one set of arguments: what the test and the
 * benchmark, which loop over the list, have in common. */
#ifndef VQC_KERNELS_KERNEL_CALL_H
#define VQC_KERNELS_KERNEL_CALL_H

#include "kernels/kernels.h"

/* Kernels of one family have the same meaning and parameters, up to the type given by the kind. */
typedef enum vqc_kernel_family {
    VQC_FAMILY_STATS,
    VQC_FAMILY_TRANSPOSE,  /* kernels/kernel_list_move.h */
    VQC_FAMILY_SCORE_COLS, /* kernels/kernel_list_prune.h, from here ... */
    VQC_FAMILY_COUNT_ABOVE,
    VQC_FAMILY_GATHER_KEYS,
    VQC_FAMILY_THRESHOLD_MASK,
    VQC_FAMILY_GROUP_MASK,
    VQC_FAMILY_COUNT_ZERO, /* ... to here */
    VQC_FAMILY_MINMAX,
    VQC_FAMILY_MINMAX_ROWS,
    VQC_FAMILY_MINMAX_COLS,
    VQC_FAMILY_COUNT_NONFINITE,
    VQC_FAMILY_ABSMAX,
    VQC_FAMILY_SUMS,
    VQC_FAMILY_ERROR,
    VQC_FAMILY_HISTOGRAM,
    VQC_FAMILY_MOMENTS,
    VQC_FAMILY_MOMENTS_COLS,
    VQC_FAMILY_SSE,
    VQC_FAMILY_SSE_ROWS,
    VQC_FAMILY_SSE_COLS,
    VQC_FAMILY_QUANTIZE,
    VQC_FAMILY_QUANTIZE_ROWS,
    VQC_FAMILY_QUANTIZE_COLS,
    VQC_FAMILY_DIVIDE, /* kernels/kernel_list_qdq.h */
    VQC_FAMILY_DIVIDE_COLS,
    VQC_FAMILY_QUANTIZE_ERROR,
    VQC_FAMILY_QUANTIZE_ERROR_ROWS,
    VQC_FAMILY_QUANTIZE_ERROR_COLS,
    VQC_FAMILY_DEQUANTIZE,
    VQC_FAMILY_DEQUANTIZE_ROWS,
    VQC_FAMILY_DEQUANTIZE_COLS,
    VQC_FAMILY_PACK,
    VQC_FAMILY_UNPACK,
    VQC_FAMILY_EXTRACT_PLANE,
    VQC_FAMILY_PACK_PLANE,
    VQC_FAMILY_UNPACK_PLANE,
    VQC_FAMILY_FROM_F32,
    VQC_FAMILY_TO_F32,
    VQC_FAMILY_INT_PACK_ROWS, /* kernels/kernel_list_int.h, from here ... */
    VQC_FAMILY_INT_PACK_COLS,
    VQC_FAMILY_INT_REQUANTIZE_ROWS,
    VQC_FAMILY_INT_REQUANTIZE_COLS,
    VQC_FAMILY_INT_DIVIDE,
    VQC_FAMILY_INT_SCALE_COLS,
    VQC_FAMILY_INT_TAPS,
    VQC_FAMILY_INT_GEMM,  /* ... to here */
    VQC_FAMILY_GEMM_ROWS, /* kernels/gemm_types.h, from here ... */
    VQC_FAMILY_GEMM,
    VQC_FAMILY_TAPS,
    VQC_FAMILY_DEPTHWISE,
    VQC_FAMILY_GEMM_PACK,
    VQC_FAMILY_COPY_ROWS,
    VQC_FAMILY_GEMM_GATHER, /* ... to here */
    VQC_FAMILY_MATH_UNARY,  /* kernels/kernel_list_math.h, from here ... */
    VQC_FAMILY_MATH_PARAMETRIC,
    VQC_FAMILY_MATH_BINARY,
    VQC_FAMILY_MATH_POOL,
    VQC_FAMILY_MATH_MOMENTS,
    VQC_FAMILY_MATH_NORMALIZE, /* ... to here */
    VQC_FAMILY_NEAREST,        /* kernels/kernel_list_vq.h */
    VQC_FAMILY_PROBE_FMA
} vqc_kernel_family;

typedef enum vqc_kernel_kind {
    VQC_KIND_F32,
    VQC_KIND_U8,
    VQC_KIND_S8,
    VQC_KIND_U16,
    VQC_KIND_S16,
    VQC_KIND_F16,
    VQC_KIND_BF16,
    VQC_KIND_E4M3FN,
    VQC_KIND_E4M3FNUZ,
    VQC_KIND_E5M2,
    VQC_KIND_E5M2FNUZ,
    VQC_KIND_F64
} vqc_kernel_kind;

typedef struct vqc_kernel_info {
    const char *name; /* "f32_s8_quantize" */
    vqc_kernel_family family;
    vqc_kernel_kind kind;
} vqc_kernel_info;

enum {
#define VQC_KERNEL_INDEX(name, family, kind, ret, params) VQC_INDEX_##name,
    VQC_KERNEL_LIST(VQC_KERNEL_INDEX)
#undef VQC_KERNEL_INDEX
        VQC_KERNEL_COUNT
};

/* The list, in its order. */
extern const vqc_kernel_info vqc_kernel_infos[VQC_KERNEL_COUNT];

/* Everything a kernel can take. Kernels without rows see n = cols and the first element of the
 * parameter arrays; only the members that the kernel has are looked at. */
typedef struct vqc_kernel_args {
    size_t rows, cols;
    size_t in_stride, out_stride; /* elements between rows */
    const void *in;               /* x, q, codes, packed, ref */
    const void *in2;              /* dec */
    void *out;                    /* q, x, packed, codes, plane, out */
    const float *scale, *inv_scale;
    const int32_t *zero_point; /* may be NULL for _rows and _cols kernels */
    int32_t lo, hi;
    int shift, width;
    float inv_bin_width;
    uint32_t half_bins;
    uint64_t *counts;           /* [2 * half_bins] or [VQC_COUNT_BOUNDS] */
    const uint32_t *bounds;     /* keys of pruning */
    float *min, *max;           /* [rows] or [cols] */
    double *sse;                /* [rows] or [cols] */
    size_t iterations;          /* of the probe */
    const void *bias;           /* [rows] or [cols] int32 or float; may be NULL */
    const int32_t *offsets;     /* [depth] */
    size_t depth;               /* of a product, in pairs */
    const vqc_gemm_block *gemm; /* f32_gemm, f32_taps and f32_gemm_gather: everything */
    const vqc_taps_row *taps;
    const vqc_depthwise *depthwise;
    const vqc_gemm_gather *gather;
    const vqc_nearest *nearest;
    size_t in2_stride;
    bool accumulate;
    float a, b;                    /* parameters of a function; mean and factor */
    size_t a_step, b_step;         /* of a binary operation's in and in2 */
    size_t window, step, dilation; /* of pooling */
} vqc_kernel_args;

/* Everything a kernel can accumulate into or return, initialised by the caller. */
typedef struct vqc_kernel_results {
    vqc_f32_range range;
    vqc_error_sums error;
    vqc_f32_moments moments;
    double sum, sum_squares, sse;
    float value; /* absmax, probe */
    size_t count;
} vqc_kernel_results;

/* Calls kernel `index` (< VQC_KERNEL_COUNT) of `table`. */
void vqc_kernel_call(const vqc_kernels *table, size_t index, const vqc_kernel_args *a,
                     vqc_kernel_results *r);

/* Size in bytes of one stored value of a kind. */
size_t vqc_kernel_kind_size(vqc_kernel_kind kind);

/* Bytes of args.in and args.out for a number of elements (those between strided rows included);
 * width: that of the packed fields. 0 where a kernel has no such tensor. */
void vqc_kernel_tensor_bytes(const vqc_kernel_info *info, size_t elements, int width,
                             size_t *in_bytes, size_t *out_bytes);

#endif
