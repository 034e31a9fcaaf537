/* SPDX-License-Identifier: Apache-2.0 */
/* The sampler and the stop filter against what their documentation says. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "sample.h"

static struct sampler *make(moesaic_sampling settings, uint32_t vocab) {
    struct sampler *sampler = NULL;
    moesaic_error error;
    settings.size = sizeof settings;
    cr_assert_eq(sampler_create(&settings, vocab, &sampler, &error), MOESAIC_OK);
    return sampler;
}

/* How often each of `vocab` ids is drawn in `draws`. */
static void frequencies(moesaic_sampling settings, const float *logits, uint32_t vocab, int draws, double *ret) {
    struct sampler *sampler = make(settings, vocab);
    memset(ret, 0, vocab * sizeof *ret);
    for (int i = 0; i < draws; i++)
        ret[sampler_next(sampler, logits).id] += 1.0 / draws;
    sampler_destroy(sampler);
}

Test(sampler, greedy_takes_the_lowest_of_the_best) {
    float logits[] = {1, 3, 2, 3};
    struct sampler *sampler = make((moesaic_sampling){0}, 4);
    cr_assert_eq(sampler_next(sampler, logits).id, 1);
    sampler_destroy(sampler);
}

Test(sampler, draws_follow_the_softmax) {
    float logits[] = {0, 1, -1, 0.5f};
    double seen[4], sum = 0;
    for (int i = 0; i < 4; i++)
        sum += exp(logits[i] / 0.7);
    frequencies((moesaic_sampling){.temperature = 0.7, .seed = 3}, logits, 4, 40000, seen);
    for (int i = 0; i < 4; i++)
        cr_assert_float_eq(seen[i], exp(logits[i] / 0.7) / sum, 0.01, "id %d: %g", i, seen[i]);
}

Test(sampler, top_k_keeps_k_and_breaks_ties_by_id) {
    float logits[] = {1, 2, 2, 2, 0};
    double seen[5];
    frequencies((moesaic_sampling){.temperature = 1, .top_k = 2}, logits, 5, 2000, seen);
    cr_assert(seen[1] > 0.4 && seen[2] > 0.4);
    cr_assert_eq(seen[0] + seen[3] + seen[4], 0);
}

Test(sampler, top_p_keeps_the_smallest_head) {
    float logits[] = {logf(0.5f), logf(0.3f), logf(0.15f), logf(0.05f)};
    double seen[4];
    frequencies((moesaic_sampling){.temperature = 1, .top_p = 0.7}, logits, 4, 20000, seen);
    cr_assert_float_eq(seen[0], 0.5 / 0.8, 0.02);
    cr_assert_float_eq(seen[1], 0.3 / 0.8, 0.02);
    cr_assert_eq(seen[2] + seen[3], 0);
}

Test(sampler, top_p_over_a_flat_vocabulary_keeps_its_share) {
    enum { V = 5000 };
    static float logits[V];
    static double seen[V];
    frequencies((moesaic_sampling){.temperature = 1, .top_p = 0.5}, logits, V, 2000, seen);
    for (int i = V / 2 + 1; i < V; i++)
        cr_assert_eq(seen[i], 0, "id %d is behind the half", i);
    double tail = 0;
    for (int i = V / 4; i < V / 2; i++)
        tail += seen[i];
    cr_assert_float_eq(tail, 0.5, 0.05);
}

Test(sampler, min_p_drops_what_is_far_below_the_best) {
    float logits[] = {logf(0.6f), logf(0.3f), logf(0.05f), logf(0.05f)};
    double seen[4];
    frequencies((moesaic_sampling){.temperature = 1, .min_p = 0.2}, logits, 4, 20000, seen);
    cr_assert_float_eq(seen[0], 2.0 / 3, 0.02);
    cr_assert_eq(seen[2] + seen[3], 0);
}

Test(sampler, penalties_count_prompt_and_answer) {
    float logits[] = {2, 1.5f, -1};
    struct sampler *sampler = make((moesaic_sampling){.repeat_penalty = 2}, 3);
    sampler_accept(sampler, 0, false);
    cr_assert_eq(sampler_next(sampler, logits).id, 1); /* 2 / 2 < 1.5 */
    sampler_destroy(sampler);
    sampler = make((moesaic_sampling){.presence_penalty = 1}, 3);
    sampler_accept(sampler, 0, false);
    cr_assert_eq(sampler_next(sampler, logits).id, 0, "presence counts the answer only");
    sampler_accept(sampler, 0, true);
    cr_assert_eq(sampler_next(sampler, logits).id, 1);
    sampler_destroy(sampler);
    sampler = make((moesaic_sampling){.frequency_penalty = 0.3}, 3);
    sampler_accept(sampler, 0, true);
    cr_assert_eq(sampler_next(sampler, logits).id, 0);
    sampler_accept(sampler, 0, true);
    cr_assert_eq(sampler_next(sampler, logits).id, 1);
    sampler_destroy(sampler);
}

