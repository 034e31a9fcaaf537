/* SPDX-License-Identifier: Apache-2.0 */
/* Export: a model as a Hugging Face folder that other tools can read. */
#ifndef MOESAIC_EXPORT_H
#define MOESAIC_EXPORT_H

#include <moesaic/evaluate.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct moesaic_export_result {
    size_t size; /* sizeof(moesaic_export_result), set by the caller */
    uint32_t files;
    uint64_t bytes;
} moesaic_export_result;

/* Writes `model` to the new or empty folder `path`: config.json, generation_config.json and tokenizer files as the
 * source has them, weights under their published names, one shard per 2 GiB with an index, and for pruned artifacts one
 * mask a matrix. A checkpoint's weights keep their type; an artifact's are dequantized to BF16. Errors: USAGE (folder
 * not empty), IO, MEMORY, CANCELLED. */
MOESAIC_API moesaic_status moesaic_export(const moesaic_model *model, const char *path,
                                          moesaic_progress_callback *progress, void *user,
                                          moesaic_export_result *ret_result, moesaic_error *error);

#ifdef __cplusplus
}
#endif
#endif
