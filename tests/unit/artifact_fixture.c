/* SPDX-License-Identifier: Apache-2.0 */
/* A small artifact, written by the writer that the compressor uses. */
#include "artifact_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compress.h"

enum { HIDDEN = 32, HEAD_DIM = 16, VOCAB = 16, GROUP = 32, RANK = 3 };

static const char config_text[] =
    "{\"architectures\":[\"Qwen3MoeForCausalLM\"],\"model_type\":\"qwen3_moe\",\"hidden_size\":32,"
    "\"intermediate_size\":32,\"moe_intermediate_size\":32,\"num_hidden_layers\":1,\"num_attention_heads\":2,"
    "\"num_key_value_heads\":1,\"head_dim\":16,\"num_experts\":2,\"num_experts_per_tok\":1,\"decoder_sparse_step\":1,"
    "\"mlp_only_layers\":[],\"norm_topk_prob\":true,\"hidden_act\":\"silu\",\"rms_norm_eps\":1e-06,"
    "\"rope_theta\":10000.0,\"max_position_embeddings\":64,\"vocab_size\":16,\"tie_word_embeddings\":false}";

/* Numbers that look like weights and depend on nothing but `seed`. */
static void weights_fill(float *values, size_t count, uint64_t seed) {
    for (size_t i = 0; i < count; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        values[i] = ((float)(seed >> 40) / 16777216.0f - 0.5f) * 0.2f;
    }
}

static moesaic_status floats_write(struct artifact_writer *w, const char *name, size_t rows, size_t cols,
                                   moesaic_error *error) {
    float values[HIDDEN * HIDDEN];
    weights_fill(values, rows * cols, strlen(name));
    struct weight weight = {.format = FORMAT_F32,
                            .layout = LAYOUT_ROWS,
                            .rows = rows,
                            .cols = cols,
                            .data = (const uint8_t *)values,
                            .bytes = rows * cols * sizeof *values,
                            .factor = 1};
    return artifact_writer_tensor(w, name, &weight, error);
}

static moesaic_status packed_write(struct artifact_writer *w, const char *name, size_t rows,
                                   struct compress_options options, moesaic_error *error) {
    float values[HIDDEN * HIDDEN];
    struct calib_stats *nothing = NULL;
    struct compress_result result = {0};
    struct weight weight;
    uint8_t *bytes = NULL;
    weights_fill(values, rows * HIDDEN, strlen(name) + rows);
    options.group = GROUP;
    options.quant = QUANT_RTN;
    moesaic_status status = calib_stats_create(HIDDEN, false, &nothing, error);
    if (!status)
        status = compress_matrix(values, rows, HIDDEN, nothing, &options, &result, error);
    if (!status && !(bytes = memory_zeroed(weight_packed_bytes(result.codes), 1)))
        status = status_no_memory(error, name, 0);
    if (!status)
        status = weight_pack(result.codes, bytes, weight_packed_bytes(result.codes), &weight, error);
    if (!status)
        status = artifact_writer_tensor(w, name, &weight, error);
    free(bytes);
    compress_result_done(&result);
    calib_stats_destroy(nothing);
    return status;
}

static moesaic_status term_write(struct artifact_writer *w, const char *matrix, moesaic_error *error) {
    moesaic_status status = MOESAIC_OK;
    for (int side = 0; !status && side < 2; side++) {
        float values[HIDDEN * RANK];
        uint16_t halves[HIDDEN * RANK];
        char name[128];
        weights_fill(values, HIDDEN * RANK, (uint64_t)side);
        for (size_t i = 0; i < HIDDEN * RANK; i++)
            halves[i] = bfloat_from_float(values[i]);
        struct weight weight = {.format = FORMAT_BF16,
                                .rows = side ? RANK : HIDDEN,
                                .cols = side ? HIDDEN : RANK,
                                .data = (const uint8_t *)halves,
                                .bytes = sizeof halves,
                                .factor = 1};
        snprintf(name, sizeof name, "%s%s", matrix, artifact_factor_suffix[side]);
        status = artifact_writer_tensor(w, name, &weight, error);
    }
    return status;
}

