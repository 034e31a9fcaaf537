/* SPDX-License-Identifier: Apache-2.0 */
/* AVX512-VBMI2: sparse codes spread by a byte expansion; what the mask leaves out becomes the zero code. */
#ifndef AVX512VBMI2_EXPAND_INTERNAL_H
#define AVX512VBMI2_EXPAND_INTERNAL_H

#include <string.h>

#include "../avx512/expand_internal.h"

INLINE uint64_t load_u64(const uint8_t *at) {
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* Bitmask format: a quad of the first (0) or second half of a group from its mask and its nibbles on; 64 bytes are
 * read, whatever the mask says. */
INLINE __m512i expand_masked(const uint8_t *mask, const uint8_t *nibbles, unsigned half) {
    __m512i codes = load_line(nibbles);
    if (half)
        codes = _mm512_srli_epi32(codes, 4);
    codes = _mm512_and_si512(codes, _mm512_set1_epi8(15));
    return _mm512_mask_expand_epi8(_mm512_set1_epi8(8), _cvtu64_mask64(load_u64(mask)), codes);
}
INLINE size_t masked_count(const uint8_t *mask) { return (size_t)__builtin_popcountll(load_u64(mask)); }

/* 4:8: octet o (0..3) of a block; rows 0-7 or 8-15 in 64-bit lanes of 8 k. */
INLINE __m512i expand_48(const uint8_t *block, unsigned octet, unsigned half) {
    __m256i values = _mm256_loadu_si256((const __m256i *)(const void *)(block + PANEL_LINE + octet * 32));
    if (half)
        values = _mm256_srli_epi32(values, 4);
    __m512i codes = _mm512_zextsi256_si512(_mm256_and_si256(values, _mm256_set1_epi8(15)));
    uint64_t mask = load_u64(block + octet * 16 + half * 8);
    return _mm512_mask_expand_epi8(_mm512_set1_epi8(8), _cvtu64_mask64(mask), codes);
}

#endif
