/* SPDX-License-Identifier: Apache-2.0 */
/* Methods on whole experts and layers: neurons, saliency, low-rank terms, AWQ scales and the budget. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compress.h"

static uint64_t random_state = 1;

static float random_uniform(void) {
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (float)(random_state >> 40) / (float)(1 << 24) - 0.5f;
}

static void fill_random(float *out, size_t count, float size) {
    for (size_t i = 0; i < count; i++)
        out[i] = random_uniform() * size;
}

/* Statistics of inputs whose channels repeat each other in part and differ in size, each divided by its scale. */
static struct calib_stats *make_scaled(size_t tokens, size_t cols, const float *scales) {
    struct calib_stats *stats;
    float *x = malloc(sizeof *x * tokens * cols);
    for (size_t t = 0; t < tokens; t++) {
        for (size_t k = 0; k < cols; k++)
            x[t * cols + k] = random_uniform() + (k >= cols / 2 ? x[t * cols + k - cols / 2] : 0.0f);
        x[t * cols] *= 20.0f;
    }
    for (size_t i = 0; scales && i < tokens * cols; i++)
        x[i] /= scales[i % cols];
    cr_assert_eq(calib_stats_create(cols, true, &stats, NULL), MOESAIC_OK);
    calib_add(stats, x, cols, NULL, NULL, tokens, 0, cols);
    free(x);
    return stats;
}

static struct calib_stats *make_stats(size_t tokens, size_t cols) { return make_scaled(tokens, cols, NULL); }

/* tr(D H Dᵀ) / tr(W H Wᵀ) of a - b. */
static double relative_error(const float *a, const float *b, size_t rows, const struct calib_stats *stats) {
    size_t count = rows * stats->cols;
    float *miss = malloc(sizeof *miss * count);
    double lost, energy;
    for (size_t i = 0; i < count; i++)
        miss[i] = a[i] - b[i];
    cr_assert_eq(calib_energy(stats, miss, rows, &lost, NULL), MOESAIC_OK);
    cr_assert_eq(calib_energy(stats, a, rows, &energy, NULL), MOESAIC_OK);
    free(miss);
    return lost / energy;
}

/* ---- neurons ---------------------------------------------------------------------------------------------------- */

enum { ROWS = 20, NEURONS = 96 };

static double prune_and_measure(const float *down, const struct calib_stats *stats, neuron_score score, size_t keep,
                                uint32_t *kept, float *refit) {
    float whole[ROWS * NEURONS] = {0};
    double error;
    cr_assert_eq(prune_neurons(down, ROWS, NEURONS, stats, score, keep, 0, kept, refit, &error, NULL), MOESAIC_OK);
    for (size_t i = 0; i < keep; i++) {
        cr_assert(kept[i] < NEURONS && (i == 0 || kept[i] > kept[i - 1]));
        for (size_t row = 0; row < ROWS; row++)
            whole[row * NEURONS + kept[i]] = refit[row * keep + i];
    }
    cr_expect_float_eq(error, relative_error(down, whole, ROWS, stats), 1e-6);
    return error;
}

Test(compress_neurons, reconstruction_beats_wanda_beats_plain_dropping) {
    float down[ROWS * NEURONS], refit[ROWS * NEURONS], dropped[ROWS * NEURONS] = {0};
    uint32_t kept[NEURONS];
    struct calib_stats *stats = make_stats(300, NEURONS);
    fill_random(down, ROWS * NEURONS, 1.0f);
    double wanda = prune_and_measure(down, stats, NEURON_WANDA, 64, kept, refit);
    for (size_t i = 0; i < 64; i++) {
        for (size_t row = 0; row < ROWS; row++)
            dropped[row * NEURONS + kept[i]] = down[row * NEURONS + kept[i]];
    }
    double plain = relative_error(down, dropped, ROWS, stats);
    double best = prune_and_measure(down, stats, NEURON_RECONSTRUCTION, 64, kept, refit);
    cr_expect(best < wanda && wanda < plain, "%g %g %g", best, wanda, plain);
    calib_stats_destroy(stats);
}

