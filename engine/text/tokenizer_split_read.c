/* SPDX-License-Identifier: Apache-2.0 */
/* Reading pre-tokenizers from a tokenizer.json. */
#include "tokenizer_internal.h"

#include <inttypes.h>

/* GPT-2's expression, which ByteLevel uses when told to. */
static const char bytes_expression[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
/* char::is_numeric of Rust, whose table is one Unicode version ahead of the others. */
static const char digits_expression[] = "[\\p{N}\\x{11de0}-\\x{11de9}\\x{16ff4}-\\x{16ff6}]";
/* \w+|[^\w\s]+ of Rust's regex, whose \w has the two joiners. */
static const char words_expression[] = "[\\p{Word}\\x{200c}\\x{200d}]+|[^\\p{Word}\\x{200c}\\x{200d}\\s]+";
/* ASCII punctuation, and P of Unicode 8, the version of the crate that the reference asks. */
static const char punctuation_expression[] =
    "[!-/:-@\\[-`{-~\\x{166d}\\x{111c9}[\\p{P}&&[^\\x{61d}\\x{9fd}\\x{a76}\\x{c77}\\x{c84}\\x{1b4e}-\\x{1b4f}"
    "\\x{1b7d}-\\x{1b7f}\\x{2e43}-\\x{2e5d}\\x{10d6e}\\x{10ead}\\x{10f55}-\\x{10f59}\\x{10f86}-\\x{10f89}\\x{113d4}-"
    "\\x{113d8}\\x{1144b}-\\x{1144f}\\x{1145a}-\\x{1145d}\\x{11660}-\\x{1166c}\\x{116b9}\\x{1183b}\\x{11944}-"
    "\\x{11946}\\x{119e2}\\x{11a3f}-\\x{11a46}\\x{11a9a}-\\x{11aa2}\\x{11b00}-\\x{11b09}\\x{11b60}-\\x{11b67}"
    "\\x{11be1}\\x{11c41}-\\x{11c45}\\x{11c70}-\\x{11c71}\\x{11ef7}-\\x{11ef8}\\x{11f43}-\\x{11f4f}\\x{11fff}"
    "\\x{12ff1}-\\x{12ff2}\\x{16d6d}-\\x{16d6f}\\x{16e97}-\\x{16e9a}\\x{16fe2}\\x{1e5ff}\\x{1e95e}-\\x{1e95f}]]]";

static moesaic_status compile(struct splitter *splitter, const char *expression, split_behavior behavior,
                              const struct component *component, moesaic_error *error) {
    splitter->behavior = behavior;
    return pattern_create(expression, strlen(expression), false, component->place, &splitter->pattern, error);
}

static moesaic_status read_behavior(const struct component *component, const char *key, split_behavior *ret_behavior,
                                    moesaic_error *error) {
    static const char *const names[] = {
        [SPLIT_REMOVED] = "Removed",
        [SPLIT_ISOLATED] = "Isolated",
        [SPLIT_MERGED_PREVIOUS] = "MergedWithPrevious",
        [SPLIT_MERGED_NEXT] = "MergedWithNext",
        [SPLIT_CONTIGUOUS] = "Contiguous",
    };
    const char *text;
    moesaic_status status = component_text(component, key, &text, NULL, error);
    if (status != MOESAIC_OK)
        return status;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(text, names[i]) == 0) {
            *ret_behavior = (split_behavior)i;
            return MOESAIC_OK;
        }
    return status_set(error, MOESAIC_E_INPUT, "%s: \"%s\" is \"%.40s\", which is unknown", component->place, key, text);
}

static moesaic_status read_split(struct splitter *splitter, const struct component *component, moesaic_error *error) {
    static const char *const keys[] = {"type", "pattern", "behavior", "invert", NULL};
    moesaic_status status = component_check_keys(component, keys, error);
    if (status == MOESAIC_OK)
        status = read_behavior(component, "behavior", &splitter->behavior, error);
    if (status == MOESAIC_OK)
        status = component_bool(component, "invert", &splitter->invert, error);
    if (status == MOESAIC_OK)
        status = component_pattern(component, &splitter->pattern, error);
    return status;
}

