/* SPDX-License-Identifier: Apache-2.0 */
/* Products on packed weights in 256-bit registers, for AVX2 and for AVX-VNNI: half panels of 8 rows.
 *
 * The file that includes this defines PACKED_VNNI (0 or 1) before and names its kernels with FEW_KERNEL and
 * MANY_KERNEL. Without VNNI, byte products of codes up to 15 gather in 16 bits for a block of 32 k (8 x 2 x 15 x 127 <
 * 2^15); INT8 codes would saturate and go by the sign: |w| <= 128 times +-x. */
#ifndef AVX2_PACKED_INTERNAL_H
#define AVX2_PACKED_INTERNAL_H

#include "expand_internal.h"

#define MANY_TOKENS 4
#define MANY_PANELS 1
#include "../many_internal.h"

enum { FEW_TOKENS = 4, FEW_HALVES = 8, PREFETCH_BYTES = 2048, GROUP_QUADS_MAX = 32 };

typedef int32_t aliased_i32 __attribute__((may_alias, aligned(1)));
INLINE __m256i spread_4(const int8_t *x) { return _mm256_set1_epi32(*(const aliased_i32 *)(const void *)x); }

/* Whether the format's sums come out without the zero point's share, because its codes were made signed. */
INLINE bool sums_signed(number_format format) { return !PACKED_VNNI && format == FORMAT_INT8; }

#if PACKED_VNNI
/* Inline assembly for what the compiler's intrinsic does with two register copies more (gcc 12). */
INLINE __m256i dot(number_format format, __m256i sum, __m256i w, __m256i x) {
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(w), "x"(x));
    return sum;
}
/* What gathers over a block is the sum itself. */
INLINE __m256i block_start(number_format format, __m256i sum) { return sum; }
INLINE __m256i block_end(number_format format, __m256i sum, __m256i gathered) { return gathered; }
#else
INLINE __m256i dot(number_format format, __m256i sum, __m256i w, __m256i x) {
    if (format != FORMAT_INT8)
        return _mm256_add_epi16(sum, _mm256_maddubs_epi16(w, x));
    __m256i code = _mm256_xor_si256(w, _mm256_set1_epi8((char)0x80));
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(code), _mm256_sign_epi8(x, code));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
INLINE __m256i block_start(number_format format, __m256i sum) {
    return format == FORMAT_INT8 ? sum : _mm256_setzero_si256();
}
INLINE __m256i block_end(number_format format, __m256i sum, __m256i gathered) {
    return format == FORMAT_INT8 ? gathered
                                 : _mm256_add_epi32(sum, _mm256_madd_epi16(gathered, _mm256_set1_epi16(1)));
}
#endif

/* ---- few tokens ---- */

struct few_token {
    const int8_t *codes;
    const float *scales;
    const int32_t *sums;
};

/* Where a panel stands within a group: the codes its blocks are read from (for the masked formats an unpacked copy),
 * the scales, and where its stream goes on. */
struct few_stream {
    const uint8_t *codes, *scales, *next;
};

typedef __m256i few_sums[FEW_HALVES][FEW_TOKENS];

/* One block of 32 k of `panels` panels: sums[2 p + half][t]. */
INLINE void few_block(number_format format, size_t block_bytes, int panels, int tokens, struct few_stream *stream,
                      const int8_t *const *x, few_sums sums) {
    __m256i gathered[FEW_HALVES][FEW_TOKENS];
    _Pragma("GCC unroll 8") for (int h = 0; h < 2 * panels; h++)
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) gathered[h][t] = block_start(format, sums[h][t]);
    _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++)
        for (size_t line = 0; line < block_bytes && format != FORMAT_LINES; line += PANEL_LINE)
            _mm_prefetch((const char *)stream[p].codes + PREFETCH_BYTES + line, _MM_HINT_T0);
    _Pragma("GCC unroll 8") for (unsigned q = 0; q < 8; q++) {
        __m256i spread[FEW_TOKENS];
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) spread[t] = spread_4(x[t] + 4 * q);
        _Pragma("GCC unroll 8") for (int h = 0; h < 2 * panels; h++) {
            __m256i w = expand_half(format, stream[h / 2].codes + h % 2 * HALF_LINE, q);
            _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) gathered[h][t] =
                dot(format, gathered[h][t], w, spread[t]);
        }
    }
    _Pragma("GCC unroll 8") for (int h = 0; h < 2 * panels; h++)
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) sums[h][t] =
            block_end(format, sums[h][t], gathered[h][t]);
    _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++) stream[p].codes += block_bytes;
}

