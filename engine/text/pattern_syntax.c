/* SPDX-License-Identifier: Apache-2.0 */
/* Regular expressions from Oniguruma's syntax (as Ruby sets it) to PCRE2's: structure, groups, repetition, anchors. */
#include "pattern_internal.h"

#include <stdio.h>

enum { DEPTH_MAX = 100, REPEAT_MAX = 65535 };

static bool alternation(struct pattern_syntax *syntax);

bool pattern_fail(struct pattern_syntax *syntax, const char *problem) {
    if (!syntax->problem)
        syntax->problem = problem;
    return false;
}

bool pattern_put(struct pattern_syntax *syntax, const char *text) {
    return text_buffer_append(&syntax->out, text, strlen(text)) || pattern_fail(syntax, "");
}

bool pattern_append_code(struct text_buffer *out, uint32_t code) {
    char text[16];
    bool plain = (code >= '0' && code <= '9') || (code >= 'A' && code <= 'Z') || (code >= 'a' && code <= 'z');
    int n = snprintf(text, sizeof text, plain ? "%c" : "\\x{%x}", (unsigned)code);
    return text_buffer_append(out, text, (size_t)n);
}

static bool put_code(struct pattern_syntax *syntax, uint32_t code) {
    return pattern_append_code(&syntax->out, code) || pattern_fail(syntax, "");
}

static bool next_is(const struct pattern_syntax *syntax, const char *text) {
    size_t n = strlen(text);
    return (size_t)(syntax->end - syntax->at) >= n && memcmp(syntax->at, text, n) == 0;
}

static bool take(struct pattern_syntax *syntax, const char *text) {
    if (!next_is(syntax, text))
        return false;
    syntax->at += strlen(text);
    return true;
}

/* ---- escapes ----------------------------------------------------------------------------------------------------- */

static int digit_value(char c, unsigned base) {
    int value = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : 99;
    return value < (int)base ? value : -1;
}

/* Reads up to `most` digits; how many there were. */
static unsigned read_digits(struct pattern_syntax *syntax, unsigned base, unsigned most, uint32_t *ret_value) {
    unsigned n = 0;
    uint32_t value = 0;
    for (; n < most && syntax->at < syntax->end && digit_value(*syntax->at, base) >= 0; n++)
        value = value * base + (uint32_t)digit_value(*syntax->at++, base);
    *ret_value = value;
    return n;
}

/* \xHH, \x{H...}, \uHHHH; `at` is behind the letter. */
static bool hexadecimal(struct pattern_syntax *syntax, char letter, uint32_t *ret_code) {
    bool braces = letter == 'x' && take(syntax, "{");
    unsigned n = read_digits(syntax, 16, braces ? 8 : letter == 'u' ? 4 : 2, ret_code);
    if (n == 0 || (letter == 'u' && n != 4) || (braces && !take(syntax, "}")))
        return pattern_fail(syntax, "incomplete hexadecimal escape");
    if (*ret_code > 0x10ffff || (*ret_code >= 0xd800 && *ret_code < 0xe000) ||
        (letter == 'x' && !braces && *ret_code > 0x7f))
        return pattern_fail(syntax, "escape is no character");
    return true;
}

