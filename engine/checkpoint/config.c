/* SPDX-License-Identifier: Apache-2.0 */
/* Reads config.json of the supported families into one checked configuration.
 *
 * Key names are both those of published files (num_experts, rope_theta, rope_scaling, torch_dtype) and those that
 * transformers 5 writes (num_local_experts, rope_parameters, dtype). Defaults of absent keys are those of each family's
 * configuration class in transformers. */
#include "checkpoint_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- families and their defaults ---- */

struct family_info {
    const char *model_type, *architecture;
    uint32_t hidden, layers, heads, kv_heads, vocab, intermediate; /* kv_heads 0: as heads */
    uint32_t experts, top_k, moe_intermediate, shared_intermediate;
    double norm_epsilon, rope_theta;
    int64_t max_position;
    int32_t bos, pad, eos; /* -1: none */
    qk_norm_type qk_norm;
    bool experts_use_intermediate; /* the experts' size is intermediate_size; every layer is MoE */
    bool always_renormalises;      /* routing weights are divided by their sum whatever norm_topk_prob says */
};

static const struct family_info families[] = {
    [FAMILY_LLAMA] = {.model_type = "llama",
                      .architecture = "LlamaForCausalLM",
                      .hidden = 4096,
                      .layers = 32,
                      .heads = 32,
                      .vocab = 32000,
                      .intermediate = 11008,
                      .norm_epsilon = 1e-6,
                      .rope_theta = 1e4,
                      .max_position = 2048,
                      .bos = 1,
                      .pad = -1,
                      .eos = 2},
    [FAMILY_MIXTRAL] = {.model_type = "mixtral",
                        .architecture = "MixtralForCausalLM",
                        .hidden = 4096,
                        .layers = 32,
                        .heads = 32,
                        .kv_heads = 8,
                        .vocab = 32000,
                        .intermediate = 14336,
                        .experts = 8,
                        .top_k = 2,
                        .norm_epsilon = 1e-5,
                        .rope_theta = 1e6,
                        .max_position = 131072,
                        .bos = 1,
                        .pad = -1,
                        .eos = 2,
                        .experts_use_intermediate = true,
                        .always_renormalises = true},
    [FAMILY_QWEN2_MOE] = {.model_type = "qwen2_moe",
                          .architecture = "Qwen2MoeForCausalLM",
                          .hidden = 2048,
                          .layers = 24,
                          .heads = 16,
                          .kv_heads = 16,
                          .vocab = 151936,
                          .intermediate = 5632,
                          .experts = 60,
                          .top_k = 4,
                          .moe_intermediate = 1408,
                          .shared_intermediate = 5632,
                          .norm_epsilon = 1e-6,
                          .rope_theta = 1e4,
                          .max_position = 32768,
                          .bos = -1,
                          .pad = -1,
                          .eos = -1},
    [FAMILY_QWEN3_MOE] = {.model_type = "qwen3_moe",
                          .architecture = "Qwen3MoeForCausalLM",
                          .hidden = 2048,
                          .layers = 24,
                          .heads = 32,
                          .kv_heads = 4,
                          .vocab = 151936,
                          .intermediate = 6144,
                          .experts = 128,
                          .top_k = 8,
                          .moe_intermediate = 768,
                          .norm_epsilon = 1e-6,
                          .rope_theta = 1e4,
                          .max_position = 32768,
                          .bos = -1,
                          .pad = -1,
                          .eos = -1,
                          .qk_norm = QK_NORM_HEAD},
    [FAMILY_OLMOE] = {.model_type = "olmoe",
                      .architecture = "OlmoeForCausalLM",
                      .hidden = 2048,
                      .layers = 16,
                      .heads = 16,
                      .vocab = 50304,
                      .intermediate = 2048,
                      .experts = 64,
                      .top_k = 8,
                      .norm_epsilon = 1e-5,
                      .rope_theta = 1e4,
                      .max_position = 4096,
                      .bos = -1,
                      .pad = 1,
                      .eos = 50279,
                      .qk_norm = QK_NORM_FULL,
                      .experts_use_intermediate = true},
};
enum { N_FAMILIES = sizeof families / sizeof *families, QWEN_WINDOW_DEFAULT = 4096, QWEN_WINDOW_LAYERS_DEFAULT = 28 };

/* ---- reading one setting ---- */

