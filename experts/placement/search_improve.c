/* SPDX-License-Identifier: Apache-2.0 */
/* Local search for whole placements of one layer: descent by moves and swaps, chains in the manner of Fiduccia and
 * Mattheyses (1982), and kicks out of what is left. */
#include <math.h>
#include <string.h>

#include "search_internal.h"

enum { CHAIN_MAX = 24, KICK_SWAPS = 3, KICKS_IN_VAIN = 12 };

/* The layer at hand. */
struct improver {
    struct search *search;
    uint32_t begin, end; /* its items */
    uint64_t work_end;
    double least_gain; /* below it a change is rounding, not gain */
};

static bool improver_tired(const struct improver *improver) {
    return improver->search->work >= improver->work_end;
}

static double improver_cost(const struct improver *improver) {
    const struct workload *workload = improver->search->workload;
    uint32_t layer = improver->begin / workload->experts;
    double total = 0;
    for (uint32_t step = 0; step < workload->steps; step++)
        total += improver->search->row_s[layer * workload->steps + step];
    return total;
}

/* ---- descent ----------------------------------------------------------------------------------------------------- */

/* The place to which `item` goes best, and by how much the layer changes; PLACE_NONE when it can go nowhere. */
static uint16_t improver_best_move(struct improver *improver, uint32_t item, double *ret_delta) {
    struct search *search = improver->search;
    uint16_t best = PLACE_NONE;
    for (uint16_t p = 0; p < search->places->count; p++) {
        if (p == search->place[item] || !search_fits(search, item, p))
            continue;
        double delta = search_move_delta(search, item, p);
        if (best == PLACE_NONE || delta < *ret_delta) {
            best = p;
            *ret_delta = delta;
        }
    }
    return best;
}

static bool improver_moves(struct improver *improver) {
    bool improved = false;
    for (uint32_t item = improver->begin; item < improver->end && !improver_tired(improver); item++) {
        double delta = 0;
        if (search_dropped(improver->search, item))
            continue;
        uint16_t to = improver_best_move(improver, item, &delta);
        if (to == PLACE_NONE || delta >= -improver->least_gain)
            continue;
        search_move(improver->search, item, to);
        improved = true;
    }
    return improved;
}

static void improver_swap(struct search *search, uint32_t a, uint32_t b) {
    uint16_t place_a = search->place[a], place_b = search->place[b];
    search_move(search, a, PLACE_NONE);
    search_move(search, b, place_a);
    search_move(search, a, place_b);
}

static bool improver_can_swap(const struct search *search, uint32_t a, uint32_t b) {
    return !search_dropped(search, a) && !search_dropped(search, b) && search->place[a] != search->place[b] &&
           search_swap_fits(search, a, b);
}

static bool improver_swaps(struct improver *improver) {
    struct search *search = improver->search;
    bool improved = false;
    for (uint32_t a = improver->begin; a < improver->end; a++)
        for (uint32_t b = a + 1; b < improver->end && !improver_tired(improver); b++)
            if (improver_can_swap(search, a, b) && search_swap_delta(search, a, b) < -improver->least_gain) {
                improver_swap(search, a, b);
                improved = true;
            }
    return improved;
}

static void improver_descend(struct improver *improver) {
    while (!improver_tired(improver))
        if (!improver_moves(improver) && !improver_swaps(improver))
            return;
}

/* ---- chains ------------------------------------------------------------------------------------------------------ */

/* The best move of an item that the chain has not moved yet, even when it costs. */
static bool chain_step(struct improver *improver, const uint32_t *moved, unsigned count, uint32_t *ret_item,
                       uint16_t *ret_to, double *ret_delta) {
    bool found = false;
    for (uint32_t item = improver->begin; item < improver->end; item++) {
        bool locked = search_dropped(improver->search, item);
        for (unsigned m = 0; m < count; m++)
            locked = locked || moved[m] == item;
        double delta = 0;
        uint16_t to = locked ? PLACE_NONE : improver_best_move(improver, item, &delta);
        if (to == PLACE_NONE || (found && delta >= *ret_delta))
            continue;
        found = true;
        *ret_item = item;
        *ret_to = to;
        *ret_delta = delta;
    }
    return found;
}

