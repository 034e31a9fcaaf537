/* SPDX-License-Identifier: Apache-2.0 */
/* The forward pass of every family against float32 references: experts, routing weights, hidden states, logits and
 * greedy continuations. */
#include "golden.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const models[] = {"checkpoints/llama",     "checkpoints/mixtral", "checkpoints/olmoe",
                                     "checkpoints/qwen2_moe", "checkpoints/qwen3_moe", "fable-moe"};
static const char *const prompts[] = {"short", "medium", "long"};
enum { MODELS = sizeof models / sizeof *models, PROMPTS = sizeof prompts / sizeof *prompts, GREEDY_TOKENS = 32 };
static const double tolerance = 2e-4, margin_of_ties = 1e-5;

/* One prompt of one model with its reference. */
struct golden_case {
    struct safetensors *file;
    json_value *root;
    const json_value *prompt;
    const char *name;
    int32_t ids[256];
    size_t count;
};

static void case_open(struct golden_case *golden, const char *model, const char *prompt) {
    char name[256];
    moesaic_error error = {0};
    snprintf(name, sizeof name, "%s/golden.safetensors", model);
    cr_assert_eq(safetensors_open(golden_path(name), &golden->file, &error), MOESAIC_OK, "%s", error.message);
    snprintf(name, sizeof name, "%s/golden.json", model);
    cr_assert_eq(json_parse_file(golden_path(name), &(struct json_limits){0}, &golden->root, &error), MOESAIC_OK, "%s",
                 error.message);
    golden->name = prompt;
    golden->prompt = json_get(json_get(golden->root, "prompts"), prompt);
    const json_value *ids = json_get(golden->prompt, "ids");
    golden->count = json_count(ids);
    cr_assert(golden->count > 0 && golden->count <= 256);
    for (size_t i = 0; i < golden->count; i++)
        golden->ids[i] = (int32_t)json_int(json_at(ids, i));
}

static void case_close(struct golden_case *golden) {
    safetensors_close(golden->file);
    json_free(golden->root);
}

/* A tensor of the prompt, copied for alignment; NULL when the file has none of that name. */
static void *tensor_of(const struct golden_case *golden, const char *suffix, size_t count) {
    char name[128];
    snprintf(name, sizeof name, "%s.%s", golden->name, suffix);
    const struct tensor *tensor = safetensors_find(golden->file, name);
    if (!tensor)
        return NULL;
    cr_assert_eq(tensor->bytes, count * 4, "%s has %zu bytes", name, (size_t)tensor->bytes);
    void *copy = malloc(tensor->bytes);
    cr_assert_not_null(copy);
    memcpy(copy, tensor->data, tensor->bytes);
    return copy;
}

static double largest_difference(const float *a, const float *b, size_t count) {
    double largest = 0;
    for (size_t i = 0; i < count; i++) {
        double difference = fabs((double)a[i] - b[i]);
        largest = difference <= largest ? largest : difference; /* a NaN becomes the result */
    }
    return largest;
}

static bool chosen_weight(const uint32_t *experts, const float *weights, uint32_t k, int32_t expert,
                          float *ret_weight) {
    for (uint32_t i = 0; i < k; i++) {
        if ((int32_t)experts[i] == expert) {
            *ret_weight = weights[i];
            return true;
        }
    }
    return false;
}

/* The same experts but where the reference's own margin is a tie; the same weights. Returns how many tokens agreed. */
static size_t check_routing(const struct golden_case *golden, const struct golden_run *run, uint32_t layer) {
    char suffix[64];
    uint32_t k = run->top_k;
    size_t agreed = 0;
    snprintf(suffix, sizeof suffix, "layer%u.expert_ids", layer);
    int32_t *ids = tensor_of(golden, suffix, golden->count * k);
    snprintf(suffix, sizeof suffix, "layer%u.expert_weights", layer);
    float *weights = tensor_of(golden, suffix, golden->count * k);
    snprintf(suffix, sizeof suffix, "layer%u.router_margin", layer);
    float *margin = tensor_of(golden, suffix, golden->count);
    cr_assert(ids && weights && margin, "layer %u has no reference routing", layer);
    for (size_t t = 0; t < golden->count; t++) {
        const uint32_t *experts = run->experts + (layer * run->tokens + t) * k;
        const float *applied = run->weights + (layer * run->tokens + t) * k;
        bool same = true;
        for (uint32_t i = 0; i < k; i++) {
            float weight = 0;
            bool found = chosen_weight(experts, applied, k, ids[t * k + i], &weight);
            cr_assert(found || margin[t] < margin_of_ties, "layer %u token %zu: expert %d not chosen, margin %g", layer,
                      t, ids[t * k + i], margin[t]);
            cr_assert(!found || fabsf(weight - weights[t * k + i]) <= tolerance,
                      "layer %u token %zu: weight %g, not %g", layer, t, weight, weights[t * k + i]);
            same &= found;
        }
        agreed += same;
    }
    free(ids);
    free(weights);
    free(margin);
    return agreed;
}

