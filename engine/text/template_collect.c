/* SPDX-License-Identifier: Apache-2.0 */
/* Lists, insertion-ordered dicts and iteration over values of the chat template. */
#include <string.h>

#include "template_internal.h"

/* ---- lists ------------------------------------------------------------------------------------------------------- */

bool template_list_of(struct tstate *s, enum tkind kind, const struct tvalue *items, size_t count, struct tvalue *ret) {
    struct tlist *list = template_alloc(s, 1, sizeof *list);
    if (!list)
        return false;
    list->items = items;
    list->count = count;
    *ret = (struct tvalue){.kind = kind, .list = list};
    return true;
}

bool template_push(struct tstate *s, struct tgrowing *list, struct tvalue v) {
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 8;
        struct tvalue *items = template_alloc(s, capacity, sizeof *items);
        if (!items)
            return false;
        if (list->count)
            memcpy(items, list->items, list->count * sizeof *items);
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = v;
    return template_work(s, 1);
}

/* ---- dicts ------------------------------------------------------------------------------------------------------- */

enum { SCAN_MAX = 8 }; /* larger tables have slots */

static uint64_t mix(uint64_t h) {
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93u;
    h ^= h >> 32;
    return h;
}

static uint64_t hash_text(const struct tstring *string) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < string->bytes; i++)
        h = (h ^ (unsigned char)string->data[i]) * 0x100000001b3u;
    return mix(h);
}

/* Equal values have equal hashes: 1, 1.0 and true are one key. */
static bool hash_value(struct tstate *s, struct tvalue v, uint64_t *ret) {
    switch (v.kind) {
    case TV_STRING:
        *ret = hash_text(v.string);
        return template_work_bytes(s, v.string->bytes);
    case TV_BOOL:
    case TV_INT:
        *ret = mix((uint64_t)template_integer(v));
        return true;
    case TV_FLOAT:
        *ret = v.real >= -0x1p63 && v.real < 0x1p63 ? mix((uint64_t)(int64_t)v.real) : 1;
        return true;
    case TV_TUPLE: {
        uint64_t h = 7, part;
        bool ok = template_enter(s);
        for (size_t i = 0; ok && i < v.list->count; i++) {
            ok = template_work(s, 1) && hash_value(s, v.list->items[i], &part);
            h = ok ? mix(h * 31 + part) : h;
        }
        template_leave(s);
        *ret = h;
        return ok;
    }
    case TV_LIST:
    case TV_DICT:
    case TV_VIEW:
        return template_fail(s, "TypeError", "unhashable type: '%s'", template_type_name(v));
    default: /* equal only when identical, or rare enough to share a bucket */
        *ret = v.kind;
        return true;
    }
}

struct tdict *template_dict_new(struct tstate *s) {
    return template_alloc(s, 1, sizeof(struct tdict));
}

static bool dict_lookup(struct tstate *s, const struct tdict *dict, struct tvalue key, uint64_t hash, size_t *ret) {
    size_t slot = dict->slots ? hash & (dict->slot_count - 1) : 0;
    for (size_t i = 0;; i++) {
        size_t at = i;
        if (dict->slots) {
            at = (size_t)dict->slots[(slot + i) & (dict->slot_count - 1)] - 1;
            if (at == SIZE_MAX)
                break;
        } else if (i == dict->count) {
            break;
        }
        bool equal = false;
        if (dict->pairs[at].hash == hash && !template_equal(s, dict->pairs[at].key, key, &equal))
            return false;
        if (equal) {
            *ret = at;
            return true;
        }
        if (!template_work(s, 1)) /* probes count: keys may be chosen to collide */
            return false;
    }
    *ret = SIZE_MAX;
    return true;
}

static void slot_take(struct tdict *dict, size_t pair) {
    size_t mask = dict->slot_count - 1, slot = dict->pairs[pair].hash & mask;
    while (dict->slots[slot])
        slot = (slot + 1) & mask;
    dict->slots[slot] = (uint32_t)pair + 1;
}

