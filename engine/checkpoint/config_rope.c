/* SPDX-License-Identifier: Apache-2.0 */
/* Reads how positions are encoded: rope_parameters (transformers 5) or rope_theta and rope_scaling (published files).
 */
#include "checkpoint_internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double rope_number_max = 1e12;

/* The keys that some rope type reads, and `finetuned`, which published files carry along. */
static const char *const rope_keys[] = {
    "rope_type",        "type",
    "rope_theta",       "partial_rotary_factor",
    "factor",           "low_freq_factor",
    "high_freq_factor", "beta_fast",
    "beta_slow",        "mscale",
    "mscale_all_dim",   "truncate",
    "attention_factor", "original_max_position_embeddings",
    "short_factor",     "long_factor",
    "finetuned",
};

struct rope_reader {
    struct config_reader *reader;
    const json_value *object; /* rope_scaling or rope_parameters; NULL when there is neither */
    char where[600];          /* "PATH: rope_scaling" */
};

/* `key` of the rope object, else of the top level. */
static const json_value *rope_value(const struct rope_reader *rope, const char *key) {
    return config_has(rope->object, key) ? json_get(rope->object, key) : json_get(rope->reader->root, key);
}

/* Reads a number >= 0; absent or null keeps *io_value. */
static void rope_number(struct rope_reader *rope, const char *key, double *io_value) {
    struct config_reader *reader = rope->reader;
    if (reader->status == MOESAIC_OK)
        reader->status = json_read_double(rope->object, key, 0, rope_number_max, rope->where, io_value, reader->error);
}

static void rope_positive(struct rope_reader *rope, const char *key, double *io_value) {
    rope_number(rope, key, io_value);
    if (*io_value == 0)
        config_refuse(rope->reader, MOESAIC_E_INPUT, key, json_get(rope->object, key), "expected a number above 0");
}

static void rope_need(struct rope_reader *rope, const char *key) {
    if (!config_has(rope->object, key))
        config_refuse(rope->reader, MOESAIC_E_INPUT, key, json_get(rope->object, key),
                      "the rope type needs it in rope_scaling");
}

static void rope_read_theta(struct rope_reader *rope, double default_theta, struct rope_config *config) {
    struct config_reader *reader = rope->reader;
    const json_value *object = config_has(rope->object, "rope_theta") ? rope->object : reader->root;
    config->theta = default_theta;
    if (reader->status == MOESAIC_OK)
        reader->status = json_read_double(object, "rope_theta", 1, 1e30, reader->where, &config->theta, reader->error);
}

static void rope_read_rotary(struct rope_reader *rope, struct model_config *config) {
    struct config_reader *reader = rope->reader;
    const char *key = "partial_rotary_factor";
    const json_value *object = config_has(rope->object, key) ? rope->object : reader->root;
    double part = 1;
    if (reader->status == MOESAIC_OK)
        reader->status = json_read_double(object, key, 0, 1, reader->where, &part, reader->error);
    config->rotary_dim = (uint32_t)(config->head_dim * part);
    if (reader->status == MOESAIC_OK && (config->rotary_dim == 0 || config->rotary_dim % 2 != 0))
        reader->status = status_set(reader->error, MOESAIC_E_INPUT,
                                    "%s: head_dim %u with partial_rotary_factor %g rotates %u dimensions: expected an "
                                    "even number >= 2",
                                    reader->where, (unsigned)config->head_dim, part, (unsigned)config->rotary_dim);
}

static void rope_read_type(struct rope_reader *rope, struct rope_config *config) {
    static const char *const names[] = {
        [ROPE_DEFAULT] = "default", [ROPE_LINEAR] = "linear", [ROPE_DYNAMIC] = "dynamic",
        [ROPE_LLAMA3] = "llama3",   [ROPE_YARN] = "yarn",     [ROPE_LONGROPE] = "longrope"};
    const char *key = config_has(rope->object, "rope_type") ? "rope_type" : "type";
    const json_value *value = json_get(rope->object, key);
    config->type = ROPE_DEFAULT;
    if (json_kind_of(value) == JSON_KIND_NULL)
        return;
    const char *name = json_text(value, NULL);
    for (size_t i = 0; name && i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], name) == 0) {
            config->type = (rope_type)i;
            return;
        }
    }
    config_refuse(rope->reader, name ? MOESAIC_E_UNSUPPORTED : MOESAIC_E_INPUT, key, value,
                  "unknown rope type (default, linear, dynamic, llama3, yarn and longrope are known)");
}

