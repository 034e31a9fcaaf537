/* SPDX-License-Identifier: Apache-2.0 */
/* A placement plan for a model, a recorded trace and a machine, with the prediction of every policy. */
#include <stdlib.h>
#include <string.h>

#include "place.h"

enum { PLACE_CONTEXT_TOKENS = 512, PLACE_BATCH_MAX = 4096, PLACE_CONTEXT_MAX = 1 << 24 };

_Static_assert((int)MOESAIC_PLACE_POLICIES == (int)PLACEMENT_POLICIES &&
                   (int)MOESAIC_PLACE_INTERLEAVE == PLACEMENT_INTERLEAVE + 1 &&
                   (int)MOESAIC_PLACE_REPLICATE == PLACEMENT_REPLICATE + 1,
               "the public policies are the planner's, behind auto");

/* One call's inputs and what was found. */
struct placing {
    const moesaic_place_options *options;
    uint32_t context_tokens;
    struct placement_model shape;
    struct place_machine *machine;
    struct routing_trace *trace;
    struct placement_problem problem;
    struct placement_decision decision;
    struct placement_plan *plan;
};

static moesaic_status placing_check(const moesaic_place_options *o, moesaic_error *error) {
    if (!o->trace_path)
        return status_set(error, MOESAIC_E_USAGE, "place: no trace (record one with 'moesaic trace')");
    if ((unsigned)o->policy > MOESAIC_PLACE_REPLICATE)
        return status_set(error, MOESAIC_E_USAGE, "place: there is no policy %d", (int)o->policy);
    if (o->batch > PLACE_BATCH_MAX)
        return status_set(error, MOESAIC_E_USAGE, "place: a batch of %u, at most %d", o->batch, PLACE_BATCH_MAX);
    if (o->context_tokens > PLACE_CONTEXT_MAX)
        return status_set(error, MOESAIC_E_USAGE, "place: a context of %u tokens, at most %d", o->context_tokens,
                          PLACE_CONTEXT_MAX);
    return MOESAIC_OK;
}

static moesaic_status placing_open(struct placing *p, const struct model *model, moesaic_error *error) {
    const moesaic_place_options *o = p->options;
    const moesaic_machine_options measured = {.size = sizeof measured, .measure = true};
    p->context_tokens = o->context_tokens ? o->context_tokens : PLACE_CONTEXT_TOKENS;
    moesaic_status status = place_model_init(model, p->context_tokens, &p->shape, error);
    if (!status)
        status = place_trace_read(o->trace_path, &p->shape, &p->trace, error);
    if (!status)
        status = place_machine_open(o->machine ? o->machine : &measured, &p->machine, error);
    if (status)
        return status;
    p->problem = (struct placement_problem){.model = &p->shape,
                                            .machine = &p->machine->speeds,
                                            .trace = p->trace,
                                            .options = {.batch = o->batch,
                                                        .replica_budget_bytes = o->replica_budget_bytes,
                                                        .min_gain = o->min_gain}};
    return MOESAIC_OK;
}

static void placing_close(struct placing *p) {
    placement_plan_destroy(p->plan);
    routing_trace_destroy(p->trace);
    place_machine_close(p->machine);
    place_model_done(&p->shape);
}

/* A policy that was asked for instead of the one that auto takes. */
static moesaic_status placing_insist(struct placing *p, enum placement_policy policy, moesaic_error *error) {
    struct placement_plan *plan = NULL;
    moesaic_status status = placement_plan_make(&p->problem, policy, &plan, error);
    if (status)
        return status;
    placement_plan_destroy(p->plan);
    p->plan = plan;
    double step_s = p->decision.prediction[policy].step_s;
    p->decision.chosen = policy;
    p->decision.gain = step_s > 0 ? p->decision.prediction[PLACEMENT_INTERLEAVE].step_s / step_s - 1 : 0;
    static const char reason[] = "asked for";
    memcpy(p->decision.reason, reason, sizeof reason);
    return MOESAIC_OK;
}

static moesaic_status placing_decide(struct placing *p, moesaic_error *error) {
    moesaic_status status = placement_choose(&p->problem, &p->plan, &p->decision, error);
    if (status || p->options->policy == MOESAIC_PLACE_AUTO)
        return status;
    enum placement_policy policy = (enum placement_policy)(p->options->policy - 1);
    return policy == p->decision.chosen ? MOESAIC_OK : placing_insist(p, policy, error);
}

/* ---- result ------------------------------------------------------------------------------------------------------ */

