/* Shape rules and run functions of the operators on pictures; their rows are in exec_ops_image.c
 * and exec_ops_legacy.c. */
#ifndef VQC_CORE_EXEC_EXEC_IMAGE_H
#define VQC_CORE_EXEC_EXEC_IMAGE_H

#include "core/exec/exec_op.h"

/* What a row's detail says about a version of Resize or Upsample. */
typedef struct vqc_resize_version {
    size_t scales; /* input that has them; 0: attribute */
    size_t roi;    /* input, 0: none */
    size_t sizes;
    bool modes; /* has coordinate_transformation_mode and what came with it in version 11 */
} vqc_resize_version;

/* Resize and Upsample (resize.c). Source: ONNX Upsample 7, 9, Resize 10 to 19. */
vqc_exec_fn vqc_resize_shape;
vqc_exec_fn vqc_resize_run;

/* grid_sample.c. Source: ONNX GridSample 16 to 22, AffineGrid 20, RoiAlign 10 to 22. */
vqc_exec_fn vqc_grid_sample_shape;
vqc_exec_fn vqc_grid_sample_run;
vqc_exec_fn vqc_affine_grid_shape;
vqc_exec_fn vqc_affine_grid_run;
vqc_exec_fn vqc_roi_align_shape;
vqc_exec_fn vqc_roi_align_run;

/* columns.c. Source: ONNX Col2Im 18; DeformConv 19, 22 (Zhu et al., arXiv 1811.11168). */
vqc_exec_fn vqc_col2im_shape;
vqc_exec_fn vqc_col2im_run;
vqc_exec_fn vqc_deform_conv_shape;
vqc_exec_fn vqc_deform_conv_run;

#endif
