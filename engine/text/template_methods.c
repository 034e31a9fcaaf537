/* SPDX-License-Identifier: Apache-2.0 */
/* Methods and properties of the chat template's objects, but for those of text: what the sandbox lets through. */
#include <math.h>
#include <string.h>

#include "template_internal.h"

/* ---- dict -------------------------------------------------------------------------------------------------------- */

static bool dict_get(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    const struct tpair *pair;
    if (!template_dict_find(s, self.dict, call->args[0], &pair))
        return false;
    *ret = pair ? pair->value : template_is_missing(call->args[1]) ? template_none() : call->args[1];
    return true;
}

static bool dict_view(struct tstate *s, struct tvalue self, enum tview_kind kind, struct tvalue *ret) {
    struct tview *view = template_alloc(s, 1, sizeof *view);
    if (!view)
        return false;
    view->dict = self.dict;
    view->kind = kind;
    *ret = (struct tvalue){.kind = TV_VIEW, .view = view};
    return true;
}

static bool dict_keys(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)call;
    return dict_view(s, self, TVIEW_KEYS, ret);
}

static bool dict_values(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)call;
    return dict_view(s, self, TVIEW_VALUES, ret);
}

static bool dict_items(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)call;
    return dict_view(s, self, TVIEW_ITEMS, ret);
}

static bool copy_self(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)s, (void)call;
    *ret = self; /* nothing can change it, so that a copy cannot be told from it */
    return true;
}

static bool dict_from_keys(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)self;
    struct tgrowing keys;
    struct tdict *dict = template_dict_new(s);
    struct tvalue v = template_is_missing(call->args[1]) ? template_none() : call->args[1];
    if (!dict || !template_collect(s, call->args[0], &keys))
        return false;
    for (size_t i = 0; i < keys.count; i++)
        if (!template_dict_set(s, dict, keys.items[i], v))
            return false;
    *ret = (struct tvalue){.kind = TV_DICT, .dict = dict};
    return true;
}

static const struct tbuiltin dict_methods[] = {
    {"get", "/key,default", 1, dict_get},
    {"keys", "/", 0, dict_keys},
    {"values", "/", 0, dict_values},
    {"items", "/", 0, dict_items},
    {"copy", "/", 0, copy_self},
    {"fromkeys", "/iterable,value", 1, dict_from_keys},
    {0},
};
/* What the global function dict has, called on itself: dict.fromkeys(x). */
static const struct tbuiltin dict_class_methods[] = {{"fromkeys", "/iterable,value", 1, dict_from_keys}, {0}};

/* ---- list, tuple, range ------------------------------------------------------------------------------------------ */

static bool sequence_count(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    struct titerator *it;
    int64_t count = 0;
    if (!template_iterate(s, self, &it))
        return false;
    for (;;) {
        struct tvalue item;
        bool equal;
        if (!it->next(s, it, &item))
            return false;
        if (template_is_missing(item))
            break;
        if (!template_equal(s, item, call->args[0], &equal))
            return false;
        count += equal;
    }
    *ret = template_int(count);
    return true;
}

static bool index_bound(struct tstate *s, struct tvalue v, size_t count, int64_t otherwise, int64_t *ret) {
    if (!template_arg_int(s, v, otherwise, ret))
        return false;
    if (*ret < 0)
        *ret = *ret + (int64_t)count < 0 ? 0 : *ret + (int64_t)count;
    return true;
}

static bool sequence_index(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    struct tgrowing items;
    int64_t start, stop;
    if (!template_collect(s, self, &items) || !index_bound(s, call->args[1], items.count, 0, &start) ||
        !index_bound(s, call->args[2], items.count, INT64_MAX, &stop))
        return false;
    for (int64_t i = start; i < stop && i < (int64_t)items.count; i++) {
        bool equal;
        if (!template_equal(s, items.items[i], call->args[0], &equal))
            return false;
        if (equal) {
            *ret = template_int(i);
            return true;
        }
    }
    const struct tstring *text;
    return template_repr(s, call->args[0], &text) &&
           template_fail(s, "ValueError", "%.*s is not in %s", (int)text->bytes, text->data, template_type_name(self));
}

static const struct tbuiltin list_methods[] = {
    {"count", "/value", 1, sequence_count},
    {"index", "/value,start,stop", 1, sequence_index},
    {"copy", "/", 0, copy_self},
    {0},
};
static const struct tbuiltin tuple_methods[] = {
    {"count", "/value", 1, sequence_count},
    {"index", "/value,start,stop", 1, sequence_index},
    {0},
};

