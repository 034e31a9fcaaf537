/* SPDX-License-Identifier: Apache-2.0 */
/* The search for a migration, apart from the rebalancer that watches and paces. */
#ifndef REBALANCE_INTERNAL_H
#define REBALANCE_INTERNAL_H

#include "placement_internal.h"

enum { REBALANCE_MOVES_MAX = 4096 };

struct migration {
    struct rebalance_move *move; /* [REBALANCE_MOVES_MAX], in the order to be carried out */
    uint32_t moves;
    uint64_t bytes;
    double saved_s; /* of the simulated step's expert time */
};
/* Fills `migration`, whose moves are allocated by the caller: experts are moved, and copied within the bytes that
 * copies hold now and `spare_copy_bytes` more, by gain per byte, until `max_bytes` are to be moved; copies that no
 * longer earn their bytes are dropped first. Only to places with room: a moving expert needs both for a while. */
moesaic_status rebalance_search(const struct placement_problem *problem, const struct placement_plan *plan,
                                uint64_t max_bytes, uint64_t spare_copy_bytes, struct migration *migration,
                                moesaic_error *error);

#endif
