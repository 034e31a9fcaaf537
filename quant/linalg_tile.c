/* SPDX-License-Identifier: Apache-2.0 */
/* One register tile of an F64 product; the build gives LINALG_TILE (its name) and LINALG_LANES (doubles a register). */
#include "linalg_tile.h"

#ifndef LINALG_TILE
#define LINALG_TILE linalg_tile_base
#define LINALG_LANES 2
#endif

/* Unaligned vector of doubles; arithmetic on it is element by element, so it has the bits of the scalar loop. */
typedef double lanes __attribute__((vector_size(LINALG_LANES * sizeof(double)), aligned(sizeof(double))));

void LINALG_TILE(double *c, size_t stride, const double *a, const double *b, size_t depth) {
    lanes *row[LINALG_TILE_ROWS], sum[LINALG_TILE_ROWS][2];
    for (size_t r = 0; r < LINALG_TILE_ROWS; r++) {
        row[r] = (lanes *)(void *)(c + r * stride);
        sum[r][0] = row[r][0];
        sum[r][1] = row[r][1];
    }
    for (size_t k = 0; k < depth; k++) {
        const lanes *right = (const lanes *)(const void *)(b + k * 2 * LINALG_LANES);
        const double *left = a + k * LINALG_TILE_ROWS;
        for (size_t r = 0; r < LINALG_TILE_ROWS; r++) {
            sum[r][0] += left[r] * right[0];
            sum[r][1] += left[r] * right[1];
        }
    }
    for (size_t r = 0; r < LINALG_TILE_ROWS; r++) {
        row[r][0] = sum[r][0];
        row[r][1] = sum[r][1];
    }
}
