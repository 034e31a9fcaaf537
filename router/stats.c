/* SPDX-License-Identifier: Apache-2.0 */
/* Statistics of routing: loads, experts chosen together, and transitions from token to token. */
#include "router.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

moesaic_status router_stats_init(struct router_stats *stats, uint32_t experts, uint32_t top_k, bool pairs,
                                 moesaic_error *error) {
    size_t table = 0;
    *stats = (struct router_stats){.experts = experts, .top_k = top_k};
    if (pairs && (!size_mul(experts, experts, &table) || table > SIZE_MAX / sizeof(uint64_t)))
        return status_set(error, MOESAIC_E_INPUT, "routing statistics: a table of %u x %u experts is too large",
                          experts, experts);
    stats->count = calloc(experts, sizeof *stats->count);
    stats->previous = calloc(top_k, sizeof *stats->previous);
    stats->together = pairs ? calloc(table, sizeof *stats->together) : NULL;
    stats->transition = pairs ? calloc(table, sizeof *stats->transition) : NULL;
    if (stats->count && stats->previous && (!pairs || (stats->together && stats->transition)))
        return MOESAIC_OK;
    router_stats_done(stats);
    return status_no_memory(error, "routing statistics", (experts + 2 * table) * sizeof(uint64_t));
}

void router_stats_done(struct router_stats *stats) {
    free(stats->count);
    free(stats->previous);
    free(stats->together);
    free(stats->transition);
    *stats = (struct router_stats){0};
}

void router_stats_begin_sequence(struct router_stats *stats) { stats->has_previous = false; }

static void add_pairs(struct router_stats *stats, const uint32_t *chosen) {
    size_t experts = stats->experts;
    for (uint32_t a = 0; a < stats->top_k; a++) {
        for (uint32_t b = 0; b < stats->top_k; b++)
            if (a != b)
                stats->together[chosen[a] * experts + chosen[b]]++;
        for (uint32_t b = 0; stats->has_previous && b < stats->top_k; b++)
            stats->transition[stats->previous[b] * experts + chosen[a]]++;
    }
}

void router_stats_add(struct router_stats *stats, const uint32_t *chosen, size_t tokens) {
    for (size_t t = 0; t < tokens; t++, chosen += stats->top_k) {
        for (uint32_t i = 0; i < stats->top_k; i++)
            stats->count[chosen[i]]++;
        if (stats->together)
            add_pairs(stats, chosen);
        memcpy(stats->previous, chosen, stats->top_k * sizeof *chosen);
        stats->has_previous = true;
        stats->tokens++;
    }
}

uint32_t router_stats_distinct(const struct router_stats *stats) {
    uint32_t distinct = 0;
    for (uint32_t e = 0; e < stats->experts; e++)
        distinct += stats->count[e] > 0;
    return distinct;
}

double router_stats_max_over_mean(const struct router_stats *stats) {
    uint64_t largest = 0, total = stats->tokens * stats->top_k;
    for (uint32_t e = 0; e < stats->experts; e++)
        largest = stats->count[e] > largest ? stats->count[e] : largest;
    return total ? (double)largest * stats->experts / (double)total : 0.0;
}

double router_stats_entropy_bits(const struct router_stats *stats) {
    double entropy = 0.0, total = (double)(stats->tokens * stats->top_k);
    for (uint32_t e = 0; e < stats->experts; e++)
        if (stats->count[e])
            entropy -= (double)stats->count[e] / total * log2((double)stats->count[e] / total);
    return entropy;
}
