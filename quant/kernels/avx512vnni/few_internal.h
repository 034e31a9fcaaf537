/* SPDX-License-Identifier: Apache-2.0 */
/* AVX512-VNNI products of packed weights with one to four tokens: panels stream by once, all sums stay in registers.
 *
 * Four panels at a time (two from three tokens on) are read side by side, as streams of their own. `format` is a
 * constant wherever these functions are inlined, so every format has its own straight code. */
#ifndef AVX512VNNI_FEW_INTERNAL_H
#define AVX512VNNI_FEW_INTERNAL_H

#include "dot_internal.h"

enum { FEW_TOKENS = 4, FEW_PANELS = 4, PREFETCH_BYTES = 2048 };

struct few_token {
    const int8_t *codes;
    const float *scales;
    const int32_t *sums;
};

/* Where a panel's stream stands within a group. */
struct few_stream {
    const uint8_t *codes; /* the next block */
    const uint8_t *masks, *low, *high; /* bitmask format: where the masks and the nibbles of both halves stand */
    const uint8_t *scales;
};

/* Sums of one panel: two chains hide the latency of the byte product where there is one token, and 4:8 keeps rows 0-7
 * and 8-15 apart in 64-bit lanes of 8 k. */
typedef __m512i few_sums[FEW_TOKENS][2];

INLINE void few_prefetch(const uint8_t *at, size_t bytes) {
    for (size_t line = 0; line < bytes; line += PANEL_LINE)
        _mm_prefetch((const char *)at + PREFETCH_BYTES + line, _MM_HINT_T0);
}

/* The activations of a block: where those of its first and last four quads lie, and for a single token all of them
 * spread in registers, which the panels share. */
struct few_block_x {
    const int8_t *codes[FEW_TOKENS][2];
    __m512i spread[BLOCK_COLS / 4];
};

/* sum += w times the activations of quad q of token t. */
INLINE __m512i few_dot(int tokens, const struct few_block_x *x, int t, unsigned q, __m512i sum, __m512i w) {
    return tokens == 1 ? dot_register(sum, w, x->spread[q]) : dot(sum, w, x->codes[t][q / 4] + q % 4 * 4);
}

/* One block of 32 k of one panel. */
INLINE void few_block(number_format format, size_t block_bytes, int tokens, struct few_stream *stream,
                      const struct few_block_x *x, few_sums sums) {
    few_prefetch(stream->codes, block_bytes);
    _Pragma("GCC unroll 8") for (unsigned q = 0; q < 8; q++) {
        __m512i w = expand_quad(format, stream->codes, q);
        unsigned chain = tokens == 1 ? q % 2 : 0;
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) sums[t][chain] =
            few_dot(tokens, x, t, q, sums[t][chain], w);
    }
    stream->codes += block_bytes;
}

#ifdef AVX512VBMI2_EXPAND_INTERNAL_H
/* Four quads of the first half of a group and four of the second, `apart` bytes of masks further on. */
INLINE void few_block_mask(int tokens, size_t apart, struct few_stream *stream, const struct few_block_x *x,
                           few_sums sums) {
    few_prefetch(stream->low, (size_t)3 * PANEL_LINE);
    _Pragma("GCC unroll 8") for (unsigned q = 0; q < 8; q++) {
        const unsigned half = q % 2;
        const uint8_t *mask = stream->masks + half * apart + q / 2 * 8;
        __m512i w = expand_masked(mask, half ? stream->high : stream->low, half);
        *(half ? &stream->high : &stream->low) += masked_count(mask);
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) sums[t][tokens == 1 ? half : 0] =
            few_dot(tokens, x, t, half * 4 + q / 2, sums[t][tokens == 1 ? half : 0], w);
    }
    stream->masks += PANEL_LINE / 2;
    stream->codes = stream->low > stream->high ? stream->low : stream->high;
}

