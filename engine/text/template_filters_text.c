/* SPDX-License-Identifier: Apache-2.0 */
/* Filters over text and numbers, and the table that finds a filter by its name. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "template_filters_internal.h"
#include "template_text_internal.h"

/* ---- text mapped to text ----------------------------------------------------------------------------------------- */

/* As markupsafe's soft_str: text stays what it is, everything else becomes str(). */
static bool soft(struct tstate *s, struct tvalue *io_value) {
    const struct tstring *text;
    if (!template_str(s, *io_value, &text))
        return false;
    *io_value = template_of_string(text);
    return true;
}

static bool filter_upper(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)call;
    return soft(s, &self) && template_map_case(s, self.string, TCASE_UPPER, ret);
}
static bool filter_lower(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)call;
    return soft(s, &self) && template_map_case(s, self.string, TCASE_LOWER, ret);
}
static bool filter_capitalize(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)call;
    return soft(s, &self) && template_text_capital(s, self.string, ret);
}
static bool filter_trim(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return soft(s, &self) && template_text_strip_ends(s, self.string, call->args[0], true, true, ret);
}
static bool filter_string(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)call;
    *ret = self;
    return soft(s, ret);
}

/* Words begin after blanks, hyphens and opening brackets; unlike str.title, an apostrophe begins none. */
static bool filter_title(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)call;
    struct tbuilder b = {0};
    if (!soft(s, &self))
        return false;
    bool first = true;
    for (size_t i = 0, step; i < self.string->bytes; i += step) {
        uint32_t code = template_utf8_at(self.string->data + i, &step), codes[TEMPLATE_CASE_CODES];
        unsigned count = template_char_map(code, first ? TCASE_UPPER : TCASE_LOWER, codes);
        for (unsigned k = 0; k < count; k++)
            if (!template_put_code(s, &b, codes[k]))
                return false;
        first = template_char_space(code) || code == '-' || code == '(' || code == '{' || code == '[' || code == '<';
    }
    return template_built(s, &b, ret);
}

static bool filter_center(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    int64_t width;
    return soft(s, &self) && template_arg_int(s, call->args[0], 80, &width) &&
           template_text_pad(s, self.string, width, '^', ' ', ret);
}

static bool filter_replace(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    struct tvalue old = call->args[0], by = call->args[1];
    int64_t count;
    return soft(s, &self) && soft(s, &old) && soft(s, &by) &&
           template_arg_int(s, call->args[2].kind == TV_NONE ? template_missing() : call->args[2], -1, &count) &&
           template_text_replace_all(s, self.string, old.string, by.string, count, ret);
}

/* What Python says of `value += "\n"` and then .splitlines(). */
static bool fail_indent(struct tstate *s, struct tvalue v) {
    if (v.kind == TV_UNDEFINED)
        return template_fail_undefined(s, v.undefined);
    if (v.kind == TV_LIST)
        return template_fail(s, "AttributeError", "'list' object has no attribute 'splitlines'");
    return template_fail(s, "TypeError", "unsupported operand type(s) for +=: '%s' and 'str'", template_type_name(v));
}

