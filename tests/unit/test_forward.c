/* SPDX-License-Identifier: Apache-2.0 */
/* The forward pass: the same bits for every chunking, thread count, ISA and batch; limits; observers; counters. */
#include "../golden/golden.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const models[] = {"checkpoints/llama",     "checkpoints/mixtral",   "checkpoints/olmoe",
                                     "checkpoints/qwen2_moe", "checkpoints/qwen3_moe", "fable-moe"};
enum { MODELS = sizeof models / sizeof *models };

static void fill_ids(int32_t *ids, size_t count, uint32_t vocab, uint32_t seed) {
    for (size_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        ids[i] = (int32_t)((seed >> 8) % vocab);
    }
}

static void assert_same_run(const struct golden_run *a, const struct golden_run *b, const char *what) {
    cr_assert_eq(memcmp(a->logits, b->logits, a->tokens * a->vocab * sizeof(float)), 0, "%s: logits differ", what);
    cr_assert_eq(memcmp(a->hidden, b->hidden, a->layers * a->tokens * a->hidden_size * sizeof(float)), 0,
                 "%s: hidden states differ", what);
    cr_assert_eq(memcmp(a->experts, b->experts, a->layers * a->tokens * a->top_k * sizeof(uint32_t)), 0,
                 "%s: experts differ", what);
    cr_assert_eq(memcmp(a->weights, b->weights, a->layers * a->tokens * a->top_k * sizeof(float)), 0,
                 "%s: routing weights differ", what);
}

static struct golden_run run_of(const char *model, struct golden_setup setup, const int32_t *ids, size_t count,
                                size_t chunk) {
    struct golden_engine engine;
    struct golden_run run;
    golden_open(&engine, model, setup);
    golden_evaluate(&engine, ids, count, 0, chunk, &run);
    golden_close(&engine);
    return run;
}

/* ---- the contract of results ------------------------------------------------------------------------------------- */

ParameterizedTestParameters(forward, same_bits) {
    static size_t index[MODELS];
    for (size_t i = 0; i < MODELS; i++)
        index[i] = i;
    return cr_make_param_array(size_t, index, MODELS);
}

static void check_same_bits(const char *model, kv_type kv) {
    static const struct {
        unsigned threads;
        size_t chunk;
    } ways[] = {{1, 0}, {1, 1}, {2, 3}, {2, 7}, {3, 1}, {3, 40}, {2, 64}, {3, 0}};
    int32_t ids[90];
    fill_ids(ids, 90, 800, 5);
    struct golden_run first = run_of(model, (struct golden_setup){.threads = 2, .kv = kv}, ids, 90, 0);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        char what[64];
        struct golden_run run =
            run_of(model, (struct golden_setup){.threads = ways[i].threads, .kv = kv}, ids, 90, ways[i].chunk);
        snprintf(what, sizeof what, "%u threads, chunks of %zu", ways[i].threads, ways[i].chunk);
        assert_same_run(&first, &run, what);
        golden_run_done(&run);
    }
    golden_run_done(&first);
}

ParameterizedTest(size_t *index, forward, same_bits) {
    check_same_bits(models[*index], KV_F32);
    check_same_bits(models[*index], KV_F16);
    check_same_bits(models[*index], KV_INT8);
}

ParameterizedTestParameters(forward, same_bits_on_every_isa) {
    static size_t index[MODELS];
    for (size_t i = 0; i < MODELS; i++)
        index[i] = i;
    return cr_make_param_array(size_t, index, MODELS);
}