/* Moves up to CHAIN_MAX different items, each the best one can do, and keeps the prefix that gained most. Whether any
 * did. */
static bool improver_chain(struct improver *improver) {
    struct search *search = improver->search;
    uint32_t moved[CHAIN_MAX];
    uint16_t from[CHAIN_MAX];
    unsigned count = 0, kept = 0;
    double sum = 0, best = -improver->least_gain;
    while (count < CHAIN_MAX && !improver_tired(improver)) {
        uint32_t item = 0;
        uint16_t to = 0;
        double delta = 0;
        if (!chain_step(improver, moved, count, &item, &to, &delta))
            break;
        moved[count] = item;
        from[count++] = search->place[item];
        search_move(search, item, to);
        sum += delta;
        if (sum < best) {
            best = sum;
            kept = count;
        }
    }
    while (count > kept) {
        count--;
        search_move(search, moved[count], from[count]);
    }
    return kept > 0;
}

/* ---- kicks ------------------------------------------------------------------------------------------------------- */

static uint32_t improver_random(uint64_t *state, uint32_t below) {
    *state = *state * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX generator */
    return (uint32_t)((*state >> 33) % below);
}

static void improver_kick(struct improver *improver, uint64_t *random_state) {
    struct search *search = improver->search;
    uint32_t experts = improver->end - improver->begin;
    for (unsigned k = 0; k < KICK_SWAPS; k++) {
        uint32_t a = improver->begin + improver_random(random_state, experts),
                 b = improver->begin + improver_random(random_state, experts);
        uint16_t to = (uint16_t)improver_random(random_state, search->places->count);
        if (a != b && improver_can_swap(search, a, b))
            improver_swap(search, a, b);
        else if (!search_dropped(search, a) && search_fits(search, a, to))
            search_move(search, a, to);
        search->work++;
    }
}

/* Puts every item of the layer back to `saved`. All leave first, so that memory never runs short on the way. */
static void improver_restore(struct improver *improver, const uint16_t *saved) {
    struct search *search = improver->search;
    for (uint32_t item = improver->begin; item < improver->end; item++)
        if (search->place[item] != saved[item - improver->begin])
            search_move(search, item, PLACE_NONE);
    for (uint32_t item = improver->begin; item < improver->end; item++)
        if (search->place[item] != saved[item - improver->begin])
            search_move(search, item, saved[item - improver->begin]);
}

static void improver_settle(struct improver *improver) {
    do
        improver_descend(improver);
    while (!improver_tired(improver) && improver_chain(improver));
}

void search_improve_layer(struct search *search, uint32_t layer, uint64_t work, uint64_t *random_state,
                          uint16_t *scratch) {
    uint32_t experts = search->workload->experts;
    struct improver improver = {
        .search = search, .begin = layer * experts, .end = (layer + 1) * experts, .work_end = search->work + work};
    improver.least_gain = 1e-9 * improver_cost(&improver);
    if (improver.least_gain == 0 || search->places->count < 2)
        return;
    improver_settle(&improver);
    double best = improver_cost(&improver);
    memcpy(scratch, search->place + improver.begin, experts * sizeof *scratch);
    unsigned in_vain = 0;
    while (in_vain < KICKS_IN_VAIN && !improver_tired(&improver)) {
        improver_kick(&improver, random_state);
        improver_settle(&improver);
        double cost = improver_cost(&improver);
        bool better = cost < best - improver.least_gain;
        in_vain = better ? 0 : in_vain + 1;
        if (better) {
            best = cost;
            memcpy(scratch, search->place + improver.begin, experts * sizeof *scratch);
        } else
            improver_restore(&improver, scratch);
    }
}
