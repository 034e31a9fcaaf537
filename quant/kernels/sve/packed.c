/* SPDX-License-Identifier: Apache-2.0 */
/* SVE products on packed weights with the byte dot product, in registers of any length: 128 bits hold 4 rows of a quad,
 * 512 all 16, and of longer ones the rest is idle. Checked under emulation, never timed. */
#include <arm_sve.h>

#include "../neon/packed_internal.h"

/* Four k of each row: a line of a quad without its zero point. */
INLINE svint8_t quad_of(svbool_t bytes, const uint8_t *line, uint8_t zero) {
    return svreinterpret_s8_u8(svsub_n_u8_x(bytes, svld1_u8(bytes, line), zero));
}

/* group_of for as many rows from `row` on as a register has. A register of activations holds the same 16 k of a token
 * in every 128 bits; a dot product takes 4 of them. One token is summed in four parts that do not wait for each other.
 */
INLINE void group_rows(int tokens, size_t row, uint8_t zero, size_t blocks, const uint8_t *lines,
                       const int8_t *const *x, size_t step, const float *w_scales, const float *x_scales,
                       float (*acc)[PANEL_ROWS]) {
    const svbool_t words = svwhilelt_b32_u64(row, PANEL_ROWS), bytes = svwhilelt_b8_u64(4 * row, PANEL_LINE);
    svint32_t sum0 = svdup_n_s32(0), sum1 = sum0, sum2 = sum0, sum3 = sum0;
    for (size_t half = 0; half < 2 * blocks; half++) {
        const uint8_t *line = lines + half * 4 * PANEL_LINE + 4 * row;
        const svint8_t w0 = quad_of(bytes, line, zero), w1 = quad_of(bytes, line + PANEL_LINE, zero);
        const svint8_t w2 = quad_of(bytes, line + 2 * PANEL_LINE, zero);
        const svint8_t w3 = quad_of(bytes, line + 3 * PANEL_LINE, zero);
#define TOKEN(t, part1, part2, part3)                                                                                  \
    if (tokens > t) {                                                                                                  \
        const svint8_t sixteen = svld1rq_s8(svptrue_b8(), x[t] + half / 2 * step + half % 2 * 16);                     \
        sum##t = svdot_lane_s32(sum##t, w0, sixteen, 0);                                                               \
        part1 = svdot_lane_s32(part1, w1, sixteen, 1);                                                                 \
        part2 = svdot_lane_s32(part2, w2, sixteen, 2);                                                                 \
        part3 = svdot_lane_s32(part3, w3, sixteen, 3);                                                                 \
    }
        if (tokens == 1) {
            TOKEN(0, sum1, sum2, sum3)
        } else {
            TOKEN(0, sum0, sum0, sum0)
            TOKEN(1, sum1, sum1, sum1)
            TOKEN(2, sum2, sum2, sum2)
            TOKEN(3, sum3, sum3, sum3)
        }
#undef TOKEN
    }
    if (tokens == 1)
        sum0 = svadd_s32_x(words, svadd_s32_x(words, sum0, sum1), svadd_s32_x(words, sum2, sum3));
    const svfloat32_t scale = svld1_f32(words, w_scales + row);
#define RESCALE(t)                                                                                                     \
    if (tokens > t)                                                                                                    \
        svst1_f32(words, acc[t] + row,                                                                                 \
                  svmla_f32_x(words, svld1_f32(words, acc[t] + row), svcvt_f32_s32_x(words, sum##t),                   \
                              svmul_n_f32_x(words, scale, x_scales[t])));
    RESCALE(0)
    RESCALE(1)
    RESCALE(2)
    RESCALE(3)
#undef RESCALE
}

INLINE void group_of(int tokens, uint8_t zero, size_t blocks, const uint8_t *lines, const int8_t *const *x, size_t step,
                     const float *w_scales, const float *x_scales, float (*acc)[PANEL_ROWS]) {
    for (size_t row = 0; row < PANEL_ROWS; row += svcntw())
        group_rows(tokens, row, zero, blocks, lines, x, step, w_scales, x_scales, acc);
}

PACKED_KERNELS(sve)

/* The peak of this ISA: sdot between registers, in more chains than its latency covers. */
uint64_t roof_int8_sve(uint64_t rounds) {
    enum { CHAINS = 8 };
#define EACH(f) f(0) f(1) f(2) f(3) f(4) f(5) f(6) f(7)
#define START(c) svint32_t acc##c = svdup_n_s32(0);
#define ADD(c) __asm__("" : "+w"(a)); acc##c = svdot_s32(acc##c, a, b);
#define KEEP(c) __asm__ volatile("" : : "w"(acc##c));
    svint8_t a = svdup_n_s8(3), b = svdup_n_s8(-5);
    EACH(START)
    for (uint64_t i = 0; i < rounds; i++) {
        EACH(ADD)
    }
    EACH(KEEP)
    return rounds * CHAINS * svcntb() * 2;
}
