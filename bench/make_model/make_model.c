/* SPDX-License-Identifier: Apache-2.0 */
/* make-model SHAPE RECIPE -o OUT.moe [--layers N] [--set KEY=N]... [--seed S]: an artifact of a published model's shape
 * with random weights, to measure speed without the weights. SHAPE is a name below or the path of a config.json, of
 * which --set replaces numbers (num_experts, moe_intermediate_size ...); RECIPE names the format of the experts
 * ("int4", "int4-g128", "int3", "int4-2:4", "int4-sparse50", "bf16", ...), with INT8 attention, embedding and head, or
 * "int4-all" for INT4 everywhere; "config" writes the shape's config.json alone, for those who make the same model for
 * others. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compressor_internal.h"

/* ---- shapes ------------------------------------------------------------------------------------------------------ */

static const struct {
    const char *name, *config;
} shapes[] = {
    {"olmoe-1b-7b",
     "{\"architectures\":[\"OlmoeForCausalLM\"],\"model_type\":\"olmoe\",\"hidden_size\":2048,\"num_hidden_layers\":16,"
     "\"num_attention_heads\":16,\"num_key_value_heads\":16,\"num_experts\":64,\"num_experts_per_tok\":8,"
     "\"intermediate_size\":1024,\"norm_topk_prob\":false,\"vocab_size\":50304,\"max_position_embeddings\":4096,"
     "\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,\"hidden_act\":\"silu\",\"tie_word_embeddings\":false}"},
    {"qwen3-30b-a3b",
     "{\"architectures\":[\"Qwen3MoeForCausalLM\"],\"model_type\":\"qwen3_moe\",\"hidden_size\":2048,"
     "\"num_hidden_layers\":48,\"num_attention_heads\":32,\"num_key_value_heads\":4,\"head_dim\":128,\"num_experts\":"
     "128,"
     "\"num_experts_per_tok\":8,\"moe_intermediate_size\":768,\"intermediate_size\":6144,\"norm_topk_prob\":true,"
     "\"vocab_size\":151936,\"max_position_embeddings\":40960,\"rms_norm_eps\":1e-6,\"rope_theta\":1000000.0,"
     "\"hidden_act\":\"silu\",\"tie_word_embeddings\":false,\"decoder_sparse_step\":1,\"mlp_only_layers\":[]}"},
    {"mixtral-8x7b",
     "{\"architectures\":[\"MixtralForCausalLM\"],\"model_type\":\"mixtral\",\"hidden_size\":4096,"
     "\"num_hidden_layers\":32,\"num_attention_heads\":32,\"num_key_value_heads\":8,\"num_local_experts\":8,"
     "\"num_experts_per_tok\":2,\"intermediate_size\":14336,\"vocab_size\":32000,\"max_position_embeddings\":32768,"
     "\"rms_norm_eps\":1e-5,\"rope_theta\":1000000.0,\"hidden_act\":\"silu\",\"tie_word_embeddings\":false,"
     "\"sliding_window\":null}"},
};

/* ---- formats ----------------------------------------------------------------------------------------------------- */

struct kind {
    number_format format;
    uint32_t group;
    double density; /* of int4-mask */
};
struct recipe_kinds {
    struct kind experts, rest;
};

static bool kinds_read(const char *text, struct recipe_kinds *ret) {
    const char *group = strstr(text, "-g");
    size_t length = group ? (size_t)(group - text) : strlen(text);
    char name[32] = "";
    struct kind kind = {.group = group ? (uint32_t)atol(group + 2) : 64, .density = 1};
    if (length >= sizeof name)
        return false;
    memcpy(name, text, length);
    bool all = !strcmp(name, "int4-all");
    if (sscanf(name, "int4-sparse%lf", &kind.density) == 1) {
        kind.format = FORMAT_INT4_MASK;
        kind.density = 1 - kind.density / 100;
    } else if (!number_format_parse(all ? "int4" : name, &kind.format)) {
        return false;
    }
    if (kind.format <= FORMAT_BF16)
        kind.group = 0;
    ret->experts = kind;
    ret->rest = kind.format == FORMAT_BF16 || all ? kind : (struct kind){FORMAT_INT8, 64, 1};
    return kind.format == FORMAT_BF16 || kind.group == 32 || kind.group == 64 || kind.group == 128;
}

