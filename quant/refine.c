/* SPDX-License-Identifier: Apache-2.0 */
/* Coordinate descent on what compression left: scales, then codes or kept weights, each set to its best value in turn.
 *
 * With D = W - Q and R = D (H + λI), the squared error of the outputs is the sum of D∘R, and a change of Q in direction z
 * by t lowers it by 2 t <z, R> - t² z H zᵀ: the best scale of a group and the best code of a weight are closed forms.
 * Nothing that would raise the error is done, so every round lowers it or ends the descent. */
#include <stdlib.h>
#include <string.h>

#include "compress_internal.h"

enum { REFINE_BLOCK = 64 };

struct refine {
    struct compress_job *job;
    size_t block;    /* columns worked before the rest of R hears of it: the group, or REFINE_BLOCK without codes */
    double *r;       /* [cols, rows] R, transposed */
    double *change;  /* [block, rows] what the block's weights moved */
    double *images;  /* [block, rows] H C of the group's codes C */
    double *codes;   /* [block, rows] C as doubles */
    double *best;    /* [rows] step of the row's new scale minus the old */
    bool moved;
};

/* R -= H change for the columns [begin, end) of R. */
static void spread(struct refine *refine, size_t begin, size_t end, size_t block_begin, size_t block_end) {
    const struct compress_job *job = refine->job;
    linalg_product(refine->r + begin * job->rows, job->rows, end - begin, job->rows, block_end - block_begin, -1.0,
                   linalg_rows(job->h + begin * job->cols + block_begin, job->cols),
                   linalg_rows(refine->change, job->rows));
}

static double row_dot(const double *a, const double *b, size_t count, size_t stride) {
    double sum = 0.0;
    for (size_t k = 0; k < count; k++)
        sum += a[k * stride] * b[k * stride];
    return sum;
}

/* Best scale of one row of the group for its codes, rounded to FP16; the change of the step, 0 when none helps. */
static double rescale_row(struct refine *refine, size_t begin, size_t count, size_t row) {
    struct compress_job *job = refine->job;
    size_t at = begin / job->options->group * job->rows + row;
    double slope = row_dot(refine->codes + row, refine->r + begin * job->rows + row, count, job->rows);
    double curve = row_dot(refine->codes + row, refine->images + row, count, job->rows), step;
    if (!(curve > 0.0))
        return 0.0;
    uint16_t bits = scale_round(job->steps[at] + slope / curve, job->factor, &step);
    double move = step - job->steps[at];
    if (!(2.0 * move * slope - move * move * curve > 0.0))
        return 0.0;
    job->scales[at] = bits;
    job->steps[at] = step;
    refine->moved = true;
    return move;
}

static void rescale_block(struct refine *refine, size_t begin, size_t count) {
    struct compress_job *job = refine->job;
    size_t rows = job->rows, n = job->cols;
    for (size_t i = 0; i < count * rows; i++)
        refine->codes[i] = job->codes[begin * rows + i];
    memset(refine->images, 0, count * rows * sizeof(double));
    linalg_product(refine->images, rows, count, rows, count, 1.0, linalg_rows(job->h + begin * n + begin, n),
                   linalg_rows(refine->codes, rows));
    for (size_t row = 0; row < rows; row++)
        refine->best[row] = rescale_row(refine, begin, count, row);
    for (size_t k = 0; k < count; k++) {
        double *r = refine->r + (begin + k) * rows, *change = refine->change + k * rows;
        for (size_t row = 0; row < rows; row++) {
            change[row] = refine->best[row] * refine->codes[k * rows + row];
            r[row] -= refine->best[row] * refine->images[k * rows + row];
        }
    }
}

