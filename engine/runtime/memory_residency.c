/* SPDX-License-Identifier: Apache-2.0 */
/* Where pages really are: asked of the kernel, page by page (move_pages(2) without a target only asks). */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "memory_internal.h"

enum { RESIDENCY_PAGES = 512 };

static unsigned residency_node_of(const struct topology *topology, int os_index) {
    unsigned node = 0;
    while (node < topology_nodes(topology) && (int)topology_node_at(topology, node)->os_index != os_index)
        node++;
    return node;
}

/* Adds the pages [begin, begin + count * page) and what of them lies in [from, to). */
static bool residency_add(const struct topology *topology, uintptr_t begin, size_t count, uintptr_t from, uintptr_t to,
                          struct memory_residency *io_residency) {
    void *pages[RESIDENCY_PAGES];
    int status[RESIDENCY_PAGES];
    size_t page = arena_page_bytes();
    for (size_t i = 0; i < count; i++)
        pages[i] = (void *)(begin + i * page);
    if (syscall(SYS_move_pages, 0, count, pages, NULL, status, 0) < 0)
        return false;
    for (size_t i = 0; i < count; i++) {
        uintptr_t low = begin + i * page, high = low + page;
        uint64_t bytes = (high < to ? high : to) - (low > from ? low : from);
        unsigned node = status[i] < 0 ? topology_nodes(topology) : residency_node_of(topology, status[i]);
        if (node < topology_nodes(topology))
            io_residency->node_bytes[node] += bytes;
        else
            io_residency->unknown_bytes += bytes;
    }
    return true;
}

bool memory_residency_add(const struct topology *topology, const void *address, size_t bytes,
                          struct memory_residency *io_residency) {
    size_t page = arena_page_bytes();
    uintptr_t from = (uintptr_t)address, to = from + bytes, begin = from & ~(uintptr_t)(page - 1);
    while (begin < to) {
        size_t left = (to - begin + page - 1) / page, count = left < RESIDENCY_PAGES ? left : RESIDENCY_PAGES;
        if (!residency_add(topology, begin, count, from, to, io_residency)) {
            io_residency->unknown_bytes += to - (begin > from ? begin : from);
            return false;
        }
        begin += count * page;
    }
    return true;
}

void memory_let_go(const void *address, size_t bytes) {
    size_t page = arena_page_bytes();
    uintptr_t from = ((uintptr_t)address + page - 1) & ~(uintptr_t)(page - 1);
    uintptr_t to = ((uintptr_t)address + bytes) & ~(uintptr_t)(page - 1);
#ifdef MADV_PAGEOUT
    if (from < to)
        (void)madvise((void *)from, to - from, MADV_PAGEOUT); /* advice: an old kernel keeps the pages */
#endif
}
