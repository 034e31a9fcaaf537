/* SPDX-License-Identifier: Apache-2.0 */
/* AVX2: 2:4 and 4:8 without spreading codes to lines. Both store the four kept codes of a row and 8 k in one 32-bit
 * lane; a byte shuffle draws the four activations that they meet to them, and one byte product covers 8 k of 8 rows.
 *
 * The byte product takes one side unsigned: that is the activations, 128 added, and the codes keep their sign, since a
 * row's kept activations have no sum that rows could share. 128 times the codes' sum is taken back once a block. */
#ifndef AVX2_DRAW_INTERNAL_H
#define AVX2_DRAW_INTERNAL_H

#include "expand_internal.h"

#include "../draw_internal.h"

enum { BLOCK_OCTETS = 4 };

/* Eight activations, 128 added, in every 64-bit lane. */
typedef int64_t aliased_i64 __attribute__((may_alias, aligned(1)));
INLINE __m256i spread_octet(const int8_t *x) {
    return _mm256_xor_si256(_mm256_set1_epi64x(*(const aliased_i64 *)(const void *)x), _mm256_set1_epi8((char)0x80));
}

INLINE __m256i draw_table(const uint8_t *table) {
    __asm__("" : "+r"(table)); /* a load: gcc would put the table together from immediates, again and again */
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)table));
}

/* The controls of the four octets of half h. */
INLINE void draw_24(const uint8_t *block, unsigned h, __m256i ret[4]) {
    const __m256i nibble = _mm256_set1_epi8(15);
    __m256i ranks = _mm256_shuffle_epi8(load_half(block + (size_t)h * HALF_LINE), draw_table(draw_order));
    __m256i first = _mm256_shuffle_epi8(draw_table(draw_ranks[0]), _mm256_and_si256(ranks, nibble));
    __m256i second = _mm256_shuffle_epi8(draw_table(draw_ranks[1]),
                                         _mm256_and_si256(_mm256_srli_epi16(ranks, 4), nibble));
    __m256i first_high = _mm256_srli_epi16(first, 4), second_high = _mm256_srli_epi16(second, 4);
    __m256i low[2] = {_mm256_unpacklo_epi8(first, first_high), _mm256_unpackhi_epi8(first, first_high)};
    __m256i high[2] = {_mm256_unpacklo_epi8(second, second_high), _mm256_unpackhi_epi8(second, second_high)};
    _Pragma("GCC unroll 2") for (int i = 0; i < 2; i++) {
        ret[2 * i] = _mm256_unpacklo_epi16(low[i], high[i]);
        ret[2 * i + 1] = _mm256_unpackhi_epi16(low[i], high[i]);
    }
}

/* The controls of octets 2 pair and 2 pair + 1, of each both halves. */
INLINE void draw_48(const uint8_t *block, unsigned pair, __m256i ret[4]) {
    const __m256i order = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7), nibble = _mm256_set1_epi8(15);
    __m256i masks = _mm256_permutevar8x32_epi32(load_half(block + (size_t)pair * HALF_LINE), order);
    __m256i low = _mm256_and_si256(masks, nibble), high = _mm256_and_si256(_mm256_srli_epi16(masks, 4), nibble);
    __m256i even = _mm256_or_si256(_mm256_shuffle_epi8(draw_table(draw_masks[0]), low),
                                   _mm256_shuffle_epi8(draw_table(draw_masks[2]), high));
    __m256i odd = _mm256_or_si256(_mm256_shuffle_epi8(draw_table(draw_masks[1]), low),
                                  _mm256_shuffle_epi8(draw_table(draw_masks[3]), high));
    /* Words of the places 0, 2, 1, 3, a nibble each: shifted by a nibble they bring up 2 and 3. */
    __m256i places[2] = {_mm256_unpacklo_epi8(even, odd), _mm256_unpackhi_epi8(even, odd)};
    _Pragma("GCC unroll 2") for (int i = 0; i < 2; i++) {
        __m256i back = _mm256_srli_epi16(places[i], 4);
        ret[2 * i] = _mm256_unpacklo_epi16(places[i], back);
        ret[2 * i + 1] = _mm256_unpackhi_epi16(places[i], back);
    }
}

/* Four of the eight controls of a block, those of step 0 or 1; which they are say draw_octet and draw_half. */
INLINE void draw_controls(number_format format, const uint8_t *block, unsigned step, __m256i ret[4]) {
    if (format == FORMAT_INT4_24)
        draw_24(block, step, ret);
    else
        draw_48(block, step, ret);
}
INLINE unsigned draw_octet(number_format format, unsigned step, unsigned i) {
    return format == FORMAT_INT4_24 ? i : 2 * step + i / 2;
}
INLINE unsigned draw_half(number_format format, unsigned step, unsigned i) {
    return format == FORMAT_INT4_24 ? step : i % 2;
}

/* The signed kept codes of octet o, half h. */
INLINE __m256i draw_codes(number_format format, const uint8_t *block, unsigned o, unsigned h) {
    const __m256i nibble = _mm256_set1_epi8(15);
    if (format == FORMAT_INT4_48) {
        __m256i both = load_half(block + PANEL_LINE + (size_t)o * HALF_LINE);
        return _mm256_sub_epi8(_mm256_and_si256(h ? _mm256_srli_epi32(both, 4) : both, nibble), _mm256_set1_epi8(8));
    }
    __m256i both = load_half(block + PANEL_LINE * (1 + o / 2) + (size_t)h * HALF_LINE);
    return _mm256_shuffle_epi8(draw_table((const uint8_t *)draw_signs),
                               _mm256_and_si256(o % 2 ? _mm256_srli_epi32(both, 4) : both, nibble));
}

#endif
