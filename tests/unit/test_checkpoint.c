/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoint folders of every family, opened and bound; variants of their layout; the damaged ones and what they say.
 */
#include "checkpoint_folder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct model_weights *bound(const struct checkpoint *checkpoint) {
    struct model_weights *weights = NULL;
    moesaic_error error = {0};
    cr_assert_eq(checkpoint_bind(checkpoint, &weights, &error), MOESAIC_OK, "%s", error.message);
    return weights;
}

static bool is_matrix(const struct weight *weight, uint64_t rows, uint64_t cols) {
    uint64_t element = weight->format == FORMAT_F32 ? 4 : 2;
    return weight->data && weight->rows == rows && weight->cols == cols && weight->layout == LAYOUT_ROWS &&
           weight->group == 0 && weight->factor == 1 && weight->bytes == rows * cols * element;
}

static bool is_at(const struct checkpoint *checkpoint, const struct weight *weight, const char *name) {
    const struct tensor *tensor = checkpoint_find(checkpoint, name);
    return tensor && tensor->data == weight->data && tensor->bytes == weight->bytes;
}

static void check_ffn(const struct ffn_weights *ffn, uint64_t inner, uint64_t hidden) {
    cr_expect(is_matrix(&ffn->gate, inner, hidden) && is_matrix(&ffn->up, inner, hidden) &&
              is_matrix(&ffn->down, hidden, inner));
}

static void check_layer(const struct model_config *c, const struct layer_weights *layer, bool moe) {
    uint64_t q = (uint64_t)c->heads * c->head_dim, kv = (uint64_t)c->kv_heads * c->head_dim;
    cr_expect(is_matrix(&layer->q, q, c->hidden) && is_matrix(&layer->k, kv, c->hidden) &&
              is_matrix(&layer->v, kv, c->hidden) && is_matrix(&layer->o, c->hidden, q));
    cr_expect(layer->attention_norm && layer->ffn_norm);
    cr_expect_eq(layer->q_bias != NULL, c->q_bias);
    cr_expect_eq(layer->o_bias != NULL, c->o_bias);
    cr_expect_eq(layer->q_norm != NULL, c->qk_norm != QK_NORM_NONE);
    cr_expect_eq(layer->experts != NULL, moe);
    cr_expect_eq(layer->dense.gate.data != NULL, !moe);
    cr_expect_eq(layer->shared.gate.data != NULL, moe && c->shared_intermediate > 0);
    cr_expect_eq(layer->shared_gate.data != NULL, moe && c->shared_gate);
    if (!moe)
        check_ffn(&layer->dense, c->intermediate, c->hidden);
    for (uint32_t i = 0; moe && i < c->experts; i++)
        check_ffn(&layer->experts[i], c->moe_intermediate, c->hidden);
    if (moe)
        cr_expect(is_matrix(&layer->router, c->experts, c->hidden));
}

/* Opens and binds a whole checkpoint of the test data and checks every weight's shape. */
static struct checkpoint *whole(const char *folder, model_family family, struct model_weights **ret_weights) {
    struct checkpoint *checkpoint = opened(data_path(folder));
    const struct model_config *config = checkpoint_config(checkpoint);
    struct model_weights *weights = *ret_weights = bound(checkpoint);
    cr_expect_eq(config->family, family);
    cr_assert_eq(weights->n_layers, config->layers);
    for (uint32_t i = 0; i < config->layers; i++)
        check_layer(config, &weights->layers[i], config->layer[i].moe);
    cr_expect(is_matrix(&weights->embedding, config->vocab, config->hidden));
    cr_expect(is_matrix(&weights->head, config->vocab, config->hidden));
    cr_expect_eq(weights->head.data == weights->embedding.data, config->tied_head);
    return checkpoint;
}

static void done(struct checkpoint *checkpoint, struct model_weights *weights) {
    model_weights_destroy(weights);
    checkpoint_close(checkpoint);
}

Test(checkpoint, opens_llama) {
    struct model_weights *weights;
    struct checkpoint *checkpoint = whole("checkpoints/llama", FAMILY_LLAMA, &weights);
    cr_expect_eq(weights->layers[0].q.format, FORMAT_F16);
    cr_expect(is_at(checkpoint, &weights->layers[1].dense.down, "model.layers.1.mlp.down_proj.weight"));
    cr_expect_str_eq(checkpoint_shard_name(checkpoint, 0), "model.safetensors");
    cr_expect_str_empty(checkpoint_shard_name(checkpoint, 1));
    cr_expect_null(weights->experts);
    done(checkpoint, weights);
}

