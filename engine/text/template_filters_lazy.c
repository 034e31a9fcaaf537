/* SPDX-License-Identifier: Apache-2.0 */
/* Filters that yield items one by one as they are asked for: map, select, reject and their attribute forms. */
#include <string.h>

#include "template_filters_internal.h"

/* ---- attribute paths --------------------------------------------------------------------------------------------- */

static bool path_part(struct tstate *s, const struct tstring *text, size_t begin, size_t end, struct tvalue *ret) {
    bool digits = end > begin;
    for (size_t i = begin; digits && i < end; i++)
        digits = text->data[i] >= '0' && text->data[i] <= '9';
    if (!template_string_cut(s, text, begin, end, ret))
        return false;
    bool valid = false;
    int64_t index;
    if (digits && !template_parse_int(s, ret->string, 10, &valid, &index))
        return false;
    if (valid)
        *ret = template_int(index);
    return true;
}

bool template_path_read(struct tstate *s, struct tvalue attribute, struct tpath *ret) {
    struct tgrowing parts = {0};
    *ret = (struct tpath){0};
    if (template_is_missing(attribute) || attribute.kind == TV_NONE)
        return true;
    if (attribute.kind != TV_STRING) {
        if (!template_push(s, &parts, attribute))
            return false;
    } else {
        const struct tstring *text = attribute.string;
        for (size_t begin = 0, end; begin <= text->bytes; begin = end + 1) {
            struct tvalue part;
            for (end = begin; end < text->bytes && text->data[end] != '.'; end++)
                ;
            if (!path_part(s, text, begin, end, &part) || !template_push(s, &parts, part))
                return false;
        }
    }
    *ret = (struct tpath){.parts = parts.items, .count = parts.count};
    return true;
}

bool template_path_follow(struct tstate *s, const struct tpath *path, struct tvalue item, struct tvalue otherwise,
                          struct tvalue *ret) {
    bool has_default = !template_is_missing(otherwise) && otherwise.kind != TV_NONE;
    for (size_t i = 0; i < path->count; i++) {
        if (!template_item(s, item, path->parts[i], &item))
            return false;
        if (has_default && item.kind == TV_UNDEFINED)
            item = otherwise;
    }
    *ret = item;
    return true;
}

bool template_fold_case(struct tstate *s, struct tvalue *io_value) {
    return io_value->kind != TV_STRING || template_map_case(s, io_value->string, TCASE_LOWER, io_value);
}

bool template_path_keys(struct tstate *s, struct tvalue attribute, bool fold, struct tvalue item, struct tvalue *ret) {
    struct tgrowing keys = {0};
    const struct tstring *text = attribute.kind == TV_STRING ? attribute.string : NULL;
    for (size_t begin = 0, end = 0; !text || begin <= text->bytes; begin = end + 1) {
        struct tpath path;
        struct tvalue part = attribute, key;
        for (end = begin; text && end < text->bytes && text->data[end] != ','; end++)
            ;
        if ((text && !template_string_cut(s, text, begin, end, &part)) || !template_path_read(s, part, &path) ||
            !template_path_follow(s, &path, item, template_missing(), &key) || (fold && !template_fold_case(s, &key)) ||
            !template_push(s, &keys, key))
            return false;
        if (!text)
            break;
    }
    return template_list_of(s, TV_LIST, keys.items, keys.count, ret);
}

/* ---- the generator ----------------------------------------------------------------------------------------------- */

enum lazy_kind { LAZY_MAP, LAZY_SELECT, LAZY_REJECT };

struct lazy {
    enum lazy_kind kind;
    bool by_attribute; /* selectattr, rejectattr */
    bool started;
    struct tvalue source, otherwise;
    struct tpath path;
    const struct tbuiltin *builtin; /* the filter mapped or the test applied; NULL: the attribute, or its truth */
    struct tcall call;
    struct titerator *items; /* NULL: nothing to go through */
};

/* Reads map's keywords attribute and default; others are an error, as in the reference. */
static bool start_attribute(struct tstate *s, struct lazy *lazy) {
    for (size_t i = 0; i < lazy->call.keywords->count; i++) {
        const struct tpair *pair = &lazy->call.keywords->pairs[i];
        if (template_is(pair->key.string, "attribute")) {
            if (!template_path_read(s, pair->value, &lazy->path))
                return false;
        } else if (template_is(pair->key.string, "default")) {
            lazy->otherwise = pair->value;
        } else {
            return template_fail(s, "FilterArgumentError", "Unexpected keyword argument '%.*s'",
                                 (int)pair->key.string->bytes, pair->key.string->data);
        }
    }
    return true;
}