static bool dict_grow(struct tstate *s, struct tdict *dict) {
    size_t capacity = dict->capacity ? dict->capacity * 2 : 4;
    struct tpair *pairs = template_alloc(s, capacity, sizeof *pairs);
    if (!pairs)
        return false;
    if (dict->count)
        memcpy(pairs, dict->pairs, dict->count * sizeof *pairs);
    if (capacity > SCAN_MAX) {
        uint32_t *slots = template_alloc(s, capacity * 2, sizeof *slots);
        if (!slots)
            return false;
        dict->slots = slots;
        dict->slot_count = capacity * 2;
    }
    dict->pairs = pairs;
    dict->capacity = capacity;
    for (size_t i = 0; dict->slots && i < dict->count; i++)
        slot_take(dict, i);
    return true;
}

bool template_dict_set(struct tstate *s, struct tdict *dict, struct tvalue key, struct tvalue v) {
    uint64_t hash = 0;
    size_t at;
    if (!hash_value(s, key, &hash) || !dict_lookup(s, dict, key, hash, &at))
        return false;
    if (at != SIZE_MAX) {
        dict->pairs[at].value = v;
        return true;
    }
    if (dict->count == dict->capacity && !dict_grow(s, dict))
        return false;
    dict->pairs[dict->count++] = (struct tpair){.key = key, .value = v, .hash = hash};
    if (dict->slots)
        slot_take(dict, dict->count - 1);
    return true;
}

bool template_dict_set_text(struct tstate *s, struct tdict *dict, const char *key, struct tvalue v) {
    struct tvalue name;
    return template_string_copy(s, key, strlen(key), &name) && template_dict_set(s, dict, name, v);
}

bool template_dict_find(struct tstate *s, const struct tdict *dict, struct tvalue key, const struct tpair **ret) {
    uint64_t hash = 0;
    size_t at;
    if (!hash_value(s, key, &hash) || !dict_lookup(s, dict, key, hash, &at))
        return false;
    *ret = at == SIZE_MAX ? NULL : &dict->pairs[at];
    return true;
}

bool template_dict_find_text(struct tstate *s, const struct tdict *dict, const char *key, const struct tpair **ret) {
    struct tstring name = {.data = key, .bytes = strlen(key), .chars = strlen(key)};
    return template_dict_find(s, dict, template_of_string(&name), ret);
}

static bool update_from_pairs(struct tstate *s, struct tdict *dict, struct tvalue source) {
    struct titerator *it;
    if (!template_iterate(s, source, &it))
        return false;
    for (size_t i = 0;; i++) {
        struct tvalue item;
        struct tgrowing pair = {0};
        if (!it->next(s, it, &item))
            return false;
        if (template_is_missing(item))
            return true;
        if (!template_is_iterable(item))
            return template_fail(s, "TypeError", "cannot convert dictionary update sequence element #%zu to a sequence",
                                 i);
        if (!template_collect(s, item, &pair))
            return false;
        if (pair.count != 2)
            return template_fail(s, "ValueError",
                                 "dictionary update sequence element #%zu has length %zu; 2 is required", i,
                                 pair.count);
        if (!template_dict_set(s, dict, pair.items[0], pair.items[1]))
            return false;
    }
}

bool template_dict_update(struct tstate *s, struct tdict *dict, struct tvalue source) {
    if (source.kind == TV_UNDEFINED)
        return template_fail_undefined(s, source.undefined);
    if (source.kind != TV_DICT)
        return update_from_pairs(s, dict, source);
    for (size_t i = 0; i < source.dict->count; i++)
        if (!template_dict_set(s, dict, source.dict->pairs[i].key, source.dict->pairs[i].value))
            return false;
    return true;
}

bool template_pair_tuple(struct tstate *s, const struct tpair *pair, struct tvalue *ret) {
    struct tvalue *items = template_alloc(s, 2, sizeof *items);
    if (!items)
        return false;
    items[0] = pair->key;
    items[1] = pair->value;
    return template_list_of(s, TV_TUPLE, items, 2, ret);
}

/* ---- iteration --------------------------------------------------------------------------------------------------- */

static bool next_nothing(struct tstate *s, struct titerator *it, struct tvalue *ret) {
    (void)s, (void)it;
    *ret = template_missing();
    return true;
}

