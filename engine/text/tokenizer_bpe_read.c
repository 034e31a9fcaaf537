/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a BPE model from a tokenizer.json. */
#include "tokenizer_bpe_internal.h"

/* One entry of "merges": two texts, as an array of two strings or as a string with one blank. */
struct merge_texts {
    const char *left, *right;
    size_t left_bytes, right_bytes;
};

static bool split_merge(const json_value *value, struct merge_texts *ret_texts) {
    size_t bytes;
    const char *text = json_text(value, &bytes);
    if (!text) {
        ret_texts->left = json_text(json_at(value, 0), &ret_texts->left_bytes);
        ret_texts->right = json_text(json_at(value, 1), &ret_texts->right_bytes);
        return json_count(value) == 2 && ret_texts->left && ret_texts->right;
    }
    const char *blank = memchr(text, ' ', bytes);
    if (!blank)
        return false;
    *ret_texts = (struct merge_texts){text, blank + 1, (size_t)(blank - text), bytes - (size_t)(blank - text) - 1};
    return !memchr(ret_texts->right, ' ', ret_texts->right_bytes);
}

static bool is_comment(const json_value *value) {
    const char *text = json_text(value, NULL);
    return text && strncmp(text, "#version", 8) == 0;
}

static moesaic_status missing(const struct component *component, size_t index, const char *text, size_t bytes,
                              moesaic_error *error) {
    return status_set(error, MOESAIC_E_INPUT, "%s.merges[%zu]: token \"%.*s\" is not in the vocabulary",
                      component->place, index, (int)(bytes < 60 ? bytes : 60), text);
}

static void insert_merge(struct bpe *bpe, int32_t left, int32_t right, uint32_t rank, int32_t merged) {
    uint64_t pair = bpe_pair((uint32_t)left, (uint32_t)right);
    size_t at = bpe_hash(pair) & bpe->merges_mask;
    while (bpe->merges[at].pair && bpe->merges[at].pair != pair)
        at = (at + 1) & bpe->merges_mask;
    bpe->merges[at] = (struct bpe_merge){pair, rank, merged}; /* of equal pairs the last holds */
}

static void insert_joint(struct bpe *bpe, const struct merge_texts *texts) {
    if (!texts->left_bytes || !texts->right_bytes)
        return;
    const char *last = unicode_before(texts->left, texts->left + texts->left_bytes);
    uint64_t pair = bpe_pair(unicode_get(last), unicode_get(texts->right));
    size_t at = bpe_hash(pair) & bpe->joints_mask;
    while (bpe->joints[at] && bpe->joints[at] != pair)
        at = (at + 1) & bpe->joints_mask;
    bpe->joints[at] = pair;
}

/* Looks the three tokens of a merge up and enters it; `joined` is room for the text of the third. */
static moesaic_status add_merge(struct bpe *bpe, const struct component *component, size_t index, uint32_t rank,
                                const struct merge_texts *texts, struct text_buffer *joined, moesaic_error *error) {
    const struct token *left = vocab_find(bpe->vocab, texts->left, texts->left_bytes);
    const struct token *right = vocab_find(bpe->vocab, texts->right, texts->right_bytes);
    if (!left)
        return missing(component, index, texts->left, texts->left_bytes, error);
    if (!right || texts->right_bytes < bpe->prefix_bytes)
        return missing(component, index, texts->right, texts->right_bytes, error);
    joined->bytes = 0;
    if (!text_buffer_append(joined, texts->left, texts->left_bytes) ||
        !text_buffer_append(joined, texts->right + bpe->prefix_bytes, texts->right_bytes - bpe->prefix_bytes))
        return status_no_memory(error, "merges", joined->bytes);
    const struct token *merged = vocab_find(bpe->vocab, joined->bytes ? joined->data : "", joined->bytes);
    if (!merged)
        return missing(component, index, joined->bytes ? joined->data : "", joined->bytes, error);
    insert_merge(bpe, left->id, right->id, rank, merged->id);
    insert_joint(bpe, texts);
    return MOESAIC_OK;
}

static moesaic_status reserve_merges(struct bpe *bpe, size_t count, moesaic_error *error) {
    size_t slots = 16;
    if (count >= INT32_MAX / 2)
        return status_no_memory(error, "merges", count);
    while (slots < 2 * count)
        slots *= 2;
    bpe->merges = calloc(slots, sizeof *bpe->merges);
    bpe->joints = calloc(slots, sizeof *bpe->joints);
    bpe->merges_mask = bpe->joints_mask = slots - 1;
    if (!bpe->merges || !bpe->joints)
        return status_no_memory(error, "merges", slots * sizeof *bpe->merges);
    return MOESAIC_OK;
}

