/* SPDX-License-Identifier: Apache-2.0 */
/* Python's two ways to fill a format string: "%s" % x and "{}".format(x), the latter with the sandbox's look-ups. */
#include <math.h>
#include <string.h>

#include "template_internal.h"

/* ---- the % operator ---------------------------------------------------------------------------------------------- */

struct percent {
    const struct tstring *format;
    size_t at;
    struct tvalue args;
    size_t taken; /* arguments used so far */
    struct tbuilder out;
};

static bool percent_next(struct tstate *s, struct percent *p, struct tvalue *ret) {
    bool tuple = p->args.kind == TV_TUPLE;
    if (p->taken >= (tuple ? p->args.list->count : 1))
        return template_fail(s, "TypeError", "not enough arguments for format string");
    *ret = tuple ? p->args.list->items[p->taken] : p->args;
    p->taken++;
    return true;
}

static char percent_peek(const struct percent *p) {
    return p->at < p->format->bytes ? p->format->data[p->at] : '\0';
}

/* Digits, or '*' for an argument; *ret is -1 when there is neither. */
static bool percent_number(struct tstate *s, struct percent *p, int64_t *ret) {
    struct tvalue v;
    *ret = -1;
    if (percent_peek(p) == '*') {
        p->at++;
        if (!percent_next(s, p, &v))
            return false;
        if (!template_is_integral(v))
            return template_fail(s, "TypeError", "* wants int");
        *ret = template_integer(v);
        return true;
    }
    while (percent_peek(p) >= '0' && percent_peek(p) <= '9') {
        *ret = (*ret < 0 ? 0 : *ret) * 10 + (percent_peek(p) - '0');
        p->at++;
        if (*ret > INT32_MAX)
            return template_fail(s, "ValueError", "width too big");
    }
    return true;
}

static bool percent_key(struct tstate *s, struct percent *p, struct tvalue *ret) {
    size_t begin = ++p->at, level = 1;
    for (; p->at < p->format->bytes && level; p->at++)
        level += (size_t)(p->format->data[p->at] == '(') - (size_t)(p->format->data[p->at] == ')');
    if (level)
        return template_fail(s, "ValueError", "incomplete format key");
    if (p->args.kind != TV_DICT)
        return template_fail(s, "TypeError", "format requires a mapping");
    struct tvalue key;
    const struct tpair *pair;
    if (!template_string_cut(s, p->format, begin, p->at - 1, &key) || !template_dict_find(s, p->args.dict, key, &pair))
        return false;
    if (!pair)
        return template_fail(s, "KeyError", "'%.*s'", (int)key.string->bytes, key.string->data);
    *ret = pair->value;
    return true;
}

static bool percent_flags(struct tstate *s, struct percent *p, struct tformat *format) {
    for (;; p->at++) {
        char c = percent_peek(p);
        if (c == '-')
            format->align = '<';
        else if (c == '0')
            format->zero = true;
        else if (c == '#')
            format->alternate = true;
        else if (c == '+' || (c == ' ' && format->sign != '+'))
            format->sign = c;
        else if (c != ' ')
            break;
    }
    if (!percent_number(s, p, &format->width))
        return false;
    if (format->width < -1) {
        format->align = '<';
        format->width = -format->width;
    }
    if (percent_peek(p) == '.') {
        p->at++;
        if (!percent_number(s, p, &format->precision))
            return false;
        format->precision = format->precision < 0 ? 0 : format->precision;
    }
    while (percent_peek(p) && strchr("hlL", percent_peek(p)))
        p->at++;
    return true;
}

static bool percent_text(struct tstate *s, struct percent *p, struct tvalue v, char type, struct tformat *format) {
    const struct tstring *text;
    struct tvalue shown;
    if (type == 's' ? !template_str(s, v, &text) : !template_repr(s, v, &text))
        return false;
    shown = template_of_string(text);
    if (p->format->markup && !text->markup && !template_escape(s, text, &shown))
        return false;
    format->type = 's';
    format->align = format->align ? format->align : '>';
    return template_put_formatted(s, &p->out, shown, format);
}

