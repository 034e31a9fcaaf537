/* SPDX-License-Identifier: Apache-2.0 */
/* The model's vocabulary: tokens found by id and by text, in memory proportional to the file. */
#include "tokenizer_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <xxhash.h>

static moesaic_status measure(size_t *io_bytes, const char *text, size_t bytes, const char *place,
                              moesaic_error *error) {
    if (bytes > INT32_MAX || !size_add(*io_bytes, bytes + 1, io_bytes))
        return status_set(error, MOESAIC_E_INPUT, "%s: token \"%.40s\" is too long", place, text);
    return MOESAIC_OK;
}

static moesaic_status reserve(struct vocab *vocab, size_t count, size_t pool_bytes, moesaic_error *error) {
    size_t slots = 16;
    if (count > INT32_MAX / 2)
        return status_no_memory(error, "vocabulary", count);
    while (slots < 2 * count)
        slots *= 2;
    vocab->tokens = malloc((count ? count : 1) * sizeof *vocab->tokens);
    vocab->slots = calloc(slots, sizeof *vocab->slots);
    vocab->pool = malloc(pool_bytes ? pool_bytes : 1);
    vocab->mask = slots - 1;
    if (!vocab->tokens || !vocab->slots || !vocab->pool)
        return status_no_memory(error, "vocabulary", pool_bytes + slots * sizeof *vocab->slots);
    return MOESAIC_OK;
}

static void add(struct vocab *vocab, char **io_pool, const char *text, size_t bytes, int32_t id) {
    memcpy(*io_pool, text, bytes);
    (*io_pool)[bytes] = 0;
    vocab->tokens[vocab->count++] = (struct token){*io_pool, (uint32_t)bytes, id};
    *io_pool += bytes + 1;
}

static moesaic_status read_id(const json_value *value, const char *text, const char *place, int32_t *ret_id,
                              moesaic_error *error) {
    if (json_kind_of(value) != JSON_KIND_INTEGER)
        return status_set(error, MOESAIC_E_INPUT, "%s: id of token \"%.40s\" is not an integer", place, text);
    int64_t id = json_int(value);
    if (id < 0 || id >= INT32_MAX)
        return status_set(error, MOESAIC_E_INPUT, "%s: id %" PRId64 " of token \"%.40s\" is not in [0, %d]", place, id,
                          text, INT32_MAX - 1);
    *ret_id = (int32_t)id;
    return MOESAIC_OK;
}

/* {"token": id, ...} */
static moesaic_status read_object(struct vocab *vocab, const struct component *component, moesaic_error *error) {
    void *cursor = NULL;
    const char *text;
    const json_value *value;
    size_t pool_bytes = 0;
    moesaic_status status = MOESAIC_OK;
    while (status == MOESAIC_OK && json_next(component->value, &cursor, &text, &value))
        status = measure(&pool_bytes, text, strlen(text), component->place, error);
    if (status == MOESAIC_OK)
        status = reserve(vocab, json_count(component->value), pool_bytes, error);
    char *pool = vocab->pool;
    cursor = NULL;
    while (status == MOESAIC_OK && json_next(component->value, &cursor, &text, &value)) {
        int32_t id = 0;
        status = read_id(value, text, component->place, &id, error);
        add(vocab, &pool, text, strlen(text), id);
    }
    return status;
}

/* [["token", score], ...] */
static moesaic_status read_array(struct vocab *vocab, const struct component *component, moesaic_error *error) {
    size_t pool_bytes = 0, count = json_count(component->value), bytes;
    moesaic_status status = MOESAIC_OK;
    for (size_t i = 0; status == MOESAIC_OK && i < count; i++) {
        const json_value *pair = json_at(component->value, i);
        json_kind kind = json_kind_of(json_at(pair, 1));
        const char *text = json_text(json_at(pair, 0), &bytes);
        if (!text || json_count(pair) != 2 || (kind != JSON_KIND_INTEGER && kind != JSON_KIND_REAL))
            return status_set(error, MOESAIC_E_INPUT, "%s[%zu]: not a pair of a string and a number", component->place,
                              i);
        status = measure(&pool_bytes, text, bytes, component->place, error);
    }
    if (status == MOESAIC_OK)
        status = reserve(vocab, count, pool_bytes, error);
    char *pool = vocab->pool;
    for (size_t i = 0; status == MOESAIC_OK && i < count; i++) {
        const char *text = json_text(json_at(json_at(component->value, i), 0), &bytes);
        add(vocab, &pool, text, bytes, (int32_t)i);
    }
    return status;
}

static int by_id(const void *a, const void *b) {
    const struct token *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static uint32_t *slot_of(const struct vocab *vocab, const char *text, size_t bytes) {
    size_t at = XXH3_64bits(text, bytes) & vocab->mask;
    for (;; at = (at + 1) & vocab->mask) {
        uint32_t *slot = &vocab->slots[at];
        if (*slot == 0)
            return slot;
        const struct token *token = &vocab->tokens[*slot - 1];
        if (token->bytes == bytes && memcmp(token->text, text, bytes) == 0)
            return slot;
    }
}

moesaic_status vocab_read(struct vocab *vocab, const struct component *component, bool unigram, moesaic_error *error) {
    if (json_kind_of(component->value) != (unigram ? JSON_KIND_ARRAY : JSON_KIND_OBJECT))
        return status_set(error, MOESAIC_E_INPUT, "%s: missing or not an %s", component->place,
                          unigram ? "array" : "object");
    moesaic_status status = unigram ? read_array(vocab, component, error) : read_object(vocab, component, error);
    if (status != MOESAIC_OK)
        return status;
    qsort(vocab->tokens, vocab->count, sizeof *vocab->tokens, by_id);
    for (size_t i = 0; i < vocab->count; i++) {
        const struct token *token = &vocab->tokens[i];
        if (i && token[-1].id == token->id)
            return status_set(error, MOESAIC_E_INPUT, "%s: tokens \"%.40s\" and \"%.40s\" have the same id %d",
                              component->place, token[-1].text, token->text, token->id);
        /* Of equal texts, which only an array can hold, the last is the one that is found. */
        *slot_of(vocab, token->text, token->bytes) = (uint32_t)i + 1;
    }
    return MOESAIC_OK;
}

void vocab_done(struct vocab *vocab) {
    free(vocab->tokens);
    free(vocab->slots);
    free(vocab->pool);
    *vocab = (struct vocab){0};
}

const struct token *vocab_find(const struct vocab *vocab, const char *text, size_t bytes) {
    uint32_t index = *slot_of(vocab, text, bytes);
    return index ? &vocab->tokens[index - 1] : NULL;
}

const struct token *vocab_at(const struct vocab *vocab, int32_t id) {
    if (id >= 0 && (size_t)id < vocab->count && vocab->tokens[id].id == id) /* no holes up to here */
        return &vocab->tokens[id];
    struct token key = {.id = id};
    return vocab->count ? bsearch(&key, vocab->tokens, vocab->count, sizeof key, by_id) : NULL;
}

void vocab_byte_ids(const struct vocab *vocab, int32_t ret_ids[256]) {
    for (int byte = 0; byte < 256; byte++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", (unsigned)byte);
        const struct token *token = vocab_find(vocab, text, 6);
        ret_ids[byte] = token ? token->id : -1;
    }
}