Test(compress_neurons, keeping_all_changes_nothing_and_a_copy_costs_nothing) {
    float down[ROWS * NEURONS], refit[ROWS * NEURONS];
    uint32_t kept[NEURONS];
    float x[200 * NEURONS];
    struct calib_stats *stats;
    fill_random(down, ROWS * NEURONS, 1.0f);
    fill_random(x, 200 * NEURONS, 1.0f);
    for (size_t t = 0; t < 200; t++)
        x[t * NEURONS + 50] = 2.0f * x[t * NEURONS + 7]; /* neuron 50 says nothing that 7 does not */
    cr_assert_eq(calib_stats_create(NEURONS, true, &stats, NULL), MOESAIC_OK);
    calib_add(stats, x, NEURONS, NULL, NULL, 200, 0, NEURONS);
    prune_and_measure(down, stats, NEURON_RECONSTRUCTION, NEURONS, kept, refit);
    cr_expect_arr_eq(refit, down, sizeof down);
    double error;
    cr_assert_eq(
        prune_neurons(down, ROWS, NEURONS, stats, NEURON_RECONSTRUCTION, NEURONS - 1, 1e-6, kept, refit, &error, NULL),
        MOESAIC_OK);
    cr_expect_lt(error, 1e-5);
    cr_expect(kept[7] != 7 || kept[49] == 49);
    calib_stats_destroy(stats);
}

Test(compress_neurons, counts_are_multiples_of_the_tile) {
    cr_expect_eq(neuron_count(768, 0.75), 576);
    cr_expect_eq(neuron_count(1408, 0.5), 704);
    cr_expect_eq(neuron_count(256, 0.01), 16);
    cr_expect_eq(neuron_count(250, 1.0), 250);
    cr_expect_eq(neuron_count(10, 0.5), 10);
}

Test(compress_neurons, no_tokens_and_wrong_numbers) {
    float down[ROWS * NEURONS], refit[ROWS * NEURONS];
    uint32_t kept[NEURONS];
    double error;
    struct calib_stats *stats;
    fill_random(down, ROWS * NEURONS, 1.0f);
    cr_assert_eq(calib_stats_create(NEURONS, true, &stats, NULL), MOESAIC_OK);
    cr_expect_eq(prune_neurons(down, ROWS, NEURONS, stats, NEURON_RECONSTRUCTION, 48, 0, kept, refit, &error, NULL),
                 MOESAIC_OK);
    cr_expect(error > 0.0 && error < 1.0);
    cr_expect_eq(prune_neurons(down, ROWS, NEURONS, stats, NEURON_WANDA, 0, 0, kept, refit, &error, NULL),
                 MOESAIC_E_USAGE);
    cr_expect_eq(prune_neurons(down, ROWS, NEURONS, stats, NEURON_WANDA, NEURONS + 1, 0, kept, refit, &error, NULL),
                 MOESAIC_E_USAGE);
    down[3] = INFINITY;
    cr_expect_eq(prune_neurons(down, ROWS, NEURONS, stats, NEURON_WANDA, 48, 0, kept, refit, &error, NULL),
                 MOESAIC_E_NONFINITE);
    calib_stats_destroy(stats);
}

/* ---- whole experts ---------------------------------------------------------------------------------------------- */

Test(compress_saliency, scores_and_choice) {
    struct expert_saliency rare = {0}, often = {0}, silent = {0};
    const float strong[] = {3, 4, 99, 6, 8, 99}, weak[] = {0.3f, 0.4f, 99}, weights[] = {0.5f, 0.25f};
    saliency_add(&rare, strong, 3, 2, weights, 2);
    for (int i = 0; i < 10; i++)
        saliency_add(&often, weak, 3, 2, weights, 1);
    cr_expect_float_eq(saliency_score(&rare, SALIENCY_REAP, 0, 0, 0), 2.5, 1e-6);
    cr_expect_float_eq(saliency_score(&often, SALIENCY_REAP, 0, 0, 0), 0.25, 1e-6);
    cr_expect_eq(saliency_score(&often, SALIENCY_FREQUENCY, 0, 0, 0), 10);
    cr_expect_eq(saliency_score(&silent, SALIENCY_REAP, 0, 0, 0), 0);
    cr_expect_neq(saliency_score(&silent, SALIENCY_RANDOM, 1, 2, 3), saliency_score(&silent, SALIENCY_RANDOM, 1, 3, 2));
    const double scores[] = {1, 5, 1, 0, 1};
    const uint8_t expected[] = {1, 1, 1, 0, 0};
    uint8_t keep[5];
    saliency_keep(scores, 5, 3, keep);
    cr_expect_arr_eq(keep, expected, 5);
}

/* ---- low rank --------------------------------------------------------------------------------------------------- */

