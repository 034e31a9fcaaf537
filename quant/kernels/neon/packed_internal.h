/* SPDX-License-Identifier: Apache-2.0 */
/* Products on packed weights for NEON, with and without its byte dot and matrix products: each group is unpacked to
 * lines and multiplied with up to four tokens, whose sums stay in registers.
 *
 * The file that includes this defines PACKED_DOT and PACKED_MATRIX (0 or 1) before and names its kernels with
 * FEW_KERNEL and MANY_KERNEL. */
#ifndef NEON_PACKED_INTERNAL_H
#define NEON_PACKED_INTERNAL_H

#include <arm_neon.h>

#define INLINE static inline __attribute__((always_inline))

#define MANY_TOKENS 4
#define MANY_PANELS 1
#include "../many_internal.h"

enum { QUARTERS = 4, QUARTER = 16, QUARTER_ROWS = 4, GROUP_QUADS_MAX = 32 };

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

static void many_scales(const uint8_t *halves, float *scales) {
    for (int i = 0; i < QUARTERS; i++)
        vst1q_f32(scales + i * QUARTER_ROWS,
                  vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(halves + (size_t)i * 8))));
}

INLINE void store_rows(const float *acc, float factor, size_t rows, float *out) {
    for (size_t r = 0; r < rows; r++)
        out[r] = acc[r] * factor;
}

/* One group of the first `tokens` (a constant where it is inlined) tokens. */
INLINE void group_of(int tokens, uint8x16_t zero, size_t blocks, const uint8_t *lines, const int8_t *const *x,
                     size_t step, const float *w_scales, const float *x_scales, float (*acc)[PANEL_ROWS]) {
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

static void group_tokens(size_t tokens, uint8x16_t zero, size_t blocks, const uint8_t *lines, const int8_t *const *x,
                         size_t step, const float *w_scales, const float *x_scales, float (*acc)[PANEL_ROWS]) {
    if (tokens == 1)
        group_of(1, zero, blocks, lines, x, step, w_scales, x_scales, acc);
    else if (tokens == 2)
        group_of(2, zero, blocks, lines, x, step, w_scales, x_scales, acc);
    else if (tokens == 3)
        group_of(3, zero, blocks, lines, x, step, w_scales, x_scales, acc);
    else
        group_of(4, zero, blocks, lines, x, step, w_scales, x_scales, acc);
}

static void many_tile(size_t panels, size_t tokens, const struct many_chunk *chunk, const struct many_panels *weights,
                      const struct many_tokens *x, size_t rows, float *out, size_t out_stride) {
    float acc[MANY_TOKENS][PANEL_ROWS] = {{0}};
    const uint8x16_t zero = vdupq_n_u8((uint8_t)format_zero(chunk->format));
    const size_t blocks = chunk->group / BLOCK_COLS;
    for (size_t t = 0; t < tokens && !chunk->first; t++)
        memcpy(acc[t], out + t * out_stride, rows * sizeof *out);
    for (size_t g = 0; g < chunk->groups; g++) {
        const int8_t *codes[MANY_TOKENS];
        for (size_t t = 0; t < tokens; t++)
            codes[t] = x->codes + (g * blocks * tokens + t) * BLOCK_COLS;
        group_tokens(tokens, zero, blocks, weights->lines[0] + g * blocks * 8 * PANEL_LINE, codes,
                     tokens * BLOCK_COLS, weights->scales[0][g], x->scales[g], acc);
    }
    for (size_t t = 0; t < tokens; t++)
        store_rows(acc[t], chunk->factor, rows, out + t * out_stride);
}

/* One panel for up to four tokens. */
static void few_panel(const struct weight *weight, kernel_unpack_fn *unpack, const struct activations *x,
                      const size_t *from, size_t tokens, size_t panel, size_t rows, float *out, size_t out_stride) {
    _Alignas(64) uint8_t lines[GROUP_QUADS_MAX * PANEL_LINE];
    float acc[MANY_TOKENS][PANEL_ROWS] = {{0}};
    const uint8x16_t zero = vdupq_n_u8((uint8_t)format_zero(weight->format));
    const size_t group = weight->group, groups = x->k_padded / group;
    const uint8_t *at = panel_begin(weight, panel), *scales = at;
    for (size_t g = 0; g < groups; g++) {
        float w_scales[PANEL_ROWS], x_scales[MANY_TOKENS];
        const int8_t *codes[MANY_TOKENS];
        if (g % 2 == 0) {
            scales = panel_clamp(at, panel_limit(weight));
            at = scales + PANEL_SCALE_LINE;
        }
        many_scales(scales + g % 2 * (PANEL_SCALE_LINE / 2), w_scales);
        at = unpack(at, (uint32_t)group / 4, lines);
        for (size_t t = 0; t < tokens; t++) {
            x_scales[t] = x->scales[from[t] * groups + g];
            codes[t] = x->codes + from[t] * x->k_padded + g * group;
        }
        group_tokens(tokens, zero, group / BLOCK_COLS, lines, codes, BLOCK_COLS, w_scales, x_scales, acc);
    }
    for (size_t t = 0; t < tokens; t++)
        store_rows(acc[t], weight->factor, rows, out + t * out_stride);
}

/* Any number of tokens, four at a time. */
INLINE void few_product(kernel_unpack_fn *unpack, const struct weight *weight, const struct activations *x,
                        const uint32_t *index, size_t tokens, size_t row_begin, size_t row_end, float *out,
                        size_t out_stride) {
    for (size_t begin = 0; begin < tokens; begin += MANY_TOKENS) {
        size_t count = tokens - begin < MANY_TOKENS ? tokens - begin : MANY_TOKENS, from[MANY_TOKENS];
        for (size_t t = 0; t < count; t++)
            from[t] = index ? index[begin + t] : begin + t;
        for (size_t row = row_begin; row < row_end; row += PANEL_ROWS)
            few_panel(weight, unpack, x, from, count, row / PANEL_ROWS,
                      row_end - row < PANEL_ROWS ? row_end - row : PANEL_ROWS, out + begin * out_stride + row,
                      out_stride);
    }
}

#define FEW_KERNEL(name, unpack)                                                                                       \
    void name(const struct weight *weight, const struct activations *x, const uint32_t *index, size_t tokens,          \
              size_t row_begin, size_t row_end, float *out, size_t out_stride) {                                       \
        few_product(unpack, weight, x, index, tokens, row_begin, row_end, out, out_stride);                            \
    }

#endif
