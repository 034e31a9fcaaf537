/* SPDX-License-Identifier: Apache-2.0 */
/* Methods of text that look at or map its characters, and the table of all str methods. */
#include <string.h>

#include "template_text_internal.h"

/* ---- case -------------------------------------------------------------------------------------------------------- */

static bool text_upper(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)call;
    return template_map_case(s, self.string, TCASE_UPPER, ret);
}
static bool text_lower(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)call;
    return template_map_case(s, self.string, TCASE_LOWER, ret);
}
static bool text_title(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)call;
    return template_map_case(s, self.string, TCASE_TITLE, ret);
}

bool template_text_capital(struct tstate *s, const struct tstring *string, struct tvalue *ret) {
    struct tbuilder b = {0};
    struct tvalue tail, rest;
    uint32_t codes[TEMPLATE_CASE_CODES];
    size_t step = 0;
    unsigned count = string->bytes ? template_char_map(template_utf8_at(string->data, &step), TCASE_TITLE, codes) : 0;
    for (unsigned i = 0; i < count; i++)
        if (!template_put_code(s, &b, codes[i]))
            return false;
    if (!template_string_cut(s, string, step, string->bytes, &tail) ||
        !template_map_case(s, tail.string, TCASE_LOWER, &rest) ||
        !template_put(s, &b, rest.string->data, rest.string->bytes) || !template_built(s, &b, ret))
        return false;
    template_mark(*ret, string->markup);
    return true;
}

static bool text_capitalize(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)call;
    return template_text_capital(s, self.string, ret);
}

static bool text_swapcase(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)call;
    struct tbuilder b = {0};
    for (size_t i = 0, step; i < self.string->bytes; i += step) {
        uint32_t code = template_utf8_at(self.string->data + i, &step), codes[TEMPLATE_CASE_CODES] = {code};
        enum tcase from = template_char_case(code);
        unsigned count = from == TCASE_UPPER   ? template_char_map(code, TCASE_LOWER, codes)
                         : from == TCASE_LOWER ? template_char_map(code, TCASE_UPPER, codes)
                                               : 1;
        for (unsigned k = 0; k < count; k++)
            if (!template_put_code(s, &b, codes[k]))
                return false;
    }
    return template_built(s, &b, ret);
}

static bool text_casefold(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)call;
    struct tbuilder b = {0};
    for (size_t i = 0, step; i < self.string->bytes; i += step) {
        uint32_t codes[TEMPLATE_CASE_CODES];
        unsigned count = template_char_fold(template_utf8_at(self.string->data + i, &step), codes);
        for (unsigned k = 0; k < count; k++)
            if (!template_put_code(s, &b, codes[k]))
                return false;
    }
    return template_built(s, &b, ret);
}

/* ---- classes ----------------------------------------------------------------------------------------------------- */

/* Whether every character passes; the empty string answers `empty`. */
static bool all_chars(struct tstate *s, const struct tstring *string, bool (*passes)(uint32_t), bool empty,
                      struct tvalue *ret) {
    bool all = string->bytes > 0 || empty;
    for (size_t i = 0, step; all && i < string->bytes; i += step)
        all = passes(template_utf8_at(string->data + i, &step));
    *ret = template_bool(all);
    return template_work_bytes(s, string->bytes);
}

static bool is_alnum(uint32_t code) {
    return template_char_alpha(code) || template_char_decimal(code) || template_char_digit(code) ||
           template_char_numeric(code);
}
static bool is_ascii(uint32_t code) {
    return code < 0x80;
}

