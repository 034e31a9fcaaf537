/* SPDX-License-Identifier: Apache-2.0 */
/* Row order to panel16: one panel after another, one block of 16 rows x 32 k at a time. See docs/formats.md. */
#include <string.h>

#include "formats_internal.h"

enum { BLOCK_QUADS = BLOCK_COLS / 4 };

/* A block spread out as the kernels see it: stored codes and kept flags, [quad][16 rows][4 k]. */
struct block {
    uint8_t codes[BLOCK_QUADS][PANEL_LINE];
    uint8_t kept[BLOCK_QUADS][PANEL_LINE];
};

/* Rows and columns beyond the matrix hold zero codes and count as pruned. */
static void block_gather(const struct quant_rows *rows, uint64_t row, uint64_t col, struct block *ret_block) {
    int zero = format_zero(rows->format);
    memset(ret_block->codes, zero, sizeof ret_block->codes);
    memset(ret_block->kept, 0, sizeof ret_block->kept);
    for (uint64_t r = 0; r < PANEL_ROWS && row + r < rows->rows; r++) {
        for (uint64_t k = 0; k < BLOCK_COLS && col + k < rows->cols; k++) {
            uint64_t from = (row + r) * rows->cols + col + k;
            if (rows->mask && !rows->mask[from])
                continue;
            ret_block->codes[k / 4][r * 4 + k % 4] = (uint8_t)(rows->codes[from] + zero);
            ret_block->kept[k / 4][r * 4 + k % 4] = 1;
        }
    }
}

static uint8_t *pack_int8(const struct block *block, uint8_t *out) {
    memcpy(out, block->codes, sizeof block->codes);
    return out + sizeof block->codes;
}

/* Lines of two quads: low nibbles the first, high nibbles the second. */
static uint8_t *pack_int4(const struct block *block, uint8_t *out) {
    for (unsigned quad = 0; quad < BLOCK_QUADS; quad += 2, out += PANEL_LINE)
        for (unsigned b = 0; b < PANEL_LINE; b++)
            out[b] = (uint8_t)(block->codes[quad][b] | block->codes[quad + 1][b] << 4);
    return out;
}

/* Lines of four quads, two bits each. */
static uint8_t *pack_low_bits(const struct block *block, uint8_t *out) {
    for (unsigned quad = 0; quad < BLOCK_QUADS; quad += 4, out += PANEL_LINE)
        for (unsigned b = 0; b < PANEL_LINE; b++)
            out[b] = (uint8_t)((block->codes[quad][b] & 3) | (block->codes[quad + 1][b] & 3) << 2 |
                               (block->codes[quad + 2][b] & 3) << 4 | (block->codes[quad + 3][b] & 3) << 6);
    return out;
}

/* Two lines of low bits, then one line of third bits, quad q in bit q. */
static uint8_t *pack_int3(const struct block *block, uint8_t *out) {
    out = pack_low_bits(block, out);
    memset(out, 0, PANEL_LINE);
    for (unsigned quad = 0; quad < BLOCK_QUADS; quad++)
        for (unsigned b = 0; b < PANEL_LINE; b++)
            out[b] |= (uint8_t)(block->codes[quad][b] >> 2 << quad);
    return out + PANEL_LINE;
}

/* Positions of the `half` kept weights of a part of 2 * half; positions of zero codes fill up a part that keeps
 * less. */
static void kept_positions(const uint8_t *kept, unsigned half, unsigned *ret_positions) {
    unsigned missing = half, found = 0;
    for (unsigned i = 0; i < 2 * half; i++)
        missing -= kept[i];
    for (unsigned i = 0; i < 2 * half; i++) {
        bool fill = !kept[i] && missing > 0;
        missing -= fill;
        if (kept[i] || fill)
            ret_positions[found++] = i;
    }
}