Test(checkpoint, opens_mixtral) {
    struct model_weights *weights;
    struct checkpoint *checkpoint = whole("checkpoints/mixtral", FAMILY_MIXTRAL, &weights);
    const struct ffn_weights *expert = &weights->layers[1].experts[3];
    cr_expect(is_at(checkpoint, &expert->gate, "model.layers.1.block_sparse_moe.experts.3.w1.weight"));
    cr_expect(is_at(checkpoint, &expert->down, "model.layers.1.block_sparse_moe.experts.3.w2.weight"));
    cr_expect(is_at(checkpoint, &expert->up, "model.layers.1.block_sparse_moe.experts.3.w3.weight"));
    cr_expect(is_at(checkpoint, &weights->layers[0].router, "model.layers.0.block_sparse_moe.gate.weight"));
    cr_expect_str_eq(checkpoint_shard_name(checkpoint, 2), "model-00003-of-00003.safetensors");
    done(checkpoint, weights);
}

Test(checkpoint, opens_qwen2_moe) {
    struct model_weights *weights;
    struct checkpoint *checkpoint = whole("checkpoints/qwen2_moe", FAMILY_QWEN2_MOE, &weights);
    cr_expect(weights->layers[0].experts && !weights->layers[1].experts && weights->layers[2].experts);
    cr_expect_eq(weights->layers[2].experts - weights->layers[0].experts, 12);
    cr_expect(is_at(checkpoint, &weights->layers[2].shared.up, "model.layers.2.mlp.shared_expert.up_proj.weight"));
    cr_expect(is_matrix(&weights->layers[0].shared_gate, 1, 128));
    done(checkpoint, weights);
}

Test(checkpoint, opens_qwen3_moe) {
    struct model_weights *weights;
    struct checkpoint *checkpoint = whole("checkpoints/qwen3_moe", FAMILY_QWEN3_MOE, &weights);
    cr_expect(is_at(checkpoint, &weights->layers[1].experts[7].up, "model.layers.1.mlp.experts.7.up_proj.weight"));
    done(checkpoint, weights);
}

Test(checkpoint, opens_olmoe) {
    struct model_weights *weights;
    struct checkpoint *checkpoint = whole("checkpoints/olmoe", FAMILY_OLMOE, &weights);
    const struct tensor *norm = checkpoint_find(checkpoint, "model.layers.1.self_attn.k_norm.weight");
    cr_assert(norm && norm->type == TENSOR_F32 && norm->shape[0] == 128);
    cr_expect_arr_eq(weights->layers[1].k_norm, norm->data, norm->bytes);
    cr_expect_eq((uintptr_t)weights->layers[1].k_norm % 64, 0);
    done(checkpoint, weights);
}

Test(checkpoint, opens_the_bundled_model) {
    struct model_weights *weights;
    struct checkpoint *checkpoint = whole("fable-moe", FAMILY_QWEN3_MOE, &weights);
    cr_expect_eq(checkpoint_count(checkpoint), 344);
    cr_expect_null(checkpoint_at(checkpoint, 344));
    for (size_t i = 1; i < 344; i++)
        cr_expect_lt(strcmp(checkpoint_at(checkpoint, i - 1)->name, checkpoint_at(checkpoint, i)->name), 0);
    done(checkpoint, weights);
    checkpoint_close(NULL);
    model_weights_destroy(NULL);
}

Test(checkpoint, widens_half_precision_vectors) {
    struct model_weights *weights;
    struct checkpoint *checkpoint = whole("checkpoints/mixtral", FAMILY_MIXTRAL, &weights);
    const struct tensor *norm = checkpoint_find(checkpoint, "model.norm.weight");
    cr_assert(norm && norm->type == TENSOR_BF16);
    for (uint64_t i = 0; i < norm->shape[0]; i++) {
        uint32_t bits = (uint32_t)norm->data[2 * i] << 16 | (uint32_t)norm->data[2 * i + 1] << 24;
        cr_expect_eq(memcmp(&weights->final_norm[i], &bits, 4), 0);
    }
    done(checkpoint, weights);
}

