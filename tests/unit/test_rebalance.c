/* SPDX-License-Identifier: Apache-2.0 */
/* The rebalancer: when it acts, that its migrations are bounded and gain what it said, and how it paces them. */
#include <stdio.h>

#include "placement_fixture.h"

#define GIB ((uint64_t)1 << 30)

struct stage {
    struct machine_speeds machine;
    struct placement_model model;
    struct routing_trace *planned, *drifted;
    struct placement_plan *plan;
};

static void stage_open(struct stage *stage, enum placement_policy policy) {
    stage->machine = fixture_machine(2, 100e9, 40e9, 1e12, GIB);
    stage->model = fixture_model(2, 32, 4, 1024, 1024);
    stage->planned = fixture_trace(&stage->model, 1024, 1, 1);
    stage->drifted = fixture_trace(&stage->model, 2048, 1, 99);
    const struct placement_problem problem = {
        .model = &stage->model, .machine = &stage->machine, .trace = stage->planned};
    stage->plan = fixture_plan(&problem, policy);
}

static void stage_close(struct stage *stage) {
    placement_plan_destroy(stage->plan);
    routing_trace_destroy(stage->planned);
    routing_trace_destroy(stage->drifted);
    fixture_model_done(&stage->model);
}

static struct rebalancer *stage_rebalancer(const struct stage *stage, const struct rebalance_options *options) {
    struct rebalancer *rebalancer = NULL;
    moesaic_error error = {0};
    cr_assert_eq(rebalancer_create(&stage->model, &stage->machine, stage->plan, options, &rebalancer, &error),
                 MOESAIC_OK, "%s", error.message);
    return rebalancer;
}

/* Shows tokens [begin, end) of a trace. */
static void watch(struct rebalancer *rebalancer, const struct routing_trace *trace, uint32_t begin, uint32_t end) {
    uint16_t chosen[2 * 4];
    for (uint32_t t = begin; t < end; t++) {
        for (uint32_t layer = 0; layer < 2; layer++)
            memcpy(chosen + 4 * layer, routing_trace_at(trace, layer, t), 4 * sizeof *chosen);
        rebalancer_observe(rebalancer, chosen, trace->sequence[t]);
    }
}

static struct rebalance_record decide(struct rebalancer *rebalancer) {
    struct rebalance_record record;
    moesaic_error error = {0};
    cr_assert_eq(rebalancer_decide(rebalancer, &record, &error), MOESAIC_OK, "%s", error.message);
    return record;
}

static double step_under(const struct stage *stage, const struct placement_plan *plan,
                         const struct routing_trace *trace) {
    const struct placement_problem problem = {.model = &stage->model, .machine = &stage->machine, .trace = trace};
    return fixture_simulate(&problem, plan).step_s;
}

/* Carries out all moves as time passes; returns the bytes moved. */
static uint64_t carry_out(struct rebalancer *rebalancer, uint64_t now_ns) {
    struct rebalance_move move;
    uint64_t bytes = 0;
    for (unsigned ticks = 0; ticks < 100000; ticks++, now_ns += 1000000)
        while (rebalancer_next_move(rebalancer, now_ns, &move)) {
            bytes += move.bytes;
            rebalancer_move_done(rebalancer, true);
        }
    return bytes;
}

Test(rebalance, steady_traffic_moves_nothing) {
    struct stage stage;
    stage_open(&stage, PLACEMENT_WHOLE);
    const struct rebalance_options options = {.window_tokens = 512};
    struct rebalancer *rebalancer = stage_rebalancer(&stage, &options);
    struct rebalance_move move;
    /* Two more windows of the same distribution as planned for. */
    struct routing_trace *same = NULL;
    const struct routing_generator generator = {
        .layers = 2, .experts = 32, .top_k = 4, .tokens = 3072, .tokens_per_sequence = 64, .skew = 1, .seed = 1};
    cr_assert_eq(routing_trace_generate(&generator, &same, NULL), MOESAIC_OK);
    cr_expect_eq(decide(rebalancer).verdict, REBALANCE_FEW_TOKENS);
    for (unsigned window = 2; window < 6; window++) {
        watch(rebalancer, same, window * 512, window * 512 + 511);
        cr_expect_eq(decide(rebalancer).verdict, REBALANCE_FEW_TOKENS);
        watch(rebalancer, same, window * 512 + 511, window * 512 + 512);
        struct rebalance_record record = decide(rebalancer);
        cr_expect_eq(record.verdict, REBALANCE_STEADY, "%g bits, noise %g", record.drift_bits, record.noise_bits);
        cr_expect_eq(record.number, window - 1);
        cr_expect_not(rebalancer_next_move(rebalancer, 1, &move));
    }
    routing_trace_destroy(same);
    rebalancer_destroy(rebalancer);
    rebalancer_destroy(NULL);
    stage_close(&stage);
}