static bool filter_indent(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    struct tbuilder b = {0}, margin = {0};
    struct tvalue indent = call->args[0];
    struct tgrowing lines;
    bool first, blank, markup = self.kind == TV_STRING && self.string->markup;
    int64_t width;
    if (self.kind != TV_STRING)
        return fail_indent(s, self);
    if (indent.kind != TV_STRING && (!template_arg_int(s, indent, 4, &width) ||
                                     !template_put_repeated(s, &margin, ' ', width > 0 ? (size_t)width : 0) ||
                                     !template_built(s, &margin, &indent)))
        return false;
    if (!template_arg_truth(s, call->args[1], false, &first) || !template_arg_truth(s, call->args[2], false, &blank) ||
        !template_text_lines(s, self.string, false, &lines))
        return false;
    /* A line break at the very end stands before one more, empty line. */
    size_t bytes = self.string->bytes;
    bool ends_broken = bytes && lines.count &&
                       lines.items[lines.count - 1].string->data + lines.items[lines.count - 1].string->bytes !=
                           self.string->data + bytes;
    size_t count = lines.count + (bytes == 0 || ends_broken);
    for (size_t i = 0; i < count; i++) {
        const struct tstring *line = i < lines.count ? lines.items[i].string : NULL;
        bool has = i == 0 ? first : blank || (line && line->bytes);
        if ((i && !template_put(s, &b, "\n", 1)) ||
            (has && !template_put(s, &b, indent.string->data, indent.string->bytes)) ||
            (line && !template_put(s, &b, line->data, line->bytes)))
            return false;
    }
    if (!template_built(s, &b, ret))
        return false;
    template_mark(*ret, markup);
    return true;
}

/* The beginning of a text without its last word, or all of it where there is one word only. */
static bool drop_word(struct tstate *s, struct tvalue *io_text) {
    if (io_text->kind != TV_STRING)
        return template_fail(s, "AttributeError", "'%s' object has no attribute 'rsplit'",
                             template_type_name(*io_text));
    const char *blank = memrchr(io_text->string->data, ' ', io_text->string->bytes);
    return !blank || template_string_cut(s, io_text->string, 0, (size_t)(blank - io_text->string->data), io_text);
}

static bool filter_truncate(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    struct tvalue end = call->args[2], leeway = call->args[3];
    int64_t length, slack;
    size_t has, marks;
    bool kill;
    if (!template_arg_int(s, call->args[0], 255, &length) || !template_arg_truth(s, call->args[1], false, &kill) ||
        !template_arg_int(s, leeway.kind == TV_NONE ? template_missing() : leeway, 5, &slack) ||
        (template_is_missing(end) && !template_string_text(s, "...", &end)) || !template_length(s, end, &marks))
        return false;
    if (length < (int64_t)marks || slack < 0)
        return template_fail(s, "AssertionError", "expected length >= %zu and leeway >= 0", marks);
    if (!template_length(s, self, &has))
        return false;
    *ret = self;
    if ((int64_t)has - slack <= length)
        return true;
    struct tvalue bounds[3] = {template_none(), template_int(length - (int64_t)marks), template_none()};
    return template_slice(s, self, bounds, ret) && (kill || drop_word(s, ret)) &&
           template_binary(s, TOP_ADD, *ret, end, ret);
}

static bool filter_wordcount(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)call;
    int64_t count = 0;
    bool inside = false;
    if (!soft(s, &self))
        return false;
    for (size_t i = 0, step; i < self.string->bytes; i += step) {
        bool word = template_char_word(template_utf8_at(self.string->data + i, &step));
        count += word && !inside;
        inside = word;
    }
    *ret = template_int(count);
    return template_work_bytes(s, self.string->bytes);
}

static bool filter_join(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    struct titerator *it;
    struct tpath path;
    struct tbuilder b = {0};
    struct tvalue by = call->args[0];
    if ((template_is_missing(by) && !template_string_text(s, "", &by)) || !soft(s, &by) ||
        !template_path_read(s, call->args[1], &path) || !template_iterate(s, self, &it))
        return false;
    for (size_t i = 0;; i++) {
        struct tvalue item;
        if (!it->next(s, it, &item))
            return false;
        if (template_is_missing(item))
            return template_built(s, &b, ret);
        if (!template_path_follow(s, &path, item, template_missing(), &item) ||
            (i && !template_put(s, &b, by.string->data, by.string->bytes)) || !template_put_str(s, &b, item))
            return false;
    }
}

static bool filter_format(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    struct tvalue args;
    if (call->count && call->keywords)
        return template_fail(s, "FilterArgumentError",
                             "can't handle positional and keyword arguments at the same time");
    if (call->keywords)
        args = (struct tvalue){.kind = TV_DICT, .dict = call->keywords};
    else if (!template_list_of(s, TV_TUPLE, call->args, call->count, &args))
        return false;
    return soft(s, &self) && template_format_percent(s, self.string, args, ret);
}

