/* SPDX-License-Identifier: Apache-2.0 */
/* JSON in and out of the chat template: the caller's documents become values, and the tojson filter writes them. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "template_internal.h"

enum { MEMORY_PER_BYTE = 64, MEMORY_PER_VALUE = 512 };
static const size_t memory_bytes_max = (size_t)4 << 30;

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static bool array_from_json(struct tstate *s, const json_value *json, struct tvalue *ret) {
    size_t count = json_count(json);
    struct tvalue *items = template_alloc(s, count, sizeof *items);
    if (!items)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!template_from_json(s, json_at(json, i), &items[i]))
            return false;
    return template_list_of(s, TV_LIST, items, count, ret);
}

static bool object_from_json(struct tstate *s, const json_value *json, struct tvalue *ret) {
    struct tdict *dict = template_dict_new(s);
    const char *key;
    const json_value *member;
    if (!dict)
        return false;
    for (void *cursor = NULL; json_next(json, &cursor, &key, &member);) {
        struct tvalue v;
        if (!template_from_json(s, member, &v) || !template_dict_set_text(s, dict, key, v))
            return false;
    }
    *ret = (struct tvalue){.kind = TV_DICT, .dict = dict};
    return true;
}

static bool value_from_json(struct tstate *s, const json_value *json, struct tvalue *ret) {
    size_t bytes;
    const char *text;
    switch (json_kind_of(json)) {
    case JSON_KIND_BOOL:
        *ret = template_bool(json_truth(json));
        return true;
    case JSON_KIND_INTEGER:
        *ret = template_int(json_int(json));
        return true;
    case JSON_KIND_REAL:
        *ret = template_float(json_number(json));
        return true;
    case JSON_KIND_STRING:
        text = json_text(json, &bytes);
        return template_work_bytes(s, bytes) && template_string_view(s, text, bytes, ret);
    case JSON_KIND_ARRAY:
        return array_from_json(s, json, ret);
    case JSON_KIND_OBJECT:
        return object_from_json(s, json, ret);
    case JSON_KIND_NULL:
        break;
    }
    *ret = template_none();
    return true;
}

/* A template may need memory in proportion to what it is given to write. */
static void raise_limit(struct tstate *s, const json_value *json) {
    size_t bytes = 0, more;
    json_text(json, &bytes);
    if (size_mul(bytes, MEMORY_PER_BYTE, &more) && size_add(more, MEMORY_PER_VALUE, &more) &&
        more <= memory_bytes_max - s->arena.limit_bytes)
        s->arena.limit_bytes += more;
}