const char *config_value_text(const json_value *value, char *text, size_t bytes) {
    switch (json_kind_of(value)) {
    case JSON_KIND_NULL:
        snprintf(text, bytes, "%s", value ? "null" : "absent");
        break;
    case JSON_KIND_BOOL:
        snprintf(text, bytes, "%s", json_truth(value) ? "true" : "false");
        break;
    case JSON_KIND_INTEGER:
        snprintf(text, bytes, "%" PRId64, json_int(value));
        break;
    case JSON_KIND_REAL:
        snprintf(text, bytes, "%g", json_number(value));
        break;
    case JSON_KIND_STRING:
        snprintf(text, bytes, "\"%.64s\"", json_text(value, NULL));
        break;
    case JSON_KIND_ARRAY:
        snprintf(text, bytes, "an array of %zu", json_count(value));
        break;
    case JSON_KIND_OBJECT:
        snprintf(text, bytes, "an object of %zu keys", json_count(value));
        break;
    }
    return text;
}

void config_refuse(struct config_reader *reader, moesaic_status status, const char *key, const json_value *value,
                   const char *why) {
    char text[96];
    if (reader->status == MOESAIC_OK)
        reader->status = status_set(reader->error, status, "%s: key \"%.64s\" is %s: %s", reader->where, key,
                                    config_value_text(value, text, sizeof text), why);
}

bool config_has(const json_value *object, const char *key) {
    return json_kind_of(json_get(object, key)) != JSON_KIND_NULL;
}

void config_read_u32(struct config_reader *reader, const char *key, uint32_t low, uint32_t high, uint32_t *io_value) {
    int64_t value = *io_value;
    if (reader->status == MOESAIC_OK)
        reader->status = json_read_int(reader->root, key, low, high, reader->where, &value, reader->error);
    if (reader->status == MOESAIC_OK)
        *io_value = (uint32_t)value;
}

void config_read_flag(struct config_reader *reader, const char *key, bool *io_value) {
    if (reader->status == MOESAIC_OK)
        reader->status = json_read_bool(reader->root, key, reader->where, io_value, reader->error);
}

static void read_double(struct config_reader *reader, const char *key, double low, double high, double *io_value) {
    if (reader->status == MOESAIC_OK)
        reader->status = json_read_double(reader->root, key, low, high, reader->where, io_value, reader->error);
}

/* ---- which family ---- */

static const char *first_architecture(const json_value *root) {
    const json_value *list = json_get(root, "architectures");
    return json_kind_of(list) == JSON_KIND_ARRAY ? json_text(json_at(list, 0), NULL) : NULL;
}

static int family_of(const char *model_type, const char *architecture) {
    for (int i = 0; i < N_FAMILIES; i++)
        if ((model_type && strcmp(families[i].model_type, model_type) == 0) ||
            (architecture && strcmp(families[i].architecture, architecture) == 0))
            return i;
    return -1;
}

/* model_type and architectures must name the same supported family; one of them may be absent. */
static void read_family(struct config_reader *reader, struct model_config *config) {
    const char *model_type = json_text(json_get(reader->root, "model_type"), NULL);
    const char *architecture = first_architecture(reader->root);
    if (!model_type && !architecture) {
        reader->status = status_set(reader->error, MOESAIC_E_INPUT,
                                    "%s: has neither \"model_type\" nor \"architectures\"", reader->where);
        return;
    }
    int by_type = model_type ? family_of(model_type, NULL) : -1;
    int by_architecture = architecture ? family_of(NULL, architecture) : -1;
    if ((model_type && by_type < 0) || (architecture && by_architecture < 0)) {
        reader->status = status_set(reader->error, MOESAIC_E_UNSUPPORTED,
                                    "%s: %s \"%.64s\" is not supported (llama, mixtral, qwen2_moe, qwen3_moe and olmoe "
                                    "with their ForCausalLM architectures are)",
                                    reader->where, model_type && by_type < 0 ? "model_type" : "architecture",
                                    model_type && by_type < 0 ? model_type : architecture);
        return;
    }
    if (model_type && architecture && by_type != by_architecture) {
        reader->status = status_set(reader->error, MOESAIC_E_INPUT,
                                    "%s: model_type \"%s\" and architectures \"%s\" name different families",
                                    reader->where, model_type, architecture);
        return;
    }
    reader->family = config->family = (model_family)(by_type >= 0 ? by_type : by_architecture);
    const struct family_info *info = &families[config->family];
    reader->family_name = info->model_type;
    snprintf(config->architecture, sizeof config->architecture, "%s", info->architecture);
    snprintf(config->model_type, sizeof config->model_type, "%s", info->model_type);
}