Test(compress_lowrank, an_error_of_low_rank_is_recovered) {
    enum { COLS = 70, RANK = 3 };
    float w[ROWS * COLS], values[ROWS * COLS], u[ROWS * RANK], v[RANK * COLS];
    struct calib_stats *stats = make_stats(200, COLS);
    struct lowrank term;
    fill_random(w, ROWS * COLS, 1.0f);
    fill_random(u, ROWS * RANK, 0.5f);
    fill_random(v, RANK * COLS, 0.5f);
    for (size_t i = 0; i < ROWS * COLS; i++) {
        values[i] = w[i];
        for (size_t r = 0; r < RANK; r++)
            values[i] -= u[i / COLS * RANK + r] * v[r * COLS + i % COLS];
    }
    double before = relative_error(w, values, ROWS, stats);
    cr_assert_eq(lowrank_fit(w, values, ROWS, COLS, stats, RANK, &term, NULL), MOESAIC_OK);
    cr_expect_lt(term.error, 1e-4 * before); /* what BF16 leaves */
    lowrank_done(&term);
    calib_stats_destroy(stats);
}

Test(compress_lowrank, error_falls_with_rank_as_the_spectrum_says) {
    enum { COLS = 64, ALL = 16 };
    float w[ALL * COLS], values[ALL * COLS];
    struct calib_stats *stats = make_stats(200, COLS);
    fill_random(w, ALL * COLS, 1.0f);
    for (size_t i = 0; i < ALL * COLS; i++)
        values[i] = rintf(w[i] * 4.0f) / 4.0f;
    double last = relative_error(w, values, ALL, stats);
    for (size_t rank = 1; rank <= ALL; rank *= 2) {
        struct lowrank term;
        cr_assert_eq(lowrank_fit(w, values, ALL, COLS, stats, rank, &term, NULL), MOESAIC_OK);
        cr_expect_lt(term.error, last);
        float whole[ALL * COLS];
        for (size_t i = 0; i < ALL * COLS; i++) {
            whole[i] = values[i];
            for (size_t r = 0; r < rank; r++)
                whole[i] += term.left[i / COLS * rank + r] * term.right[r * COLS + i % COLS];
        }
        cr_expect_float_eq(term.error, relative_error(w, whole, ALL, stats), 1e-6);
        last = term.error;
        lowrank_done(&term);
    }
    cr_expect_lt(last, 1e-5);
    struct lowrank term;
    cr_expect_eq(lowrank_fit(w, values, ALL, COLS, stats, ALL + 1, &term, NULL), MOESAIC_E_USAGE);
    cr_expect_eq(lowrank_fit(w, values, ALL, COLS, stats, 0, &term, NULL), MOESAIC_E_USAGE);
    values[5] = NAN;
    cr_expect_eq(lowrank_fit(w, values, ALL, COLS, stats, 2, &term, NULL), MOESAIC_E_NONFINITE);
    calib_stats_destroy(stats);
}

Test(compress_lowrank, no_error_gives_a_zero_term) {
    float w[8 * 32];
    struct calib_stats *stats = make_stats(50, 32);
    struct lowrank term;
    fill_random(w, 8 * 32, 1.0f);
    cr_assert_eq(lowrank_fit(w, w, 8, 32, stats, 4, &term, NULL), MOESAIC_OK);
    cr_expect_eq(term.error, 0.0);
    for (size_t i = 0; i < 4 * 32; i++)
        cr_assert_eq(term.right[i], 0.0f);
    lowrank_done(&term);
    calib_stats_destroy(stats);
}

/* ---- AWQ -------------------------------------------------------------------------------------------------------- */

