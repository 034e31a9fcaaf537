/* SPDX-License-Identifier: Apache-2.0 */
/* A model: a checkpoint or an artifact, and its weights by role. */
#include "forward_internal.h"

#include <stdlib.h>

static moesaic_status check_limits(const struct model_config *config, moesaic_error *error) {
    if (config->top_k <= ROUTER_TOP_K_MAX)
        return MOESAIC_OK;
    return status_set(error, MOESAIC_E_UNSUPPORTED, "model: %u experts per token: at most %d are supported",
                      config->top_k, ROUTER_TOP_K_MAX);
}

moesaic_status model_open(const char *path, struct model **ret_model, moesaic_error *error) {
    struct model *model = calloc(1, sizeof *model);
    if (!model)
        return status_no_memory(error, "model", sizeof *model);
    bool packed = artifact_recognized(path);
    moesaic_status status = packed ? artifact_open(path, &model->artifact, error)
                                   : checkpoint_open(path, &model->checkpoint, error);
    if (!status)
        model->config = packed ? artifact_config(model->artifact) : checkpoint_config(model->checkpoint);
    if (!status)
        status = check_limits(model->config, error);
    if (!status)
        status = packed ? artifact_bind(model->artifact, &model->weights, error)
                        : checkpoint_bind(model->checkpoint, &model->weights, error);
    if (status) {
        model_close(model);
        return status;
    }
    *ret_model = model;
    return MOESAIC_OK;
}

moesaic_status model_view(const struct model *source, const struct model_config *config, struct model **ret_model,
                          moesaic_error *error) {
    struct model *model = calloc(1, sizeof *model);
    if (!model)
        return status_no_memory(error, "model", sizeof *model);
    *model = *source;
    model->config = config;
    model->view = true;
    model->cut = NULL;
    *ret_model = model;
    return MOESAIC_OK;
}

/* What a model of fewer layers has of its own. */
struct model_cut {
    struct model_config config;
    struct model_weights weights;
    struct layer_weights layer[];
};

static void cut_fill(const struct model *source, const uint32_t *layer, uint32_t layers, struct model_cut *cut) {
    cut->config = *source->config;
    cut->weights = *source->weights;
    cut->weights.layers = cut->layer;
    cut->config.layers = cut->weights.n_layers = layers;
    for (uint32_t i = 0; i < layers; i++) {
        cut->config.layer[i] = source->config->layer[layer[i]];
        cut->layer[i] = source->weights->layers[layer[i]];
    }
}

moesaic_status model_cut(const struct model *source, const uint32_t *layer, uint32_t layers, struct model **ret_model,
                         moesaic_error *error) {
    struct model_cut *cut = malloc(sizeof *cut + layers * sizeof *cut->layer);
    if (!cut)
        return status_no_memory(error, "model", sizeof *cut + layers * sizeof *cut->layer);
    cut_fill(source, layer, layers, cut);
    moesaic_status status = model_view(source, &cut->config, ret_model, error);
    if (status) {
        free(cut);
        return status;
    }
    (*ret_model)->weights = &cut->weights;
    (*ret_model)->cut = cut;
    return MOESAIC_OK;
}

void model_close(struct model *model) {
    if (!model)
        return;
    if (!model->view) {
        model_weights_destroy(model->weights);
        artifact_close(model->artifact);
        checkpoint_close(model->checkpoint);
    }
    free(model->cut);
    free(model);
}

const struct model_config *model_config(const struct model *model) { return model->config; }
const struct model_weights *model_weights(const struct model *model) { return model->weights; }
const struct checkpoint *model_checkpoint(const struct model *model) { return model->checkpoint; }
const struct artifact *model_artifact(const struct model *model) { return model->artifact; }

struct kv_shape model_kv_shape(const struct model *model, kv_type type) {
    const struct model_config *config = model_config(model);
    return (struct kv_shape){
        .layers = config->layers, .kv_heads = config->kv_heads, .head_dim = config->head_dim, .type = type};
}

kv_type model_kv_default(const struct model *model) { return model_artifact(model) ? KV_F16 : KV_F32; }
