/* SPDX-License-Identifier: Apache-2.0 */
/* Values as text, the way Python's str() and repr() write them, and HTML escaping for text marked safe. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "template_internal.h"

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

/* Shortest digits that read back as x, in Python's layout: plain between 1e-4 and 1e16, scientific outside. */
void template_float_text(double x, char text[TEMPLATE_FLOAT_TEXT]) {
    if (!isfinite(x)) {
        snprintf(text, TEMPLATE_FLOAT_TEXT, "%s", isnan(x) ? "nan" : x < 0 ? "-inf" : "inf");
        return;
    }
    char digits[TEMPLATE_FLOAT_TEXT];
    int precision = 0;
    do
        snprintf(digits, sizeof digits, "%.*e", precision, x);
    while (strtod(digits, NULL) != x && ++precision < 17);
    int exponent = (int)strtol(strchr(digits, 'e') + 1, NULL, 10);
    if (exponent >= -4 && exponent < 16)
        snprintf(text, TEMPLATE_FLOAT_TEXT, "%.*f", precision > exponent ? precision - exponent : 1, x);
    else
        memcpy(text, digits, sizeof digits);
}

/* ---- text -------------------------------------------------------------------------------------------------------- */

static bool put_escaped_code(struct tstate *s, struct tbuilder *b, uint32_t code) {
    char text[16];
    if (code == '\n' || code == '\r' || code == '\t')
        return template_put_text(s, b, code == '\n' ? "\\n" : code == '\r' ? "\\r" : "\\t");
    snprintf(text, sizeof text, code < 0x100 ? "\\x%02x" : code < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)code);
    return template_put_text(s, b, text);
}

static bool put_text_repr(struct tstate *s, struct tbuilder *b, const struct tstring *string) {
    bool has_single = memchr(string->data, '\'', string->bytes), has_double = memchr(string->data, '"', string->bytes);
    char quote = has_single && !has_double ? '"' : '\'';
    if (string->markup && !template_put_text(s, b, "Markup("))
        return false;
    bool ok = template_put(s, b, &quote, 1);
    for (size_t i = 0, step; ok && i < string->bytes; i += step) {
        uint32_t code = template_utf8_at(string->data + i, &step);
        if (code == (unsigned char)quote || code == '\\')
            ok = template_put(s, b, "\\", 1) && template_put_code(s, b, code);
        else if (template_char_printable(code))
            ok = template_put(s, b, string->data + i, step);
        else
            ok = put_escaped_code(s, b, code);
    }
    return ok && template_put(s, b, &quote, 1) && (!string->markup || template_put_text(s, b, ")"));
}

/* ---- collections ------------------------------------------------------------------------------------------------- */

static bool put_items(struct tstate *s, struct tbuilder *b, const struct tlist *list, const char *open,
                      const char *close) {
    bool ok = template_put_text(s, b, open);
    for (size_t i = 0; ok && i < list->count; i++)
        ok = (i == 0 || template_put_text(s, b, ", ")) && template_put_repr(s, b, list->items[i]);
    return ok && template_put_text(s, b, close);
}

static bool put_pairs(struct tstate *s, struct tbuilder *b, const struct tdict *dict) {
    bool ok = template_put_text(s, b, "{");
    for (size_t i = 0; ok && i < dict->count; i++)
        ok = (i == 0 || template_put_text(s, b, ", ")) && template_put_repr(s, b, dict->pairs[i].key) &&
             template_put_text(s, b, ": ") && template_put_repr(s, b, dict->pairs[i].value);
    return ok && template_put_text(s, b, "}");
}

static bool put_view(struct tstate *s, struct tbuilder *b, struct tvalue v) {
    struct tgrowing items;
    struct tlist list = {0};
    if (!template_collect(s, v, &items))
        return false;
    list.items = items.items;
    list.count = items.count;
    return template_put_text(s, b, template_type_name(v)) && put_items(s, b, &list, "([", "])");
}

static bool put_range(struct tstate *s, struct tbuilder *b, const struct trange *range) {
    char text[96];
    int used = snprintf(text, sizeof text, "range(%lld, %lld", (long long)range->start, (long long)range->stop);
    if (range->step != 1)
        used += snprintf(text + used, sizeof text - (size_t)used, ", %lld", (long long)range->step);
    return template_put(s, b, text, (size_t)used) && template_put_text(s, b, ")");
}

