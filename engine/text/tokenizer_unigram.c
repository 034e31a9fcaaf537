/* SPDX-License-Identifier: Apache-2.0 */
/* Unigram: of all ways to spell a text with the vocabulary, the one with the highest sum of scores (Kudo 2018). */
#include "tokenizer_internal.h"

#include <float.h>

enum { UNIGRAM_TOKEN_MAX = 1024 }; /* bytes: encoding looks this far ahead from every character */
static const double unknown_penalty = 10.0;

struct unigram {
    const struct vocab *vocab;
    double *scores;  /* by id */
    uint32_t *order; /* ids of tokens that can be found, sorted by text */
    size_t order_count;
    double unknown_score;
    int32_t unknown; /* -1 none */
    bool byte_fallback;
    int32_t byte_ids[256];
};

/* The best spelling that ends at a byte of the text. */
struct ending {
    double score;
    size_t start; /* of its last token, SIZE_MAX while there is none */
    int32_t id;
};

/* ---- encoding ---------------------------------------------------------------------------------------------------- */

static moesaic_status no_unknown(struct encode_run *run, const char *text) {
    return status_set(run->error, MOESAIC_E_INPUT,
                      "the vocabulary has no token for U+%04X and none for unknown characters",
                      (unsigned)unicode_get(text));
}

static void improve(struct ending *ending, double score, size_t start, int32_t id) {
    if (ending->start == SIZE_MAX || score > ending->score)
        *ending = (struct ending){score, start, id};
}

/* Byte `depth` of a token's text; the NUL behind the last when it is no longer. */
static unsigned char byte_at(const struct unigram *unigram, size_t at, size_t depth) {
    const struct token *token = &unigram->vocab->tokens[unigram->order[at]];
    return depth < token->bytes ? (unsigned char)token->text[depth] : 0;
}

/* Narrows [*io_low, *io_high), tokens equal up to `depth` and longer than that, to those with `byte` at `depth`. */
static void narrow(const struct unigram *unigram, size_t depth, unsigned char byte, size_t *io_low, size_t *io_high) {
    size_t low = *io_low, high = *io_high;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (byte_at(unigram, middle, depth) < byte)
            low = middle + 1;
        else
            high = middle;
    }
    *io_low = low;
    high = *io_high;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (byte_at(unigram, middle, depth) <= byte)
            low = middle + 1;
        else
            high = middle;
    }
    *io_high = low;
}

/* Extends the best spelling up to `start` by every token found there; whether one of them is a single character. */
static bool extend(const struct unigram *unigram, const char *text, size_t bytes, size_t start,
                   struct ending *endings) {
    size_t low = 0, high = unigram->order_count, length = unicode_length(text[start]);
    bool single = false;
    for (size_t depth = 0; start + depth < bytes; depth++) {
        narrow(unigram, depth, (unsigned char)text[start + depth], &low, &high);
        if (low == high)
            break;
        uint32_t id = unigram->order[low];
        if (unigram->vocab->tokens[id].bytes == depth + 1) { /* the shortest stands first */
            improve(&endings[start + depth + 1], unigram->scores[id] + endings[start].score, start, (int32_t)id);
            single = single || depth + 1 == length;
            if (++low == high)
                break;
        }
    }
    return single;
}

static moesaic_status find_best(struct encode_run *run, const struct unigram *unigram, const char *text, size_t bytes,
                                struct ending *endings) {
    for (size_t i = 0; i <= bytes; i++)
        endings[i] = (struct ending){.start = SIZE_MAX};
    for (size_t start = 0; start < bytes; start += unicode_length(text[start])) {
        if (extend(unigram, text, bytes, start, endings))
            continue;
        size_t end = start + unicode_length(text[start]);
        double score = unigram->unknown_score + endings[start].score;
        bool better = endings[end].start == SIZE_MAX || score > endings[end].score;
        if (better && unigram->unknown < 0)
            return no_unknown(run, text + start);
        improve(&endings[end], score, start, unigram->unknown);
    }
    return MOESAIC_OK;
}

/* Appends the ids of one part of the spelling: its token, or its bytes', or the unknown one. */
static moesaic_status emit(struct encode_run *run, const struct unigram *unigram, const char *text, size_t bytes,
                           struct id_list *ids) {
    const struct token *token = vocab_find(unigram->vocab, text, bytes);
    bool by_bytes = !token && unigram->byte_fallback;
    for (size_t i = 0; by_bytes && i < bytes; i++)
        by_bytes = unigram->byte_ids[(unsigned char)text[i]] >= 0;
    if (!id_list_reserve(ids, by_bytes ? bytes : 1))
        return run_no_memory(run);
    if (!by_bytes) {
        if (!token && unigram->unknown < 0)
            return no_unknown(run, text);
        ids->data[ids->count++] = token ? token->id : unigram->unknown;
        return MOESAIC_OK;
    }
    for (size_t i = 0; i < bytes; i++)
        ids->data[ids->count++] = unigram->byte_ids[(unsigned char)text[i]];
    return MOESAIC_OK;
}

/* Turns the links, which lead from each end back to its start, into links forward: endings[start].start is the end. */
static void turn_links(struct ending *endings, size_t bytes) {
    size_t next = SIZE_MAX;
    int32_t next_id = -1;
    for (size_t end = bytes;;) {
        struct ending *ending = &endings[end];
        size_t start = ending->start;
        int32_t id = ending->id;
        ending->start = next;
        ending->id = next_id;
        if (end == 0)
            break;
        next = end;
        next_id = id;
        end = start;
    }
}

