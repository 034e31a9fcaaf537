/* SPDX-License-Identifier: Apache-2.0 */
/* AWQ: scales under which the channels that matter round better, chosen by the measured error and folded into what lies
 * before a matrix: the layer's norm for gate and up, the rows of up for down. */
#include <stdlib.h>
#include <string.h>

#include "compressor_internal.h"

/* ---- one vector for the inputs of a layer's feed-forwards -------------------------------------------------------- */

/* Errors of every feed-forward [feed-forwards, AWQ_CANDIDATES], and the inputs' squares over the whole text. */
struct choosing {
    struct calib_stats *inputs;
    double *errors;
};

static moesaic_status floats_copy(const struct weight *w, float **ret_values, moesaic_error *error) {
    float *values = calloc(w->rows * w->cols, sizeof *values);
    if (!values)
        return status_no_memory(error, "AWQ", w->rows * w->cols * sizeof *values);
    weight_dequantize(w, 0, w->rows, values);
    *ret_values = values;
    return MOESAIC_OK;
}

/* Adds to errors[AWQ_CANDIDATES] what rounding `w` costs under each candidate of `channels`. */
static moesaic_status errors_add(const struct recipe_matrix *recipe, const struct weight *w,
                                 const struct calib_stats *channels, const struct calib_stats *stats, double *errors,
                                 moesaic_error *error) {
    float *values = NULL, *scales = calloc(w->cols, sizeof *scales);
    moesaic_status status = scales ? floats_copy(w, &values, error) : status_no_memory(error, "AWQ", w->cols * 4);
    for (unsigned i = 0; !status && i < AWQ_CANDIDATES; i++) {
        double lost = 0;
        awq_scales(channels, i, scales);
        status = awq_error(values, w->rows, w->cols, stats, recipe->format, recipe->group, scales, &lost, error);
        errors[i] += lost;
    }
    free(values);
    free(scales);
    return status;
}

static unsigned candidate_best(const double *errors) {
    unsigned best = 0;
    for (unsigned i = 1; i < AWQ_CANDIDATES; i++)
        best = errors[i] < errors[best] ? i : best;
    return best;
}

/* Job: what each candidate costs in one feed-forward's gate and up, by the tokens that reach it. */
static moesaic_status inputs_job(struct compressor *c, size_t job, moesaic_error *error) {
    uint32_t expert = ffn_of_job(c, job);
    const struct ffn_weights *old = ffn_source(c, expert);
    double *errors = c->awq.errors + job * AWQ_CANDIDATES;
    struct packed_ffn *ffn = &c->ffn[expert];
    struct reached r = {0};
    struct calib_stats *stats = NULL;
    ffn->tokens = reached_count(c, expert);
    const struct recipe_matrix *recipe = ffn_recipe(c, expert);
    if (recipe->quant != QUANT_AWQ)
        return MOESAIC_OK;
    moesaic_status status = reached_make(c, expert, ffn, &r, error);
    if (!status)
        status = calib_stats_create(old->gate.cols, true, &stats, error);
    if (!status) {
        calib_add(stats, c->ffn_input, c->config->hidden, r.token, r.weight, r.count, 0, stats->cols);
        status = errors_add(recipe, &old->gate, c->awq.inputs, stats, errors, error);
    }
    if (!status)
        status = errors_add(recipe, &old->up, c->awq.inputs, stats, errors, error);
    calib_stats_destroy(stats);
    reached_done(&r);
    return status;
}

static moesaic_status scales_choose(struct compressor *c, moesaic_error *error) {
    size_t width = c->config->hidden, jobs = ffn_jobs(c);
    double sums[AWQ_CANDIDATES] = {0};
    c->awq.errors = calloc(jobs * AWQ_CANDIDATES, sizeof *c->awq.errors);
    moesaic_status status = c->awq.errors ? calib_stats_create(width, false, &c->awq.inputs, error)
                                          : status_no_memory(error, "AWQ", jobs * sizeof sums);
    if (!status) {
        calib_add(c->awq.inputs, c->ffn_input, width, NULL, NULL, c->tokens, 0, width);
        status = compress_jobs(c, jobs, inputs_job, error);
    }
    for (size_t i = 0; !status && i < jobs * AWQ_CANDIDATES; i++)
        sums[i % AWQ_CANDIDATES] += c->awq.errors[i];
    if (!status)
        awq_scales(c->awq.inputs, candidate_best(sums), c->awq.scales);
    calib_stats_destroy(c->awq.inputs);
    free(c->awq.errors);
    c->awq.inputs = NULL;
    c->awq.errors = NULL;
    return status;
}

/* ---- what reads the norm ----------------------------------------------------------------------------------------- */

/* *io_weight, floats of `held` from now on, with its columns multiplied. */
static moesaic_status columns_fold(const float *scales, struct packed *held, struct weight *io_weight,
                                   moesaic_error *error) {
    float *values = NULL;
    if (!io_weight->data)
        return MOESAIC_OK;
    moesaic_status status = floats_copy(io_weight, &values, error);
    if (status)
        return status;
    packed_done(held);
    awq_fold_columns(values, io_weight->rows, io_weight->cols, scales);
    *held = (struct packed){.weight = floats_weight(values, io_weight->rows, io_weight->cols), .memory = values};
    *io_weight = held->weight;
    return MOESAIC_OK;
}

