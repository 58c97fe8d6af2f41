/* The kernels of kernel_list.h on AVX2. */
#include "kernels/math_avx2.h"
#include "kernels/simd_avx2.h"
#include "kernels/simd_vq_x86.h"

#define DECLARE(name, family, kind, ret, params) VQC_KERNEL_DECLARE(avx2, name, ret, params)
VQC_KERNEL_LIST(DECLARE)

#define KERNEL(name) vqc_##name##__avx2
#include "kernels/simd_bodies.h"

#define TABLE_ENTRY(name, family, kind, ret, params) .name = KERNEL(name),
const vqc_kernels vqc_kernels__avx2 = {VQC_KERNEL_LIST(TABLE_ENTRY)};
