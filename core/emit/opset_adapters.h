/* The version adapters: "op_version" is the one that leads to that version. Private to
 * core/emit/opset_*. */
#ifndef VQC_CORE_EMIT_OPSET_ADAPTERS_H
#define VQC_CORE_EMIT_OPSET_ADAPTERS_H

#include "core/emit/opset_internal.h"

/* opset_adapt_inputs.c: attributes that became inputs */
vqc_opset_adapter vqc_adapt_axes_input;
vqc_opset_adapter vqc_adapt_clip_11;
vqc_opset_adapter vqc_adapt_dft_20;
vqc_opset_adapter vqc_adapt_dropout_10;
vqc_opset_adapter vqc_adapt_dropout_12;
vqc_opset_adapter vqc_adapt_pad_11;
vqc_opset_adapter vqc_adapt_slice_10;
vqc_opset_adapter vqc_adapt_split_13;
vqc_opset_adapter vqc_adapt_split_18;
vqc_opset_adapter vqc_adapt_topk_10;
vqc_opset_adapter vqc_adapt_upsample_9;
vqc_opset_blocker vqc_block_clip_11;
vqc_opset_blocker vqc_block_dropout_10;
vqc_opset_blocker vqc_block_pad_11;
vqc_opset_blocker vqc_block_slice_10;
vqc_opset_blocker vqc_block_topk_10;
vqc_opset_blocker vqc_block_unsqueeze_13;
vqc_opset_blocker vqc_block_upsample_9;

/* opset_adapt_norm.c: normalizations and the softmax family */
vqc_opset_adapter vqc_adapt_batchnorm_9;
vqc_opset_adapter vqc_adapt_batchnorm_14;
vqc_opset_adapter vqc_adapt_groupnorm_21;
vqc_opset_adapter vqc_adapt_meanvar_9;
vqc_opset_adapter vqc_adapt_meanvar_13;
vqc_opset_adapter vqc_adapt_softmax_13;
vqc_opset_blocker vqc_block_batchnorm_9;
vqc_opset_blocker vqc_block_batchnorm_14;
vqc_opset_blocker vqc_block_groupnorm_21;
vqc_opset_blocker vqc_block_meanvar_9;
vqc_opset_blocker vqc_block_softmax_13;

/* opset_adapt_resize.c: resampling */
vqc_opset_adapter vqc_adapt_upsample_10;
vqc_opset_adapter vqc_adapt_resize_11;
vqc_opset_adapter vqc_adapt_resize_13;
vqc_opset_adapter vqc_adapt_roialign_16;
vqc_opset_adapter vqc_adapt_gridsample_20;
vqc_opset_blocker vqc_block_upsample_10;
vqc_opset_blocker vqc_block_resize_11;
vqc_opset_blocker vqc_block_resize_13;

/* opset_adapt_control.c: Scan, renamed operators, types that went */
vqc_opset_adapter vqc_adapt_scan_9;
vqc_opset_adapter vqc_adapt_scatter_11;
vqc_opset_blocker vqc_block_integers;
vqc_opset_blocker vqc_block_scan_9;

#endif
