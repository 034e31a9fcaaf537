/* SPDX-License-Identifier: Apache-2.0 */
/* Whole placements under the true objective: loads kept per layer and step, and what a move or a swap would change. */
#include <stdlib.h>
#include <string.h>

#include "search_internal.h"

moesaic_status search_create(const struct placement_problem *problem, const struct workload *workload,
                             const struct places *places, struct search **ret_search, moesaic_error *error) {
    unsigned resources = problem->machine->nodes * (places->count > places->locals ? 2 : 1);
    size_t loads = (size_t)workload->rows * resources; /* at most 2^39 */
    struct search *search = calloc(1, sizeof *search);
    if (search == NULL)
        return status_no_memory(error, "the placement search", sizeof *search);
    *search = (struct search){.problem = problem, .workload = workload, .places = places, .resources = resources};
    search->place = malloc(workload->items * sizeof *search->place);
    search->load_s = malloc(loads * sizeof *search->load_s);
    search->row_s = malloc(workload->rows * sizeof *search->row_s);
    if (search->place == NULL || search->load_s == NULL || search->row_s == NULL) {
        search_destroy(search);
        return status_no_memory(error, "the placement search", loads * sizeof *search->load_s);
    }
    search_clear(search);
    *ret_search = search;
    return MOESAIC_OK;
}

void search_destroy(struct search *search) {
    if (search == NULL)
        return;
    free(search->place);
    free(search->load_s);
    free(search->row_s);
    free(search);
}

void search_clear(struct search *search) {
    uint32_t rows = search->workload->rows;
    for (uint32_t item = 0; item < search->workload->items; item++)
        search->place[item] = PLACE_NONE;
    memset(search->load_s, 0, (size_t)rows * search->resources * sizeof *search->load_s);
    memset(search->row_s, 0, rows * sizeof *search->row_s);
    placement_capacity(search->problem, search->room);
}

/* ---- one row under a change -------------------------------------------------------------------------------------- */

/* Adds `sign` times what `item` with `tokens` costs at place `at` to `load`. */
static void search_shift(const struct search *search, double *load, uint32_t item, uint32_t tokens, uint16_t at,
                         double sign) {
    if (at == PLACE_NONE)
        return;
    const struct place *place = &search->places->at[at];
    const struct placement_expert *expert = &search->problem->model->expert[item];
    double bytes = sign * (double)expert_bytes(expert);
    load[place->reader] += bytes * place->byte_s + sign * tokens * expert->flops * place->flop_s;
    if (search->resources > search->problem->machine->nodes)
        load[search->problem->machine->nodes + place->node] += bytes * place->supply_s;
}

static double search_slowest(const struct search *search, const double *load) {
    double slowest = 0;
    for (unsigned r = 0; r < search->resources; r++)
        slowest = load[r] > slowest ? load[r] : slowest;
    return slowest;
}

double search_move_delta(struct search *search, uint32_t item, uint16_t to) {
    const struct workload *workload = search->workload;
    double load[2 * TOPOLOGY_NODES_MAX], delta = 0;
    for (uint32_t u = workload->use_at[item]; u < workload->use_at[item + 1]; u++) {
        struct workload_use use = workload->uses[u];
        memcpy(load, search->load_s + (size_t)use.row * search->resources, search->resources * sizeof *load);
        search_shift(search, load, item, use.tokens, search->place[item], -1);
        search_shift(search, load, item, use.tokens, to, 1);
        delta += search_slowest(search, load) - search->row_s[use.row];
    }
    search->work += workload->use_at[item + 1] - workload->use_at[item];
    return delta;
}

void search_move(struct search *search, uint32_t item, uint16_t to) {
    const struct workload *workload = search->workload;
    uint16_t from = search->place[item];
    uint64_t bytes = expert_bytes(&search->problem->model->expert[item]);
    for (uint32_t u = workload->use_at[item]; u < workload->use_at[item + 1]; u++) {
        struct workload_use use = workload->uses[u];
        double *load = search->load_s + (size_t)use.row * search->resources;
        search_shift(search, load, item, use.tokens, from, -1);
        search_shift(search, load, item, use.tokens, to, 1);
        search->row_s[use.row] = search_slowest(search, load);
    }
    if (from != PLACE_NONE)
        search->room[search->places->at[from].node] += bytes;
    if (to != PLACE_NONE)
        search->room[search->places->at[to].node] -= bytes;
    search->place[item] = to;
}

double search_swap_delta(struct search *search, uint32_t a, uint32_t b) {
    const struct workload *workload = search->workload;
    const struct workload_use *use_a = workload->uses + workload->use_at[a],
                              *end_a = workload->uses + workload->use_at[a + 1],
                              *use_b = workload->uses + workload->use_at[b],
                              *end_b = workload->uses + workload->use_at[b + 1];
    uint16_t place_a = search->place[a], place_b = search->place[b];
    double load[2 * TOPOLOGY_NODES_MAX], delta = 0;
    search->work += (uint64_t)(end_a - use_a) + (uint64_t)(end_b - use_b);
    while (use_a < end_a || use_b < end_b) {
        uint32_t row_a = use_a < end_a ? use_a->row : UINT32_MAX, row_b = use_b < end_b ? use_b->row : UINT32_MAX;
        uint32_t row = row_a < row_b ? row_a : row_b;
        memcpy(load, search->load_s + (size_t)row * search->resources, search->resources * sizeof *load);
        if (row_a == row) {
            search_shift(search, load, a, use_a->tokens, place_a, -1);
            search_shift(search, load, a, (use_a++)->tokens, place_b, 1);
        }
        if (row_b == row) {
            search_shift(search, load, b, use_b->tokens, place_b, -1);
            search_shift(search, load, b, (use_b++)->tokens, place_a, 1);
        }
        delta += search_slowest(search, load) - search->row_s[row];
    }
    return delta;
}

/* ---- room -------------------------------------------------------------------------------------------------------- */

bool search_fits(const struct search *search, uint32_t item, uint16_t to) {
    uint16_t from = search->place[item];
    unsigned node = search->places->at[to].node;
    if (from != PLACE_NONE && search->places->at[from].node == node)
        return true;
    return expert_bytes(&search->problem->model->expert[item]) <= search->room[node];
}

bool search_swap_fits(const struct search *search, uint32_t a, uint32_t b) {
    unsigned node_a = search->places->at[search->place[a]].node, node_b = search->places->at[search->place[b]].node;
    uint64_t bytes_a = expert_bytes(&search->problem->model->expert[a]),
             bytes_b = expert_bytes(&search->problem->model->expert[b]);
    return node_a == node_b || (bytes_b <= search->room[node_a] + bytes_a && bytes_a <= search->room[node_b] + bytes_b);
}

double search_total_s(const struct search *search) {
    double total = 0;
    for (uint32_t row = 0; row < search->workload->rows; row++)
        total += search->row_s[row];
    return total;
}
