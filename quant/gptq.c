/* SPDX-License-Identifier: Apache-2.0 */
/* The second-order pass: GPTQ, SparseGPT and both at once, column by column with the error pushed into what is left.
 *
 * Optimal brain surgery on a layer: fixing column p of W at q and moving the columns that are still free by
 * -(w - q) [H^-1]_pj / [H^-1]_pp costs (w - q)² / [H^-1]_pp, with H restricted to the free columns (Frantar et al.
 * 2022). Number the positions so that the pass runs from the last to the first. With the Cholesky factor H = L Lᵀ and
 * M = L^-1, the free set 0 .. p has the leading blocks of both as its own, so [H^-1]_pj = M_pp M_pj: one factorisation
 * serves every step, and the update is -(w - q) / M_pp times row p of M. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compress_internal.h"

struct pass {
    struct compress_job *job;
    size_t unit;       /* columns that stay together: the N:M pattern, else 1 */
    size_t *order;     /* [cols] the column at each position */
    double *m;         /* [cols, cols] inverse Cholesky factor of the damped Hessian in this order */
    double *w;         /* [cols, rows] weights by position, updated on the way */
    double *misses;    /* [JOB_BLOCK, rows] (w - q) / M_pp of a block */
    double *scores;    /* [JOB_BLOCK, rows] scores of a block; NULL without job->choosing, like what follows */
    uint8_t *kept;     /* [JOB_BLOCK, rows] */
    size_t *drops;     /* [blocks, the first worked first] weights to drop in each, when pruning by density */
};

/* A unit of columns and its weight in the order. */
struct order_key {
    double sum;
    size_t unit;
};

static int compare_keys(const void *a, const void *b) {
    const struct order_key *left = a, *right = b;
    if (left->sum != right->sum)
        return left->sum < right->sum ? -1 : 1;
    return left->unit > right->unit ? -1 : left->unit < right->unit;
}

/* Positions from the last: units of falling diagonal (or first to last), each unit's columns in rising order; a part of
 * a unit at the matrix's end comes last, at the lowest positions, so that units never straddle a block. */
static moesaic_status order_columns(struct pass *pass, moesaic_error *error) {
    const struct compress_job *job = pass->job;
    size_t n = job->cols, units = n / pass->unit, rest = n % pass->unit;
    struct order_key *keys = malloc((units + 1) * sizeof *keys);
    if (keys == NULL)
        return status_no_memory(error, "column order", (units + 1) * sizeof *keys);
    for (size_t u = 0; u < units; u++) {
        keys[u] = (struct order_key){0.0, u};
        for (size_t k = u * pass->unit; !job->options->in_order && k < (u + 1) * pass->unit; k++)
            keys[u].sum += job->h[k * n + k];
    }
    qsort(keys, units, sizeof *keys, compare_keys);
    for (size_t i = 0; i < rest; i++)
        pass->order[i] = n - 1 - i;
    for (size_t u = 0; u < units; u++) {
        for (size_t i = 0; i < pass->unit; i++)
            pass->order[rest + u * pass->unit + i] = (keys[u].unit + 1) * pass->unit - 1 - i;
    }
    free(keys);
    return MOESAIC_OK;
}

/* Factors the permuted Hessian with the job's damping, ten times more as long as that fails, and inverts the factor.
 * `scratch` holds linalg_invert_scratch(cols) doubles. */
static moesaic_status factor_hessian(struct pass *pass, double *scratch, moesaic_error *error) {
    struct compress_job *job = pass->job;
    size_t n = job->cols;
    double mean = job->lambda / job->damping;
    for (; job->damping <= 10.0; job->damping *= 10.0) {
        job->lambda = job->damping * mean;
        for (size_t i = 0; i < n; i++) {
            for (size_t j = 0; j < n; j++)
                pass->m[i * n + j] = job->h[pass->order[i] * n + pass->order[j]];
            pass->m[i * n + i] += job->lambda;
        }
        if (linalg_cholesky(pass->m, n)) {
            linalg_invert_lower(pass->m, n, scratch);
            return MOESAIC_OK;
        }
    }
    return status_set(error, MOESAIC_E_NONFINITE,
                      "compression: the Hessian has no Cholesky factor, even with ten times "
                      "its mean added to the diagonal: it is not a sum of squares");
}

