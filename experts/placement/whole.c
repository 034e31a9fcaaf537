/* SPDX-License-Identifier: Apache-2.0 */
/* The whole policy: the best of several seeds, each improved layer by layer. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "search_internal.h"

/* Row evaluations of one seed's improvement in all layers together: under a second of one core. */
enum { WHOLE_WORK = 16000000 };

struct whole {
    struct search *search;
    struct seed_key *keys;    /* [items] */
    uint16_t *best, *scratch; /* [items], [experts] */
    double best_s;
    bool found;
};

/* Improves the seed that the search holds and keeps it if it is the best so far. */
static void whole_consider(struct whole *whole, uint64_t seed) {
    struct search *search = whole->search;
    uint64_t random_state = seed * 2 + 1, work = WHOLE_WORK / search->workload->layers;
    for (uint32_t layer = 0; layer < search->workload->layers; layer++)
        search_improve_layer(search, layer, work, &random_state, whole->scratch);
    double total_s = search_total_s(search);
    if (whole->found && total_s >= whole->best_s)
        return;
    whole->found = true;
    whole->best_s = total_s;
    memcpy(whole->best, search->place, search->workload->items * sizeof *whole->best);
}

static moesaic_status whole_no_room(const struct placement_problem *problem, moesaic_error *error) {
    uint64_t room[TOPOLOGY_NODES_MAX], largest = 0, most = 0;
    placement_capacity(problem, room);
    for (unsigned n = 0; n < problem->machine->nodes; n++)
        most = room[n] > most ? room[n] : most;
    for (size_t i = 0; i < (size_t)problem->model->layers * problem->model->experts; i++)
        if (expert_bytes(&problem->model->expert[i]) > largest)
            largest = expert_bytes(&problem->model->expert[i]);
    return status_set(error, MOESAIC_E_UNSUPPORTED,
                      "placement: whole experts of up to %" PRIu64
                      " bytes do not fit the nodes one by one (the largest "
                      "has %" PRIu64 " bytes); slices need less room on each",
                      largest, most);
}

moesaic_status search_whole(const struct placement_problem *problem, const struct workload *workload,
                            const struct places *places, uint16_t *ret_place, moesaic_error *error) {
    struct whole whole = {.best = ret_place};
    moesaic_status status = search_create(problem, workload, places, &whole.search, error);
    if (status != MOESAIC_OK)
        return status;
    whole.keys = malloc(workload->items * sizeof *whole.keys);
    whole.scratch = malloc(workload->experts * sizeof *whole.scratch);
    if (whole.keys == NULL || whole.scratch == NULL) {
        status = status_no_memory(error, "the placement search", workload->items * sizeof *whole.keys);
        goto done;
    }
    if (search_seed_longest_first(whole.search, whole.keys))
        whole_consider(&whole, problem->options.seed);
    if (search_seed_round_robin(whole.search))
        whole_consider(&whole, problem->options.seed);
    if (!whole.found && search_seed_largest_first(whole.search, whole.keys))
        whole_consider(&whole, problem->options.seed);
    if (!whole.found)
        status = whole_no_room(problem, error);
done:
    free(whole.keys);
    free(whole.scratch);
    search_destroy(whole.search);
    return status;
}

moesaic_status search_round_robin(const struct placement_problem *problem, const struct workload *workload,
                                  const struct places *places, uint16_t *ret_place, moesaic_error *error) {
    struct search *search = NULL;
    moesaic_status status = search_create(problem, workload, places, &search, error);
    if (status != MOESAIC_OK)
        return status;
    if (search_seed_round_robin(search))
        memcpy(ret_place, search->place, workload->items * sizeof *ret_place);
    else
        status = whole_no_room(problem, error);
    search_destroy(search);
    return status;
}
