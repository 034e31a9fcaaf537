/* SPDX-License-Identifier: Apache-2.0 */
/* Plan files: round trip, comparison, plans of another model, and hostile text. */
#include <stdio.h>
#include <unistd.h>

#include "placement_fixture.h"

#define MIB ((uint64_t)1 << 20)

struct stage {
    struct machine_speeds machine;
    struct placement_model model;
    struct routing_trace *trace;
    struct placement_problem problem;
};

static void stage_open(struct stage *stage) {
    stage->machine = fixture_machine(3, 100e9, 40e9, 1e12, 64 * MIB);
    stage->model = fixture_model(2, 6, 2, 128, 192);
    ((struct placement_expert *)(uintptr_t)stage->model.expert)[5] = (struct placement_expert){0};
    stage->trace = fixture_trace(&stage->model, 60, 1, 4);
    stage->problem = (struct placement_problem){
        .model = &stage->model, .machine = &stage->machine, .trace = stage->trace, .options.batch = 3};
}

static void stage_close(struct stage *stage) {
    routing_trace_destroy(stage->trace);
    fixture_model_done(&stage->model);
}

static void expect_equal_plans(const struct placement_plan *a, const struct placement_plan *b,
                               const struct placement_model *model) {
    size_t items = (size_t)model->layers * model->experts;
    struct placement_difference difference;
    cr_expect_eq(a->policy, b->policy);
    cr_expect_eq(a->nodes, b->nodes);
    cr_expect_eq(a->batch, b->batch);
    cr_expect_eq(a->predicted_step_ns, b->predicted_step_ns);
    placement_plan_compare(a, b, model, &difference);
    cr_expect(difference.same_model);
    cr_expect_eq(difference.experts_moved, 0);
    cr_expect_arr_eq(a->histogram, b->histogram, items * sizeof *a->histogram);
}

Test(placement_plan, every_policy_survives_its_file) {
    struct stage stage;
    stage_open(&stage);
    char path[] = "/tmp/placement-plan-XXXXXX";
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    close(fd);
    for (unsigned policy = 0; policy < PLACEMENT_POLICIES; policy++) {
        struct placement_plan *plan = fixture_plan(&stage.problem, policy), *read = NULL;
        moesaic_error error = {0};
        cr_assert_eq(placement_plan_write(plan, path, &error), MOESAIC_OK, "%s", error.message);
        cr_assert_eq(placement_plan_read(path, &read, &error), MOESAIC_OK, "%s", error.message);
        expect_equal_plans(plan, read, &stage.model);
        cr_expect_eq(placement_plan_check(read, &stage.model, &stage.machine, &error), MOESAIC_OK, "%s", error.message);
        cr_expect_gt(read->predicted_step_ns, 0);
        placement_plan_destroy(plan);
        placement_plan_destroy(read);
    }
    unlink(path);
    stage_close(&stage);
}

Test(placement_plan, comparison_counts_what_must_move) {
    struct stage stage;
    stage_open(&stage);
    struct placement_plan *a = fixture_plan(&stage.problem, PLACEMENT_WHOLE),
                          *b = fixture_plan(&stage.problem, PLACEMENT_WHOLE),
                          *slices = fixture_plan(&stage.problem, PLACEMENT_SLICE);
    struct placement_difference difference;
    uint64_t one = stage.model.expert[0].gate_up_bytes + stage.model.expert[0].down_bytes;
    b->pieces[2].node = b->pieces[2].reader = (uint16_t)((b->pieces[2].node + 1) % 3);
    placement_plan_compare(a, b, &stage.model, &difference);
    cr_expect_eq(difference.experts_moved, 1);
    cr_expect_eq(difference.bytes_moved, one);
    placement_plan_compare(a, slices, &stage.model, &difference);
    cr_expect_eq(difference.experts_moved, 11);
    /* Each node keeps its third of what it had: two thirds of every expert move, but for the rounding to units. */
    cr_expect_float_eq((double)difference.bytes_moved, 11 * (double)one * 2 / 3, (double)one * 0.5);
    b->model.bytes++;
    placement_plan_compare(a, b, &stage.model, &difference);
    cr_expect_not(difference.same_model);
    placement_plan_destroy(a);
    placement_plan_destroy(b);
    placement_plan_destroy(slices);
    stage_close(&stage);
}

