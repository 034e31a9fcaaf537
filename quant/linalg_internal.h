/* SPDX-License-Identifier: Apache-2.0 */
/* The F64 linear algebra of compression: products, Cholesky factors and triangular inverses in an order of our own.
 *
 * Every result is a fixed function of the inputs: each element is one chain of rounded products and rounded additions
 * in an order that depends on the sizes only. Nothing is fused or reassociated, so that the bits are the same for every
 * instruction set, and one call runs on the thread that makes it. */
#ifndef LINALG_INTERNAL_H
#define LINALG_INTERNAL_H

#include "runtime.h"

/* A matrix of doubles seen through two strides: element (i, k) is data[i * row + k * col]. Transposes are free. */
struct linalg_view {
    const double *data;
    size_t row, col;
};
static inline struct linalg_view linalg_rows(const double *data, size_t stride) {
    return (struct linalg_view){data, stride, 1};
}
static inline struct linalg_view linalg_transposed(const double *data, size_t stride) {
    return (struct linalg_view){data, 1, stride};
}

/* c[i * stride + j] += sign * sum over k of a(i, k) * b(k, j), for i < rows, j < cols, k < depth; the terms are added
 * to c one by one, k ascending. sign is 1 or -1. c does not overlap the operands. About 100 KiB of stack, no heap. */
void linalg_product(double *c, size_t stride, size_t rows, size_t cols, size_t depth, double sign,
                    struct linalg_view a, struct linalg_view b);

/* a [n, n] symmetric, lower triangle read: replaced by its Cholesky factor L (a = L Lᵀ, L lower); the strict upper
 * triangle becomes zero. False when a pivot is not a positive finite number (a is then in an unspecified state). */
bool linalg_cholesky(double *a, size_t n);
/* l [n, n] lower triangular with a zero upper triangle and a nonzero diagonal: replaced by its inverse. `scratch` holds
 * linalg_invert_scratch(n) doubles. */
void linalg_invert_lower(double *l, size_t n, double *scratch);
static inline size_t linalg_invert_scratch(size_t n) { return 64 * n; }

/* sum of a[i] * b[i], i ascending. */
double linalg_dot(const double *a, const double *b, size_t n);

#endif
