/* SPDX-License-Identifier: Apache-2.0 */
/* Character sets of patterns: Oniguruma's sets, with nesting and intersection, as sets of PCRE2 with explicit members.
 */
#include "pattern_internal.h"

#include <stdio.h>

enum { CLASS_DEPTH_MAX = 16 };

/* A set under construction: what can stand between PCRE2's brackets, and what must be an alternative beside them. */
struct class_parts {
    struct text_buffer simple, complex; /* complex: each member preceded by '|' */
    bool negated;
};

static void parts_done(struct class_parts *parts) {
    text_buffer_done(&parts->simple);
    text_buffer_done(&parts->complex);
}

static bool append(struct text_buffer *out, const char *text) {
    return text_buffer_append(out, text, strlen(text));
}

static bool append_buffer(struct text_buffer *out, const struct text_buffer *more) {
    return text_buffer_append(out, more->data, more->bytes);
}

/* Appends the set as one expression that matches one character. */
static bool render(const struct class_parts *parts, struct text_buffer *out) {
    bool simple = parts->simple.bytes > 0, complex = parts->complex.bytes > 0;
    if (!complex && !simple)
        return append(out, parts->negated ? "(?s:.)" : "(?!)");
    if (!complex)
        return append(out, parts->negated ? "[^" : "[") && append_buffer(out, &parts->simple) && append(out, "]");
    if (!append(out, parts->negated ? "(?:(?!(?:" : "(?:"))
        return false;
    if (simple && (!append(out, "[") || !append_buffer(out, &parts->simple) || !append(out, "]")))
        return false;
    size_t skip = simple ? 0 : 1; /* the bar before the first alternative */
    return text_buffer_append(out, parts->complex.data + skip, parts->complex.bytes - skip) &&
           append(out, parts->negated ? "))(?s:.))" : ")");
}

/* Adds the members of `from`, which may be negated, to `parts`. */
static bool add_set(struct class_parts *parts, const struct class_parts *from) {
    if (!from->negated)
        return append_buffer(&parts->simple, &from->simple) && append_buffer(&parts->complex, &from->complex);
    return append(&parts->complex, "|") && render(from, &parts->complex);
}

/* ---- properties -------------------------------------------------------------------------------------------------- */

/* General categories, each with the mask of those that unicode_new uses. Names as normalized: lower case, no spaces,
 * hyphens or underscores. */
