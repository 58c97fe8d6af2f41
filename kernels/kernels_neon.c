/* The kernels of kernel_list.h on NEON. */
#include "kernels/math_neon.h"
#include "kernels/simd_neon.h"
#include "kernels/vq_neon.h"

#define DECLARE(name, family, kind, ret, params) VQC_KERNEL_DECLARE(neon, name, ret, params)
VQC_KERNEL_LIST(DECLARE)

#define KERNEL(name) vqc_##name##__neon
#include "kernels/simd_bodies.h"

#define TABLE_ENTRY(name, family, kind, ret, params) .name = KERNEL(name),
const vqc_kernels vqc_kernels__neon = {VQC_KERNEL_LIST(TABLE_ENTRY)};
