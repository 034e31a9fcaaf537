/* SPDX-License-Identifier: Apache-2.0 */
/* A plan carried out: experts copied into memory of their nodes by those nodes' own threads, and read back. */
#ifndef RESIDENCY_H
#define RESIDENCY_H

#include "experts.h"
#include "placement/placement.h"

struct residency_options {
    const struct topology *topology;           /* as the plan's nodes; outlives the residency */
    struct team *team;                         /* its threads copy; kept where experts are to be movable */
    const struct placement_plan *plan;         /* checked by placement_plan_check; not kept */
    const struct placement_model *shape;       /* that it was checked against; not kept */
    uint32_t layers;                           /* of the model, those without experts included */
    const struct ffn_weights *const *experts;  /* [layers]: [shape->experts], NULL for a layer without */
    bool huge_pages;
    bool movable; /* room for residency_apply; whole experts only */
};

/* One copy of an expert, whole or in slices. */
struct expert_copy {
    const struct expert_part *part; /* [parts] */
    uint32_t parts;
    uint64_t bytes; /* of its matrices */
};

/* What was asked of the system and what the pages say. Both count whole blocks, in which matrices begin at multiples of
 * 64 bytes. */
struct residency_report {
    uint32_t nodes;
    uint64_t asked_bytes[TOPOLOGY_NODES_MAX];
    struct memory_residency found;
    uint64_t copy_ns;
};

struct residency;
/* Copies every expert of a plan that is not interleaved; the plan of an interleaved one has nothing to carry out, and
 * its experts stay where they are. Where memory cannot be bound the copies are used all the same, and a warning names
 * the nodes that hold less than was asked. Errors: MEMORY. */
moesaic_status residency_create(const struct residency_options *options, struct residency **ret_residency,
                                moesaic_error *error);
void residency_destroy(struct residency *residency); /* accepts NULL */
const struct residency_report *residency_report(const struct residency *residency);
/* Most parts that one layer's experts have together. */
size_t residency_max_parts(const struct residency *residency);

/* Carries out a move between steps: a whole expert is copied to its new node, and what it leaves is freed. False, with
 * everything as it was, where there is no memory for it or no such copy; a warning where the pages are elsewhere. The
 * bits of later steps are the same. */
bool residency_apply(struct residency *residency, const struct rebalance_move *move);

/* Decides which copy of each of the step's experts is read: those with one copy first, then the others by descending
 * tokens, each from the reader with the fewest bytes a core so far. One thread at a time; allocates nothing. */
void residency_assign(struct residency *residency, uint32_t layer, const struct router_plan *plan);
/* The copy decided on; NULL for an expert that stays where the model has it. */
const struct expert_copy *residency_copy(const struct residency *residency, uint32_t layer, uint32_t expert);
/* Of `bytes` that stay where they are, those that the plan has read across nodes: all but one share of an interleaved
 * expert, none otherwise. */
uint64_t residency_remote_bytes(const struct residency *residency, uint64_t bytes);

#endif
