/* SPDX-License-Identifier: Apache-2.0 */
/* Filters over collections: first and last, sort and group, batch and slice, minimum, sum and the like. */
#include <string.h>

#include "template_filters_internal.h"

/* ---- generators: their work, and its errors, wait for the first item to be asked for ----------------------------- */

struct deferred {
    bool (*make)(struct tstate *s, struct tvalue self, const struct tvalue *args, struct tgrowing *ret);
    struct tvalue self, args[2];
};

static bool deferred_next(struct tstate *s, struct titerator *it, struct tvalue *ret) {
    struct deferred *deferred = it->more;
    struct tgrowing items = {0};
    struct tvalue made;
    bool ok = template_enter(s) && deferred->make(s, deferred->self, deferred->args, &items);
    template_leave(s);
    if (!ok || !template_iterator_over(s, items.items, items.count, it->type_name, &made))
        return false;
    *it = *made.iterator;
    return it->next(s, it, ret);
}

static bool defer(struct tstate *s, struct tvalue self, const struct tcall *call,
                  bool (*make)(struct tstate *, struct tvalue, const struct tvalue *, struct tgrowing *),
                  struct tvalue *ret) {
    struct titerator *it = template_iterator_new(s, "generator", deferred_next);
    struct deferred *deferred = template_alloc(s, 1, sizeof *deferred);
    if (!it || !deferred)
        return false;
    deferred->make = make;
    deferred->self = self;
    for (size_t i = 0; i < call->count; i++)
        deferred->args[i] = call->args[i];
    it->more = deferred;
    *ret = (struct tvalue){.kind = TV_ITERATOR, .iterator = it};
    return true;
}

/* ---- whole collections ------------------------------------------------------------------------------------------- */

static bool filter_length(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)call;
    size_t length;
    if (!template_length(s, self, &length))
        return false;
    *ret = template_int((int64_t)length);
    return true;
}

static bool filter_list(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)call;
    struct tgrowing items;
    return template_collect(s, self, &items) && template_list_of(s, TV_LIST, items.items, items.count, ret);
}

static bool make_items(struct tstate *s, struct tvalue self, const struct tvalue *args, struct tgrowing *ret) {
    (void)args;
    if (self.kind != TV_UNDEFINED && self.kind != TV_DICT)
        return template_fail(s, "TypeError", "Can only get item pairs from a mapping.");
    for (size_t i = 0; self.kind == TV_DICT && i < self.dict->count; i++) {
        struct tvalue pair;
        if (!template_pair_tuple(s, &self.dict->pairs[i], &pair) || !template_push(s, ret, pair))
            return false;
    }
    return true;
}

static bool filter_items(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return defer(s, self, call, make_items, ret);
}

static bool filter_first(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)call;
    struct titerator *it;
    if (!template_iterate(s, self, &it) || !it->next(s, it, ret))
        return false;
    return !template_is_missing(*ret) || template_undefined_hint(s, ret, "No first item, sequence was empty.");
}

/* An iterator the other way round; *ret is missing for what Python cannot reverse. */
static bool reversed(struct tstate *s, struct tvalue v, struct tvalue *ret) {
    struct titerator *it;
    *ret = template_missing();
    if (v.kind == TV_ITERATOR || v.kind == TV_LOOP || !template_is_iterable(v))
        return true;
    if (v.kind == TV_DICT || v.kind == TV_VIEW) {
        if (!template_iterate(s, v, &it))
            return false;
        it->step = -1;
        it->type_name = "dict_reversekeyiterator";
        *ret = (struct tvalue){.kind = TV_ITERATOR, .iterator = it};
        return true;
    }
    struct tgrowing items;
    if (!template_collect(s, v, &items) ||
        !template_iterator_over(s, items.items, items.count, "list_reverseiterator", ret))
        return false;
    ret->iterator->step = -1;
    return true;
}

static bool filter_last(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)call;
    struct tvalue backwards;
    if (!reversed(s, self, &backwards))
        return false;
    if (template_is_missing(backwards))
        return template_fail(s, "TypeError", "'%s' object is not reversible", template_type_name(self));
    if (!backwards.iterator->next(s, backwards.iterator, ret))
        return false;
    return !template_is_missing(*ret) || template_undefined_hint(s, ret, "No last item, sequence was empty.");
}