/* Where the weight at i of column k should be, given R there: the change of its value. */
static double move_weight(struct refine *refine, size_t i, double curve, double step) {
    struct compress_job *job = refine->job;
    if (job->mask != NULL && !job->mask[i])
        return 0.0;
    if (job->codes == NULL)
        return refine->r[i] / curve;
    if (step == 0.0)
        return 0.0;
    double target = job->codes[i] + refine->r[i] / (curve * step);
    double code = target <= job->low ? job->low : target >= job->high ? job->high : round_even(target);
    double move = (code - job->codes[i]) * step;
    job->codes[i] = (int8_t)code;
    return move;
}

static void move_column(struct refine *refine, size_t k, size_t begin, size_t end) {
    struct compress_job *job = refine->job;
    size_t rows = job->rows;
    const double *steps = job->codes != NULL ? job->steps + k / job->options->group * rows : NULL;
    const double *h = job->h + k * job->cols;
    double *moves = refine->best;
    for (size_t row = 0; row < rows; row++) {
        moves[row] = move_weight(refine, k * rows + row, h[k], steps != NULL ? steps[row] : 0.0);
        refine->moved |= moves[row] != 0.0;
        refine->change[(k - begin) * rows + row] += moves[row];
    }
    for (size_t j = begin; j < end; j++) {
        double *r = refine->r + j * rows;
        for (size_t row = 0; row < rows; row++)
            r[row] -= h[j] * moves[row];
    }
}

static void refine_block(struct refine *refine, size_t begin, size_t end) {
    struct compress_job *job = refine->job;
    size_t rows = job->rows;
    memset(refine->change, 0, (end - begin) * rows * sizeof(double));
    if (job->codes != NULL)
        rescale_block(refine, begin, end - begin);
    for (size_t k = begin; k < end; k++)
        move_column(refine, k, begin, end);
    spread(refine, 0, begin, begin, end);
    spread(refine, end, job->cols, begin, end);
    for (size_t i = begin * rows; i < end * rows; i++) {
        if (job->codes != NULL)
            job->q[i] = job->codes[i] * job->steps[i / rows / job->options->group * rows + i % rows];
        else
            job->q[i] += refine->change[i - begin * rows];
    }
}

static moesaic_status refine_allocate(struct refine *refine, moesaic_error *error) {
    size_t rows = refine->job->rows, all = refine->job->cols * rows, block = refine->block * rows;
    refine->r = calloc(all, sizeof(double));
    refine->change = malloc(block * sizeof(double));
    refine->images = malloc(block * sizeof(double));
    refine->codes = malloc(block * sizeof(double));
    refine->best = malloc(rows * sizeof(double));
    if (refine->r == NULL || refine->change == NULL || refine->images == NULL || refine->codes == NULL ||
        refine->best == NULL)
        return status_no_memory(error, "refinement", (all + 3 * block + rows) * sizeof(double));
    return MOESAIC_OK;
}

static void refine_free(struct refine *refine) {
    free(refine->r);
    free(refine->change);
    free(refine->images);
    free(refine->codes);
    free(refine->best);
}

/* R = H (W - Q). */
static void residual_fill(struct refine *refine) {
    struct compress_job *job = refine->job;
    size_t rows = job->rows, n = job->cols;
    for (size_t i = 0; i < rows * n; i++)
        job->scratch[i] = job->w[i] - job->q[i];
    linalg_product(refine->r, rows, n, rows, n, 1.0, linalg_rows(job->h, n), linalg_rows(job->scratch, rows));
}

moesaic_status refine_matrix(struct compress_job *job, moesaic_error *error) {
    struct refine refine = {.job = job, .block = job->codes != NULL ? job->options->group : REFINE_BLOCK};
    moesaic_status status = refine_allocate(&refine, error);
    if (status == MOESAIC_OK) {
        residual_fill(&refine);
        refine.moved = true;
        for (unsigned round = 0; round < job->options->refine && refine.moved; round++) {
            refine.moved = false;
            for (size_t begin = 0; begin < job->cols; begin += refine.block)
                refine_block(&refine, begin, job->cols - begin < refine.block ? job->cols : begin + refine.block);
        }
    }
    refine_free(&refine);
    return status;
}
