/* SPDX-License-Identifier: Apache-2.0 */
/* Private to engine/text: a growable byte buffer. */
#ifndef TEXT_INTERNAL_H
#define TEXT_INTERNAL_H

#include <stdlib.h>
#include <string.h>

#include "runtime.h"

/* Bytes that grow by doubling; a zeroed struct is empty. `data` is NULL until the first append. */
struct text_buffer {
    char *data;
    size_t bytes, capacity;
};

/* Makes room for `extra` more bytes; false, with the buffer unchanged, when memory runs out. */
static inline bool text_buffer_reserve(struct text_buffer *buffer, size_t extra) {
    if (buffer->capacity - buffer->bytes >= extra)
        return true;
    size_t need, capacity = buffer->capacity < 64 ? 64 : buffer->capacity;
    if (!size_add(buffer->bytes, extra, &need))
        return false;
    while (capacity < need)
        if (!size_mul(capacity, 2, &capacity))
            return false;
    char *data = realloc(buffer->data, capacity);
    if (!data)
        return false;
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

static inline bool text_buffer_append(struct text_buffer *buffer, const char *text, size_t bytes) {
    if (!text_buffer_reserve(buffer, bytes))
        return false;
    if (bytes)
        memcpy(buffer->data + buffer->bytes, text, bytes);
    buffer->bytes += bytes;
    return true;
}

static inline void text_buffer_done(struct text_buffer *buffer) {
    free(buffer->data);
    *buffer = (struct text_buffer){0};
}

#endif