/* ---- markup and URLs --------------------------------------------------------------------------------------------- */

static bool filter_escape(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)call;
    *ret = self;
    if (!soft(s, ret))
        return false;
    return (self.kind == TV_STRING && self.string->markup) || template_escape(s, ret->string, ret);
}

static bool filter_forceescape(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)call;
    return soft(s, &self) && template_escape(s, self.string, ret);
}

static bool filter_safe(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)call;
    if (!soft(s, &self))
        return false;
    struct tstring *marked = template_alloc(s, 1, sizeof *marked);
    if (!marked)
        return false;
    *marked = *self.string;
    marked->markup = true;
    *ret = template_of_string(marked);
    return true;
}

static bool put_quoted(struct tstate *s, struct tbuilder *b, struct tvalue v, bool query) {
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~";
    if (!soft(s, &v))
        return false;
    for (size_t i = 0; i < v.string->bytes; i++) {
        char c = v.string->data[i], text[4];
        if ((c && strchr(plain, c)) || (c == '/' && !query))
            snprintf(text, sizeof text, "%c", c);
        else if (c == ' ' && query)
            snprintf(text, sizeof text, "+");
        else
            snprintf(text, sizeof text, "%%%02X", (unsigned char)c);
        if (!template_put_text(s, b, text))
            return false;
    }
    return true;
}

static bool filter_urlencode(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)call;
    struct tbuilder b = {0};
    if (self.kind == TV_STRING || !template_is_iterable(self))
        return put_quoted(s, &b, self, false) && template_built(s, &b, ret);
    struct titerator *it;
    struct tvalue source = self;
    struct tview items = {.dict = self.dict, .kind = TVIEW_ITEMS};
    if (self.kind == TV_DICT)
        source = (struct tvalue){.kind = TV_VIEW, .view = &items};
    if (!template_iterate(s, source, &it))
        return false;
    for (size_t i = 0;; i++) {
        struct tvalue item;
        struct tgrowing pair;
        if (!it->next(s, it, &item))
            return false;
        if (template_is_missing(item))
            return template_built(s, &b, ret);
        if (!template_collect(s, item, &pair))
            return false;
        if (pair.count != 2)
            return template_fail(s, "ValueError", "expected pairs, not %zu values", pair.count);
        if ((i && !template_put_text(s, &b, "&")) || !put_quoted(s, &b, pair.items[0], true) ||
            !template_put_text(s, &b, "=") || !put_quoted(s, &b, pair.items[1], true))
            return false;
    }
}

static bool filter_xmlattr(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    struct tbuilder b = {0};
    bool autospace;
    if (self.kind != TV_DICT)
        return template_fail(s, "AttributeError", "'%s' object has no attribute 'items'", template_type_name(self));
    if (!template_arg_truth(s, call->args[0], true, &autospace))
        return false;
    for (size_t i = 0; i < self.dict->count; i++) {
        struct tvalue key = self.dict->pairs[i].key, v = self.dict->pairs[i].value;
        if (v.kind == TV_NONE || v.kind == TV_UNDEFINED)
            continue;
        if (!soft(s, &key) || !soft(s, &v))
            return false;
        if (key.string->bytes != 0 && memchr(key.string->data, ' ', key.string->bytes))
            return template_fail(s, "ValueError", "Invalid character in attribute name");
        if (((b.buffer || autospace) && !template_put_text(s, &b, " ")) || !template_escape(s, key.string, &key) ||
            (!v.string->markup && !template_escape(s, v.string, &v)) || !template_put_str(s, &b, key) ||
            !template_put_text(s, &b, "=\"") || !template_put_str(s, &b, v) || !template_put_text(s, &b, "\""))
            return false;
    }
    return template_built(s, &b, ret);
}

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