static bool filter_reverse(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)call;
    struct tvalue backwards[3] = {template_none(), template_none(), template_int(-1)};
    struct tgrowing items;
    if (self.kind == TV_STRING)
        return template_slice(s, self, backwards, ret);
    if (!reversed(s, self, ret))
        return false;
    if (!template_is_missing(*ret))
        return true;
    if (!template_collect(s, self, &items)) {
        if (!strcmp(s->fault.kind, "TypeError")) { /* the filter explains it in its own words */
            s->fault.status = MOESAIC_OK;
            template_fail(s, "FilterArgumentError", "argument must be iterable");
        }
        return false;
    }
    if (!template_list_of(s, TV_LIST, items.items, items.count, ret))
        return false;
    return template_slice(s, *ret, backwards, ret);
}

static bool filter_default(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    bool boolean, truth = true;
    if (!template_arg_truth(s, call->args[1], false, &boolean) || (boolean && !template_truth(s, self, &truth)))
        return false;
    *ret = self;
    if (self.kind != TV_UNDEFINED && truth)
        return true;
    *ret = call->args[0];
    return !template_is_missing(*ret) || template_string_text(s, "", ret);
}

/* Attributes only, never subscripts: the namespace-like look-up of `x|attr("name")`. */
static bool filter_attr(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    if (self.kind == TV_UNDEFINED)
        return template_fail_undefined(s, self.undefined);
    if (call->args[0].kind != TV_STRING)
        return template_fail(s, "TypeError", "attribute name must be string, not '%s'",
                             template_type_name(call->args[0]));
    const struct tstring *name = call->args[0].string;
    if (!template_member(s, self, name, ret))
        return false;
    return !template_is_missing(*ret) || template_undefined_attribute(s, self, name, ret);
}

/* ---- order ------------------------------------------------------------------------------------------------------- */

static bool filter_sort(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    bool reverse, case_sensitive;
    struct tgrowing items;
    if (!template_arg_truth(s, call->args[0], false, &reverse) ||
        !template_arg_truth(s, call->args[1], false, &case_sensitive) || !template_collect(s, self, &items))
        return false;
    struct tvalue *keys = template_alloc(s, items.count, sizeof *keys);
    if (!keys)
        return false;
    for (size_t i = 0; i < items.count; i++)
        if (!template_path_keys(s, call->args[2], !case_sensitive, items.items[i], &keys[i]))
            return false;
    return template_sort(s, keys, items.items, items.count, reverse) &&
           template_list_of(s, TV_LIST, items.items, items.count, ret);
}

static bool filter_dictsort(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    bool case_sensitive, reverse;
    struct tvalue by = call->args[1];
    bool by_value = by.kind == TV_STRING && template_is(by.string, "value");
    if (!template_is_missing(by) && !by_value && !(by.kind == TV_STRING && template_is(by.string, "key")))
        return template_fail(s, "FilterArgumentError", "You can only sort by either \"key\" or \"value\"");
    if (self.kind == TV_UNDEFINED)
        return template_fail_undefined(s, self.undefined);
    if (self.kind != TV_DICT)
        return template_fail(s, "AttributeError", "'%s' object has no attribute 'items'", template_type_name(self));
    if (!template_arg_truth(s, call->args[0], false, &case_sensitive) ||
        !template_arg_truth(s, call->args[2], false, &reverse))
        return false;
    size_t count = self.dict->count;
    struct tvalue *keys = template_alloc(s, count, sizeof *keys), *items = template_alloc(s, count, sizeof *items);
    if (!keys || !items)
        return false;
    for (size_t i = 0; i < count; i++) {
        const struct tpair *pair = &self.dict->pairs[i];
        keys[i] = by_value ? pair->value : pair->key;
        if (!template_pair_tuple(s, pair, &items[i]) || (!case_sensitive && !template_fold_case(s, &keys[i])))
            return false;
    }
    return template_sort(s, keys, items, count, reverse) && template_list_of(s, TV_LIST, items, count, ret);
}

