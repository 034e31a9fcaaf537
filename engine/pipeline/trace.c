/* SPDX-License-Identifier: Apache-2.0 */
/* Routing traces: every choice of a text's tokens, and what they count up to. */
#include <stdlib.h>

#include "pipeline.h"
#include "router.h"

struct tracing {
    struct windows *windows;
    uint32_t layers, experts, k; /* MoE layers */
    size_t tokens;               /* recorded so far */
    int32_t sequences;
    uint16_t *choice;           /* [L, T, k] */
    _Float16 *weight;           /* [L, T, k] */
    int32_t *sequence;          /* [T] */
    struct router_stats *stats; /* [L] */
    moesaic_progress_callback *progress;
    void *user;
};

static int trace_token(void *user, const moesaic_evaluation *e) {
    struct tracing *t = user;
    for (uint32_t layer = 0; layer < t->layers; layer++) {
        size_t to = (layer * t->windows->tokens + t->tokens) * t->k, from = (size_t)layer * t->k;
        for (uint32_t slot = 0; slot < t->k; slot++) {
            t->choice[to + slot] = (uint16_t)e->experts[from + slot];
            t->weight[to + slot] = (_Float16)e->weights[from + slot];
        }
        router_stats_add(&t->stats[layer], (const uint32_t *)e->experts + from, 1);
    }
    t->sequence[t->tokens++] = t->sequences;
    return t->progress && t->tokens % 64 == 0 && t->progress(t->user, t->tokens, t->windows->tokens);
}

static moesaic_status trace_allocate(struct tracing *t, moesaic_error *error) {
    size_t routed = t->layers * t->windows->tokens * t->k;
    moesaic_status status = MOESAIC_OK;
    t->choice = calloc(routed, sizeof *t->choice);
    t->weight = calloc(routed, sizeof *t->weight);
    t->sequence = calloc(t->windows->tokens, sizeof *t->sequence);
    t->stats = calloc(t->layers, sizeof *t->stats);
    if (!t->choice || !t->weight || !t->sequence || !t->stats)
        return status_no_memory(error, "trace", routed * 4);
    for (uint32_t layer = 0; !status && layer < t->layers; layer++)
        status = router_stats_init(&t->stats[layer], t->experts, t->k, true, error);
    return status;
}

static void trace_free(struct tracing *t) {
    free(t->choice);
    free(t->weight);
    free(t->sequence);
    for (uint32_t layer = 0; t->stats && layer < t->layers; layer++)
        router_stats_done(&t->stats[layer]);
    free(t->stats);
}

enum { TRACE_TENSORS = 6 };

/* Tensor `i` of the file is one run of all layers or, for what is counted, a run a layer. */
static const void *trace_data(const struct tracing *t, int i, uint32_t layer) {
    const struct router_stats *stats = &t->stats[layer];
    const void *data[TRACE_TENSORS] = {t->choice,    t->weight,       t->sequence,
                                       stats->count, stats->together, stats->transition};
    return data[i];
}

static moesaic_status trace_file(const struct tracing *t, const char *path, moesaic_error *error) {
    uint64_t L = t->layers, T = t->tokens, E = t->experts, k = t->k;
    const struct {
        const char *name;
        tensor_type type;
        uint32_t rank, runs;
        uint64_t shape[3];
        size_t run_bytes;
    } tensors[TRACE_TENSORS] = {{"experts", TENSOR_U16, 3, 1, {L, T, k}, L * T * k * 2},
                                {"weights", TENSOR_F16, 3, 1, {L, T, k}, L * T * k * 2},
                                {"sequence", TENSOR_I32, 1, 1, {T}, T * 4},
                                {"counts", TENSOR_I64, 2, t->layers, {L, E}, E * 8},
                                {"coactivation", TENSOR_I64, 3, t->layers, {L, E, E}, E * E * 8},
                                {"transitions", TENSOR_I64, 3, t->layers, {L, E, E}, E * E * 8}};
    struct safetensors_writer *writer;
    moesaic_status status = safetensors_writer_open(path, &writer, error);
    if (status)
        return status;
    for (int i = 0; !status && i < TRACE_TENSORS; i++)
        status = safetensors_writer_declare(writer, tensors[i].name, tensors[i].type, tensors[i].rank, tensors[i].shape,
                                            error);
    for (int i = 0; !status && i < TRACE_TENSORS; i++)
        for (uint32_t run = 0; !status && run < tensors[i].runs; run++)
            status = safetensors_writer_data(writer, trace_data(t, i, run), tensors[i].run_bytes, error);
    if (!status)
        status = safetensors_writer_finish(writer, error);
    safetensors_writer_close(writer);
    return status;
}

static moesaic_status trace_report(const struct tracing *t, const struct model_config *config,
                                   moesaic_trace_result *ret_result, moesaic_error *error) {
    moesaic_trace_layer *layers = calloc(t->layers, sizeof *layers);
    if (!layers)
        return status_no_memory(error, "trace", t->layers * sizeof *layers);
    for (uint32_t layer = 0, moe = 0; layer < config->layers; layer++) {
        if (!config->layer[layer].moe)
            continue;
        const struct router_stats *stats = &t->stats[moe];
        layers[moe++] = (moesaic_trace_layer){.layer = layer,
                                              .distinct = router_stats_distinct(stats),
                                              .max_over_mean = router_stats_max_over_mean(stats),
                                              .entropy_bits = router_stats_entropy_bits(stats)};
    }
    ret_result->tokens = t->tokens;
    ret_result->sequences = (uint32_t)t->sequences;
    ret_result->layers = t->layers;
    ret_result->layer = layers;
    return MOESAIC_OK;
}

static moesaic_status trace_run(struct tracing *t, moesaic_error *error) {
    struct windows *w = t->windows;
    moesaic_status status = MOESAIC_OK;
    for (; !status && windows_next(w); t->sequences++) {
        for (uint32_t layer = 0; layer < t->layers; layer++)
            router_stats_begin_sequence(&t->stats[layer]);
        status = sched_evaluate(w->engine->sched, &w->text, false, trace_token, t, error);
    }
    return status;
}

moesaic_status pipeline_trace(const struct pipeline_engine *engine, const char *text, size_t bytes, uint32_t window,
                              const char *path, moesaic_progress_callback *progress, void *user,
                              moesaic_trace_result *ret_result, moesaic_error *error) {
    const struct model_config *config = model_config(engine->model);
    struct windows windows;
    if (!config->experts)
        return status_set(error, MOESAIC_E_INPUT, "trace: %s is a dense model, it routes nothing",
                          config->architecture);
    moesaic_status status = windows_init(engine, text, bytes, window, 0, &windows, error);
    if (status)
        return status;
    struct tracing t = {
        .windows = &windows, .experts = config->experts, .k = config->top_k, .progress = progress, .user = user};
    for (uint32_t layer = 0; layer < config->layers; layer++)
        t.layers += config->layer[layer].moe;
    status = trace_allocate(&t, error);
    if (!status)
        status = trace_run(&t, error);
    if (!status)
        status = trace_file(&t, path, error);
    if (!status)
        status = trace_report(&t, config, ret_result, error);
    trace_free(&t);
    windows_done(&windows);
    return status;
}
