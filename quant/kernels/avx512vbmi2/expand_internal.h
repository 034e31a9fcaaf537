/* SPDX-License-Identifier: Apache-2.0 */
/* AVX512-VBMI2: sparse codes spread by a byte expansion; what the mask leaves out becomes the zero code.
 *
 * Codes of the low nibbles (half 0) come out as they are, those of the high nibbles (half 1) 16 times as large: the
 * byte product takes up to 255, and one shift of a sum at the end of a group is cheaper than one of every register. */
#ifndef AVX512VBMI2_EXPAND_INTERNAL_H
#define AVX512VBMI2_EXPAND_INTERNAL_H

#include <string.h>

#include "../avx512/expand_internal.h"

INLINE uint64_t load_u64(const uint8_t *at) {
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* A mask in its register from its load on: gcc would load it a second time to count it. */
INLINE __mmask64 load_mask(const uint8_t *at) {
    __mmask64 mask = _cvtu64_mask64(load_u64(at));
    __asm__("" : "+Yk"(mask));
    return mask;
}
INLINE size_t mask_count(__mmask64 mask) { return (size_t)__builtin_popcountll(_cvtmask64_u64(mask)); }
/* The same from memory; gcc would clear the register before, for CPUs older than VBMI2. */
INLINE size_t mask_count_at(const uint8_t *at) {
    typedef uint64_t unaligned __attribute__((aligned(1), may_alias));
    size_t count;
    __asm__("popcnt %1, %0" : "=r"(count) : "m"(*(const unaligned *)(const void *)at) : "cc");
    return count;
}

/* `codes` to where the mask has its bits, the zero code elsewhere. */
INLINE __m512i expand_half(__mmask64 mask, __m512i codes, unsigned half) {
    return _mm512_mask_expand_epi8(_mm512_set1_epi8((char)(half ? 0x80 : 8)), mask, codes);
}

/* Bitmask format: a quad of the first or second half of a group from its mask and its nibbles on; 64 bytes are read,
 * whatever the mask says. */
INLINE __m512i expand_masked(__mmask64 mask, const uint8_t *nibbles, unsigned half) {
    return expand_half(mask, _mm512_and_si512(load_line(nibbles), _mm512_set1_epi8((char)(half ? 0xf0 : 15))), half);
}

/* The same of a mask that keeps 32 at most, from 32 bytes. */
INLINE __m512i expand_sparse(__mmask64 mask, const uint8_t *nibbles, unsigned half) {
    typedef __m256i unaligned __attribute__((aligned(1), may_alias));
    __m512i codes;
    __asm__("vpandd %2, %t1, %t0" /* gcc would clear the upper half once more */
            : "=v"(codes)
            : "v"(_mm512_set1_epi8((char)(half ? 0xf0 : 15))), "m"(*(const unaligned *)(const void *)nibbles));
    return expand_half(mask, codes, half);
}

/* 4:8: octet o (0..3) of a block; rows 0-7 (half 0) or 8-15 in 64-bit lanes of 8 k. */
INLINE __m512i expand_48(const uint8_t *block, unsigned octet, unsigned half) {
    __m256i values = _mm256_loadu_si256((const __m256i *)(const void *)(block + PANEL_LINE + octet * 32));
    values = _mm256_and_si256(values, _mm256_set1_epi8((char)(half ? 0xf0 : 15)));
    return expand_half(_cvtu64_mask64(load_u64(block + octet * 16 + half * 8)), _mm512_zextsi256_si512(values), half);
}

#endif