/* ---- sizes ---- */

static void read_attention_sizes(struct config_reader *reader, const struct family_info *info,
                                 struct model_config *config) {
    config->hidden = info->hidden;
    config->layers = info->layers;
    config->heads = info->heads;
    config->vocab = info->vocab;
    config_read_u32(reader, "hidden_size", 1, CONFIG_HIDDEN_MAX, &config->hidden);
    config_read_u32(reader, "num_hidden_layers", 1, CONFIG_LAYERS_MAX, &config->layers);
    config_read_u32(reader, "num_attention_heads", 1, CONFIG_HEADS_MAX, &config->heads);
    config_read_u32(reader, "vocab_size", 1, CONFIG_VOCAB_MAX, &config->vocab);
    const json_value *kv_heads = json_get(reader->root, "num_key_value_heads");
    config->kv_heads = info->kv_heads && !kv_heads ? info->kv_heads : config->heads; /* null: as many as heads */
    config_read_u32(reader, "num_key_value_heads", 1, CONFIG_HEADS_MAX, &config->kv_heads);
    if (reader->status != MOESAIC_OK)
        return;
    if (config->heads % config->kv_heads != 0)
        reader->status =
            status_set(reader->error, MOESAIC_E_INPUT,
                       "%s: num_attention_heads %" PRIu32 " is not a multiple of num_key_value_heads %" PRIu32,
                       reader->where, config->heads, config->kv_heads);
    config->head_dim = config->hidden / config->heads;
    config_read_u32(reader, "head_dim", 1, CONFIG_HEAD_DIM_MAX, &config->head_dim);
    if (reader->status == MOESAIC_OK && (config->head_dim == 0 || config->head_dim > CONFIG_HEAD_DIM_MAX))
        reader->status =
            status_set(reader->error, MOESAIC_E_INPUT,
                       "%s: hidden_size %" PRIu32 " / num_attention_heads %" PRIu32 " gives no head size in 1..%d",
                       reader->where, config->hidden, config->heads, CONFIG_HEAD_DIM_MAX);
}

/* num_experts and num_local_experts are two names of one setting. */
static void read_experts(struct config_reader *reader, const struct family_info *info, struct model_config *config) {
    bool qwen = config->family == FAMILY_QWEN2_MOE || config->family == FAMILY_QWEN3_MOE;
    uint32_t low = qwen ? 0 : 1, other = info->experts; /* Qwen's layers are dense when there are no experts */
    config->experts = info->experts;
    config_read_u32(reader, "num_experts", low, CONFIG_EXPERTS_MAX, &config->experts);
    config_read_u32(reader, "num_local_experts", low, CONFIG_EXPERTS_MAX, &other);
    if (config_has(reader->root, "num_local_experts")) {
        if (config_has(reader->root, "num_experts") && other != config->experts)
            config_refuse(reader, MOESAIC_E_INPUT, "num_local_experts", json_get(reader->root, "num_local_experts"),
                          "num_experts has another value");
        config->experts = other;
    }
    config->top_k = info->top_k;
    config_read_u32(reader, "num_experts_per_tok", 1, CONFIG_EXPERTS_MAX, &config->top_k);
    if (config->experts == 0)
        config->top_k = 0;
    if (reader->status == MOESAIC_OK && config->top_k > config->experts)
        reader->status = status_set(reader->error, MOESAIC_E_INPUT,
                                    "%s: num_experts_per_tok %" PRIu32 " exceeds num_experts %" PRIu32, reader->where,
                                    config->top_k, config->experts);
}

static void read_feed_forward(struct config_reader *reader, const struct family_info *info,
                              struct model_config *config) {
    uint32_t intermediate = info->intermediate;
    config_read_u32(reader, "intermediate_size", 1, CONFIG_INTERMEDIATE_MAX, &intermediate);
    if (info->experts_use_intermediate)
        config->moe_intermediate = intermediate;
    else
        config->intermediate = intermediate;
    if (info->experts == 0)
        return;
    read_experts(reader, info, config);
    if (info->moe_intermediate) {
        config->moe_intermediate = info->moe_intermediate;
        config_read_u32(reader, "moe_intermediate_size", 1, CONFIG_INTERMEDIATE_MAX, &config->moe_intermediate);
    }
    if (config->family == FAMILY_QWEN2_MOE) {
        config->shared_intermediate = info->shared_intermediate;
        config_read_u32(reader, "shared_expert_intermediate_size", 0, CONFIG_INTERMEDIATE_MAX,
                        &config->shared_intermediate);
        config->shared_gate = config->shared_intermediate > 0;
    }
    config->norm_topk_prob = info->always_renormalises;
    if (!info->always_renormalises)
        config_read_flag(reader, "norm_topk_prob", &config->norm_topk_prob);
}

