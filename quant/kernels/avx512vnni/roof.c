/* SPDX-License-Identifier: Apache-2.0 */
/* AVX512-VNNI peak: vpdpbusd between registers, in more chains than its latency covers. */
#include "dot_internal.h"

uint64_t roof_int8_avx512vnni(uint64_t rounds) {
    enum { CHAINS = 16 };
    __m512i acc[CHAINS], a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(-5);
    for (int c = 0; c < CHAINS; c++)
        acc[c] = _mm512_setzero_si512();
    for (uint64_t i = 0; i < rounds; i++)
        _Pragma("GCC unroll 16") for (int c = 0; c < CHAINS; c++) acc[c] = dot_register(acc[c], a, b);
    for (int c = 0; c < CHAINS; c++)
        __asm__ volatile("" : : "v"(acc[c]));
    return rounds * CHAINS * 64 * 2;
}
