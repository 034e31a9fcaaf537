/* SPDX-License-Identifier: Apache-2.0 */
/* Finding added tokens in a text: leftmost, then longest, with their rules about words and blanks. */
#include "tokenizer_internal.h"

/* Index of the longest token that [text, end) starts with, -1 if none; *ret_bytes is its length. */
static int32_t longest(const struct added_trie *trie, const char *text, const char *end, size_t *ret_bytes) {
    uint32_t node = trie->roots[(unsigned char)*text];
    int32_t found = -1;
    for (const char *at = text; node;) {
        at++;
        if (trie->nodes[node].token >= 0) {
            found = trie->nodes[node].token;
            *ret_bytes = (size_t)(at - text);
        }
        if (at == end)
            break;
        node = trie->nodes[node].child;
        while (node && trie->nodes[node].byte != (unsigned char)*at)
            node = trie->nodes[node].sibling;
    }
    return found;
}

/* A piece of text while it is being searched; offsets are within the piece. */
struct search {
    struct encode_run *run;
    const struct piece *whole;
    const char *text;
    size_t bytes;
    size_t done; /* what lies before is settled */
};

static bool stands_alone(const struct search *search, size_t begin, size_t end) {
    const char *text = search->text;
    if (begin > 0 && unicode_is_word(unicode_get(unicode_before(text, text + begin))))
        return false;
    return end == search->bytes || !unicode_is_word(unicode_get(text + end));
}

/* Start of the blanks that end at `at`, as far as they are not settled. */
static size_t blanks_before(const struct search *search, size_t at) {
    while (at > search->done) {
        const char *before = unicode_before(search->text, search->text + at);
        if (!unicode_is_space(unicode_get(before)))
            break;
        at = (size_t)(before - search->text);
    }
    return at;
}

/* End of the blanks that begin at `at`: what is settled beyond it are blanks that the token before has taken. */
static size_t blanks_after(const struct search *search, size_t at) {
    if (at < search->done)
        at = search->done;
    while (at < search->bytes && unicode_is_space(unicode_get(search->text + at)))
        at += unicode_length(search->text[at]);
    return at;
}

static bool emit_text(struct search *search, size_t begin, size_t end) {
    if (begin >= end)
        return true;
    size_t origin = search->whole->origin_bytes;
    struct piece part = {.begin = search->whole->begin + begin, .bytes = end - begin, .id = -1};
    if (origin > begin)
        part.origin_bytes = (origin < end ? origin : end) - begin;
    return run_emit(search->run, &part);
}

/* Settles the text up to a token found at [begin, end), and the token. The order of these steps, and that a token may
 * begin in blanks which the one before it has taken, are the reference's. */
static bool take_token(struct search *search, const struct added_token *token, size_t begin, size_t end) {
    if (token->single_word && !stands_alone(search, begin, end))
        return true;
    if (token->lstrip)
        begin = begin > search->done ? blanks_before(search, begin) : search->done;
    if (token->rstrip)
        end = blanks_after(search, end);
    struct piece piece = {.bytes = end > begin ? end - begin : 0, .id = token->id};
    if (!emit_text(search, search->done, begin) || !run_emit(search->run, &piece))
        return false;
    search->done = end;
    return true;
}

static bool search_piece(struct search *search, const struct added_trie *trie, bool parse_special) {
    const struct added_vocab *added = &search->run->tokenizer->added;
    const char *end = search->text + search->bytes;
    for (size_t at = 0; at < search->bytes;) {
        size_t bytes = 0;
        int32_t index = longest(trie, search->text + at, end, &bytes);
        if (index < 0) {
            at++;
            continue;
        }
        const struct added_token *token = &added->tokens[index];
        if ((parse_special || !token->special) && !take_token(search, token, at, at + bytes))
            return false;
        at += bytes;
    }
    return emit_text(search, search->done, search->bytes);
}

moesaic_status added_split(struct encode_run *run, const struct added_trie *trie, bool parse_special) {
    if (trie->count <= 1)
        return MOESAIC_OK;
    for (size_t i = 0; i < run->pieces.count; i++) {
        const struct piece *piece = &run->pieces.data[i];
        struct search search = {.run = run, .whole = piece, .text = run->text + piece->begin, .bytes = piece->bytes};
        if (piece->id >= 0 ? !run_emit(run, piece) : !search_piece(&search, trie, parse_special))
            return run_no_memory(run);
    }
    run_swap_pieces(run);
    return MOESAIC_OK;
}
