/* SPDX-License-Identifier: Apache-2.0 */
/* Perplexity: the negative log-likelihood of every scored token of a text. */
#include <math.h>
#include <stdlib.h>

#include "pipeline.h"
#include "sample.h"

struct scoring {
    struct windows *windows;
    const moesaic_eval_options *options;
    size_t vocab;
    double nll;
    size_t scored;
    float *token_nll;  /* [tokens] of the scored tokens, when they are written to a file */
    int64_t *position; /* [tokens] where each stands in the text */
};

/* The logits at a position score the token behind it. */
static int score(void *user, const moesaic_evaluation *e) {
    struct scoring *s = user;
    const struct windows *w = s->windows;
    size_t next = w->start + e->position + 1;
    if (next < w->end && next >= w->scored_end) {
        double nll = sample_log_sum_exp(e->logits, s->vocab) - e->logits[w->ids[next]];
        s->nll += nll;
        if (s->token_nll) {
            s->token_nll[s->scored] = (float)nll;
            s->position[s->scored] = (int64_t)next;
        }
        s->scored++;
    }
    const moesaic_eval_options *o = s->options;
    return o->progress && next % 64 == 0 && o->progress(o->user, next, w->tokens);
}

static moesaic_status nll_write(const struct scoring *s, const char *path, moesaic_error *error) {
    struct safetensors_writer *writer;
    uint64_t shape[1] = {s->scored};
    moesaic_status status = safetensors_writer_open(path, &writer, error);
    if (status)
        return status;
    status = safetensors_writer_declare(writer, "nll", TENSOR_F32, 1, shape, error);
    if (!status)
        status = safetensors_writer_declare(writer, "position", TENSOR_I64, 1, shape, error);
    if (!status)
        status = safetensors_writer_data(writer, s->token_nll, s->scored * sizeof *s->token_nll, error);
    if (!status)
        status = safetensors_writer_data(writer, s->position, s->scored * sizeof *s->position, error);
    if (!status)
        status = safetensors_writer_finish(writer, error);
    safetensors_writer_close(writer);
    return status;
}

static moesaic_status score_all(struct scoring *s, moesaic_error *error) {
    struct windows *w = s->windows;
    moesaic_status status = MOESAIC_OK;
    while (!status && windows_next(w))
        if (w->end - w->start > 1)
            status = sched_evaluate(w->engine->sched, &w->text, false, score, s, error);
    if (!status && s->options->nll_path)
        status = nll_write(s, s->options->nll_path, error);
    return status;
}

moesaic_status pipeline_eval(const struct pipeline_engine *engine, const char *text, size_t bytes,
                             const moesaic_eval_options *options, moesaic_eval_result *ret_result,
                             moesaic_error *error) {
    struct windows windows;
    uint64_t started = clock_ns();
    moesaic_status status = windows_init(engine, text, bytes, options->window, options->stride, &windows, error);
    if (status)
        return status;
    struct scoring s = {.windows = &windows, .options = options, .vocab = model_config(engine->model)->vocab};
    if (options->nll_path) {
        s.token_nll = calloc(windows.tokens, sizeof *s.token_nll);
        s.position = calloc(windows.tokens, sizeof *s.position);
        if (!s.token_nll || !s.position)
            status = status_no_memory(error, "scores", windows.tokens * 12);
    }
    if (!status)
        status = score_all(&s, error);
    if (!status) {
        ret_result->tokens = windows.tokens;
        ret_result->scored = s.scored;
        ret_result->bytes = bytes;
        ret_result->nll = s.nll;
        ret_result->perplexity = exp(s.nll / (double)s.scored);
        ret_result->bits_per_byte =
            s.nll / 0.69314718055994530942 / (double)bytes * ((double)windows.tokens / (double)s.scored);
        ret_result->seconds = (double)(clock_ns() - started) * 1e-9;
    }
    free(s.position);
    free(s.token_nll);
    windows_done(&windows);
    return status;
}
