/* SPDX-License-Identifier: Apache-2.0 */
/* One forward pass as a file: logits as they come, routing and hidden states behind them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline.h"

struct recording {
    const struct model_config *config;
    struct safetensors_writer *writer;
    size_t tokens;
    uint32_t moe_layers;
    int32_t *experts; /* [moe layers, T, k] */
    float *weights;   /* [moe layers, T, k] */
    float *hidden;    /* [layers, T, H] or NULL */
    moesaic_status status;
    moesaic_error *error;
};

static int record(void *user, const moesaic_evaluation *e) {
    struct recording *r = user;
    size_t k = r->config->top_k, width = r->config->hidden;
    for (uint32_t layer = 0; layer < r->moe_layers; layer++) {
        size_t to = ((size_t)layer * r->tokens + e->position) * k, from = layer * k;
        memcpy(r->experts + to, e->experts + from, k * sizeof *r->experts);
        memcpy(r->weights + to, e->weights + from, k * sizeof *r->weights);
    }
    for (uint32_t layer = 0; r->hidden && layer < r->config->layers; layer++)
        memcpy(r->hidden + ((size_t)layer * r->tokens + e->position) * width, e->hidden + layer * width,
               width * sizeof *r->hidden);
    r->status = safetensors_writer_data(r->writer, e->logits, r->config->vocab * sizeof *e->logits, r->error);
    return r->status != MOESAIC_OK;
}

static moesaic_status declare_layers(struct recording *r, moesaic_error *error) {
    char name[64];
    uint64_t routed[2] = {r->tokens, r->config->top_k}, state[2] = {r->tokens, r->config->hidden};
    moesaic_status status = MOESAIC_OK;
    for (uint32_t layer = 0; !status && layer < r->config->layers; layer++) {
        if (!r->config->layer[layer].moe)
            continue;
        snprintf(name, sizeof name, "router.%u.experts", layer);
        status = safetensors_writer_declare(r->writer, name, TENSOR_I32, 2, routed, error);
        snprintf(name, sizeof name, "router.%u.weights", layer);
        if (!status)
            status = safetensors_writer_declare(r->writer, name, TENSOR_F32, 2, routed, error);
    }
    for (uint32_t layer = 0; !status && r->hidden && layer < r->config->layers; layer++) {
        snprintf(name, sizeof name, "hidden.%u", layer);
        status = safetensors_writer_declare(r->writer, name, TENSOR_F32, 2, state, error);
    }
    return status;
}

static moesaic_status write_layers(struct recording *r, moesaic_error *error) {
    size_t routed = r->tokens * r->config->top_k;
    moesaic_status status = MOESAIC_OK;
    for (uint32_t layer = 0; !status && layer < r->moe_layers; layer++) {
        status = safetensors_writer_data(r->writer, r->experts + layer * routed, routed * sizeof *r->experts, error);
        if (!status)
            status =
                safetensors_writer_data(r->writer, r->weights + layer * routed, routed * sizeof *r->weights, error);
    }
    if (!status && r->hidden)
        status = safetensors_writer_data(r->writer, r->hidden,
                                         r->config->layers * r->tokens * r->config->hidden * sizeof *r->hidden, error);
    return status ? status : safetensors_writer_finish(r->writer, error);
}

static moesaic_status recording_allocate(struct recording *r, bool hidden, moesaic_error *error) {
    for (uint32_t layer = 0; layer < r->config->layers; layer++)
        r->moe_layers += r->config->layer[layer].moe;
    size_t routed = r->tokens * r->moe_layers * r->config->top_k + 1;
    r->experts = calloc(routed, sizeof *r->experts);
    r->weights = calloc(routed, sizeof *r->weights);
    r->hidden = hidden ? calloc(r->tokens * r->config->layers, r->config->hidden * sizeof *r->hidden) : NULL;
    return r->experts && r->weights && (!hidden || r->hidden) ? MOESAIC_OK
                                                              : status_no_memory(error, "logits", routed * 8);
}

static moesaic_status recording_run(struct recording *r, const struct pipeline_engine *engine, const int32_t *ids,
                                    const char *path, moesaic_error *error) {
    struct sched_text text = {.ids = (int32_t *)ids, .count = r->tokens, .capacity = r->tokens};
    uint64_t shape[2] = {r->tokens, r->config->vocab};
    moesaic_status status =
        model_context_create(engine->model, sched_kv_pool(engine->sched), r->tokens, &text.context, error);
    if (!status)
        status = safetensors_writer_open(path, &r->writer, error);
    if (!status)
        status = safetensors_writer_declare(r->writer, "logits", TENSOR_F32, 2, shape, error);
    if (!status)
        status = declare_layers(r, error);
    if (!status) {
        moesaic_error evaluation;
        status = sched_evaluate(engine->sched, &text, r->hidden != NULL, record, r, &evaluation);
        if (status && r->status)
            status = r->status;
        else if (status && error)
            *error = evaluation;
    }
    if (!status)
        status = write_layers(r, error);
    model_context_destroy(text.context);
    return status;
}

moesaic_status pipeline_logits(const struct pipeline_engine *engine, const int32_t *ids, size_t count, bool hidden,
                               const char *path, moesaic_error *error) {
    struct recording r = {.config = model_config(engine->model), .tokens = count, .error = error};
    if (!count)
        return status_set(error, MOESAIC_E_USAGE, "logits: no ids given");
    moesaic_status status = recording_allocate(&r, hidden, error);
    if (!status)
        status = recording_run(&r, engine, ids, path, error);
    safetensors_writer_close(r.writer);
    free(r.hidden);
    free(r.weights);
    free(r.experts);
    return status;
}