static bool start_builtin(struct tstate *s, struct lazy *lazy) {
    const char *what = lazy->kind == LAZY_MAP ? "filter" : "test";
    struct tvalue name = lazy->call.args[0];
    const struct tstring *shown;
    if (name.kind == TV_STRING)
        lazy->builtin = lazy->kind == LAZY_MAP ? template_filter_find(name.string) : template_test_find(name.string);
    if (!lazy->builtin)
        return template_repr(s, name, &shown) &&
               template_fail(s, "TemplateRuntimeError", "No %s named %.*s.", what, (int)shown->bytes, shown->data);
    lazy->call.args++;
    lazy->call.count--;
    return true;
}

/* Runs when the first item is asked for: a generator that nobody reads raises nothing. */
static bool start(struct tstate *s, struct lazy *lazy) {
    bool any;
    const struct tpair *attribute = NULL;
    lazy->started = true;
    if (!template_truth(s, lazy->source, &any) || !any)
        return s->fault.status == MOESAIC_OK;
    if (lazy->by_attribute) {
        if (lazy->call.count == 0)
            return template_fail(s, "FilterArgumentError", "Missing parameter for attribute name");
        if (!template_path_read(s, lazy->call.args[0], &lazy->path))
            return false;
        lazy->call.args++;
        lazy->call.count--;
    }
    if (lazy->kind == LAZY_MAP && lazy->call.count == 0 && lazy->call.keywords &&
        !template_dict_find_text(s, lazy->call.keywords, "attribute", &attribute))
        return false;
    if (attribute && !start_attribute(s, lazy))
        return false;
    if (!attribute && lazy->kind == LAZY_MAP && lazy->call.count == 0)
        return template_fail(s, "FilterArgumentError", "map requires a filter argument");
    if (lazy->call.count > 0 && !start_builtin(s, lazy))
        return false;
    return template_iterate(s, lazy->source, &lazy->items);
}

/* Applies the filter or test to one item; *ret_keep tells whether it is yielded. */
static bool apply(struct tstate *s, struct lazy *lazy, struct tvalue item, struct tvalue *ret, bool *ret_keep) {
    struct tvalue value = item;
    if (!template_path_follow(s, &lazy->path, item, lazy->otherwise, &value))
        return false;
    if (lazy->builtin && !template_call_builtin(s, lazy->builtin, value, &lazy->call, &value))
        return false;
    *ret = lazy->kind == LAZY_MAP ? value : item;
    *ret_keep = true;
    if (lazy->kind == LAZY_MAP)
        return true;
    if (!template_truth(s, value, ret_keep))
        return false;
    *ret_keep ^= lazy->kind == LAZY_REJECT;
    return true;
}

static bool lazy_advance(struct tstate *s, struct lazy *lazy, struct tvalue *ret) {
    if (!lazy->started && !start(s, lazy))
        return false;
    *ret = template_missing();
    for (bool keep = false; lazy->items && !keep;) {
        struct tvalue item;
        if (!lazy->items->next(s, lazy->items, &item))
            return false;
        if (template_is_missing(item)) {
            *ret = item;
            break;
        }
        if (!apply(s, lazy, item, ret, &keep))
            return false;
    }
    return true;
}

/* Generators may be stacked by a template: each is a level of depth. */
static bool lazy_next(struct tstate *s, struct titerator *it, struct tvalue *ret) {
    bool ok = template_enter(s) && template_work(s, 1) && lazy_advance(s, it->more, ret);
    template_leave(s);
    return ok;
}

static bool lazy_new(struct tstate *s, enum lazy_kind kind, bool by_attribute, struct tvalue self,
                     const struct tcall *call, struct tvalue *ret) {
    struct titerator *it = template_iterator_new(s, "generator", lazy_next);
    struct lazy *lazy = template_alloc(s, 1, sizeof *lazy);
    struct tvalue *args = template_alloc(s, call->count, sizeof *args);
    if (!it || !lazy || !args)
        return false;
    if (call->count)
        memcpy(args, call->args, call->count * sizeof *args);
    *lazy = (struct lazy){.kind = kind, .by_attribute = by_attribute, .source = self};
    lazy->call = (struct tcall){.args = args, .count = call->count, .keywords = call->keywords};
    it->more = lazy;
    *ret = (struct tvalue){.kind = TV_ITERATOR, .iterator = it};
    return true;
}

static bool filter_map(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return lazy_new(s, LAZY_MAP, false, self, call, ret);
}
static bool filter_select(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return lazy_new(s, LAZY_SELECT, false, self, call, ret);
}
static bool filter_reject(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return lazy_new(s, LAZY_REJECT, false, self, call, ret);
}
static bool filter_selectattr(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return lazy_new(s, LAZY_SELECT, true, self, call, ret);
}
static bool filter_rejectattr(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return lazy_new(s, LAZY_REJECT, true, self, call, ret);
}

const struct tbuiltin template_filters_lazy[] = {
    {"map", NULL, 0, filter_map},
    {"select", NULL, 0, filter_select},
    {"reject", NULL, 0, filter_reject},
    {"selectattr", NULL, 0, filter_selectattr},
    {"rejectattr", NULL, 0, filter_rejectattr},
    {0},
};
