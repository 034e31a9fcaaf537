/* SPDX-License-Identifier: Apache-2.0 */
/* AVX-VNNI products on packed weights: the AVX2 kernels with the byte dot product. */
#define PACKED_VNNI 1
#include "../avx2/packed_internal.h"

FEW_KERNEL(few_int8_avxvnni, FORMAT_INT8, 512)
FEW_KERNEL(few_int4_avxvnni, FORMAT_INT4, 256)
FEW_KERNEL(few_int3_avxvnni, FORMAT_INT3, 192)
FEW_KERNEL(few_int2_avxvnni, FORMAT_INT2, 128)
FEW_KERNEL(few_int4_24_avxvnni, FORMAT_INT4_24, 192)
FEW_KERNEL_UNPACKED(few_int4_48_avxvnni, unpack_int4_48_avx2)
FEW_KERNEL_UNPACKED(few_int4_mask_avxvnni, unpack_int4_mask_avx2)
MANY_KERNEL(many_avxvnni)

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