static bool extreme(struct tstate *s, struct tvalue self, const struct tcall *call, bool largest, struct tvalue *ret) {
    bool case_sensitive;
    struct tgrowing items;
    struct tpath path;
    struct tvalue best = template_missing(), key;
    if (!template_arg_truth(s, call->args[0], false, &case_sensitive) || !template_collect(s, self, &items))
        return false;
    if (items.count == 0)
        return template_undefined_hint(s, ret, "No aggregated item, sequence was empty.");
    if (!template_path_read(s, call->args[1], &path))
        return false;
    for (size_t i = 0; i < items.count; i++) {
        bool better = i == 0;
        if (!template_path_follow(s, &path, items.items[i], template_missing(), &key) ||
            (!case_sensitive && !template_fold_case(s, &key)))
            return false;
        if (i && !(largest ? template_less(s, best, key, ">", &better) : template_less(s, key, best, "<", &better)))
            return false;
        if (better) {
            best = key;
            *ret = items.items[i];
        }
    }
    return true;
}

static bool filter_min(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return extreme(s, self, call, false, ret);
}
static bool filter_max(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return extreme(s, self, call, true, ret);
}

/* ---- groups ------------------------------------------------------------------------------------------------------ */

static bool push_group(struct tstate *s, struct tgrowing *groups, const struct tpath *path, struct tvalue otherwise,
                       bool case_sensitive, struct tvalue key, const struct tvalue *items, size_t count) {
    struct tvalue *pair = template_alloc(s, 2, sizeof *pair), group;
    struct tlist *list = template_alloc(s, 1, sizeof *list);
    if (!pair || !list)
        return false;
    pair[0] = key;
    if (!case_sensitive && !template_path_follow(s, path, items[0], otherwise, &pair[0]))
        return false;
    if (!template_list_of(s, TV_LIST, items, count, &pair[1]))
        return false;
    *list = (struct tlist){.items = pair, .count = 2, .group = true};
    group = (struct tvalue){.kind = TV_TUPLE, .list = list};
    return template_push(s, groups, group);
}

static bool filter_groupby(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    struct tpath path;
    struct tgrowing items, groups = {0};
    bool case_sensitive;
    struct tvalue otherwise = call->args[1];
    if (!template_path_read(s, call->args[0], &path) || !template_arg_truth(s, call->args[2], false, &case_sensitive) ||
        !template_collect(s, self, &items))
        return false;
    struct tvalue *keys = template_alloc(s, items.count, sizeof *keys);
    if (!keys)
        return false;
    for (size_t i = 0; i < items.count; i++)
        if (!template_path_follow(s, &path, items.items[i], otherwise, &keys[i]) ||
            (!case_sensitive && !template_fold_case(s, &keys[i])))
            return false;
    if (!template_sort(s, keys, items.items, items.count, false))
        return false;
    for (size_t begin = 0, end; begin < items.count; begin = end) {
        bool same = true;
        for (end = begin + 1; end < items.count; end++) {
            if (!template_equal(s, keys[begin], keys[end], &same))
                return false;
            if (!same)
                break;
        }
        if (!push_group(s, &groups, &path, otherwise, case_sensitive, keys[begin], items.items + begin, end - begin))
            return false;
    }
    return template_list_of(s, TV_LIST, groups.items, groups.count, ret);
}

static bool make_unique(struct tstate *s, struct tvalue self, const struct tvalue *args, struct tgrowing *ret) {
    bool case_sensitive;
    struct tpath path;
    struct tgrowing items;
    struct tdict *seen = template_dict_new(s);
    if (!seen || !template_arg_truth(s, args[0], false, &case_sensitive) || !template_path_read(s, args[1], &path) ||
        !template_collect(s, self, &items))
        return false;
    for (size_t i = 0; i < items.count; i++) {
        struct tvalue key;
        size_t before = seen->count;
        if (!template_path_follow(s, &path, items.items[i], template_missing(), &key) ||
            (!case_sensitive && !template_fold_case(s, &key)) || !template_dict_set(s, seen, key, template_none()))
            return false;
        if (seen->count > before && !template_push(s, ret, items.items[i]))
            return false;
    }
    return true;
}

static bool filter_unique(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return defer(s, self, call, make_unique, ret);
}

/* ---- batches and sums -------------------------------------------------------------------------------------------- */

