/* SPDX-License-Identifier: Apache-2.0 */
/* Door of layer 2: which experts a token goes to, and the tokens of a step grouped by expert. */
#ifndef ROUTER_H
#define ROUTER_H

#include "quant.h"

/* ---- gate: from logits to a choice ------------------------------------------------------------------------------ */

struct router_gate {
    uint32_t experts, top_k;   /* 1 <= top_k <= experts */
    bool renormalize;          /* the chosen weights are divided by their sum (norm_topk_prob) */
};
enum { ROUTER_TOP_K_MAX = 1024 };

/* Softmax over all experts in F32, then the k largest, then (renormalize) division by their sum, in transformers'
 * order. `logits` [experts] is overwritten. ret_experts and ret_weights [top_k] are in falling order of the logit, ties
 * to the lowest id. NaN logits give NaN weights and k distinct experts all the same. Bits do not depend on the ISA. */
void router_choose(const struct router_gate *gate, float *logits, uint32_t *ret_experts, float *ret_weights);

/* The k largest of `values` [count] in falling order, ties to the lowest index, NaN below everything; k <= count,
 * k <= ROUTER_TOP_K_MAX. */
void router_top_k(const float *values, uint32_t count, uint32_t k, uint32_t *ret_index);

/* ---- plan: the tokens of a step grouped by expert --------------------------------------------------------------- */

/* Places number the (token, slot) pairs of a step grouped by expert, and by token within an expert (compressed
 * rows). */
struct router_plan {
    uint32_t experts, top_k;
    size_t max_tokens, tokens;
    uint32_t *offset;      /* [experts + 1]: expert e has the places [offset[e], offset[e + 1]) */
    uint32_t *token;       /* [tokens * top_k]: token of a place */
    float *weight;         /* [tokens * top_k]: its routing weight */
    uint32_t *place;       /* [tokens * top_k]: place of (token, slot) */
    uint32_t *active;      /* [distinct]: experts with at least one token, ascending */
    uint32_t distinct;
    void *memory;
};
/* Errors: INPUT (more than 2^32 - 1 places), MEMORY. */
moesaic_status router_plan_init(struct router_plan *plan, size_t max_tokens, uint32_t experts, uint32_t top_k,
                                moesaic_error *error);
void router_plan_done(struct router_plan *plan); /* accepts a zeroed struct */
/* Counting sort of chosen[tokens, top_k], each entry < experts. O(tokens * top_k + experts), no allocation. */
void router_plan_build(struct router_plan *plan, size_t tokens, const uint32_t *chosen, const float *weights);

/* ---- statistics of choices -------------------------------------------------------------------------------------- */

/* Counts of one MoE layer over real traffic. Used by one thread at a time. */
struct router_stats {
    uint32_t experts, top_k;
    uint64_t tokens;
    uint64_t *count;         /* [experts] */
    uint64_t *together;      /* [experts, experts]: pairs chosen by one token; symmetric, zero diagonal */
    uint64_t *transition;    /* [experts, experts]: from an expert of a token to one of the next token */
    uint32_t *previous;      /* [top_k]: the last token's choice */
    bool has_previous;
};
/* Without `pairs` the two [experts, experts] tables are NULL and not counted. Errors: INPUT, MEMORY. */
moesaic_status router_stats_init(struct router_stats *stats, uint32_t experts, uint32_t top_k, bool pairs,
                                 moesaic_error *error);
void router_stats_done(struct router_stats *stats); /* accepts a zeroed struct */
void router_stats_begin_sequence(struct router_stats *stats); /* the next token has no predecessor */
void router_stats_add(struct router_stats *stats, const uint32_t *chosen, size_t tokens); /* chosen[tokens, top_k] */
uint32_t router_stats_distinct(const struct router_stats *stats);     /* experts chosen at least once */
double router_stats_max_over_mean(const struct router_stats *stats);  /* 0 without tokens */
double router_stats_entropy_bits(const struct router_stats *stats);   /* of the distribution of choices */

#endif