/* Scores of the positions [low, high): the cost (w / M_pp)² of dropping each weight there. */
static void score_columns(const struct pass *pass, size_t low, size_t high, double *scores) {
    size_t rows = pass->job->rows;
    for (size_t p = low; p < high; p++) {
        double pivot = pass->m[p * pass->job->cols + p];
        for (size_t row = 0; row < rows; row++) {
            double root = pass->w[p * rows + row] / pivot;
            *scores++ = root * root;
        }
    }
}

/* How many weights each block drops, by one threshold on the scores before the pass: in falling order of importance the
 * blocks differ too much to drop the same share of each. Borrows the mask, which the pass fills later. */
static void share_by_threshold(struct pass *pass, size_t drop) {
    struct compress_job *job = pass->job;
    size_t rows = job->rows, n = job->cols;
    score_columns(pass, 0, n, job->scratch);
    memset(job->mask, 1, n * rows);
    prune_smallest(job->scratch, n * rows, drop, job->mask);
    for (size_t p = 0; p < n; p++) {
        for (size_t row = 0; row < rows; row++)
            pass->drops[(n - 1 - p) / JOB_BLOCK] += job->mask[p * rows + row] == 0;
    }
}

/* The same share of each block, as SparseGPT does, rounded so that the total is exact. */
static void share_evenly(struct pass *pass, double drop_share) {
    size_t rows = pass->job->rows, n = pass->job->cols;
    for (size_t block = 0, columns = 0, done = 0; columns < n; block++) {
        columns = n - columns < JOB_BLOCK ? n : columns + JOB_BLOCK;
        size_t until = (size_t)round_even(drop_share * (double)(columns * rows));
        pass->drops[block] = until - done;
        done = until;
    }
}

static void share_drops(struct pass *pass) {
    const struct compress_job *job = pass->job;
    double drop_share = 1.0 - job->options->density;
    if (job->options->in_order)
        share_evenly(pass, drop_share);
    else
        share_by_threshold(pass, (size_t)round_even(drop_share * (double)(job->rows * job->cols)));
}

/* Drops the block's number of smallest scores, over all rows. */
static void choose_by_density(struct pass *pass, size_t low, size_t high) {
    struct compress_job *job = pass->job;
    size_t rows = job->rows, count = (high - low) * rows;
    score_columns(pass, low, high, pass->scores);
    memset(pass->kept, 1, count);
    prune_smallest(pass->scores, count, pass->drops[(job->cols - high) / JOB_BLOCK], pass->kept);
    for (size_t p = low; p < high; p++)
        memcpy(job->mask + pass->order[p] * rows, pass->kept + (p - low) * rows, rows);
}

/* The same for one unit of an N:M pattern, whose lowest column is at position `top`, row by row. */
static void choose_by_pattern(struct pass *pass, size_t top, size_t count) {
    struct compress_job *job = pass->job;
    size_t rows = job->rows;
    double scores[JOB_PATTERN_MAX];
    for (size_t row = 0; row < rows; row++) {
        for (size_t i = 0; i < count; i++) {
            double root = pass->w[(top - i) * rows + row] / pass->m[(top - i) * (job->cols + 1)];
            scores[i] = root * root;
        }
        prune_pattern(scores, job->options->keep, (unsigned)count, job->mask + pass->order[top] * rows + row, rows);
    }
}

/* With columns in order, the scales of a group are searched on its weights as the pass has left them. */
static void rescale_group(struct pass *pass, size_t column) {
    struct compress_job *job = pass->job;
    size_t end = column + job->options->group;
    for (size_t k = column; k < end && k < job->cols; k++)
        memcpy(job->q + k * job->rows, pass->w + (job->cols - 1 - k) * job->rows, job->rows * sizeof(double));
    scale_group(job, job->q, column / job->options->group);
}

/* Fixes the column at position p: its values, codes and misses. */
static void fix_column(struct pass *pass, size_t p, double *misses) {
    struct compress_job *job = pass->job;
    size_t rows = job->rows, k = pass->order[p];
    const double *w = pass->w + p * rows, pivot = pass->m[p * job->cols + p];
    const double *steps = job->coding ? job->steps + k / job->options->group * rows : NULL;
    const uint8_t *mask = job->mask != NULL ? job->mask + k * rows : NULL;
    double *q = job->q + k * rows;
    for (size_t row = 0; row < rows; row++) {
        bool kept = mask == NULL || mask[row];
        if (steps != NULL) {
            double code = kept ? code_nearest(w[row], steps[row], job->low, job->high) : 0.0;
            job->codes[k * rows + row] = (int8_t)code;
            q[row] = code * steps[row];
        } else {
            q[row] = kept ? w[row] : 0.0;
        }
        misses[row] = (w[row] - q[row]) / pivot;
    }
}

