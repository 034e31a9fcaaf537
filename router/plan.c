/* SPDX-License-Identifier: Apache-2.0 */
/* The plan of a step: a counting sort of (token, expert) pairs by expert. */
#include "router.h"

#include <stdlib.h>
#include <string.h>

moesaic_status router_plan_init(struct router_plan *plan, size_t max_tokens, uint32_t experts, uint32_t top_k,
                                moesaic_error *error) {
    size_t places, words;
    *plan = (struct router_plan){.experts = experts, .top_k = top_k, .max_tokens = max_tokens};
    if (!size_mul(max_tokens, top_k, &places) || places > UINT32_MAX)
        return status_set(error, MOESAIC_E_INPUT, "router plan: %zu tokens of %u experts each are more than 2^32 - 1",
                          max_tokens, top_k);
    words = places * 3 + (size_t)experts * 2 + 1;
    uint32_t *memory = memory_zeroed(words, sizeof *memory);
    if (!memory)
        return status_no_memory(error, "router plan", words * sizeof *memory);
    plan->memory = memory;
    plan->offset = memory;
    plan->active = plan->offset + experts + 1;
    plan->token = plan->active + experts;
    plan->place = plan->token + places;
    plan->weight = (float *)(plan->place + places);
    return MOESAIC_OK;
}

void router_plan_done(struct router_plan *plan) {
    free(plan->memory);
    *plan = (struct router_plan){0};
}

void router_plan_build(struct router_plan *plan, size_t tokens, const uint32_t *chosen, const float *weights) {
    uint32_t *offset = plan->offset, experts = plan->experts;
    size_t pairs = tokens * plan->top_k;
    memset(offset, 0, ((size_t)experts + 1) * sizeof *offset);
    for (size_t i = 0; i < pairs; i++)
        offset[chosen[i] + 1]++;
    plan->distinct = 0;
    for (uint32_t e = 0; e < experts; e++) {
        if (offset[e + 1])
            plan->active[plan->distinct++] = e;
        offset[e + 1] += offset[e];
    }
    /* While places are given out, offset[e] is the next place of e; it ends where e + 1 began. */
    for (size_t i = 0; i < pairs; i++) {
        uint32_t place = offset[chosen[i]]++;
        plan->token[place] = (uint32_t)(i / plan->top_k);
        plan->weight[place] = weights[i];
        plan->place[i] = place;
    }
    memmove(offset + 1, offset, (size_t)experts * sizeof *offset);
    offset[0] = 0;
    plan->tokens = tokens;
}
