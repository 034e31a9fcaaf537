/* SPDX-License-Identifier: Apache-2.0 */
/* One matrix from weights and statistics to mask, codes and figures. */
#include "compress.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compress_internal.h"

static bool is_power_of_two(unsigned n) {
    return n != 0 && (n & (n - 1)) == 0;
}

static moesaic_status check_prune(const struct compress_options *options, moesaic_error *error) {
    if (options->prune == PRUNE_NONE && options->mask == NULL)
        return MOESAIC_OK;
    if (options->mask == NULL && options->of == 0 && !(options->density > 0.0 && options->density <= 1.0))
        return status_set(error, MOESAIC_E_USAGE, "compression: density %g, expected more than 0 and at most 1",
                          options->density);
    if (options->of != 0 && (!is_power_of_two(options->of) || options->of > JOB_PATTERN_MAX || options->keep == 0 ||
                             options->keep > options->of))
        return status_set(error, MOESAIC_E_USAGE,
                          "compression: pattern %u:%u, expected 1 to M of M, M a power of two up to %d", options->keep,
                          options->of, JOB_PATTERN_MAX);
    return MOESAIC_OK;
}

static moesaic_status check_quant(const struct compress_options *options, moesaic_error *error) {
    if (options->quant == QUANT_NONE)
        return MOESAIC_OK;
    if (options->format != FORMAT_INT8 && options->format != FORMAT_INT4 && options->format != FORMAT_INT3 &&
        options->format != FORMAT_INT2)
        return status_set(error, MOESAIC_E_USAGE, "compression: number format %d, expected int8, int4, int3 or int2",
                          (int)options->format);
    if (options->group != 32 && options->group != 64 && options->group != 128)
        return status_set(error, MOESAIC_E_USAGE, "compression: group of %u, expected 32, 64 or 128", options->group);
    return MOESAIC_OK;
}

/* A mask from outside that is said to follow a pattern does. */
static moesaic_status check_mask(const struct compress_options *options, size_t rows, size_t cols,
                                 moesaic_error *error) {
    if (options->mask == NULL || options->of == 0)
        return MOESAIC_OK;
    for (size_t row = 0; row < rows; row++) {
        for (size_t k = 0; k < cols; k += options->of) {
            size_t part = cols - k < options->of ? cols - k : options->of, kept = 0;
            for (size_t i = 0; i < part; i++)
                kept += options->mask[row * cols + k + i] != 0;
            if (kept != (part < options->keep ? part : options->keep))
                return status_set(error, MOESAIC_E_USAGE,
                                  "compression: the mask keeps %zu of the %zu inputs from [%zu, "
                                  "%zu], which is not %u:%u",
                                  kept, part, row, k, options->keep, options->of);
        }
    }
    return MOESAIC_OK;
}

static bool wants_hessian(const struct compress_options *options) {
    return options->quant == QUANT_GPTQ || options->prune == PRUNE_SPARSEGPT;
}

static moesaic_status check_options(const struct compress_options *options, size_t rows, size_t cols,
                                    const struct calib_stats *stats, moesaic_error *error) {
    moesaic_status status = check_prune(options, error);
    if (status == MOESAIC_OK)
        status = check_quant(options, error);
    if (status == MOESAIC_OK)
        status = check_mask(options, rows, cols, error);
    if (status != MOESAIC_OK)
        return status;
    if (rows == 0 || cols != stats->cols)
        return status_set(error, MOESAIC_E_USAGE, "compression: matrix of %zu x %zu with statistics of %zu channels",
                          rows, cols, stats->cols);
    if ((wants_hessian(options) || options->refine != 0) && stats->hessian == NULL)
        return status_set(error, MOESAIC_E_USAGE,
                          "compression: GPTQ, SparseGPT and refinement need a Hessian, none was collected");
    if (!(options->damping >= 0.0 && options->damping <= 1.0))
        return status_set(error, MOESAIC_E_USAGE, "compression: damping %g, expected 0 to 1", options->damping);
    return MOESAIC_OK;
}

/* ---- the job ---------------------------------------------------------------------------------------------------- */