#define BIT(category) (1u << UNICODE_##category)
static const struct category_name {
    const char *name, *code; /* code: PCRE2's */
    uint32_t mask;
} category_names[] = {
    {"l", "L", BIT(LU) | BIT(LL) | BIT(LM) | BIT(LO)},
    {"letter", "L", BIT(LU) | BIT(LL) | BIT(LM) | BIT(LO)},
    {"lu", "Lu", BIT(LU)},
    {"uppercaseletter", "Lu", BIT(LU)},
    {"ll", "Ll", BIT(LL)},
    {"lowercaseletter", "Ll", BIT(LL)},
    {"lt", "Lt", 0},
    {"titlecaseletter", "Lt", 0},
    {"lc", "L&", BIT(LU) | BIT(LL)},
    {"casedletter", "L&", BIT(LU) | BIT(LL)},
    {"lm", "Lm", BIT(LM)},
    {"modifierletter", "Lm", BIT(LM)},
    {"lo", "Lo", BIT(LO)},
    {"otherletter", "Lo", BIT(LO)},
    {"m", "M", BIT(MN) | BIT(MC)},
    {"mark", "M", BIT(MN) | BIT(MC)},
    {"combiningmark", "M", BIT(MN) | BIT(MC)},
    {"mn", "Mn", BIT(MN)},
    {"nonspacingmark", "Mn", BIT(MN)},
    {"mc", "Mc", BIT(MC)},
    {"spacingmark", "Mc", BIT(MC)},
    {"me", "Me", 0},
    {"enclosingmark", "Me", 0},
    {"n", "N", BIT(ND) | BIT(NO)},
    {"number", "N", BIT(ND) | BIT(NO)},
    {"nd", "Nd", BIT(ND)},
    {"decimalnumber", "Nd", BIT(ND)},
    {"digit", "Nd", BIT(ND)},
    {"nl", "Nl", 0},
    {"letternumber", "Nl", 0},
    {"no", "No", BIT(NO)},
    {"othernumber", "No", BIT(NO)},
    {"p", "P", BIT(PD) | BIT(PO)},
    {"punctuation", "P", BIT(PD) | BIT(PO)},
    {"punct", "P", BIT(PD) | BIT(PO)},
    {"pc", "Pc", 0},
    {"connectorpunctuation", "Pc", 0},
    {"pd", "Pd", BIT(PD)},
    {"dashpunctuation", "Pd", BIT(PD)},
    {"ps", "Ps", 0},
    {"openpunctuation", "Ps", 0},
    {"pe", "Pe", 0},
    {"closepunctuation", "Pe", 0},
    {"pi", "Pi", 0},
    {"initialpunctuation", "Pi", 0},
    {"pf", "Pf", 0},
    {"finalpunctuation", "Pf", 0},
    {"po", "Po", BIT(PO)},
    {"otherpunctuation", "Po", BIT(PO)},
    {"s", "S", BIT(SM) | BIT(SO)},
    {"symbol", "S", BIT(SM) | BIT(SO)},
    {"sm", "Sm", BIT(SM)},
    {"mathsymbol", "Sm", BIT(SM)},
    {"sc", "Sc", 0},
    {"currencysymbol", "Sc", 0},
    {"sk", "Sk", 0},
    {"modifiersymbol", "Sk", 0},
    {"so", "So", BIT(SO)},
    {"othersymbol", "So", BIT(SO)},
    {"z", "Z", 0},
    {"separator", "Z", 0},
    {"zs", "Zs", 0},
    {"spaceseparator", "Zs", 0},
    {"zl", "Zl", 0},
    {"lineseparator", "Zl", 0},
    {"zp", "Zp", 0},
    {"paragraphseparator", "Zp", 0},
    {"cc", "Cc", 0},
    {"control", "Cc", 0},
    {"cntrl", "Cc", 0},
    {"cf", "Cf", BIT(CF)},
    {"format", "Cf", BIT(CF)},
    {"co", "Co", 0},
    {"privateuse", "Co", 0},
};

