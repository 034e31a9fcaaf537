/* SPDX-License-Identifier: Apache-2.0 */
/* The placement planner and its simulator: costs by hand, searches against the exact optimum, choices, bad input. */
#include <math.h>
#include <stdio.h>

#include "placement_fixture.h"

#define GIB ((uint64_t)1 << 30)

/* ---- costs by hand ----------------------------------------------------------------------------------------------- */

/* One layer, four experts of 3000 bytes and 600 FLOPs a token, two tokens: {0, 1}, then {0, 2}. */
static const struct placement_expert hand_expert[4] = {
    {2000, 1000, 32, 0, 600}, {2000, 1000, 32, 0, 600}, {2000, 1000, 32, 0, 600}, {2000, 1000, 32, 0, 600}};

static struct placement_model hand_model(void) {
    return (struct placement_model){.layers = 1, .experts = 4, .top_k = 2, .hidden = 32, .expert = hand_expert};
}

static struct routing_trace *hand_trace(void) {
    struct routing_trace *trace = NULL;
    cr_assert_eq(routing_trace_create(1, 4, 2, 2, &trace, NULL), MOESAIC_OK);
    memcpy(trace->chosen, (uint16_t[]){0, 1, 0, 2}, 4 * sizeof(uint16_t));
    return trace;
}

/* Bandwidth 1000 bytes/s local and 500 remote, 600 FLOP/s: an expert costs its node 3 s of reading and 1 s of
 * computing a token. */
static struct machine_speeds hand_machine(void) {
    struct machine_speeds machine = fixture_machine(2, 1000, 500, 600, 1 << 20);
    machine.exchange_s = 0;
    return machine;
}

static struct placement_plan *hand_plan(const struct placement_problem *problem, const uint16_t node[4]) {
    struct placement_plan *plan = fixture_plan(problem, PLACEMENT_WHOLE);
    for (unsigned e = 0; e < 4; e++)
        plan->pieces[e].node = plan->pieces[e].reader = node[e];
    return plan;
}

Test(placement, whole_step_by_hand) {
    struct machine_speeds machine = hand_machine();
    struct placement_model model = hand_model();
    struct routing_trace *trace = hand_trace();
    struct placement_problem problem = {.model = &model, .machine = &machine, .trace = trace};
    struct placement_plan *plan = hand_plan(&problem, (uint16_t[]){0, 0, 1, 1});
    struct placement_prediction p = fixture_simulate(&problem, plan);
    /* Token 0 keeps node 0 busy for 8 s, token 1 both nodes for 4 s. */
    cr_expect_float_eq(p.expert_s, 6, 1e-9);
    cr_expect_float_eq(p.max_over_mean, 12.0 / 8.0, 1e-9);
    cr_expect_float_eq(p.local_bytes_per_token, 6000, 1e-6);
    /* Both (token, expert) pairs are away from home half the time: F32 codes out and F32 rows back. */
    cr_expect_float_eq(p.remote_bytes_per_token, 2 * 32 * (4 + 4) * 0.5, 1e-6);
    cr_expect_float_eq(p.exchange_s, 2 * 32 * (4 + 4) * 0.5 / 2 / 500, 1e-9);
    cr_expect_float_eq(p.step_s, p.expert_s + p.exchange_s + p.dense_s, 1e-12);
    cr_expect_str_eq(p.source, "simulated");
    cr_expect_eq(p.resident_bytes, 12000);

    problem.options.batch = 2; /* both tokens in one step: expert 0 is read once and computes twice */
    p = fixture_simulate(&problem, plan);
    cr_expect_eq(p.steps, 1);
    cr_expect_float_eq(p.expert_s, (3 + 2) + (3 + 1), 1e-9); /* node 0: experts 0 and 1; node 1: 4 s */
    cr_expect_float_eq(p.local_bytes_per_token, 4500, 1e-6);
    placement_plan_destroy(plan);
    routing_trace_destroy(trace);
}

