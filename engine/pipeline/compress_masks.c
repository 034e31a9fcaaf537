/* SPDX-License-Identifier: Apache-2.0 */
/* Masks from outside: what was pruned, exported and tuned elsewhere keeps its zeros where they were. */
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "compressor_internal.h"

static void masks_identify(struct compressor *c) {
    for (size_t i = 0; i < safetensors_count(c->masks); i++) {
        const struct tensor *t = safetensors_at(c->masks, i);
        c->masks_checksum = XXH3_64bits_withSeed(t->name, strlen(t->name), c->masks_checksum);
        c->masks_checksum = XXH3_64bits_withSeed(t->data, t->bytes, c->masks_checksum);
    }
}

moesaic_status masks_open(struct compressor *c, moesaic_error *error) {
    char path[4096];
    const char *folder = c->options->masks;
    if (!folder)
        return MOESAIC_OK;
    if (c->recipe.experts.prune == PRUNE_NONE)
        return status_set(error, MOESAIC_E_USAGE,
                          "masks: the recipe prunes nothing: name the method that goes on from them (sparsegpt updates "
                          "what stays)");
    if (c->recipe.neurons > 0)
        return status_set(error, MOESAIC_E_USAGE, "masks: they do not go together with fewer neurons");
    if ((size_t)snprintf(path, sizeof path, "%s/masks.safetensors", folder) >= sizeof path)
        return status_set(error, MOESAIC_E_USAGE, "masks: the path is too long (%.64s...)", folder);
    if (!file_is_regular(path))
        return status_set(error, MOESAIC_E_INPUT, "masks: there is no such file (%s)", path);
    moesaic_status status = safetensors_open(path, &c->masks, error);
    if (!status)
        masks_identify(c);
    return status;
}

moesaic_status mask_find(const struct compressor *c, const char *name, const struct weight *weight,
                         const uint8_t **ret_mask, moesaic_error *error) {
    const struct tensor *t = safetensors_find(c->masks, name);
    if (!t)
        return status_set(error, MOESAIC_E_INPUT, "masks: there is none for %s (%s/masks.safetensors)", name,
                          c->options->masks);
    if (t->type != TENSOR_U8 || t->rank != 2 || t->shape[0] != weight->rows || t->shape[1] != weight->cols)
        return status_set(error, MOESAIC_E_INPUT, "masks: %s is not U8 [%llu, %llu] (%s/masks.safetensors)", name,
                          (unsigned long long)weight->rows, (unsigned long long)weight->cols, c->options->masks);
    *ret_mask = t->data;
    return MOESAIC_OK;
}
