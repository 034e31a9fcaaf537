/* SPDX-License-Identifier: Apache-2.0 */
/* Where the search for whole placements starts: longest processing time first, round robin, largest first. */
#include <math.h>
#include <stdlib.h>

#include "search_internal.h"

/* Busy seconds of an item over the whole trace at the fastest place. */
static double seed_weight(const struct search *search, uint32_t item) {
    const struct workload *workload = search->workload;
    const struct placement_expert *expert = &search->problem->model->expert[item];
    double uses = workload->use_at[item + 1] - workload->use_at[item], tokens = 0, least = -1;
    for (uint32_t u = workload->use_at[item]; u < workload->use_at[item + 1]; u++)
        tokens += workload->uses[u].tokens;
    for (unsigned p = 0; p < search->places->count; p++) {
        const struct place *place = &search->places->at[p];
        double weight = uses * (double)expert_bytes(expert) * place->byte_s + tokens * expert->flops * place->flop_s;
        least = least < 0 || weight < least ? weight : least;
    }
    return least;
}

static int seed_order(const void *a, const void *b) {
    const struct seed_key *x = a, *y = b;
    if (x->weight != y->weight)
        return x->weight > y->weight ? -1 : 1;
    return x->item < y->item ? -1 : x->item > y->item;
}

/* The place that lengthens the replayed rows least, then the one with the least seconds given so far, then the first.
 */
static uint16_t seed_best_place(struct search *search, uint32_t item, const double *given_s) {
    uint16_t best = PLACE_NONE;
    double best_delta = 0;
    for (uint16_t p = 0; p < search->places->count; p++) {
        if (!search_fits(search, item, p))
            continue;
        double delta = search_move_delta(search, item, p), close = 1e-9 * fabs(best_delta);
        bool less_given =
            best != PLACE_NONE && given_s[search->places->at[p].reader] < given_s[search->places->at[best].reader];
        if (best == PLACE_NONE || delta < best_delta - close || (less_given && delta <= best_delta + close)) {
            best = p;
            best_delta = delta;
        }
    }
    return best;
}

static bool seed_layer(struct search *search, uint32_t layer, struct seed_key *keys) {
    uint32_t experts = search->workload->experts, count = 0;
    double given_s[TOPOLOGY_NODES_MAX] = {0};
    for (uint32_t item = layer * experts; item < (layer + 1) * experts; item++)
        if (!search_dropped(search, item))
            keys[count++] = (struct seed_key){.weight = seed_weight(search, item), .item = item};
    qsort(keys, count, sizeof *keys, seed_order);
    for (uint32_t i = 0; i < count; i++) {
        uint16_t place = seed_best_place(search, keys[i].item, given_s);
        if (place == PLACE_NONE)
            return false;
        search_move(search, keys[i].item, place);
        /* An expert that the trace never met still takes its turn, so that cold ones spread as well. */
        given_s[search->places->at[place].reader] += keys[i].weight > 0 ? keys[i].weight : 1e-15;
    }
    return true;
}

bool search_seed_longest_first(struct search *search, struct seed_key *keys) {
    search_clear(search);
    for (uint32_t layer = 0; layer < search->workload->layers; layer++)
        if (!seed_layer(search, layer, keys))
            return false;
    return true;
}

bool search_seed_round_robin(struct search *search) {
    search_clear(search);
    uint32_t experts = search->workload->experts;
    unsigned turns = search->places->locals > 0 ? search->places->locals : search->places->count;
    for (uint32_t item = 0; item < search->workload->items; item++) {
        uint16_t first = (uint16_t)(item % experts % turns), place = first;
        bool fits = search_dropped(search, item);
        for (unsigned tried = 0; tried < search->places->count && !fits; tried++) {
            place = (uint16_t)((first + tried) % search->places->count);
            fits = search_fits(search, item, place);
        }
        if (!fits)
            return false;
        if (!search_dropped(search, item))
            search_move(search, item, place);
    }
    return true;
}

bool search_seed_largest_first(struct search *search, struct seed_key *keys) {
    search_clear(search);
    uint32_t items = search->workload->items;
    for (uint32_t item = 0; item < items; item++)
        keys[item] =
            (struct seed_key){.weight = (double)expert_bytes(&search->problem->model->expert[item]), .item = item};
    qsort(keys, items, sizeof *keys, seed_order);
    for (uint32_t i = 0; i < items; i++) {
        uint16_t best = PLACE_NONE;
        for (uint16_t p = 0; p < search->places->count; p++)
            if (search_fits(search, keys[i].item, p) &&
                (best == PLACE_NONE ||
                 search->room[search->places->at[p].node] > search->room[search->places->at[best].node]))
                best = p;
        if (search_dropped(search, keys[i].item))
            continue;
        if (best == PLACE_NONE)
            return false;
        search_move(search, keys[i].item, best);
    }
    return true;
}
