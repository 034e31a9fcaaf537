/* SPDX-License-Identifier: Apache-2.0 */
/* Door of engine/sched: one thread steps the model for the requests of many. */
#ifndef SCHEDULER_H
#define SCHEDULER_H

#include <moesaic/sequence.h>

#include "model.h"
#include "text.h"

/* The thread that steps, its queue and its forward pass. Requests of several callers share steps. */
struct sched;
/* The type of cache that an option of the C API means for a model. */
static inline kv_type sched_kv_type(const struct model *model, moesaic_kv_type type) {
    return type ? (kv_type)(type - MOESAIC_KV_F32) : model_kv_default(model);
}
struct sched_options {
    kv_type kv;
    size_t step_tokens;   /* rows of a step */
    size_t max_sequences; /* requests that share a step */
    struct residency *residency; /* as forward_options */
    /* Called by the stepping thread after every finished step, which took `step_ns`; with the step's routing. NULL:
     * nobody looks. */
    void (*stepped)(void *user, const struct forward *forward, const struct forward_item *items, size_t n,
                    uint64_t step_ns);
    void *user;
};
/* `model` and `team` outlive the scheduler, which is the team's only user. Errors: MEMORY, FAILED (no thread). */
moesaic_status sched_create(const struct model *model, struct team *team, const struct sched_options *options,
                            struct sched **ret_sched, moesaic_error *error);
void sched_destroy(struct sched *sched); /* no request is running; accepts NULL */
struct kv_pool *sched_kv_pool(struct sched *sched);
const struct counters *sched_counters(const struct sched *sched);
const struct forward *sched_forward(const struct sched *sched); /* for forward_work */

/* A text in the making. The caller owns it and lends it to one request at a time. */
struct sched_text {
    struct model_context *context;
    int32_t *ids; /* [capacity] */
    size_t count; /* the first model_context_tokens(context) of them are evaluated */
    size_t capacity;
};

/* Evaluates the text and samples up to `max_tokens` tokens (0: up to the capacity) behind it; see
 * moesaic_sequence_generate. `eos` [n_eos] end the answer unless the settings say otherwise. Blocks; any thread. */
struct sched_generate {
    struct sched_text *text;
    const struct tokenizer *tokenizer; /* NULL: tokens carry no text */
    const int32_t *eos;
    size_t n_eos;
    const moesaic_sampling *sampling;
    size_t max_tokens;
    moesaic_token_callback *callback; /* may be NULL */
    void *user;
};
moesaic_status sched_generate(struct sched *sched, const struct sched_generate *request,
                              moesaic_generation *ret_generation, moesaic_error *error);

/* Evaluates what of the text is not evaluated yet and reports every position; see moesaic_sequence_evaluate. */
moesaic_status sched_evaluate(struct sched *sched, struct sched_text *text, bool hidden,
                              moesaic_evaluation_callback *callback, void *user, moesaic_error *error);

#endif