INLINE void few_block_48(int tokens, struct few_stream *stream, const struct few_block_x *x, few_sums sums) {
    few_prefetch(stream->codes, (size_t)3 * PANEL_LINE);
    _Pragma("GCC unroll 4") for (unsigned octet = 0; octet < 4; octet++) {
        __m512i low = expand_48(stream->codes, octet, 0), high = expand_48(stream->codes, octet, 1);
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) {
            __m512i at = tokens == 1 ? x->spread[octet] : spread_8(x->codes[t][octet / 2] + octet % 2 * 8);
            sums[t][0] = dot_register(sums[t][0], low, at);
            sums[t][1] = dot_register(sums[t][1], high, at);
        }
    }
    stream->codes += (size_t)3 * PANEL_LINE;
}
#endif

INLINE void few_any_block(number_format format, size_t block_bytes, int tokens, size_t group,
                          struct few_stream *stream, const struct few_block_x *x, few_sums sums) {
#ifdef AVX512VBMI2_EXPAND_INTERNAL_H
    if (format == FORMAT_INT4_MASK) {
        few_block_mask(tokens, group, stream, x, sums);
        return;
    }
    if (format == FORMAT_INT4_48) {
        few_block_48(tokens, stream, x, sums);
        return;
    }
#endif
    few_block(format, block_bytes, tokens, stream, x, sums);
}

/* The two chains as one sum a row. */
INLINE __m512i few_fold(number_format format, int tokens, const __m512i *chains) {
    if (format == FORMAT_INT4_48) {
        const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
        return _mm512_add_epi32(_mm512_permutex2var_epi32(chains[0], even, chains[1]),
                                _mm512_permutex2var_epi32(chains[0], odd, chains[1]));
    }
    return tokens == 1 ? _mm512_add_epi32(chains[0], chains[1]) : chains[0];
}

/* At the start of group g: finds its scales and codes. */
INLINE void few_open_group(number_format format, size_t group, size_t g, const uint8_t *limit,
                           struct few_stream *stream) {
    if (g % 2 == 0) {
        stream->scales = format == FORMAT_INT4_MASK ? panel_clamp(stream->codes, limit) : stream->codes;
        stream->codes = stream->scales + PANEL_SCALE_LINE;
        few_prefetch(stream->scales, PANEL_SCALE_LINE);
    } else {
        stream->scales += PANEL_SCALE_LINE / 2;
    }
    if (format == FORMAT_INT4_MASK) {
        stream->masks = stream->codes;
        stream->low = stream->high = stream->codes + group / 4 * 8;
    }
}

/* Activations of block b of the group that starts at k. Bitmask blocks take four quads of each half of the group. */
INLINE void few_locate(number_format format, int tokens, size_t group, size_t k, size_t b, const struct few_token *x,
                       struct few_block_x *ret_at) {
    _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) {
        const int8_t *first = x[t].codes + k + b * (format == FORMAT_INT4_MASK ? BLOCK_COLS / 2 : BLOCK_COLS);
        /* one pointer and constant offsets: gcc would keep a register an address */
        __asm__("" : "+r"(first));
        ret_at->codes[t][0] = first;
        ret_at->codes[t][1] = first + (format == FORMAT_INT4_MASK ? group / 2 : BLOCK_COLS / 2);
    }
    if (tokens == 1 && format == FORMAT_INT4_48) {
        _Pragma("GCC unroll 4") for (unsigned o = 0; o < 4; o++) ret_at->spread[o] =
            spread_8(ret_at->codes[0][o / 2] + o % 2 * 8);
    } else if (tokens == 1) {
        _Pragma("GCC unroll 8") for (unsigned q = 0; q < 8; q++) ret_at->spread[q] =
            spread_4(ret_at->codes[0][q / 4] + q % 4 * 4);
    }
}

/* `panels` panels, `apart` panels from each other, from `panel` on, for `tokens` tokens (both constants), to
 * out[t * out_stride + 16 * p * apart]; of the last panel only `lanes` rows are written. */
