/* SPDX-License-Identifier: Apache-2.0 */
/* AVX-512 products of packed weights with one to four tokens: panels stream by once, all sums stay in registers.
 *
 * The file that includes this defines FEW_VNNI (0 or 1) before.
 * Panels side by side share each broadcast of activations. `format`, `panels` and `tokens` are constants wherever these
 * functions are inlined: straight code for each. */
#ifndef AVX512_FEW_INTERNAL_H
#define AVX512_FEW_INTERNAL_H

#include "draw_internal.h"
#ifndef AVX512VBMI2_EXPAND_INTERNAL_H
#include "mask_internal.h"
#endif
#if FEW_VNNI
#include "../avx512vnni/dot_internal.h"
#endif

#include "../few_internal.h"

/* Where a panel's stream stands within a group. */
struct few_stream {
    const uint8_t *codes;              /* the next block */
    const uint8_t *masks, *low, *high; /* bitmask format: where the masks and the nibbles of both halves stand */
    const uint8_t *scales;
};

/* Sums of the panels in two chains a token: for a single token they hide the latency of the byte product; in the masked
 * formats the second sums codes that stayed in the high nibble, 16 times too large. */
typedef __m512i few_sums[FEW_PANELS][FEW_TOKENS][2];

#ifdef AVX512VBMI2_EXPAND_INTERNAL_H
INLINE bool few_is_masked(number_format format) { return format == FORMAT_INT4_48 || format == FORMAT_INT4_MASK; }
INLINE bool few_is_drawn(number_format format) { return false; }
#else
INLINE bool few_is_masked(number_format format) { return false; }
INLINE bool few_is_drawn(number_format format) {
    return format == FORMAT_INT4_48 || (format == FORMAT_INT4_24 && !FEW_VNNI);
}
#endif

INLINE void few_prefetch(const uint8_t *at, size_t bytes, int panels) {
    for (size_t line = 0; line < bytes; line += PANEL_LINE)
        _mm_prefetch((const char *)at + PANEL_AHEAD_BYTES / panels + line, _MM_HINT_T0);
}

#if FEW_VNNI
INLINE __m512i draw_dot(__m512i sum, __m512i x, __m512i w) { return dot_register(sum, x, w); }
INLINE __m512i draw_end(__m512i gathered, __m512i offset) { return _mm512_sub_epi32(gathered, offset); }

/* One block of 32 k; x[t] points at the block's codes of token t. */
INLINE void few_block(number_format format, size_t block_bytes, int panels, int tokens, struct few_stream *stream,
                      const int8_t *const *x, few_sums sums) {
    _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++)
        few_prefetch(stream[p].codes, block_bytes, panels);
    _Pragma("GCC unroll 8") for (unsigned q = 0; q < 8; q++) {
        const unsigned chain = tokens == 1 ? q % 2 : 0;
        __m512i spread[FEW_TOKENS];
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) spread[t] = spread_4(x[t] + 4 * q);
        _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++) {
            __m512i w = expand_quad(format, stream[p].codes, q);
            _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) sums[p][t][chain] =
                dot_register(sums[p][t][chain], w, spread[t]);
        }
    }
    _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++) stream[p].codes += block_bytes;
}
#else
/* Not a format of weights: lines of codes up to 15 as unpacking leaves them. */
#define FORMAT_LINES ((number_format)-1)

typedef int32_t aliased_i32 __attribute__((may_alias, aligned(1)));
INLINE __m512i spread_4(const int8_t *x) { return _mm512_set1_epi32(*(const aliased_i32 *)(const void *)x); }

/* Sums in order: gcc makes a tree of the additions otherwise and spills what waits for them. */
INLINE __m512i in_order(__m512i sum) {
    __asm__("" : "+v"(sum));
    return sum;
}
INLINE __m512i draw_dot(__m512i sum, __m512i x, __m512i w) {
    return in_order(_mm512_add_epi16(sum, _mm512_maddubs_epi16(x, w)));
}
INLINE __m512i widened(__m512i gathered) { return _mm512_madd_epi16(gathered, _mm512_set1_epi16(1)); }
INLINE __m512i draw_end(__m512i gathered, __m512i offset) { return widened(_mm512_sub_epi16(gathered, offset)); }

