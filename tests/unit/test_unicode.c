/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8 and Unicode: validation, repair of streams, normalization's fast path against its slow one. */
#include <criterion/criterion.h>
#include <string.h>

#include "unicode_internal.h"

static void expect_valid(const char *text, size_t bytes, size_t offset) {
    size_t got = bytes;
    bool valid = unicode_valid(text, bytes, &got);
    cr_expect_eq(valid, offset == bytes, "%zu bytes", bytes);
    cr_expect_eq(got, offset, "fails at %zu, expected %zu", got, offset);
}

Test(unicode, valid) {
    expect_valid("", 0, 0);
    expect_valid("plain ASCII that is longer than eight bytes", 43, 43);
    expect_valid("\xc3\xa9\xe6\xbc\xa2\xf0\x9f\x91\x8d", 9, 9);
    expect_valid("\xf4\x8f\xbf\xbf", 4, 4);
    expect_valid("12345678\x80", 9, 8);
    expect_valid("a\xc0\x80", 3, 1);         /* overlong */
    expect_valid("a\xe0\x9f\xbf", 4, 1);     /* overlong */
    expect_valid("a\xf0\x8f\xbf\xbf", 5, 1); /* overlong */
    expect_valid("a\xed\xa0\x80", 4, 1);     /* surrogate */
    expect_valid("a\xf4\x90\x80\x80", 5, 1); /* past U+10FFFF */
    expect_valid("a\xf5\x80\x80\x80", 5, 1);
    expect_valid("ab\xe6\xbc", 4, 2); /* cut */
    expect_valid("ab\xe6(\xa2", 5, 2);
}

Test(unicode, every_character_there_and_back) {
    char text[UNICODE_UTF8_MAX];
    size_t offset;
    for (uint32_t code = 0; code < 0x110000; code++) {
        if (code >= 0xd800 && code < 0xe000)
            continue;
        unsigned n = unicode_put(code, text);
        cr_assert(unicode_valid(text, n, &offset) && unicode_length(*text) == n && unicode_get(text) == code, "U+%04X",
                  code);
        cr_assert_eq(unicode_before(text, text + n), text);
    }
}

/* As WHATWG's decoder and Rust's from_utf8_lossy: one U+FFFD for each maximal part. */
static void expect_repaired(const char *text, size_t bytes, const char *expected) {
    for (size_t cut = 0; cut <= bytes; cut++) {
        struct unicode_repair repair = {0};
        struct text_buffer out = {0};
        size_t offset;
        cr_assert(unicode_repair_push(&repair, text, cut, &out));
        cr_expect(unicode_valid(out.data ? out.data : "", out.bytes, &offset), "half a character at %zu", cut);
        cr_assert(unicode_repair_push(&repair, text + cut, bytes - cut, &out) && unicode_repair_finish(&repair, &out));
        cr_expect(out.bytes == strlen(expected) && memcmp(out.data, expected, out.bytes) == 0, "cut at %zu: \"%.*s\"",
                  cut, (int)out.bytes, out.data);
        text_buffer_done(&out);
    }
}

#define FFFD "\xef\xbf\xbd"
Test(unicode, repair) {
    expect_repaired("a\xe6\xbc\xa2"
                    "b",
                    5,
                    "a\xe6\xbc\xa2"
                    "b");
    expect_repaired("\xe6\xbc", 2, FFFD);
    expect_repaired("\xe6\xbc"
                    "a",
                    3, FFFD "a");
    expect_repaired("\xc0\x80", 2, FFFD FFFD);
    expect_repaired("\xed\xa0\x80", 3, FFFD FFFD FFFD);
    expect_repaired("\xf0\x9f\x91\xf0\x9f\x91\x8d", 7, FFFD "\xf0\x9f\x91\x8d");
    expect_repaired("\xf4\x90\x80\x80", 4, FFFD FFFD FFFD FFFD);
    expect_repaired("\xff\xfe", 2, FFFD FFFD);
}

static bool normalized_is(unicode_form form, const char *text, size_t bytes, const char *expected,
                          size_t expected_bytes) {
    struct text_buffer out = {0};
    cr_assert(unicode_normalize(form, text, bytes, &out));
    bool equal = out.bytes == expected_bytes && memcmp(out.data ? out.data : "", expected, out.bytes) == 0;
    text_buffer_done(&out);
    return equal;
}