/* ---- random matrices: a few of each shape and kind, used again and again ----------------------------------------- */

enum { VARIANTS = 3, POOL_MAX = 32 };

struct pool_entry {
    uint64_t rows, cols;
    struct kind kind;
    struct weight weight[VARIANTS];
};

struct maker {
    struct model_config config;
    struct recipe_kinds kinds;
    uint64_t state;
    struct pool_entry pool[POOL_MAX];
    size_t pooled, uses;
    struct artifact_writer *writer;
    moesaic_error error;
};

static uint32_t random_next(struct maker *m) {
    m->state = m->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(m->state >> 33);
}

static bool keeps(struct maker *m, const struct kind *kind, uint64_t k) {
    uint32_t at = (uint32_t)(k % 8);
    if (kind->format == FORMAT_INT4_24)
        return at % 4 == 0 || at % 4 == 2;
    if (kind->format == FORMAT_INT4_48)
        return at < 4;
    return random_next(m) % 1000 < kind->density * 1000;
}

/* Weights of deviation 1 / sqrt(cols), so that activations keep their size through the layers, and of mean 0: codes
 * from -8 to 7 would add what is common to all rows up from layer to layer, until every token chose the same
 * experts. */
static void rows_fill(struct maker *m, const struct kind *kind, struct quant_rows *rows) {
    int bits = (int)number_format_bits(kind->format), low = -(1 << (bits - 1)), span = 1 << bits;
    double step = 1 / (sqrt((double)rows->cols) * span / sqrt(12.0));
    rows->factor = 0x1p-12f;
    for (uint64_t i = 0; i < rows->rows * quant_rows_groups(rows->cols, kind->group); i++)
        rows->scales[i] = half_from_float((float)(step * 0x1p12));
    for (uint64_t i = 0; i < rows->rows * rows->cols; i++) {
        bool kept = !rows->mask || keeps(m, kind, i % rows->cols);
        int code = low + (int)(random_next(m) % (uint32_t)span);
        rows->codes[i] = kept && code != low ? (int8_t)code : 0;
        if (rows->mask)
            rows->mask[i] = kept;
    }
}

static moesaic_status packed_random(struct maker *m, const struct kind *kind, uint64_t rows, uint64_t cols,
                                    struct weight *ret) {
    struct quant_rows *q;
    moesaic_status status = quant_rows_create(kind->format, kind->group, rows, cols, &q, &m->error);
    if (status)
        return status;
    rows_fill(m, kind, q);
    uint64_t bytes = weight_packed_bytes(q);
    void *out = memory_zeroed(bytes, 1);
    status = out ? weight_pack(q, out, bytes, ret, &m->error) : status_no_memory(&m->error, "matrix", bytes);
    quant_rows_destroy(q);
    return status;
}

static moesaic_status floats_random(struct maker *m, uint64_t rows, uint64_t cols, struct weight *ret) {
    uint16_t *out = memory_zeroed(rows * cols, 2);
    if (!out)
        return status_no_memory(&m->error, "matrix", rows * cols * 2);
    for (uint64_t i = 0; i < rows * cols; i++)
        out[i] = bfloat_from_float((float)(((double)random_next(m) / 0x1p30 - 1) * sqrt(3.0 / (double)cols)));
    *ret = (struct weight){.format = FORMAT_BF16,
                           .layout = LAYOUT_ROWS,
                           .rows = rows,
                           .cols = cols,
                           .data = (const uint8_t *)out,
                           .bytes = rows * cols * 2,
                           .factor = 1};
    return MOESAIC_OK;
}

