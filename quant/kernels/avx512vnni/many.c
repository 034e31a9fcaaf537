/* SPDX-License-Identifier: Apache-2.0 */
/* AVX512-VNNI product of any packed weight with many tokens: tiles of 2 panels x 6 tokens. */
#include "dot_internal.h"

#define MANY_TOKENS 6
#define MANY_PANELS 2
#include "../many_internal.h"

MANY_KERNEL(many_avx512vnni)

static void many_scales(const uint8_t *halves, float *scales) {
    _mm512_storeu_ps(scales, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)halves)));
}

/* Sums of a group: acc[p][t] += lines of panel p times codes of token t. */
INLINE void tile_group(int panels, int tokens, size_t blocks, const uint8_t *const *lines, const int8_t *codes,
                       __m512i acc[MANY_PANELS][MANY_TOKENS]) {
    for (size_t b = 0; b < blocks; b++, codes += (size_t)tokens * BLOCK_COLS) {
        _Pragma("GCC unroll 8") for (size_t q = 0; q < BLOCK_COLS / 4; q++) {
            __m512i w[MANY_PANELS];
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

/* One tile over one chunk; `panels` and `tokens` are constants wherever it is inlined. */
INLINE void tile(int panels, int tokens, const struct many_chunk *chunk, const struct many_panels *weights,
                 const struct many_tokens *x, size_t rows, float *out, size_t out_stride) {
    const __mmask16 all = (__mmask16)0xffff, lanes = (__mmask16)(0xffff >> (PANEL_ROWS - rows));
    __m512 sum[MANY_PANELS][MANY_TOKENS];
    const uint8_t *lines[MANY_PANELS] = {weights->lines[0], weights->lines[1]};
    const int8_t *codes = x->codes;
    _Pragma("GCC unroll 2") for (int p = 0; p < panels; p++)
        _Pragma("GCC unroll 6") for (int t = 0; t < tokens; t++) sum[p][t] =
            chunk->first ? _mm512_setzero_ps()
                         : _mm512_maskz_loadu_ps(p == panels - 1 ? lanes : all,
                                                 out + (size_t)t * out_stride + (size_t)p * PANEL_ROWS);
    for (size_t g = 0; g < chunk->groups; g++) {
        __m512i acc[MANY_PANELS][MANY_TOKENS];
        _Pragma("GCC unroll 6") for (int t = 0; t < tokens; t++)
            _Pragma("GCC unroll 2") for (int p = 0; p < panels; p++) acc[p][t] = _mm512_set1_epi32(x->start[g][t]);
        tile_group(panels, tokens, chunk->group / BLOCK_COLS, lines, codes, acc);
        _Pragma("GCC unroll 2") for (int p = 0; p < panels; p++) {
            __m512 scale = _mm512_loadu_ps(weights->scales[p][g]);
            _Pragma("GCC unroll 6") for (int t = 0; t < tokens; t++) sum[p][t] =
                _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[p][t]), _mm512_mul_ps(scale, _mm512_set1_ps(x->scales[g][t])),
                                sum[p][t]);
            lines[p] += chunk->group / 4 * PANEL_LINE;
        }
        codes += (size_t)tokens * chunk->group;
    }
    const __m512 factor = _mm512_set1_ps(chunk->factor);
    _Pragma("GCC unroll 2") for (int p = 0; p < panels; p++)
        _Pragma("GCC unroll 6") for (int t = 0; t < tokens; t++)
            _mm512_mask_storeu_ps(out + (size_t)t * out_stride + (size_t)p * PANEL_ROWS, p == panels - 1 ? lanes : all,
                                  _mm512_mul_ps(sum[p][t], factor));
}

#define TILE_CASE(panels, tokens)                                                                                      \
    case (panels)*8 + (tokens):                                                                                        \
        tile(panels, tokens, chunk, weights, x, rows, out, out_stride);                                                \
        break;

static void many_tile(size_t panels, size_t tokens, const struct many_chunk *chunk, const struct many_panels *weights,
                      const struct many_tokens *x, size_t rows, float *out, size_t out_stride) {
    switch (panels * 8 + tokens) {
        TILE_CASE(1, 1)
        TILE_CASE(1, 2)
        TILE_CASE(1, 3)
        TILE_CASE(1, 4)
        TILE_CASE(1, 5)
        TILE_CASE(1, 6)
        TILE_CASE(2, 1)
        TILE_CASE(2, 2)
        TILE_CASE(2, 3)
        TILE_CASE(2, 4)
        TILE_CASE(2, 5)
        TILE_CASE(2, 6)
    }
}
