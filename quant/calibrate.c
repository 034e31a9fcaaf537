/* SPDX-License-Identifier: Apache-2.0 */
/* Second moments of a matrix's inputs, summed in the order of the tokens. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compress_internal.h"

enum {
    CALIB_COLS_MAX = 1 << 17,
    ADD_TOKENS = 64, /* rows converted at a time */
    ADD_COLS = 512   /* columns of the wide operand converted at a time */
};

/* The Hessian's lower triangle lies in bands of CALIB_BAND rows; a band of rows [b, b + CALIB_BAND) has columns
 * [0, b + CALIB_BAND), so its square on the diagonal is whole. */
static size_t band_offset(size_t band) {
    return (size_t)CALIB_BAND * CALIB_BAND * (band * (band + 1) / 2);
}

static size_t band_count(size_t cols) {
    return (cols + CALIB_BAND - 1) / CALIB_BAND;
}

uint64_t calib_stats_bytes(size_t cols, bool with_hessian) {
    size_t numbers = cols + (with_hessian ? band_offset(band_count(cols)) : 0);
    return sizeof(struct calib_stats) + numbers * sizeof(double);
}

moesaic_status calib_stats_create(size_t cols, bool with_hessian, struct calib_stats **ret_stats,
                                  moesaic_error *error) {
    if (cols == 0 || cols > CALIB_COLS_MAX)
        return status_set(error, MOESAIC_E_USAGE, "calibration: %zu input channels, expected 1 to %d", cols,
                          CALIB_COLS_MAX);
    struct calib_stats *stats = calloc(1, sizeof *stats);
    if (stats == NULL)
        return status_no_memory(error, "calibration statistics", sizeof *stats);
    stats->cols = cols;
    stats->squares = calloc(cols, sizeof(double));
    if (with_hessian)
        stats->hessian = calloc(band_offset(band_count(cols)), sizeof(double));
    if (stats->squares == NULL || (with_hessian && stats->hessian == NULL)) {
        calib_stats_destroy(stats);
        return status_no_memory(error, "calibration statistics", (size_t)calib_stats_bytes(cols, with_hessian));
    }
    *ret_stats = stats;
    return MOESAIC_OK;
}

void calib_stats_destroy(struct calib_stats *stats) {
    if (stats == NULL)
        return;
    free(stats->squares);
    free(stats->hessian);
    free(stats);
}

/* Some rows of x with their weights. */
struct calib_rows {
    const float *x;
    size_t stride;
    const uint32_t *index;
    const float *weights;
    size_t begin, count;
};

/* out[t * cols + j] = weighted x[t, begin + j], rounded to float first. */
static void convert(const struct calib_rows *rows, size_t begin, size_t cols, double *out) {
    for (size_t t = 0; t < rows->count; t++) {
        size_t row = rows->begin + t;
        const float *x = rows->x + (rows->index != NULL ? rows->index[row] : row) * rows->stride + begin;
        float weight = rows->weights != NULL ? rows->weights[row] : 1.0f;
        for (size_t j = 0; j < cols; j++) {
            float scaled = weight * x[j];
            out[t * cols + j] = scaled;
        }
    }
}

/* One band of the Hessian: rows [begin, begin + high), columns up to its diagonal. */
static void band_add(double *band, size_t begin, size_t high, const struct calib_rows *rows, const double *left) {
    double right[ADD_TOKENS * ADD_COLS];
    size_t stride = begin + CALIB_BAND, cols = begin + high;
    for (size_t j = 0; j < cols; j += ADD_COLS) {
        size_t wide = cols - j < ADD_COLS ? cols - j : ADD_COLS;
        convert(rows, j, wide, right);
        linalg_product(band + j, stride, high, wide, rows->count, 1.0, linalg_transposed(left, high),
                       linalg_rows(right, wide));
    }
}

static void bands_add(struct calib_stats *stats, const struct calib_rows *rows, size_t begin, size_t end) {
    double left[ADD_TOKENS * CALIB_BAND];
    for (size_t i = begin; i < end; i += CALIB_BAND) {
        size_t high = end - i < CALIB_BAND ? end - i : CALIB_BAND;
        convert(rows, i, high, left);
        for (size_t t = 0; t < rows->count; t++) {
            for (size_t j = 0; j < high; j++)
                stats->squares[i + j] += left[t * high + j] * left[t * high + j];
        }
        if (stats->hessian != NULL)
            band_add(stats->hessian + band_offset(i / CALIB_BAND), i, high, rows, left);
    }
}

void calib_add(struct calib_stats *stats, const float *x, size_t stride, const uint32_t *index, const float *weights,
               size_t tokens, size_t band_begin, size_t band_end) {
    for (size_t t = 0; t < tokens; t += ADD_TOKENS) {
        size_t count = tokens - t < ADD_TOKENS ? tokens - t : ADD_TOKENS;
        const struct calib_rows rows = {x, stride, index, weights, t, count};
        bands_add(stats, &rows, band_begin, band_end);
    }
    if (band_begin != 0)
        return;
    stats->tokens += tokens;
    for (size_t t = 0; t < tokens; t++)
        stats->weight_sum += weights != NULL ? weights[t] : 1.0;
}

void calib_expand(const struct calib_stats *stats, double *out) {
    size_t n = stats->cols;
    for (size_t i = 0; i < n; i++) {
        size_t band = i / CALIB_BAND;
        const double *row = stats->hessian == NULL
                                ? NULL
                                : stats->hessian + band_offset(band) + (i % CALIB_BAND) * (band + 1) * CALIB_BAND;
        for (size_t j = 0; j < i; j++)
            out[i * n + j] = out[j * n + i] = row != NULL ? row[j] : 0.0;
        out[i * n + i] = row != NULL ? row[i] : stats->squares[i];
    }
}

moesaic_status calib_energy(const struct calib_stats *stats, const float *d, size_t rows, double *ret_energy,
                            moesaic_error *error) {
    size_t n = stats->cols;
    double *h = malloc(n * n * sizeof *h), *turned = malloc(n * rows * sizeof *turned);
    moesaic_status status = MOESAIC_OK;
    if (h == NULL || turned == NULL) {
        status = status_no_memory(error, "error figures", (n * n + n * rows) * sizeof *h);
    } else {
        calib_expand(stats, h);
        for (size_t row = 0; row < rows; row++) {
            for (size_t k = 0; k < n; k++)
                turned[k * rows + row] = d[row * n + k];
        }
        status = hessian_energy(h, n, turned, rows, ret_energy, error);
    }
    free(h);
    free(turned);
    return status;
}