static moesaic_status matrix_get(struct maker *m, const struct kind *kind, uint64_t rows, uint64_t cols,
                                 struct weight *ret) {
    for (size_t i = 0; i < m->pooled; i++) {
        if (m->pool[i].rows == rows && m->pool[i].cols == cols && m->pool[i].kind.format == kind->format) {
            *ret = m->pool[i].weight[m->uses++ % VARIANTS];
            return MOESAIC_OK;
        }
    }
    if (m->pooled == POOL_MAX)
        return status_set(&m->error, MOESAIC_E_FAILED, "make-model: more than %d shapes of matrices", POOL_MAX);
    struct pool_entry *entry = &m->pool[m->pooled];
    *entry = (struct pool_entry){.rows = rows, .cols = cols, .kind = *kind};
    moesaic_status status = MOESAIC_OK;
    for (int i = 0; !status && i < VARIANTS; i++)
        status = kind->format == FORMAT_BF16 ? floats_random(m, rows, cols, &entry->weight[i])
                                             : packed_random(m, kind, rows, cols, &entry->weight[i]);
    if (status)
        return status;
    m->pooled++;
    *ret = entry->weight[0];
    return MOESAIC_OK;
}

/* ---- the artifact ------------------------------------------------------------------------------------------------ */

static moesaic_status put_matrix(struct maker *m, const char *name, const struct kind *kind, uint64_t rows,
                                 uint64_t cols) {
    struct weight w;
    moesaic_status status = matrix_get(m, kind, rows, cols, &w);
    return status ? status : artifact_writer_tensor(m->writer, name, &w, &m->error);
}

static moesaic_status put_ones(struct maker *m, const char *name, uint64_t count) {
    float *ones = calloc(count, sizeof *ones);
    if (!ones)
        return status_no_memory(&m->error, name, count * sizeof *ones);
    for (uint64_t i = 0; i < count; i++)
        ones[i] = 1;
    struct weight w = {.format = FORMAT_F32,
                       .layout = LAYOUT_ROWS,
                       .rows = count,
                       .cols = 1,
                       .data = (const uint8_t *)ones,
                       .bytes = count * sizeof *ones,
                       .factor = 1};
    moesaic_status status = artifact_writer_tensor(m->writer, name, &w, &m->error);
    free(ones);
    return status;
}

static moesaic_status put_router(struct maker *m, const char *name) {
    uint64_t count = (uint64_t)m->config.experts * m->config.hidden;
    float *values = calloc(count, sizeof *values);
    if (!values)
        return status_no_memory(&m->error, name, count * sizeof *values);
    for (uint64_t i = 0; i < count; i++)
        values[i] = (float)(((double)random_next(m) / 0x1p30 - 1) * sqrt(3.0 / m->config.hidden));
    struct weight w = {.format = FORMAT_F32,
                       .layout = LAYOUT_ROWS,
                       .rows = m->config.experts,
                       .cols = m->config.hidden,
                       .data = (const uint8_t *)values,
                       .bytes = count * sizeof *values,
                       .factor = 1};
    moesaic_status status = artifact_writer_tensor(m->writer, name, &w, &m->error);
    free(values);
    return status;
}

