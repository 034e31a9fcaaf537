/* SPDX-License-Identifier: Apache-2.0 */
/* Heap memory aligned for kernels, and in huge pages where it is large. */
#include "runtime.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MEMORY_ALIGNMENT = 64, MEMORY_HUGE_PAGE_BYTES = 2 << 20 };

void *memory_aligned(size_t bytes) {
    size_t alignment = bytes < MEMORY_HUGE_PAGE_BYTES ? MEMORY_ALIGNMENT : MEMORY_HUGE_PAGE_BYTES;
    if (bytes > SIZE_MAX - alignment)
        return NULL;
    void *block = aligned_alloc(alignment, bytes ? size_round_up(bytes, alignment) : alignment);
    if (block && alignment == MEMORY_HUGE_PAGE_BYTES) /* advice: small pages serve a kernel that has no others */
        (void)madvise(block, bytes / alignment * alignment, MADV_HUGEPAGE);
    return block;
}

void *memory_zeroed(size_t count, size_t size) {
    size_t bytes;
    void *block = size_mul(count, size, &bytes) ? memory_aligned(bytes) : NULL;
    if (block)
        memset(block, 0, bytes);
    return block;
}