static moesaic_place_prediction prediction_of(const struct placement_prediction *p, enum placement_policy policy,
                                              bool possible) {
    if (!possible)
        return (moesaic_place_prediction){.policy = placement_policy_name(policy)};
    return (moesaic_place_prediction){.policy = placement_policy_name(policy),
                                      .possible = true,
                                      .tokens_per_s = p->tokens_per_s,
                                      .step_s = p->step_s,
                                      .expert_s = p->expert_s,
                                      .exchange_s = p->exchange_s,
                                      .dense_s = p->dense_s,
                                      .local_bytes_per_token = p->local_bytes_per_token,
                                      .remote_bytes_per_token = p->remote_bytes_per_token,
                                      .max_over_mean = p->max_over_mean,
                                      .resident_bytes = p->resident_bytes};
}

/* The arrays of the result, in one block: 8-byte ones first. */
static moesaic_status result_arrays(const struct placing *p, moesaic_place_result *r, moesaic_error *error) {
    const struct placement_plan *plan = p->plan;
    size_t experts = (size_t)r->layers * r->experts, pieces = plan->piece_at[experts];
    size_t bytes = r->nodes * sizeof *r->node_bytes + pieces * sizeof *r->piece + (experts + 1) * sizeof *r->piece_at;
    r->node_bytes = calloc(1, bytes);
    if (!r->node_bytes)
        return status_no_memory(error, "place", bytes);
    r->piece = (moesaic_place_piece *)(r->node_bytes + r->nodes);
    r->piece_at = (uint32_t *)(r->piece + pieces);
    placement_plan_node_bytes(plan, &p->shape, &p->machine->speeds, r->node_bytes);
    memcpy(r->piece_at, plan->piece_at, (experts + 1) * sizeof *r->piece_at);
    for (size_t i = 0; i < pieces; i++) {
        const struct placement_piece *from = &plan->pieces[i];
        r->piece[i] = (moesaic_place_piece){from->node,     from->reader,     from->gate_begin,
                                            from->gate_end, from->down_begin, from->down_end};
    }
    return MOESAIC_OK;
}

/* Prices the plan of `against_path` and says what changes from it. */
static moesaic_status result_compare(const struct placing *p, moesaic_place_result *r, moesaic_error *error) {
    struct placement_plan *plan = NULL;
    struct placement_prediction prediction;
    struct placement_difference difference;
    moesaic_status status = placement_plan_read(p->options->against_path, &plan, error);
    if (!status)
        status = placement_plan_check(plan, &p->shape, &p->machine->speeds, error);
    if (!status)
        status = placement_simulate(&p->problem, plan, &prediction, error);
    if (!status) {
        placement_plan_compare(plan, p->plan, &p->shape, &difference);
        r->compared = true;
        r->against = prediction_of(&prediction, plan->policy, true);
        r->experts_moved = difference.experts_moved;
        r->bytes_moved = difference.bytes_moved;
    }
    placement_plan_destroy(plan);
    return status;
}

static moesaic_status result_fill(const struct placing *p, moesaic_place_result *ret_result, moesaic_error *error) {
    const struct placement_decision *d = &p->decision;
    moesaic_place_result r = {.size = sizeof r,
                              .source = d->prediction[d->chosen].source,
                              .speeds = p->machine->source,
                              .policy = placement_policy_name(d->chosen),
                              .best = placement_policy_name(d->best),
                              .gain = d->gain,
                              .batch = d->prediction[d->chosen].batch,
                              .steps = d->prediction[d->chosen].steps,
                              .context_tokens = p->context_tokens,
                              .layers = p->shape.layers,
                              .experts = p->shape.experts,
                              .nodes = p->machine->speeds.nodes};
    memcpy(r.reason, d->reason, sizeof r.reason);
    for (unsigned i = 0; i < PLACEMENT_POLICIES; i++)
        r.prediction[i] = prediction_of(&d->prediction[i], (enum placement_policy)i, d->possible[i]);
    moesaic_status status = p->options->against_path ? result_compare(p, &r, error) : MOESAIC_OK;
    if (!status)
        status = result_arrays(p, &r, error);
    if (!status)
        *ret_result = r;
    return status;
}

moesaic_status pipeline_place(const struct model *model, const moesaic_place_options *options,
                              moesaic_place_result *ret_result, moesaic_error *error) {
    moesaic_place_result result;
    struct placing p = {.options = options};
    moesaic_status status = placing_check(options, error);
    if (!status)
        status = placing_open(&p, model, error);
    if (!status)
        status = placing_decide(&p, error);
    if (!status)
        status = result_fill(&p, &result, error);
    if (!status && options->plan_path && (status = placement_plan_write(p.plan, options->plan_path, error)))
        free(result.node_bytes);
    if (!status)
        *ret_result = result;
    placing_close(&p);
    return status;
}
