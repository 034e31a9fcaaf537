/* SPDX-License-Identifier: Apache-2.0 */
/* Names of each family's tensors, and the weights by role that the forward pass reads. */
#include "artifact_internal.h"
#include "checkpoint_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 160, VECTOR_UNIT = 16 }; /* vectors begin at multiples of 64 bytes */

/* Walks over every tensor that the configuration asks for. Once one has failed the others do nothing. */
struct binder {
    const struct checkpoint *checkpoint; /* one of the two containers; both publish a tensor under the same name */
    const struct artifact *artifact;
    const char *path;
    const struct model_config *config;
    bool *used;       /* [n_tensors], marked where not NULL */
    float *vectors;   /* where vectors are widened to; NULL: they are only checked and counted */
    size_t n_floats;
    size_t terms;     /* low-rank terms that were found with their matrices */
    moesaic_error *error;
    moesaic_status status;
};

/* ---- one tensor ---- */

static bool has_tensor(const struct binder *binder, const char *name) {
    return binder->artifact ? artifact_find(binder->artifact, name) != NULL
                            : checkpoint_find(binder->checkpoint, name) != NULL;
}

/* A tensor of either container, in the shape asked for. */
struct bound {
    const struct tensor *tensor;
    const struct artifact_tensor *packed;
};

static struct bound bind_tensor(struct binder *binder, const char *name, uint32_t rank, const uint64_t *shape) {
    struct bound bound = {0};
    if (binder->status == MOESAIC_OK)
        binder->status = binder->artifact
                             ? artifact_tensor(binder->artifact, name, rank, shape, &bound.packed, binder->error)
                             : checkpoint_tensor(binder->checkpoint, name, rank, shape, &bound.tensor, binder->error);
    if (bound.tensor && binder->used)
        binder->used[bound.tensor - binder->checkpoint->tensors] = true;
    return bound;
}

static void bind_rows(struct binder *binder, struct bound bound, uint64_t at, uint64_t rows, uint64_t cols,
                      struct weight *ret_weight) {
    if (binder->status == MOESAIC_OK && bound.packed)
        *ret_weight = bound.packed->weight;
    else if (binder->status == MOESAIC_OK)
        binder->status =
            checkpoint_tensor_rows(binder->checkpoint, bound.tensor, at, rows, cols, ret_weight, binder->error);
}

static void bind_matrix(struct binder *binder, const char *name, uint64_t rows, uint64_t cols,
                        struct weight *ret_weight) {
    const uint64_t shape[2] = {rows, cols};
    bind_rows(binder, bind_tensor(binder, name, 2, shape), 0, rows, cols, ret_weight);
}

static void bind_vector(struct binder *binder, const char *name, uint64_t rows, const float **ret_vector) {
    struct weight weight = {0};
    bind_rows(binder, bind_tensor(binder, name, 1, &rows), 0, rows, 1, &weight);
    if (binder->status != MOESAIC_OK)
        return;
    if (binder->vectors) {
        float *vector = binder->vectors + binder->n_floats;
        weight_dequantize(&weight, 0, rows, vector);
        *ret_vector = vector;
    }
    binder->n_floats += size_round_up((size_t)rows, VECTOR_UNIT); /* rows is bounded by the configuration's limits */
}

/* ---- names within a layer ---- */

struct layer_binder {
    struct binder *binder;
    uint32_t layer;
    char name[NAME_BYTES];
};

static const char *layer_name(struct layer_binder *layer, const char *part, const char *suffix) {
    snprintf(layer->name, sizeof layer->name, "model.layers.%" PRIu32 ".%s%s", layer->layer, part, suffix);
    return layer->name;
}

static void layer_matrix(struct layer_binder *layer, const char *part, uint64_t rows, uint64_t cols,
                         struct weight *ret_weight) {
    bind_matrix(layer->binder, layer_name(layer, part, ".weight"), rows, cols, ret_weight);
}

static void layer_vector(struct layer_binder *layer, const char *part, const char *suffix, bool wanted, uint64_t rows,
                         const float **ret_vector) {
    if (wanted)
        bind_vector(layer->binder, layer_name(layer, part, suffix), rows, ret_vector);
}

/* ---- attention and norms ---- */

