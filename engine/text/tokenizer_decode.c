/* SPDX-License-Identifier: Apache-2.0 */
/* Decoding: the tokens' texts run through the decoders one after another, as far as each can tell without the rest. */
#include "tokenizer_internal.h"

/* ---- stages ------------------------------------------------------------------------------------------------------ */

/* A decoder maps a list of tokens to a list of tokens. Here the list comes piece by piece: text of the current token
 * (in whole characters), the token's end, the list's end. Each stage passes on what no later piece can change, so that
 * decoding everything at once and decoding id by id are the same thing. */
struct stage {
    const struct decoder *decoder;
    struct text_buffer held;        /* text whose fate is open */
    struct text_buffer current;     /* SUFFIX, BYTE_FALLBACK: the token being collected */
    struct text_buffer bytes, made; /* room for one step, kept from step to step */
    struct unicode_repair repair;
    size_t index;             /* of the current token */
    size_t leading, trailing; /* STRIP: characters that may still go at the start, characters held at the end */
    bool have_previous;       /* SUFFIX: `held` is a token that may not be the last */
};

struct tokenizer_stream {
    const struct tokenizer *tokenizer;
    bool skip_special;
    struct stage *stages;
    size_t count;
    size_t tokens;      /* decoded so far */
    size_t limit_bytes; /* no text on the way grows beyond this: grows with what is put in */
    struct text_buffer out;
    struct pattern_scratch matcher;
    moesaic_error *error;
};

static moesaic_status no_memory(struct tokenizer_stream *stream) {
    return status_no_memory(stream->error, "decoding", stream->out.bytes);
}

static moesaic_status take_text(struct tokenizer_stream *stream, size_t stage, const char *text, size_t bytes);
static moesaic_status take_end(struct tokenizer_stream *stream, size_t stage);
static moesaic_status take_finish(struct tokenizer_stream *stream, size_t stage);

/* A whole token. */
static moesaic_status take_token(struct tokenizer_stream *stream, size_t stage, const char *text, size_t bytes) {
    moesaic_status status = take_text(stream, stage, text, bytes);
    return status == MOESAIC_OK ? take_end(stream, stage) : status;
}

static moesaic_status hold(struct tokenizer_stream *stream, struct text_buffer *held, const char *text, size_t bytes) {
    if (held->bytes > stream->limit_bytes || bytes > stream->limit_bytes - held->bytes)
        return status_set(stream->error, MOESAIC_E_INPUT, "the tokenizer's decoders grow the text beyond %zu bytes",
                          stream->limit_bytes);
    return text_buffer_append(held, text, bytes) ? MOESAIC_OK : no_memory(stream);
}

/* Bytes at the end of [text, text + bytes) with which a match of the literal `pattern` may begin. */
static size_t open_end(const struct pattern *pattern, const char *text, size_t bytes) {
    size_t length;
    const char *literal = pattern_literal(pattern, &length);
    if (!literal)
        return bytes;
    for (size_t n = length - 1 < bytes ? length - 1 : bytes; n > 0; n--)
        if (memcmp(text + bytes - n, literal, n) == 0)
            return n;
    return 0;
}

/* Replaces the matches in what is held and passes it on, but for an end that may be part of a match to come. */
static moesaic_status replace_held(struct tokenizer_stream *stream, size_t at, const char *content,
                                   size_t content_bytes, bool ended) {
    struct stage *stage = &stream->stages[at];
    struct text_buffer *made = &stage->made;
    struct pattern_walk walk;
    size_t done = 0;
    made->bytes = 0;
    const struct pattern *pattern = stage->decoder->pattern;
    bool found = stage->held.bytes > 0 && (ended || pattern_literal(pattern, &done));
    done = 0;
    moesaic_status status = MOESAIC_OK;
    pattern_walk_start(&walk, pattern, &stream->matcher, stage->held.data, stage->held.bytes);
    while (found && status == MOESAIC_OK) {
        status = pattern_walk_next(&walk, &found, stream->error);
        if (status != MOESAIC_OK || !found)
            break;
        status = hold(stream, made, stage->held.data + done, walk.begin - done);
        if (status == MOESAIC_OK)
            status = hold(stream, made, content, content_bytes);
        done = walk.end;
    }
    if (status == MOESAIC_OK) {
        size_t left = stage->held.bytes - done;
        size_t keep = ended || !left ? 0 : open_end(pattern, stage->held.data + done, left);
        status = left == keep ? MOESAIC_OK : hold(stream, made, stage->held.data + done, left - keep);
        if (keep)
            memmove(stage->held.data, stage->held.data + stage->held.bytes - keep, keep);
        stage->held.bytes = keep;
    }
    return status == MOESAIC_OK && made->bytes ? take_text(stream, at + 1, made->data, made->bytes) : status;
}

