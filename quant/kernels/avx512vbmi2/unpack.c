/* SPDX-License-Identifier: Apache-2.0 */
/* AVX512-VBMI2 unpacking of the masked formats. */
#include "expand_internal.h"

/* Codes 16 times too large (in the high nibbles of bytes that are zero below) back to their size. */
INLINE __m512i lowered(__m512i codes) { return _mm512_srli_epi32(codes, 4); }

const uint8_t *unpack_int4_mask_avx512vbmi2(const uint8_t *codes, uint32_t quads, uint8_t *lines) {
    const uint8_t *low = codes + (size_t)quads * 8, *high = low;
    const size_t half = quads / 2;
    for (size_t quad = 0; quad < half; quad++) {
        __mmask64 first = load_mask(codes + quad * 8), second = load_mask(codes + (quad + half) * 8);
        _mm512_store_si512(lines + quad * PANEL_LINE, expand_masked(first, low, 0));
        _mm512_store_si512(lines + (quad + half) * PANEL_LINE, lowered(expand_masked(second, high, 1)));
        low += mask_count(first);
        high += mask_count(second);
    }
    return low > high ? low : high;
}

const uint8_t *unpack_int4_48_avx512vbmi2(const uint8_t *codes, uint32_t quads, uint8_t *lines) {
    /* 64-bit lanes of rows 0-7 and 8-15 to 32-bit lanes of 16 rows: even lanes are the first quad, odd the second. */
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    for (uint32_t quad = 0; quad < quads; quad += 8, codes += (size_t)3 * PANEL_LINE) {
        _Pragma("GCC unroll 4") for (unsigned octet = 0; octet < 4; octet++) {
            __m512i low = expand_48(codes, octet, 0), high = lowered(expand_48(codes, octet, 1));
            uint8_t *to = lines + (size_t)(quad + 2 * octet) * PANEL_LINE;
            _mm512_store_si512(to, _mm512_permutex2var_epi32(low, even, high));
            _mm512_store_si512(to + PANEL_LINE, _mm512_permutex2var_epi32(low, odd, high));
        }
    }
    return codes;
}
