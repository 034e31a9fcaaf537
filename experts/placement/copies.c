/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of experts on places, what one more, one less or one elsewhere would save, and the heap of such changes. */
#include "copies_internal.h"

#include <stdlib.h>
#include <string.h>

moesaic_status copies_open(const struct placement_problem *problem, const struct workload *workload,
                           const struct places *places, struct copies *ret_copies, moesaic_error *error) {
    struct copies copies = {.problem = problem, .workload = workload, .places = places};
    size_t items = workload->items;
    moesaic_status status = layout_create(problem, COPIES_MAX, &copies.layout, error);
    if (status != MOESAIC_OK)
        return status;
    copies.place = malloc(items * COPIES_MAX * sizeof *copies.place);
    copies.count = calloc(items, sizeof *copies.count);
    copies.row_s = malloc(workload->rows * sizeof *copies.row_s);
    copies.version = calloc(workload->layers, sizeof *copies.version);
    if (copies.place == NULL || copies.count == NULL || copies.row_s == NULL || copies.version == NULL) {
        copies_close(&copies);
        return status_no_memory(error, "the placement search", items * COPIES_MAX * sizeof *copies.place);
    }
    placement_capacity(problem, copies.room);
    *ret_copies = copies;
    return MOESAIC_OK;
}

void copies_close(struct copies *copies) {
    layout_destroy(copies->layout);
    free(copies->place);
    free(copies->count);
    free(copies->row_s);
    free(copies->version);
}

double copies_fill_rows(struct copies *copies) {
    struct row_load load;
    double total_s = 0;
    for (uint32_t row = 0; row < copies->workload->rows; row++)
        total_s += copies->row_s[row] = layout_row(copies->layout, copies->workload, row, &load);
    return total_s;
}

/* ---- changes ----------------------------------------------------------------------------------------------------- */

static void copies_put(struct copies *copies, uint32_t item, uint32_t copy, uint16_t at) {
    const struct place *place = &copies->places->at[at];
    struct layout *layout = copies->layout;
    layout->parts[layout->first[item] + copy] = part_make(copies->problem->machine, place->node, place->reader,
                                                          layout->item_bytes[item], layout->item_flops[item]);
    copies->place[(size_t)item * COPIES_MAX + copy] = at;
}

void copies_append(struct copies *copies, uint32_t item, uint16_t place) {
    copies_put(copies, item, copies->count[item]++, place);
    copies->layout->count[item] = copies->count[item];
}

void copies_remove(struct copies *copies, uint32_t item, uint32_t copy) {
    for (uint32_t c = copy + 1; c < copies->count[item]; c++)
        copies_put(copies, item, c - 1, copies->place[(size_t)item * COPIES_MAX + c]);
    copies->layout->count[item] = --copies->count[item];
}

double copies_saved(const struct copies *copies, uint32_t item) {
    const struct workload *workload = copies->workload;
    struct row_load load;
    double saved_s = 0;
    for (uint32_t u = workload->use_at[item]; u < workload->use_at[item + 1]; u++) {
        uint32_t row = workload->uses[u].row;
        saved_s += copies->row_s[row] - layout_row(copies->layout, workload, row, &load);
    }
    return saved_s;
}

void copies_commit(struct copies *copies, uint32_t item) {
    const struct workload *workload = copies->workload;
    struct row_load load;
    for (uint32_t u = workload->use_at[item]; u < workload->use_at[item + 1]; u++) {
        uint32_t row = workload->uses[u].row;
        copies->row_s[row] = layout_row(copies->layout, workload, row, &load);
    }
    copies->version[item / workload->experts]++;
}

bool copies_possible(const struct copies *copies, uint32_t item, uint16_t place) {
    unsigned node = copies->places->at[place].node;
    if (copies->count[item] == 0 || expert_bytes(&copies->problem->model->expert[item]) > copies->room[node])
        return false;
    for (uint32_t c = 0; c < copies->count[item]; c++)
        if (copies->places->at[copies->place[(size_t)item * COPIES_MAX + c]].node == node)
            return false;
    return true;
}

double copies_gain_of_add(struct copies *copies, uint32_t item, uint16_t place) {
    copies_append(copies, item, place);
    double gain_s = copies_saved(copies, item);
    copies_remove(copies, item, copies->count[item] - 1u);
    return gain_s;
}

double copies_gain_of_move(struct copies *copies, uint32_t item, uint32_t copy, uint16_t place) {
    uint16_t from = copies->place[(size_t)item * COPIES_MAX + copy];
    copies_put(copies, item, copy, place);
    double gain_s = copies_saved(copies, item);
    copies_put(copies, item, copy, from);
    return gain_s;
}

/* ---- heap -------------------------------------------------------------------------------------------------------- */

static bool candidate_before(const struct candidate *a, const struct candidate *b) {
    if (a->gain_per_byte != b->gain_per_byte)
        return a->gain_per_byte > b->gain_per_byte;
    if (a->item != b->item)
        return a->item < b->item;
    return a->copy != b->copy ? a->copy < b->copy : a->place < b->place;
}

moesaic_status candidates_open(struct candidates *candidates, size_t capacity, moesaic_error *error) {
    *candidates = (struct candidates){.capacity = capacity};
    candidates->heap = malloc((capacity > 0 ? capacity : 1) * sizeof *candidates->heap);
    return candidates->heap != NULL
               ? MOESAIC_OK
               : status_no_memory(error, "the placement search", capacity * sizeof *candidates->heap);
}

void candidates_close(struct candidates *candidates) {
    free(candidates->heap);
}

void candidates_push(struct candidates *candidates, struct candidate candidate) {
    if (candidates->count == candidates->capacity)
        return;
    size_t at = candidates->count++;
    for (; at > 0 && candidate_before(&candidate, &candidates->heap[(at - 1) / 2]); at = (at - 1) / 2)
        candidates->heap[at] = candidates->heap[(at - 1) / 2];
    candidates->heap[at] = candidate;
}

struct candidate candidates_pop(struct candidates *candidates) {
    struct candidate *heap = candidates->heap, top = heap[0], last = heap[--candidates->count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child + 1 < candidates->count && candidate_before(&heap[child + 1], &heap[child]))
            child++;
        if (child >= candidates->count || !candidate_before(&heap[child], &last))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return top;
}
