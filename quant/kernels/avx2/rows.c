/* SPDX-License-Identifier: Apache-2.0 */
/* AVX2 products on row-major F32, F16 and BF16 weights: two registers hold the 16 lanes of one (row, token). */
#include <immintrin.h>
#include <string.h>

#include "kernels.h"

#define INLINE static inline __attribute__((always_inline))

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

/* out[t * out_stride + r] for `rows` rows from `row` and `tokens` tokens; both are constants where it is inlined. */
INLINE void tile(number_format format, int rows, int tokens, const uint8_t *row, size_t row_bytes, size_t cols,
                 const float *const *x, float *out, size_t out_stride) {
    const size_t size = format == FORMAT_F32 ? 4 : 2;
    __m256 acc[STREAM_ROWS][TILE_TOKENS][2];
    _Pragma("GCC unroll 4") for (int r = 0; r < rows; r++)
        _Pragma("GCC unroll 3") for (int t = 0; t < tokens; t++) acc[r][t][0] = acc[r][t][1] = _mm256_setzero_ps();
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
    _Pragma("GCC unroll 4") for (int r = 0; r < rows; r++)
        _Pragma("GCC unroll 3") for (int t = 0; t < tokens; t++) out[(size_t)t * out_stride + (size_t)r] =
            reduce(acc[r][t][0], acc[r][t][1]);
}

/* All rows for up to TILE_TOKENS tokens: more rows at once for one token (read streams) than for several. */
INLINE void rows_of(number_format format, int tokens, const uint8_t *row, size_t row_bytes, size_t rows, size_t cols,
                    const float *const *x, float *out, size_t out_stride) {
    size_t r = 0, at_once = tokens == 1 ? STREAM_ROWS : TILE_ROWS;
    for (; r + at_once <= rows; r += at_once)
        tile(format, tokens == 1 ? STREAM_ROWS : TILE_ROWS, tokens, row + r * row_bytes, row_bytes, cols, x, out + r,
             out_stride);
    for (; r < rows; r++)
        tile(format, 1, tokens, row + r * row_bytes, row_bytes, cols, x, out + r, out_stride);
}

/* Blocks of tokens that stay in the second-level cache while rows stream past them, two rows at a time. */
INLINE void product(number_format format, const struct weight *weight, const struct activations *x,
                    const uint32_t *index, size_t tokens, size_t row_begin, size_t row_end, float *out,
                    size_t out_stride) {
    size_t cols = weight->cols, row_bytes = cols * (format == FORMAT_F32 ? 4 : 2);
    size_t block = (TOKEN_BLOCK_BYTES / (cols * sizeof(float)) / TILE_TOKENS + 1) * TILE_TOKENS;
    for (size_t begin = 0; begin < tokens; begin += block) {
        size_t end = tokens - begin < block ? tokens : begin + block;
        size_t rows_at_once = end - begin <= TILE_TOKENS ? row_end - row_begin : TILE_ROWS;
        for (size_t r = row_begin; r < row_end; r += rows_at_once) {
            size_t rows = row_end - r < rows_at_once ? row_end - r : rows_at_once;
            const uint8_t *row = weight->data + r * row_bytes;
            for (size_t t = begin; t < end; t += TILE_TOKENS) {
                size_t count = end - t < TILE_TOKENS ? end - t : TILE_TOKENS;
                const float *values[TILE_TOKENS];
                for (size_t i = 0; i < count; i++)
                    values[i] = x->values + (index ? index[t + i] : t + i) * x->stride;
                float *to = out + t * out_stride + r;
                if (count == 1)
                    rows_of(format, 1, row, row_bytes, rows, cols, values, to, out_stride);
                else if (count == 2)
                    rows_of(format, 2, row, row_bytes, rows, cols, values, to, out_stride);
                else
                    rows_of(format, TILE_TOKENS, row, row_bytes, rows, cols, values, to, out_stride);
            }
        }
    }
}

void rows_f32_avx2(const struct weight *weight, const struct activations *x, const uint32_t *index, size_t tokens,
                   size_t row_begin, size_t row_end, float *out, size_t out_stride) {
    product(FORMAT_F32, weight, x, index, tokens, row_begin, row_end, out, out_stride);
}

void rows_f16_avx2(const struct weight *weight, const struct activations *x, const uint32_t *index, size_t tokens,
                   size_t row_begin, size_t row_end, float *out, size_t out_stride) {
    product(FORMAT_F16, weight, x, index, tokens, row_begin, row_end, out, out_stride);
}

void rows_bf16_avx2(const struct weight *weight, const struct activations *x, const uint32_t *index, size_t tokens,
                    size_t row_begin, size_t row_end, float *out, size_t out_stride) {
    product(FORMAT_BF16, weight, x, index, tokens, row_begin, row_end, out, out_stride);
}
