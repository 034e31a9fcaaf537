/* SPDX-License-Identifier: Apache-2.0 */
/* The gradient that coordinate descent walks on, kept up to date block by block. */
#include <stdlib.h>
#include <string.h>

#include "compress_internal.h"

moesaic_status descent_begin(struct descent *descent, struct compress_job *job, size_t block, moesaic_error *error) {
    size_t rows = job->rows, n = job->cols, numbers = n * rows + (block + 1) * rows;
    *descent = (struct descent){.job = job, .block = block};
    descent->r = calloc(numbers, sizeof(double));
    if (descent->r == NULL)
        return status_no_memory(error, "coordinate descent", numbers * sizeof(double));
    descent->change = descent->r + n * rows;
    descent->moves = descent->change + block * rows;
    for (size_t i = 0; i < rows * n; i++)
        job->scratch[i] = job->w[i] - job->q[i];
    linalg_product(descent->r, rows, n, rows, n, 1.0, linalg_rows(job->h, n), linalg_rows(job->scratch, rows));
    return MOESAIC_OK;
}

void descent_end(struct descent *descent) {
    free(descent->r);
    *descent = (struct descent){0};
}

void descent_open(struct descent *descent, size_t begin) {
    size_t n = descent->job->cols;
    descent->begin = begin;
    descent->end = n - begin < descent->block ? n : begin + descent->block;
    memset(descent->change, 0, (descent->end - begin) * descent->job->rows * sizeof(double));
}

void descent_move(struct descent *descent, size_t k) {
    struct compress_job *job = descent->job;
    size_t rows = job->rows;
    const double *h = job->h + k * job->cols, *moves = descent->moves;
    double *change = descent->change + (k - descent->begin) * rows, *q = job->q + k * rows;
    for (size_t row = 0; row < rows; row++) {
        descent->moved |= moves[row] != 0.0;
        change[row] += moves[row];
        q[row] += moves[row];
    }
    for (size_t j = descent->begin; j < descent->end; j++) {
        double *r = descent->r + j * rows;
        for (size_t row = 0; row < rows; row++)
            r[row] -= h[j] * moves[row];
    }
}

/* R -= H change for the columns [begin, end). */
static void spread(struct descent *descent, size_t begin, size_t end) {
    const struct compress_job *job = descent->job;
    linalg_product(descent->r + begin * job->rows, job->rows, end - begin, job->rows, descent->end - descent->begin,
                   -1.0, linalg_rows(job->h + begin * job->cols + descent->begin, job->cols),
                   linalg_rows(descent->change, job->rows));
}

void descent_close(struct descent *descent) {
    spread(descent, 0, descent->begin);
    spread(descent, descent->end, descent->job->cols);
}