/* Each change makes the plan wrong for this model or machine in its own way. */
Test(placement_plan, plans_that_do_not_fit_are_refused) {
    struct stage stage;
    stage_open(&stage);
    for (unsigned kind = 0; kind < 13; kind++) {
        struct placement_plan *plan = fixture_plan(&stage.problem, kind < 9 ? PLACEMENT_SLICE : PLACEMENT_WHOLE);
        struct placement_piece *piece = plan->pieces;
        moesaic_error error = {0};
        const char *expected = "";
        switch (kind) {
        case 0:
            plan->model.layers++, expected = "another model";
            break;
        case 1:
            plan->model.bytes--, expected = "another model";
            break;
        case 2:
            plan->nodes = 2, expected = "NUMA nodes";
            break;
        case 3:
            piece[0].node = 3, expected = "node 3";
            break;
        case 4:
            piece[0].gate_end += 16, expected = "multiples of 64";
            break;
        case 5:
            piece[0].down_end += 8, expected = "multiples of";
            break;
        case 6:
            piece[1].gate_begin = piece[0].gate_begin, expected = "neither copies";
            break;
        case 7:
            piece[2].down_end = 1 << 20, expected = "do not exist";
            break;
        case 8:
            piece[1].node = piece[1].reader = piece[0].node, expected = "two pieces";
            break;
        case 9:
            plan->piece_at[7] -= 1, expected = "layer 1, expert 0";
            break;
        case 10:
            plan->piece_at[6] += 1, expected = "dropped";
            break;
        case 11:
            plan->policy = PLACEMENT_INTERLEAVE, expected = "interleaved";
            break;
        case 12:
            piece[0].gate_end = 0, expected = "cover it once";
            break;
        }
        moesaic_status status = placement_plan_check(plan, &stage.model, &stage.machine, &error);
        cr_expect_eq(status, MOESAIC_E_INPUT, "kind %u: %d %s", kind, status, error.message);
        cr_expect_not_null(strstr(error.message, expected), "kind %u: %s", kind, error.message);
        placement_plan_destroy(plan);
    }
    struct placement_plan *plan = fixture_plan(&stage.problem, PLACEMENT_WHOLE);
    struct placement_prediction prediction;
    moesaic_error error = {0};
    for (unsigned p = 0; p < plan->piece_at[12]; p++)
        plan->pieces[p].node = plan->pieces[p].reader = 1;
    stage.machine.node[1].memory_bytes = plan->model.bytes - 1000;
    cr_expect_eq(placement_plan_check(plan, &stage.model, &stage.machine, &error), MOESAIC_E_MEMORY);
    cr_expect_not_null(strstr(error.message, ": 1000 bytes are missing"), "%s", error.message);
    cr_expect_eq(placement_simulate(&stage.problem, plan, &prediction, &error), MOESAIC_E_MEMORY);
    placement_plan_destroy(plan);
    stage_close(&stage);
}

/* ---- hostile text ------------------------------------------------------------------------------------------------ */

static const char good_plan[] =
    "{\"schema\":\"moesaic.plan/1\",\"policy\":\"whole\",\"model\":{\"layers\":1,\"experts\":2,\"hidden\":32,"
    "\"bytes\":6000},\"nodes\":2,\"batch\":1,\"simulated_step_ns\":5,\"histogram\":[[3,4]],"
    "\"pieces\":[[[[0,0,0,32,0,32]],[[1,1,0,32,0,32]]]]}";

static moesaic_status parse(const char *text, moesaic_error *error) {
    struct placement_plan *plan = NULL;
    moesaic_status status = placement_plan_parse(text, strlen(text), "plan.json", &plan, error);
    cr_expect_eq(plan != NULL, status == MOESAIC_OK);
    placement_plan_destroy(plan);
    return status;
}

/* The good plan with the first `from` replaced by `to`. */
static void parse_changed(const char *from, const char *to, const char *expected) {
    char text[2048];
    moesaic_error error = {0};
    const char *at = strstr(good_plan, from);
    cr_assert_not_null(at, "%s", from);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - good_plan), good_plan, to, at + strlen(from));
    cr_expect_eq(parse(text, &error), MOESAIC_E_INPUT, "%s -> %s", from, to);
    cr_expect_not_null(strstr(error.message, expected), "%s -> %s: %s", from, to, error.message);
    cr_expect_not_null(strstr(error.message, "plan.json"), "%s", error.message);
}

