/* SPDX-License-Identifier: Apache-2.0 */
/* The exact optimum of small whole placements by branch and bound: the ruler the search is held against. */
#include <stdlib.h>
#include <string.h>

#include "search_internal.h"

enum { OPTIMUM_ITEMS_MAX = 64 };

struct optimum {
    struct search *search;
    uint32_t items, order[OPTIMUM_ITEMS_MAX]; /* heaviest first */
    double *left_s; /* [items + 1, rows] least reader seconds that the items from this depth on will add to a row */
    unsigned readers;
    double best_s;
    uint64_t visited, limit;
};

static double optimum_least_s(const struct search *search, uint32_t item, uint32_t tokens) {
    const struct placement_expert *expert = &search->problem->model->expert[item];
    double least = -1;
    for (unsigned p = 0; p < search->places->count; p++) {
        const struct place *place = &search->places->at[p];
        double seconds = (double)expert_bytes(expert) * place->byte_s + tokens * expert->flops * place->flop_s;
        least = least < 0 || seconds < least ? seconds : least;
    }
    return least;
}

static void optimum_fill_left(struct optimum *o) {
    const struct workload *workload = o->search->workload;
    size_t rows = workload->rows;
    memset(o->left_s + o->items * rows, 0, rows * sizeof *o->left_s);
    for (uint32_t depth = o->items; depth-- > 0;) {
        double *left = o->left_s + depth * rows;
        uint32_t item = o->order[depth];
        memcpy(left, left + rows, rows * sizeof *left);
        for (uint32_t u = workload->use_at[item]; u < workload->use_at[item + 1]; u++)
            left[workload->uses[u].row] += optimum_least_s(o->search, item, workload->uses[u].tokens);
    }
}

/* No completion can be faster: in each row the slowest node is at least as slow as now, and at least the mean of all
 * readers' seconds once the rest is placed. */
static double optimum_bound(const struct optimum *o, uint32_t depth) {
    const struct search *search = o->search;
    const double *left = o->left_s + (size_t)depth * search->workload->rows;
    unsigned nodes = search->problem->machine->nodes;
    double bound = 0;
    for (uint32_t row = 0; row < search->workload->rows; row++) {
        const double *load = search->load_s + (size_t)row * search->resources;
        double sum = left[row];
        for (unsigned n = 0; n < nodes; n++)
            sum += load[n];
        double mean = sum / o->readers;
        bound += mean > search->row_s[row] ? mean : search->row_s[row];
    }
    return bound;
}

/* Whether an empty place before `at` is just like it: trying one of them is enough. */
static bool optimum_repeats(const struct optimum *o, uint32_t depth, uint16_t at) {
    const struct search *search = o->search;
    const struct place *place = &search->places->at[at];
    uint64_t room = search->room[place->node];
    bool used[PLACES_MAX] = {false};
    if (search->resources > search->problem->machine->nodes)
        return false;
    for (uint32_t d = 0; d < depth; d++)
        used[search->place[o->order[d]]] = true;
    for (uint16_t p = 0; p < at && !used[at]; p++) {
        const struct place *other = &search->places->at[p];
        if (!used[p] && other->byte_s == place->byte_s && other->flop_s == place->flop_s &&
            search->room[other->node] == room)
            return true;
    }
    return false;
}

static void optimum_branch(struct optimum *o, uint32_t depth) {
    if (o->visited >= o->limit)
        return;
    o->visited++;
    if (depth == o->items) {
        double total_s = search_total_s(o->search);
        o->best_s = total_s < o->best_s ? total_s : o->best_s;
        return;
    }
    if (optimum_bound(o, depth) >= o->best_s * (1 - 1e-9))
        return;
    for (uint16_t p = 0; p < o->search->places->count; p++)
        if (search_fits(o->search, o->order[depth], p) && !optimum_repeats(o, depth, p)) {
            search_move(o->search, o->order[depth], p);
            optimum_branch(o, depth + 1);
            search_move(o->search, o->order[depth], PLACE_NONE);
        }
}

/* Heaviest first, so that bounds bite early; and the readers that some place has. */
static void optimum_prepare(struct optimum *o) {
    const struct search *search = o->search;
    const struct workload *workload = search->workload;
    double weight[OPTIMUM_ITEMS_MAX];
    bool reads[TOPOLOGY_NODES_MAX] = {false};
    for (unsigned p = 0; p < search->places->count; p++)
        reads[search->places->at[p].reader] = true;
    for (unsigned n = 0; n < TOPOLOGY_NODES_MAX; n++)
        o->readers += reads[n];
    for (uint32_t item = 0; item < workload->items; item++) {
        double heavy = 0;
        if (search_dropped(search, item))
            continue;
        for (uint32_t u = workload->use_at[item]; u < workload->use_at[item + 1]; u++)
            heavy += optimum_least_s(search, item, workload->uses[u].tokens);
        uint32_t at = o->items++;
        for (; at > 0 && weight[at - 1] < heavy; at--) {
            weight[at] = weight[at - 1];
            o->order[at] = o->order[at - 1];
        }
        weight[at] = heavy;
        o->order[at] = item;
    }
}

static moesaic_status optimum_run(const struct placement_problem *problem, const struct workload *workload,
                                  struct optimum *o, moesaic_error *error) {
    struct places *places = malloc(sizeof *places);
    moesaic_status status = MOESAIC_OK;
    uint16_t start[OPTIMUM_ITEMS_MAX];
    if (places == NULL)
        return status_no_memory(error, "the exact placement", sizeof *places);
    places_list(problem->machine, places);
    status = search_whole(problem, workload, places, start, error);
    if (status == MOESAIC_OK)
        status = search_create(problem, workload, places, &o->search, error);
    if (status != MOESAIC_OK)
        goto done;
    optimum_prepare(o);
    o->left_s = malloc(((size_t)o->items + 1) * workload->rows * sizeof *o->left_s);
    if (o->left_s == NULL) {
        status = status_no_memory(error, "the exact placement", (size_t)o->items * workload->rows * sizeof *o->left_s);
        goto done;
    }
    optimum_fill_left(o);
    for (uint32_t d = 0; d < o->items; d++)
        search_move(o->search, o->order[d], start[o->order[d]]);
    o->best_s = search_total_s(o->search);
    search_clear(o->search);
    optimum_branch(o, 0);
done:
    free(o->left_s);
    search_destroy(o->search);
    free(places);
    return status;
}

moesaic_status placement_optimum_whole(const struct placement_problem *problem, uint64_t limit,
                                       struct placement_optimum *ret_optimum, moesaic_error *error) {
    struct placement_problem checked;
    struct workload *workload = NULL;
    struct optimum o = {.limit = limit > 0 ? limit : 20000000};
    moesaic_status status = placement_problem_check(problem, &checked, error);
    if (status != MOESAIC_OK)
        return status;
    if (checked.model->layers * checked.model->experts > OPTIMUM_ITEMS_MAX)
        return status_set(error, MOESAIC_E_USAGE, "placement: the exact optimum takes at most %d experts, not %u",
                          OPTIMUM_ITEMS_MAX, checked.model->layers * checked.model->experts);
    status = workload_create(&checked, &workload, error);
    if (status == MOESAIC_OK)
        status = optimum_run(&checked, workload, &o, error);
    if (status == MOESAIC_OK)
        *ret_optimum = (struct placement_optimum){
            .expert_s = o.best_s / workload->steps, .proven = o.visited < o.limit, .visited = o.visited};
    workload_destroy(workload);
    return status;
}
