/* SPDX-License-Identifier: Apache-2.0 */
/* Calibration: a text's hidden states walk through the layers, and what the matrices see on the way is counted. */
#include <stdlib.h>
#include <string.h>

#include "compressor_internal.h"

enum { WINDOW_TOKENS = 512, TOKENS_DEFAULT = 131072, TOKENS_MIN = 64 };

/* Rows [rows, cols of the statistics] for threads to add band by band, taken by ticket, the longest first. */
struct adding {
    struct calib_stats *stats;
    const float *x;
    size_t rows;
    _Atomic size_t taken;
};

static void add_body(struct team *team, unsigned thread, void *argument) {
    struct adding *a = argument;
    size_t cols = a->stats->cols, bands = (cols + CALIB_BAND - 1) / CALIB_BAND;
    (void)team;
    (void)thread;
    for (size_t ticket; (ticket = atomic_fetch_add(&a->taken, 1)) < bands;) {
        size_t begin = (bands - 1 - ticket) * CALIB_BAND;
        calib_add(a->stats, a->x, cols, NULL, NULL, a->rows, begin,
                  begin + CALIB_BAND < cols ? begin + CALIB_BAND : cols);
    }
}

/* The same for a drift's rows. */
struct drifting {
    struct calib_drift *drift;
    struct drift_rows rows;
    _Atomic size_t taken;
};

static void drift_body(struct team *team, unsigned thread, void *argument) {
    struct drifting *d = argument;
    (void)team;
    (void)thread;
    for (size_t begin; (begin = CALIB_BAND * atomic_fetch_add(&d->taken, 1)) < d->drift->rows;)
        calib_drift_add(d->drift, &d->rows, begin,
                        begin + CALIB_BAND < d->drift->rows ? begin + CALIB_BAND : d->drift->rows);
}

/* The window's inputs x [rows, cols of the drift] against the checkpoint's. */
static void drift_add(struct compressor *c, struct calib_drift *drift, forward_site site, const float *x, size_t rows) {
    if (!drift)
        return;
    size_t cols = drift->cols;
    struct drifting drifting = {drift, {c->full.seen[site] + c->first * cols, x, x, cols, cols, cols, NULL, rows}, 0};
    team_run(c->team, drift_body, &drifting);
}

static void stats_add(struct compressor *c, struct calib_stats *stats, const float *x, size_t rows) {
    struct adding adding = {.stats = stats, .x = x, .rows = rows};
    team_run(c->team, add_body, &adding);
}

/* The taps of a pass. They run on thread 0 inside the team's region and keep rows for later: of the window, or of the
 * whole text. */
struct taps {
    struct compressor *c;
    calibrate_kind kind;
};

size_t calibrate_cols(const struct compressor *c, forward_site site) {
    return site == FORWARD_SITE_OUTPUT ? (size_t)c->config->heads * c->config->head_dim : c->config->hidden;
}

static void rows_keep(float *to, size_t cols, const float *x, size_t rows, size_t stride) {
    for (size_t i = 0; i < rows; i++)
        memcpy(to + i * cols, x + i * stride, cols * sizeof *to);
}

static void tap_input(void *user, uint32_t layer, forward_site site, const float *x, size_t first, size_t rows,
                      size_t stride) {
    const struct taps *taps = user;
    struct compressor *c = taps->c;
    size_t width = c->config->hidden, attended = calibrate_cols(c, FORWARD_SITE_OUTPUT);
    bool looks = taps->kind == CALIBRATE_LOOK;
    (void)layer;
    if (looks && site == FORWARD_SITE_ATTENTION)
        rows_keep(c->looked + first * width, width, x, rows, stride);
    else if (looks && site == FORWARD_SITE_OUTPUT)
        rows_keep(c->looked + c->window * width + first * attended, attended, x, rows, stride);
    else if (!looks && site == FORWARD_SITE_FFN)
        rows_keep(c->ffn_input + (c->first + first) * width, width, x, rows, stride);
}

static void tap_full(void *user, uint32_t layer, forward_site site, const float *x, size_t first, size_t rows,
                     size_t stride) {
    const struct taps *taps = user;
    struct compressor *c = taps->c;
    size_t cols = calibrate_cols(c, site);
    (void)layer;
    rows_keep(c->full.seen[site] + (c->first + first) * cols, cols, x, rows, stride);
}

static void tap_routing(void *user, uint32_t layer, const uint32_t *experts, const float *weights, size_t rows,
                        uint32_t k) {
    const struct taps *taps = user;
    struct compressor *c = taps->c;
    (void)layer;
    memcpy(c->chosen + c->first * k, experts, rows * k * sizeof *experts);
    memcpy(c->weights + c->first * k, weights, rows * k * sizeof *weights);
}

