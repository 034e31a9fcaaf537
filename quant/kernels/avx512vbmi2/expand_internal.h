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

/* Bitmask format: a quad from its mask and its nibbles (32 bytes are read, whatever the mask says). */
INLINE __m512i expand_masked(uint64_t mask, const uint8_t *nibbles) {
    __m512i pairs = _mm512_cvtepu8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)nibbles));
    /* each 16-bit lane: low nibble in the first byte, high nibble in the second: (p | p << 4) & 0x0f0f */
    __m512i codes = _mm512_ternarylogic_epi32(pairs, _mm512_slli_epi16(pairs, 4), _mm512_set1_epi8(15), 0xa8);
    return _mm512_mask_expand_epi8(_mm512_set1_epi8(8), _cvtu64_mask64(mask), codes);
}
INLINE size_t masked_bytes(uint64_t mask) { return (size_t)(__builtin_popcountll(mask) + 1) / 2; }

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
