/* SPDX-License-Identifier: Apache-2.0 */
/* Models: opening, sharing and describing a checkpoint or a packed artifact. */
#ifndef MOESAIC_MODEL_H
#define MOESAIC_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <moesaic/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An opened model: its configuration, its mapped weights and its tokenizer. Immutable and reference-counted; every
 * function that takes a const model may be called from any thread. The files stay mapped while a reference lives:
 * they must not be truncated meanwhile. */
typedef struct moesaic_model moesaic_model;

typedef struct moesaic_model_options {
    size_t size;         /* sizeof(moesaic_model_options) */
    bool tokenizer_only; /* open a folder that needs to hold nothing but the tokenizer; no weights, no engine */
} moesaic_model_options;

/* Opens the model at `path`: a Hugging Face checkpoint folder or a packed .moe artifact, recognised by content. NULL
 * opens the bundled model. `options` may be NULL. On success the caller owns one reference.
 * Errors: INPUT (naming file and tensor, key or offset), IO, MEMORY, UNSUPPORTED, USAGE. */
MOESAIC_API moesaic_status moesaic_model_open(const char *path, const moesaic_model_options *options,
                                              moesaic_model **ret_model, moesaic_error *error);
/* Takes one more reference and returns `model`. Thread-safe. */
MOESAIC_API moesaic_model *moesaic_model_retain(moesaic_model *model);
/* Gives one reference back; the last closes the model. NULL is accepted. Thread-safe. */
MOESAIC_API void moesaic_model_release(moesaic_model *model);

/* What a model is made of. Counts of parameters are exact and exclude padding. */
typedef struct moesaic_model_info {
    size_t size; /* sizeof(moesaic_model_info), set by the caller */
    const char *path;
    const char *architecture;         /* such as "Qwen3MoeForCausalLM" */
    const char *family;               /* such as "qwen3_moe" */
    const char *container;            /* "safetensors" or "moe" */
    uint32_t layers, moe_layers, hidden, heads, kv_heads, head_dim, vocab;
    uint32_t experts, top_k, intermediate, moe_intermediate, shared_intermediate;
    int64_t max_position;
    uint64_t total_parameters;
    uint64_t active_parameters;       /* that multiply each token: every matrix and vector but the unchosen experts and
                                         the embedding rows of other tokens; the head counts, tied or not */
    uint64_t flops_per_token;         /* 2 x the parameters of the matrices a token is multiplied by, without attention
                                         scores, which grow with the context */
    uint64_t attention_flops_per_position; /* 4 x heads x head_dim x layers: for each position attended to */
    uint64_t weight_bytes;            /* of the tensors in the file */
    uint64_t active_bytes;            /* of weights read for one token decoded alone */
    uint64_t kv_bytes_per_token;      /* with an F32 cache */
    uint64_t file_bytes;              /* of the container, without the files beside a checkpoint's shards */
    double bits_per_weight;           /* 8 x weight_bytes / total_parameters */
    double expert_bits_per_weight;    /* the same over routed experts alone; 0 without any */
    size_t tensors;
} moesaic_model_info;
/* Fills `ret_info`; its strings live as long as the model. */
MOESAIC_API moesaic_status moesaic_model_info_get(const moesaic_model *model, moesaic_model_info *ret_info,
                                                  moesaic_error *error);

typedef struct moesaic_tensor_info {
    size_t size;              /* sizeof(moesaic_tensor_info), set by the caller */
    const char *name;         /* lives as long as the model */
    const char *format;       /* such as "BF16" in a checkpoint, "int4" in an artifact */
    uint32_t group;           /* weights that share a scale; 0 where there are no scales */
    const char *layout;       /* "rows" or "panel16" */
    uint32_t rank;
    uint64_t shape[8];
    uint64_t bytes;
    double bits_per_weight;
    uint64_t checksum;        /* XXH3-64 of the run of bytes that holds it (an expert, say), where the container
                                 keeps one, else 0 */
} moesaic_tensor_info;
/* The index-th tensor, index < info.tensors. Errors: USAGE. */
MOESAIC_API moesaic_status moesaic_model_tensor_get(const moesaic_model *model, size_t index,
                                                    moesaic_tensor_info *ret_info, moesaic_error *error);
/* Recomputes every checksum of the container (artifacts only; a checkpoint has none and succeeds). Errors: INPUT naming
 * the first part that differs. */
MOESAIC_API moesaic_status moesaic_model_verify(const moesaic_model *model, moesaic_error *error);

/* Where the bundled model lies: $MOESAIC_BUNDLED_MODEL, the installed data folder, or the source tree it was built
 * from. A static string; NULL when none of them holds one. Thread-safe. */
MOESAIC_API const char *moesaic_bundled_model_path(void);

/* Frees memory that a function of the library returned and said to free with it. NULL is accepted. */
MOESAIC_API void moesaic_free(void *memory);

/* Messages of the library to the program: level 0 error, 1 warning, 2 information, 3 detail. Without a callback they
 * are dropped; the library never prints. The callback may come from any thread and must not call the library.
 * Process-wide. */
typedef void moesaic_log_callback(void *user, int level, const char *line);
MOESAIC_API void moesaic_log_set(moesaic_log_callback *callback, void *user);

#ifdef __cplusplus
}
#endif
#endif
