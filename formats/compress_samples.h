/* The samples of a compression: opened when the recipe or the caller asks for them. Shared by
 * formats/compress_*.c only. */
#ifndef VQC_FORMATS_COMPRESS_SAMPLES_H
#define VQC_FORMATS_COMPRESS_SAMPLES_H

#include "core/data/samples.h"
#include "core/data/samples_finite.h"
#include "core/model.h"
#include "core/recipe.h"

typedef struct vqc_compress_samples {
    vqc_samples *calibration;      /* NULL: none asked for */
    vqc_samples *evaluation;       /* NULL: none asked for */
    vqc_samples_left_out left_out; /* of the calibration samples there were */
} vqc_compress_samples;

/*
 * Opens what recipe and options name, for the inputs of `model`: evaluation data as far as they are
 * named, calibration data without the samples that have NaN or infinite inputs. Errors: those of
 * vqc_samples_open, all problems of both in one message, a line each; of vqc_samples_keep_finite.
 */
vqc_status vqc_compress_samples_open(const vqc_model *model, const vqc_recipe *recipe,
                                     const vqc_run_options *options, vqc_compress_samples *out,
                                     vqc_error *error);
void vqc_compress_samples_close(vqc_compress_samples *samples);

#endif
