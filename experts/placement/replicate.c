/* SPDX-License-Identifier: Apache-2.0 */
/* The replicate policy: whole experts, and copies of the hot ones, taken greedily by gain per byte. */
#include <stdlib.h>

#include "copies_internal.h"

struct replication {
    struct copies copies;
    struct candidates waiting;
    uint64_t budget;
    double least_gain_s;
};

static bool replicate_possible(const struct replication *r, uint32_t item, uint16_t place) {
    return r->copies.count[item] < COPIES_MAX && expert_bytes(&r->copies.problem->model->expert[item]) <= r->budget &&
           copies_possible(&r->copies, item, place);
}

/* Works the gain out anew and lets the candidate wait if it is worth its bytes. */
static void replicate_consider(struct replication *r, uint32_t item, uint16_t place) {
    struct copies *copies = &r->copies;
    if (!replicate_possible(r, item, place))
        return;
    double gain_s = copies_gain_of_add(copies, item, place);
    if (gain_s > 0 && gain_s >= r->least_gain_s)
        candidates_push(&r->waiting, (struct candidate){.gain_s = gain_s,
                                                        .gain_per_byte = gain_s / copies->layout->item_bytes[item],
                                                        .item = item,
                                                        .copy = copies->count[item],
                                                        .place = place,
                                                        .version = copies->version[item / copies->workload->experts]});
}

static void replicate_accept(struct replication *r, const struct candidate *candidate) {
    uint64_t bytes = expert_bytes(&r->copies.problem->model->expert[candidate->item]);
    copies_append(&r->copies, candidate->item, candidate->place);
    copies_commit(&r->copies, candidate->item);
    r->copies.room[r->copies.places->at[candidate->place].node] -= bytes;
    r->budget -= bytes;
}

/* Lazy greedy: a stale candidate that comes to the top is weighed again before it is taken. */
static void replicate_greedily(struct replication *r) {
    const struct workload *workload = r->copies.workload;
    for (uint32_t item = 0; item < workload->items; item++)
        for (uint16_t p = 0; p < r->copies.places->count && workload->use_at[item + 1] > workload->use_at[item]; p++)
            replicate_consider(r, item, p);
    while (r->waiting.count > 0) {
        struct candidate top = candidates_pop(&r->waiting);
        if (top.version != r->copies.version[top.item / workload->experts])
            replicate_consider(r, top.item, top.place);
        else if (replicate_possible(r, top.item, top.place))
            replicate_accept(r, &top);
    }
}

static void replicate_start(struct replication *r, const uint16_t *place) {
    struct copies *copies = &r->copies;
    const struct placement_options *options = &copies->problem->options;
    for (uint32_t item = 0; item < copies->workload->items; item++)
        if (place[item] != PLACE_NONE) {
            copies_append(copies, item, place[item]);
            copies->room[copies->places->at[place[item]].node] -= expert_bytes(&copies->problem->model->expert[item]);
        }
    r->least_gain_s = options->min_replica_gain * copies_fill_rows(copies);
    r->budget = options->replica_budget_bytes > 0 ? options->replica_budget_bytes
                                                  : placement_model_bytes(copies->problem->model) / 4;
}

moesaic_status placement_make_replicate(const struct placement_problem *problem, const struct workload *workload,
                                        const struct places *places, const uint16_t *place,
                                        struct placement_plan **ret_plan, moesaic_error *error) {
    struct replication r = {.budget = 0};
    moesaic_status status = copies_open(problem, workload, places, &r.copies, error);
    if (status == MOESAIC_OK)
        status = candidates_open(&r.waiting, (size_t)workload->items * places->count, error);
    if (status == MOESAIC_OK) {
        replicate_start(&r, place);
        replicate_greedily(&r);
        status = placement_plan_from_copies(problem, PLACEMENT_REPLICATE, places, r.copies.place, r.copies.count,
                                            COPIES_MAX, ret_plan, error);
    }
    candidates_close(&r.waiting);
    copies_close(&r.copies);
    return status;
}
