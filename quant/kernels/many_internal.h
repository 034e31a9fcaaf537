/* SPDX-License-Identifier: Apache-2.0 */
/* What the many-token kernels of all ISAs share: panels are unpacked once per block of tokens into lines that stay in
 * the first-level cache, activations are copied beside each other, and tiles of both are multiplied in registers.
 *
 * A file that includes this defines MANY_TOKENS and MANY_PANELS (the size of its tile) before, and MANY_PIECE(group)
 * where it wants more than 32 k of a token beside each other; it defines many_tile and many_scales after it, and names
 * its kernel with MANY_KERNEL. */
#ifndef MANY_INTERNAL_H
#define MANY_INTERNAL_H

#include <string.h>

#include "kernels.h"

#ifndef MANY_PIECE
#define MANY_PIECE(group) BLOCK_COLS
#endif

enum {
    MANY_CHUNK_COLS = 512,                               /* k of a pass: the lines of a panel take 8 KiB */
    MANY_BLOCK_TOKENS = 96,                              /* tokens of a pass: their codes take 48 KiB */
    MANY_STRIP_PANELS = 64,                              /* panels between two copies of the activations */
    MANY_CHUNK_BLOCKS = MANY_CHUNK_COLS / BLOCK_COLS,
    MANY_TILES = MANY_BLOCK_TOKENS / MANY_TOKENS
};

/* The activations of a tile of tokens for one chunk of k. */
struct many_tokens {
    int8_t codes[MANY_CHUNK_BLOCKS * MANY_TOKENS * BLOCK_COLS]; /* [piece of k][token of this tile][MANY_PIECE] */
    float scales[MANY_CHUNK_BLOCKS][MANY_TOKENS];               /* [group][token] */
    int32_t start[MANY_CHUNK_BLOCKS][MANY_TOKENS];              /* -zero * sum of the group's codes */
};

/* Panels, unpacked, for one chunk of k. */
struct many_panels {
    uint8_t lines[MANY_PANELS][MANY_CHUNK_COLS / 4 * PANEL_LINE];
    _Alignas(64) float scales[MANY_PANELS][MANY_CHUNK_BLOCKS + 1][PANEL_ROWS]; /* one more: superblocks hold two */
};

struct many_chunk {
    number_format format;
    size_t group;         /* k of a group */
    size_t begin, groups; /* first group, number of groups */
    bool first;           /* of the whole k: the sums start at zero, and in `out` otherwise */
    float factor;         /* of the weight in the last chunk, 1 before */
};

/* Multiplies `panels` (1..MANY_PANELS) panels and `tokens` (1..MANY_TOKENS) tokens over a chunk into
 * out[t * out_stride + 16 * p + r]; of the last panel only `rows` rows are there. */
static void many_tile(size_t panels, size_t tokens, const struct many_chunk *chunk, const struct many_panels *weights,
                      const struct many_tokens *x, size_t rows, float *out, size_t out_stride);
/* Sixteen FP16 scales as floats. */
static void many_scales(const uint8_t *halves, float *scales);

/* Unpacks the chunk of one panel from `at`; returns where the panel goes on. */
static const uint8_t *many_unpack(const struct weight *weight, kernel_unpack_fn *unpack,
                                  const struct many_chunk *chunk, const uint8_t *at, uint8_t *lines,
                                  float (*scales)[PANEL_ROWS]) {
    const uint8_t *const limit = panel_limit(weight);
    const uint32_t quads = (uint32_t)chunk->group / 4;
    for (size_t g = 0; g < chunk->groups; g += 2) {
        at = panel_clamp(at, limit);
        many_scales(at, scales[g]);
        many_scales(at + PANEL_SCALE_LINE / 2, scales[g + 1]);
        at += PANEL_SCALE_LINE;
        for (size_t i = 0; i < 2 && g + i < chunk->groups; i++, lines += (size_t)quads * PANEL_LINE)
            at = unpack(at, quads, lines);
    }
    return at;
}

/* Copies the activations of tokens [begin, begin + tokens) for a chunk into one tile. */
static void many_gather(const struct activations *x, const uint32_t *index, size_t begin, size_t tokens,
                        const struct many_chunk *chunk, struct many_tokens *ret_tile) {
    const size_t groups = x->k_padded / x->group, piece = MANY_PIECE(chunk->group);
    for (size_t t = 0; t < tokens; t++) {
        size_t from = index ? index[begin + t] : begin + t;
        const int8_t *codes = x->codes + from * x->k_padded + chunk->begin * chunk->group;
        for (size_t k = 0; k < chunk->groups * chunk->group; k += piece)
            memcpy(ret_tile->codes + k * tokens + t * piece, codes + k, piece);
        for (size_t g = 0; g < chunk->groups; g++) {
            ret_tile->scales[g][t] = x->scales[from * groups + chunk->begin + g];
            ret_tile->start[g][t] = -format_zero(chunk->format) * x->sums[from * groups + chunk->begin + g];
        }
    }
}