#define TEXT_CLASS(name, passes, empty)                                                                                \
    static bool name(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {             \
        (void)call;                                                                                                    \
        return all_chars(s, self.string, passes, empty, ret);                                                          \
    }
TEXT_CLASS(text_isalnum, is_alnum, false)
TEXT_CLASS(text_isalpha, template_char_alpha, false)
TEXT_CLASS(text_isascii, is_ascii, true)
TEXT_CLASS(text_isdecimal, template_char_decimal, false)
TEXT_CLASS(text_isdigit, template_char_digit, false)
TEXT_CLASS(text_isnumeric, template_char_numeric, false)
TEXT_CLASS(text_isprintable, template_char_printable, true)
TEXT_CLASS(text_isspace, template_char_space, false)
#undef TEXT_CLASS

static bool text_isidentifier(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)call;
    size_t step;
    if (!all_chars(s, self.string, template_char_word, false, ret))
        return false;
    *ret = template_bool(ret->truth && !template_char_numeric(template_utf8_at(self.string->data, &step)));
    return true;
}

static bool has_case(struct tstate *s, const struct tstring *string, enum tcase wanted, struct tvalue *ret) {
    bool cased = false, all = true;
    for (size_t i = 0, step; all && i < string->bytes; i += step) {
        enum tcase found = template_char_case(template_utf8_at(string->data + i, &step));
        cased |= found != TCASE_NONE;
        all = found == TCASE_NONE || found == wanted;
    }
    *ret = template_bool(cased && all);
    return template_work_bytes(s, string->bytes);
}

static bool text_islower(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)call;
    return has_case(s, self.string, TCASE_LOWER, ret);
}
static bool text_isupper(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)call;
    return has_case(s, self.string, TCASE_UPPER, ret);
}

static bool text_istitle(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)call;
    bool cased = false, after_cased = false, title = true;
    for (size_t i = 0, step; title && i < self.string->bytes; i += step) {
        enum tcase found = template_char_case(template_utf8_at(self.string->data + i, &step));
        if (found != TCASE_NONE)
            title = after_cased == (found == TCASE_LOWER);
        after_cased = found != TCASE_NONE;
        cased |= after_cased;
    }
    *ret = template_bool(cased && title);
    return template_work_bytes(s, self.string->bytes);
}

/* ---- padding ----------------------------------------------------------------------------------------------------- */

bool template_text_pad(struct tstate *s, const struct tstring *string, int64_t width, char align, uint32_t fill,
                       struct tvalue *ret) {
    struct tbuilder b = {0};
    size_t missing = width > 0 && (uint64_t)width > string->chars ? (size_t)width - string->chars : 0;
    /* str.center leaves the odd blank on the left when the width is odd. */
    size_t before = align == '<' ? 0 : align == '>' ? missing : missing / 2 + (missing & (size_t)width & 1);
    if (!template_put_repeated(s, &b, fill, before) || !template_put(s, &b, string->data, string->bytes) ||
        !template_put_repeated(s, &b, fill, missing - before) || !template_built(s, &b, ret))
        return false;
    template_mark(*ret, string->markup);
    return true;
}

static bool text_justify(struct tstate *s, struct tvalue self, const struct tcall *call, char align,
                         struct tvalue *ret) {
    int64_t width;
    uint32_t fill = ' ';
    size_t step;
    if (!template_arg_int(s, call->args[0], 0, &width))
        return false;
    if (!template_is_missing(call->args[1])) {
        if (call->args[1].kind != TV_STRING || call->args[1].string->chars != 1)
            return template_fail(s, "TypeError", "The fill character must be exactly one character long");
        fill = template_utf8_at(call->args[1].string->data, &step);
    }
    return template_text_pad(s, self.string, width, align, fill, ret);
}

static bool text_ljust(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return text_justify(s, self, call, '<', ret);
}
static bool text_rjust(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return text_justify(s, self, call, '>', ret);
}
static bool text_center(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return text_justify(s, self, call, '^', ret);
}

static bool text_zfill(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    const struct tstring *string = self.string;
    struct tbuilder b = {0};
    int64_t width;
    if (!template_arg_int(s, call->args[0], 0, &width))
        return false;
    size_t missing = width > 0 && (uint64_t)width > string->chars ? (size_t)width - string->chars : 0;
    size_t sign = string->bytes && (string->data[0] == '-' || string->data[0] == '+');
    return template_put(s, &b, string->data, sign) && template_put_repeated(s, &b, '0', missing) &&
           template_put(s, &b, string->data + sign, string->bytes - sign) && template_built(s, &b, ret);
}