Test(checkpoint, looks_up_single_weights) {
    struct checkpoint *checkpoint = opened(data_path("checkpoints/llama"));
    struct weight weight;
    moesaic_error error = {0};
    cr_expect_eq(checkpoint_weight(checkpoint, "lm_head.weight", 897, 128, &weight, &error), MOESAIC_OK);
    cr_expect(is_matrix(&weight, 897, 128));
    cr_expect_eq(checkpoint_weight(checkpoint, "model.norm.weight", 128, 0, &weight, &error), MOESAIC_OK);
    cr_expect(weight.rows == 128 && weight.cols == 1);
    cr_expect_eq(checkpoint_weight(checkpoint, "lm_head.weight", 128, 897, &weight, &error), MOESAIC_E_INPUT);
    cr_expect(strstr(error.message, "model.safetensors: tensor \"lm_head.weight\": shape [897, 128]"), "%s",
              error.message);
    cr_expect_eq(checkpoint_weight(checkpoint, "nothing", 1, 1, &weight, &error), MOESAIC_E_INPUT);
    checkpoint_close(checkpoint);
}

/* ---- layouts ---- */

static void leave(struct edit *edit, void *user) {
    (void)edit, (void)user;
}

/* A copy of the valid small checkpoint with an edited model.safetensors and, unless NULL, another config.json. */
static struct folder variant(edit_function *edit, void *user, const char *config) {
    struct folder folder = folder_make();
    tensors_rewrite(data_path("bad/_valid/model.safetensors"), folder_file(&folder, "model.safetensors"), edit, user);
    if (config)
        folder_write(&folder, "config.json", config, strlen(config));
    folder_link_all(&folder, "bad/_valid");
    return folder;
}

/* The valid config.json with `from` replaced by `to`; malloc'ed. */
static char *config_with(const char *from, const char *to) {
    struct file_map map;
    cr_assert_eq(file_map_open(data_path("bad/_valid/config.json"), &map, NULL), MOESAIC_OK);
    char *text = calloc(map.bytes + strlen(to) + 1, 1);
    memcpy(text, map.data, map.bytes);
    file_map_close(&map);
    char *at = strstr(text, from);
    cr_assert_not_null(at, "%s", from);
    memmove(at + strlen(to), at + strlen(from), strlen(at + strlen(from)) + 1);
    memcpy(at, to, strlen(to));
    return text;
}

Test(checkpoint, opens_links_and_the_path_with_a_slash) {
    struct folder folder = variant(leave, NULL, NULL);
    char path[300];
    snprintf(path, sizeof path, "%s/", folder.path);
    struct checkpoint *checkpoint = opened(path);
    cr_expect_str_eq(checkpoint_path(checkpoint), path);
    checkpoint_close(checkpoint);
    folder_remove(&folder);
}

/* Turns the first expert's matrices into the fused pair and drops the others'. */
struct fusion {
    uint8_t gate_up[4 * 64 * 32 * 2], down[4 * 32 * 32 * 2];
};
static void fuse(struct edit *edit, void *user) {
    struct fusion *fusion = user;
    unsigned expert;
    char part[16];
    if (sscanf(edit->name, "model.layers.0.mlp.experts.%u.%15[a-z]_proj", &expert, part) != 2)
        return;
    bool gate = strcmp(part, "gate") == 0, down = strcmp(part, "down") == 0;
    cr_assert(expert < 4 && edit->bytes == 2048);
    memcpy(down ? fusion->down + 2048 * expert : fusion->gate_up + 4096 * expert + (gate ? 0 : 2048), edit->data, 2048);
    edit->drop = expert != 0 || !(gate || down);
    snprintf(edit->name, sizeof edit->name, "model.layers.0.mlp.experts.%s", down ? "down_proj" : "gate_up_proj");
    edit->rank = 3;
    edit->shape[0] = 4;
    edit->shape[1] = down ? 32 : 64;
    edit->shape[2] = 32;
    edit->data = down ? fusion->down : fusion->gate_up;
    edit->bytes = down ? sizeof fusion->down : sizeof fusion->gate_up;
}

