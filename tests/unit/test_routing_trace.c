/* SPDX-License-Identifier: Apache-2.0 */
/* Routing traces: bounds, checks, counts by hand, the batches they replay, drift, and made traffic. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "trace/routing_trace.h"

static struct routing_trace *trace_of(uint32_t experts, uint32_t top_k, uint32_t tokens, const uint16_t *chosen) {
    struct routing_trace *trace = NULL;
    cr_assert_eq(routing_trace_create(1, experts, top_k, tokens, &trace, NULL), MOESAIC_OK);
    memcpy(trace->chosen, chosen, (size_t)tokens * top_k * sizeof *chosen);
    return trace;
}

Test(routing_trace, sizes_out_of_bounds_are_refused) {
    struct routing_trace *trace = NULL;
    const uint32_t sizes[][4] = {{0, 8, 2, 4}, {1025, 8, 2, 4}, {1, 0, 1, 4}, {1, 4097, 2, 4},          {1, 8, 0, 4},
                                 {1, 8, 9, 4}, {1, 128, 65, 4}, {1, 8, 2, 0}, {1, 8, 2, (1u << 28) + 1}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        cr_expect_eq(routing_trace_create(sizes[i][0], sizes[i][1], sizes[i][2], sizes[i][3], &trace, NULL),
                     MOESAIC_E_USAGE, "%zu", i);
    cr_expect_null(trace);
    routing_trace_destroy(NULL);
}

Test(routing_trace, ids_are_checked) {
    moesaic_error error = {0};
    struct routing_trace *trace = trace_of(4, 2, 3, (uint16_t[]){0, 1, 3, 2, 1, 0});
    cr_expect_eq(routing_trace_check(trace, &error), MOESAIC_OK);
    trace->chosen[3] = 4;
    cr_expect_eq(routing_trace_check(trace, &error), MOESAIC_E_INPUT);
    cr_expect_not_null(strstr(error.message, "token 1: expert 4"), "%s", error.message);
    trace->chosen[3] = 3;
    cr_expect_eq(routing_trace_check(trace, &error), MOESAIC_E_INPUT);
    cr_expect_not_null(strstr(error.message, "chosen twice"), "%s", error.message);
    routing_trace_destroy(trace);
}

Test(routing_trace, counts_by_hand) {
    struct routing_trace *trace = trace_of(3, 2, 3, (uint16_t[]){0, 1, 1, 2, 0, 1});
    uint64_t histogram[3];
    routing_trace_histogram(trace, histogram);
    cr_expect_arr_eq(histogram, ((uint64_t[]){2, 3, 1}), sizeof histogram);
    routing_trace_destroy(trace);
}

Test(routing_trace, distinct_experts_of_a_step) {
    /* Lanes of a batch of two: tokens {0, 2}, {1, 3}; the fifth token is left out. */
    struct routing_trace *trace = trace_of(6, 2, 5, (uint16_t[]){0, 1, 2, 3, 1, 0, 4, 5, 0, 5});
    struct routing_distinct distinct;
    cr_assert_eq(routing_distinct_per_step(trace, 0, 2, &distinct, NULL), MOESAIC_OK);
    cr_expect_eq(distinct.min, 2);
    cr_expect_eq(distinct.max, 4);
    cr_expect_float_eq(distinct.mean, 3, 1e-12);
    cr_expect_eq(routing_distinct_per_step(trace, 0, 6, &distinct, NULL), MOESAIC_E_USAGE);
    cr_expect_eq(routing_distinct_per_step(trace, 1, 1, &distinct, NULL), MOESAIC_E_USAGE);
    cr_expect_eq(routing_distinct_per_step(trace, 0, 0, &distinct, NULL), MOESAIC_E_USAGE);
    routing_trace_destroy(trace);
}

Test(routing_trace, divergence_by_hand) {
    const uint64_t a[3] = {2, 2, 0}, b[3] = {20, 20, 0}, c[3] = {0, 0, 7}, d[3] = {4, 0, 0}, none[3] = {0};
    cr_expect_float_eq(routing_divergence_bits(a, b, 3), 0, 1e-12);
    cr_expect_float_eq(routing_divergence_bits(a, c, 3), 1, 1e-12);
    /* H(3/4, 1/4) - H(1/2, 1/2) / 2 */
    cr_expect_float_eq(routing_divergence_bits(a, d, 3), 0.811278124459133 - 0.5, 1e-12);
    cr_expect_float_eq(routing_divergence_bits(a, none, 3), 0, 0);
}

/* Two samples of one distribution diverge by about what the formula says. */
Test(routing_trace, divergence_noise_is_what_samples_of_one_distribution_show) {
    struct routing_generator generator = {.layers = 1, .experts = 32, .top_k = 1, .tokens = 2000, .skew = 0.7};
    double measured = 0, stated = 0;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct routing_trace *trace = NULL;
        uint64_t first[32] = {0}, second[32] = {0};
        generator.seed = seed;
        cr_assert_eq(routing_trace_generate(&generator, &trace, NULL), MOESAIC_OK);
        for (uint32_t t = 0; t < 2000; t++)
            (t < 500 ? first : second)[trace->chosen[t]]++;
        measured += routing_divergence_bits(first, second, 32);
        stated += routing_divergence_noise_bits(first, second, 32);
        routing_trace_destroy(trace);
    }
    cr_expect_float_eq(measured / stated, 1, 0.15, "%g against %g", measured / 20, stated / 20);
}