/* A key that no known type reads may bend the positions in a way that is not implemented (mrope_section ...). */
static void rope_check_keys(struct rope_reader *rope) {
    void *cursor = NULL;
    const char *key;
    const json_value *value;
    while (json_next(rope->object, &cursor, &key, &value)) {
        bool known = json_kind_of(value) == JSON_KIND_NULL;
        for (size_t i = 0; !known && i < sizeof rope_keys / sizeof *rope_keys; i++)
            known = strcmp(rope_keys[i], key) == 0;
        if (!known)
            config_refuse(rope->reader, MOESAIC_E_UNSUPPORTED, key, value, "unknown key of rope_scaling");
    }
}

static void rope_read_original(struct rope_reader *rope, struct rope_config *config) {
    static const char key[] = "original_max_position_embeddings";
    struct config_reader *reader = rope->reader;
    bool top = config_has(reader->root, key); /* wins over the one in rope_scaling, as in transformers */
    if (reader->status == MOESAIC_OK)
        reader->status =
            json_read_int(top ? reader->root : rope->object, key, 1, config_position_max,
                          top ? reader->where : rope->where, &config->original_max_position, reader->error);
}

/* factor, or max_position / original where the type derives it. */
static void rope_read_factor(struct rope_reader *rope, const struct model_config *model, struct rope_config *config) {
    bool derived = config->type == ROPE_YARN || config->type == ROPE_LONGROPE;
    if (!config_has(rope->object, "factor") && derived && config->original_max_position > 0)
        config->factor = (double)model->max_position / (double)config->original_max_position;
    else if (config->type != ROPE_LONGROPE)
        rope_need(rope, "factor");
    rope_positive(rope, "factor", &config->factor);
}

static void rope_read_list(struct rope_reader *rope, const char *key, uint32_t count, double *ret_factors) {
    struct config_reader *reader = rope->reader;
    const json_value *list = json_get(rope->object, key);
    if (json_kind_of(list) != JSON_KIND_ARRAY || json_count(list) != count) {
        char why[96];
        snprintf(why, sizeof why, "expected an array of %u numbers, half of the rotated dimensions", (unsigned)count);
        config_refuse(reader, MOESAIC_E_INPUT, key, list, why);
        return;
    }
    for (uint32_t i = 0; reader->status == MOESAIC_OK && i < count; i++) {
        const json_value *item = json_at(list, i);
        json_kind kind = json_kind_of(item);
        double value = kind == JSON_KIND_INTEGER || kind == JSON_KIND_REAL ? json_number(item) : 0;
        if (!(value > 0 && value <= rope_number_max))
            config_refuse(reader, MOESAIC_E_INPUT, key, item, "expected numbers above 0 in it");
        ret_factors[i] = value;
    }
}

static void rope_read_longrope(struct rope_reader *rope, const struct model_config *model, struct rope_config *config) {
    if (model->rotary_dim / 2 > CONFIG_ROPE_FACTORS_MAX) {
        config_refuse(rope->reader, MOESAIC_E_UNSUPPORTED, "long_factor", json_get(rope->object, "long_factor"),
                      "at most 512 factors are supported");
        return;
    }
    config->n_factors = model->rotary_dim / 2;
    rope_read_list(rope, "short_factor", config->n_factors, config->short_factor);
    rope_read_list(rope, "long_factor", config->n_factors, config->long_factor);
    /* The derived scale divides by the logarithm of the original length. */
    if (config->factor > 1 && config->attention_factor < 0 && config->original_max_position == 1)
        config_refuse(rope->reader, MOESAIC_E_INPUT, "original_max_position_embeddings",
                      rope_value(rope, "original_max_position_embeddings"), "expected at least 2");
}