Test(compress_awq, the_grid_finds_scales_that_pay_and_folds_change_nothing) {
    enum { COLS = 128 };
    float w[ROWS * COLS], scales[COLS];
    double errors[AWQ_CANDIDATES];
    uint64_t inputs = random_state;
    struct calib_stats *stats = make_stats(200, COLS), *folded;
    fill_random(w, ROWS * COLS, 1.0f);
    unsigned best = 0;
    for (unsigned i = 0; i < AWQ_CANDIDATES; i++) {
        awq_scales(stats, i, scales);
        cr_assert_eq(awq_error(w, ROWS, COLS, stats, FORMAT_INT4, 64, scales, &errors[i], NULL), MOESAIC_OK);
        best = errors[i] < errors[best] ? i : best;
    }
    cr_expect_lt(errors[best], 0.8 * errors[0]); /* channel 0 is 20 times louder */
    struct compress_options rtn = {.quant = QUANT_RTN, .format = FORMAT_INT4, .group = 64};
    struct compress_result plain, scaled;
    cr_assert_eq(compress_matrix(w, ROWS, COLS, stats, &rtn, &plain, NULL), MOESAIC_OK);
    cr_expect_float_eq(errors[0], plain.error * plain.energy, 1e-6 * errors[0]);
    awq_scales(stats, best, scales);
    awq_fold_columns(w, ROWS, COLS, scales);
    random_state = inputs;
    folded = make_scaled(200, COLS, scales);
    cr_assert_eq(compress_matrix(w, ROWS, COLS, folded, &rtn, &scaled, NULL), MOESAIC_OK);
    cr_expect_float_eq(scaled.energy, plain.energy, 1e-5 * plain.energy);
    cr_expect_float_eq(scaled.error * scaled.energy, errors[best], 1e-3 * errors[best]);
    compress_result_done(&plain);
    compress_result_done(&scaled);
    calib_stats_destroy(folded);
    calib_stats_destroy(stats);
}

Test(compress_awq, candidates_are_powers_of_the_loudness) {
    struct calib_stats *stats;
    float scales[3];
    cr_assert_eq(calib_stats_create(3, false, &stats, NULL), MOESAIC_OK);
    stats->squares[0] = 16.0;
    stats->squares[1] = 1.0 / 16.0;
    awq_scales(stats, 0, scales);
    cr_expect(scales[0] == 1.0f && scales[1] == 1.0f && scales[2] == 1.0f);
    awq_scales(stats, AWQ_CANDIDATES - 1, scales);
    cr_expect_float_eq(scales[0], 4.0f, 1e-6f);
    cr_expect_float_eq(scales[1], 0.25f, 1e-6f);
    cr_expect_eq(scales[2], 1.0f);
    calib_stats_destroy(stats);
}

Test(compress_awq, folding_rows_undoes_folding_columns_of_the_next) {
    float up[2 * 3] = {1, 2, 3, 4, 5, 6}, down[2] = {7, 8}, scales[2] = {2, 0.5f};
    awq_fold_rows(up, 2, 3, scales);
    awq_fold_columns(down, 1, 2, scales);
    cr_expect_eq(up[0] * down[0], 7.0f);
    cr_expect_eq(up[5] * down[1], 48.0f);
}

/* ---- budget ----------------------------------------------------------------------------------------------------- */

/* The best sum by trying everything. */
static double best_by_trial(const struct budget_item *items, size_t count, uint64_t room) {
    if (count == 0)
        return 0.0;
    double best = INFINITY;
    for (size_t o = 0; o < items->count; o++) {
        if (items->options[o].bytes <= room)
            best = fmin(best,
                        items->options[o].error + best_by_trial(items + 1, count - 1, room - items->options[o].bytes));
    }
    return best;
}

Test(compress_budget, small_budgets_are_solved_exactly) {
    struct budget_option options[7][4];
    struct budget_item items[7];
    for (int trial = 0; trial < 200; trial++) {
        for (size_t i = 0; i < 7; i++) {
            items[i] = (struct budget_item){options[i], 1 + (random_state >> 33) % 4};
            for (size_t o = 0; o < 4; o++) {
                random_uniform();
                options[i][o] = (struct budget_option){8 * (1 + (random_state >> 40) % 50), random_uniform() + 0.5};
            }
        }
        uint8_t choice[7];
        struct budget_outcome outcome;
        uint64_t limit = 1200;
        double best = best_by_trial(items, 7, limit);
        moesaic_status status = budget_solve(items, 7, limit, choice, &outcome, NULL);
        cr_assert_eq(status, isfinite(best) ? MOESAIC_OK : MOESAIC_E_USAGE);
        if (status != MOESAIC_OK)
            continue;
        double error = 0.0;
        uint64_t bytes = 0;
        for (size_t i = 0; i < 7; i++) {
            error += items[i].options[choice[i]].error;
            bytes += items[i].options[choice[i]].bytes;
        }
        cr_assert_float_eq(error, best, 1e-9);
        cr_assert(bytes <= limit && bytes == outcome.bytes && error == outcome.error && outcome.bound == outcome.error);
    }
}