/* A list of items[begin, begin + count) and then `extra` times `fill`. */
static bool push_part(struct tstate *s, struct tgrowing *parts, const struct tgrowing *items, size_t begin,
                      size_t count, size_t extra, struct tvalue fill) {
    struct tgrowing part = {0};
    struct tvalue list;
    for (size_t i = 0; i < count; i++)
        if (!template_push(s, &part, items->items[begin + i]))
            return false;
    for (size_t i = 0; i < extra; i++)
        if (!template_push(s, &part, fill))
            return false;
    return template_list_of(s, TV_LIST, part.items, part.count, &list) && template_push(s, parts, list);
}

static bool is_given(struct tvalue v) {
    return !template_is_missing(v) && v.kind != TV_NONE;
}

static bool make_batch(struct tstate *s, struct tvalue self, const struct tvalue *args, struct tgrowing *ret) {
    struct tgrowing items;
    int64_t size;
    if (!template_arg_int(s, args[0], 1, &size) || !template_collect(s, self, &items))
        return false;
    size_t step = size > 0 ? (size_t)size : items.count; /* a size never reached: all in one */
    for (size_t begin = 0; begin < items.count; begin += step) {
        size_t count = items.count - begin < step ? items.count - begin : step;
        size_t extra = is_given(args[1]) && size > 0 ? step - count : 0;
        if (!push_part(s, ret, &items, begin, count, extra, args[1]))
            return false;
        if (step > items.count - begin)
            break;
    }
    return true;
}

static bool filter_batch(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return defer(s, self, call, make_batch, ret);
}

static bool make_slices(struct tstate *s, struct tvalue self, const struct tvalue *args, struct tgrowing *ret) {
    struct tgrowing items;
    int64_t slices;
    if (!template_arg_int(s, args[0], 1, &slices) || !template_collect(s, self, &items))
        return false;
    if (slices == 0)
        return template_fail(s, "ZeroDivisionError", "integer division or modulo by zero");
    if (slices > TEMPLATE_RANGE_MAX)
        return template_fail(s, "OverflowError", "more than %d slices", (int)TEMPLATE_RANGE_MAX);
    size_t count = slices > 0 ? (size_t)slices : 0;
    for (size_t i = 0, begin = 0; i < count; i++) {
        size_t size = items.count / count + (i < items.count % count);
        size_t extra = is_given(args[1]) && i >= items.count % count;
        if (!push_part(s, ret, &items, begin, size, extra, args[1]))
            return false;
        begin += size;
    }
    return true;
}

static bool filter_slice(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return defer(s, self, call, make_slices, ret);
}

static bool filter_sum(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    struct tpath path;
    struct tgrowing items;
    struct tvalue total = template_is_missing(call->args[1]) ? template_int(0) : call->args[1];
    if (!template_path_read(s, call->args[0], &path) || !template_collect(s, self, &items))
        return false;
    if (total.kind == TV_STRING)
        return template_fail(s, "TypeError", "sum() can't sum strings [use ''.join(seq) instead]");
    for (size_t i = 0; i < items.count; i++) {
        struct tvalue item;
        if (!template_path_follow(s, &path, items.items[i], template_missing(), &item) ||
            !template_binary(s, TOP_ADD, total, item, &total))
            return false;
    }
    *ret = total;
    return true;
}

const struct tbuiltin template_filters_sequence[] = {
    {"length", "/", 0, filter_length},
    {"count", "/", 0, filter_length},
    {"list", "", 0, filter_list},
    {"items", "", 0, filter_items},
    {"first", "", 0, filter_first},
    {"last", "", 0, filter_last},
    {"reverse", "", 0, filter_reverse},
    {"default", "default_value,boolean", 0, filter_default},
    {"d", "default_value,boolean", 0, filter_default},
    {"attr", "name", 1, filter_attr},
    {"sort", "reverse,case_sensitive,attribute", 0, filter_sort},
    {"dictsort", "case_sensitive,by,reverse", 0, filter_dictsort},
    {"min", "case_sensitive,attribute", 0, filter_min},
    {"max", "case_sensitive,attribute", 0, filter_max},
    {"groupby", "attribute,default,case_sensitive", 1, filter_groupby},
    {"unique", "case_sensitive,attribute", 0, filter_unique},
    {"batch", "linecount,fill_with", 1, filter_batch},
    {"slice", "slices,fill_with", 1, filter_slice},
    {"sum", "attribute,start", 0, filter_sum},
    {0},
};
