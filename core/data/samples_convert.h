/* Changes of element type in which no value can go wrong. */
#ifndef VQC_CORE_DATA_SAMPLES_CONVERT_H
#define VQC_CORE_DATA_SAMPLES_CONVERT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"
#include "core/exec/buffer.h"

/* Whether values of type `from` may be given to an input of type `to` (some only by their value):
 * between floats, between integers, from integers to floats, from bool. */
bool vqc_samples_type_fits(int32_t from, int32_t to);

/*
 * Replaces *buffer by its values as `to` (VQC_DTYPE_UNDEFINED: as they are). Floats are rounded to
 * nearest; integers must be exact. Errors: VQC_ERR_MODEL for a type or a value that does not fit (a
 * finite float that becomes infinite, an integer out of range or beyond the float's significand),
 * its message starts with `what`; memory. *buffer is unchanged then.
 */
vqc_status vqc_samples_convert(vqc_buffer **buffer, int32_t to, const char *what, vqc_error *error);

#endif
