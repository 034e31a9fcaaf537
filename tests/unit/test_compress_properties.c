/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold of compression on any matrix: errors fall, patterns are exact, bits do not depend on the machine. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compress.h"

/* ---- subjects --------------------------------------------------------------------------------------------------- */

static uint64_t random_state;

static float random_uniform(void) {
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (float)(random_state >> 40) / (float)(1 << 24) - 0.5f;
}

/* `tokens` inputs of `cols` channels that lean on a few directions and differ in size, as activations do. */
static float *make_inputs(size_t tokens, size_t cols) {
    float *x = malloc(sizeof *x * tokens * cols);
    for (size_t t = 0; t < tokens; t++) {
        float common = random_uniform();
        for (size_t k = 0; k < cols; k++)
            x[t * cols + k] = (random_uniform() + common * (float)(k % 7)) * (k % 13 == 0 ? 5.0f : 1.0f);
    }
    return x;
}

struct subject {
    size_t rows, cols;
    float *w, *x;
    struct calib_stats *stats;
};

static struct subject subject_make(size_t rows, size_t cols, size_t tokens) {
    struct subject subject = {.rows = rows, .cols = cols};
    random_state = rows * 1000003 + cols;
    subject.w = malloc(sizeof *subject.w * rows * cols);
    for (size_t i = 0; i < rows * cols; i++)
        subject.w[i] = random_uniform() * random_uniform() * 0.2f;
    subject.x = make_inputs(tokens, cols);
    cr_assert_eq(calib_stats_create(cols, true, &subject.stats, NULL), MOESAIC_OK);
    calib_add(subject.stats, subject.x, cols, NULL, NULL, tokens, 0, cols);
    return subject;
}

static void subject_done(struct subject *subject) {
    free(subject->w);
    free(subject->x);
    calib_stats_destroy(subject->stats);
}

static struct compress_result compress(const struct subject *subject, struct compress_options options) {
    struct compress_result result;
    moesaic_error error = {.message = ""};
    options.group = options.group != 0 ? options.group : 32;
    moesaic_status status =
        compress_matrix(subject->w, subject->rows, subject->cols, subject->stats, &options, &result, &error);
    cr_assert_eq(status, MOESAIC_OK, "%s", error.message);
    return result;
}

static double error_of(const struct subject *subject, struct compress_options options) {
    struct compress_result result = compress(subject, options);
    double error = result.error;
    compress_result_done(&result);
    return error;
}

/* ---- calibration ------------------------------------------------------------------------------------------------ */

Test(compress_calibration, sums_are_what_they_say) {
    enum { TOKENS = 150, COLS = 131 };
    struct calib_stats *stats;
    float *x = make_inputs(TOKENS, COLS), weights[TOKENS];
    uint32_t index[TOKENS];
    double *h = malloc(sizeof *h * COLS * COLS);
    for (uint32_t t = 0; t < TOKENS; t++) {
        index[t] = (t * 7) % TOKENS;
        weights[t] = 0.25f + (float)t / TOKENS;
    }
    cr_assert_eq(calib_stats_create(COLS, true, &stats, NULL), MOESAIC_OK);
    calib_add(stats, x, COLS, index, weights, TOKENS, 0, COLS);
    calib_expand(stats, h);
    double weight_sum = 0.0;
    for (size_t t = 0; t < TOKENS; t++)
        weight_sum += weights[t];
    cr_expect_eq(stats->tokens, TOKENS);
    cr_expect_float_eq(stats->weight_sum, weight_sum, 1e-9);
    for (size_t i = 0; i < COLS; i++) {
        for (size_t j = 0; j < COLS; j++) {
            double sum = 0.0;
            for (size_t t = 0; t < TOKENS; t++)
                sum += (double)(weights[t] * x[index[t] * COLS + i]) * (double)(weights[t] * x[index[t] * COLS + j]);
            cr_assert_eq(h[i * COLS + j], sum, "[%zu, %zu]", i, j);
        }
        cr_assert_eq(h[i * COLS + i], stats->squares[i]);
    }
    free(h);
    free(x);
    calib_stats_destroy(stats);
}

static bool stats_equal(const struct calib_stats *a, const struct calib_stats *b) {
    double *left = malloc(sizeof *left * a->cols * a->cols), *right = malloc(sizeof *right * a->cols * a->cols);
    calib_expand(a, left);
    calib_expand(b, right);
    bool equal = a->tokens == b->tokens && memcmp(a->squares, b->squares, a->cols * sizeof *a->squares) == 0 &&
                 memcmp(left, right, a->cols * a->cols * sizeof *left) == 0;
    free(left);
    free(right);
    return equal;
}