static void check_hidden(const struct golden_case *golden, const struct golden_run *run) {
    size_t count = run->tokens * run->hidden_size;
    for (uint32_t layer = 0; layer < run->layers; layer++) {
        char suffix[64];
        snprintf(suffix, sizeof suffix, "hidden.%u", layer + 1);
        float *hidden = tensor_of(golden, suffix, count);
        if (!hidden)
            return;
        double error = largest_difference(run->hidden + layer * count, hidden, count);
        cr_assert(error <= tolerance * golden_deviation(hidden, count), "hidden states after layer %u differ by %g",
                  layer, error);
        free(hidden);
    }
}

static void check_logits(const struct golden_case *golden, const struct golden_run *run) {
    size_t count = run->tokens * run->vocab;
    float *logits = tensor_of(golden, "logits", count);
    cr_assert_not_null(logits);
    double error = largest_difference(run->logits, logits, count), deviation = golden_deviation(logits, count);
    cr_assert(error <= tolerance * deviation, "logits differ by %g, deviation %g", error, deviation);
    free(logits);
}

static char *parameter_names[MODELS * PROMPTS];

ParameterizedTestParameters(golden, forward) {
    for (size_t i = 0; i < MODELS * PROMPTS; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s %s", models[i / PROMPTS], prompts[i % PROMPTS]);
        parameter_names[i] = cr_malloc(sizeof name);
        memcpy(parameter_names[i], name, sizeof name);
    }
    return cr_make_param_array(char *, parameter_names, MODELS * PROMPTS);
}

ParameterizedTest(char **parameter, golden, forward) {
    char model[64], prompt[16];
    struct golden_case golden;
    struct golden_engine engine;
    struct golden_run run;
    cr_assert_eq(sscanf(*parameter, "%63s %15s", model, prompt), 2);
    case_open(&golden, model, prompt);
    golden_open(&engine, model, (struct golden_setup){0});
    golden_evaluate(&engine, golden.ids, golden.count, 0, 0, &run);
    check_logits(&golden, &run);
    check_hidden(&golden, &run);
    for (uint32_t layer = 0; layer < run.layers; layer++)
        if (model_config(engine.model)->layer[layer].moe)
            cr_assert(check_routing(&golden, &run, layer) > 0);
    golden_run_done(&run);
    golden_close(&engine);
    case_close(&golden);
}

ParameterizedTestParameters(golden, greedy) {
    static size_t index[MODELS];
    for (size_t i = 0; i < MODELS; i++)
        index[i] = i;
    return cr_make_param_array(size_t, index, MODELS);
}

ParameterizedTest(size_t *index, golden, greedy) {
    struct golden_engine engine;
    golden_open(&engine, models[*index], (struct golden_setup){0});
    for (size_t p = 0; p < PROMPTS; p++) {
        struct golden_case golden;
        int32_t ids[GREEDY_TOKENS];
        case_open(&golden, models[*index], prompts[p]);
        golden_greedy(&engine, golden.ids, golden.count, 0, GREEDY_TOKENS, ids);
        const json_value *expected = json_get(golden.prompt, "greedy");
        cr_assert_eq(json_count(expected), GREEDY_TOKENS);
        for (size_t i = 0; i < GREEDY_TOKENS; i++)
            cr_assert_eq(ids[i], json_int(json_at(expected, i)), "%s %s: token %zu is %d", models[*index], prompts[p],
                         i, ids[i]);
        case_close(&golden);
    }
    golden_close(&engine);
}