static bool percent_integer(struct tstate *s, struct percent *p, struct tvalue v, char type, struct tformat *format) {
    format->type = type == 'i' || type == 'u' ? 'd' : type;
    if (v.kind == TV_FLOAT && format->type == 'd') {
        if (!(v.real >= -0x1p63 && v.real < 0x1p63))
            return template_fail(s, "OverflowError", "cannot convert float to integer");
        v = template_int((int64_t)v.real);
    }
    if (!template_is_integral(v))
        return template_fail(s, "TypeError", "%%%c format: %s is required, not %s", type,
                             format->type == 'd' ? "a real number" : "an integer", template_type_name(v));
    return template_put_formatted(s, &p->out, v, format);
}

static bool percent_convert(struct tstate *s, struct percent *p, struct tvalue v, char type, struct tformat *format) {
    if (type == 's' || type == 'r' || type == 'a')
        return percent_text(s, p, v, type, format);
    if (strchr("diuxXo", type))
        return percent_integer(s, p, v, type, format);
    format->type = type;
    if (strchr("eEfFgG", type)) {
        if (!template_is_number(v))
            return template_fail(s, "TypeError", "must be real number, not %s", template_type_name(v));
        return template_put_formatted(s, &p->out, template_float(template_real(v)), format);
    }
    if (v.kind == TV_STRING && v.string->chars == 1)
        return percent_text(s, p, v, 's', format);
    if (!template_is_integral(v))
        return template_fail(s, "TypeError", "%%c requires int or char");
    format->align = format->align ? format->align : '>';
    return template_put_formatted(s, &p->out, v, format);
}

/* One conversion, from behind its '%'. */
static bool percent_item(struct tstate *s, struct percent *p) {
    struct tformat format = {.width = -1, .precision = -1};
    struct tvalue v = template_missing();
    if (percent_peek(p) == '(' && !percent_key(s, p, &v))
        return false;
    if (!percent_flags(s, p, &format))
        return false;
    char type = percent_peek(p);
    if (!type)
        return template_fail(s, "ValueError", "incomplete format");
    if (type == '%') {
        p->at++;
        return template_put(s, &p->out, "%", 1);
    }
    if (!strchr("sradiuxXoeEfFgGc", type))
        return template_fail(s, "ValueError", "unsupported format character '%c' (0x%x) at index %zu", type,
                             (unsigned char)type, p->at);
    p->at++;
    if (template_is_missing(v) && !percent_next(s, p, &v))
        return false;
    return percent_convert(s, p, v, type, &format);
}

bool template_format_percent(struct tstate *s, const struct tstring *format, struct tvalue args, struct tvalue *ret) {
    struct percent p = {.format = format, .args = args};
    while (p.at < format->bytes) {
        const char *next = memchr(format->data + p.at, '%', format->bytes - p.at);
        size_t end = next ? (size_t)(next - format->data) : format->bytes;
        if (!template_put(s, &p.out, format->data + p.at, end - p.at))
            return false;
        p.at = next ? end + 1 : end;
        if (next && !percent_item(s, &p))
            return false;
    }
    /* What can be subscripted passes for a mapping, of which nothing need be taken. */
    bool mapping = args.kind == TV_DICT || args.kind == TV_LIST || args.kind == TV_RANGE || args.kind == TV_UNDEFINED;
    if (args.kind == TV_TUPLE ? p.taken != args.list->count : p.taken != 1 && !mapping)
        return template_fail(s, "TypeError", "not all arguments converted during string formatting");
    if (!template_built(s, &p.out, ret))
        return false;
    template_mark(*ret, format->markup);
    return true;
}

/* ---- str.format -------------------------------------------------------------------------------------------------- */

struct braces {
    const struct tcall *call;
    int64_t automatic; /* next number of an empty field; -1 once fields are numbered by hand */
    bool markup;
};

static bool braces_fill(struct tstate *s, struct braces *f, const char *text, size_t bytes, unsigned nested,
                        struct tbuilder *out);

