/* Test tool: npz_copy IN.npz OUT.npz stored|deflated, through the reader and the writer of
 * formats/. */
#include <stdio.h>
#include <string.h>

#include "formats/npz.h"

int main(int argc, char **argv)
{
    vqc_npz *npz = NULL;
    vqc_error error = {0};
    vqc_status status;

    if (argc != 4) {
        (void)fprintf(stderr, "usage: npz_copy IN.npz OUT.npz stored|deflated\n");
        return VQC_ERR_USAGE;
    }
    status = vqc_npz_read(argv[1], &npz, &error);
    if (status == VQC_OK) {
        status = vqc_npz_write(argv[2], npz->arrays, npz->count,
                               strcmp(argv[3], "stored") == 0 ? VQC_NPZ_STORED : VQC_NPZ_DEFLATED,
                               &error);
    }
    vqc_npz_destroy(&npz);
    if (status != VQC_OK) {
        (void)fprintf(stderr, "npz_copy: %s\n", error.message);
    }
    return (int)status;
}