static void job_free(struct compress_job *job) {
    free(job->w);
    free(job->q);
    free(job->scratch);
    free(job->mask);
    free(job->codes);
    free(job->scales);
    free(job->steps);
    free(job->h);
}

static moesaic_status job_allocate(struct compress_job *job, moesaic_error *error) {
    size_t count = 0, numbers = 0, squares = 0;
    if (!size_mul(job->rows, job->cols, &count) || !size_mul(count, 4 * sizeof(double), &numbers) ||
        !size_mul(job->cols, job->cols * sizeof(double), &squares))
        return status_set(error, MOESAIC_E_USAGE, "compression: matrix of %zu x %zu is too large", job->rows,
                          job->cols);
    bool masked = job->options->prune != PRUNE_NONE || job->options->mask != NULL;
    bool coded = job->options->quant != QUANT_NONE;
    job->w = malloc(count * sizeof(double));
    job->q = malloc(count * sizeof(double));
    job->scratch = malloc(count * sizeof(double));
    job->h = malloc(squares);
    if (masked)
        job->mask = malloc(count);
    if (coded) {
        job->groups = (size_t)quant_rows_groups(job->cols, job->options->group);
        job->codes = calloc(count, 1);
        job->scales = calloc(job->groups * job->rows, sizeof *job->scales);
        job->steps = calloc(job->groups * job->rows, sizeof *job->steps);
    }
    if (job->w == NULL || job->q == NULL || job->scratch == NULL || job->h == NULL || (masked && job->mask == NULL) ||
        (coded && (job->codes == NULL || job->scales == NULL || job->steps == NULL)))
        return status_no_memory(error, "compression of a matrix", numbers);
    return MOESAIC_OK;
}

static moesaic_status job_fill_weights(struct compress_job *job, const float *w, moesaic_error *error) {
    for (size_t row = 0; row < job->rows; row++) {
        for (size_t k = 0; k < job->cols; k++) {
            float value = w[row * job->cols + k];
            if (!isfinite(value))
                return status_set(error, MOESAIC_E_NONFINITE, "compression: weight at [%zu, %zu] is not finite", row,
                                  k);
            job->w[k * job->rows + row] = value;
        }
    }
    memcpy(job->q, job->w, job->rows * job->cols * sizeof *job->q);
    unsigned bits = job->options->quant != QUANT_NONE ? number_format_bits(job->options->format) : 1;
    job->low = -(1 << (bits - 1));
    job->high = (1 << (bits - 1)) - 1;
    job->factor = 1.0;
    if (job->options->quant != QUANT_NONE)
        job->factor = job->options->factor > 0.0f ? job->options->factor
                                                  : scale_factor(w, job->rows * job->cols, job->options->format);
    return MOESAIC_OK;
}

/* The Hessian, or the identity when nothing is known of the inputs. */
static moesaic_status job_fill_hessian(struct compress_job *job, const struct calib_stats *stats,
                                       moesaic_error *error) {
    size_t n = job->cols;
    calib_expand(stats, job->h);
    job->have_hessian = stats->hessian != NULL;
    double trace = 0.0;
    for (size_t k = 0; k < n; k++)
        trace += job->h[k * n + k];
    if (!isfinite(trace))
        return status_set(error, MOESAIC_E_NONFINITE, "compression: the calibration statistics are not finite");
    for (size_t k = 0; k < n && trace == 0.0; k++)
        job->h[k * n + k] = 1.0;
    job->damping = job->options->damping > 0.0 ? job->options->damping : DEFAULT_DAMPING;
    job->lambda = job->damping * (trace > 0.0 ? trace / (double)n : 1.0);
    return MOESAIC_OK;
}

static void job_fill_mask(struct compress_job *job) {
    const uint8_t *mask = job->options->mask;
    if (job->mask == NULL)
        return;
    for (size_t k = 0; k < job->cols; k++) {
        for (size_t row = 0; row < job->rows; row++)
            job->mask[k * job->rows + row] = mask == NULL || mask[row * job->cols + k] != 0;
    }
}

/* ---- the work --------------------------------------------------------------------------------------------------- */

