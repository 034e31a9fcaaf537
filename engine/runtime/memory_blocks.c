/* SPDX-License-Identifier: Apache-2.0 */
/* Arena backend without an allocator: every block is a bound mapping of its own. Meant for few and large blocks. */
#include "memory_internal.h"

#include <pthread.h>
#include <stdlib.h>

/* Stands right before the block, in the mapping's first page or pages. */
struct arena_block {
    struct arena_block *before, *after;
    void *mapping;
    size_t mapping_bytes;
};

struct arena_list {
    pthread_mutex_t lock;
    struct arena_block head; /* of a ring */
};

static moesaic_status blocks_start(struct arena *arena, moesaic_error *error) {
    struct arena_list *list = calloc(1, sizeof *list);
    if (!list)
        return status_no_memory(error, "arena", sizeof *list);
    pthread_mutex_init(&list->lock, NULL);
    list->head.before = list->head.after = &list->head;
    arena->state = list;
    return MOESAIC_OK;
}

static void blocks_stop(struct arena *arena) {
    struct arena_list *list = arena->state;
    for (struct arena_block *block = list->head.after; block != &list->head;) {
        struct arena_block *after = block->after;
        arena_unmap(block->mapping, block->mapping_bytes);
        block = after;
    }
    pthread_mutex_destroy(&list->lock);
    free(list);
}

static void *blocks_alloc(struct arena *arena, size_t bytes, size_t alignment, size_t *ret_size) {
    struct arena_list *list = arena->state;
    size_t page = arena_page_bytes();
    if (alignment < _Alignof(struct arena_block))
        alignment = _Alignof(struct arena_block);
    /* The block starts one unit in: far enough for the header, and aligned when the mapping is. */
    size_t start = size_round_up(sizeof(struct arena_block), alignment), total;
    if (!size_add(bytes, start, &total) || total > PTRDIFF_MAX - page)
        return NULL;
    total = size_round_up(total, page);
    uint8_t *mapping = arena_map(arena, total, alignment);
    if (!mapping)
        return NULL;
    struct arena_block *block = (struct arena_block *)(mapping + start - sizeof *block);
    *block = (struct arena_block){.mapping = mapping, .mapping_bytes = total};
    pthread_mutex_lock(&list->lock);
    block->before = list->head.before;
    block->after = &list->head;
    block->before->after = block->after->before = block;
    pthread_mutex_unlock(&list->lock);
    *ret_size = total;
    return mapping + start;
}

static size_t blocks_free(struct arena *arena, void *address) {
    struct arena_list *list = arena->state;
    struct arena_block *block = (struct arena_block *)address - 1;
    pthread_mutex_lock(&list->lock);
    block->before->after = block->after;
    block->after->before = block->before;
    pthread_mutex_unlock(&list->lock);
    size_t bytes = block->mapping_bytes;
    arena_unmap(block->mapping, bytes);
    return bytes;
}

const struct arena_backend *arena_hwloc(void) {
    static const struct arena_backend backend = {"hwloc", blocks_start, blocks_stop, blocks_alloc, blocks_free};
    return &backend;
}