static moesaic_status encode_piece(struct encode_run *run, const struct unigram *unigram, const char *text,
                                   size_t bytes, struct ending *endings, struct id_list *ids) {
    moesaic_status status = find_best(run, unigram, text, bytes, endings);
    if (status != MOESAIC_OK)
        return status;
    turn_links(endings, bytes);
    for (size_t start = 0, end; status == MOESAIC_OK && start < bytes; start = end) {
        bool unknown = unigram->unknown >= 0 && endings[start].id == unigram->unknown;
        end = endings[start].start;
        while (unknown && end < bytes && endings[end].id == unigram->unknown) /* unknown ones in a row are one */
            end = endings[end].start;
        status = emit(run, unigram, text + start, end - start, ids);
    }
    return status;
}

moesaic_status unigram_run(struct encode_run *run, const struct unigram *unigram, struct id_list *ids) {
    struct ending *endings = NULL;
    size_t capacity = 0;
    moesaic_status status = MOESAIC_OK;
    for (size_t i = 0; status == MOESAIC_OK && i < run->pieces.count; i++) {
        const struct piece *piece = &run->pieces.data[i];
        if (piece->id >= 0) {
            status = id_list_push(ids, piece->id) ? MOESAIC_OK : run_no_memory(run);
            continue;
        }
        if (piece->bytes >= capacity) {
            capacity = piece->bytes + 1;
            free(endings);
            endings = capacity > SIZE_MAX / sizeof *endings ? NULL : malloc(capacity * sizeof *endings);
            if (!endings)
                return run_no_memory(run);
        }
        if (piece->bytes)
            status = encode_piece(run, unigram, run->text + piece->begin, piece->bytes, endings, ids);
    }
    free(endings);
    return status;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static int by_text(const void *a, const void *b, void *vocab) {
    const struct token *x = &((const struct vocab *)vocab)->tokens[*(const uint32_t *)a];
    const struct token *y = &((const struct vocab *)vocab)->tokens[*(const uint32_t *)b];
    int order = memcmp(x->text, y->text, x->bytes < y->bytes ? x->bytes : y->bytes);
    return order ? order : x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static moesaic_status read_scores(struct unigram *unigram, const struct component *component, moesaic_error *error) {
    const struct vocab *vocab = unigram->vocab;
    const json_value *array = json_get(component->value, "vocab");
    double lowest = DBL_MAX;
    unigram->scores = malloc((vocab->count + 1) * sizeof *unigram->scores);
    unigram->order = malloc((vocab->count + 1) * sizeof *unigram->order);
    if (!unigram->scores || !unigram->order)
        return status_no_memory(error, "Unigram model", vocab->count * sizeof *unigram->scores);
    for (size_t i = 0; i < vocab->count; i++) {
        const struct token *token = &vocab->tokens[i];
        unigram->scores[i] = json_number(json_at(json_at(array, i), 1));
        lowest = unigram->scores[i] < lowest ? unigram->scores[i] : lowest;
        if (token->bytes > UNIGRAM_TOKEN_MAX)
            return status_set(error, MOESAIC_E_INPUT, "%s.vocab[%zu]: a token of %u bytes, more than %d",
                              component->place, i, (unsigned)token->bytes, UNIGRAM_TOKEN_MAX);
        if (token->bytes && vocab_find(vocab, token->text, token->bytes) == token)
            unigram->order[unigram->order_count++] = (uint32_t)i;
    }
    unigram->unknown_score = lowest - unknown_penalty;
    qsort_r(unigram->order, unigram->order_count, sizeof *unigram->order, by_text, (void *)(uintptr_t)vocab);
    return MOESAIC_OK;
}

static moesaic_status read_model(struct unigram *unigram, const struct component *component, moesaic_error *error) {
    static const char *const keys[] = {"type", "unk_id", "vocab", "byte_fallback", NULL};
    int64_t unknown = -1;
    moesaic_status status = component_check_keys(component, keys, error);
    if (status == MOESAIC_OK)
        status = json_read_int(component->value, "unk_id", 0, (int64_t)unigram->vocab->count - 1, component->place,
                               &unknown, error);
    if (status == MOESAIC_OK)
        status = json_read_bool(component->value, "byte_fallback", component->place, &unigram->byte_fallback, error);
    unigram->unknown = (int32_t)unknown;
    return status == MOESAIC_OK ? read_scores(unigram, component, error) : status;
}

moesaic_status unigram_read(const struct vocab *vocab, const struct component *component, struct unigram **ret_unigram,
                            moesaic_error *error) {
    struct unigram *unigram = calloc(1, sizeof *unigram);
    if (!unigram)
        return status_no_memory(error, "Unigram model", sizeof *unigram);
    unigram->vocab = vocab;
    moesaic_status status = read_model(unigram, component, error);
    if (status != MOESAIC_OK) {
        unigram_destroy(unigram);
        return status;
    }
    vocab_byte_ids(vocab, unigram->byte_ids);
    *ret_unigram = unigram;
    return MOESAIC_OK;
}

void unigram_destroy(struct unigram *unigram) {
    if (!unigram)
        return;
    free(unigram->scores);
    free(unigram->order);
    free(unigram);
}