/* At the start of group g: finds scales and codes; `unpack` (or NULL) makes lines of the masked formats' codes. */
INLINE void few_open_group(const struct weight *weight, size_t g, size_t group_bytes, kernel_unpack_fn *unpack,
                           uint8_t *lines, struct few_stream *stream) {
    if (g % 2 == 0) {
        stream->scales = panel_clamp(stream->next, panel_limit(weight));
        stream->next = stream->scales + PANEL_SCALE_LINE;
    } else {
        stream->scales += PANEL_SCALE_LINE / 2;
    }
    stream->codes = unpack ? lines : stream->next;
    for (size_t line = 0; unpack && line < weight->group * 6; line += PANEL_LINE) /* 3 bits x 16 rows a k, about */
        _mm_prefetch((const char *)stream->next + PREFETCH_BYTES + line, _MM_HINT_T0);
    stream->next = unpack ? unpack(stream->next, weight->group / 4, lines) : stream->next + group_bytes;
}

/* acc = fmaf(sum, w_scale * x_scale, acc) for the group's sums. */
INLINE void few_rescale(number_format format, int panels, int tokens, const struct few_stream *stream,
                        const struct few_token *x, size_t g, few_sums sums, __m256 (*acc)[FEW_TOKENS]) {
    _Pragma("GCC unroll 8") for (int h = 0; h < 2 * panels; h++) {
        __m256 scale = _mm256_cvtph_ps(
            _mm_loadu_si128((const __m128i *)(const void *)(stream[h / 2].scales + h % 2 * HALF_ROWS * 2)));
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) {
            __m256i sum = sums[h][t];
            if (!sums_signed(format))
                sum = _mm256_sub_epi32(sum, _mm256_set1_epi32(format_zero(format) * x[t].sums[g]));
            acc[h][t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_mul_ps(scale, _mm256_set1_ps(x[t].scales[g])),
                                        acc[h][t]);
        }
    }
}

/* Eight floats to `to`, or the first `rows` of them. */
INLINE void store_rows(float *to, __m256 values, size_t rows) {
    if (rows >= HALF_ROWS) {
        _mm256_storeu_ps(to, values);
        return;
    }
    _Alignas(32) float copy[HALF_ROWS];
    _mm256_store_ps(copy, values);
    memcpy(to, copy, rows * sizeof *to);
}

/* `panels` panels, `apart` panels from each other, from `panel` on, for `tokens` tokens (both constants), to
 * out[t * out_stride + 16 * p * apart]; of the last panel only `rows` rows are written. */
INLINE void few_panels(number_format format, size_t block_bytes, kernel_unpack_fn *unpack, int panels, int tokens,
                       const struct weight *weight, size_t panel, size_t apart, const struct few_token *x, size_t rows,
                       float *out, size_t out_stride) {
    const size_t group = weight->group, groups = (weight->cols + group - 1) / group;
    _Alignas(64) uint8_t lines[4][GROUP_QUADS_MAX * PANEL_LINE];
    struct few_stream stream[4];
    __m256 acc[FEW_HALVES][FEW_TOKENS];
    _Pragma("GCC unroll 8") for (int h = 0; h < 2 * panels; h++) {
        stream[h / 2].next = stream[h / 2].scales = panel_begin(weight, panel + (size_t)(h / 2) * apart);
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) acc[h][t] = _mm256_setzero_ps();
    }
    for (size_t g = 0; g < groups; g++) {
        few_sums sums;
        _Pragma("GCC unroll 8") for (int h = 0; h < 2 * panels; h++)
            _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) sums[h][t] = _mm256_setzero_si256();
        _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++)
            few_open_group(weight, g, group / BLOCK_COLS * block_bytes, unpack, lines[p], &stream[p]);
        for (size_t k = g * group; k < (g + 1) * group; k += BLOCK_COLS) {
            const int8_t *at[FEW_TOKENS];
            _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) {
                at[t] = x[t].codes + k;
                __asm__("" : "+r"(at[t])); /* one pointer and constant offsets: gcc would keep a register an address */
            }
            few_block(format, block_bytes, panels, tokens, stream, at, sums);
        }
        few_rescale(format, panels, tokens, stream, x, g, sums, acc);
    }
    const __m256 factor = _mm256_set1_ps(weight->factor);
    _Pragma("GCC unroll 8") for (int h = 0; h < 2 * panels; h++)
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) {
            size_t first = (size_t)(h % 2) * HALF_ROWS, here = h / 2 == panels - 1 ? rows : PANEL_ROWS;
            store_rows(out + (size_t)t * out_stride + (size_t)(h / 2) * apart * PANEL_ROWS + first,
                       _mm256_mul_ps(acc[h][t], factor), here > first ? here - first : 0);
        }
}

