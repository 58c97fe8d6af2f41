/* Opening what a samples request asks for. */
#ifndef VQC_FORMATS_SAMPLES_OPEN_H
#define VQC_FORMATS_SAMPLES_OPEN_H

#include <stddef.h>

#include "core/data/samples.h"
#include "core/data/samples_request.h"

/*
 * Opens the samples of `request` for a model with these inputs [input_count] (names and shapes are
 * copied; request is needed only for this call). Kinds:
 *
 * - ARRAYS: a .npz file whose keys are the names of the inputs, or a .npy file for a model with one
 *   input. An array of the input's rank has its samples along axis 0, each a slice of 1 (or of N
 *   when the model fixes its batch to N); an array of one rank more has them along a leading axis;
 *   a scalar for a scalar input serves all samples. The keys `labels` (integers) and `target` or
 *   `targets` (floats) go with them unless an input has that name. Arrays are read slice by slice;
 *   deflated ones make the samples sequential.
 * - ARRAY_FOLDER: a folder of .npz or .npy files in the order of their names, each one sample.
 * - TENSORS: a folder with input_K.pb, or with folders test_data_set_* of these. A tensor belongs
 *   to the input of its name, else to the K-th one; output_0.pb, when of a float type, is the
 *   target.
 * - FILES: one sample from request.files (.pb or .npy).
 * - IMAGES: a folder of PNG and JPEG files in the order of their names (formats/samples_image.c).
 * - SYNTHETIC: normally distributed floats, uint8 uniform in 0..255, other integers and bools 0 or
 *   1, from request.seed and the sample's index. A path "synthetic" that does not exist means this
 *   as well.
 *
 * Types change only where no value can go wrong: between floats (a finite value that becomes
 * infinite is an error), between integers and from integers to floats when the value itself fits
 * exactly (checked value by value), from bool. `problems` (may be NULL) gets every problem of the
 * request, one line each; error has the first one. Errors: VQC_ERR_MODEL (data that do not fit the
 * model), VQC_ERR_IO (missing or unreadable files), VQC_ERR_USAGE (contradicting options). Files
 * other than that of ARRAYS are read when their sample is asked for, and errors then name the file.
 */
vqc_status vqc_samples_open(const vqc_samples_request *request, const vqc_program_port *inputs,
                            size_t input_count, vqc_samples **out, vqc_messages *problems,
                            vqc_error *error);

#endif
