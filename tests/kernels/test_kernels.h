/* Shared by the parts of the kernel test. */
#ifndef VQC_TESTS_KERNELS_TEST_KERNELS_H
#define VQC_TESTS_KERNELS_TEST_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernel_call.h"

/* Counts one check; a failure prints the formatted text (the first 20 of them). */
void test_check(bool ok, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Next number of the one seeded generator (xorshift64*). */
uint64_t test_random(void);

/* A random number of 0 .. n - 1. */
size_t test_below(size_t n);

/* Memory of `capacity` bytes, a multiple of the page size, between inaccessible pages; never given
 * back. */
uint8_t *test_guarded(size_t capacity);

/* Uniform in [0, 1). */
double test_uniform(void);

/* Checks of the C reference against values known in closed form (closed_form.c). */
void test_closed_forms(void);

/* Checks of detection, names and selection (closed_form.c). */
void test_dispatch(void);

/* An ISA under test. */
typedef struct test_isa {
    const char *name;
    const vqc_kernels *table;
} test_isa;

/* Whether --break names this kernel: its results must then be perturbed before they are compared.
 */
bool test_breaks(const char *kernel);

/* All checks of one integer kernel, families VQC_FAMILY_INT_... (int_cases.c). */
void test_int_kernel(size_t index, const test_isa *isas, size_t isa_count);
void test_int_closed_forms(void);

/* All checks of one pruning kernel (prune_cases.c). */
void test_prune_kernel(size_t index, const test_isa *isas, size_t isa_count);

/* All checks of one kernel that moves data (move_cases.c). */
void test_move_kernel(size_t index, const test_isa *isas, size_t isa_count);

/* All checks of one float32 product kernel, families VQC_FAMILY_GEMM_... and _TAPS
 * (gemm_cases.c). */
void test_gemm_kernel(size_t index, const test_isa *isas, size_t isa_count);

/* All checks of one nearest-codeword kernel (vq_cases.c). */
void test_nearest_kernel(size_t index, const test_isa *isas, size_t isa_count);
void test_nearest_closed_forms(void);

/* All checks of one math kernel, families VQC_FAMILY_MATH_... (math_cases.c). */
void test_math_kernel(size_t index, const test_isa *isas, size_t isa_count);
void test_math_closed_forms(void);

#endif
