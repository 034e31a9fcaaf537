/* SPDX-License-Identifier: Apache-2.0 */
/* Products on packed weights in 256-bit registers, for AVX2 and for AVX-VNNI: half panels of 8 rows.
 *
 * The file that includes this defines PACKED_VNNI (0 or 1) before. Without VNNI, byte products of codes up to 15 gather
 * in 16 bits for a block of 32 k (8 x 2 x 15 x 127 < 2^15); INT8 codes would saturate and go by the sign: |w| <= 128
 * times +-x. */
#ifndef AVX2_PACKED_INTERNAL_H
#define AVX2_PACKED_INTERNAL_H

#include "draw_internal.h"
#include "mask_internal.h"

#include "../few_internal.h"

enum { FEW_HALVES = 2 * FEW_PANELS };

typedef int32_t aliased_i32 __attribute__((may_alias, aligned(1)));
INLINE __m256i spread_4(const int8_t *x) { return _mm256_set1_epi32(*(const aliased_i32 *)(const void *)x); }

/* Whether activations are drawn to the format's codes (draw_internal.h). */
INLINE bool is_drawn(number_format format) { return format == FORMAT_INT4_24 || format == FORMAT_INT4_48; }
/* Whether the format's sums come out without the zero point's share, because its codes were made signed. */
INLINE bool sums_signed(number_format format) {
    return is_drawn(format) || (!PACKED_VNNI && format == FORMAT_INT8);
}

#if PACKED_VNNI
/* Inline assembly for what the compiler's intrinsic does with two register copies more (gcc 12). */
INLINE __m256i dot(number_format format, __m256i sum, __m256i w, __m256i x) {
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(w), "x"(x));
    return sum;
}
INLINE __m256i subtract(__m256i sum, __m256i other) { return _mm256_sub_epi32(sum, other); }
/* What gathers over a block is the sum itself. */
INLINE __m256i block_start(number_format format, __m256i sum) { return sum; }
INLINE __m256i block_end(number_format format, __m256i sum, __m256i gathered) { return gathered; }
#else
INLINE __m256i dot(number_format format, __m256i sum, __m256i w, __m256i x) {
    if (format != FORMAT_INT8) {
        sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(w, x));
    } else {
        __m256i code = _mm256_xor_si256(w, _mm256_set1_epi8((char)0x80));
        __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(code), _mm256_sign_epi8(x, code));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
    __asm__("" : "+x"(sum)); /* in this order: gcc makes a tree of the additions and spills what waits for them */
    return sum;
}
INLINE __m256i subtract(__m256i sum, __m256i other) { return _mm256_sub_epi16(sum, other); }
INLINE __m256i block_start(number_format format, __m256i sum) {
    return format == FORMAT_INT8 ? sum : _mm256_setzero_si256();
}
INLINE __m256i block_end(number_format format, __m256i sum, __m256i gathered) {
    return format == FORMAT_INT8 ? gathered
                                 : _mm256_add_epi32(sum, _mm256_madd_epi16(gathered, _mm256_set1_epi16(1)));
}
#endif

/* Where a panel's stream stands within a group. */
struct few_stream {
    const uint8_t *codes, *scales;
    const uint8_t *masks, *nibbles[2]; /* bitmask format: where the masks and the nibbles of both halves stand */
};

typedef __m256i few_sums[FEW_HALVES][FEW_TOKENS];

/* One block of 32 k of `panels` panels: sums[2 p + half][t]. */
INLINE void few_block(number_format format, size_t block_bytes, int panels, int tokens, struct few_stream *stream,
                      const int8_t *const *x, few_sums sums) {
    __m256i gathered[FEW_HALVES][FEW_TOKENS];
    _Pragma("GCC unroll 8") for (int h = 0; h < 2 * panels; h++)
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) gathered[h][t] = block_start(format, sums[h][t]);
    _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++)
        for (size_t line = 0; line < block_bytes; line += PANEL_LINE)
            _mm_prefetch((const char *)stream[p].codes + PANEL_AHEAD_BYTES / panels + line, _MM_HINT_T0);
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

