/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers of the golden tests. */
#include "golden.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *golden_path(const char *name) {
    static char path[1024];
    if (name[0] == '/')
        return name;
    const char *data = getenv("MOESAIC_TEST_DATA");
    cr_assert_not_null(data, "MOESAIC_TEST_DATA is not set");
    snprintf(path, sizeof path, "%s/%s", data, name);
    return path;
}

static void *need(size_t count, size_t size) {
    void *memory = calloc(count ? count : 1, size);
    cr_assert_not_null(memory);
    return memory;
}

void golden_open(struct golden_engine *engine, const char *name, struct golden_setup setup) {
    moesaic_error error = {0};
    *engine = (struct golden_engine){0};
    cr_assert_eq(model_open(golden_path(name), &engine->model, &error), MOESAIC_OK, "%s", error.message);
    struct team_options team = {.threads = setup.threads ? setup.threads : 2};
    cr_assert_eq(team_create(&team, &engine->team, &error), MOESAIC_OK, "%s", error.message);
    struct kv_shape shape = model_kv_shape(engine->model, setup.kv);
    cr_assert_eq(kv_pool_create(&shape, 0, &engine->pool, &error), MOESAIC_OK, "%s", error.message);
    size_t tokens = setup.step_tokens ? setup.step_tokens : 256;
    struct forward_options options = {.max_step_tokens = tokens, .max_items = 16, .max_logits_rows = tokens};
    cr_assert_eq(forward_create(engine->model, engine->team, &options, &engine->counters, &engine->forward, &error),
                 MOESAIC_OK, "%s", error.message);
}

void golden_close(struct golden_engine *engine) {
    forward_destroy(engine->forward);
    kv_pool_destroy(engine->pool);
    team_destroy(engine->team);
    model_close(engine->model);
}

/* ---- recording --------------------------------------------------------------------------------------------------- */

struct recorder {
    struct golden_run *run;
    size_t done; /* tokens of earlier chunks */
};

static void record_hidden(void *user, uint32_t layer, const float *hidden, size_t rows, size_t stride) {
    struct recorder *recorder = user;
    struct golden_run *run = recorder->run;
    for (size_t r = 0; r < rows; r++)
        memcpy(run->hidden + (layer * run->tokens + recorder->done + r) * run->hidden_size, hidden + r * stride,
               run->hidden_size * sizeof *hidden);
}

static void record_routing(void *user, uint32_t layer, const uint32_t *experts, const float *weights, size_t rows,
                           uint32_t k) {
    struct recorder *recorder = user;
    size_t at = (layer * recorder->run->tokens + recorder->done) * k;
    memcpy(recorder->run->experts + at, experts, rows * k * sizeof *experts);
    memcpy(recorder->run->weights + at, weights, rows * k * sizeof *weights);
}

static void run_init(const struct golden_engine *engine, size_t tokens, struct golden_run *run) {
    const struct model_config *config = model_config(engine->model);
    *run = (struct golden_run){.tokens = tokens,
                               .vocab = config->vocab,
                               .hidden_size = config->hidden,
                               .layers = config->layers,
                               .top_k = config->top_k};
    run->logits = need(tokens * config->vocab, sizeof *run->logits);
    run->hidden = need(tokens * config->layers * config->hidden, sizeof *run->hidden);
    run->experts = need(tokens * config->layers * config->top_k, sizeof *run->experts);
    run->weights = need(tokens * config->layers * config->top_k, sizeof *run->weights);
}

void golden_evaluate(struct golden_engine *engine, const int32_t *ids, size_t count, size_t capacity, size_t chunk,
                     struct golden_run *ret_run) {
    moesaic_error error = {0};
    struct model_context *context;
    struct recorder recorder = {.run = ret_run};
    struct forward_tap tap = {.user = &recorder, .hidden = record_hidden, .routing = record_routing};
    run_init(engine, count, ret_run);
    cr_assert_eq(model_context_create(engine->model, engine->pool, capacity ? capacity : count, &context, &error),
                 MOESAIC_OK, "%s", error.message);
    for (size_t n; recorder.done < count; recorder.done += n) {
        n = chunk && chunk < count - recorder.done ? chunk : count - recorder.done;
        struct forward_item item = {
            .context = context, .ids = ids + recorder.done, .count = n, .want = FORWARD_ALL_LOGITS};
        cr_assert_eq(forward_step(engine->forward, &item, 1, &tap, &error), MOESAIC_OK, "%s", error.message);
        memcpy(ret_run->logits + recorder.done * ret_run->vocab, forward_logits(engine->forward, item.ret_row),
               n * ret_run->vocab * sizeof *ret_run->logits);
    }
    cr_assert_eq(model_context_tokens(context), count);
    model_context_destroy(context);
}

void golden_run_done(struct golden_run *run) {
    free(run->logits);
    free(run->hidden);
    free(run->experts);
    free(run->weights);
}

int32_t golden_argmax(const float *logits, size_t vocab) {
    size_t best = 0;
    for (size_t i = 1; i < vocab; i++)
        if (logits[i] > logits[best])
            best = i;
    return (int32_t)best;
}

void golden_greedy(struct golden_engine *engine, const int32_t *ids, size_t count, size_t chunk, size_t n,
                   int32_t *ret_ids) {
    moesaic_error error = {0};
    struct model_context *context;
    struct forward_item item = {.want = FORWARD_LAST_LOGITS};
    size_t vocab = model_config(engine->model)->vocab;
    cr_assert_eq(model_context_create(engine->model, engine->pool, count + n, &context, &error), MOESAIC_OK, "%s",
                 error.message);
    item.context = context;
    for (size_t done = 0; done < count; done += item.count) {
        item.ids = ids + done;
        item.count = chunk && chunk < count - done ? chunk : count - done;
        cr_assert_eq(forward_step(engine->forward, &item, 1, NULL, &error), MOESAIC_OK, "%s", error.message);
    }
    for (size_t i = 0; i < n; i++) {
        ret_ids[i] = golden_argmax(forward_logits(engine->forward, item.ret_row), vocab);
        item.ids = &ret_ids[i];
        item.count = 1;
        item.generated = true;
        if (i + 1 < n)
            cr_assert_eq(forward_step(engine->forward, &item, 1, NULL, &error), MOESAIC_OK, "%s", error.message);
    }
    model_context_destroy(context);
}

double golden_deviation(const float *values, size_t count) {
    double sum = 0, squares = 0;
    for (size_t i = 0; i < count; i++) {
        sum += values[i];
        squares += (double)values[i] * values[i];
    }
    return sqrt(squares / (double)count - sum / (double)count * (sum / (double)count));
}
