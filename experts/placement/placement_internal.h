/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of experts/placement share: places, the workload of a trace, and the evaluation of a layout. */
#ifndef PLACEMENT_INTERNAL_H
#define PLACEMENT_INTERNAL_H

#include "placement.h"

/* ---- places: where an expert can be held and by whom it can be computed ------------------------------------------ */

/* Memory of `node` computed by the threads of `reader`. Seconds of the reader per byte and per FLOP; seconds of the
 * memory itself per byte. */
struct place {
    uint16_t node, reader;
    double byte_s, flop_s, supply_s;
};
enum { PLACE_PARTNERS_MAX = 4, PLACES_MAX = PLACEMENT_PIECES_MAX };
/* The first `locals` places are nodes with both memory and cores, which come in ascending order. A node without cores
 * is paired with the PLACE_PARTNERS_MAX nodes that read it fastest, a node without memory with the memories it reads
 * fastest. */
struct places {
    unsigned count, locals;
    struct place at[PLACES_MAX];
};
struct place place_of(const struct machine_speeds *machine, unsigned node, unsigned reader);
void places_list(const struct machine_speeds *machine, struct places *ret_places);
/* Index of the place, added to the list where it was not in it; PLACES_MAX when the list is full. */
unsigned places_index(const struct machine_speeds *machine, unsigned node, unsigned reader, struct places *places);
/* Bytes of experts that each node can hold: its memory less its share, by memory, of the dense weights. [nodes] */
void placement_capacity(const struct placement_problem *problem, uint64_t *ret_bytes);
/* Share of all pages that round robin puts on each node: equal until a node is full. [nodes], sums to 1. */
void placement_page_shares(const struct placement_problem *problem, double *ret_share);

/* ---- options and checks ------------------------------------------------------------------------------------------ */

/* The problem with the defaults of its options filled in, checked: model, machine, trace against each other, and that
 * the experts fit the machine at all. */
moesaic_status placement_problem_check(const struct placement_problem *problem, struct placement_problem *ret_problem,
                                       moesaic_error *error);

/* ---- workload: who is active when -------------------------------------------------------------------------------- */

/* An item is one expert of one layer, layer x experts + expert; a row one layer of one step, layer x steps + step. */
struct workload_use {
    uint32_t row, tokens;
};
struct workload_choice {
    uint32_t item, tokens;
};
struct workload {
    uint32_t layers, experts, batch, steps, items, rows;
    uint32_t *use_at; /* [items + 1] */
    struct workload_use *uses;
    uint32_t *choice_at;             /* [rows + 1] */
    struct workload_choice *choices; /* of a row by descending tokens, then ascending item */
};
moesaic_status workload_create(const struct placement_problem *problem, struct workload **ret_workload,
                               moesaic_error *error);
void workload_destroy(struct workload *workload); /* accepts NULL */

/* ---- layout: a plan with its times worked out -------------------------------------------------------------------- */

/* One piece: seconds of its reader once and per token, seconds of its memory once. */
struct part {
    uint16_t node, reader;
    double bytes, read_s, token_s, supply_s;
};
struct layout {
    const struct machine_speeds *machine;
    bool interleaved;
    uint32_t items;
    uint32_t *first; /* [items]: parts of item i are [first[i], first[i] + count[i]) */
    uint16_t *count;
    bool *divided; /* [items] slices rather than replicas */
    struct part *parts;
    /* Interleaved only: of the layer's bytes and FLOPs together, per node. */
    double *item_bytes, *item_flops;          /* [items] */
    double reader_byte_s[TOPOLOGY_NODES_MAX]; /* [reader] */
    double reader_flop_s[TOPOLOGY_NODES_MAX]; /* [reader] */
    double supply_byte_s[TOPOLOGY_NODES_MAX]; /* [memory] */
    double remote_share;
};
struct part part_make(const struct machine_speeds *machine, unsigned node, unsigned reader, double bytes, double flops);
/* `capacity` parts for each of the items, none of them filled. */
moesaic_status layout_create(const struct placement_problem *problem, uint32_t capacity, struct layout **ret_layout,
                             moesaic_error *error);
moesaic_status layout_from_plan(const struct placement_problem *problem, const struct placement_plan *plan,
                                struct layout **ret_layout, moesaic_error *error);
void layout_destroy(struct layout *layout); /* accepts NULL */

/* Seconds of one row: [0, nodes) by reader, [nodes, 2 x nodes) by memory. */
struct row_load {
    double seconds[2 * TOPOLOGY_NODES_MAX];
    double local_bytes, remote_bytes;
};
/* Time of the slowest node of a row; fills `ret_load`. */
double layout_row(const struct layout *layout, const struct workload *workload, uint32_t row,
                  struct row_load *ret_load);

/* ---- costs that do not depend on where an expert lies ------------------------------------------------------------ */

struct exchange {
    double seconds; /* one layer of one step */
    double bytes;   /* that cross nodes, one layer of one step */
};
struct exchange exchange_of(const struct placement_problem *problem, enum placement_policy policy);
double dense_seconds(const struct placement_problem *problem);
/* placement_simulate of a checked problem whose workload is at hand. */
moesaic_status simulate_workload(const struct placement_problem *problem, const struct workload *workload,
                                 const struct placement_plan *plan, struct placement_prediction *ret_prediction,
                                 moesaic_error *error);

/* ---- plans under construction ------------------------------------------------------------------------------------ */

/* A plan with room for `pieces` pieces and empty lists, the histogram counted. */
moesaic_status placement_plan_create(const struct placement_problem *problem, enum placement_policy policy,
                                     uint32_t pieces, struct placement_plan **ret_plan, moesaic_error *error);
moesaic_status placement_plan_allocate(uint32_t items, uint32_t pieces, struct placement_plan **ret_plan,
                                       moesaic_error *error);
/* A plan of whole experts: item i has `count[i]` copies at places[copies[i * stride + c]]. */
moesaic_status placement_plan_from_copies(const struct placement_problem *problem, enum placement_policy policy,
                                          const struct places *places, const uint16_t *copies, const uint8_t *count,
                                          uint32_t stride, struct placement_plan **ret_plan, moesaic_error *error);

/* ---- searches ---------------------------------------------------------------------------------------------------- */

/* Place of every item in the best whole placement found / in turn; PLACE_NONE for dropped experts. [items] */
moesaic_status search_whole(const struct placement_problem *problem, const struct workload *workload,
                            const struct places *places, uint16_t *ret_place, moesaic_error *error);
moesaic_status search_round_robin(const struct placement_problem *problem, const struct workload *workload,
                                  const struct places *places, uint16_t *ret_place, moesaic_error *error);
moesaic_status placement_make_slice(const struct placement_problem *problem, const struct workload *workload,
                                    struct placement_plan **ret_plan, moesaic_error *error);
/* Copies added to the whole placement `place` [items]. */
moesaic_status placement_make_replicate(const struct placement_problem *problem, const struct workload *workload,
                                        const struct places *places, const uint16_t *place,
                                        struct placement_plan **ret_plan, moesaic_error *error);

static inline uint64_t expert_bytes(const struct placement_expert *expert) {
    return expert->gate_up_bytes + expert->down_bytes;
}

#endif
