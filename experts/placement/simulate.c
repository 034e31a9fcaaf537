/* SPDX-License-Identifier: Apache-2.0 */
/* The simulator: replays a trace over a machine under a plan, and the costs that no placement changes. */
#include "placement_internal.h"

/* ---- exchanges and the dense part -------------------------------------------------------------------------------- */

/* Bytes of one activation element as kernels consume it: an INT8 code, and per group an F32 scale and an I32 sum. */
static double exchange_code_bytes(uint32_t group) {
    return group > 0 ? 1 + 8.0 / group : sizeof(float);
}

struct exchange_shape {
    unsigned readers; /* nodes with cores */
    double link_bps;  /* harmonic mean over ordered pairs of them */
    double intermediate, code_bytes;
};

static struct exchange_shape exchange_shape_of(const struct placement_problem *problem) {
    const struct machine_speeds *machine = problem->machine;
    const struct placement_model *model = problem->model;
    struct exchange_shape shape = {0};
    double inverse = 0, pairs = 0, rows = 0, kept = 0;
    for (unsigned r = 0; r < machine->nodes; r++) {
        shape.readers += machine->node[r].cores > 0;
        for (unsigned m = 0; m < machine->nodes; m++)
            if (r != m && machine->node[m].cores > 0 && machine->read_bps[r][m] > 0) {
                inverse += 1 / machine->read_bps[r][m];
                pairs++;
            }
    }
    size_t items = (size_t)model->layers * model->experts;
    for (size_t item = 0; item < items; item++) {
        rows += model->expert[item].intermediate;
        kept += model->expert[item].intermediate > 0;
        shape.code_bytes += exchange_code_bytes(model->expert[item].group);
    }
    shape.link_bps = pairs > 0 ? pairs / inverse : 0;
    shape.intermediate = kept > 0 ? rows / kept : 0;
    shape.code_bytes /= (double)items;
    return shape;
}

/* A token's home may be any of the N nodes with cores, and what it needs elsewhere crosses a link. Whole experts: codes
 * of the hidden state go out and F32 rows come back for each (token, expert) pair, once of N times for free. Slices and
 * interleaved pages: every node reads the hidden state of every token and the intermediate rows that other nodes made.
 * Under every policy the threads of all nodes meet twice, after up and after down. */
struct exchange exchange_of(const struct placement_problem *problem, enum placement_policy policy) {
    struct exchange_shape shape = exchange_shape_of(problem);
    if (shape.readers < 2)
        return (struct exchange){0};
    double tokens = problem->options.batch, slots = tokens * problem->model->top_k, hidden = problem->model->hidden;
    double others = shape.readers - 1.0, bytes;
    if (policy == PLACEMENT_WHOLE || policy == PLACEMENT_REPLICATE)
        bytes = slots * hidden * (shape.code_bytes + sizeof(float)) * others / shape.readers;
    else
        bytes = others * (tokens * hidden + slots * shape.intermediate) * shape.code_bytes;
    double transfer_s = shape.link_bps > 0 ? bytes / shape.readers / shape.link_bps : 0;
    return (struct exchange){.seconds = transfer_s + 2 * problem->machine->exchange_s, .bytes = bytes};
}

/* Dense weights and caches are divided over the nodes in proportion to what each reads of its own memory; where no node
 * has both cores and memory, over the links. */
double dense_seconds(const struct placement_problem *problem) {
    const struct machine_speeds *machine = problem->machine;
    double own_bps = 0, link_bps = 0, ops = 0, batch = problem->options.batch;
    for (unsigned r = 0; r < machine->nodes; r++) {
        own_bps += machine->read_bps[r][r];
        ops += machine->node[r].cores > 0 ? machine->node[r].int8_ops : 0;
        for (unsigned m = 0; m < machine->nodes; m++)
            link_bps = machine->read_bps[r][m] > link_bps ? machine->read_bps[r][m] : link_bps;
    }
    double bps = own_bps > 0 ? own_bps : link_bps;
    double bytes = (double)problem->model->dense_bytes + batch * (double)problem->model->token_bytes;
    return bytes / (bps * machine->read_fraction) +
           batch * problem->model->dense_flops / (ops * machine->compute_fraction);
}