static void rope_read_llama3(struct rope_reader *rope, struct rope_config *config) {
    rope_need(rope, "low_freq_factor");
    rope_need(rope, "high_freq_factor");
    rope_positive(rope, "low_freq_factor", &config->low_freq_factor);
    rope_positive(rope, "high_freq_factor", &config->high_freq_factor);
    if (rope->reader->status == MOESAIC_OK && config->high_freq_factor <= config->low_freq_factor)
        config_refuse(rope->reader, MOESAIC_E_INPUT, "high_freq_factor", json_get(rope->object, "high_freq_factor"),
                      "expected more than low_freq_factor");
}

static void rope_read_yarn(struct rope_reader *rope, struct rope_config *config) {
    struct config_reader *reader = rope->reader;
    config->beta_fast = 32;
    config->beta_slow = 1;
    rope_number(rope, "beta_fast", &config->beta_fast);
    rope_number(rope, "beta_slow", &config->beta_slow);
    if (config->beta_fast == 0) /* the reference takes 0 for absent */
        config->beta_fast = 32;
    if (config->beta_slow == 0)
        config->beta_slow = 1;
    rope_number(rope, "mscale", &config->mscale);
    rope_number(rope, "mscale_all_dim", &config->mscale_all_dim);
    if (reader->status == MOESAIC_OK)
        reader->status = json_read_bool(rope->object, "truncate", rope->where, &config->truncate, reader->error);
    if (config->theta <= 1)
        config_refuse(reader, MOESAIC_E_INPUT, "rope_theta", rope_value(rope, "rope_theta"), "yarn needs more than 1");
}

static void rope_read_scaling(struct rope_reader *rope, struct model_config *model) {
    struct rope_config *config = &model->rope;
    config->attention_factor = -1;
    rope_positive(rope, "attention_factor", &config->attention_factor);
    if (config->type != ROPE_LINEAR && config->type != ROPE_DYNAMIC)
        rope_read_original(rope, config);
    rope_read_factor(rope, model, config);
    switch (config->type) {
    case ROPE_LLAMA3:
        rope_read_llama3(rope, config);
        break;
    case ROPE_YARN:
        rope_read_yarn(rope, config);
        break;
    case ROPE_LONGROPE:
        rope_read_longrope(rope, model, config);
        break;
    case ROPE_DYNAMIC:
        if (model->rotary_dim <= 2) /* the exponent is dim / (dim - 2) */
            config_refuse(rope->reader, MOESAIC_E_INPUT, "head_dim", json_get(rope->reader->root, "head_dim"),
                          "dynamic rope needs more than 2 rotated dimensions");
        break;
    case ROPE_DEFAULT:
    case ROPE_LINEAR:
        break;
    }
}

/* The object that holds: rope_scaling unless it is null or empty, else rope_parameters. */
static const json_value *rope_object(struct config_reader *reader, const char **ret_key) {
    static const char *const keys[] = {"rope_scaling", "rope_parameters"};
    for (int i = 0; i < 2; i++) {
        const json_value *object = json_get(reader->root, keys[i]);
        *ret_key = keys[i];
        if (json_kind_of(object) == JSON_KIND_OBJECT && json_count(object) > 0)
            return object;
        if (json_kind_of(object) != JSON_KIND_OBJECT && json_kind_of(object) != JSON_KIND_NULL)
            config_refuse(reader, MOESAIC_E_INPUT, keys[i], object, "expected an object or null");
    }
    return NULL;
}

void config_read_rope(struct config_reader *reader, double default_theta, struct model_config *config) {
    struct rope_reader rope = {.reader = reader};
    const char *key;
    rope.object = rope_object(reader, &key);
    snprintf(rope.where, sizeof rope.where, "%.500s: %s", reader->where, key);
    config->rope = (struct rope_config){.factor = 1, .attention_factor = -1, .truncate = true};
    rope_check_keys(&rope);
    rope_read_type(&rope, &config->rope);
    rope_read_theta(&rope, default_theta, &config->rope);
    rope_read_rotary(&rope, config);
    if (reader->status == MOESAIC_OK && config->rope.type != ROPE_DEFAULT)
        rope_read_scaling(&rope, config);
}
