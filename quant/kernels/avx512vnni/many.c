/* SPDX-License-Identifier: Apache-2.0 */
/* AVX512-VNNI product of any packed weight with many tokens: panels are unpacked to the first-level cache once per block
 * of tokens, activations copied beside each other, and tiles of 2 panels x 6 tokens multiplied in registers. */
#include <string.h>

#include "dot_internal.h"

enum {
    TILE_TOKENS = 6,
    TILE_PANELS = 2,
    CHUNK_COLS = 512,   /* k of a pass: lines of two panels take 16 KiB */
    BLOCK_TOKENS = 96,  /* tokens of a pass: their codes take 48 KiB */
    STRIP_PANELS = 64,  /* panels between two copies of the activations */
    CHUNK_BLOCKS = CHUNK_COLS / BLOCK_COLS,
    BLOCK_TILES = BLOCK_TOKENS / TILE_TOKENS
};

/* The activations of a tile of tokens for one chunk of k. */
struct tile_tokens {
    int8_t codes[CHUNK_BLOCKS * TILE_TOKENS * BLOCK_COLS]; /* [block][token][32] */
    float scales[CHUNK_BLOCKS][TILE_TOKENS];               /* [group][token] */
    int32_t start[CHUNK_BLOCKS][TILE_TOKENS];              /* -zero * sum of the group's codes */
};

/* Two panels, unpacked, for one chunk of k. */
struct tile_panels {
    uint8_t lines[TILE_PANELS][CHUNK_COLS / 4 * PANEL_LINE];
    float scales[TILE_PANELS][CHUNK_BLOCKS + 1][PANEL_ROWS]; /* one more: superblocks hold two groups */
};

struct chunk {
    size_t group, blocks; /* k of a group; blocks of 32 k in a group */
    size_t begin, groups; /* first group, number of groups */
    bool first, last;     /* of the whole k: where sums start and where the factor is applied */
    float factor;
};

/* Sums of a group: acc[p][t] += lines of panel p times codes of token t. */
INLINE void tile_group(int panels, int tokens, const struct chunk *chunk, const uint8_t *const *lines,
                       const int8_t *codes, __m512i acc[TILE_PANELS][TILE_TOKENS]) {
    for (size_t b = 0; b < chunk->blocks; b++, codes += (size_t)tokens * BLOCK_COLS) {
        _Pragma("GCC unroll 8") for (size_t q = 0; q < BLOCK_COLS / 4; q++) {
            __m512i w[TILE_PANELS];
            _Pragma("GCC unroll 2") for (int p = 0; p < panels; p++) w[p] =
                _mm512_load_si512(lines[p] + (b * 8 + q) * PANEL_LINE);
            _Pragma("GCC unroll 6") for (int t = 0; t < tokens; t++) {
                const int8_t *at = codes + (size_t)t * BLOCK_COLS + q * 4;
                if (panels == 1) {
                    acc[0][t] = dot(acc[0][t], w[0], at);
                    continue;
                }
                __m512i x = spread_4(at);
                _Pragma("GCC unroll 2") for (int p = 0; p < panels; p++) acc[p][t] = dot_register(acc[p][t], w[p], x);
            }
        }
    }
}

