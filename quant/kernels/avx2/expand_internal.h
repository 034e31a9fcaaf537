/* SPDX-License-Identifier: Apache-2.0 */
/* AVX2: half a quad of a panel (8 rows x 4 k) from its packed form to a register of stored codes. Rows 0-7 lie in the
 * first 32 bytes of every line and rows 8-15 in the last, so `at` is a block, or a block and 32 bytes. */
#ifndef AVX2_EXPAND_INTERNAL_H
#define AVX2_EXPAND_INTERNAL_H

#include <immintrin.h>

#include "kernels.h"

enum { HALF_ROWS = 8, HALF_LINE = 32 };
/* Not a format of weights: lines of codes up to 15 as unpacking leaves them. */
#define FORMAT_LINES ((number_format)-1)

INLINE __m256i load_half(const uint8_t *at) { return _mm256_loadu_si256((const __m256i *)(const void *)at); }

/* 2:4: the rank of the quad is in the low bits of each lane; a table look-up turns it into the lane's byte shuffle. */
INLINE __m256i expand_24(const uint8_t *at, unsigned q) {
    /* Controls of the ranks 0..7 for values in bytes 0, 1 of the lane; 0x80 writes zero. */
    const __m256i table = _mm256_setr_epi32((int)0x80800100, (int)0x80018000, (int)0x01808000, (int)0x80010080,
                                            (int)0x01800080, (int)0x01008080, (int)0x01008080, (int)0x01008080);
    /* Added to every byte: 4 x lane within the 128 bits, and 2 where the quad's values are the upper bytes. */
    const __m256i lanes = _mm256_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c, 0, 0x04040404, 0x08080808,
                                            0x0c0c0c0c);
    const __m256i offset = q % 2 ? _mm256_or_si256(lanes, _mm256_set1_epi8(2)) : lanes;
    __m256i ranks = _mm256_srli_epi32(load_half(at), (int)(4 * q));
    __m256i control = _mm256_or_si256(_mm256_permutevar8x32_epi32(table, ranks), offset);
    __m256i values = load_half(at + PANEL_LINE * (1 + q / 4));
    if (q % 4 >= 2)
        values = _mm256_srli_epi32(values, 4);
    values = _mm256_and_si256(values, _mm256_set1_epi8(15));
    return _mm256_xor_si256(_mm256_shuffle_epi8(values, control), _mm256_set1_epi8(8));
}

INLINE __m256i expand_int3(const uint8_t *at, unsigned q) {
    __m256i low = _mm256_srli_epi32(load_half(at + q / 4 * PANEL_LINE), (int)(q % 4 * 2));
    __m256i third = load_half(at + 2 * PANEL_LINE);
    third = q < 2 ? _mm256_slli_epi32(third, (int)(2 - q)) : _mm256_srli_epi32(third, (int)(q - 2));
    return _mm256_or_si256(_mm256_and_si256(low, _mm256_set1_epi8(3)), _mm256_and_si256(third, _mm256_set1_epi8(4)));
}

/* Half of quad q (0..7, a constant after unrolling) of a block of a format whose blocks are all of one size. */
INLINE __m256i expand_half(number_format format, const uint8_t *at, unsigned q) {
    if (format == FORMAT_INT8 || format == FORMAT_LINES)
        return load_half(at + q * PANEL_LINE);
    switch (format) {
    case FORMAT_INT4: {
        __m256i line = load_half(at + q / 2 * PANEL_LINE);
        return _mm256_and_si256(q % 2 ? _mm256_srli_epi32(line, 4) : line, _mm256_set1_epi8(15));
    }
    case FORMAT_INT3:
        return expand_int3(at, q);
    case FORMAT_INT2:
        return _mm256_and_si256(_mm256_srli_epi32(load_half(at + q / 4 * PANEL_LINE), (int)(q % 4 * 2)),
                                _mm256_set1_epi8(3));
    default:
        return expand_24(at, q);
    }
}

#endif