/* All panels of the rows: cut into `streams` runs that are read side by side, so that each is one forward stream over
 * all its panels; what is left over comes one by one. */
INLINE void few_rows(number_format format, size_t block_bytes, kernel_unpack_fn *unpack, int streams, int tokens,
                     const struct weight *weight, const struct few_token *x, size_t row_begin, size_t row_end,
                     float *out, size_t out_stride) {
    const size_t first = row_begin / PANEL_ROWS, panels = (row_end - row_begin + PANEL_ROWS - 1) / PANEL_ROWS;
    const size_t run = panels / (size_t)streams, rest = run * (size_t)streams;
    const size_t last = PANEL_ROWS - (panels * PANEL_ROWS - (row_end - row_begin));
    for (size_t p = 0; p < run; p++)
        few_panels(format, block_bytes, unpack, streams, tokens, weight, first + p, run, x,
                   p == run - 1 && rest == panels ? last : PANEL_ROWS, out + (first + p) * PANEL_ROWS, out_stride);
    for (size_t p = rest; p < panels; p++)
        few_panels(format, block_bytes, unpack, 1, tokens, weight, first + p, 0, x,
                   p == panels - 1 ? last : PANEL_ROWS, out + (first + p) * PANEL_ROWS, out_stride);
}

/* Any number of tokens, four at a time: registers hold the sums of 8 half panels x tokens. */
INLINE void few_product(number_format format, size_t block_bytes, kernel_unpack_fn *unpack,
                        const struct weight *weight, const struct activations *x, const uint32_t *index, size_t tokens,
                        size_t row_begin, size_t row_end, float *out, size_t out_stride) {
    const size_t groups = x->k_padded / x->group;
    for (size_t begin = 0; begin < tokens; begin += FEW_TOKENS) {
        struct few_token token[FEW_TOKENS];
        size_t count = tokens - begin < FEW_TOKENS ? tokens - begin : FEW_TOKENS;
        for (size_t t = 0; t < count; t++) {
            size_t from = index ? index[begin + t] : begin + t;
            token[t] = (struct few_token){x->codes + from * x->k_padded, x->scales + from * groups,
                                          x->sums + from * groups};
        }
        float *to = out + begin * out_stride;
        if (count == 1)
            few_rows(format, block_bytes, unpack, 4, 1, weight, token, row_begin, row_end, to, out_stride);
        else if (count == 2)
            few_rows(format, block_bytes, unpack, 2, 2, weight, token, row_begin, row_end, to, out_stride);
        else if (count == 3)
            few_rows(format, block_bytes, unpack, 1, 3, weight, token, row_begin, row_end, to, out_stride);
        else
            few_rows(format, block_bytes, unpack, 1, 4, weight, token, row_begin, row_end, to, out_stride);
    }
}

/* A kernel that expands in registers. */
#define FEW_KERNEL(name, format, block_bytes)                                                                          \
    void name(const struct weight *weight, const struct activations *x, const uint32_t *index, size_t tokens,          \
              size_t row_begin, size_t row_end, float *out, size_t out_stride) {                                       \
        few_product(format, block_bytes, NULL, weight, x, index, tokens, row_begin, row_end, out, out_stride);         \
    }
/* A kernel that multiplies the lines that `unpack` makes of each group: blocks of 8 lines of codes up to 15, which is
 * how INT4 codes look once unpacked. */
#define FEW_KERNEL_UNPACKED(name, unpack)                                                                              \
    void name(const struct weight *weight, const struct activations *x, const uint32_t *index, size_t tokens,          \
              size_t row_begin, size_t row_end, float *out, size_t out_stride) {                                       \
        few_product(FORMAT_LINES, 512, unpack, weight, x, index, tokens, row_begin, row_end, out, out_stride);         \
    }

/* ---- many tokens ---- */

static void many_scales(const uint8_t *halves, float *scales) {
    for (int h = 0; h < 2; h++)
        _mm256_storeu_ps(scales + 8 * h, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)halves + h)));
}