Test(checkpoint, binds_fused_experts_like_single_ones) {
    struct fusion *fusion = calloc(1, sizeof *fusion);
    struct folder folder = variant(fuse, fusion, NULL);
    struct checkpoint *fused = opened(folder.path), *single = opened(data_path("bad/_valid"));
    struct model_weights *a = bound(fused), *b = bound(single);
    cr_expect_null(checkpoint_find(fused, "model.layers.0.mlp.experts.0.gate_proj.weight"));
    for (int i = 0; i < 4; i++) {
        const struct ffn_weights *x = &a->layers[0].experts[i], *y = &b->layers[0].experts[i];
        cr_expect(is_matrix(&x->gate, 32, 32) && is_matrix(&x->up, 32, 32) && is_matrix(&x->down, 32, 32));
        cr_expect_arr_eq(x->gate.data, y->gate.data, 2048);
        cr_expect_arr_eq(x->up.data, y->up.data, 2048);
        cr_expect_arr_eq(x->down.data, y->down.data, 2048);
    }
    done(fused, a);
    done(single, b);
    folder_remove(&folder);
    free(fusion);
}

struct renaming {
    const char *from, *to;
};
static void rename_tensor(struct edit *edit, void *user) {
    const struct renaming *renaming = user;
    if (strcmp(edit->name, renaming->from) == 0)
        snprintf(edit->name, sizeof edit->name, "%s", renaming->to);
}

Test(checkpoint, a_tied_pair_may_be_stored_as_the_head) {
    struct renaming renaming = {"model.embed_tokens.weight", "lm_head.weight"};
    struct folder folder = variant(rename_tensor, &renaming, NULL);
    struct checkpoint *checkpoint = opened(folder.path);
    struct model_weights *weights = bound(checkpoint);
    cr_expect(checkpoint_config(checkpoint)->tied_head);
    cr_expect_eq(weights->head.data, weights->embedding.data);
    done(checkpoint, weights);
    folder_remove(&folder);
}

static char logged[512];
static void keep_log(void *user, log_level level, const char *line) {
    (void)user, (void)level;
    snprintf(logged, sizeof logged, "%s", line);
}

/* Adds a tensor to model.safetensors: a copy of another under a new name. */
static void add_tensor(struct folder *folder, const char *name, const char *copy_of) {
    char path[512];
    snprintf(path, sizeof path, "%s", folder_file(folder, "model.safetensors"));
    struct safetensors *file;
    struct safetensors_writer *writer;
    cr_assert_eq(safetensors_open(path, &file, NULL), MOESAIC_OK);
    cr_assert_eq(safetensors_writer_open(path, &writer, NULL), MOESAIC_OK);
    size_t count = safetensors_count(file);
    const struct tensor *twin = safetensors_find(file, copy_of);
    cr_assert_not_null(twin);
    for (size_t i = 0; i <= count; i++) {
        const struct tensor *t = i < count ? safetensors_at(file, i) : twin;
        cr_assert_eq(safetensors_writer_declare(writer, i < count ? t->name : name, t->type, t->rank, t->shape, NULL),
                     MOESAIC_OK);
    }
    for (size_t i = 0; i <= count; i++) {
        const struct tensor *t = i < count ? safetensors_at(file, i) : twin;
        cr_assert_eq(safetensors_writer_data(writer, t->data, t->bytes, NULL), MOESAIC_OK);
    }
    cr_assert_eq(safetensors_writer_finish(writer, NULL), MOESAIC_OK);
    safetensors_writer_close(writer);
    safetensors_close(file);
}

Test(checkpoint, uses_a_stored_head_though_tied) {
    struct folder folder = variant(leave, NULL, NULL);
    add_tensor(&folder, "lm_head.weight", "model.embed_tokens.weight");
    log_set(keep_log, NULL);
    struct checkpoint *checkpoint = opened(folder.path);
    struct model_weights *weights = bound(checkpoint);
    cr_expect(!checkpoint_config(checkpoint)->tied_head);
    cr_expect(is_at(checkpoint, &weights->head, "lm_head.weight"));
    cr_expect(strstr(logged, "lm_head.weight is stored"), "%s", logged);
    done(checkpoint, weights);
    folder_remove(&folder);
}

Test(checkpoint, passes_over_tensors_without_meaning) {
    struct folder folder = variant(leave, NULL, NULL);
    log_set(keep_log, NULL);
    add_tensor(&folder, "model.layers.1.input_layernorm.weight", "model.norm.weight"); /* a layer behind the last */
    add_tensor(&folder, "model.layers.0.self_attn.rotary_emb.inv_freq", "model.norm.weight");
    checkpoint_close(opened(folder.path));
    cr_expect_str_empty(logged);
    add_tensor(&folder, "score.weight", "model.norm.weight");
    checkpoint_close(opened(folder.path));
    cr_expect(strstr(logged, "1 tensors are not used, such as \"score.weight\""), "%s", logged);
    folder_remove(&folder);
}