static bool filter_abs(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)call;
    if (self.kind == TV_UNDEFINED || !template_is_number(self))
        return template_fail(s, "TypeError", "bad operand type for abs(): '%s'", template_type_name(self));
    if (self.kind == TV_FLOAT) {
        *ret = template_float(fabs(self.real));
        return true;
    }
    *ret = template_int(template_integer(self));
    return ret->integer >= 0 || template_negate(s, *ret, true, ret);
}

/* int(x) of a real number; *ret_valid is false where Python raises ValueError (NaN). */
static bool truncate_real(struct tstate *s, double x, bool *ret_valid, struct tvalue *ret) {
    *ret_valid = !isnan(x);
    if (isnan(x))
        return true;
    if (!(x >= -0x1p63 && x < 0x1p63))
        return template_fail(s, "OverflowError",
                             isinf(x) ? "cannot convert float infinity to integer"
                                      : "integer result does not fit in 64 bits");
    *ret = template_int((int64_t)x);
    return true;
}

static bool filter_int(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    int64_t base, n = 0;
    bool valid = false;
    double x = 0;
    *ret = template_is_missing(call->args[0]) ? template_int(0) : call->args[0];
    if (self.kind == TV_UNDEFINED)
        return template_fail_undefined(s, self.undefined);
    if (template_is_integral(self)) {
        *ret = template_int(template_integer(self));
        return true;
    }
    if (self.kind == TV_FLOAT)
        return truncate_real(s, self.real, &valid, ret);
    if (self.kind != TV_STRING)
        return true;
    if (!template_arg_int(s, call->args[1], 10, &base) || !template_parse_int(s, self.string, base, &valid, &n))
        return false;
    if (valid) {
        *ret = template_int(n);
        return true;
    }
    return template_parse_float(s, self.string, &valid, &x) && (!valid || isinf(x) || truncate_real(s, x, &valid, ret));
}

static bool filter_float(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    bool valid = false;
    double x;
    *ret = template_is_missing(call->args[0]) ? template_float(0) : call->args[0];
    if (self.kind == TV_UNDEFINED)
        return template_fail_undefined(s, self.undefined);
    if (template_is_number(self)) {
        *ret = template_float(template_real(self));
        return true;
    }
    if (self.kind != TV_STRING)
        return true;
    if (!template_parse_float(s, self.string, &valid, &x))
        return false;
    if (valid)
        *ret = template_float(x);
    return true;
}

/* round(x, digits) by way of the exact decimal expansion, half to even, as Python does. */
static double round_decimal(double x, int64_t digits) {
    char text[512];
    if (!isfinite(x) || digits > 22 + 300)
        return x;
    if (digits >= 0) {
        snprintf(text, sizeof text, "%.*f", (int)digits > 150 ? 150 : (int)digits, x);
        return strtod(text, NULL);
    }
    if (digits < -308)
        return copysign(0, x);
    double scale = pow(10, (double)-digits);
    return nearbyint(x / scale) * scale;
}

static bool round_integer(struct tstate *s, int64_t n, int64_t digits, struct tvalue *ret) {
    int64_t scale = 1;
    *ret = template_int(n);
    if (digits >= 0)
        return true;
    for (int64_t i = digits; i < 0; i++)
        if (__builtin_mul_overflow(scale, 10, &scale)) {
            *ret = template_int(0);
            return true;
        }
    int64_t rest = n % scale, down = n - rest;
    int64_t twice = rest < 0 ? -rest : rest, half = scale / 2;
    bool away = twice > half || (twice == half && (down / scale) % 2 != 0);
    return template_binary(s, TOP_ADD, template_int(down), template_int(away ? (n < 0 ? -scale : scale) : 0), ret);
}