static moesaic_status put_layer(struct maker *m, uint32_t layer) {
    const struct model_config *c = &m->config;
    uint64_t q = (uint64_t)c->heads * c->head_dim, kv = (uint64_t)c->kv_heads * c->head_dim;
    bool full = c->qk_norm == QK_NORM_FULL;
    const struct {
        const char *part;
        uint64_t rows, cols;
    } tensors[] = {{"input_layernorm.weight", c->hidden, 0},
                   {"post_attention_layernorm.weight", c->hidden, 0},
                   {"self_attn.q_norm.weight", c->qk_norm ? full ? q : c->head_dim : 0, 0},
                   {"self_attn.k_norm.weight", c->qk_norm ? full ? kv : c->head_dim : 0, 0},
                   {"self_attn.q_proj.weight", q, c->hidden},
                   {"self_attn.k_proj.weight", kv, c->hidden},
                   {"self_attn.v_proj.weight", kv, c->hidden},
                   {"self_attn.o_proj.weight", c->hidden, q}};
    char name[160];
    moesaic_status status = artifact_writer_begin(m->writer, ARTIFACT_LAYER, layer, 0, &m->error);
    for (size_t i = 0; !status && i < sizeof tensors / sizeof *tensors; i++) {
        layer_tensor_name(c, layer, tensors[i].part, name);
        if (tensors[i].rows)
            status = tensors[i].cols ? put_matrix(m, name, &m->kinds.rest, tensors[i].rows, tensors[i].cols)
                                     : put_ones(m, name, tensors[i].rows);
    }
    if (!status)
        status = put_router(m, layer_tensor_name(c, layer, "mlp.gate.weight", name));
    return status ? status : artifact_writer_end(m->writer, &m->error);
}

static moesaic_status put_expert(struct maker *m, uint32_t layer, uint32_t expert) {
    const struct model_config *c = &m->config;
    char name[160];
    moesaic_status status = artifact_writer_begin(m->writer, ARTIFACT_EXPERT, layer, expert, &m->error);
    for (int which = 0; !status && which < 3; which++)
        status = put_matrix(m, ffn_tensor_name(c, layer, expert, which, name), &m->kinds.experts,
                            which == 2 ? c->hidden : c->moe_intermediate, which == 2 ? c->moe_intermediate : c->hidden);
    return status ? status : artifact_writer_end(m->writer, &m->error);
}

static moesaic_status put_all(struct maker *m) {
    const struct model_config *c = &m->config;
    moesaic_status status = artifact_writer_begin(m->writer, ARTIFACT_EMBEDDING, 0, 0, &m->error);
    if (!status)
        status = put_matrix(m, "model.embed_tokens.weight", &m->kinds.rest, c->vocab, c->hidden);
    if (!status)
        status = artifact_writer_end(m->writer, &m->error);
    for (uint32_t layer = 0; !status && layer < c->layers; layer++) {
        status = put_layer(m, layer);
        for (uint32_t expert = 0; !status && expert < c->experts; expert++)
            status = put_expert(m, layer, expert);
    }
    if (!status)
        status = artifact_writer_begin(m->writer, ARTIFACT_HEAD, 0, 0, &m->error);
    if (!status)
        status = put_ones(m, "model.norm.weight", c->hidden);
    if (!status)
        status = put_matrix(m, "lm_head.weight", &m->kinds.rest, c->vocab, c->hidden);
    return status ? status : artifact_writer_end(m->writer, &m->error);
}

enum { SETTINGS_MAX = 16 };

/* Numbers of a shape to be replaced: "KEY=N". */
struct settings {
    size_t count;
    const char *text[SETTINGS_MAX];
};

static moesaic_status settings_apply(const struct settings *settings, json_value *root, moesaic_error *error) {
    for (size_t i = 0; i < settings->count; i++) {
        char key[64], behind;
        long value;
        if (sscanf(settings->text[i], "%63[^=]=%ld%c", key, &value, &behind) != 2 || value < 1)
            return status_set(error, MOESAIC_E_USAGE, "make-model: '%s' is not KEY=N with N from 1", settings->text[i]);
        json_put(root, key, json_make_integer(value));
    }
    return MOESAIC_OK;
}

/* config.json of the shape with what is set replaced; freed with free(). */
static char *config_text(const char *shape, const struct settings *settings, moesaic_error *error) {
    json_value *root = NULL;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (!strcmp(shape, shapes[i].name))
            json_parse(shapes[i].config, strlen(shapes[i].config), NULL, shape, &root, error);
    if (!root && json_parse_file(shape, NULL, &root, error))
        return NULL;
    char *text = settings_apply(settings, root, error) ? NULL : json_dump(root, false, NULL);
    json_free(root);
    return text;
}