Test(checkpoint, refuses_tensors_of_another_model) {
    static const char *const names[] = {"model.layers.0.self_attn.q_proj.bias",
                                        "model.layers.0.mlp.experts.4.gate_proj.weight",
                                        "model.layers.0.pre_feedforward_layernorm.weight"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct folder folder = variant(leave, NULL, NULL);
        add_tensor(&folder, names[i], "model.norm.weight");
        refused(folder.path, MOESAIC_E_INPUT, names[i], "config.json implies no such tensor for qwen3_moe");
        folder_remove(&folder);
    }
}

/* ---- damaged folders of the test data ---- */

static struct folder damaged(const char *name) {
    struct folder folder = folder_make();
    char source[128];
    snprintf(source, sizeof source, "bad/%s", name);
    folder_link_all(&folder, source);
    bool index = file_is_regular(folder_file(&folder, "model.safetensors.index.json"));
    folder_link_all(&folder, "bad/_valid");
    if (index)
        cr_assert_eq(unlink(folder_file(&folder, "model.safetensors")), 0);
    return folder;
}

static const struct {
    const char *name;
    moesaic_status status;
    const char *file, *what;
} damages[] = {
    {"safetensors-truncated", MOESAIC_E_INPUT, "/model.safetensors: tensor \"", "lie outside the file's 52940 bytes"},
    {"safetensors-header-length-huge", MOESAIC_E_INPUT, "/model.safetensors: ", "offset 0 is 9223372036854775807"},
    {"safetensors-header-not-json", MOESAIC_E_INPUT, "/model.safetensors: ", "offset 8 does not begin with '{'"},
    {"safetensors-overlap", MOESAIC_E_INPUT,
     "/model.safetensors: tensor \"model.layers.0.mlp.experts.1.gate_proj.weight", "begins at offset 60736, inside"},
    {"safetensors-offset-out-of-range", MOESAIC_E_INPUT, "tensor \"model.layers.0.self_attn.q_proj.weight\"",
     "[1000000000000, 1000000002048]"},
    {"safetensors-dtype-mismatch", MOESAIC_E_INPUT, "tensor \"model.layers.0.self_attn.q_proj.weight\"",
     "F32 [32, 32] takes 4096 bytes"},
    {"tensor-shape-vs-config", MOESAIC_E_INPUT, "/model.safetensors: tensor \"model.layers.0.self_attn.q_proj.weight\"",
     "shape [16, 32] where"},
    {"missing-tensor", MOESAIC_E_INPUT, "tensor \"model.layers.0.mlp.experts.2.down_proj.weight\"", "is missing"},
    {"missing-shard", MOESAIC_E_INPUT, "/model-00002-of-00002.safetensors: no such file", "index.json names it"},
    {"index-path-escape", MOESAIC_E_INPUT, "/model.safetensors.index.json: ", "etc/passwd\" is not the name"},
    {"config-zero-heads", MOESAIC_E_INPUT, "/config.json: ", "num_attention_heads is 0"},
    {"config-negative-hidden", MOESAIC_E_INPUT, "/config.json: ", "hidden_size is -32"},
    {"config-absurd-sizes", MOESAIC_E_INPUT, "/config.json: ", "num_hidden_layers is 1000000000"},
    {"config-topk-exceeds-experts", MOESAIC_E_INPUT, "/config.json: ", "num_experts_per_tok 5 exceeds num_experts 4"},
    {"config-unknown-architecture", MOESAIC_E_UNSUPPORTED, "/config.json: ", "\"frobnicator\" is not supported"},
    {"config-invalid-utf8", MOESAIC_E_INPUT, "/config.json: ", "invalid UTF-8 (line 11"},
    {"config-deeply-nested", MOESAIC_E_INPUT, "/config.json: ", "nested too deeply"},
};

Test(checkpoint, refuses_damaged_folders) {
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        struct folder folder = damaged(damages[i].name);
        refused(folder.path, damages[i].status, damages[i].file, damages[i].what);
        folder_remove(&folder);
    }
}

