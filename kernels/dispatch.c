/* Picks the table of kernels for this CPU, once, and lets the caller force another. */
#include "kernels/kernels.h"

#include <stdatomic.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define TABLE_ENTRY_C(name, family, kind, ret, params) .name = vqc_##name##__c,
const vqc_kernels vqc_kernels__c = {VQC_KERNEL_LIST(TABLE_ENTRY_C)};

static const char *const isa_names[VQC_ISA_COUNT] = {"c", "avx2", "avx512", "neon"};

#if defined(__x86_64__)
/* The low half of extended control register 0: which register files the operating system saves. */
static unsigned read_xcr0(void)
{
    unsigned lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    (void)hi;
    return lo;
}

/* Bit numbers: Intel SDM volume 2, CPUID leaves 1 and 7; volume 1, 13.3 for XCR0. */
static bool cpu_has(vqc_isa isa)
{
    const unsigned need_1 = 1u << 12 | 1u << 27 | 1u << 28 | 1u << 29;   /* FMA OSXSAVE AVX F16C */
    const unsigned need_7 = 1u << 5 | 1u << 8;                           /* AVX2 BMI2 */
    const unsigned need_512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31; /* F DQ BW VL */
    const unsigned state_256 = 1u << 1 | 1u << 2;                        /* XMM YMM */
    const unsigned state_512 = state_256 | 1u << 5 | 1u << 6 | 1u << 7;  /* mask, ZMM */
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & need_1) != need_1)
        return false;
    const unsigned xcr0 = read_xcr0(); /* legal: OSXSAVE is set */
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (b & need_7) != need_7)
        return false;
    if (isa == VQC_ISA_AVX2)
        return (xcr0 & state_256) == state_256;
    return (b & need_512) == need_512 && (xcr0 & state_512) == state_512;
}
#endif

const vqc_kernels *vqc_kernels_table(vqc_isa isa)
{
    switch (isa) {
    case VQC_ISA_C:
        return &vqc_kernels__c;
#if defined(__x86_64__)
    case VQC_ISA_AVX2:
        return cpu_has(isa) ? &vqc_kernels__avx2 : NULL;
    case VQC_ISA_AVX512:
        return cpu_has(isa) ? &vqc_kernels__avx512 : NULL;
#endif
#if defined(__aarch64__)
    case VQC_ISA_NEON: /* part of the base architecture */
        return &vqc_kernels__neon;
#endif
    default:
        return NULL;
    }
}

/* The active ISA plus one; 0 until the first use. Racing first uses compute and store the same
 * value. */
static atomic_int active;

vqc_isa vqc_kernels_isa(void)
{
    int value = atomic_load_explicit(&active, memory_order_acquire);
    if (value == 0) {
        int best = VQC_ISA_COUNT - 1;
        while (vqc_kernels_table((vqc_isa)best) == NULL)
            best--; /* ends at VQC_ISA_C */
        /* A vqc_kernels_select in between wins. */
        if (atomic_compare_exchange_strong(&active, &value, best + 1))
            value = best + 1;
    }
    return (vqc_isa)(value - 1);
}

const vqc_kernels *vqc_kernels_get(void)
{
    static const vqc_kernels *const tables[VQC_ISA_COUNT] = {
        [VQC_ISA_C] = &vqc_kernels__c,
#if defined(__x86_64__)
        [VQC_ISA_AVX2] = &vqc_kernels__avx2,
        [VQC_ISA_AVX512] = &vqc_kernels__avx512,
#endif
#if defined(__aarch64__)
        [VQC_ISA_NEON] = &vqc_kernels__neon,
#endif
    };
    return tables[vqc_kernels_isa()];
}

bool vqc_kernels_select(vqc_isa isa)
{
    if (vqc_kernels_table(isa) == NULL)
        return false;
    atomic_store_explicit(&active, (int)isa + 1, memory_order_release);
    return true;
}

const char *vqc_isa_name(vqc_isa isa)
{
    return (unsigned)isa < VQC_ISA_COUNT ? isa_names[isa] : "unknown";
}

bool vqc_isa_parse(const char *name, vqc_isa *isa)
{
    for (int i = 0; i < VQC_ISA_COUNT; i++) {
        if (strcmp(name, isa_names[i]) == 0) {
            *isa = (vqc_isa)i;
            return true;
        }
    }
    return false;
}
