/* SPDX-License-Identifier: Apache-2.0 */
/* AVX-512 products on row-major F32, F16 and BF16 weights: one register holds the 16 lanes of one (row, token). */
#include <immintrin.h>

#include "kernels.h"

enum { TILE_TOKENS = 6, TILE_ROWS = 4, STREAM_ROWS = 8, TOKEN_BLOCK_BYTES = 384 << 10, PREFETCH_BYTES = 512 };

/* Sixteen weights from `k` on as floats; `lanes` masks the tail (its lanes read nothing and are zero). */
INLINE __m512 load_weights(number_format format, const uint8_t *row, size_t k, __mmask16 lanes) {
    if (format == FORMAT_F32)
        return _mm512_maskz_loadu_ps(lanes, row + k * 4);
    __m256i half = _mm256_maskz_loadu_epi16(lanes, row + k * 2);
    if (format == FORMAT_F16)
        return _mm512_cvtph_ps(half);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

/* The fixed tree: lanes l and l + 8, then 4, 2, 1 apart. */
INLINE float reduce(__m512 lanes) {
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(lanes), _mm512_extractf32x8_ps(lanes, 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/* One step of 16 k for a tile of ROWS x TOKENS. */
#define STEP(lanes)                                                                                                    \
    do {                                                                                                               \
        __m512 w[STREAM_ROWS];                                                                                         \
        _Pragma("GCC unroll 8") for (int r = 0; r < rows; r++) w[r] =                                                  \
            load_weights(format, row + (size_t)r * row_bytes, k, lanes);                                               \
        _Pragma("GCC unroll 6") for (int t = 0; t < tokens; t++) {                                                     \
            __m512 v = _mm512_maskz_loadu_ps(lanes, x[t] + k);                                                         \
            _Pragma("GCC unroll 8") for (int r = 0; r < rows; r++) acc[r][t] = _mm512_fmadd_ps(w[r], v, acc[r][t]);    \
        }                                                                                                              \
    } while (0)

/* See rows_internal.h. */
INLINE void rows_tile(number_format format, int rows, int tokens, const uint8_t *row, size_t row_bytes, size_t cols,
                      const float *const *x, float *out, size_t out_stride) {
    __m512 acc[STREAM_ROWS][TILE_TOKENS];
    _Pragma("GCC unroll 8") for (int r = 0; r < rows; r++) _Pragma("GCC unroll 6") for (int t = 0; t < tokens; t++)
        acc[r][t] = _mm512_setzero_ps();
    size_t k = 0;
    for (; k + 16 <= cols; k += 16) {
        if (rows == STREAM_ROWS) {
            _Pragma("GCC unroll 8") for (int r = 0; r < rows; r++) _mm_prefetch(
                (const char *)row + (size_t)r * row_bytes + k * (format == FORMAT_F32 ? 4 : 2) + PREFETCH_BYTES,
                _MM_HINT_T0);
        }
        STEP((__mmask16)0xffff);
    }
    if (k < cols) {
        __mmask16 lanes = (__mmask16)((1u << (cols - k)) - 1);
        STEP(lanes);
    }
    _Pragma("GCC unroll 8") for (int r = 0; r < rows; r++) _Pragma("GCC unroll 6") for (int t = 0; t < tokens; t++)
        out[(size_t)t * out_stride + (size_t)r] = reduce(acc[r][t]);
}

#include "rows_internal.h"
ROWS_KERNELS(avx512)
