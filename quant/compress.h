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

/* ---- calibration statistics ------------------------------------------------------------------------------------- */

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

/* Adds the rows x[index ? index[t] : t] (row stride `stride` floats) for t < tokens with weights weights[t] (NULL: 1)
 * to the columns [band_begin, band_end) of the statistics, and to the rows of the Hessian's lower triangle with these
 * numbers. band_begin is a multiple of CALIB_BAND, band_end too or equal to cols. Threads may add disjoint bands of the
 * same rows at the same time; the call with band_begin == 0 also counts the tokens. About 400 KiB of stack, no heap.
 * The caller has checked that x is finite. */
void calib_add(struct calib_stats *stats, const float *x, size_t stride, const uint32_t *index, const float *weights,
               size_t tokens, size_t band_begin, size_t band_end);
/* The whole symmetric Hessian as out [cols, cols]; with no Hessian collected, its diagonal only. */
void calib_expand(const struct calib_stats *stats, double *out);

/* ---- one matrix: prune, quantize, refine ------------------------------------------------------------------------ */

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
    QUANT_GPTQ,  /* as CLIP, and the error of each column pushed into those not yet quantized (Frantar et al. 2023) */
    QUANT_AWQ    /* as CLIP, for a matrix whose scales the caller has folded into its neighbours (see AWQ below) */
} quant_method;

struct compress_options {
    prune_method prune;
    unsigned keep, of;      /* N:M: keep this many of each aligned `of` inputs (2:4, 4:8, ...); of == 0: by density */
    double density;         /* share of the weights that stays, in (0, 1]; read when of == 0 */
    const uint8_t *mask;    /* [rows, cols] 1 = kept, a mask from outside, which follows the pattern if one is given:
                             * `prune` chooses nothing then, but with PRUNE_SPARSEGPT what stays is updated; or NULL */
    quant_method quant;
    number_format format;   /* FORMAT_INT8, INT4, INT3 or INT2: the code */
    uint32_t group;         /* 32, 64 or 128 */
    bool in_order;          /* GPTQ and SparseGPT take the columns first to last, scales searched on updated weights;
                             * otherwise by falling diagonal of the Hessian ("act-order"), scales fixed before */
    double damping;         /* added to the Hessian's diagonal, times its mean; 0: the default of 0.01 */
    float factor; /* power of two over all scales, for parts of one matrix (compress_factor); 0: the matrix's own */
    unsigned refine;        /* most rounds of coordinate descent on scales and codes (or kept weights) afterwards; each
                             * step lowers the error. SparseGPT's mask is then chosen again too, with all weights in
                             * view, before codes are made under it. Needs the Hessian; 0: none, as in the papers */
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
    double damping; /* as used: more than asked for when the factorisation needed it, 0 when there was none */
};

/* The factor that fits a matrix whose largest absolute weight is `largest`. */
float compress_factor(float largest, number_format format);

/* Compresses w [rows, cols] for the inputs that `stats` describes. Order of work: mask, codes, refinement; SparseGPT
 * with GPTQ and without refinement is one pass that prunes and quantizes column by column. Deterministic; ties keep the
 * lower column. Scratch on the heap: about 3 cols² + 6 rows * cols doubles. MOESAIC_E_USAGE for options that do not go
 * together (named), MOESAIC_E_NONFINITE for weights or statistics that are not finite, MOESAIC_E_MEMORY. */
moesaic_status compress_matrix(const float *w, size_t rows, size_t cols, const struct calib_stats *stats,
                               const struct compress_options *options, struct compress_result *ret_result,
                               moesaic_error *error);
void compress_result_done(struct compress_result *result); /* frees what it owns; accepts a zeroed one */

/* tr(D H Dᵀ) of a difference d [rows, cols] of weights in the metric of `stats`; MOESAIC_E_MEMORY. */
moesaic_status calib_energy(const struct calib_stats *stats, const float *d, size_t rows, double *ret_energy,
                            moesaic_error *error);

/* ---- intermediate neurons of an expert -------------------------------------------------------------------------- */

typedef enum neuron_score {
    NEURON_WANDA,         /* ||down's column|| * ||its input||, all chosen at once (Wanda-sp) */
    NEURON_RECONSTRUCTION /* one by one, the neuron whose loss the others can make up for best (OBS: SlimGPT, OSSCAR) */
} neuron_score;