/* Sums of a group for one panel: sums[half][t]. */
INLINE void tile_group(number_format format, int tokens, size_t blocks, const uint8_t *lines, const int8_t *codes,
                       __m256i sums[2][MANY_TOKENS]) {
    for (size_t b = 0; b < blocks; b++, codes += (size_t)tokens * BLOCK_COLS, lines += (size_t)8 * PANEL_LINE) {
        __m256i gathered[2][MANY_TOKENS];
        _Pragma("GCC unroll 2") for (int h = 0; h < 2; h++)
            _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) gathered[h][t] = block_start(format, sums[h][t]);
        _Pragma("GCC unroll 8") for (int q = 0; q < 8; q++) {
            __m256i low = load_half(lines + q * PANEL_LINE), high = load_half(lines + q * PANEL_LINE + HALF_LINE);
            _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) {
                __m256i x = spread_4(codes + t * BLOCK_COLS + q * 4);
                gathered[0][t] = dot(format, gathered[0][t], low, x);
                gathered[1][t] = dot(format, gathered[1][t], high, x);
            }
        }
        _Pragma("GCC unroll 2") for (int h = 0; h < 2; h++)
            _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) sums[h][t] =
                block_end(format, sums[h][t], gathered[h][t]);
    }
}

/* One panel x `tokens` tokens over one chunk; `format` (INT8 or not) and `tokens` are constants where it is inlined. */
INLINE void tile(number_format format, int tokens, const struct many_chunk *chunk, const struct many_panels *weights,
                 const struct many_tokens *x, float (*acc)[PANEL_ROWS]) {
    const uint8_t *lines = weights->lines[0];
    const int8_t *codes = x->codes;
    for (size_t g = 0; g < chunk->groups; g++) {
        __m256i sums[2][MANY_TOKENS];
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) sums[0][t] = sums[1][t] =
            sums_signed(format) ? _mm256_setzero_si256() : _mm256_set1_epi32(x->start[g][t]);
        tile_group(format, tokens, chunk->group / BLOCK_COLS, lines, codes, sums);
        _Pragma("GCC unroll 2") for (int h = 0; h < 2; h++) {
            __m256 scale = _mm256_loadu_ps(weights->scales[0][g] + h * HALF_ROWS);
            _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) {
                float *to = acc[t] + h * HALF_ROWS;
                __m256 factor = _mm256_mul_ps(scale, _mm256_set1_ps(x->scales[g][t]));
                _mm256_storeu_ps(to, _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[h][t]), factor, _mm256_loadu_ps(to)));
            }
        }
        lines += chunk->group / 4 * PANEL_LINE;
        codes += (size_t)tokens * chunk->group;
    }
}

INLINE void tile_tokens(number_format format, size_t tokens, const struct many_chunk *chunk,
                        const struct many_panels *weights, const struct many_tokens *x, float (*acc)[PANEL_ROWS]) {
    if (tokens == 1)
        tile(format, 1, chunk, weights, x, acc);
    else if (tokens == 2)
        tile(format, 2, chunk, weights, x, acc);
    else if (tokens == 3)
        tile(format, 3, chunk, weights, x, acc);
    else
        tile(format, 4, chunk, weights, x, acc);
}

static void many_tile(size_t panels, size_t tokens, const struct many_chunk *chunk, const struct many_panels *weights,
                      const struct many_tokens *x, size_t rows, float *out, size_t out_stride) {
    _Alignas(32) float acc[MANY_TOKENS][PANEL_ROWS] = {{0}};
    for (size_t t = 0; t < tokens && !chunk->first; t++)
        memcpy(acc[t], out + t * out_stride, rows * sizeof *out);
    if (chunk->format == FORMAT_INT8)
        tile_tokens(FORMAT_INT8, tokens, chunk, weights, x, acc);
    else
        tile_tokens(FORMAT_INT4, tokens, chunk, weights, x, acc);
    const __m256 factor = _mm256_set1_ps(chunk->factor);
    for (size_t t = 0; t < tokens; t++) {
        store_rows(out + t * out_stride, _mm256_mul_ps(_mm256_load_ps(acc[t]), factor), rows);
        if (rows > HALF_ROWS)
            store_rows(out + t * out_stride + HALF_ROWS, _mm256_mul_ps(_mm256_load_ps(acc[t] + HALF_ROWS), factor),
                       rows - HALF_ROWS);
    }
}

#endif