/* One line of ranks, then two lines of two's complement nibbles: see docs/formats.md for where each nibble goes. */
static uint8_t *pack_int4_24(const struct block *block, uint8_t *out) {
    memset(out, 0, (size_t)3 * PANEL_LINE);
    for (unsigned quad = 0; quad < BLOCK_QUADS; quad++) {
        uint8_t *values = out + PANEL_LINE * (1 + quad / 4);
        unsigned in_line = quad % 4, shift = in_line / 2 * 4;
        for (unsigned r = 0; r < PANEL_ROWS; r++) {
            const uint8_t *codes = block->codes[quad] + 4 * r;
            unsigned at[2];
            kept_positions(block->kept[quad] + 4 * r, 2, at);
            unsigned rank = at[0] == 0 ? at[1] - 1 : at[0] == 1 ? at[1] + 1 : 5;
            out[4 * r + quad / 2] |= (uint8_t)(rank << quad % 2 * 4);
            for (unsigned i = 0; i < 2; i++)
                values[4 * r + in_line % 2 * 2 + i] |= (uint8_t)((codes[at[i]] ^ 8) << shift);
        }
    }
    return out + (size_t)3 * PANEL_LINE;
}

/* One line of masks (octet o of row r in byte 16 o + r), then 32 bytes an octet: rows 0-7 in low nibbles, 8-15 in
 * high. */
static uint8_t *pack_int4_48(const struct block *block, uint8_t *out) {
    memset(out, 0, (size_t)3 * PANEL_LINE);
    for (unsigned octet = 0; octet < BLOCK_QUADS / 2; octet++) {
        uint8_t *values = out + PANEL_LINE + (size_t)32 * octet;
        for (unsigned r = 0; r < PANEL_ROWS; r++) {
            uint8_t codes[8], kept[8];
            unsigned at[4];
            for (unsigned i = 0; i < 8; i++) {
                codes[i] = block->codes[2 * octet + i / 4][4 * r + i % 4];
                kept[i] = block->kept[2 * octet + i / 4][4 * r + i % 4];
            }
            kept_positions(kept, 4, at);
            for (unsigned i = 0; i < 4; i++) {
                out[16 * octet + r] |= (uint8_t)(1u << at[i]);
                values[r % 8 * 4 + i] |= (uint8_t)(codes[at[i]] << r / 8 * 4);
            }
        }
    }
    return out + (size_t)3 * PANEL_LINE;
}

static uint8_t *pack_block(number_format format, const struct block *block, uint8_t *out) {
    switch (format) {
    case FORMAT_INT8:
        return pack_int8(block, out);
    case FORMAT_INT4:
        return pack_int4(block, out);
    case FORMAT_INT3:
        return pack_int3(block, out);
    case FORMAT_INT2:
        return pack_low_bits(block, out);
    case FORMAT_INT4_24:
        return pack_int4_24(block, out);
    default:
        return pack_int4_48(block, out);
    }
}

/* A group of the bitmask format: 64-bit masks of all its quads, then the kept codes, those of the first half of the
 * quads in the low nibbles and those of the second half in the high nibbles. */
static uint8_t *pack_mask_group(const struct quant_rows *rows, uint64_t row, uint64_t col, uint8_t *out) {
    const unsigned quads = rows->group / 4;
    uint8_t *nibbles = out + quads * sizeof(uint64_t);
    size_t count[2] = {0, 0};
    struct block block;
    for (unsigned quad = 0; quad < quads; quad++) {
        if (quad % BLOCK_QUADS == 0)
            block_gather(rows, row, col + quad * 4, &block);
        const uint8_t *codes = block.codes[quad % BLOCK_QUADS], *kept = block.kept[quad % BLOCK_QUADS];
        unsigned half = quad / (quads / 2);
        uint64_t mask = 0;
        for (unsigned b = 0; b < PANEL_LINE; b++) {
            if (!kept[b])
                continue;
            mask |= UINT64_C(1) << b;
            if (half == 0 || count[1] >= count[0])
                nibbles[count[half]] = 0;
            nibbles[count[half]++] |= (uint8_t)(codes[b] << half * 4);
        }
        memcpy(out + quad * sizeof mask, &mask, sizeof mask);
    }
    return nibbles + (count[0] > count[1] ? count[0] : count[1]);
}

static uint8_t *pack_group(const struct quant_rows *rows, uint64_t row, uint64_t col, uint8_t *out) {
    if (rows->format == FORMAT_INT4_MASK)
        return pack_mask_group(rows, row, col, out);
    struct block block;
    for (uint64_t k = 0; k < rows->group; k += BLOCK_COLS) {
        block_gather(rows, row, col + k, &block);
        out = pack_block(rows->format, &block, out);
    }
    return out;
}

