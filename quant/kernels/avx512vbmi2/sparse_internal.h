/* SPDX-License-Identifier: Apache-2.0 */
/* One token with two panels of a bitmask weight that keeps few codes, side by side from memory.
 *
 * A quad then rarely keeps more than 31 of its 64 codes: 32 bytes of nibbles are read, which cross lines half as often
 * as 64 and leave time to count masks from memory, sooner than from their registers. Where a quad of a group does keep
 * more, the group is computed once more, with 64 bytes. */
#ifndef AVX512VBMI2_SPARSE_INTERNAL_H
#define AVX512VBMI2_SPARSE_INTERNAL_H

#include "../avx512/few_internal.h"

enum {
    SPARSE_PANELS = 2,
    SPARSE_KEPT = 21 /* codes of a quad at most, on average and with what the halves differ by */
};

typedef __m512i sparse_sums[SPARSE_PANELS][2]; /* of both halves, the second 16 times too large */

/* Whether a bitmask weight keeps few codes, by its size. Groups of 128 hold a fuller quad too often: 6 % slower. */
static inline bool sparse_weight(const struct weight *weight) {
    const uint64_t panels = (weight->rows + PANEL_ROWS - 1) / PANEL_ROWS;
    const uint64_t quads = quant_rows_groups(weight->cols, weight->group) * (weight->group / 4);
    uint64_t empty; /* bytes with nothing kept; a byte holds a code of either half */
    return weight->group < 128 &&
           weight_shape_bytes(weight->format, weight->layout, weight->group, weight->rows, weight->cols, &empty) &&
           weight->bytes - empty <= panels * quads * SPARSE_KEPT / 2;
}

/* Both panels' groups at `codes`, sums starting at `start`; returns the counts of all masks, or-ed. */
INLINE size_t sparse_group(bool sparse, size_t group, const uint8_t *const *codes, const int8_t *x, int start,
                           const uint8_t **ret_ends, sparse_sums ret_sums) {
    const uint8_t *nibbles[SPARSE_PANELS][2];
    size_t counts = 0;
    _Pragma("GCC unroll 2") for (int p = 0; p < SPARSE_PANELS; p++) {
        nibbles[p][0] = nibbles[p][1] = codes[p] + group / 4 * 8;
        few_start(FORMAT_INT4_MASK, start, ret_sums[p]);
    }
    _Pragma("GCC unroll 32") for (unsigned i = 0; i < group / 4; i++) {
        const unsigned half = i % 2, quad = i / 2;
        const __m512i spread = spread_4(x + half * group / 2 + (size_t)4 * quad);
        _Pragma("GCC unroll 2") for (int p = 0; p < SPARSE_PANELS; p++) {
            if (i % 8 == 0)
                few_prefetch(nibbles[p][0], (size_t)3 * PANEL_LINE, SPARSE_PANELS);
            const uint8_t *from = codes[p] + half * group + (size_t)8 * quad;
            const __mmask64 mask = load_mask(from);
            const size_t count = sparse ? mask_count_at(from) : mask_count(mask);
            __m512i w =
                sparse ? expand_sparse(mask, nibbles[p][half], half) : expand_masked(mask, nibbles[p][half], half);
            /* At once: gcc would put these off till the end of the group, which the next one waits for. */
            __asm__("add %2, %0\n\tor %2, %1" : "+&r"(nibbles[p][half]), "+r"(counts) : "r"(count) : "cc");
            ret_sums[p][half] = dot_register(ret_sums[p][half], w, spread);
        }
    }
    _Pragma("GCC unroll 2") for (int p = 0; p < SPARSE_PANELS; p++) ret_ends[p] =
        nibbles[p][0] > nibbles[p][1] ? nibbles[p][0] : nibbles[p][1];
    return counts;
}

/* A few_panels_fn for two panels from memory, one token and a constant `group`; `carry` and `ahead` are not for these.
 * Pointers are its own: through few_stream and few_open_group, which also asks for scales, it takes 2 to 3 % longer. */
INLINE void sparse_panels(size_t group, const struct few_job *job, const uint8_t *const *at, const struct few_token *x,
                          size_t rows, size_t apart, float *out) {
    const uint8_t *codes[SPARSE_PANELS] = {at[0], at[1]}, *scales[SPARSE_PANELS] = {at[0], at[1]};
    const int8_t *x_codes = x->codes;
    __m512 acc[SPARSE_PANELS] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    for (size_t g = 0; g < job->groups; g++, x_codes += group) {
        const uint8_t *ends[SPARSE_PANELS];
        const int start = -job->zero * x->sums[g];
        sparse_sums sums;
        _Pragma("GCC unroll 2") for (int p = 0; p < SPARSE_PANELS; p++) {
            if (g % 2 == 0) {
                scales[p] = panel_clamp(codes[p], job->limit);
                codes[p] = scales[p] + PANEL_SCALE_LINE;
            } else {
                scales[p] += PANEL_SCALE_LINE / 2;
            }
        }
        if (sparse_group(true, group, codes, x_codes, start, ends, sums) > 31) {
            __asm__("" : "+r"(codes[0]), "+r"(codes[1]), "+r"(x_codes)); /* gcc would keep all it loaded for this */
            sparse_group(false, group, codes, x_codes, start, ends, sums);
        }
        const __m512 x_scale = _mm512_set1_ps(x->scales[g]);
        _Pragma("GCC unroll 2") for (int p = 0; p < SPARSE_PANELS; p++) {
            __m512 scale = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)scales[p]));
            __m512i sum = few_fold(FORMAT_INT4_MASK, 1, sums[p]);
            acc[p] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_mul_ps(scale, x_scale), acc[p]);
            codes[p] = ends[p];
        }
    }
    const __m512 factor = _mm512_set1_ps(job->factor);
    _mm512_storeu_ps(out, _mm512_mul_ps(acc[0], factor));
    _mm512_mask_storeu_ps(out + apart, (__mmask16)(0xffff >> (PANEL_ROWS - rows)), _mm512_mul_ps(acc[1], factor));
}

#define SPARSE_INSTANCE(group)                                                                                         \
    static void sparse_##group(FEW_ARGUMENTS) {                                                                        \
        sparse_panels(group, job, at, x, rows, apart, out);                                                            \
    }

#endif
