/* SPDX-License-Identifier: Apache-2.0 */
/* AVX-512BW: one quad of a panel (16 rows x 4 k) from its packed form to a register of stored codes. */
#ifndef AVX512_EXPAND_INTERNAL_H
#define AVX512_EXPAND_INTERNAL_H

#include <immintrin.h>

#include "kernels.h"

INLINE __m512i load_line(const uint8_t *at) { return _mm512_loadu_si512((const void *)at); }

/* 2:4: the rank of the quad is in the low bits of each lane; a table look-up turns it into the lane's byte shuffle. */
INLINE __m512i expand_24(const uint8_t *block, unsigned q) {
    /* Controls of the ranks 0..7 (twice, bit 3 does not count) for values in bytes 0, 1 of the lane; 0x80 writes
     * zero. */
    const __m512i table = _mm512_broadcast_i64x4(_mm256_setr_epi32(
        (int)0x80800100, (int)0x80018000, (int)0x01808000, (int)0x80010080, (int)0x01800080, (int)0x01008080,
        (int)0x01008080, (int)0x01008080));
    /* Added to every byte: 4 x lane within the 128 bits, and 2 where the quad's values are the upper bytes. */
    const __m512i lanes = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c));
    const __m512i offset = q % 2 ? _mm512_or_si512(lanes, _mm512_set1_epi8(2)) : lanes;
    __m512i ranks = _mm512_srli_epi32(load_line(block), 4 * q);
    __m512i control = _mm512_or_si512(_mm512_permutexvar_epi32(ranks, table), offset);
    __m512i values = load_line(block + PANEL_LINE * (1 + q / 4));
    if (q % 4 >= 2)
        values = _mm512_srli_epi32(values, 4);
    values = _mm512_and_si512(values, _mm512_set1_epi8(15));
    return _mm512_xor_si512(_mm512_shuffle_epi8(values, control), _mm512_set1_epi8(8));
}

INLINE __m512i expand_int3(const uint8_t *block, unsigned q) {
    const __m512i low_mask = _mm512_set1_epi8(3), all_mask = _mm512_set1_epi8(7);
    __m512i low = _mm512_srli_epi32(load_line(block + q / 4 * PANEL_LINE), q % 4 * 2);
    __m512i third = load_line(block + 2 * PANEL_LINE);
    third = q < 2 ? _mm512_slli_epi32(third, 2 - q) : _mm512_srli_epi32(third, q - 2);
    /* bits 0, 1 of low, the others of third: (low & 3) | (third & ~3) */
    __m512i both = _mm512_ternarylogic_epi32(low_mask, low, third, 0xca);
    return _mm512_and_si512(both, all_mask);
}

/* Quad q (0..7, a constant after unrolling) of a block of a format whose blocks are all of one size. */
INLINE __m512i expand_quad(number_format format, const uint8_t *block, unsigned q) {
    switch (format) {
    case FORMAT_INT8:
        return load_line(block + q * PANEL_LINE);
    case FORMAT_INT4: {
        __m512i line = load_line(block + q / 2 * PANEL_LINE);
        return _mm512_and_si512(q % 2 ? _mm512_srli_epi32(line, 4) : line, _mm512_set1_epi8(15));
    }
    case FORMAT_INT3:
        return expand_int3(block, q);
    case FORMAT_INT2:
        return _mm512_and_si512(_mm512_srli_epi32(load_line(block + q / 4 * PANEL_LINE), q % 4 * 2),
                                _mm512_set1_epi8(3));
    default:
        return expand_24(block, q);
    }
}

#endif