Test(rebalance, drift_is_answered_by_a_bounded_migration_that_gains_what_it_says) {
    struct stage stage;
    stage_open(&stage, PLACEMENT_WHOLE);
    uint64_t one = placement_model_bytes(&stage.model) / 64;
    const struct rebalance_options options = {.window_tokens = 512, .max_bytes = 9 * one, .min_gain = 0.01};
    struct rebalancer *rebalancer = stage_rebalancer(&stage, &options);
    moesaic_error error = {0};
    struct routing_trace *window = NULL; /* what the rebalancer will have seen */
    cr_assert_eq(routing_trace_create(2, 32, 4, 512, &window, NULL), MOESAIC_OK);
    for (uint32_t layer = 0; layer < 2; layer++)
        memcpy(routing_trace_at(window, layer, 0), routing_trace_at(stage.drifted, layer, 0),
               512 * 4 * sizeof(uint16_t));
    watch(rebalancer, stage.drifted, 0, 512);
    struct rebalance_record record = decide(rebalancer);
    cr_assert_eq(record.verdict, REBALANCE_MIGRATE, "%g bits, gain %g", record.drift_bits, record.predicted_gain);
    cr_expect_gt(record.drift_bits, 10 * record.noise_bits);
    cr_expect_gt(record.moves, 0);
    cr_expect_leq(record.bytes, 9 * one);
    cr_expect_eq(record.bytes, record.moves * one);
    double before = step_under(&stage, stage.plan, window);
    watch(rebalancer, stage.drifted, 512, 1024);
    cr_expect_eq(decide(rebalancer).verdict, REBALANCE_BUSY);
    cr_expect_eq(carry_out(rebalancer, 1000), record.bytes);
    double after = step_under(&stage, rebalancer_plan(rebalancer), window);
    cr_expect_float_eq(before / after - 1, record.predicted_gain, 1e-9);
    cr_expect_geq(record.predicted_gain, 0.01);
    cr_expect_eq(placement_plan_check(rebalancer_plan(rebalancer), &stage.model, &stage.machine, &error), MOESAIC_OK,
                 "%s", error.message);
    /* The next window of the same traffic is no drift any more. */
    record = decide(rebalancer);
    cr_expect_eq(record.verdict, REBALANCE_STEADY, "%g bits", record.drift_bits);
    /* It was not luck of the window: later tokens gain as well. */
    cr_expect_lt(step_under(&stage, rebalancer_plan(rebalancer), stage.drifted),
                 step_under(&stage, stage.plan, stage.drifted));
    routing_trace_destroy(window);
    rebalancer_destroy(rebalancer);
    stage_close(&stage);
}

Test(rebalance, copies_follow_the_heat_without_more_memory) {
    struct stage stage;
    stage_open(&stage, PLACEMENT_REPLICATE);
    const struct rebalance_options options = {
        .window_tokens = 1024, .min_gain = 0.001, .max_bytes = placement_model_bytes(&stage.model)};
    struct rebalancer *rebalancer = stage_rebalancer(&stage, &options);
    moesaic_error error = {0};
    uint64_t held[TOPOLOGY_NODES_MAX], holds[TOPOLOGY_NODES_MAX];
    placement_plan_node_bytes(stage.plan, &stage.model, &stage.machine, held);
    watch(rebalancer, stage.drifted, 0, 1024);
    struct rebalance_record record = decide(rebalancer);
    cr_assert_eq(record.verdict, REBALANCE_MIGRATE, "%g bits, gain %g", record.drift_bits, record.predicted_gain);
    unsigned kinds[3] = {0};
    struct rebalance_move move;
    for (uint64_t now_ns = 1; now_ns < 100000000000u; now_ns += 10000000)
        while (rebalancer_next_move(rebalancer, now_ns, &move)) {
            kinds[move.kind]++;
            rebalancer_move_done(rebalancer, true);
        }
    cr_expect_eq(kinds[REBALANCE_MOVE] + kinds[REBALANCE_COPY] + kinds[REBALANCE_DROP], record.moves);
    cr_expect_gt(kinds[REBALANCE_DROP], 0);
    cr_expect_gt(kinds[REBALANCE_COPY], 0);
    placement_plan_node_bytes(rebalancer_plan(rebalancer), &stage.model, &stage.machine, holds);
    cr_expect_leq(holds[0] + holds[1], held[0] + held[1]);
    cr_expect_eq(placement_plan_check(rebalancer_plan(rebalancer), &stage.model, &stage.machine, &error), MOESAIC_OK,
                 "%s", error.message);
    cr_expect_lt(step_under(&stage, rebalancer_plan(rebalancer), stage.drifted),
                 step_under(&stage, stage.plan, stage.drifted));
    rebalancer_destroy(rebalancer);
    stage_close(&stage);
}

