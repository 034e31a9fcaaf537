/* SPDX-License-Identifier: Apache-2.0 */
/* The replicate policy: whole experts, and copies of the hot ones, taken greedily by gain per byte. */
#include <stdlib.h>
#include <string.h>

#include "search_internal.h"

enum { COPIES_MAX = 8 };

/* A copy that could be made. `version` is its layer's when the gain was worked out; gains of an older one are stale. */
struct candidate {
    double gain_s, gain_per_byte;
    uint32_t item, version;
    uint16_t place;
};

struct replication {
    const struct placement_problem *problem;
    const struct workload *workload;
    const struct places *places;
    struct layout *layout;      /* COPIES_MAX parts an item */
    uint16_t *copies;           /* [items, COPIES_MAX] places, as in the layout */
    uint8_t *count;             /* [items] */
    double *row_s;              /* [rows] */
    uint32_t *version;          /* [layers] */
    struct candidate *heap;     /* greatest gain per byte first */
    size_t heap_count;
    uint64_t room[TOPOLOGY_NODES_MAX], budget;
    double least_gain_s;
};

/* ---- heap --------------------------------------------------------------------------------------------------------- */

static bool candidate_before(const struct candidate *a, const struct candidate *b) {
    if (a->gain_per_byte != b->gain_per_byte)
        return a->gain_per_byte > b->gain_per_byte;
    return a->item != b->item ? a->item < b->item : a->place < b->place;
}

static void heap_push(struct replication *r, struct candidate candidate) {
    size_t at = r->heap_count++;
    for (; at > 0 && candidate_before(&candidate, &r->heap[(at - 1) / 2]); at = (at - 1) / 2)
        r->heap[at] = r->heap[(at - 1) / 2];
    r->heap[at] = candidate;
}

static struct candidate heap_pop(struct replication *r) {
    struct candidate top = r->heap[0], last = r->heap[--r->heap_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child + 1 < r->heap_count && candidate_before(&r->heap[child + 1], &r->heap[child]))
            child++;
        if (child >= r->heap_count || !candidate_before(&r->heap[child], &last))
            break;
        r->heap[at] = r->heap[child];
        at = child;
    }
    r->heap[at] = last;
    return top;
}

/* ---- copies ------------------------------------------------------------------------------------------------------- */

static void replicate_add_copy(struct replication *r, uint32_t item, uint16_t at) {
    const struct place *place = &r->places->at[at];
    struct layout *layout = r->layout;
    layout->parts[layout->first[item] + layout->count[item]++] =
        part_make(r->problem->machine, place->node, place->reader, layout->item_bytes[item], layout->item_flops[item]);
    r->copies[(size_t)item * COPIES_MAX + r->count[item]++] = at;
}

static void replicate_remove_last(struct replication *r, uint32_t item) {
    r->layout->count[item]--;
    r->count[item]--;
}

/* Seconds that a copy at `at` saves over all rows; the layout is as before afterwards. */
static double replicate_gain(struct replication *r, uint32_t item, uint16_t at) {
    const struct workload *workload = r->workload;
    struct row_load load;
    double gain_s = 0;
    replicate_add_copy(r, item, at);
    for (uint32_t u = workload->use_at[item]; u < workload->use_at[item + 1]; u++) {
        uint32_t row = workload->uses[u].row;
        gain_s += r->row_s[row] - layout_row(r->layout, workload, row, &load);
    }
    replicate_remove_last(r, item);
    return gain_s;
}

static bool replicate_possible(const struct replication *r, uint32_t item, uint16_t at) {
    unsigned node = r->places->at[at].node;
    uint64_t bytes = expert_bytes(&r->problem->model->expert[item]);
    if (r->count[item] == 0 || r->count[item] == COPIES_MAX || bytes > r->room[node] || bytes > r->budget)
        return false;
    for (uint32_t c = 0; c < r->count[item]; c++)
        if (r->places->at[r->copies[(size_t)item * COPIES_MAX + c]].node == node)
            return false;
    return true;
}

