/* SPDX-License-Identifier: Apache-2.0 */
/* Structured pruning of an expert's intermediate neurons, with the least-squares correction of its down matrix. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compress_internal.h"

enum { NEURON_TILE = 16 };

size_t neuron_count(size_t neurons, double density) {
    double tiles = round_even(density * (double)neurons / NEURON_TILE);
    size_t count = tiles < 1.0 ? NEURON_TILE : (size_t)tiles * NEURON_TILE;
    return count < neurons ? count : neurons;
}

/* Down with the neurons that are still there. Removing neuron j and moving the others by least squares costs
 * |w_j|² / [H^-1]_jj and changes W by -w_j [H^-1]_j: / [H^-1]_jj; H^-1 then loses j by one step of elimination. */
struct removal {
    size_t rows, neurons;
    neuron_score score;
    double *w;        /* [neurons, rows] */
    double *inverse;  /* [neurons, neurons] inverse Hessian of those still there */
    double *h;        /* [neurons, neurons] */
    uint8_t *gone;    /* [neurons] */
    double *rank;     /* [neurons] Wanda's score, fixed before */
    double *pivot;    /* [neurons] a copy of the row of the inverse that is eliminated */
};

static void removal_free(struct removal *removal) {
    free(removal->w);
    free(removal->inverse);
    free(removal->h);
    free(removal->gone);
    free(removal->rank);
    free(removal->pivot);
}

static moesaic_status removal_allocate(struct removal *removal, moesaic_error *error) {
    size_t n = removal->neurons;
    removal->w = malloc(n * removal->rows * sizeof(double));
    removal->inverse = calloc(n * n, sizeof(double));
    removal->h = malloc(n * n * sizeof(double));
    removal->gone = calloc(n, 1);
    removal->rank = malloc(n * sizeof(double));
    removal->pivot = malloc(n * sizeof(double));
    if (removal->w == NULL || removal->inverse == NULL || removal->h == NULL || removal->gone == NULL ||
        removal->rank == NULL || removal->pivot == NULL)
        return status_no_memory(error, "structured pruning", (2 * n * n + n * removal->rows) * sizeof(double));
    return MOESAIC_OK;
}

/* w, h and Wanda's scores; the identity for h when no token came. */
static moesaic_status removal_fill(struct removal *removal, const float *down, const struct calib_stats *stats,
                                   double *ret_mean, moesaic_error *error) {
    size_t n = removal->neurons, rows = removal->rows;
    double trace = 0.0;
    calib_expand(stats, removal->h);
    for (size_t j = 0; j < n; j++) {
        double norm = 0.0;
        for (size_t row = 0; row < rows; row++) {
            double w = removal->w[j * rows + row] = down[row * n + j];
            norm += w * w;
        }
        removal->rank[j] = norm * removal->h[j * n + j];
        trace += removal->h[j * n + j];
        if (!isfinite(norm))
            return status_set(error, MOESAIC_E_NONFINITE, "structured pruning: a weight of down is not finite");
    }
    if (!isfinite(trace))
        return status_set(error, MOESAIC_E_NONFINITE, "structured pruning: the statistics are not finite");
    for (size_t j = 0; j < n && trace == 0.0; j++)
        removal->h[j * n + j] = 1.0;
    *ret_mean = trace > 0.0 ? trace / (double)n : 1.0;
    return MOESAIC_OK;
}

/* inverse = (H + damping * mean I)^-1 = Mᵀ M with M the inverse of the Cholesky factor. */
static moesaic_status invert_hessian(struct removal *removal, double damping, double mean, moesaic_error *error) {
    size_t n = removal->neurons, scratch_count = linalg_invert_scratch(n);
    double *m = malloc((n * n + scratch_count) * sizeof *m);
    if (m == NULL)
        return status_no_memory(error, "structured pruning", (n * n + scratch_count) * sizeof *m);
    bool factored = false;
    for (; !factored && damping <= 10.0; damping *= 10.0) {
        memcpy(m, removal->h, n * n * sizeof *m);
        for (size_t j = 0; j < n; j++)
            m[j * n + j] += damping * mean;
        factored = linalg_cholesky(m, n);
    }
    if (factored) {
        linalg_invert_lower(m, n, m + n * n);
        linalg_product(removal->inverse, n, n, n, n, 1.0, linalg_transposed(m, n), linalg_rows(m, n));
    }
    free(m);
    return factored ? MOESAIC_OK
                    : status_set(error, MOESAIC_E_NONFINITE, "structured pruning: the Hessian has no Cholesky factor");
}