static bool put_macro(struct tstate *s, struct tbuilder *b, const struct tmacro *macro) {
    const struct tstring *name = macro->node->macro.text;
    return template_put_text(s, b, "<Macro ") &&
           (name ? put_text_repr(s, b, name) : template_put_text(s, b, "anonymous")) && template_put_text(s, b, ">");
}

static bool put_loop(struct tstate *s, struct tbuilder *b, struct tloop *loop) {
    int64_t length;
    char text[64];
    if (!template_loop_length(s, loop, &length))
        return false;
    snprintf(text, sizeof text, "<LoopContext %lld/%lld>", (long long)loop->index0 + 1, (long long)length);
    return template_put_text(s, b, text);
}

/* Objects whose text has an address in Python, which no template can rely on. */
static bool put_object(struct tstate *s, struct tbuilder *b, struct tvalue v) {
    return template_put_text(s, b, "<") && template_put_text(s, b, template_type_name(v)) &&
           template_put_text(s, b, " object>");
}

static bool put_repr(struct tstate *s, struct tbuilder *b, struct tvalue v) {
    char number[TEMPLATE_FLOAT_TEXT];
    switch (v.kind) {
    case TV_MISSING:
    case TV_UNDEFINED:
        return template_put_text(s, b, "Undefined");
    case TV_NONE:
        return template_put_text(s, b, "None");
    case TV_BOOL:
        return template_put_text(s, b, v.truth ? "True" : "False");
    case TV_INT:
        snprintf(number, sizeof number, "%lld", (long long)v.integer);
        return template_put_text(s, b, number);
    case TV_FLOAT:
        template_float_text(v.real, number);
        return template_put_text(s, b, number);
    case TV_STRING:
        return put_text_repr(s, b, v.string);
    case TV_LIST:
        return put_items(s, b, v.list, "[", "]");
    case TV_TUPLE:
        return put_items(s, b, v.list, "(", v.list->count == 1 ? ",)" : ")");
    case TV_DICT:
        return put_pairs(s, b, v.dict);
    case TV_VIEW:
        return put_view(s, b, v);
    case TV_RANGE:
        return put_range(s, b, v.range);
    case TV_NAMESPACE:
        return template_put_text(s, b, "<Namespace ") && put_pairs(s, b, v.names) && template_put_text(s, b, ">");
    case TV_MACRO:
        return put_macro(s, b, v.macro);
    case TV_LOOP:
        return put_loop(s, b, v.loop);
    default:
        return put_object(s, b, v);
    }
}

bool template_put_repr(struct tstate *s, struct tbuilder *b, struct tvalue v) {
    bool ok = template_enter(s) && template_work(s, 1) && put_repr(s, b, v);
    template_leave(s);
    return ok;
}

bool template_put_str(struct tstate *s, struct tbuilder *b, struct tvalue v) {
    if (v.kind == TV_STRING)
        return template_put(s, b, v.string->data, v.string->bytes);
    return v.kind == TV_UNDEFINED || template_put_repr(s, b, v);
}

bool template_str(struct tstate *s, struct tvalue v, const struct tstring **ret) {
    struct tbuilder b = {0};
    struct tvalue text = v;
    if (v.kind != TV_STRING && (!template_put_str(s, &b, v) || !template_built(s, &b, &text)))
        return false;
    *ret = text.string;
    return true;
}

bool template_repr(struct tstate *s, struct tvalue v, const struct tstring **ret) {
    struct tbuilder b = {0};
    struct tvalue text;
    if (!template_put_repr(s, &b, v) || !template_built(s, &b, &text))
        return false;
    *ret = text.string;
    return true;
}

/* ---- markup ------------------------------------------------------------------------------------------------------ */

bool template_escape(struct tstate *s, const struct tstring *string, struct tvalue *ret) {
    struct tbuilder b = {0};
    for (size_t i = 0; i < string->bytes; i++) {
        const char *entity = NULL;
        switch (string->data[i]) {
        case '&':
            entity = "&amp;";
            break;
        case '<':
            entity = "&lt;";
            break;
        case '>':
            entity = "&gt;";
            break;
        case '"':
            entity = "&#34;";
            break;
        case '\'':
            entity = "&#39;";
            break;
        }
        size_t run = i;
        while (!entity && run < string->bytes && !memchr("&<>\"'", string->data[run], 5))
            run++;
        if (!(entity ? template_put_text(s, &b, entity) : template_put(s, &b, string->data + i, run - i)))
            return false;
        i = entity ? i : run - 1;
    }
    if (!template_built(s, &b, ret))
        return false;
    template_mark(*ret, true);
    return true;
}
