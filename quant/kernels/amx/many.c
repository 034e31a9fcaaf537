/* SPDX-License-Identifier: Apache-2.0 */
/* AMX-INT8 product of any packed weight with many tokens: tiles of 2 panels x 32 tokens.
 *
 * Unpacked lines are what a B tile holds (a quad a row, 16 panel rows x 4 k across), the copied activations what an A
 * tile holds (a token a row, 64 k across, 32 at group 32). A group of 64 k is one tile product, 128 k are two; then the
 * integers leave the tiles and are rescaled in 512-bit registers. tests/kernels runs this file with emulated tiles. */
#include <immintrin.h>

#define MANY_TOKENS 32
#define MANY_PANELS 2
#define MANY_PIECE(group) ((group) < TILE_COLS ? (group) : (size_t)TILE_COLS)
enum { TILE_ROWS = 16, TILE_COLS = 64 };
#include "../many_internal.h"

/* Tiles: 0-3 sums of (tokens 0-15, 16-31) x (panel 0, 1); 4, 5 tokens; 6, 7 panels. */
struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

/* The tile intrinsics of gcc 12 do not say what memory they read: what was stored before must be there. */
static inline void memory_seen(void) { __asm__ volatile("" : : : "memory"); }

static void configure(size_t group) {
    _Alignas(64) struct tile_config config = {.palette = 1};
    const size_t k = MANY_PIECE(group);
    for (int i = 0; i < 8; i++) {
        config.rows[i] = (uint8_t)(i < 6 ? TILE_ROWS : k / 4);
        config.row_bytes[i] = (uint16_t)(i == 4 || i == 5 ? k : PANEL_LINE);
    }
    memory_seen();
    _tile_loadconfig(&config);
}

static void many_scales(const uint8_t *halves, float *scales) {
    _mm512_storeu_ps(scales, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)halves)));
}

/* The integer sums of one group: [token][row] for each panel. */
typedef int32_t group_sums[MANY_PANELS][MANY_TOKENS][PANEL_ROWS];

/* Both panels, tokens 0-15 and, where there are more, 16-31. With one panel the second is computed for nothing. */
static void multiply_group(const uint8_t *const *lines, const int8_t *codes, size_t tokens, size_t group,
                           group_sums sums) {
    const size_t piece = MANY_PIECE(group);
    const bool two = tokens > TILE_ROWS;
    memory_seen();
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (size_t k = 0; k < group; k += piece, codes += tokens * piece) {
        _tile_loadd(4, codes, piece);
        _tile_loadd(6, lines[0] + k / 4 * PANEL_LINE, PANEL_LINE);
        _tile_loadd(7, lines[1] + k / 4 * PANEL_LINE, PANEL_LINE);
        _tile_dpbsud(0, 4, 6);
        _tile_dpbsud(1, 4, 7);
        if (two) {
            _tile_loadd(5, codes + TILE_ROWS * piece, piece);
            _tile_dpbsud(2, 5, 6);
            _tile_dpbsud(3, 5, 7);
        }
    }
    _tile_stored(0, sums[0], PANEL_LINE);
    _tile_stored(1, sums[1], PANEL_LINE);
    if (two) {
        _tile_stored(2, sums[0][TILE_ROWS], PANEL_LINE);
        _tile_stored(3, sums[1][TILE_ROWS], PANEL_LINE);
    }
}

static void many_tile(size_t panels, size_t tokens, const struct many_chunk *chunk, const struct many_panels *weights,
                      const struct many_tokens *x, size_t rows, float *out, size_t out_stride) {
    _Alignas(64) group_sums sums;
    _Alignas(64) float acc[MANY_PANELS][MANY_TOKENS][PANEL_ROWS] = {{{0}}};
    const __mmask16 all = (__mmask16)0xffff, lanes = (__mmask16)(0xffff >> (PANEL_ROWS - rows));
    for (size_t p = 0; p < panels && !chunk->first; p++)
        for (size_t t = 0; t < tokens; t++)
            _mm512_store_ps(acc[p][t], _mm512_maskz_loadu_ps(p == panels - 1 ? lanes : all,
                                                             out + t * out_stride + p * PANEL_ROWS));
    for (size_t g = 0; g < chunk->groups; g++) {
        const size_t skip = g * chunk->group / 4 * PANEL_LINE;
        const uint8_t *lines[MANY_PANELS] = {weights->lines[0] + skip, weights->lines[panels - 1] + skip};
        multiply_group(lines, x->codes + g * chunk->group * tokens, tokens, chunk->group, sums);
        for (size_t p = 0; p < panels; p++) {
            const __m512 scale = _mm512_loadu_ps(weights->scales[p][g]);
            for (size_t t = 0; t < tokens; t++) {
                __m512i sum = _mm512_add_epi32(_mm512_load_si512(sums[p][t]), _mm512_set1_epi32(x->start[g][t]));
                __m512 both = _mm512_mul_ps(scale, _mm512_set1_ps(x->scales[g][t]));
                _mm512_store_ps(acc[p][t],
                                _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), both, _mm512_load_ps(acc[p][t])));
            }
        }
    }
    const __m512 factor = _mm512_set1_ps(chunk->factor);
    for (size_t p = 0; p < panels; p++)
        for (size_t t = 0; t < tokens; t++)
            _mm512_mask_storeu_ps(out + t * out_stride + p * PANEL_ROWS, p == panels - 1 ? lanes : all,
                                  _mm512_mul_ps(_mm512_load_ps(acc[p][t]), factor));
}

void many_amx(const struct weight *weight, const struct activations *x, const uint32_t *index, size_t tokens,
              size_t row_begin, size_t row_end, float *out, size_t out_stride) {
    configure(x->group);
    many_product(weight, x, index, tokens, row_begin, row_end, out, out_stride);
    _tile_release();
}

/* The peak of this ISA: tile products between tiles, four sums by turns. */
uint64_t roof_int8_amx(uint64_t rounds) {
    configure(TILE_COLS);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    _tile_zero(6);
    _tile_zero(7);
    for (uint64_t i = 0; i < rounds; i++) {
        _tile_dpbsud(0, 4, 6);
        _tile_dpbsud(1, 4, 7);
        _tile_dpbsud(2, 5, 6);
        _tile_dpbsud(3, 5, 7);
    }
    _tile_release();
    return rounds * 4 * TILE_ROWS * PANEL_ROWS * TILE_COLS * 2;
}
