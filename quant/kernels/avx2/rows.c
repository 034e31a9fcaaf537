/* SPDX-License-Identifier: Apache-2.0 */
/* AVX2 products on row-major F32, F16 and BF16 weights: two registers hold the 16 lanes of one (row, token). */
#include <immintrin.h>
#include <string.h>

#include "kernels.h"

enum { TILE_TOKENS = 3, TILE_ROWS = 2, STREAM_ROWS = 4, TOKEN_BLOCK_BYTES = 192 << 10 };

/* Eight weights at `at` as floats. */
INLINE __m256 load_weights(number_format format, const uint8_t *at) {
    if (format == FORMAT_F32)
        return _mm256_loadu_ps((const float *)(const void *)at);
    __m128i half = _mm_loadu_si128((const __m128i *)(const void *)at);
    if (format == FORMAT_F16)
        return _mm256_cvtph_ps(half);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

/* The fixed tree: lanes l and l + 8, then 4, 2, 1 apart. */
INLINE float reduce(__m256 low, __m256 high) {
    __m256 eight = _mm256_add_ps(low, high);
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/* One step of 16 k: `size` bytes a weight, rows `row_bytes` apart, values[t] at its step. */
INLINE void step(number_format format, int rows, int tokens, const uint8_t *row, size_t row_bytes,
                 const float *const *values, size_t k, __m256 acc[STREAM_ROWS][TILE_TOKENS][2]) {
    const size_t half_bytes = format == FORMAT_F32 ? 32 : 16;
    _Pragma("GCC unroll 2") for (int half = 0; half < 2; half++) {
        _Pragma("GCC unroll 4") for (int r = 0; r < rows; r++) {
            __m256 w = load_weights(format, row + (size_t)r * row_bytes + (size_t)half * half_bytes);
            _Pragma("GCC unroll 3") for (int t = 0; t < tokens; t++) acc[r][t][half] =
                _mm256_fmadd_ps(w, _mm256_loadu_ps(values[t] + k + 8 * half), acc[r][t][half]);
        }
    }
}

/* See rows_internal.h. */
INLINE void rows_tile(number_format format, int rows, int tokens, const uint8_t *row, size_t row_bytes, size_t cols,
                      const float *const *x, float *out, size_t out_stride) {
    const size_t size = format == FORMAT_F32 ? 4 : 2;
    __m256 acc[STREAM_ROWS][TILE_TOKENS][2];
    _Pragma("GCC unroll 4") for (int r = 0; r < rows; r++) _Pragma("GCC unroll 3") for (int t = 0; t < tokens; t++)
        acc[r][t][0] = acc[r][t][1] = _mm256_setzero_ps();
    size_t k = 0;
    for (; k + 16 <= cols; k += 16)
        step(format, rows, tokens, row + k * size, row_bytes, x, k, acc);
    if (k < cols) { /* the tail, padded with zeros */
        uint8_t weights[STREAM_ROWS][64] = {0};
        float values[TILE_TOKENS][16] = {0};
        const float *padded[TILE_TOKENS];
        for (int r = 0; r < rows; r++)
            memcpy(weights[r], row + (size_t)r * row_bytes + k * size, (cols - k) * size);
        for (int t = 0; t < tokens; t++) {
            memcpy(values[t], x[t] + k, (cols - k) * sizeof(float));
            padded[t] = values[t];
        }
        step(format, rows, tokens, weights[0], sizeof weights[0], padded, 0, acc);
    }
    _Pragma("GCC unroll 4") for (int r = 0; r < rows; r++) _Pragma("GCC unroll 3") for (int t = 0; t < tokens; t++)
        out[(size_t)t * out_stride + (size_t)r] = reduce(acc[r][t][0], acc[r][t][1]);
}

#include "rows_internal.h"
ROWS_KERNELS(avx2)
