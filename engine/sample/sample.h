/* SPDX-License-Identifier: Apache-2.0 */
/* Door of engine/sample: logits become the next token, and tokens' text becomes an answer that ends at a stop string.
 */
#ifndef SAMPLE_H
#define SAMPLE_H

#include <moesaic/sequence.h>

#include "runtime.h"

/* ---- sampler ----------------------------------------------------------------------------------------------------- */

/* Settings, a random stream and the counts of tokens seen, for one generation at a time. Not thread-safe.
 * Order of the steps: repetition, presence and frequency penalties; temperature; top-k; top-p; min-p; one draw. Every
 * step breaks ties by the lowest id, all sums run in one fixed order and in doubles, and the draw for token n depends
 * only on the seed and n: the same logits give the same token on every machine. */
struct sampler;
/* Checks ranges (USAGE names the setting) and copies the settings but for the stop strings. */
moesaic_status sampler_create(const moesaic_sampling *settings, uint32_t vocab, struct sampler **ret_sampler,
                              moesaic_error *error);
void sampler_destroy(struct sampler *sampler);
/* Counts a token of the prompt (repetition penalty) or of the answer (all three penalties). */
void sampler_accept(struct sampler *sampler, int32_t id, bool generated);
struct sample {
    int32_t id;
    float logprob;                /* 0 unless log-probabilities are asked for */
    const moesaic_candidate *top; /* valid until the next call */
    size_t tops;
};
/* Chooses the next token from `logits` [vocab] of finite numbers. */
struct sample sampler_next(struct sampler *sampler, const float *logits);
/* sum over `logits` [count] relative to `base`: log(sum exp(l - max)) + max, in doubles, in order. */
double sample_log_sum_exp(const float *logits, size_t count);

/* ---- stop strings ------------------------------------------------------------------------------------------------ */

/* Holds back text that may be the beginning of a stop string. Not thread-safe. */
struct stop_filter;
moesaic_status stop_filter_create(const moesaic_sampling *settings, struct stop_filter **ret_filter,
                                  moesaic_error *error);
void stop_filter_destroy(struct stop_filter *filter);
/* Appends text. *ret_text[0..*ret_bytes) is what can be shown now (valid until the next call); *ret_stopped says that a
 * stop string was met, before which that text ends. With `last` nothing is held back. */
moesaic_status stop_filter_push(struct stop_filter *filter, const char *text, size_t bytes, bool last,
                                const char **ret_text, size_t *ret_bytes, bool *ret_stopped, moesaic_error *error);

#endif
