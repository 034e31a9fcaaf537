/* SPDX-License-Identifier: Apache-2.0 */
/* Windows: a long text in pieces that fit the context, overlapping where asked. */
#include <stdlib.h>
#include <string.h>

#include "pipeline.h"

enum { WINDOW_DEFAULT = 512 };

static moesaic_status window_check(const struct windows *w, const struct model_config *config, moesaic_error *error) {
    if (w->window < 2)
        return status_set(error, MOESAIC_E_USAGE, "window: %zu tokens, at least 2", w->window);
    if ((int64_t)w->window > config->max_position)
        return status_set(error, MOESAIC_E_USAGE, "window: %zu tokens, the model's maximum is %lld", w->window,
                          (long long)config->max_position);
    if (w->stride > w->window)
        return status_set(error, MOESAIC_E_USAGE, "stride: %zu tokens, more than the window's %zu", w->stride,
                          w->window);
    if (w->tokens < 2)
        return status_set(error, MOESAIC_E_INPUT, "text: %zu tokens, at least 2 are needed", w->tokens);
    return MOESAIC_OK;
}

moesaic_status windows_init(const struct pipeline_engine *engine, const char *text, size_t bytes, uint32_t window,
                            uint32_t stride, struct windows *ret_windows, moesaic_error *error) {
    const struct model_config *config = model_config(engine->model);
    size_t largest = config->max_position < WINDOW_DEFAULT ? (size_t)config->max_position : WINDOW_DEFAULT;
    struct windows w = {.engine = engine, .window = window ? window : largest};
    w.stride = stride ? stride : w.window;
    if (!engine->tokenizer)
        return status_set(error, MOESAIC_E_INPUT, "tokenizer.json: the model has none");
    moesaic_status status = tokenizer_encode(engine->tokenizer, text, bytes, false, true, &w.ids, &w.tokens, error);
    if (!status)
        status = window_check(&w, config, error);
    if (!status)
        status = model_context_create(engine->model, sched_kv_pool(engine->sched), w.window, &w.text.context, error);
    if (status) {
        windows_done(&w);
        return status;
    }
    w.text.capacity = w.window;
    *ret_windows = w;
    return MOESAIC_OK;
}

bool windows_next(struct windows *w) {
    if (w->end == w->tokens)
        return false;
    w->scored_end = w->end;
    w->start = w->end ? w->start + w->stride : 0;
    w->end = w->tokens - w->start < w->window ? w->tokens : w->start + w->window;
    w->text.ids = w->ids + w->start;
    w->text.count = w->end - w->start;
    model_context_truncate(w->text.context, 0);
    return true;
}

void windows_done(struct windows *w) {
    model_context_destroy(w->text.context);
    free(w->ids);
}
