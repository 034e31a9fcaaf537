/* SPDX-License-Identifier: Apache-2.0 */
/* The frame of the products on row-major F32, F16 and BF16 weights: which rows meet which tokens, in what order.
 *
 * The file that includes this defines before: the constants TILE_TOKENS (up to 6), TILE_ROWS, STREAM_ROWS and
 * TOKEN_BLOCK_BYTES, and rows_tile(format, rows, tokens, row, row_bytes, cols, x, out, out_stride), which writes
 * out[t * out_stride + r] for `rows` rows from `row` and `tokens` tokens, both constants where it is inlined. */
#ifndef ROWS_INTERNAL_H
#define ROWS_INTERNAL_H

/* All rows for up to TILE_TOKENS tokens: more rows at once for one token (read streams) than for several. */
INLINE void rows_of(number_format format, int tokens, const uint8_t *row, size_t row_bytes, size_t rows, size_t cols,
                    const float *const *x, float *out, size_t out_stride) {
    const int at_once = tokens == 1 ? STREAM_ROWS : TILE_ROWS;
    size_t r = 0;
    for (; r + (size_t)at_once <= rows; r += (size_t)at_once)
        rows_tile(format, at_once, tokens, row + r * row_bytes, row_bytes, cols, x, out + r, out_stride);
    for (; r < rows; r++)
        rows_tile(format, 1, tokens, row + r * row_bytes, row_bytes, cols, x, out + r, out_stride);
}

/* Blocks of tokens that stay in the second-level cache while rows stream past them, TILE_ROWS at a time. */
INLINE void rows_product(number_format format, const struct weight *weight, const struct activations *x,
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
#define ROWS_COUNT(n)                                                                                                  \
    if (n <= TILE_TOKENS && count == n)                                                                                \
    rows_of(format, n <= TILE_TOKENS ? n : 1, row, row_bytes, rows, cols, values, to, out_stride)
                ROWS_COUNT(1);
                ROWS_COUNT(2);
                ROWS_COUNT(3);
                ROWS_COUNT(4);
                ROWS_COUNT(5);
                ROWS_COUNT(6);
#undef ROWS_COUNT
            }
        }
    }
}

/* The three kernels of an ISA. */
#define ROWS_KERNEL(name, format)                                                                                      \
    void name(const struct weight *weight, const struct activations *x, const uint32_t *index, size_t tokens,          \
              size_t row_begin, size_t row_end, float *out, size_t out_stride) {                                       \
        rows_product(format, weight, x, index, tokens, row_begin, row_end, out, out_stride);                           \
    }
#define ROWS_KERNELS(isa)                                                                                              \
    ROWS_KERNEL(rows_f32_##isa, FORMAT_F32)                                                                            \
    ROWS_KERNEL(rows_f16_##isa, FORMAT_F16)                                                                            \
    ROWS_KERNEL(rows_bf16_##isa, FORMAT_BF16)

#endif