Test(placement, interleave_and_slice_by_hand) {
    struct machine_speeds machine = hand_machine();
    struct placement_model model = hand_model();
    struct routing_trace *trace = hand_trace();
    struct placement_problem problem = {.model = &model, .machine = &machine, .trace = trace};
    struct placement_prediction interleave = fixture_policy(&problem, PLACEMENT_INTERLEAVE);
    /* Each node reads half of 6000 bytes, half of that remotely, and computes half of 1200 FLOPs. */
    cr_expect_float_eq(interleave.expert_s, 1500 / 1000.0 + 1500 / 500.0 + 1, 1e-9);
    cr_expect_float_eq(interleave.remote_bytes_per_token, 3000 + (32 * 4 + 2 * 32 * 4), 1e-6);
    struct placement_prediction slice = fixture_policy(&problem, PLACEMENT_SLICE);
    /* 32 rows are two units of 16: one a node, everything local. */
    cr_expect_float_eq(slice.expert_s, 3000 / 1000.0 + 1, 1e-9);
    cr_expect_float_eq(slice.max_over_mean, 1, 1e-9);
    cr_expect_float_eq(slice.local_bytes_per_token, 6000, 1e-6);
    /* The other node's half of the hidden state and of two intermediate vectors, to each node. */
    cr_expect_float_eq(slice.remote_bytes_per_token, 32 * 4 + 2 * 32 * 4, 1e-6);
    routing_trace_destroy(trace);
}

Test(placement, copies_go_to_the_least_loaded_node) {
    struct machine_speeds machine = hand_machine();
    struct placement_model model = hand_model();
    struct routing_trace *trace = hand_trace();
    struct placement_problem problem = {.model = &model, .machine = &machine, .trace = trace};
    problem.options.replica_budget_bytes = 3000;
    struct placement_plan *plan = fixture_plan(&problem, PLACEMENT_REPLICATE);
    struct placement_prediction p = fixture_simulate(&problem, plan);
    /* Whole already reaches the ideal here (0 | 1 2): a copy could not help and is not made. */
    cr_expect_float_eq(p.expert_s, 4, 1e-9);
    cr_expect_eq(p.resident_bytes, 12000);
    placement_plan_destroy(plan);

    /* Now 1 and 2 meet as well: no whole placement separates all three pairs, one copy does. */
    memcpy(trace->chosen, (uint16_t[]){0, 1, 1, 2}, 4 * sizeof(uint16_t));
    struct routing_trace *triangle = NULL;
    cr_assert_eq(routing_trace_create(1, 4, 2, 3, &triangle, NULL), MOESAIC_OK);
    memcpy(triangle->chosen, (uint16_t[]){0, 1, 0, 2, 1, 2}, 6 * sizeof(uint16_t));
    problem.trace = triangle;
    p = fixture_policy(&problem, PLACEMENT_WHOLE);
    cr_expect_float_eq(p.expert_s, (4 + 4 + 8) / 3.0, 1e-9);
    p = fixture_policy(&problem, PLACEMENT_REPLICATE);
    cr_expect_float_eq(p.expert_s, 4, 1e-9);
    cr_expect_eq(p.resident_bytes, 15000);
    routing_trace_destroy(triangle);
    routing_trace_destroy(trace);
}

Test(placement, dense_part_by_hand) {
    struct machine_speeds machine = hand_machine();
    struct placement_model model = hand_model();
    model.dense_bytes = 10000;
    model.token_bytes = 500;
    model.dense_flops = 120;
    machine.read_fraction = 0.5;
    struct routing_trace *trace = hand_trace();
    struct placement_problem problem = {.model = &model, .machine = &machine, .trace = trace, .options.batch = 2};
    struct placement_prediction p = fixture_policy(&problem, PLACEMENT_SLICE);
    cr_expect_float_eq(p.dense_s, (10000 + 2 * 500) / (2000 * 0.5) + 2 * 120 / 1200.0, 1e-9);
    cr_expect_float_eq(p.tokens_per_s, 2 / p.step_s, 1e-12);
    routing_trace_destroy(trace);
}