static moesaic_status make_config(struct maker *m, const char *shape, const struct settings *settings,
                                  const char *path) {
    char *text = config_text(shape, settings, &m->error);
    if (!text)
        return MOESAIC_E_INPUT;
    FILE *file = fopen(path, "w");
    bool written = file && fputs(text, file) >= 0;
    if (!file || fclose(file) || !written)
        status_set(&m->error, MOESAIC_E_IO, "make-model: cannot write %s", path);
    free(text);
    return m->error.status;
}

static moesaic_status make(struct maker *m, const char *shape, const struct settings *settings, const char *path) {
    json_value *root = NULL;
    uint32_t resumed;
    char *text = config_text(shape, settings, &m->error);
    if (!text)
        return MOESAIC_E_INPUT;
    moesaic_status status = json_parse(text, strlen(text), NULL, shape, &root, &m->error);
    if (!status)
        status = config_read(root, NULL, shape, &m->config, &m->error);
    if (!status && (!m->config.experts || m->config.shared_intermediate || m->config.tied_head))
        status = status_set(&m->error, MOESAIC_E_UNSUPPORTED, "make-model: untied models of routed experts only (%s)",
                            shape);
    if (!status)
        status = artifact_writer_open(path, 0, false, &m->writer, &resumed, &m->error);
    if (!status)
        status = put_all(m);
    if (!status)
        status = artifact_writer_file(m->writer, "config.json", text, strlen(text), &m->error);
    json_value *metadata = json_make_object();
    json_put(metadata, "schema", json_make_text("moesaic.artifact/1", 18));
    json_put(metadata, "random_weights", json_make_bool(true));
    if (!status)
        status = artifact_writer_finish(m->writer, metadata, &m->error);
    json_free(metadata);
    json_free(root);
    free(text);
    artifact_writer_close(m->writer);
    return status;
}

int main(int argc, char **argv) {
    static struct maker m = {.state = 1};
    const char *shape = NULL, *recipe = NULL, *output = NULL;
    struct settings settings = {0};
    char layers[64];
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "-o") && i + 1 < argc)
            output = argv[++i];
        else if (!strcmp(argv[i], "--layers") && i + 1 < argc && settings.count < SETTINGS_MAX) {
            snprintf(layers, sizeof layers, "num_hidden_layers=%s", argv[++i]);
            settings.text[settings.count++] = layers;
        } else if (!strcmp(argv[i], "--set") && i + 1 < argc && settings.count < SETTINGS_MAX)
            settings.text[settings.count++] = argv[++i];
        else if (!strcmp(argv[i], "--seed") && i + 1 < argc)
            m.state = strtoull(argv[++i], NULL, 10) * 2 + 1;
        else
            *(shape ? &recipe : &shape) = argv[i];
    }
    bool config = recipe && !strcmp(recipe, "config");
    if (!shape || !recipe || !output || (!config && !kinds_read(recipe, &m.kinds))) {
        fprintf(stderr, "usage: make-model SHAPE RECIPE -o OUT.moe [--layers N] [--set KEY=N]... [--seed S]\n"
                        "SHAPE: olmoe-1b-7b, qwen3-30b-a3b, mixtral-8x7b or a config.json\n"
                        "RECIPE: bf16, int8, int4, int4-all, int3, int2, int4-2:4, int4-4:8, int4-sparse50, each -gN;\n"
                        "        or config, for the config.json alone\n");
        return 2;
    }
    if (config ? make_config(&m, shape, &settings, output) : make(&m, shape, &settings, output)) {
        fprintf(stderr, "make-model: %s\n", m.error.message);
        return 1;
    }
    for (size_t i = 0; i < m.pooled; i++)
        for (int v = 0; v < VARIANTS; v++)
            free((void *)m.pool[i].weight[v].data);
    return 0;
}
