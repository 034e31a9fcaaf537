/* SPDX-License-Identifier: Apache-2.0 */
/* F64 products, Cholesky factors and triangular inverses, blocked for the cache, with one fixed order of operations. */
#include "linalg_internal.h"

#include <math.h>
#include <string.h>

#include "linalg_tile.h"

enum {
    PRODUCT_ROWS = 64,   /* rows of a packed for one pass over b */
    PRODUCT_DEPTH = 128, /* k of one pass; c goes to memory and back between passes, which rounds nothing */
    FACTOR_BLOCK = 64
};

struct tile_kernel {
    linalg_tile_function *run;
    size_t cols;
};

static struct tile_kernel tile_kernel_choose(void) {
#if defined(__x86_64__)
    uint32_t bundles = cpu_bundles();
    if (bundles & CPU_AVX512)
        return (struct tile_kernel){linalg_tile_avx512, 16};
    if (bundles & CPU_AVX2)
        return (struct tile_kernel){linalg_tile_avx2, 8};
#endif
    return (struct tile_kernel){linalg_tile_base, 4};
}

/* Packs a(i0 .. i0 + rows, k0 .. k0 + depth) times sign as tiles of [depth][4], zero beyond the last row. */
static void pack_left(double *out, struct linalg_view a, size_t i0, size_t rows, size_t k0, size_t depth, double sign) {
    for (size_t tile = 0; tile < rows; tile += LINALG_TILE_ROWS) {
        for (size_t k = 0; k < depth; k++) {
            for (size_t r = 0; r < LINALG_TILE_ROWS; r++)
                *out++ = tile + r < rows ? sign * a.data[(i0 + tile + r) * a.row + (k0 + k) * a.col] : 0.0;
        }
    }
}

static void pack_right(double *out, struct linalg_view b, size_t k0, size_t depth, size_t j0, size_t cols,
                       size_t tile_cols) {
    for (size_t k = 0; k < depth; k++) {
        const double *source = b.data + (k0 + k) * b.row + j0 * b.col;
        for (size_t j = 0; j < tile_cols; j++)
            *out++ = j < cols ? source[j * b.col] : 0.0;
    }
}

/* A tile that hangs over the edge of c: computed in a copy. */
static void tile_at_edge(const struct tile_kernel *kernel, double *c, size_t stride, size_t rows, size_t cols,
                         const double *a, const double *b, size_t depth) {
    double copy[LINALG_TILE_ROWS * LINALG_TILE_COLS_MAX] = {0};
    for (size_t r = 0; r < rows; r++)
        memcpy(copy + r * kernel->cols, c + r * stride, cols * sizeof(double));
    kernel->run(copy, kernel->cols, a, b, depth);
    for (size_t r = 0; r < rows; r++)
        memcpy(c + r * stride, copy + r * kernel->cols, cols * sizeof(double));
}

/* One block of rows of c, whose left operand is packed, against every column of b. */
static void product_block(const struct tile_kernel *kernel, double *c, size_t stride, size_t rows, size_t cols,
                          const double *left, struct linalg_view b, size_t k0, size_t depth) {
    double right[PRODUCT_DEPTH * LINALG_TILE_COLS_MAX];
    for (size_t j = 0; j < cols; j += kernel->cols) {
        size_t wide = cols - j < kernel->cols ? cols - j : kernel->cols;
        pack_right(right, b, k0, depth, j, wide, kernel->cols);
        for (size_t i = 0; i < rows; i += LINALG_TILE_ROWS) {
            size_t high = rows - i < LINALG_TILE_ROWS ? rows - i : LINALG_TILE_ROWS;
            if (high == LINALG_TILE_ROWS && wide == kernel->cols)
                kernel->run(c + i * stride + j, stride, left + i * depth, right, depth);
            else
                tile_at_edge(kernel, c + i * stride + j, stride, high, wide, left + i * depth, right, depth);
        }
    }
}