ParameterizedTest(size_t *index, forward, same_bits_on_every_isa) {
    static const char *const levels[] = {"avx512", "avx2", "scalar"};
    int32_t ids[40];
    struct golden_run first;
    fill_ids(ids, 40, 800, 6);
    for (kv_type kv = KV_F16; kv <= KV_INT8; kv++) {
        for (size_t level = 0; level < 3; level++) {
            cr_assert_eq(cpu_limit(levels[level], NULL), MOESAIC_OK);
            struct golden_run run = run_of(models[*index], (struct golden_setup){.kv = kv}, ids, 40, 33);
            if (level == 0) {
                first = run;
                continue;
            }
            assert_same_run(&first, &run, levels[level]);
            golden_run_done(&run);
        }
        golden_run_done(&first);
    }
}

/* More positions than a segment: narrow steps of several threads split a sequence, one thread and wide steps do not. */
Test(forward, long_sequences_have_the_same_bits_however_they_are_split) {
    enum { TOKENS = 1100, LAST = 20 };
    static int32_t ids[TOKENS];
    fill_ids(ids, TOKENS, 800, 7);
    struct golden_run runs[4];
    static const struct {
        unsigned threads;
        size_t chunk;
    } ways[4] = {{1, 256}, {2, 250}, {3, 30}, {2, 1}};
    for (size_t i = 0; i < 4; i++) {
        struct golden_engine engine;
        struct model_context *context;
        struct golden_run *run = &runs[i];
        golden_open(&engine, "checkpoints/qwen3_moe", (struct golden_setup){.threads = ways[i].threads});
        size_t vocab = model_config(engine.model)->vocab;
        run->logits = malloc(LAST * vocab * sizeof(float));
        cr_assert_not_null(run->logits);
        cr_assert_eq(model_context_create(engine.model, engine.pool, TOKENS, &context, NULL), MOESAIC_OK);
        for (size_t done = 0; done < TOKENS;) {
            size_t left = TOKENS - LAST - done, n = done >= TOKENS - LAST  ? 1
                                                    : left < ways[i].chunk ? left
                                                                           : ways[i].chunk;
            struct forward_item item = {.context = context, .ids = ids + done, .count = n, .want = FORWARD_LAST_LOGITS};
            cr_assert_eq(forward_step(engine.forward, &item, 1, NULL, NULL), MOESAIC_OK);
            if (done >= TOKENS - LAST)
                memcpy(run->logits + (done - (TOKENS - LAST)) * vocab, forward_logits(engine.forward, item.ret_row),
                       vocab * sizeof(float));
            done += n;
        }
        model_context_destroy(context);
        golden_close(&engine);
        cr_assert_eq(memcmp(runs[0].logits, run->logits, LAST * vocab * sizeof(float)), 0, "%u threads, chunks of %zu",
                     ways[i].threads, ways[i].chunk);
    }
    for (size_t i = 0; i < 4; i++)
        free(runs[i].logits);
}

/* Five sequences in mixed steps: each gets the bits that it gets alone. */
Test(forward, batch_mates_change_nothing) {
    enum { SEQUENCES = 5, TOKENS = 60 };
    struct golden_engine engine;
    int32_t ids[SEQUENCES][TOKENS];
    struct model_context *context[SEQUENCES];
    size_t done[SEQUENCES] = {0};
    golden_open(&engine, "checkpoints/qwen2_moe", (struct golden_setup){0});
    size_t vocab = model_config(engine.model)->vocab;
    float *logits = calloc(SEQUENCES * TOKENS * vocab, sizeof *logits);
    cr_assert_not_null(logits);
    for (size_t s = 0; s < SEQUENCES; s++) {
        fill_ids(ids[s], TOKENS, 800, 100 + (uint32_t)s);
        cr_assert_eq(model_context_create(engine.model, engine.pool, TOKENS, &context[s], NULL), MOESAIC_OK);
    }
    for (size_t step = 0; step < 400; step++) {
        struct forward_item items[SEQUENCES];
        size_t who[SEQUENCES], n = 0;
        for (size_t s = 0; s < SEQUENCES; s++) {
            size_t count = 1 + (step * 7 + s * 5) % 20;
            if (done[s] == TOKENS || (step + s) % 3 == 0)
                continue;
            count = count < TOKENS - done[s] ? count : TOKENS - done[s];
            items[n] = (struct forward_item){
                .context = context[s], .ids = ids[s] + done[s], .count = count, .want = FORWARD_ALL_LOGITS};
            who[n++] = s;
        }
        if (n == 0)
            continue;
        cr_assert_eq(forward_step(engine.forward, items, n, NULL, NULL), MOESAIC_OK);
        for (size_t i = 0; i < n; i++) {
            memcpy(logits + (who[i] * TOKENS + done[who[i]]) * vocab, forward_logits(engine.forward, items[i].ret_row),
                   items[i].count * vocab * sizeof *logits);
            done[who[i]] += items[i].count;
        }
    }
    for (size_t s = 0; s < SEQUENCES; s++) {
        struct golden_run alone;
        cr_assert_eq(done[s], TOKENS);
        model_context_destroy(context[s]);
        golden_evaluate(&engine, ids[s], TOKENS, 0, 0, &alone);
        cr_assert_eq(memcmp(alone.logits, logits + s * TOKENS * vocab, TOKENS * vocab * sizeof *logits), 0,
                     "sequence %zu", s);
        golden_run_done(&alone);
    }
    free(logits);
    golden_close(&engine);
}

