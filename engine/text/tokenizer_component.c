/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the components of a tokenizer.json: every key is known or refused by name. */
#include "tokenizer_internal.h"

#include <stdio.h>

struct component component_member(const struct component *from, const char *key, size_t index,
                                  const json_value *value) {
    struct component member = {.value = value, .depth = from->depth + 1};
    /* The first part of a place ends with a colon: "file: model", then "file: model.vocab". */
    const char *joint = from->depth == 0 ? ": " : ".";
    if (index == SIZE_MAX)
        snprintf(member.place, sizeof member.place, "%.160s%s%s", from->place, joint, key);
    else
        snprintf(member.place, sizeof member.place, "%.160s%s%s[%zu]", from->place, joint, key, index);
    return member;
}

moesaic_status component_check_keys(const struct component *component, const char *const *keys, moesaic_error *error) {
    void *cursor = NULL;
    const char *key;
    const json_value *value;
    while (json_next(component->value, &cursor, &key, &value)) {
        size_t i = 0;
        while (keys[i] && strcmp(keys[i], key) != 0)
            i++;
        if (!keys[i])
            return status_set(error, MOESAIC_E_INPUT, "%s: unknown key \"%.60s\"", component->place, key);
    }
    return MOESAIC_OK;
}

moesaic_status component_type(const struct component *component, const char **ret_type, moesaic_error *error) {
    const char *type = json_text(json_get(component->value, "type"), NULL);
    if (!type)
        return status_set(error, MOESAIC_E_INPUT, "%s: not an object with a \"type\"", component->place);
    *ret_type = type;
    return MOESAIC_OK;
}

moesaic_status component_unknown(const struct component *component, const char *type, moesaic_error *error) {
    return status_set(error, MOESAIC_E_INPUT, "%s: type \"%.60s\" is not supported", component->place, type);
}

moesaic_status component_text(const struct component *component, const char *key, const char **ret_text,
                              size_t *ret_bytes, moesaic_error *error) {
    const char *text = json_text(json_get(component->value, key), ret_bytes);
    if (!text)
        return status_set(error, MOESAIC_E_INPUT, "%s: \"%s\" is missing or not a string", component->place, key);
    *ret_text = text;
    return MOESAIC_OK;
}

moesaic_status component_bool(const struct component *component, const char *key, bool *ret_value,
                              moesaic_error *error) {
    const json_value *value = json_get(component->value, key);
    if (json_kind_of(value) != JSON_KIND_BOOL)
        return status_set(error, MOESAIC_E_INPUT, "%s: \"%s\" is missing or not true or false", component->place, key);
    *ret_value = json_truth(value);
    return MOESAIC_OK;
}

moesaic_status component_char(const struct component *component, const char *key, const char **ret_text,
                              size_t *ret_bytes, moesaic_error *error) {
    const char *text = NULL;
    size_t bytes = 0;
    moesaic_status status = component_text(component, key, &text, &bytes, error);
    if (status != MOESAIC_OK)
        return status;
    if (bytes == 0 || bytes != unicode_length(*text))
        return status_set(error, MOESAIC_E_INPUT, "%s: \"%s\" is not one character", component->place, key);
    *ret_text = text;
    *ret_bytes = bytes;
    return MOESAIC_OK;
}

moesaic_status component_array(const struct component *component, const char *key, const json_value **ret_array,
                               moesaic_error *error) {
    const json_value *array = json_get(component->value, key);
    if (json_kind_of(array) != JSON_KIND_ARRAY)
        return status_set(error, MOESAIC_E_INPUT, "%s: \"%s\" is missing or not an array", component->place, key);
    if (component->depth >= TOKENIZER_NESTING_MAX)
        return status_set(error, MOESAIC_E_INPUT, "%s: sequences nested too deeply", component->place);
    *ret_array = array;
    return MOESAIC_OK;
}

moesaic_status component_pattern(const struct component *component, struct pattern **ret_pattern,
                                 moesaic_error *error) {
    static const char *const keys[] = {"String", "Regex", NULL};
    struct component pattern = component_member(component, "pattern", SIZE_MAX, json_get(component->value, "pattern"));
    moesaic_status status = component_check_keys(&pattern, keys, error);
    if (status != MOESAIC_OK)
        return status;
    size_t bytes;
    const char *regex = json_text(json_get(pattern.value, "Regex"), &bytes);
    const char *text = regex ? regex : json_text(json_get(pattern.value, "String"), &bytes);
    if (!text || json_count(pattern.value) != 1)
        return status_set(error, MOESAIC_E_INPUT, "%s: neither {\"String\": ...} nor {\"Regex\": ...}", pattern.place);
    return pattern_create(text, bytes, !regex, pattern.place, ret_pattern, error);
}

moesaic_status tokenizer_copy_text(const char *text, size_t bytes, char **ret_copy, moesaic_error *error) {
    char *copy = malloc(bytes + 1);
    if (!copy)
        return status_no_memory(error, "tokenizer", bytes);
    memcpy(copy, text, bytes);
    copy[bytes] = 0;
    *ret_copy = copy;
    return MOESAIC_OK;
}
