/* SPDX-License-Identifier: Apache-2.0 */
/* Counting: a model's parameters, the bytes and FLOPs of a token. */
#include "pipeline.h"

struct tally {
    uint64_t parameters, bytes;
    uint64_t terms; /* numbers of low-rank terms, which are work and bytes but no parameters */
};

static void tally_weight(struct tally *tally, const struct weight *w) {
    tally->parameters += w->rows * w->cols;
    tally->bytes += w->bytes;
}

static struct tally tally_ffn(const struct ffn_weights *f) {
    struct tally t = {0};
    tally_weight(&t, &f->gate);
    tally_weight(&t, &f->up);
    tally_weight(&t, &f->down);
    for (size_t i = 0; i < 3; i++)
        t.terms += f->term[i].left.rows * f->term[i].left.cols + f->term[i].right.rows * f->term[i].right.cols;
    t.bytes = expert_ffn_bytes(f);
    return t;
}

static void tally_add(struct tally *sum, struct tally t) {
    sum->parameters += t.parameters;
    sum->bytes += t.bytes;
    sum->terms += t.terms;
}

/* Vectors (norms and biases) of a layer; the library holds them in F32 whatever the file does. */
static uint64_t layer_vector(const struct model_config *c, const struct layer_weights *l) {
    uint64_t q = (uint64_t)c->heads * c->head_dim, kv = (uint64_t)c->kv_heads * c->head_dim;
    uint64_t n = (l->attention_norm ? c->hidden : 0) + (l->ffn_norm ? c->hidden : 0) + (l->q_bias ? q : 0) +
                 (l->k_bias ? kv : 0) + (l->v_bias ? kv : 0) + (l->o_bias ? c->hidden : 0);
    if (l->q_norm)
        n += c->qk_norm == QK_NORM_FULL ? q + kv : 2 * c->head_dim;
    return n;
}

/* A layer's matrices that every token is multiplied by, and its routed experts. */
static void tally_layer(const struct model_config *c, const struct layer_weights *l, struct tally *always,
                        struct tally *experts) {
    const struct weight *matrices[] = {&l->q, &l->k, &l->v, &l->o, &l->router, &l->shared_gate};
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++)
        tally_weight(always, matrices[i]);
    tally_add(always, tally_ffn(&l->dense));
    tally_add(always, tally_ffn(&l->shared));
    for (uint32_t e = 0; l->experts && e < c->experts; e++)
        tally_add(experts, tally_ffn(&l->experts[e]));
}

void pipeline_describe(const struct model *model, moesaic_model_info *info) {
    const struct model_config *c = model_config(model);
    const struct model_weights *w = model_weights(model);
    struct tally matrices = {0}, routed = {0};
    uint64_t vectors = c->hidden;
    info->architecture = c->architecture;
    info->family = c->model_type;
    info->layers = c->layers;
    info->hidden = c->hidden;
    info->heads = c->heads;
    info->kv_heads = c->kv_heads;
    info->head_dim = c->head_dim;
    info->vocab = c->vocab;
    info->experts = c->experts;
    info->top_k = c->top_k;
    info->intermediate = c->intermediate;
    info->moe_intermediate = c->moe_intermediate;
    info->shared_intermediate = c->shared_intermediate;
    info->max_position = c->max_position;
    info->moe_layers = 0;
    for (uint32_t layer = 0; layer < w->n_layers; layer++) {
        tally_layer(c, &w->layers[layer], &matrices, &routed);
        vectors += layer_vector(c, &w->layers[layer]);
        info->moe_layers += c->layer[layer].moe;
    }
    tally_weight(&matrices, &w->head);
    uint64_t embedding = c->tied_head ? 0 : w->embedding.rows * w->embedding.cols;
    /* Experts of a layer have one shape, and so top_k of experts is an exact share of the parameters; of the bytes it
     * is the mean over the experts, which may be packed differently. */
    uint64_t chosen = c->experts ? routed.parameters / c->experts * c->top_k : 0;
    info->total_parameters = matrices.parameters + routed.parameters + vectors + embedding;
    info->active_parameters = matrices.parameters + chosen + vectors;
    info->flops_per_token =
        2 * (matrices.parameters + chosen + matrices.terms + (c->experts ? routed.terms / c->experts * c->top_k : 0));
    info->attention_flops_per_position = 4ull * c->heads * c->head_dim * c->layers;
    info->active_bytes = matrices.bytes + (c->experts ? routed.bytes / c->experts * c->top_k : 0) +
                         vectors * sizeof(float) + w->embedding.bytes / c->vocab;
    info->weight_bytes =
        matrices.bytes + routed.bytes + vectors * sizeof(float) + (c->tied_head ? 0 : w->embedding.bytes);
    info->kv_bytes_per_token = 2ull * c->layers * c->kv_heads * c->head_dim * sizeof(float);
    info->bits_per_weight = 8.0 * (double)info->weight_bytes / (double)info->total_parameters;
    info->expert_bits_per_weight = routed.parameters ? 8.0 * (double)routed.bytes / (double)routed.parameters : 0;
}