static moesaic_status window_run(struct compressor *c, const struct layer_weights *weights, calibrate_kind kind,
                                 size_t rows, const struct forward_tap *tap, moesaic_error *error) {
    static const forward_half halves[] = {
        [CALIBRATE_LOOK] = FORWARD_ATTENTION_HALF, [CALIBRATE_ATTEND] = FORWARD_ATTENTION_HALF,
        [CALIBRATE_FFN] = FORWARD_FFN_HALF,        [CALIBRATE_LAYER] = FORWARD_BOTH_HALVES,
        [CALIBRATE_THROUGH] = FORWARD_BOTH_HALVES, [CALIBRATE_FULL_ATTEND] = FORWARD_ATTENTION_HALF,
        [CALIBRATE_FULL_FFN] = FORWARD_FFN_HALF};
    struct forward_item item = {.context = c->context, .ids = c->ids + c->first, .count = rows};
    size_t width = c->config->hidden;
    bool full = kind >= CALIBRATE_FULL_ATTEND;
    float *hidden = (full ? c->full.hidden : c->hidden) + c->first * width, *output = c->looked + c->window * width;
    if (kind == CALIBRATE_LOOK)
        hidden = memcpy(c->scratch, hidden, rows * width * sizeof *hidden);
    uint64_t begun = clock_ns();
    moesaic_status status = forward_layer(c->in_shape && !full ? c->reshaped : c->forward, c->layer, halves[kind],
                                          weights, &item, 1, hidden, tap, error);
    uint64_t passed = clock_ns();
    c->forward_ns += passed - begun;
    if (status || kind != CALIBRATE_LOOK)
        return status;
    stats_add(c, c->attention, c->looked, rows);
    stats_add(c, c->output, output, rows);
    drift_add(c, c->full.attention_drift, FORWARD_SITE_ATTENTION, c->looked, rows);
    drift_add(c, c->full.output_drift, FORWARD_SITE_OUTPUT, output, rows);
    c->fit_ns += clock_ns() - passed;
    return MOESAIC_OK;
}

moesaic_status calibrate_pass(struct compressor *c, const struct layer_weights *weights, calibrate_kind kind,
                              moesaic_error *error) {
    struct taps taps = {c, kind};
    bool records = kind == CALIBRATE_ATTEND || kind == CALIBRATE_LAYER;
    const struct forward_tap tap = {.user = &taps,
                                    .input = kind == CALIBRATE_FULL_ATTEND       ? tap_full
                                             : records || kind == CALIBRATE_LOOK ? tap_input
                                                                                 : NULL,
                                    .routing = records ? tap_routing : NULL};
    moesaic_status status = MOESAIC_OK;
    for (c->first = 0; !status && c->first < c->tokens; c->first += c->window) {
        size_t rows = c->tokens - c->first < c->window ? c->tokens - c->first : c->window;
        status = window_run(c, weights, kind, rows, &tap, error);
        if (!status)
            status = compress_progress(c, (double)rows / (double)c->tokens, error);
    }
    return status;
}

void calibrate_embed(const struct compressor *c, const struct weight *embedding, float *hidden) {
    for (size_t i = 0; i < c->tokens; i++)
        weight_dequantize(embedding, (uint64_t)c->ids[i], (uint64_t)c->ids[i] + 1, hidden + i * c->config->hidden);
}

moesaic_status calibrate_head(struct compressor *c, struct calib_stats **ret_stats, moesaic_error *error) {
    struct calib_stats *stats;
    size_t width = c->config->hidden;
    moesaic_status status = calib_stats_create(width, true, &stats, error);
    if (status)
        return status;
    for (size_t i = 0; i < c->tokens; i++)
        model_final_norm(c->model, c->hidden + i * width, c->hidden + i * width);
    stats_add(c, stats, c->hidden, c->tokens);
    *ret_stats = stats;
    return MOESAIC_OK;
}

/* Ids of the calibration text, cut to what the options allow. */
static moesaic_status ids_read(struct compressor *c, const struct tokenizer *tokenizer, moesaic_error *error) {
    const moesaic_compress_options *o = c->options;
    size_t limit = o->calib_tokens ? o->calib_tokens : TOKENS_DEFAULT;
    if (!tokenizer)
        return status_set(error, MOESAIC_E_INPUT, "tokenizer.json: the model has none");
    moesaic_status status =
        tokenizer_encode(tokenizer, o->calib, o->calib_bytes, false, true, &c->ids, &c->tokens, error);
    if (status == MOESAIC_E_INPUT)
        status_set(error, status, "calibration %s", error ? error->message : "");
    if (status)
        return status;
    c->tokens = c->tokens < limit ? c->tokens : limit;
    if (c->tokens < TOKENS_MIN)
        return status_set(error, MOESAIC_E_INPUT, "calibration text: %zu tokens, at least %d are needed", c->tokens,
                          TOKENS_MIN);
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
    size_t inputs = c->config->hidden + (size_t)c->config->heads * c->config->head_dim;
    c->hidden = calloc(states, sizeof *c->hidden);
    c->ffn_input = calloc(states, sizeof *c->ffn_input);
    c->scratch = calloc(c->window * c->config->hidden, sizeof *c->scratch);
    c->looked = calloc(c->window * inputs, sizeof *c->looked);
    c->chosen = calloc(routed, sizeof *c->chosen);
    c->weights = calloc(routed, sizeof *c->weights);
    if (c->hidden && c->ffn_input && c->scratch && c->looked && c->chosen && c->weights)
        return MOESAIC_OK;
    return status_no_memory(error, "calibration", 2 * states * sizeof *c->hidden + routed * 8);
}

void calibrate_end(struct compressor *c) {
    forward_destroy(c->forward);
    model_context_destroy(c->context);
    kv_pool_destroy(c->pool);
    free(c->weights);
    free(c->chosen);
    free(c->looked);
    free(c->scratch);
    free(c->ffn_input);
    free(c->hidden);
    free(c->ids);
}
