/* Looking into a model: where its bytes are and, beside a reference, what its weights lost. */
#ifndef VQC_CORE_INSPECT_H
#define VQC_CORE_INSPECT_H

#include "core/model.h"

/*
 * Fills *out (the caller's: vqc_inspection_destroy) for `model`; with `reference` (may be NULL)
 * also the errors of its weights. Both models must come unchanged from a file. One weight at a time
 * is decoded. A weight that cannot be decoded is named in its layer's reason, not an error. Errors:
 * VQC_ERR_MODEL for graphs that cannot be indexed, out of memory.
 */
vqc_status vqc_inspect_model(vqc_model *model, vqc_model *reference, vqc_inspection **out,
                             vqc_error *error);

#endif
