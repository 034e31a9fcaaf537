/* SPDX-License-Identifier: Apache-2.0 */
/* Heap memory aligned for kernels. */
#include "runtime.h"

#include <stdlib.h>
#include <string.h>

enum { MEMORY_ALIGNMENT = 64 };

void *memory_zeroed(size_t count, size_t size) {
    size_t bytes;
    if (!size_mul(count, size, &bytes) || bytes > SIZE_MAX - MEMORY_ALIGNMENT)
        return NULL;
    bytes = bytes ? size_round_up(bytes, MEMORY_ALIGNMENT) : MEMORY_ALIGNMENT;
    void *block = aligned_alloc(MEMORY_ALIGNMENT, bytes);
    if (block)
        memset(block, 0, bytes);
    return block;
}
