/* SPDX-License-Identifier: Apache-2.0 */
/* AVX2: the bitmask format without a byte expansion: shuffles for whole registers, made of the masks
 * of four quads. */
#ifndef AVX2_MASK_INTERNAL_H
#define AVX2_MASK_INTERNAL_H

#include "expand_internal.h"

#include "../mask_internal.h"

INLINE __m256i mask_look_up(const uint8_t *table, __m256i nibbles) {
    __asm__("" : "+r"(table)); /* a load: gcc would put the table together from immediates, again and again */
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)table)),
                               nibbles);
}

/* Of two pairs of quads, a byte a row: its mask and the codes that the rows before it in its four rows keep. 64 bits
 * hold rows 0-3 and 8-11 (lower 128 bits) or 4-7 and 12-15 of a quad. */
struct mask_rows {
    __m256i masks[2], before[2];
};

INLINE struct mask_rows mask_rows(const uint8_t *masks) {
    const __m256i order = _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15, 0, 1, 4, 5, 8, 9, 12,
                                           13, 2, 3, 6, 7, 10, 11, 14, 15);
    const __m256i nibble = _mm256_set1_epi8(15);
    __m256i pairs = _mm256_permute4x64_epi64(_mm256_shuffle_epi8(load_half(masks), order), 0xd8);
    __m256i even = _mm256_and_si256(pairs, nibble), odd = _mm256_and_si256(_mm256_srli_epi16(pairs, 4), nibble);
    __m256i kept = mask_look_up(mask_counts, even);
    /* Bytes are rows 0 and 2 of four, or 1 and 3. */
    __m256i before = _mm256_slli_epi16(_mm256_add_epi8(kept, mask_look_up(mask_counts, odd)), 8);
    __m256i before_odd = _mm256_add_epi8(before, kept);
    return (struct mask_rows){{_mm256_unpacklo_epi8(even, odd), _mm256_unpackhi_epi8(even, odd)},
                              {_mm256_unpacklo_epi8(before, before_odd), _mm256_unpackhi_epi8(before, before_odd)}};
}

/* Byte shuffles that bring the kept codes of four rows, as they follow each other, to their places: those of rows 0-7
 * and 8-15 of a pair's first quad, then of its second. */
INLINE void mask_controls(const struct mask_rows *rows, unsigned pair, __m256i ret[4]) {
    __m256i plane[4];
    _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++) plane[i] =
        _mm256_add_epi8(mask_look_up(mask_ranks[i], rows->masks[pair]), rows->before[pair]);
    __m256i low[2] = {_mm256_unpacklo_epi8(plane[0], plane[1]), _mm256_unpackhi_epi8(plane[0], plane[1])};
    __m256i high[2] = {_mm256_unpacklo_epi8(plane[2], plane[3]), _mm256_unpackhi_epi8(plane[2], plane[3])};
    _Pragma("GCC unroll 2") for (int i = 0; i < 2; i++) {
        ret[2 * i] = _mm256_unpacklo_epi16(low[i], high[i]);
        ret[2 * i + 1] = _mm256_unpackhi_epi16(low[i], high[i]);
    }
}

/* Eight rows, whose codes start at `first` (four rows) and `second`, from the nibbles of the group's half. */
INLINE __m256i mask_eight_rows(const uint8_t *first, const uint8_t *second, unsigned half, __m256i control) {
    const __m256i nibble = _mm256_set1_epi8(15);
    __m256i raw = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)first)),
                                          _mm_loadu_si128((const __m128i *)(const void *)second), 1);
    __m256i codes = _mm256_shuffle_epi8(raw, control);
    /* A pruned place holds 0 and its control 0x80 to 0x8c: its nibble becomes the zero code, 8. */
    if (half)
        return _mm256_and_si256(_mm256_srli_epi16(_mm256_or_si256(codes, control), 4), nibble);
    return _mm256_and_si256(_mm256_or_si256(codes, _mm256_srli_epi16(control, 4)), nibble);
}

/* Both halves of a quad from its mask, its nibbles and its controls; returns where the nibbles end. */
INLINE const uint8_t *mask_quad(const uint8_t *mask, const uint8_t *nibbles, unsigned half, const __m256i control[2],
                                __m256i ret[2]) {
    struct mask_starts starts = mask_starts(mask, nibbles);
    ret[0] = mask_eight_rows(starts.rows[0], starts.rows[1], half, control[0]);
    ret[1] = mask_eight_rows(starts.rows[2], starts.rows[3], half, control[1]);
    return starts.next;
}

#endif
