/* SPDX-License-Identifier: Apache-2.0 */
/* Byte-pair encoding: a word becomes its characters' tokens, then the pair of lowest rank merges until none is left. */
#include "tokenizer_bpe_internal.h"

#include <xxhash.h>

/* ---- scratch of one call ----------------------------------------------------------------------------------------- */

enum {
    SMALL_WORD = 32,       /* symbols: up to here a scan finds the next merge faster than a heap */
    CACHE_LOG2 = 14,       /* entries of the word cache */
    CACHE_WORD_MAX = 256,  /* bytes of a word worth remembering */
    CACHE_MIN_BYTES = 4096 /* shorter texts do without */
};

/* A word met before in this call: its text lies in the current text, its ids in the output. */
struct cached_word {
    uint64_t hash;
    const char *text; /* NULL: empty */
    size_t ids_begin;
    uint32_t bytes, ids;
};

struct heap_entry {
    uint64_t order; /* rank, then position: the smallest merges first */
    int32_t left, right, merged;
};

struct bpe_work {
    struct encode_run *run;
    const struct bpe *bpe;
    struct id_list *ids;
    struct cached_word *cache; /* NULL: none */
    struct id_list symbols;    /* tokens of the word's characters, then what they merged into; -1: merged away */
    uint32_t *previous, *next; /* [capacity] neighbours, UINT32_MAX: none */
    struct heap_entry *heap;
    size_t heap_count, heap_capacity, links_capacity;
};

static void work_done(struct bpe_work *work) {
    free(work->cache);
    free(work->symbols.data);
    free(work->previous);
    free(work->next);
    free(work->heap);
}

/* ---- characters to tokens ---------------------------------------------------------------------------------------- */

static moesaic_status no_token(struct bpe_work *work, uint32_t code) {
    return status_set(work->run->error, MOESAIC_E_INPUT,
                      "the vocabulary has no token for U+%04X and none for unknown characters", (unsigned)code);
}

/* Spells a character by the tokens of its bytes; *ret_taken is false when one of them is missing. */
static bool fall_back(struct bpe_work *work, const char *text, size_t bytes, bool *ret_taken) {
    const int32_t *byte_ids = work->bpe->byte_ids;
    *ret_taken = true;
    for (size_t i = 0; i < bytes; i++)
        *ret_taken = *ret_taken && byte_ids[(unsigned char)text[i]] >= 0;
    for (size_t i = 0; *ret_taken && i < bytes; i++)
        if (!id_list_push(&work->symbols, byte_ids[(unsigned char)text[i]]))
            return false;
    return true;
}

/* Takes a character that has no token; *io_pending: an unknown token is due, which the next may fuse into. As in the
 * reference, a character spelt by bytes does not end a pending unknown token, which then comes after it, and without an
 * unknown token the character is dropped. */
static moesaic_status take_unknown(struct bpe_work *work, const char *text, size_t bytes, bool *io_pending) {
    const struct bpe *bpe = work->bpe;
    bool taken = false;
    if (bpe->byte_fallback && !fall_back(work, text, bytes, &taken))
        return run_no_memory(work->run);
    if (taken || !bpe->has_unknown)
        return MOESAIC_OK;
    if (bpe->unknown < 0)
        return no_token(work, unicode_get(text));
    if (*io_pending && !bpe->fuse_unknown && !id_list_push(&work->symbols, bpe->unknown))
        return run_no_memory(work->run);
    *io_pending = true;
    return MOESAIC_OK;
}

/* Token of the character [text, text + bytes) at its place in the word, -1 if there is none. With a prefix for tokens
 * inside a word or a suffix for the last, `spelled` receives what is looked up. */