/* ---- search ------------------------------------------------------------------------------------------------------ */

static struct machine_speeds small_machine(unsigned kind) {
    struct machine_speeds machine = fixture_machine(2 + kind % 3, 100e9, 40e9, 1e12, GIB);
    if (kind >= 3) { /* uneven nodes: the first twice as fast */
        machine.read_bps[0][0] *= 2;
        machine.node[0].int8_ops *= 2;
    }
    return machine;
}

Test(placement, whole_is_within_five_percent_of_the_exact_optimum) {
    double worst = 0;
    unsigned proven = 0;
    for (unsigned kind = 0; kind < 6; kind++)
        for (unsigned variant = 0; variant < 4; variant++) {
            struct machine_speeds machine = small_machine(kind);
            struct placement_model model = fixture_model(1, 10, 3, 512, 256);
            struct routing_trace *trace = fixture_trace(&model, 48, variant * 0.5, 100 + kind * 10 + variant);
            struct placement_problem problem = {
                .model = &model, .machine = &machine, .trace = trace, .options.batch = 1 + variant % 2};
            struct placement_optimum optimum;
            moesaic_error error = {0};
            cr_assert_eq(placement_optimum_whole(&problem, 0, &optimum, &error), MOESAIC_OK, "%s", error.message);
            double found = fixture_policy(&problem, PLACEMENT_WHOLE).expert_s;
            proven += optimum.proven;
            cr_expect_geq(found, optimum.expert_s * (1 - 1e-9));
            cr_expect_leq(found, optimum.expert_s * 1.05, "kind %u variant %u: gap %.2f %%", kind, variant,
                          100 * (found / optimum.expert_s - 1));
            worst = found / optimum.expert_s - 1 > worst ? found / optimum.expert_s - 1 : worst;
            routing_trace_destroy(trace);
            fixture_model_done(&model);
        }
    cr_expect_eq(proven, 24, "%u of 24 proven", proven);
    cr_log_info("largest gap to the exact optimum %.3f %%", 100 * worst);
}

/* The branch and bound itself against every one of the 3^6 placements. */
Test(placement, exact_optimum_equals_enumeration) {
    struct machine_speeds machine = fixture_machine(3, 100e9, 40e9, 1e12, GIB);
    machine.read_bps[2][2] = 70e9;
    struct placement_model model = fixture_model(1, 6, 2, 256, 128);
    ((struct placement_expert *)(uintptr_t)model.expert)[1].gate_up_bytes *= 3;
    struct routing_trace *trace = fixture_trace(&model, 40, 0.8, 7);
    struct placement_problem problem = {.model = &model, .machine = &machine, .trace = trace};
    struct placement_plan *plan = fixture_plan(&problem, PLACEMENT_WHOLE);
    double best = INFINITY;
    for (unsigned code = 0; code < 729; code++) {
        for (unsigned e = 0, rest = code; e < 6; e++, rest /= 3)
            plan->pieces[e].node = plan->pieces[e].reader = (uint16_t)(rest % 3);
        double seconds = fixture_simulate(&problem, plan).expert_s;
        best = seconds < best ? seconds : best;
    }
    struct placement_optimum optimum;
    cr_assert_eq(placement_optimum_whole(&problem, 0, &optimum, NULL), MOESAIC_OK);
    cr_expect(optimum.proven);
    cr_expect_float_eq(optimum.expert_s, best, 1e-9 * best);
    placement_plan_destroy(plan);
    routing_trace_destroy(trace);
    fixture_model_done(&model);
}

