/* SPDX-License-Identifier: Apache-2.0 */
/* Recovery: the checkpoint walks beside the compressed model over the same tokens, and what each matrix is made from is
 * the one that gives the checkpoint's outputs for the compressed model's inputs. */
#include <stdlib.h>
#include <string.h>

#include "compressor_internal.h"

/* ---- the checkpoint's own activations ---------------------------------------------------------------------------- */

moesaic_status recover_begin(struct compressor *c, moesaic_error *error) {
    moesaic_status status = MOESAIC_OK;
    if (!c->recipe.recover)
        return MOESAIC_OK;
    c->full.hidden = calloc(c->tokens * c->config->hidden, sizeof *c->full.hidden);
    if (!c->full.hidden)
        status = status_no_memory(error, "recovery", c->tokens * c->config->hidden * sizeof *c->full.hidden);
    for (int site = 0; !status && site < RECOVERY_SITES; site++) {
        size_t count = c->tokens * calibrate_cols(c, (forward_site)site);
        c->full.seen[site] = calloc(count, sizeof **c->full.seen);
        if (!c->full.seen[site])
            status = status_no_memory(error, "recovery", count * sizeof **c->full.seen);
    }
    return status;
}

void recover_end(struct compressor *c) {
    for (int site = 0; site < RECOVERY_SITES; site++)
        free(c->full.seen[site]);
    free(c->full.hidden);
}

void recover_embed(struct compressor *c) {
    if (!c->recipe.recover)
        return;
    calibrate_embed(c, &model_weights(c->model)->embedding, c->full.hidden);
    c->full.beside = true;
}

moesaic_status recover_attend(struct compressor *c, moesaic_error *error) {
    return c->full.beside ? calibrate_pass(c, NULL, CALIBRATE_FULL_ATTEND, error) : MOESAIC_OK;
}

moesaic_status recover_ffn(struct compressor *c, moesaic_error *error) {
    return c->full.beside ? calibrate_pass(c, NULL, CALIBRATE_FULL_FFN, error) : MOESAIC_OK;
}

moesaic_status recover_layer(struct compressor *c, moesaic_error *error) {
    moesaic_status status = recover_attend(c, error);
    return status ? status : recover_ffn(c, error);
}

/* ---- how far things have drifted --------------------------------------------------------------------------------- */

enum { DRIFT_ROWS = 256 };

/* A feed-forward's tokens on both ways, some at a time. */
struct drifting {
    const struct compressor *c;
    const struct reached *reached;
    size_t hidden, inner, first, rows;
    float *full, *x, *missing;   /* [DRIFT_ROWS, hidden] */
    float *full_inner, *x_inner; /* [DRIFT_ROWS, inner] */
};

static moesaic_status drifting_make(struct drifting *d, moesaic_error *error) {
    d->full = calloc(DRIFT_ROWS * d->hidden, sizeof *d->full);
    d->x = calloc(DRIFT_ROWS * d->hidden, sizeof *d->x);
    d->missing = calloc(DRIFT_ROWS * d->hidden, sizeof *d->missing);
    d->full_inner = calloc(DRIFT_ROWS * d->inner, sizeof *d->full_inner);
    d->x_inner = calloc(DRIFT_ROWS * d->inner, sizeof *d->x_inner);
    if (d->full && d->x && d->missing && d->full_inner && d->x_inner)
        return MOESAIC_OK;
    return status_no_memory(error, "recovery", DRIFT_ROWS * (3 * d->hidden + 2 * d->inner) * sizeof *d->x);
}

static void drifting_free(struct drifting *d) {
    free(d->x_inner);
    free(d->full_inner);
    free(d->missing);
    free(d->x);
    free(d->full);
}

/* The next rows of the feed-forward's input; false behind the last. */
static bool drifting_next(struct drifting *d) {
    const struct reached *r = d->reached;
    size_t width = d->hidden;
    d->first += d->rows;
    d->rows = r->count - d->first < DRIFT_ROWS ? r->count - d->first : DRIFT_ROWS;
    for (size_t i = 0; i < d->rows; i++) {
        size_t at = r->token[d->first + i] * width;
        memcpy(d->full + i * width, d->c->full.seen[FORWARD_SITE_FFN] + at, width * sizeof *d->full);
        memcpy(d->x + i * width, d->c->ffn_input + at, width * sizeof *d->x);
    }
    return d->rows > 0;
}

