/* C reference of the bit field kernels: the definition of their results. */
#include "kernels/lanes.h"

void vqc_u8_pack__c(const uint8_t *codes, size_t n, int width, uint8_t *packed)
{
    vqc_pack_scalar(codes, n, 0, width, packed);
}

void vqc_u8_unpack__c(const uint8_t *packed, size_t n, int width, uint8_t *codes)
{
    vqc_unpack_scalar(packed, n, 0, width, false, codes);
}

void vqc_u8_extract_plane__c(const uint8_t *codes, size_t n, int shift, int width, uint8_t *plane)
{
    const unsigned mask = (1u << width) - 1u;
    for (size_t i = 0; i < n; i++)
        plane[i] = (uint8_t)((unsigned)codes[i] >> shift & mask);
}

void vqc_u8_pack_plane__c(const uint8_t *codes, size_t n, int shift, int width, uint8_t *packed)
{
    vqc_pack_scalar(codes, n, shift, width, packed);
}

void vqc_u8_unpack_plane__c(const uint8_t *packed, size_t n, int shift, int width, uint8_t *codes)
{
    vqc_unpack_scalar(packed, n, shift, width, true, codes);
}
