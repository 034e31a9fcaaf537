/* SPDX-License-Identifier: Apache-2.0 */
/* The plan itself: making, checking against a model and machine, adding up and comparing. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "placement_internal.h"

static const char *const plan_policy_names[PLACEMENT_POLICIES] = {"interleave", "slice", "whole", "replicate"};

const char *placement_policy_name(enum placement_policy policy) {
    return (unsigned)policy < PLACEMENT_POLICIES ? plan_policy_names[policy] : "unknown";
}

bool placement_policy_from_name(const char *name, enum placement_policy *ret_policy) {
    for (unsigned p = 0; p < PLACEMENT_POLICIES; p++)
        if (strcmp(name, plan_policy_names[p]) == 0) {
            *ret_policy = (enum placement_policy)p;
            return true;
        }
    return false;
}

/* ---- making ------------------------------------------------------------------------------------------------------ */

moesaic_status placement_plan_allocate(uint32_t items, uint32_t pieces, struct placement_plan **ret_plan,
                                       moesaic_error *error) {
    struct placement_plan *plan = calloc(1, sizeof *plan);
    if (plan == NULL)
        return status_no_memory(error, "a placement plan", sizeof *plan);
    plan->piece_at = calloc((size_t)items + 1, sizeof *plan->piece_at);
    plan->pieces = calloc(pieces > 0 ? pieces : 1, sizeof *plan->pieces);
    plan->histogram = calloc(items, sizeof *plan->histogram);
    if (plan->piece_at == NULL || plan->pieces == NULL || plan->histogram == NULL) {
        placement_plan_destroy(plan);
        return status_no_memory(error, "a placement plan", (size_t)pieces * sizeof *plan->pieces);
    }
    *ret_plan = plan;
    return MOESAIC_OK;
}

moesaic_status placement_plan_create(const struct placement_problem *problem, enum placement_policy policy,
                                     uint32_t pieces, struct placement_plan **ret_plan, moesaic_error *error) {
    const struct placement_model *model = problem->model;
    struct placement_plan *plan = NULL;
    moesaic_status status = placement_plan_allocate(model->layers * model->experts, pieces, &plan, error);
    if (status != MOESAIC_OK)
        return status;
    plan->policy = policy;
    plan->model = (struct placement_fingerprint){.layers = model->layers,
                                                 .experts = model->experts,
                                                 .hidden = model->hidden,
                                                 .bytes = placement_model_bytes(model)};
    plan->nodes = problem->machine->nodes;
    plan->batch = problem->options.batch;
    routing_trace_histogram(problem->trace, plan->histogram);
    *ret_plan = plan;
    return MOESAIC_OK;
}

void placement_plan_destroy(struct placement_plan *plan) {
    if (plan == NULL)
        return;
    free(plan->piece_at);
    free(plan->pieces);
    free(plan->histogram);
    free(plan);
}

moesaic_status placement_plan_from_copies(const struct placement_problem *problem, enum placement_policy policy,
                                          const struct places *places, const uint16_t *copies, const uint8_t *count,
                                          uint32_t stride, struct placement_plan **ret_plan, moesaic_error *error) {
    uint32_t items = problem->model->layers * problem->model->experts, pieces = 0;
    for (uint32_t item = 0; item < items; item++)
        pieces += count[item];
    struct placement_plan *plan = NULL;
    moesaic_status status = placement_plan_create(problem, policy, pieces, &plan, error);
    if (status != MOESAIC_OK)
        return status;
    for (uint32_t item = 0, at = 0; item < items; item++) {
        for (uint32_t c = 0; c < count[item]; c++) {
            const struct place *place = &places->at[copies[(size_t)item * stride + c]];
            plan->pieces[at++] = (struct placement_piece){.node = place->node,
                                                          .reader = place->reader,
                                                          .gate_end = problem->model->expert[item].intermediate,
                                                          .down_end = problem->model->hidden};
        }
        plan->piece_at[item + 1] = at;
    }
    *ret_plan = plan;
    return MOESAIC_OK;
}

/* ---- looking ----------------------------------------------------------------------------------------------------- */

uint32_t placement_plan_pieces(const struct placement_plan *plan, uint32_t layer, uint32_t expert,
                               const struct placement_piece **ret_pieces) {
    size_t item = (size_t)layer * plan->model.experts + expert;
    *ret_pieces = plan->pieces + plan->piece_at[item];
    return plan->piece_at[item + 1] - plan->piece_at[item];
}

bool placement_piece_is_whole(const struct placement_piece *piece, const struct placement_model *model, uint32_t layer,
                              uint32_t expert) {
    return piece->gate_begin == 0 && piece->down_begin == 0 && piece->down_end == model->hidden &&
           piece->gate_end == model->expert[(size_t)layer * model->experts + expert].intermediate;
}