/* The same where activations are drawn to codes: in 16 bits, four times 2 x 255 x 8 gather and lose their offset. */
INLINE void few_block_drawn(number_format format, int panels, int tokens, struct few_stream *stream,
                            const int8_t *const *x, few_sums sums) {
    __m256i spread[BLOCK_OCTETS][FEW_TOKENS];
    _Pragma("GCC unroll 4") for (unsigned o = 0; o < BLOCK_OCTETS; o++)
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) spread[o][t] = spread_octet(x[t] + (size_t)8 * o);
    _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++, stream++) {
        const uint8_t *block = stream->codes;
        __m256i gathered[2][FEW_TOKENS], kept[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
        for (size_t line = 0; line < (size_t)3 * PANEL_LINE; line += PANEL_LINE)
            _mm_prefetch((const char *)block + PANEL_AHEAD_BYTES / panels + line, _MM_HINT_T0);
        _Pragma("GCC unroll 2") for (int h = 0; h < 2; h++)
            _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) gathered[h][t] =
                block_start(format, sums[2 * p + h][t]);
        _Pragma("GCC unroll 2") for (unsigned step = 0; step < 2; step++) {
            __m256i control[4];
            draw_controls(format, block, step, control);
            _Pragma("GCC unroll 4") for (unsigned i = 0; i < 4; i++) {
                const unsigned o = draw_octet(format, step, i), h = draw_half(format, step, i);
                __m256i w = draw_codes(format, block, o, h);
                kept[h] = _mm256_add_epi8(kept[h], w);
                _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) gathered[h][t] =
                    dot(format, gathered[h][t], _mm256_shuffle_epi8(spread[o][t], control[i]), w);
            }
        }
        _Pragma("GCC unroll 2") for (int h = 0; h < 2; h++) {
            __m256i offset = dot(format, _mm256_setzero_si256(), _mm256_set1_epi8((char)128), kept[h]);
            _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) sums[2 * p + h][t] =
                block_end(format, sums[2 * p + h][t], subtract(gathered[h][t], offset));
        }
        stream->codes += (size_t)3 * PANEL_LINE;
    }
}

/* The bitmask group that starts at k, block by block: four quads of its first half and four of its second, whose masks
 * lie `group` bytes further on and whose activations `group` / 2. */
