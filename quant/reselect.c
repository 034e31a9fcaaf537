/* SPDX-License-Identifier: Apache-2.0 */
/* Second thoughts on a pruning mask: which weights stay is chosen again, one weight at a time, with all others in view.
 *
 * At its best value v = q + r / h a weight lowers the squared error by v² h against being zero. Coordinate descent with
 * this threshold solves the error with a price for each weight kept (hard thresholding); the price of each round is
 * what leaves as many weights as asked for. In an N:M pattern the best N of each M stay. */
#include <string.h>

#include "compress_internal.h"

enum { RESELECT_ROUNDS = 8, RESELECT_BLOCK = 64 };

/* What every weight at its best value is worth: v² h, [cols, rows]. */
static void worth_fill(const struct descent *descent, double *worth) {
    const struct compress_job *job = descent->job;
    for (size_t k = 0; k < job->cols; k++) {
        double curve = job->h[k * (job->cols + 1)];
        for (size_t i = k * job->rows; i < (k + 1) * job->rows; i++) {
            double v = job->q[i] + descent->r[i] / curve;
            worth[i] = v * v * curve;
        }
    }
}

/* The mask of the `drop` least worthy; returns the largest worth among them, the price of a weight. */
static double choose_by_worth(struct descent *descent, size_t drop, double *worth) {
    struct compress_job *job = descent->job;
    size_t count = job->rows * job->cols;
    double price = 0.0;
    worth_fill(descent, worth);
    memset(job->mask, 1, count);
    prune_smallest(worth, count, drop, job->mask);
    for (size_t i = 0; i < count; i++) {
        if (!job->mask[i] && worth[i] > price)
            price = worth[i];
    }
    return price;
}

/* Sets every weight of column k to its best value, or to zero where that is not worth the price. */
static void threshold_column(struct descent *descent, size_t k, double price) {
    const struct compress_job *job = descent->job;
    double curve = job->h[k * (job->cols + 1)];
    for (size_t row = 0; row < job->rows; row++) {
        size_t i = k * job->rows + row;
        double v = job->q[i] + descent->r[i] / curve;
        descent->moves[row] = v * v * curve > price ? descent->r[i] / curve : -job->q[i];
    }
    descent_move(descent, k);
}

/* Moves column k to zero where the mask drops it, or to its best value where the mask keeps it. */
static void follow_mask(struct descent *descent, size_t k, bool keeping) {
    const struct compress_job *job = descent->job;
    for (size_t row = 0; row < job->rows; row++) {
        size_t i = k * job->rows + row;
        descent->moves[row] = (job->mask[i] != 0) != keeping ? 0.0
                              : keeping                      ? descent->r[i] / job->h[k * (job->cols + 1)]
                                                             : -job->q[i];
    }
    descent_move(descent, k);
}

/* The best `keep` of the unit [k, k + count) in every row. */
static void reselect_unit(struct descent *descent, size_t k, unsigned count) {
    struct compress_job *job = descent->job;
    double worth[JOB_PATTERN_MAX];
    for (size_t row = 0; row < job->rows; row++) {
        for (unsigned u = 0; u < count; u++) {
            size_t i = (k + u) * job->rows + row;
            double curve = job->h[(k + u) * (job->cols + 1)], v = job->q[i] + descent->r[i] / curve;
            worth[u] = v * v * curve;
        }
        prune_pattern(worth, job->options->keep, count, job->mask + k * job->rows + row, job->rows);
    }
    for (unsigned u = 0; u < count; u++)
        follow_mask(descent, k + u, false);
    for (unsigned u = 0; u < count; u++)
        follow_mask(descent, k + u, true);
}

static void reselect_block(struct descent *descent, size_t begin, double price) {
    const struct compress_job *job = descent->job;
    unsigned unit = job->options->of != 0 ? job->options->of : 1;
    descent_open(descent, begin);
    for (size_t k = begin; k < descent->end; k += unit) {
        if (job->options->of == 0)
            threshold_column(descent, k, price);
        else
            reselect_unit(descent, k, job->cols - k < unit ? (unsigned)(job->cols - k) : unit);
    }
    descent_close(descent);
}

/* Makes the values agree with a mask of exactly the weights asked for. */
static void drop_unkept(struct compress_job *job) {
    for (size_t i = 0; i < job->rows * job->cols; i++)
        job->q[i] = job->mask[i] ? job->q[i] : 0.0;
}

moesaic_status reselect_mask(struct compress_job *job, moesaic_error *error) {
    size_t drop = (size_t)round_even((1.0 - job->options->density) * (double)(job->rows * job->cols));
    struct descent descent;
    moesaic_status status = descent_begin(&descent, job, RESELECT_BLOCK, error);
    for (int round = 0; status == MOESAIC_OK && round < RESELECT_ROUNDS; round++) {
        double price = job->options->of == 0 ? choose_by_worth(&descent, drop, job->scratch) : 0.0;
        for (size_t begin = 0; begin < job->cols; begin += RESELECT_BLOCK)
            reselect_block(&descent, begin, price);
    }
    if (status == MOESAIC_OK && job->options->of == 0)
        choose_by_worth(&descent, drop, job->scratch);
    if (status == MOESAIC_OK)
        drop_unkept(job);
    descent_end(&descent);
    return status;
}