/* Works the gain out anew and puts the candidate into the heap if it is worth its bytes. */
static void replicate_consider(struct replication *r, uint32_t item, uint16_t at) {
    if (!replicate_possible(r, item, at))
        return;
    double gain_s = replicate_gain(r, item, at);
    if (gain_s <= 0 || gain_s < r->least_gain_s)
        return;
    heap_push(r, (struct candidate){.gain_s = gain_s,
                                    .gain_per_byte = gain_s / r->layout->item_bytes[item],
                                    .item = item,
                                    .place = at,
                                    .version = r->version[item / r->workload->experts]});
}

static void replicate_accept(struct replication *r, const struct candidate *candidate) {
    const struct workload *workload = r->workload;
    uint64_t bytes = expert_bytes(&r->problem->model->expert[candidate->item]);
    struct row_load load;
    replicate_add_copy(r, candidate->item, candidate->place);
    for (uint32_t u = workload->use_at[candidate->item]; u < workload->use_at[candidate->item + 1]; u++) {
        uint32_t row = workload->uses[u].row;
        r->row_s[row] = layout_row(r->layout, workload, row, &load);
    }
    r->room[r->places->at[candidate->place].node] -= bytes;
    r->budget -= bytes;
    r->version[candidate->item / workload->experts]++;
}

/* Lazy greedy: a stale candidate that comes to the top is weighed again before it is taken. */
static void replicate_greedily(struct replication *r) {
    for (uint32_t item = 0; item < r->workload->items; item++)
        for (uint16_t p = 0; p < r->places->count && r->workload->use_at[item + 1] > r->workload->use_at[item]; p++)
            replicate_consider(r, item, p);
    while (r->heap_count > 0) {
        struct candidate top = heap_pop(r);
        if (top.version != r->version[top.item / r->workload->experts])
            replicate_consider(r, top.item, top.place);
        else if (replicate_possible(r, top.item, top.place))
            replicate_accept(r, &top);
    }
}

/* ---- set up ------------------------------------------------------------------------------------------------------- */

static moesaic_status replicate_allocate(struct replication *r, moesaic_error *error) {
    size_t items = r->workload->items, candidates = items * r->places->count;
    r->copies = malloc(items * COPIES_MAX * sizeof *r->copies);
    r->count = calloc(items, sizeof *r->count);
    r->row_s = malloc(r->workload->rows * sizeof *r->row_s);
    r->version = calloc(r->workload->layers, sizeof *r->version);
    r->heap = malloc(candidates * sizeof *r->heap);
    if (r->copies == NULL || r->count == NULL || r->row_s == NULL || r->version == NULL || r->heap == NULL)
        return status_no_memory(error, "the replication search", candidates * sizeof *r->heap);
    return layout_create(r->problem, COPIES_MAX, &r->layout, error);
}

static void replicate_start(struct replication *r, const uint16_t *place) {
    const struct workload *workload = r->workload;
    const struct placement_options *options = &r->problem->options;
    struct row_load load;
    double total_s = 0;
    placement_capacity(r->problem, r->room);
    for (uint32_t item = 0; item < workload->items; item++)
        if (place[item] != PLACE_NONE) {
            replicate_add_copy(r, item, place[item]);
            r->room[r->places->at[place[item]].node] -= expert_bytes(&r->problem->model->expert[item]);
        }
    for (uint32_t row = 0; row < workload->rows; row++)
        total_s += r->row_s[row] = layout_row(r->layout, workload, row, &load);
    r->least_gain_s = options->min_replica_gain * total_s;
    r->budget = options->replica_budget_bytes > 0 ? options->replica_budget_bytes
                                                  : placement_model_bytes(r->problem->model) / 4;
}

moesaic_status plan_make_replicate(const struct placement_problem *problem, const struct workload *workload,
                                   const struct places *places, const uint16_t *place,
                                   struct placement_plan **ret_plan, moesaic_error *error) {
    struct replication r = {.problem = problem, .workload = workload, .places = places};
    moesaic_status status = replicate_allocate(&r, error);
    if (status == MOESAIC_OK) {
        replicate_start(&r, place);
        replicate_greedily(&r);
        status = plan_from_copies(problem, PLACEMENT_REPLICATE, places, r.copies, r.count, COPIES_MAX, ret_plan, error);
    }
    layout_destroy(r.layout);
    free(r.copies);
    free(r.count);
    free(r.row_s);
    free(r.version);
    free(r.heap);
    return status;
}