/* ---- replay ------------------------------------------------------------------------------------------------------ */

struct replay {
    double slowest_s, mean_s, local_bytes, remote_bytes; /* sums over rows */
};

static void replay_rows(const struct layout *layout, const struct workload *workload, struct replay *ret_replay) {
    const struct machine_speeds *machine = layout->machine;
    unsigned readers = 0;
    for (unsigned n = 0; n < machine->nodes; n++)
        readers += machine->node[n].cores > 0;
    struct row_load load;
    for (uint32_t row = 0; row < workload->rows; row++) {
        ret_replay->slowest_s += layout_row(layout, workload, row, &load);
        for (unsigned n = 0; n < machine->nodes; n++)
            ret_replay->mean_s += load.seconds[n] / readers;
        ret_replay->local_bytes += load.local_bytes;
        ret_replay->remote_bytes += load.remote_bytes;
    }
}

static uint64_t simulate_resident_bytes(const struct placement_problem *problem, const struct placement_plan *plan) {
    uint64_t bytes[TOPOLOGY_NODES_MAX], total = 0;
    if (plan->policy == PLACEMENT_INTERLEAVE)
        return plan->model.bytes;
    placement_plan_node_bytes(plan, problem->model, problem->machine, bytes);
    for (unsigned n = 0; n < plan->nodes; n++)
        total += bytes[n];
    return total;
}

moesaic_status simulate_workload(const struct placement_problem *problem, const struct workload *workload,
                                 const struct placement_plan *plan, struct placement_prediction *ret_prediction,
                                 moesaic_error *error) {
    struct layout *layout = NULL;
    moesaic_status status = layout_from_plan(problem, plan, &layout, error);
    if (status != MOESAIC_OK)
        return status;
    struct replay replay = {0};
    replay_rows(layout, workload, &replay);
    layout_destroy(layout);
    struct exchange exchange = exchange_of(problem, plan->policy);
    double layers = problem->model->layers, tokens = (double)workload->steps * workload->batch;
    struct placement_prediction prediction = {.source = "simulated",
                                              .policy = plan->policy,
                                              .batch = workload->batch,
                                              .steps = workload->steps,
                                              .expert_s = replay.slowest_s / workload->steps,
                                              .exchange_s = layers * exchange.seconds,
                                              .dense_s = dense_seconds(problem),
                                              .local_bytes_per_token = replay.local_bytes / tokens,
                                              .remote_bytes_per_token = replay.remote_bytes / tokens +
                                                                        layers * exchange.bytes / workload->batch,
                                              .max_over_mean = replay.mean_s > 0 ? replay.slowest_s / replay.mean_s : 1,
                                              .resident_bytes = simulate_resident_bytes(problem, plan)};
    prediction.step_s = prediction.expert_s + prediction.exchange_s + prediction.dense_s;
    prediction.tokens_per_s = prediction.step_s > 0 ? workload->batch / prediction.step_s : 0;
    *ret_prediction = prediction;
    return MOESAIC_OK;
}

moesaic_status placement_simulate(const struct placement_problem *problem, const struct placement_plan *plan,
                                  struct placement_prediction *ret_prediction, moesaic_error *error) {
    struct placement_problem checked;
    struct workload *workload = NULL;
    moesaic_status status = placement_problem_check(problem, &checked, error);
    if (status == MOESAIC_OK)
        status = placement_plan_check(plan, checked.model, checked.machine, error);
    if (status == MOESAIC_OK)
        status = workload_create(&checked, &workload, error);
    if (status == MOESAIC_OK)
        status = simulate_workload(&checked, workload, plan, ret_prediction, error);
    workload_destroy(workload);
    return status;
}
