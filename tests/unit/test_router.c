/* SPDX-License-Identifier: Apache-2.0 */
/* The router: choices and their weights, the plan of a step, statistics. */
#include "router.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static uint32_t random_state = 1;

static uint32_t random_below(uint32_t n) {
    random_state = random_state * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)(random_state >> 8) * n >> 24);
}

static float random_float(void) { return (float)random_below(1u << 20) / (1u << 18) - 2.0f; }

Test(router, top_k_takes_the_largest_and_ties_go_to_the_lowest_index) {
    const float values[] = {1, 5, 3, 5, 2, 5, 3, -1};
    const uint32_t expected[] = {1, 3, 5, 2, 6, 4, 0, 7};
    for (uint32_t k = 1; k <= 8; k++) {
        uint32_t index[8];
        router_top_k(values, 8, k, index);
        cr_assert_eq(memcmp(index, expected, k * sizeof *index), 0, "k %u", k);
    }
}

Test(router, top_k_agrees_with_repeated_search) {
    float values[300], rest[300];
    uint32_t index[64];
    for (int round = 0; round < 50; round++) {
        uint32_t count = 1 + random_below(300), k = 1 + random_below(count < 64 ? count : 64);
        for (uint32_t i = 0; i < count; i++)
            rest[i] = values[i] = (float)random_below(40);
        router_top_k(values, count, k, index);
        for (uint32_t slot = 0; slot < k; slot++) {
            uint32_t best = 0;
            for (uint32_t i = 1; i < count; i++)
                if (rest[i] > rest[best])
                    best = i;
            cr_assert_eq(index[slot], best, "round %d slot %u", round, slot);
            rest[best] = -INFINITY;
        }
    }
}

Test(router, top_k_of_nan_and_infinity_is_k_different_indices) {
    const float values[] = {NAN, -INFINITY, 2, NAN, INFINITY};
    const uint32_t expected[] = {4, 2, 0, 1, 3};
    uint32_t index[5];
    router_top_k(values, 5, 5, index);
    cr_assert_eq(memcmp(index, expected, sizeof index), 0);
}

/* Softmax in double, then the k largest. */
static void check_choice(const float *logits, uint32_t experts, uint32_t k, bool renormalize) {
    float copy[256], weights[8];
    uint32_t chosen[8];
    double total = 0, kept = 0, largest = -INFINITY;
    memcpy(copy, logits, experts * sizeof *copy);
    router_choose(&(struct router_gate){.experts = experts, .top_k = k, .renormalize = renormalize}, copy, chosen,
                  weights);
    for (uint32_t e = 0; e < experts; e++)
        largest = logits[e] > largest ? logits[e] : largest;
    for (uint32_t e = 0; e < experts; e++)
        total += exp(logits[e] - largest);
    for (uint32_t i = 0; i < k; i++)
        kept += exp(logits[chosen[i]] - largest) / total;
    for (uint32_t i = 0; i < k; i++) {
        double expected = exp(logits[chosen[i]] - largest) / total / (renormalize ? kept : 1);
        cr_assert_float_eq(weights[i], expected, 1e-6, "slot %u: %g, not %g", i, weights[i], expected);
        cr_assert(i == 0 || logits[chosen[i]] <= logits[chosen[i - 1]]);
    }
}

Test(router, weights_are_those_of_softmax) {
    float logits[256];
    for (uint32_t experts = 8; experts <= 256; experts += 31) {
        for (uint32_t e = 0; e < experts; e++)
            logits[e] = 4 * random_float();
        check_choice(logits, experts, 1, false);
        check_choice(logits, experts, 8, false);
        check_choice(logits, experts, 8, true);
    }
}

Test(router, equal_logits_choose_the_first_experts_equally) {
    float logits[16] = {0}, weights[4];
    uint32_t chosen[4];
    router_choose(&(struct router_gate){.experts = 16, .top_k = 4, .renormalize = true}, logits, chosen, weights);
    for (uint32_t i = 0; i < 4; i++) {
        cr_assert_eq(chosen[i], i);
        cr_assert_eq(weights[i], 0.25f);
    }
}

Test(router, nan_logits_poison_the_weights) {
    float logits[4] = {1, NAN, 0, 2}, weights[2];
    uint32_t chosen[2];
    router_choose(&(struct router_gate){.experts = 4, .top_k = 2, .renormalize = false}, logits, chosen, weights);
    cr_assert_eq(chosen[0], 3);
    cr_assert_eq(chosen[1], 0);
    cr_assert(isnan(weights[0]) && isnan(weights[1]));
}