static uint8_t *pack_panel(const struct quant_rows *rows, uint64_t row, uint8_t *out) {
    uint64_t groups = quant_rows_groups(rows->cols, rows->group);
    for (uint64_t g = 0; g < groups; g += 2) {
        uint16_t scales[2][PANEL_ROWS] = {{0}};
        uint64_t count = groups - g < 2 ? groups - g : 2;
        for (uint64_t i = 0; i < count; i++)
            for (uint64_t r = 0; r < PANEL_ROWS && row + r < rows->rows; r++)
                scales[i][r] = rows->scales[(row + r) * groups + g + i];
        memcpy(out, scales, sizeof scales);
        out += sizeof scales;
        for (uint64_t i = 0; i < count; i++)
            out = pack_group(rows, row, (g + i) * rows->group, out);
    }
    return out;
}

/* Nibble bytes that the kept weights of a bitmask panel take: per group as many as its fuller half keeps. */
static uint64_t mask_nibble_bytes(const struct quant_rows *rows, uint64_t row) {
    uint64_t bytes = 0, row_end = rows->rows - row < PANEL_ROWS ? rows->rows : row + PANEL_ROWS;
    for (uint64_t col = 0; col < rows->cols; col += rows->group) {
        uint64_t kept[2] = {0, 0};
        for (uint64_t r = row; r < row_end; r++)
            for (uint64_t k = col; k < rows->cols && k < col + rows->group; k++)
                kept[(k - col) / (rows->group / 2)] += rows->mask[r * rows->cols + k];
        bytes += kept[0] > kept[1] ? kept[0] : kept[1];
    }
    return bytes;
}

uint64_t weight_packed_bytes(const struct quant_rows *rows) {
    uint64_t bytes;
    if (!weight_shape_bytes(rows->format, LAYOUT_PANEL16, rows->group, rows->rows, rows->cols, &bytes))
        return 0;
    if (rows->format != FORMAT_INT4_MASK)
        return bytes;
    if (rows->mask == NULL)
        return 0;
    size_t masks = format_panel_bytes(rows->format, rows->group, rows->cols);
    bytes = mask_table_bytes(rows->rows) + mask_tail_bytes(rows->group);
    for (uint64_t row = 0; row < rows->rows; row += PANEL_ROWS)
        bytes += size_round_up(masks + mask_nibble_bytes(rows, row), 64);
    return bytes;
}

/* Panels on 64 bytes behind the table of their offsets, and the tail of zeros that keeps readers inside. */
static void pack_mask(const struct quant_rows *rows, uint8_t *out, uint64_t bytes) {
    uint8_t *at = out + mask_table_bytes(rows->rows);
    memset(out, 0, mask_table_bytes(rows->rows));
    for (uint64_t row = 0; row < rows->rows; row += PANEL_ROWS) {
        uint64_t offset = (uint64_t)(at - out);
        memcpy(out + row / PANEL_ROWS * sizeof offset, &offset, sizeof offset);
        uint8_t *end = pack_panel(rows, row, at);
        at = out + size_round_up((size_t)(end - out), 64);
        memset(end, 0, (size_t)(at - end));
    }
    memset(at, 0, bytes - (uint64_t)(at - out));
}

moesaic_status weight_pack(const struct quant_rows *rows, void *out, uint64_t bytes, struct weight *ret_weight,
                           moesaic_error *error) {
    moesaic_status status = quant_rows_check(rows, error);
    if (status != MOESAIC_OK)
        return status;
    uint64_t needed = weight_packed_bytes(rows);
    if (bytes < needed || (uintptr_t)out % 64 != 0)
        return status_set(error, MOESAIC_E_USAGE, "pack: needs %llu bytes on a multiple of 64, was given %llu",
                          (unsigned long long)needed, (unsigned long long)bytes);
    struct weight weight = {.format = rows->format, .layout = LAYOUT_PANEL16, .group = rows->group,
                            .rows = rows->rows, .cols = rows->cols, .data = out, .bytes = needed,
                            .factor = rows->factor};
    status = weight_check(&weight, error);
    if (status != MOESAIC_OK)
        return status;
    if (rows->format == FORMAT_INT4_MASK) {
        pack_mask(rows, out, needed);
    } else {
        uint8_t *at = out;
        for (uint64_t row = 0; row < rows->rows; row += PANEL_ROWS)
            at = pack_panel(rows, row, at);
    }
    *ret_weight = weight;
    return MOESAIC_OK;
}
