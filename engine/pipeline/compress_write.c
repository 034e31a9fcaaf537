/* SPDX-License-Identifier: Apache-2.0 */
/* What the compressor puts into the artifact: runs, carried files, metadata without anything that differs between two
 * runs. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "compressor_internal.h"

/* ---- names ------------------------------------------------------------------------------------------------------- */

const char *layer_tensor_name(const struct model_config *config, uint32_t layer, const char *part, char name[160]) {
    bool mixtral = config->family == FAMILY_MIXTRAL && !strcmp(part, "mlp.gate.weight");
    snprintf(name, 160, "model.layers.%" PRIu32 ".%s", layer, mixtral ? "block_sparse_moe.gate.weight" : part);
    return name;
}

const char *ffn_tensor_name(const struct model_config *config, uint32_t layer, uint32_t expert, int which,
                            char name[160]) {
    static const char *const plain[] = {"gate_proj", "up_proj", "down_proj"}, *const mixtral[] = {"w1", "w3", "w2"};
    if (expert < config->experts && config->family == FAMILY_MIXTRAL)
        snprintf(name, 160, "model.layers.%" PRIu32 ".block_sparse_moe.experts.%" PRIu32 ".%s.weight", layer, expert,
                 mixtral[which]);
    else if (expert < config->experts)
        snprintf(name, 160, "model.layers.%" PRIu32 ".mlp.experts.%" PRIu32 ".%s.weight", layer, expert, plain[which]);
    else
        snprintf(name, 160, "model.layers.%" PRIu32 ".mlp.%s%s.weight", layer,
                 config->layer[layer].moe ? "shared_expert." : "", plain[which]);
    return name;
}

/* ---- runs -------------------------------------------------------------------------------------------------------- */

static moesaic_status write_vector(struct compressor *c, const char *part, const float *values, size_t count,
                                   moesaic_error *error) {
    char name[160];
    struct weight w = floats_weight(values, count, 1);
    if (!values)
        return MOESAIC_OK;
    return artifact_writer_tensor(c->writer, layer_tensor_name(c->config, c->layer, part, name), &w, error);
}

static moesaic_status write_matrix(struct compressor *c, const char *part, const struct weight *w,
                                   moesaic_error *error) {
    char name[160];
    if (!w->data)
        return MOESAIC_OK;
    return artifact_writer_tensor(c->writer, layer_tensor_name(c->config, c->layer, part, name), w, error);
}

/* A small matrix in F32, whatever the checkpoint has: routers decide, and cost nothing. */
static moesaic_status write_floats(struct compressor *c, const char *part, const struct weight *w,
                                   moesaic_error *error) {
    if (!w->data)
        return MOESAIC_OK;
    float *values = calloc(w->rows * w->cols, sizeof *values);
    if (!values)
        return status_no_memory(error, "router", w->rows * w->cols * sizeof *values);
    weight_dequantize(w, 0, w->rows, values);
    struct weight floats = floats_weight(values, w->rows, w->cols);
    moesaic_status status = write_matrix(c, part, &floats, error);
    free(values);
    return status;
}

static moesaic_status write_ffn(struct compressor *c, uint32_t expert, const struct ffn_weights *w,
                                moesaic_error *error) {
    const struct weight *matrices[] = {&w->gate, &w->up, &w->down};
    moesaic_status status = MOESAIC_OK;
    for (int i = 0; !status && i < 3; i++) {
        const struct weight *factors[] = {&w->term[i].left, &w->term[i].right};
        char name[160], factor[192];
        ffn_tensor_name(c->config, c->layer, expert, i, name);
        status = artifact_writer_tensor(c->writer, name, matrices[i], error);
        for (int side = 0; !status && side < 2 && factors[side]->data; side++) {
            snprintf(factor, sizeof factor, "%s%s", name, artifact_factor_suffix[side]);
            status = artifact_writer_tensor(c->writer, factor, factors[side], error);
        }
    }
    return status;
}

