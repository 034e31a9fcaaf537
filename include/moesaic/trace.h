/* SPDX-License-Identifier: Apache-2.0 */
/* Routing traces: which experts real traffic chooses, recorded and counted. */
#ifndef MOESAIC_TRACE_H
#define MOESAIC_TRACE_H

#include <moesaic/evaluate.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Statistics of one MoE layer over the trace. */
typedef struct moesaic_trace_layer {
    uint32_t layer;       /* index in the model */
    uint32_t distinct;    /* experts chosen at least once */
    double max_over_mean; /* load of the busiest expert over the mean load */
    double entropy_bits;  /* of the distribution of choices; log2(experts) when even */
} moesaic_trace_layer;

typedef struct moesaic_trace_result {
    size_t size; /* sizeof(moesaic_trace_result), set by the caller */
    uint64_t tokens;
    uint32_t sequences;
    uint32_t layers;             /* MoE layers */
    moesaic_trace_layer *layer;  /* [layers], freed with moesaic_free */
} moesaic_trace_result;

/* Runs `text` in sequences of `window` tokens (0: the model's max_position, at most 512) and writes a safetensors file
 * at `path`: `experts` U16 [L, T, k], `weights` F16 [L, T, k], `sequence` I32 [T], and from them `counts` I64 [L, E],
 * `coactivation` I64 [L, E, E] (pairs chosen by the same token, symmetric, zero diagonal) and `transitions` I64 [L, E,
 * E] (from an expert of a token to an expert of the next token of the same sequence). L counts MoE layers only. Errors:
 * INPUT (a dense model, too short a text), IO, MEMORY, NONFINITE, CANCELLED. */
MOESAIC_API moesaic_status moesaic_trace_write(moesaic_engine *engine, const char *text, size_t bytes, uint32_t window,
                                               const char *path, moesaic_progress_callback *progress, void *user,
                                               moesaic_trace_result *ret_result, moesaic_error *error);

#ifdef __cplusplus
}
#endif
#endif