static moesaic_status symbol_of(struct bpe_work *work, const char *text, size_t bytes, bool first, bool last,
                                struct text_buffer *spelled, int32_t *ret_id) {
    const struct bpe *bpe = work->bpe;
    const char *prefix = first ? NULL : bpe->prefix, *suffix = last ? bpe->suffix : NULL;
    spelled->bytes = 0;
    if (!prefix && !suffix) {
        *ret_id = bpe_character_id(bpe, text, bytes);
        return MOESAIC_OK;
    }
    if ((prefix && !text_buffer_append(spelled, prefix, bpe->prefix_bytes)) ||
        !text_buffer_append(spelled, text, bytes) ||
        (suffix && !text_buffer_append(spelled, suffix, bpe->suffix_bytes)))
        return run_no_memory(work->run);
    const struct token *token = vocab_find(bpe->vocab, spelled->data, spelled->bytes);
    *ret_id = token ? token->id : -1;
    return MOESAIC_OK;
}

static moesaic_status spell(struct bpe_work *work, const char *text, size_t bytes) {
    bool pending = false;
    struct text_buffer spelled = {0};
    moesaic_status status = MOESAIC_OK;
    work->symbols.count = 0;
    for (size_t at = 0, length; status == MOESAIC_OK && at < bytes; at += length) {
        int32_t id = -1;
        length = unicode_length(text[at]);
        status = symbol_of(work, text + at, length, at == 0, at + length == bytes, &spelled, &id);
        if (status == MOESAIC_OK && id < 0) {
            bool extended = spelled.bytes > 0;
            status =
                take_unknown(work, extended ? spelled.data : text + at, extended ? spelled.bytes : length, &pending);
        } else if (status == MOESAIC_OK) {
            if ((pending && !id_list_push(&work->symbols, work->bpe->unknown)) || !id_list_push(&work->symbols, id))
                status = run_no_memory(work->run);
            pending = false;
        }
    }
    if (status == MOESAIC_OK && pending && !id_list_push(&work->symbols, work->bpe->unknown))
        status = run_no_memory(work->run);
    text_buffer_done(&spelled);
    return status;
}

/* ---- merging ----------------------------------------------------------------------------------------------------- */

/* Few symbols: look for the lowest rank, leftmost, merge, repeat. */
static void merge_small(const struct bpe *bpe, int32_t *symbols, size_t *io_count) {
    uint32_t rank[SMALL_WORD];
    int32_t merged[SMALL_WORD];
    size_t count = *io_count;
    for (size_t i = 0; i + 1 < count; i++)
        rank[i] = bpe_find_merge(bpe, symbols[i], symbols[i + 1], &merged[i]);
    while (count > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < count; i++)
            best = rank[i] < rank[best] ? i : best;
        if (rank[best] == BPE_NO_MERGE)
            break;
        symbols[best] = merged[best];
        size_t rest = count - best - 2; /* symbols behind the pair */
        memmove(symbols + best + 1, symbols + best + 2, rest * sizeof *symbols);
        memmove(rank + best, rank + best + 1, rest * sizeof *rank);
        memmove(merged + best, merged + best + 1, rest * sizeof *merged);
        count--;
        if (best > 0)
            rank[best - 1] = bpe_find_merge(bpe, symbols[best - 1], symbols[best], &merged[best - 1]);
        if (best + 1 < count)
            rank[best] = bpe_find_merge(bpe, symbols[best], symbols[best + 1], &merged[best]);
    }
    *io_count = count;
}

static void sift_down(struct heap_entry *heap, size_t count, size_t at) {
    struct heap_entry moving = heap[at];
    for (size_t child; (child = 4 * at + 1) < count; at = child) {
        size_t end = child + 4 < count ? child + 4 : count;
        for (size_t other = child + 1; other < end; other++)
            child = heap[other].order < heap[child].order ? other : child;
        if (heap[child].order >= moving.order)
            break;
        heap[at] = heap[child];
    }
    heap[at] = moving;
}