/* Runs a descent with the damping on the Hessian's diagonal. */
static moesaic_status with_damping(struct compress_job *job,
                                   moesaic_status descend(struct compress_job *job, moesaic_error *error),
                                   moesaic_error *error) {
    size_t n = job->cols;
    double *diagonal = malloc(n * sizeof *diagonal);
    if (diagonal == NULL)
        return status_no_memory(error, "refinement", n * sizeof *diagonal);
    for (size_t k = 0; k < n; k++) {
        diagonal[k] = job->h[k * n + k];
        job->h[k * n + k] += job->lambda;
    }
    moesaic_status status = descend(job, error);
    for (size_t k = 0; k < n; k++)
        job->h[k * n + k] = diagonal[k];
    free(diagonal);
    return status;
}

/* The mask, and the values it leaves. */
static moesaic_status job_prune(struct compress_job *job, moesaic_error *error) {
    const struct compress_options *options = job->options;
    if (options->prune == PRUNE_SPARSEGPT) {
        job->choosing = options->mask == NULL;
        moesaic_status status = second_order_pass(job, error);
        if (status == MOESAIC_OK && job->choosing && options->refine != 0)
            status = with_damping(job, reselect_mask, error);
        job->choosing = false;
        return status;
    }
    moesaic_status status = MOESAIC_OK;
    if (options->prune != PRUNE_NONE && options->mask == NULL)
        status = prune_by_score(job, error);
    for (size_t i = 0; status == MOESAIC_OK && job->mask != NULL && i < job->rows * job->cols; i++)
        job->q[i] = job->mask[i] ? job->w[i] : 0.0;
    return status;
}

/* Codes for the values that pruning left; GPTQ starts over from the weights given, under the mask. */
static moesaic_status job_quantize(struct compress_job *job, moesaic_error *error) {
    job->coding = true;
    if (job->options->quant == QUANT_GPTQ)
        return second_order_pass(job, error);
    for (size_t group = 0; group < job->groups; group++)
        scale_group(job, job->q, group);
    rtn_codes(job);
    return MOESAIC_OK;
}

static moesaic_status job_run(struct compress_job *job, moesaic_error *error) {
    const struct compress_options *options = job->options;
    bool joint = options->prune == PRUNE_SPARSEGPT && options->mask == NULL && options->quant == QUANT_GPTQ;
    moesaic_status status = MOESAIC_OK;
    if (joint && options->refine == 0) {
        job->choosing = job->coding = true;
        return second_order_pass(job, error);
    }
    if (options->prune != PRUNE_NONE || options->mask != NULL)
        status = job_prune(job, error);
    if (status == MOESAIC_OK && options->quant != QUANT_NONE)
        status = job_quantize(job, error);
    if (status == MOESAIC_OK && options->refine != 0)
        status = with_damping(job, refine_matrix, error);
    return status;
}

moesaic_status hessian_energy(const double *h, size_t n, const double *d, size_t rows, double *ret_energy,
                              moesaic_error *error) {
    double *image = calloc(n * rows, sizeof *image);
    if (image == NULL)
        return status_no_memory(error, "error figures", n * rows * sizeof *image);
    linalg_product(image, rows, n, rows, n, 1.0, linalg_rows(h, n), linalg_rows(d, rows));
    *ret_energy = linalg_dot(d, image, n * rows);
    free(image);
    return MOESAIC_OK;
}

/* The same for the job's Hessian, or what is known of it. */
static moesaic_status energy(const struct compress_job *job, const double *d, double *ret_energy,
                             moesaic_error *error) {
    size_t n = job->cols, rows = job->rows;
    if (job->have_hessian)
        return hessian_energy(job->h, n, d, rows, ret_energy, error);
    double sum = 0.0;
    for (size_t k = 0; k < n; k++)
        sum += job->h[k * n + k] * linalg_dot(d + k * rows, d + k * rows, rows);
    *ret_energy = sum;
    return MOESAIC_OK;
}

/* ---- the result ------------------------------------------------------------------------------------------------- */

static number_format stored_format(const struct compress_options *options) {
    bool pruned = options->prune != PRUNE_NONE || options->mask != NULL;
    if (!pruned || options->format != FORMAT_INT4)
        return options->format;
    if (options->keep == 2 && options->of == 4)
        return FORMAT_INT4_24;
    if (options->keep == 4 && options->of == 8)
        return FORMAT_INT4_48;
    return FORMAT_INT4_MASK;
}

