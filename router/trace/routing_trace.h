/* SPDX-License-Identifier: Apache-2.0 */
/* Door of router/trace: which experts each token of real or made traffic chose, and what follows from the counts. */
#ifndef ROUTING_TRACE_H
#define ROUTING_TRACE_H

#include "router.h"

/* Bounds of what a trace may describe; files and options beyond them are refused. */
enum {
    ROUTING_LAYERS_MAX = 1024,
    ROUTING_EXPERTS_MAX = 4096,
    ROUTING_TOP_K_MAX = 64,
    ROUTING_TOKENS_MAX = 1 << 28,
    ROUTING_TOPICS_MAX = 1024
};

/* ---- trace ------------------------------------------------------------------------------------------------------- */

/* Choices of `tokens` tokens in `layers` MoE layers. Tokens of one sequence are consecutive and in order. */
struct routing_trace {
    uint32_t layers, experts, top_k, tokens;
    uint16_t *chosen;  /* [layers, tokens, top_k]; distinct ids within a token, in the order chosen */
    int32_t *sequence; /* [tokens] */
};

/* A trace of zeros with its arrays allocated; the caller fills them, then routing_trace_check.
 * Errors: USAGE naming the size out of bounds, MEMORY. */
moesaic_status routing_trace_create(uint32_t layers, uint32_t experts, uint32_t top_k, uint32_t tokens,
                                    struct routing_trace **ret_trace, moesaic_error *error);
void routing_trace_destroy(struct routing_trace *trace); /* accepts NULL */
/* Every id below `experts` and distinct within its token; for traces that come from a file. Errors: INPUT naming layer,
 * token and id. */
moesaic_status routing_trace_check(const struct routing_trace *trace, moesaic_error *error);

/* The top_k ids of one token in one layer. */
static inline uint16_t *routing_trace_at(const struct routing_trace *trace, uint32_t layer, uint32_t token) {
    return trace->chosen + ((size_t)layer * trace->tokens + token) * trace->top_k;
}
/* Replay with a batch: the trace is cut into `batch` lanes of equal length that run side by side, one token each a
 * step, as `batch` independent sequences being decoded would. What does not fill a lane is left out. */
static inline uint32_t routing_trace_steps(const struct routing_trace *trace, uint32_t batch) {
    return trace->tokens / batch;
}
static inline uint32_t routing_trace_token(const struct routing_trace *trace, uint32_t batch, uint32_t step,
                                           uint32_t lane) {
    return lane * routing_trace_steps(trace, batch) + step;
}

/* ---- statistics -------------------------------------------------------------------------------------------------- */

/* Choices of every expert in every layer, [layers, experts]. */
void routing_trace_histogram(const struct routing_trace *trace, uint64_t *ret_counts);

/* Distinct experts that the steps of `batch` tokens need in one layer. */
struct routing_distinct {
    double mean;
    uint32_t min, max;
};
/* Errors: USAGE (a batch of 0 or longer than the trace), MEMORY. */
moesaic_status routing_distinct_per_step(const struct routing_trace *trace, uint32_t layer, uint32_t batch,
                                         struct routing_distinct *ret_distinct, moesaic_error *error);

/* Jensen-Shannon divergence of two histograms in bits: 0 when proportional, 1 when disjoint (Lin 1991, with equal
 * weights). An empty histogram gives 0. */
double routing_divergence_bits(const uint64_t *a, const uint64_t *b, uint32_t experts);
/* What that divergence is expected to be when both are samples of one distribution: (K - 1) (1/Na + 1/Nb) / (8 ln 2)
 * with K the experts either saw; the second-order expansion of the divergence around equality. */
double routing_divergence_noise_bits(const uint64_t *a, const uint64_t *b, uint32_t experts);

/* ---- made traffic ------------------------------------------------------------------------------------------------ */

/* Expert weights 1 / rank^skew, ranks shuffled per layer, top_k drawn without replacement (Efraimidis-Spirakis keys).
 * With topics, each sequence has one of them and a topic shuffles the ranks anew, so that experts that are hot together
 * change with the text. The same settings give the same trace. */
struct routing_generator {
    uint32_t layers, experts, top_k, tokens;
    uint32_t tokens_per_sequence; /* 0: one sequence */
    uint32_t topics;              /* 0 or 1: all sequences alike */
    double skew;                  /* 0: uniform; 1: Zipf */
    uint64_t seed;
};
moesaic_status routing_trace_generate(const struct routing_generator *generator, struct routing_trace **ret_trace,
                                      moesaic_error *error);

#endif