Test(compress_calibration, bits_depend_on_neither_bands_nor_chunks_nor_isa) {
    enum { TOKENS = 200, COLS = 300 };
    float *x = make_inputs(TOKENS, COLS);
    struct calib_stats *whole, *parts, *scalar;
    cr_assert_eq(calib_stats_create(COLS, true, &whole, NULL), MOESAIC_OK);
    cr_assert_eq(calib_stats_create(COLS, true, &parts, NULL), MOESAIC_OK);
    cr_assert_eq(calib_stats_create(COLS, true, &scalar, NULL), MOESAIC_OK);
    calib_add(whole, x, COLS, NULL, NULL, TOKENS, 0, COLS);
    for (size_t t = 0; t < TOKENS; t += 33) {
        size_t count = TOKENS - t < 33 ? TOKENS - t : 33;
        calib_add(parts, x + t * COLS, COLS, NULL, NULL, count, 128, COLS);
        calib_add(parts, x + t * COLS, COLS, NULL, NULL, count, 0, 128);
    }
    cr_assert_eq(cpu_limit("scalar", NULL), MOESAIC_OK);
    calib_add(scalar, x, COLS, NULL, NULL, TOKENS, 0, COLS);
    cr_expect(stats_equal(whole, parts));
    cr_expect(stats_equal(whole, scalar));
    free(x);
    calib_stats_destroy(whole);
    calib_stats_destroy(parts);
    calib_stats_destroy(scalar);
}

Test(compress_calibration, impossible_sizes_are_refused) {
    struct calib_stats *stats;
    moesaic_error error;
    cr_expect_eq(calib_stats_create(0, true, &stats, &error), MOESAIC_E_USAGE);
    cr_expect_eq(calib_stats_create((1 << 17) + 1, true, &stats, &error), MOESAIC_E_USAGE);
    calib_stats_destroy(NULL);
}

/* ---- quantization ----------------------------------------------------------------------------------------------- */

Test(compress_quantize, every_method_beats_the_simpler_one) {
    static const number_format formats[] = {FORMAT_INT8, FORMAT_INT4, FORMAT_INT3, FORMAT_INT2};
    struct subject subject = subject_make(40, 160, 300);
    for (size_t i = 0; i < 4; i++) {
        double rtn = error_of(&subject, (struct compress_options){.quant = QUANT_RTN, .format = formats[i]});
        double clip = error_of(&subject, (struct compress_options){.quant = QUANT_CLIP, .format = formats[i]});
        double gptq = error_of(&subject, (struct compress_options){.quant = QUANT_GPTQ, .format = formats[i]});
        double refined =
            error_of(&subject, (struct compress_options){.quant = QUANT_GPTQ, .format = formats[i], .refine = 4});
        cr_expect(clip < rtn && gptq < 0.7 * clip && refined < gptq, "format %d: %g %g %g %g", (int)formats[i], rtn,
                  clip, gptq, refined);
    }
    subject_done(&subject);
}

/* sum over tokens of |(W - V) x|² over sum of |W x|². */
static double output_error(const struct subject *subject, const float *values, size_t tokens) {
    double lost = 0.0, energy = 0.0;
    for (size_t t = 0; t < tokens; t++) {
        for (size_t r = 0; r < subject->rows; r++) {
            double miss = 0.0, whole = 0.0;
            for (size_t k = 0; k < subject->cols; k++) {
                size_t i = r * subject->cols + k;
                miss += ((double)subject->w[i] - values[i]) * subject->x[t * subject->cols + k];
                whole += (double)subject->w[i] * subject->x[t * subject->cols + k];
            }
            lost += miss * miss;
            energy += whole * whole;
        }
    }
    return lost / energy;
}

Test(compress_quantize, the_error_is_that_of_the_outputs) {
    struct subject subject = subject_make(9, 100, 64);
    struct compress_result result =
        compress(&subject, (struct compress_options){.quant = QUANT_GPTQ, .format = FORMAT_INT3, .refine = 2});
    cr_expect_float_eq(result.error, output_error(&subject, result.values, 64), 1e-9);
    compress_result_done(&result);
    subject_done(&subject);
}

