/* SPDX-License-Identifier: Apache-2.0 */
/* Generation: each step's logits become a token, its text, and the decision to go on. */
#include <stdlib.h>
#include <string.h>

#include "sched_internal.h"

struct generation {
    struct request request; /* first: the scheduler's view */
    const struct sched_generate *asked;
    struct sampler *sampler;
    struct tokenizer_stream *stream;
    struct stop_filter *stops;
    char *shown; /* text of the token at hand */
    size_t shown_bytes, shown_capacity;
    bool stopped; /* a stop string was met */
    moesaic_generation result;
    uint64_t started_ns, first_ns;
};

static moesaic_status show(struct generation *g, const char *text, size_t bytes, moesaic_error *error) {
    if (g->shown_bytes + bytes > g->shown_capacity) {
        size_t capacity = (g->shown_bytes + bytes) * 2 + 256; /* tokens are short: one allocation an answer */
        char *larger = realloc(g->shown, capacity);
        if (!larger)
            return status_no_memory(error, "text of a token", capacity);
        g->shown = larger;
        g->shown_capacity = capacity;
    }
    if (bytes)
        memcpy(g->shown + g->shown_bytes, text, bytes);
    g->shown_bytes += bytes;
    return MOESAIC_OK;
}

/* Sends text through the stop filter to `shown`. */
static moesaic_status filter(struct generation *g, const char *text, size_t bytes, bool last, moesaic_error *error) {
    const char *safe;
    size_t safe_bytes;
    moesaic_status status = stop_filter_push(g->stops, text, bytes, last, &safe, &safe_bytes, &g->stopped, error);
    return status ? status : show(g, safe, safe_bytes, error);
}

/* What this token lets be shown. An end-of-sequence token has no text of its own. */
static moesaic_status token_text(struct generation *g, int32_t id, bool ends, bool last, moesaic_error *error) {
    const char *text;
    size_t bytes;
    moesaic_status status = MOESAIC_OK;
    g->shown_bytes = 0;
    if (!g->stream)
        return MOESAIC_OK;
    if (!ends && (size_t)id < tokenizer_size(g->asked->tokenizer) &&
        tokenizer_token_text(g->asked->tokenizer, id, NULL)) {
        status = tokenizer_stream_push(g->stream, id, &text, &bytes, error);
        if (!status)
            status = filter(g, text, bytes, false, error);
    }
    if (!status && last && !g->stopped) {
        status = tokenizer_stream_finish(g->stream, &text, &bytes, error);
        if (!status)
            status = filter(g, text, bytes, true, error);
    }
    return status;
}

static bool is_eos(const struct generation *g, int32_t id) {
    for (size_t i = 0; i < g->asked->n_eos; i++)
        if (g->asked->eos[i] == id)
            return !g->asked->sampling->ignore_eos;
    return false;
}

static bool finish(struct generation *g, moesaic_status status, moesaic_finish how) {
    g->request.status = status;
    g->result.finish = how;
    g->result.decode_s = (double)(clock_ns() - g->first_ns) * 1e-9;
    return true;
}

static bool generation_advance(struct request *request, struct forward *forward, const struct forward_item *item) {
    struct generation *g = (struct generation *)request;
    struct sched_text *text = request->text;
    struct sample sample = sampler_next(g->sampler, forward_logits(forward, item->ret_row));
    if (!g->result.completion_tokens++) {
        g->first_ns = clock_ns();
        g->result.prefill_s = (double)(g->first_ns - g->started_ns) * 1e-9;
    }
    text->ids[text->count++] = sample.id;
    sampler_accept(g->sampler, sample.id, true);
    bool ends = is_eos(g, sample.id);
    bool full = text->count == text->capacity || g->result.completion_tokens == g->asked->max_tokens;
    moesaic_status status = token_text(g, sample.id, ends, ends || full, &request->error);
    if (status)
        return finish(g, status, MOESAIC_FINISH_CANCELLED);
    moesaic_token token = {.id = sample.id,
                           .text = g->shown ? g->shown : "",
                           .text_bytes = g->shown_bytes,
                           .logprob = sample.logprob,
                           .top = sample.top,
                           .tops = sample.tops};
    if (g->asked->callback && g->asked->callback(g->asked->user, &token))
        return finish(g, MOESAIC_OK, MOESAIC_FINISH_CANCELLED);
    if (ends || g->stopped)
        return finish(g, MOESAIC_OK, MOESAIC_FINISH_STOP);
    return full && finish(g, MOESAIC_OK, MOESAIC_FINISH_LENGTH);
}

/* The text needs one token left to evaluate, for its logits, and room for one more. */
static moesaic_status text_check(struct sched_text *text, moesaic_error *error) {
    if (!text->count)
        return status_set(error, MOESAIC_E_USAGE, "generate: the sequence is empty");
    if (text->count == text->capacity)
        return status_set(error, MOESAIC_E_USAGE, "generate: the sequence is full (%zu tokens)", text->capacity);
    if (model_context_tokens(text->context) == text->count)
        model_context_truncate(text->context, text->count - 1);
    return MOESAIC_OK;
}

moesaic_status sched_generate(struct sched *sched, const struct sched_generate *asked,
                              moesaic_generation *ret_generation, moesaic_error *error) {
    struct sched_text *text = asked->text;
    struct generation g = {.request = {.text = text, .advance = generation_advance, .prompt_end = text->count},
                           .asked = asked,
                           .started_ns = clock_ns()};
    moesaic_status status = text_check(text, error);
    if (!status)
        status = sampler_create(asked->sampling, model_config(sched_model(sched))->vocab, &g.sampler, error);
    if (!status)
        status = stop_filter_create(asked->sampling, &g.stops, error);
    if (!status && asked->tokenizer)
        status = tokenizer_stream_create(asked->tokenizer, true, &g.stream, error);
    if (!status) {
        size_t room = text->capacity - text->count;
        size_t tokens = text->count + (asked->max_tokens && asked->max_tokens < room ? asked->max_tokens : room);
        status = model_context_reserve(text->context, tokens, error);
    }
    if (!status) {
        for (size_t i = 0; i < text->count; i++)
            sampler_accept(g.sampler, text->ids[i], false);
        g.result.prompt_tokens = text->count - model_context_tokens(text->context);
        status = sched_submit(sched, &g.request);
        if (status && error)
            *error = g.request.error;
        else if (!status)
            *ret_generation = g.result;
    }
    free(g.shown);
    tokenizer_stream_destroy(g.stream);
    stop_filter_destroy(g.stops);
    sampler_destroy(g.sampler);
    return status;
}
