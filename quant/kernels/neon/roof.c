/* SPDX-License-Identifier: Apache-2.0 */
/* NEON roofs. */
#include <arm_neon.h>

#include "kernels.h"

enum { STREAMS = 4 };

uint64_t roof_read_neon(const uint8_t *data, size_t bytes) {
    const size_t stream = bytes / STREAMS / 64 * 64;
    uint64x2_t acc[STREAMS];
    for (int s = 0; s < STREAMS; s++)
        acc[s] = vdupq_n_u64(0);
    for (size_t at = 0; at < stream; at += 64)
        for (size_t s = 0; s < STREAMS; s++)
            for (size_t i = 0; i < 64; i += 16)
                acc[s] = veorq_u64(acc[s], vreinterpretq_u64_u8(vld1q_u8(data + s * stream + at + i)));
    uint64x2_t all = veorq_u64(veorq_u64(acc[0], acc[1]), veorq_u64(acc[2], acc[3]));
    return vgetq_lane_u64(all, 0) ^ vgetq_lane_u64(all, 1) ^
           roof_read_ref(data + STREAMS * stream, bytes - STREAMS * stream);
}

/* Byte products, widened and added: what a dot product costs without its own instruction. */
uint64_t roof_int8_neon(uint64_t rounds) {
    enum { CHAINS = 8 };
    int32x4_t acc[CHAINS];
    int8x8_t a = vdup_n_s8(3), b = vdup_n_s8(-5);
    for (int c = 0; c < CHAINS; c++)
        acc[c] = vdupq_n_s32(0);
    for (uint64_t i = 0; i < rounds; i++) {
        for (int c = 0; c < CHAINS; c++) {
            __asm__("" : "+w"(a));
            acc[c] = vpadalq_s16(acc[c], vmull_s8(a, b));
        }
    }
    for (int c = 0; c < CHAINS; c++)
        __asm__ volatile("" : : "w"(acc[c]));
    return rounds * CHAINS * 8 * 2;
}