bool pattern_escaped_code(struct pattern_syntax *syntax, uint32_t *ret_code, bool *ret_taken) {
    static const char letters[] = "tnrfvae", codes[] = "\t\n\r\f\v\a\x1b";
    char c = *syntax->at;
    const char *simple = c ? strchr(letters, c) : NULL;
    *ret_taken = true;
    if (simple) {
        syntax->at++;
        *ret_code = (uint32_t)codes[simple - letters];
        return true;
    }
    if (c == 'x' || c == 'u') {
        syntax->at++;
        return hexadecimal(syntax, c, ret_code);
    }
    if (c == '0') {
        read_digits(syntax, 8, 3, ret_code);
        return true;
    }
    if ((c >= '1' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')) {
        *ret_taken = false;
        return true;
    }
    *ret_code = unicode_get(syntax->at);
    syntax->at += unicode_length(*syntax->at);
    return true;
}

/* \b and \B, spelt out with the set of word characters. */
static bool word_boundary(struct pattern_syntax *syntax, bool negated) {
    static const char *const plain[] = {"(?:(?<=", ")(?!", ")|(?<!", ")(?=", "))"};
    static const char *const inverse[] = {"(?:(?<=", ")(?=", ")|(?<!", ")(?!", "))"};
    const char *const *parts = negated ? inverse : plain;
    for (int i = 0; i < 5; i++)
        if (!pattern_put(syntax, parts[i]) || (i < 4 && !pattern_class_word(&syntax->out)))
            return pattern_fail(syntax, "");
    return true;
}

/* Escapes outside sets that are neither a character nor a set. */
static bool special_escape(struct pattern_syntax *syntax, char letter) {
    switch (letter) {
    case 'A':
        return pattern_put(syntax, "\\A");
    case 'z':
        return pattern_put(syntax, "\\z");
    case 'Z':
        return pattern_put(syntax, "(?=\\n?\\z)");
    case 'G':
        return pattern_put(syntax, "\\G");
    case 'R':
        return pattern_put(syntax, "(?>\\r\\n|[\\n-\\r\\x{85}\\x{2028}\\x{2029}])");
    case 'N':
        return pattern_put(syntax, "[^\\n]");
    case 'O':
        return pattern_put(syntax, "(?s:.)");
    case 'b':
    case 'B':
        return word_boundary(syntax, letter == 'B');
    default:
        return pattern_fail(syntax, "unsupported escape");
    }
}

static bool escape(struct pattern_syntax *syntax) {
    if (syntax->at == syntax->end)
        return pattern_fail(syntax, "escape without a character");
    bool taken;
    uint32_t code;
    if (!pattern_escaped_code(syntax, &code, &taken))
        return false;
    if (taken)
        return put_code(syntax, code);
    char letter = *syntax->at++;
    if (letter == 'p' || letter == 'P') {
        if (next_is(syntax, "{"))
            return pattern_class_property(syntax, letter == 'P');
        return put_code(syntax, (uint32_t)letter); /* without braces the letter means itself */
    }
    if (!pattern_class_escape(syntax, letter, &taken))
        return false;
    return taken || special_escape(syntax, letter);
}

/* ---- groups ------------------------------------------------------------------------------------------------------ */

static bool close_group(struct pattern_syntax *syntax) {
    if (!take(syntax, ")"))
        return pattern_fail(syntax, "group without an end");
    return pattern_put(syntax, ")");
}

static bool group_body(struct pattern_syntax *syntax, const char *open) {
    bool ignore_case = syntax->ignore_case;
    if (!pattern_put(syntax, open) || !alternation(syntax) || !close_group(syntax))
        return false;
    syntax->ignore_case = ignore_case;
    return true;
}

/* (?im-im:...) and (?im-im), of which the second reaches to the end of the enclosing group, alternatives included, as
 * in Ruby. Ruby's m is PCRE2's s. `at` is behind "(?". */
static bool option_group(struct pattern_syntax *syntax) {
    bool outer = syntax->ignore_case, on = true;
    char open[16] = "(?", *put = open + 2;
    while (syntax->at < syntax->end && *syntax->at != ':' && *syntax->at != ')') {
        char c = *syntax->at++;
        if (put == open + sizeof open - 2 || (c != 'i' && c != 'm' && c != '-'))
            return pattern_fail(syntax, "unsupported group option");
        if (c == 'i')
            syntax->ignore_case = on;
        on = on && c != '-';
        *put++ = c == 'm' ? 's' : c;
    }
    *put++ = ':';
    *put = 0;
    if (take(syntax, ":"))
        return pattern_put(syntax, open) && alternation(syntax) && close_group(syntax) &&
               (syntax->ignore_case = outer, true);
    if (!take(syntax, ")"))
        return pattern_fail(syntax, "group without an end");
    /* The body ends before the parenthesis of the enclosing group, which is left for it. */
    if (!pattern_put(syntax, open) || !alternation(syntax))
        return false;
    syntax->ignore_case = outer;
    return pattern_put(syntax, ")");
}

static bool skip_comment(struct pattern_syntax *syntax) {
    while (syntax->at < syntax->end && *syntax->at != ')')
        syntax->at++;
    return take(syntax, ")") || pattern_fail(syntax, "comment without an end");
}

/* A group; `at` is behind the opening parenthesis. Captures are not kept: nothing refers to them. */
static bool group(struct pattern_syntax *syntax) {
    static const char *const kinds[] = {"?:", "?=", "?!", "?<=", "?<!", "?>"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (take(syntax, kinds[i])) {
            char open[8];
            snprintf(open, sizeof open, "(%s", kinds[i]);
            return group_body(syntax, open);
        }
    if (take(syntax, "?#"))
        return skip_comment(syntax);
    if (take(syntax, "?<")) {
        while (syntax->at < syntax->end && *syntax->at != '>' && *syntax->at != ')')
            syntax->at++;
        return take(syntax, ">") ? group_body(syntax, "(?:") : pattern_fail(syntax, "group name without an end");
    }
    if (take(syntax, "?"))
        return option_group(syntax);
    return group_body(syntax, "(?:");
}

/* ---- repetition -------------------------------------------------------------------------------------------------- */

/* Reads {n}, {n,}, {,m} or {n,m}; false, with `at` unmoved, when the brace begins none of these and means itself. */
static bool interval(struct pattern_syntax *syntax, uint32_t *ret_low, uint32_t *ret_high, bool *ret_open) {
    const char *start = syntax->at++;
    unsigned low = read_digits(syntax, 10, 6, ret_low);
    *ret_high = *ret_low;
    *ret_open = false;
    if (take(syntax, ",")) {
        unsigned high = read_digits(syntax, 10, 6, ret_high);
        *ret_open = high == 0;
        low += high;
    }
    if (low && take(syntax, "}"))
        return true;
    syntax->at = start;
    return false;
}

/* Puts a non-capturing group around what was written since `from`. */
static bool wrap(struct pattern_syntax *syntax, size_t from) {
    struct text_buffer *out = &syntax->out;
    if (!text_buffer_reserve(out, 4))
        return pattern_fail(syntax, "");
    memmove(out->data + from + 3, out->data + from, out->bytes - from);
    memcpy(out->data + from, "(?:", 3);
    out->bytes += 3;
    return pattern_put(syntax, ")");
}

/* Writes an interval. Ruby knows no possessive intervals (a plus repeats the whole), and {n}? means "n times or not at
 * all". */
static bool put_interval(struct pattern_syntax *syntax, uint32_t low, uint32_t high, bool open, size_t from) {
    char text[40];
    bool exact = !open && low == high;
    if (low > REPEAT_MAX || high > REPEAT_MAX || (!open && low > high))
        return pattern_fail(syntax, "unsupported interval");
    if (open)
        snprintf(text, sizeof text, "{%u,}", (unsigned)low);
    else
        snprintf(text, sizeof text, "{%u,%u}", (unsigned)low, (unsigned)high);
    if (!pattern_put(syntax, text))
        return false;
    if (next_is(syntax, "?") && !exact) {
        syntax->at++;
        return pattern_put(syntax, "?");
    }
    return wrap(syntax, from);
}

/* Whatever repetitions follow the item written since `from`. */
static bool repetitions(struct pattern_syntax *syntax, size_t from) {
    for (bool first = true; syntax->at < syntax->end; first = false) {
        char c = *syntax->at;
        uint32_t low, high;
        bool open = false;
        if (c == '{' ? !interval(syntax, &low, &high, &open) : c != '*' && c != '+' && c != '?')
            break;
        if (!first && !wrap(syntax, from))
            return false;
        if (c == '{') {
            if (!put_interval(syntax, low, high, open, from))
                return false;
            continue;
        }
        char text[3] = {c};
        syntax->at++;
        if (next_is(syntax, "?") || next_is(syntax, "+"))
            text[1] = *syntax->at++;
        if (!pattern_put(syntax, text))
            return false;
    }
    return true;
}

/* ---- items ------------------------------------------------------------------------------------------------------- */

/* Without regard to case Oniguruma lets some letter pairs match one character (ss matches U+00DF); PCRE2 does not. */
static bool folds_together(const struct pattern_syntax *syntax, const char *item) {
    static const char *const pairs[] = {"ss", "ff", "fi", "fl", "st"};
    if (!syntax->ignore_case || syntax->end - item < 2)
        return false;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if ((item[0] | 0x20) == pairs[i][0] && (item[1] | 0x20) == pairs[i][1])
            return true;
    return false;
}

static bool item(struct pattern_syntax *syntax) {
    const char *start = syntax->at;
    char c = *syntax->at;
    if (folds_together(syntax, start))
        return pattern_fail(syntax, "letters that fold into one character are not supported without regard to case");
    switch (c) {
    case '\\':
        syntax->at++;
        return escape(syntax);
    case '[':
        return pattern_class(syntax);
    case '(':
        syntax->at++;
        return group(syntax);
    case '.':
        syntax->at++;
        return pattern_put(syntax, ".");
    case '^':
        syntax->at++;
        return pattern_put(syntax, "(?:\\A|(?<=\\n)(?!\\z))");
    case '$':
        syntax->at++;
        return pattern_put(syntax, "(?=\\n|\\z)");
    case '*':
    case '+':
    case '?':
        return pattern_fail(syntax, "nothing to repeat");
    default:
        syntax->at += unicode_length(c);
        return put_code(syntax, unicode_get(start));
    }
}

static bool alternation(struct pattern_syntax *syntax) {
    if (++syntax->depth > DEPTH_MAX)
        return pattern_fail(syntax, "groups nested too deeply");
    while (syntax->at < syntax->end && *syntax->at != ')') {
        size_t from = syntax->out.bytes;
        if (take(syntax, "|") ? !pattern_put(syntax, "|") : !item(syntax) || !repetitions(syntax, from))
            return false;
    }
    syntax->depth--;
    return true;
}

bool pattern_translate(struct pattern_syntax *syntax) {
    size_t offset;
    if (!unicode_valid(syntax->begin, (size_t)(syntax->end - syntax->begin), &offset)) {
        syntax->at = syntax->begin + offset;
        return pattern_fail(syntax, "invalid UTF-8");
    }
    if (!alternation(syntax))
        return false;
    if (syntax->at < syntax->end)
        return pattern_fail(syntax, "parenthesis without a beginning");
    return pattern_put(syntax, ""); /* PCRE2 wants a pointer, even to nothing */
}