/* ---- float, cycler ----------------------------------------------------------------------------------------------- */

static bool float_is_integer(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)s, (void)call;
    *ret = template_bool(isfinite(self.real) && floor(self.real) == self.real);
    return true;
}

static const struct tbuiltin float_methods[] = {{"is_integer", "/", 0, float_is_integer}, {0}};

static bool cycler_next(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)s, (void)call;
    struct tcycler *cycler = self.cycler;
    *ret = cycler->items->items[cycler->position];
    cycler->position = (cycler->position + 1) % cycler->items->count;
    return true;
}

static bool cycler_reset(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)s, (void)call;
    self.cycler->position = 0;
    *ret = template_none();
    return true;
}

static const struct tbuiltin cycler_methods[] = {{"next", "/", 0, cycler_next}, {"reset", "/", 0, cycler_reset}, {0}};

/* ---- look-up ----------------------------------------------------------------------------------------------------- */

static const struct tbuiltin *table_find(const struct tbuiltin *table, const struct tstring *name) {
    for (; table->name; table++)
        if (template_is(name, table->name))
            return table;
    return NULL;
}

static const struct tbuiltin *methods_find(struct tvalue object, const struct tstring *name) {
    switch (object.kind) {
    case TV_STRING:
        return table_find(template_string_methods, name);
    case TV_DICT:
        return table_find(dict_methods, name);
    case TV_LIST:
        return table_find(list_methods, name);
    case TV_TUPLE:
    case TV_RANGE:
        return table_find(tuple_methods, name);
    case TV_FLOAT:
        return table_find(float_methods, name);
    case TV_CYCLER:
        return table_find(cycler_methods, name);
    case TV_FUNCTION:
        return strcmp(object.function->name, "dict") ? NULL : table_find(dict_class_methods, name);
    default:
        return NULL;
    }
}

/* Methods that change their object exist, but the sandbox is the immutable one. */
static bool changes_object(struct tvalue object, const struct tstring *name) {
    static const char *const of_list[] = {"append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"};
    static const char *const of_dict[] = {"clear", "pop", "popitem", "setdefault", "update"};
    if (object.kind != TV_LIST && object.kind != TV_DICT)
        return false;
    const char *const *names = object.kind == TV_LIST ? of_list : of_dict;
    size_t count = object.kind == TV_LIST ? sizeof of_list / sizeof *of_list : sizeof of_dict / sizeof *of_dict;
    for (size_t i = 0; i < count; i++)
        if (template_is(name, names[i]))
            return true;
    return false;
}

static bool bind_method(struct tstate *s, struct tvalue object, const struct tbuiltin *builtin, struct tvalue *ret) {
    struct tmethod *method = template_alloc(s, 1, sizeof *method);
    if (!method)
        return false;
    method->self = object;
    method->builtin = builtin;
    *ret = (struct tvalue){.kind = TV_METHOD, .method = method};
    return true;
}

static bool macro_property(struct tstate *s, const struct tmacro *macro, const struct tstring *name,
                           struct tvalue *ret) {
    const struct tnode *node = macro->node;
    if (template_is(name, "name"))
        *ret = node->macro.text ? template_of_string(node->macro.text) : template_none();
    else if (template_is(name, "catch_kwargs"))
        *ret = template_bool(node->macro.uses_kwargs);
    else if (template_is(name, "catch_varargs"))
        *ret = template_bool(node->macro.uses_varargs);
    else if (template_is(name, "caller"))
        *ret = template_bool(node->macro.uses_caller);
    if (!template_is(name, "arguments"))
        return true;
    struct tgrowing names = {0};
    for (const struct tnode *param = node->macro.params.first; param; param = param->next)
        if (!template_push(s, &names, template_of_string(param->name.name)))
            return false;
    return template_list_of(s, TV_TUPLE, names.items, names.count, ret);
}

bool template_object_member(struct tstate *s, struct tvalue object, const struct tstring *name, struct tvalue *ret,
                            bool *ret_unsafe) {
    *ret_unsafe = changes_object(object, name);
    *ret = template_missing();
    if (*ret_unsafe)
        return true;
    if (object.kind == TV_MACRO)
        return macro_property(s, object.macro, name, ret);
    if (object.kind == TV_CYCLER && template_is(name, "current")) {
        *ret = object.cycler->items->items[object.cycler->position];
        return true;
    }
    const struct tbuiltin *builtin = methods_find(object, name);
    return !builtin || bind_method(s, object, builtin, ret);
}
