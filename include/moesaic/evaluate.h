/* SPDX-License-Identifier: Apache-2.0 */
/* Evaluation: perplexity over a text, and the raw outputs of a forward pass as a file. */
#ifndef MOESAIC_EVALUATE_H
#define MOESAIC_EVALUATE_H

#include <moesaic/engine.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Progress of long work: `done` of `total` units; a value other than 0 stops the work with CANCELLED. Called from the
 * calling thread or the engine's, never from two at once. */
typedef int moesaic_progress_callback(void *user, uint64_t done, uint64_t total);

typedef struct moesaic_eval_options {
    size_t size;          /* sizeof(moesaic_eval_options) */
    uint32_t window;      /* tokens evaluated together; 0: the model's max_position, at most 512 */
    uint32_t stride;      /* tokens between the starts of windows; 0: window (no overlap) */
    const char *nll_path; /* safetensors file for `nll` F32 and `position` I64, both [tokens scored]; or NULL */
    moesaic_progress_callback *progress;
    void *user;
} moesaic_eval_options;

typedef struct moesaic_eval_result {
    size_t size; /* sizeof(moesaic_eval_result), set by the caller */
    uint64_t tokens, scored, bytes;
    double nll;           /* sum over the scored tokens, natural logarithm */
    double perplexity;    /* exp(nll / scored) */
    double bits_per_byte; /* nll / ln 2 / bytes x tokens / scored */
    double seconds;
} moesaic_eval_result;

/* Scores `text`: tokenized as a whole without special tokens; in each window the tokens that no earlier window scored
 * are scored, but for the window's first. Errors: INPUT (fewer than two tokens, invalid UTF-8), USAGE, NONFINITE,
 * MEMORY, IO, CANCELLED. */
MOESAIC_API moesaic_status moesaic_eval(moesaic_engine *engine, const char *text, size_t bytes,
                                        const moesaic_eval_options *options, moesaic_eval_result *ret_result,
                                        moesaic_error *error);

/* One forward pass over `ids`; writes a safetensors file at `path` with `logits` F32 [T, V], for each MoE layer L
 * `router.L.experts` I32 [T, k] and `router.L.weights` F32 [T, k] (slots in the order chosen, weights as applied) and,
 * with `hidden`, `hidden.L` F32 [T, H] after layer L. Whole file or none. */
MOESAIC_API moesaic_status moesaic_logits_write(moesaic_engine *engine, const int32_t *ids, size_t count, bool hidden,
                                                const char *path, moesaic_error *error);

#ifdef __cplusplus
}
#endif
#endif
