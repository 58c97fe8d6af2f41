#include "core/cpu.h"

#include <stdio.h>

#include "kernels/kernels.h"

/* Appends the available names to `text`: "c, avx2". */
static void list_available(char *text, size_t size)
{
    size_t used = 0;
    const char *name;
    for (size_t i = 0; (name = vqc_cpu_available(i)) != NULL && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", i > 0 ? ", " : "", name);
}

vqc_status vqc_cpu_select(const char *name, vqc_error *error)
{
    char available[64] = "";
    list_available(available, sizeof available);
    vqc_isa isa;
    if (!vqc_isa_parse(name, &isa))
        return vqc_fail(error, VQC_ERR_USAGE,
                        "--cpu: got \"%s\", expected c, avx2, avx512 or neon (here: %s)", name,
                        available);
    if (!vqc_kernels_select(isa))
        return vqc_fail(error, VQC_ERR_USAGE, "--cpu: this program or processor has no %s, only %s",
                        name, available);
    return VQC_OK;
}

const char *vqc_cpu_name(void)
{
    return vqc_isa_name(vqc_kernels_isa());
}

const char *vqc_cpu_available(size_t index)
{
    size_t seen = 0;
    for (vqc_isa isa = VQC_ISA_C; isa < VQC_ISA_COUNT; isa++)
        if (vqc_kernels_table(isa) != NULL && seen++ == index)
            return vqc_isa_name(isa);
    return NULL;
}
