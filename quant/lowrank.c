/* SPDX-License-Identifier: Apache-2.0 */
/* The low-rank term that compensates what compression left, best in the metric of the inputs. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compress_internal.h"

enum {
    SUBSPACE_EXTRA = 8,       /* columns iterated beyond the rank: they speed up the last ones asked for */
    SUBSPACE_ITERATIONS = 48,
    JACOBI_SWEEPS = 30
};

/* ---- eigenvectors of a symmetric matrix ------------------------------------------------------------------------- */

/* One Jacobi rotation that clears a[p, q], applied to a [n, n] and to the columns of v. */
static void jacobi_rotate(double *a, double *v, size_t n, size_t p, size_t q) {
    double off = a[p * n + q];
    if (off == 0.0)
        return;
    double theta = (a[q * n + q] - a[p * n + p]) / (2.0 * off);
    double t = (theta >= 0.0 ? 1.0 : -1.0) / (fabs(theta) + sqrt(theta * theta + 1.0));
    double c = 1.0 / sqrt(t * t + 1.0), s = t * c;
    for (size_t i = 0; i < n; i++) {
        double left = a[i * n + p], right = a[i * n + q];
        a[i * n + p] = c * left - s * right;
        a[i * n + q] = s * left + c * right;
    }
    for (size_t i = 0; i < n; i++) {
        double left = a[p * n + i], right = a[q * n + i];
        a[p * n + i] = c * left - s * right;
        a[q * n + i] = s * left + c * right;
        left = v[i * n + p], right = v[i * n + q];
        v[i * n + p] = c * left - s * right;
        v[i * n + q] = s * left + c * right;
    }
}

/* Eigenvectors of the symmetric a [n, n] as columns of v, in no order; a becomes diagonal to rounding. */
static void jacobi(double *a, double *v, size_t n) {
    memset(v, 0, n * n * sizeof *v);
    for (size_t i = 0; i < n; i++)
        v[i * n + i] = 1.0;
    for (int sweep = 0; sweep < JACOBI_SWEEPS; sweep++) {
        for (size_t p = 0; p + 1 < n; p++) {
            for (size_t q = p + 1; q < n; q++)
                jacobi_rotate(a, v, n, p, q);
        }
    }
}

/* Makes the rows of basis [count, n] orthonormal, each against those above it, twice for precision. A row with nothing
 * left of its own becomes zero. */
static void orthonormalize(double *basis, size_t count, size_t n) {
    for (size_t i = 0; i < count; i++) {
        double *row = basis + i * n, before = linalg_dot(row, row, n);
        for (size_t j = 0; j < 2 * i; j++) {
            const double *other = basis + j % i * n;
            double along = linalg_dot(row, other, n);
            for (size_t k = 0; k < n; k++)
                row[k] -= along * other[k];
        }
        double after = linalg_dot(row, row, n), scale = after > 1e-24 * before ? 1.0 / sqrt(after) : 0.0;
        for (size_t k = 0; k < n; k++)
            row[k] *= scale;
    }
}

/* A fixed start with a part of every direction. */
static void basis_start(double *basis, size_t count) {
    uint64_t state = UINT64_C(0x2545f4914f6cdd1d);
    for (size_t i = 0; i < count; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        basis[i] = (double)(state >> 11) / (double)(UINT64_C(1) << 53) - 0.5;
    }
}

/* Ritz vectors: within the span of basis [count, n], the `rank` best eigenvectors of m, the largest first, as rows of
 * `out` [rank, n]. `small` holds 2 count² doubles, `image` [count, n] = basis m. */
static void ritz_vectors(const double *basis, const double *image, size_t count, size_t n, size_t rank, double *small,
                         double *out) {
    double *turn = small + count * count;
    memset(small, 0, count * count * sizeof *small);
    linalg_product(small, count, count, count, n, 1.0, linalg_rows(image, n), linalg_transposed(basis, n));
    jacobi(small, turn, count);
    memset(out, 0, rank * n * sizeof *out);
    for (size_t i = 0; i < rank; i++) {
        size_t best = 0;
        for (size_t j = 1; j < count; j++)
            best = small[j * count + j] > small[best * count + best] ? j : best;
        linalg_product(out + i * n, n, 1, n, count, 1.0, (struct linalg_view){turn + best, 0, count},
                       linalg_rows(basis, n));
        small[best * count + best] = -INFINITY;
    }
}