Test(router, choices_have_the_same_bits_on_every_isa) {
    static const char *const levels[] = {"avx512", "avx2", "scalar"};
    float logits[5][200], first[5][8], weights[8];
    uint32_t chosen[8];
    for (size_t i = 0; i < 5; i++)
        for (size_t e = 0; e < 200; e++)
            logits[i][e] = 6 * random_float();
    for (size_t level = 0; level < 3; level++) {
        cr_assert_eq(cpu_limit(levels[level], NULL), MOESAIC_OK);
        for (size_t i = 0; i < 5; i++) {
            float copy[200];
            uint32_t experts = (uint32_t)(200 - 7 * i);
            memcpy(copy, logits[i], sizeof copy);
            router_choose(&(struct router_gate){.experts = experts, .top_k = 8}, copy, chosen, weights);
            if (level == 0)
                memcpy(first[i], weights, sizeof weights);
            cr_assert_eq(memcmp(first[i], weights, sizeof weights), 0, "%s differs", levels[level]);
        }
    }
}

static void check_plan(const struct router_plan *plan, const uint32_t *chosen, const float *weights) {
    uint32_t distinct = 0;
    cr_assert_eq(plan->offset[0], 0);
    cr_assert_eq(plan->offset[plan->experts], plan->tokens * plan->top_k);
    for (uint32_t e = 0; e < plan->experts; e++) {
        if (plan->offset[e] == plan->offset[e + 1])
            continue;
        cr_assert_eq(plan->active[distinct++], e);
        for (uint32_t place = plan->offset[e]; place + 1 < plan->offset[e + 1]; place++)
            cr_assert_leq(plan->token[place], plan->token[place + 1]);
    }
    cr_assert_eq(plan->distinct, distinct);
    for (size_t i = 0; i < plan->tokens * plan->top_k; i++) {
        uint32_t place = plan->place[i];
        cr_assert(place >= plan->offset[chosen[i]] && place < plan->offset[chosen[i] + 1]);
        cr_assert_eq(plan->token[place], i / plan->top_k);
        cr_assert_eq(plan->weight[place], weights[i]);
    }
}

Test(router, plan_groups_tokens_by_expert) {
    uint32_t chosen[100 * 3];
    float weights[100 * 3];
    struct router_plan plan;
    cr_assert_eq(router_plan_init(&plan, 100, 37, 3, NULL), MOESAIC_OK);
    for (size_t tokens = 0; tokens <= 100; tokens += 20) {
        for (size_t t = 0; t < tokens; t++) {
            uint32_t start = random_below(37);
            for (uint32_t i = 0; i < 3; i++) {
                chosen[t * 3 + i] = (start + i * i * 5) % 37;
                weights[t * 3 + i] = random_float();
            }
        }
        router_plan_build(&plan, tokens, chosen, weights);
        check_plan(&plan, chosen, weights);
    }
    router_plan_done(&plan);
}

Test(router, plan_refuses_more_places_than_it_can_number) {
    struct router_plan plan;
    moesaic_error error = {0};
    cr_assert_eq(router_plan_init(&plan, (size_t)1 << 31, 64, 8, &error), MOESAIC_E_INPUT);
    cr_assert_not_null(strstr(error.message, "router plan"));
    router_plan_done(&plan);
}

/* Two sequences over four experts: (0 1) (1 2) | (3 0) */
Test(router, statistics_by_hand) {
    const uint32_t first[] = {0, 1, 1, 2}, second[] = {3, 0};
    struct router_stats stats;
    cr_assert_eq(router_stats_init(&stats, 4, 2, true, NULL), MOESAIC_OK);
    router_stats_begin_sequence(&stats);
    router_stats_add(&stats, first, 1);
    router_stats_add(&stats, first + 2, 1);
    router_stats_begin_sequence(&stats);
    router_stats_add(&stats, second, 1);
    const uint64_t count[] = {2, 2, 1, 1};
    const uint64_t together[] = {0, 1, 0, 1, 1, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 0};
    const uint64_t transition[] = {0, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    cr_assert_eq(memcmp(stats.count, count, sizeof count), 0);
    cr_assert_eq(memcmp(stats.together, together, sizeof together), 0);
    cr_assert_eq(memcmp(stats.transition, transition, sizeof transition), 0);
    cr_assert_eq(stats.tokens, 3);
    cr_assert_eq(router_stats_distinct(&stats), 4);
    cr_assert_float_eq(router_stats_max_over_mean(&stats), 2 / 1.5, 1e-12);
    cr_assert_float_eq(router_stats_entropy_bits(&stats), 2 * log2(3) / 3 + 2 * log2(6) / 6, 1e-12);
    router_stats_done(&stats);
}

Test(router, statistics_without_tokens_are_zero) {
    struct router_stats stats;
    cr_assert_eq(router_stats_init(&stats, 4, 2, false, NULL), MOESAIC_OK);
    cr_assert_null(stats.together);
    cr_assert_eq(router_stats_distinct(&stats), 0);
    cr_assert_eq(router_stats_max_over_mean(&stats), 0.0);
    cr_assert_eq(router_stats_entropy_bits(&stats), 0.0);
    router_stats_done(&stats);
}
