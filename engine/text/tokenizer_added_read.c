/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the added tokens of a tokenizer.json and building what finds them in a text. */
#include "tokenizer_internal.h"

#include <stdio.h>
#include <xxhash.h>

static uint32_t *slot_of(const struct added_vocab *added, const char *text, size_t bytes) {
    size_t at = XXH3_64bits(text, bytes) & added->mask;
    for (;; at = (at + 1) & added->mask) {
        uint32_t *slot = &added->slots[at];
        if (*slot == 0)
            return slot;
        const struct added_token *token = &added->tokens[*slot - 1];
        if (token->bytes == bytes && memcmp(token->text, text, bytes) == 0)
            return slot;
    }
}

const struct added_token *added_find(const struct added_vocab *added, const char *text, size_t bytes) {
    uint32_t index = added->count ? *slot_of(added, text, bytes) : 0;
    return index ? &added->tokens[index - 1] : NULL;
}

static moesaic_status reserve(struct added_vocab *added, size_t count, moesaic_error *error) {
    size_t slots = 16;
    if (count > INT32_MAX / 2)
        return status_no_memory(error, "added tokens", count);
    while (slots < 2 * count)
        slots *= 2;
    added->tokens = calloc(count ? count : 1, sizeof *added->tokens);
    added->slots = calloc(slots, sizeof *added->slots);
    added->mask = slots - 1;
    if (!added->tokens || !added->slots)
        return status_no_memory(error, "added tokens", slots * sizeof *added->slots);
    return MOESAIC_OK;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static moesaic_status read_flags(struct added_token *token, const struct component *component, moesaic_error *error) {
    const struct {
        const char *key;
        bool *value;
    } flags[] = {
        {"single_word", &token->single_word}, {"lstrip", &token->lstrip},   {"rstrip", &token->rstrip},
        {"normalized", &token->normalized},   {"special", &token->special},
    };
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        moesaic_status status = component_bool(component, flags[i].key, flags[i].value, error);
        if (status != MOESAIC_OK)
            return status;
    }
    return MOESAIC_OK;
}

/* What a normalized token looks like in normalized text. */
static moesaic_status normalize_token(const struct tokenizer *tokenizer, struct added_token *token,
                                      moesaic_error *error) {
    struct encode_run run = {.tokenizer = tokenizer, .text = token->text, .error = error};
    struct piece whole = {.bytes = token->bytes, .id = -1};
    run.limit_bytes = RUN_GROWTH_BASE_BYTES + RUN_GROWTH_MAX * token->bytes;
    moesaic_status status = MOESAIC_OK;
    if (!run_emit(&run, &whole))
        status = run_no_memory(&run);
    run_swap_pieces(&run);
    if (status == MOESAIC_OK)
        status = normalizers_run(&run);
    size_t bytes = status == MOESAIC_OK ? run.pieces.data[0].bytes : 0;
    if (status == MOESAIC_OK && (bytes != token->bytes || memcmp(run.text, token->text, bytes) != 0)) {
        token->match_bytes = bytes;
        status = tokenizer_copy_text(run.text, bytes, &token->match, error);
    }
    encode_run_done(&run);
    return status;
}

/* The id that the reference gives: the model's where it has the token, else the next free one. */
static moesaic_status give_id(const struct tokenizer *tokenizer, struct added_token *token,
                              const struct component *component, int32_t *io_next, moesaic_error *error) {
    int64_t stated = -1;
    if (!json_get(component->value, "id"))
        return status_set(error, MOESAIC_E_INPUT, "%s: \"id\" is missing", component->place);
    moesaic_status status = json_read_int(component->value, "id", 0, INT32_MAX - 1, component->place, &stated, error);
    if (status != MOESAIC_OK)
        return status;
    const struct added_token *earlier = added_find(&tokenizer->added, token->text, token->bytes);
    const struct token *known = vocab_find(&tokenizer->vocab, token->text, token->bytes);
    token->id = earlier ? earlier->id : known ? known->id : (*io_next)++;
    if (stated != token->id)
        log_line(LOG_WARNING, "%s: token \"%.60s\" states id %d and gets %d", component->place, token->text,
                 (int)stated, (int)token->id);
    return MOESAIC_OK;
}

static moesaic_status read_token(struct tokenizer *tokenizer, const struct component *component, int32_t *io_next,
                                 moesaic_error *error) {
    static const char *const keys[] = {"id",     "content",    "single_word", "lstrip",
                                       "rstrip", "normalized", "special",     NULL};
    struct added_vocab *added = &tokenizer->added;
    struct added_token token = {0};
    const char *text;
    moesaic_status status = component_check_keys(component, keys, error);
    if (status == MOESAIC_OK)
        status = component_text(component, "content", &text, &token.bytes, error);
    if (status == MOESAIC_OK)
        status = read_flags(&token, component, error);
    if (status != MOESAIC_OK || token.bytes == 0)
        return status;
    status = tokenizer_copy_text(text, token.bytes, &token.text, error);
    if (status == MOESAIC_OK)
        status = give_id(tokenizer, &token, component, io_next, error);
    if (status == MOESAIC_OK && token.normalized)
        status = normalize_token(tokenizer, &token, error);
    if (status != MOESAIC_OK) {
        free(token.text);
        free(token.match);
        return status;
    }
    uint32_t *slot = slot_of(added, token.text, token.bytes);
    if (*slot == 0) {
        added->tokens[added->count++] = token;
        *slot = (uint32_t)added->count;
        return MOESAIC_OK;
    }
    /* Said twice: the later settings hold, but once special is special for ever. */
    struct added_token *earlier = &added->tokens[*slot - 1];
    token.special = token.special || earlier->special;
    free(earlier->text);
    free(earlier->match);
    *earlier = token;
    return MOESAIC_OK;
}