static moesaic_status read_bytes(struct splitter *splitter, const struct component *component, moesaic_error *error) {
    static const char *const keys[] = {"type", "add_prefix_space", "trim_offsets", "use_regex", NULL};
    bool use_regex = true;
    splitter->kind = SPLITTER_BYTES;
    moesaic_status status = component_check_keys(component, keys, error);
    if (status == MOESAIC_OK)
        status = component_bool(component, "add_prefix_space", &splitter->prefix_space, error);
    if (status == MOESAIC_OK)
        status = json_read_bool(component->value, "use_regex", component->place, &use_regex, error);
    if (status == MOESAIC_OK && use_regex)
        status = compile(splitter, bytes_expression, SPLIT_ISOLATED, component, error);
    return status;
}

static moesaic_status read_scheme(const struct component *component, prepend_scheme *ret_prepend,
                                  moesaic_error *error) {
    static const char *const names[] = {
        [PREPEND_NEVER] = "never", [PREPEND_FIRST] = "first", [PREPEND_ALWAYS] = "always"};
    const char *text;
    *ret_prepend = PREPEND_ALWAYS;
    if (!json_get(component->value, "prepend_scheme"))
        return MOESAIC_OK;
    moesaic_status status = component_text(component, "prepend_scheme", &text, NULL, error);
    if (status != MOESAIC_OK)
        return status;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(text, names[i]) == 0) {
            *ret_prepend = (prepend_scheme)i;
            return MOESAIC_OK;
        }
    return status_set(error, MOESAIC_E_INPUT, "%s: \"prepend_scheme\" is \"%.40s\", which is unknown", component->place,
                      text);
}

moesaic_status metaspace_read(const struct component *component, const char **ret_replacement, size_t *ret_bytes,
                              prepend_scheme *ret_prepend, bool *ret_split, moesaic_error *error) {
    static const char *const keys[] = {"type",    "replacement", "prepend_scheme", "add_prefix_space", "split",
                                       "str_rep", NULL};
    bool prefix_space = true;
    *ret_split = true;
    moesaic_status status = component_check_keys(component, keys, error);
    if (status == MOESAIC_OK)
        status = component_char(component, "replacement", ret_replacement, ret_bytes, error);
    if (status == MOESAIC_OK)
        status = read_scheme(component, ret_prepend, error);
    if (status == MOESAIC_OK)
        status = json_read_bool(component->value, "add_prefix_space", component->place, &prefix_space, error);
    if (status == MOESAIC_OK)
        status = json_read_bool(component->value, "split", component->place, ret_split, error);
    if (status == MOESAIC_OK && !prefix_space && *ret_prepend != PREPEND_NEVER)
        status = status_set(error, MOESAIC_E_INPUT, "%s: \"add_prefix_space\" contradicts \"prepend_scheme\"",
                            component->place);
    return status;
}

static moesaic_status read_metaspace(struct splitter *splitter, const struct component *component,
                                     moesaic_error *error) {
    const char *replacement;
    bool split;
    splitter->kind = SPLITTER_METASPACE;
    splitter->behavior = SPLIT_MERGED_NEXT;
    moesaic_status status =
        metaspace_read(component, &replacement, &splitter->replacement_bytes, &splitter->prepend, &split, error);
    if (status != MOESAIC_OK)
        return status;
    memcpy(splitter->replacement, replacement, splitter->replacement_bytes);
    status = pattern_create(" ", 1, true, component->place, &splitter->blank, error);
    if (status == MOESAIC_OK && split)
        status = pattern_create(splitter->replacement, splitter->replacement_bytes, true, component->place,
                                &splitter->pattern, error);
    return status;
}

static moesaic_status read_digits(struct splitter *splitter, const struct component *component, moesaic_error *error) {
    static const char *const keys[] = {"type", "individual_digits", NULL};
    bool individual = false;
    moesaic_status status = component_check_keys(component, keys, error);
    if (status == MOESAIC_OK)
        status = component_bool(component, "individual_digits", &individual, error);
    if (status == MOESAIC_OK)
        status = compile(splitter, digits_expression, individual ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS, component, error);
    return status;
}

static moesaic_status read_punctuation(struct splitter *splitter, const struct component *component,
                                       moesaic_error *error) {
    static const char *const keys[] = {"type", "behavior", NULL};
    split_behavior behavior = SPLIT_ISOLATED;
    moesaic_status status = component_check_keys(component, keys, error);
    if (status == MOESAIC_OK && json_get(component->value, "behavior"))
        status = read_behavior(component, "behavior", &behavior, error);
    return status == MOESAIC_OK ? compile(splitter, punctuation_expression, behavior, component, error) : status;
}