/* ---- flags, norms, activation ---- */

static void read_biases(struct config_reader *reader, struct model_config *config) {
    bool bias = config->family == FAMILY_QWEN2_MOE; /* qkv_bias is on by default */
    if (config->family == FAMILY_QWEN2_MOE)
        config_read_flag(reader, "qkv_bias", &bias);
    else if (config->family != FAMILY_MIXTRAL)
        config_read_flag(reader, "attention_bias", &bias);
    config->q_bias = config->k_bias = config->v_bias = bias;
    config->o_bias = bias && config->family != FAMILY_QWEN2_MOE;
    if (config->family == FAMILY_LLAMA)
        config_read_flag(reader, "mlp_bias", &config->mlp_bias);
}

static void read_activation(struct config_reader *reader, struct model_config *config) {
    static const struct {
        const char *name;
        activation_type type;
    } known[] = {
        {"silu", ACTIVATION_SILU},
        {"swish", ACTIVATION_SILU},
        {"gelu", ACTIVATION_GELU},
        {"gelu_python", ACTIVATION_GELU},
        {"gelu_new", ACTIVATION_GELU_TANH},
        {"gelu_pytorch_tanh", ACTIVATION_GELU_TANH},
        {"gelu_fast", ACTIVATION_GELU_TANH},
        {"gelu_python_tanh", ACTIVATION_GELU_TANH},
        {"gelu_accurate", ACTIVATION_GELU_TANH},
    };
    const json_value *value = json_get(reader->root, "hidden_act");
    config->activation = (struct expert_activation){.type = ACTIVATION_SILU};
    if (json_kind_of(value) == JSON_KIND_NULL)
        return;
    const char *name = json_text(value, NULL);
    for (size_t i = 0; name && i < sizeof known / sizeof *known; i++) {
        if (strcmp(known[i].name, name) == 0) {
            config->activation.type = known[i].type;
            return;
        }
    }
    config_refuse(reader, name ? MOESAIC_E_UNSUPPORTED : MOESAIC_E_INPUT, "hidden_act", value,
                  "expected silu or one of the gelu forms");
}

/* Some files say what the family does anyway. */
static void check_qk_norm(struct config_reader *reader, qk_norm_type type) {
    static const char *const keys[] = {"use_qk_norm", "qk_norm", "qk_layernorm"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_value *value = json_get(reader->root, keys[i]);
        bool normed = json_kind_of(value) != JSON_KIND_BOOL || json_truth(value);
        if (json_kind_of(value) != JSON_KIND_NULL && normed != (type != QK_NORM_NONE))
            config_refuse(reader, MOESAIC_E_UNSUPPORTED, keys[i], value,
                          normed ? "the family has no q and k norms" : "the family has q and k norms");
    }
}

static void read_norms(struct config_reader *reader, const struct family_info *info, struct model_config *config) {
    config->qk_norm = info->qk_norm;
    check_qk_norm(reader, info->qk_norm);
    config->norm_epsilon = info->norm_epsilon;
    read_double(reader, "rms_norm_eps", 0, 1, &config->norm_epsilon);
    config->max_position = info->max_position;
    if (reader->status == MOESAIC_OK)
        reader->status = json_read_int(reader->root, "max_position_embeddings", 1, config_position_max, reader->where,
                                       &config->max_position, reader->error);
    config_read_flag(reader, "tie_word_embeddings", &config->tied_head);
    if (config->family == FAMILY_OLMOE && config_has(reader->root, "clip_qkv")) {
        read_double(reader, "clip_qkv", 0, 1e30, &config->clip_qkv);
        if (config->clip_qkv == 0)
            config_refuse(reader, MOESAIC_E_INPUT, "clip_qkv", json_get(reader->root, "clip_qkv"),
                          "expected a number above 0, or null");
    }
}

/* ---- layers ---- */