/* ---- ByteLevel --------------------------------------------------------------------------------------------------- */

/* Appends the bytes that a token's characters stand for; a token with any other character stands for itself. */
static bool append_bytes(struct text_buffer *out, const char *text, size_t bytes) {
    size_t begin = out->bytes;
    if (!text_buffer_reserve(out, bytes))
        return false;
    for (size_t at = 0; at < bytes; at += unicode_length(text[at])) {
        int byte = character_byte(unicode_get(text + at));
        if (byte < 0) {
            out->bytes = begin;
            return text_buffer_append(out, text, bytes);
        }
        out->data[out->bytes++] = (char)byte;
    }
    return true;
}

static moesaic_status end_bytes(struct tokenizer_stream *stream, size_t at) {
    struct stage *stage = &stream->stages[at];
    stage->bytes.bytes = stage->made.bytes = 0;
    if (!append_bytes(&stage->bytes, stage->held.data, stage->held.bytes) ||
        !unicode_repair_push(&stage->repair, stage->bytes.data, stage->bytes.bytes, &stage->made))
        return no_memory(stream);
    stage->held.bytes = 0;
    return stage->made.bytes ? take_text(stream, at + 1, stage->made.data, stage->made.bytes) : MOESAIC_OK;
}

/* The whole list has become one token. */
static moesaic_status finish_bytes(struct tokenizer_stream *stream, size_t at) {
    struct stage *stage = &stream->stages[at];
    stage->made.bytes = 0;
    if (!unicode_repair_finish(&stage->repair, &stage->made))
        return no_memory(stream);
    return take_token(stream, at + 1, stage->made.data, stage->made.bytes);
}

/* ---- ByteFallback ------------------------------------------------------------------------------------------------ */