static bool heap_push(struct bpe_work *work, struct heap_entry entry) {
    if (work->heap_count == work->heap_capacity) {
        size_t capacity = work->heap_capacity ? 2 * work->heap_capacity : 256;
        struct heap_entry *heap =
            capacity > SIZE_MAX / sizeof *heap ? NULL : realloc(work->heap, capacity * sizeof *heap);
        if (!heap)
            return false;
        work->heap = heap;
        work->heap_capacity = capacity;
    }
    size_t at = work->heap_count++;
    for (size_t parent; at > 0 && entry.order < work->heap[parent = (at - 1) / 4].order; at = parent)
        work->heap[at] = work->heap[parent];
    work->heap[at] = entry;
    return true;
}

/* Enters the pair at `at` and its right neighbour, if they merge. */
static bool heap_enter(struct bpe_work *work, uint32_t at) {
    if (work->next[at] == UINT32_MAX)
        return true;
    struct heap_entry entry = {.left = work->symbols.data[at], .right = work->symbols.data[work->next[at]]};
    uint32_t rank = bpe_find_merge(work->bpe, entry.left, entry.right, &entry.merged);
    if (rank == BPE_NO_MERGE)
        return true;
    entry.order = (uint64_t)rank << 32 | at;
    return heap_push(work, entry);
}

static bool links_reserve(struct bpe_work *work, size_t count) {
    if (count <= work->links_capacity)
        return true;
    uint32_t *previous = realloc(work->previous, count * sizeof *previous);
    work->previous = previous ? previous : work->previous;
    uint32_t *next = realloc(work->next, count * sizeof *next);
    work->next = next ? next : work->next;
    if (!previous || !next)
        return false;
    work->links_capacity = count;
    return true;
}

/* Merges the pair that an entry speaks of, unless one of the two has changed since. */
static bool apply(struct bpe_work *work, const struct heap_entry *entry) {
    int32_t *symbols = work->symbols.data;
    uint32_t at = (uint32_t)entry->order, right;
    if (symbols[at] != entry->left || (right = work->next[at]) == UINT32_MAX || symbols[right] != entry->right)
        return true;
    symbols[at] = entry->merged;
    symbols[right] = -1;
    work->next[at] = work->next[right];
    if (work->next[at] != UINT32_MAX)
        work->previous[work->next[at]] = at;
    return (work->previous[at] == UINT32_MAX || heap_enter(work, work->previous[at])) && heap_enter(work, at);
}

/* Many symbols: a linked list and a heap of mergeable pairs, n log n. */
static moesaic_status merge_large(struct bpe_work *work) {
    size_t count = work->symbols.count;
    if (count >= UINT32_MAX || !links_reserve(work, count))
        return run_no_memory(work->run);
    work->heap_count = 0;
    for (size_t i = 0; i < count; i++) {
        work->previous[i] = i ? (uint32_t)i - 1 : UINT32_MAX;
        work->next[i] = i + 1 < count ? (uint32_t)i + 1 : UINT32_MAX;
    }
    for (size_t i = 0; i < count; i++)
        if (!heap_enter(work, (uint32_t)i))
            return run_no_memory(work->run);
    while (work->heap_count) {
        struct heap_entry top = work->heap[0];
        work->heap[0] = work->heap[--work->heap_count];
        if (work->heap_count)
            sift_down(work->heap, work->heap_count, 0);
        if (!apply(work, &top))
            return run_no_memory(work->run);
    }
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (work->symbols.data[i] >= 0)
            work->symbols.data[kept++] = work->symbols.data[i];
    work->symbols.count = kept;
    return MOESAIC_OK;
}

/* ---- words ------------------------------------------------------------------------------------------------------- */

static moesaic_status encode_word(struct bpe_work *work, const char *text, size_t bytes) {
    moesaic_status status = spell(work, text, bytes);
    if (status != MOESAIC_OK)
        return status;
    if (work->symbols.count <= SMALL_WORD)
        merge_small(work->bpe, work->symbols.data, &work->symbols.count);
    else if ((status = merge_large(work)) != MOESAIC_OK)
        return status;
    if (!id_list_reserve(work->ids, work->symbols.count))
        return run_no_memory(work->run);
    if (work->symbols.count)
        memcpy(work->ids->data + work->ids->count, work->symbols.data,
               work->symbols.count * sizeof *work->symbols.data);
    work->ids->count += work->symbols.count;
    return MOESAIC_OK;
}

