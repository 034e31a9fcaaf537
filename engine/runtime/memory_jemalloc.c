/* SPDX-License-Identifier: Apache-2.0 */
/* Arena backend over jemalloc, whose extents come from mappings bound to the arena's node.
 *
 * The functions are weak references: a library that needs Debian's jemalloc cannot be loaded by dlopen ("cannot
 * allocate memory in static TLS block"), so the program decides by linking it. */
#include "memory_internal.h"

#include <jemalloc/jemalloc.h>
#include <stdio.h>
#include <stdlib.h>

#pragma weak mallocx
#pragma weak dallocx
#pragma weak sallocx
#pragma weak mallctl

struct arena_extents {
    extent_hooks_t hooks; /* first: jemalloc hands its address back to the hooks */
    struct arena *arena;
    unsigned index; /* jemalloc's number of the arena */
};

static void *extent_alloc(extent_hooks_t *hooks, void *wanted, size_t bytes, size_t alignment, bool *zero, bool *commit,
                          unsigned index) {
    if (wanted)
        return NULL; /* growing in place: a new extent does as well */
    void *address = arena_map(((struct arena_extents *)hooks)->arena, bytes, alignment);
    if (address)
        *zero = *commit = true;
    return address;
}

static bool extent_dalloc(extent_hooks_t *hooks, void *address, size_t bytes, bool committed, unsigned index) {
    arena_unmap(address, bytes);
    return false;
}

static void extent_destroy(extent_hooks_t *hooks, void *address, size_t bytes, bool committed, unsigned index) {
    arena_unmap(address, bytes);
}

/* Mappings can be cut and joined at any page: nothing to do. */
static bool extent_split(extent_hooks_t *hooks, void *address, size_t bytes, size_t first, size_t second,
                         bool committed, unsigned index) {
    return false;
}

static bool extent_merge(extent_hooks_t *hooks, void *first, size_t first_bytes, void *second, size_t second_bytes,
                         bool committed, unsigned index) {
    return false;
}

static moesaic_status extents_start(struct arena *arena, moesaic_error *error) {
    struct arena_extents *extents = calloc(1, sizeof *extents);
    if (!extents)
        return status_no_memory(error, "arena", sizeof *extents);
    extents->arena = arena;
    extents->hooks = (extent_hooks_t){.alloc = extent_alloc,
                                      .dalloc = extent_dalloc,
                                      .destroy = extent_destroy,
                                      .split = extent_split,
                                      .merge = extent_merge};
    extent_hooks_t *hooks = &extents->hooks;
    size_t bytes = sizeof extents->index;
    if (mallctl("arenas.create", &extents->index, &bytes, &hooks, sizeof hooks) != 0) {
        free(extents);
        return status_set(error, MOESAIC_E_MEMORY, "arena: jemalloc cannot create one for NUMA node %u", arena->node);
    }
    /* jemalloc reserves ever larger extents ahead; each would be bound and advised although nothing may use it. */
    char name[64];
    snprintf(name, sizeof name, "arena.%u.retain_grow_limit", extents->index);
    size_t limit = (size_t)8 << 20;
    (void)mallctl(name, NULL, NULL, &limit, sizeof limit);
    arena->state = extents;
    return MOESAIC_OK;
}

static void extents_stop(struct arena *arena) {
    struct arena_extents *extents = arena->state;
    char name[64];
    snprintf(name, sizeof name, "arena.%u.destroy", extents->index);
    (void)mallctl(name, NULL, NULL, NULL, 0); /* fails only for an index that is no arena */
    free(extents);
}

/* No thread cache: it would keep blocks of an arena that is gone. */
static int extents_flags(const struct arena *arena) {
    const struct arena_extents *extents = arena->state;
    return MALLOCX_ARENA(extents->index) | MALLOCX_TCACHE_NONE;
}

static void *extents_alloc(struct arena *arena, size_t bytes, size_t alignment, size_t *ret_size) {
    void *block = mallocx(bytes, extents_flags(arena) | MALLOCX_LG_ALIGN(__builtin_ctzl(alignment)));
    if (block)
        *ret_size = sallocx(block, 0);
    return block;
}

static size_t extents_free(struct arena *arena, void *block) {
    size_t bytes = sallocx(block, 0);
    dallocx(block, extents_flags(arena));
    return bytes;
}

const struct arena_backend *arena_jemalloc(void) {
    static const struct arena_backend backend = {"jemalloc", extents_start, extents_stop, extents_alloc, extents_free};
    return mallocx && dallocx && sallocx && mallctl ? &backend : NULL;
}