void linalg_product(double *c, size_t stride, size_t rows, size_t cols, size_t depth, double sign,
                    struct linalg_view a, struct linalg_view b) {
    const struct tile_kernel kernel = tile_kernel_choose();
    double left[PRODUCT_ROWS * PRODUCT_DEPTH];
    for (size_t i = 0; i < rows; i += PRODUCT_ROWS) {
        size_t high = rows - i < PRODUCT_ROWS ? rows - i : PRODUCT_ROWS;
        for (size_t k = 0; k < depth; k += PRODUCT_DEPTH) {
            size_t deep = depth - k < PRODUCT_DEPTH ? depth - k : PRODUCT_DEPTH;
            pack_left(left, a, i, high, k, deep, sign);
            product_block(&kernel, c + i * stride, stride, high, cols, left, b, k, deep);
        }
    }
}

/* Factors the columns [j0, j1), whose products with earlier columns are already subtracted, for every row below. */
static bool factor_columns(double *a, size_t n, size_t j0, size_t j1) {
    for (size_t i = j0; i < n; i++) {
        double *row = a + i * n;
        for (size_t j = j0; j < j1 && j <= i; j++) {
            const double *other = a + j * n;
            double rest = row[j];
            for (size_t k = j0; k < j; k++)
                rest -= row[k] * other[k];
            if (i != j) {
                row[j] = rest / other[j];
                continue;
            }
            if (!(rest > 0.0) || !isfinite(rest))
                return false;
            row[j] = sqrt(rest);
        }
    }
    return true;
}

bool linalg_cholesky(double *a, size_t n) {
    for (size_t j0 = 0; j0 < n; j0 += FACTOR_BLOCK) {
        size_t j1 = n - j0 < FACTOR_BLOCK ? n : j0 + FACTOR_BLOCK;
        double *panel = a + j0 * n;
        linalg_product(panel + j0, n, n - j0, j1 - j0, j0, -1.0, linalg_rows(panel, n), linalg_transposed(panel, n));
        if (!factor_columns(a, n, j0, j1))
            return false;
    }
    for (size_t i = 0; i < n; i++)
        memset(a + i * n + i + 1, 0, (n - i - 1) * sizeof(double));
    return true;
}

/* rows [i0, i1) of the inverse left of the diagonal block: X = -L_II^-1 T, row by row. */
static void invert_left_of_block(double *l, size_t n, size_t i0, size_t i1, const double *product) {
    for (size_t i = i0; i < i1; i++) {
        double *row = l + i * n;
        for (size_t j = 0; j < i0; j++)
            row[j] = -product[(i - i0) * i0 + j];
        for (size_t k = i0; k < i; k++) {
            const double *above = l + k * n;
            double factor = row[k];
            for (size_t j = 0; j < i0; j++)
                row[j] -= factor * above[j];
        }
        for (size_t j = 0; j < i0; j++)
            row[j] /= row[i];
    }
}

static void invert_diagonal_block(double *l, size_t n, size_t i0, size_t i1) {
    for (size_t i = i0; i < i1; i++) {
        double *row = l + i * n, sums[FACTOR_BLOCK] = {0};
        for (size_t k = i0; k < i; k++) {
            const double *above = l + k * n;
            for (size_t j = i0; j <= k; j++)
                sums[j - i0] += row[k] * above[j];
        }
        for (size_t j = i0; j < i; j++)
            row[j] = -sums[j - i0] / row[i];
        row[i] = 1.0 / row[i];
    }
}

void linalg_invert_lower(double *l, size_t n, double *scratch) {
    for (size_t i0 = 0; i0 < n; i0 += FACTOR_BLOCK) {
        size_t i1 = n - i0 < FACTOR_BLOCK ? n : i0 + FACTOR_BLOCK;
        memset(scratch, 0, (i1 - i0) * i0 * sizeof(double));
        linalg_product(scratch, i0, i1 - i0, i0, i0, 1.0, linalg_rows(l + i0 * n, n), linalg_rows(l, n));
        invert_left_of_block(l, n, i0, i1, scratch);
        invert_diagonal_block(l, n, i0, i1);
    }
}

double linalg_dot(const double *a, const double *b, size_t n) {
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}
