/* SPDX-License-Identifier: Apache-2.0 */
/* What caches ask of the pool. */
#ifndef KV_INTERNAL_H
#define KV_INTERNAL_H

#include "kv.h"

size_t kv_pool_run_bytes(const struct kv_pool *pool); /* of the keys (or values) of one layer and head in a block */
/* One block, 64-byte aligned. Errors: MEMORY (the heap's or the pool's limit). */
moesaic_status kv_pool_take(struct kv_pool *pool, uint8_t **ret_block, moesaic_error *error);
void kv_pool_give(struct kv_pool *pool, uint8_t *block);

#endif
