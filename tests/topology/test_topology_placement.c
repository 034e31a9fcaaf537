/* SPDX-License-Identifier: Apache-2.0 */
/* The planner on machines that are not here: synthetic and XML topologies of 1 to 8 nodes, uneven, without memory,
 * without cores, with two kinds of memory. */
#include <stdio.h>

#include "../unit/placement_fixture.h"

static const char *const synthetic[] = {
    "node:1 core:2 pu:1",
    "pack:2 [numa(memory=64GB)] core:4 pu:2",
    "pack:4 [numa(memory=32GB)] core:2 pu:1",
    "node:5(memory=8GB) core:3 pu:1",
    "node:8(memory=8GB) core:2 pu:2",
    "[numa(memory=1TB)] pack:2 [numa(memory=64GB)] core:2 pu:1",
    "pack:2 [numa(memory=16GB)] [numa(memory=4GB)] core:2 pu:1",
};
static const char *const exported[] = {
    "two_sockets.xml",  "four_nodes.xml",   "cores_on_five_of_eight.xml", "expander.xml",
    "two_memories.xml", "uneven_cores.xml", "no_memory_on_one.xml",
};
enum { SYNTHETIC = sizeof synthetic / sizeof synthetic[0], EXPORTED = sizeof exported / sizeof exported[0] };

static const struct machine_given given = {.local_read_bps = 100e9,
                                           .remote_read_bps = 45e9,
                                           .memory_node_read_bps = 30e9,
                                           .int8_ops_per_core = 200e9,
                                           .exchange_s = 1e-6};

/* The speeds of machine `index` of both lists; `ret_name` names it in messages. */
static struct machine_speeds machine_at(unsigned index, const char **ret_name) {
    char path[1024];
    const char *data = getenv("MOESAIC_TEST_DATA");
    struct topology_source source = {0};
    struct topology *topology = NULL;
    struct machine_speeds machine;
    moesaic_error error = {0};
    cr_assert_not_null(data);
    *ret_name = index < SYNTHETIC ? synthetic[index] : exported[index - SYNTHETIC];
    snprintf(path, sizeof path, "%s/topologies/%s", data, *ret_name);
    if (index < SYNTHETIC)
        source.synthetic = *ret_name;
    else
        source.xml_path = path;
    cr_assert_eq(topology_open(&source, &topology, &error), MOESAIC_OK, "%s", error.message);
    cr_assert_eq(machine_speeds_from_topology(topology, &given, &machine, &error), MOESAIC_OK, "%s: %s", *ret_name,
                 error.message);
    topology_close(topology);
    return machine;
}

/* Memory of every node in proportion to what it is, so that all of it holds the model `times` over. */
static void shrink_memory(struct machine_speeds *machine, const struct placement_model *model, double times) {
    double total = 0, wanted = times * (double)placement_model_bytes(model);
    for (unsigned n = 0; n < machine->nodes; n++)
        total += (double)machine->node[n].memory_bytes;
    for (unsigned n = 0; n < machine->nodes; n++)
        machine->node[n].memory_bytes = (uint64_t)((double)machine->node[n].memory_bytes / total * wanted);
}

static void expect_no_worse(const struct placement_problem *problem, const char *name) {
    struct placement_plan *plan = NULL, *turns = NULL;
    struct placement_decision decision;
    moesaic_error error = {0};
    cr_assert_eq(placement_choose(problem, &plan, &decision, &error), MOESAIC_OK, "%s: %s", name, error.message);
    cr_assert_eq(placement_plan_round_robin(problem, &turns, &error), MOESAIC_OK, "%s: %s", name, error.message);
    const struct placement_prediction *p = decision.prediction;
    double chosen = fixture_simulate(problem, plan).step_s, baseline = fixture_simulate(problem, turns).step_s;
    cr_expect_leq(chosen, p[PLACEMENT_INTERLEAVE].step_s, "%s", name);
    cr_expect_leq(p[decision.best].step_s, baseline, "%s", name);
    cr_expect_leq(chosen, 1.05 * p[decision.best].step_s, "%s", name);
    cr_expect(decision.possible[PLACEMENT_WHOLE] && p[PLACEMENT_WHOLE].step_s <= baseline, "%s", name);
    cr_expect_leq(p[PLACEMENT_REPLICATE].step_s, p[PLACEMENT_WHOLE].step_s, "%s", name);
    cr_expect_eq(placement_plan_check(plan, problem->model, problem->machine, &error), MOESAIC_OK, "%s: %s", name,
                 error.message);
    placement_plan_destroy(plan);
    placement_plan_destroy(turns);
}

