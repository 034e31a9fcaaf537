/* SPDX-License-Identifier: Apache-2.0 */
/* C reference of the products on packed weights: defines the bits (contract.md, "Packed dots"). */
#include <math.h>
#include <string.h>

#include "kernels.h"

enum { GROUP_QUADS_MAX = 32 };

/* One group of a panel into out[t * out_stride + r] for `rows` rows: acc = fmaf((float)i, w_scale * x_scale, acc). */
static void add_group(const struct weight *weight, const struct activations *x, const uint32_t *index, size_t tokens,
                      const uint8_t *scales, const uint8_t *lines, size_t group, size_t rows, float *out,
                      size_t out_stride) {
    size_t groups = x->k_padded / x->group;
    for (size_t t = 0; t < tokens; t++) {
        size_t token = index ? index[t] : t;
        const int8_t *codes = x->codes + token * x->k_padded + group * x->group;
        for (size_t r = 0; r < rows; r++) {
            int32_t sum = 0;
            for (size_t k = 0; k < x->group; k++)
                sum += (lines[k / 4 * PANEL_LINE + r * 4 + k % 4] - format_zero(weight->format)) * codes[k];
            uint16_t half;
            memcpy(&half, scales + r * sizeof half, sizeof half);
            float *acc = &out[t * out_stride + r];
            *acc = fmaf((float)sum, half_to_float(half) * x->scales[token * groups + group], *acc);
        }
    }
}

static void product(const struct weight *weight, const struct activations *x, const uint32_t *index, size_t tokens,
                    size_t row_begin, size_t row_end, float *out, size_t out_stride) {
    static kernel_unpack_fn *const unpack[] = {
        [FORMAT_INT8] = unpack_int8_ref,       [FORMAT_INT4] = unpack_int4_ref,
        [FORMAT_INT3] = unpack_int3_ref,       [FORMAT_INT2] = unpack_int2_ref,
        [FORMAT_INT4_24] = unpack_int4_24_ref, [FORMAT_INT4_48] = unpack_int4_48_ref,
        [FORMAT_INT4_MASK] = unpack_int4_mask_ref,
    };
    _Alignas(64) uint8_t lines[GROUP_QUADS_MAX * PANEL_LINE];
    size_t groups = x->k_padded / x->group;
    for (size_t row = row_begin; row < row_end; row += PANEL_ROWS) {
        size_t rows = row_end - row < PANEL_ROWS ? row_end - row : PANEL_ROWS;
        for (size_t t = 0; t < tokens; t++)
            memset(out + t * out_stride + row, 0, rows * sizeof *out);
        const uint8_t *at = panel_begin(weight, row / PANEL_ROWS);
        for (size_t g = 0; g < groups; g += 2) {
            const uint8_t *scales = at = panel_clamp(at, panel_limit(weight));
            at += PANEL_SCALE_LINE;
            for (size_t i = 0; i < 2 && g + i < groups; i++) {
                at = unpack[weight->format](at, x->group / 4, lines);
                add_group(weight, x, index, tokens, scales + i * PANEL_SCALE_LINE / 2, lines, g + i, rows, out + row,
                          out_stride);
            }
        }
        for (size_t t = 0; t < tokens; t++)
            for (size_t r = 0; r < rows; r++)
                out[t * out_stride + row + r] *= weight->factor;
    }
}

/* One function a slot: the format is the weight's own. */
#define PACKED_KERNEL(name)                                                                                            \
    void name(const struct weight *weight, const struct activations *x, const uint32_t *index, size_t tokens,          \
              size_t row_begin, size_t row_end, float *out, size_t out_stride) {                                       \
        product(weight, x, index, tokens, row_begin, row_end, out, out_stride);                                        \
    }
PACKED_KERNEL(few_int8_ref)
PACKED_KERNEL(few_int4_ref)
PACKED_KERNEL(few_int3_ref)
PACKED_KERNEL(few_int2_ref)
PACKED_KERNEL(few_int4_24_ref)
PACKED_KERNEL(few_int4_48_ref)
PACKED_KERNEL(few_int4_mask_ref)
PACKED_KERNEL(many_ref)
