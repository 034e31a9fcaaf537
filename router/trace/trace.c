/* SPDX-License-Identifier: Apache-2.0 */
/* The routing trace itself: bounded creation and the check of ids that came from outside. */
#include <stdlib.h>
#include <string.h>

#include "trace/routing_trace.h"

static moesaic_status trace_check_sizes(uint32_t layers, uint32_t experts, uint32_t top_k, uint32_t tokens,
                                        moesaic_error *error) {
    if (layers < 1 || layers > ROUTING_LAYERS_MAX)
        return status_set(error, MOESAIC_E_USAGE, "routing trace: %u layers, must be 1 to %d", layers,
                          ROUTING_LAYERS_MAX);
    if (experts < 1 || experts > ROUTING_EXPERTS_MAX)
        return status_set(error, MOESAIC_E_USAGE, "routing trace: %u experts, must be 1 to %d", experts,
                          ROUTING_EXPERTS_MAX);
    if (top_k < 1 || top_k > ROUTING_TOP_K_MAX || top_k > experts)
        return status_set(error, MOESAIC_E_USAGE, "routing trace: top-k %u, must be 1 to %u of %u experts", top_k,
                          experts < ROUTING_TOP_K_MAX ? experts : ROUTING_TOP_K_MAX, experts);
    if (tokens < 1 || tokens > ROUTING_TOKENS_MAX)
        return status_set(error, MOESAIC_E_USAGE, "routing trace: %u tokens, must be 1 to %d", tokens,
                          ROUTING_TOKENS_MAX);
    return MOESAIC_OK;
}

moesaic_status routing_trace_create(uint32_t layers, uint32_t experts, uint32_t top_k, uint32_t tokens,
                                    struct routing_trace **ret_trace, moesaic_error *error) {
    moesaic_status status = trace_check_sizes(layers, experts, top_k, tokens, error);
    if (status != MOESAIC_OK)
        return status;
    size_t slots = (size_t)layers * tokens; /* at most 2^38 */
    if (!size_mul(slots, top_k, &slots) || slots > SIZE_MAX / sizeof(uint16_t))
        return status_no_memory(error, "a routing trace", SIZE_MAX);
    struct routing_trace *trace = calloc(1, sizeof *trace);
    if (trace == NULL)
        return status_no_memory(error, "a routing trace", sizeof *trace);
    *trace = (struct routing_trace){.layers = layers, .experts = experts, .top_k = top_k, .tokens = tokens};
    trace->chosen = calloc(slots, sizeof *trace->chosen);
    trace->sequence = calloc(tokens, sizeof *trace->sequence);
    if (trace->chosen == NULL || trace->sequence == NULL) {
        routing_trace_destroy(trace);
        return status_no_memory(error, "a routing trace", slots * sizeof(uint16_t) + tokens * sizeof(int32_t));
    }
    *ret_trace = trace;
    return MOESAIC_OK;
}

void routing_trace_destroy(struct routing_trace *trace) {
    if (trace == NULL)
        return;
    free(trace->chosen);
    free(trace->sequence);
    free(trace);
}

static moesaic_status trace_check_token(const struct routing_trace *trace, uint32_t layer, uint32_t token,
                                        moesaic_error *error) {
    const uint16_t *chosen = routing_trace_at(trace, layer, token);
    for (uint32_t slot = 0; slot < trace->top_k; slot++) {
        if (chosen[slot] >= trace->experts)
            return status_set(error, MOESAIC_E_INPUT,
                              "routing trace: layer %u, token %u: expert %u, but there are only %u", layer, token,
                              chosen[slot], trace->experts);
        for (uint32_t before = 0; before < slot; before++)
            if (chosen[before] == chosen[slot])
                return status_set(error, MOESAIC_E_INPUT, "routing trace: layer %u, token %u: expert %u chosen twice",
                                  layer, token, chosen[slot]);
    }
    return MOESAIC_OK;
}

moesaic_status routing_trace_check(const struct routing_trace *trace, moesaic_error *error) {
    for (uint32_t layer = 0; layer < trace->layers; layer++)
        for (uint32_t token = 0; token < trace->tokens; token++) {
            moesaic_status status = trace_check_token(trace, layer, token, error);
            if (status != MOESAIC_OK)
                return status;
        }
    return MOESAIC_OK;
}
