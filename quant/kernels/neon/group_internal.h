/* SPDX-License-Identifier: Apache-2.0 */
/* One group of a panel in NEON's registers, with and without its byte dot and matrix products.
 *
 * The file that includes this defines PACKED_DOT and PACKED_MATRIX (0 or 1) before. */
#ifndef NEON_GROUP_INTERNAL_H
#define NEON_GROUP_INTERNAL_H

#include "packed_internal.h"

/* sum[row] += w[row][0..3] * x[row][0..3] for four rows. */
INLINE int32x4_t dot(int32x4_t sum, int8x16_t w, int8x16_t x) {
#if PACKED_DOT
    return vdotq_s32(sum, w, x);
#else
    int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(x)));
    int32x4_t high = vpaddlq_s16(vmull_s8(vget_high_s8(w), vget_high_s8(x)));
    return vaddq_s32(sum, vpaddq_s32(low, high));
#endif
}

INLINE int8x16_t spread_4(const int8_t *x) {
    int32_t four;
    memcpy(&four, x, sizeof four);
    return vreinterpretq_s8_s32(vdupq_n_s32(four));
}

/* Sums of one group: sums[quarter][t] += (line - zero) * x. Blocks of 32 k of a token lie `step` bytes apart. */
INLINE void lines_group(uint8x16_t zero, int tokens, size_t blocks, const uint8_t *lines, const int8_t *const *x,
                        size_t step, int32x4_t sums[QUARTERS][MANY_TOKENS]) {
    for (size_t b = 0; b < blocks; b++, lines += (size_t)8 * PANEL_LINE) {
        for (size_t q = 0; q < 8; q++) {
            int8x16_t spread[MANY_TOKENS];
            for (int t = 0; t < tokens; t++)
                spread[t] = spread_4(x[t] + b * step + 4 * q);
            for (int i = 0; i < QUARTERS; i++) {
                int8x16_t w = vreinterpretq_s8_u8(vsubq_u8(vld1q_u8(lines + q * PANEL_LINE + i * QUARTER), zero));
                for (int t = 0; t < tokens; t++)
                    sums[i][t] = dot(sums[i][t], w, spread[t]);
            }
        }
    }
}

#if PACKED_MATRIX
/* The same with products of 2 rows x 8 k and 2 tokens x 8 k, for two tokens or more: the lanes of two quads are woven
 * so that the 8 k of a row lie side by side. Of an odd number of tokens the last is its own partner. */
INLINE void lines_pairs(uint8x16_t zero, int tokens, size_t blocks, const uint8_t *lines, const int8_t *const *x,
                        size_t step, int32x4_t sums[QUARTERS][MANY_TOKENS]) {
    enum { PAIRS = MANY_TOKENS / 2 };
    const int pairs = (tokens + 1) / 2;
    int32x4_t square[2 * QUARTERS][PAIRS]; /* [row / 2][token / 2]: of each row both tokens */
    for (int i = 0; i < 2 * QUARTERS; i++)
        for (int p = 0; p < pairs; p++)
            square[i][p] = vdupq_n_s32(0);
    for (size_t b = 0; b < blocks; b++, lines += (size_t)8 * PANEL_LINE) {
        _Pragma("GCC unroll 1") for (size_t q = 0; q < 8; q += 2) { /* unrolled, gcc loads ahead and spills the sums */
            int8x16_t both[PAIRS];
            for (int p = 0; p < pairs; p++)
                both[p] = vcombine_s8(vld1_s8(x[2 * p] + b * step + 4 * q),
                                      vld1_s8(x[2 * p + 1 < tokens ? 2 * p + 1 : 2 * p] + b * step + 4 * q));
            for (int i = 0; i < QUARTERS; i++) {
                const uint8_t *line = lines + q * PANEL_LINE + i * QUARTER;
                int32x4_t even = vreinterpretq_s32_u8(vsubq_u8(vld1q_u8(line), zero));
                int32x4_t odd = vreinterpretq_s32_u8(vsubq_u8(vld1q_u8(line + PANEL_LINE), zero));
                for (int p = 0; p < pairs; p++) {
                    square[2 * i][p] =
                        vmmlaq_s32(square[2 * i][p], vreinterpretq_s8_s32(vzip1q_s32(even, odd)), both[p]);
                    square[2 * i + 1][p] =
                        vmmlaq_s32(square[2 * i + 1][p], vreinterpretq_s8_s32(vzip2q_s32(even, odd)), both[p]);
                }
            }
        }
    }
    for (int i = 0; i < QUARTERS; i++)
        for (int t = 0; t < tokens; t++)
            sums[i][t] = t % 2 ? vuzp2q_s32(square[2 * i][t / 2], square[2 * i + 1][t / 2])
                               : vuzp1q_s32(square[2 * i][t / 2], square[2 * i + 1][t / 2]);
}
#endif

/* acc[t][row] = fmaf(sum, w_scale * x_scale, acc[t][row]) for the 16 rows of a panel. */
INLINE void rescale(int tokens, const float *w_scales, const float *x_scales, int32x4_t sums[QUARTERS][MANY_TOKENS],
                    float (*acc)[PANEL_ROWS]) {
    for (int i = 0; i < QUARTERS; i++) {
        float32x4_t scale = vld1q_f32(w_scales + i * QUARTER_ROWS);
        for (int t = 0; t < tokens; t++) {
            float *to = acc[t] + i * QUARTER_ROWS;
            vst1q_f32(to, vfmaq_f32(vld1q_f32(to), vcvtq_f32_s32(sums[i][t]), vmulq_n_f32(scale, x_scales[t])));
        }
    }
}

INLINE void group_of(int tokens, uint8_t zero_code, size_t blocks, const uint8_t *lines, const int8_t *const *x,
                     size_t step, const float *w_scales, const float *x_scales, float (*acc)[PANEL_ROWS]) {
    const uint8x16_t zero = vdupq_n_u8(zero_code);
    int32x4_t sums[QUARTERS][MANY_TOKENS];
    for (int i = 0; i < QUARTERS; i++)
        for (int t = 0; t < tokens; t++)
            sums[i][t] = vdupq_n_s32(0);
#if PACKED_MATRIX
    if (tokens > 1)
        lines_pairs(zero, tokens, blocks, lines, x, step, sums);
    else
#endif
        lines_group(zero, tokens, blocks, lines, x, step, sums);
    rescale(tokens, w_scales, x_scales, sums, acc);
}

#endif