static bool text_expandtabs(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    struct tbuilder b = {0};
    int64_t size, column = 0;
    if (!template_arg_int(s, call->args[0], 8, &size))
        return false;
    for (size_t i = 0, step; i < self.string->bytes; i += step) {
        uint32_t code = template_utf8_at(self.string->data + i, &step);
        int64_t blanks = code == '\t' && size > 0 ? size - column % size : 0;
        bool ok = code == '\t' ? template_put_repeated(s, &b, ' ', (size_t)blanks)
                               : template_put(s, &b, self.string->data + i, step);
        if (!ok)
            return false;
        column = code == '\n' || code == '\r' ? 0 : code == '\t' ? column + blanks : column + 1;
    }
    return template_built(s, &b, ret);
}

/* ---- format ------------------------------------------------------------------------------------------------------ */

static bool text_format(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return template_format_braces(s, self.string, call, ret);
}

static bool text_format_map(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    if (call->args[0].kind != TV_DICT)
        return template_fail(s, "TypeError", "format_map() needs a mapping, not %s", template_type_name(call->args[0]));
    struct tcall named = {.keywords = call->args[0].dict};
    return template_format_braces(s, self.string, &named, ret);
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

const struct tbuiltin template_string_methods[] = {
    {"strip", "/chars", 0, template_text_strip},
    {"lstrip", "/chars", 0, template_text_lstrip},
    {"rstrip", "/chars", 0, template_text_rstrip},
    {"split", "sep,maxsplit", 0, template_text_split},
    {"rsplit", "sep,maxsplit", 0, template_text_rsplit},
    {"splitlines", "keepends", 0, template_text_splitlines},
    {"startswith", "/prefix,start,end", 1, template_text_startswith},
    {"endswith", "/suffix,start,end", 1, template_text_endswith},
    {"replace", "/old,new,count", 2, template_text_replace},
    {"join", "/iterable", 1, template_text_join},
    {"upper", "/", 0, text_upper},
    {"lower", "/", 0, text_lower},
    {"title", "/", 0, text_title},
    {"capitalize", "/", 0, text_capitalize},
    {"swapcase", "/", 0, text_swapcase},
    {"casefold", "/", 0, text_casefold},
    {"find", "/sub,start,end", 1, template_text_find},
    {"rfind", "/sub,start,end", 1, template_text_rfind},
    {"index", "/sub,start,end", 1, template_text_index},
    {"rindex", "/sub,start,end", 1, template_text_rindex},
    {"count", "/sub,start,end", 1, template_text_count},
    {"format", NULL, 0, text_format},
    {"format_map", "/mapping", 1, text_format_map},
    {"partition", "/sep", 1, template_text_partition},
    {"rpartition", "/sep", 1, template_text_rpartition},
    {"removeprefix", "/prefix", 1, template_text_removeprefix},
    {"removesuffix", "/suffix", 1, template_text_removesuffix},
    {"ljust", "/width,fillchar", 1, text_ljust},
    {"rjust", "/width,fillchar", 1, text_rjust},
    {"center", "/width,fillchar", 1, text_center},
    {"zfill", "/width", 1, text_zfill},
    {"expandtabs", "tabsize", 0, text_expandtabs},
    {"isalnum", "/", 0, text_isalnum},
    {"isalpha", "/", 0, text_isalpha},
    {"isascii", "/", 0, text_isascii},
    {"isdecimal", "/", 0, text_isdecimal},
    {"isdigit", "/", 0, text_isdigit},
    {"isidentifier", "/", 0, text_isidentifier},
    {"islower", "/", 0, text_islower},
    {"isnumeric", "/", 0, text_isnumeric},
    {"isprintable", "/", 0, text_isprintable},
    {"isspace", "/", 0, text_isspace},
    {"istitle", "/", 0, text_istitle},
    {"isupper", "/", 0, text_isupper},
    {0},
};
