/* SPDX-License-Identifier: Apache-2.0 */
/* Second door of layer 1: statistics of what reaches a matrix, and the methods that prune and quantize it by them.
 *
 * Everything here is a pure function of its arguments: no files, no threads, no clock, no random numbers. One call runs
 * on the calling thread; calls on different matrices may run at the same time. Arithmetic is F64 in a fixed order (see
 * linalg_internal.h), so that codes and masks do not depend on the machine, its instruction set or its threads.
 * A matrix W is [rows, cols] = [out features, in features], row-major F32, as the model multiplies it: y = W x. */
#ifndef COMPRESS_H
#define COMPRESS_H

#include "quant.h"

/* ---- calibration statistics --------------------------------------------------------------------------------------- */

/* What is known of the inputs of one matrix: sums over the rows x that reached it, each scaled by its weight w (the
 * routing weight of the token for this expert, or 1): y = (float)(w * x), squares = sum of y², Hessian = sum of y yᵀ.
 * The product of two floats is exact in F64 and every sum runs over the rows in the order given, one row after the
 * other, so that the bits depend on the rows and their order only. */
struct calib_stats {
    size_t cols;
    uint64_t tokens;      /* rows added */
    double weight_sum;    /* sum of w */
    double *squares;      /* [cols] */
    double *hessian;      /* lower triangle in bands of CALIB_BAND rows, see calib_expand; NULL when not collected */
};
enum { CALIB_BAND = 64 };

/* Heap bytes of one calib_stats: about 4 cols² with a Hessian, 8 cols without. */
uint64_t calib_stats_bytes(size_t cols, bool with_hessian);
/* MOESAIC_E_USAGE when cols is 0 or above 2^17, MOESAIC_E_MEMORY. */
moesaic_status calib_stats_create(size_t cols, bool with_hessian, struct calib_stats **ret_stats, moesaic_error *error);
void calib_stats_destroy(struct calib_stats *stats); /* accepts NULL */

/* Adds the rows x[index ? index[t] : t] (row stride `stride` floats) for t < tokens with weights weights[t] (NULL: 1) to
 * the columns [band_begin, band_end) of the statistics, and to the rows of the Hessian's lower triangle with these
 * numbers. band_begin is a multiple of CALIB_BAND, band_end too or equal to cols. Threads may add disjoint bands of the
 * same rows at the same time; the call with band_begin == 0 also counts the tokens. About 400 KiB of stack, no heap.
 * The caller has checked that x is finite. */
void calib_add(struct calib_stats *stats, const float *x, size_t stride, const uint32_t *index, const float *weights,
               size_t tokens, size_t band_begin, size_t band_end);
/* Adds `tokens` average rows of `prior` to the sums of `stats` (not to its counts): the fallback for experts that few
 * tokens reach, and a mild prior for all others. Nothing happens when prior has no tokens. Same cols; where stats has a
 * Hessian, prior has one. */
void calib_blend(struct calib_stats *stats, const struct calib_stats *prior, double tokens);
/* The whole symmetric Hessian as out [cols, cols]; with no Hessian collected, its diagonal only. */
void calib_expand(const struct calib_stats *stats, double *out);

/* ---- one matrix: prune, quantize, refine --------------------------------------------------------------------------- */

typedef enum prune_method {
    PRUNE_NONE,
    PRUNE_MAGNITUDE,  /* |w|, over the whole matrix */
    PRUNE_WANDA,      /* |w| * ||x||, within each row (Sun et al. 2024) */
    PRUNE_SPARSEGPT   /* w² / [H^-1], with the update of what stays (Frantar & Alistarh 2023); needs the Hessian */
} prune_method;

typedef enum quant_method {
    QUANT_NONE,
    QUANT_RTN,   /* scale = max|w| / largest code, nearest code */
    QUANT_CLIP,  /* the scale of each group searched for the smallest squared error weighted by the inputs' squares */
    QUANT_GPTQ   /* as CLIP, and the error of each column pushed into those not yet quantized (Frantar et al. 2023) */
} quant_method;

struct compress_options {
    prune_method prune;
    unsigned keep, of;      /* N:M: keep this many of each aligned `of` inputs (2:4, 4:8, ...); of == 0: by density */
    double density;         /* share of the weights that stays, in (0, 1]; read when of == 0 */
    const uint8_t *mask;    /* [rows, cols] 1 = kept, a mask from outside: `prune` chooses nothing then, but with
                             * PRUNE_SPARSEGPT what stays is updated; NULL otherwise */
    quant_method quant;
    number_format format;   /* FORMAT_INT8, INT4, INT3 or INT2: the code */
    uint32_t group;         /* 32, 64 or 128 */
    bool in_order;          /* GPTQ and SparseGPT take the columns first to last, scales searched on updated weights;
                             * otherwise by falling diagonal of the Hessian ("act-order"), scales fixed before */
    double damping;         /* added to the Hessian's diagonal, times its mean; 0: the default of 0.01 */
    unsigned refine;        /* most rounds of coordinate descent on scales and codes (or kept weights) afterwards; each
                             * step lowers the error; needs the Hessian; 0: none */
};

struct compress_result {
    struct quant_rows *codes;  /* NULL with QUANT_NONE. INT4 pruned 2:4, 4:8 or by density takes the sparse format */
    float *values;             /* [rows, cols] the weights as they will be read: code * scale * factor, pruned 0 */
    uint8_t *mask;             /* [rows, cols], NULL when nothing was pruned */
    double density;            /* share kept */
    double error;              /* tr(D H Dᵀ) / tr(W H Wᵀ), D = W - values: squared error of the outputs on the
                                * calibration inputs over their energy; with no Hessian its diagonal stands for it, with
                                * no tokens the identity */
    double energy;             /* tr(W H Wᵀ): error * energy adds up over matrices */
    double damping;            /* as used: more than asked for when the factorisation needed it, 0 when there was none */
};

/* Compresses w [rows, cols] for the inputs that `stats` describes. Order of work: mask (or the joint pass that prunes
 * and quantizes column by column), codes, refinement. Deterministic; ties keep the lower column. Scratch on the heap:
 * about 3 cols² + 6 rows * cols doubles. MOESAIC_E_USAGE for options that do not go together (named), MOESAIC_E_NONFINITE
 * for weights or statistics that are not finite, MOESAIC_E_MEMORY. */
moesaic_status compress_matrix(const float *w, size_t rows, size_t cols, const struct calib_stats *stats,
                               const struct compress_options *options, struct compress_result *ret_result,
                               moesaic_error *error);
void compress_result_done(struct compress_result *result); /* frees what it owns; accepts a zeroed one */

#endif
