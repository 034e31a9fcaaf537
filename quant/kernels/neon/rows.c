/* SPDX-License-Identifier: Apache-2.0 */
/* NEON products on row-major F32, F16 and BF16 weights: four registers hold the 16 lanes of one (row, token). */
#include <arm_neon.h>
#include <string.h>

#include "kernels.h"

enum { TILE_TOKENS = 3, TILE_ROWS = 2, STREAM_ROWS = 2, TOKEN_BLOCK_BYTES = 192 << 10 };

/* Four weights at `at` as floats. */
INLINE float32x4_t load_weights(number_format format, const uint8_t *at) {
    if (format == FORMAT_F32)
        return vreinterpretq_f32_u8(vld1q_u8(at));
    uint16x4_t half = vreinterpret_u16_u8(vld1_u8(at));
    if (format == FORMAT_F16)
        return vcvt_f32_f16(vreinterpret_f16_u16(half));
    return vreinterpretq_f32_u32(vshll_n_u16(half, 16));
}

/* The fixed tree: lanes l and l + 8, then 4, 2, 1 apart. */
INLINE float reduce(const float32x4_t *lanes) {
    float32x4_t four = vaddq_f32(vaddq_f32(lanes[0], lanes[2]), vaddq_f32(lanes[1], lanes[3]));
    float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

/* One step of 16 k: rows `row_bytes` apart, values[t] + k. */
INLINE void step(number_format format, int rows, int tokens, const uint8_t *row, size_t row_bytes,
                 const float *const *values, size_t k, float32x4_t acc[TILE_ROWS][TILE_TOKENS][4]) {
    const size_t quarter_bytes = format == FORMAT_F32 ? 16 : 8;
    for (int quarter = 0; quarter < 4; quarter++) {
        for (int r = 0; r < rows; r++) {
            float32x4_t w = load_weights(format, row + (size_t)r * row_bytes + (size_t)quarter * quarter_bytes);
            for (int t = 0; t < tokens; t++)
                acc[r][t][quarter] = vfmaq_f32(acc[r][t][quarter], w, vld1q_f32(values[t] + k + 4 * quarter));
        }
    }
}

/* See rows_internal.h. */
INLINE void rows_tile(number_format format, int rows, int tokens, const uint8_t *row, size_t row_bytes, size_t cols,
                      const float *const *x, float *out, size_t out_stride) {
    const size_t size = format == FORMAT_F32 ? 4 : 2;
    float32x4_t acc[TILE_ROWS][TILE_TOKENS][4];
    for (int r = 0; r < rows; r++)
        for (int t = 0; t < tokens; t++)
            for (int quarter = 0; quarter < 4; quarter++)
                acc[r][t][quarter] = vdupq_n_f32(0);
    size_t k = 0;
    for (; k + 16 <= cols; k += 16)
        step(format, rows, tokens, row + k * size, row_bytes, x, k, acc);
    if (k < cols) { /* the tail, padded with zeros */
        uint8_t weights[TILE_ROWS][64] = {0};
        float values[TILE_TOKENS][16] = {0};
        const float *padded[TILE_TOKENS];
        for (int r = 0; r < rows; r++)
            memcpy(weights[r], row + (size_t)r * row_bytes + k * size, (cols - k) * size);
        for (int t = 0; t < tokens; t++) {
            memcpy(values[t], x[t] + k, (cols - k) * sizeof(float));
            padded[t] = values[t];
        }
        step(format, rows, tokens, weights[0], sizeof weights[0], padded, 0, acc);
    }
    for (int r = 0; r < rows; r++)
        for (int t = 0; t < tokens; t++)
            out[(size_t)t * out_stride + (size_t)r] = reduce(acc[r][t]);
}

#include "rows_internal.h"
ROWS_KERNELS(neon)