Test(placement, never_worse_than_the_baselines) {
    for (unsigned kind = 0; kind < 6; kind++)
        for (unsigned batch = 1; batch <= 16; batch *= 16) {
            struct machine_speeds machine = small_machine(kind);
            struct placement_model model = fixture_model(2, 32, 4, 1024, 512);
            struct routing_trace *trace = fixture_trace(&model, 192, kind * 0.3, kind);
            struct placement_problem problem = {
                .model = &model, .machine = &machine, .trace = trace, .options.batch = batch};
            struct placement_plan *turns = NULL, *chosen = NULL;
            struct placement_decision decision;
            cr_assert_eq(placement_plan_round_robin(&problem, &turns, NULL), MOESAIC_OK);
            cr_assert_eq(placement_choose(&problem, &chosen, &decision, NULL), MOESAIC_OK);
            double round_robin = fixture_simulate(&problem, turns).step_s;
            double step_s = fixture_simulate(&problem, chosen).step_s;
            cr_expect_leq(decision.prediction[PLACEMENT_WHOLE].step_s, round_robin);
            cr_expect_leq(decision.prediction[PLACEMENT_REPLICATE].step_s, decision.prediction[PLACEMENT_WHOLE].step_s);
            cr_expect_leq(step_s, decision.prediction[PLACEMENT_INTERLEAVE].step_s);
            cr_expect_leq(step_s, 1.05 * decision.prediction[decision.best].step_s);
            cr_expect_float_eq(step_s, decision.prediction[decision.chosen].step_s, 1e-12);
            placement_plan_destroy(turns);
            placement_plan_destroy(chosen);
            routing_trace_destroy(trace);
            fixture_model_done(&model);
        }
}

Test(placement, experts_chosen_together_are_driven_apart) {
    struct machine_speeds machine = fixture_machine(2, 100e9, 40e9, 1e12, GIB);
    struct placement_model model = fixture_model(1, 8, 2, 512, 256);
    struct routing_trace *trace = NULL;
    cr_assert_eq(routing_trace_create(1, 8, 2, 64, &trace, NULL), MOESAIC_OK);
    for (uint32_t t = 0; t < 64; t++) { /* always 0 with 4, 1 with 5, ... */
        trace->chosen[2 * t] = (uint16_t)(t % 4);
        trace->chosen[2 * t + 1] = (uint16_t)(t % 4 + 4);
    }
    struct placement_problem problem = {.model = &model, .machine = &machine, .trace = trace};
    struct placement_plan *plan = fixture_plan(&problem, PLACEMENT_WHOLE);
    for (unsigned e = 0; e < 4; e++)
        cr_expect_neq(plan->pieces[e].node, plan->pieces[e + 4].node, "experts %u and %u share a node", e, e + 4);
    placement_plan_destroy(plan);
    routing_trace_destroy(trace);
    fixture_model_done(&model);
}

Test(placement, same_input_same_plan) {
    struct machine_speeds machine = fixture_machine(4, 100e9, 40e9, 1e12, GIB);
    struct placement_model model = fixture_model(2, 24, 4, 512, 256);
    struct routing_trace *trace = fixture_trace(&model, 128, 0.9, 5);
    struct placement_problem problem = {.model = &model, .machine = &machine, .trace = trace};
    for (unsigned policy = 0; policy < PLACEMENT_POLICIES; policy++) {
        struct placement_plan *a = fixture_plan(&problem, policy), *b = fixture_plan(&problem, policy);
        char *text_a, *text_b;
        size_t bytes_a, bytes_b;
        cr_assert_eq(placement_plan_text(a, &text_a, &bytes_a, NULL), MOESAIC_OK);
        cr_assert_eq(placement_plan_text(b, &text_b, &bytes_b, NULL), MOESAIC_OK);
        cr_expect_eq(bytes_a, bytes_b);
        cr_expect_arr_eq(text_a, text_b, bytes_a < bytes_b ? bytes_a : bytes_b);
        free(text_a);
        free(text_b);
        placement_plan_destroy(a);
        placement_plan_destroy(b);
    }
    routing_trace_destroy(trace);
    fixture_model_done(&model);
}

/* ---- slices ------------------------------------------------------------------------------------------------------ */