static void read_moe_layers(struct config_reader *reader, struct model_config *config) {
    uint32_t step = 1;
    bool qwen = config->family == FAMILY_QWEN2_MOE || config->family == FAMILY_QWEN3_MOE;
    if (qwen)
        config_read_u32(reader, "decoder_sparse_step", 1, UINT32_MAX, &step);
    for (uint32_t i = 0; i < config->layers; i++)
        config->layer[i].moe = config->experts > 0 && (i + 1) % step == 0;
    const json_value *dense = json_get(reader->root, "mlp_only_layers");
    if (!qwen || json_kind_of(dense) == JSON_KIND_NULL)
        return;
    if (json_kind_of(dense) != JSON_KIND_ARRAY)
        config_refuse(reader, MOESAIC_E_INPUT, "mlp_only_layers", dense, "expected an array of layer numbers");
    for (size_t i = 0; reader->status == MOESAIC_OK && i < json_count(dense); i++) {
        const json_value *layer = json_at(dense, i);
        if (json_kind_of(layer) != JSON_KIND_INTEGER)
            config_refuse(reader, MOESAIC_E_INPUT, "mlp_only_layers", layer, "expected layer numbers in it");
        else if (json_int(layer) >= 0 && json_int(layer) < config->layers)
            config->layer[json_int(layer)].moe = false;
    }
}

/* Window of the layers that slide; 0: none do. transformers: qwen asks use_sliding_window first, mixtral does not. */
static uint32_t read_window(struct config_reader *reader, const struct model_config *config) {
    bool qwen = config->family == FAMILY_QWEN2_MOE || config->family == FAMILY_QWEN3_MOE, use = !qwen;
    config_read_flag(reader, "use_sliding_window", &use);
    if (config->family == FAMILY_MIXTRAL)
        use = true;
    const json_value *value = json_get(reader->root, "sliding_window");
    if (reader->status != MOESAIC_OK || !use || (value && json_kind_of(value) == JSON_KIND_NULL))
        return 0;
    bool applies = qwen || config->family == FAMILY_MIXTRAL;
    int64_t window = qwen ? QWEN_WINDOW_DEFAULT : 0;
    reader->status =
        json_read_int(reader->root, "sliding_window", 1, config_position_max, reader->where, &window, reader->error);
    if (!applies && window > 0 && window < config->max_position)
        config_refuse(reader, MOESAIC_E_UNSUPPORTED, "sliding_window", value, "the family attends to every position");
    return applies ? (uint32_t)window : 0;
}

/* Reads layer_types where the family follows it (qwen2_moe); elsewhere it must say what the other keys say. */
static void read_layer_types(struct config_reader *reader, uint32_t window, struct model_config *config) {
    const json_value *types = json_get(reader->root, "layer_types");
    if (reader->status != MOESAIC_OK || json_kind_of(types) == JSON_KIND_NULL)
        return;
    if (json_kind_of(types) != JSON_KIND_ARRAY || json_count(types) < config->layers) {
        config_refuse(reader, MOESAIC_E_INPUT, "layer_types", types, "expected an array with an entry for each layer");
        return;
    }
    for (uint32_t i = 0; i < config->layers; i++) {
        const json_value *value = json_at(types, i);
        const char *type = json_text(value, NULL);
        bool sliding = type && strcmp(type, "sliding_attention") == 0;
        if (!sliding && !(type && strcmp(type, "full_attention") == 0))
            config_refuse(reader, MOESAIC_E_UNSUPPORTED, "layer_types", value,
                          "expected full_attention or sliding_attention");
        else if (sliding && window == 0)
            config_refuse(reader, MOESAIC_E_INPUT, "layer_types", value, "no sliding window is set");
        else if (config->family == FAMILY_QWEN2_MOE)
            config->layer[i].window = sliding ? window : 0;
        else if (sliding != (config->layer[i].window > 0))
            config_refuse(reader, MOESAIC_E_UNSUPPORTED, "layer_types", value,
                          "the family attends in the same way in every layer");
    }
}

static void read_windows(struct config_reader *reader, struct model_config *config) {
    uint32_t window = read_window(reader, config), most = QWEN_WINDOW_LAYERS_DEFAULT;
    config_read_u32(reader, "max_window_layers", 0, UINT32_MAX, &most);
    for (uint32_t i = 0; i < config->layers; i++) /* qwen2_moe slides in every second of its first layers only */
        config->layer[i].window = config->family != FAMILY_QWEN2_MOE || (i % 2 == 0 && i < most) ? window : 0;
    read_layer_types(reader, window, config);
}