static void bind_attention(struct layer_binder *layer, struct layer_weights *weights) {
    const struct model_config *config = layer->binder->config;
    uint64_t hidden = config->hidden, q = (uint64_t)config->heads * config->head_dim,
             kv = (uint64_t)config->kv_heads * config->head_dim;
    bool full = config->qk_norm == QK_NORM_FULL, normed = config->qk_norm != QK_NORM_NONE;
    layer_matrix(layer, "self_attn.q_proj", q, hidden, &weights->q);
    layer_matrix(layer, "self_attn.k_proj", kv, hidden, &weights->k);
    layer_matrix(layer, "self_attn.v_proj", kv, hidden, &weights->v);
    layer_matrix(layer, "self_attn.o_proj", hidden, q, &weights->o);
    layer_vector(layer, "self_attn.q_proj", ".bias", config->q_bias, q, &weights->q_bias);
    layer_vector(layer, "self_attn.k_proj", ".bias", config->k_bias, kv, &weights->k_bias);
    layer_vector(layer, "self_attn.v_proj", ".bias", config->v_bias, kv, &weights->v_bias);
    layer_vector(layer, "self_attn.o_proj", ".bias", config->o_bias, hidden, &weights->o_bias);
    layer_vector(layer, "self_attn.q_norm", ".weight", normed, full ? q : config->head_dim, &weights->q_norm);
    layer_vector(layer, "self_attn.k_norm", ".weight", normed, full ? kv : config->head_dim, &weights->k_norm);
    layer_vector(layer, "input_layernorm", ".weight", true, hidden, &weights->attention_norm);
    layer_vector(layer, "post_attention_layernorm", ".weight", true, hidden, &weights->ffn_norm);
}

/* ---- feed-forward ---- */

/* A feed-forward whose matrices are called gate_proj, up_proj and down_proj, or w1, w3 and w2 in mixtral's experts; in
 * an artifact with their low-rank terms. */
static void bind_ffn(struct layer_binder *layer, const char *part, bool mixtral, uint64_t intermediate,
                     struct ffn_weights *weights) {
    static const char *const names[2][3] = {{"gate_proj", "up_proj", "down_proj"}, {"w1", "w3", "w2"}};
    struct weight *matrices[] = {&weights->gate, &weights->up, &weights->down};
    struct binder *binder = layer->binder;
    uint64_t hidden = binder->config->hidden;
    for (int i = 0; i < 3; i++) {
        char name[NAME_BYTES / 2];
        snprintf(name, sizeof name, "%s.%s", part, names[mixtral][i]);
        layer_matrix(layer, name, i < 2 ? intermediate : hidden, i < 2 ? hidden : intermediate, matrices[i]);
        binder->terms += binder->artifact && artifact_term(binder->artifact, layer->name, &weights->term[i]);
    }
}

static void bind_dense(struct layer_binder *layer, struct ffn_weights *weights) {
    const struct model_config *config = layer->binder->config;
    bind_ffn(layer, "mlp", false, config->intermediate, weights);
    layer_vector(layer, "mlp.gate_proj", ".bias", config->mlp_bias, config->intermediate, &weights->gate_bias);
    layer_vector(layer, "mlp.up_proj", ".bias", config->mlp_bias, config->intermediate, &weights->up_bias);
    layer_vector(layer, "mlp.down_proj", ".bias", config->mlp_bias, config->hidden, &weights->down_bias);
}

/* All experts in two tensors, as transformers 5 holds them: gate_up_proj [experts, 2 x intermediate, hidden] with the
 * gate's rows first, down_proj [experts, hidden, intermediate]. */
static void bind_fused_experts(struct layer_binder *layer, const char *gate_up, const char *down,
                               struct ffn_weights *experts) {
    struct binder *binder = layer->binder;
    uint64_t count = binder->config->experts, inner = binder->config->moe_intermediate, hidden = binder->config->hidden;
    const uint64_t gate_up_shape[3] = {count, 2 * inner, hidden}, down_shape[3] = {count, hidden, inner};
    struct bound gate_up_tensor = bind_tensor(binder, gate_up, 3, gate_up_shape);
    struct bound down_tensor = bind_tensor(binder, down, 3, down_shape);
    struct ffn_weights unused = {0};
    for (uint64_t i = 0; i < count && binder->status == MOESAIC_OK; i++) {
        struct ffn_weights *expert = experts ? &experts[i] : &unused;
        bind_rows(binder, gate_up_tensor, 2 * inner * i, inner, hidden, &expert->gate);
        bind_rows(binder, gate_up_tensor, 2 * inner * i + inner, inner, hidden, &expert->up);
        bind_rows(binder, down_tensor, hidden * i, hidden, inner, &expert->down);
    }
}