static moesaic_status write_layer_run(struct compressor *c, moesaic_error *error) {
    const struct layer_weights *w = &c->new_layer;
    const struct model_config *config = c->config;
    size_t hidden = config->hidden, q = (size_t)config->heads * config->head_dim,
           kv = (size_t)config->kv_heads * config->head_dim;
    bool full = config->qk_norm == QK_NORM_FULL;
    const struct {
        const char *part;
        const float *values;
        size_t count;
    } vectors[] = {{"input_layernorm.weight", w->attention_norm, hidden},
                   {"post_attention_layernorm.weight", w->ffn_norm, hidden},
                   {"self_attn.q_norm.weight", w->q_norm, full ? q : config->head_dim},
                   {"self_attn.k_norm.weight", w->k_norm, full ? kv : config->head_dim},
                   {"self_attn.q_proj.bias", w->q_bias, q},
                   {"self_attn.k_proj.bias", w->k_bias, kv},
                   {"self_attn.v_proj.bias", w->v_bias, kv},
                   {"self_attn.o_proj.bias", w->o_bias, hidden},
                   {"mlp.gate_proj.bias", w->dense.gate_bias, config->intermediate},
                   {"mlp.up_proj.bias", w->dense.up_bias, config->intermediate},
                   {"mlp.down_proj.bias", w->dense.down_bias, hidden}};
    moesaic_status status = MOESAIC_OK;
    for (size_t i = 0; !status && i < sizeof vectors / sizeof *vectors; i++)
        status = write_vector(c, vectors[i].part, vectors[i].values, vectors[i].count, error);
    const struct {
        const char *part;
        const struct weight *weight;
    } matrices[] = {{"self_attn.q_proj.weight", &w->q},
                    {"self_attn.k_proj.weight", &w->k},
                    {"self_attn.v_proj.weight", &w->v},
                    {"self_attn.o_proj.weight", &w->o}};
    for (size_t i = 0; !status && i < 4; i++)
        status = write_matrix(c, matrices[i].part, matrices[i].weight, error);
    if (!status)
        status = write_floats(c, "mlp.gate.weight", &w->router, error);
    if (!status)
        status = write_floats(c, "mlp.shared_expert_gate.weight", &w->shared_gate, error);
    if (!status && w->dense.gate.data)
        status = write_ffn(c, config->experts, &w->dense, error);
    if (!status && w->shared.gate.data)
        status = write_ffn(c, config->experts, &w->shared, error);
    return status;
}

static json_value *part_json(const moesaic_compressed_part *p) {
    json_value *object = json_make_object();
    bool whole = json_put(object, "layer", json_make_integer(p->layer)) &
                 json_put(object, "expert", json_make_integer(p->expert)) &
                 json_put(object, "source", json_make_integer(p->source)) &
                 json_put(object, "method", json_make_text(p->method, strlen(p->method))) &
                 json_put(object, "format", json_make_text(p->format, strlen(p->format))) &
                 json_put(object, "density", json_make_real(p->density)) &
                 json_put(object, "tokens", json_make_integer((int64_t)p->tokens)) &
                 json_put(object, "forced_tokens", json_make_integer((int64_t)p->forced_tokens)) &
                 json_put(object, "bytes", json_make_integer((int64_t)p->bytes)) &
                 json_put(object, "bits_per_weight", json_make_real(p->bits_per_weight)) &
                 json_put(object, "error", json_make_real(p->error));
    if (whole)
        return object;
    json_free(object);
    return NULL;
}

/* The layer's parts, for the journal and then the metadata. */
static json_value *layer_notes(const struct compressor *c) {
    json_value *notes = json_make_array();
    for (size_t i = 0; i < c->parts; i++) {
        if (c->part[i].layer == c->layer && !json_push(notes, part_json(&c->part[i]))) {
            json_free(notes);
            return NULL;
        }
    }
    return notes;
}