Test(sampler, the_same_seed_gives_the_same_draws) {
    float logits[64];
    for (int i = 0; i < 64; i++)
        logits[i] = sinf((float)i);
    struct sampler *a = make((moesaic_sampling){.temperature = 1, .seed = 9}, 64);
    struct sampler *b = make((moesaic_sampling){.temperature = 1, .seed = 9}, 64);
    struct sampler *c = make((moesaic_sampling){.temperature = 1, .seed = 10}, 64);
    int differ = 0;
    for (int i = 0; i < 50; i++) {
        int32_t id = sampler_next(a, logits).id;
        cr_assert_eq(id, sampler_next(b, logits).id);
        differ += id != sampler_next(c, logits).id;
    }
    cr_assert_gt(differ, 10);
    sampler_destroy(a);
    sampler_destroy(b);
    sampler_destroy(c);
}

Test(sampler, logprobs_are_of_the_models_own_distribution) {
    float logits[] = {0, 1, 2};
    struct sampler *sampler = make((moesaic_sampling){.logprobs = true, .top_logprobs = 2, .temperature = 0}, 3);
    struct sample s = sampler_next(sampler, logits);
    double norm = log(exp(0) + exp(1) + exp(2));
    cr_assert_float_eq(s.logprob, 2 - norm, 1e-6);
    cr_assert_eq(s.tops, 2);
    cr_assert_eq(s.top[0].id, 2);
    cr_assert_eq(s.top[1].id, 1);
    cr_assert_float_eq(s.top[1].logprob, 1 - norm, 1e-6);
    sampler_destroy(sampler);
}

Test(sampler, log_sum_exp_agrees_with_libm) {
    float logits[257];
    double sum = 0;
    for (int i = 0; i < 257; i++) {
        logits[i] = 40 * sinf((float)(i * i));
        sum += exp(logits[i]);
    }
    cr_assert_float_eq(sample_log_sum_exp(logits, 257), log(sum), 1e-12);
}

Test(sampler, settings_out_of_range_are_named) {
    struct sampler *sampler;
    moesaic_error error;
    moesaic_sampling settings = {.size = sizeof settings, .top_p = 1.5};
    cr_assert_eq(sampler_create(&settings, 4, &sampler, &error), MOESAIC_E_USAGE);
    cr_assert(strstr(error.message, "top_p"));
    settings = (moesaic_sampling){.size = sizeof settings, .temperature = NAN};
    cr_assert_eq(sampler_create(&settings, 4, &sampler, &error), MOESAIC_E_USAGE);
    cr_assert(strstr(error.message, "temperature"));
}

/* Pushes `pieces` and returns what is shown in all; *ret_stopped as the filter says. */
static const char *shown(const char *const *stops, size_t n_stops, const char *const *pieces, size_t n,
                         bool *ret_stopped) {
    static char all[256];
    struct stop_filter *filter;
    moesaic_sampling settings = {.size = sizeof settings, .stop = stops, .stops = n_stops};
    cr_assert_eq(stop_filter_create(&settings, &filter, NULL), MOESAIC_OK);
    all[0] = 0;
    *ret_stopped = false;
    for (size_t i = 0; i < n && !*ret_stopped; i++) {
        const char *text;
        size_t bytes;
        cr_assert_eq(
            stop_filter_push(filter, pieces[i], strlen(pieces[i]), i + 1 == n, &text, &bytes, ret_stopped, NULL),
            MOESAIC_OK);
        strncat(all, text, bytes);
    }
    stop_filter_destroy(filter);
    return all;
}

Test(stop_filter, holds_back_what_may_be_a_stop_string) {
    const char *stops[] = {"END", "</s>"};
    const char *pieces[] = {"one E", "N", "ough </", "s", "> more"};
    bool stopped;
    cr_assert_str_eq(shown(stops, 2, pieces, 5, &stopped), "one ENough ");
    cr_assert(stopped);
}

Test(stop_filter, gives_what_was_held_back_at_the_end) {
    const char *stops[] = {"END"}, *pieces[] = {"the E", "N"};
    bool stopped;
    cr_assert_str_eq(shown(stops, 1, pieces, 2, &stopped), "the EN");
    cr_assert_not(stopped);
}

Test(stop_filter, takes_the_earliest_of_several) {
    const char *stops[] = {"bcd", "ab"}, *pieces[] = {"xabcd"};
    bool stopped;
    cr_assert_str_eq(shown(stops, 2, pieces, 1, &stopped), "x");
    cr_assert(stopped);
}

Test(stop_filter, an_empty_stop_string_is_refused) {
    const char *stops[] = {""};
    struct stop_filter *filter;
    moesaic_sampling settings = {.size = sizeof settings, .stop = stops, .stops = 1};
    cr_assert_eq(stop_filter_create(&settings, &filter, NULL), MOESAIC_E_USAGE);
}