static void bind_experts(struct layer_binder *layer, const char *moe, struct ffn_weights *experts) {
    struct binder *binder = layer->binder;
    bool mixtral = binder->config->family == FAMILY_MIXTRAL;
    char part[NAME_BYTES / 4], gate_up[NAME_BYTES], down[NAME_BYTES];
    snprintf(part, sizeof part, "%s.experts", moe);
    snprintf(gate_up, sizeof gate_up, "%s", layer_name(layer, part, ".gate_up_proj"));
    snprintf(down, sizeof down, "%s", layer_name(layer, part, ".down_proj"));
    if (!binder->artifact && has_tensor(binder, gate_up)) {
        bind_fused_experts(layer, gate_up, down, experts);
        return;
    }
    struct ffn_weights unused = {0};
    for (uint32_t i = 0; i < binder->config->experts && binder->status == MOESAIC_OK; i++) {
        snprintf(part, sizeof part, "%s.experts.%" PRIu32, moe, i);
        bind_ffn(layer, part, mixtral, binder->config->moe_intermediate, experts ? &experts[i] : &unused);
    }
}

static void bind_moe(struct layer_binder *layer, struct layer_weights *weights) {
    const struct model_config *config = layer->binder->config;
    const char *moe = "mlp"; /* mixtral's published name is another; transformers 5 uses "mlp" in memory for all */
    if (config->family == FAMILY_MIXTRAL &&
        !has_tensor(layer->binder, layer_name(layer, "mlp.gate", ".weight")))
        moe = "block_sparse_moe";
    char part[NAME_BYTES / 4];
    snprintf(part, sizeof part, "%s.gate", moe);
    layer_matrix(layer, part, config->experts, config->hidden, &weights->router);
    bind_experts(layer, moe, weights->experts);
    if (config->shared_intermediate > 0)
        bind_ffn(layer, "mlp.shared_expert", false, config->shared_intermediate, &weights->shared);
    if (config->shared_gate)
        layer_matrix(layer, "mlp.shared_expert_gate", 1, config->hidden, &weights->shared_gate);
}

/* ---- the whole model ---- */

static void bind_ends(struct binder *binder, struct model_weights *weights) {
    static const char embedding[] = "model.embed_tokens.weight", head[] = "lm_head.weight";
    const struct model_config *config = binder->config;
    /* A tied pair may be stored under either name. */
    bool as_head = config->tied_head && !has_tensor(binder, embedding) && has_tensor(binder, head);
    bind_matrix(binder, as_head ? head : embedding, config->vocab, config->hidden, &weights->embedding);
    if (config->tied_head)
        weights->head = weights->embedding;
    else
        bind_matrix(binder, head, config->vocab, config->hidden, &weights->head);
    bind_vector(binder, "model.norm.weight", config->hidden, &weights->final_norm);
}

/* Fills `weights`, whose layers may be NULL: everything is then only checked and the floats of its vectors counted. */
static moesaic_status bind_model(struct binder *binder, struct model_weights *weights) {
    binder->n_floats = binder->terms = 0;
    bind_ends(binder, weights);
    for (uint32_t i = 0; i < binder->config->layers && binder->status == MOESAIC_OK; i++) {
        struct layer_weights unused = {0}, *layer_weights = weights->layers ? &weights->layers[i] : &unused;
        struct layer_binder layer = {.binder = binder, .layer = i};
        bind_attention(&layer, layer_weights);
        if (binder->config->layer[i].moe)
            bind_moe(&layer, layer_weights);
        else
            bind_dense(&layer, &layer_weights->dense);
    }
    return binder->status;
}

/* ---- tensors that nothing asked for ---- */

/* Number of the layer that a name belongs to, or UINT32_MAX. */
static uint32_t layer_of(const char *name) {
    static const char prefix[] = "model.layers.";
    if (strncmp(name, prefix, sizeof prefix - 1) != 0)
        return UINT32_MAX;
    uint64_t layer = 0;
    const char *p = name + sizeof prefix - 1;
    for (; *p >= '0' && *p <= '9' && layer < UINT32_MAX; p++)
        layer = layer * 10 + (uint64_t)(*p - '0');
    return *p == '.' && p[-1] != '.' && layer < UINT32_MAX ? (uint32_t)layer : UINT32_MAX;
}

/* Whether an unused tensor of a layer means nothing: frequencies that old writers stored, a shared expert of size 0. */
static bool is_idle(const struct model_config *config, const char *name) {
    return strstr(name, ".rotary_emb.") ||
           (config->family == FAMILY_QWEN2_MOE && !config->shared_intermediate && strstr(name, ".mlp.shared_expert"));
}

/* Tensors of a layer that the family does not use belong to another model: computing without them would be wrong.
 * Layers behind the last (multi-token prediction) are not run. Anything else is named once. */
