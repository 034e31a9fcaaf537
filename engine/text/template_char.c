/* SPDX-License-Identifier: Apache-2.0 */
/* Character classes and full case mapping of Unicode, as Python's str methods see them. */
#include <utf8proc.h>

#include "template_internal.h"

static utf8proc_category_t category(uint32_t code) {
    return utf8proc_category((utf8proc_int32_t)code);
}

bool template_char_space(uint32_t code) {
    if (code < 0x80)
        return code == ' ' || (code >= 9 && code <= 13) || (code >= 0x1c && code <= 0x1f);
    return code == 0x85 || code == 0xa0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 ||
           code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

bool template_char_line_break(uint32_t code) {
    return (code >= 10 && code <= 13) || (code >= 0x1c && code <= 0x1e) || code == 0x85 || code == 0x2028 ||
           code == 0x2029;
}

bool template_char_alpha(uint32_t code) {
    utf8proc_category_t c = category(code);
    return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
}

bool template_char_decimal(uint32_t code) {
    return category(code) == UTF8PROC_CATEGORY_ND;
}

bool template_char_digit(uint32_t code) {
    return template_char_decimal(code) || code == 0xb2 || code == 0xb3 || code == 0xb9 || code == 0x2070 ||
           (code >= 0x2074 && code <= 0x2079) || (code >= 0x2080 && code <= 0x2089) ||
           (code >= 0x2460 && code <= 0x2468) || (code >= 0x2474 && code <= 0x247c) ||
           (code >= 0x2488 && code <= 0x2490) || (code >= 0x24f5 && code <= 0x24fd) ||
           (code >= 0x2776 && code <= 0x277e) || (code >= 0x2780 && code <= 0x2788) ||
           (code >= 0x278a && code <= 0x2792);
}

bool template_char_numeric(uint32_t code) {
    utf8proc_category_t c = category(code);
    return c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO;
}

bool template_char_word(uint32_t code) {
    return code == '_' || template_char_alpha(code) || template_char_numeric(code);
}

bool template_char_printable(uint32_t code) {
    if (code < 0x7f)
        return code >= 0x20;
    switch (category(code)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
        return false;
    default:
        return true;
    }
}

/* Characters with case that are no letters of either case: modifier letters, Roman numerals, circled letters. */
static const struct range {
    uint32_t first, last;
} other_lower[] = {{0x00aa, 0x00aa},   {0x00ba, 0x00ba},   {0x02b0, 0x02b8},   {0x02c0, 0x02c1},  {0x02e0, 0x02e4},
                   {0x0345, 0x0345},   {0x037a, 0x037a},   {0x1d2c, 0x1d6a},   {0x1d78, 0x1d78},  {0x1d9b, 0x1dbf},
                   {0x2071, 0x2071},   {0x207f, 0x207f},   {0x2090, 0x209c},   {0x2170, 0x217f},  {0x24d0, 0x24e9},
                   {0x2c7c, 0x2c7d},   {0xa69c, 0xa69d},   {0xa770, 0xa770},   {0xa7f8, 0xa7f9},  {0xab5c, 0xab5f},
                   {0x10780, 0x10780}, {0x10783, 0x10785}, {0x10787, 0x107b0}, {0x107b2, 0x107ba}},
  other_upper[] = {{0x2160, 0x216f}, {0x24b6, 0x24cf}, {0x1f130, 0x1f149}, {0x1f150, 0x1f169}, {0x1f170, 0x1f189}};

static bool in_ranges(uint32_t code, const struct range *ranges, size_t count) {
    for (size_t i = 0; i < count && ranges[i].first <= code; i++)
        if (code <= ranges[i].last)
            return true;
    return false;
}

enum tcase template_char_case(uint32_t code) {
    switch (category(code)) {
    case UTF8PROC_CATEGORY_LU:
        return TCASE_UPPER;
    case UTF8PROC_CATEGORY_LT:
        return TCASE_TITLE;
    case UTF8PROC_CATEGORY_LL:
        return TCASE_LOWER;
    default:
        if (in_ranges(code, other_lower, sizeof other_lower / sizeof *other_lower))
            return TCASE_LOWER;
        return in_ranges(code, other_upper, sizeof other_upper / sizeof *other_upper) ? TCASE_UPPER : TCASE_NONE;
    }
}

/* ---- mappings to more than one character: Unicode's SpecialCasing, the entries that hold in every language ------- */

static const struct special {
    uint16_t code, upper[3], title[3];
} specials[] = {
    {0x00df, {0x0053, 0x0053}, {0x0053, 0x0073}},
    {0x0149, {0x02bc, 0x004e}, {0x02bc, 0x004e}},
    {0x01f0, {0x004a, 0x030c}, {0x004a, 0x030c}},
    {0x0390, {0x0399, 0x0308, 0x0301}, {0x0399, 0x0308, 0x0301}},
    {0x03b0, {0x03a5, 0x0308, 0x0301}, {0x03a5, 0x0308, 0x0301}},
    {0x0587, {0x0535, 0x0552}, {0x0535, 0x0582}},
    {0x1e96, {0x0048, 0x0331}, {0x0048, 0x0331}},
    {0x1e97, {0x0054, 0x0308}, {0x0054, 0x0308}},
    {0x1e98, {0x0057, 0x030a}, {0x0057, 0x030a}},
    {0x1e99, {0x0059, 0x030a}, {0x0059, 0x030a}},
    {0x1e9a, {0x0041, 0x02be}, {0x0041, 0x02be}},
    {0x1f50, {0x03a5, 0x0313}, {0x03a5, 0x0313}},
    {0x1f52, {0x03a5, 0x0313, 0x0300}, {0x03a5, 0x0313, 0x0300}},
    {0x1f54, {0x03a5, 0x0313, 0x0301}, {0x03a5, 0x0313, 0x0301}},
    {0x1f56, {0x03a5, 0x0313, 0x0342}, {0x03a5, 0x0313, 0x0342}},
    {0x1f80, {0x1f08, 0x0399}, {0x1f88}},
    {0x1f81, {0x1f09, 0x0399}, {0x1f89}},
    {0x1f82, {0x1f0a, 0x0399}, {0x1f8a}},
    {0x1f83, {0x1f0b, 0x0399}, {0x1f8b}},
    {0x1f84, {0x1f0c, 0x0399}, {0x1f8c}},
    {0x1f85, {0x1f0d, 0x0399}, {0x1f8d}},
    {0x1f86, {0x1f0e, 0x0399}, {0x1f8e}},
    {0x1f87, {0x1f0f, 0x0399}, {0x1f8f}},
    {0x1f88, {0x1f08, 0x0399}, {0x1f88}},
    {0x1f89, {0x1f09, 0x0399}, {0x1f89}},
    {0x1f8a, {0x1f0a, 0x0399}, {0x1f8a}},
    {0x1f8b, {0x1f0b, 0x0399}, {0x1f8b}},
    {0x1f8c, {0x1f0c, 0x0399}, {0x1f8c}},
    {0x1f8d, {0x1f0d, 0x0399}, {0x1f8d}},
    {0x1f8e, {0x1f0e, 0x0399}, {0x1f8e}},
    {0x1f8f, {0x1f0f, 0x0399}, {0x1f8f}},
    {0x1f90, {0x1f28, 0x0399}, {0x1f98}},
    {0x1f91, {0x1f29, 0x0399}, {0x1f99}},
    {0x1f92, {0x1f2a, 0x0399}, {0x1f9a}},
    {0x1f93, {0x1f2b, 0x0399}, {0x1f9b}},
    {0x1f94, {0x1f2c, 0x0399}, {0x1f9c}},
    {0x1f95, {0x1f2d, 0x0399}, {0x1f9d}},
    {0x1f96, {0x1f2e, 0x0399}, {0x1f9e}},
    {0x1f97, {0x1f2f, 0x0399}, {0x1f9f}},
    {0x1f98, {0x1f28, 0x0399}, {0x1f98}},
    {0x1f99, {0x1f29, 0x0399}, {0x1f99}},
    {0x1f9a, {0x1f2a, 0x0399}, {0x1f9a}},
    {0x1f9b, {0x1f2b, 0x0399}, {0x1f9b}},
    {0x1f9c, {0x1f2c, 0x0399}, {0x1f9c}},
    {0x1f9d, {0x1f2d, 0x0399}, {0x1f9d}},
    {0x1f9e, {0x1f2e, 0x0399}, {0x1f9e}},
    {0x1f9f, {0x1f2f, 0x0399}, {0x1f9f}},
    {0x1fa0, {0x1f68, 0x0399}, {0x1fa8}},
    {0x1fa1, {0x1f69, 0x0399}, {0x1fa9}},
    {0x1fa2, {0x1f6a, 0x0399}, {0x1faa}},
    {0x1fa3, {0x1f6b, 0x0399}, {0x1fab}},
    {0x1fa4, {0x1f6c, 0x0399}, {0x1fac}},
    {0x1fa5, {0x1f6d, 0x0399}, {0x1fad}},
    {0x1fa6, {0x1f6e, 0x0399}, {0x1fae}},
    {0x1fa7, {0x1f6f, 0x0399}, {0x1faf}},
    {0x1fa8, {0x1f68, 0x0399}, {0x1fa8}},
    {0x1fa9, {0x1f69, 0x0399}, {0x1fa9}},
    {0x1faa, {0x1f6a, 0x0399}, {0x1faa}},
    {0x1fab, {0x1f6b, 0x0399}, {0x1fab}},
    {0x1fac, {0x1f6c, 0x0399}, {0x1fac}},
    {0x1fad, {0x1f6d, 0x0399}, {0x1fad}},
    {0x1fae, {0x1f6e, 0x0399}, {0x1fae}},
    {0x1faf, {0x1f6f, 0x0399}, {0x1faf}},
    {0x1fb2, {0x1fba, 0x0399}, {0x1fba, 0x0345}},
    {0x1fb3, {0x0391, 0x0399}, {0x1fbc}},
    {0x1fb4, {0x0386, 0x0399}, {0x0386, 0x0345}},
    {0x1fb6, {0x0391, 0x0342}, {0x0391, 0x0342}},
    {0x1fb7, {0x0391, 0x0342, 0x0399}, {0x0391, 0x0342, 0x0345}},
    {0x1fbc, {0x0391, 0x0399}, {0x1fbc}},
    {0x1fc2, {0x1fca, 0x0399}, {0x1fca, 0x0345}},
    {0x1fc3, {0x0397, 0x0399}, {0x1fcc}},
    {0x1fc4, {0x0389, 0x0399}, {0x0389, 0x0345}},
    {0x1fc6, {0x0397, 0x0342}, {0x0397, 0x0342}},
    {0x1fc7, {0x0397, 0x0342, 0x0399}, {0x0397, 0x0342, 0x0345}},
    {0x1fcc, {0x0397, 0x0399}, {0x1fcc}},
    {0x1fd2, {0x0399, 0x0308, 0x0300}, {0x0399, 0x0308, 0x0300}},
    {0x1fd3, {0x0399, 0x0308, 0x0301}, {0x0399, 0x0308, 0x0301}},
    {0x1fd6, {0x0399, 0x0342}, {0x0399, 0x0342}},
    {0x1fd7, {0x0399, 0x0308, 0x0342}, {0x0399, 0x0308, 0x0342}},
    {0x1fe2, {0x03a5, 0x0308, 0x0300}, {0x03a5, 0x0308, 0x0300}},
    {0x1fe3, {0x03a5, 0x0308, 0x0301}, {0x03a5, 0x0308, 0x0301}},
    {0x1fe4, {0x03a1, 0x0313}, {0x03a1, 0x0313}},
    {0x1fe6, {0x03a5, 0x0342}, {0x03a5, 0x0342}},
    {0x1fe7, {0x03a5, 0x0308, 0x0342}, {0x03a5, 0x0308, 0x0342}},
    {0x1ff2, {0x1ffa, 0x0399}, {0x1ffa, 0x0345}},
    {0x1ff3, {0x03a9, 0x0399}, {0x1ffc}},
    {0x1ff4, {0x038f, 0x0399}, {0x038f, 0x0345}},
    {0x1ff6, {0x03a9, 0x0342}, {0x03a9, 0x0342}},
    {0x1ff7, {0x03a9, 0x0342, 0x0399}, {0x03a9, 0x0342, 0x0345}},
    {0x1ffc, {0x03a9, 0x0399}, {0x1ffc}},
    {0xfb00, {0x0046, 0x0046}, {0x0046, 0x0066}},
    {0xfb01, {0x0046, 0x0049}, {0x0046, 0x0069}},
    {0xfb02, {0x0046, 0x004c}, {0x0046, 0x006c}},
    {0xfb03, {0x0046, 0x0046, 0x0049}, {0x0046, 0x0066, 0x0069}},
    {0xfb04, {0x0046, 0x0046, 0x004c}, {0x0046, 0x0066, 0x006c}},
    {0xfb05, {0x0053, 0x0054}, {0x0053, 0x0074}},
    {0xfb06, {0x0053, 0x0054}, {0x0053, 0x0074}},
    {0xfb13, {0x0544, 0x0546}, {0x0544, 0x0576}},
    {0xfb14, {0x0544, 0x0535}, {0x0544, 0x0565}},
    {0xfb15, {0x0544, 0x053b}, {0x0544, 0x056b}},
    {0xfb16, {0x054e, 0x0546}, {0x054e, 0x0576}},
    {0xfb17, {0x0544, 0x053d}, {0x0544, 0x056d}},
};

static const struct special *special_find(uint32_t code) {
    size_t low = 0, high = sizeof specials / sizeof *specials;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (specials[middle].code < code)
            low = middle + 1;
        else
            high = middle;
    }
    return low < sizeof specials / sizeof *specials && specials[low].code == code ? &specials[low] : NULL;
}

