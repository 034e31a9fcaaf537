/* SPDX-License-Identifier: Apache-2.0 */
/* A smaller shape for the model: experts of each layer go, the others are renumbered. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compressor_internal.h"

enum { BLOCK_ROWS = 256 };

/* ---- the shape --------------------------------------------------------------------------------------------------- */

bool reshape_drops(const struct compressor *c) { return c->config->experts < model_config(c->model)->experts; }

bool reshape_narrows(const struct compressor *c) {
    return c->config->moe_intermediate < model_config(c->model)->moe_intermediate;
}

static moesaic_status experts_count(const struct compressor *c, uint32_t *ret_count, moesaic_error *error) {
    uint32_t experts = c->config->experts;
    uint32_t keep = (uint32_t)llround((double)experts * (1 - c->recipe.drop.share));
    if (c->recipe.drop.share > 0 && (keep == 0 || keep < c->config->top_k))
        return status_set(error, MOESAIC_E_USAGE, "recipe: drop.share: %u of %u experts would stay, a token uses %u",
                          keep, experts, c->config->top_k);
    *ret_count = keep;
    return MOESAIC_OK;
}

/* Whole groups of the quantized down matrix where the checkpoint has whole groups, so that none is padding. */
static moesaic_status neurons_count(const struct compressor *c, uint32_t *ret_count, moesaic_error *error) {
    const struct recipe_matrix *m = &c->recipe.experts;
    uint32_t neurons = c->config->moe_intermediate, unit = m->quant && neurons % m->group == 0 ? m->group : 16;
    double share = c->recipe.neurons;
    *ret_count = neurons;
    if (share == 0)
        return MOESAIC_OK;
    size_t keep = neuron_count((size_t)neurons * 16 / unit, 1 - share) * (unit / 16);
    if (keep >= neurons)
        return status_set(error, MOESAIC_E_USAGE, "recipe: neurons.share: all %u neurons would stay, which go by %u",
                          neurons, unit);
    *ret_count = (uint32_t)keep;
    return MOESAIC_OK;
}

static moesaic_status kept_allocate(struct compressor *c, moesaic_error *error) {
    size_t experts = c->config->experts;
    c->kept = calloc(experts + 1, sizeof *c->kept);
    c->saliency = calloc(experts + 1, sizeof *c->saliency);
    if (!c->kept || !c->saliency)
        return status_no_memory(error, "compress", experts * (sizeof *c->kept + sizeof *c->saliency));
    for (uint32_t e = 0; e < experts; e++)
        c->kept[e] = e;
    return MOESAIC_OK;
}

moesaic_status reshape_begin(struct compressor *c, moesaic_error *error) {
    uint32_t experts = 0, neurons = 0;
    moesaic_status status = kept_allocate(c, error);
    if (!status)
        status = experts_count(c, &experts, error);
    if (!status)
        status = neurons_count(c, &neurons, error);
    if (status || (experts == c->config->experts && neurons == c->config->moe_intermediate))
        return status;
    c->shape = malloc(sizeof *c->shape);
    if (!c->shape)
        return status_no_memory(error, "compress", sizeof *c->shape);
    *c->shape = *c->config;
    c->shape->experts = experts;
    c->shape->moe_intermediate = neurons;
    if (config_intermediate_shared(c->config))
        c->shape->intermediate = neurons;
    c->config = c->shape;
    return MOESAIC_OK;
}

moesaic_status reshape_forward(struct compressor *c, const struct forward_options *options, moesaic_error *error) {
    if (!c->shape)
        return MOESAIC_OK;
    moesaic_status status = model_view(c->model, c->shape, &c->view, error);
    return status ? status : forward_create(c->view, c->team, options, NULL, &c->reshaped, error);
}

void reshape_end(struct compressor *c) {
    forward_destroy(c->reshaped);
    model_close(c->view);
    free(c->shape);
    free(c->saliency);
    free(c->kept);
}

/* ---- what an expert is worth ------------------------------------------------------------------------------------- */

/* Rows on their way through one expert of the checkpoint. */
struct block {
    const struct ffn_weights *expert;
    size_t rows, hidden, intermediate;
    float *x, *inner, *out, *weights; /* [BLOCK_ROWS, ...] */
};

static moesaic_status block_make(struct block *b, moesaic_error *error) {
    b->x = calloc(BLOCK_ROWS * b->hidden, sizeof *b->x);
    b->inner = calloc(BLOCK_ROWS * b->intermediate, sizeof *b->inner);
    b->out = calloc(BLOCK_ROWS * b->hidden, sizeof *b->out);
    b->weights = calloc(BLOCK_ROWS, sizeof *b->weights);
    if (b->x && b->inner && b->out && b->weights)
        return MOESAIC_OK;
    return status_no_memory(error, "saliency", BLOCK_ROWS * (2 * b->hidden + b->intermediate) * sizeof *b->x);
}

static void block_free(struct block *b) {
    free(b->weights);
    free(b->out);
    free(b->inner);
    free(b->x);
}

static moesaic_status block_add(struct block *b, struct expert_activation activation, struct expert_saliency *saliency,
                                moesaic_error *error) {
    const struct activations inner = {
        .values = b->inner, .tokens = b->rows, .cols = b->intermediate, .stride = b->intermediate};
    const float *bias = b->expert->down_bias;
    moesaic_status status =
        expert_ffn_inner(b->expert, activation, b->x, b->rows, b->hidden, b->intermediate, b->inner, error);
    if (status)
        return status;
    weight_product(&b->expert->down, &inner, NULL, b->rows, 0, b->hidden, b->out, b->hidden);
    for (size_t i = 0; bias && i < b->rows * b->hidden; i++)
        b->out[i] += bias[i % b->hidden];
    saliency_add(saliency, b->out, b->hidden, b->hidden, b->weights, b->rows);
    b->rows = 0;
    return MOESAIC_OK;
}

