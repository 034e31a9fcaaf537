/* SPDX-License-Identifier: Apache-2.0 */
/* What a trace adds up to: counts, distinct experts a step, and how far two histograms have drifted apart. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "trace/routing_trace.h"

void routing_trace_histogram(const struct routing_trace *trace, uint64_t *ret_counts) {
    memset(ret_counts, 0, (size_t)trace->layers * trace->experts * sizeof *ret_counts);
    for (uint32_t layer = 0; layer < trace->layers; layer++) {
        const uint16_t *chosen = routing_trace_at(trace, layer, 0);
        for (size_t slot = 0; slot < (size_t)trace->tokens * trace->top_k; slot++)
            ret_counts[(size_t)layer * trace->experts + chosen[slot]]++;
    }
}

/* Distinct experts of one step; `last_seen` [experts] holds the step + 1 in which each was last met. */
static uint32_t statistics_distinct_of_step(const struct routing_trace *trace, uint32_t layer, uint32_t batch,
                                            uint32_t step, uint32_t *last_seen) {
    uint32_t distinct = 0;
    for (uint32_t lane = 0; lane < batch; lane++) {
        const uint16_t *chosen = routing_trace_at(trace, layer, routing_trace_token(trace, batch, step, lane));
        for (uint32_t slot = 0; slot < trace->top_k; slot++) {
            distinct += last_seen[chosen[slot]] != step + 1;
            last_seen[chosen[slot]] = step + 1;
        }
    }
    return distinct;
}

moesaic_status routing_distinct_per_step(const struct routing_trace *trace, uint32_t layer, uint32_t batch,
                                         struct routing_distinct *ret_distinct, moesaic_error *error) {
    if (batch < 1 || batch > trace->tokens || layer >= trace->layers)
        return status_set(error, MOESAIC_E_USAGE, "routing trace: layer %u, batch %u; it has %u layers and %u tokens",
                          layer, batch, trace->layers, trace->tokens);
    uint32_t *last_seen = calloc(trace->experts, sizeof *last_seen);
    if (last_seen == NULL)
        return status_no_memory(error, "routing statistics", trace->experts * sizeof *last_seen);
    struct routing_distinct result = {.min = UINT32_MAX};
    uint32_t steps = routing_trace_steps(trace, batch);
    uint64_t total = 0;
    for (uint32_t step = 0; step < steps; step++) {
        uint32_t distinct = statistics_distinct_of_step(trace, layer, batch, step, last_seen);
        total += distinct;
        result.min = distinct < result.min ? distinct : result.min;
        result.max = distinct > result.max ? distinct : result.max;
    }
    result.mean = (double)total / steps;
    free(last_seen);
    *ret_distinct = result;
    return MOESAIC_OK;
}

static uint64_t statistics_total(const uint64_t *counts, uint32_t experts) {
    uint64_t total = 0;
    for (uint32_t expert = 0; expert < experts; expert++)
        total += counts[expert];
    return total;
}

double routing_divergence_bits(const uint64_t *a, const uint64_t *b, uint32_t experts) {
    double total_a = (double)statistics_total(a, experts), total_b = (double)statistics_total(b, experts), bits = 0;
    if (total_a == 0 || total_b == 0)
        return 0;
    for (uint32_t expert = 0; expert < experts; expert++) {
        double p = (double)a[expert] / total_a, q = (double)b[expert] / total_b, middle = (p + q) / 2;
        bits += p > 0 ? p / 2 * log2(p / middle) : 0;
        bits += q > 0 ? q / 2 * log2(q / middle) : 0;
    }
    return bits > 0 ? bits : 0;
}

double routing_divergence_noise_bits(const uint64_t *a, const uint64_t *b, uint32_t experts) {
    double total_a = (double)statistics_total(a, experts), total_b = (double)statistics_total(b, experts);
    uint32_t seen = 0;
    for (uint32_t expert = 0; expert < experts; expert++)
        seen += a[expert] > 0 || b[expert] > 0;
    if (total_a == 0 || total_b == 0)
        return 0;
    return (seen - 1.0) * (1 / total_a + 1 / total_b) / (8 * log(2));
}
