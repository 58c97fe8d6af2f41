/* Pooling windows, shared by the operators of exec_ops_pool.c and their float32 path. */
#ifndef VQC_CORE_EXEC_EXEC_POOL_H
#define VQC_CORE_EXEC_EXEC_POOL_H

#include "core/exec/exec_op.h"

typedef enum vqc_pool_kind { VQC_POOL_MAX, VQC_POOL_AVERAGE, VQC_POOL_LP } vqc_pool_kind;

/* A pooling window over [N, C, in...]. */
typedef struct vqc_pool_window {
    size_t rank; /* spatial axes */
    size_t planes;
    int64_t in[VQC_EXEC_MAX_RANK];
    int64_t out[VQC_EXEC_MAX_RANK];
    int64_t kernel[VQC_EXEC_MAX_RANK];
    int64_t stride[VQC_EXEC_MAX_RANK];
    int64_t dilation[VQC_EXEC_MAX_RANK];
    int64_t begin[VQC_EXEC_MAX_RANK]; /* padding */
    int64_t end[VQC_EXEC_MAX_RANK];
    size_t in_size, out_size; /* elements of a plane */
} vqc_pool_window;

/* The kernel positions [first, last) of axis d, at output position `at`, whose cells lie inside the
 * data; returns how many lie in data or padding. */
int64_t vqc_pool_clip(const vqc_pool_window *w, size_t d, int64_t at, int64_t *first,
                      int64_t *last);

/* Whether vqc_pool_run_f32 can take this window: one or two spatial axes, rows of usual length. */
bool vqc_pool_fits_f32(const vqc_pool_window *w);

/* Maximum or average (divisor: cells in data, with include_pad also those in padding) of float32
 * x [planes][in] into y [planes][out]. VQC_ERR_INTERNAL without memory. */
vqc_status vqc_pool_run_f32(vqc_exec_call *call, const vqc_pool_window *w, bool is_max,
                            bool include_pad, const float *x, float *y);

/* Mean (is_max: maximum) of each of the rows x[rows][length]; length >= 1. */
void vqc_pool_rows_f32(const float *x, size_t rows, size_t length, bool is_max, int threads,
                       float *y);

#endif