moesaic_status recover_inputs(const struct compressor *c, const struct reached *reached, struct calib_drift **ret_drift,
                              moesaic_error *error) {
    struct drifting d = {.c = c, .reached = reached, .hidden = c->config->hidden, .inner = 1};
    moesaic_status status = drifting_make(&d, error);
    if (!status)
        status = calib_drift_create(d.hidden, d.hidden, ret_drift, error);
    while (!status && drifting_next(&d)) {
        const struct drift_rows rows = {d.full, d.x, d.x, d.hidden, d.hidden, d.hidden, reached->weight + d.first,
                                        d.rows};
        calib_drift_add(*ret_drift, &rows, 0, d.hidden);
    }
    drifting_free(&d);
    return status;
}

/* What is missing behind the attention. All of a token's experts make up for it together, by their weights. */
static void missing_gather(struct drifting *d, bool routed) {
    const struct compressor *c = d->c;
    size_t width = d->hidden, k = c->config->top_k;
    for (size_t i = 0; i < d->rows; i++) {
        size_t token = d->reached->token[d->first + i];
        const float *full = c->full.hidden + token * width, *hidden = c->hidden + token * width;
        float sum = routed ? 0 : 1;
        for (size_t slot = 0; routed && slot < k; slot++)
            sum += c->weights[token * k + slot];
        for (size_t j = 0; j < width; j++)
            d->missing[i * width + j] = sum > 0 ? (full[j] - hidden[j]) / sum : 0;
    }
}

static moesaic_status inner_add(struct drifting *d, const struct ffn_weights *old, const struct ffn_weights *new,
                                struct calib_drift *drift, moesaic_error *error) {
    struct expert_activation activation = d->c->config->activation;
    const struct drift_rows rows = {
        d->full_inner, d->x_inner, d->x_inner, d->inner, d->inner, d->inner, d->reached->weight + d->first, d->rows};
    moesaic_status status =
        expert_ffn_inner(old, activation, d->full, d->rows, d->hidden, d->inner, d->full_inner, error);
    if (!status)
        status = expert_ffn_inner(new, activation, d->x, d->rows, d->hidden, d->inner, d->x_inner, error);
    if (!status)
        calib_drift_add(drift, &rows, 0, d->inner);
    return status;
}

moesaic_status recover_inner(const struct compressor *c, const struct ffn_weights *old, const struct ffn_weights *new,
                             const struct reached *reached, bool routed, struct calib_drift **ret_drift,
                             struct calib_drift **ret_residual, moesaic_error *error) {
    struct drifting d = {.c = c, .reached = reached, .hidden = c->config->hidden, .inner = old->gate.rows};
    moesaic_status status = drifting_make(&d, error);
    if (!status)
        status = calib_drift_create(d.inner, d.inner, ret_drift, error);
    if (!status && ret_residual)
        status = calib_drift_create(d.hidden, d.inner, ret_residual, error);
    while (!status && drifting_next(&d)) {
        const struct drift_rows rows = {d.missing, NULL, d.x_inner, d.hidden, 0, d.inner, reached->weight + d.first,
                                        d.rows};
        status = inner_add(&d, old, new, *ret_drift, error);
        if (status || !ret_residual)
            continue;
        missing_gather(&d, routed);
        calib_drift_add(*ret_residual, &rows, 0, d.hidden);
    }
    drifting_free(&d);
    return status;
}

/* ---- what to compress -------------------------------------------------------------------------------------------- */

/* The fewer tokens a channel has, the less of what they say is meant: the damping that did best on the bundled model.
 */
static const double DAMPING_TOKENS = 2.5;

moesaic_status recover_make(const struct weight *source, const struct calib_stats *stats,
                            const struct calib_drift *drift, const struct calib_drift *residual,
                            struct packed *ret_target, moesaic_error *error) {
    size_t count = source->rows * source->cols;
    double damping = stats->tokens ? DAMPING_TOKENS * (double)source->cols / (double)stats->tokens : 0;
    float *values = calloc(count, sizeof *values);
    if (!values)
        return status_no_memory(error, "recovery", count * sizeof *values);
    weight_dequantize(source, 0, source->rows, values);
    moesaic_status status =
        recover_target(values, source->rows, source->cols, stats, drift, residual, damping, values, error);
    if (status) {
        free(values);
        return status;
    }
    *ret_target = (struct packed){.weight = floats_weight(values, source->rows, source->cols), .memory = values};
    return MOESAIC_OK;
}