/* ---- made traffic ------------------------------------------------------------------------------------------------ */

static double entropy_of(const struct routing_generator *generator) {
    struct routing_trace *trace = NULL;
    struct router_stats stats;
    cr_assert_eq(routing_trace_generate(generator, &trace, NULL), MOESAIC_OK);
    cr_expect_eq(routing_trace_check(trace, NULL), MOESAIC_OK);
    cr_assert_eq(router_stats_init(&stats, generator->experts, generator->top_k, false, NULL), MOESAIC_OK);
    for (size_t i = 0; i < (size_t)trace->tokens * trace->top_k; i += trace->top_k) {
        uint32_t chosen[4];
        for (uint32_t slot = 0; slot < 4; slot++)
            chosen[slot] = routing_trace_at(trace, 1, 0)[i + slot];
        router_stats_add(&stats, chosen, 1);
    }
    double entropy = router_stats_entropy_bits(&stats);
    router_stats_done(&stats);
    routing_trace_destroy(trace);
    return entropy;
}

Test(routing_trace, generator_is_uniform_or_skewed_as_asked) {
    struct routing_generator generator = {.layers = 2, .experts = 64, .top_k = 4, .tokens = 4000, .seed = 3};
    cr_expect_float_eq(entropy_of(&generator), 6, 0.01);
    generator.skew = 1;
    double zipf = entropy_of(&generator);
    cr_expect_lt(zipf, 5.6);
    cr_expect_gt(zipf, 4.5);
    generator.skew = 16; /* always the same four, but for ties of chance */
    cr_expect_float_eq(entropy_of(&generator), 2, 0.3);
}

Test(routing_trace, single_choices_follow_zipf) {
    const struct routing_generator generator = {
        .layers = 1, .experts = 8, .top_k = 1, .tokens = 40000, .skew = 1, .seed = 11};
    struct routing_trace *trace = NULL;
    uint64_t counts[8];
    double harmonic = 0;
    cr_assert_eq(routing_trace_generate(&generator, &trace, NULL), MOESAIC_OK);
    routing_trace_histogram(trace, counts);
    for (unsigned i = 0; i < 8; i++)
        for (unsigned j = i + 1; j < 8; j++)
            if (counts[j] > counts[i]) {
                uint64_t held = counts[i];
                counts[i] = counts[j];
                counts[j] = held;
            }
    for (unsigned r = 1; r <= 8; r++)
        harmonic += 1.0 / r;
    for (unsigned r = 1; r <= 8; r++) /* within five standard deviations */
        cr_expect_float_eq((double)counts[r - 1], 40000 / harmonic / r, 5 * sqrt(40000 / harmonic / r));
    routing_trace_destroy(trace);
}

Test(routing_trace, topics_change_who_is_hot) {
    struct routing_generator generator = {.layers = 1,
                                          .experts = 32,
                                          .top_k = 2,
                                          .tokens = 4096,
                                          .tokens_per_sequence = 1024,
                                          .skew = 1.5,
                                          .topics = 64,
                                          .seed = 9};
    struct routing_trace *trace = NULL;
    uint64_t counts[2][32] = {{0}};
    cr_assert_eq(routing_trace_generate(&generator, &trace, NULL), MOESAIC_OK);
    cr_expect_eq(trace->sequence[1023], 0);
    cr_expect_eq(trace->sequence[1024], 1);
    for (uint32_t t = 0; t < 2048; t++)
        for (uint32_t k = 0; k < 2; k++)
            counts[t / 1024][routing_trace_at(trace, 0, t)[k]]++;
    cr_expect_gt(routing_divergence_bits(counts[0], counts[1], 32), 0.2);
    routing_trace_destroy(trace);
}

Test(routing_trace, same_seed_same_trace) {
    struct routing_generator generator = {.layers = 2, .experts = 16, .top_k = 3, .tokens = 50, .skew = 1, .seed = 5};
    struct routing_trace *a = NULL, *b = NULL, *c = NULL;
    cr_assert_eq(routing_trace_generate(&generator, &a, NULL), MOESAIC_OK);
    cr_assert_eq(routing_trace_generate(&generator, &b, NULL), MOESAIC_OK);
    generator.seed = 6;
    cr_assert_eq(routing_trace_generate(&generator, &c, NULL), MOESAIC_OK);
    cr_expect_arr_eq(a->chosen, b->chosen, 2 * 50 * 3 * sizeof(uint16_t));
    cr_expect_neq(memcmp(a->chosen, c->chosen, 2 * 50 * 3 * sizeof(uint16_t)), 0);
    routing_trace_destroy(a);
    routing_trace_destroy(b);
    routing_trace_destroy(c);
    generator.skew = -1;
    cr_expect_eq(routing_trace_generate(&generator, &a, NULL), MOESAIC_E_USAGE);
    generator.skew = NAN;
    cr_expect_eq(routing_trace_generate(&generator, &a, NULL), MOESAIC_E_USAGE);
}
