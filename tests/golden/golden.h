/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers of the golden tests: reference checkpoints, a team, and runs of a forward pass that record what it
 * computed. */
#ifndef GOLDEN_H
#define GOLDEN_H

#include "model.h"

/* MOESAIC_TEST_DATA joined with `name`, in a static buffer; an absolute path as it is. */
const char *golden_path(const char *name);

/* A model with everything that a step needs. */
struct golden_engine {
    struct model *model;
    struct team *team;
    struct kv_pool *pool;
    struct forward *forward;
    struct counters counters;
};
struct golden_setup {
    unsigned threads;      /* 0: 2 */
    kv_type kv;
    size_t step_tokens;    /* 0: 256 */
};
/* Opens the model at golden_path(name); aborts the test when anything fails. */
void golden_open(struct golden_engine *engine, const char *name, struct golden_setup setup);
void golden_close(struct golden_engine *engine);

/* What a forward pass over one prompt left behind, all [tokens, ...]; MoE layers in model order. */
struct golden_run {
    size_t tokens, vocab, hidden_size, layers;
    uint32_t top_k;
    size_t layer_stride;   /* tokens: rows of one layer in the arrays below */
    float *logits;         /* [tokens, vocab] */
    float *hidden;         /* [layers, tokens, hidden] */
    uint32_t *experts;     /* [layers, tokens, k]; dense layers untouched */
    float *weights;
};
/* Evaluates ids[count] as one sequence of `capacity` tokens (0: count) in chunks of `chunk` (0: all at once). */
void golden_evaluate(struct golden_engine *engine, const int32_t *ids, size_t count, size_t capacity, size_t chunk,
                     struct golden_run *ret_run);
void golden_run_done(struct golden_run *run);
/* Continues ids[count] greedily by `n` tokens, prompt in chunks of `chunk`, one token a step then. */
void golden_greedy(struct golden_engine *engine, const int32_t *ids, size_t count, size_t chunk, size_t n,
                   int32_t *ret_ids);
/* Lowest index of the largest value. */
int32_t golden_argmax(const float *logits, size_t vocab);
double golden_deviation(const float *values, size_t count); /* standard deviation */

#endif