/* Strings stay where they are: the document outlives the render. */
bool template_from_json(struct tstate *s, const json_value *json, struct tvalue *ret) {
    raise_limit(s, json);
    bool ok = template_enter(s) && template_work(s, 1) && value_from_json(s, json, ret);
    template_leave(s);
    return ok;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

struct json_writer {
    struct tbuilder builder;
    const struct tstring *indent; /* one level of it; NULL: everything on one line */
    const struct tstring *item_separator, *key_separator;
    bool ascii, sorted;
    size_t level;
};

static bool write_escape(struct tstate *s, struct json_writer *w, uint32_t code) {
    static const char shorts[] = "\b\f\n\r\t\"\\", letters[] = "bfnrt\"\\";
    char text[16];
    const char *found = code && code < 0x80 ? strchr(shorts, (int)code) : NULL;
    if (found)
        snprintf(text, sizeof text, "\\%c", letters[found - shorts]);
    else if (code < 0x10000)
        snprintf(text, sizeof text, "\\u%04x", (unsigned)code);
    else
        snprintf(text, sizeof text, "\\u%04x\\u%04x", (unsigned)(0xd800 + ((code - 0x10000) >> 10)),
                 (unsigned)(0xdc00 + ((code - 0x10000) & 0x3ff)));
    return template_put_text(s, &w->builder, text);
}

static bool write_text(struct tstate *s, struct json_writer *w, const struct tstring *string) {
    bool ok = template_put(s, &w->builder, "\"", 1);
    size_t plain = 0, i = 0;
    for (size_t step; ok && i < string->bytes; i += step) {
        uint32_t code = template_utf8_at(string->data + i, &step);
        if (code >= 0x20 && code != '"' && code != '\\' && (!w->ascii || code < 0x7f))
            continue;
        ok = template_put(s, &w->builder, string->data + plain, i - plain) && write_escape(s, w, code);
        plain = i + step;
    }
    return ok && template_put(s, &w->builder, string->data + plain, i - plain) && template_put(s, &w->builder, "\"", 1);
}

static void real_text(double x, char text[TEMPLATE_FLOAT_TEXT]) {
    if (isfinite(x))
        template_float_text(x, text);
    else
        snprintf(text, TEMPLATE_FLOAT_TEXT, "%s", isnan(x) ? "NaN" : x < 0 ? "-Infinity" : "Infinity");
}

static bool write_break(struct tstate *s, struct json_writer *w) {
    if (!w->indent)
        return true;
    bool ok = template_put(s, &w->builder, "\n", 1);
    for (size_t i = 0; ok && i < w->level; i++)
        ok = template_put(s, &w->builder, w->indent->data, w->indent->bytes);
    return ok;
}

static bool write_separator(struct tstate *s, struct json_writer *w, size_t index) {
    return (index == 0 || template_put(s, &w->builder, w->item_separator->data, w->item_separator->bytes)) &&
           write_break(s, w);
}

static bool write_value(struct tstate *s, struct json_writer *w, struct tvalue v);

static bool write_array(struct tstate *s, struct json_writer *w, const struct tlist *list) {
    if (list->count == 0)
        return template_put_text(s, &w->builder, "[]");
    bool ok = template_put_text(s, &w->builder, "[");
    w->level++;
    for (size_t i = 0; ok && i < list->count; i++)
        ok = write_separator(s, w, i) && write_value(s, w, list->items[i]);
    w->level--;
    return ok && write_break(s, w) && template_put_text(s, &w->builder, "]");
}

static bool write_key(struct tstate *s, struct json_writer *w, struct tvalue key) {
    char text[TEMPLATE_FLOAT_TEXT];
    struct tvalue name;
    if (key.kind == TV_STRING)
        return write_text(s, w, key.string);
    if (key.kind == TV_INT)
        snprintf(text, sizeof text, "%lld", (long long)key.integer);
    else if (key.kind == TV_FLOAT)
        real_text(key.real, text);
    else if (key.kind == TV_BOOL || key.kind == TV_NONE)
        snprintf(text, sizeof text, "%s", key.kind == TV_NONE ? "null" : key.truth ? "true" : "false");
    else
        return template_fail(s, "TypeError", "keys must be str, int, float, bool or None, not %s",
                             template_type_name(key));
    return template_string_copy(s, text, strlen(text), &name) && write_text(s, w, name.string);
}

/* The pairs in the order asked for; sorting compares the keys as they are, as json.dumps does. */
static bool ordered_pairs(struct tstate *s, const struct json_writer *w, const struct tdict *dict,
                          struct tvalue **ret_keys, struct tvalue **ret_values) {
    struct tvalue *keys = template_alloc(s, dict->count, sizeof *keys);
    struct tvalue *values = template_alloc(s, dict->count, sizeof *values);
    if (!keys || !values)
        return false;
    for (size_t i = 0; i < dict->count; i++) {
        keys[i] = dict->pairs[i].key;
        values[i] = dict->pairs[i].value;
    }
    *ret_keys = keys;
    *ret_values = values;
    return !w->sorted || template_sort(s, keys, values, dict->count, false);
}

static bool write_object(struct tstate *s, struct json_writer *w, const struct tdict *dict) {
    struct tvalue *keys, *values;
    if (dict->count == 0)
        return template_put_text(s, &w->builder, "{}");
    bool ok = ordered_pairs(s, w, dict, &keys, &values) && template_put_text(s, &w->builder, "{");
    w->level++;
    for (size_t i = 0; ok && i < dict->count; i++)
        ok = write_separator(s, w, i) && write_key(s, w, keys[i]) &&
             template_put(s, &w->builder, w->key_separator->data, w->key_separator->bytes) &&
             write_value(s, w, values[i]);
    w->level--;
    return ok && write_break(s, w) && template_put_text(s, &w->builder, "}");
}

static bool write_scalar(struct tstate *s, struct json_writer *w, struct tvalue v) {
    char text[TEMPLATE_FLOAT_TEXT];
    switch (v.kind) {
    case TV_NONE:
        return template_put_text(s, &w->builder, "null");
    case TV_BOOL:
        return template_put_text(s, &w->builder, v.truth ? "true" : "false");
    case TV_INT:
        return template_put_repr(s, &w->builder, v);
    case TV_FLOAT:
        real_text(v.real, text);
        return template_put_text(s, &w->builder, text);
    case TV_STRING:
        return write_text(s, w, v.string);
    default:
        return template_fail(s, "TypeError", "Object of type %s is not JSON serializable", template_type_name(v));
    }
}

static bool write_any(struct tstate *s, struct json_writer *w, struct tvalue v) {
    if (v.kind == TV_LIST || v.kind == TV_TUPLE)
        return write_array(s, w, v.list);
    return v.kind == TV_DICT ? write_object(s, w, v.dict) : write_scalar(s, w, v);
}

static bool write_value(struct tstate *s, struct json_writer *w, struct tvalue v) {
    bool ok = template_enter(s) && template_work(s, 1) && write_any(s, w, v);
    template_leave(s);
    return ok;
}

/* ---- the filter -------------------------------------------------------------------------------------------------- */

/* A number of blanks or a text; none keeps one line. A negative number is as zero: line breaks only. */
static bool read_indent(struct tstate *s, struct tvalue v, struct json_writer *w) {
    struct tvalue text = v;
    if (template_is_missing(v) || v.kind == TV_NONE)
        return true;
    if (template_is_integral(v)) {
        struct tbuilder b = {0};
        int64_t width = template_integer(v);
        if (!template_put_repeated(s, &b, ' ', width > 0 ? (size_t)width : 0) || !template_built(s, &b, &text))
            return false;
    } else if (v.kind != TV_STRING) {
        return template_fail(s, "TypeError", "can't multiply sequence by non-int of type '%s'", template_type_name(v));
    }
    w->indent = text.string;
    return true;
}

static bool read_separators(struct tstate *s, struct tvalue v, struct json_writer *w) {
    struct tgrowing parts;
    struct tvalue item, key;
    if (template_is_missing(v) || v.kind == TV_NONE) {
        if (!template_string_text(s, w->indent ? "," : ", ", &item) || !template_string_text(s, ": ", &key))
            return false;
    } else {
        if (!template_collect(s, v, &parts))
            return false;
        if (parts.count != 2 || parts.items[0].kind != TV_STRING || parts.items[1].kind != TV_STRING)
            return template_fail(s, parts.count == 2 ? "TypeError" : "ValueError",
                                 "separators must be a pair of strings (item, key)");
        item = parts.items[0];
        key = parts.items[1];
    }
    w->item_separator = item.string;
    w->key_separator = key.string;
    return true;
}

/* json.dumps as transformers calls it: no HTML escapes, text as it is unless ensure_ascii is set. */
static bool filter_tojson(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    struct json_writer w = {0};
    return template_arg_truth(s, call->args[0], false, &w.ascii) && read_indent(s, call->args[1], &w) &&
           read_separators(s, call->args[2], &w) && template_arg_truth(s, call->args[3], false, &w.sorted) &&
           write_value(s, &w, self) && template_built(s, &w.builder, ret);
}

const struct tbuiltin template_filter_tojson = {"tojson", "ensure_ascii,indent,separators,sort_keys", 0, filter_tojson};
