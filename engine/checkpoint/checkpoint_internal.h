/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of engine/checkpoint share: the types of safetensors, the steps of reading config.json, the folder. */
#ifndef CHECKPOINT_INTERNAL_H
#define CHECKPOINT_INTERNAL_H

#include "checkpoint.h"

/* ---- safetensors ---- */

enum { SAFETENSORS_HEADER_MAX = 100000000, SAFETENSORS_RANK_MAX = 8 }; /* the bound of the reference implementation */

/* Stored name, meaning and width of an element type. */
struct tensor_type_info {
    const char *name;
    tensor_type type;
    unsigned bits;
};
/* By the file's name, or by the loader's own value (not TENSOR_OTHER); NULL when there is none. */
const struct tensor_type_info *tensor_type_named(const char *name);
const struct tensor_type_info *tensor_type_of(tensor_type type);
/* Bytes of a tensor; false when the product overflows or ends inside a byte. */
bool tensor_bytes(unsigned bits, uint32_t rank, const uint64_t *shape, uint64_t *ret_bytes);
/* "[4, 8]" into `text`; returns `text`. */
const char *tensor_shape_text(uint32_t rank, const uint64_t *shape, char *text, size_t bytes);

/* ---- config.json ---- */

enum {
    CONFIG_HIDDEN_MAX = 1 << 20,
    CONFIG_INTERMEDIATE_MAX = 1 << 24,
    CONFIG_VOCAB_MAX = 1 << 24,
    CONFIG_HEADS_MAX = 1 << 14,
    CONFIG_HEAD_DIM_MAX = 1 << 14
};
static const int64_t config_position_max = (int64_t)1 << 31;

/* Reads settings one after another; once one has failed the others do nothing and `status` says so. */
struct config_reader {
    const json_value *root;
    const char *where;
    model_family family;
    const char *family_name;
    moesaic_error *error;
    moesaic_status status;
};
void config_read_u32(struct config_reader *reader, const char *key, uint32_t low, uint32_t high, uint32_t *io_value);
void config_read_flag(struct config_reader *reader, const char *key, bool *io_value);
/* Records the first failure: "WHERE: key "KEY" is VALUE: WHY". */
void config_refuse(struct config_reader *reader, moesaic_status status, const char *key, const json_value *value,
                   const char *why);
/* Whether the object has the key with a value other than null. */
bool config_has(const json_value *object, const char *key);
/* Short text of a JSON value for messages; returns `text`. */
const char *config_value_text(const json_value *value, char *text, size_t bytes);

/* Reads rope_parameters or rope_scaling and what stands beside them; needs head_dim and max_position, sets rotary_dim.
 */
void config_read_rope(struct config_reader *reader, double default_theta, struct model_config *config);
/* Refuses every key that changes the result in some model and that this family does not apply; logs unknown ones. */
void config_check_keys(struct config_reader *reader);

/* ---- folder ---- */

struct checkpoint {
    char *path;
    struct model_config config;
    uint32_t n_shards;
    char **shard_names;          /* [n_shards], file names inside the folder */
    struct safetensors **shards; /* [n_shards] */
    size_t n_tensors;
    struct tensor *tensors; /* [n_tensors], sorted by name; names belong to the shards */
};
/* Finds a tensor and checks its shape; missing or of another shape: MOESAIC_E_INPUT naming tensor and file. */
moesaic_status checkpoint_tensor(const struct checkpoint *checkpoint, const char *name, uint32_t rank,
                                 const uint64_t *shape, const struct tensor **ret_tensor, moesaic_error *error);
/* Fills a row-major weight over `bytes` of the tensor; other types than F32, F16 and BF16: MOESAIC_E_UNSUPPORTED. */
moesaic_status checkpoint_tensor_rows(const struct checkpoint *checkpoint, const struct tensor *tensor, uint64_t at,
                                      uint64_t rows, uint64_t cols, struct weight *ret_weight, moesaic_error *error);
/* Checks that every tensor that the configuration asks for is there in its shape, and that no layer holds one that the
 * family does not use. Allocates a byte per tensor. */
moesaic_status checkpoint_check(const struct checkpoint *checkpoint, moesaic_error *error);

#endif