static bool field_number(const char *text, size_t bytes, int64_t *ret) {
    *ret = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] < '0' || text[i] > '9' || *ret > INT32_MAX)
            return false;
        *ret = *ret * 10 + (text[i] - '0');
    }
    return bytes > 0;
}

static bool field_first(struct tstate *s, struct braces *f, const char *name, size_t bytes, struct tvalue *ret) {
    int64_t index;
    const struct tpair *pair = NULL;
    struct tvalue key;
    if (bytes == 0 || field_number(name, bytes, &index)) {
        if (bytes ? f->automatic > 0 : f->automatic < 0)
            return template_fail(s, "ValueError",
                                 "cannot switch between manual field specification and automatic field "
                                 "numbering");
        index = bytes ? index : f->automatic;
        f->automatic = bytes ? -1 : f->automatic + 1;
        if ((uint64_t)index >= f->call->count)
            return template_fail(s, "IndexError", "Replacement index %lld out of range for positional args tuple",
                                 (long long)index);
        *ret = f->call->args[index];
        return true;
    }
    if (!template_string_copy(s, name, bytes, &key) ||
        (f->call->keywords && !template_dict_find(s, f->call->keywords, key, &pair)))
        return false;
    if (!pair)
        return template_fail(s, "KeyError", "'%.*s'", (int)bytes, name);
    *ret = pair->value;
    return true;
}

/* name, then .attribute and [index] in any number. */
static bool field_value(struct tstate *s, struct braces *f, const char *name, size_t bytes, struct tvalue *ret) {
    size_t at = 0;
    while (at < bytes && name[at] != '.' && name[at] != '[')
        at++;
    if (!field_first(s, f, name, at, ret))
        return false;
    while (at < bytes) {
        bool bracket = name[at++] == '[';
        size_t begin = at;
        while (at < bytes && (bracket ? name[at] != ']' : name[at] != '.' && name[at] != '['))
            at++;
        struct tvalue key;
        int64_t index;
        if (at == begin || (bracket && at == bytes))
            return template_fail(s, "ValueError", "Empty attribute in format string");
        if (!template_string_copy(s, name + begin, at - begin, &key))
            return false;
        if (bracket && field_number(name + begin, at - begin, &index))
            key = template_int(index);
        if (bracket ? !template_item(s, *ret, key, ret) : !template_attribute(s, *ret, key.string, ret))
            return false;
        at += bracket;
    }
    return true;
}

static bool spec_number(struct tstate *s, const char *text, size_t bytes, size_t *at, int64_t *ret) {
    for (*ret = -1; *at < bytes && text[*at] >= '0' && text[*at] <= '9'; ++*at) {
        *ret = (*ret < 0 ? 0 : *ret) * 10 + (text[*at] - '0');
        if (*ret > INT32_MAX)
            return template_fail(s, "ValueError", "Too many decimal digits in format string");
    }
    return true;
}

/* [[fill]align][sign][#][0][width][grouping][.precision][type] */
static bool parse_spec(struct tstate *s, const char *text, size_t bytes, struct tformat *ret) {
    size_t at = 0, step = 0;
    *ret = (struct tformat){.width = -1, .precision = -1};
    if (bytes)
        template_utf8_at(text, &step);
    if (bytes > step && step && strchr("<>=^", text[step])) {
        ret->fill = template_utf8_at(text, &step);
        ret->align = text[step];
        at = step + 1;
    } else if (bytes && text[0] && strchr("<>=^", text[0])) {
        ret->align = text[at++];
    }
    if (at < bytes && text[at] && strchr("+- ", text[at]))
        ret->sign = text[at++];
    if (at < bytes && text[at] == '#')
        ret->alternate = text[at++];
    if (at < bytes && text[at] == '0' && !ret->align)
        ret->zero = text[at++];
    if (!spec_number(s, text, bytes, &at, &ret->width))
        return false;
    if (at < bytes && (text[at] == ',' || text[at] == '_'))
        ret->grouping = text[at++];
    if (at < bytes && text[at] == '.') {
        at++;
        if (!spec_number(s, text, bytes, &at, &ret->precision))
            return false;
        if (ret->precision < 0)
            return template_fail(s, "ValueError", "Format specifier missing precision");
    }
    if (at < bytes && text[at] && strchr("bcdeEfFgGnosxX%", text[at]))
        ret->type = text[at++];
    return at == bytes || template_fail(s, "ValueError", "Invalid format specifier");
}