/* Bytes of a piece, rounded up to whole ones. */
static uint64_t plan_piece_bytes(const struct placement_model *model, size_t item,
                                 const struct placement_piece *piece) {
    const struct placement_expert *expert = &model->expert[item];
    __extension__ typedef unsigned __int128 wide;
    wide gate = (wide)expert->gate_up_bytes * (piece->gate_end - piece->gate_begin);
    wide down = (wide)expert->down_bytes * (piece->down_end - piece->down_begin);
    return (uint64_t)((gate + expert->intermediate - 1) / expert->intermediate) +
           (uint64_t)((down + model->hidden - 1) / model->hidden);
}

void placement_plan_node_bytes(const struct placement_plan *plan, const struct placement_model *model,
                               const struct machine_speeds *machine, uint64_t *ret_bytes) {
    size_t items = (size_t)model->layers * model->experts;
    memset(ret_bytes, 0, plan->nodes * sizeof *ret_bytes);
    for (size_t item = 0; item < items; item++)
        for (uint32_t p = plan->piece_at[item]; p < plan->piece_at[item + 1]; p++)
            ret_bytes[plan->pieces[p].node] += plan_piece_bytes(model, item, &plan->pieces[p]);
    if (plan->policy != PLACEMENT_INTERLEAVE)
        return;
    double share[TOPOLOGY_NODES_MAX];
    placement_page_shares(&(struct placement_problem){.model = model, .machine = machine}, share);
    for (unsigned n = 0; n < plan->nodes; n++)
        ret_bytes[n] = (uint64_t)((double)plan->model.bytes * share[n]);
}

/* ---- comparing --------------------------------------------------------------------------------------------------- */

static bool plan_fingerprint_equal(const struct placement_fingerprint *a, const struct placement_fingerprint *b) {
    return a->layers == b->layers && a->experts == b->experts && a->hidden == b->hidden && a->bytes == b->bytes;
}

static bool plan_pieces_equal(const struct placement_plan *a, const struct placement_plan *b, size_t item) {
    uint32_t count = a->piece_at[item + 1] - a->piece_at[item];
    return count == b->piece_at[item + 1] - b->piece_at[item] &&
           memcmp(a->pieces + a->piece_at[item], b->pieces + b->piece_at[item], count * sizeof *a->pieces) == 0;
}

static uint32_t plan_overlap(uint32_t begin, uint32_t end, uint32_t other_begin, uint32_t other_end) {
    uint32_t low = begin > other_begin ? begin : other_begin, high = end < other_end ? end : other_end;
    return high > low ? high - low : 0;
}

/* Bytes of `piece` that `from` did not have on its node. */
static uint64_t plan_new_bytes(const struct placement_plan *from, const struct placement_model *model, size_t item,
                               const struct placement_piece *piece) {
    const struct placement_expert *expert = &model->expert[item];
    uint32_t gate = piece->gate_end - piece->gate_begin, down = piece->down_end - piece->down_begin;
    for (uint32_t p = from->piece_at[item]; p < from->piece_at[item + 1]; p++) {
        const struct placement_piece *old = &from->pieces[p];
        if (old->node != piece->node)
            continue;
        uint32_t both = plan_overlap(piece->gate_begin, piece->gate_end, old->gate_begin, old->gate_end);
        gate -= both < gate ? both : gate;
        both = plan_overlap(piece->down_begin, piece->down_end, old->down_begin, old->down_end);
        down -= both < down ? both : down;
    }
    return (uint64_t)((double)expert->gate_up_bytes * gate / expert->intermediate +
                      (double)expert->down_bytes * down / model->hidden);
}

void placement_plan_compare(const struct placement_plan *from, const struct placement_plan *to,
                            const struct placement_model *model, struct placement_difference *ret_difference) {
    struct placement_difference difference = {.same_model = plan_fingerprint_equal(&from->model, &to->model)};
    size_t items = difference.same_model ? (size_t)model->layers * model->experts : 0;
    bool interleaved = from->policy == PLACEMENT_INTERLEAVE || to->policy == PLACEMENT_INTERLEAVE;
    for (size_t item = 0; item < items; item++) {
        if (plan_pieces_equal(from, to, item))
            continue;
        difference.experts_moved++;
        for (uint32_t p = to->piece_at[item]; p < to->piece_at[item + 1] && !interleaved; p++)
            difference.bytes_moved += plan_new_bytes(from, model, item, &to->pieces[p]);
    }
    *ret_difference = difference;
}