Test(topology_placement, never_worse_than_interleave_or_round_robin) {
    for (unsigned m = 0; m < SYNTHETIC + EXPORTED; m++)
        for (unsigned variant = 0; variant < 4; variant++) {
            const char *name;
            struct machine_speeds machine = machine_at(m, &name);
            struct placement_model model = fixture_model(1, 24, 3, 1024, 512);
            struct routing_trace *trace = fixture_trace(&model, 96, variant & 1, m);
            struct placement_problem problem = {
                .model = &model, .machine = &machine, .trace = trace, .options.batch = variant & 1 ? 8 : 1};
            if (variant & 2)
                shrink_memory(&machine, &model, 1.5);
            expect_no_worse(&problem, name);
            routing_trace_destroy(trace);
            fixture_model_done(&model);
        }
}

Test(topology_placement, within_five_percent_of_the_exact_optimum) {
    unsigned proven = 0;
    for (unsigned m = 0; m < SYNTHETIC + EXPORTED; m++) {
        const char *name;
        struct machine_speeds machine = machine_at(m, &name);
        struct placement_model model = fixture_model(1, 12, 4, 1024, 512);
        struct routing_trace *trace = fixture_trace(&model, 32, 0.8, m);
        struct placement_problem problem = {.model = &model, .machine = &machine, .trace = trace};
        struct placement_optimum optimum;
        moesaic_error error = {0};
        cr_assert_eq(placement_optimum_whole(&problem, 400000, &optimum, &error), MOESAIC_OK, "%s: %s", name,
                     error.message);
        double found = fixture_policy(&problem, PLACEMENT_WHOLE).expert_s;
        proven += optimum.proven;
        cr_expect_leq(found, 1.05 * optimum.expert_s, "%s: gap %.2f %%", name, 100 * (found / optimum.expert_s - 1));
        cr_log_info("%s: gap to the optimum %.2f %%%s", name, 100 * (found / optimum.expert_s - 1),
                    optimum.proven ? "" : " (not proven)");
        routing_trace_destroy(trace);
        fixture_model_done(&model);
    }
    cr_expect_eq(proven, SYNTHETIC + EXPORTED, "only %u proven", proven);
}

Test(topology_placement, speeds_follow_the_topology) {
    const char *name;
    struct machine_speeds machine = machine_at(SYNTHETIC + 5, &name); /* uneven_cores.xml */
    cr_expect_eq(machine.nodes, 2);
    cr_expect_eq(machine.node[0].cores, 4);
    cr_expect_eq(machine.node[1].cores, 1);
    cr_expect_float_eq(machine.node[0].int8_ops, 4 * machine.node[1].int8_ops, 1);
    cr_expect_float_eq(machine.read_bps[0][1], 45e9, 1);
    cr_expect_float_eq(machine.read_bps[1][1], 100e9, 1);
    machine = machine_at(SYNTHETIC + 6, &name); /* no_memory_on_one.xml */
    cr_expect_eq(machine.nodes, 3);
    cr_expect_eq(machine.node[1].memory_bytes, 0);
    cr_expect_float_eq(machine.read_bps[0][1], 0, 0);
    cr_expect_float_eq(machine.read_bps[1][0], 45e9, 1);
    machine = machine_at(SYNTHETIC + 2, &name); /* cores_on_five_of_eight.xml */
    cr_expect_eq(machine.nodes, 8);
    unsigned with_cores = 0;
    for (unsigned n = 0; n < 8; n++) {
        with_cores += machine.node[n].cores > 0;
        cr_expect_float_eq(machine.read_bps[0][n], n == 0 ? 100e9 : machine.node[n].cores > 0 ? 45e9 : 30e9, 1);
    }
    cr_expect_eq(with_cores, 5);
}

Test(topology_placement, stated_speeds_are_checked) {
    struct topology *topology = NULL;
    struct machine_speeds machine;
    moesaic_error error = {0};
    cr_assert_eq(topology_open(&(struct topology_source){.synthetic = "node:2 core:2 pu:1"}, &topology, &error),
                 MOESAIC_OK);
    struct machine_given wrong = given;
    wrong.remote_read_bps = -1;
    cr_expect_eq(machine_speeds_from_topology(topology, &wrong, &machine, &error), MOESAIC_E_USAGE);
    wrong = given;
    wrong.read_fraction = 1.5;
    cr_expect_eq(machine_speeds_from_topology(topology, &wrong, &machine, &error), MOESAIC_E_UNSUPPORTED);
    cr_expect_eq(machine_speeds_from_topology(topology, NULL, &machine, &error), MOESAIC_OK, "%s", error.message);
    cr_expect_eq(machine_speeds_measure(topology, 0, &machine, &error), MOESAIC_E_USAGE, "%s", error.message);
    topology_close(topology);
}