Test(checkpoint, opens_what_is_damaged_elsewhere_only) {
    static const char *const names[] = {"_valid", "weights-nan", "tokenizer-huge-ids"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct folder folder = damaged(names[i]);
        checkpoint_close(opened(folder.path));
        folder_remove(&folder);
    }
}

Test(checkpoint, says_what_a_path_is_instead) {
    refused(data_path("bad/gguf-wrong-magic/model.gguf"), MOESAIC_E_INPUT,
            "model.gguf: ", "magic at offset 0 is \"GGUX\"");
    refused(data_path("bad/gguf-wrong-magic"), MOESAIC_E_INPUT, "model.gguf: ", "\"GGUX\"");
    refused(data_path("bad/gguf-huge-string/model.gguf"), MOESAIC_E_UNSUPPORTED, "GGUF", "not supported yet");
    refused(data_path("bad/_valid/model.safetensors"), MOESAIC_E_INPUT, "model.safetensors: ", "give the folder");
    refused(data_path("bad/_valid/config.json"), MOESAIC_E_INPUT, "config.json: ", "not a model");
    refused(data_path("texts"), MOESAIC_E_INPUT, "texts: ", "no config.json");
    refused(data_path("nowhere"), MOESAIC_E_IO, "nowhere: ", "No such file");
    refused("/dev/null", MOESAIC_E_IO, "/dev/null: ", "not a regular file");
}

/* ---- more damage ---- */

struct reshaping {
    const char *name;
    uint32_t rank;
    uint64_t shape[2];
    tensor_type type;
};
static void reshape(struct edit *edit, void *user) {
    const struct reshaping *reshaping = user;
    if (strcmp(edit->name, reshaping->name) != 0)
        return;
    edit->rank = reshaping->rank;
    memcpy(edit->shape, reshaping->shape, sizeof reshaping->shape);
    edit->type = reshaping->type;
}

