/* SPDX-License-Identifier: Apache-2.0 */
/* Coordinate descent on what compression left: scales, then codes or kept weights, each set to its best value in turn.
 *
 * A change of Q in direction z by t lowers the squared error by 2 t <z, R> - t² z H zᵀ (see struct descent): the best
 * scale of a group and the best code of a weight are closed forms. Nothing that would raise the error is done, so every
 * round lowers it or ends the descent. */
#include <stdlib.h>
#include <string.h>

#include "compress_internal.h"

enum { REFINE_BLOCK = 64 };

struct refine {
    struct descent descent;
    double *images;  /* [group, rows] H C of a group's codes C */
    double *codes;   /* [group, rows] C as doubles */
    double *turns;   /* [rows] each row's new step minus the old */
};

static double strided_dot(const double *a, const double *b, size_t count, size_t stride) {
    double sum = 0.0;
    for (size_t k = 0; k < count; k++)
        sum += a[k * stride] * b[k * stride];
    return sum;
}

/* Best scale of one row of the open group for its codes, rounded to FP16; the change of the step, 0 when none helps. */
static double rescale_row(struct refine *refine, size_t row) {
    const struct descent *descent = &refine->descent;
    struct compress_job *job = descent->job;
    size_t count = descent->end - descent->begin, at = descent->begin / job->options->group * job->rows + row;
    double slope = strided_dot(refine->codes + row, descent->r + descent->begin * job->rows + row, count, job->rows);
    double curve = strided_dot(refine->codes + row, refine->images + row, count, job->rows), step;
    if (!(curve > 0.0))
        return 0.0;
    uint16_t bits = scale_round(job->steps[at] + slope / curve, job->factor, &step);
    double turn = step - job->steps[at];
    if (!(2.0 * turn * slope - turn * turn * curve > 0.0))
        return 0.0;
    job->scales[at] = bits;
    job->steps[at] = step;
    return turn;
}

static void rescale_block(struct refine *refine) {
    struct descent *descent = &refine->descent;
    struct compress_job *job = descent->job;
    size_t rows = job->rows, n = job->cols, begin = descent->begin, count = descent->end - begin;
    for (size_t i = 0; i < count * rows; i++)
        refine->codes[i] = job->codes[begin * rows + i];
    memset(refine->images, 0, count * rows * sizeof(double));
    linalg_product(refine->images, rows, count, rows, count, 1.0, linalg_rows(job->h + begin * n + begin, n),
                   linalg_rows(refine->codes, rows));
    for (size_t row = 0; row < rows; row++) {
        refine->turns[row] = rescale_row(refine, row);
        descent->moved |= refine->turns[row] != 0.0;
    }
    for (size_t k = 0; k < count; k++) {
        double *r = descent->r + (begin + k) * rows, *change = descent->change + k * rows;
        for (size_t row = 0; row < rows; row++) {
            change[row] = refine->turns[row] * refine->codes[k * rows + row];
            r[row] -= refine->turns[row] * refine->images[k * rows + row];
        }
    }
}

/* How far the weight at i should move, given R there and the curvature of its column. */
static double best_move(struct descent *descent, size_t i, double curve, double step) {
    struct compress_job *job = descent->job;
    if (job->mask != NULL && !job->mask[i])
        return 0.0;
    if (!job->coding)
        return descent->r[i] / curve;
    if (step == 0.0)
        return 0.0;
    double target = job->codes[i] + descent->r[i] / (curve * step);
    double code = target <= job->low ? job->low : target >= job->high ? job->high : round_even(target);
    double move = (code - job->codes[i]) * step;
    job->codes[i] = (int8_t)code;
    return move;
}

static void refine_column(struct descent *descent, size_t k) {
    struct compress_job *job = descent->job;
    const double *steps = job->coding ? job->steps + k / job->options->group * job->rows : NULL;
    double curve = job->h[k * job->cols + k];
    for (size_t row = 0; row < job->rows; row++)
        descent->moves[row] = best_move(descent, k * job->rows + row, curve, steps != NULL ? steps[row] : 0.0);
    descent_move(descent, k);
}

/* Values are codes times steps, whatever the moves added up to. */
static void settle_block(const struct descent *descent) {
    struct compress_job *job = descent->job;
    size_t rows = job->rows;
    for (size_t k = descent->begin; k < descent->end; k++) {
        const double *steps = job->steps + k / job->options->group * rows;
        for (size_t row = 0; row < rows; row++)
            job->q[k * rows + row] = job->codes[k * rows + row] * steps[row];
    }
}

static void refine_round(struct refine *refine) {
    struct descent *descent = &refine->descent;
    for (size_t begin = 0; begin < descent->job->cols; begin += descent->block) {
        descent_open(descent, begin);
        if (descent->job->coding)
            rescale_block(refine);
        for (size_t k = begin; k < descent->end; k++)
            refine_column(descent, k);
        descent_close(descent);
        if (descent->job->coding)
            settle_block(descent);
    }
}

moesaic_status refine_matrix(struct compress_job *job, moesaic_error *error) {
    size_t block = job->coding ? job->options->group : REFINE_BLOCK, numbers = (2 * block + 1) * job->rows;
    struct refine refine = {.images = malloc(numbers * sizeof(double))};
    if (refine.images == NULL)
        return status_no_memory(error, "refinement", numbers * sizeof(double));
    refine.codes = refine.images + block * job->rows;
    refine.turns = refine.codes + block * job->rows;
    moesaic_status status = descent_begin(&refine.descent, job, block, error);
    if (status == MOESAIC_OK) {
        refine.descent.moved = true;
        for (unsigned round = 0; round < job->options->refine && refine.descent.moved; round++) {
            refine.descent.moved = false;
            refine_round(&refine);
        }
    }
    descent_end(&refine.descent);
    free(refine.images);
    return status;
}