static bool put_field(struct tstate *s, struct tbuilder *out, struct tvalue v, const struct tstring *spec,
                      bool markup) {
    struct tformat format;
    const struct tstring *text;
    if (spec->bytes == 0) {
        if (!template_str(s, v, &text))
            return false;
        struct tvalue shown = template_of_string(text);
        if (markup && !text->markup && !template_escape(s, text, &shown))
            return false;
        return template_put_str(s, out, shown);
    }
    if (v.kind != TV_STRING && !template_is_number(v))
        return template_fail(s, "TypeError", "unsupported format string passed to %s.__format__",
                             template_type_name(v));
    return parse_spec(s, spec->data, spec->bytes, &format) && template_put_formatted(s, out, v, &format);
}

/* One field, between its braces: name[!conversion][:spec]. */
static bool braces_field(struct tstate *s, struct braces *f, const char *text, size_t bytes, unsigned nested,
                         struct tbuilder *out) {
    size_t name = 0, brackets = 0;
    for (; name < bytes && (brackets || (text[name] != '!' && text[name] != ':')); name++)
        brackets = text[name] == '[' ? 1 : text[name] == ']' ? 0 : brackets;
    struct tvalue v, spec;
    const struct tstring *shown;
    struct tbuilder built = {0};
    struct tvalue field;
    if (!template_string_copy(s, text, name, &field) || !field_value(s, f, field.string->data, name, &v))
        return false;
    if (name < bytes && text[name] == '!') {
        if (name + 1 >= bytes || !strchr("rsa", text[name + 1]))
            return template_fail(s, "ValueError", "Unknown conversion specifier");
        if (text[name + 1] == 's' ? !template_str(s, v, &shown) : !template_repr(s, v, &shown))
            return false;
        v = template_of_string(shown);
        name += 2;
        if (name < bytes && text[name] != ':')
            return template_fail(s, "ValueError", "expected ':' after conversion specifier");
    }
    if (name < bytes && !braces_fill(s, f, text + name + 1, bytes - name - 1, nested + 1, &built))
        return false;
    return template_built(s, &built, &spec) && put_field(s, out, v, spec.string, f->markup);
}

static bool braces_fill(struct tstate *s, struct braces *f, const char *text, size_t bytes, unsigned nested,
                        struct tbuilder *out) {
    if (nested > 1)
        return template_fail(s, "ValueError", "Max string recursion exceeded");
    for (size_t at = 0; at < bytes;) {
        size_t run = at;
        while (run < bytes && text[run] != '{' && text[run] != '}')
            run++;
        if (!template_put(s, out, text + at, run - at))
            return false;
        at = run;
        if (at == bytes)
            break;
        if (at + 1 < bytes && text[at + 1] == text[at]) {
            if (!template_put(s, out, text + at, 1))
                return false;
            at += 2;
            continue;
        }
        if (text[at] == '}' || at + 1 == bytes)
            return template_fail(s, "ValueError", "Single '%c' encountered in format string", text[at]);
        size_t end = at, level = 0;
        do
            level += (size_t)(text[end] == '{') - (size_t)(text[end] == '}');
        while (level && ++end < bytes);
        if (end == bytes)
            return template_fail(s, "ValueError", "expected '}' before end of string");
        if (!braces_field(s, f, text + at + 1, end - at - 1, nested, out))
            return false;
        at = end + 1;
    }
    return true;
}

bool template_format_braces(struct tstate *s, const struct tstring *format, const struct tcall *call,
                            struct tvalue *ret) {
    struct braces f = {.call = call, .markup = format->markup};
    struct tbuilder out = {0};
    if (!braces_fill(s, &f, format->data, format->bytes, 0, &out) || !template_built(s, &out, ret))
        return false;
    template_mark(*ret, format->markup);
    return true;
}
