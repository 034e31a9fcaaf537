/* SPDX-License-Identifier: Apache-2.0 */
/* Normalizers: what happens to the text between added tokens before it is split. */
#include "tokenizer_internal.h"

/* ---- running ----------------------------------------------------------------------------------------------------- */

/* Bytes of the first character written since `begin`, when the old text began at the origin: whatever a character turns
 * into, the first of it comes from there. */
static size_t first_character(const struct text_buffer *out, size_t begin, size_t origin) {
    return origin && out->bytes > begin ? unicode_length(out->data[begin]) : 0;
}

static moesaic_status map_form(struct encode_run *run, const void *stage, const char *text, size_t bytes,
                               size_t *io_origin, struct text_buffer *out) {
    const struct normalizer *normalizer = stage;
    size_t begin = out->bytes;
    if (!unicode_normalize(normalizer->form, text, bytes, out))
        return run_no_memory(run);
    *io_origin = first_character(out, begin, *io_origin);
    return MOESAIC_OK;
}

static moesaic_status map_prepend(struct encode_run *run, const void *stage, const char *text, size_t bytes,
                                  size_t *io_origin, struct text_buffer *out) {
    const struct normalizer *normalizer = stage;
    if (!text_buffer_append(out, normalizer->text, normalizer->bytes) || !text_buffer_append(out, text, bytes))
        return run_no_memory(run);
    *io_origin += *io_origin ? normalizer->bytes : 0;
    return MOESAIC_OK;
}

moesaic_status normalize_replace(struct encode_run *run, const struct pattern *pattern, const char *content,
                                 size_t content_bytes, const char *text, size_t bytes, size_t *io_origin,
                                 struct text_buffer *out) {
    struct pattern_walk walk;
    size_t done = 0, origin = *io_origin, begin = out->bytes, grown_origin = origin;
    pattern_walk_start(&walk, pattern, &run->scratch, text, bytes);
    for (;;) {
        bool found;
        moesaic_status status = pattern_walk_next(&walk, &found, run->error);
        if (status != MOESAIC_OK)
            return status;
        size_t stop = found ? walk.begin : bytes;
        if (!text_buffer_append(out, text + done, stop - done))
            return run_no_memory(run);
        if (!found)
            break;
        if (!text_buffer_append(out, content, content_bytes))
            return run_no_memory(run);
        status = run_check_size(run, out);
        if (status != MOESAIC_OK)
            return status;
        done = walk.end;
        /* What replaces a match belongs to the match's last character. */
        if (walk.end <= origin && walk.end > 0)
            grown_origin = out->bytes - begin + (origin - walk.end);
        else if (walk.begin < origin)
            grown_origin = walk.begin;
    }
    *io_origin = grown_origin;
    return MOESAIC_OK;
}

static moesaic_status map_replace(struct encode_run *run, const void *stage, const char *text, size_t bytes,
                                  size_t *io_origin, struct text_buffer *out) {
    const struct normalizer *normalizer = stage;
    return normalize_replace(run, normalizer->pattern, normalizer->text, normalizer->bytes, text, bytes, io_origin,
                             out);
}

static moesaic_status map_strip(struct encode_run *run, const void *stage, const char *text, size_t bytes,
                                size_t *io_origin, struct text_buffer *out) {
    const struct normalizer *normalizer = stage;
    const char *begin = text, *end = text + bytes;
    while (normalizer->left && begin < end && unicode_is_space(unicode_get(begin)))
        begin += unicode_length(*begin);
    while (normalizer->right && begin < end && unicode_is_space(unicode_get(unicode_before(begin, end))))
        end = unicode_before(begin, end);
    size_t cut = (size_t)(begin - text);
    *io_origin = *io_origin > cut ? *io_origin - cut : 0;
    return text_buffer_append(out, begin, (size_t)(end - begin)) ? MOESAIC_OK : run_no_memory(run);
}

