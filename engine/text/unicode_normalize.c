/* SPDX-License-Identifier: Apache-2.0 */
/* Normalization forms in linear time over utf8proc's tables, held to the Unicode version of the reference
 * tokenizers. */
#include "unicode_internal.h"

#include <utf8proc.h>

/* Code points being normalized. */
struct codes {
    utf8proc_int32_t *data;
    size_t count, capacity;
};

/* Characters that got a decomposition, a combining class or a part in a composition after Unicode 9, the version of the
 * reference's normalizer: they stay as they are, and nothing moves or composes across them. Unassigned neighbours are
 * included where that makes a range; they are inert in either version. Sorted, disjoint. */
static const uint32_t inert[][2] = {
    {0x7fd, 0x7fd},     {0x897, 0x89f},     {0x8ca, 0x8d3},     {0x9fe, 0x9fe},     {0xc3c, 0xc3c},
    {0xd3b, 0xd3c},     {0xeba, 0xeba},     {0x1715, 0x1715},   {0x1abf, 0x1aff},   {0x1df6, 0x1dfa},
    {0x32ff, 0x32ff},   {0xa7f1, 0xa7f4},   {0xa82c, 0xa82c},   {0xab69, 0xab69},   {0x10780, 0x107bf},
    {0x10d24, 0x10d27}, {0x10d40, 0x10d8f}, {0x10eab, 0x10eac}, {0x10ec0, 0x10eff}, {0x10f46, 0x10f50},
    {0x10f82, 0x10f85}, {0x11070, 0x11070}, {0x1133b, 0x1133b}, {0x11380, 0x113ff}, {0x1145e, 0x1145e},
    {0x11839, 0x1183a}, {0x11930, 0x11943}, {0x119e0, 0x119e0}, {0x11a34, 0x11a34}, {0x11a47, 0x11a47},
    {0x11a99, 0x11a99}, {0x11d42, 0x11d45}, {0x11d97, 0x11d97}, {0x11f00, 0x11f5f}, {0x16100, 0x1613f},
    {0x16d40, 0x16d7f}, {0x16ff0, 0x16ff6}, {0x1ccd6, 0x1ccf9}, {0x1e030, 0x1e08f}, {0x1e130, 0x1e136},
    {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef}, {0x1e4ec, 0x1e4ef}, {0x1e5ee, 0x1e5ef}, {0x1e6c0, 0x1e6ff},
    {0x1f16c, 0x1f16c}, {0x1fbf0, 0x1fbf9},
};

/* Ranges in which every character is its own NFC, starts a sequence and is never the second of a composition: most text
 * in most scripts needs no more than this look. Sorted, disjoint. */
static const uint32_t plain_nfc[][2] = {
    {0x80, 0x2ff},    {0x400, 0x482},   {0x48a, 0x52f},   {0x5d0, 0x5ea},     {0x621, 0x64a},
    {0xe01, 0xe30},   {0x2010, 0x2027}, {0x2030, 0x2044}, {0x3000, 0x3029},   {0x3030, 0x3098},
    {0x30a0, 0x9fff}, {0xac00, 0xd7a3}, {0xff00, 0xffef}, {0x1f000, 0x1faff}, {0x20000, 0x2a6df},
};

static bool in_ranges(const uint32_t (*ranges)[2], size_t count, uint32_t code) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (ranges[middle][1] < code)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && ranges[low][0] <= code;
}

static bool is_inert(uint32_t code) {
    return in_ranges(inert, sizeof inert / sizeof *inert, code);
}

static bool is_plain_nfc(uint32_t code) {
    return in_ranges(plain_nfc, sizeof plain_nfc / sizeof *plain_nfc, code);
}

static bool codes_grow(struct codes *codes, size_t capacity) {
    utf8proc_int32_t *data = capacity > SIZE_MAX / sizeof *data ? NULL : realloc(codes->data, capacity * sizeof *data);
    if (!data)
        return false;
    codes->data = data;
    codes->capacity = capacity;
    return true;
}

/* Appends the full decomposition of one character. */
static bool decompose(struct codes *codes, uint32_t code, utf8proc_option_t options) {
    enum { LONGEST = 18 }; /* U+FDFA, the longest decomposition there is */
    if (codes->capacity - codes->count < LONGEST && !codes_grow(codes, 2 * codes->capacity + 64))
        return false;
    utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)code, codes->data + codes->count,
                                                 (utf8proc_ssize_t)(codes->capacity - codes->count), options, NULL);
    if (n < 0 || (size_t)n > codes->capacity - codes->count) { /* utf8proc knows a longer one: keep the character */
        codes->data[codes->count] = (utf8proc_int32_t)code;
        n = 1;
    }
    codes->count += (size_t)n;
    return true;
}