/* Encodes a word, or copies the ids it got before. */
static moesaic_status encode_cached(struct bpe_work *work, const char *text, size_t bytes) {
    if (!work->cache || bytes > CACHE_WORD_MAX)
        return encode_word(work, text, bytes);
    uint64_t hash = XXH3_64bits(text, bytes);
    struct cached_word *word = &work->cache[hash >> (64 - CACHE_LOG2)];
    if (word->text && word->hash == hash && word->bytes == bytes && memcmp(word->text, text, bytes) == 0) {
        if (!id_list_reserve(work->ids, word->ids))
            return run_no_memory(work->run);
        memcpy(work->ids->data + work->ids->count, work->ids->data + word->ids_begin,
               word->ids * sizeof *work->ids->data);
        work->ids->count += word->ids;
        return MOESAIC_OK;
    }
    size_t begin = work->ids->count;
    moesaic_status status = encode_word(work, text, bytes);
    if (status == MOESAIC_OK)
        *word = (struct cached_word){hash, text, begin, (uint32_t)bytes, (uint32_t)(work->ids->count - begin)};
    return status;
}

/* Encodes a piece of any length in parts between which no merge can ever happen: where two characters meet, each with a
 * token of its own, and no merge joins a token that ends with the one to a token that begins with the other. Texts that
 * are not split before (SentencePiece style) become words this way; the ids are the same. */
static moesaic_status encode_parts(struct bpe_work *work, const char *text, size_t bytes) {
    const struct bpe *bpe = work->bpe;
    size_t begin = 0;
    bool known = false;
    for (size_t at = 0, length; at < bytes; at += length) {
        length = unicode_length(text[at]);
        bool known_before = known;
        known = bpe_character_id(bpe, text + at, length) >= 0;
        if (!known || !known_before)
            continue;
        if (bpe_may_join(bpe, unicode_get(unicode_before(text, text + at)), unicode_get(text + at)))
            continue;
        moesaic_status status = encode_cached(work, text + begin, at - begin);
        if (status != MOESAIC_OK)
            return status;
        begin = at;
    }
    return encode_cached(work, text + begin, bytes - begin);
}

static moesaic_status encode_piece(struct bpe_work *work, const char *text, size_t bytes) {
    const struct bpe *bpe = work->bpe;
    if (bpe->ignore_merges) {
        const struct token *token = vocab_find(bpe->vocab, text, bytes);
        if (token)
            return id_list_push(work->ids, token->id) ? MOESAIC_OK : run_no_memory(work->run);
    }
    bool whole = bytes <= CACHE_WORD_MAX || bpe->prefix || bpe->suffix;
    return whole ? encode_cached(work, text, bytes) : encode_parts(work, text, bytes);
}

moesaic_status bpe_run(struct encode_run *run, const struct bpe *bpe, struct id_list *ids) {
    struct bpe_work work = {.run = run, .bpe = bpe, .ids = ids};
    moesaic_status status = MOESAIC_OK;
    size_t bytes = 0;
    for (size_t i = 0; i < run->pieces.count && bytes < CACHE_MIN_BYTES; i++)
        bytes += run->pieces.data[i].bytes;
    if (bytes >= CACHE_MIN_BYTES && !(work.cache = calloc((size_t)1 << CACHE_LOG2, sizeof *work.cache)))
        return run_no_memory(run);
    for (size_t i = 0; status == MOESAIC_OK && i < run->pieces.count; i++) {
        const struct piece *piece = &run->pieces.data[i];
        if (piece->id >= 0)
            status = id_list_push(ids, piece->id) ? MOESAIC_OK : run_no_memory(run);
        else if (piece->bytes)
            status = encode_piece(&work, run->text + piece->begin, piece->bytes);
    }
    work_done(&work);
    return status;
}
