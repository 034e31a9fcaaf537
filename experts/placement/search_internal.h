/* SPDX-License-Identifier: Apache-2.0 */
/* State of the search for whole placements: loads per row kept up to date under moves and swaps. */
#ifndef SEARCH_INTERNAL_H
#define SEARCH_INTERNAL_H

#include "placement_internal.h"

enum { PLACE_NONE = UINT16_MAX };

struct search {
    const struct placement_problem *problem;
    const struct workload *workload;
    const struct places *places;
    unsigned resources; /* readers, and where a memory may serve several readers, memories behind them */
    uint16_t *place;    /* [items]; PLACE_NONE while unplaced and for dropped experts */
    double *load_s;     /* [rows, resources] */
    double *row_s;      /* [rows] the slowest of them */
    uint64_t room[TOPOLOGY_NODES_MAX];
    uint64_t work; /* rows evaluated: the clock of a search that must not depend on time */
};
moesaic_status search_create(const struct placement_problem *problem, const struct workload *workload,
                             const struct places *places, struct search **ret_search, moesaic_error *error);
void search_destroy(struct search *search); /* accepts NULL */
void search_clear(struct search *search);   /* nothing placed */

/* Change of the sum of row_s if `item` went to `to` (PLACE_NONE: nowhere). */
double search_move_delta(struct search *search, uint32_t item, uint16_t to);
void search_move(struct search *search, uint32_t item, uint16_t to);
/* Change if two placed items of one layer changed places. */
double search_swap_delta(struct search *search, uint32_t a, uint32_t b);
bool search_fits(const struct search *search, uint32_t item, uint16_t to);
bool search_swap_fits(const struct search *search, uint32_t a, uint32_t b);
double search_total_s(const struct search *search);
static inline bool search_dropped(const struct search *search, uint32_t item) {
    return search->problem->model->expert[item].intermediate == 0;
}

/* Seeds: false when an expert found no room. `keys` [items] is scratch. */
struct seed_key {
    double weight;
    uint32_t item;
};
bool search_seed_longest_first(struct search *search, struct seed_key *keys);
bool search_seed_round_robin(struct search *search);
bool search_seed_largest_first(struct search *search, struct seed_key *keys);

/* Moves and swaps of one layer while they help, chains of moves that may go uphill, and kicks, until the layer has had
 * `work` row evaluations. Never worse than before. `scratch` [experts]. */
void search_improve_layer(struct search *search, uint32_t layer, uint64_t work, uint64_t *random_state,
                          uint16_t *scratch);

#endif
