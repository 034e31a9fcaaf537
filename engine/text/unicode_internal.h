/* SPDX-License-Identifier: Apache-2.0 */
/* Private to engine/text: UTF-8, normalization forms and the character properties that tokenizers ask for. */
#ifndef UNICODE_INTERNAL_H
#define UNICODE_INTERNAL_H

#include "text_internal.h"

/* ---- UTF-8 ------------------------------------------------------------------------------------------------------- */

enum { UNICODE_UTF8_MAX = 4 };

/* Whether [text, text + bytes) is well-formed UTF-8 (Unicode table 3-7); if not, *ret_offset is where it first
 * fails. */
bool unicode_valid(const char *text, size_t bytes, size_t *ret_offset);

/* Length of the character that starts with `lead`, of well-formed text. */
static inline unsigned unicode_length(char lead) {
    unsigned char c = (unsigned char)lead;
    return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

/* Code point at `text`, which is well-formed. */
static inline uint32_t unicode_get(const char *text) {
    const unsigned char *c = (const unsigned char *)text;
    if (c[0] < 0x80)
        return c[0];
    if (c[0] < 0xe0)
        return (uint32_t)(c[0] & 0x1f) << 6 | (c[1] & 0x3f);
    if (c[0] < 0xf0)
        return (uint32_t)(c[0] & 0x0f) << 12 | (uint32_t)(c[1] & 0x3f) << 6 | (c[2] & 0x3f);
    return (uint32_t)(c[0] & 0x07) << 18 | (uint32_t)(c[1] & 0x3f) << 12 | (uint32_t)(c[2] & 0x3f) << 6 | (c[3] & 0x3f);
}

/* Start of the character that ends at `end`; begin < end. */
static inline const char *unicode_before(const char *begin, const char *end) {
    do
        end--;
    while (end > begin && ((unsigned char)*end & 0xc0) == 0x80);
    return end;
}

/* Writes a code point (not a surrogate, below 0x110000); returns its length. */
unsigned unicode_put(uint32_t code, char ret_text[UNICODE_UTF8_MAX]);
bool unicode_append(struct text_buffer *buffer, uint32_t code); /* false: no memory */

/* Repairs a stream of bytes: each maximal part of an ill-formed sequence becomes one U+FFFD, as in Rust's
 * String::from_utf8_lossy and the WHATWG decoder. A zeroed struct is at the start of a stream. */
struct unicode_repair {
    char held[UNICODE_UTF8_MAX];
    unsigned have, need;
};
bool unicode_repair_push(struct unicode_repair *repair, const char *bytes, size_t count, struct text_buffer *out);
bool unicode_repair_finish(struct unicode_repair *repair, struct text_buffer *out); /* the struct is then as new */

/* ---- normalization ----------------------------------------------------------------------------------------------- */

typedef enum unicode_form { UNICODE_NFC, UNICODE_NFD, UNICODE_NFKC, UNICODE_NFKD } unicode_form;

/* Appends the normalization form of well-formed text, by Unicode 9, which is what the reference tokenizers know: later
 * characters are left as they are. Linear up to sorting runs of marks. False: no memory. */
bool unicode_normalize(unicode_form form, const char *text, size_t bytes, struct text_buffer *out);

/* ---- properties (Unicode 16, as the reference's) ----------------------------------------------------------------- */

bool unicode_is_space(uint32_t code); /* White_Space */
bool unicode_is_word(uint32_t code);  /* \w of UTS 18: Alphabetic, marks, decimal digits, connectors, joiners */
/* Appends the lower case of a code point by itself (full mapping, no context). False: no memory. */
bool unicode_append_lower(struct text_buffer *out, uint32_t code);

/* General categories as bits, in the order of the table below. */
typedef enum unicode_category {
    UNICODE_LU,
    UNICODE_LL,
    UNICODE_LM,
    UNICODE_LO,
    UNICODE_MN,
    UNICODE_MC,
    UNICODE_ND,
    UNICODE_NO,
    UNICODE_PD,
    UNICODE_PO,
    UNICODE_SM,
    UNICODE_SO,
    UNICODE_CF
} unicode_category;

/* What Unicode 15 to 16 added to Unicode 14: the reference knows it, PCRE2 10.42 does not. Sorted, disjoint. */
struct unicode_range {
    uint32_t first, last;
    unicode_category category;
};
extern const struct unicode_range unicode_new[];
extern const size_t unicode_new_count;

#endif