static moesaic_status check_unused(const struct checkpoint *checkpoint, const bool *used, moesaic_error *error) {
    const char *first = NULL;
    size_t count = 0;
    for (size_t i = 0; i < checkpoint->n_tensors; i++) {
        const struct tensor *tensor = &checkpoint->tensors[i];
        if (used[i] || is_idle(&checkpoint->config, tensor->name))
            continue;
        uint32_t layer = layer_of(tensor->name);
        if (layer < checkpoint->config.layers)
            return status_set(error, MOESAIC_E_INPUT,
                              "%s/%s: tensor \"%.128s\": config.json implies no such tensor for %s", checkpoint->path,
                              checkpoint_shard_name(checkpoint, tensor->shard), tensor->name,
                              checkpoint->config.model_type);
        if (layer == UINT32_MAX && count++ == 0)
            first = tensor->name;
    }
    if (count > 0)
        log_line(LOG_WARNING, "%s: %zu tensors are not used, such as \"%.128s\"", checkpoint->path, count, first);
    return MOESAIC_OK;
}

moesaic_status checkpoint_check(const struct checkpoint *checkpoint, moesaic_error *error) {
    bool *used = calloc(checkpoint->n_tensors + 1, sizeof *used);
    if (!used)
        return status_no_memory(error, checkpoint->path, checkpoint->n_tensors + 1);
    struct model_weights weights = {0};
    struct binder binder = {.checkpoint = checkpoint,
                            .path = checkpoint->path,
                            .config = &checkpoint->config,
                            .used = used,
                            .error = error};
    moesaic_status status = bind_model(&binder, &weights);
    if (status == MOESAIC_OK)
        status = check_unused(checkpoint, used, error);
    free(used);
    return status;
}

/* ---- binding ---- */

/* Makes room for the layers and their experts; the tensors were checked before, so the file justifies the sizes. */
static moesaic_status make_layers(const struct binder *binder, struct model_weights *weights, moesaic_error *error) {
    const struct model_config *config = binder->config;
    size_t n_moe = 0;
    for (uint32_t i = 0; i < config->layers; i++)
        n_moe += config->layer[i].moe;
    weights->n_layers = config->layers;
    weights->layers = calloc(config->layers, sizeof *weights->layers);
    if (n_moe > 0)
        weights->experts = calloc(n_moe * config->experts, sizeof *weights->experts);
    if (!weights->layers || (n_moe > 0 && !weights->experts))
        return status_no_memory(error, binder->path, n_moe * config->experts * sizeof *weights->experts);
    struct ffn_weights *next = weights->experts;
    for (uint32_t i = 0; i < config->layers; i++) {
        if (config->layer[i].moe) {
            weights->layers[i].experts = next;
            next += config->experts;
        }
    }
    return MOESAIC_OK;
}

static moesaic_status bind_container(struct binder *binder, struct model_weights **ret_weights, moesaic_error *error) {
    struct model_weights *weights = calloc(1, sizeof *weights), counted = {0};
    if (!weights)
        return status_no_memory(error, binder->path, sizeof *weights);
    moesaic_status status = bind_model(binder, &counted);
    if (status == MOESAIC_OK && binder->artifact && binder->artifact->factors != 2 * binder->terms)
        status = status_set(error, MOESAIC_E_INPUT, "artifact: a low-rank term beside no matrix of a feed-forward (%s)",
                            binder->path);
    if (status == MOESAIC_OK)
        status = make_layers(binder, weights, error);
    if (status != MOESAIC_OK)
        goto fail;
    binder->vectors = weights->vectors = memory_zeroed(binder->n_floats, sizeof *weights->vectors);
    if (!weights->vectors) {
        status = status_no_memory(error, binder->path, binder->n_floats * sizeof *weights->vectors);
        goto fail;
    }
    status = bind_model(binder, weights);
    if (status != MOESAIC_OK)
        goto fail;
    *ret_weights = weights;
    return MOESAIC_OK;
fail:
    model_weights_destroy(weights);
    return status;
}

moesaic_status checkpoint_bind(const struct checkpoint *checkpoint, struct model_weights **ret_weights,
                               moesaic_error *error) {
    struct binder binder = {
        .checkpoint = checkpoint, .path = checkpoint->path, .config = &checkpoint->config, .error = error};
    return bind_container(&binder, ret_weights, error);
}

moesaic_status artifact_bind(const struct artifact *artifact, struct model_weights **ret_weights,
                             moesaic_error *error) {
    struct binder binder = {
        .artifact = artifact, .path = artifact->path, .config = &artifact->config, .error = error};
    return bind_container(&binder, ret_weights, error);
}

void model_weights_destroy(struct model_weights *weights) {
    if (!weights)
        return;
    free(weights->vectors);
    free(weights->experts);
    free(weights->layers);
    free(weights);
}
