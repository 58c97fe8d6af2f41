#include "core/vqc.h"

const char *vqc_version(void)
{
    return VQC_VERSION;
}
