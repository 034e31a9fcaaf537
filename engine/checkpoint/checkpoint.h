/* SPDX-License-Identifier: Apache-2.0 */
/* Door of engine/checkpoint: bytes on disk become a checked configuration and checked, mapped tensors. */
#ifndef CHECKPOINT_H
#define CHECKPOINT_H

#include "experts.h"
#include "quant.h"
#include "runtime.h"

/* ---- configuration: config.json of a supported family, every key that changes a result understood -------------- */

typedef enum model_family {
    FAMILY_LLAMA,
    FAMILY_MIXTRAL,
    FAMILY_QWEN2_MOE,
    FAMILY_QWEN3_MOE,
    FAMILY_OLMOE
} model_family;
typedef enum rope_type { ROPE_DEFAULT, ROPE_LINEAR, ROPE_DYNAMIC, ROPE_LLAMA3, ROPE_YARN, ROPE_LONGROPE } rope_type;
typedef enum qk_norm_type { QK_NORM_NONE, QK_NORM_HEAD, QK_NORM_FULL } qk_norm_type;

enum { CONFIG_LAYERS_MAX = 1024, CONFIG_EXPERTS_MAX = 65535, CONFIG_ROPE_FACTORS_MAX = 512, CONFIG_EOS_MAX = 16 };

struct rope_config {
    rope_type type;
    double theta, factor;
    double low_freq_factor, high_freq_factor;                 /* llama3 */
    double beta_fast, beta_slow, mscale, mscale_all_dim;      /* yarn; mscale* 0 when absent */
    bool truncate;                                            /* yarn, default true */
    double attention_factor;                                  /* yarn, longrope; < 0: derived by the type's formula */
    int64_t original_max_position;                            /* 0: max_position */
    uint32_t n_factors;                                       /* longrope: rotary_dim / 2 */
    double short_factor[CONFIG_ROPE_FACTORS_MAX], long_factor[CONFIG_ROPE_FACTORS_MAX];
};

struct layer_config {
    bool moe;              /* routed experts; otherwise a dense feed-forward of `intermediate` */
    uint32_t window;       /* sliding window in tokens, 0: full attention */
};

struct model_config {
    model_family family;
    char architecture[64], model_type[64];
    uint32_t hidden, layers, heads, kv_heads, head_dim, rotary_dim, vocab;
    uint32_t intermediate;                            /* dense layers */
    uint32_t experts, top_k, moe_intermediate;        /* 0 for dense models */
    uint32_t shared_intermediate;                     /* 0: no shared expert */
    bool shared_gate;                                 /* sigmoid gate on the shared expert */
    bool norm_topk_prob;
    bool tied_head, q_bias, k_bias, v_bias, o_bias, mlp_bias;
    qk_norm_type qk_norm;
    struct expert_activation activation;
    double norm_epsilon, clip_qkv;                    /* clip_qkv 0: none */
    int64_t max_position;
    struct rope_config rope;
    struct layer_config layer[CONFIG_LAYERS_MAX];
    int32_t bos, pad;                                 /* -1: none */
    int32_t eos[CONFIG_EOS_MAX];
    uint32_t n_eos;                                   /* from generation_config.json where present, else config.json */
};

/* Reads config.json (`root`) with `where` for messages. Every key that changes the result is understood or refused by
 * name; bounds are checked before anything is allocated from them. `generation` may be NULL. */
moesaic_status config_read(const json_value *root, const json_value *generation, const char *where,
                           struct model_config *ret_config, moesaic_error *error);

/* ---- tensors ----------------------------------------------------------------------------------------------------- */

/* Element types of stored tensors that the loader takes (safetensors' names). */
typedef enum tensor_type {
    TENSOR_F32,
    TENSOR_F16,
    TENSOR_BF16,
    TENSOR_I32,
    TENSOR_I64,
    TENSOR_U8,
    TENSOR_I8,
    TENSOR_U16,
    TENSOR_OTHER
} tensor_type;
struct tensor {
    const char *name;     /* owned by the checkpoint */
    tensor_type type;
    const char *type_name; /* as the file says it, such as "BF16"; a static string */
    uint32_t rank;        /* 0..8 */
    uint64_t shape[8];
    const uint8_t *data;  /* mapped; may be unaligned to its element */
    uint64_t bytes;
    uint32_t shard;       /* index for messages: checkpoint_shard_name */
};

/* One mapped .safetensors file, its header checked: no overlaps, no holes, offsets inside the file, sizes equal to
 * shape x type. Used by checkpoints and by golden files in tests. */
