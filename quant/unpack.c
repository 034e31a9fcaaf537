/* SPDX-License-Identifier: Apache-2.0 */
/* panel16 back to row order, losslessly. */
#include <string.h>

#include "kernels.h"

enum { GROUP_QUADS_MAX = 32 };

static void kept_24(const uint8_t *codes, uint32_t quads, uint8_t *kept) {
    static const uint8_t pairs[8] = {0x3, 0x5, 0x9, 0x6,
                                     0xa, 0xc, 0xc, 0xc}; /* the two positions of each rank, as bits */
    for (uint32_t quad = 0; quad < quads; quad++) {
        const uint8_t *ranks = codes + (size_t)quad / 8 * 3 * PANEL_LINE;
        for (unsigned b = 0; b < PANEL_LINE; b++)
            kept[quad * PANEL_LINE + b] = pairs[ranks[b / 4 * 4 + quad % 8 / 2] >> quad % 2 * 4 & 7] >> b % 4 & 1;
    }
}

static void kept_48(const uint8_t *codes, uint32_t quads, uint8_t *kept) {
    for (uint32_t quad = 0; quad < quads; quad++) {
        const uint8_t *masks = codes + (size_t)quad / 8 * 3 * PANEL_LINE + quad % 8 / 2 * 16;
        for (unsigned b = 0; b < PANEL_LINE; b++)
            kept[quad * PANEL_LINE + b] = masks[b / 4] >> (quad % 2 * 4 + b % 4) & 1;
    }
}

static void kept_mask(const uint8_t *codes, uint32_t quads, uint8_t *kept) {
    for (size_t b = 0; b < (size_t)quads * PANEL_LINE; b++)
        kept[b] = codes[b / 8] >> b % 8 & 1;
}

/* Copies a group's [quad][row][4] lines into the row-order matrix, less what lies beyond it. */
static void scatter(const struct quant_rows *rows, uint64_t row, uint64_t col, const uint8_t *lines,
                    const uint8_t *kept) {
    int zero = format_zero(rows->format);
    uint64_t height = rows->rows - row < PANEL_ROWS ? rows->rows - row : PANEL_ROWS;
    uint64_t width = rows->cols - col < rows->group ? rows->cols - col : rows->group;
    for (uint64_t r = 0; r < height; r++) {
        for (uint64_t k = 0; k < width; k++) {
            uint64_t from = k / 4 * PANEL_LINE + r * 4 + k % 4, to = (row + r) * rows->cols + col + k;
            rows->codes[to] = (int8_t)(lines[from] - zero);
            if (rows->mask)
                rows->mask[to] = kept[from];
        }
    }
}

static const uint8_t *unpack_group(const struct quant_rows *rows, kernel_unpack_fn *unpack, const uint8_t *codes,
                                   uint64_t row, uint64_t group) {
    _Alignas(64) uint8_t lines[GROUP_QUADS_MAX * PANEL_LINE], kept[GROUP_QUADS_MAX * PANEL_LINE];
    uint32_t quads = rows->group / 4;
    const uint8_t *end = unpack(codes, quads, lines);
    if (rows->format == FORMAT_INT4_24)
        kept_24(codes, quads, kept);
    else if (rows->format == FORMAT_INT4_48)
        kept_48(codes, quads, kept);
    else if (rows->format == FORMAT_INT4_MASK)
        kept_mask(codes, quads, kept);
    scatter(rows, row, group * rows->group, lines, kept);
    return end;
}

static void unpack_panel(const struct weight *weight, const struct quant_rows *rows, uint64_t panel) {
    kernel_unpack_fn *unpack = kernel_unpack_of(kernels(), weight->format);
    uint64_t row = panel * PANEL_ROWS, groups = quant_rows_groups(rows->cols, rows->group);
    const uint8_t *at = panel_begin(weight, panel);
    for (uint64_t g = 0; g < groups; g += 2) {
        const uint8_t *scales = at = panel_clamp(at, panel_limit(weight));
        at += PANEL_SCALE_LINE;
        for (uint64_t i = 0; i < 2 && g + i < groups; i++) {
            for (uint64_t r = 0; r < PANEL_ROWS && row + r < rows->rows; r++)
                memcpy(&rows->scales[(row + r) * groups + g + i], scales + (i * PANEL_ROWS + r) * 2, 2);
            at = unpack_group(rows, unpack, at, row, g + i);
        }
    }
}

moesaic_status weight_unpack(const struct weight *weight, struct quant_rows **ret_rows, moesaic_error *error) {
    struct quant_rows *rows;
    if (weight->layout != LAYOUT_PANEL16)
        return status_set(error, MOESAIC_E_USAGE, "unpack: %s in row order is not packed",
                          number_format_name(weight->format));
    moesaic_status status = weight_check(weight, error);
    if (status == MOESAIC_OK)
        status = quant_rows_create(weight->format, weight->group, weight->rows, weight->cols, &rows, error);
    if (status != MOESAIC_OK)
        return status;
    rows->factor = weight->factor;
    for (uint64_t panel = 0; panel * PANEL_ROWS < weight->rows; panel++)
        unpack_panel(weight, rows, panel);
    *ret_rows = rows;
    return MOESAIC_OK;
}
