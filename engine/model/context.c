/* SPDX-License-Identifier: Apache-2.0 */
/* A sequence's state: its KV cache and the frequencies of its position encoding. */
#include "forward_internal.h"

#include <stdlib.h>

moesaic_status model_context_create(const struct model *model, struct kv_pool *pool, size_t capacity_tokens,
                                    struct model_context **ret_context, moesaic_error *error) {
    const struct model_config *config = model_config(model);
    size_t half = config->rotary_dim / 2, bytes = sizeof(struct model_context) + half * sizeof(float);
    size_t capacity = capacity_tokens ? capacity_tokens : (size_t)config->max_position;
    struct model_context *context = calloc(1, bytes);
    if (!context)
        return status_no_memory(error, "sequence", bytes);
    context->model = model;
    moesaic_status status = kv_cache_create(pool, capacity, &context->cache, error);
    if (status) {
        free(context);
        return status;
    }
    rope_frequencies(config, capacity, context->inverse_frequency, &context->rope_scale);
    *ret_context = context;
    return MOESAIC_OK;
}

void model_context_destroy(struct model_context *context) {
    if (!context)
        return;
    kv_cache_destroy(context->cache);
    free(context);
}

size_t model_context_capacity(const struct model_context *context) { return context->cache->capacity; }
size_t model_context_tokens(const struct model_context *context) { return context->cache->tokens; }

moesaic_status model_context_reserve(struct model_context *context, size_t tokens, moesaic_error *error) {
    return kv_cache_reserve(context->cache, tokens, error);
}

void model_context_truncate(struct model_context *context, size_t tokens) {
    kv_cache_truncate(context->cache, tokens);
}