static moesaic_status layer_write(struct artifact_writer *w, moesaic_error *error) {
    static const struct {
        const char *name;
        size_t rows, cols;
    } parts[] = {{"model.layers.0.input_layernorm.weight", HIDDEN, 1},
                 {"model.layers.0.post_attention_layernorm.weight", HIDDEN, 1},
                 {"model.layers.0.self_attn.q_norm.weight", HEAD_DIM, 1},
                 {"model.layers.0.self_attn.k_norm.weight", HEAD_DIM, 1},
                 {"model.layers.0.self_attn.q_proj.weight", 2 * HEAD_DIM, HIDDEN},
                 {"model.layers.0.self_attn.k_proj.weight", HEAD_DIM, HIDDEN},
                 {"model.layers.0.self_attn.v_proj.weight", HEAD_DIM, HIDDEN},
                 {"model.layers.0.self_attn.o_proj.weight", HIDDEN, 2 * HEAD_DIM},
                 {"model.layers.0.mlp.gate.weight", 2, HIDDEN}};
    moesaic_status status = artifact_writer_begin(w, ARTIFACT_LAYER, 0, 0, error);
    for (size_t i = 0; !status && i < sizeof parts / sizeof *parts; i++)
        status = floats_write(w, parts[i].name, parts[i].rows, parts[i].cols, error);
    return status ? status : artifact_writer_end(w, error);
}

static moesaic_status experts_write(struct artifact_writer *w, moesaic_error *error) {
    static const struct {
        const char *name;
        struct compress_options options;
    } parts[2][3] = {
        {{"model.layers.0.mlp.experts.0.gate_proj.weight", {.format = FORMAT_INT4}},
         {"model.layers.0.mlp.experts.0.up_proj.weight",
          {.format = FORMAT_INT4, .prune = PRUNE_MAGNITUDE, .density = 0.5}},
         {"model.layers.0.mlp.experts.0.down_proj.weight",
          {.format = FORMAT_INT4, .prune = PRUNE_MAGNITUDE, .keep = 2, .of = 4}}},
        {{"model.layers.0.mlp.experts.1.gate_proj.weight", {.format = FORMAT_INT3}},
         {"model.layers.0.mlp.experts.1.up_proj.weight", {.format = FORMAT_INT2}},
         {"model.layers.0.mlp.experts.1.down_proj.weight",
          {.format = FORMAT_INT4, .prune = PRUNE_MAGNITUDE, .keep = 4, .of = 8}}}};
    moesaic_status status = MOESAIC_OK;
    for (uint32_t expert = 0; !status && expert < 2; expert++) {
        status = artifact_writer_begin(w, ARTIFACT_EXPERT, 0, expert, error);
        for (int i = 0; !status && i < 3; i++)
            status = packed_write(w, parts[expert][i].name, HIDDEN, parts[expert][i].options, error);
        if (!status && expert == 1)
            status = term_write(w, parts[expert][2].name, error);
        if (!status)
            status = artifact_writer_end(w, error);
    }
    return status;
}

static moesaic_status begin_write(struct artifact_writer *w, moesaic_error *error) {
    moesaic_status status = artifact_writer_begin(w, ARTIFACT_EMBEDDING, 0, 0, error);
    if (!status)
        status = packed_write(w, "model.embed_tokens.weight", VOCAB, (struct compress_options){.format = FORMAT_INT8},
                              error);
    if (!status)
        status = artifact_writer_end(w, error);
    if (!status)
        status = layer_write(w, error);
    if (!status)
        status = experts_write(w, error);
    return status ? status : artifact_writer_checkpoint(w, 1, NULL, error);
}

static moesaic_status end_write(struct artifact_writer *w, moesaic_error *error) {
    json_value *metadata = json_make_object();
    json_put(metadata, "schema", json_make_text("moesaic.artifact/1", 18));
    moesaic_status status = artifact_writer_begin(w, ARTIFACT_HEAD, 0, 0, error);
    if (!status)
        status = floats_write(w, "model.norm.weight", HIDDEN, 1, error);
    if (!status)
        status = floats_write(w, "lm_head.weight", VOCAB, HIDDEN, error);
    if (!status)
        status = artifact_writer_end(w, error);
    if (!status)
        status = artifact_writer_file(w, "config.json", config_text, sizeof config_text - 1, error);
    if (!status)
        status = artifact_writer_finish(w, metadata, error);
    json_free(metadata);
    return status;
}

moesaic_status artifact_fixture_write(const char *path, uint64_t fingerprint, bool resume, bool whole,
                                      uint32_t *ret_layers, moesaic_error *error) {
    struct artifact_writer *writer;
    moesaic_status status = artifact_writer_open(path, fingerprint, resume, &writer, ret_layers, error);
    if (status)
        return status;
    if (!*ret_layers)
        status = begin_write(writer, error);
    if (!status && whole)
        status = end_write(writer, error);
    artifact_writer_close(writer);
    return status;
}