unsigned template_char_map(uint32_t code, enum tcase to, uint32_t ret[TEMPLATE_CASE_CODES]) {
    const struct special *special = code >= 0x80 && to != TCASE_LOWER ? special_find(code) : NULL;
    if (special) {
        const uint16_t *codes = to == TCASE_UPPER ? special->upper : special->title;
        unsigned count = 0;
        while (count < 3 && codes[count]) {
            ret[count] = codes[count];
            count++;
        }
        return count;
    }
    if (to == TCASE_LOWER && code == 0x130) { /* I with a dot above */
        ret[0] = 'i';
        ret[1] = 0x307;
        return 2;
    }
    utf8proc_int32_t c = (utf8proc_int32_t)code;
    ret[0] = (uint32_t)(to == TCASE_LOWER   ? utf8proc_tolower(c)
                        : to == TCASE_UPPER ? utf8proc_toupper(c)
                                            : utf8proc_totitle(c));
    return 1;
}

unsigned template_char_fold(uint32_t code, uint32_t ret[TEMPLATE_CASE_CODES]) {
    utf8proc_int32_t folded[TEMPLATE_CASE_CODES];
    int boundary = 0;
    utf8proc_ssize_t count =
        utf8proc_decompose_char((utf8proc_int32_t)code, folded, TEMPLATE_CASE_CODES, UTF8PROC_CASEFOLD, &boundary);
    if (count < 1 || count > TEMPLATE_CASE_CODES) {
        ret[0] = code;
        return 1;
    }
    for (utf8proc_ssize_t i = 0; i < count; i++)
        ret[i] = (uint32_t)folded[i];
    return (unsigned)count;
}