static moesaic_status map_lowercase(struct encode_run *run, const void *stage, const char *text, size_t bytes,
                                    size_t *io_origin, struct text_buffer *out) {
    (void)stage;
    size_t begin = out->bytes;
    for (const char *end = text + bytes; text < end; text += unicode_length(*text))
        if (!unicode_append_lower(out, unicode_get(text)))
            return run_no_memory(run);
    *io_origin = first_character(out, begin, *io_origin);
    return MOESAIC_OK;
}

uint32_t byte_character(unsigned char byte) {
    if ((byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae)
        return byte;
    /* The others, in order, follow U+0100: 0 to 0x20, 0x7f to 0xa0, 0xad. */
    return 0x100u + (byte <= 0x20 ? byte : byte <= 0xa0 ? byte - 0x7f + 0x21u : 0x43u);
}

int character_byte(uint32_t code) {
    if (code < 0x100)
        return byte_character((unsigned char)code) == code ? (int)code : -1;
    if (code > 0x143)
        return -1;
    uint32_t n = code - 0x100;
    return (int)(n <= 0x20 ? n : n <= 0x42 ? n - 0x21 + 0x7f : 0xad);
}

moesaic_status bytes_to_characters(struct encode_run *run, const void *stage, const char *text, size_t bytes,
                                   size_t *io_origin, struct text_buffer *out) {
    (void)stage;
    size_t begin = out->bytes, origin = *io_origin;
    if (bytes > SIZE_MAX / 2 || !text_buffer_reserve(out, 2 * bytes))
        return run_no_memory(run);
    char *to = out->data + begin;
    for (size_t i = 0; i < bytes; i++) {
        if (i == origin)
            *io_origin = (size_t)(to - out->data) - begin;
        unsigned char c = (unsigned char)text[i];
        if (c > 0x20 && c < 0x7f)
            *to++ = (char)c;
        else
            to += unicode_put(byte_character(c), to);
    }
    out->bytes = (size_t)(to - out->data);
    if (origin >= bytes)
        *io_origin = out->bytes - begin;
    return MOESAIC_OK;
}

moesaic_status normalizers_run(struct encode_run *run) {
    static run_map *const maps[] = {
        [NORMALIZER_FORM] = map_form,           [NORMALIZER_PREPEND] = map_prepend,
        [NORMALIZER_REPLACE] = map_replace,     [NORMALIZER_STRIP] = map_strip,
        [NORMALIZER_LOWERCASE] = map_lowercase, [NORMALIZER_BYTES] = bytes_to_characters,
    };
    const struct normalizers *normalizers = &run->tokenizer->normalizers;
    for (size_t i = 0; i < normalizers->count; i++) {
        moesaic_status status = run_map_pieces(run, maps[normalizers->data[i].kind], &normalizers->data[i]);
        if (status != MOESAIC_OK)
            return status;
    }
    return MOESAIC_OK;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static moesaic_status read_prepend(struct normalizer *normalizer, const struct component *component,
                                   moesaic_error *error) {
    static const char *const keys[] = {"type", "prepend", NULL};
    const char *text;
    moesaic_status status = component_check_keys(component, keys, error);
    if (status == MOESAIC_OK)
        status = component_text(component, "prepend", &text, &normalizer->bytes, error);
    if (status == MOESAIC_OK)
        status = tokenizer_copy_text(text, normalizer->bytes, &normalizer->text, error);
    return status;
}

static moesaic_status read_replace(struct normalizer *normalizer, const struct component *component,
                                   moesaic_error *error) {
    static const char *const keys[] = {"type", "pattern", "content", NULL};
    const char *text;
    moesaic_status status = component_check_keys(component, keys, error);
    if (status == MOESAIC_OK)
        status = component_text(component, "content", &text, &normalizer->bytes, error);
    if (status == MOESAIC_OK)
        status = tokenizer_copy_text(text, normalizer->bytes, &normalizer->text, error);
    if (status == MOESAIC_OK)
        status = component_pattern(component, &normalizer->pattern, error);
    return status;
}

static moesaic_status read_strip(struct normalizer *normalizer, const struct component *component,
                                 moesaic_error *error) {
    static const char *const keys[] = {"type", "strip_left", "strip_right", NULL};
    moesaic_status status = component_check_keys(component, keys, error);
    if (status == MOESAIC_OK)
        status = component_bool(component, "strip_left", &normalizer->left, error);
    if (status == MOESAIC_OK)
        status = component_bool(component, "strip_right", &normalizer->right, error);
    return status;
}

/* Kinds without settings. */
static moesaic_status read_plain(struct normalizer *normalizer, const struct component *component, const char *type,
                                 moesaic_error *error) {
    static const char *const keys[] = {"type", NULL};
    static const struct {
        const char *type;
        normalizer_kind kind;
        unicode_form form;
    } kinds[] = {
        {"NFC", NORMALIZER_FORM, UNICODE_NFC},   {"NFD", NORMALIZER_FORM, UNICODE_NFD},
        {"NFKC", NORMALIZER_FORM, UNICODE_NFKC}, {"NFKD", NORMALIZER_FORM, UNICODE_NFKD},
        {"Lowercase", NORMALIZER_LOWERCASE, 0},  {"ByteLevel", NORMALIZER_BYTES, 0},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(type, kinds[i].type) == 0) {
            normalizer->kind = kinds[i].kind;
            normalizer->form = kinds[i].form;
            return component_check_keys(component, keys, error);
        }
    return component_unknown(component, type, error);
}

static moesaic_status append_stage(struct normalizers *normalizers, const struct component *component,
                                   struct normalizer **ret_stage, moesaic_error *error) {
    if (normalizers->count == TOKENIZER_STAGES_MAX)
        return status_set(error, MOESAIC_E_INPUT, "%s: more than %d normalizers", component->place,
                          TOKENIZER_STAGES_MAX);
    struct normalizer *data = realloc(normalizers->data, (normalizers->count + 1) * sizeof *data);
    if (!data)
        return status_no_memory(error, "normalizers", (normalizers->count + 1) * sizeof *data);
    normalizers->data = data;
    *ret_stage = &data[normalizers->count++];
    **ret_stage = (struct normalizer){0};
    return MOESAIC_OK;
}

static moesaic_status read_sequence(struct normalizers *normalizers, const struct component *component,
                                    moesaic_error *error) {
    static const char *const keys[] = {"type", "normalizers", NULL};
    const json_value *array;
    moesaic_status status = component_check_keys(component, keys, error);
    if (status == MOESAIC_OK)
        status = component_array(component, "normalizers", &array, error);
    for (size_t i = 0; status == MOESAIC_OK && i < json_count(array); i++) {
        struct component member = component_member(component, "normalizers", i, json_at(array, i));
        status = normalizers_read(normalizers, &member, error);
    }
    return status;
}

moesaic_status normalizers_read(struct normalizers *normalizers, const struct component *component,
                                moesaic_error *error) {
    const char *type;
    struct normalizer *stage = NULL;
    moesaic_status status = component_type(component, &type, error);
    if (status != MOESAIC_OK)
        return status;
    if (strcmp(type, "Sequence") == 0)
        return read_sequence(normalizers, component, error);
    status = append_stage(normalizers, component, &stage, error);
    if (status != MOESAIC_OK)
        return status;
    if (strcmp(type, "Prepend") == 0) {
        stage->kind = NORMALIZER_PREPEND;
        return read_prepend(stage, component, error);
    }
    if (strcmp(type, "Replace") == 0) {
        stage->kind = NORMALIZER_REPLACE;
        return read_replace(stage, component, error);
    }
    if (strcmp(type, "Strip") == 0) {
        stage->kind = NORMALIZER_STRIP;
        return read_strip(stage, component, error);
    }
    return read_plain(stage, component, type, error);
}

void normalizers_done(struct normalizers *normalizers) {
    for (size_t i = 0; i < normalizers->count; i++) {
        free(normalizers->data[i].text);
        pattern_destroy(normalizers->data[i].pattern);
    }
    free(normalizers->data);
    *normalizers = (struct normalizers){0};
}
