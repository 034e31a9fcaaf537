/* SPDX-License-Identifier: Apache-2.0 */
/* Recovery in closed form: the weights that undo, as far as a matrix can, the drift of what comes before it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compress_internal.h"

enum { DRIFT_COLS_MAX = 1 << 17, DRIFT_TOKENS = 64, DRIFT_COLS = 512, DAMPING_TRIES = 4 };

moesaic_status calib_drift_create(size_t rows, size_t cols, struct calib_drift **ret_drift, moesaic_error *error) {
    if (rows == 0 || rows > DRIFT_COLS_MAX || cols == 0 || cols > DRIFT_COLS_MAX)
        return status_set(error, MOESAIC_E_USAGE, "recovery: %zu by %zu channels, expected 1 to %d", rows, cols,
                          DRIFT_COLS_MAX);
    struct calib_drift *drift = calloc(1, sizeof *drift);
    double *moment = calloc(rows * cols, sizeof *moment);
    if (drift == NULL || moment == NULL) {
        free(drift);
        free(moment);
        return status_no_memory(error, "drift of a matrix's inputs", rows * cols * sizeof *moment);
    }
    *drift = (struct calib_drift){rows, cols, moment};
    *ret_drift = drift;
    return MOESAIC_OK;
}

void calib_drift_destroy(struct calib_drift *drift) {
    if (drift == NULL)
        return;
    free(drift->moment);
    free(drift);
}

/* out[t * cols + j] = channel begin + j of the weighted row first + t, of the drift or of y, rounded to float first. */
static void convert(const struct drift_rows *rows, size_t first, size_t count, bool drifts, size_t begin, size_t cols,
                    double *out) {
    const float *from = drifts ? rows->full : rows->y;
    size_t stride = drifts ? rows->full_stride : rows->y_stride;
    for (size_t t = 0; t < count; t++) {
        const float *a = from + (first + t) * stride + begin;
        const float *b = drifts && rows->x != NULL ? rows->x + (first + t) * rows->x_stride + begin : NULL;
        float weight = rows->weights != NULL ? rows->weights[first + t] : 1.0f;
        for (size_t j = 0; j < cols; j++) {
            float scaled = weight * (b != NULL ? a[j] - b[j] : a[j]);
            out[t * cols + j] = scaled;
        }
    }
}

static void add_rows(struct calib_drift *drift, const struct drift_rows *rows, size_t first, size_t count, size_t begin,
                     size_t end) {
    double left[DRIFT_TOKENS * CALIB_BAND], right[DRIFT_TOKENS * DRIFT_COLS];
    for (size_t j = 0; j < drift->cols; j += DRIFT_COLS) {
        size_t wide = drift->cols - j < DRIFT_COLS ? drift->cols - j : DRIFT_COLS;
        convert(rows, first, count, false, j, wide, right);
        for (size_t i = begin; i < end; i += CALIB_BAND) {
            size_t high = end - i < CALIB_BAND ? end - i : CALIB_BAND;
            convert(rows, first, count, true, i, high, left);
            linalg_product(drift->moment + i * drift->cols + j, drift->cols, high, wide, count, 1.0,
                           linalg_transposed(left, high), linalg_rows(right, wide));
        }
    }
}

void calib_drift_add(struct calib_drift *drift, const struct drift_rows *rows, size_t band_begin, size_t band_end) {
    for (size_t t = 0; t < rows->count; t += DRIFT_TOKENS)
        add_rows(drift, rows, t, rows->count - t < DRIFT_TOKENS ? rows->count - t : DRIFT_TOKENS, band_begin, band_end);
}

/* Buffers of one target. */
struct target {
    size_t rows, cols;
    double *m;       /* [cols, cols] inverse Cholesky factor M of H + λI; (H + λI)^-1 = Mᵀ M */
    double *w;       /* [rows, cols] */
    double *image;   /* [rows, cols] w D, later w D (H + λI)^-1 */
    double *scratch; /* linalg_invert_scratch(cols), or [rows, cols] */
};

