/* SPDX-License-Identifier: Apache-2.0 */
/* Any weight back to plain floats: embedding rows, export, and the second reference of every kernel. */
#include <string.h>

#include "kernels.h"

enum { GROUP_QUADS_MAX = 32 };

static void dequantize_rows(const struct weight *weight, uint64_t first, uint64_t count, float *out) {
    const uint8_t *data = weight->data + first * (weight->format == FORMAT_F32 ? 4 : 2);
    if (weight->format == FORMAT_F32) {
        memcpy(out, data, count * sizeof *out);
        return;
    }
    for (uint64_t i = 0; i < count; i++) {
        uint16_t bits;
        memcpy(&bits, data + i * sizeof bits, sizeof bits);
        out[i] = weight->format == FORMAT_F16 ? half_to_float(bits) : bfloat_to_float(bits);
    }
}

/* Rows [begin, end) of a panel (0..16) of one group: out[(r - begin) * cols + k]. */
static void dequantize_group(const struct weight *weight, const uint8_t *scales, const uint8_t *lines, uint64_t col,
                             unsigned begin, unsigned end, float *out) {
    int zero = format_zero(weight->format);
    uint64_t width = weight->cols - col < weight->group ? weight->cols - col : weight->group;
    for (unsigned r = begin; r < end; r++) {
        uint16_t half;
        memcpy(&half, scales + r * sizeof half, sizeof half);
        float scale = half_to_float(half) * weight->factor, *row = out + (r - begin) * weight->cols + col;
        for (uint64_t k = 0; k < width; k++)
            row[k] = (float)(lines[k / 4 * PANEL_LINE + r * 4 + k % 4] - zero) * scale;
    }
}

static void dequantize_panel(const struct weight *weight, uint64_t panel, unsigned begin, unsigned end, float *out) {
    kernel_unpack_fn *unpack = kernel_unpack_of(kernels(), weight->format);
    uint64_t groups = quant_rows_groups(weight->cols, weight->group);
    _Alignas(64) uint8_t lines[GROUP_QUADS_MAX * PANEL_LINE];
    const uint8_t *at = panel_begin(weight, panel);
    for (uint64_t g = 0; g < groups; g += 2) {
        const uint8_t *scales = at = panel_clamp(at, panel_limit(weight));
        at += PANEL_SCALE_LINE;
        for (uint64_t i = 0; i < 2 && g + i < groups; i++) {
            at = unpack(at, weight->group / 4, lines);
            dequantize_group(weight, scales + i * PANEL_SCALE_LINE / 2, lines, (g + i) * weight->group, begin, end,
                             out);
        }
    }
}

void weight_dequantize(const struct weight *weight, uint64_t row_begin, uint64_t row_end, float *out) {
    if (weight->layout == LAYOUT_ROWS) {
        dequantize_rows(weight, row_begin * weight->cols, (row_end - row_begin) * weight->cols, out);
        return;
    }
    for (uint64_t row = row_begin; row < row_end;) {
        uint64_t panel = row / PANEL_ROWS,
                 next = (panel + 1) * PANEL_ROWS < row_end ? (panel + 1) * PANEL_ROWS : row_end;
        dequantize_panel(weight, panel, (unsigned)(row % PANEL_ROWS), (unsigned)(next - panel * PANEL_ROWS),
                         out + (row - row_begin) * weight->cols);
        row = next;
    }
}
