/* SPDX-License-Identifier: Apache-2.0 */
/* Made routing traffic of a stated skew, for planners, tables and tests that have no recorded trace. */
#include <math.h>
#include <stdlib.h>

#include "trace/routing_trace.h"

/* splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t generate_next(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static double generate_open_unit(uint64_t *state) {
    return ((double)(generate_next(state) >> 11) + 0.5) * 0x1p-53;
}

/* 1 / weight of every expert of each topic, [topics, experts]: rank^skew with the ranks shuffled. */
static void generate_weights(const struct routing_generator *generator, uint32_t topics, uint64_t *state,
                             uint32_t *rank_scratch, double *inverse_weight) {
    uint32_t experts = generator->experts;
    for (uint32_t topic = 0; topic < topics; topic++) {
        for (uint32_t i = 0; i < experts; i++)
            rank_scratch[i] = i;
        for (uint32_t i = experts - 1; i > 0; i--) {
            uint32_t j = (uint32_t)(generate_next(state) % (i + 1)), held = rank_scratch[i];
            rank_scratch[i] = rank_scratch[j];
            rank_scratch[j] = held;
        }
        for (uint32_t i = 0; i < experts; i++)
            inverse_weight[(size_t)topic * experts + i] = pow(rank_scratch[i] + 1.0, generator->skew);
    }
}

/* The top_k experts with the greatest log(u) / weight, greatest first; `keys` [top_k] is scratch. */
static void generate_choice(const struct routing_generator *generator, const double *inverse_weight, uint64_t *state,
                            double *keys, uint16_t *ret_chosen) {
    uint32_t held = 0;
    for (uint32_t expert = 0; expert < generator->experts; expert++) {
        double key = log(generate_open_unit(state)) * inverse_weight[expert];
        if (held == generator->top_k && key <= keys[held - 1])
            continue;
        uint32_t at = held < generator->top_k ? held++ : held - 1;
        for (; at > 0 && keys[at - 1] < key; at--) {
            keys[at] = keys[at - 1];
            ret_chosen[at] = ret_chosen[at - 1];
        }
        keys[at] = key;
        ret_chosen[at] = (uint16_t)expert;
    }
}

static void generate_layer(const struct routing_generator *generator, uint32_t topics, struct routing_trace *trace,
                           uint32_t layer, uint32_t *rank_scratch, double *inverse_weight) {
    uint64_t state = generator->seed + layer * 0xd1342543de82ef95u;
    double keys[ROUTING_TOP_K_MAX];
    generate_weights(generator, topics, &state, rank_scratch, inverse_weight);
    for (uint32_t token = 0; token < trace->tokens; token++) {
        uint64_t pick = ~generator->seed + (uint64_t)trace->sequence[token]; /* the same topic in every layer */
        size_t topic = generate_next(&pick) % topics;
        generate_choice(generator, inverse_weight + topic * trace->experts, &state, keys,
                        routing_trace_at(trace, layer, token));
    }
}

moesaic_status routing_trace_generate(const struct routing_generator *generator, struct routing_trace **ret_trace,
                                      moesaic_error *error) {
    uint32_t topics = generator->topics < 1 ? 1 : generator->topics;
    if (!(generator->skew >= 0 && generator->skew <= 16) || topics > ROUTING_TOPICS_MAX)
        return status_set(error, MOESAIC_E_USAGE, "routing trace: skew %g and %u topics, must be 0 to 16 and 0 to %d",
                          generator->skew, generator->topics, ROUTING_TOPICS_MAX);
    struct routing_trace *trace = NULL;
    moesaic_status status =
        routing_trace_create(generator->layers, generator->experts, generator->top_k, generator->tokens, &trace, error);
    if (status != MOESAIC_OK)
        return status;
    size_t weights = (size_t)topics * generator->experts;
    uint32_t *rank_scratch = malloc(generator->experts * sizeof *rank_scratch);
    double *inverse_weight = malloc(weights * sizeof *inverse_weight);
    if (rank_scratch == NULL || inverse_weight == NULL) {
        status = status_no_memory(error, "a routing trace", weights * sizeof *inverse_weight);
        goto done;
    }
    uint32_t length = generator->tokens_per_sequence > 0 ? generator->tokens_per_sequence : generator->tokens;
    for (uint32_t token = 0; token < trace->tokens; token++)
        trace->sequence[token] = (int32_t)(token / length);
    for (uint32_t layer = 0; layer < trace->layers; layer++)
        generate_layer(generator, topics, trace, layer, rank_scratch, inverse_weight);
    *ret_trace = trace;
    trace = NULL;
done:
    free(rank_scratch);
    free(inverse_weight);
    routing_trace_destroy(trace);
    return status;
}