static moesaic_status result_codes(const struct compress_job *job, struct compress_result *result,
                                   moesaic_error *error) {
    if (job->codes == NULL)
        return MOESAIC_OK;
    struct quant_rows *codes = NULL;
    moesaic_status status = quant_rows_create(stored_format(job->options), job->options->group, job->rows, job->cols,
                                              &codes, error);
    if (status != MOESAIC_OK)
        return status;
    codes->factor = (float)job->factor;
    for (size_t row = 0; row < job->rows; row++) {
        for (size_t k = 0; k < job->cols; k++) {
            codes->codes[row * job->cols + k] = job->codes[k * job->rows + row];
            if (codes->mask != NULL)
                codes->mask[row * job->cols + k] = job->mask[k * job->rows + row];
        }
        for (size_t group = 0; group < job->groups; group++)
            codes->scales[row * job->groups + group] = job->scales[group * job->rows + row];
    }
    result->codes = codes;
    return MOESAIC_OK;
}

static moesaic_status result_values(const struct compress_job *job, struct compress_result *result,
                                    moesaic_error *error) {
    size_t count = job->rows * job->cols, kept = 0;
    result->values = malloc(count * sizeof *result->values);
    if (job->mask != NULL)
        result->mask = malloc(count);
    if (result->values == NULL || (job->mask != NULL && result->mask == NULL))
        return status_no_memory(error, "compressed matrix", count * (sizeof *result->values + 1));
    for (size_t row = 0; row < job->rows; row++) {
        for (size_t k = 0; k < job->cols; k++) {
            size_t from = k * job->rows + row, to = row * job->cols + k;
            uint8_t keep = job->mask == NULL || job->mask[from];
            result->values[to] = (float)job->q[from];
            if (result->mask != NULL)
                result->mask[to] = keep;
            kept += keep;
        }
    }
    result->density = (double)kept / (double)count;
    return MOESAIC_OK;
}

static moesaic_status result_figures(struct compress_job *job, struct compress_result *result, moesaic_error *error) {
    double lost = 0.0;
    for (size_t i = 0; i < job->rows * job->cols; i++)
        job->scratch[i] = job->w[i] - job->q[i];
    moesaic_status status = energy(job, job->scratch, &lost, error);
    if (status == MOESAIC_OK)
        status = energy(job, job->w, &result->energy, error);
    if (status != MOESAIC_OK)
        return status;
    result->error = result->energy > 0.0 ? fmax(lost, 0.0) / result->energy : 0.0;
    result->damping = wants_hessian(job->options) || job->options->refine != 0 ? job->damping : 0.0;
    return MOESAIC_OK;
}

void compress_result_done(struct compress_result *result) {
    quant_rows_destroy(result->codes);
    free(result->values);
    free(result->mask);
    *result = (struct compress_result){0};
}

moesaic_status compress_matrix(const float *w, size_t rows, size_t cols, const struct calib_stats *stats,
                               const struct compress_options *options, struct compress_result *ret_result,
                               moesaic_error *error) {
    struct compress_job job = {.rows = rows, .cols = cols, .options = options};
    struct compress_result result = {0};
    moesaic_status status = check_options(options, rows, cols, stats, error);
    if (status != MOESAIC_OK)
        return status;
    if ((status = job_allocate(&job, error)) != MOESAIC_OK ||
        (status = job_fill_weights(&job, w, error)) != MOESAIC_OK ||
        (status = job_fill_hessian(&job, stats, error)) != MOESAIC_OK)
        goto fail;
    job_fill_mask(&job);
    if ((status = job_run(&job, error)) != MOESAIC_OK ||
        (status = result_figures(&job, &result, error)) != MOESAIC_OK ||
        (status = result_values(&job, &result, error)) != MOESAIC_OK ||
        (status = result_codes(&job, &result, error)) != MOESAIC_OK)
        goto fail;
    job_free(&job);
    *ret_result = result;
    return MOESAIC_OK;
fail:
    job_free(&job);
    compress_result_done(&result);
    return status;
}