/* Neurons to keep of `neurons` for a share `density`: a multiple of 16 (the kernels' tile), at least 16, at most
 * all. */
size_t neuron_count(size_t neurons, double density);
/* Chooses `keep` neurons by the down matrix [rows, neurons] and the statistics of its inputs (with a Hessian), and
 * refits down by least squares (damped as in compress_options) so that the kept ones stand in for the dropped. ret_kept
 * [keep]: their indices, rising: the rows of gate and up to keep. ret_down [rows, keep]: down's new columns.
 * *ret_error: as in compress_result. MOESAIC_E_USAGE, MOESAIC_E_NONFINITE, MOESAIC_E_MEMORY. */
moesaic_status prune_neurons(const float *down, size_t rows, size_t neurons, const struct calib_stats *stats,
                             neuron_score score, size_t keep, double damping, uint32_t *ret_kept, float *ret_down,
                             double *ret_error, moesaic_error *error);

/* ---- whole experts ---------------------------------------------------------------------------------------------- */

/* What one expert did on the calibration text. */
struct expert_saliency {
    uint64_t tokens;
    double weight_sum;  /* of routing weights */
    double output_sum;  /* of routing weight * ||output of the expert|| */
};
typedef enum saliency_method {
    SALIENCY_FREQUENCY, /* tokens */
    SALIENCY_REAP,      /* mean over its tokens of routing weight * ||output|| (Lasby et al. 2025) */
    SALIENCY_RANDOM     /* a hash of seed, layer and expert: the yardstick */
} saliency_method;

/* Adds `tokens` rows of the expert's output [tokens, cols] (row stride `stride` floats, before the routing weight). */
void saliency_add(struct expert_saliency *saliency, const float *output, size_t stride, size_t cols,
                  const float *weights, size_t tokens);
double saliency_score(const struct expert_saliency *saliency, saliency_method method, uint64_t seed, uint32_t layer,
                      uint32_t expert);
/* ret_keep[e] = 1 for the `keep` experts of the largest scores, 0 for the others; ties keep the lower id. */
void saliency_keep(const double *scores, size_t experts, size_t keep, uint8_t *ret_keep);

/* ---- recovery: a target that makes up for what came before ------------------------------------------------------- */

/* How something the model computes (x, of `rows` channels) has drifted from what the uncompressed model has there (f)
 * at the same tokens, as far as the inputs y of a matrix know of it: with z and v the weighted floats of f - x and y,
 * the sum of z vᵀ, in the same order of terms as the Hessian. For the drift of the matrix's own inputs y is x. */
struct calib_drift {
    size_t rows, cols;
    double *moment; /* [rows, cols] */
};
/* MOESAIC_E_USAGE as calib_stats_create, MOESAIC_E_MEMORY. */
moesaic_status calib_drift_create(size_t rows, size_t cols, struct calib_drift **ret_drift, moesaic_error *error);
void calib_drift_destroy(struct calib_drift *drift); /* accepts NULL */
/* The rows of what is observed, each with its stride in floats. */
struct drift_rows {
    const float *full, *x, *y; /* x NULL: zeros */
    size_t full_stride, x_stride, y_stride;
    const float *weights; /* NULL: 1 */
    size_t count;
};
/* Adds them to the rows [band_begin, band_end) of the moment. Threads may add disjoint bands at the same time. About
 * 600 KiB of stack. */
void calib_drift_add(struct calib_drift *drift, const struct drift_rows *rows, size_t band_begin, size_t band_end);
/* The matrix that, given the drifted inputs, comes nearest to what w [rows, cols] made of the full model's, and makes
 * up for what is missing beside its output: ret_w = w + (w D + R) (H + λI)^-1 with D the moment of the inputs' drift
 * [cols, cols], R that of the residual [rows, cols] to which the output is added (NULL: none), and λ the damping (0:
 * the default) times the mean of H's diagonal. Compress ret_w in place of w. ret_w may be w. A copy of w when no token
 * came. MOESAIC_E_USAGE, MOESAIC_E_NONFINITE, MOESAIC_E_MEMORY. */
moesaic_status recover_target(const float *w, size_t rows, size_t cols, const struct calib_stats *stats,
                              const struct calib_drift *drift, const struct calib_drift *residual, double damping,
                              float *ret_w, moesaic_error *error);