Test(forward, truncation_forgets) {
    struct golden_engine engine;
    struct golden_run whole;
    struct model_context *context;
    int32_t ids[80], other[80];
    golden_open(&engine, "checkpoints/mixtral", (struct golden_setup){0});
    fill_ids(ids, 80, 800, 8);
    memcpy(other, ids, sizeof other);
    fill_ids(other + 30, 50, 800, 9);
    golden_evaluate(&engine, ids, 80, 0, 0, &whole);
    cr_assert_eq(model_context_create(engine.model, engine.pool, 80, &context, NULL), MOESAIC_OK);
    struct forward_item item = {.context = context, .ids = other, .count = 80};
    cr_assert_eq(forward_step(engine.forward, &item, 1, NULL, NULL), MOESAIC_OK);
    model_context_truncate(context, 30);
    cr_assert_eq(model_context_tokens(context), 30);
    item = (struct forward_item){.context = context, .ids = ids + 30, .count = 50, .want = FORWARD_ALL_LOGITS};
    cr_assert_eq(forward_step(engine.forward, &item, 1, NULL, NULL), MOESAIC_OK);
    cr_assert_eq(memcmp(forward_logits(engine.forward, 0), whole.logits + 30 * whole.vocab,
                        50 * whole.vocab * sizeof(float)),
                 0);
    model_context_destroy(context);
    golden_run_done(&whole);
    golden_close(&engine);
}

/* ---- one layer at a time ----------------------------------------------------------------------------------------- */

static void check_layers(const char *model, size_t count, bool halves) {
    struct golden_engine engine;
    struct golden_run run;
    struct model_context *context;
    struct kv_pool *pool;
    int32_t ids[120];
    golden_open(&engine, model, (struct golden_setup){0});
    size_t width = model_config(engine.model)->hidden;
    float *hidden = malloc(count * width * sizeof *hidden);
    struct kv_shape shape = model_kv_shape(engine.model, KV_F32);
    shape.layers = 1;
    cr_assert_not_null(hidden);
    fill_ids(ids, count, 800, 10);
    golden_evaluate(&engine, ids, count, 0, 0, &run);
    cr_assert_eq(kv_pool_create(&shape, 0, &pool, NULL), MOESAIC_OK);
    cr_assert_eq(model_context_create(engine.model, pool, count, &context, NULL), MOESAIC_OK);
    for (size_t i = 0; i < count; i++)
        weight_dequantize(&model_weights(engine.model)->embedding, (uint64_t)ids[i], (uint64_t)ids[i] + 1,
                          hidden + i * width);
    for (uint32_t layer = 0; layer < run.layers; layer++) {
        struct forward_item item = {.context = context, .count = count};
        struct layer_weights copy = model_weights(engine.model)->layers[layer];
        for (forward_half half = halves ? FORWARD_ATTENTION_HALF : FORWARD_BOTH_HALVES;
             half <= (halves ? FORWARD_FFN_HALF : FORWARD_BOTH_HALVES); half++)
            cr_assert_eq(
                forward_layer(engine.forward, layer, half, layer % 2 ? &copy : NULL, &item, 1, hidden, NULL, NULL),
                MOESAIC_OK);
        cr_assert_eq(memcmp(hidden, run.hidden + layer * count * width, count * width * sizeof *hidden), 0,
                     "%s: layer %u", model, layer);
        cr_assert_eq(model_context_tokens(context), 0);
    }
    model_context_destroy(context);
    kv_pool_destroy(pool);
    free(hidden);
    golden_run_done(&run);
    golden_close(&engine);
}

