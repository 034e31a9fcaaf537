/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8: validation, writing, repair of byte streams; and the character properties that tokenizers ask for. */
#include "unicode_internal.h"

#include <utf8proc.h>

/* ---- UTF-8 ------------------------------------------------------------------------------------------------------- */

/* Bytes of the sequence that `lead` starts, 0 if it cannot start one. */
static unsigned lead_length(unsigned char lead) {
    if (lead < 0x80)
        return 1;
    return lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
}

/* Whether `c` may be the second byte after `lead`: no overlong forms, no surrogates, nothing past U+10FFFF. */
static bool second_fits(unsigned char lead, unsigned char c) {
    unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    return c >= low && c <= high;
}

static bool continues(unsigned char c) {
    return (c & 0xc0) == 0x80;
}

/* Length of the well-formed sequence at `text`, 0 if there is none. */
static unsigned sequence_length(const unsigned char *text, size_t bytes) {
    unsigned length = lead_length(text[0]);
    if (length < 2)
        return length;
    if (bytes < length || !second_fits(text[0], text[1]))
        return 0;
    for (unsigned i = 2; i < length; i++)
        if (!continues(text[i]))
            return 0;
    return length;
}

bool unicode_valid(const char *text, size_t bytes, size_t *ret_offset) {
    const unsigned char *c = (const unsigned char *)text;
    for (size_t at = 0; at < bytes;) {
        uint64_t eight;
        while (bytes - at >= sizeof eight) {
            memcpy(&eight, c + at, sizeof eight);
            if (eight & 0x8080808080808080u)
                break;
            at += sizeof eight;
        }
        if (at == bytes)
            break;
        unsigned length = sequence_length(c + at, bytes - at);
        if (length == 0) {
            *ret_offset = at;
            return false;
        }
        at += length;
    }
    return true;
}

unsigned unicode_put(uint32_t code, char ret_text[UNICODE_UTF8_MAX]) {
    if (code < 0x80) {
        ret_text[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        ret_text[0] = (char)(0xc0 | code >> 6);
        ret_text[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    if (code < 0x10000) {
        ret_text[0] = (char)(0xe0 | code >> 12);
        ret_text[1] = (char)(0x80 | (code >> 6 & 0x3f));
        ret_text[2] = (char)(0x80 | (code & 0x3f));
        return 3;
    }
    ret_text[0] = (char)(0xf0 | code >> 18);
    ret_text[1] = (char)(0x80 | (code >> 12 & 0x3f));
    ret_text[2] = (char)(0x80 | (code >> 6 & 0x3f));
    ret_text[3] = (char)(0x80 | (code & 0x3f));
    return 4;
}

bool unicode_append(struct text_buffer *buffer, uint32_t code) {
    char text[UNICODE_UTF8_MAX];
    return text_buffer_append(buffer, text, unicode_put(code, text));
}

static bool append_replacement(struct text_buffer *out) {
    return text_buffer_append(out, "\xef\xbf\xbd", 3);
}

/* Takes one byte at the start of a sequence. */
static bool repair_start(struct unicode_repair *repair, char byte, struct text_buffer *out) {
    unsigned length = lead_length((unsigned char)byte);
    if (length == 0)
        return append_replacement(out);
    if (length == 1)
        return text_buffer_append(out, &byte, 1);
    repair->held[0] = byte;
    repair->have = 1;
    repair->need = length;
    return true;
}

bool unicode_repair_push(struct unicode_repair *repair, const char *bytes, size_t count, struct text_buffer *out) {
    for (size_t i = 0; i < count; i++) {
        unsigned char c = (unsigned char)bytes[i];
        bool fits = repair->have == 1 ? second_fits((unsigned char)repair->held[0], c) : continues(c);
        if (repair->have && fits) {
            repair->held[repair->have++] = bytes[i];
            if (repair->have < repair->need)
                continue;
            repair->have = 0;
            if (!text_buffer_append(out, repair->held, repair->need))
                return false;
            continue;
        }
        if (!unicode_repair_finish(repair, out) || !repair_start(repair, bytes[i], out))
            return false;
    }
    return true;
}

bool unicode_repair_finish(struct unicode_repair *repair, struct text_buffer *out) {
    bool cut = repair->have > 0;
    repair->have = 0;
    return !cut || append_replacement(out);
}

/* ---- properties -------------------------------------------------------------------------------------------------- */

bool unicode_is_space(uint32_t code) {
    return (code >= 9 && code <= 13) || code == 0x20 || code == 0x85 || code == 0xa0 || code == 0x1680 ||
           (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 || code == 0x202f || code == 0x205f ||
           code == 0x3000;
}

/* The entry of unicode_new that holds `code`, or NULL. */
static const struct unicode_range *find_new(uint32_t code) {
    size_t low = 0, high = unicode_new_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (unicode_new[middle].last < code)
            low = middle + 1;
        else
            high = middle;
    }
    return low < unicode_new_count && unicode_new[low].first <= code ? &unicode_new[low] : NULL;
}

static bool is_word_of_new(unicode_category category) {
    return category <= UNICODE_ND; /* letters, marks, decimal digits stand first in the enumeration */
}

bool unicode_is_word(uint32_t code) {
    if (code < 0x80)
        return (code >= '0' && code <= '9') || (code >= 'A' && code <= 'Z') || code == '_' ||
               (code >= 'a' && code <= 'z');
    const struct unicode_range *new = find_new(code);
    if (new)
        return is_word_of_new(new->category);
    switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default: /* the joiners, and the symbols that are Alphabetic: circled and squared letters */
        return code == 0x200c || code == 0x200d || (code >= 0x24b6 && code <= 0x24e9) ||
               (code >= 0x1f130 && code <= 0x1f149) || (code >= 0x1f150 && code <= 0x1f169) ||
               (code >= 0x1f170 && code <= 0x1f189);
    }
}

/* Capitals that Unicode 14 to 17 added, which utf8proc 2.8 may not know, with the distance to their small letters. */
static const struct {
    uint32_t first, last;
    int32_t step;
} new_capitals[] = {
    {0x1c89, 0x1c89, 1},    {0xa7cb, 0xa7cb, 0x264 - 0xa7cb},
    {0xa7cc, 0xa7cc, 1},    {0xa7ce, 0xa7ce, 1},
    {0xa7d2, 0xa7d2, 1},    {0xa7d4, 0xa7d4, 1},
    {0xa7da, 0xa7da, 1},    {0xa7dc, 0xa7dc, 0x19b - 0xa7dc},
    {0x10d50, 0x10d65, 32}, {0x16ea0, 0x16eb8, 27},
};

bool unicode_append_lower(struct text_buffer *out, uint32_t code) {
    if (code == 0x130) /* the one character whose lower case is two: i and a combining dot above */
        return text_buffer_append(out, "i\xcc\x87", 3);
    for (size_t i = 0; code >= 0x1c89 && i < sizeof new_capitals / sizeof *new_capitals; i++)
        if (code >= new_capitals[i].first && code <= new_capitals[i].last)
            return unicode_append(out, (uint32_t)((int32_t)code + new_capitals[i].step));
    return unicode_append(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)code));
}