static int by_id(const void *a, const void *b) {
    const struct added_token *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static moesaic_status sort_tokens(struct added_vocab *added, const char *where, moesaic_error *error) {
    qsort(added->tokens, added->count, sizeof *added->tokens, by_id);
    memset(added->slots, 0, (added->mask + 1) * sizeof *added->slots);
    for (size_t i = 0; i < added->count; i++) {
        const struct added_token *token = &added->tokens[i];
        if (i && token[-1].id == token->id)
            return status_set(error, MOESAIC_E_INPUT, "%s: added_tokens: \"%.40s\" and \"%.40s\" have the same id %d",
                              where, token[-1].text, token->text, token->id);
        *slot_of(added, token->text, token->bytes) = (uint32_t)i + 1;
    }
    return MOESAIC_OK;
}

/* ---- tries ------------------------------------------------------------------------------------------------------- */

static const char *match_text(const struct added_token *token, size_t *ret_bytes) {
    *ret_bytes = token->match ? token->match_bytes : token->bytes;
    return token->match ? token->match : token->text;
}

/* The child of `node` (0: the root) for `byte`, made when there is none. */
static uint32_t child_of(struct added_trie *trie, uint32_t node, unsigned char byte) {
    uint32_t *link = node ? &trie->nodes[node].child : &trie->roots[byte];
    while (*link && trie->nodes[*link].byte != byte)
        link = &trie->nodes[*link].sibling;
    if (*link == 0) {
        *link = (uint32_t)trie->count;
        trie->nodes[trie->count++] = (struct added_node){.token = -1, .byte = byte};
    }
    return *link;
}

static moesaic_status build_trie(struct added_trie *trie, const struct added_vocab *added, bool normalized,
                                 moesaic_error *error) {
    size_t nodes = 1, bytes;
    for (size_t i = 0; i < added->count; i++)
        if (added->tokens[i].normalized == normalized) {
            match_text(&added->tokens[i], &bytes);
            if (!size_add(nodes, bytes, &nodes) || nodes > UINT32_MAX / 2)
                return status_no_memory(error, "added tokens", nodes);
        }
    trie->nodes = calloc(nodes, sizeof *trie->nodes);
    if (!trie->nodes)
        return status_no_memory(error, "added tokens", nodes * sizeof *trie->nodes);
    trie->count = 1;
    for (size_t i = 0; i < added->count; i++) {
        if (added->tokens[i].normalized != normalized)
            continue;
        const char *text = match_text(&added->tokens[i], &bytes);
        uint32_t node = 0;
        for (size_t at = 0; at < bytes; at++)
            node = child_of(trie, node, (unsigned char)text[at]);
        if (node && trie->nodes[node].token < 0) /* of equal texts the lowest id is found */
            trie->nodes[node].token = (int32_t)i;
    }
    return MOESAIC_OK;
}

moesaic_status added_read(struct tokenizer *tokenizer, const json_value *array, const char *where,
                          moesaic_error *error) {
    struct component root = {.value = array};
    snprintf(root.place, sizeof root.place, "%.160s", where);
    if (array && json_kind_of(array) != JSON_KIND_ARRAY)
        return status_set(error, MOESAIC_E_INPUT, "%s: added_tokens: not an array", where);
    size_t count = json_count(array);
    int32_t next = (int32_t)tokenizer->vocab.count;
    moesaic_status status = reserve(&tokenizer->added, count, error);
    for (size_t i = 0; status == MOESAIC_OK && i < count; i++) {
        struct component member = component_member(&root, "added_tokens", i, json_at(array, i));
        status = read_token(tokenizer, &member, &next, error);
    }
    if (status == MOESAIC_OK)
        status = sort_tokens(&tokenizer->added, where, error);
    if (status == MOESAIC_OK)
        status = build_trie(&tokenizer->added.raw, &tokenizer->added, false, error);
    if (status == MOESAIC_OK)
        status = build_trie(&tokenizer->added.normalized, &tokenizer->added, true, error);
    return status;
}

void added_done(struct added_vocab *added) {
    for (size_t i = 0; i < added->count; i++) {
        free(added->tokens[i].text);
        free(added->tokens[i].match);
    }
    free(added->tokens);
    free(added->slots);
    free(added->raw.nodes);
    free(added->normalized.nodes);
    *added = (struct added_vocab){0};
}

const struct added_token *added_at(const struct added_vocab *added, int32_t id) {
    struct added_token key = {.id = id};
    return added->count ? bsearch(&key, added->tokens, added->count, sizeof key, by_id) : NULL;
}
