/* SPDX-License-Identifier: Apache-2.0 */
/* Calibration: a text's hidden states walk through the layers, and what the matrices see on the way is counted. */
#include <stdlib.h>
#include <string.h>

#include "compressor_internal.h"

enum { WINDOW_TOKENS = 512, TOKENS_DEFAULT = 131072, TOKENS_MIN = 64 };

/* A number of bands of a Hessian that threads share the rows of a window over. */
struct adding {
    struct calib_stats *stats;
    const float *x;
    size_t stride, rows;
};

static void add_body(struct team *team, unsigned thread, void *argument) {
    const struct adding *a = argument;
    size_t begin, end;
    team_share(a->stats->cols, CALIB_BAND, thread, team_threads(team), &begin, &end);
    if (begin < end)
        calib_add(a->stats, a->x, a->stride, NULL, NULL, a->rows, begin, end);
}

/* The taps of a pass. They run inside the team's region: statistics are added here by thread 0 alone. */
struct pass {
    struct compressor *c;
    bool attend, record;
};

static void tap_input(void *user, uint32_t layer, forward_site site, const float *x, size_t first, size_t rows,
                      size_t stride) {
    const struct pass *pass = user;
    struct compressor *c = pass->c;
    size_t width = c->config->hidden;
    (void)layer;
    if (site == FORWARD_SITE_FFN) {
        for (size_t i = 0; pass->record && i < rows; i++)
            memcpy(c->ffn_input + (c->first + first + i) * width, x + i * stride, width * sizeof *x);
        return;
    }
    struct calib_stats *stats = site == FORWARD_SITE_ATTENTION ? c->attention : c->output;
    if (pass->attend && stats)
        calib_add(stats, x, stride, NULL, NULL, rows, 0, stats->cols);
}

static void tap_routing(void *user, uint32_t layer, const uint32_t *experts, const float *weights, size_t rows,
                        uint32_t k) {
    const struct pass *pass = user;
    struct compressor *c = pass->c;
    (void)layer;
    if (!pass->record)
        return;
    memcpy(c->chosen + c->first * k, experts, rows * k * sizeof *experts);
    memcpy(c->weights + c->first * k, weights, rows * k * sizeof *weights);
}

moesaic_status calibrate_pass(struct compressor *c, const struct layer_weights *weights, bool attend, bool record,
                              bool advance, moesaic_error *error) {
    struct pass pass = {c, attend, record};
    struct forward_tap tap = {
        .user = &pass, .input = attend || record ? tap_input : NULL, .routing = record ? tap_routing : NULL};
    struct forward *forward = c->in_shape ? c->reshaped : c->forward;
    size_t width = c->config->hidden;
    moesaic_status status = MOESAIC_OK;
    for (c->first = 0; !status && c->first < c->tokens; c->first += c->window) {
        size_t rows = c->tokens - c->first < c->window ? c->tokens - c->first : c->window;
        struct forward_item item = {.context = c->context, .ids = c->ids + c->first, .count = rows};
        float *hidden = c->hidden + c->first * width;
        if (!advance) {
            memcpy(c->scratch, hidden, rows * width * sizeof *hidden);
            hidden = c->scratch;
        }
        status = forward_layer(forward, c->layer, weights, &item, 1, hidden, &tap, error);
        if (!status)
            status = compress_progress(c, (double)rows / (double)c->tokens, error);
    }
    return status;
}

void calibrate_embed(struct compressor *c, const struct weight *embedding) {
    for (size_t i = 0; i < c->tokens; i++)
        weight_dequantize(embedding, (uint64_t)c->ids[i], (uint64_t)c->ids[i] + 1, c->hidden + i * c->config->hidden);
}

moesaic_status calibrate_head(struct compressor *c, struct calib_stats **ret_stats, moesaic_error *error) {
    struct calib_stats *stats;
    size_t width = c->config->hidden;
    moesaic_status status = calib_stats_create(width, true, &stats, error);
    if (status)
        return status;
    for (size_t i = 0; i < c->tokens; i++)
        model_final_norm(c->model, c->hidden + i * width, c->hidden + i * width);
    struct adding adding = {stats, c->hidden, width, c->tokens};
    team_run(c->team, add_body, &adding);
    *ret_stats = stats;
    return MOESAIC_OK;
}

/* Ids of the calibration text, cut to what the options allow. */
static moesaic_status ids_read(struct compressor *c, const struct tokenizer *tokenizer, moesaic_error *error) {
    const moesaic_compress_options *o = c->options;
    size_t limit = o->calib_tokens ? o->calib_tokens : TOKENS_DEFAULT;
    if (!tokenizer)
        return status_set(error, MOESAIC_E_INPUT, "calibration: the model has no tokenizer.json");
    moesaic_status status =
        tokenizer_encode(tokenizer, o->calib, o->calib_bytes, false, true, &c->ids, &c->tokens, error);
    if (status)
        return status;
    c->tokens = c->tokens < limit ? c->tokens : limit;
    if (c->tokens < TOKENS_MIN)
        return status_set(error, MOESAIC_E_INPUT, "calibration: the text has %zu tokens, at least %d are needed",
                          c->tokens, TOKENS_MIN);
    for (size_t i = 0; i < c->tokens; i++)
        if ((uint32_t)c->ids[i] >= c->config->vocab)
            return status_set(error, MOESAIC_E_INPUT, "calibration: id %d at token %zu is outside the model's %u",
                              c->ids[i], i, c->config->vocab);
    return MOESAIC_OK;
}

static moesaic_status forward_make(struct compressor *c, moesaic_error *error) {
    struct kv_shape shape = model_kv_shape(c->model, KV_F32);
    struct forward_options options = {.max_step_tokens = c->window, .max_items = 1, .max_logits_rows = 1};
    shape.layers = 1;
    moesaic_status status = kv_pool_create(&shape, 0, &c->pool, error);
    if (!status)
        status = model_context_create(c->model, c->pool, c->window, &c->context, error);
    if (!status)
        status = forward_create(c->model, c->team, &options, NULL, &c->forward, error);
    return status ? status : reshape_forward(c, &options, error);
}

moesaic_status calibrate_begin(struct compressor *c, const struct tokenizer *tokenizer, moesaic_error *error) {
    c->window = c->config->max_position < WINDOW_TOKENS ? (size_t)c->config->max_position : WINDOW_TOKENS;
    moesaic_status status = ids_read(c, tokenizer, error);
    if (!status)
        status = forward_make(c, error);
    if (status)
        return status;
    size_t routed = c->tokens * (c->config->top_k ? c->config->top_k : 1), states = c->tokens * c->config->hidden;
    c->hidden = calloc(states, sizeof *c->hidden);
    c->ffn_input = calloc(states, sizeof *c->ffn_input);
    c->scratch = calloc(c->window * c->config->hidden, sizeof *c->scratch);
    c->chosen = calloc(routed, sizeof *c->chosen);
    c->weights = calloc(routed, sizeof *c->weights);
    if (c->hidden && c->ffn_input && c->scratch && c->chosen && c->weights)
        return MOESAIC_OK;
    return status_no_memory(error, "calibration", 2 * states * sizeof *c->hidden + routed * 8);
}

void calibrate_end(struct compressor *c) {
    forward_destroy(c->forward);
    model_context_destroy(c->context);
    kv_pool_destroy(c->pool);
    free(c->weights);
    free(c->chosen);
    free(c->scratch);
    free(c->ffn_input);
    free(c->hidden);
    free(c->ids);
}
