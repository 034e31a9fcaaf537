/* SPDX-License-Identifier: Apache-2.0 */
/* Compression from end to end: embedding, layer after layer, head; gone on from where a run before it stopped. */
#include <stdlib.h>
#include <string.h>

#include "compressor_internal.h"

/* Progress: a step is a pass of the text over a layer; compressing its matrices is counted as much again. */
enum { STEPS_A_LAYER = 4 };

moesaic_status compress_progress(struct compressor *c, double amount, moesaic_error *error) {
    c->steps_done += amount;
    if (!c->options->progress)
        return MOESAIC_OK;
    uint64_t done = (uint64_t)(1000 * c->steps_done / c->steps);
    if (c->options->progress(c->options->user, done < 1000 ? done : 999, 1000))
        return status_set(error, MOESAIC_E_CANCELLED, "compress: cancelled");
    return MOESAIC_OK;
}

/* The parts of a layer that a run before this one finished, out of the journal. */
static moesaic_status parts_resume(struct compressor *c, moesaic_error *error) {
    const json_value *notes = json_at(artifact_writer_notes(c->writer), c->layer + (c->choice != NULL));
    for (size_t i = 0; i < json_count(notes); i++) {
        const json_value *note = json_at(notes, i);
        int64_t expert = json_int(json_get(note, "expert")), source = json_int(json_get(note, "source"));
        bool routed = expert >= 0 && expert < c->config->experts;
        uint64_t tokens = (uint64_t)json_int(json_get(note, "tokens"));
        if (routed && (source < expert || source >= model_config(c->model)->experts))
            return status_set(error, MOESAIC_E_INPUT, "resume: the journal's layer %u has no expert %lld of old",
                              c->layer, (long long)source);
        const struct recipe_matrix *recipe = compress_recipe(c, routed ? (uint32_t)source : UINT32_MAX, tokens);
        if (routed)
            c->kept[expert] = (uint32_t)source;
        if (c->parts == (size_t)c->config->layers * (c->config->experts + 1))
            return status_set(error, MOESAIC_E_INPUT, "resume: the journal names more parts than the model has");
        c->part[c->parts++] =
            (moesaic_compressed_part){.layer = c->layer,
                                      .expert = (int32_t)expert,
                                      .source = routed ? (int32_t)source : -1,
                                      .method = recipe_method_name(recipe, routed && reshape_narrows(c)),
                                      .format = recipe_format_name(recipe),
                                      .density = json_number(json_get(note, "density")),
                                      .tokens = tokens,
                                      .forced_tokens = (uint64_t)json_int(json_get(note, "forced_tokens")),
                                      .bytes = (uint64_t)json_int(json_get(note, "bytes")),
                                      .bits_per_weight = json_number(json_get(note, "bits_per_weight")),
                                      .error = json_number(json_get(note, "error"))};
    }
    return MOESAIC_OK;
}

static moesaic_status head_make(struct compressor *c, struct packed *ret_head, moesaic_error *error) {
    const struct recipe_matrix *recipe = &c->recipe.head;
    struct calib_stats *stats = NULL;
    moesaic_status status = MOESAIC_OK;
    if (c->config->tied_head)
        return MOESAIC_OK;
    if (recipe_wants_activations(recipe))
        status = calibrate_head(c, &stats, error);
    if (!status)
        status = packed_make(&model_weights(c->model)->head, recipe, NULL, stats, ret_head, error);
    calib_stats_destroy(stats);
    return status;
}

/* A tied table is the head too, and what it multiplies tells which errors count: the text runs through the checkpoint's
 * own layers once for it. */
static moesaic_status tied_statistics(struct compressor *c, struct calib_stats **ret_stats, moesaic_error *error) {
    moesaic_status status = MOESAIC_OK;
    calibrate_embed(c, &model_weights(c->model)->embedding, c->hidden);
    for (c->layer = 0; !status && c->layer < c->config->layers; c->layer++)
        status = calibrate_pass(c, NULL, CALIBRATE_LAYER, error);
    return status ? status : calibrate_head(c, ret_stats, error);
}

static moesaic_status embedding_make(struct compressor *c, uint32_t finished, moesaic_error *error) {
    struct calib_stats *stats = NULL;
    const struct recipe_matrix *recipe = &c->recipe.embedding;
    moesaic_status status = MOESAIC_OK;
    if (finished) {
        status =
            artifact_writer_read(c->writer, embedding_tensor_name, &c->embedding.weight, &c->embedding.memory, error);
    } else {
        if (c->config->tied_head && recipe_wants_hessian(recipe))
            status = tied_statistics(c, &stats, error);
        if (!status)
            status = packed_make(&model_weights(c->model)->embedding, recipe, NULL, stats, &c->embedding, error);
        if (!status)
            status = write_embedding(c, error);
    }
    if (!status)
        calibrate_embed(c, &c->embedding.weight, c->hidden);
    if (!status)
        recover_embed(c);
    calib_stats_destroy(stats);
    return status;
}

