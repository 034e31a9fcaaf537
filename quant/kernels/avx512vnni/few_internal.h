/* SPDX-License-Identifier: Apache-2.0 */
/* AVX512-VNNI products of packed weights with one to four tokens: panels stream by once, all sums stay in registers.
 *
 * Four panels at a time (two from three tokens on) are read side by side, as streams of their own. `format` is a constant
 * wherever these functions are inlined, so every format has its own straight code. */
#ifndef AVX512VNNI_FEW_INTERNAL_H
#define AVX512VNNI_FEW_INTERNAL_H

#include "dot_internal.h"

enum { FEW_TOKENS = 4, FEW_PANELS = 4, PREFETCH_BYTES = 1024 };

struct few_token {
    const int8_t *codes;
    const float *scales;
    const int32_t *sums;
};

/* Sums of one group of one panel for all tokens; returns where its codes end. */
INLINE const uint8_t *few_group_blocks(number_format format, size_t block_bytes, int tokens, const uint8_t *codes,
                                       size_t group, const struct few_token *x, size_t k, __m512i *acc) {
    for (size_t end = k + group; k < end; k += BLOCK_COLS, codes += block_bytes) {
        for (size_t line = 0; line < block_bytes; line += PANEL_LINE)
            _mm_prefetch((const char *)codes + PREFETCH_BYTES + line, _MM_HINT_T0);
        _Pragma("GCC unroll 8") for (unsigned q = 0; q < 8; q++) {
            __m512i w = expand_quad(format, codes, q);
            _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) acc[t] = dot(acc[t], w, x[t].codes + k + 4 * q);
        }
    }
    return codes;
}

#ifdef AVX512VBMI2_EXPAND_INTERNAL_H
INLINE const uint8_t *few_group_mask(int tokens, const uint8_t *masks, size_t group, const struct few_token *x,
                                     size_t k, __m512i *acc) {
    const uint8_t *nibbles = masks + group / 4 * 8;
    for (size_t end = k + group; k < end; k += BLOCK_COLS, masks += 64) {
        _mm_prefetch((const char *)nibbles + PREFETCH_BYTES, _MM_HINT_T0);
        _mm_prefetch((const char *)nibbles + PREFETCH_BYTES + 64, _MM_HINT_T0);
        _Pragma("GCC unroll 8") for (unsigned q = 0; q < 8; q++) {
            uint64_t mask = load_u64(masks + 8 * q);
            __m512i w = expand_masked(mask, nibbles);
            nibbles += masked_bytes(mask);
            _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) acc[t] = dot(acc[t], w, x[t].codes + k + 4 * q);
        }
    }
    return nibbles;
}

/* 4:8 works in 64-bit lanes of 8 k: rows 0-7 and 8-15 in two sums, whose neighbouring lanes are added at the end. */
INLINE const uint8_t *few_group_48(int tokens, const uint8_t *codes, size_t group, const struct few_token *x, size_t k,
                                   __m512i *acc) {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    __m512i half[FEW_TOKENS][2];
    _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) half[t][0] = half[t][1] = _mm512_setzero_si512();
    for (size_t end = k + group; k < end; k += BLOCK_COLS, codes += (size_t)3 * PANEL_LINE) {
        for (size_t line = 0; line < (size_t)3 * PANEL_LINE; line += PANEL_LINE)
            _mm_prefetch((const char *)codes + PREFETCH_BYTES + line, _MM_HINT_T0);
        _Pragma("GCC unroll 4") for (unsigned octet = 0; octet < 4; octet++) {
            __m512i low = expand_48(codes, octet, 0), high = expand_48(codes, octet, 1);
            _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) {
                const int8_t *at = x[t].codes + k + (size_t)8 * octet;
                half[t][0] = dot_8(half[t][0], low, at);
                half[t][1] = dot_8(half[t][1], high, at);
            }
        }
    }
    _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) {
        __m512i first = _mm512_permutex2var_epi32(half[t][0], even, half[t][1]);
        __m512i second = _mm512_permutex2var_epi32(half[t][0], odd, half[t][1]);
        acc[t] = _mm512_add_epi32(acc[t], _mm512_add_epi32(first, second));
    }
    return codes;
}
#endif

