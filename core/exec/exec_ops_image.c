/* Operators on pictures: Resize, Upsample, GridSample, AffineGrid, RoiAlign, Col2Im,
 * DeformConv. */
#include "core/exec/exec_image.h"

static const vqc_resize_version UPSAMPLE_7 = {0, 0, 0, false};
static const vqc_resize_version UPSAMPLE_9 = {1, 0, 0, false};
static const vqc_resize_version RESIZE_11 = {2, 1, 3, true};

static const vqc_exec_op OPS[] = {
    VQC_EXEC_ROW("Upsample", "", 7, 1, vqc_resize_shape, vqc_resize_run, .detail = &UPSAMPLE_7),
    VQC_EXEC_ROW("Upsample", "", 9, 2, vqc_resize_shape, vqc_resize_run, .detail = &UPSAMPLE_9),
    VQC_EXEC_ROW("Resize", "", 10, 2, vqc_resize_shape, vqc_resize_run, .detail = &UPSAMPLE_9),
    VQC_EXEC_ROW("Resize", "", 11, 1, vqc_resize_shape, vqc_resize_run, .detail = &RESIZE_11),
    VQC_EXEC_ROW("GridSample", "", 16, 2, vqc_grid_sample_shape, vqc_grid_sample_run,
                 .detail = NULL),
    VQC_EXEC_ROW("AffineGrid", "", 20, 2, vqc_affine_grid_shape, vqc_affine_grid_run,
                 .detail = NULL),
    VQC_EXEC_ROW("RoiAlign", "", 10, 3, vqc_roi_align_shape, vqc_roi_align_run, .detail = NULL),
    VQC_EXEC_ROW("Col2Im", "", 18, 3, vqc_col2im_shape, vqc_col2im_run, .detail = NULL),
    VQC_EXEC_ROW("DeformConv", "", 19, 3, vqc_deform_conv_shape, vqc_deform_conv_run,
                 .detail = NULL),
};

const vqc_exec_family vqc_exec_ops_image = {OPS, sizeof OPS / sizeof OPS[0]};