/* One block of 32 k of codes up to 15, whose byte products gather in 16 bits (8 x 2 x 15 x 127 < 2^15). */
INLINE void few_block_small(number_format format, int panels, int tokens, const struct few_stream *stream,
                            const int8_t *const *x, few_sums sums) {
    __m512i gathered[FEW_PANELS][FEW_TOKENS];
    _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++)
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) gathered[p][t] = _mm512_setzero_si512();
    _Pragma("GCC unroll 8") for (unsigned q = 0; q < 8; q++) {
        __m512i spread[FEW_TOKENS];
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) spread[t] = spread_4(x[t] + 4 * q);
        _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++) {
            __m512i w = format == FORMAT_LINES ? load_line(stream[p].codes + q * PANEL_LINE)
                                                    : expand_quad(format, stream[p].codes, q);
            _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) gathered[p][t] =
                in_order(_mm512_add_epi16(gathered[p][t], _mm512_maddubs_epi16(w, spread[t])));
        }
    }
    _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++)
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) sums[p][t][0] =
            _mm512_add_epi32(sums[p][t][0], widened(gathered[p][t]));
}

/* The same of INT8: even and odd codes and activations as words. */
INLINE void few_block_int8(int panels, int tokens, const struct few_stream *stream, const int8_t *const *x,
                           few_sums sums) {
    _Pragma("GCC unroll 8") for (unsigned q = 0; q < 8; q++) {
        __m512i even[FEW_TOKENS], odd[FEW_TOKENS];
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) {
            __m512i spread = spread_4(x[t] + 4 * q);
            even[t] = _mm512_srai_epi16(_mm512_slli_epi16(spread, 8), 8);
            odd[t] = _mm512_srai_epi16(spread, 8);
        }
        _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++) {
            __m512i w = load_line(stream[p].codes + q * PANEL_LINE);
            __m512i w_even = _mm512_and_si512(w, _mm512_set1_epi16(0xff)), w_odd = _mm512_srli_epi16(w, 8);
            _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) {
                __m512i sum = in_order(_mm512_add_epi32(sums[p][t][0], _mm512_madd_epi16(w_even, even[t])));
                sums[p][t][0] = in_order(_mm512_add_epi32(sum, _mm512_madd_epi16(w_odd, odd[t])));
            }
        }
    }
}

/* One block of 32 k; x[t] points at the block's codes of token t. */
INLINE void few_block(number_format format, size_t block_bytes, int panels, int tokens, struct few_stream *stream,
                      const int8_t *const *x, few_sums sums) {
    _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++)
        few_prefetch(stream[p].codes, block_bytes, panels);
    if (format == FORMAT_INT8)
        few_block_int8(panels, tokens, stream, x, sums);
    else
        few_block_small(format, panels, tokens, stream, x, sums);
    _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++) stream[p].codes += block_bytes;
}
#endif

/* The same where activations are drawn to codes: in 16 bits, four times 2 x 255 x 8 gather and lose their offset. */
INLINE void few_block_drawn(number_format format, int panels, int tokens, struct few_stream *stream,
                            const int8_t *const *x, few_sums sums) {
    __m512i spread[4][FEW_TOKENS];
    _Pragma("GCC unroll 4") for (unsigned o = 0; o < 4; o++)
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) spread[o][t] = spread_octet(x[t] + (size_t)8 * o);
    _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++) {
        __m512i control[4], gathered[FEW_TOKENS], kept = _mm512_setzero_si512();
        few_prefetch(stream[p].codes, (size_t)3 * PANEL_LINE, panels);
        draw_controls(format, stream[p].codes, control);
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) gathered[t] = _mm512_setzero_si512();
        _Pragma("GCC unroll 4") for (unsigned o = 0; o < 4; o++) {
            __m512i w = draw_codes(format, stream[p].codes, o);
            kept = _mm512_add_epi8(kept, w);
            _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) gathered[t] =
                draw_dot(gathered[t], _mm512_shuffle_epi8(spread[o][t], control[o]), w);
        }
        __m512i offset = draw_dot(_mm512_setzero_si512(), _mm512_set1_epi8((char)128), kept);
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) sums[p][t][0] =
            _mm512_add_epi32(sums[p][t][0], draw_end(gathered[t], offset));
        stream[p].codes += (size_t)3 * PANEL_LINE;
    }
}

#ifdef AVX512VBMI2_EXPAND_INTERNAL_H
/* Four quads of the first half of a group and four of the second, whose masks lie `group` bytes further on and whose
 * activations `group` / 2. */
