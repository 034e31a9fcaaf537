/* SPDX-License-Identifier: Apache-2.0 */
/* Arenas: memory of one NUMA node, in blocks cut by jemalloc or mapped one by one. */
#include "memory_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "topology_internal.h"

enum { ARENA_HUGE_PAGE_BYTES = 2 << 20 };

size_t arena_page_bytes(void) {
    return (size_t)sysconf(_SC_PAGESIZE);
}

/* ---- mapping ---- */

static void arena_bind(struct arena *arena, void *address, size_t bytes) {
    if (!arena->bind)
        return;
    hwloc_const_nodeset_t nodes = topology_node_object(arena->topology, arena->node)->nodeset;
    if (hwloc_set_area_membind(arena->topology->hwloc, address, bytes, nodes, HWLOC_MEMBIND_BIND,
                               HWLOC_MEMBIND_BYNODESET) == 0)
        return;
    int code = errno;
    if (atomic_exchange(&arena->warned, true))
        return;
    char text[128];
    log_line(LOG_WARNING, "memory cannot be bound to NUMA node %u: %s%s; it goes where it is first touched",
             topology_node_at(arena->topology, arena->node)->os_index, strerror_r(code, text, sizeof text),
             code == EPERM ? " (a container without CAP_SYS_NICE?)" : "");
}

/* Reserves an aligned range: maps as much more as alignment may cost, then gives the ends back. */
static void *arena_reserve(size_t bytes, size_t alignment) {
    size_t extra = alignment > arena_page_bytes() ? alignment - arena_page_bytes() : 0, total;
    if (!size_add(bytes, extra, &total))
        return NULL;
    uint8_t *base = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED)
        return NULL;
    size_t before = extra ? (size_t)(-(uintptr_t)base & (alignment - 1)) : 0;
    if (before > 0)
        munmap(base, before);
    if (extra > before)
        munmap(base + before + bytes, extra - before);
    return base + before;
}

void *arena_map(struct arena *arena, size_t bytes, size_t alignment) {
    bool huge = arena->huge_pages && bytes >= ARENA_HUGE_PAGE_BYTES;
    if (huge && alignment < ARENA_HUGE_PAGE_BYTES)
        alignment = ARENA_HUGE_PAGE_BYTES;
    void *address = arena_reserve(bytes, alignment);
    if (!address)
        return NULL;
    arena_bind(arena, address, bytes);
    if (huge)
        (void)madvise(address, bytes, MADV_HUGEPAGE); /* a kernel without them says EINVAL: small pages serve */
    return address;
}

void arena_unmap(void *address, size_t bytes) {
    munmap(address, bytes);
}

/* ---- the door ---- */

static const struct arena_backend *arena_choose(void) {
    const struct arena_backend *jemalloc = arena_jemalloc();
    return jemalloc ? jemalloc : arena_hwloc();
}

const char *arena_backend(void) {
    return arena_choose()->name;
}

moesaic_status arena_create(const struct topology *topology, unsigned node, bool huge_pages, struct arena **ret_arena,
                            moesaic_error *error) {
    if (node >= topology_nodes(topology))
        return status_set(error, MOESAIC_E_USAGE, "arena: NUMA node %u, expected 0 to %u", node,
                          topology_nodes(topology) - 1);
    struct arena *arena = calloc(1, sizeof *arena);
    if (!arena)
        return status_no_memory(error, "arena", sizeof *arena);
    arena->backend = arena_choose();
    arena->topology = topology;
    arena->node = node;
    arena->huge_pages = huge_pages;
    arena->bind = topology_nodes(topology) > 1;
    moesaic_status status = arena->backend->start(arena, error);
    if (status != MOESAIC_OK) {
        free(arena);
        return status;
    }
    *ret_arena = arena;
    return MOESAIC_OK;
}

void arena_destroy(struct arena *arena) {
    if (!arena)
        return;
    arena->backend->stop(arena);
    free(arena);
}

void *arena_alloc(struct arena *arena, size_t bytes, size_t alignment) {
    if (alignment == 0)
        alignment = 1;
    if ((alignment & (alignment - 1)) != 0 || bytes > PTRDIFF_MAX || alignment > PTRDIFF_MAX / 2)
        return NULL;
    size_t size;
    void *block = arena->backend->alloc(arena, bytes ? bytes : 1, alignment, &size);
    if (block)
        atomic_fetch_add_explicit(&arena->bytes, size, memory_order_relaxed);
    return block;
}

void arena_free(struct arena *arena, void *block) {
    if (block)
        atomic_fetch_sub_explicit(&arena->bytes, arena->backend->free(arena, block), memory_order_relaxed);
}

uint64_t arena_bytes(const struct arena *arena) {
    return atomic_load_explicit(&arena->bytes, memory_order_relaxed);
}
