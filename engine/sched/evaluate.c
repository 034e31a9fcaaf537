/* SPDX-License-Identifier: Apache-2.0 */
/* Evaluation: every position's logits, routing and hidden states, as the steps make them. */
#include <stdlib.h>
#include <string.h>

#include "sched_internal.h"

struct evaluation {
    struct request request; /* first: the scheduler's view */
    const struct model_config *config;
    moesaic_evaluation_callback *callback;
    void *user;
    size_t start; /* position of the step's first row */
    uint32_t moe_layers;
    uint32_t *moe_index; /* [layers] index among the MoE layers */
    float *hidden;       /* [rows, layers, hidden] or NULL */
    int32_t *experts;    /* [rows, moe_layers, k] */
    float *weights;      /* [rows, moe_layers, k] */
};

static void tap_hidden(void *user, uint32_t layer, const float *hidden, size_t rows, size_t stride) {
    struct evaluation *e = user;
    size_t width = e->config->hidden;
    for (size_t row = 0; row < rows; row++)
        memcpy(e->hidden + (row * e->config->layers + layer) * width, hidden + row * stride, width * sizeof *hidden);
}

static void tap_routing(void *user, uint32_t layer, const uint32_t *experts, const float *weights, size_t rows,
                        uint32_t k) {
    struct evaluation *e = user;
    for (size_t row = 0; row < rows; row++) {
        size_t at = (row * e->moe_layers + e->moe_index[layer]) * k;
        for (uint32_t slot = 0; slot < k; slot++) {
            e->experts[at + slot] = (int32_t)experts[row * k + slot];
            e->weights[at + slot] = weights[row * k + slot];
        }
    }
}

static bool evaluation_advance(struct request *request, struct forward *forward, const struct forward_item *item) {
    struct evaluation *e = (struct evaluation *)request;
    const struct model_config *config = e->config;
    for (size_t row = 0; row < item->count; row++) {
        size_t routed = row * e->moe_layers * config->top_k;
        moesaic_evaluation evaluation = {.position = e->start + row,
                                         .id = item->ids[row],
                                         .logits = forward_logits(forward, item->ret_row + row),
                                         .hidden = e->hidden ? e->hidden + row * config->layers * config->hidden : NULL,
                                         .experts = e->moe_layers ? e->experts + routed : NULL,
                                         .weights = e->moe_layers ? e->weights + routed : NULL};
        if (e->callback(e->user, &evaluation)) {
            request->status = status_set(&request->error, MOESAIC_E_CANCELLED, "evaluation: cancelled");
            return true;
        }
    }
    e->start += item->count;
    return e->start == request->text->count;
}

static moesaic_status evaluation_allocate(struct evaluation *e, size_t rows, bool hidden, moesaic_error *error) {
    const struct model_config *config = e->config;
    e->moe_index = calloc(config->layers, sizeof *e->moe_index);
    if (!e->moe_index)
        return status_no_memory(error, "evaluation", config->layers * sizeof *e->moe_index);
    for (uint32_t layer = 0; layer < config->layers; layer++)
        e->moe_index[layer] = config->layer[layer].moe ? e->moe_layers++ : 0;
    size_t routed = rows * e->moe_layers * config->top_k, states = rows * config->layers * config->hidden;
    e->experts = calloc(routed ? routed : 1, sizeof *e->experts);
    e->weights = calloc(routed ? routed : 1, sizeof *e->weights);
    e->hidden = hidden ? calloc(states, sizeof *e->hidden) : NULL;
    if (!e->experts || !e->weights || (hidden && !e->hidden))
        return status_no_memory(error, "evaluation", routed * 8 + states * sizeof *e->hidden);
    return MOESAIC_OK;
}

moesaic_status sched_evaluate(struct sched *sched, struct sched_text *text, bool hidden,
                              moesaic_evaluation_callback *callback, void *user, moesaic_error *error) {
    struct evaluation e = {
        .request = {.text = text, .advance = evaluation_advance, .prompt_end = text->count, .alone = true},
        .config = model_config(sched_model(sched)),
        .callback = callback,
        .user = user,
        .start = model_context_tokens(text->context)};
    if (e.start == text->count)
        return status_set(error, MOESAIC_E_USAGE, "evaluate: every token of the sequence is evaluated already");
    struct forward_tap tap = {.user = &e, .hidden = hidden ? tap_hidden : NULL};
    moesaic_status status = evaluation_allocate(&e, sched_step_rows(sched), hidden, error);
    if (!status) {
        tap.routing = e.moe_layers ? tap_routing : NULL;
        e.request.tap = &tap;
        status = sched_submit(sched, &e.request);
        if (status && error)
            *error = e.request.error;
    }
    free(e.hidden);
    free(e.weights);
    free(e.experts);
    free(e.moe_index);
    return status;
}
