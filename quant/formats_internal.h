/* SPDX-License-Identifier: Apache-2.0 */
/* What packing and kernels share about formats: panel geometry, zero points and bit puns. See docs/formats.md. */
#ifndef FORMATS_INTERNAL_H
#define FORMATS_INTERNAL_H

#include "quant.h"

enum {
    PANEL_ROWS = 16,       /* rows of a panel */
    PANEL_LINE = 64,       /* bytes of a line: 16 rows x 4 k, one byte each */
    PANEL_SCALE_LINE = 64, /* FP16 scales of two groups of 16 rows */
    BLOCK_COLS = 32        /* k of a block: 8 quads, the unit that every packed format repeats */
};
/* Longest side of a matrix: keeps every size below far from 2^64. */
#define WEIGHT_SIDE_MAX (UINT64_C(1) << 28)

/* Bytes of one block (16 rows x 32 k) of a packed format, without scales; for the bitmask format its masks only. */
size_t format_block_bytes(number_format format);
size_t format_panel_bytes(number_format format, uint32_t group, uint64_t cols);
/* The stored code that stands for zero. */
static inline int format_zero(number_format format) {
    return format == FORMAT_INT8 ? 128 : format == FORMAT_INT3 ? 4 : format == FORMAT_INT2 ? 2 : 8;
}
bool format_is_packed(number_format format);
bool format_is_sparse(number_format format);

/* FORMAT_INT4_MASK begins with a table of the panels' byte offsets and ends in zeros: no kernel starts on a superblock
 * nearer to the end than the tail, so that hostile masks cannot lead it out of the weight. */
static inline size_t mask_table_bytes(uint64_t rows) {
    return size_round_up((rows + PANEL_ROWS - 1) / PANEL_ROWS * sizeof(uint64_t), 64);
}
/* Most bytes that the superblock of two groups touches: scales, masks, all codes kept, and a 32-byte load at its
 * end. */
static inline size_t mask_tail_bytes(uint32_t group) {
    return PANEL_SCALE_LINE + 2 * (group / 4) * sizeof(uint64_t) + 2 * (group / 4) * 32 + 64;
}

/* Where a superblock may start at the latest; only damaged bitmask weights ever lead beyond it. */
static inline const uint8_t *panel_limit(const struct weight *weight) {
    return weight->format == FORMAT_INT4_MASK ? weight->data + weight->bytes - mask_tail_bytes(weight->group)
                                              : weight->data + weight->bytes;
}
/* Keeps the start of a superblock inside the weight. Kernels apply it to each superblock of a bitmask panel. */
static inline const uint8_t *panel_clamp(const uint8_t *at, const uint8_t *limit) { return at < limit ? at : limit; }

/* First superblock of a panel. */
static inline const uint8_t *panel_begin(const struct weight *weight, size_t panel) {
    if (weight->format != FORMAT_INT4_MASK)
        return weight->data + panel * format_panel_bytes(weight->format, weight->group, weight->cols);
    uint64_t offset = ((const uint64_t *)(const void *)weight->data)[panel];
    return panel_clamp(weight->data + (offset < weight->bytes ? offset : weight->bytes), panel_limit(weight));
}

/* Every rule of struct quant_rows; MOESAIC_E_USAGE names the first one broken. */
moesaic_status quant_rows_check(const struct quant_rows *rows, moesaic_error *error);

static inline uint32_t float_bits(float value) {
    union {
        float f;
        uint32_t u;
    } pun = {.f = value};
    return pun.u;
}
static inline float float_from_bits(uint32_t bits) {
    union {
        uint32_t u;
        float f;
    } pun = {.u = bits};
    return pun.f;
}

#endif
