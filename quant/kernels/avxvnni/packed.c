/* SPDX-License-Identifier: Apache-2.0 */
/* AVX-VNNI products on packed weights: the AVX2 kernels with the byte dot product. */
#define PACKED_VNNI 1
#include "../avx2/packed_internal.h"

FEW_DENSE(avxvnni)
FEW_SET(lines, FORMAT_LINES, 512)

FEW_SET(int4_48, FORMAT_INT4_48, 192)
FEW_KERNEL(few_int4_48_avxvnni, &int4_48)
FEW_SET(int4_mask, FORMAT_INT4_MASK, 0)
FEW_OR_MANY_KERNEL(few_int4_mask_avxvnni, &int4_mask, &lines)

MANY_KERNEL(many_avxvnni, &lines)

/* The peak of this ISA: vpdpbusd between registers, in more chains than its latency covers. */
uint64_t roof_int8_avxvnni(uint64_t rounds) {
    enum { CHAINS = 12 };
    __m256i acc[CHAINS], a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(-5);
    for (int c = 0; c < CHAINS; c++)
        acc[c] = _mm256_setzero_si256();
    for (uint64_t i = 0; i < rounds; i++)
        _Pragma("GCC unroll 12") for (int c = 0; c < CHAINS; c++) acc[c] = dot(FORMAT_INT4, acc[c], a, b);
    for (int c = 0; c < CHAINS; c++)
        __asm__ volatile("" : : "x"(acc[c]));
    return rounds * CHAINS * 32 * 2;
}