static moesaic_status read_whitespace(struct splitter *splitter, const struct component *component,
                                      moesaic_error *error) {
    static const char *const keys[] = {"type", NULL};
    splitter->invert = true;
    moesaic_status status = component_check_keys(component, keys, error);
    return status == MOESAIC_OK ? compile(splitter, words_expression, SPLIT_REMOVED, component, error) : status;
}

static moesaic_status read_whitespace_split(struct splitter *splitter, const struct component *component,
                                            moesaic_error *error) {
    static const char *const keys[] = {"type", NULL};
    moesaic_status status = component_check_keys(component, keys, error);
    return status == MOESAIC_OK ? compile(splitter, "\\s", SPLIT_REMOVED, component, error) : status;
}

static moesaic_status read_delimiter(struct splitter *splitter, const struct component *component,
                                     moesaic_error *error) {
    static const char *const keys[] = {"type", "delimiter", NULL};
    const char *text;
    size_t bytes;
    moesaic_status status = component_check_keys(component, keys, error);
    if (status == MOESAIC_OK)
        status = component_char(component, "delimiter", &text, &bytes, error);
    splitter->behavior = SPLIT_REMOVED;
    return status == MOESAIC_OK ? pattern_create(text, bytes, true, component->place, &splitter->pattern, error)
                                : status;
}

static moesaic_status read_length(struct splitter *splitter, const struct component *component, moesaic_error *error) {
    static const char *const keys[] = {"type", "length", NULL};
    int64_t length = 5;
    splitter->kind = SPLITTER_LENGTH;
    moesaic_status status = component_check_keys(component, keys, error);
    if (status == MOESAIC_OK)
        status = json_read_int(component->value, "length", 1, INT32_MAX, component->place, &length, error);
    splitter->length = (size_t)length;
    return status;
}

static moesaic_status read_sequence(struct splitters *splitters, const struct component *component,
                                    moesaic_error *error) {
    static const char *const keys[] = {"type", "pretokenizers", NULL};
    const json_value *array;
    moesaic_status status = component_check_keys(component, keys, error);
    if (status == MOESAIC_OK)
        status = component_array(component, "pretokenizers", &array, error);
    for (size_t i = 0; status == MOESAIC_OK && i < json_count(array); i++) {
        struct component member = component_member(component, "pretokenizers", i, json_at(array, i));
        status = splitters_read(splitters, &member, error);
    }
    return status;
}

static moesaic_status append_stage(struct splitters *splitters, const struct component *component,
                                   struct splitter **ret_stage, moesaic_error *error) {
    if (splitters->count == TOKENIZER_STAGES_MAX)
        return status_set(error, MOESAIC_E_INPUT, "%s: more than %d pre-tokenizers", component->place,
                          TOKENIZER_STAGES_MAX);
    struct splitter *data = realloc(splitters->data, (splitters->count + 1) * sizeof *data);
    if (!data)
        return status_no_memory(error, "pre-tokenizers", (splitters->count + 1) * sizeof *data);
    splitters->data = data;
    *ret_stage = &data[splitters->count++];
    **ret_stage = (struct splitter){0};
    return MOESAIC_OK;
}

moesaic_status splitters_read(struct splitters *splitters, const struct component *component, moesaic_error *error) {
    static const struct {
        const char *type;
        moesaic_status (*read)(struct splitter *, const struct component *, moesaic_error *);
    } kinds[] = {
        {"Split", read_split},
        {"ByteLevel", read_bytes},
        {"Metaspace", read_metaspace},
        {"Digits", read_digits},
        {"Punctuation", read_punctuation},
        {"Whitespace", read_whitespace},
        {"WhitespaceSplit", read_whitespace_split},
        {"CharDelimiterSplit", read_delimiter},
        {"FixedLength", read_length},
    };
    const char *type;
    struct splitter *stage = NULL;
    moesaic_status status = component_type(component, &type, error);
    if (status != MOESAIC_OK)
        return status;
    if (strcmp(type, "Sequence") == 0)
        return read_sequence(splitters, component, error);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(type, kinds[i].type) == 0) {
            status = append_stage(splitters, component, &stage, error);
            return status == MOESAIC_OK ? kinds[i].read(stage, component, error) : status;
        }
    return component_unknown(component, type, error);
}

void splitters_done(struct splitters *splitters) {
    for (size_t i = 0; i < splitters->count; i++) {
        pattern_destroy(splitters->data[i].pattern);
        pattern_destroy(splitters->data[i].blank);
    }
    free(splitters->data);
    *splitters = (struct splitters){0};
}