static bool filter_round(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    int64_t digits;
    struct tvalue method = call->args[1];
    bool ceiling = method.kind == TV_STRING && template_is(method.string, "ceil");
    bool floors = method.kind == TV_STRING && template_is(method.string, "floor");
    bool common = template_is_missing(method) || (method.kind == TV_STRING && template_is(method.string, "common"));
    if (!ceiling && !floors && !common)
        return template_fail(s, "FilterArgumentError", "method must be common, ceil or floor");
    if (!template_arg_int(s, call->args[0], 0, &digits))
        return false;
    if (self.kind == TV_UNDEFINED || !template_is_number(self))
        return self.kind == TV_UNDEFINED && !common
                   ? template_fail_undefined(s, self.undefined)
                   : template_fail(s, "TypeError", "type %s doesn't define __round__ method", template_type_name(self));
    if (common && template_is_integral(self))
        return round_integer(s, template_integer(self), digits, ret);
    double scale = pow(10, (double)digits), x = template_real(self);
    /* The reference rounds to an integer first, which has no negative zero. */
    double whole = (ceiling ? ceil(x * scale) : floor(x * scale)) + 0.0;
    *ret = template_float(common ? round_decimal(x, digits) : whole / scale);
    return true;
}

static bool filter_filesizeformat(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    static const char letters[] = "kMGTPEZY";
    struct tvalue number;
    bool binary;
    char text[64];
    const struct tcall nothing = {.args = (struct tvalue[]){{0}}, .count = 1};
    if (!filter_float(s, self, &nothing, &number) || !template_arg_truth(s, call->args[0], false, &binary))
        return false;
    double bytes = number.real, base = binary ? 1024 : 1000, unit = base;
    size_t i = 0;
    if (bytes == 1)
        snprintf(text, sizeof text, "1 Byte");
    else if (bytes < base)
        snprintf(text, sizeof text, "%.0f Bytes", trunc(bytes));
    else {
        for (; i + 1 < sizeof letters - 1 && bytes >= unit * base; i++)
            unit *= base;
        snprintf(text, sizeof text, "%.1f %c%sB", bytes / unit, binary && i == 0 ? 'K' : letters[i], binary ? "i" : "");
    }
    return template_string_copy(s, text, strlen(text), ret);
}

/* ---- the tables -------------------------------------------------------------------------------------------------- */

const struct tbuiltin template_filters_text[] = {
    {"upper", "", 0, filter_upper},
    {"lower", "", 0, filter_lower},
    {"capitalize", "", 0, filter_capitalize},
    {"title", "", 0, filter_title},
    {"trim", "chars", 0, filter_trim},
    {"string", "", 0, filter_string},
    {"center", "width", 0, filter_center},
    {"replace", "old,new,count", 2, filter_replace},
    {"indent", "width,first,blank", 0, filter_indent},
    {"truncate", "length,killwords,end,leeway", 0, filter_truncate},
    {"wordcount", "", 0, filter_wordcount},
    {"join", "d,attribute", 0, filter_join},
    {"format", NULL, 0, filter_format},
    {"escape", "/", 0, filter_escape},
    {"e", "/", 0, filter_escape},
    {"forceescape", "", 0, filter_forceescape},
    {"safe", "", 0, filter_safe},
    {"urlencode", "", 0, filter_urlencode},
    {"xmlattr", "autospace", 0, filter_xmlattr},
    {"abs", "/", 0, filter_abs},
    {"int", "default,base", 0, filter_int},
    {"float", "default", 0, filter_float},
    {"round", "precision,method", 0, filter_round},
    {"filesizeformat", "binary", 0, filter_filesizeformat},
    {0},
};

const struct tbuiltin *template_filter_find(const struct tstring *name) {
    const struct tbuiltin *const tables[] = {template_filters_text, template_filters_sequence, template_filters_lazy};
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        for (const struct tbuiltin *filter = tables[i]; filter->name; filter++)
            if (template_is(name, filter->name))
                return filter;
    return template_is(name, template_filter_tojson.name) ? &template_filter_tojson : NULL;
}