Test(placement, slices_cover_every_row_once_in_whole_units) {
    struct machine_speeds machine = fixture_machine(5, 100e9, 40e9, 1e12, GIB);
    struct placement_model model = fixture_model(3, 7, 2, 200, 1000);
    struct placement_expert *expert = (struct placement_expert *)(uintptr_t)model.expert;
    expert[3] = placement_expert_shape(200, 72, 4, 128); /* smaller than one unit */
    expert[4] = (struct placement_expert){0};            /* dropped */
    struct routing_trace *trace = fixture_trace(&model, 64, 0, 1);
    struct placement_problem problem = {.model = &model, .machine = &machine, .trace = trace};
    struct placement_plan *plan = fixture_plan(&problem, PLACEMENT_SLICE);
    moesaic_error error = {0};
    cr_expect_eq(placement_plan_check(plan, &model, &machine, &error), MOESAIC_OK, "%s", error.message);
    uint64_t bytes[TOPOLOGY_NODES_MAX], total = 0;
    placement_plan_node_bytes(plan, &model, &machine, bytes);
    for (unsigned n = 0; n < 5; n++) {
        total += bytes[n];
        cr_expect_leq(bytes[n], placement_model_bytes(&model) / 5 * 5 / 4, "node %u holds %llu", n,
                      (unsigned long long)bytes[n]);
    }
    cr_expect_geq(total, placement_model_bytes(&model));
    const struct placement_piece *pieces;
    cr_expect_eq(placement_plan_pieces(plan, 0, 4, &pieces), 0);
    placement_plan_destroy(plan);
    routing_trace_destroy(trace);
    fixture_model_done(&model);
}

