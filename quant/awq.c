/* SPDX-License-Identifier: Apache-2.0 */
/* Activation-aware scales: candidates, what they cost, and the folds that make them free. */
#include <math.h>
#include <stdlib.h>

#include "compress_internal.h"

/* x to the power of steps / 32, by square roots and products only: pow may differ between machines in its last bit. */
static double power_of_32nds(double x, unsigned steps) {
    double root = x, power = 1.0;
    for (int i = 0; i < 5; i++)
        root = sqrt(root);
    for (unsigned i = 0; i < steps; i++)
        power *= root;
    return power;
}

void awq_scales(const struct calib_stats *inputs, unsigned candidate, float *ret_scales) {
    double low = INFINITY, high = 0.0;
    for (size_t k = 0; k < inputs->cols; k++) {
        if (!(inputs->squares[k] > 0.0))
            continue;
        low = fmin(low, inputs->squares[k]);
        high = fmax(high, inputs->squares[k]);
    }
    double centre = sqrt(low) * sqrt(high);
    for (size_t k = 0; k < inputs->cols; k++) {
        bool fires = inputs->squares[k] > 0.0; /* on squares, half the exponent */
        ret_scales[k] = fires ? (float)power_of_32nds(inputs->squares[k] / centre, candidate) : 1.0f;
    }
}

/* d[k, row] = what RTN loses of w[k] scales[k], seen from the unscaled input. */
static void rtn_loss(const float *w, size_t cols, const float *scales, uint32_t group, int high, double factor,
                     double *d, size_t stride) {
    for (size_t begin = 0; begin < cols; begin += group) {
        size_t end = cols - begin < group ? cols : begin + group;
        double largest = 0.0, step = 0.0;
        for (size_t k = begin; k < end; k++) {
            double size = fabs((double)w[k] * scales[k]);
            largest = size > largest ? size : largest; /* gcc 12 for aarch64 fails on fmax here */
        }
        scale_round(largest / high, factor, &step);
        for (size_t k = begin; k < end; k++) {
            double scaled = (double)w[k] * scales[k];
            d[k * stride] = (scaled - code_nearest(scaled, step, -high - 1, high) * step) / scales[k];
        }
    }
}

static double scaled_factor(const float *w, size_t rows, size_t cols, const float *scales, number_format format) {
    float largest = 0.0f;
    for (size_t row = 0; row < rows; row++) {
        for (size_t k = 0; k < cols; k++)
            largest = fmaxf(largest, fabsf(w[row * cols + k] * scales[k]));
    }
    return compress_factor(largest, format);
}

moesaic_status awq_error(const float *w, size_t rows, size_t cols, const struct calib_stats *stats,
                         number_format format, uint32_t group, const float *scales, double *ret_error,
                         moesaic_error *error) {
    if (cols != stats->cols || rows == 0 || (group != 32 && group != 64 && group != 128) || format < FORMAT_INT8 ||
        format > FORMAT_INT2)
        return status_set(error, MOESAIC_E_USAGE,
                          "AWQ: matrix of %zu x %zu in groups of %u with statistics of %zu "
                          "channels",
                          rows, cols, group, stats->cols);
    int high = (1 << (number_format_bits(format) - 1)) - 1;
    size_t measured = rows < AWQ_ROWS ? rows : AWQ_ROWS;
    double factor = scaled_factor(w, rows, cols, scales, format), lost = 0.0;
    double *d = malloc(cols * measured * sizeof *d), *h = malloc(cols * cols * sizeof *h);
    moesaic_status status = MOESAIC_OK;
    if (d == NULL || h == NULL) {
        status = status_no_memory(error, "AWQ", (cols * measured + cols * cols) * sizeof *d);
        goto done;
    }
    for (size_t i = 0; i < measured; i++)
        rtn_loss(w + i * rows / measured * cols, cols, scales, group, high, factor, d + i, measured);
    calib_expand(stats, h);
    status = hessian_energy(h, cols, d, measured, &lost, error);
    if (status == MOESAIC_OK)
        *ret_error = lost * (double)rows / (double)measured;
done:
    free(d);
    free(h);
    return status;
}

void awq_fold_columns(float *w, size_t rows, size_t cols, const float *scales) {
    for (size_t row = 0; row < rows; row++) {
        for (size_t k = 0; k < cols; k++)
            w[row * cols + k] *= scales[k];
    }
}

void awq_fold_rows(float *w, size_t rows, size_t cols, const float *scales) {
    for (size_t row = 0; row < rows; row++) {
        for (size_t k = 0; k < cols; k++)
            w[row * cols + k] /= scales[row];
    }
}
