/* SPDX-License-Identifier: Apache-2.0 */
/* The planner as the library uses it: machines from options, a model's shape from its weights, traces from files. */
#ifndef PIPELINE_PLACE_H
#define PIPELINE_PLACE_H

#include <moesaic/engine.h>
#include <moesaic/place.h>

#include "model.h"
#include "placement/residency.h"

/* A machine with its speeds. About 70 KiB. */
struct place_machine {
    struct topology *topology;
    struct machine_speeds speeds;
    const char *source; /* as moesaic_topology.speeds */
};
/* Errors: as moesaic_topology_get. */
moesaic_status place_machine_open(const moesaic_machine_options *options, struct place_machine **ret_machine,
                                  moesaic_error *error);
void place_machine_close(struct place_machine *machine); /* accepts NULL */

/* The shape of a model as the planner takes it, each expert by the bytes that it has. A step reads the KV cache of
 * `context_tokens` tokens of each sequence, in the cache's default type. Errors: INPUT (a dense model), MEMORY. */
moesaic_status place_model_init(const struct model *model, uint32_t context_tokens, struct placement_model *ret_shape,
                                moesaic_error *error);
void place_model_done(struct placement_model *shape); /* accepts a zeroed struct */

/* Reads `experts` and `sequence` of a file that moesaic_trace_write wrote, checked against the shape. Errors: INPUT
 * naming the file and what differs, IO, MEMORY. */
moesaic_status place_trace_read(const char *path, const struct placement_model *shape,
                                struct routing_trace **ret_trace, moesaic_error *error);

/* The rebalancer over a residency that was made movable, which it borrows, as it does shape and speeds; `options` may
 * be NULL. Decisions and observed gains go to the log. Errors: as rebalancer_create. */
struct place_rebalance;
moesaic_status place_rebalance_create(const struct placement_model *shape, const struct machine_speeds *speeds,
                                      const struct placement_plan *plan, struct residency *residency,
                                      const struct rebalance_options *options, struct place_rebalance **ret_rebalance,
                                      moesaic_error *error);
void place_rebalance_destroy(struct place_rebalance *rebalance); /* accepts NULL */
const struct rebalancer *place_rebalance_state(const struct place_rebalance *rebalance);
/* After a step, by the thread that steps: observes what the forward pass, which keeps its routing, chose for the items;
 * decides when a window is full; and carries out the moves that the allowed bytes a second have room for. */
void place_rebalance_step(struct place_rebalance *rebalance, const struct forward *forward,
                          const struct forward_item *items, size_t n, uint64_t step_ns);

/* Experts as an engine has them placed. */
struct place_engine {
    struct place_machine *machine;
    struct placement_model shape;
    struct residency *residency;
    struct place_rebalance *rebalance; /* NULL: experts stay where they were put */
    const char *policy;
};
/* Carries out the plan at `path`; "none": nothing. Without a path experts are sliced over the nodes of the
 * machine where the threads are bound to several, and what keeps that from being done is a warning. *ret_placed is NULL
 * where nothing was to be done. `team` copies; `model` and `team` outlive the result. With `rebalance` (else NULL) its
 * place_rebalance_step is to be called after every step. Errors: INPUT (a plan of another model or machine), IO,
 * MEMORY, USAGE and UNSUPPORTED (no plan, or one that cannot be rebalanced). */
moesaic_status place_engine_open(const struct model *model, struct team *team, const char *path,
                                 const struct rebalance_options *rebalance, struct place_engine **ret_placed,
                                 moesaic_error *error);
void place_engine_close(struct place_engine *placed); /* accepts NULL */
/* Fills all but the size; all zero for NULL. */
void place_engine_describe(const struct place_engine *placed, moesaic_engine_placement *ret_placement);

/* As the functions of the C API of the same names. */
moesaic_status pipeline_topology(const moesaic_machine_options *options, moesaic_topology *ret_topology,
                                 moesaic_error *error);
moesaic_status pipeline_place(const struct model *model, const moesaic_place_options *options,
                              moesaic_place_result *ret_result, moesaic_error *error);

#endif