/* The neuron to go next: of equal ones the highest. */
static size_t cheapest(const struct removal *removal) {
    size_t best = 0;
    double least = INFINITY;
    for (size_t j = 0; j < removal->neurons; j++) {
        if (removal->gone[j])
            continue;
        const double *w = removal->w + j * removal->rows;
        double cost = removal->score == NEURON_WANDA
                          ? removal->rank[j]
                          : linalg_dot(w, w, removal->rows) / removal->inverse[j * (removal->neurons + 1)];
        if (cost <= least) {
            least = cost;
            best = j;
        }
    }
    return best;
}

static void remove_neuron(struct removal *removal, size_t gone) {
    size_t n = removal->neurons, rows = removal->rows;
    double *row = removal->inverse + gone * n, *lost = removal->w + gone * rows;
    memcpy(removal->pivot, row, n * sizeof *row);
    removal->gone[gone] = 1;
    for (size_t j = 0; j < n; j++) {
        if (removal->gone[j])
            continue;
        double factor = removal->pivot[j] / removal->pivot[gone];
        double *w = removal->w + j * rows, *inverse = removal->inverse + j * n;
        for (size_t r = 0; r < rows; r++)
            w[r] -= factor * lost[r];
        for (size_t k = 0; k < n; k++)
            inverse[k] -= factor * removal->pivot[k];
    }
    memset(lost, 0, rows * sizeof *lost);
}

/* Relative error of the refitted matrix, from what was given and what stands. */
static moesaic_status removal_error(const struct removal *removal, const float *down, double *ret_error,
                                    moesaic_error *error) {
    size_t n = removal->neurons, rows = removal->rows;
    double *w = malloc(2 * n * rows * sizeof *w), lost = 0.0, energy = 0.0;
    if (w == NULL)
        return status_no_memory(error, "error figures", 2 * n * rows * sizeof *w);
    double *miss = w + n * rows;
    for (size_t j = 0; j < n; j++) {
        for (size_t row = 0; row < rows; row++) {
            w[j * rows + row] = down[row * n + j];
            miss[j * rows + row] = w[j * rows + row] - removal->w[j * rows + row];
        }
    }
    moesaic_status status = hessian_energy(removal->h, n, miss, rows, &lost, error);
    if (status == MOESAIC_OK)
        status = hessian_energy(removal->h, n, w, rows, &energy, error);
    if (status == MOESAIC_OK)
        *ret_error = energy > 0.0 ? fmax(lost, 0.0) / energy : 0.0;
    free(w);
    return status;
}

static void removal_store(const struct removal *removal, size_t keep, uint32_t *ret_kept, float *ret_down) {
    for (size_t j = 0, to = 0; j < removal->neurons; j++) {
        if (removal->gone[j])
            continue;
        ret_kept[to] = (uint32_t)j;
        for (size_t row = 0; row < removal->rows; row++)
            ret_down[row * keep + to] = (float)removal->w[j * removal->rows + row];
        to++;
    }
}

moesaic_status prune_neurons(const float *down, size_t rows, size_t neurons, const struct calib_stats *stats,
                             neuron_score score, size_t keep, double damping, uint32_t *ret_kept, float *ret_down,
                             double *ret_error, moesaic_error *error) {
    if (rows == 0 || neurons != stats->cols || keep == 0 || keep > neurons || stats->hessian == NULL)
        return status_set(error, MOESAIC_E_USAGE,
                          "structured pruning: %zu of %zu neurons with statistics of %zu channels%s", keep, neurons,
                          stats->cols, stats->hessian == NULL ? " and no Hessian" : "");
    if (!(damping >= 0.0 && damping <= 1.0))
        return status_set(error, MOESAIC_E_USAGE, "structured pruning: damping %g, expected 0 to 1", damping);
    struct removal removal = {.rows = rows, .neurons = neurons, .score = score};
    double mean = 0.0;
    moesaic_status status = removal_allocate(&removal, error);
    if (status == MOESAIC_OK)
        status = removal_fill(&removal, down, stats, &mean, error);
    if (status == MOESAIC_OK)
        status = invert_hessian(&removal, damping > 0.0 ? damping : DEFAULT_DAMPING, mean, error);
    if (status == MOESAIC_OK) {
        for (size_t left = neurons; left > keep; left--)
            remove_neuron(&removal, cheapest(&removal));
        status = removal_error(&removal, down, ret_error, error);
    }
    if (status == MOESAIC_OK)
        removal_store(&removal, keep, ret_kept, ret_down);
    removal_free(&removal);
    return status;
}
