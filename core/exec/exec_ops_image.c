/* Resize, Upsample. */
#include "core/exec/exec_image.h"

static const vqc_resize_version UPSAMPLE_7 = {0, 0, 0, false};
static const vqc_resize_version UPSAMPLE_9 = {1, 0, 0, false};
static const vqc_resize_version RESIZE_11 = {2, 1, 3, true};

static const vqc_exec_op OPS[] = {
    VQC_EXEC_ROW("Upsample", "", 7, 1, vqc_resize_shape, vqc_resize_run, .detail = &UPSAMPLE_7),
    VQC_EXEC_ROW("Upsample", "", 9, 2, vqc_resize_shape, vqc_resize_run, .detail = &UPSAMPLE_9),
    VQC_EXEC_ROW("Resize", "", 10, 2, vqc_resize_shape, vqc_resize_run, .detail = &UPSAMPLE_9),
    VQC_EXEC_ROW("Resize", "", 11, 1, vqc_resize_shape, vqc_resize_run, .detail = &RESIZE_11),
};

const vqc_exec_family vqc_exec_ops_image = {OPS, sizeof OPS / sizeof OPS[0]};
