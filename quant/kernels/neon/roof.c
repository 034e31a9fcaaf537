/* SPDX-License-Identifier: Apache-2.0 */
/* NEON roofs. */
#include <arm_neon.h>

#include "../roof_internal.h"

INLINE uint64_t read_streams(const uint8_t *data, size_t bytes, size_t streams) {
    const size_t stream = bytes / streams / ROOF_STEP_BYTES * ROOF_STEP_BYTES;
    uint64x2_t acc[4];
    for (int i = 0; i < 4; i++)
        acc[i] = vdupq_n_u64(0);
    for (size_t at = 0; at < stream; at += ROOF_STEP_BYTES / streams) {
        _Pragma("GCC unroll 4") for (size_t i = 0; i < 4; i++) {
            const uint8_t *line = data + i % streams * stream + at + i / streams * 64;
            if (streams == 1)
                __builtin_prefetch(line + PANEL_AHEAD_BYTES);
            _Pragma("GCC unroll 4") for (size_t word = 0; word < 64; word += 16) acc[i] =
                veorq_u64(acc[i], vreinterpretq_u64_u8(vld1q_u8(line + word)));
        }
    }
    uint64x2_t all = veorq_u64(veorq_u64(acc[0], acc[1]), veorq_u64(acc[2], acc[3]));
    return vgetq_lane_u64(all, 0) ^ vgetq_lane_u64(all, 1) ^
           roof_read_ref(data + streams * stream, bytes - streams * stream, 1);
}

uint64_t roof_read_neon(const uint8_t *data, size_t bytes, unsigned streams) {
    return ROOF_STREAMS(read_streams, data, bytes, streams);
}

/* Byte products, widened and added: what a dot product costs without its own instruction. */
ROOF_PEAK(int8_neon, "w", 8, vdupq_n_s32(0), vdup_n_s8(3), vdup_n_s8(-5), vpadalq_s16(sum, vmull_s8(a, b)), 8)

INLINE float32x4_t multiply_add(float32x4_t acc, float32x4_t a, float32x4_t b) {
    __asm__("fmla %0.4s, %1.4s, %2.4s" : "+w"(acc) : "w"(a), "w"(b));
    return acc;
}

ROOF_PEAK(f32_neon, "w", 16, vdupq_n_f32(1), vdupq_n_f32(3), vdupq_n_f32(0.5f), multiply_add(sum, a, b), 4)