/* ---- low-rank compensation -------------------------------------------------------------------------------------- */

/* left [rows, rank] times right [rank, cols], the best such term for the error W - values in the metric of the inputs
 * (EoRA, LQER): with E = W - values and U the top eigenvectors of E H Eᵀ, left right = U Uᵀ E. Both factors are
 * BF16 numbers. */
struct lowrank {
    size_t rows, cols, rank;
    float *left, *right;
    double error;   /* relative, as in compress_result, with the term added */
};
/* MOESAIC_E_USAGE when rank is 0 or above the smaller side or `stats` has no Hessian, MOESAIC_E_NONFINITE,
 * MOESAIC_E_MEMORY. */
moesaic_status lowrank_fit(const float *w, const float *values, size_t rows, size_t cols,
                           const struct calib_stats *stats, size_t rank, struct lowrank *ret_term,
                           moesaic_error *error);
void lowrank_done(struct lowrank *term); /* accepts a zeroed one */

/* ---- AWQ: scales folded into neighbours -------------------------------------------------------------------------- */

/* Multiplying the inputs of a matrix by 1/s and its columns by s changes nothing but the rounding. Where the factor 1/s
 * can go without cost:
 *  - inputs of down: into the rows of up (out = down (silu(gate x) * up x)): each expert on its own.
 *  - inputs of gate and up: into the weight of the norm before them. That norm feeds the router, the shared expert and
 *    every expert of the layer, so one s serves the layer, and all their columns are multiplied by it.
 *  - nothing else: a per-expert scale of the gate/up inputs has no neighbour of its own to fold into. */

/* The candidate scales for an exponent alpha: (root mean square of each channel)^alpha, centred so that the largest
 * times the smallest is 1; 1 for channels that never fire (Lin et al. 2024, with the root mean square for the mean
 * magnitude). AWQ_CANDIDATES exponents 0, 1/16, ... 1 are the grid; candidate 0 is all ones. */
enum { AWQ_CANDIDATES = 17 };
void awq_scales(const struct calib_stats *inputs, unsigned candidate, float *ret_scales);
/* Squared output error tr(D H Dᵀ) of RTN at this format and group when the columns of w are scaled by `scales` first,
 * on at most AWQ_ROWS evenly spaced rows, times rows / rows measured. The caller adds up a layer's matrices and takes
 * the candidate of the smallest sum (ties: the lower candidate). MOESAIC_E_USAGE, MOESAIC_E_MEMORY. */
enum { AWQ_ROWS = 64 };
moesaic_status awq_error(const float *w, size_t rows, size_t cols, const struct calib_stats *stats,
                         number_format format, uint32_t group, const float *scales, double *ret_error,
                         moesaic_error *error);
/* w[r, k] *= scales[k], and w[r, k] /= scales[r]. */
void awq_fold_columns(float *w, size_t rows, size_t cols, const float *scales);
void awq_fold_rows(float *w, size_t rows, size_t cols, const float *scales);

/* ---- budget ----------------------------------------------------------------------------------------------------- */

/* One way to store an item (an expert, a matrix) and what it costs. */
struct budget_option {
    uint64_t bytes;
    double error;   /* in one unit for all items: the caller weights by routing */
};
struct budget_item {
    const struct budget_option *options;
    size_t count;   /* 1 .. 255 */
};
struct budget_outcome {
    uint64_t bytes;
    double error;
    double bound;   /* no choice within the limit has a smaller error; equal to `error` when the choice is exact */
};
/* ret_choice[i]: the option of each item, with the smallest sum of errors among sums of bytes up to `limit`: exact by
 * dynamic programming where its table stays under 64 MiB (bytes counted in their common divisor), otherwise the
 * Lagrangian relaxation filled up greedily, with the relaxation's value as bound. Ties take fewer bytes, then the lower
 * option. MOESAIC_E_USAGE when even the smallest options do not fit (the message says how many bytes they take) or an
 * error is negative or not finite, MOESAIC_E_MEMORY. */
moesaic_status budget_solve(const struct budget_item *items, size_t count, uint64_t limit, uint8_t *ret_choice,
                            struct budget_outcome *ret_outcome, moesaic_error *error);

#endif
