/* SPDX-License-Identifier: Apache-2.0 */
/* Text of the chat template: UTF-8 that is measured and cut by code points, and the builder that grows it. */
#include <string.h>

#include "template_internal.h"

/* ---- UTF-8 (always valid here: sources and JSON are checked at the door) ----------------------------------------- */

size_t template_utf8_count(const char *data, size_t bytes) {
    size_t count = 0;
    for (size_t i = 0; i < bytes; i++)
        count += ((unsigned char)data[i] & 0xc0) != 0x80;
    return count;
}

uint32_t template_utf8_at(const char *data, size_t *ret_bytes) {
    const unsigned char *p = (const unsigned char *)data;
    if (p[0] < 0x80) {
        *ret_bytes = 1;
        return p[0];
    }
    if (p[0] < 0xe0) {
        *ret_bytes = 2;
        return (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu);
    }
    if (p[0] < 0xf0) {
        *ret_bytes = 3;
        return (p[0] & 0x0fu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
    }
    *ret_bytes = 4;
    return (p[0] & 0x07u) << 18 | (p[1] & 0x3fu) << 12 | (p[2] & 0x3fu) << 6 | (p[3] & 0x3fu);
}

size_t template_utf8_put(uint32_t code, char *out) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xe0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3f));
        out[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3f));
    out[2] = (char)(0x80 | (code >> 6 & 0x3f));
    out[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

size_t template_string_offset(const struct tstring *string, size_t chars) {
    if (chars >= string->chars)
        return string->bytes;
    if (string->chars == string->bytes)
        return chars;
    size_t offset = 0;
    for (; chars > 0; chars--) {
        size_t step;
        template_utf8_at(string->data + offset, &step);
        offset += step;
    }
    return offset;
}

/* ---- construction ------------------------------------------------------------------------------------------------ */

bool template_string_view(struct tstate *s, const char *data, size_t bytes, struct tvalue *ret) {
    struct tstring *string = template_alloc(s, 1, sizeof *string);
    if (!string)
        return false;
    string->data = data;
    string->bytes = bytes;
    string->chars = template_utf8_count(data, bytes);
    *ret = template_of_string(string);
    return true;
}

bool template_string_copy(struct tstate *s, const char *data, size_t bytes, struct tvalue *ret) {
    char *copy = template_alloc(s, bytes, 1);
    if (!copy)
        return false;
    memcpy(copy, data, bytes);
    return template_string_view(s, copy, bytes, ret);
}

bool template_string_text(struct tstate *s, const char *text, struct tvalue *ret) {
    return template_string_view(s, text, strlen(text), ret);
}

bool template_string_cut(struct tstate *s, const struct tstring *string, size_t begin, size_t end, struct tvalue *ret) {
    if (begin == 0 && end == string->bytes) {
        *ret = template_of_string(string);
        return true;
    }
    struct tstring *cut = template_alloc(s, 1, sizeof *cut);
    if (!cut)
        return false;
    cut->data = string->data + begin;
    cut->bytes = end - begin;
    bool ascii = string->chars == string->bytes;
    cut->chars = ascii ? cut->bytes : template_utf8_count(cut->data, cut->bytes);
    cut->markup = string->markup;
    *ret = template_of_string(cut);
    return ascii || template_work_bytes(s, cut->bytes);
}

static struct tbuffer *buffer_new(struct tstate *s, size_t capacity) {
    struct tbuffer *buffer = template_alloc(s, 1, sizeof *buffer);
    if (!buffer)
        return NULL;
    buffer->data = template_alloc(s, capacity, 1);
    buffer->capacity = capacity;
    return buffer->data ? buffer : NULL;
}

bool template_string_concat(struct tstate *s, const struct tstring *a, const struct tstring *b, struct tvalue *ret) {
    struct tstring *joined = template_alloc(s, 1, sizeof *joined);
    size_t bytes = a->bytes + b->bytes;
    struct tbuffer *buffer = a->buffer;
    if (!joined || !template_work_bytes(s, b->bytes))
        return false;
    bool extends =
        buffer && a->data + a->bytes == buffer->data + buffer->used && b->bytes <= buffer->capacity - buffer->used;
    if (!extends) {
        /* Room to grow: the next concatenation with this one on its left copies only its right side. */
        buffer = template_work_bytes(s, a->bytes) ? buffer_new(s, bytes + bytes / 2 + 16) : NULL;
        if (!buffer)
            return false;
        memcpy(buffer->data, a->data, a->bytes);
        buffer->used = a->bytes;
    }
    joined->data = extends ? a->data : buffer->data;
    memcpy(buffer->data + buffer->used, b->data, b->bytes);
    buffer->used += b->bytes;
    joined->bytes = bytes;
    joined->chars = a->chars + b->chars;
    joined->buffer = buffer;
    joined->markup = a->markup;
    *ret = template_of_string(joined);
    return true;
}

bool template_find(struct tstate *s, const char *data, size_t bytes, const char *needle, size_t needle_bytes,
                   size_t *ret_offset) {
    const char *hit = needle_bytes ? memmem(data, bytes, needle, needle_bytes) : data;
    *ret_offset = hit ? (size_t)(hit - data) : bytes;
    return template_work_bytes(s, *ret_offset);
}

/* ---- builder ----------------------------------------------------------------------------------------------------- */

bool template_put(struct tstate *s, struct tbuilder *b, const char *data, size_t bytes) {
    struct tbuffer *buffer = b->buffer;
    size_t used = buffer ? buffer->used : 0;
    if (!template_work_bytes(s, bytes))
        return false;
    if (b->limit_bytes && bytes > b->limit_bytes - used)
        return template_fail_limit(s, MOESAIC_E_MEMORY, "bytes of text", b->limit_bytes);
    if (!buffer || bytes > buffer->capacity - used) {
        struct tbuffer *larger = buffer_new(s, (used + bytes) * 2 + 64);
        if (!larger)
            return false;
        if (used)
            memcpy(larger->data, buffer->data, used);
        larger->used = used;
        b->buffer = buffer = larger;
    }
    if (bytes)
        memcpy(buffer->data + used, data, bytes);
    buffer->used += bytes;
    b->chars += template_utf8_count(data, bytes);
    return true;
}

bool template_put_text(struct tstate *s, struct tbuilder *b, const char *text) {
    return template_put(s, b, text, strlen(text));
}

bool template_put_code(struct tstate *s, struct tbuilder *b, uint32_t code) {
    char text[4];
    return template_put(s, b, text, template_utf8_put(code, text));
}

bool template_put_repeated(struct tstate *s, struct tbuilder *b, uint32_t code, size_t count) {
    char text[64];
    size_t unit = template_utf8_put(code, text), whole = sizeof text / unit;
    for (size_t i = 1; i < whole; i++)
        memcpy(text + i * unit, text, unit);
    for (; count > whole; count -= whole)
        if (!template_put(s, b, text, whole * unit))
            return false;
    return template_put(s, b, text, count * unit);
}

bool template_built(struct tstate *s, struct tbuilder *b, struct tvalue *ret) {
    struct tstring *string = template_alloc(s, 1, sizeof *string);
    if (!string)
        return false;
    string->data = b->buffer ? b->buffer->data : "";
    string->bytes = b->buffer ? b->buffer->used : 0;
    string->chars = b->chars;
    string->buffer = b->buffer;
    *ret = template_of_string(string);
    return true;
}

bool template_built_constant(struct tstate *s, struct tbuilder *b, struct tvalue *ret) {
    if (!template_built(s, b, ret))
        return false;
    ((struct tstring *)ret->string)->buffer = NULL;
    return true;
}
