/* SPDX-License-Identifier: Apache-2.0 */
/* The tokenizer as a whole: built from a tokenizer.json, asked for tokens, and run over a text. */
#include "tokenizer_internal.h"

#include <stdio.h>

/* ---- building ---------------------------------------------------------------------------------------------------- */

/* The component under `key`, or one whose value is NULL when the file has none. */
static struct component part(const json_value *root, const char *where, const char *key) {
    struct component file = {0};
    const json_value *value = json_get(root, key);
    snprintf(file.place, sizeof file.place, "%.160s", where);
    return component_member(&file, key, SIZE_MAX, json_kind_of(value) == JSON_KIND_NULL ? NULL : value);
}

static moesaic_status read_model(struct tokenizer *tokenizer, const struct component *model, moesaic_error *error) {
    const char *type = json_text(json_get(model->value, "type"), NULL);
    if (json_kind_of(model->value) != JSON_KIND_OBJECT)
        return status_set(error, MOESAIC_E_INPUT, "%s: missing or not an object", model->place);
    if (!type) /* files from before models had a type */
        type = json_get(model->value, "merges") ? "BPE" : "";
    bool unigram = strcmp(type, "Unigram") == 0;
    if (!unigram && strcmp(type, "BPE") != 0)
        return component_unknown(model, type, error);
    struct component vocab = component_member(model, "vocab", SIZE_MAX, json_get(model->value, "vocab"));
    moesaic_status status = vocab_read(&tokenizer->vocab, &vocab, unigram, error);
    if (status != MOESAIC_OK)
        return status;
    return unigram ? unigram_read(&tokenizer->vocab, model, &tokenizer->unigram, error)
                   : bpe_read(&tokenizer->vocab, model, &tokenizer->bpe, error);
}

/* Top-level keys. Truncation and padding are settings of a call, which some tools leave in the file: transformers sets
 * them aside when it encodes a prompt, and so does this library, with a word in the log. */
static moesaic_status check_top(const json_value *root, const char *where, moesaic_error *error) {
    static const char *const keys[] = {"version",       "truncation",     "padding", "added_tokens", "normalizer",
                                       "pre_tokenizer", "post_processor", "decoder", "model",        NULL};
    struct component file = {.value = root};
    snprintf(file.place, sizeof file.place, "%.160s", where);
    if (json_kind_of(root) != JSON_KIND_OBJECT)
        return status_set(error, MOESAIC_E_INPUT, "%s: not an object", where);
    const json_value *version = json_get(root, "version");
    const char *text = json_text(version, NULL);
    if (version && (!text || strcmp(text, "1.0") != 0))
        return status_set(error, MOESAIC_E_INPUT, "%s: version: not \"1.0\"", where);
    for (size_t i = 1; i < 3; i++)
        if (json_kind_of(json_get(root, keys[i])) != JSON_KIND_NULL)
            log_line(LOG_WARNING, "%s: %s: set aside, texts are encoded whole", where, keys[i]);
    return component_check_keys(&file, keys, error);
}

static size_t size_of(const struct tokenizer *tokenizer) {
    const struct vocab *vocab = &tokenizer->vocab;
    const struct added_vocab *added = &tokenizer->added;
    size_t size = vocab->count ? (size_t)vocab->tokens[vocab->count - 1].id + 1 : 0;
    size_t added_size = added->count ? (size_t)added->tokens[added->count - 1].id + 1 : 0;
    return size > added_size ? size : added_size;
}

/* Every id that the post-processor adds must be a token's. */
static moesaic_status check_post(const struct tokenizer *tokenizer, const struct component *post,
                                 moesaic_error *error) {
    for (size_t i = 0; i < tokenizer->post.count; i++) {
        int32_t id = tokenizer->post.data[i];
        if (id != POST_TEXT && !tokenizer_token_text(tokenizer, id, NULL))
            return status_set(error, MOESAIC_E_INPUT, "%s: no token has the id %d", post->place, (int)id);
    }
    return MOESAIC_OK;
}

static moesaic_status build(struct tokenizer *tokenizer, const json_value *root, const char *where,
                            moesaic_error *error) {
    struct component model = part(root, where, "model"), normalizer = part(root, where, "normalizer"),
                     splitter = part(root, where, "pre_tokenizer"), post = part(root, where, "post_processor"),
                     decoder = part(root, where, "decoder");
    moesaic_status status = check_top(root, where, error);
    if (status == MOESAIC_OK)
        status = read_model(tokenizer, &model, error);
    if (status == MOESAIC_OK && normalizer.value)
        status = normalizers_read(&tokenizer->normalizers, &normalizer, error);
    if (status == MOESAIC_OK && splitter.value)
        status = splitters_read(&tokenizer->splitters, &splitter, error);
    if (status == MOESAIC_OK && post.value)
        status = post_read(&tokenizer->post, &post, error);
    if (status == MOESAIC_OK && decoder.value)
        status = decoders_read(&tokenizer->decoders, &decoder, error);
    if (status == MOESAIC_OK)
        status = added_read(tokenizer, json_get(root, "added_tokens"), where, error);
    tokenizer->size = size_of(tokenizer);
    return status == MOESAIC_OK ? check_post(tokenizer, &post, error) : status;
}

moesaic_status tokenizer_create(const char *json, size_t bytes, const char *where, struct tokenizer **ret_tokenizer,
                                moesaic_error *error) {
    json_value *root = NULL;
    struct tokenizer *tokenizer = NULL;
    moesaic_status status = json_parse(json, bytes, NULL, where, &root, error);
    if (status != MOESAIC_OK)
        return status;
    tokenizer = calloc(1, sizeof *tokenizer);
    status = tokenizer ? build(tokenizer, root, where, error) : status_no_memory(error, "tokenizer", sizeof *tokenizer);
    json_free(root);
    if (status != MOESAIC_OK) {
        tokenizer_destroy(tokenizer);
        return status;
    }
    *ret_tokenizer = tokenizer;
    return MOESAIC_OK;
}