static moesaic_status layers_run(struct compressor *c, uint32_t finished, moesaic_error *error) {
    moesaic_status status = MOESAIC_OK;
    for (c->layer = 0; !status && c->layer < c->config->layers; c->layer++) {
        if (c->layer >= finished) {
            status = compress_layer(c, error);
        } else {
            status = parts_resume(c, error);
            if (!status)
                status = resume_layer(c, error);
        }
        c->steps_done = c->steps - (double)STEPS_A_LAYER * (c->config->layers - c->layer - 1);
    }
    return status;
}

/* Sizes as whoever opens the artifact sees them. */
static moesaic_status result_fill(const struct compressor *c, const char *path, uint32_t finished,
                                  moesaic_compress_result *result, moesaic_error *error) {
    struct model *model;
    moesaic_model_info info = {0};
    moesaic_status status = model_open(path, &model, error);
    if (status)
        return status;
    pipeline_describe(model, &info);
    result->bytes = artifact_bytes(model_artifact(model));
    result->weight_bytes = info.weight_bytes;
    result->bits_per_weight = info.bits_per_weight;
    result->expert_bits_per_weight = info.expert_bits_per_weight;
    result->calib_tokens = c->tokens;
    result->resumed_layers = finished;
    result->parts = c->parts;
    model_close(model);
    return MOESAIC_OK;
}

static moesaic_status compressor_run(struct compressor *c, const char *path, const struct tokenizer *tokenizer,
                                     moesaic_compress_result *result, moesaic_error *error) {
    uint64_t fingerprint;
    uint32_t finished;
    struct packed head = {0};
    moesaic_status status = calibrate_begin(c, tokenizer, error);
    if (!status)
        status = recover_begin(c, error);
    if (!status)
        status = awq_begin(c, error);
    if (!status && c->recipe.budget.kind)
        status = budget_begin(c, error);
    if (!status)
        status = compress_fingerprint(c, &fingerprint, error);
    if (!status)
        status = artifact_writer_open(path, fingerprint, c->options->resume, &c->writer, &finished, error);
    if (!status && c->recipe.budget.kind)
        status = budget_plan(c, error);
    if (!status)
        status = embedding_make(c, finished, error);
    if (!status)
        status = layers_run(c, finished, error);
    if (!status)
        status = head_make(c, &head, error);
    if (!status)
        status = write_end(c, &head, error);
    if (!status)
        status = result_fill(c, path, finished, result, error);
    if (!status && c->recipe.budget.kind)
        budget_result(c, result);
    if (!status)
        status = layers_result(c, result, error);
    packed_done(&head);
    packed_done(&c->embedding);
    artifact_writer_close(c->writer);
    return status;
}

static double steps_of(const struct compressor *c) {
    return (STEPS_A_LAYER + budget_steps(&c->recipe)) * c->config->layers;
}

static moesaic_status parts_allocate(struct compressor *c, moesaic_error *error) {
    c->part = calloc((size_t)c->config->layers * (c->config->experts + 1), sizeof *c->part);
    c->ffn = calloc(c->config->experts + 1, sizeof *c->ffn);
    if (c->part && c->ffn)
        return MOESAIC_OK;
    return status_no_memory(error, "compress", c->config->experts * sizeof *c->ffn);
}

static moesaic_status compressor_init(struct compressor *c, const struct tokenizer *tokenizer, moesaic_error *error) {
    struct team_options team = {.threads = c->options->threads, .pin = !c->options->no_pin};
    if (!model_checkpoint(c->model))
        return status_set(error, MOESAIC_E_USAGE, "compress: the model is an artifact already (%s)",
                          artifact_path(model_artifact(c->model)));
    moesaic_status status =
        recipe_read(c->options->preset, c->options->recipe, c->options->recipe_bytes, &c->recipe, error);
    if (!status && c->config->tied_head)
        status = recipe_tie(&c->recipe, error);
    double walk = c->recipe.layers > 0 ? c->config->layers : 0;
    c->steps = walk + steps_of(c);
    if (!status)
        status = team_create(&team, &c->team, error);
    if (!status)
        status = layers_begin(c, tokenizer, error);
    c->steps = walk + steps_of(c);
    if (!status)
        status = parts_allocate(c, error);
    if (!status)
        status = reshape_begin(c, error);
    if (!status)
        status = masks_open(c, error);
    if (!status)
        source_identify(c);
    return status;
}

moesaic_status pipeline_compress(const struct model *model, const struct tokenizer *tokenizer, const char *path,
                                 const moesaic_compress_options *options, moesaic_compress_result *ret_result,
                                 moesaic_error *error) {
    struct compressor c = {.model = model, .config = model_config(model), .options = options};
    uint64_t started = clock_ns();
    moesaic_status status = compressor_init(&c, tokenizer, error);
    if (!status)
        status = compressor_run(&c, path, tokenizer, ret_result, error);
    safetensors_close(c.masks);
    reshape_end(&c);
    layers_end(&c);
    awq_end(&c);
    recover_end(&c);
    calibrate_end(&c);
    team_destroy(c.team);
    recipe_done(&c.recipe);
    free(c.choice);
    free(c.ffn);
    if (status) {
        free(c.part);
        return status;
    }
    ret_result->forward_s = (double)c.forward_ns * 1e-9;
    ret_result->fit_s = (double)c.fit_ns * 1e-9;
    ret_result->seconds = (double)(clock_ns() - started) * 1e-9;
    ret_result->part = c.part;
    return MOESAIC_OK;
}