INLINE void few_panels(number_format format, size_t block_bytes, int panels, int tokens, const struct weight *weight,
                       size_t panel, size_t apart, const struct few_token *x, __mmask16 lanes, float *out,
                       size_t out_stride) {
    const size_t group = weight->group, groups = (weight->cols + group - 1) / group;
    const __m512i minus_zero = _mm512_set1_epi32(-format_zero(format));
    const uint8_t *const limit = panel_limit(weight);
    struct few_stream stream[FEW_PANELS];
    __m512 acc[FEW_PANELS][FEW_TOKENS];
    _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++) {
        stream[p].codes = stream[p].scales = stream[p].masks = panel_begin(weight, panel + (size_t)p * apart);
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) acc[p][t] = _mm512_setzero_ps();
    }
    for (size_t g = 0; g < groups; g++) {
        few_sums sums[FEW_PANELS];
        _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++) {
            few_open_group(format, group, g, limit, &stream[p]);
            _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) sums[p][t][0] = sums[p][t][1] =
                _mm512_setzero_si512();
        }
        for (size_t b = 0; b < group / BLOCK_COLS; b++) {
            struct few_block_x at;
            few_locate(format, tokens, group, g * group, b, x, &at);
            _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++)
                few_any_block(format, block_bytes, tokens, group, &stream[p], &at, sums[p]);
        }
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) {
            __m512i start = _mm512_mullo_epi32(_mm512_set1_epi32(x[t].sums[g]), minus_zero);
            __m512 x_scale = _mm512_set1_ps(x[t].scales[g]);
            _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++) {
                __m512 scale = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)stream[p].scales));
                __m512i sum = _mm512_add_epi32(start, few_fold(format, tokens, sums[p][t]));
                acc[p][t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_mul_ps(scale, x_scale), acc[p][t]);
            }
        }
    }
    const __m512 factor = _mm512_set1_ps(weight->factor);
    _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++)
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++)
            _mm512_mask_storeu_ps(out + (size_t)t * out_stride + (size_t)p * apart * PANEL_ROWS,
                                  p == panels - 1 ? lanes : (__mmask16)0xffff, _mm512_mul_ps(acc[p][t], factor));
}

/* All panels of the rows: cut into `streams` runs that are read side by side, so that each is one forward stream over
 * all its panels; what is left over comes one by one. */
INLINE void few_rows(number_format format, size_t block_bytes, int streams, int tokens, const struct weight *weight,
                     const struct few_token *x, size_t row_begin, size_t row_end, float *out, size_t out_stride) {
    const size_t first = row_begin / PANEL_ROWS, panels = (row_end - row_begin + PANEL_ROWS - 1) / PANEL_ROWS;
    const size_t run = panels / (size_t)streams, rest = run * (size_t)streams;
    const __mmask16 all = (__mmask16)0xffff,
                    last = (__mmask16)(0xffff >> (panels * PANEL_ROWS - (row_end - row_begin)));
    for (size_t p = 0; p < run; p++)
        few_panels(format, block_bytes, streams, tokens, weight, first + p, run, x,
                   p == run - 1 && rest == panels ? last : all, out + (first + p) * PANEL_ROWS, out_stride);
    for (size_t p = rest; p < panels; p++)
        few_panels(format, block_bytes, 1, tokens, weight, first + p, 0, x, p == panels - 1 ? last : all,
                   out + (first + p) * PANEL_ROWS, out_stride);
}

/* Any number of tokens, four at a time. */
INLINE void few_product(number_format format, size_t block_bytes, const struct weight *weight,
                        const struct activations *x, const uint32_t *index, size_t tokens, size_t row_begin,
                        size_t row_end, float *out, size_t out_stride) {
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
            few_rows(format, block_bytes, 4, 1, weight, token, row_begin, row_end, to, out_stride);
        else if (count == 2)
            few_rows(format, block_bytes, 4, 2, weight, token, row_begin, row_end, to, out_stride);
        else if (count == 3)
            few_rows(format, block_bytes, 2, 3, weight, token, row_begin, row_end, to, out_stride);
        else
            few_rows(format, block_bytes, 2, 4, weight, token, row_begin, row_end, to, out_stride);
    }
}

#define FEW_KERNEL(name, format, block_bytes)                                                                          \
    void name(const struct weight *weight, const struct activations *x, const uint32_t *index, size_t tokens,          \
              size_t row_begin, size_t row_end, float *out, size_t out_stride) {                                       \
        few_product(format, block_bytes, weight, x, index, tokens, row_begin, row_end, out, out_stride);               \
    }

#endif