/* U+07FD stays as it is and keeps its neighbours apart, and it is in no range of plain characters: behind it the full
 * algorithm runs. */
#define INERT "\xdf\xbd"

Test(unicode, plain_characters_are_their_own_nfc) {
    for (uint32_t code = 1; code < 0x110000; code++) {
        char text[2 + UNICODE_UTF8_MAX] = INERT;
        struct text_buffer quick = {0};
        if (code >= 0xd800 && code < 0xe000)
            continue;
        unsigned n = unicode_put(code, text + 2);
        cr_assert(unicode_normalize(UNICODE_NFC, text + 2, n, &quick));
        char expected[64] = INERT;
        cr_assert_lt(quick.bytes, sizeof expected - 2);
        memcpy(expected + 2, quick.data, quick.bytes);
        cr_expect(normalized_is(UNICODE_NFC, text, 2 + n, expected, 2 + quick.bytes), "U+%04X", code);
        text_buffer_done(&quick);
    }
}

/* No two characters that compose are plain: the parts of every composition compose on the fast path too. */
Test(unicode, compositions_are_found) {
    size_t compositions = 0;
    for (uint32_t code = 0xa0; code < 0x30000; code++) {
        char text[UNICODE_UTF8_MAX];
        struct text_buffer parts = {0}, whole = {0};
        if (code >= 0xd800 && code < 0xe000)
            continue;
        unsigned n = unicode_put(code, text);
        cr_assert(unicode_normalize(UNICODE_NFD, text, n, &parts) && unicode_normalize(UNICODE_NFC, text, n, &whole));
        if (parts.bytes != n || memcmp(parts.data, text, n) != 0) {
            compositions++;
            cr_expect(normalized_is(UNICODE_NFC, parts.data, parts.bytes, whole.data, whole.bytes), "U+%04X", code);
        }
        text_buffer_done(&parts);
        text_buffer_done(&whole);
    }
    cr_expect_gt(compositions, 13000);
}

Test(unicode, marks_are_ordered) {
    /* Classes 230, 220, 1 and 230 again, after a letter: sorted, equals in their order. */
    static const char text[] = "a\xcc\x81\xcc\xa3\xcc\xb4\xcc\x80", expected[] = "a\xcc\xb4\xcc\xa3\xcc\x81\xcc\x80";
    cr_expect(normalized_is(UNICODE_NFD, text, sizeof text - 1, expected, sizeof expected - 1));
    cr_expect(normalized_is(UNICODE_NFD, "\xef\xac\x81", 3, "\xef\xac\x81", 3));
    cr_expect(normalized_is(UNICODE_NFKD, "\xef\xac\x81", 3, "fi", 2));
    cr_expect(normalized_is(UNICODE_NFKC, "\xef\xbc\xa1\xcc\x8a", 5, "\xc3\x85", 2));
}

Test(unicode, properties) {
    cr_expect(unicode_is_space(0x85) && unicode_is_space(0x3000) && unicode_is_space('\t'));
    cr_expect_not(unicode_is_space(0x180e) || unicode_is_space(0x200b) || unicode_is_space(0xfeff));
    cr_expect(unicode_is_word('_') && unicode_is_word(0xe9) && unicode_is_word(0x301) && unicode_is_word(0x1e4d0));
    cr_expect(unicode_is_word(0x24b6) && unicode_is_word(0x200d) && unicode_is_word(0x661));
    cr_expect_not(unicode_is_word('-') || unicode_is_word(0xb2) || unicode_is_word(0x1fac6) || unicode_is_word(0x378));
    struct text_buffer out = {0};
    cr_assert(unicode_append_lower(&out, 0x130) && unicode_append_lower(&out, 0x3a3) &&
              unicode_append_lower(&out, 0x10d50) && unicode_append_lower(&out, '1'));
    cr_expect(out.bytes == 10 && memcmp(out.data,
                                        "i\xcc\x87\xcf\x83\xf0\x90\xb5\xb0"
                                        "1",
                                        10) == 0);
    text_buffer_done(&out);
}