static moesaic_status target_allocate(struct target *target, moesaic_error *error) {
    size_t n = target->cols, count = target->rows * n;
    size_t scratch = count > linalg_invert_scratch(n) ? count : linalg_invert_scratch(n);
    target->m = malloc(n * n * sizeof(double));
    target->w = malloc(count * sizeof(double));
    target->image = calloc(count, sizeof(double));
    target->scratch = malloc(scratch * sizeof(double));
    if (target->m == NULL || target->w == NULL || target->image == NULL || target->scratch == NULL)
        return status_no_memory(error, "recovery", (n * n + 3 * count) * sizeof(double));
    return MOESAIC_OK;
}

static void target_free(struct target *target) {
    free(target->m);
    free(target->w);
    free(target->image);
    free(target->scratch);
}

/* m from the statistics; false in *ret_known when no token came. */
static moesaic_status target_factor(struct target *target, const struct calib_stats *stats, double damping,
                                    bool *ret_known, moesaic_error *error) {
    size_t n = target->cols;
    double trace = 0.0;
    for (size_t k = 0; k < n; k++)
        trace += stats->squares[k];
    *ret_known = trace > 0.0;
    if (!isfinite(trace))
        return status_set(error, MOESAIC_E_NONFINITE, "recovery: the calibration statistics are not finite");
    if (!*ret_known)
        return MOESAIC_OK;
    for (int tries = 0; tries < DAMPING_TRIES; tries++, damping *= 10.0) {
        calib_expand(stats, target->m);
        for (size_t k = 0; k < n; k++)
            target->m[k * n + k] += damping * trace / (double)n;
        if (linalg_cholesky(target->m, n)) {
            linalg_invert_lower(target->m, n, target->scratch);
            return MOESAIC_OK;
        }
    }
    return status_set(error, MOESAIC_E_NONFINITE, "recovery: the Hessian has no Cholesky factor");
}

/* image = (w D + R) Mᵀ M. */
static void target_solve(struct target *target, const struct calib_drift *drift, const struct calib_drift *residual) {
    size_t rows = target->rows, n = target->cols;
    if (residual != NULL)
        memcpy(target->image, residual->moment, rows * n * sizeof(double));
    linalg_product(target->image, n, rows, n, n, 1.0, linalg_rows(target->w, n), linalg_rows(drift->moment, n));
    memset(target->scratch, 0, rows * n * sizeof(double));
    linalg_product(target->scratch, n, rows, n, n, 1.0, linalg_rows(target->image, n), linalg_transposed(target->m, n));
    memset(target->image, 0, rows * n * sizeof(double));
    linalg_product(target->image, n, rows, n, n, 1.0, linalg_rows(target->scratch, n), linalg_rows(target->m, n));
}

static moesaic_status target_store(const struct target *target, float *ret_w, moesaic_error *error) {
    size_t count = target->rows * target->cols;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite((float)(target->w[i] + target->image[i])))
            return status_set(error, MOESAIC_E_NONFINITE, "recovery: the target of weight %zu is not finite", i);
    }
    for (size_t i = 0; i < count; i++)
        ret_w[i] = (float)(target->w[i] + target->image[i]);
    return MOESAIC_OK;
}

moesaic_status recover_target(const float *w, size_t rows, size_t cols, const struct calib_stats *stats,
                              const struct calib_drift *drift, const struct calib_drift *residual, double damping,
                              float *ret_w, moesaic_error *error) {
    if (rows == 0 || cols != stats->cols || cols != drift->cols || cols != drift->rows || stats->hessian == NULL ||
        (residual != NULL && (residual->rows != rows || residual->cols != cols)) || !(damping >= 0.0 && damping <= 1e6))
        return status_set(error, MOESAIC_E_USAGE,
                          "recovery: matrix of %zu x %zu, statistics of %zu channels%s, drift of %zu, damping %g", rows,
                          cols, stats->cols, stats->hessian == NULL ? " without a Hessian" : "", drift->cols, damping);
    struct target target = {.rows = rows, .cols = cols};
    bool known = false;
    moesaic_status status = target_allocate(&target, error);
    if (status == MOESAIC_OK)
        status = target_factor(&target, stats, damping > 0.0 ? damping : DEFAULT_DAMPING, &known, error);
    if (status == MOESAIC_OK) {
        for (size_t i = 0; i < rows * cols; i++)
            target.w[i] = w[i];
        if (known)
            target_solve(&target, drift, residual);
        status = target_store(&target, ret_w, error);
    }
    target_free(&target);
    return status;
}
