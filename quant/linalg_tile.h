/* SPDX-License-Identifier: Apache-2.0 */
/* The register tile of linalg_product, compiled once per instruction set: 4 rows by 2 * LINALG_LANES columns. */
#ifndef LINALG_TILE_H
#define LINALG_TILE_H

#include <stddef.h>

enum { LINALG_TILE_ROWS = 4, LINALG_TILE_COLS_MAX = 16 };

/* c[r * stride + j] += a[k][r] * b[k][j] for k = 0 .. depth-1 in this order; a is packed [depth][4], b
 * [depth][columns of the tile]. Product and addition are rounded separately, whatever the instruction set. */
typedef void linalg_tile_function(double *c, size_t stride, const double *a, const double *b, size_t depth);
linalg_tile_function linalg_tile_base, linalg_tile_avx2, linalg_tile_avx512;

#endif