Test(forward, layers_one_by_one_are_the_step) {
    for (size_t i = 0; i < MODELS; i++) {
        check_layers(models[i], 20, false);
        check_layers(models[i], 120, false);
        check_layers(models[i], 20, true);
        check_layers(models[i], 120, true);
    }
}

/* ---- observers --------------------------------------------------------------------------------------------------- */

/* Rebuilds an expert's inner rows and the combined output in double from what the observer saw. */
struct witness {
    const struct model *model;
    size_t rows, calls, tokens;
    int64_t last_expert;
    uint32_t *experts;
    float *weights;
    uint32_t k;
};

static void see_routing(void *user, uint32_t layer, const uint32_t *experts, const float *weights, size_t rows,
                        uint32_t k) {
    struct witness *witness = user;
    (void)layer;
    memcpy(witness->experts, experts, rows * k * sizeof *experts);
    memcpy(witness->weights, weights, rows * k * sizeof *weights);
    witness->rows = rows;
    witness->k = k;
    witness->tokens = 0;
    witness->last_expert = -1;
}

static double plain_dot(const float *a, const float *b, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)a[i] * b[i];
    return sum;
}

static void see_expert(void *user, uint32_t layer, uint32_t expert, size_t n, const uint32_t *row, const float *weight,
                       const float *x, size_t stride, const float *inner, size_t inner_stride) {
    struct witness *witness = user;
    const struct ffn_weights *ffn = &model_weights(witness->model)->layers[layer].experts[expert];
    size_t hidden = model_config(witness->model)->hidden, wide = model_config(witness->model)->moe_intermediate;
    float *gate = malloc(hidden * sizeof *gate), *up = malloc(hidden * sizeof *up);
    cr_assert(gate && up);
    cr_assert_gt((int64_t)expert, witness->last_expert);
    witness->last_expert = expert;
    witness->calls++;
    witness->tokens += n;
    for (size_t i = 0; i < n; i++) {
        bool chosen = false;
        for (uint32_t slot = 0; slot < witness->k; slot++)
            chosen |= witness->experts[row[i] * witness->k + slot] == expert &&
                      witness->weights[row[i] * witness->k + slot] == weight[i];
        cr_assert(chosen, "layer %u: row %u was not sent to expert %u", layer, row[i], expert);
        for (size_t j = 0; j < wide; j += 13) {
            weight_dequantize(&ffn->gate, j, j + 1, gate);
            weight_dequantize(&ffn->up, j, j + 1, up);
            double g = plain_dot(gate, x + row[i] * stride, hidden), u = plain_dot(up, x + row[i] * stride, hidden);
            cr_assert_float_eq(inner[i * inner_stride + j], g / (1 + exp(-g)) * u, 1e-4 * (1 + fabs(g * u)));
        }
    }
    free(gate);
    free(up);
    if (witness->tokens == witness->rows * witness->k)
        witness->last_expert = INT64_MAX - 1; /* complete: no more calls in this layer */
}

