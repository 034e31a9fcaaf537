/* SPDX-License-Identifier: Apache-2.0 */
/* Low-rank terms of feed-forwards: by hand, as the dense sum, and in which shapes they are taken. */
#include <criterion/criterion.h>
#include <math.h>

#include "experts.h"

static const struct expert_activation silu = {.type = ACTIVATION_SILU};

static struct weight matrix_of(number_format format, const void *data, uint64_t rows, uint64_t cols) {
    uint64_t bytes = rows * cols * (format == FORMAT_F32 ? 4 : 2);
    return (struct weight){
        .format = format, .layout = LAYOUT_ROWS, .rows = rows, .cols = cols, .data = data, .bytes = bytes, .factor = 1};
}

static void halve(const float *values, size_t count, uint16_t *ret_halves) {
    for (size_t i = 0; i < count; i++)
        ret_halves[i] = bfloat_from_float(values[i]);
}

/* x = (1, 2). gate: no matrix but a term (2, 4) (4, 3): right x = 10, so (20, 40), which silu leaves alone. up: the
 * identity and a term of rank 2 with rows (1, 0) and (0, -1) over (1, 1) and (3, 0): (1 + 3, 2 - 3). */
Test(expert_term, is_added_before_the_activation) {
    static const float zero[4] = {0}, one[4] = {1, 0, 0, 1}, x[2] = {1, 2};
    uint16_t gate_left[2], gate_right[2], up_left[4], up_right[4];
    float out[2];
    halve((float[]){2, 4}, 2, gate_left);
    halve((float[]){4, 3}, 2, gate_right);
    halve((float[]){1, 0, 0, -1}, 4, up_left);
    halve((float[]){1, 1, 3, 0}, 4, up_right);
    struct ffn_weights ffn = {
        .gate = matrix_of(FORMAT_F32, zero, 2, 2),
        .up = matrix_of(FORMAT_F32, one, 2, 2),
        .term = {{matrix_of(FORMAT_BF16, gate_left, 2, 1), matrix_of(FORMAT_BF16, gate_right, 1, 2)},
                 {matrix_of(FORMAT_BF16, up_left, 2, 2), matrix_of(FORMAT_BF16, up_right, 2, 2)}}};
    cr_assert_eq(expert_ffn_inner(&ffn, silu, x, 1, 2, 2, out, NULL), MOESAIC_OK);
    cr_assert_float_eq(out[0], 20 * 4, 1e-4, "%g", out[0]);
    cr_assert_float_eq(out[1], 40 * -1, 1e-4, "%g", out[1]);
    cr_assert_eq(expert_ffn_bytes(&ffn), 2 * 16 + 2 * (2 + 2) + 2 * (4 + 4));
}

Test(expert_term, sums_up_to_its_dense_rows) {
    uint16_t left[6], right[4];
    float values[4] = {1, 1, 1, 1};
    halve((float[]){1, 2, 3, 4, 5, 6}, 6, left);
    halve((float[]){1, -1, 0.5f, 2}, 4, right);
    struct expert_term term = {matrix_of(FORMAT_BF16, left, 3, 2), matrix_of(FORMAT_BF16, right, 2, 2)};
    expert_term_sum(&term, 1, 3, values);
    static const float want[] = {1 + 3 + 2, 1 - 3 + 8, 1 + 5 + 3, 1 - 5 + 12};
    for (size_t i = 0; i < 4; i++)
        cr_assert_eq(values[i], want[i], "%zu: %g", i, values[i]);
}

/* More tokens than find room at once, at a rank that is no multiple of anything. */
Test(expert_term, of_many_tokens_is_that_of_each) {
    enum { TOKENS = 700, HIDDEN = 24, INNER = 20, RANK = 19 };
    static float zero[INNER * HIDDEN], x[TOKENS * HIDDEN], all[TOKENS * INNER], one[INNER];
    static uint16_t left[INNER * RANK], right[RANK * HIDDEN];
    for (size_t i = 0; i < TOKENS * HIDDEN; i++)
        x[i] = sinf((float)i);
    for (size_t i = 0; i < INNER * RANK; i++)
        left[i] = bfloat_from_float(cosf((float)i));
    for (size_t i = 0; i < RANK * HIDDEN; i++)
        right[i] = bfloat_from_float(sinf(3 * (float)i));
    struct expert_term term = {matrix_of(FORMAT_BF16, left, INNER, RANK), matrix_of(FORMAT_BF16, right, RANK, HIDDEN)};
    struct weight nothing = matrix_of(FORMAT_F32, zero, INNER, HIDDEN);
    struct ffn_weights ffn = {.gate = nothing, .up = nothing, .term = {term, term}};
    cr_assert_eq(expert_ffn_inner(&ffn, silu, x, TOKENS, HIDDEN, INNER, all, NULL), MOESAIC_OK);
    double energy = 0;
    for (size_t t = 0; t < TOKENS; t++) {
        cr_assert_eq(expert_ffn_inner(&ffn, silu, x + t * HIDDEN, 1, HIDDEN, INNER, one, NULL), MOESAIC_OK);
        cr_assert_arr_eq(all + t * INNER, one, sizeof one, "token %zu", t);
        energy += one[0] * one[0];
    }
    cr_assert_gt(energy, 1);
}

Test(expert_term, has_the_shapes_of_its_matrix) {
    static const uint16_t data[64];
    struct weight matrix = matrix_of(FORMAT_BF16, data, 4, 6);
    struct expert_term good = {matrix_of(FORMAT_BF16, data, 4, 4), matrix_of(FORMAT_BF16, data, 4, 6)}, term = good;
    cr_assert(expert_term_fits(&good, &matrix));
    term.left.cols = term.right.rows = 5;
    cr_assert_not(expert_term_fits(&term, &matrix), "a rank above the smaller side");
    term.left.cols = term.right.rows = 0;
    cr_assert_not(expert_term_fits(&term, &matrix), "no rank");
    term = good, term.left.cols = 3;
    cr_assert_not(expert_term_fits(&term, &matrix), "factors of different ranks");
    term = good, term.left.rows = 5;
    cr_assert_not(expert_term_fits(&term, &matrix), "another number of rows");
    term = good, term.right.cols = 5;
    cr_assert_not(expert_term_fits(&term, &matrix), "another number of columns");
    term = good, term.right.format = FORMAT_F16;
    cr_assert_not(expert_term_fits(&term, &matrix), "another format");
    cr_assert_not(expert_term_fits(&(struct expert_term){0}, &matrix), "no term");
}