INLINE void few_group_mask(size_t group, int panels, int tokens, struct few_stream *stream, const struct few_token *x,
                           size_t k, few_sums sums) {
    struct mask_rows ahead = mask_rows(stream->masks);
    for (size_t step = 0; step < group / BLOCK_COLS * (size_t)panels; step++) {
        const size_t p = step % (size_t)panels, at = k + step / (size_t)panels * BLOCK_COLS / 2;
        struct few_stream *from = &stream[p];
        __m256i gathered[2][FEW_TOKENS];
        for (size_t line = 0; line < (size_t)3 * PANEL_LINE; line += PANEL_LINE)
            _mm_prefetch((const char *)from->nibbles[0] + PANEL_AHEAD_BYTES / panels + line, _MM_HINT_T0);
        _Pragma("GCC unroll 2") for (int h = 0; h < 2; h++)
            _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) gathered[h][t] =
                block_start(FORMAT_INT4_MASK, sums[2 * p + h][t]);
        _Pragma("GCC unroll 2") for (unsigned half = 0; half < 2; half++) {
            const uint8_t *masks = from->masks + half * group, *nibbles = from->nibbles[half];
            if (half == 1)
                from->masks += PANEL_LINE / 2;
            struct mask_rows rows = ahead;
            /* The next ones now: they take long, and the CPU looks no further ahead than these codes. Behind the last
             * block they are not used. */
            ahead = mask_rows(half == 0 ? masks + group : stream[(p + 1) % (size_t)panels].masks);
            __asm__("" : "+x"(ahead.masks[0]), "+x"(ahead.masks[1]), "+x"(ahead.before[0]), "+x"(ahead.before[1]));
            __m256i control[4];
            _Pragma("GCC unroll 4") for (unsigned q = 0; q < 4; q++) {
                __m256i w[2];
                if (q % 2 == 0)
                    mask_controls(&rows, q / 2, control);
                nibbles = mask_quad(masks + (size_t)8 * q, nibbles, half, control + q % 2 * 2, w);
                _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) {
                    __m256i spread = spread_4(x[t].codes + at + half * group / 2 + (size_t)4 * q);
                    gathered[0][t] = dot(FORMAT_INT4_MASK, gathered[0][t], w[0], spread);
                    gathered[1][t] = dot(FORMAT_INT4_MASK, gathered[1][t], w[1], spread);
                }
            }
            from->nibbles[half] = nibbles;
        }
        _Pragma("GCC unroll 2") for (int h = 0; h < 2; h++)
            _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) sums[2 * p + h][t] =
                block_end(FORMAT_INT4_MASK, sums[2 * p + h][t], gathered[h][t]);
    }
    _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++) stream[p].codes =
        stream[p].nibbles[0] > stream[p].nibbles[1] ? stream[p].nibbles[0] : stream[p].nibbles[1];
}

/* The blocks of a group of any other format. */
INLINE void few_group(number_format format, size_t block_bytes, size_t group, int panels, int tokens,
                      struct few_stream *stream, const struct few_token *x, size_t begin, few_sums sums) {
    for (size_t k = begin; k < begin + group; k += BLOCK_COLS) {
        const int8_t *codes[FEW_TOKENS];
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) {
            codes[t] = x[t].codes + k;
            __asm__("" : "+r"(codes[t])); /* one pointer and constant offsets: gcc would keep an address each */
        }
        if (is_drawn(format))
            few_block_drawn(format, panels, tokens, stream, codes, sums);
        else
            few_block(format, block_bytes, panels, tokens, stream, codes, sums);
    }
}

/* At the start of group g: finds its scales and codes. */
INLINE void few_open_group(number_format format, size_t group, size_t g, const uint8_t *limit,
                           struct few_stream *stream) {
    if (g % 2 == 0) {
        stream->scales = format == FORMAT_INT4_MASK ? panel_clamp(stream->codes, limit) : stream->codes;
        stream->codes = stream->scales + PANEL_SCALE_LINE;
    } else {
        stream->scales += PANEL_SCALE_LINE / 2;
    }
    if (format == FORMAT_INT4_MASK) {
        stream->masks = stream->codes;
        stream->nibbles[0] = stream->nibbles[1] = stream->codes + group / 4 * 8;
    }
}

/* acc = fmaf(sum, w_scale * x_scale, acc) for the group's sums. */
INLINE void few_rescale(number_format format, int zero, int panels, int tokens, const struct few_stream *stream,
                        const struct few_token *x, size_t g, few_sums sums, __m256 (*acc)[FEW_TOKENS]) {
    _Pragma("GCC unroll 8") for (int h = 0; h < 2 * panels; h++) {
        __m256 scale = _mm256_cvtph_ps(
            _mm_loadu_si128((const __m128i *)(const void *)(stream[h / 2].scales + h % 2 * HALF_ROWS * 2)));
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) {
            __m256i sum = sums[h][t];
            if (!sums_signed(format))
                sum = _mm256_sub_epi32(sum, _mm256_set1_epi32(zero * x[t].sums[g]));
            acc[h][t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_mul_ps(scale, _mm256_set1_ps(x[t].scales[g])),
                                        acc[h][t]);
        }
    }
}