static void check_witness(size_t count) {
    struct golden_engine engine;
    struct model_context *context;
    struct witness witness = {0};
    int32_t ids[100];
    golden_open(&engine, "checkpoints/qwen3_moe", (struct golden_setup){0});
    witness.model = engine.model;
    witness.experts = malloc(100 * 8 * sizeof(uint32_t));
    witness.weights = malloc(100 * 8 * sizeof(float));
    fill_ids(ids, count, 800, 11);
    struct forward_tap tap = {.user = &witness, .routing = see_routing, .expert = see_expert};
    cr_assert_eq(model_context_create(engine.model, engine.pool, count, &context, NULL), MOESAIC_OK);
    struct forward_item item = {.context = context, .ids = ids, .count = count};
    cr_assert_eq(forward_step(engine.forward, &item, 1, &tap, NULL), MOESAIC_OK);
    cr_assert_eq(witness.rows, count);
    cr_assert_eq(witness.tokens, count * witness.k);
    cr_assert_geq(witness.calls, 2 * witness.k);
    model_context_destroy(context);
    free(witness.experts);
    free(witness.weights);
    golden_close(&engine);
}

Test(forward, observers_see_what_reaches_each_expert) {
    check_witness(5);
    check_witness(100);
}

/* ---- counters ---------------------------------------------------------------------------------------------------- */

/* qwen2_moe: hidden 128, 4 heads and 4 KV heads of 32, 3 layers of which the second is dense of 256, 12 experts top-4
 * of 32, a gated shared expert of 192, vocabulary 944, BF16. */
Test(forward, counters_by_hand) {
    struct golden_engine engine;
    struct model_context *context;
    int32_t ids[12];
    golden_open(&engine, "checkpoints/qwen2_moe", (struct golden_setup){0});
    fill_ids(ids, 12, 800, 12);
    cr_assert_eq(model_context_create(engine.model, engine.pool, 12, &context, NULL), MOESAIC_OK);
    struct forward_item item = {.context = context, .ids = ids, .count = 11};
    cr_assert_eq(forward_step(engine.forward, &item, 1, NULL, NULL), MOESAIC_OK);
    uint64_t attention = 4 * 128 * 128, dense = 3 * 128 * 256, expert = 3 * 128 * 32;
    uint64_t moe = 12 * 128 + 4 * expert + 3 * 128 * 192 + 128;
    uint64_t token = 2 * (3 * attention + dense + 2 * moe + 944 * 128), seen = 11 * 12 / 2;
    cr_assert_eq(engine.counters.tokens, 11);
    cr_assert_eq(engine.counters.prompt_tokens, 11);
    cr_assert_eq(engine.counters.flops_nominal, 11 * token + seen * 3 * 4 * 128);
    cr_assert_eq(engine.counters.flops_executed, 11 * (token - 2 * 944 * 128) + seen * 3 * 4 * 128);
    cr_assert_eq(engine.counters.flops_float, engine.counters.flops_executed);
    uint64_t before = engine.counters.bytes_local, nominal = engine.counters.flops_nominal;
    item = (struct forward_item){
        .context = context, .ids = ids + 11, .count = 1, .generated = true, .want = FORWARD_LAST_LOGITS};
    cr_assert_eq(forward_step(engine.forward, &item, 1, NULL, NULL), MOESAIC_OK);
    uint64_t kv = 12 * 2 * 128 * 4 * 3, weights = token; /* two bytes, two operations a weight */
    cr_assert_eq(engine.counters.bytes_local - before, weights + kv + 2 * 128);
    cr_assert_eq(engine.counters.flops_nominal - nominal, token + 12 * 3 * 4 * 128);
    cr_assert_eq(engine.counters.generated_tokens, 1);
    cr_assert_eq(engine.counters.steps, 2);
    cr_assert_eq(engine.counters.flops_skipped, 0);
    cr_assert_eq(engine.counters.bytes_remote, 0);
    model_context_destroy(context);
    golden_close(&engine);
}