INLINE void few_block_mask(size_t group, int panels, int tokens, struct few_stream *stream, const int8_t *const *x,
                           few_sums sums) {
    _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++)
        few_prefetch(stream[p].low, (size_t)3 * PANEL_LINE, panels);
    _Pragma("GCC unroll 8") for (unsigned q = 0; q < 8; q++) {
        const unsigned half = q % 2;
        __m512i spread[FEW_TOKENS];
        const size_t at = half * group / 2 + q / 2 * 4;
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) spread[t] = spread_4(x[t] + at);
        _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++) {
            const uint8_t **nibbles = half ? &stream[p].high : &stream[p].low;
            const uint8_t *from = stream[p].masks + half * group + q / 2 * 8;
            const __mmask64 mask = load_mask(from);
            __m512i w = expand_masked(mask, *nibbles, half);
            /* Loads of nibbles cross lines and leave little time for others; with four tokens products take longer. */
            *nibbles += tokens < FEW_TOKENS ? mask_count(mask) : mask_count_at(from);
            _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) sums[p][t][half] =
                dot_register(sums[p][t][half], w, spread[t]);
        }
    }
    _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++) stream[p].masks += PANEL_LINE / 2;
}

/* 64-bit lanes of 8 k: rows 0-7 in the first chain, rows 8-15 in the second. */
INLINE void few_block_48(int panels, int tokens, struct few_stream *stream, const int8_t *const *x, few_sums sums) {
    _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++)
        few_prefetch(stream[p].codes, (size_t)3 * PANEL_LINE, panels);
    _Pragma("GCC unroll 4") for (unsigned octet = 0; octet < 4; octet++) {
        __m512i spread[FEW_TOKENS];
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) spread[t] = spread_8(x[t] + (size_t)8 * octet);
        _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++) {
            __m512i low = expand_48(stream[p].codes, octet, 0), high = expand_48(stream[p].codes, octet, 1);
            _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) {
                sums[p][t][0] = dot_register(sums[p][t][0], low, spread[t]);
                sums[p][t][1] = dot_register(sums[p][t][1], high, spread[t]);
            }
        }
    }
    _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++) stream[p].codes += (size_t)3 * PANEL_LINE;
}
#else
/* The bitmask group that starts at k by shuffles, block by block: four quads of its first half and four of its second.
 * Codes gather as in few_block_drawn. */
INLINE void few_group_mask(size_t group, int panels, int tokens, struct few_stream *stream, const struct few_token *x,
                           size_t k, few_sums sums) {
    const __m512i nibble = _mm512_set1_epi8(15);
    struct mask_rows ahead = mask_rows(stream->masks, stream->masks + group);
    for (size_t step = 0; step < group / BLOCK_COLS * (size_t)panels; step++) {
        const size_t p = step % (size_t)panels, at = k + step / (size_t)panels * BLOCK_COLS / 2;
        struct few_stream *from = &stream[p];
        const uint8_t *const masks = from->masks;
        from->masks += PANEL_LINE / 2;
        const uint8_t *const next = stream[(p + 1) % (size_t)panels].masks;
        /* The next ones now: they take long, and the CPU looks little further ahead than these codes. Behind the last
         * block they are not used. */
        struct mask_rows rows = ahead;
        ahead = mask_rows(next, next + group);
        __asm__("" : "+v"(ahead.masks[0]), "+v"(ahead.masks[1]), "+v"(ahead.before[0]), "+v"(ahead.before[1]));
        __m512i gathered[FEW_TOKENS];
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) gathered[t] = _mm512_setzero_si512();
        few_prefetch(from->low, (size_t)3 * PANEL_LINE, panels);
        _Pragma("GCC unroll 2") for (unsigned half = 0; half < 2; half++) {
            const uint8_t **nibbles = half ? &from->high : &from->low;
            __m512i control[4];
            mask_controls(&rows, half, control);
            _Pragma("GCC unroll 4") for (unsigned q = 0; q < 4; q++) {
                __m512i both = mask_quad(masks + half * group + (size_t)8 * q, nibbles, control[q]);
                __m512i w = _mm512_and_si512(half ? _mm512_srli_epi16(both, 4) : both, nibble);
                _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) gathered[t] =
                    draw_dot(gathered[t], w, spread_4(x[t].codes + at + half * group / 2 + (size_t)4 * q));
            }
        }
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) sums[p][t][0] =
            _mm512_add_epi32(sums[p][t][0], draw_end(gathered[t], _mm512_setzero_si512()));
    }
    _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++) stream[p].codes =
        stream[p].low > stream[p].high ? stream[p].low : stream[p].high;
}
#endif

