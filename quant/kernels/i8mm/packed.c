/* SPDX-License-Identifier: Apache-2.0 */
/* NEON products on packed weights with the byte matrix product, two tokens at a time, and the dot product for one. */
#define PACKED_DOT 1
#define PACKED_MATRIX 1
#include "../neon/packed_internal.h"

FEW_KERNEL(few_int8_i8mm, unpack_int8_neon)
FEW_KERNEL(few_int4_i8mm, unpack_int4_neon)
FEW_KERNEL(few_int3_i8mm, unpack_int3_neon)
FEW_KERNEL(few_int2_i8mm, unpack_int2_neon)
FEW_KERNEL(few_int4_24_i8mm, unpack_int4_24_neon)
FEW_KERNEL(few_int4_48_i8mm, unpack_int4_48_neon)
FEW_KERNEL(few_int4_mask_i8mm, unpack_int4_mask_neon)
MANY_KERNEL(many_i8mm)

/* The peak of this ISA: smmla between registers, in more chains than its latency covers. */
uint64_t roof_int8_i8mm(uint64_t rounds) {
    enum { CHAINS = 16 };
    int32x4_t acc[CHAINS];
    int8x16_t a = vdupq_n_s8(3), b = vdupq_n_s8(-5);
    for (int c = 0; c < CHAINS; c++)
        acc[c] = vdupq_n_s32(0);
    for (uint64_t i = 0; i < rounds; i++) {
        for (int c = 0; c < CHAINS; c++) {
            __asm__("" : "+w"(a));
            acc[c] = vmmlaq_s32(acc[c], a, b);
        }
    }
    for (int c = 0; c < CHAINS; c++)
        __asm__ volatile("" : : "w"(acc[c]));
    return rounds * CHAINS * 32 * 2;
}