/* One tile over one chunk. `out` carries the sums from chunk to chunk; `lanes` masks the rows of the last panel. */
INLINE void tile(int panels, int tokens, const struct chunk *chunk, const struct tile_panels *weights,
                 const struct tile_tokens *x, __mmask16 lanes, float *out, size_t out_stride) {
    __m512 sum[TILE_PANELS][TILE_TOKENS];
    const uint8_t *lines[TILE_PANELS] = {weights->lines[0], weights->lines[1]};
    const int8_t *codes = x->codes;
    _Pragma("GCC unroll 2") for (int p = 0; p < panels; p++)
        _Pragma("GCC unroll 6") for (int t = 0; t < tokens; t++) sum[p][t] =
            chunk->first ? _mm512_setzero_ps()
                         : _mm512_maskz_loadu_ps(p == panels - 1 ? lanes : (__mmask16)0xffff,
                                                 out + (size_t)t * out_stride + (size_t)p * PANEL_ROWS);
    for (size_t g = 0; g < chunk->groups; g++) {
        __m512i acc[TILE_PANELS][TILE_TOKENS];
        _Pragma("GCC unroll 6") for (int t = 0; t < tokens; t++)
            _Pragma("GCC unroll 2") for (int p = 0; p < panels; p++) acc[p][t] = _mm512_set1_epi32(x->start[g][t]);
        tile_group(panels, tokens, chunk, lines, codes, acc);
        _Pragma("GCC unroll 2") for (int p = 0; p < panels; p++) {
            __m512 scale = _mm512_load_ps(weights->scales[p][g]);
            _Pragma("GCC unroll 6") for (int t = 0; t < tokens; t++) sum[p][t] =
                _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[p][t]), _mm512_mul_ps(scale, _mm512_set1_ps(x->scales[g][t])),
                                sum[p][t]);
            lines[p] += chunk->group / 4 * PANEL_LINE;
        }
        codes += (size_t)tokens * chunk->group;
    }
    const __m512 factor = _mm512_set1_ps(chunk->last ? chunk->factor : 1.0f);
    _Pragma("GCC unroll 2") for (int p = 0; p < panels; p++)
        _Pragma("GCC unroll 6") for (int t = 0; t < tokens; t++)
            _mm512_mask_storeu_ps(out + (size_t)t * out_stride + (size_t)p * PANEL_ROWS,
                                  p == panels - 1 ? lanes : (__mmask16)0xffff, _mm512_mul_ps(sum[p][t], factor));
}

INLINE void tile_of(int panels, size_t tokens, const struct chunk *chunk, const struct tile_panels *weights,
                    const struct tile_tokens *x, __mmask16 lanes, float *out, size_t out_stride) {
    switch (tokens) {
    case 1:
        tile(panels, 1, chunk, weights, x, lanes, out, out_stride);
        break;
    case 2:
        tile(panels, 2, chunk, weights, x, lanes, out, out_stride);
        break;
    case 3:
        tile(panels, 3, chunk, weights, x, lanes, out, out_stride);
        break;
    case 4:
        tile(panels, 4, chunk, weights, x, lanes, out, out_stride);
        break;
    case 5:
        tile(panels, 5, chunk, weights, x, lanes, out, out_stride);
        break;
    default:
        tile(panels, TILE_TOKENS, chunk, weights, x, lanes, out, out_stride);
        break;
    }
}

static void tile_one(size_t tokens, const struct chunk *chunk, const struct tile_panels *weights,
                     const struct tile_tokens *x, __mmask16 lanes, float *out, size_t out_stride) {
    tile_of(1, tokens, chunk, weights, x, lanes, out, out_stride);
}

static void tile_two(size_t tokens, const struct chunk *chunk, const struct tile_panels *weights,
                     const struct tile_tokens *x, __mmask16 lanes, float *out, size_t out_stride) {
    tile_of(2, tokens, chunk, weights, x, lanes, out, out_stride);
}

/* Unpacks the chunk of one panel from `at`; returns where the panel goes on. */
static const uint8_t *unpack_chunk(const struct weight *weight, kernel_unpack_fn *unpack, const struct chunk *chunk,
                                   const uint8_t *at, uint8_t *lines, float (*scales)[PANEL_ROWS]) {
    const uint8_t *const limit = panel_limit(weight);
    for (size_t g = 0; g < chunk->groups; g += 2) {
        at = panel_clamp(at, limit);
        for (size_t i = 0; i < 2; i++)
            _mm512_store_ps(scales[g + i],
                            _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(at + i * 32))));
        at += PANEL_SCALE_LINE;
        for (size_t i = 0; i < 2 && g + i < chunk->groups; i++, lines += chunk->group / 4 * PANEL_LINE)
            at = unpack(at, (uint32_t)chunk->group / 4, lines);
    }
    return at;
}