Test(compress_quantize, what_is_packed_reads_back_as_the_values) {
    static const struct compress_options recipes[] = {
        {.quant = QUANT_GPTQ, .format = FORMAT_INT8, .group = 128},
        {.quant = QUANT_GPTQ, .format = FORMAT_INT3, .group = 64, .refine = 3},
        {.quant = QUANT_CLIP, .format = FORMAT_INT2, .group = 32},
        {.prune = PRUNE_SPARSEGPT, .keep = 2, .of = 4, .quant = QUANT_GPTQ, .format = FORMAT_INT4, .refine = 2},
        {.prune = PRUNE_WANDA, .keep = 4, .of = 8, .quant = QUANT_GPTQ, .format = FORMAT_INT4},
        {.prune = PRUNE_SPARSEGPT, .density = 0.3, .quant = QUANT_GPTQ, .format = FORMAT_INT4, .refine = 2},
        {.prune = PRUNE_MAGNITUDE, .density = 0.3, .quant = QUANT_RTN, .format = FORMAT_INT3},
    };
    struct subject subject = subject_make(35, 150, 100);
    float *read = malloc(sizeof *read * 35 * 150);
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++) {
        struct compress_result result = compress(&subject, recipes[i]);
        size_t bytes = (size_t)weight_packed_bytes(result.codes);
        void *packed = aligned_alloc(64, size_round_up(bytes, 64));
        struct weight weight;
        moesaic_error error = {.message = ""};
        cr_assert_eq(weight_pack(result.codes, packed, bytes, &weight, &error), MOESAIC_OK, "%zu: %s", i,
                     error.message);
        weight_dequantize(&weight, 0, 35, read);
        for (size_t k = 0; k < 35 * 150; k++)
            cr_assert_eq(read[k], result.values[k], "recipe %zu at %zu", i, k);
        free(packed);
        compress_result_done(&result);
    }
    free(read);
    subject_done(&subject);
}

Test(compress_quantize, bits_do_not_depend_on_the_isa) {
    struct compress_options options = {
        .prune = PRUNE_SPARSEGPT, .density = 0.5, .quant = QUANT_GPTQ, .format = FORMAT_INT4, .refine = 3};
    struct subject subject = subject_make(37, 290, 200);
    struct compress_result fast = compress(&subject, options);
    cr_assert_eq(cpu_limit("scalar", NULL), MOESAIC_OK);
    struct compress_result scalar = compress(&subject, options);
    cr_expect_arr_eq(fast.values, scalar.values, 37 * 290 * sizeof(float));
    cr_expect_arr_eq(fast.mask, scalar.mask, 37 * 290);
    cr_expect_eq(fast.error, scalar.error);
    compress_result_done(&fast);
    compress_result_done(&scalar);
    subject_done(&subject);
}

/* ---- pruning ---------------------------------------------------------------------------------------------------- */

static void expect_pattern(const struct compress_result *result, size_t rows, size_t cols, unsigned keep, unsigned of) {
    for (size_t row = 0; row < rows; row++) {
        for (size_t k = 0; k < cols; k += of) {
            unsigned part = cols - k < of ? (unsigned)(cols - k) : of, kept = 0;
            for (size_t i = 0; i < part; i++) {
                kept += result->mask[row * cols + k + i];
                cr_assert(result->mask[row * cols + k + i] || result->values[row * cols + k + i] == 0.0f);
            }
            cr_assert_eq(kept, keep < part ? keep : part, "row %zu, input %zu", row, k);
        }
    }
}

Test(compress_prune, patterns_are_exact) {
    static const prune_method methods[] = {PRUNE_MAGNITUDE, PRUNE_WANDA, PRUNE_SPARSEGPT};
    static const unsigned patterns[][2] = {{2, 4}, {4, 8}, {1, 4}, {3, 32}};
    struct subject subject = subject_make(6, 141, 90);
    for (size_t m = 0; m < 3; m++) {
        for (size_t p = 0; p < 4; p++) {
            struct compress_result result = compress(
                &subject, (struct compress_options){.prune = methods[m], .keep = patterns[p][0], .of = patterns[p][1]});
            expect_pattern(&result, 6, 141, patterns[p][0], patterns[p][1]);
            compress_result_done(&result);
        }
    }
    subject_done(&subject);
}

