/* SPDX-License-Identifier: Apache-2.0 */
/* The files beside a tokenizer.json: names of the special tokens and the chat template's source. */
#include "text.h"
#include "text_internal.h"
#include "unicode_internal.h"

#include <stdio.h>

static moesaic_status copy_text(const char *text, size_t bytes, char **ret_copy, moesaic_error *error) {
    char *copy = malloc(bytes + 1);
    if (!copy)
        return status_no_memory(error, "tokenizer settings", bytes);
    memcpy(copy, text, bytes);
    copy[bytes] = 0;
    free(*ret_copy);
    *ret_copy = copy;
    return MOESAIC_OK;
}

/* A special token is written as a string or as an object with a "content"; null and absence leave *io_text alone. */
static moesaic_status read_token(const json_value *root, const char *key, const char *where, char **io_text,
                                 moesaic_error *error) {
    const json_value *value = json_get(root, key);
    if (json_kind_of(value) == JSON_KIND_NULL)
        return MOESAIC_OK;
    if (json_kind_of(value) == JSON_KIND_OBJECT)
        value = json_get(value, "content");
    size_t bytes;
    const char *text = json_text(value, &bytes);
    if (!text || strlen(text) != bytes)
        return status_set(error, MOESAIC_E_INPUT, "%s: %s: not a string, nor an object with a \"content\"", where, key);
    return copy_text(text, bytes, io_text, error);
}

static moesaic_status read_tokens(const json_value *root, const char *where, struct text_settings *settings,
                                  moesaic_error *error) {
    moesaic_status status = read_token(root, "bos_token", where, &settings->bos, error);
    if (status == MOESAIC_OK)
        status = read_token(root, "eos_token", where, &settings->eos, error);
    if (status == MOESAIC_OK)
        status = read_token(root, "pad_token", where, &settings->pad, error);
    return status == MOESAIC_OK ? read_token(root, "unk_token", where, &settings->unk, error) : status;
}

static moesaic_status set_template(struct text_settings *settings, const char *name, const char *text, size_t bytes,
                                   moesaic_error *error) {
    bool tools = strcmp(name, "tool_use") == 0;
    if (!tools && strcmp(name, "default") != 0)
        return MOESAIC_OK; /* templates for other purposes, such as "rag", are asked for by nobody */
    char **text_at = tools ? &settings->tool_template : &settings->chat_template;
    size_t *bytes_at = tools ? &settings->tool_template_bytes : &settings->chat_template_bytes;
    *bytes_at = bytes;
    return copy_text(text, bytes, text_at, error);
}

/* "chat_template": a string, or a list of {"name": ..., "template": ...}. */
static moesaic_status read_template(const json_value *root, const char *where, struct text_settings *settings,
                                    moesaic_error *error) {
    const json_value *value = json_get(root, "chat_template");
    size_t bytes;
    const char *text = json_text(value, &bytes);
    if (json_kind_of(value) == JSON_KIND_NULL)
        return MOESAIC_OK;
    if (text)
        return set_template(settings, "default", text, bytes, error);
    if (json_kind_of(value) != JSON_KIND_ARRAY)
        return status_set(error, MOESAIC_E_INPUT, "%s: chat_template: neither a string nor a list", where);
    for (size_t i = 0; i < json_count(value); i++) {
        const char *name = json_text(json_get(json_at(value, i), "name"), NULL);
        text = json_text(json_get(json_at(value, i), "template"), &bytes);
        if (!name || !text)
            return status_set(error, MOESAIC_E_INPUT, "%s: chat_template[%zu]: no \"name\" and \"template\"", where, i);
        moesaic_status status = set_template(settings, name, text, bytes, error);
        if (status != MOESAIC_OK)
            return status;
    }
    return MOESAIC_OK;
}

static moesaic_status apply_json(const char *text, size_t bytes, const char *where, struct text_settings *settings,
                                 moesaic_error *error) {
    json_value *root;
    moesaic_status status = json_parse(text, bytes, NULL, where, &root, error);
    if (status != MOESAIC_OK)
        return status;
    if (json_kind_of(root) != JSON_KIND_OBJECT)
        status = status_set(error, MOESAIC_E_INPUT, "%s: not an object", where);
    if (status == MOESAIC_OK)
        status = read_tokens(root, where, settings, error);
    if (status == MOESAIC_OK)
        status = read_template(root, where, settings, error);
    json_free(root);
    return status;
}

const char *const text_settings_files[] = {"special_tokens_map.json", "tokenizer_config.json", "chat_template.jinja",
                                           NULL};

moesaic_status text_settings_apply(struct text_settings *settings, const char *name, const char *text, size_t bytes,
                                   const char *where, moesaic_error *error) {
    size_t offset;
    if (strcmp(name, "chat_template.jinja") != 0)
        return apply_json(text, bytes, where, settings, error);
    if (!unicode_valid(text, bytes, &offset))
        return status_set(error, MOESAIC_E_INPUT, "%s: invalid UTF-8 at byte %zu", where, offset);
    return set_template(settings, "default", text, bytes, error);
}

static moesaic_status apply_file(struct text_settings *settings, const char *name, const char *path,
                                 moesaic_error *error) {
    struct file_map map;
    if (!file_is_regular(path))
        return MOESAIC_OK;
    moesaic_status status = file_map_open(path, &map, error);
    if (status != MOESAIC_OK)
        return status;
    status = text_settings_apply(settings, name, (const char *)map.data, map.bytes, path, error);
    file_map_close(&map);
    return status;
}

moesaic_status text_settings_read(const char *folder, struct text_settings *ret_settings, moesaic_error *error) {
    struct text_settings settings = {0};
    moesaic_status status = MOESAIC_OK;
    for (size_t i = 0; status == MOESAIC_OK && text_settings_files[i]; i++) {
        char path[4096];
        if (snprintf(path, sizeof path, "%s/%s", folder, text_settings_files[i]) >= (int)sizeof path)
            status = status_set(error, MOESAIC_E_INPUT, "%s: path too long", folder);
        else
            status = apply_file(&settings, text_settings_files[i], path, error);
    }
    if (status != MOESAIC_OK) {
        text_settings_done(&settings);
        return status;
    }
    *ret_settings = settings;
    return MOESAIC_OK;
}

void text_settings_done(struct text_settings *settings) {
    free(settings->bos);
    free(settings->eos);
    free(settings->pad);
    free(settings->unk);
    free(settings->chat_template);
    free(settings->tool_template);
    *settings = (struct text_settings){0};
}
