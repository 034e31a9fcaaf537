/* SPDX-License-Identifier: Apache-2.0 */
/* AVX-512 products on row-major F32, F16 and BF16 weights: one register holds the 16 lanes of one (row, token). */
#include <immintrin.h>

#include "kernels.h"

#define INLINE static inline __attribute__((always_inline))

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

/* out[t * out_stride + r] for `rows` rows from `row` and `tokens` tokens; both are constants where it is inlined. */
INLINE void tile(number_format format, int rows, int tokens, const uint8_t *row, size_t row_bytes, size_t cols,
                 const float *const *x, float *out, size_t out_stride) {
    __m512 acc[STREAM_ROWS][TILE_TOKENS];
    _Pragma("GCC unroll 8") for (int r = 0; r < rows; r++)
        _Pragma("GCC unroll 6") for (int t = 0; t < tokens; t++) acc[r][t] = _mm512_setzero_ps();
    size_t k = 0;
    for (; k + 16 <= cols; k += 16) {
        if (rows == STREAM_ROWS) {
            _Pragma("GCC unroll 8") for (int r = 0; r < rows; r++)
                _mm_prefetch((const char *)row + (size_t)r * row_bytes + k * (format == FORMAT_F32 ? 4 : 2) +
                                 PREFETCH_BYTES,
                             _MM_HINT_T0);
        }
        STEP((__mmask16)0xffff);
    }
    if (k < cols) {
        __mmask16 lanes = (__mmask16)((1u << (cols - k)) - 1);
        STEP(lanes);
    }
    _Pragma("GCC unroll 8") for (int r = 0; r < rows; r++)
        _Pragma("GCC unroll 6") for (int t = 0; t < tokens; t++) out[(size_t)t * out_stride + (size_t)r] =
            reduce(acc[r][t]);
}

/* All rows for up to TILE_TOKENS tokens: many rows at once for one token (read streams), four for several. */
INLINE void rows_of(number_format format, int tokens, const uint8_t *row, size_t row_bytes, size_t rows, size_t cols,
                    const float *const *x, float *out, size_t out_stride) {
    size_t r = 0, at_once = tokens == 1 ? STREAM_ROWS : TILE_ROWS;
    for (; r + at_once <= rows; r += at_once)
        tile(format, tokens == 1 ? STREAM_ROWS : TILE_ROWS, tokens, row + r * row_bytes, row_bytes, cols, x, out + r,
             out_stride);
    for (; r < rows; r++)
        tile(format, 1, tokens, row + r * row_bytes, row_bytes, cols, x, out + r, out_stride);
}

INLINE void token_tile(number_format format, size_t tokens, const uint8_t *row, size_t row_bytes, size_t rows,
                       size_t cols, const float *const *x, float *out, size_t out_stride) {
    switch (tokens) {
    case 1:
        rows_of(format, 1, row, row_bytes, rows, cols, x, out, out_stride);
        break;
    case 2:
        rows_of(format, 2, row, row_bytes, rows, cols, x, out, out_stride);
        break;
    case 3:
        rows_of(format, 3, row, row_bytes, rows, cols, x, out, out_stride);
        break;
    case 4:
        rows_of(format, 4, row, row_bytes, rows, cols, x, out, out_stride);
        break;
    case 5:
        rows_of(format, 5, row, row_bytes, rows, cols, x, out, out_stride);
        break;
    default:
        rows_of(format, TILE_TOKENS, row, row_bytes, rows, cols, x, out, out_stride);
        break;
    }
}

/* Blocks of tokens that stay in the second-level cache while rows stream past them, four rows at a time. */
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
            for (size_t t = begin; t < end; t += TILE_TOKENS) {
                size_t count = end - t < TILE_TOKENS ? end - t : TILE_TOKENS;
                const float *values[TILE_TOKENS];
                for (size_t i = 0; i < count; i++)
                    values[i] = x->values + (index ? index[t + i] : t + i) * x->stride;
                token_tile(format, count, weight->data + r * row_bytes, row_bytes, rows, cols, values,
                           out + t * out_stride + r, out_stride);
            }
        }
    }
}

void rows_f32_avx512(const struct weight *weight, const struct activations *x, const uint32_t *index, size_t tokens,
                     size_t row_begin, size_t row_end, float *out, size_t out_stride) {
    product(FORMAT_F32, weight, x, index, tokens, row_begin, row_end, out, out_stride);
}

void rows_f16_avx512(const struct weight *weight, const struct activations *x, const uint32_t *index, size_t tokens,
                     size_t row_begin, size_t row_end, float *out, size_t out_stride) {
    product(FORMAT_F16, weight, x, index, tokens, row_begin, row_end, out, out_stride);
}

void rows_bf16_avx512(const struct weight *weight, const struct activations *x, const uint32_t *index,
                         size_t tokens, size_t row_begin, size_t row_end, float *out, size_t out_stride) {
    product(FORMAT_BF16, weight, x, index, tokens, row_begin, row_end, out, out_stride);
}