Test(compress_prune, densities_are_exact_and_second_order_beats_wanda_beats_magnitude) {
    struct subject subject = subject_make(24, 300, 200);
    static const double densities[] = {0.7, 0.5, 0.25};
    for (size_t i = 0; i < 3; i++) {
        struct compress_options options = {.prune = PRUNE_MAGNITUDE, .density = densities[i]};
        struct compress_result magnitude = compress(&subject, options);
        options.prune = PRUNE_WANDA;
        struct compress_result wanda = compress(&subject, options);
        options.prune = PRUNE_SPARSEGPT;
        struct compress_result second = compress(&subject, options);
        options.refine = 3;
        double refined = error_of(&subject, options);
        cr_expect_float_eq(magnitude.density, densities[i], 1e-12);
        cr_expect_float_eq(wanda.density, densities[i], 1e-12);
        cr_expect_float_eq(second.density, densities[i], 1e-12);
        cr_expect(wanda.error < magnitude.error && second.error < 0.7 * wanda.error && refined < second.error,
                  "%g: %g %g %g %g", densities[i], magnitude.error, wanda.error, second.error, refined);
        compress_result_done(&magnitude);
        compress_result_done(&wanda);
        compress_result_done(&second);
    }
    subject_done(&subject);
}

Test(compress_prune, a_mask_from_outside_is_kept) {
    struct subject subject = subject_make(8, 64, 100);
    uint8_t mask[8 * 64];
    for (size_t i = 0; i < sizeof mask; i++)
        mask[i] = i % 3 != 0;
    struct compress_options options = {
        .mask = mask, .prune = PRUNE_MAGNITUDE, .quant = QUANT_CLIP, .format = FORMAT_INT4};
    struct compress_result plain = compress(&subject, options);
    options.prune = PRUNE_SPARSEGPT;
    struct compress_result updated = compress(&subject, options);
    cr_expect_arr_eq(plain.mask, mask, sizeof mask);
    cr_expect_arr_eq(updated.mask, mask, sizeof mask);
    cr_expect_lt(updated.error, plain.error);
    cr_expect_eq(plain.codes->format, FORMAT_INT4_MASK);
    compress_result_done(&plain);
    compress_result_done(&updated);
    subject_done(&subject);
}

Test(compress_prune, a_mask_from_outside_may_have_a_pattern) {
    struct subject subject = subject_make(8, 62, 100);
    struct compress_options options = {
        .prune = PRUNE_WANDA, .keep = 2, .of = 4, .quant = QUANT_GPTQ, .format = FORMAT_INT4, .refine = 1};
    struct compress_result first = compress(&subject, options);
    options.mask = first.mask;
    struct compress_result again = compress(&subject, options), result;
    cr_expect_eq(again.codes->format, FORMAT_INT4_24);
    cr_expect_arr_eq(again.codes->codes, first.codes->codes, 8 * 62);
    first.mask[5] ^= 1;
    options.group = 32;
    cr_expect_eq(compress_matrix(subject.w, 8, 62, subject.stats, &options, &result, NULL), MOESAIC_E_USAGE);
    compress_result_done(&first);
    compress_result_done(&again);
    subject_done(&subject);
}

/* ---- edges ------------------------------------------------------------------------------------------------------ */

Test(compress_edges, no_tokens_means_the_identity) {
    struct subject subject = subject_make(5, 64, 20);
    struct compress_options options = {.quant = QUANT_CLIP, .format = FORMAT_INT4};
    calib_stats_destroy(subject.stats);
    cr_assert_eq(calib_stats_create(64, true, &subject.stats, NULL), MOESAIC_OK);
    struct compress_result clip = compress(&subject, options);
    options.quant = QUANT_GPTQ;
    struct compress_result gptq = compress(&subject, options);
    cr_expect_arr_eq(clip.values, gptq.values, 5 * 64 * sizeof(float));
    cr_expect(gptq.error > 0.0 && gptq.error < 0.02);
    compress_result_done(&clip);
    compress_result_done(&gptq);
    subject_done(&subject);
}

