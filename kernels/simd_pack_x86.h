/* Blocks of 64 codes on AVX2 instructions, for the AVX2 and the AVX-512 kernels; see simd_pack.h.
 */
#ifndef VQC_KERNELS_SIMD_PACK_X86_H
#define VQC_KERNELS_SIMD_PACK_X86_H

/* Fields of 32 codes, one per byte. There is no byte shift: 16-bit lanes are shifted and the bits
 * that came in from the neighbour masked off. */
VQC_INLINE __m256i plane_of(const uint8_t *codes, int shift, int width)
{
    const int mask = (0xff >> shift) & ((1 << width) - 1);
    const __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)codes);
    return _mm256_and_si256(_mm256_srl_epi16(v, _mm_cvtsi32_si128(shift)),
                            _mm256_set1_epi8((char)mask));
}

VQC_INLINE void extract_block(const uint8_t *codes, int shift, int width, uint8_t *plane)
{
    const __m256i a = plane_of(codes, shift, width), b = plane_of(codes + 32, shift, width);
    _mm256_storeu_si256((__m256i *)(void *)plane, a);
    _mm256_storeu_si256((__m256i *)(void *)(plane + 32), b);
}

VQC_INLINE void pack_block(const uint8_t *codes, int shift, int width, uint8_t *packed)
{
    const __m256i a = plane_of(codes, shift, width), b = plane_of(codes + 32, shift, width);
    if (width == 1) {
        const uint32_t lo = (uint32_t)_mm256_movemask_epi8(_mm256_slli_epi16(a, 7));
        const uint32_t hi = (uint32_t)_mm256_movemask_epi8(_mm256_slli_epi16(b, 7));
        const uint64_t bits = (uint64_t)hi << 32 | lo;
        memcpy(packed, &bits, sizeof bits);
        return;
    }
    /* Even + 2^width * odd neighbours: pairs in 16-bit lanes. */
    const __m256i by = _mm256_set1_epi16((short)(1 | 1 << width << 8));
    const __m256i pairs_a = _mm256_maddubs_epi16(a, by), pairs_b = _mm256_maddubs_epi16(b, by);
    if (width == 4) {
        const __m256i bytes = _mm256_packus_epi16(pairs_a, pairs_b);
        _mm256_storeu_si256((__m256i *)(void *)packed,
                            _mm256_permute4x64_epi64(bytes, _MM_SHUFFLE(3, 1, 2, 0)));
        return;
    }
    const __m256i by4 = _mm256_set1_epi32(1 | 16 << 16);
    const __m256i words =
        _mm256_packs_epi32(_mm256_madd_epi16(pairs_a, by4), _mm256_madd_epi16(pairs_b, by4));
    const __m256i ordered = _mm256_permute4x64_epi64(words, _MM_SHUFFLE(3, 1, 2, 0));
    _mm_storeu_si128(
        (__m128i *)(void *)packed,
        _mm_packus_epi16(_mm256_castsi256_si128(ordered), _mm256_extracti128_si256(ordered, 1)));
}

/* 32 fields, one per byte. */
VQC_INLINE __m256i spread(const uint8_t *packed, int width)
{
    if (width == 4) {
        const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)packed);
        const __m256i w = _mm256_cvtepu8_epi16(bytes);
        return _mm256_and_si256(_mm256_or_si256(w, _mm256_slli_epi16(w, 4)),
                                _mm256_set1_epi8(0x0f));
    }
    if (width == 2) {
        const __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)packed);
        __m256i d = _mm256_cvtepu8_epi32(bytes);
        d = _mm256_or_si256(d, _mm256_slli_epi32(d, 12)); /* fields 0 1 | 2 3 start at bit 0, 16 */
        d = _mm256_or_si256(d, _mm256_slli_epi32(d, 6));
        return _mm256_and_si256(d, _mm256_set1_epi8(3));
    }
    uint32_t bits;
    memcpy(&bits, packed, sizeof bits);
    /* Byte i of the vector: byte i / 8 of the input, of which bit i % 8 is tested. */
    const __m256i from =
        _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201ull);
    const __m256i copies = _mm256_shuffle_epi8(_mm256_set1_epi32((int32_t)bits), from);
    const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(copies, bit), bit);
    return _mm256_and_si256(set, _mm256_set1_epi8(1));
}

VQC_INLINE void unpack_block(const uint8_t *packed, int shift, int width, bool merge,
                             uint8_t *codes)
{
    const __m256i keep = _mm256_set1_epi8((char)(0xff >> shift));
    for (int half = 0; half < 2; half++) {
        __m256i *at = (__m256i *)(void *)(codes + 32 * half);
        __m256i v = spread(packed + 4 * width * half, width);
        if (merge) {
            v = _mm256_sll_epi16(_mm256_and_si256(v, keep), _mm_cvtsi32_si128(shift));
            v = _mm256_or_si256(v, _mm256_loadu_si256(at));
        }
        _mm256_storeu_si256(at, v);
    }
}

#endif