/* Other properties and scripts, with what Unicode 15 to 16 added to them. */
static const struct named_set {
    const char *name, *members;
} named_sets[] = {
    {"any", "\\x{0}-\\x{10ffff}"},
    {"ascii", "\\x{0}-\\x{7f}"},
    {"space", "\\t-\\r \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"},
    {"whitespace", "\\t-\\r \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"},
    {"blank", "\\t \\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{202f}\\x{205f}\\x{3000}"},
    {"xdigit", "0-9A-Fa-f"},
    {"alphabetic",
     "\\p{Alphabetic}\\x{363}-\\x{36f}\\x{897}\\x{c04}\\x{cf3}\\x{f82}-\\x{f83}\\x{1c89}-\\x{1c8a}\\x{1dd3}-"
     "\\x{1de6}\\x{a7cb}-\\x{a7cd}\\x{a7da}-\\x{a7dc}\\x{105c0}-\\x{105f3}\\x{10d4a}-\\x{10d65}\\x{10d69}"
     "\\x{10d6f}-\\x{10d85}\\x{10ec2}-\\x{10ec4}\\x{10efc}\\x{11080}-\\x{11081}\\x{1123f}-\\x{11241}\\x{11380}-"
     "\\x{11389}\\x{1138b}\\x{1138e}\\x{11390}-\\x{113b5}\\x{113b7}-\\x{113c0}\\x{113c2}\\x{113c5}\\x{113c7}-"
     "\\x{113ca}\\x{113cc}-\\x{113cd}\\x{113d1}\\x{113d3}\\x{11bc0}-\\x{11be0}\\x{11f00}-\\x{11f10}\\x{11f12}-"
     "\\x{11f3a}\\x{11f3e}-\\x{11f40}\\x{1342f}\\x{13441}-\\x{13446}\\x{13460}-\\x{143fa}\\x{16100}-\\x{1612e}"
     "\\x{16d40}-\\x{16d6c}\\x{18cff}\\x{1b132}\\x{1b155}\\x{1df25}-\\x{1df2a}\\x{1e030}-\\x{1e06d}\\x{1e08f}"
     "\\x{1e4d0}-\\x{1e4eb}\\x{1e5d0}-\\x{1e5ed}\\x{1e5f0}\\x{2b739}\\x{2ebf0}-\\x{2ee5d}\\x{31350}-\\x{323af}"},
    {"emoji", "\\p{Emoji}\\x{1f6dc}\\x{1fa75}-\\x{1fa77}\\x{1fa87}-\\x{1fa89}\\x{1fa8f}\\x{1faad}-\\x{1faaf}\\x{1fabb}-"
              "\\x{1fabf}\\x{1fac6}\\x{1face}-\\x{1facf}\\x{1fada}-\\x{1fadc}\\x{1fadf}\\x{1fae8}-\\x{1fae9}\\x{1faf7}-"
              "\\x{1faf8}"},
    {"lower", "\\p{Lowercase}\\x{10fc}\\x{1c8a}\\x{a7cd}\\x{a7db}\\x{a7f2}-\\x{a7f4}\\x{ab69}\\x{10d70}-\\x{10d85}"
              "\\x{1df25}-\\x{1df2a}\\x{1e030}-\\x{1e06d}"},
    {"upper", "\\p{Uppercase}\\x{1c89}\\x{a7cb}-\\x{a7cc}\\x{a7da}\\x{a7dc}\\x{10d50}-\\x{10d65}"},
    {"arabic", "\\p{sc:Arabic}\\x{897}\\x{10ec2}-\\x{10ec4}\\x{10efc}-\\x{10eff}"},
    {"armenian", "\\p{sc:Armenian}"},
    {"bengali", "\\p{sc:Bengali}"},
    {"bopomofo", "\\p{sc:Bopomofo}"},
    {"common",
     "\\p{sc:Common}\\x{2427}-\\x{2429}\\x{2ffc}-\\x{2fff}\\x{31e4}-\\x{31e5}\\x{31ef}\\x{1cc00}-\\x{1ccf9}"
     "\\x{1cd00}-\\x{1ceb3}\\x{1d2c0}-\\x{1d2d3}\\x{1f6dc}\\x{1f774}-\\x{1f776}\\x{1f77b}-\\x{1f77f}\\x{1f7d9}"
     "\\x{1f8b2}-\\x{1f8bb}\\x{1f8c0}-\\x{1f8c1}\\x{1fa75}-\\x{1fa77}\\x{1fa87}-\\x{1fa89}\\x{1fa8f}\\x{1faad}-"
     "\\x{1faaf}\\x{1fabb}-\\x{1fabf}\\x{1fac6}\\x{1face}-\\x{1facf}\\x{1fada}-\\x{1fadc}\\x{1fadf}\\x{1fae8}-"
     "\\x{1fae9}\\x{1faf7}-\\x{1faf8}\\x{1fbcb}-\\x{1fbef}"},
    {"cyrillic", "\\p{sc:Cyrillic}\\x{1c89}-\\x{1c8a}\\x{1e030}-\\x{1e06d}\\x{1e08f}"},
    {"devanagari", "\\p{sc:Devanagari}\\x{11b00}-\\x{11b09}"},
    {"ethiopic", "\\p{sc:Ethiopic}"},
    {"georgian", "\\p{sc:Georgian}"},
    {"greek", "\\p{sc:Greek}"},
    {"gujarati", "\\p{sc:Gujarati}"},
    {"gurmukhi", "\\p{sc:Gurmukhi}"},
    {"han", "\\p{sc:Han}\\x{2b739}\\x{2ebf0}-\\x{2ee5d}\\x{31350}-\\x{323af}"},
    {"hangul", "\\p{sc:Hangul}"},
    {"hebrew", "\\p{sc:Hebrew}"},
    {"hiragana", "\\p{sc:Hiragana}\\x{1b132}"},
    {"inherited", "\\p{sc:Inherited}"},
    {"kannada", "\\p{sc:Kannada}\\x{cf3}"},
    {"katakana", "\\p{sc:Katakana}\\x{1b155}"},
    {"khmer", "\\p{sc:Khmer}"},
    {"lao", "\\p{sc:Lao}\\x{ece}"},
    {"latin", "\\p{sc:Latin}\\x{a7cb}-\\x{a7cd}\\x{a7da}-\\x{a7dc}\\x{1df25}-\\x{1df2a}"},
    {"malayalam", "\\p{sc:Malayalam}"},
    {"mongolian", "\\p{sc:Mongolian}"},
    {"myanmar", "\\p{sc:Myanmar}\\x{116d0}-\\x{116e3}"},
    {"sinhala", "\\p{sc:Sinhala}"},
    {"tamil", "\\p{sc:Tamil}"},
    {"telugu", "\\p{sc:Telugu}"},
    {"thai", "\\p{sc:Thai}"},
    {"tibetan", "\\p{sc:Tibetan}"},
};