/* ---- special tokens ---- */

/* An id or null; -1, which some published files write, means none. */
static void read_token(struct config_reader *reader, const json_value *object, const char *key, int32_t *io_id) {
    const json_value *value = json_get(object, key);
    if (value && json_kind_of(value) == JSON_KIND_NULL)
        *io_id = -1;
    int64_t id = *io_id;
    if (reader->status == MOESAIC_OK)
        reader->status = json_read_int(object, key, -1, INT32_MAX, reader->where, &id, reader->error);
    *io_id = (int32_t)id;
}

/* An id, a list of ids, or null. */
static void read_eos(struct config_reader *reader, const json_value *object, struct model_config *config) {
    const json_value *value = json_get(object, "eos_token_id");
    bool list = json_kind_of(value) == JSON_KIND_ARRAY;
    size_t count = list ? json_count(value) : 1;
    if (count > CONFIG_EOS_MAX) {
        config_refuse(reader, MOESAIC_E_INPUT, "eos_token_id", value, "too many ids: at most 16 are allowed");
        return;
    }
    config->n_eos = 0;
    for (size_t i = 0; reader->status == MOESAIC_OK && i < count; i++) {
        const json_value *id = list ? json_at(value, i) : value;
        if (json_kind_of(id) == JSON_KIND_NULL && !list)
            return;
        if (json_kind_of(id) != JSON_KIND_INTEGER || json_int(id) < -1 || json_int(id) > INT32_MAX)
            config_refuse(reader, MOESAIC_E_INPUT, "eos_token_id", id, "expected token ids");
        else if (json_int(id) >= 0)
            config->eos[config->n_eos++] = (int32_t)json_int(id);
    }
}

/* The same from generation_config.json, which lies beside config.json and is named in messages. */
static void read_generation_eos(struct config_reader *reader, const json_value *generation,
                                struct model_config *config) {
    static const char name[] = "config.json";
    size_t bytes = strlen(reader->where), tail = sizeof name - 1;
    if (bytes >= tail && strcmp(reader->where + bytes - tail, name) == 0)
        bytes -= tail;
    char where[600];
    snprintf(where, sizeof where, "%.*sgeneration_%s", (int)(bytes < 500 ? bytes : 500), reader->where, name);
    const char *config_where = reader->where;
    reader->where = where;
    read_eos(reader, generation, config);
    reader->where = config_where;
}

static void read_tokens(struct config_reader *reader, const json_value *generation, const struct family_info *info,
                        struct model_config *config) {
    config->bos = info->bos;
    config->pad = info->pad;
    config->n_eos = info->eos >= 0;
    config->eos[0] = info->eos;
    read_token(reader, reader->root, "bos_token_id", &config->bos);
    read_token(reader, reader->root, "pad_token_id", &config->pad);
    if (config_has(generation, "eos_token_id"))
        read_generation_eos(reader, generation, config);
    else if (json_get(reader->root, "eos_token_id"))
        read_eos(reader, reader->root, config);
}

/* ---- the whole ---- */

moesaic_status config_read(const json_value *root, const json_value *generation, const char *where,
                           struct model_config *ret_config, moesaic_error *error) {
    if (json_kind_of(root) != JSON_KIND_OBJECT)
        return status_set(error, MOESAIC_E_INPUT, "%s: not a JSON object", where);
    if (generation && json_kind_of(generation) != JSON_KIND_OBJECT)
        return status_set(error, MOESAIC_E_INPUT, "%s: its generation_config.json is not a JSON object", where);
    struct config_reader reader = {.root = root, .where = where, .error = error};
    struct model_config config = {0};
    read_family(&reader, &config);
    if (reader.status != MOESAIC_OK)
        return reader.status;
    const struct family_info *info = &families[config.family];
    config_check_keys(&reader);
    read_attention_sizes(&reader, info, &config);
    read_feed_forward(&reader, info, &config);
    read_biases(&reader, &config);
    read_activation(&reader, &config);
    read_norms(&reader, info, &config);
    if (reader.status == MOESAIC_OK)
        config_read_rope(&reader, info->rope_theta, &config);
    if (reader.status == MOESAIC_OK) {
        read_moe_layers(&reader, &config);
        read_windows(&reader, &config);
        read_tokens(&reader, generation, info, &config);
    }
    if (reader.status == MOESAIC_OK)
        *ret_config = config;
    return reader.status;
}
