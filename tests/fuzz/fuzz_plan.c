/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: a placement plan from anywhere is refused or is a plan that can be checked, priced and written again. */
#include <stdlib.h>
#include <string.h>

#include "placement/placement.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* The model and machine of the seeds in corpus/plan: one layer of two experts, two nodes. */
static const struct placement_expert fuzz_expert[2] = {{2000, 1000, 32, 0, 6000}, {2000, 1000, 32, 0, 6000}};
static const struct placement_model fuzz_model = {
    .layers = 1, .experts = 2, .top_k = 1, .hidden = 32, .expert = fuzz_expert};
static const struct machine_speeds fuzz_machine = {.nodes = 2,
                                                   .node = {{.memory_bytes = 1 << 20, .cores = 1, .int8_ops = 1e9},
                                                            {.memory_bytes = 1 << 20, .cores = 1, .int8_ops = 1e9}},
                                                   .read_bps = {{1e9, 5e8}, {5e8, 1e9}},
                                                   .read_fraction = 1,
                                                   .compute_fraction = 1};

static void fuzz_simulate(const struct placement_plan *plan) {
    uint16_t chosen[2] = {0, 1};
    int32_t sequence[2] = {0, 0};
    const struct routing_trace trace = {
        .layers = 1, .experts = 2, .top_k = 1, .tokens = 2, .chosen = chosen, .sequence = sequence};
    const struct placement_problem problem = {.model = &fuzz_model, .machine = &fuzz_machine, .trace = &trace};
    struct placement_prediction prediction;
    if (placement_simulate(&problem, plan, &prediction, NULL) == MOESAIC_OK && !(prediction.step_s > 0))
        abort();
}

static char *fuzz_text(const struct placement_plan *plan, size_t *ret_bytes) {
    char *text = NULL;
    if (placement_plan_text(plan, &text, ret_bytes, NULL) != MOESAIC_OK)
        abort();
    return text;
}

/* What was read is written and read once more, and is still the same text. */
static void fuzz_round_trip(const struct placement_plan *plan) {
    struct placement_plan *again = NULL;
    size_t bytes = 0, bytes_again = 0;
    char *text = fuzz_text(plan, &bytes), *text_again;
    if (placement_plan_parse(text, bytes, "fuzz", &again, NULL) != MOESAIC_OK)
        abort();
    text_again = fuzz_text(again, &bytes_again);
    if (bytes != bytes_again || memcmp(text, text_again, bytes) != 0)
        abort();
    placement_plan_destroy(again);
    free(text);
    free(text_again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct placement_plan *plan = NULL;
    if (placement_plan_parse((const char *)data, bytes, "fuzz", &plan, NULL) != MOESAIC_OK)
        return 0;
    fuzz_simulate(plan);
    fuzz_round_trip(plan);
    placement_plan_destroy(plan);
    return 0;
}
