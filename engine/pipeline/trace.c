/* SPDX-License-Identifier: Apache-2.0 */
/* Routing traces: every choice of a text's tokens, and what they count up to. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline.h"

struct tracing {
    struct windows *windows;
    uint32_t layers, experts, k; /* MoE layers */
    size_t tokens;               /* recorded so far */
    int32_t sequences;
    uint16_t *choice;      /* [L, T, k] */
    _Float16 *weight;      /* [L, T, k] */
    int32_t *sequence;     /* [T] */
    int64_t *counts;       /* [L, E] */
    int64_t *coactivation; /* [L, E, E] */
    int64_t *transitions;  /* [L, E, E] */
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
    }
    t->sequence[t->tokens++] = t->sequences;
    return t->progress && t->tokens % 64 == 0 && t->progress(t->user, t->tokens, t->windows->tokens);
}

static void count_token(struct tracing *t, uint32_t layer, size_t token) {
    size_t row = (layer * t->tokens + token) * t->k, E = t->experts;
    const uint16_t *chosen = t->choice + row;
    bool follows = token && t->sequence[token] == t->sequence[token - 1];
    for (uint32_t a = 0; a < t->k; a++) {
        t->counts[layer * E + chosen[a]]++;
        for (uint32_t b = 0; b < t->k; b++) {
            if (a != b)
                t->coactivation[(layer * E + chosen[a]) * E + chosen[b]]++;
            if (follows)
                t->transitions[(layer * E + chosen[(ptrdiff_t)a - (ptrdiff_t)t->k]) * E + chosen[b]]++;
        }
    }
}

static moesaic_status trace_allocate(struct tracing *t, moesaic_error *error) {
    size_t routed = t->layers * t->windows->tokens * t->k, E = t->experts;
    t->choice = calloc(routed, sizeof *t->choice);
    t->weight = calloc(routed, sizeof *t->weight);
    t->sequence = calloc(t->windows->tokens, sizeof *t->sequence);
    t->counts = calloc(t->layers * E, sizeof *t->counts);
    t->coactivation = calloc(t->layers * E, E * sizeof *t->coactivation);
    t->transitions = calloc(t->layers * E, E * sizeof *t->transitions);
    if (t->choice && t->weight && t->sequence && t->counts && t->coactivation && t->transitions)
        return MOESAIC_OK;
    return status_no_memory(error, "trace", routed * 4 + t->layers * E * E * 16);
}

static void trace_free(struct tracing *t) {
    free(t->choice);
    free(t->weight);
    free(t->sequence);
    free(t->counts);
    free(t->coactivation);
    free(t->transitions);
}

static moesaic_status trace_file(const struct tracing *t, const char *path, moesaic_error *error) {
    uint64_t L = t->layers, T = t->tokens, E = t->experts, k = t->k;
    const struct {
        const char *name;
        tensor_type type;
        uint32_t rank;
        uint64_t shape[3];
        const void *data;
        size_t bytes;
    } tensors[] = {{"experts", TENSOR_U16, 3, {L, T, k}, t->choice, L * T * k * 2},
                   {"weights", TENSOR_F16, 3, {L, T, k}, t->weight, L * T * k * 2},
                   {"sequence", TENSOR_I32, 1, {T}, t->sequence, T * 4},
                   {"counts", TENSOR_I64, 2, {L, E}, t->counts, L * E * 8},
                   {"coactivation", TENSOR_I64, 3, {L, E, E}, t->coactivation, L * E * E * 8},
                   {"transitions", TENSOR_I64, 3, {L, E, E}, t->transitions, L * E * E * 8}};
    enum { N = sizeof tensors / sizeof *tensors };
    struct safetensors_writer *writer;
    moesaic_status status = safetensors_writer_open(path, &writer, error);
    if (status)
        return status;
    for (int i = 0; !status && i < N; i++)
        status = safetensors_writer_declare(writer, tensors[i].name, tensors[i].type, tensors[i].rank, tensors[i].shape,
                                            error);
    for (int i = 0; !status && i < N; i++)
        status = safetensors_writer_data(writer, tensors[i].data, tensors[i].bytes, error);
    if (!status)
        status = safetensors_writer_finish(writer, error);
    safetensors_writer_close(writer);
    return status;
}

static moesaic_trace_layer layer_statistics(const struct tracing *t, uint32_t layer) {
    moesaic_trace_layer s = {0};
    const int64_t *counts = t->counts + (size_t)layer * t->experts;
    double total = (double)t->tokens * t->k;
    for (uint32_t e = 0; e < t->experts; e++) {
        double p = (double)counts[e] / total;
        s.distinct += counts[e] > 0;
        s.max_over_mean = p * t->experts > s.max_over_mean ? p * t->experts : s.max_over_mean;
        s.entropy_bits -= p > 0 ? p * log2(p) : 0;
    }
    return s;
}

static moesaic_status trace_report(const struct tracing *t, const struct model_config *config,
                                   moesaic_trace_result *ret_result, moesaic_error *error) {
    moesaic_trace_layer *layers = calloc(t->layers, sizeof *layers);
    if (!layers)
        return status_no_memory(error, "trace", t->layers * sizeof *layers);
    for (uint32_t layer = 0, moe = 0; layer < config->layers; layer++) {
        if (!config->layer[layer].moe)
            continue;
        layers[moe] = layer_statistics(t, moe);
        layers[moe++].layer = layer;
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
    for (; !status && windows_next(w); t->sequences++)
        status = sched_evaluate(w->engine->sched, &w->text, false, trace_token, t, error);
    for (uint32_t layer = 0; !status && layer < t->layers; layer++)
        for (size_t token = 0; token < t->tokens; token++)
            count_token(t, layer, token);
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