static moesaic_status read_merges(struct bpe *bpe, const struct component *component, moesaic_error *error) {
    const json_value *array = json_get(component->value, "merges");
    if (json_kind_of(array) != JSON_KIND_ARRAY)
        return status_set(error, MOESAIC_E_INPUT, "%s: \"merges\" is missing or not an array", component->place);
    size_t count = json_count(array);
    struct text_buffer joined = {0};
    uint32_t rank = 0;
    moesaic_status status = reserve_merges(bpe, count, error);
    for (size_t i = 0; status == MOESAIC_OK && i < count; i++) {
        struct merge_texts texts;
        const json_value *value = json_at(array, i);
        if (is_comment(value))
            continue;
        if (split_merge(value, &texts))
            status = add_merge(bpe, component, i, rank++, &texts, &joined, error);
        else
            status = status_set(error, MOESAIC_E_INPUT, "%s.merges[%zu]: not two tokens", component->place, i);
    }
    text_buffer_done(&joined);
    return status;
}

/* A text that may be null; an empty one is none. */
static moesaic_status read_affix(const struct component *component, const char *key, char **ret_text, size_t *ret_bytes,
                                 moesaic_error *error) {
    const char *text;
    size_t bytes;
    if (json_kind_of(json_get(component->value, key)) == JSON_KIND_NULL)
        return MOESAIC_OK;
    moesaic_status status = component_text(component, key, &text, &bytes, error);
    if (status != MOESAIC_OK || bytes == 0)
        return status;
    *ret_bytes = bytes;
    return tokenizer_copy_text(text, bytes, ret_text, error);
}

static moesaic_status read_unknown(struct bpe *bpe, const struct component *component, moesaic_error *error) {
    const char *text;
    size_t bytes;
    if (json_kind_of(json_get(component->value, "unk_token")) == JSON_KIND_NULL)
        return MOESAIC_OK;
    moesaic_status status = component_text(component, "unk_token", &text, &bytes, error);
    if (status != MOESAIC_OK)
        return status;
    const struct token *token = vocab_find(bpe->vocab, text, bytes);
    bpe->has_unknown = true;
    bpe->unknown = token ? token->id : -1;
    return MOESAIC_OK;
}

static moesaic_status read_settings(struct bpe *bpe, const struct component *component, moesaic_error *error) {
    double dropout = 0;
    const json_value *value = component->value;
    moesaic_status status = json_read_double(value, "dropout", 0, 1, component->place, &dropout, error);
    if (status == MOESAIC_OK && dropout > 0)
        status = status_set(error, MOESAIC_E_INPUT, "%s: \"dropout\" is %g: encoding at random is not supported",
                            component->place, dropout);
    if (status == MOESAIC_OK)
        status = json_read_bool(value, "fuse_unk", component->place, &bpe->fuse_unknown, error);
    if (status == MOESAIC_OK)
        status = json_read_bool(value, "byte_fallback", component->place, &bpe->byte_fallback, error);
    if (status == MOESAIC_OK)
        status = json_read_bool(value, "ignore_merges", component->place, &bpe->ignore_merges, error);
    if (status == MOESAIC_OK)
        status = read_affix(component, "continuing_subword_prefix", &bpe->prefix, &bpe->prefix_bytes, error);
    if (status == MOESAIC_OK)
        status = read_affix(component, "end_of_word_suffix", &bpe->suffix, &bpe->suffix_bytes, error);
    return status == MOESAIC_OK ? read_unknown(bpe, component, error) : status;
}

static void fill_small_ids(struct bpe *bpe) {
    for (uint32_t code = 0; code < BPE_SMALL_CODES; code++) {
        char text[UNICODE_UTF8_MAX];
        const struct token *token = vocab_find(bpe->vocab, text, unicode_put(code, text));
        bpe->small_ids[code] = token ? token->id : -1;
    }
}

moesaic_status bpe_read(const struct vocab *vocab, const struct component *component, struct bpe **ret_bpe,
                        moesaic_error *error) {
    static const char *const keys[] = {"type",
                                       "dropout",
                                       "unk_token",
                                       "continuing_subword_prefix",
                                       "end_of_word_suffix",
                                       "fuse_unk",
                                       "byte_fallback",
                                       "ignore_merges",
                                       "vocab",
                                       "merges",
                                       NULL};
    struct bpe *bpe = calloc(1, sizeof *bpe);
    if (!bpe)
        return status_no_memory(error, "BPE model", sizeof *bpe);
    bpe->vocab = vocab;
    moesaic_status status = component_check_keys(component, keys, error);
    if (status == MOESAIC_OK)
        status = read_settings(bpe, component, error);
    if (status == MOESAIC_OK)
        status = read_merges(bpe, component, error);
    if (status != MOESAIC_OK) {
        bpe_destroy(bpe);
        return status;
    }
    fill_small_ids(bpe);
    vocab_byte_ids(vocab, bpe->byte_ids);
    *ret_bpe = bpe;
    return MOESAIC_OK;
}

void bpe_destroy(struct bpe *bpe) {
    if (!bpe)
        return;
    free(bpe->merges);
    free(bpe->joints);
    free(bpe->prefix);
    free(bpe->suffix);
    free(bpe);
}