/* ---- what is refused --------------------------------------------------------------------------------------------- */

static void refuse(struct golden_engine *engine, struct forward_item *items, size_t n, moesaic_status expected,
                   const char *part) {
    moesaic_error error = {0};
    size_t before = items[0].context ? model_context_tokens(items[0].context) : 0;
    cr_assert_eq(forward_step(engine->forward, items, n, NULL, &error), expected, "%s", error.message);
    cr_assert_not_null(strstr(error.message, part), "'%s' does not say '%s'", error.message, part);
    if (items[0].context)
        cr_assert_eq(model_context_tokens(items[0].context), before);
}

Test(forward, impossible_steps_are_refused) {
    struct golden_engine engine;
    struct model_context *context, *other;
    static int32_t ids[300];
    golden_open(&engine, "checkpoints/llama", (struct golden_setup){0});
    struct forward_item items[17];
    cr_assert_eq(model_context_create(engine.model, engine.pool, 20, &context, NULL), MOESAIC_OK);
    items[0] = (struct forward_item){.context = context, .ids = ids, .count = 0};
    refuse(&engine, items, 1, MOESAIC_E_USAGE, "0 tokens");
    items[0].count = 257;
    refuse(&engine, items, 1, MOESAIC_E_USAGE, "257 tokens");
    items[0].count = 21;
    refuse(&engine, items, 1, MOESAIC_E_USAGE, "capacity of 20");
    refuse(&engine, items, 0, MOESAIC_E_USAGE, "0 sequences");
    for (size_t i = 0; i < 17; i++)
        items[i] = (struct forward_item){.context = context, .ids = ids, .count = 20};
    refuse(&engine, items, 17, MOESAIC_E_USAGE, "17 sequences");
    refuse(&engine, items, 2, MOESAIC_E_USAGE, "items 0 and 1 are the same sequence");
    cr_assert_eq(model_context_create(engine.model, engine.pool, 250, &other, NULL), MOESAIC_OK);
    items[1] = (struct forward_item){.context = other, .ids = ids, .count = 250};
    refuse(&engine, items, 2, MOESAIC_E_USAGE, "more than 256 tokens");
    model_context_destroy(other);
    ids[3] = -1;
    refuse(&engine, items, 1, MOESAIC_E_INPUT, "position 3");
    ids[3] = 897;
    refuse(&engine, items, 1, MOESAIC_E_INPUT, "vocabulary of 897");
    ids[3] = 896;
    cr_assert_eq(forward_step(engine.forward, items, 1, NULL, NULL), MOESAIC_OK);
    cr_assert_eq(model_context_tokens(context), 20);
    model_context_destroy(context);
    golden_close(&engine);
}

/* The damaged weights beside the configuration of the sound checkpoint, in a folder of links. */
static void open_with_nan(struct golden_engine *engine) {
    static const char *const files[][2] = {{"config.json", "bad/_valid/config.json"},
                                           {"model.safetensors", "bad/weights-nan/model.safetensors"}};
    char folder[] = "/tmp/moesaic-forward-XXXXXX", link[2][96];
    cr_assert_not_null(mkdtemp(folder));
    for (int i = 0; i < 2; i++) {
        snprintf(link[i], sizeof link[i], "%s/%s", folder, files[i][0]);
        cr_assert_eq(symlink(golden_path(files[i][1]), link[i]), 0);
    }
    golden_open(engine, folder, (struct golden_setup){0});
    unlink(link[0]);
    unlink(link[1]);
    rmdir(folder);
}

