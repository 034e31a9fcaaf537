/* SPDX-License-Identifier: Apache-2.0 */
/* Which weights stay: by magnitude or by Wanda's score, at a density or in an N:M pattern. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compress_internal.h"

void prune_pattern(const double *scores, unsigned keep, unsigned of, uint8_t *mask, size_t stride) {
    for (unsigned i = 0; i < of; i++) {
        unsigned better = 0;
        for (unsigned j = 0; j < of; j++)
            better += scores[j] > scores[i] || (scores[j] == scores[i] && j < i);
        mask[i * stride] = better < keep;
    }
}

/* Non-negative doubles order like their bits. */
static uint64_t score_bits(double score) {
    union {
        double d;
        uint64_t u;
    } pun = {.d = score};
    return pun.u;
}

/* The bits of the score with `rank` others before it in rising order, a byte at a time from the top, among the scores
 * that agree so far. *ret_ties: how many of the scores equal to it are among the first rank + 1. */
static uint64_t select_score(const double *scores, size_t count, size_t rank, size_t *ret_ties) {
    uint64_t prefix = 0;
    for (int shift = 56; shift >= 0; shift -= 8) {
        size_t histogram[256] = {0}, digit = 0;
        for (size_t i = 0; i < count; i++) {
            uint64_t bits = score_bits(scores[i]);
            if ((bits ^ prefix) >> shift <= 0xff)
                histogram[bits >> shift & 0xff]++;
        }
        for (; rank >= histogram[digit]; digit++)
            rank -= histogram[digit];
        prefix |= (uint64_t)digit << shift;
    }
    *ret_ties = rank + 1;
    return prefix;
}

void prune_smallest(const double *scores, size_t count, size_t drop, uint8_t *mask) {
    size_t ties = 0;
    if (drop == 0)
        return;
    uint64_t threshold = select_score(scores, count, drop - 1, &ties);
    for (size_t i = count; i-- > 0;) {
        uint64_t bits = score_bits(scores[i]);
        if (bits < threshold)
            mask[i] = 0;
        else if (bits == threshold && ties > 0) {
            mask[i] = 0;
            ties--;
        }
    }
}

/* Score of one weight. The square of |w| * ||x|| orders like it. */
static double weight_score(const struct compress_job *job, size_t k, size_t row) {
    double w = job->w[k * job->rows + row];
    return job->options->prune == PRUNE_MAGNITUDE ? fabs(w) : w * w * job->h[k * job->cols + k];
}

/* Rows whose mask is chosen together lie one after the other in row order, so that ties keep the lower row and
 * column. */
static void scores_of_rows(const struct compress_job *job, size_t row_begin, size_t row_end, double *scores) {
    for (size_t row = row_begin; row < row_end; row++) {
        for (size_t k = 0; k < job->cols; k++)
            *scores++ = weight_score(job, k, row);
    }
}

static void mask_by_pattern(struct compress_job *job) {
    unsigned of = job->options->of;
    double scores[JOB_PATTERN_MAX];
    for (size_t row = 0; row < job->rows; row++) {
        for (size_t k = 0; k < job->cols; k += of) {
            unsigned part = job->cols - k < of ? (unsigned)(job->cols - k) : of;
            for (unsigned i = 0; i < part; i++)
                scores[i] = weight_score(job, k + i, row);
            prune_pattern(scores, job->options->keep, part, job->mask + k * job->rows + row, job->rows);
        }
    }
}

static moesaic_status mask_by_density(struct compress_job *job, moesaic_error *error) {
    size_t rows_together = job->options->prune == PRUNE_MAGNITUDE ? job->rows : 1, count = rows_together * job->cols;
    size_t drop = (size_t)round_even((1.0 - job->options->density) * (double)count);
    double *scores = malloc(count * sizeof *scores);
    uint8_t *kept = malloc(count);
    if (scores == NULL || kept == NULL) {
        free(scores);
        free(kept);
        return status_no_memory(error, "pruning scores", count * sizeof *scores);
    }
    for (size_t row = 0; row < job->rows; row += rows_together) {
        scores_of_rows(job, row, row + rows_together, scores);
        memset(kept, 1, count);
        prune_smallest(scores, count, drop, kept);
        for (size_t i = 0; i < count; i++)
            job->mask[i % job->cols * job->rows + row + i / job->cols] = kept[i];
    }
    free(scores);
    free(kept);
    return MOESAIC_OK;
}

moesaic_status prune_by_score(struct compress_job *job, moesaic_error *error) {
    if (job->options->of == 0)
        return mask_by_density(job, error);
    mask_by_pattern(job);
    return MOESAIC_OK;
}
