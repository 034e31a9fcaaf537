/* SPDX-License-Identifier: Apache-2.0 */
/* The placement that an engine runs with: a plan from a file, or slices where the machine has several nodes. */
#include <stdlib.h>
#include <string.h>

#include "place.h"

/* Slices do not depend on the traffic: the shortest trace there can be serves. */
static moesaic_status plan_slices(const struct placement_model *shape, const struct machine_speeds *speeds,
                                  struct placement_plan **ret_plan, moesaic_error *error) {
    const struct routing_generator generator = {
        .layers = shape->layers, .experts = shape->experts, .top_k = shape->top_k, .tokens = 1};
    struct routing_trace *trace = NULL;
    moesaic_status status = routing_trace_generate(&generator, &trace, error);
    if (status)
        return status;
    struct placement_problem problem = {.model = shape, .machine = speeds, .trace = trace};
    status = placement_plan_make(&problem, PLACEMENT_SLICE, ret_plan, error);
    routing_trace_destroy(trace);
    return status;
}

static moesaic_status plan_find(const char *path, const struct placement_model *shape,
                                const struct machine_speeds *speeds, struct placement_plan **ret_plan,
                                moesaic_error *error) {
    if (!path)
        return plan_slices(shape, speeds, ret_plan, error);
    struct placement_plan *plan = NULL;
    moesaic_status status = placement_plan_read(path, &plan, error);
    if (!status)
        status = placement_plan_check(plan, shape, speeds, error);
    if (status) {
        placement_plan_destroy(plan);
        return status;
    }
    *ret_plan = plan;
    return MOESAIC_OK;
}

static moesaic_status plan_carry_out(const struct model *model, struct team *team, struct place_engine *placed,
                                     const struct placement_plan *plan, bool movable, moesaic_error *error) {
    const struct model_config *config = model_config(model);
    const struct ffn_weights **experts = calloc(config->layers, sizeof *experts);
    if (!experts)
        return status_no_memory(error, "placed experts", config->layers * sizeof *experts);
    for (uint32_t layer = 0; layer < config->layers; layer++)
        experts[layer] = config->layer[layer].moe ? model_weights(model)->layers[layer].experts : NULL;
    const struct residency_options options = {.topology = placed->machine->topology,
                                              .team = team,
                                              .plan = plan,
                                              .shape = &placed->shape,
                                              .layers = config->layers,
                                              .experts = experts,
                                              .huge_pages = true,
                                              .movable = movable};
    moesaic_status status = residency_create(&options, &placed->residency, error);
    placed->policy = placement_policy_name(plan->policy);
    free(experts);
    return status;
}

static moesaic_status place_all(const struct model *model, struct team *team, const char *path,
                                const struct rebalance_options *rebalance, struct place_engine *placed,
                                moesaic_error *error) {
    struct placement_plan *plan = NULL;
    moesaic_status status = place_model_init(model, 0, &placed->shape, error);
    if (!status)
        status = plan_find(path, &placed->shape, &placed->machine->speeds, &plan, error);
    if (!status)
        status = plan_carry_out(model, team, placed, plan, rebalance && plan->policy >= PLACEMENT_WHOLE, error);
    if (!status && rebalance)
        status = place_rebalance_create(&placed->shape, &placed->machine->speeds, plan, placed->residency, rebalance,
                                        &placed->rebalance, error);
    placement_plan_destroy(plan);
    return status;
}

/* Slices serve threads of several nodes. On one node nothing is opened, read or copied. */
static bool several_nodes(const struct team *team) {
    for (unsigned thread = 1; thread < team_threads(team); thread++)
        if (team_node_of(team, thread) != team_node_of(team, 0))
            return true;
    return false;
}

moesaic_status place_engine_open(const struct model *model, struct team *team, const char *path,
                                 const struct rebalance_options *rebalance, struct place_engine **ret_placed,
                                 moesaic_error *error) {
    const moesaic_machine_options here = {.size = sizeof here};
    *ret_placed = NULL;
    if (rebalance && (!path || !strcmp(path, "none")))
        return status_set(error, MOESAIC_E_USAGE,
                          "rebalance: needs a placement plan of whole or replicated experts to start from");
    if (path ? !strcmp(path, "none") : !model_config(model)->experts || !several_nodes(team))
        return MOESAIC_OK;
    struct place_engine *placed = calloc(1, sizeof *placed);
    if (!placed)
        return status_no_memory(error, "placed experts", sizeof *placed);
    moesaic_error why;
    moesaic_status status = place_machine_open(&here, &placed->machine, &why);
    if (!status)
        status = place_all(model, team, path, rebalance, placed, &why);
    if (!status) {
        *ret_placed = placed;
        return MOESAIC_OK;
    }
    place_engine_close(placed);
    if (path)
        return status_set(error, status, "%s", why.message);
    log_line(LOG_WARNING, "experts stay where the system puts them: %s", why.message);
    return MOESAIC_OK; /* nobody asked for slices: without them the model runs all the same */
}

void place_engine_close(struct place_engine *placed) {
    if (!placed)
        return;
    place_rebalance_destroy(placed->rebalance);
    residency_destroy(placed->residency);
    place_model_done(&placed->shape);
    place_machine_close(placed->machine);
    free(placed);
}

void place_engine_describe(const struct place_engine *placed, moesaic_engine_placement *ret_placement) {
    if (!placed)
        return;
    const struct residency_report *report = residency_report(placed->residency);
    ret_placement->policy = placed->policy;
    ret_placement->nodes = report->nodes;
    ret_placement->unknown_bytes = report->found.unknown_bytes;
    ret_placement->copy_s = (double)report->copy_ns * 1e-9;
    for (unsigned n = 0; n < report->nodes; n++) {
        ret_placement->asked_bytes[n] = report->asked_bytes[n];
        ret_placement->found_bytes[n] = report->found.node_bytes[n];
    }
}