moesaic_status write_layer(struct compressor *c, moesaic_error *error) {
    moesaic_status status = artifact_writer_begin(c->writer, ARTIFACT_LAYER, c->layer, 0, error);
    if (!status)
        status = write_layer_run(c, error);
    if (!status)
        status = artifact_writer_end(c->writer, error);
    for (uint32_t e = 0; !status && c->new_layer.experts && e < c->config->experts; e++) {
        status = artifact_writer_begin(c->writer, ARTIFACT_EXPERT, c->layer, e, error);
        if (!status)
            status = write_ffn(c, e, &c->new_layer.experts[e], error);
        if (!status)
            status = artifact_writer_end(c->writer, error);
    }
    json_value *notes = status ? NULL : layer_notes(c);
    if (!status)
        status = notes ? artifact_writer_checkpoint(c->writer, c->layer + 1, notes, error)
                       : status_no_memory(error, "notes", 0);
    json_free(notes);
    return status;
}

const char embedding_tensor_name[] = "model.embed_tokens.weight";

moesaic_status write_embedding(struct compressor *c, moesaic_error *error) {
    moesaic_status status = artifact_writer_begin(c->writer, ARTIFACT_EMBEDDING, 0, 0, error);
    if (!status)
        status = artifact_writer_tensor(c->writer, embedding_tensor_name, &c->embedding.weight, error);
    return status ? status : artifact_writer_end(c->writer, error);
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

/* Carries a file as it is, but for the numbers in config.json that a new shape changes. */
static moesaic_status write_file(struct compressor *c, const char *name, const void *data, size_t bytes,
                                 moesaic_error *error) {
    char *changed = NULL;
    moesaic_status status = MOESAIC_OK;
    if ((c->shape || c->layers.whole) && !strcmp(name, "config.json"))
        status = config_reshape(c, data, bytes, &changed, &bytes, error);
    if (!status)
        status = artifact_writer_file(c->writer, name, changed ? changed : data, bytes, error);
    free(changed);
    return status;
}

/* Path of the i-th carried file, into `path`; false where the checkpoint has none. */
static bool carried_path(const struct compressor *c, size_t i, char path[4096]) {
    const char *folder = checkpoint_path(model_checkpoint(c->model));
    return (size_t)snprintf(path, 4096, "%s/%s", folder, checkpoint_carried_files[i]) < 4096 && file_is_regular(path);
}

uint64_t write_files_bytes(const struct compressor *c) {
    uint64_t bytes = 0;
    for (size_t i = 0; checkpoint_carried_files[i]; i++) {
        char path[4096];
        struct file_map file;
        if (!carried_path(c, i, path) || file_map_open(path, &file, NULL))
            continue;
        bytes += file.bytes;
        file_map_close(&file);
    }
    return bytes;
}

static moesaic_status write_files(struct compressor *c, moesaic_error *error) {
    moesaic_status status = MOESAIC_OK;
    for (size_t i = 0; !status && checkpoint_carried_files[i]; i++) {
        char path[4096];
        struct file_map file;
        if (!carried_path(c, i, path))
            continue;
        status = file_map_open(path, &file, error);
        if (status)
            break;
        status = write_file(c, checkpoint_carried_files[i], file.data, file.bytes, error);
        file_map_close(&file);
    }
    return status;
}

static uint64_t source_checksum(const struct checkpoint *checkpoint) {
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        return 0;
    XXH3_64bits_reset(state);
    for (size_t i = 0; i < checkpoint_count(checkpoint); i++) {
        const struct tensor *t = checkpoint_at(checkpoint, i);
        XXH3_64bits_update(state, t->name, strlen(t->name) + 1);
        XXH3_64bits_update(state, t->shape, sizeof t->shape);
        XXH3_64bits_update(state, t->data, t->bytes);
    }
    uint64_t checksum = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return checksum;
}

static json_value *checksum_json(uint64_t checksum) {
    char text[20];
    snprintf(text, sizeof text, "%016" PRIx64, checksum);
    return json_make_text(text, 16);
}

static json_value *provenance_json(const struct compressor *c) {
    json_value *object = json_make_object();
    uint64_t calib = XXH3_64bits(c->options->calib, c->options->calib_bytes);
    bool whole = json_put(object, "source_xxh3", checksum_json(c->source_checksum)) &
                 json_put(object, "calibration_xxh3", checksum_json(calib)) &
                 json_put(object, "calibration_tokens", json_make_integer((int64_t)c->tokens)) &
                 json_put(object, "calibration_window", json_make_integer((int64_t)c->window)) &
                 json_put(object, "version", json_make_text(moesaic_version(), strlen(moesaic_version())));
    if (c->masks)
        whole &= json_put(object, "masks_xxh3", checksum_json(c->masks_checksum));
    if (whole)
        return object;
    json_free(object);
    return NULL;
}

/* Every layer's notes, one list of parts. */
static json_value *parts_json(const struct compressor *c) {
    json_value *list = json_make_array();
    bool whole = list != NULL;
    for (size_t i = 0; i < c->parts; i++)
        whole &= json_push(list, part_json(&c->part[i]));
    if (whole)
        return list;
    json_free(list);
    return NULL;
}

static json_value *metadata_json(const struct compressor *c) {
    json_value *root = json_make_object();
    const char *architecture = c->config->architecture, *family = c->config->model_type;
    bool whole = json_put(root, "schema", json_make_text("moesaic.artifact/1", 18)) &
                 json_put(root, "architecture", json_make_text(architecture, strlen(architecture))) &
                 json_put(root, "family", json_make_text(family, strlen(family))) &
                 json_put(root, "checksum", json_make_text("XXH3-64", 7)) &
                 json_put(root, "recipe", recipe_json(&c->recipe)) & json_put(root, "provenance", provenance_json(c)) &
                 json_put(root, "parts", parts_json(c));
    if (c->layers.whole)
        whole &= json_put(root, "layers", layers_json(c));
    if (c->choice)
        whole &= json_put(root, "budget", budget_plan_json(c, false));
    if (whole)
        return root;
    json_free(root);
    return NULL;
}

moesaic_status write_end(struct compressor *c, const struct packed *head, moesaic_error *error) {
    struct weight norm = floats_weight(model_weights(c->model)->final_norm, c->config->hidden, 1);
    moesaic_status status = artifact_writer_begin(c->writer, ARTIFACT_HEAD, 0, 0, error);
    if (!status)
        status = artifact_writer_tensor(c->writer, "model.norm.weight", &norm, error);
    if (!status && !c->config->tied_head)
        status = artifact_writer_tensor(c->writer, "lm_head.weight", &head->weight, error);
    if (!status)
        status = artifact_writer_end(c->writer, error);
    if (!status)
        status = write_files(c, error);
    json_value *metadata = status ? NULL : metadata_json(c);
    if (!status)
        status = metadata ? artifact_writer_finish(c->writer, metadata, error) : status_no_memory(error, "metadata", 0);
    json_free(metadata);
    return status;
}

moesaic_status compress_fingerprint(const struct compressor *c, uint64_t *ret_fingerprint, moesaic_error *error) {
    json_value *recipe = recipe_json(&c->recipe), *provenance = provenance_json(c), *root = json_make_object();
    bool whole = json_put(root, "recipe", recipe) & json_put(root, "provenance", provenance);
    size_t bytes;
    char *text = whole ? json_dump(root, false, &bytes) : NULL;
    json_free(root);
    if (!text)
        return status_no_memory(error, "fingerprint", 0);
    *ret_fingerprint = XXH3_64bits(text, bytes);
    free(text);
    return MOESAIC_OK;
}

void source_identify(struct compressor *c) {
    c->source_checksum = source_checksum(model_checkpoint(c->model));
}