static unsigned combining_class(utf8proc_int32_t code) {
    return (unsigned)utf8proc_get_property(code)->combining_class & 0xff;
}

/* Sorts a run of marks by combining class, stably, by counting: a run may be as long as the text. */
static bool sort_marks(utf8proc_int32_t *marks, size_t count) {
    size_t start[257] = {0};
    utf8proc_int32_t *sorted = malloc(count * sizeof *sorted);
    if (!sorted)
        return false;
    for (size_t i = 0; i < count; i++)
        start[combining_class(marks[i]) + 1]++;
    for (size_t i = 1; i < 257; i++)
        start[i] += start[i - 1];
    for (size_t i = 0; i < count; i++)
        sorted[start[combining_class(marks[i])]++] = marks[i];
    memcpy(marks, sorted, count * sizeof *sorted);
    free(sorted);
    return true;
}

/* Canonical ordering (UAX 15, D109). utf8proc's own is quadratic in the length of a run. */
static bool reorder(struct codes *codes) {
    for (size_t i = 0; i < codes->count;) {
        unsigned last = combining_class(codes->data[i]);
        if (last == 0) {
            i++;
            continue;
        }
        size_t end = i + 1;
        bool sorted = true;
        for (; end < codes->count; end++) {
            unsigned next = combining_class(codes->data[end]);
            if (next == 0)
                break;
            sorted = sorted && next >= last;
            last = next;
        }
        if (!sorted && !sort_marks(codes->data + i, end - i))
            return false;
        i = end;
    }
    return true;
}

/* Orders, composes where the form asks for it, appends, and empties `codes`. */
static bool flush(struct codes *codes, bool compose, struct text_buffer *out) {
    if (!reorder(codes))
        return false;
    size_t count = codes->count;
    codes->count = 0;
    if (compose && count > 1) {
        utf8proc_ssize_t n =
            utf8proc_normalize_utf32(codes->data, (utf8proc_ssize_t)count, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
        count = n < 0 ? count : (size_t)n;
    }
    for (size_t i = 0; i < count; i++)
        if (!unicode_append(out, (uint32_t)codes->data[i]))
            return false;
    return true;
}

/* Normalizes a stretch that begins at a boundary and ends at one. */
static bool normalize_stretch(unicode_form form, const char *text, const char *end, struct codes *codes,
                              struct text_buffer *out) {
    bool compose = form == UNICODE_NFC || form == UNICODE_NFKC;
    utf8proc_option_t options = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
    if (form == UNICODE_NFKC || form == UNICODE_NFKD)
        options |= UTF8PROC_COMPAT;
    for (; text < end; text += unicode_length(*text)) {
        uint32_t code = unicode_get(text);
        if (is_inert(code)) {
            if (!flush(codes, compose, out) || !unicode_append(out, code))
                return false;
        } else if (!decompose(codes, code, options)) {
            return false;
        }
    }
    return flush(codes, compose, out);
}

/* End of the stretch of characters outside ASCII at `text`; *io_plain says whether all are plain under NFC. */
static const char *stretch_end(const char *text, const char *end, bool *io_plain) {
    while (text < end && (unsigned char)*text >= 0x80) {
        *io_plain = *io_plain && is_plain_nfc(unicode_get(text));
        text += unicode_length(*text);
    }
    return text;
}

bool unicode_normalize(unicode_form form, const char *text, size_t bytes, struct text_buffer *out) {
    struct codes codes = {0};
    const char *end = text + bytes;
    bool ok = true;
    while (ok && text < end) {
        const char *ascii = text;
        while (text < end && (unsigned char)*text < 0x80)
            text++;
        bool plain = form == UNICODE_NFC;
        const char *stop = stretch_end(text, end, &plain);
        if (plain || stop == text) {
            ok = text_buffer_append(out, ascii, (size_t)(stop - ascii));
        } else {
            /* What follows may compose with the last ASCII character and reaches no further back. */
            const char *start = text > ascii ? text - 1 : text;
            ok = text_buffer_append(out, ascii, (size_t)(start - ascii)) &&
                 normalize_stretch(form, start, stop, &codes, out);
        }
        text = stop;
    }
    free(codes.data);
    return ok;
}