Test(placement, slices_follow_speed_and_stay_within_memory) {
    struct machine_speeds machine = fixture_machine(2, 100e9, 40e9, 1e14, GIB);
    machine.read_bps[0][0] = 300e9;
    struct placement_model model = fixture_model(2, 8, 2, 1024, 1024);
    struct routing_trace *trace = fixture_trace(&model, 64, 0, 1);
    struct placement_problem problem = {.model = &model, .machine = &machine, .trace = trace};
    uint64_t bytes[TOPOLOGY_NODES_MAX], total = placement_model_bytes(&model);
    struct placement_plan *plan = fixture_plan(&problem, PLACEMENT_SLICE);
    placement_plan_node_bytes(plan, &model, &machine, bytes);
    cr_expect_float_eq((double)bytes[0] / (double)total, 0.75, 0.03);
    placement_plan_destroy(plan);
    machine.node[0].memory_bytes = total / 4; /* the fast node is small: it is filled, the other takes the rest */
    plan = fixture_plan(&problem, PLACEMENT_SLICE);
    placement_plan_node_bytes(plan, &model, &machine, bytes);
    cr_expect_leq(bytes[0], total / 4);
    cr_expect_geq(bytes[0], total / 5);
    placement_plan_destroy(plan);
    routing_trace_destroy(trace);
    fixture_model_done(&model);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

Test(placement, memory_limits_hold_for_every_policy) {
    struct placement_model model = fixture_model(3, 16, 2, 512, 512);
    uint64_t total = placement_model_bytes(&model);
    struct machine_speeds machine = fixture_machine(3, 100e9, 40e9, 1e12, 0);
    machine.node[0].memory_bytes = total / 2;
    machine.node[1].memory_bytes = total / 3;
    machine.node[2].memory_bytes = total / 3;
    struct routing_trace *trace = fixture_trace(&model, 96, 1, 2);
    struct placement_problem problem = {.model = &model, .machine = &machine, .trace = trace};
    for (unsigned policy = 0; policy < PLACEMENT_POLICIES; policy++) {
        struct placement_plan *plan = fixture_plan(&problem, policy);
        uint64_t bytes[TOPOLOGY_NODES_MAX];
        placement_plan_node_bytes(plan, &model, &machine, bytes);
        for (unsigned n = 0; n < 3; n++)
            cr_expect_leq(bytes[n], machine.node[n].memory_bytes, "%s, node %u", placement_policy_name(policy), n);
        placement_plan_destroy(plan);
    }
    routing_trace_destroy(trace);
    fixture_model_done(&model);
}

Test(placement, too_little_memory_says_how_much_is_missing_and_what_would_fit) {
    struct placement_model model = fixture_model(2, 8, 2, 1024, 1024);
    uint64_t total = placement_model_bytes(&model);
    struct machine_speeds machine = fixture_machine(2, 100e9, 40e9, 1e12, total / 2 - 500);
    struct routing_trace *trace = fixture_trace(&model, 64, 0, 1);
    struct placement_problem problem = {.model = &model, .machine = &machine, .trace = trace};
    struct placement_plan *plan = NULL;
    moesaic_error error = {0};
    cr_assert_eq(placement_choose(&problem, &plan, NULL, &error), MOESAIC_E_MEMORY);
    cr_expect_null(plan);
    char missing[64];
    snprintf(missing, sizeof missing, "%llu bytes are missing", (unsigned long long)(total - 2 * (total / 2 - 500)));
    cr_expect_not_null(strstr(error.message, missing), "%s", error.message);
    cr_expect_not_null(strstr(error.message, "would fit as int3"), "%s", error.message);
    machine.node[0].memory_bytes = machine.node[1].memory_bytes = 1000;
    cr_assert_eq(placement_choose(&problem, &plan, NULL, &error), MOESAIC_E_MEMORY);
    cr_expect_not_null(strstr(error.message, "not even int2"), "%s", error.message);
    routing_trace_destroy(trace);
    fixture_model_done(&model);
}

Test(placement, experts_larger_than_any_node_are_sliced) {
    struct placement_model model = fixture_model(1, 2, 1, 1024, 4096);
    uint64_t one = placement_model_bytes(&model) / 2;
    struct machine_speeds machine = fixture_machine(4, 100e9, 40e9, 1e12, one * 3 / 4);
    struct routing_trace *trace = fixture_trace(&model, 64, 0, 1);
    struct placement_problem problem = {.model = &model, .machine = &machine, .trace = trace};
    struct placement_plan *plan = NULL;
    struct placement_decision decision;
    moesaic_error error = {0};
    cr_expect_eq(placement_plan_make(&problem, PLACEMENT_WHOLE, &plan, &error), MOESAIC_E_UNSUPPORTED);
    cr_assert_eq(placement_choose(&problem, &plan, &decision, &error), MOESAIC_OK, "%s", error.message);
    cr_expect_not(decision.possible[PLACEMENT_WHOLE]);
    cr_expect_eq(decision.chosen, PLACEMENT_SLICE);
    placement_plan_destroy(plan);
    routing_trace_destroy(trace);
    fixture_model_done(&model);
}

/* ---- auto -------------------------------------------------------------------------------------------------------- */

Test(placement, auto_slices_for_one_sequence) {
    struct machine_speeds machine = fixture_machine(2, 200e9, 80e9, 10e12, 64 * GIB);
    struct placement_model model = fixture_model(2, 64, 4, 2048, 1024);
    struct routing_trace *trace = fixture_trace(&model, 256, 0, 3);
    struct placement_problem problem = {.model = &model, .machine = &machine, .trace = trace};
    struct placement_plan *plan = NULL;
    struct placement_decision decision;
    cr_assert_eq(placement_choose(&problem, &plan, &decision, NULL), MOESAIC_OK);
    cr_expect_eq(decision.chosen, PLACEMENT_SLICE, "%s", decision.reason);
    cr_expect_gt(decision.gain, 0.3);
    cr_expect_eq(plan->policy, PLACEMENT_SLICE);
    placement_plan_destroy(plan);
    routing_trace_destroy(trace);
    fixture_model_done(&model);
}

/* Wide experts behind slow links: slices exchange the intermediate rows of every pair, whole experts only hidden
 * ones. */
Test(placement, auto_keeps_experts_whole_behind_slow_links) {
    struct machine_speeds machine = fixture_machine(2, 200e9, 2e9, 1e14, 64 * GIB);
    struct placement_model model = fixture_model(2, 32, 2, 512, 8192);
    struct routing_trace *trace = fixture_trace(&model, 1024, 0, 3);
    struct placement_problem problem = {.model = &model, .machine = &machine, .trace = trace, .options.batch = 64};
    struct placement_plan *plan = NULL;
    struct placement_decision decision;
    cr_assert_eq(placement_choose(&problem, &plan, &decision, NULL), MOESAIC_OK);
    cr_expect_eq(decision.chosen, PLACEMENT_WHOLE, "%s", decision.reason);
    cr_expect_lt(decision.prediction[PLACEMENT_WHOLE].exchange_s, decision.prediction[PLACEMENT_SLICE].exchange_s / 4);
    placement_plan_destroy(plan);
    routing_trace_destroy(trace);
    fixture_model_done(&model);
}

Test(placement, auto_refuses_where_it_cannot_gain) {
    /* One node, and two nodes whose memory is equally near: nothing to win. */
    struct machine_speeds machines[2] = {fixture_machine(1, 20e9, 20e9, 1e12, GIB),
                                         fixture_machine(2, 20e9, 20e9, 1e12, GIB)};
    for (unsigned m = 0; m < 2; m++) {
        struct placement_model model = fixture_model(2, 16, 2, 512, 256);
        struct routing_trace *trace = fixture_trace(&model, 128, 1, 3);
        struct placement_problem problem = {.model = &model, .machine = &machines[m], .trace = trace};
        struct placement_plan *plan = NULL;
        struct placement_decision decision;
        cr_assert_eq(placement_choose(&problem, &plan, &decision, NULL), MOESAIC_OK);
        cr_expect_eq(decision.chosen, PLACEMENT_INTERLEAVE, "%s", decision.reason);
        cr_expect_float_eq(decision.gain, 0, 1e-12);
        cr_expect_not_null(strstr(decision.reason, "simulated"), "%s", decision.reason);
        placement_plan_destroy(plan);
        routing_trace_destroy(trace);
        fixture_model_done(&model);
    }
}

Test(placement, a_single_node_costs_the_same_under_every_policy) {
    struct machine_speeds machine = fixture_machine(1, 20e9, 20e9, 1e12, GIB);
    struct placement_model model = fixture_model(2, 16, 2, 512, 256);
    struct routing_trace *trace = fixture_trace(&model, 128, 1, 3);
    struct placement_problem problem = {.model = &model, .machine = &machine, .trace = trace};
    double first = fixture_policy(&problem, PLACEMENT_INTERLEAVE).step_s;
    for (unsigned policy = 1; policy < PLACEMENT_POLICIES; policy++) {
        struct placement_prediction p = fixture_policy(&problem, policy);
        cr_expect_float_eq(p.step_s, first, 1e-9 * first);
        cr_expect_float_eq(p.remote_bytes_per_token, 0, 1e-9);
    }
    routing_trace_destroy(trace);
    fixture_model_done(&model);
}

/* ---- odd machines ------------------------------------------------------------------------------------------------ */

Test(placement, nodes_without_cores_or_memory) {
    struct placement_model model = fixture_model(2, 24, 3, 512, 512);
    struct routing_trace *trace = fixture_trace(&model, 96, 0.7, 2);
    uint64_t total = placement_model_bytes(&model);
    struct machine_speeds machines[4];
    for (unsigned m = 0; m < 4; m++)
        machines[m] = fixture_machine(4, 100e9, 40e9, 1e12, GIB);
    fixture_drop_cores(&machines[0], 3); /* memory beside three nodes */
    fixture_drop_memory(&machines[1], 0);
    for (unsigned n = 1; n < 4; n++) { /* one node computes, three hold */
        fixture_drop_cores(&machines[2], n);
        fixture_drop_memory(&machines[3], n); /* one node holds, four compute */
    }
    machines[0].node[0].memory_bytes = machines[0].node[1].memory_bytes = machines[0].node[2].memory_bytes = total / 4;
    for (unsigned m = 0; m < 4; m++) {
        struct placement_problem problem = {.model = &model, .machine = &machines[m], .trace = trace};
        struct placement_plan *plan = NULL;
        struct placement_decision decision;
        moesaic_error error = {0};
        cr_assert_eq(placement_choose(&problem, &plan, &decision, &error), MOESAIC_OK, "machine %u: %s", m,
                     error.message);
        for (unsigned p = 0; p < PLACEMENT_POLICIES; p++)
            cr_expect(decision.possible[p], "machine %u, %s", m, placement_policy_name(p));
        cr_expect_leq(decision.prediction[decision.chosen].step_s, decision.prediction[PLACEMENT_INTERLEAVE].step_s);
        cr_expect_eq(placement_plan_check(plan, &model, &machines[m], &error), MOESAIC_OK, "%s", error.message);
        placement_plan_destroy(plan);
    }
    routing_trace_destroy(trace);
    fixture_model_done(&model);
}

Test(placement, memory_that_several_nodes_read_is_not_faster_than_itself) {
    struct machine_speeds machine = fixture_machine(3, 100e9, 50e9, 1e15, GIB);
    fixture_drop_cores(&machine, 2);
    fixture_drop_memory(&machine, 0);
    fixture_drop_memory(&machine, 1);
    struct placement_model model = fixture_model(1, 8, 2, 512, 512);
    struct routing_trace *trace = fixture_trace(&model, 64, 0, 2);
    struct placement_problem problem = {.model = &model, .machine = &machine, .trace = trace};
    double bytes = 2.0 * (double)placement_model_bytes(&model) / 8;
    for (unsigned policy = 0; policy < PLACEMENT_POLICIES; policy++)
        cr_expect_geq(fixture_policy(&problem, policy).expert_s, bytes / 50e9 * (1 - 1e-9), "%s",
                      placement_policy_name(policy));
    routing_trace_destroy(trace);
    fixture_model_done(&model);
}

Test(placement, impossible_machines_models_and_traces_are_refused) {
    struct machine_speeds good = fixture_machine(2, 100e9, 40e9, 1e12, GIB), machine;
    struct placement_model model = fixture_model(1, 8, 2, 512, 256);
    struct routing_trace *trace = fixture_trace(&model, 64, 0, 2);
    struct placement_problem problem = {.model = &model, .machine = &machine, .trace = trace};
    struct placement_plan *plan = NULL;
    moesaic_error error = {0};
    for (unsigned kind = 0; kind < 8; kind++) {
        machine = good;
        if (kind == 0)
            machine.nodes = 0;
        else if (kind == 1)
            machine.node[0].cores = machine.node[1].cores = 0;
        else if (kind == 2)
            machine.node[0].memory_bytes = machine.node[1].memory_bytes = 0;
        else if (kind == 3)
            machine.read_bps[1][0] = 0;
        else if (kind == 4)
            machine.read_bps[1][1] = NAN;
        else if (kind == 5)
            machine.node[1].int8_ops = -1;
        else if (kind == 6)
            machine.read_fraction = 0;
        else
            machine.exchange_s = INFINITY;
        cr_expect_eq(placement_choose(&problem, &plan, NULL, &error), MOESAIC_E_UNSUPPORTED, "kind %u", kind);
        cr_expect(strncmp(error.message, "machine: ", 9) == 0, "%s", error.message);
    }
    machine = good;
    struct placement_model other = model;
    other.top_k = 3;
    problem.model = &other;
    cr_expect_eq(placement_choose(&problem, &plan, NULL, &error), MOESAIC_E_INPUT);
    problem.model = &model;
    problem.options.batch = 65;
    cr_expect_eq(placement_choose(&problem, &plan, NULL, &error), MOESAIC_E_USAGE);
    cr_expect_null(plan);
    routing_trace_destroy(trace);
    fixture_model_done(&model);
}
