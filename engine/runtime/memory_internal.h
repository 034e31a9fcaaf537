/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the arenas: one struct, two backends. */
#ifndef MEMORY_INTERNAL_H
#define MEMORY_INTERNAL_H

#include "runtime.h"

struct arena_backend {
    const char *name;
    moesaic_status (*start)(struct arena *arena, moesaic_error *error); /* sets arena->state */
    void (*stop)(struct arena *arena);                                  /* frees every block and the state */
    /* bytes > 0 and a power of two for alignment. *ret_size: what the block takes. */
    void *(*alloc)(struct arena *arena, size_t bytes, size_t alignment, size_t *ret_size);
    size_t (*free)(struct arena *arena, void *block); /* returns what the block took */
};

struct arena {
    const struct arena_backend *backend;
    const struct topology *topology;
    unsigned node;
    bool huge_pages, bind;
    _Atomic bool warned;
    _Atomic uint64_t bytes;
    void *state; /* the backend's */
};

/* jemalloc where the program links it, else NULL. */
const struct arena_backend *arena_jemalloc(void);
const struct arena_backend *arena_hwloc(void);

/* Maps `bytes` (whole pages) of fresh memory at a multiple of `alignment` (a power of two), bound to the arena's node
 * before anything touches it and advised for huge pages where asked. Where the system refuses to bind, the memory is
 * used all the same and one warning an arena goes to the log. NULL when nothing can be mapped. */
void *arena_map(struct arena *arena, size_t bytes, size_t alignment);
void arena_unmap(void *address, size_t bytes);
size_t arena_page_bytes(void);

#endif
