/* SPDX-License-Identifier: Apache-2.0 */
/* Whole experts with copies, kept as a layout that can be changed and priced row by row. */
#ifndef COPIES_INTERNAL_H
#define COPIES_INTERNAL_H

#include "search_internal.h"

enum { COPIES_MAX = 8 };

struct copies {
    const struct placement_problem *problem; /* checked */
    const struct workload *workload;
    const struct places *places;
    struct layout *layout; /* COPIES_MAX parts an item */
    uint16_t *place;       /* [items, COPIES_MAX] as in the layout */
    uint8_t *count;        /* [items] */
    double *row_s;         /* [rows] up to date */
    uint32_t *version;     /* [layers] counts the changes, so that older gains are known to be stale */
    uint64_t room[TOPOLOGY_NODES_MAX];
};
/* Nothing is placed yet; copies_fill_rows after the first copies are. */
moesaic_status copies_open(const struct placement_problem *problem, const struct workload *workload,
                           const struct places *places, struct copies *ret_copies, moesaic_error *error);
void copies_close(struct copies *copies);       /* accepts a zeroed struct */
double copies_fill_rows(struct copies *copies); /* returns their sum */

/* Without touching rows, room or version. */
void copies_append(struct copies *copies, uint32_t item, uint16_t place);
void copies_remove(struct copies *copies, uint32_t item, uint32_t copy);
/* Seconds that the rows of `item` are longer or shorter than row_s says, after a change: what it saved. */
double copies_saved(const struct copies *copies, uint32_t item);
/* Takes a change of `item` over into its rows and its layer's version. */
void copies_commit(struct copies *copies, uint32_t item);

/* Whether `item` could have one more copy at `place`: there is room on the node, and none there yet. */
bool copies_possible(const struct copies *copies, uint32_t item, uint16_t place);
double copies_gain_of_add(struct copies *copies, uint32_t item, uint16_t place);
double copies_gain_of_move(struct copies *copies, uint32_t item, uint32_t copy, uint16_t place);

/* ---- candidates: changes waiting in order of gain per byte ------------------------------------------------------- */

/* A copy more (`copy` is the count) or copy `copy` moved, to `place`. */
struct candidate {
    double gain_s, gain_per_byte;
    uint32_t item, copy, version;
    uint16_t place;
};
struct candidates {
    struct candidate *heap;
    size_t count, capacity;
};
moesaic_status candidates_open(struct candidates *candidates, size_t capacity, moesaic_error *error);
void candidates_close(struct candidates *candidates);
/* Candidates over capacity are dropped: the caller sized it for all there can be. */
void candidates_push(struct candidates *candidates, struct candidate candidate);
struct candidate candidates_pop(struct candidates *candidates); /* of a heap that is not empty */

#endif
