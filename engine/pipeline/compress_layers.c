/* SPDX-License-Identifier: Apache-2.0 */
/* Whole layers go before anything else: those that change the hidden states least (ShortGPT's block influence). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compressor_internal.h"

/* ---- influence --------------------------------------------------------------------------------------------------- */

/* 1 - the mean cosine between a token's state before and behind a layer; tokens without a direction count as 1. */
static double influence_of(const float *before, const float *behind, size_t tokens, size_t width) {
    double sum = 0;
    for (size_t i = 0; i < tokens; i++, before += width, behind += width) {
        double product = 0, squares = 0, squares_behind = 0;
        for (size_t j = 0; j < width; j++) {
            product += (double)before[j] * behind[j];
            squares += (double)before[j] * before[j];
            squares_behind += (double)behind[j] * behind[j];
        }
        double length = sqrt(squares) * sqrt(squares_behind);
        sum += length > 0 ? product / length : 1;
    }
    return 1 - sum / (double)tokens;
}

/* Walks the text through the checkpoint. What a layer's feed-forward sees is of no interest here, so its room holds the
 * states before the layer. */
static moesaic_status influence_measure(struct compressor *walk, moesaic_error *error) {
    size_t width = walk->config->hidden;
    moesaic_status status = MOESAIC_OK;
    calibrate_embed(walk, &model_weights(walk->model)->embedding, walk->hidden);
    for (walk->layer = 0; !status && walk->layer < walk->config->layers; walk->layer++) {
        memcpy(walk->ffn_input, walk->hidden, walk->tokens * width * sizeof *walk->hidden);
        status = calibrate_pass(walk, NULL, CALIBRATE_THROUGH, error);
        if (!status)
            walk->layers.influence[walk->layer] = influence_of(walk->ffn_input, walk->hidden, walk->tokens, width);
    }
    return status;
}

/* ---- the choice -------------------------------------------------------------------------------------------------- */

static moesaic_status layers_allocate(struct compressor *c, moesaic_error *error) {
    size_t layers = c->config->layers;
    c->layers.influence = calloc(layers, sizeof *c->layers.influence);
    c->layers.kept = calloc(layers, sizeof *c->layers.kept);
    if (c->layers.influence && c->layers.kept)
        return MOESAIC_OK;
    return status_no_memory(error, "layers", layers * (sizeof *c->layers.influence + sizeof *c->layers.kept));
}

/* The model of the layers of the largest influence, which takes the checkpoint's place. */
static moesaic_status layers_leave(struct compressor *c, uint32_t keep, moesaic_error *error) {
    struct layer_drop *d = &c->layers;
    uint8_t *stays = calloc(c->config->layers, 1);
    uint32_t n = 0;
    if (!stays)
        return status_no_memory(error, "layers", c->config->layers);
    saliency_keep(d->influence, c->config->layers, keep, stays);
    for (uint32_t layer = 0; layer < c->config->layers; layer++)
        if (stays[layer])
            d->kept[n++] = layer;
    free(stays);
    moesaic_status status = model_cut(c->model, d->kept, keep, &d->cut, error);
    if (status)
        return status;
    d->whole = c->model;
    c->model = d->cut;
    c->config = model_config(d->cut);
    return MOESAIC_OK;
}

moesaic_status layers_begin(struct compressor *c, const struct tokenizer *tokenizer, moesaic_error *error) {
    uint32_t layers = c->config->layers, keep = (uint32_t)llround((double)layers * (1 - c->recipe.layers));
    if (c->recipe.layers == 0)
        return MOESAIC_OK;
    if (keep == 0 || keep == layers)
        return status_set(error, MOESAIC_E_USAGE, "recipe: drop_layers.share: %u of %u layers would stay", keep,
                          layers);
    moesaic_status status = layers_allocate(c, error);
    struct compressor walk = *c;
    if (!status)
        status = calibrate_begin(&walk, tokenizer, error);
    if (!status)
        status = influence_measure(&walk, error);
    calibrate_end(&walk);
    c->steps_done = walk.steps_done;
    c->forward_ns = walk.forward_ns;
    return status ? status : layers_leave(c, keep, error);
}

void layers_end(struct compressor *c) {
    model_close(c->layers.cut);
    free(c->layers.kept);
    free(c->layers.influence);
}

uint32_t layers_source(const struct compressor *c, uint32_t layer) {
    return c->layers.whole ? c->layers.kept[layer] : layer;
}

/* ---- what is said of it ------------------------------------------------------------------------------------------ */

json_value *layers_json(const struct compressor *c) {
    const struct layer_drop *d = &c->layers;
    json_value *object = json_make_object(), *kept = json_make_array(), *influence = json_make_array();
    uint32_t layers = model_config(d->whole)->layers;
    bool whole = true;
    for (uint32_t layer = 0; layer < c->config->layers; layer++)
        whole &= json_push(kept, json_make_integer(d->kept[layer]));
    for (uint32_t layer = 0; layer < layers; layer++)
        whole &= json_push(influence, json_make_real(d->influence[layer]));
    whole &= json_put(object, "source", json_make_integer(layers)) & json_put(object, "kept", kept) &
             json_put(object, "influence", influence);
    if (whole)
        return object;
    json_free(object);
    return NULL;
}

moesaic_status layers_result(const struct compressor *c, moesaic_compress_result *result, moesaic_error *error) {
    const struct layer_drop *d = &c->layers;
    if (!d->whole)
        return MOESAIC_OK;
    uint32_t layers = model_config(d->whole)->layers;
    moesaic_source_layer *list = calloc(layers, sizeof *list);
    if (!list)
        return status_no_memory(error, "layers", layers * sizeof *list);
    for (uint32_t layer = 0, kept = 0; layer < layers; layer++) {
        bool stays = kept < c->config->layers && d->kept[kept] == layer;
        list[layer] = (moesaic_source_layer){d->influence[layer], stays ? (int32_t)kept : -1};
        kept += stays;
    }
    result->source_layers = layers;
    result->source_layer = list;
    return MOESAIC_OK;
}
