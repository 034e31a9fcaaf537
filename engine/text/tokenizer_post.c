/* SPDX-License-Identifier: Apache-2.0 */
/* Post-processors: the ids put around a text when special tokens are asked for. */
#include "tokenizer_internal.h"

static moesaic_status push(struct id_list *post, int32_t id, moesaic_error *error) {
    return id_list_push(post, id) ? MOESAIC_OK : status_no_memory(error, "post-processor", sizeof id);
}

static moesaic_status read_id(const json_value *value, const struct component *component, int32_t *ret_id,
                              moesaic_error *error) {
    int64_t id = json_kind_of(value) == JSON_KIND_INTEGER ? json_int(value) : -1;
    if (id < 0 || id >= INT32_MAX)
        return status_set(error, MOESAIC_E_INPUT, "%s: a token id is no integer in [0, %d]", component->place,
                          INT32_MAX - 1);
    *ret_id = (int32_t)id;
    return MOESAIC_OK;
}

/* {"SpecialToken": {"id": name, "type_id": n}}: the ids that special_tokens has under the name. */
static moesaic_status read_special(struct id_list *post, const struct component *component, const json_value *piece,
                                   moesaic_error *error) {
    const char *name = json_text(json_get(piece, "id"), NULL);
    const json_value *special = name ? json_get(json_get(component->value, "special_tokens"), name) : NULL;
    const json_value *ids = json_get(special, "ids");
    if (json_kind_of(ids) != JSON_KIND_ARRAY)
        return status_set(error, MOESAIC_E_INPUT, "%s: special token \"%.60s\" has no \"ids\" in special_tokens",
                          component->place, name ? name : "");
    for (size_t i = 0; i < json_count(ids); i++) {
        int32_t id = 0;
        moesaic_status status = read_id(json_at(ids, i), component, &id, error);
        if (status == MOESAIC_OK)
            status = push(post, id, error);
        if (status != MOESAIC_OK)
            return status;
    }
    return MOESAIC_OK;
}

static moesaic_status read_piece(struct id_list *post, const struct component *component, const json_value *piece,
                                 moesaic_error *error) {
    const json_value *special = json_get(piece, "SpecialToken"), *sequence = json_get(piece, "Sequence");
    if (special)
        return read_special(post, component, special, error);
    const char *id = json_text(json_get(sequence, "id"), NULL);
    if (!id || strcmp(id, "A") != 0)
        return status_set(error, MOESAIC_E_INPUT, "%s: \"single\" has a piece that is neither a special token nor A",
                          component->place);
    return push(post, POST_TEXT, error);
}

static moesaic_status read_template(struct id_list *post, const struct component *component, moesaic_error *error) {
    static const char *const keys[] = {"type", "single", "pair", "special_tokens", NULL};
    enum { PIECES_MAX = 1024 };
    const json_value *single;
    moesaic_status status = component_check_keys(component, keys, error);
    if (status == MOESAIC_OK)
        status = component_array(component, "single", &single, error);
    if (status == MOESAIC_OK && json_count(single) > PIECES_MAX)
        status =
            status_set(error, MOESAIC_E_INPUT, "%s: \"single\" has more than %d pieces", component->place, PIECES_MAX);
    for (size_t i = 0; status == MOESAIC_OK && i < json_count(single); i++)
        status = read_piece(post, component, json_at(single, i), error);
    if (status == MOESAIC_OK && post->count == 0)
        status = status_set(error, MOESAIC_E_INPUT, "%s: \"single\" leaves nothing", component->place);
    return status;
}

/* "cls" and "sep" of BERT and RoBERTa: each a pair of text and id. */
static moesaic_status read_brackets(struct id_list *post, const struct component *component, moesaic_error *error) {
    static const char *const keys[] = {"type", "sep", "cls", "trim_offsets", "add_prefix_space", NULL};
    int32_t cls = 0, sep = 0;
    moesaic_status status = component_check_keys(component, keys, error);
    if (status == MOESAIC_OK)
        status = read_id(json_at(json_get(component->value, "cls"), 1), component, &cls, error);
    if (status == MOESAIC_OK)
        status = read_id(json_at(json_get(component->value, "sep"), 1), component, &sep, error);
    if (status == MOESAIC_OK)
        status = push(post, cls, error);
    if (status == MOESAIC_OK)
        status = push(post, POST_TEXT, error);
    return status == MOESAIC_OK ? push(post, sep, error) : status;
}

static moesaic_status read_sequence(struct id_list *post, const struct component *component, moesaic_error *error) {
    static const char *const keys[] = {"type", "processors", NULL};
    const json_value *array;
    moesaic_status status = component_check_keys(component, keys, error);
    if (status == MOESAIC_OK)
        status = component_array(component, "processors", &array, error);
    for (size_t i = 0; status == MOESAIC_OK && i < json_count(array); i++) {
        struct component member = component_member(component, "processors", i, json_at(array, i));
        status = post_read(post, &member, error);
    }
    return status;
}

moesaic_status post_read(struct id_list *post, const struct component *component, moesaic_error *error) {
    static const char *const byte_level_keys[] = {"type", "add_prefix_space", "trim_offsets", "use_regex", NULL};
    const char *type;
    moesaic_status status = component_type(component, &type, error);
    if (status != MOESAIC_OK)
        return status;
    if (strcmp(type, "Sequence") == 0)
        return read_sequence(post, component, error);
    if (strcmp(type, "ByteLevel") == 0) /* trims offsets, which this library does not report */
        return component_check_keys(component, byte_level_keys, error);
    bool template = strcmp(type, "TemplateProcessing") == 0;
    if (!template && strcmp(type, "BertProcessing") != 0 && strcmp(type, "RobertaProcessing") != 0)
        return component_unknown(component, type, error);
    if (post->count)
        return status_set(error, MOESAIC_E_INPUT, "%s: a second processor that adds tokens is not supported",
                          component->place);
    return template ? read_template(post, component, error) : read_brackets(post, component, error);
}