/* ---- whole strings ----------------------------------------------------------------------------------------------- */

/* Characters that case rules look through. */
static bool case_ignorable(uint32_t code) {
    utf8proc_category_t c = category(code);
    return c == UTF8PROC_CATEGORY_MN || c == UTF8PROC_CATEGORY_ME || c == UTF8PROC_CATEGORY_CF ||
           c == UTF8PROC_CATEGORY_LM || c == UTF8PROC_CATEGORY_SK || code == '\'' || code == '.' || code == ':' ||
           code == 0xb7 || code == 0x2019;
}

/* Whether the capital sigma at byte `at` ends a word, where it becomes the final small sigma. */
static bool sigma_is_final(const struct tstring *string, size_t at, bool after_cased) {
    if (!after_cased)
        return false;
    for (size_t i = at + 2, step; i < string->bytes; i += step) {
        uint32_t code = template_utf8_at(string->data + i, &step);
        if (!case_ignorable(code))
            return template_char_case(code) == TCASE_NONE;
    }
    return true;
}

bool template_map_case(struct tstate *s, const struct tstring *string, enum tcase to, struct tvalue *ret) {
    struct tbuilder b = {0};
    bool after_cased = false;
    for (size_t i = 0, step; i < string->bytes; i += step) {
        uint32_t code = template_utf8_at(string->data + i, &step), codes[TEMPLATE_CASE_CODES];
        bool cased = template_char_case(code) != TCASE_NONE;
        enum tcase target = to == TCASE_TITLE && after_cased ? TCASE_LOWER : to;
        unsigned count = template_char_map(code, target, codes);
        if (code == 0x3a3 && target == TCASE_LOWER && sigma_is_final(string, i, after_cased))
            codes[0] = 0x3c2;
        for (unsigned k = 0; k < count; k++)
            if (!template_put_code(s, &b, codes[k]))
                return false;
        if (to == TCASE_TITLE || !case_ignorable(code))
            after_cased = cased;
    }
    if (!template_built(s, &b, ret))
        return false;
    template_mark(*ret, string->markup);
    return true;
}