/* The `rank` leading eigenvectors of m [n, n], symmetric and positive semidefinite, as rows of out [rank, n]:
 * orthogonal iteration from a fixed start, then Rayleigh and Ritz. */
static moesaic_status leading_eigenvectors(const double *m, size_t n, size_t rank, double *out, moesaic_error *error) {
    size_t count = rank + SUBSPACE_EXTRA < n ? rank + SUBSPACE_EXTRA : n, numbers = 2 * count * n + 2 * count * count;
    double *basis = malloc(numbers * sizeof *basis);
    if (basis == NULL)
        return status_no_memory(error, "low-rank term", numbers * sizeof *basis);
    double *image = basis + count * n, *small = image + count * n;
    basis_start(basis, count * n);
    orthonormalize(basis, count, n);
    for (int i = 0; i <= SUBSPACE_ITERATIONS; i++) {
        memset(image, 0, count * n * sizeof *image);
        linalg_product(image, n, count, n, n, 1.0, linalg_rows(basis, n), linalg_rows(m, n));
        if (i == SUBSPACE_ITERATIONS)
            break;
        memcpy(basis, image, count * n * sizeof *basis);
        orthonormalize(basis, count, n);
    }
    ritz_vectors(basis, image, count, n, rank, small, out);
    free(basis);
    return MOESAIC_OK;
}

/* ---- the term --------------------------------------------------------------------------------------------------- */

static float bfloat_round(double value) {
    union {
        float f;
        uint32_t u;
    } pun = {.f = (float)value};
    return bfloat_to_float((uint16_t)((pun.u + 0x7fff + (pun.u >> 16 & 1)) >> 16));
}

/* left = Uᵀ and right = U E (u [rank, rows]), each pair balanced to the same length and rounded. */
static void factors_store(struct lowrank *term, const double *u, const double *right) {
    for (size_t i = 0; i < term->rank; i++) {
        const double *from = right + i * term->cols;
        double length = sqrt(sqrt(linalg_dot(from, from, term->cols)));
        for (size_t row = 0; row < term->rows; row++)
            term->left[row * term->rank + i] = bfloat_round(u[i * term->rows + row] * length);
        for (size_t k = 0; k < term->cols; k++)
            term->right[i * term->cols + k] = length > 0.0 ? bfloat_round(from[k] / length) : 0.0f;
    }
}

/* What is lost with the term added, given e = W - values [cols, rows]; e is overwritten. */
static moesaic_status term_error(const struct lowrank *term, double *e, const double *h, double *ret_lost,
                                 moesaic_error *error) {
    for (size_t k = 0; k < term->cols; k++) {
        for (size_t i = 0; i < term->rank; i++) {
            double right = term->right[i * term->cols + k];
            for (size_t row = 0; row < term->rows; row++)
                e[k * term->rows + row] -= right * term->left[row * term->rank + i];
        }
    }
    return hessian_energy(h, term->cols, e, term->rows, ret_lost, error);
}

/* Buffers of one fit. */
struct fit {
    double *h;      /* [cols, cols] */
    double *w, *e;  /* [cols, rows] the weights, and what was lost of them */
    double *image;  /* [cols, rows] H e; later [rank, cols] U E */
    double *m;      /* [rows, rows] E H Eᵀ */
    double *u;      /* [rank, rows] */
};

static moesaic_status fit_allocate(struct fit *fit, const struct lowrank *term, moesaic_error *error) {
    size_t rows = term->rows, cols = term->cols, larger = rows > term->rank ? rows : term->rank;
    fit->h = malloc(cols * cols * sizeof(double));
    fit->w = malloc(cols * rows * sizeof(double));
    fit->e = malloc(cols * rows * sizeof(double));
    fit->image = calloc(cols * larger, sizeof(double));
    fit->m = calloc(rows * rows, sizeof(double));
    fit->u = malloc(term->rank * rows * sizeof(double));
    if (fit->h == NULL || fit->w == NULL || fit->e == NULL || fit->image == NULL || fit->m == NULL || fit->u == NULL)
        return status_no_memory(error, "low-rank term", (cols * cols + 3 * cols * rows) * sizeof(double));
    return MOESAIC_OK;
}