/* Job: one expert of the checkpoint's layer over the tokens that reach it, in the order of the text. */
static moesaic_status saliency_job(struct compressor *c, size_t expert, moesaic_error *error) {
    const struct ffn_weights *ffn = &model_weights(c->model)->layers[c->layer].experts[expert];
    size_t k = c->config->top_k, width = c->config->hidden;
    struct block b = {.expert = ffn, .hidden = width, .intermediate = ffn->down.cols};
    struct expert_saliency *saliency = &c->saliency[expert];
    bool outputs = c->recipe.drop.method == SALIENCY_REAP;
    moesaic_status status = outputs ? block_make(&b, error) : MOESAIC_OK;
    *saliency = (struct expert_saliency){0};
    for (size_t i = 0; !status && i < c->tokens * k; i++) {
        if (c->chosen[i] != expert)
            continue;
        if (!outputs) {
            saliency->tokens++;
            continue;
        }
        memcpy(b.x + b.rows * width, c->ffn_input + i / k * width, width * sizeof *b.x);
        b.weights[b.rows++] = c->weights[i];
        if (b.rows == BLOCK_ROWS)
            status = block_add(&b, c->config->activation, saliency, error);
    }
    if (!status && b.rows)
        status = block_add(&b, c->config->activation, saliency, error);
    block_free(&b);
    return status;
}

static moesaic_status kept_choose(struct compressor *c, moesaic_error *error) {
    const struct recipe_drop *drop = &c->recipe.drop;
    uint32_t experts = model_config(c->model)->experts, n = 0;
    double *scores = calloc(experts, sizeof *scores);
    uint8_t *keep = calloc(experts, 1);
    moesaic_status status =
        scores && keep ? MOESAIC_OK : status_no_memory(error, "saliency", experts * (sizeof *scores + 1));
    if (!status)
        status = compress_jobs(c, experts, saliency_job, error);
    if (!status) {
        for (uint32_t e = 0; e < experts; e++)
            scores[e] = saliency_score(&c->saliency[e], drop->method, drop->seed, c->layer, e);
        saliency_keep(scores, experts, c->config->experts, keep);
        for (uint32_t e = 0; e < experts; e++)
            if (keep[e])
                c->kept[n++] = e;
    }
    free(keep);
    free(scores);
    return status;
}

/* ---- the layer without them -------------------------------------------------------------------------------------- */

/* The routing over those that stay. */
struct rerouting {
    struct compressor *c;
    float *logits; /* [threads, BLOCK_ROWS, experts] */
};

static void reroute_body(struct team *team, unsigned thread, void *argument) {
    const struct rerouting *r = argument;
    struct compressor *c = r->c;
    size_t experts = c->config->experts, k = c->config->top_k, width = c->config->hidden, begin, end;
    struct router_gate gate = {
        .experts = c->config->experts, .top_k = c->config->top_k, .renormalize = c->config->norm_topk_prob};
    float *logits = r->logits + thread * BLOCK_ROWS * experts;
    team_share(c->tokens, 1, thread, team_threads(team), &begin, &end);
    for (size_t rows; begin < end; begin += rows) {
        rows = end - begin < BLOCK_ROWS ? end - begin : BLOCK_ROWS;
        const struct activations x = {
            .values = c->ffn_input + begin * width, .tokens = rows, .cols = width, .stride = width};
        weight_product(&c->new_layer.router, &x, NULL, rows, 0, experts, logits, experts);
        for (size_t i = 0; i < rows; i++)
            router_choose(&gate, logits + i * experts, c->chosen + (begin + i) * k, c->weights + (begin + i) * k);
    }
}

moesaic_status reshape_layer(struct compressor *c, moesaic_error *error) {
    const struct layer_weights *old = &model_weights(c->model)->layers[c->layer];
    size_t experts = c->config->experts, width = old->router.cols;
    float *rows = calloc(experts * width, sizeof *rows);
    if (!rows)
        return status_no_memory(error, "router", experts * width * sizeof *rows);
    for (size_t e = 0; e < experts; e++) {
        weight_dequantize(&old->router, c->kept[e], (uint64_t)c->kept[e] + 1, rows + e * width);
        c->new_layer.experts[e] = old->experts[c->kept[e]];
    }
    c->router = (struct packed){.weight = floats_weight(rows, experts, width), .memory = rows};
    c->new_layer.router = c->router.weight;
    return MOESAIC_OK;
}

moesaic_status reshape_choose(struct compressor *c, moesaic_error *error) {
    size_t count = team_threads(c->team) * (size_t)BLOCK_ROWS * c->config->experts;
    moesaic_status status = kept_choose(c, error);
    if (!status)
        status = reshape_layer(c, error);
    if (status)
        return status;
    struct rerouting rerouting = {c, calloc(count, sizeof *rerouting.logits)};
    if (!rerouting.logits)
        return status_no_memory(error, "routing", count * sizeof *rerouting.logits);
    team_run(c->team, reroute_body, &rerouting);
    free(rerouting.logits);
    return MOESAIC_OK;
}
