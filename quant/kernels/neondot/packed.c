/* SPDX-License-Identifier: Apache-2.0 */
/* NEON products on packed weights with the byte dot product. */
#define PACKED_DOT 1
#define PACKED_MATRIX 0
#include "../neon/packed_internal.h"

FEW_KERNEL(few_int8_neondot, unpack_int8_neon)
FEW_KERNEL(few_int4_neondot, unpack_int4_neon)
FEW_KERNEL(few_int3_neondot, unpack_int3_neon)
FEW_KERNEL(few_int2_neondot, unpack_int2_neon)
FEW_KERNEL(few_int4_24_neondot, unpack_int4_24_neon)
FEW_KERNEL(few_int4_48_neondot, unpack_int4_48_neon)
FEW_KERNEL(few_int4_mask_neondot, unpack_int4_mask_neon)
MANY_KERNEL(many_neondot)

/* The peak of this ISA: sdot between registers, in more chains than its latency covers. */
uint64_t roof_int8_neondot(uint64_t rounds) {
    enum { CHAINS = 16 };
    int32x4_t acc[CHAINS];
    int8x16_t a = vdupq_n_s8(3), b = vdupq_n_s8(-5);
    for (int c = 0; c < CHAINS; c++)
        acc[c] = vdupq_n_s32(0);
    for (uint64_t i = 0; i < rounds; i++) {
        for (int c = 0; c < CHAINS; c++) {
            __asm__("" : "+w"(a));
            acc[c] = vdotq_s32(acc[c], a, b);
        }
    }
    for (int c = 0; c < CHAINS; c++)
        __asm__ volatile("" : : "w"(acc[c]));
    return rounds * CHAINS * 16 * 2;
}