static bool next_item(struct tstate *s, struct titerator *it, struct tvalue *ret) {
    *ret = it->position < it->count ? it->items[it->step < 0 ? it->count - 1 - it->position : it->position]
                                    : template_missing();
    it->position += it->position < it->count;
    return template_work(s, 1);
}

static bool next_character(struct tstate *s, struct titerator *it, struct tvalue *ret) {
    *ret = template_missing();
    if (it->position >= it->text->bytes)
        return true;
    size_t step;
    template_utf8_at(it->text->data + it->position, &step);
    it->position += step;
    return template_work(s, 1) && template_string_view(s, it->text->data + it->position - step, step, ret);
}

static bool next_pair(struct tstate *s, struct titerator *it, struct tvalue *ret) {
    *ret = template_missing();
    if (!template_work(s, 1) || it->position >= it->dict->count)
        return s->fault.status == MOESAIC_OK;
    const struct tpair *pair = &it->dict->pairs[it->step < 0 ? it->dict->count - 1 - it->position : it->position];
    it->position++;
    if (it->view == TVIEW_ITEMS)
        return template_pair_tuple(s, pair, ret);
    *ret = it->view == TVIEW_KEYS ? pair->key : pair->value;
    return true;
}

static bool next_in_range(struct tstate *s, struct titerator *it, struct tvalue *ret) {
    *ret = it->position < it->range->count ? template_int(it->range->start + (int64_t)it->position * it->range->step)
                                           : template_missing();
    it->position += it->position < it->range->count;
    return template_work(s, 1);
}

struct titerator *template_iterator_new(struct tstate *s, const char *type_name,
                                        bool (*next)(struct tstate *, struct titerator *, struct tvalue *)) {
    struct titerator *it = template_alloc(s, 1, sizeof *it);
    if (!it)
        return NULL;
    it->next = next;
    it->type_name = type_name;
    it->step = 1;
    return it;
}

bool template_iterator_over(struct tstate *s, const struct tvalue *items, size_t count, const char *type_name,
                            struct tvalue *ret) {
    struct titerator *it = template_iterator_new(s, type_name, next_item);
    if (!it)
        return false;
    it->items = items;
    it->count = count;
    *ret = (struct tvalue){.kind = TV_ITERATOR, .iterator = it};
    return true;
}

bool template_is_iterable(struct tvalue v) {
    switch (v.kind) {
    case TV_UNDEFINED:
    case TV_STRING:
    case TV_LIST:
    case TV_TUPLE:
    case TV_DICT:
    case TV_VIEW:
    case TV_RANGE:
    case TV_ITERATOR:
    case TV_LOOP:
        return true;
    default:
        return false;
    }
}

bool template_iterate(struct tstate *s, struct tvalue v, struct titerator **ret) {
    if (v.kind == TV_ITERATOR) {
        *ret = v.iterator;
        return true;
    }
    if (!template_is_iterable(v))
        return template_fail(s, "TypeError", "'%s' object is not iterable", template_type_name(v));
    if (v.kind == TV_LOOP)
        return template_loop_iterate(s, v.loop, ret);
    struct titerator *it = template_iterator_new(s, "iterator", next_nothing);
    if (!it)
        return false;
    if (v.kind == TV_LIST || v.kind == TV_TUPLE) {
        it->next = next_item;
        it->items = v.list->items;
        it->count = v.list->count;
    } else if (v.kind == TV_STRING) {
        it->next = next_character;
        it->text = v.string;
    } else if (v.kind == TV_DICT || v.kind == TV_VIEW) {
        it->next = next_pair;
        it->dict = v.kind == TV_DICT ? v.dict : v.view->dict;
        it->view = v.kind == TV_DICT ? TVIEW_KEYS : v.view->kind;
    } else if (v.kind == TV_RANGE) {
        it->next = next_in_range;
        it->range = v.range;
    }
    *ret = it;
    return true;
}

bool template_collect(struct tstate *s, struct tvalue v, struct tgrowing *ret) {
    struct titerator *it;
    if (!template_iterate(s, v, &it))
        return false;
    *ret = (struct tgrowing){0};
    for (;;) {
        struct tvalue item;
        if (!it->next(s, it, &item))
            return false;
        if (template_is_missing(item))
            return true;
        if (!template_push(s, ret, item))
            return false;
    }
}
