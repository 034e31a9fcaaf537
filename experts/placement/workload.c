/* SPDX-License-Identifier: Apache-2.0 */
/* The workload of a trace: which experts are active in which layer of which step, indexed both ways. */
#include <stdlib.h>
#include <string.h>

#include "placement_internal.h"

static int workload_order(const void *a, const void *b) {
    const struct workload_choice *x = a, *y = b;
    if (x->tokens != y->tokens)
        return x->tokens > y->tokens ? -1 : 1;
    return x->item < y->item ? -1 : x->item > y->item;
}

/* Step of the trace that the workload's `step` replays: evenly spread over all of them. */
static uint32_t workload_trace_step(const struct placement_problem *problem, uint32_t step, uint32_t steps) {
    uint32_t all = routing_trace_steps(problem->trace, problem->options.batch);
    return (uint32_t)((uint64_t)step * all / steps);
}

/* Appends the choices of one layer and step at `choices`; `tokens_of` [experts] is all zero before and after. */
static uint32_t workload_fill_row(const struct placement_problem *problem, const struct workload *workload,
                                  uint32_t layer, uint32_t step, uint32_t *tokens_of, struct workload_choice *choices) {
    const struct routing_trace *trace = problem->trace;
    uint32_t trace_step = workload_trace_step(problem, step, workload->steps), count = 0;
    for (uint32_t lane = 0; lane < workload->batch; lane++) {
        uint32_t token = routing_trace_token(trace, workload->batch, trace_step, lane);
        const uint16_t *chosen = routing_trace_at(trace, layer, token);
        for (uint32_t slot = 0; slot < trace->top_k; slot++)
            if (tokens_of[chosen[slot]]++ == 0)
                choices[count++].item = layer * workload->experts + chosen[slot];
    }
    for (uint32_t c = 0; c < count; c++) {
        uint32_t expert = choices[c].item % workload->experts;
        choices[c].tokens = tokens_of[expert];
        tokens_of[expert] = 0;
    }
    qsort(choices, count, sizeof *choices, workload_order);
    return count;
}

/* The same pairs by item: a counting sort, so that each item's rows ascend. */
static void workload_index_items(struct workload *workload) {
    uint32_t *at = workload->use_at, total = workload->choice_at[workload->rows];
    for (uint32_t c = 0; c < total; c++)
        at[workload->choices[c].item + 1]++;
    for (uint32_t item = 0; item < workload->items; item++)
        at[item + 1] += at[item];
    for (uint32_t row = workload->rows; row-- > 0;)
        for (uint32_t c = workload->choice_at[row + 1]; c-- > workload->choice_at[row];) {
            struct workload_choice choice = workload->choices[c];
            workload->uses[--at[choice.item + 1]] = (struct workload_use){.row = row, .tokens = choice.tokens};
        }
    /* Each end has moved down to its beginning: shift the list back by one. */
    memmove(at, at + 1, workload->items * sizeof *at);
    at[workload->items] = total;
}

static moesaic_status workload_allocate(struct workload *workload, size_t choices, moesaic_error *error) {
    workload->use_at = calloc((size_t)workload->items + 1, sizeof *workload->use_at);
    workload->choice_at = calloc((size_t)workload->rows + 1, sizeof *workload->choice_at);
    workload->choices = malloc(choices * sizeof *workload->choices);
    workload->uses = malloc(choices * sizeof *workload->uses);
    if (workload->use_at == NULL || workload->choice_at == NULL || workload->choices == NULL || workload->uses == NULL)
        return status_no_memory(error, "the placement workload",
                                choices * (sizeof *workload->choices + sizeof *workload->uses));
    return MOESAIC_OK;
}

moesaic_status workload_create(const struct placement_problem *problem, struct workload **ret_workload,
                               moesaic_error *error) {
    const struct routing_trace *trace = problem->trace;
    uint32_t batch = problem->options.batch, steps = routing_trace_steps(trace, batch);
    if (steps > problem->options.max_steps)
        steps = problem->options.max_steps;
    uint64_t slots = (uint64_t)batch * trace->top_k;
    uint64_t width = slots < trace->experts ? slots : trace->experts, rows = (uint64_t)trace->layers * steps;
    if (rows >= UINT32_MAX || rows * width >= UINT32_MAX)
        return status_set(error, MOESAIC_E_USAGE, "placement: %u steps of the trace are too many to replay at once",
                          steps);
    moesaic_status status;
    uint32_t *tokens_of = calloc(trace->experts, sizeof *tokens_of);
    struct workload *workload = calloc(1, sizeof *workload);
    if (workload == NULL || tokens_of == NULL) {
        status = status_no_memory(error, "the placement workload", sizeof *workload);
        goto fail;
    }
    *workload = (struct workload){.layers = trace->layers,
                                  .experts = trace->experts,
                                  .batch = batch,
                                  .steps = steps,
                                  .items = trace->layers * trace->experts,
                                  .rows = (uint32_t)rows};
    status = workload_allocate(workload, rows * width, error);
    if (status != MOESAIC_OK)
        goto fail;
    for (uint32_t row = 0; row < workload->rows; row++)
        workload->choice_at[row + 1] =
            workload->choice_at[row] + workload_fill_row(problem, workload, row / steps, row % steps, tokens_of,
                                                         workload->choices + workload->choice_at[row]);
    workload_index_items(workload);
    free(tokens_of);
    *ret_workload = workload;
    return MOESAIC_OK;
fail:
    free(tokens_of);
    workload_destroy(workload);
    return status;
}

void workload_destroy(struct workload *workload) {
    if (workload == NULL)
        return;
    free(workload->use_at);
    free(workload->uses);
    free(workload->choice_at);
    free(workload->choices);
    free(workload);
}
