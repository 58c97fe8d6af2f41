/* Choosing the instruction set of the kernels by name. */
#ifndef VQC_CORE_CPU_H
#define VQC_CORE_CPU_H

#include <stddef.h>

#include "core/error.h"

/* Makes `name` ("c", "avx2", "avx512", "neon") the instruction set of all kernels. Call it before
 * anything is computed. Errors: VQC_ERR_USAGE for another name, or when this build or CPU lacks it.
 */
vqc_status vqc_cpu_select(const char *name, vqc_error *error);

/* Name of the instruction set in use. */
const char *vqc_cpu_name(void);

/* Name number `index` of those that this build and CPU can use, "c" first; NULL behind the last. */
const char *vqc_cpu_available(size_t index);

#endif
