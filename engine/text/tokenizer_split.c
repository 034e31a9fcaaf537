/* SPDX-License-Identifier: Apache-2.0 */
/* Pre-tokenizers: cutting the normalized text into the words that the model sees. */
#include "tokenizer_internal.h"

/* ---- running ----------------------------------------------------------------------------------------------------- */

/* One piece being cut: segments come in order, matches and what lies between them. */
struct cut {
    struct encode_run *run;
    const struct piece *whole;
    split_behavior behavior;
    bool held, previous_match; /* a piece that may still grow, and what came last */
    size_t held_begin, held_end;
};

/* Emits the part [begin, end) of the piece; offsets within it. */
static bool emit_part(struct cut *cut, size_t begin, size_t end) {
    size_t origin = cut->whole->origin_bytes;
    struct piece part = {.begin = cut->whole->begin + begin, .bytes = end - begin, .id = -1};
    if (origin > begin)
        part.origin_bytes = (origin < end ? origin : end) - begin;
    return run_emit(cut->run, &part);
}

static bool flush_held(struct cut *cut) {
    bool held = cut->held;
    cut->held = false;
    return !held || emit_part(cut, cut->held_begin, cut->held_end);
}

/* Starts a new held piece, letting the last one go. */
static bool hold(struct cut *cut, size_t begin, size_t end) {
    if (!flush_held(cut))
        return false;
    cut->held = true;
    cut->held_begin = begin;
    cut->held_end = end;
    return true;
}

/* Takes the next segment, by the rules of SplitDelimiterBehavior of the reference. */
static bool segment(struct cut *cut, size_t begin, size_t end, bool match) {
    bool previous = cut->previous_match, grow = false;
    cut->previous_match = match;
    switch (cut->behavior) {
    case SPLIT_REMOVED:
        return match || emit_part(cut, begin, end);
    case SPLIT_ISOLATED:
        return emit_part(cut, begin, end);
    case SPLIT_MERGED_PREVIOUS: /* a match joins the text before it */
        grow = match && !previous;
        break;
    case SPLIT_MERGED_NEXT: /* the last match of a row joins the text behind it */
        grow = previous && !match;
        break;
    case SPLIT_CONTIGUOUS: /* rows of matches are one */
        grow = match == previous;
        break;
    }
    if (!grow || !cut->held)
        return hold(cut, begin, end);
    cut->held_end = end;
    return true;
}

static moesaic_status split_piece(struct encode_run *run, const struct splitter *splitter, const struct piece *piece) {
    struct cut cut = {.run = run, .whole = piece, .behavior = splitter->behavior};
    struct pattern_walk walk;
    size_t done = 0;
    pattern_walk_start(&walk, splitter->pattern, &run->scratch, run->text + piece->begin, piece->bytes);
    for (;;) {
        bool found;
        moesaic_status status = pattern_walk_next(&walk, &found, run->error);
        if (status != MOESAIC_OK)
            return status;
        size_t stop = found ? walk.begin : piece->bytes;
        if (stop > done && !segment(&cut, done, stop, splitter->invert))
            return run_no_memory(run);
        if (!found)
            break;
        if (!segment(&cut, walk.begin, walk.end, !splitter->invert))
            return run_no_memory(run);
        done = walk.end;
    }
    return flush_held(&cut) ? MOESAIC_OK : run_no_memory(run);
}

/* Cuts a piece every so many characters. */
static moesaic_status split_length(struct encode_run *run, const struct splitter *splitter, const struct piece *piece) {
    struct cut cut = {.run = run, .whole = piece};
    const char *text = run->text + piece->begin;
    for (size_t begin = 0, end; begin < piece->bytes; begin = end) {
        end = begin;
        for (size_t n = 0; n < splitter->length && end < piece->bytes; n++)
            end += unicode_length(text[end]);
        if (!emit_part(&cut, begin, end))
            return run_no_memory(run);
    }
    return MOESAIC_OK;
}

static moesaic_status split_pieces(struct encode_run *run, const struct splitter *splitter) {
    for (size_t i = 0; i < run->pieces.count; i++) {
        const struct piece *piece = &run->pieces.data[i];
        moesaic_status status = MOESAIC_OK;
        if (piece->id >= 0)
            status = run_emit(run, piece) ? MOESAIC_OK : run_no_memory(run);
        else
            status = splitter->pattern ? split_piece(run, splitter, piece) : split_length(run, splitter, piece);
        if (status != MOESAIC_OK)
            return status;
    }
    run_swap_pieces(run);
    return MOESAIC_OK;
}

static moesaic_status map_prefix_space(struct encode_run *run, const void *stage, const char *text, size_t bytes,
                                       size_t *io_origin, struct text_buffer *out) {
    (void)stage;
    bool add = *text != ' ';
    *io_origin += add && *io_origin;
    if ((add && !text_buffer_append(out, " ", 1)) || !text_buffer_append(out, text, bytes))
        return run_no_memory(run);
    return MOESAIC_OK;
}

static moesaic_status run_bytes(struct encode_run *run, const struct splitter *splitter) {
    moesaic_status status = MOESAIC_OK;
    if (splitter->prefix_space)
        status = run_map_pieces(run, map_prefix_space, splitter);
    if (status == MOESAIC_OK && splitter->pattern)
        status = split_pieces(run, splitter);
    return status == MOESAIC_OK ? run_map_pieces(run, bytes_to_characters, splitter) : status;
}

static moesaic_status map_metaspace(struct encode_run *run, const void *stage, const char *text, size_t bytes,
                                    size_t *io_origin, struct text_buffer *out) {
    const struct splitter *splitter = stage;
    size_t n = splitter->replacement_bytes;
    /* A blank becomes the replacement, so that either at the start is enough. */
    bool begins = *text == ' ' || (bytes >= n && memcmp(text, splitter->replacement, n) == 0);
    bool prepend =
        !begins && (splitter->prepend == PREPEND_ALWAYS || (splitter->prepend == PREPEND_FIRST && *io_origin));
    if (prepend && !text_buffer_append(out, splitter->replacement, n))
        return run_no_memory(run);
    moesaic_status status =
        normalize_replace(run, splitter->blank, splitter->replacement, n, text, bytes, io_origin, out);
    *io_origin += prepend && *io_origin ? n : 0;
    return status;
}

static moesaic_status run_metaspace(struct encode_run *run, const struct splitter *splitter) {
    moesaic_status status = run_map_pieces(run, map_metaspace, splitter);
    return status == MOESAIC_OK && splitter->pattern ? split_pieces(run, splitter) : status;
}

moesaic_status splitters_run(struct encode_run *run) {
    const struct splitters *splitters = &run->tokenizer->splitters;
    moesaic_status status = MOESAIC_OK;
    for (size_t i = 0; status == MOESAIC_OK && i < splitters->count; i++) {
        const struct splitter *splitter = &splitters->data[i];
        if (splitter->kind == SPLITTER_BYTES)
            status = run_bytes(run, splitter);
        else if (splitter->kind == SPLITTER_METASPACE)
            status = run_metaspace(run, splitter);
        else
            status = split_pieces(run, splitter);
    }
    return status;
}
