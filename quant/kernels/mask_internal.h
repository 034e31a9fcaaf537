/* SPDX-License-Identifier: Apache-2.0 */
/* The bitmask format without a byte expansion: tables that turn the masks of rows into byte shuffles, for AVX2 and
 * AVX-512.
 *
 * The kept codes of four rows, which follow each other, are shuffled to their 16 places. Which code a place takes is
 * the number of mask bits before it: those of the rows before, and those before it in its own row. */
#ifndef MASK_INTERNAL_H
#define MASK_INTERNAL_H

#include <string.h>

#include "kernels.h"

/* Codes that a row's four mask bits keep. */
static const uint8_t mask_counts[16] = {0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4};

/* Which of its row's kept codes place i takes, by the row's mask; 0x80 for a pruned place. */
static const uint8_t mask_ranks[4][16] = {
    {0x80, 0, 0x80, 0, 0x80, 0, 0x80, 0, 0x80, 0, 0x80, 0, 0x80, 0, 0x80, 0},
    {0x80, 0x80, 0, 1, 0x80, 0x80, 0, 1, 0x80, 0x80, 0, 1, 0x80, 0x80, 0, 1},
    {0x80, 0x80, 0x80, 0x80, 0, 1, 1, 2, 0x80, 0x80, 0x80, 0x80, 0, 1, 1, 2},
    {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0, 1, 1, 2, 1, 2, 2, 3},
};

/* Where the codes of a quad's rows 0-3, 4-7, 8-11 and 12-15 start, and where those of the next quad do. */
struct mask_starts {
    const uint8_t *rows[4], *next;
};

static inline __attribute__((always_inline)) struct mask_starts mask_starts(const uint8_t *mask,
                                                                            const uint8_t *nibbles) {
    uint64_t bits;
    memcpy(&bits, mask, sizeof bits);
    return (struct mask_starts){{nibbles, nibbles + __builtin_popcountll(bits & 0xffff),
                                 nibbles + __builtin_popcountll(bits & 0xffffffff),
                                 nibbles + __builtin_popcountll(bits & 0xffffffffffff)},
                                nibbles + __builtin_popcountll(bits)};
}

#endif