/* The first `rows` (all 8 if more) floats from and to memory. */
INLINE __m256 load_rows(const float *from, size_t rows) {
    if (rows >= HALF_ROWS)
        return _mm256_loadu_ps(from);
    _Alignas(32) float copy[HALF_ROWS] = {0};
    memcpy(copy, from, rows * sizeof *from);
    return _mm256_load_ps(copy);
}
INLINE void store_rows(float *to, __m256 values, size_t rows) {
    if (rows >= HALF_ROWS) {
        _mm256_storeu_ps(to, values);
        return;
    }
    _Alignas(32) float copy[HALF_ROWS];
    _mm256_store_ps(copy, values);
    memcpy(to, copy, rows * sizeof *to);
}

/* Rows of half panel h (of the 2 * panels side by side) that token t has in `out`. */
INLINE size_t half_rows(int h, int panels, int t, size_t live, size_t rows) {
    const size_t first = (size_t)(h % 2) * HALF_ROWS, here = h / 2 == panels - 1 ? rows : PANEL_ROWS;
    return (size_t)t < live && here > first ? here - first : 0;
}

/* A few_panels_fn for constants `panels` and `tokens`. */
INLINE void few_panels(number_format format, size_t block_bytes, int panels, int tokens, const struct few_job *job,
                       const uint8_t *const *at, const struct few_token *x, size_t live, size_t rows, size_t apart,
                       float *out, size_t out_stride) {
    struct few_stream stream[FEW_PANELS];
    __m256 acc[FEW_HALVES][FEW_TOKENS];
    float *to[FEW_HALVES];
    _Pragma("GCC unroll 8") for (int h = 0; h < 2 * panels; h++) {
        stream[h / 2].codes = stream[h / 2].scales = at[h / 2];
        to[h] = out + (size_t)(h / 2) * apart + (size_t)(h % 2) * HALF_ROWS;
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) acc[h][t] =
            job->carry ? load_rows(to[h] + (size_t)t * out_stride, half_rows(h, panels, t, live, rows))
                       : _mm256_setzero_ps();
    }
    for (size_t g = 0; g < job->groups; g++) {
        few_sums sums;
        _Pragma("GCC unroll 8") for (int h = 0; h < 2 * panels; h++)
            _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) sums[h][t] = _mm256_setzero_si256();
        _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++)
            few_open_group(format, job->group, g, job->limit, &stream[p]);
        if (format == FORMAT_INT4_MASK)
            few_group_mask(job->group, panels, tokens, stream, x, g * job->group, sums);
        else
            few_group(format, block_bytes, job->group, panels, tokens, stream, x, g * job->group, sums);
        few_rescale(format, job->zero, panels, tokens, stream, x, g, sums, acc);
    }
    const __m256 factor = _mm256_set1_ps(job->factor);
    _Pragma("GCC unroll 8") for (int h = 0; h < 2 * panels; h++)
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++)
            store_rows(to[h] + (size_t)t * out_stride, _mm256_mul_ps(acc[h][t], factor),
                       half_rows(h, panels, t, live, rows));
}

/* The set of a format: registers hold the sums of 8 half panels x tokens; one long stream reads fastest. */
#define FEW_SET(name, format, block_bytes)                                                                             \
    FEW_INSTANCE(name, format, block_bytes, 1, 1)                                                                      \
    FEW_INSTANCE(name, format, block_bytes, 1, 2)                                                                      \
    FEW_INSTANCE(name, format, block_bytes, 1, 4)                                                                      \
    FEW_INSTANCE(name, format, block_bytes, 4, 1)                                                                      \
    FEW_INSTANCE(name, format, block_bytes, 2, 2)                                                                      \
    static const struct few_set name = {{{1, name##_1_1}, {1, name##_1_2}, {1, name##_1_4}},                           \
                                        {{4, name##_4_1}, {2, name##_2_2}, {1, name##_1_4}},                           \
                                        {name##_1_1, name##_1_2, name##_1_4}};

#endif