Test(checkpoint, refuses_tensors_that_contradict_the_config) {
    static const struct {
        struct reshaping reshaping;
        moesaic_status status;
        const char *why;
    } cases[] = {
        {{"model.norm.weight", 2, {1, 32}, TENSOR_BF16},
         MOESAIC_E_INPUT,
         "shape [1, 32] where config.json implies [32]"},
        {{"model.norm.weight", 1, {32}, TENSOR_U16}, MOESAIC_E_UNSUPPORTED, "weights of type U16 are not supported"},
        {{"model.layers.0.self_attn.q_norm.weight", 1, {8}, TENSOR_F32}, MOESAIC_E_INPUT, "implies [16]"},
        {{"model.layers.0.mlp.gate.weight", 2, {32, 4}, TENSOR_BF16}, MOESAIC_E_INPUT, "shape [32, 4]"},
        {{"model.layers.0.self_attn.v_proj.weight", 2, {32, 32}, TENSOR_U8}, MOESAIC_E_INPUT, "implies [16, 32]"},
        {{"model.layers.0.mlp.experts.3.up_proj.weight", 1, {1024}, TENSOR_BF16}, MOESAIC_E_INPUT, "shape [1024]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct reshaping reshaping = cases[i].reshaping;
        struct folder folder = variant(reshape, &reshaping, NULL);
        refused(folder.path, cases[i].status, reshaping.name, cases[i].why);
        folder_remove(&folder);
    }
}

Test(checkpoint, refuses_configs_that_contradict_the_tensors) {
    static const struct {
        const char *from, *to, *what, *why;
    } cases[] = {
        {"\"num_hidden_layers\": 1", "\"num_hidden_layers\": 2", "model.layers.1.self_attn.q_proj.weight",
         "is missing"},
        {"\"num_experts\": 4", "\"num_experts\": 65535", "model.layers.0.mlp.gate.weight", "implies [65535, 32]"},
        {"\"num_experts\": 4", "\"num_experts\": 3", "model.layers.0.mlp.gate.weight", "implies [3, 32]"},
        {"\"vocab_size\": 916", "\"vocab_size\": 917", "model.embed_tokens.weight", "implies [917, 32]"},
        {"\"tie_word_embeddings\": true", "\"tie_word_embeddings\": false", "lm_head.weight", "is missing"},
        {"\"attention_bias\": false", "\"attention_bias\": true", "model.layers.0.self_attn.q_proj.bias", "is missing"},
        {"\"mlp_only_layers\": []", "\"mlp_only_layers\": [0]", "model.layers.0.mlp.gate_proj.weight", "is missing"},
        {"\"moe_intermediate_size\": 32", "\"moe_intermediate_size\": 33", "experts.0.gate_proj.weight",
         "implies [33, 32]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *config = config_with(cases[i].from, cases[i].to);
        struct folder folder = variant(leave, NULL, config);
        refused(folder.path, MOESAIC_E_INPUT, cases[i].what, cases[i].why);
        folder_remove(&folder);
        free(config);
    }
}

Test(checkpoint, refuses_half_a_fused_pair) {
    struct fusion *fusion = calloc(1, sizeof *fusion);
    struct folder folder = variant(fuse, fusion, NULL);
    char path[512];
    snprintf(path, sizeof path, "%s", folder_file(&folder, "model.safetensors"));
    struct renaming renaming = {"model.layers.0.mlp.experts.down_proj", "other"};
    tensors_rewrite(path, path, rename_tensor, &renaming);
    refused(folder.path, MOESAIC_E_INPUT, "\"model.layers.0.mlp.experts.down_proj\"", "is missing");
    folder_remove(&folder);
    free(fusion);
}

/* ---- the index ---- */

static const struct {
    const char *index, *what, *why;
} indices[] = {
    {"[]", "\"weight_map\"", "missing or not an object"},
    {"{\"weight_map\": []}", "\"weight_map\"", "missing or not an object"},
    {"{\"weight_map\": {}}", "weight_map names 0 files", "1 to 4096"},
    {"{\"weight_map\": {\"a\": 1}}", "tensor \"a\"", "its file is not a string"},
    {"{\"weight_map\": {\"a\": \"\"}}", "tensor \"a\"", "not the name of a .safetensors file"},
    {"{\"weight_map\": {\"a\": \"..\"}}", "tensor \"a\"", "not the name of a .safetensors file"},
    {"{\"weight_map\": {\"a\": \"config.json\"}}", "tensor \"a\"", "not the name of a .safetensors file"},
    {"{\"weight_map\": {\"a\": \"/tmp/x.safetensors\"}}", "tensor \"a\"", "not the name of a .safetensors file"},
    {"{\"weight_map\": {\"a\": \"x\\u0000.safetensors\"}}", "tensor \"a\"", "not the name of a .safetensors file"},
    {"{\"weight_map\": {\"nothing\": \"one.safetensors\"}}", "tensor \"nothing\"", "is not in \"one.safetensors\""},
    {"{\"weight_map\": {\"model.norm.weight\": \"absent.safetensors\"}}", "absent.safetensors", "no such file"},
    {"{\"weight_map\": {\"a\": \"one.safetensors\", \"a\": \"one.safetensors\"}}", "index.json", "duplicate key \"a\""},
    {"{\"weight_map\": {\"model.norm.weight\": \"one.safetensors\", \"model.embed_tokens.weight\": "
     "\"two.safetensors\"}}",
     "is both in one.safetensors", "in two.safetensors"},
};

Test(checkpoint, refuses_damaged_indices) {
    for (size_t i = 0; i < sizeof indices / sizeof *indices; i++) {
        struct folder folder = folder_make();
        folder_copy(&folder, data_path("bad/_valid/model.safetensors"), "one.safetensors");
        folder_copy(&folder, data_path("bad/_valid/model.safetensors"), "two.safetensors");
        folder_copy(&folder, data_path("bad/_valid/config.json"), "config.json");
        folder_write(&folder, "model.safetensors.index.json", indices[i].index, strlen(indices[i].index));
        refused(folder.path, MOESAIC_E_INPUT, indices[i].what, indices[i].why);
        folder_remove(&folder);
    }
}

Test(checkpoint, refuses_folders_without_weights_and_bad_generation_config) {
    struct folder folder = folder_make();
    folder_copy(&folder, data_path("bad/_valid/config.json"), "config.json");
    refused(folder.path, MOESAIC_E_INPUT, folder.path, "holds neither model.safetensors nor");
    folder_copy(&folder, data_path("bad/_valid/model.safetensors"), "model.safetensors");
    checkpoint_close(opened(folder.path));
    folder_write(&folder, "generation_config.json", "{", 1);
    refused(folder.path, MOESAIC_E_INPUT, "generation_config.json: ", "invalid JSON");
    folder_remove(&folder);
}