static void work_block(struct pass *pass, size_t low, size_t high) {
    struct compress_job *job = pass->job;
    size_t rows = job->rows, n = job->cols;
    bool rescaling = job->coding && job->options->in_order && !job->choosing;
    if (job->choosing && job->options->of == 0)
        choose_by_density(pass, low, high);
    for (size_t p = high; p-- > low;) {
        double *misses = pass->misses + (p - low) * rows;
        if (rescaling && pass->order[p] % job->options->group == 0)
            rescale_group(pass, pass->order[p]);
        if (job->choosing && job->options->of != 0 && pass->order[p] % pass->unit == 0)
            choose_by_pattern(pass, p, p + 1 < pass->unit ? p + 1 : pass->unit);
        fix_column(pass, p, misses);
        for (size_t j = low; j < p; j++) {
            double factor = pass->m[p * n + j], *w = pass->w + j * rows;
            for (size_t row = 0; row < rows; row++)
                w[row] -= factor * misses[row];
        }
    }
    linalg_product(pass->w, rows, low, rows, high - low, -1.0, linalg_transposed(pass->m + low * n, n),
                   linalg_rows(pass->misses, rows));
}

/* Scales for a pass that takes columns in any order: searched on the weights given, and where the pass prunes as it
 * goes, on those that a first estimate of the mask keeps. */
static moesaic_status scale_beforehand(struct pass *pass, moesaic_error *error) {
    struct compress_job *job = pass->job;
    moesaic_status status = job->choosing ? prune_by_score(job, error) : MOESAIC_OK;
    if (status != MOESAIC_OK)
        return status;
    for (size_t group = 0; group < job->groups; group++)
        scale_group(job, job->w, group);
    return MOESAIC_OK;
}

static moesaic_status pass_allocate(struct pass *pass, moesaic_error *error) {
    const struct compress_job *job = pass->job;
    size_t rows = job->rows, n = job->cols, block = (size_t)JOB_BLOCK * rows;
    pass->order = malloc(n * sizeof *pass->order);
    pass->m = malloc(n * n * sizeof *pass->m);
    pass->w = malloc(n * rows * sizeof *pass->w);
    size_t misses = block > linalg_invert_scratch(n) ? block : linalg_invert_scratch(n);
    pass->misses = malloc(misses * sizeof *pass->misses);
    if (job->choosing) {
        pass->scores = malloc(block * sizeof *pass->scores);
        pass->kept = malloc(block);
        pass->drops = calloc((n + JOB_BLOCK - 1) / JOB_BLOCK, sizeof *pass->drops);
    }
    if (pass->order == NULL || pass->m == NULL || pass->w == NULL || pass->misses == NULL ||
        (job->choosing && (pass->scores == NULL || pass->kept == NULL || pass->drops == NULL)))
        return status_no_memory(error, "second-order pass", (n * n + n * rows) * sizeof(double));
    return MOESAIC_OK;
}

static void pass_free(struct pass *pass) {
    free(pass->order);
    free(pass->m);
    free(pass->w);
    free(pass->misses);
    free(pass->scores);
    free(pass->kept);
    free(pass->drops);
}

moesaic_status second_order_pass(struct compress_job *job, moesaic_error *error) {
    struct pass pass = {.job = job};
    pass.unit = job->choosing && job->options->of != 0 ? job->options->of : 1;
    moesaic_status status = pass_allocate(&pass, error);
    if (status == MOESAIC_OK)
        status = order_columns(&pass, error);
    if (status == MOESAIC_OK)
        status = factor_hessian(&pass, pass.misses, error);
    if (status == MOESAIC_OK && job->coding && (job->choosing || !job->options->in_order))
        status = scale_beforehand(&pass, error);
    if (status == MOESAIC_OK) {
        for (size_t p = 0; p < job->cols; p++)
            memcpy(pass.w + p * job->rows, job->w + pass.order[p] * job->rows, job->rows * sizeof(double));
        if (job->choosing && job->options->of == 0)
            share_drops(&pass);
        for (size_t high = job->cols; high > 0;) {
            size_t low = high > JOB_BLOCK ? high - JOB_BLOCK : 0;
            work_block(&pass, low, high);
            high = low;
        }
    }
    pass_free(&pass);
    return status;
}
