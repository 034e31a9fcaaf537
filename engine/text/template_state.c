/* SPDX-License-Identifier: Apache-2.0 */
/* The chat template's arena, its limits on work and depth, and the record of what failed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "template_internal.h"

enum { CHUNK_BYTES_MIN = 4096, CHUNK_BYTES_MAX = 1 << 18, ALIGNMENT = 16 };

struct tarena_chunk {
    struct tarena_chunk *next;
    size_t used, capacity;
    _Alignas(ALIGNMENT) unsigned char data[];
};

bool template_fail(struct tstate *s, const char *kind, const char *format, ...) {
    if (s->fault.status)
        return false;
    s->fault.status = MOESAIC_E_INPUT;
    s->fault.kind = kind;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(s->fault.message, sizeof s->fault.message, format, arguments);
    va_end(arguments);
    return false;
}

bool template_fail_limit(struct tstate *s, moesaic_status status, const char *what, size_t limit) {
    if (!s->fault.status) {
        template_fail(s, "SecurityError", "the template needs more than the limit of %zu %s", limit, what);
        s->fault.status = status;
    }
    return false;
}

static struct tarena_chunk *chunk_add(struct tstate *s, size_t bytes) {
    struct tarena *arena = &s->arena;
    size_t capacity = arena->chunks ? arena->chunks->capacity * 2 : CHUNK_BYTES_MIN;
    if (capacity > CHUNK_BYTES_MAX)
        capacity = CHUNK_BYTES_MAX;
    if (capacity < bytes)
        capacity = bytes;
    if (capacity > arena->limit_bytes - arena->total_bytes) {
        template_fail_limit(s, MOESAIC_E_MEMORY, "bytes of memory", arena->limit_bytes);
        return NULL;
    }
    struct tarena_chunk *chunk = malloc(sizeof *chunk + capacity);
    if (!chunk) {
        template_fail(s, "MemoryError", "out of memory for %zu bytes", capacity);
        s->fault.status = MOESAIC_E_MEMORY;
        return NULL;
    }
    *chunk = (struct tarena_chunk){.next = arena->chunks, .capacity = capacity};
    arena->chunks = chunk;
    arena->total_bytes += capacity;
    return chunk;
}

void *template_alloc(struct tstate *s, size_t count, size_t size) {
    size_t bytes;
    if (!size_mul(count, size, &bytes) || bytes > s->arena.limit_bytes) {
        template_fail_limit(s, MOESAIC_E_MEMORY, "bytes of memory", s->arena.limit_bytes);
        return NULL;
    }
    bytes = size_round_up(bytes ? bytes : 1, ALIGNMENT);
    struct tarena_chunk *chunk = s->arena.chunks;
    if (!chunk || chunk->capacity - chunk->used < bytes)
        chunk = chunk_add(s, bytes);
    if (!chunk)
        return NULL;
    void *block = chunk->data + chunk->used;
    chunk->used += bytes;
    return memset(block, 0, bytes);
}

void template_arena_done(struct tarena *arena) {
    for (struct tarena_chunk *chunk = arena->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        free(chunk);
    }
    *arena = (struct tarena){0};
}

bool template_work(struct tstate *s, size_t steps) {
    if (steps > TEMPLATE_WORK_MAX - s->work)
        return template_fail_limit(s, MOESAIC_E_INPUT, "steps", TEMPLATE_WORK_MAX);
    s->work += steps;
    return true;
}

bool template_enter(struct tstate *s) {
    if (++s->depth > TEMPLATE_DEPTH_MAX)
        return template_fail(s, "RecursionError", "maximum recursion depth exceeded");
    return true;
}