/* Byte of a token such as "<0x0A>", -1 for others. As Rust's number parser, takes a plus sign for a digit. */
static int fallback_byte(const char *text, size_t bytes) {
    int value = 0;
    if (bytes != 6 || memcmp(text, "<0x", 3) != 0 || text[5] != '>')
        return -1;
    for (size_t i = 3; i < 5; i++) {
        char c = text[i];
        if (c == '+' && i == 3)
            continue;
        int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* Passes on a run of bytes: one token when it is UTF-8 as a whole, else a U+FFFD for every byte. */
static moesaic_status flush_fallback(struct tokenizer_stream *stream, size_t at) {
    struct stage *stage = &stream->stages[at];
    size_t offset, bytes = stage->held.bytes;
    moesaic_status status = MOESAIC_OK;
    stage->held.bytes = 0;
    if (bytes == 0)
        return MOESAIC_OK;
    if (unicode_valid(stage->held.data, bytes, &offset))
        return take_token(stream, at + 1, stage->held.data, bytes);
    for (size_t i = 0; status == MOESAIC_OK && i < bytes; i++)
        status = take_token(stream, at + 1, "\xef\xbf\xbd", 3);
    return status;
}

static moesaic_status end_fallback(struct tokenizer_stream *stream, size_t at) {
    struct stage *stage = &stream->stages[at];
    size_t bytes = stage->current.bytes;
    int byte = fallback_byte(stage->current.data, bytes);
    char c = (char)byte;
    stage->current.bytes = 0;
    if (byte >= 0)
        return hold(stream, &stage->held, &c, 1);
    moesaic_status status = flush_fallback(stream, at);
    return status == MOESAIC_OK ? take_token(stream, at + 1, stage->current.data, bytes) : status;
}

/* ---- Strip, Metaspace, BPEDecoder -------------------------------------------------------------------------------- */

static moesaic_status pass_held_strip(struct tokenizer_stream *stream, size_t at, size_t count) {
    const struct decoder *decoder = stream->stages[at].decoder;
    moesaic_status status = MOESAIC_OK;
    for (size_t i = 0; status == MOESAIC_OK && i < count; i++)
        status = take_text(stream, at + 1, decoder->text, decoder->bytes);
    return status;
}

static moesaic_status text_strip(struct tokenizer_stream *stream, size_t at, const char *text, size_t bytes) {
    struct stage *stage = &stream->stages[at];
    const struct decoder *decoder = stage->decoder;
    moesaic_status status = MOESAIC_OK;
    size_t begin = 0, end = 0; /* characters that pass */
    for (size_t length; status == MOESAIC_OK && end < bytes;) {
        length = unicode_length(text[end]);
        bool same = length == decoder->bytes && memcmp(text + end, decoder->text, length) == 0;
        if (same && stage->leading) {
            stage->leading--;
            begin = end += length;
            continue;
        }
        stage->leading = 0;
        if (same && stage->trailing < decoder->stop) {
            status = end > begin ? take_text(stream, at + 1, text + begin, end - begin) : MOESAIC_OK;
            stage->trailing++;
            begin = end += length;
            continue;
        }
        if (!same && stage->trailing) {
            status = pass_held_strip(stream, at, stage->trailing);
            stage->trailing = 0;
        }
        end += length;
    }
    return status == MOESAIC_OK && end > begin ? take_text(stream, at + 1, text + begin, end - begin) : status;
}

static moesaic_status text_metaspace(struct tokenizer_stream *stream, size_t at, const char *text, size_t bytes) {
    struct text_buffer *made = &stream->stages[at].made;
    const struct decoder *decoder = stream->stages[at].decoder;
    bool drop = decoder->drop_first && stream->stages[at].index == 0;
    made->bytes = 0;
    if (!text_buffer_reserve(made, bytes + 1))
        return no_memory(stream);
    for (size_t i = 0, length; i < bytes; i += length) {
        length = unicode_length(text[i]);
        if (length != decoder->bytes || memcmp(text + i, decoder->text, length) != 0) {
            memcpy(made->data + made->bytes, text + i, length);
            made->bytes += length;
        } else if (!drop) {
            made->data[made->bytes++] = ' ';
        }
    }
    return made->bytes ? take_text(stream, at + 1, made->data, made->bytes) : MOESAIC_OK;
}

/* The token before the current one is not the last: its suffixes are blanks. */
static moesaic_status end_suffix(struct tokenizer_stream *stream, size_t at) {
    struct stage *stage = &stream->stages[at];
    moesaic_status status = MOESAIC_OK;
    if (stage->have_previous) {
        status = replace_held(stream, at, " ", 1, true);
        if (status == MOESAIC_OK)
            status = take_end(stream, at + 1);
    }
    struct text_buffer empty = stage->held;
    stage->held = stage->current;
    stage->current = empty;
    stage->current.bytes = 0;
    stage->have_previous = true;
    return status;
}

static moesaic_status finish_suffix(struct tokenizer_stream *stream, size_t at) {
    if (!stream->stages[at].have_previous)
        return MOESAIC_OK;
    moesaic_status status = replace_held(stream, at, "", 0, true);
    return status == MOESAIC_OK ? take_end(stream, at + 1) : status;
}

/* ---- the chain --------------------------------------------------------------------------------------------------- */

static moesaic_status take_text(struct tokenizer_stream *stream, size_t at, const char *text, size_t bytes) {
    if (at == stream->count)
        return hold(stream, &stream->out, text, bytes);
    struct stage *stage = &stream->stages[at];
    const struct decoder *decoder = stage->decoder;
    moesaic_status status;
    switch (decoder->kind) {
    case DECODER_FUSE:
        return take_text(stream, at + 1, text, bytes);
    case DECODER_STRIP:
        return text_strip(stream, at, text, bytes);
    case DECODER_METASPACE:
        return text_metaspace(stream, at, text, bytes);
    case DECODER_REPLACE:
        status = hold(stream, &stage->held, text, bytes);
        return status == MOESAIC_OK ? replace_held(stream, at, decoder->text, decoder->bytes, false) : status;
    case DECODER_BYTE_FALLBACK:
    case DECODER_SUFFIX:
        return hold(stream, &stage->current, text, bytes);
    case DECODER_BYTES:
        break;
    }
    return hold(stream, &stage->held, text, bytes);
}

/* The end of a token. */
static moesaic_status take_end(struct tokenizer_stream *stream, size_t at) {
    if (at == stream->count)
        return MOESAIC_OK;
    struct stage *stage = &stream->stages[at];
    moesaic_status status = MOESAIC_OK;
    stage->index++;
    switch (stage->decoder->kind) {
    case DECODER_FUSE:
        return MOESAIC_OK;
    case DECODER_BYTES:
        return end_bytes(stream, at);
    case DECODER_BYTE_FALLBACK:
        return end_fallback(stream, at);
    case DECODER_SUFFIX:
        return end_suffix(stream, at);
    case DECODER_REPLACE:
        status = replace_held(stream, at, stage->decoder->text, stage->decoder->bytes, true);
        break;
    case DECODER_STRIP: /* what is held at the end goes */
        stage->leading = stage->decoder->start;
        stage->trailing = 0;
        break;
    case DECODER_METASPACE:
        break;
    }
    return status == MOESAIC_OK ? take_end(stream, at + 1) : status;
}

/* The end of the list. */
static moesaic_status take_finish(struct tokenizer_stream *stream, size_t at) {
    if (at == stream->count)
        return MOESAIC_OK;
    moesaic_status status = MOESAIC_OK;
    decoder_kind kind = stream->stages[at].decoder->kind;
    if (kind == DECODER_FUSE)
        status = take_end(stream, at + 1);
    else if (kind == DECODER_BYTES)
        status = finish_bytes(stream, at);
    else if (kind == DECODER_BYTE_FALLBACK)
        status = flush_fallback(stream, at);
    else if (kind == DECODER_SUFFIX)
        status = finish_suffix(stream, at);
    return status == MOESAIC_OK ? take_finish(stream, at + 1) : status;
}

/* ---- streams ----------------------------------------------------------------------------------------------------- */

static void stream_reset(struct tokenizer_stream *stream) {
    stream->tokens = 0;
    stream->limit_bytes = RUN_GROWTH_BASE_BYTES;
    for (size_t i = 0; i < stream->count; i++) {
        struct stage *stage = &stream->stages[i];
        stage->held.bytes = stage->current.bytes = 0;
        stage->repair = (struct unicode_repair){0};
        stage->index = stage->trailing = 0;
        stage->leading = stage->decoder->start;
        stage->have_previous = false;
    }
}

moesaic_status tokenizer_stream_create(const struct tokenizer *tokenizer, bool skip_special,
                                       struct tokenizer_stream **ret_stream, moesaic_error *error) {
    size_t count = tokenizer->decoders.count;
    struct tokenizer_stream *stream = calloc(1, sizeof *stream);
    if (!stream || !(stream->stages = calloc(count + 1, sizeof *stream->stages))) {
        free(stream);
        return status_no_memory(error, "decoding", (count + 1) * sizeof *stream->stages);
    }
    stream->tokenizer = tokenizer;
    stream->skip_special = skip_special;
    stream->count = count;
    for (size_t i = 0; i < count; i++)
        stream->stages[i].decoder = &tokenizer->decoders.data[i];
    stream_reset(stream);
    *ret_stream = stream;
    return MOESAIC_OK;
}

void tokenizer_stream_destroy(struct tokenizer_stream *stream) {
    if (!stream)
        return;
    for (size_t i = 0; i < stream->count; i++) {
        text_buffer_done(&stream->stages[i].held);
        text_buffer_done(&stream->stages[i].current);
        text_buffer_done(&stream->stages[i].bytes);
        text_buffer_done(&stream->stages[i].made);
    }
    free(stream->stages);
    text_buffer_done(&stream->out);
    pattern_scratch_done(&stream->matcher);
    free(stream);
}

static moesaic_status push(struct tokenizer_stream *stream, int32_t id) {
    size_t bytes;
    bool special;
    const char *text = tokenizer_decode_text(stream->tokenizer, id, &bytes, &special);
    if (!text || (special && stream->skip_special))
        return MOESAIC_OK;
    stream->limit_bytes += (bytes + 1) * RUN_GROWTH_MAX;
    moesaic_status status = MOESAIC_OK;
    if (!stream->tokenizer->decoders.present && stream->tokens)
        status = hold(stream, &stream->out, " ", 1);
    stream->tokens++;
    return status == MOESAIC_OK ? take_token(stream, 0, text, bytes) : status;
}

moesaic_status tokenizer_stream_push(struct tokenizer_stream *stream, int32_t id, const char **ret_text,
                                     size_t *ret_bytes, moesaic_error *error) {
    if (id < 0)
        return status_set(error, MOESAIC_E_INPUT, "token id %d is negative", (int)id);
    stream->out.bytes = 0;
    stream->error = error;
    moesaic_status status = push(stream, id);
    if (status != MOESAIC_OK)
        return status;
    *ret_text = stream->out.data ? stream->out.data : "";
    *ret_bytes = stream->out.bytes;
    return MOESAIC_OK;
}

moesaic_status tokenizer_stream_finish(struct tokenizer_stream *stream, const char **ret_text, size_t *ret_bytes,
                                       moesaic_error *error) {
    stream->out.bytes = 0;
    stream->error = error;
    moesaic_status status = take_finish(stream, 0);
    if (status != MOESAIC_OK)
        return status;
    *ret_text = stream->out.data ? stream->out.data : "";
    *ret_bytes = stream->out.bytes;
    stream_reset(stream);
    return MOESAIC_OK;
}

/* ---- all at once ------------------------------------------------------------------------------------------------- */

static moesaic_status check_ids(const struct tokenizer *tokenizer, const int32_t *ids, size_t count,
                                moesaic_error *error) {
    for (size_t i = 0; i < count; i++)
        if (ids[i] < 0 || (size_t)ids[i] >= tokenizer->size)
            return status_set(error, MOESAIC_E_INPUT, "token id %d at position %zu is not in [0, %zu)", (int)ids[i], i,
                              tokenizer->size);
    return MOESAIC_OK;
}

moesaic_status tokenizer_decode(const struct tokenizer *tokenizer, const int32_t *ids, size_t count, bool skip_special,
                                char **ret_text, size_t *ret_bytes, moesaic_error *error) {
    struct tokenizer_stream *stream = NULL;
    moesaic_status status = check_ids(tokenizer, ids, count, error);
    if (status == MOESAIC_OK)
        status = tokenizer_stream_create(tokenizer, skip_special, &stream, error);
    if (status != MOESAIC_OK)
        return status;
    stream->error = error;
    for (size_t i = 0; status == MOESAIC_OK && i < count; i++)
        status = push(stream, ids[i]);
    if (status == MOESAIC_OK)
        status = take_finish(stream, 0);
    if (status == MOESAIC_OK && !text_buffer_append(&stream->out, "", 1))
        status = no_memory(stream);
    if (status == MOESAIC_OK) {
        *ret_bytes = stream->out.bytes - 1;
        *ret_text = stream->out.data;
        stream->out = (struct text_buffer){0};
    }
    tokenizer_stream_destroy(stream);
    return status;
}