Test(compress_edges, small_dead_and_zero_matrices) {
    static const size_t shapes[][2] = {{1, 1}, {1, 33}, {17, 1}, {3, 129}};
    for (size_t i = 0; i < 4; i++) {
        struct subject subject = subject_make(shapes[i][0], shapes[i][1], 3);
        struct compress_options options = {
            .prune = PRUNE_SPARSEGPT, .density = 0.5, .quant = QUANT_GPTQ, .format = FORMAT_INT2, .refine = 2};
        cr_expect(isfinite(error_of(&subject, options)));
        memset(subject.w, 0, sizeof *subject.w * shapes[i][0] * shapes[i][1]);
        struct compress_result zero = compress(&subject, options);
        cr_expect_eq(zero.error, 0.0);
        for (size_t k = 0; k < shapes[i][0] * shapes[i][1]; k++)
            cr_assert_eq(zero.values[k], 0.0f);
        compress_result_done(&zero);
        subject_done(&subject);
    }
}

Test(compress_edges, channels_that_never_fire_keep_their_weights) {
    struct subject subject = subject_make(6, 96, 4);
    float x[96 * 50];
    for (size_t i = 0; i < 96 * 50; i++)
        x[i] = i % 96 < 40 ? random_uniform() : 0.0f;
    calib_stats_destroy(subject.stats);
    cr_assert_eq(calib_stats_create(96, true, &subject.stats, NULL), MOESAIC_OK);
    calib_add(subject.stats, x, 96, NULL, NULL, 50, 0, 96);
    struct compress_result result =
        compress(&subject, (struct compress_options){.quant = QUANT_GPTQ, .format = FORMAT_INT8, .refine = 2});
    for (size_t row = 0; row < 6; row++) {
        for (size_t k = 64; k < 96; k++)
            cr_assert_float_eq(result.values[row * 96 + k], subject.w[row * 96 + k], 1e-3f);
    }
    compress_result_done(&result);
    subject_done(&subject);
}

Test(compress_edges, tiny_and_huge_weights_keep_their_precision) {
    static const float sizes[] = {1e-30f, 1e-6f, 1.0f, 1e6f, 1e30f};
    for (size_t i = 0; i < 5; i++) {
        struct subject subject = subject_make(4, 64, 80);
        for (size_t k = 0; k < 4 * 64; k++)
            subject.w[k] *= sizes[i];
        double error = error_of(&subject, (struct compress_options){.quant = QUANT_RTN, .format = FORMAT_INT8});
        cr_expect_lt(error, 2e-4, "%g: %g", (double)sizes[i], error);
        subject_done(&subject);
    }
}

Test(compress_edges, what_cannot_be_done_is_refused) {
    struct subject subject = subject_make(4, 64, 10);
    struct compress_result result;
    moesaic_error error;
    struct compress_options good = {.quant = QUANT_GPTQ, .format = FORMAT_INT4, .group = 32};
    struct compress_options bad[8];
    for (size_t i = 0; i < 8; i++)
        bad[i] = good;
    bad[0].group = 48;
    bad[1].format = FORMAT_INT4_24;
    bad[2].prune = PRUNE_WANDA; /* density 0 */
    bad[3].prune = PRUNE_WANDA, bad[3].keep = 5, bad[3].of = 4;
    bad[4].prune = PRUNE_WANDA, bad[4].keep = 2, bad[4].of = 6;
    bad[5].damping = -1;
    bad[6].damping = NAN;
    bad[7].prune = PRUNE_WANDA, bad[7].density = NAN;
    for (size_t i = 0; i < 8; i++)
        cr_expect_eq(compress_matrix(subject.w, 4, 64, subject.stats, &bad[i], &result, &error), MOESAIC_E_USAGE, "%zu",
                     i);
    cr_expect_eq(compress_matrix(subject.w, 4, 63, subject.stats, &good, &result, &error), MOESAIC_E_USAGE);
    subject.w[70] = NAN;
    cr_expect_eq(compress_matrix(subject.w, 4, 64, subject.stats, &good, &result, &error), MOESAIC_E_NONFINITE);
    subject.w[70] = 0;
    subject.stats->hessian[0] = INFINITY;
    cr_expect_eq(compress_matrix(subject.w, 4, 64, subject.stats, &good, &result, &error), MOESAIC_E_NONFINITE);
    struct calib_stats *squares;
    cr_assert_eq(calib_stats_create(64, false, &squares, NULL), MOESAIC_OK);
    cr_expect_eq(compress_matrix(subject.w, 4, 64, squares, &good, &result, &error), MOESAIC_E_USAGE);
    good.quant = QUANT_CLIP;
    cr_expect_eq(compress_matrix(subject.w, 4, 64, squares, &good, &result, &error), MOESAIC_OK);
    compress_result_done(&result);
    calib_stats_destroy(squares);
    subject_done(&subject);
}