INLINE void few_any_block(number_format format, size_t block_bytes, size_t group, int panels, int tokens,
                          struct few_stream *stream, const int8_t *const *x, few_sums sums) {
#ifdef AVX512VBMI2_EXPAND_INTERNAL_H
    if (format == FORMAT_INT4_MASK) {
        few_block_mask(group, panels, tokens, stream, x, sums);
        return;
    }
    if (few_is_masked(format)) {
        few_block_48(panels, tokens, stream, x, sums);
        return;
    }
#endif
    if (few_is_drawn(format))
        few_block_drawn(format, panels, tokens, stream, x, sums);
    else
        few_block(format, block_bytes, panels, tokens, stream, x, sums);
}

/* Chains whose sum is `start` in every row: what the zero point takes away costs no addition at the end. */
INLINE void few_start(number_format format, int start, __m512i *ret_chains) {
    const bool pairs = format == FORMAT_INT4_48; /* two lanes a row */
    ret_chains[0] = _mm512_maskz_set1_epi32((__mmask16)(pairs ? 0x5555 : 0xffff), start);
    ret_chains[1] = pairs ? _mm512_slli_epi32(ret_chains[0], 4) : _mm512_setzero_si512();
}

/* The two chains as one sum a row. */
INLINE __m512i few_fold(number_format format, int tokens, const __m512i *chains) {
    __m512i second = few_is_masked(format) ? _mm512_srai_epi32(chains[1], 4) : chains[1];
    if (few_is_masked(format) && format == FORMAT_INT4_48) {
        const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
        return _mm512_add_epi32(_mm512_permutex2var_epi32(chains[0], even, second),
                                _mm512_permutex2var_epi32(chains[0], odd, second));
    }
    return tokens == 1 || few_is_masked(format) ? _mm512_add_epi32(chains[0], second) : chains[0];
}

/* At the start of group g: finds its scales and codes. */
INLINE void few_open_group(number_format format, size_t group, size_t g, const uint8_t *limit, int panels,
                           struct few_stream *stream) {
    if (g % 2 == 0) {
        stream->scales = format == FORMAT_INT4_MASK ? panel_clamp(stream->codes, limit) : stream->codes;
        stream->codes = stream->scales + PANEL_SCALE_LINE;
        few_prefetch(stream->scales, PANEL_SCALE_LINE, panels);
    } else {
        stream->scales += PANEL_SCALE_LINE / 2;
    }
    if (format == FORMAT_INT4_MASK) {
        stream->masks = stream->codes;
        stream->low = stream->high = stream->codes + group / 4 * 8;
    }
}

/* The blocks of the group that starts at k, for all panels. */
INLINE void few_group(number_format format, size_t block_bytes, size_t group, int panels, int tokens,
                      struct few_stream *stream, const struct few_token *x, size_t k, few_sums sums) {
#ifndef AVX512VBMI2_EXPAND_INTERNAL_H
    if (format == FORMAT_INT4_MASK) {
        few_group_mask(group, panels, tokens, stream, x, k, sums);
        return;
    }
#endif
    const size_t step = format == FORMAT_INT4_MASK ? BLOCK_COLS / 2 : BLOCK_COLS;
    size_t b = 0;
    do { /* a group has a block: a loop that may not run costs gcc 12 copies of all sums */
        const int8_t *at[FEW_TOKENS];
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) {
            at[t] = x[t].codes + k + b * step;
            __asm__("" : "+r"(at[t])); /* one pointer and constant offsets: gcc would keep a register an address */
        }
        few_any_block(format, block_bytes, group, panels, tokens, stream, at, sums);
    } while (++b < group / BLOCK_COLS);
    _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++) if (format == FORMAT_INT4_MASK) stream[p].codes =
        stream[p].low > stream[p].high ? stream[p].low : stream[p].high;
}

