/* SPDX-License-Identifier: Apache-2.0 */
/* The frame of Arm's products on packed weights: each group is unpacked to lines by NEON and multiplied with up to four
 * tokens.
 *
 * The file that includes this defines group_of after it and names its kernels with PACKED_KERNELS. */
#ifndef NEON_PACKED_INTERNAL_H
#define NEON_PACKED_INTERNAL_H

#include <arm_neon.h>

#define MANY_TOKENS 4
#define MANY_PANELS 1
#include "../many_internal.h"

enum { QUARTERS = 4, QUARTER = 16, QUARTER_ROWS = 4, GROUP_QUADS_MAX = 32 };

/* One group of a panel and one to four tokens, a constant where it is inlined: acc[t][row] = fmaf(sum of
 * (line - zero) * x, w_scale * x_scale, acc[t][row]). Blocks of 32 k of a token lie `step` bytes apart. */
INLINE void group_of(int tokens, uint8_t zero, size_t blocks, const uint8_t *lines, const int8_t *const *x, size_t step,
                     const float *w_scales, const float *x_scales, float (*acc)[PANEL_ROWS]);

static void group_tokens(size_t tokens, uint8_t zero, size_t blocks, const uint8_t *lines, const int8_t *const *x,
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

static void many_scales(const uint8_t *halves, float *scales) {
    for (int i = 0; i < QUARTERS; i++)
        vst1q_f32(scales + i * QUARTER_ROWS,
                  vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(halves + (size_t)i * 8))));
}

INLINE void store_rows(const float *acc, float factor, size_t rows, float *out) {
    for (size_t r = 0; r < rows; r++)
        out[r] = acc[r] * factor;
}

static void many_tile(size_t panels, size_t tokens, const struct many_chunk *chunk, const struct many_panels *weights,
                      const struct many_tokens *x, size_t rows, float *out, size_t out_stride) {
    float acc[MANY_TOKENS][PANEL_ROWS] = {{0}};
    const uint8_t zero = (uint8_t)format_zero(chunk->format);
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
    const uint8_t zero = (uint8_t)format_zero(weight->format);
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
#define PACKED_KERNELS(isa)                                                                                            \
    FEW_KERNEL(few_int8_##isa, unpack_int8_neon)                                                                       \
    FEW_KERNEL(few_int4_##isa, unpack_int4_neon)                                                                       \
    FEW_KERNEL(few_int3_##isa, unpack_int3_neon)                                                                       \
    FEW_KERNEL(few_int2_##isa, unpack_int2_neon)                                                                       \
    FEW_KERNEL(few_int4_24_##isa, unpack_int4_24_neon)                                                                 \
    FEW_KERNEL(few_int4_48_##isa, unpack_int4_48_neon)                                                                 \
    FEW_KERNEL(few_int4_mask_##isa, unpack_int4_mask_neon)                                                             \
    MANY_KERNEL(many_##isa)

#endif