/* Where a run of panels and tokens stands; tiles share the tokens out evenly. */
struct many_run {
    const struct weight *weight;
    const uint8_t *at[MANY_STRIP_PANELS];
    size_t tokens, tiles, rows;
    float *out;
    size_t out_stride;
};

static void many_multiply(struct many_run *run, const struct many_chunk *chunk, const struct many_tokens *x) {
    _Alignas(64) struct many_panels weights;
    kernel_unpack_fn *unpack = kernel_unpack_of(kernels(), chunk->format);
    const size_t panels = (run->rows + PANEL_ROWS - 1) / PANEL_ROWS;
    for (size_t p = 0; p < panels; p += MANY_PANELS) {
        size_t count = panels - p < MANY_PANELS ? panels - p : MANY_PANELS;
        size_t left = run->rows - (p + count - 1) * PANEL_ROWS, rows = left < PANEL_ROWS ? left : PANEL_ROWS;
        for (size_t i = 0; i < count; i++)
            run->at[p + i] = many_unpack(run->weight, unpack, chunk, run->at[p + i], weights.lines[i],
                                         weights.scales[i]);
        for (size_t i = 0; i < run->tiles; i++) {
            size_t first = run->tokens * i / run->tiles, end = run->tokens * (i + 1) / run->tiles;
            many_tile(count, end - first, chunk, &weights, &x[i], rows,
                      run->out + first * run->out_stride + p * PANEL_ROWS, run->out_stride);
        }
    }
}

/* A strip of panels for a block of tokens, chunk after chunk. */
static void many_strip(const struct weight *weight, const struct activations *x, const uint32_t *index,
                       size_t token_begin, size_t token_end, size_t row_begin, size_t row_end, float *out,
                       size_t out_stride) {
    _Alignas(64) struct many_tokens tokens[MANY_TILES];
    const size_t groups = x->k_padded / x->group, most = MANY_CHUNK_COLS / x->group;
    struct many_run run = {.weight = weight, .tokens = token_end - token_begin, .rows = row_end - row_begin,
                           .out = out + token_begin * out_stride + row_begin, .out_stride = out_stride};
    run.tiles = (run.tokens + MANY_TOKENS - 1) / MANY_TOKENS;
    for (size_t p = 0; p * PANEL_ROWS < run.rows; p++)
        run.at[p] = panel_begin(weight, row_begin / PANEL_ROWS + p);
    for (size_t begin = 0; begin < groups; begin += most) {
        const struct many_chunk chunk = {.format = weight->format, .group = x->group, .begin = begin,
                                         .groups = groups - begin < most ? groups - begin : most, .first = begin == 0,
                                         .factor = groups - begin <= most ? weight->factor : 1.0f};
        for (size_t i = 0; i < run.tiles; i++) {
            size_t first = run.tokens * i / run.tiles, end = run.tokens * (i + 1) / run.tiles;
            many_gather(x, index, token_begin + first, end - first, &chunk, &tokens[i]);
        }
        many_multiply(&run, &chunk, tokens);
    }
}

static inline void many_product(const struct weight *weight, const struct activations *x, const uint32_t *index,
                                size_t tokens, size_t row_begin, size_t row_end, float *out, size_t out_stride) {
    const size_t blocks = (tokens + MANY_BLOCK_TOKENS - 1) / MANY_BLOCK_TOKENS;
    const size_t strip = (size_t)MANY_STRIP_PANELS * PANEL_ROWS;
    for (size_t b = 0; b < blocks; b++)
        for (size_t row = row_begin; row < row_end; row += strip)
            many_strip(weight, x, index, tokens * b / blocks, tokens * (b + 1) / blocks, row,
                       row_end - row < strip ? row_end : row + strip, out, out_stride);
}

#define MANY_KERNEL(name)                                                                                              \
    void name(const struct weight *weight, const struct activations *x, const uint32_t *index, size_t tokens,          \
              size_t row_begin, size_t row_end, float *out, size_t out_stride) {                                       \
        many_product(weight, x, index, tokens, row_begin, row_end, out, out_stride);                                   \
    }

#endif