/* Appends the ranges of unicode_new whose category is in `mask`, touching ones joined. */
static bool append_new(struct text_buffer *out, uint32_t mask) {
    char text[32];
    for (size_t i = 0; i < unicode_new_count; i++) {
        if (!(mask >> unicode_new[i].category & 1))
            continue;
        uint32_t first = unicode_new[i].first, last = unicode_new[i].last;
        while (i + 1 < unicode_new_count && unicode_new[i + 1].first == last + 1 &&
               (mask >> unicode_new[i + 1].category & 1))
            last = unicode_new[++i].last;
        int n =
            snprintf(text, sizeof text, first == last ? "\\x{%x}" : "\\x{%x}-\\x{%x}", (unsigned)first, (unsigned)last);
        if (!text_buffer_append(out, text, (size_t)n))
            return false;
    }
    return true;
}

static bool add_category(struct class_parts *parts, const char *code, uint32_t mask) {
    char text[16];
    snprintf(text, sizeof text, "\\p{%s}", code);
    if (strcmp(code, "Mn") == 0) /* U+1171E has left this category */
        return append(&parts->complex, "|(?:(?!\\x{1171e})[\\p{Mn}") && append_new(&parts->complex, mask) &&
               append(&parts->complex, "])");
    return append(&parts->simple, text) && append_new(&parts->simple, mask) &&
           (strcmp(code, "Mc") != 0 || append(&parts->simple, "\\x{1171e}"));
}

/* Not assigned: what PCRE2 does not know either, less what it does not know yet. */
static bool add_unassigned(struct class_parts *parts) {
    return append(&parts->complex, "|(?:(?![") && append_new(&parts->complex, UINT32_MAX) &&
           append(&parts->complex, "])\\p{Cn})");
}

/* Word characters as Oniguruma counts them: Alphabetic and marks, decimal digits, connectors. */
static bool add_word(struct class_parts *parts) {
    return append(&parts->simple, "\\p{Nl}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}"
                                  "\\x{1f170}-\\x{1f189}") &&
           add_category(parts, "L", BIT(LU) | BIT(LL) | BIT(LM) | BIT(LO)) &&
           add_category(parts, "M", BIT(MN) | BIT(MC)) && add_category(parts, "Nd", BIT(ND));
}

/* Word characters outside sets: by an old habit of Oniguruma the other numbers of Latin-1 are among them. */
static bool add_bare_word(struct class_parts *parts) {
    return append(&parts->simple, "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}") && add_word(parts);
}