Test(compress_budget, large_budgets_state_their_gap) {
    enum { ITEMS = 3000 };
    static struct budget_option options[ITEMS][3];
    static struct budget_item items[ITEMS];
    static uint8_t choice[ITEMS];
    for (size_t i = 0; i < ITEMS; i++) {
        double size = 1.0 + 100.0 * (random_uniform() + 0.5);
        uint64_t odd = (random_state >> 40) % 1000;
        options[i][0] = (struct budget_option){100000 + odd, size};
        options[i][1] = (struct budget_option){140001 + odd, size / 5.0};
        options[i][2] = (struct budget_option){180003 + 2 * odd, size / 22.0};
        items[i] = (struct budget_item){options[i], 3};
    }
    struct budget_outcome outcome;
    cr_assert_eq(budget_solve(items, ITEMS, UINT64_C(140000) * ITEMS, choice, &outcome, NULL), MOESAIC_OK);
    cr_expect_leq(outcome.bytes, UINT64_C(140000) * ITEMS);
    cr_expect(outcome.bound <= outcome.error && outcome.bound > 0.999 * outcome.error, "%.12g %.12g", outcome.bound,
              outcome.error);
    double uniform = 0.0;
    for (size_t i = 0; i < ITEMS; i++)
        uniform += options[i][1].error;
    cr_expect_lt(outcome.error, uniform);
}

Test(compress_budget, edges) {
    struct budget_option same[2] = {{10, 2.0}, {10, 1.0}}, bad[1] = {{10, NAN}};
    struct budget_item item = {same, 2}, wrong = {bad, 1}, none = {same, 0};
    uint8_t choice[1] = {9};
    struct budget_outcome outcome;
    moesaic_error error;
    cr_expect_eq(budget_solve(&item, 1, 10, choice, &outcome, &error), MOESAIC_OK);
    cr_expect(choice[0] == 1 && outcome.error == 1.0 && outcome.bound == 1.0);
    cr_expect_eq(budget_solve(&item, 1, UINT64_MAX, choice, &outcome, &error), MOESAIC_OK);
    cr_expect_eq(budget_solve(&item, 1, 9, choice, &outcome, &error), MOESAIC_E_USAGE);
    cr_expect_eq(budget_solve(&wrong, 1, 99, choice, &outcome, &error), MOESAIC_E_USAGE);
    cr_expect_eq(budget_solve(&none, 1, 99, choice, &outcome, &error), MOESAIC_E_USAGE);
    cr_expect_eq(budget_solve(&item, 0, 0, choice, &outcome, &error), MOESAIC_OK);
}

/* ---- recovery ---------------------------------------------------------------------------------------------------- */

/* sum over tokens of |w f - v x|². */
static double output_miss(const float *w, const float *f, const float *v, const float *x, size_t cols, size_t tokens) {
    double sum = 0.0;
    for (size_t t = 0; t < tokens; t++) {
        for (size_t row = 0; row < ROWS; row++) {
            double miss = 0.0;
            for (size_t k = 0; k < cols; k++)
                miss += (double)w[row * cols + k] * f[t * cols + k] - (double)v[row * cols + k] * x[t * cols + k];
            sum += miss * miss;
        }
    }
    return sum;
}

Test(compress_recover, a_drift_that_is_linear_is_undone_and_noise_is_reduced) {
    enum { COLS = 70, TOKENS = 400 };
    float *f = malloc(sizeof *f * TOKENS * COLS), *x = malloc(sizeof *x * TOKENS * COLS);
    float w[ROWS * COLS], target[ROWS * COLS];
    struct calib_stats *stats;
    struct calib_drift *drift;
    fill_random(w, ROWS * COLS, 1.0f);
    for (int noisy = 0; noisy < 2; noisy++) {
        for (size_t i = 0; i < TOKENS * COLS; i++) {
            f[i] = random_uniform();
            x[i] = noisy ? f[i] + 0.3f * random_uniform() : f[i] * (i % COLS % 3 == 0 ? 0.5f : 1.25f);
        }
        cr_assert_eq(calib_stats_create(COLS, true, &stats, NULL), MOESAIC_OK);
        cr_assert_eq(calib_drift_create(COLS, COLS, &drift, NULL), MOESAIC_OK);
        const struct drift_rows rows = {f, x, x, COLS, COLS, COLS, NULL, TOKENS};
        calib_add(stats, x, COLS, NULL, NULL, TOKENS, 0, COLS);
        calib_drift_add(drift, &rows, 64, COLS);
        calib_drift_add(drift, &rows, 0, 64);
        cr_assert_eq(recover_target(w, ROWS, COLS, stats, drift, NULL, 1e-6, target, NULL), MOESAIC_OK);
        double before = output_miss(w, f, w, x, COLS, TOKENS), after = output_miss(w, f, target, x, COLS, TOKENS);
        cr_expect_lt(after, noisy ? 0.99 * before : 1e-6 * before);
        calib_stats_destroy(stats);
        calib_drift_destroy(drift);
    }
    free(f);
    free(x);
}