/* A few_panels_fn for constants `panels` and `tokens`. */
INLINE void few_panels(number_format format, size_t block_bytes, int panels, int tokens, const struct few_job *job,
                       const uint8_t *const *at, const struct few_token *x, size_t live, size_t rows, size_t apart,
                       float *out, size_t out_stride) {
    const __mmask16 all = (__mmask16)0xffff, lanes = (__mmask16)(0xffff >> (PANEL_ROWS - rows));
    struct few_stream stream[FEW_PANELS];
    __m512 acc[FEW_PANELS][FEW_TOKENS];
    _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++) {
        stream[p].codes = stream[p].scales = at[p];
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) acc[p][t] =
            job->carry && (size_t)t < live ? _mm512_maskz_loadu_ps(p == panels - 1 ? lanes : all,
                                                                   out + (size_t)t * out_stride + (size_t)p * apart)
                                           : _mm512_setzero_ps();
    }
    const uint8_t *ahead = job->ahead;
    for (size_t g = 0; g < job->groups; g++) {
        few_sums sums;
        for (size_t i = 0; i < job->ahead_lines; i++, ahead += PANEL_LINE)
            _mm_prefetch((const char *)ahead, _MM_HINT_T1);
        _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++)
            few_open_group(format, job->group, g, job->limit, panels, &stream[p]);
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) {
            const int start = few_is_drawn(format) ? 0 : -job->zero * x[t].sums[g];
            _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++) few_start(format, start, sums[p][t]);
        }
        few_group(format, block_bytes, job->group, panels, tokens, stream, x, g * job->group, sums);
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) {
            __m512 x_scale = _mm512_set1_ps(x[t].scales[g]);
            _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++) {
                __m512 scale = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)stream[p].scales));
                __m512i sum = few_fold(format, tokens, sums[p][t]);
                acc[p][t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_mul_ps(scale, x_scale), acc[p][t]);
            }
        }
    }
    const __m512 factor = _mm512_set1_ps(job->factor);
    _Pragma("GCC unroll 4") for (int p = 0; p < panels; p++)
        _Pragma("GCC unroll 4") for (int t = 0; t < tokens; t++) if ((size_t)t < live)
            _mm512_mask_storeu_ps(out + (size_t)t * out_stride + (size_t)p * apart, p == panels - 1 ? lanes : all,
                                  _mm512_mul_ps(acc[p][t], factor));
}

/* Panels side by side from memory: one long stream reads fastest, two halve the work on the activations. */
#define FEW_FAR(format, tokens)                                                                                        \
    ((tokens) == 1 || (format) == FORMAT_INT8 || ((format) == FORMAT_INT4 && (tokens) == 2) ? 1 : 2)
#define FEW_FAR_SIDE(name, format, tokens)                                                                             \
    { FEW_FAR(format, tokens), FEW_FAR(format, tokens) == 1 ? name##_1_##tokens : name##_2_##tokens }
/* The set of a format. */
#define FEW_SET(name, format, block_bytes)                                                                             \
    FEW_INSTANCE(name, format, block_bytes, 1, 1)                                                                      \
    FEW_INSTANCE(name, format, block_bytes, 1, 2)                                                                      \
    FEW_INSTANCE(name, format, block_bytes, 1, 4)                                                                      \
    FEW_INSTANCE(name, format, block_bytes, 2, 2)                                                                      \
    FEW_INSTANCE(name, format, block_bytes, 2, 4)                                                                      \
    FEW_INSTANCE(name, format, block_bytes, 4, 1)                                                                      \
    FEW_INSTANCE(name, format, block_bytes, 4, 2)                                                                      \
    FEW_INSTANCE(name, format, block_bytes, 4, 4)                                                                      \
    static const struct few_set name = {                                                                               \
        {{1, name##_1_1}, FEW_FAR_SIDE(name, format, 2), FEW_FAR_SIDE(name, format, 4)},                               \
        {{4, name##_4_1}, {4, name##_4_2}, {4, name##_4_4}},                                                           \
        {name##_1_1, name##_1_2, name##_1_4}};
/* Of the masked formats, whose expansion asks for two panels: their two chains leave no registers for more. */
#define FEW_SET_MASKED(name, format)                                                                                   \
    FEW_INSTANCE(name, format, 0, 1, 1)                                                                                \
    FEW_INSTANCE(name, format, 0, 1, 2)                                                                                \
    FEW_INSTANCE(name, format, 0, 1, 4)                                                                                \
    FEW_INSTANCE(name, format, 0, 2, 1)                                                                                \
    FEW_INSTANCE(name, format, 0, 2, 2)                                                                                \
    FEW_INSTANCE(name, format, 0, 2, 4)                                                                                \
    static const struct few_set name = {{{2, name##_2_1}, {2, name##_2_2}, {2, name##_2_4}},                           \
                                        {{2, name##_2_1}, {2, name##_2_2}, {2, name##_2_4}},                           \
                                        {name##_1_1, name##_1_2, name##_1_4}};

#endif
