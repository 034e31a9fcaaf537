/* SPDX-License-Identifier: Apache-2.0 */
/* What the steps of compress_matrix share: one matrix at work, its columns contiguous. */
#ifndef COMPRESS_INTERNAL_H
#define COMPRESS_INTERNAL_H

#include "compress.h"
#include "linalg_internal.h"

enum {
    JOB_BLOCK = 128,       /* columns of the second-order pass between two updates of the rest, as in SparseGPT */
    JOB_PATTERN_MAX = 32,  /* longest N:M pattern */
    JOB_GROUP_MAX = 128
};

#define DEFAULT_DAMPING 0.01

/* One matrix at work. Weights, masks and codes are [cols, rows]: the methods go column by column over all rows. */
struct compress_job {
    size_t rows, cols;
    const struct compress_options *options;
    double *w;         /* [cols, rows] the weights given */
    double *q;         /* [cols, rows] the weights as they stand */
    double *scratch;   /* [cols, rows] free for the length of a call */
    uint8_t *mask;     /* [cols, rows] 1 = kept; NULL when nothing is pruned */
    bool choosing;     /* the second-order pass chooses the mask */
    bool coding;       /* the pass, or the refinement, works on codes rather than plain weights */
    int8_t *codes;     /* [cols, rows]; NULL with QUANT_NONE, like all below */
    size_t groups;
    uint16_t *scales;  /* [groups, rows] FP16 bits */
    double *steps;     /* [groups, rows] scale * factor */
    double factor;     /* power of two */
    int low, high;     /* range of the codes */
    double *h;         /* [cols, cols] Hessian; only its diagonal when have_hessian is false */
    bool have_hessian;
    double lambda;     /* what the damping adds to the diagonal */
    double damping;    /* lambda over the mean of the diagonal */
};

/* Nearest integer, ties to even, for |x| < 2^51: the sum leaves no bits for a fraction. */
static inline double round_even(double x) {
    const double shift = 6755399441055744.0; /* 1.5 * 2^52 */
    return (x + shift) - shift;
}
/* The code whose value is nearest to w. step == 0 codes everything as 0. Written without branches, for vectors. */
static inline double code_nearest(double w, double step, int low, int high) {
    double code = step != 0.0 ? w / step : 0.0;
    code = code < low ? low : code;
    code = code > high ? high : code;
    return round_even(code);
}

/* Scales (rtn.c): the power of two that brings the largest scale near the middle of FP16's range. */
double scale_factor(const float *w, size_t count, number_format format);
/* FP16 bits of a scale, saturated to the largest finite value, and the step they stand for. */
uint16_t scale_round(double scale, double factor, double *ret_step);
/* Finds scales of one group for every row from the columns [begin, end) of `weights` [cols, rows], where the job's mask
 * (if any) keeps them. By search, or max|w| / high with QUANT_RTN. */
void scale_group(struct compress_job *job, const double *weights, size_t group);
/* Nearest codes of the weights as they stand, with the job's scales; pruned weights 0. */
void rtn_codes(struct compress_job *job);

/* Masks (prune.c). Keeps keep of each `of` consecutive scores: clears mask[i * stride] of the smallest; ties keep the
 * lower index. `of` <= JOB_PATTERN_MAX. */
void prune_pattern(const double *scores, unsigned keep, unsigned of, uint8_t *mask, size_t stride);
/* Clears the mask of the `drop` smallest of `count` scores (none negative), ties keep the lower index; drop <=
 * count. */
void prune_smallest(const double *scores, size_t count, size_t drop, uint8_t *mask);
/* Fills the job's mask by magnitude or by Wanda's score; for SparseGPT by w² h, as a first estimate for the scales. */
moesaic_status prune_by_score(struct compress_job *job, moesaic_error *error);

/* GPTQ (job->coding), SparseGPT (job->choosing), both in one pass, or with neither the update of a given mask
 * (gptq.c). */
moesaic_status second_order_pass(struct compress_job *job, moesaic_error *error);
/* sum over rows of d H dᵀ for d [n, rows] and h [n, n] (compress.c). */
moesaic_status hessian_energy(const double *h, size_t n, const double *d, size_t rows, double *ret_energy,
                              moesaic_error *error);
/* The gradient of coordinate descent: R = (W - Q) H, transposed like all the job's matrices. Work goes by blocks of
 * columns: within the open block every move is seen at once, the rest of R hears of it when the block is closed. The
 * job's h carries the damping on its diagonal. */
struct descent {
    struct compress_job *job;
    size_t block;       /* most columns of a block */
    size_t begin, end;  /* the open block */
    double *r;          /* [cols, rows] */
    double *change;     /* [block, rows] what the block's weights moved in all */
    double *moves;      /* [rows] what a column is about to move */
    bool moved;         /* set by any move */
};
moesaic_status descent_begin(struct descent *descent, struct compress_job *job, size_t block, moesaic_error *error);
void descent_end(struct descent *descent); /* accepts what a failed begin left */
void descent_open(struct descent *descent, size_t begin);
void descent_move(struct descent *descent, size_t k); /* q of column k += moves */
void descent_close(struct descent *descent);

/* Coordinate descent on scales and codes, or on kept weights (refine.c). */
moesaic_status refine_matrix(struct compress_job *job, moesaic_error *error);
/* Coordinate descent on the mask itself and the kept weights (reselect.c). */
moesaic_status reselect_mask(struct compress_job *job, moesaic_error *error);

#endif