/* Copies the activations of tokens [begin, begin + tokens) for a chunk into one tile. */
static void gather(const struct activations *x, const uint32_t *index, size_t begin, size_t tokens,
                   const struct chunk *chunk, int zero, struct tile_tokens *ret_tile) {
    const size_t groups = x->k_padded / x->group, blocks = chunk->groups * chunk->blocks;
    for (size_t t = 0; t < tokens; t++) {
        size_t from = index ? index[begin + t] : begin + t;
        const int8_t *codes = x->codes + from * x->k_padded + chunk->begin * chunk->group;
        for (size_t b = 0; b < blocks; b++)
            memcpy(ret_tile->codes + (b * tokens + t) * BLOCK_COLS, codes + b * BLOCK_COLS, BLOCK_COLS);
        for (size_t g = 0; g < chunk->groups; g++) {
            ret_tile->scales[g][t] = x->scales[from * groups + chunk->begin + g];
            ret_tile->start[g][t] = -zero * x->sums[from * groups + chunk->begin + g];
        }
    }
}

/* A strip of panels for a block of tokens, chunk after chunk. Tiles share the tokens out evenly. */
static void strip(const struct weight *weight, const struct activations *x, const uint32_t *index, size_t token_begin,
                  size_t tokens, size_t row_begin, size_t row_end, float *out, size_t out_stride) {
    _Alignas(64) struct tile_panels weights;
    _Alignas(64) struct tile_tokens tokens_of[BLOCK_TILES];
    const uint8_t *at[STRIP_PANELS];
    kernel_unpack_fn *unpack = kernel_unpack_of(kernels(), weight->format);
    size_t groups = x->k_padded / x->group, tiles = (tokens + TILE_TOKENS - 1) / TILE_TOKENS;
    size_t panels = (row_end - row_begin + PANEL_ROWS - 1) / PANEL_ROWS;
    for (size_t p = 0; p < panels; p++)
        at[p] = panel_begin(weight, row_begin / PANEL_ROWS + p);
    for (size_t begin = 0; begin < groups; begin += CHUNK_COLS / x->group) {
        size_t left = groups - begin, most = CHUNK_COLS / x->group;
        const struct chunk chunk = {.group = x->group, .blocks = x->group / BLOCK_COLS, .begin = begin,
                                    .groups = left < most ? left : most, .first = begin == 0, .last = left <= most,
                                    .factor = weight->factor};
        for (size_t i = 0; i < tiles; i++)
            gather(x, index, token_begin + tokens * i / tiles, tokens * (i + 1) / tiles - tokens * i / tiles, &chunk,
                   format_zero(weight->format), &tokens_of[i]);
        for (size_t p = 0; p < panels; p += TILE_PANELS) {
            size_t count = panels - p < TILE_PANELS ? panels - p : TILE_PANELS;
            size_t rows = row_end - row_begin - (p + count - 1) * PANEL_ROWS;
            __mmask16 lanes = rows < PANEL_ROWS ? (__mmask16)((1u << rows) - 1) : (__mmask16)0xffff;
            for (size_t i = 0; i < count; i++)
                at[p + i] = unpack_chunk(weight, unpack, &chunk, at[p + i], weights.lines[i], weights.scales[i]);
            for (size_t i = 0; i < tiles; i++) {
                size_t first = tokens * i / tiles, end = tokens * (i + 1) / tiles;
                (count == 1 ? tile_one : tile_two)(end - first, &chunk, &weights, &tokens_of[i], lanes,
                                                   out + (token_begin + first) * out_stride + row_begin +
                                                       p * PANEL_ROWS,
                                                   out_stride);
            }
        }
    }
}

void many_avx512vnni(const struct weight *weight, const struct activations *x, const uint32_t *index, size_t tokens,
                     size_t row_begin, size_t row_end, float *out, size_t out_stride) {
    size_t blocks = (tokens + BLOCK_TOKENS - 1) / BLOCK_TOKENS;
    for (size_t b = 0; b < blocks; b++) {
        size_t begin = tokens * b / blocks, end = tokens * (b + 1) / blocks;
        for (size_t row = row_begin; row < row_end; row += (size_t)STRIP_PANELS * PANEL_ROWS) {
            size_t left = row_end - row, most = (size_t)STRIP_PANELS * PANEL_ROWS;
            strip(weight, x, index, begin, end - begin, row, row + (left < most ? left : most), out, out_stride);
        }
    }
}
