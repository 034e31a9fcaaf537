/* SPDX-License-Identifier: Apache-2.0 */
/* AVX-512BW: 2:4 and 4:8 with the activations drawn to the codes: avx2/draw_internal.h for 16 rows at a time. */
#ifndef AVX512_DRAW_INTERNAL_H
#define AVX512_DRAW_INTERNAL_H

#include "expand_internal.h"

#include "../draw_internal.h"

/* Eight activations, 128 added, in every 64-bit lane. */
typedef int64_t aliased_i64 __attribute__((may_alias, aligned(1)));
INLINE __m512i spread_octet(const int8_t *x) {
    return _mm512_xor_si512(_mm512_set1_epi64(*(const aliased_i64 *)(const void *)x), _mm512_set1_epi8((char)0x80));
}

INLINE __m512i draw_table(const uint8_t *table) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)table));
}

/* The controls of a block's four octets. */
INLINE void draw_24(const uint8_t *block, __m512i ret[4]) {
    const __m512i nibble = _mm512_set1_epi8(15);
    __m512i ranks = _mm512_shuffle_epi8(load_line(block), draw_table(draw_order));
    __m512i first = _mm512_shuffle_epi8(draw_table(draw_ranks[0]), _mm512_and_si512(ranks, nibble));
    __m512i second = _mm512_shuffle_epi8(draw_table(draw_ranks[1]),
                                         _mm512_and_si512(_mm512_srli_epi16(ranks, 4), nibble));
    __m512i first_high = _mm512_srli_epi16(first, 4), second_high = _mm512_srli_epi16(second, 4);
    __m512i low[2] = {_mm512_unpacklo_epi8(first, first_high), _mm512_unpackhi_epi8(first, first_high)};
    __m512i high[2] = {_mm512_unpacklo_epi8(second, second_high), _mm512_unpackhi_epi8(second, second_high)};
    _Pragma("GCC unroll 2") for (int i = 0; i < 2; i++) {
        ret[2 * i] = _mm512_unpacklo_epi16(low[i], high[i]);
        ret[2 * i + 1] = _mm512_unpackhi_epi16(low[i], high[i]);
    }
}

INLINE void draw_48(const uint8_t *block, __m512i ret[4]) {
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i nibble = _mm512_set1_epi8(15);
    __m512i masks = _mm512_permutexvar_epi32(order, load_line(block));
    __m512i low = _mm512_and_si512(masks, nibble), high = _mm512_and_si512(_mm512_srli_epi16(masks, 4), nibble);
    __m512i even = _mm512_or_si512(_mm512_shuffle_epi8(draw_table(draw_masks[0]), low),
                                   _mm512_shuffle_epi8(draw_table(draw_masks[2]), high));
    __m512i odd = _mm512_or_si512(_mm512_shuffle_epi8(draw_table(draw_masks[1]), low),
                                  _mm512_shuffle_epi8(draw_table(draw_masks[3]), high));
    __m512i places[2] = {_mm512_unpacklo_epi8(even, odd), _mm512_unpackhi_epi8(even, odd)};
    _Pragma("GCC unroll 2") for (int i = 0; i < 2; i++) {
        __m512i back = _mm512_srli_epi16(places[i], 4);
        ret[2 * i] = _mm512_unpacklo_epi16(places[i], back);
        ret[2 * i + 1] = _mm512_unpackhi_epi16(places[i], back);
    }
}

INLINE void draw_controls(number_format format, const uint8_t *block, __m512i ret[4]) {
    if (format == FORMAT_INT4_24)
        draw_24(block, ret);
    else
        draw_48(block, ret);
}

/* The signed kept codes of octet o. */
INLINE __m512i draw_codes(number_format format, const uint8_t *block, unsigned o) {
    const __m512i nibble = _mm512_set1_epi8(15);
    if (format == FORMAT_INT4_48) { /* rows 8-15 in the high nibbles */
        const __m512i shift = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi32(4), 1);
        __m512i both = _mm512_broadcast_i64x4(
            _mm256_loadu_si256((const __m256i *)(const void *)(block + PANEL_LINE + o * 32)));
        return _mm512_sub_epi8(_mm512_and_si512(_mm512_srlv_epi32(both, shift), nibble), _mm512_set1_epi8(8));
    }
    __m512i both = load_line(block + PANEL_LINE * (1 + o / 2));
    return _mm512_shuffle_epi8(draw_table((const uint8_t *)draw_signs),
                               _mm512_and_si512(o % 2 ? _mm512_srli_epi32(both, 4) : both, nibble));
}

#endif