/* Adds a property by its normalized name; *ret_known is false for a name this library does not have. */
static bool add_property(struct class_parts *parts, const char *name, bool *ret_known) {
    *ret_known = true;
    if (strcmp(name, "alpha") == 0)
        name = "alphabetic";
    for (size_t i = 0; i < sizeof category_names / sizeof *category_names; i++)
        if (strcmp(name, category_names[i].name) == 0)
            return add_category(parts, category_names[i].code, category_names[i].mask);
    for (size_t i = 0; i < sizeof named_sets / sizeof *named_sets; i++)
        if (strcmp(name, named_sets[i].name) == 0)
            return append(&parts->simple, named_sets[i].members);
    if (strcmp(name, "cn") == 0 || strcmp(name, "unassigned") == 0)
        return add_unassigned(parts);
    if (strcmp(name, "c") == 0 || strcmp(name, "other") == 0)
        return append(&parts->simple, "\\p{Cc}\\p{Co}") && add_category(parts, "Cf", BIT(CF)) && add_unassigned(parts);
    if (strcmp(name, "word") == 0)
        return add_word(parts);
    if (strcmp(name, "alnum") == 0)
        return add_property(parts, "alphabetic", ret_known) && add_category(parts, "Nd", BIT(ND));
    *ret_known = false;
    return true;
}

/* Reads {name} or {^name} into `name`, normalized. */
static bool read_property_name(struct pattern_syntax *syntax, char *name, size_t size, bool *io_negated) {
    const char *stop = memchr(syntax->at, '}', (size_t)(syntax->end - syntax->at));
    if (!stop || *syntax->at != '{')
        return pattern_fail(syntax, "property without a name");
    size_t n = 0;
    const char *from = syntax->at + 1;
    if (*from == '^') {
        *io_negated = !*io_negated;
        from++;
    }
    for (; from < stop; from++) {
        if (*from == ' ' || *from == '-' || *from == '_')
            continue;
        if (n + 1 == size)
            return pattern_fail(syntax, "unknown property");
        name[n++] = *from >= 'A' && *from <= 'Z' ? (char)(*from + 32) : *from;
    }
    name[n] = 0;
    return true;
}

/* Reads the property at `at` (behind the p) into an empty set. */
static bool read_property(struct pattern_syntax *syntax, bool negated, bool inside, struct class_parts *parts) {
    char name[32];
    bool known;
    parts->negated = negated;
    if (!read_property_name(syntax, name, sizeof name, &parts->negated))
        return false;
    bool bare_word = !inside && strcmp(name, "word") == 0;
    if (bare_word ? !add_bare_word(parts) : !add_property(parts, name, &known))
        return pattern_fail(syntax, "");
    if (!bare_word && !known)
        return pattern_fail(syntax, "unknown property");
    syntax->at = (const char *)memchr(syntax->at, '}', (size_t)(syntax->end - syntax->at)) + 1;
    return true;
}

bool pattern_class_property(struct pattern_syntax *syntax, bool negated) {
    struct class_parts parts = {0};
    bool ok =
        read_property(syntax, negated, false, &parts) && (render(&parts, &syntax->out) || pattern_fail(syntax, ""));
    parts_done(&parts);
    return ok;
}

/* ---- sets of one letter ------------------------------------------------------------------------------------------ */

/* Fills an empty set with what \letter stands for, inside or outside a set. */
static bool letter_set(struct class_parts *parts, char letter, bool inside, bool *ret_taken) {
    bool known;
    *ret_taken = true;
    parts->negated = letter >= 'A' && letter <= 'Z';
    switch (letter | 0x20) {
    case 'd':
        return add_property(parts, "nd", &known);
    case 's':
        return add_property(parts, "space", &known);
    case 'h':
        return add_property(parts, "xdigit", &known);
    case 'w':
        return inside ? add_word(parts) : add_bare_word(parts);
    default:
        *ret_taken = false;
        return true;
    }
}

