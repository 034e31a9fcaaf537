/* SPDX-License-Identifier: Apache-2.0 */
/* AVX-512BW: the bitmask format for CPUs without VBMI2: shuffles for whole registers, made of the
 * masks of four quads of each half of a group. */
#ifndef AVX512_MASK_INTERNAL_H
#define AVX512_MASK_INTERNAL_H

#include "expand_internal.h"

#include "../mask_internal.h"

INLINE __m512i mask_look_up(const uint8_t *table, __m512i nibbles) {
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)table)), nibbles);
}

/* Words of eight quads' masks: four rows of each quad to the same 128 bits. */
static const uint16_t mask_order[32] = {0, 4, 8,  12, 16, 20, 24, 28, 1, 5, 9,  13, 17, 21, 25, 29,
                                        2, 6, 10, 14, 18, 22, 26, 30, 3, 7, 11, 15, 19, 23, 27, 31};

/* Of four quads of both halves, a byte a row: its mask and the codes that the rows before it in its four rows keep.
 * Every 128 bits hold four rows of each quad. */
struct mask_rows {
    __m512i masks[2], before[2];
};

/* From the masks of both halves. */
INLINE struct mask_rows mask_rows(const uint8_t *first, const uint8_t *second) {
    const __m512i nibble = _mm512_set1_epi8(15);
    __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(const void *)first)),
                                      _mm256_loadu_si256((const __m256i *)(const void *)second), 1);
    __m512i words = _mm512_permutexvar_epi16(_mm512_loadu_si512((const void *)mask_order), both);
    __m512i even = _mm512_and_si512(words, nibble), odd = _mm512_and_si512(_mm512_srli_epi16(words, 4), nibble);
    __m512i kept = mask_look_up(mask_counts, even);
    /* Bytes are rows 0 and 2 of four, or 1 and 3. */
    __m512i before = _mm512_slli_epi16(_mm512_add_epi8(kept, mask_look_up(mask_counts, odd)), 8);
    __m512i before_odd = _mm512_add_epi8(before, kept);
    return (struct mask_rows){{_mm512_unpacklo_epi8(even, odd), _mm512_unpackhi_epi8(even, odd)},
                              {_mm512_unpacklo_epi8(before, before_odd), _mm512_unpackhi_epi8(before, before_odd)}};
}

/* Byte shuffles that bring the kept codes of four rows, as they follow each other, to their places, for four quads of
 * a half. What they say of pruned places is free. */
INLINE void mask_controls(const struct mask_rows *rows, unsigned half, __m512i ret[4]) {
    __m512i plane[4] = {rows->before[half]};
    _Pragma("GCC unroll 3") for (int i = 1; i < 4; i++) plane[i] =
        _mm512_add_epi8(mask_look_up(mask_ranks[i], rows->masks[half]), rows->before[half]);
    __m512i low[2] = {_mm512_unpacklo_epi8(plane[0], plane[1]), _mm512_unpackhi_epi8(plane[0], plane[1])};
    __m512i high[2] = {_mm512_unpacklo_epi8(plane[2], plane[3]), _mm512_unpackhi_epi8(plane[2], plane[3])};
    _Pragma("GCC unroll 2") for (int i = 0; i < 2; i++) {
        ret[2 * i] = _mm512_unpacklo_epi16(low[i], high[i]);
        ret[2 * i + 1] = _mm512_unpackhi_epi16(low[i], high[i]);
    }
}

INLINE __m512i mask_insert(__m512i raw, const uint8_t *at, __mmask16 lanes) {
    return _mm512_mask_broadcast_i32x4(raw, lanes, _mm_loadu_si128((const __m128i *)(const void *)at));
}

/* A quad from its mask, its nibbles (moved on to the next quad's) and its control: both nibbles of every byte, 0x88
 * where it is pruned. */
INLINE __m512i mask_quad(const uint8_t *mask, const uint8_t **nibbles, __m512i control) {
    struct mask_starts starts = mask_starts(mask, *nibbles);
    __m512i raw = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(const void *)starts.rows[0]));
    raw = mask_insert(raw, starts.rows[1], 0x00f0);
    raw = mask_insert(raw, starts.rows[2], 0x0f00);
    raw = mask_insert(raw, starts.rows[3], 0xf000);
    uint64_t kept;
    memcpy(&kept, mask, sizeof kept);
    *nibbles = starts.next;
    return _mm512_mask_shuffle_epi8(_mm512_set1_epi8((char)0x88), _cvtu64_mask64(kept), raw, control);
}

#endif