INLINE const uint8_t *few_group(number_format format, size_t block_bytes, int tokens, const uint8_t *codes,
                                size_t group, const struct few_token *x, size_t k, __m512i *acc) {
#ifdef AVX512VBMI2_EXPAND_INTERNAL_H
    if (format == FORMAT_INT4_MASK)
        return few_group_mask(tokens, codes, group, x, k, acc);
    if (format == FORMAT_INT4_48)
        return few_group_48(tokens, codes, group, x, k, acc);
#endif
    return few_group_blocks(format, block_bytes, tokens, codes, group, x, k, acc);
}

/* `panels` panels from `panel` on, for `tokens` tokens (both constants), to out[t * out_stride + 16 * p]; of the last
 * panel only `lanes` rows are written. */
INLINE void few_panels(number_format format, size_t block_bytes, int panels, int tokens, const struct weight *weight,
                       size_t panel, const struct few_token *x, __mmask16 lanes, float *out, size_t out_stride) {
    const size_t group = weight->group, groups = (weight->cols + group - 1) / group;
    const __m512i zero_code = _mm512_set1_epi32(-format_zero(format));
    const uint8_t *const limit = panel_limit(weight);
    const uint8_t *at[FEW_PANELS], *scales[FEW_PANELS];
    __m512 acc[FEW_PANELS][FEW_TOKENS];
    _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++) {
        at[p] = scales[p] = panel_begin(weight, panel + (size_t)p);
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) acc[p][t] = _mm512_setzero_ps();
    }
    for (size_t g = 0; g < groups; g++) {
        _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++) {
            if (g % 2 == 0) {
                scales[p] = format == FORMAT_INT4_MASK ? panel_clamp(at[p], limit) : at[p];
                at[p] = scales[p] + PANEL_SCALE_LINE;
            } else {
                scales[p] += PANEL_SCALE_LINE / 2;
            }
            __m512i sum[FEW_TOKENS];
            _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) sum[t] =
                _mm512_mullo_epi32(_mm512_set1_epi32(x[t].sums[g]), zero_code);
            at[p] = few_group(format, block_bytes, tokens, at[p], group, x, g * group, sum);
            __m512 scale = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)scales[p]));
            _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) acc[p][t] =
                _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[t]), _mm512_mul_ps(scale, _mm512_set1_ps(x[t].scales[g])),
                                acc[p][t]);
        }
    }
    const __m512 factor = _mm512_set1_ps(weight->factor);
    _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++)
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++)
            _mm512_mask_storeu_ps(out + (size_t)t * out_stride + (size_t)p * PANEL_ROWS,
                                  p == panels - 1 ? lanes : (__mmask16)0xffff, _mm512_mul_ps(acc[p][t], factor));
}

/* All panels of the rows: `at_once` side by side, what is left one by one. */
INLINE void few_rows(number_format format, size_t block_bytes, int at_once, int tokens, const struct weight *weight,
                     const struct few_token *x, size_t row_begin, size_t row_end, float *out, size_t out_stride) {
    size_t row = row_begin, step = (size_t)at_once * PANEL_ROWS;
    for (; row + step <= row_end; row += step)
        few_panels(format, block_bytes, at_once, tokens, weight, row / PANEL_ROWS, x, (__mmask16)0xffff, out + row,
                   out_stride);
    for (; row < row_end; row += PANEL_ROWS) {
        size_t rows = row_end - row < PANEL_ROWS ? row_end - row : PANEL_ROWS;
        few_panels(format, block_bytes, 1, tokens, weight, row / PANEL_ROWS, x, (__mmask16)((1u << rows) - 1),
                   out + row, out_stride);
    }
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