bool pattern_class_escape(struct pattern_syntax *syntax, char letter, bool *ret_taken) {
    struct class_parts parts = {0};
    bool ok = letter_set(&parts, letter, false, ret_taken) && (!*ret_taken || render(&parts, &syntax->out));
    parts_done(&parts);
    return ok || pattern_fail(syntax, "");
}

bool pattern_class_word(struct text_buffer *out) {
    struct class_parts parts = {0};
    bool ok = add_bare_word(&parts) && render(&parts, out);
    parts_done(&parts);
    return ok;
}

/* ---- sets in brackets -------------------------------------------------------------------------------------------- */

static bool read_class(struct pattern_syntax *syntax, unsigned depth, struct class_parts *parts);

/* [:name:] or [:^name:] at `at`; *ret_taken is false when there is none. */
static bool read_posix(struct pattern_syntax *syntax, struct class_parts *parts, bool *ret_taken) {
    size_t left = (size_t)(syntax->end - syntax->at);
    const char *stop = left > 2 && syntax->at[1] == ':' ? memmem(syntax->at + 2, left - 2, ":]", 2) : NULL;
    struct class_parts set = {0};
    char name[16];
    *ret_taken = stop != NULL;
    if (!stop)
        return true;
    const char *from = syntax->at + 2;
    if (*from == '^') {
        set.negated = true;
        from++;
    }
    snprintf(name, sizeof name, "%.*s", (int)(stop - from < 15 ? stop - from : 15), from);
    bool known, ok;
    if (strcmp(name, "punct") == 0)
        ok = add_category(&set, "S", BIT(SM) | BIT(SO)) && add_category(&set, "P", BIT(PD) | BIT(PO)), known = true;
    else
        ok = add_property(&set, name, &known);
    ok = ok && add_set(parts, &set);
    parts_done(&set);
    if (!ok)
        return pattern_fail(syntax, "");
    if (!known)
        return pattern_fail(syntax, "unknown set");
    syntax->at = stop + 2;
    return true;
}

/* A set inside a set. */
static bool read_nested(struct pattern_syntax *syntax, unsigned depth, struct class_parts *parts) {
    bool taken;
    if (!read_posix(syntax, parts, &taken))
        return false;
    if (taken)
        return true;
    struct class_parts inner = {0};
    bool ok = read_class(syntax, depth + 1, &inner) && (add_set(parts, &inner) || pattern_fail(syntax, ""));
    parts_done(&inner);
    return ok;
}

/* An escape inside a set: a character (*ret_single) or a set, which is added. `at` is behind the backslash. */
static bool read_escape(struct pattern_syntax *syntax, struct class_parts *parts, bool *ret_single,
                        uint32_t *ret_code) {
    if (syntax->at == syntax->end)
        return pattern_fail(syntax, "escape without a character");
    if (*syntax->at == 'b') { /* a backspace, inside sets */
        syntax->at++;
        *ret_single = true;
        *ret_code = 8;
        return true;
    }
    if (!pattern_escaped_code(syntax, ret_code, ret_single))
        return false;
    if (*ret_single)
        return true;
    struct class_parts set = {0};
    char letter = *syntax->at++;
    bool ok, taken = true;
    if (letter == 'p' || letter == 'P')
        ok = read_property(syntax, letter == 'P', true, &set);
    else
        ok = letter_set(&set, letter, true, &taken) || pattern_fail(syntax, "");
    if (ok && !taken)
        ok = pattern_fail(syntax, "unsupported escape in a set");
    ok = ok && (add_set(parts, &set) || pattern_fail(syntax, ""));
    parts_done(&set);
    return ok;
}

/* One character of a set, escaped or not; a set escape is added and leaves *ret_single false. */
static bool read_member(struct pattern_syntax *syntax, struct class_parts *parts, bool *ret_single,
                        uint32_t *ret_code) {
    if (*syntax->at == '\\') {
        syntax->at++;
        return read_escape(syntax, parts, ret_single, ret_code);
    }
    *ret_single = true;
    *ret_code = unicode_get(syntax->at);
    syntax->at += unicode_length(*syntax->at);
    return true;
}

