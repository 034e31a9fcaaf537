/* SPDX-License-Identifier: Apache-2.0 */
/* NEON quantization of activations. */
#include <arm_neon.h>
#include <string.h>

#include "kernels.h"

/* Four of the group's values from `k` on; past its `count` values there are zeros. */
static inline float32x4_t load_values(const float *values, size_t k, size_t count) {
    if (k + 4 <= count)
        return vld1q_f32(values + k);
    float padded[4] = {0};
    if (k < count)
        memcpy(padded, values + k, (count - k) * sizeof(float));
    return vld1q_f32(padded);
}

void quantize_neon(const float *values, size_t cols, uint32_t group, int8_t *codes, float *scales, int32_t *sums) {
    const uint32x4_t magnitude = vdupq_n_u32(0x7fffffff);
    for (size_t begin = 0; begin < cols; begin += group, codes += group, scales++, sums++) {
        size_t count = cols - begin < group ? cols - begin : group;
        uint32x4_t largest = vdupq_n_u32(0);
        for (size_t k = 0; k < count; k += 4) {
            uint32x4_t bits = vreinterpretq_u32_f32(load_values(values + begin, k, count));
            largest = vmaxq_u32(largest, vandq_u32(bits, magnitude));
        }
        struct quantize_scale scale = quantize_scale_of(vmaxvq_u32(largest));
        *scales = scale.scale;
        int32x4_t sum = vdupq_n_s32(0);
        for (size_t k = 0; k < group; k += 8) {
            size_t usable = scale.usable ? count : 0;
            int32x4_t low = vcvtnq_s32_f32(vmulq_n_f32(load_values(values + begin, k, usable), scale.inverse));
            int32x4_t high = vcvtnq_s32_f32(vmulq_n_f32(load_values(values + begin, k + 4, usable), scale.inverse));
            sum = vaddq_s32(sum, vaddq_s32(low, high));
            vst1_s8(codes + k, vmovn_s16(vcombine_s16(vmovn_s32(low), vmovn_s32(high))));
        }
        *sums = vaddvq_s32(sum);
    }
}