static moesaic_status norm_fold(struct compressor *c, moesaic_error *error) {
    size_t width = c->config->hidden;
    float *norm = calloc(width, sizeof *norm);
    if (!norm)
        return status_no_memory(error, "AWQ", width * sizeof *norm);
    memcpy(norm, c->new_layer.ffn_norm, width * sizeof *norm);
    awq_fold_rows(norm, width, 1, c->awq.scales);
    c->norm = (struct packed){.weight = floats_weight(norm, width, 1), .memory = norm};
    c->new_layer.ffn_norm = norm;
    return MOESAIC_OK;
}

/* The inputs recorded, as the folded norm gives them. */
static void inputs_rescale(const struct compressor *c, float *inputs) {
    size_t width = c->config->hidden;
    for (size_t i = 0; inputs && i < c->tokens * width; i++)
        inputs[i] /= c->awq.scales[i % width];
}

moesaic_status awq_begin(struct compressor *c, moesaic_error *error) {
    if (!recipe_folds(&c->recipe))
        return MOESAIC_OK;
    c->awq.scales = calloc(c->config->hidden, sizeof *c->awq.scales);
    if (!c->awq.scales)
        return status_no_memory(error, "AWQ", c->config->hidden * sizeof *c->awq.scales);
    for (uint32_t i = 0; i < c->config->hidden; i++)
        c->awq.scales[i] = 1;
    return MOESAIC_OK;
}

void awq_end(struct compressor *c) {
    free(c->awq.scales);
}

moesaic_status awq_layer(struct compressor *c, moesaic_error *error) {
    if (!c->awq.scales)
        return MOESAIC_OK;
    moesaic_status status = scales_choose(c, error);
    if (!status)
        status = norm_fold(c, error);
    if (!status)
        status = columns_fold(c->awq.scales, &c->router, &c->new_layer.router, error);
    if (!status)
        status = columns_fold(c->awq.scales, &c->shared_gate, &c->new_layer.shared_gate, error);
    if (!status) {
        inputs_rescale(c, c->ffn_input);
        inputs_rescale(c, c->full.seen[FORWARD_SITE_FFN]);
    }
    return status;
}

/* *io_weight from the artifact so far; nothing where the model has none. */
static moesaic_status weight_back(struct compressor *c, const char *part, struct packed *held, struct weight *io_weight,
                                  moesaic_error *error) {
    char name[160];
    if (!io_weight->data)
        return MOESAIC_OK;
    packed_done(held);
    return matrix_back(c, layer_tensor_name(c->config, c->layer, part, name), held, io_weight, error);
}

moesaic_status awq_resume(struct compressor *c, moesaic_error *error) {
    struct weight norm = floats_weight(c->new_layer.ffn_norm, c->config->hidden, 1);
    if (!c->awq.scales)
        return MOESAIC_OK;
    moesaic_status status = weight_back(c, "post_attention_layernorm.weight", &c->norm, &norm, error);
    c->new_layer.ffn_norm = (const float *)norm.data;
    if (!status)
        status = weight_back(c, "mlp.gate.weight", &c->router, &c->new_layer.router, error);
    if (!status)
        status = weight_back(c, "mlp.shared_expert_gate.weight", &c->shared_gate, &c->new_layer.shared_gate, error);
    return status;
}

/* ---- one feed-forward -------------------------------------------------------------------------------------------- */

/* Down's own scales, by what it sees of the tokens `reached`. */
static moesaic_status inner_fold(const struct compressor *c, const struct recipe_matrix *recipe,
                                 const struct reached *reached, struct scaled *s, moesaic_error *error) {
    size_t rows = s->weights.down.rows, inner = s->weights.down.cols;
    double errors[AWQ_CANDIDATES] = {0};
    struct calib_stats *stats = NULL;
    float *scales = calloc(inner, sizeof *scales);
    moesaic_status status =
        scales ? calib_stats_create(inner, true, &stats, error) : status_no_memory(error, "AWQ", inner * 4);
    if (!status)
        status = inner_collect(c, &s->weights, reached, stats, error);
    if (!status)
        status = errors_add(recipe, &s->weights.down, stats, stats, errors, error);
    if (!status) {
        awq_scales(stats, candidate_best(errors), scales);
        awq_fold_rows(s->up, inner, s->weights.up.cols, scales);
        awq_fold_columns(s->down, rows, inner, scales);
    }
    calib_stats_destroy(stats);
    free(scales);
    return status;
}

moesaic_status scaled_make(const struct compressor *c, const struct recipe_matrix *recipe,
                           const struct ffn_weights *old, const struct reached *reached, struct scaled *ret,
                           moesaic_error *error) {
    moesaic_status status = floats_copy(&old->gate, &ret->gate, error);
    if (!status)
        status = floats_copy(&old->up, &ret->up, error);
    if (!status)
        status = floats_copy(&old->down, &ret->down, error);
    if (status)
        return status;
    awq_fold_columns(ret->gate, old->gate.rows, old->gate.cols, c->awq.scales);
    awq_fold_columns(ret->up, old->up.rows, old->up.cols, c->awq.scales);
    ret->weights = *old;
    ret->weights.gate = floats_weight(ret->gate, old->gate.rows, old->gate.cols);
    ret->weights.up = floats_weight(ret->up, old->up.rows, old->up.cols);
    ret->weights.down = floats_weight(ret->down, old->down.rows, old->down.cols);
    /* A bias of up would have to be folded as well: such feed-forwards do without. */
    return recipe->quant == QUANT_AWQ && !old->up_bias ? inner_fold(c, recipe, reached, ret, error) : MOESAIC_OK;
}

void scaled_done(struct scaled *s) {
    free(s->down);
    free(s->up);
    free(s->gate);
    *s = (struct scaled){0};
}
