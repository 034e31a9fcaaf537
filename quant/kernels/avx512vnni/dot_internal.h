/* SPDX-License-Identifier: Apache-2.0 */
/* The AVX512-VNNI byte product as inline assembly: gcc 12 copies the accumulators of the intrinsic to and fro. */
#ifndef AVX512VNNI_DOT_INTERNAL_H
#define AVX512VNNI_DOT_INTERNAL_H

#include "../avx512/expand_internal.h"

typedef int32_t aliased_i32 __attribute__((may_alias, aligned(1)));
typedef int64_t aliased_i64 __attribute__((may_alias, aligned(1)));

/* acc + the four products of each lane's unsigned bytes of `w` and the same four signed bytes at `x`. */
INLINE __m512i dot(__m512i acc, __m512i w, const int8_t *x) {
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(w), "m"(*(const aliased_i32 *)(const void *)x));
    return acc;
}

/* The same with `x` in a register already. */
INLINE __m512i dot_register(__m512i acc, __m512i w, __m512i x) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(w), "v"(x));
    return acc;
}

/* Four bytes at `x` in every 32-bit lane; eight in every 64-bit lane. */
INLINE __m512i spread_4(const int8_t *x) { return _mm512_set1_epi32(*(const aliased_i32 *)(const void *)x); }
INLINE __m512i spread_8(const int8_t *x) { return _mm512_set1_epi64(*(const aliased_i64 *)(const void *)x); }

#endif
