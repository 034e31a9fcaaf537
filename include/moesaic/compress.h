/* SPDX-License-Identifier: Apache-2.0 */
/* Compression: a checkpoint becomes a packed artifact, every expert pruned and quantized on its own. */
#ifndef MOESAIC_COMPRESS_H
#define MOESAIC_COMPRESS_H

#include <moesaic/evaluate.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Names of the presets, NULL-terminated: "int4", "int4-all", "int4-sparse50", "small", "quality". Thread-safe. */
MOESAIC_API const char *const *moesaic_compress_presets(void);

typedef struct moesaic_compress_options {
    size_t size;              /* sizeof(moesaic_compress_options) */
    const char *preset;       /* NULL: "int4", unless `recipe` says more */
    const char *recipe;       /* a JSON object over the preset (docs/compression.md), or NULL */
    size_t recipe_bytes;
    const char *calib;        /* UTF-8 text, needed by every method that looks at activations */
    size_t calib_bytes;
    uint32_t calib_tokens;    /* most tokens of it to use; 0: all, at most 131072 */
    uint32_t threads;         /* 0: one per usable physical core */
    bool no_pin;
    bool resume;              /* go on from where an interrupted run with the same inputs and options stopped */
    moesaic_progress_callback *progress; /* in thousandths of the work */
    void *user;
    const char *masks;        /* a folder whose masks.safetensors (NAME U8 [rows, cols], 1: kept, as export writes it)
                               * says what the pruned feed-forwards keep, or NULL */
} moesaic_compress_options;

/* How one expert, or one other part of a layer, was compressed. */
typedef struct moesaic_compressed_part {
    uint32_t layer;
    int32_t expert;           /* -1: the shared expert or dense feed-forward */
    const char *method;       /* such as "sparsegpt+gptq" */
    const char *format;       /* such as "int4-mask-g64" */
    double density;           /* share of the weights kept */
    uint64_t tokens;          /* of the calibration text that reached it */
    uint64_t forced_tokens;   /* sent to it besides, because too few reached it */
    uint64_t bytes;
    double bits_per_weight;
    double error;             /* squared error of its matrices' outputs on the calibration inputs over their energy */
    int32_t source;           /* its number in the checkpoint, not `expert` where experts were dropped; -1 likewise */
} moesaic_compressed_part;

/* A layer of the checkpoint, where layers are dropped. */
typedef struct moesaic_source_layer {
    double influence;         /* 1 - the mean cosine of a token's hidden states before and behind it */
    int32_t layer;            /* its number in the artifact; -1: dropped */
} moesaic_source_layer;

typedef struct moesaic_compress_result {
    size_t size;              /* sizeof(moesaic_compress_result), set by the caller */
    uint64_t bytes;           /* of the artifact */
    uint64_t weight_bytes;    /* of its tensors */
    double bits_per_weight;   /* 8 x weight_bytes / parameters */
    double expert_bits_per_weight;
    uint64_t calib_tokens;
    uint32_t resumed_layers;
    double seconds;
    size_t parts;
    moesaic_compressed_part *part; /* [parts], freed with moesaic_free; its strings are static */
    uint64_t budget_bytes; /* what the recipe's budget allows, of the file or of what is read for a token; 0: none */
    uint64_t budget_used;  /* of it */
    double budget_error;   /* of the choice: the experts' output errors over the squares of the hidden states */
    double budget_gap;     /* at most this share of it another choice could save; 0: the choice is exact */
    uint32_t source_layers; /* of the checkpoint, where the recipe drops layers; else 0 */
    moesaic_source_layer *source_layer; /* [source_layers], freed with moesaic_free; NULL without */
    double forward_s;       /* of `seconds`: the text on its way through the layers, */
    double fit_s;           /* and statistics, pruning, quantization and packing of their matrices */
} moesaic_compress_result;

/* Compresses the checkpoint `model` into an artifact at `path`: written beside it and renamed when it is whole. The
 * same model, text, recipe and tokens give the same bytes, whatever the threads and the instruction set. Errors: USAGE
 * (recipe: names the key), INPUT (calibration text too short), IO (naming the file), MEMORY, NONFINITE, CANCELLED.
 * After IO, CANCELLED or a kill, `resume` goes on behind the last finished layer. */
MOESAIC_API moesaic_status moesaic_compress(const moesaic_model *model, const char *path,
                                            const moesaic_compress_options *options,
                                            moesaic_compress_result *ret_result, moesaic_error *error);

/* Removes what a compression into `path` that did not finish left beside it to go on from, and not `path` itself;
 * nothing there is no error. Not while one is at work there. Errors: IO (naming the file). */
MOESAIC_API moesaic_status moesaic_compress_discard(const char *path, moesaic_error *error);

#ifdef __cplusplus
}
#endif
#endif
