/* All SIMD kernels, written once over a vector of 16 float lanes. A kernels_ISA.c file includes its
 * simd_ISA.h (vector type and operations), defines KERNEL(name) as vqc_name__ISA and then includes
 * this file.
 *
 * The operations, per lane; vf = 16 floats, vi = 16 int32, vm = 16 truth values:
 *   vf_set, vi_set             all lanes equal
 *   vf_load, vi_load, ..._n    16, or the first n < 16 elements of an array; other lanes are `fill`
 * or 0 vf_store, vi_store, ..._n  16 or the first n lanes vi_load_code, vi_store_code, ..._n   the
 * same for u8, s8, u16, s16 codes (stored values are in range) vf_load_f16, vf_store_f16,
 * vf_load_f64, vf_store_f64   the same with conversion, to nearest even vf_add, vf_sub, vf_mul one
 * rounding each vf_min(x, y), vf_max       x < y ? x : y, x > y ? x : y (so y on a tie or NaN)
 *   vf_abs                     clears the sign bit
 *   vf_select, vi_select       m ? x : y
 *   vf_keep_first(x, n)        lane < n ? x : 0
 *   vf_nan_to_zero             x is NaN ? 0 : x
 *   vf_any_nan                 whether a lane is NaN
 *   vi_bits, vf_bits           reinterpretation
 *   vi_round, vi_trunc         to int32: nearest even, toward zero; the caller keeps values in
 * range vf_from_int                to float vi_add, vi_sub, vi_and, vi_or, vi_min (signed), vi_shl,
 * vi_shr (logical) vi_gt                      signed x > y vi_count(c, m), vi_uncount   c + (m ? 1
 * : 0), c - (m ? 1 : 0) vm_bits             bit i: lane i vf_load_cols4(x, stride, v)  lane i of
 * v[e]: x[i * stride + e], e < 4 */
#ifndef VQC_KERNELS_SIMD_BODIES_H
#define VQC_KERNELS_SIMD_BODIES_H

#include "kernels/int_simd.h"
#include "kernels/math_bodies.h"
#include "kernels/move_simd.h"
#include "kernels/prune_simd.h"
#include "kernels/qdq_simd.h"
#include "kernels/simd_convert.h"
#include "kernels/simd_observe.h"
#include "kernels/simd_pack.h"
#include "kernels/simd_quantize.h"
#include "kernels/simd_stats.h"
#include "kernels/vq_simd.h"

#endif
