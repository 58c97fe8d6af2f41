/* Picks the table of kernels for this CPU, once, and lets the caller force another. */
#include "kernels/kernels.h"

#include <stdatomic.h>
#include <string.h>

#define TABLE_ENTRY_C(name, family, kind, ret, params) .name = vqc_##name##__c,
const vqc_kernels vqc_kernels__c = {VQC_KERNEL_LIST(TABLE_ENTRY_C)};

static const char *const isa_names[VQC_ISA_COUNT] = {"c", "avx2", "avx512", "neon"};

const vqc_kernels *vqc_kernels_table(vqc_isa isa)
{
    switch (isa) {
    case VQC_ISA_C:
        return &vqc_kernels__c;
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
