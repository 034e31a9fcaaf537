/* SPDX-License-Identifier: Apache-2.0 */
/* config.json of a model with another shape: the numbers and lists that change, every other byte as it was. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compressor_internal.h"

bool config_intermediate_shared(const struct model_config *config) {
    return config->family == FAMILY_MIXTRAL || config->family == FAMILY_OLMOE;
}

/* ---- the text ---------------------------------------------------------------------------------------------------- */

struct config_text {
    char *text;
    size_t bytes;
};

static size_t blanks_skip(const char *text, size_t bytes, size_t at) {
    while (at < bytes && strchr(" \t\r\n", text[at]))
        at++;
    return at;
}

/* Offset of the closing quote of the string whose opening quote is at `at`. */
static size_t string_end(const char *text, size_t bytes, size_t at) {
    for (at++; at < bytes && text[at] != '"'; at++)
        at += text[at] == '\\';
    return at;
}

/* Offset of the value of `key` in the outermost object of valid JSON; 0: it is not there. */
static size_t value_find(const struct config_text *config, const char *key) {
    const char *text = config->text;
    size_t depth = 0, length = strlen(key), bytes = config->bytes;
    for (size_t i = 0; i < bytes; i++) {
        depth += text[i] == '{' || text[i] == '[';
        depth -= depth > 0 && (text[i] == '}' || text[i] == ']');
        if (text[i] != '"')
            continue;
        size_t begin = i + 1;
        i = string_end(text, bytes, i);
        if (depth != 1 || i >= bytes || i - begin != length || memcmp(text + begin, key, length))
            continue;
        size_t colon = blanks_skip(text, bytes, i + 1);
        if (colon < bytes && text[colon] == ':')
            return blanks_skip(text, bytes, colon + 1);
    }
    return 0;
}

/* Offset behind the number, name or list at `at`. */
static size_t value_end(const struct config_text *config, size_t at) {
    const char *text = config->text;
    size_t depth = 0;
    for (; at < config->bytes && (depth || !strchr(",} \t\r\n", text[at])); at++) {
        if (text[at] == '"' && (at = string_end(text, config->bytes, at)) >= config->bytes)
            break;
        depth += text[at] == '[';
        depth -= depth > 0 && text[at] == ']';
    }
    return at < config->bytes ? at : config->bytes;
}

/* Replaces the value of `key`, or adds the pair as the first of the object where there is none. */
static moesaic_status value_put(struct config_text *config, const char *key, const char *value, moesaic_error *error) {
    size_t at = value_find(config, key), room = strlen(key) + strlen(value) + 8;
    size_t brace = blanks_skip(config->text, config->bytes, 0), begin = at                      ? at
                                                                        : brace < config->bytes ? brace + 1
                                                                                                : config->bytes;
    size_t end = at ? value_end(config, at) : begin;
    char *changed = malloc(config->bytes + room);
    if (!changed)
        return status_no_memory(error, "config.json", config->bytes + room);
    memcpy(changed, config->text, begin);
    int put =
        at ? snprintf(changed + begin, room, "%s", value) : snprintf(changed + begin, room, "\"%s\": %s, ", key, value);
    memcpy(changed + begin + put, config->text + end, config->bytes - end);
    free(config->text);
    *config = (struct config_text){changed, config->bytes - (end - begin) + (size_t)put};
    return MOESAIC_OK;
}

/* Gives the keys (the first alone where the file has none of them) a new number. */
static moesaic_status number_put(struct config_text *config, const char *const keys[2], uint32_t number,
                                 moesaic_error *error) {
    char value[16];
    bool found = false;
    moesaic_status status = MOESAIC_OK;
    snprintf(value, sizeof value, "%" PRIu32, number);
    for (int i = 0; !status && i < 2 && keys[i]; i++) {
        if (!value_find(config, keys[i]))
            continue;
        found = true;
        status = value_put(config, keys[i], value, error);
    }
    return status || found ? status : value_put(config, keys[0], value, error);
}

/* ---- fewer layers ------------------------------------------------------------------------------------------------ */

enum { ENTRY_BYTES = 24 };

/* A list with what `write` leaves of each layer in `entry`; an empty one is left out. */
static moesaic_status list_put(struct config_text *config, const struct model_config *model, const char *key,
                               void (*write)(const struct model_config *, uint32_t, char entry[ENTRY_BYTES]),
                               moesaic_error *error) {
    char *list = malloc(4 + (size_t)model->layers * (ENTRY_BYTES + 2)), *to = list, entry[ENTRY_BYTES];
    if (!list)
        return status_no_memory(error, "config.json", (size_t)model->layers * ENTRY_BYTES);
    *to++ = '[';
    for (uint32_t layer = 0; layer < model->layers; layer++) {
        write(model, layer, entry);
        if (*entry)
            to = stpcpy(to == list + 1 ? to : stpcpy(to, ", "), entry);
    }
    memcpy(to, "]", 2);
    moesaic_status status = value_put(config, key, list, error);
    free(list);
    return status;
}

static void dense_write(const struct model_config *model, uint32_t layer, char entry[ENTRY_BYTES]) {
    *entry = 0;
    if (!model->layer[layer].moe)
        snprintf(entry, ENTRY_BYTES, "%" PRIu32, layer);
}

static void type_write(const struct model_config *model, uint32_t layer, char entry[ENTRY_BYTES]) {
    snprintf(entry, ENTRY_BYTES, "\"%s_attention\"", model->layer[layer].window ? "sliding" : "full");
}

/* Which layers are dense and which slide was said by their old numbers: now it is said by name. */
static moesaic_status layers_put(struct config_text *config, const struct model_config *old,
                                 const struct model_config *new, moesaic_error *error) {
    static const char *const layers[] = {"num_hidden_layers", NULL}, *const step[] = {"decoder_sparse_step", NULL};
    bool dense = false, slides = false;
    for (uint32_t layer = 0; layer < old->layers; layer++) {
        dense |= old->experts && !old->layer[layer].moe;
        slides |= old->family == FAMILY_QWEN2_MOE && old->layer[layer].window;
    }
    moesaic_status status = number_put(config, layers, new->layers, error);
    if (!status && dense)
        status = number_put(config, step, 1, error);
    if (!status && dense)
        status = list_put(config, new, "mlp_only_layers", dense_write, error);
    if (!status && (slides || value_find(config, "layer_types")))
        status = list_put(config, new, "layer_types", type_write, error);
    return status;
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

moesaic_status config_reshape(const struct compressor *c, const void *data, size_t bytes, char **ret_text,
                              size_t *ret_bytes, moesaic_error *error) {
    bool mixtral = c->config->family == FAMILY_MIXTRAL;
    const char *const experts[] = {mixtral ? "num_local_experts" : "num_experts",
                                   mixtral ? "num_experts" : "num_local_experts"};
    const char *const neurons[] = {
        config_intermediate_shared(c->config) ? "intermediate_size" : "moe_intermediate_size", NULL};
    struct config_text config = {malloc(bytes + 1), bytes};
    if (!config.text)
        return status_no_memory(error, "config.json", bytes);
    memcpy(config.text, data, bytes);
    moesaic_status status = MOESAIC_OK;
    if (c->layers.whole)
        status = layers_put(&config, model_config(c->layers.whole), c->config, error);
    if (!status && reshape_drops(c))
        status = number_put(&config, experts, c->config->experts, error);
    if (!status && reshape_narrows(c))
        status = number_put(&config, neurons, c->config->moe_intermediate, error);
    if (status) {
        free(config.text);
        return status;
    }
    *ret_text = config.text;
    *ret_bytes = config.bytes;
    return MOESAIC_OK;
}