Test(placement_plan, hostile_text_is_refused_by_name) {
    moesaic_error error = {0};
    cr_assert_eq(parse(good_plan, &error), MOESAIC_OK, "%s", error.message);
    parse_changed("plan/1", "plan/2", "schema");
    parse_changed("\"moesaic.plan/1\"", "7", "schema");
    parse_changed("\"whole\"", "\"clever\"", "policy");
    parse_changed("\"batch\":1", "\"batch\":1,\"colour\":2", "colour");
    parse_changed("\"batch\":1,", "", "'batch' is missing");
    parse_changed("\"batch\":1", "\"batch\":0", "batch");
    parse_changed("\"batch\":1", "\"batch\":null", "batch");
    parse_changed("\"batch\":1", "\"batch\":1,\"batch\":2", "batch");
    parse_changed("\"layers\":1", "\"layers\":100000", "layers");
    parse_changed("\"layers\":1", "\"layers\":1024", "1024 layers");
    parse_changed("\"experts\":2", "\"experts\":4096", "4096 experts");
    parse_changed("\"experts\":2", "\"experts\":-2", "experts");
    parse_changed("\"hidden\":32", "\"hidden\":1e300", "hidden");
    parse_changed("{\"layers\"", "[{\"layers\"", "");
    parse_changed("\"model\":{\"layers\":1,\"experts\":2,\"hidden\":32,\"bytes\":6000}", "\"model\":[]", "model");
    parse_changed("\"nodes\":2", "\"nodes\":65", "nodes");
    parse_changed("[[3,4]]", "[[3]]", "histogram");
    parse_changed("[[3,4]]", "[[3,-4]]", "expert 1");
    parse_changed("[[3,4]]", "[[3,4.5]]", "expert 1");
    parse_changed("[[3,4]]", "[[3,9223372036854775807]]", "expert 1");
    parse_changed("[[3,4]]", "{}", "histogram");
    parse_changed("[[0,0,0,32,0,32]]", "7", "expert 0");
    parse_changed("[0,0,0,32,0,32]", "[0,0,0,32,0]", "expert 0");
    parse_changed("[0,0,0,32,0,32]", "[2,0,0,32,0,32]", "expert 0");
    parse_changed("[0,0,0,32,0,32]", "[0,0,0,-1,0,32]", "expert 0");
    parse_changed("[0,0,0,32,0,32]", "[0,0,0,32,0,33]", "expert 0");
    parse_changed("[0,0,0,32,0,32]", "[[0,0],0,0,32,0,32]", "expert 0");
    parse_changed("[0,0,0,32,0,32]", "[[[[[[[[0]]]]]]]]", "");
    parse_changed("\"whole\"", "\"interleave\"", "interleaved");
}

Test(placement_plan, every_truncation_is_refused) {
    for (size_t bytes = 0; bytes + 1 < sizeof good_plan - 1; bytes++) {
        struct placement_plan *plan = NULL;
        cr_expect_eq(placement_plan_parse(good_plan, bytes, "plan.json", &plan, NULL), MOESAIC_E_INPUT, "%zu", bytes);
        cr_expect_null(plan);
    }
}

Test(placement_plan, too_many_pieces_are_refused_before_they_are_kept) {
    size_t room = 400 * 20 + sizeof good_plan;
    char *text = malloc(room), *at = text;
    const char *pieces = strstr(good_plan, "[[[[0,");
    cr_assert_not_null(text);
    at += sprintf(at, "%.*s[[[", (int)(pieces - good_plan), good_plan);
    for (unsigned p = 0; p < 300; p++)
        at += sprintf(at, "%s[0,0,0,32,0,32]", p > 0 ? "," : "");
    sprintf(at, "],[]]]}");
    moesaic_error error = {0};
    cr_expect_eq(parse(text, &error), MOESAIC_E_INPUT);
    cr_expect_not_null(strstr(error.message, "at most 256 pieces"), "%s", error.message);
    free(text);
}

Test(placement_plan, names_of_policies) {
    for (unsigned p = 0; p < PLACEMENT_POLICIES; p++) {
        enum placement_policy policy = PLACEMENT_INTERLEAVE;
        cr_expect(placement_policy_from_name(placement_policy_name(p), &policy));
        cr_expect_eq((unsigned)policy, p);
    }
    enum placement_policy policy = PLACEMENT_SLICE;
    cr_expect_not(placement_policy_from_name("auto", &policy));
    cr_expect_eq(policy, PLACEMENT_SLICE);
}