struct safetensors;
moesaic_status safetensors_open(const char *path, struct safetensors **ret_file, moesaic_error *error);
void safetensors_close(struct safetensors *file);
size_t safetensors_count(const struct safetensors *file);
const struct tensor *safetensors_at(const struct safetensors *file, size_t index);
const struct tensor *safetensors_find(const struct safetensors *file, const char *name);
/* Streaming writer: declare every tensor, then write their data in order; atomic (temporary name, sync, rename). */
struct safetensors_writer;
moesaic_status safetensors_writer_open(const char *path, struct safetensors_writer **ret_writer, moesaic_error *error);
moesaic_status safetensors_writer_declare(struct safetensors_writer *writer, const char *name, tensor_type type,
                                          uint32_t rank, const uint64_t *shape, moesaic_error *error);
moesaic_status safetensors_writer_data(struct safetensors_writer *writer, const void *data, size_t bytes,
                                       moesaic_error *error); /* next bytes of the stream, in order of declaration */
moesaic_status safetensors_writer_finish(struct safetensors_writer *writer, moesaic_error *error);
void safetensors_writer_close(struct safetensors_writer *writer); /* unfinished: removes the temporary file */

/* A checkpoint folder: configuration, all shards, tokenizer files' bytes. Recognised by content. */
struct checkpoint;
moesaic_status checkpoint_open(const char *path, struct checkpoint **ret_checkpoint, moesaic_error *error);
void checkpoint_close(struct checkpoint *checkpoint);
const char *checkpoint_path(const struct checkpoint *checkpoint);
const struct model_config *checkpoint_config(const struct checkpoint *checkpoint);
/* Names of the files beside the weights that travel with a model, NULL-terminated: configuration, tokenizer, template,
 * licence. */
extern const char *const checkpoint_carried_files[];
size_t checkpoint_count(const struct checkpoint *checkpoint);
const struct tensor *checkpoint_at(const struct checkpoint *checkpoint, size_t index);
const struct tensor *checkpoint_find(const struct checkpoint *checkpoint, const char *name);
const char *checkpoint_shard_name(const struct checkpoint *checkpoint, uint32_t shard);
/* Looks `name` up, checks type (F32, F16 or BF16) and shape [rows, cols] (cols 0: a vector [rows]) and fills a
 * row-major `weight` over the mapped bytes. Missing or of another shape: MOESAIC_E_INPUT naming tensor and file. */
moesaic_status checkpoint_weight(const struct checkpoint *checkpoint, const char *name, uint64_t rows, uint64_t cols,
                                 struct weight *ret_weight, moesaic_error *error);
/* Reads every weight in search of one that is NaN or infinite. Errors: NONFINITE, naming file, tensor and element. */
moesaic_status checkpoint_check_finite(const struct checkpoint *checkpoint, moesaic_error *error);

/* ---- weights by role: what the forward pass reads, filled from a checkpoint (or a packed artifact) -------------- */

struct layer_weights {
    const float *attention_norm, *ffn_norm;     /* [hidden]: input_layernorm, post_attention_layernorm */
    struct weight q;                            /* [heads * head_dim, hidden] */
    struct weight k, v;                         /* [kv_heads * head_dim, hidden] */
    struct weight o;                            /* [hidden, heads * head_dim] */
    const float *q_bias, *k_bias, *v_bias, *o_bias; /* NULL where the config has none */
    const float *q_norm, *k_norm;               /* per head [head_dim]; full [heads * head_dim], [kv_heads * head_dim];
                                                   NULL without q/k norm */
    struct ffn_weights dense;                   /* layers that are not MoE: config.intermediate */
    struct weight router;                       /* MoE layers: [experts, hidden] */
    struct ffn_weights *experts;                /* MoE layers: [experts] of moe_intermediate; NULL otherwise */
    struct ffn_weights shared;                  /* when config.shared_intermediate > 0, in MoE layers */
    struct weight shared_gate;                  /* when config.shared_gate: [1, hidden] */
};

/* Matrices borrow the mapped bytes of their container, which must outlive this; norms and biases are widened to F32 and
 * owned here. Weights that a layer does not have are zero (data NULL). Immutable once built: any thread may read. */
struct model_weights {
    struct weight embedding;                    /* [vocab, hidden] */
    struct weight head;                         /* [vocab, hidden]; the embedding's bytes when tied */
    const float *final_norm;                    /* [hidden] */
    uint32_t n_layers;
    struct layer_weights *layers;               /* [n_layers] */
    struct ffn_weights *experts;                /* the block behind every layer's experts; NULL in dense models */
    float *vectors;                             /* the block behind every float pointer above, each 64-byte aligned */
};
/* Fails with MOESAIC_E_MEMORY only: checkpoint_open has already checked every tensor against the configuration. */
moesaic_status checkpoint_bind(const struct checkpoint *checkpoint, struct model_weights **ret_weights,
                               moesaic_error *error);
void model_weights_destroy(struct model_weights *weights); /* accepts NULL */

#endif
