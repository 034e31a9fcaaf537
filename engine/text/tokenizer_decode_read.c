/* SPDX-License-Identifier: Apache-2.0 */
/* Reading decoders from a tokenizer.json. */
#include "tokenizer_internal.h"

static moesaic_status copy_text(struct decoder *decoder, const struct component *component, const char *key,
                                moesaic_error *error) {
    const char *text;
    moesaic_status status = component_text(component, key, &text, &decoder->bytes, error);
    return status == MOESAIC_OK ? tokenizer_copy_text(text, decoder->bytes, &decoder->text, error) : status;
}

static moesaic_status read_bytes(struct decoder *decoder, const struct component *component, moesaic_error *error) {
    static const char *const keys[] = {"type", "add_prefix_space", "trim_offsets", "use_regex", NULL};
    decoder->kind = DECODER_BYTES;
    return component_check_keys(component, keys, error);
}

static moesaic_status read_replace(struct decoder *decoder, const struct component *component, moesaic_error *error) {
    static const char *const keys[] = {"type", "pattern", "content", NULL};
    decoder->kind = DECODER_REPLACE;
    moesaic_status status = component_check_keys(component, keys, error);
    if (status == MOESAIC_OK)
        status = copy_text(decoder, component, "content", error);
    return status == MOESAIC_OK ? component_pattern(component, &decoder->pattern, error) : status;
}

static moesaic_status read_byte_fallback(struct decoder *decoder, const struct component *component,
                                         moesaic_error *error) {
    static const char *const keys[] = {"type", NULL};
    decoder->kind = DECODER_BYTE_FALLBACK;
    return component_check_keys(component, keys, error);
}

static moesaic_status read_fuse(struct decoder *decoder, const struct component *component, moesaic_error *error) {
    static const char *const keys[] = {"type", NULL};
    decoder->kind = DECODER_FUSE;
    return component_check_keys(component, keys, error);
}

static moesaic_status read_strip(struct decoder *decoder, const struct component *component, moesaic_error *error) {
    static const char *const keys[] = {"type", "content", "start", "stop", NULL};
    const char *text;
    int64_t start = 0, stop = 0;
    decoder->kind = DECODER_STRIP;
    moesaic_status status = component_check_keys(component, keys, error);
    if (status == MOESAIC_OK)
        status = component_char(component, "content", &text, &decoder->bytes, error);
    if (status == MOESAIC_OK)
        status = tokenizer_copy_text(text, decoder->bytes, &decoder->text, error);
    if (status == MOESAIC_OK)
        status = json_read_int(component->value, "start", 0, INT32_MAX, component->place, &start, error);
    if (status == MOESAIC_OK)
        status = json_read_int(component->value, "stop", 0, INT32_MAX, component->place, &stop, error);
    decoder->start = (size_t)start;
    decoder->stop = (size_t)stop;
    return status;
}

static moesaic_status read_metaspace(struct decoder *decoder, const struct component *component, moesaic_error *error) {
    const char *text;
    prepend_scheme prepend;
    bool split;
    decoder->kind = DECODER_METASPACE;
    moesaic_status status = metaspace_read(component, &text, &decoder->bytes, &prepend, &split, error);
    if (status != MOESAIC_OK)
        return status;
    decoder->drop_first = prepend != PREPEND_NEVER;
    return tokenizer_copy_text(text, decoder->bytes, &decoder->text, error);
}

static moesaic_status read_suffix(struct decoder *decoder, const struct component *component, moesaic_error *error) {
    static const char *const keys[] = {"type", "suffix", NULL};
    const char *text;
    size_t bytes;
    decoder->kind = DECODER_SUFFIX;
    moesaic_status status = component_check_keys(component, keys, error);
    if (status == MOESAIC_OK)
        status = component_text(component, "suffix", &text, &bytes, error);
    return status == MOESAIC_OK ? pattern_create(text, bytes, true, component->place, &decoder->pattern, error)
                                : status;
}

static moesaic_status read_sequence(struct decoders *decoders, const struct component *component,
                                    moesaic_error *error) {
    static const char *const keys[] = {"type", "decoders", NULL};
    const json_value *array;
    moesaic_status status = component_check_keys(component, keys, error);
    if (status == MOESAIC_OK)
        status = component_array(component, "decoders", &array, error);
    for (size_t i = 0; status == MOESAIC_OK && i < json_count(array); i++) {
        struct component member = component_member(component, "decoders", i, json_at(array, i));
        status = decoders_read(decoders, &member, error);
    }
    return status;
}

static moesaic_status append_stage(struct decoders *decoders, const struct component *component,
                                   struct decoder **ret_stage, moesaic_error *error) {
    if (decoders->count == TOKENIZER_STAGES_MAX)
        return status_set(error, MOESAIC_E_INPUT, "%s: more than %d decoders", component->place, TOKENIZER_STAGES_MAX);
    struct decoder *data = realloc(decoders->data, (decoders->count + 1) * sizeof *data);
    if (!data)
        return status_no_memory(error, "decoders", (decoders->count + 1) * sizeof *data);
    decoders->data = data;
    *ret_stage = &data[decoders->count++];
    **ret_stage = (struct decoder){0};
    return MOESAIC_OK;
}

moesaic_status decoders_read(struct decoders *decoders, const struct component *component, moesaic_error *error) {
    static const struct {
        const char *type;
        moesaic_status (*read)(struct decoder *, const struct component *, moesaic_error *);
    } kinds[] = {
        {"ByteLevel", read_bytes},   {"Replace", read_replace}, {"ByteFallback", read_byte_fallback},
        {"Fuse", read_fuse},         {"Strip", read_strip},     {"Metaspace", read_metaspace},
        {"BPEDecoder", read_suffix},
    };
    const char *type;
    struct decoder *stage = NULL;
    decoders->present = true;
    moesaic_status status = component_type(component, &type, error);
    if (status != MOESAIC_OK)
        return status;
    if (strcmp(type, "Sequence") == 0)
        return read_sequence(decoders, component, error);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(type, kinds[i].type) == 0) {
            status = append_stage(decoders, component, &stage, error);
            return status == MOESAIC_OK ? kinds[i].read(stage, component, error) : status;
        }
    return component_unknown(component, type, error);
}

void decoders_done(struct decoders *decoders) {
    for (size_t i = 0; i < decoders->count; i++) {
        pattern_destroy(decoders->data[i].pattern);
        free(decoders->data[i].text);
    }
    free(decoders->data);
    *decoders = (struct decoders){0};
}