/* A character, a range, or a set escape. */
static bool read_range(struct pattern_syntax *syntax, struct class_parts *parts) {
    bool single, last_single;
    uint32_t first, last;
    if (!read_member(syntax, parts, &single, &first))
        return false;
    bool range = syntax->end - syntax->at >= 2 && syntax->at[0] == '-' && syntax->at[1] != ']';
    if (!single)
        return range ? pattern_fail(syntax, "a set cannot begin a range") : true;
    if (!pattern_append_code(&parts->simple, first))
        return pattern_fail(syntax, "");
    if (!range)
        return true;
    syntax->at++;
    if (*syntax->at == '[' || !read_member(syntax, parts, &last_single, &last) || !last_single || last < first)
        return pattern_fail(syntax, "range without an end");
    return (append(&parts->simple, "-") && pattern_append_code(&parts->simple, last)) || pattern_fail(syntax, "");
}

/* Replaces `parts` by its members that are in `other` too. */
static bool intersect(struct class_parts *parts, const struct class_parts *other) {
    struct text_buffer both = {0};
    struct class_parts left = *parts;
    left.negated = false;
    bool ok = append(&both, "|(?:(?=") && render(&left, &both) && append(&both, ")") && render(other, &both) &&
              append(&both, ")");
    if (!ok) {
        text_buffer_done(&both);
        return false;
    }
    parts->simple.bytes = 0;
    text_buffer_done(&parts->complex);
    parts->complex = both;
    return true;
}

/* What follows "&&" up to the closing bracket, which stays: the intersection with the members so far. */
static bool read_members(struct pattern_syntax *syntax, unsigned depth, struct class_parts *parts);
static bool read_intersection(struct pattern_syntax *syntax, unsigned depth, struct class_parts *parts) {
    struct class_parts other = {0};
    if (depth >= CLASS_DEPTH_MAX)
        return pattern_fail(syntax, "sets nested too deeply");
    bool ok = read_members(syntax, depth + 1, &other) && (intersect(parts, &other) || pattern_fail(syntax, ""));
    parts_done(&other);
    return ok;
}

/* Members up to the closing bracket, which stays. */
static bool read_members(struct pattern_syntax *syntax, unsigned depth, struct class_parts *parts) {
    while (syntax->at < syntax->end && *syntax->at != ']') {
        if (syntax->end - syntax->at >= 2 && memcmp(syntax->at, "&&", 2) == 0) {
            syntax->at += 2;
            return read_intersection(syntax, depth, parts);
        }
        if (*syntax->at == '[' ? !read_nested(syntax, depth, parts) : !read_range(syntax, parts))
            return false;
    }
    return true;
}

static bool read_class(struct pattern_syntax *syntax, unsigned depth, struct class_parts *parts) {
    if (depth >= CLASS_DEPTH_MAX)
        return pattern_fail(syntax, "sets nested too deeply");
    syntax->at++;
    if (syntax->at < syntax->end && *syntax->at == '^') {
        parts->negated = true;
        syntax->at++;
    }
    if (syntax->at < syntax->end && *syntax->at == ']') { /* in the first place it is a member */
        syntax->at++;
        if (!append(&parts->simple, "\\]"))
            return pattern_fail(syntax, "");
    }
    if (!read_members(syntax, depth, parts))
        return false;
    if (syntax->at == syntax->end)
        return pattern_fail(syntax, "set without an end");
    syntax->at++;
    return true;
}

bool pattern_class(struct pattern_syntax *syntax) {
    struct class_parts parts = {0};
    bool ok = read_class(syntax, 0, &parts) && (render(&parts, &syntax->out) || pattern_fail(syntax, ""));
    parts_done(&parts);
    return ok;
}