Test(forward, logits_that_are_not_finite_are_named) {
    struct golden_engine engine;
    struct model_context *context;
    moesaic_error error = {0};
    int32_t ids[40];
    open_with_nan(&engine);
    fill_ids(ids, 40, model_config(engine.model)->vocab, 13);
    cr_assert_eq(model_context_create(engine.model, engine.pool, 40, &context, NULL), MOESAIC_OK);
    for (size_t count = 1; count <= 40; count += 39) {
        struct forward_item item = {.context = context, .ids = ids, .count = count, .want = FORWARD_LAST_LOGITS};
        cr_assert_eq(forward_step(engine.forward, &item, 1, NULL, &error), MOESAIC_E_NONFINITE);
        cr_assert_not_null(strstr(error.message, count == 1 ? "position 0:" : "position 39:"), "%s", error.message);
        cr_assert_eq(model_context_tokens(context), 0);
    }
    model_context_destroy(context);
    golden_close(&engine);
}

/* ---- the cache --------------------------------------------------------------------------------------------------- */

Test(kv, blocks_are_bounded_and_come_back) {
    const struct kv_shape shape = {.layers = 2, .kv_heads = 3, .head_dim = 20, .type = KV_F16};
    struct kv_pool *pool;
    struct kv_cache *a, *b;
    moesaic_error error = {0};
    cr_assert_eq(kv_pool_create(&shape, 3 * (2 * 3 * 2 * 32 * 64 * 2), &pool, NULL), MOESAIC_OK);
    cr_assert_eq(kv_pool_block_bytes(pool), 2 * 3 * 2 * 32 * 64 * 2);
    cr_assert_eq(kv_pool_bytes(pool), 0);
    cr_assert_eq(kv_cache_create(pool, 0, &a, &error), MOESAIC_E_USAGE);
    cr_assert_eq(kv_cache_create(pool, 1000, &a, NULL), MOESAIC_OK);
    cr_assert_eq(kv_cache_create(pool, 1000, &b, NULL), MOESAIC_OK);
    cr_assert_eq(kv_cache_reserve(a, 65, NULL), MOESAIC_OK);
    cr_assert_eq(a->blocks, 2);
    cr_assert_eq(kv_cache_reserve(b, 65, &error), MOESAIC_E_MEMORY);
    cr_assert_not_null(strstr(error.message, "limit"));
    cr_assert_eq(b->blocks, 1);
    kv_cache_truncate(a, 64);
    cr_assert_eq(a->blocks, 1);
    cr_assert_eq(kv_cache_reserve(b, 65, NULL), MOESAIC_OK);
    cr_assert_eq(kv_pool_bytes(pool), 3 * kv_pool_block_bytes(pool));
    cr_assert_eq(kv_cache_reserve(b, 1001, &error), MOESAIC_E_USAGE);
    kv_cache_destroy(a);
    kv_cache_destroy(b);
    kv_pool_destroy(pool);
}

Test(kv, runs_do_not_overlap) {
    const struct kv_shape shape = {.layers = 3, .kv_heads = 2, .head_dim = 17, .type = KV_F32};
    struct kv_pool *pool;
    struct kv_cache *cache;
    cr_assert_eq(kv_pool_create(&shape, 0, &pool, NULL), MOESAIC_OK);
    cr_assert_eq(kv_cache_create(pool, 64, &cache, NULL), MOESAIC_OK);
    cr_assert_eq(kv_cache_reserve(cache, 64, NULL), MOESAIC_OK);
    uint8_t *expected = cache->block[0];
    for (uint32_t layer = 0; layer < 3; layer++) {
        for (uint32_t head = 0; head < 2; head++) {
            cr_assert_eq((uint8_t *)kv_cache_keys(cache, 0, layer, head), expected);
            cr_assert_eq((uintptr_t)expected % 64, 0);
            expected += 32 * 64 * 4;
            cr_assert_eq((uint8_t *)kv_cache_values(cache, 0, layer, head), expected);
            expected += 32 * 64 * 4;
        }
    }
    cr_assert_eq((size_t)(expected - cache->block[0]), kv_pool_block_bytes(pool));
    kv_cache_destroy(cache);
    kv_pool_destroy(pool);
}