Test(compress_recover, no_drift_and_no_tokens_leave_the_weights) {
    float w[ROWS * 40], target[ROWS * 40], x[100 * 40];
    struct calib_stats *stats;
    struct calib_drift *drift;
    fill_random(w, ROWS * 40, 1.0f);
    fill_random(x, 100 * 40, 1.0f);
    cr_assert_eq(calib_stats_create(40, true, &stats, NULL), MOESAIC_OK);
    cr_assert_eq(calib_drift_create(40, 40, &drift, NULL), MOESAIC_OK);
    cr_assert_eq(recover_target(w, ROWS, 40, stats, drift, NULL, 0, target, NULL), MOESAIC_OK);
    cr_expect_arr_eq(target, w, sizeof w);
    calib_add(stats, x, 40, NULL, NULL, 100, 0, 40);
    const struct drift_rows rows = {x, x, x, 40, 40, 40, NULL, 100};
    calib_drift_add(drift, &rows, 0, 40);
    cr_assert_eq(recover_target(w, ROWS, 40, stats, drift, NULL, 0, target, NULL), MOESAIC_OK);
    cr_expect_arr_eq(target, w, sizeof w);
    cr_expect_eq(recover_target(w, ROWS, 39, stats, drift, NULL, 0, target, NULL), MOESAIC_E_USAGE);
    w[2] = NAN;
    cr_expect_eq(recover_target(w, ROWS, 40, stats, drift, NULL, 0, target, NULL), MOESAIC_E_NONFINITE);
    calib_stats_destroy(stats);
    calib_drift_destroy(drift);
}

/* The target makes up for what the sum that its output goes into lacks, as far as the inputs tell. */
Test(compress_recover, what_is_missing_beside_the_output_is_made_up_for) {
    enum { COLS = 40, TOKENS = 300 };
    float w[ROWS * COLS], target[ROWS * COLS], lacking[ROWS * COLS];
    float *x = malloc(sizeof *x * TOKENS * COLS), *missing = calloc(TOKENS * ROWS, sizeof *missing);
    struct calib_stats *stats;
    struct calib_drift *drift, *residual;
    fill_random(w, ROWS * COLS, 1.0f);
    fill_random(lacking, ROWS * COLS, 0.5f);
    fill_random(x, TOKENS * COLS, 1.0f);
    for (size_t t = 0; t < TOKENS; t++)
        for (size_t row = 0; row < ROWS; row++)
            for (size_t k = 0; k < COLS; k++)
                missing[t * ROWS + row] += lacking[row * COLS + k] * x[t * COLS + k];
    cr_assert_eq(calib_stats_create(COLS, true, &stats, NULL), MOESAIC_OK);
    cr_assert_eq(calib_drift_create(COLS, COLS, &drift, NULL), MOESAIC_OK);
    cr_assert_eq(calib_drift_create(ROWS, COLS, &residual, NULL), MOESAIC_OK);
    const struct drift_rows inputs = {x, x, x, COLS, COLS, COLS, NULL, TOKENS};
    const struct drift_rows sums = {missing, NULL, x, ROWS, 0, COLS, NULL, TOKENS};
    calib_add(stats, x, COLS, NULL, NULL, TOKENS, 0, COLS);
    calib_drift_add(drift, &inputs, 0, COLS);
    calib_drift_add(residual, &sums, 0, ROWS);
    cr_assert_eq(recover_target(w, ROWS, COLS, stats, drift, residual, 1e-9, target, NULL), MOESAIC_OK);
    for (size_t i = 0; i < ROWS * COLS; i++)
        cr_expect_float_eq(target[i], w[i] + lacking[i], 1e-4f);
    cr_expect_eq(recover_target(w, ROWS - 1, COLS, stats, drift, residual, 0, target, NULL), MOESAIC_E_USAGE);
    cr_expect_eq(recover_target(w, ROWS, COLS, stats, residual, NULL, 0, target, NULL), MOESAIC_E_USAGE);
    calib_drift_destroy(residual);
    calib_drift_destroy(drift);
    calib_stats_destroy(stats);
    free(missing);
    free(x);
}