Test(rebalance, bytes_per_second_are_bounded) {
    struct stage stage;
    stage_open(&stage, PLACEMENT_WHOLE);
    uint64_t one = placement_model_bytes(&stage.model) / 64, moved = 0;
    const struct rebalance_options options = {
        .window_tokens = 512, .max_bytes = 16 * one, .min_gain = 0.001, .bytes_per_s = 2 * one};
    struct rebalancer *rebalancer = stage_rebalancer(&stage, &options);
    watch(rebalancer, stage.drifted, 0, 512);
    struct rebalance_record record = decide(rebalancer);
    cr_assert_gt(record.moves, 6);
    struct rebalance_move move;
    uint64_t start_ns = 5000000000u, now_ns = start_ns;
    for (; moved < record.bytes && now_ns < start_ns + 100000000000u; now_ns += 10000000)
        while (rebalancer_next_move(rebalancer, now_ns, &move)) {
            moved += move.bytes;
            cr_expect_not(rebalancer_next_move(rebalancer, now_ns, &move)); /* one at a time */
            rebalancer_move_done(rebalancer, true);
            /* A second's allowance at the start, and one move may overdraw it. */
            cr_expect_leq((double)moved, 2 * (double)one * (double)(now_ns - start_ns) * 1e-9 + 3 * (double)one);
        }
    cr_expect_eq(moved, record.bytes);
    cr_expect_geq(now_ns - start_ns, (record.moves / 2 - 2) * 1000000000u);
    rebalancer_destroy(rebalancer);
    stage_close(&stage);
}

Test(rebalance, failed_moves_leave_the_plan_as_it_is) {
    struct stage stage;
    stage_open(&stage, PLACEMENT_WHOLE);
    const struct rebalance_options options = {.window_tokens = 512, .min_gain = 0.001};
    struct rebalancer *rebalancer = stage_rebalancer(&stage, &options);
    watch(rebalancer, stage.drifted, 0, 512);
    struct rebalance_record record = decide(rebalancer);
    struct rebalance_move move;
    uint64_t now_ns = 1;
    for (uint32_t m = 0; m < record.moves; now_ns += 1000000000u)
        if (rebalancer_next_move(rebalancer, now_ns, &move)) {
            rebalancer_move_done(rebalancer, false);
            m++;
        }
    struct placement_difference difference;
    placement_plan_compare(stage.plan, rebalancer_plan(rebalancer), &stage.model, &difference);
    cr_expect_eq(difference.experts_moved, 0);
    cr_expect_eq(rebalancer_last(rebalancer)->moves_failed, record.moves);
    rebalancer_destroy(rebalancer);
    stage_close(&stage);
}

Test(rebalance, the_observed_gain_is_logged_beside_the_predicted_one) {
    struct stage stage;
    stage_open(&stage, PLACEMENT_WHOLE);
    const struct rebalance_options options = {.window_tokens = 512, .min_gain = 0.001};
    struct rebalancer *rebalancer = stage_rebalancer(&stage, &options);
    watch(rebalancer, stage.drifted, 0, 512);
    for (unsigned step = 0; step < 512; step++)
        rebalancer_observe_step(rebalancer, 1, 1200);
    cr_assert_eq(decide(rebalancer).verdict, REBALANCE_MIGRATE);
    rebalancer_observe_step(rebalancer, 1, 999999); /* while moves go on: counted on neither side */
    carry_out(rebalancer, 1);
    for (unsigned step = 0; step < 511; step++)
        rebalancer_observe_step(rebalancer, 1, 1000);
    cr_expect_not(rebalancer_last(rebalancer)->observed);
    rebalancer_observe_step(rebalancer, 1, 1000);
    const struct rebalance_record *last = rebalancer_last(rebalancer);
    cr_expect(last->observed);
    cr_expect_float_eq(last->observed_gain, 0.2, 1e-9);
    char text[256];
    cr_expect_not_null(strstr(rebalance_record_text(last, text, sizeof text), "migrate"), "%s", text);
    cr_expect_not_null(strstr(text, "% simulated, 20.0 % observed"), "%s", text);
    char small[16];
    cr_expect_lt(strlen(rebalance_record_text(last, small, sizeof small)), sizeof small);
    rebalancer_destroy(rebalancer);
    stage_close(&stage);
}

Test(rebalance, what_cannot_be_rebalanced_is_refused) {
    struct stage stage;
    stage_open(&stage, PLACEMENT_SLICE);
    struct rebalancer *rebalancer = NULL;
    moesaic_error error = {0};
    cr_expect_eq(rebalancer_create(&stage.model, &stage.machine, stage.plan, NULL, &rebalancer, &error),
                 MOESAIC_E_UNSUPPORTED);
    stage.plan->policy = PLACEMENT_WHOLE; /* a lie: its pieces are slices */
    cr_expect_eq(rebalancer_create(&stage.model, &stage.machine, stage.plan, NULL, &rebalancer, &error),
                 MOESAIC_E_UNSUPPORTED);
    cr_expect_not_null(strstr(error.message, "sliced"), "%s", error.message);
    stage.plan->model.bytes++;
    cr_expect_eq(rebalancer_create(&stage.model, &stage.machine, stage.plan, NULL, &rebalancer, &error),
                 MOESAIC_E_INPUT);
    stage_close(&stage);
    stage_open(&stage, PLACEMENT_WHOLE);
    const struct rebalance_options options = {.drift_bits = -1};
    cr_expect_eq(rebalancer_create(&stage.model, &stage.machine, stage.plan, &options, &rebalancer, &error),
                 MOESAIC_E_USAGE);
    cr_expect_null(rebalancer);
    stage_close(&stage);
}
