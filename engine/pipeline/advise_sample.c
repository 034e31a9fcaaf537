/* SPDX-License-Identifier: Apache-2.0 */
/* Text for want of another: what the model itself writes, sampled from starts spread over its vocabulary. */
#include <stdlib.h>
#include <string.h>

#include "advise_internal.h"
#include "runtime.h"

enum { PIECE_TOKENS = 256 };

/* A text in the making. */
struct sampling {
    struct advice *a;
    uint32_t pieces;       /* begun so far, over both texts: seed and start of the next */
    uint64_t tokens, goal; /* of both texts */
    char *text;
    size_t bytes;
    bool stop;
};

static int sampled_token(void *user, const moesaic_token *token) {
    struct sampling *s = user;
    (void)token;
    s->stop = advise_progress(s->a, ++s->tokens, s->goal);
    return s->stop;
}

static moesaic_status text_add(struct sampling *s, const char *text, size_t bytes, moesaic_error *error) {
    char *longer = realloc(s->text, s->bytes + bytes + 2);
    if (!longer)
        return status_no_memory(error, "sampled text", s->bytes + bytes);
    memcpy(longer + s->bytes, text, bytes);
    s->text = longer;
    s->bytes += bytes;
    s->text[s->bytes++] = '\n';
    return MOESAIC_OK;
}

/* One piece of at most `tokens` tokens; its start costs nothing and is part of it. */
static moesaic_status piece_sample(struct sampling *s, uint32_t tokens, moesaic_error *error) {
    moesaic_sequence_options options = {.size = sizeof options, .capacity_tokens = tokens + 1};
    moesaic_sampling how = {.size = sizeof how, .temperature = 1, .seed = s->pieces, .ignore_eos = true};
    int32_t start = (int32_t)(s->pieces++ * UINT64_C(2654435761) % s->a->info.vocab);
    const int32_t *ids;
    moesaic_sequence *sequence = NULL;
    char *text = NULL;
    size_t bytes;
    moesaic_status status = moesaic_sequence_create(s->a->base, &options, &sequence, error);
    if (!status)
        status = moesaic_sequence_append(sequence, &start, 1, error);
    if (!status)
        status = moesaic_sequence_generate(sequence, &how, tokens, sampled_token, s, NULL, error);
    if (!status && s->stop)
        status = status_set(error, MOESAIC_E_CANCELLED, "advise: cancelled");
    size_t count = status ? 0 : moesaic_sequence_tokens(sequence, &ids);
    if (!status)
        status = moesaic_detokenize(s->a->model, ids, count, true, &text, &bytes, error);
    if (!status)
        status = text_add(s, text, bytes, error);
    moesaic_free(text);
    moesaic_sequence_destroy(sequence);
    return status;
}

static moesaic_status text_sample(struct sampling *s, uint32_t tokens, char **ret_text, size_t *ret_bytes,
                                  moesaic_error *error) {
    int64_t most = s->a->info.max_position - 1;
    uint32_t piece = most < PIECE_TOKENS ? (uint32_t)most : PIECE_TOKENS;
    moesaic_status status = MOESAIC_OK;
    s->text = NULL;
    s->bytes = 0;
    for (uint64_t done = 0; !status && done < tokens; done += piece)
        status = piece_sample(s, tokens - done < piece ? (uint32_t)(tokens - done) : piece, error);
    *ret_text = s->text;
    *ret_bytes = s->bytes;
    return status;
}

moesaic_status advise_sample(struct advice *a, moesaic_error *error) {
    moesaic_advise_options *o = &a->options;
    bool judges = !o->text;
    struct sampling s = {.a = a, .goal = o->calib_tokens + (judges ? o->text_tokens : 0)};
    if (a->info.max_position < 2)
        return status_set(error, MOESAIC_E_USAGE, "advise: the model is too short to write a text of its own");
    advise_piece_begin(a, ADVISE_SAMPLE);
    moesaic_status status = text_sample(&s, o->calib_tokens, &a->sampled[0], &o->calib_bytes, error);
    if (!status && judges)
        status = text_sample(&s, o->text_tokens, &a->sampled[1], &o->text_bytes, error);
    o->calib = a->sampled[0];
    o->text = judges ? a->sampled[1] : o->text;
    return status;
}