void tokenizer_destroy(struct tokenizer *tokenizer) {
    if (!tokenizer)
        return;
    decoders_done(&tokenizer->decoders);
    free(tokenizer->post.data);
    added_done(&tokenizer->added);
    splitters_done(&tokenizer->splitters);
    normalizers_done(&tokenizer->normalizers);
    unigram_destroy(tokenizer->unigram);
    bpe_destroy(tokenizer->bpe);
    vocab_done(&tokenizer->vocab);
    free(tokenizer);
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

size_t tokenizer_size(const struct tokenizer *tokenizer) {
    return tokenizer->size;
}

int32_t tokenizer_id_of(const struct tokenizer *tokenizer, const char *text, size_t bytes) {
    const struct added_token *added = added_find(&tokenizer->added, text, bytes);
    const struct token *token = added ? NULL : vocab_find(&tokenizer->vocab, text, bytes);
    return added ? added->id : token ? token->id : -1;
}

const char *tokenizer_token_text(const struct tokenizer *tokenizer, int32_t id, size_t *ret_bytes) {
    const struct added_token *added = added_at(&tokenizer->added, id);
    const struct token *token = added ? NULL : vocab_at(&tokenizer->vocab, id);
    if (ret_bytes)
        *ret_bytes = added ? added->bytes : token ? token->bytes : 0;
    return added ? added->text : token ? token->text : NULL;
}

bool tokenizer_is_special(const struct tokenizer *tokenizer, int32_t id) {
    const struct added_token *added = added_at(&tokenizer->added, id);
    return added && added->special;
}

const char *tokenizer_decode_text(const struct tokenizer *tokenizer, int32_t id, size_t *ret_bytes, bool *ret_special) {
    const struct added_token *added = added_at(&tokenizer->added, id);
    if (!added || !added->match) {
        *ret_special = added && added->special;
        return tokenizer_token_text(tokenizer, id, ret_bytes);
    }
    /* The reference asks whether the text that decoding starts from is a special token's. */
    const struct added_token *same = added_find(&tokenizer->added, added->match, added->match_bytes);
    *ret_special = same && same->special;
    *ret_bytes = added->match_bytes;
    return added->match;
}

/* ---- encoding ---------------------------------------------------------------------------------------------------- */

static moesaic_status run_text(struct encode_run *run, size_t bytes, bool parse_special, struct id_list *ids) {
    const struct tokenizer *tokenizer = run->tokenizer;
    struct piece whole = {.bytes = bytes, .origin_bytes = bytes ? unicode_length(*run->text) : 0, .id = -1};
    if (!run_emit(run, &whole))
        return run_no_memory(run);
    run_swap_pieces(run);
    moesaic_status status = added_split(run, &tokenizer->added.raw, parse_special);
    if (status == MOESAIC_OK)
        status = normalizers_run(run);
    if (status == MOESAIC_OK)
        status = added_split(run, &tokenizer->added.normalized, parse_special);
    if (status == MOESAIC_OK)
        status = splitters_run(run);
    if (status != MOESAIC_OK)
        return status;
    return tokenizer->bpe ? bpe_run(run, tokenizer->bpe, ids) : unigram_run(run, tokenizer->unigram, ids);
}

/* Puts what the post-processor adds around the ids of the text. */
static moesaic_status add_post(const struct id_list *post, bool add_special, struct id_list *ids,
                               moesaic_error *error) {
    struct id_list all = {0};
    bool ok = id_list_reserve(&all, ids->count + post->count);
    for (size_t i = 0; ok && i < post->count; i++) {
        if (post->data[i] != POST_TEXT) {
            ok = !add_special || id_list_push(&all, post->data[i]);
            continue;
        }
        ok = id_list_reserve(&all, ids->count);
        if (ok && ids->count)
            memcpy(all.data + all.count, ids->data, ids->count * sizeof *ids->data);
        all.count += ok ? ids->count : 0;
    }
    free(ids->data);
    *ids = all;
    return ok ? MOESAIC_OK : status_no_memory(error, "tokenizing", all.count * sizeof *all.data);
}

moesaic_status tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t bytes, bool add_special,
                                bool parse_special, int32_t **ret_ids, size_t *ret_count, moesaic_error *error) {
    size_t offset;
    if (!unicode_valid(text, bytes, &offset))
        return status_set(error, MOESAIC_E_INPUT, "text: invalid UTF-8 at byte %zu", offset);
    if (bytes > INT32_MAX)
        return status_set(error, MOESAIC_E_INPUT, "text: %zu bytes, more than %d", bytes, INT32_MAX);
    struct encode_run run = {.tokenizer = tokenizer, .text = text, .error = error};
    struct id_list ids = {0};
    run.limit_bytes = RUN_GROWTH_BASE_BYTES + RUN_GROWTH_MAX * bytes;
    moesaic_status status = run_text(&run, bytes, parse_special, &ids);
    if (status == MOESAIC_OK && tokenizer->post.count)
        status = add_post(&tokenizer->post, add_special, &ids, error);
    if (status == MOESAIC_OK && !id_list_reserve(&ids, 1)) /* never NULL */
        status = status_no_memory(error, "tokenizing", bytes);
    encode_run_done(&run);
    if (status != MOESAIC_OK) {
        free(ids.data);
        return status;
    }
    *ret_ids = ids.data;
    *ret_count = ids.count;
    return MOESAIC_OK;
}