static void fit_free(struct fit *fit) {
    free(fit->h);
    free(fit->w);
    free(fit->e);
    free(fit->image);
    free(fit->m);
    free(fit->u);
}

static moesaic_status fit_fill(struct fit *fit, const struct lowrank *term, const float *w, const float *values,
                               const struct calib_stats *stats, moesaic_error *error) {
    calib_expand(stats, fit->h);
    double trace = 0.0;
    for (size_t k = 0; k < term->cols; k++)
        trace += fit->h[k * term->cols + k];
    for (size_t k = 0; k < term->cols && trace == 0.0; k++)
        fit->h[k * term->cols + k] = 1.0;
    for (size_t row = 0; row < term->rows; row++) {
        for (size_t k = 0; k < term->cols; k++) {
            size_t from = row * term->cols + k, to = k * term->rows + row;
            fit->w[to] = w[from];
            fit->e[to] = (double)w[from] - values[from];
            trace += fit->w[to] + fit->e[to];
        }
    }
    return isfinite(trace) ? MOESAIC_OK
                           : status_set(error, MOESAIC_E_NONFINITE, "low-rank term: weights or statistics not finite");
}

static moesaic_status fit_run(struct fit *fit, struct lowrank *term, moesaic_error *error) {
    size_t rows = term->rows, cols = term->cols;
    double lost = 0.0, energy = 0.0;
    linalg_product(fit->image, rows, cols, rows, cols, 1.0, linalg_rows(fit->h, cols), linalg_rows(fit->e, rows));
    linalg_product(fit->m, rows, rows, rows, cols, 1.0, linalg_transposed(fit->e, rows), linalg_rows(fit->image, rows));
    moesaic_status status = leading_eigenvectors(fit->m, rows, term->rank, fit->u, error);
    if (status != MOESAIC_OK)
        return status;
    memset(fit->image, 0, term->rank * cols * sizeof(double));
    linalg_product(fit->image, cols, term->rank, cols, rows, 1.0, linalg_rows(fit->u, rows),
                   linalg_transposed(fit->e, rows));
    factors_store(term, fit->u, fit->image);
    if ((status = term_error(term, fit->e, fit->h, &lost, error)) != MOESAIC_OK ||
        (status = hessian_energy(fit->h, cols, fit->w, rows, &energy, error)) != MOESAIC_OK)
        return status;
    term->error = energy > 0.0 ? fmax(lost, 0.0) / energy : 0.0;
    return MOESAIC_OK;
}

void lowrank_done(struct lowrank *term) {
    free(term->left);
    free(term->right);
    *term = (struct lowrank){0};
}

moesaic_status lowrank_fit(const float *w, const float *values, size_t rows, size_t cols,
                           const struct calib_stats *stats, size_t rank, struct lowrank *ret_term,
                           moesaic_error *error) {
    if (rank == 0 || rank > rows || rank > cols || cols != stats->cols || stats->hessian == NULL)
        return status_set(error, MOESAIC_E_USAGE,
                          "low-rank term: rank %zu for a matrix of %zu x %zu with statistics of %zu channels%s", rank,
                          rows, cols, stats->cols, stats->hessian == NULL ? " and no Hessian" : "");
    struct lowrank term = {.rows = rows, .cols = cols, .rank = rank};
    struct fit fit = {0};
    term.left = malloc(rows * rank * sizeof *term.left);
    term.right = malloc(rank * cols * sizeof *term.right);
    moesaic_status status = term.left == NULL || term.right == NULL
                                ? status_no_memory(error, "low-rank term", (rows + cols) * rank * sizeof *term.left)
                                : fit_allocate(&fit, &term, error);
    if (status == MOESAIC_OK)
        status = fit_fill(&fit, &term, w, values, stats, error);
    if (status == MOESAIC_OK)
        status = fit_run(&fit, &term, error);
    fit_free(&fit);
    if (status == MOESAIC_OK)
        *ret_term = term;
    else
        lowrank_done(&term);
    return status;
}
