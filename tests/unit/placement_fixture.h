/* SPDX-License-Identifier: Apache-2.0 */
/* Machines, models and traces from which the placement tests build their problems. */
#ifndef PLACEMENT_FIXTURE_H
#define PLACEMENT_FIXTURE_H

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "placement/placement.h"

/* `nodes` equal nodes: local and remote bandwidth, int8 operations a second, memory. */
static inline struct machine_speeds fixture_machine(unsigned nodes, double local_bps, double remote_bps,
                                                    double int8_ops, uint64_t memory_bytes) {
    struct machine_speeds machine = {.nodes = nodes, .exchange_s = 1e-6, .read_fraction = 1, .compute_fraction = 1};
    for (unsigned n = 0; n < nodes; n++) {
        machine.node[n] =
            (struct machine_node){.os_index = n, .memory_bytes = memory_bytes, .cores = 8, .int8_ops = int8_ops};
        for (unsigned m = 0; m < nodes; m++)
            machine.read_bps[n][m] = machine.write_bps[n][m] = n == m ? local_bps : remote_bps;
    }
    return machine;
}
/* Takes the cores (or the memory) of a node away. */
static inline void fixture_drop_cores(struct machine_speeds *machine, unsigned node) {
    machine->node[node].cores = 0;
    machine->node[node].int8_ops = 0;
    for (unsigned m = 0; m < machine->nodes; m++)
        machine->read_bps[node][m] = machine->write_bps[node][m] = 0;
}
static inline void fixture_drop_memory(struct machine_speeds *machine, unsigned node) {
    machine->node[node].memory_bytes = 0;
    for (unsigned r = 0; r < machine->nodes; r++)
        machine->read_bps[r][node] = machine->write_bps[r][node] = 0;
}

/* A model of equal experts; free(model.expert). */
static inline struct placement_model fixture_model(uint32_t layers, uint32_t experts, uint32_t top_k, uint32_t hidden,
                                                   uint32_t intermediate) {
    struct placement_expert *expert = malloc((size_t)layers * experts * sizeof *expert);
    cr_assert_not_null(expert);
    for (size_t i = 0; i < (size_t)layers * experts; i++)
        expert[i] = placement_expert_shape(hidden, intermediate, 4, 64);
    return (struct placement_model){
        .layers = layers, .experts = experts, .top_k = top_k, .hidden = hidden, .expert = expert};
}
static inline void fixture_model_done(struct placement_model *model) {
    free((void *)(uintptr_t)model->expert);
    model->expert = NULL;
}

static inline struct routing_trace *fixture_trace(const struct placement_model *model, uint32_t tokens, double skew,
                                                  uint64_t seed) {
    const struct routing_generator generator = {.layers = model->layers,
                                                .experts = model->experts,
                                                .top_k = model->top_k,
                                                .tokens = tokens,
                                                .tokens_per_sequence = 64,
                                                .skew = skew,
                                                .seed = seed};
    struct routing_trace *trace = NULL;
    moesaic_error error = {0};
    cr_assert_eq(routing_trace_generate(&generator, &trace, &error), MOESAIC_OK, "%s", error.message);
    return trace;
}

static inline struct placement_plan *fixture_plan(const struct placement_problem *problem,
                                                  enum placement_policy policy) {
    struct placement_plan *plan = NULL;
    moesaic_error error = {0};
    cr_assert_eq(placement_plan_make(problem, policy, &plan, &error), MOESAIC_OK, "%s", error.message);
    return plan;
}

static inline struct placement_prediction fixture_simulate(const struct placement_problem *problem,
                                                           const struct placement_plan *plan) {
    struct placement_prediction prediction = {0};
    moesaic_error error = {0};
    cr_assert_eq(placement_simulate(problem, plan, &prediction, &error), MOESAIC_OK, "%s", error.message);
    return prediction;
}

/* Makes, prices and destroys. */
static inline struct placement_prediction fixture_policy(const struct placement_problem *problem,
                                                         enum placement_policy policy) {
    struct placement_plan *plan = fixture_plan(problem, policy);
    struct placement_prediction prediction = fixture_simulate(problem, plan);
    placement_plan_destroy(plan);
    return prediction;
}

#endif
