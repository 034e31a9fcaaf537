/* SPDX-License-Identifier: Apache-2.0 */
/* Methods of text that search, cut and join: find, count, replace, strip, split and their kin. */
#include <string.h>

#include "template_text_internal.h"

/* ---- a window [start, stop) of characters, as str.find and its kin take it --------------------------------------- */

struct window {
    size_t begin, end; /* bytes */
    bool inside;       /* false: start lies behind the end, where not even the empty string is found */
};

static bool window_bound(struct tstate *s, struct tvalue v, int64_t otherwise, int64_t chars, int64_t *ret) {
    *ret = otherwise;
    if (template_is_missing(v) || v.kind == TV_NONE)
        return true;
    if (!template_is_integral(v))
        return template_fail(s, "TypeError", "slice indices must be integers or None or have an __index__ method");
    *ret = template_integer(v);
    if (*ret < 0)
        *ret = *ret + chars < 0 ? 0 : *ret + chars;
    return true;
}

static bool window_of(struct tstate *s, const struct tstring *string, struct tvalue first, struct tvalue last,
                      struct window *ret) {
    int64_t start, stop, chars = (int64_t)string->chars;
    if (!window_bound(s, first, 0, chars, &start) || !window_bound(s, last, chars, chars, &stop))
        return false;
    ret->inside = start <= chars && start <= stop;
    stop = stop > chars ? chars : stop;
    ret->begin = template_string_offset(string, (size_t)start);
    ret->end = stop > start ? template_string_offset(string, (size_t)stop) : ret->begin;
    return string->chars == string->bytes || template_work_bytes(s, ret->end);
}

static bool want_text(struct tstate *s, struct tvalue v) {
    return v.kind == TV_STRING || template_fail(s, "TypeError", "must be str, not %s", template_type_name(v));
}

/* Last occurrence of a needle that is not empty; `bytes` when there is none. */
static bool find_last(struct tstate *s, const char *data, size_t bytes, const struct tstring *needle, size_t *ret) {
    size_t end = bytes >= needle->bytes ? bytes - needle->bytes + 1 : 0;
    *ret = bytes;
    while (end > 0) {
        const char *hit = memrchr(data, needle->data[0], end);
        size_t at = hit ? (size_t)(hit - data) : 0;
        if (!template_work_bytes(s, end - at + needle->bytes))
            return false;
        if (hit && !memcmp(hit, needle->data, needle->bytes)) {
            *ret = at;
            break;
        }
        end = at;
    }
    return true;
}

/* Character index of the first or last occurrence, or -1. */
static bool find_index(struct tstate *s, struct tvalue self, const struct tcall *call, bool last, int64_t *ret) {
    struct window w;
    size_t offset;
    if (!want_text(s, call->args[0]) || !window_of(s, self.string, call->args[1], call->args[2], &w))
        return false;
    const struct tstring *needle = call->args[0].string;
    const char *data = self.string->data + w.begin;
    size_t bytes = w.end - w.begin;
    *ret = -1;
    if (!w.inside)
        return true;
    if (needle->bytes == 0)
        offset = last ? bytes : 0;
    else if (!(last ? find_last(s, data, bytes, needle, &offset)
                    : template_find(s, data, bytes, needle->data, needle->bytes, &offset)))
        return false;
    if (needle->bytes == 0 || offset < bytes)
        *ret = (int64_t)template_utf8_count(self.string->data, w.begin + offset);
    return template_work_bytes(s, w.begin + offset);
}

static bool find(struct tstate *s, struct tvalue self, const struct tcall *call, bool last, bool must,
                 struct tvalue *ret) {
    int64_t index;
    if (!find_index(s, self, call, last, &index))
        return false;
    if (must && index < 0)
        return template_fail(s, "ValueError", "substring not found");
    *ret = template_int(index);
    return true;
}

bool template_text_find(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return find(s, self, call, false, false, ret);
}
bool template_text_rfind(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return find(s, self, call, true, false, ret);
}
bool template_text_index(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return find(s, self, call, false, true, ret);
}
bool template_text_rindex(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return find(s, self, call, true, true, ret);
}

bool template_text_count(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    struct window w;
    if (!want_text(s, call->args[0]) || !window_of(s, self.string, call->args[1], call->args[2], &w))
        return false;
    const struct tstring *needle = call->args[0].string;
    int64_t count = 0;
    if (w.inside && needle->bytes == 0)
        count = (int64_t)template_utf8_count(self.string->data + w.begin, w.end - w.begin) + 1;
    for (size_t at = w.begin, offset; needle->bytes && at < w.end; at += offset + needle->bytes, count++) {
        if (!template_find(s, self.string->data + at, w.end - at, needle->data, needle->bytes, &offset))
            return false;
        if (offset == w.end - at)
            break;
    }
    *ret = template_int(count);
    return true;
}

/* ---- prefixes and suffixes --------------------------------------------------------------------------------------- */

static bool bounded_by(const char *data, size_t bytes, const struct tstring *part, bool at_end) {
    return part->bytes <= bytes && !memcmp(at_end ? data + bytes - part->bytes : data, part->data, part->bytes);
}

static bool starts_or_ends(struct tstate *s, struct tvalue self, const struct tcall *call, bool at_end,
                           struct tvalue *ret) {
    struct window w;
    struct tvalue parts = call->args[0];
    bool found = false;
    if (parts.kind != TV_STRING && parts.kind != TV_TUPLE)
        return template_fail(s, "TypeError", "%s first arg must be str or a tuple of str, not %s",
                             at_end ? "endswith" : "startswith", template_type_name(parts));
    if (!window_of(s, self.string, call->args[1], call->args[2], &w))
        return false;
    size_t count = parts.kind == TV_TUPLE ? parts.list->count : 1;
    for (size_t i = 0; !found && i < count; i++) {
        struct tvalue part = parts.kind == TV_TUPLE ? parts.list->items[i] : parts;
        if (part.kind != TV_STRING)
            return template_fail(s, "TypeError", "tuple for %s must only contain str, not %s",
                                 at_end ? "endswith" : "startswith", template_type_name(part));
        if (!template_work_bytes(s, part.string->bytes))
            return false;
        found = w.inside && bounded_by(self.string->data + w.begin, w.end - w.begin, part.string, at_end);
    }
    *ret = template_bool(found);
    return true;
}

bool template_text_startswith(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return starts_or_ends(s, self, call, false, ret);
}
bool template_text_endswith(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return starts_or_ends(s, self, call, true, ret);
}

bool template_text_removeprefix(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    const struct tstring *string = self.string;
    if (!want_text(s, call->args[0]))
        return false;
    bool has = bounded_by(string->data, string->bytes, call->args[0].string, false);
    return template_string_cut(s, string, has ? call->args[0].string->bytes : 0, string->bytes, ret);
}

bool template_text_removesuffix(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    const struct tstring *string = self.string;
    if (!want_text(s, call->args[0]))
        return false;
    bool has = bounded_by(string->data, string->bytes, call->args[0].string, true);
    return template_string_cut(s, string, 0, string->bytes - (has ? call->args[0].string->bytes : 0), ret);
}

/* ---- strip ------------------------------------------------------------------------------------------------------- */

/* Whether the character data[0..bytes) is in the set; none is the set of blanks. */
static bool in_set(const struct tstring *set, const char *data, size_t bytes) {
    return set ? memmem(set->data, set->bytes, data, bytes) != NULL
               : template_char_space(template_utf8_at(data, &bytes));
}

/* Strips characters of `chars` (none or missing: blanks) from the ends asked for. */
bool template_text_strip_ends(struct tstate *s, const struct tstring *string, struct tvalue chars, bool left,
                              bool right, struct tvalue *ret) {
    size_t begin = 0, end = string->bytes, step;
    if (!template_is_missing(chars) && chars.kind != TV_NONE && chars.kind != TV_STRING)
        return template_fail(s, "TypeError", "strip arg must be None or str");
    const struct tstring *set = chars.kind == TV_STRING ? chars.string : NULL;
    size_t cost = set ? set->bytes : 1;
    for (; left && begin < end; begin += step) {
        template_utf8_at(string->data + begin, &step);
        if (!template_work_bytes(s, cost))
            return false;
        if (!in_set(set, string->data + begin, step))
            break;
    }
    while (right && end > begin) {
        size_t at = end - 1;
        while (((unsigned char)string->data[at] & 0xc0) == 0x80)
            at--;
        if (!template_work_bytes(s, cost))
            return false;
        if (!in_set(set, string->data + at, end - at))
            break;
        end = at;
    }
    return template_string_cut(s, string, begin, end, ret);
}

bool template_text_strip(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return template_text_strip_ends(s, self.string, call->args[0], true, true, ret);
}
bool template_text_lstrip(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return template_text_strip_ends(s, self.string, call->args[0], true, false, ret);
}
bool template_text_rstrip(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return template_text_strip_ends(s, self.string, call->args[0], false, true, ret);
}

/* ---- replace ----------------------------------------------------------------------------------------------------- */

/* Inserts `by` before each of the first `limit` characters and, if that leaves some, at the end. */
static bool replace_nothing(struct tstate *s, const struct tstring *string, const struct tstring *by, uint64_t limit,
                            struct tbuilder *b) {
    size_t at = 0, step;
    for (; at < string->bytes && limit; at += step, limit--) {
        template_utf8_at(string->data + at, &step);
        if (!template_put(s, b, by->data, by->bytes) || !template_put(s, b, string->data + at, step))
            return false;
    }
    return template_put(s, b, string->data + at, string->bytes - at) &&
           (!limit || template_put(s, b, by->data, by->bytes));
}

bool template_text_replace_all(struct tstate *s, const struct tstring *string, const struct tstring *old,
                               const struct tstring *by, int64_t count, struct tvalue *ret) {
    struct tbuilder b = {0};
    uint64_t limit = count < 0 ? UINT64_MAX : (uint64_t)count;
    size_t at = 0, offset;
    if (old->bytes == 0) {
        if (!replace_nothing(s, string, by, limit, &b))
            return false;
    }
    for (; old->bytes && limit; at += offset + old->bytes, limit--) {
        if (!template_find(s, string->data + at, string->bytes - at, old->data, old->bytes, &offset))
            return false;
        if (offset == string->bytes - at)
            break;
        if (!template_put(s, &b, string->data + at, offset) || !template_put(s, &b, by->data, by->bytes))
            return false;
    }
    if (old->bytes && at == 0) { /* nothing to replace */
        *ret = template_of_string(string);
        return true;
    }
    if (old->bytes && !template_put(s, &b, string->data + at, string->bytes - at))
        return false;
    if (!template_built(s, &b, ret))
        return false;
    template_mark(*ret, string->markup);
    return true;
}

bool template_text_replace(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    int64_t count;
    struct tvalue old = call->args[0], by = call->args[1];
    if (!want_text(s, old) || !want_text(s, by) || !template_arg_int(s, call->args[2], -1, &count))
        return false;
    if (self.string->markup && !by.string->markup && !template_escape(s, by.string, &by))
        return false;
    return template_text_replace_all(s, self.string, old.string, by.string, count, ret);
}

/* ---- split ------------------------------------------------------------------------------------------------------- */

static bool push_cut(struct tstate *s, struct tgrowing *parts, const struct tstring *string, size_t begin, size_t end) {
    struct tvalue part;
    return template_string_cut(s, string, begin, end, &part) && template_push(s, parts, part);
}

/* Runs of blanks separate; `limit` splits from the left. */
static bool split_blanks(struct tstate *s, const struct tstring *string, uint64_t limit, struct tgrowing *parts) {
    size_t at = 0, step = 0;
    for (;;) {
        for (; at < string->bytes && template_char_space(template_utf8_at(string->data + at, &step)); at += step)
            ;
        if (at == string->bytes)
            return true;
        size_t end = at;
        if (parts->count == limit) /* what is left stays as it is, blanks at its end too */
            return push_cut(s, parts, string, at, string->bytes);
        for (; end < string->bytes && !template_char_space(template_utf8_at(string->data + end, &step)); end += step)
            ;
        if (!template_work_bytes(s, end - at) || !push_cut(s, parts, string, at, end))
            return false;
        at = end;
    }
}

static bool split_by(struct tstate *s, const struct tstring *string, const struct tstring *by, uint64_t limit,
                     struct tgrowing *parts) {
    size_t at = 0, offset;
    while (parts->count < limit) {
        if (!template_find(s, string->data + at, string->bytes - at, by->data, by->bytes, &offset))
            return false;
        if (offset == string->bytes - at)
            break;
        if (!push_cut(s, parts, string, at, at + offset))
            return false;
        at += offset + by->bytes;
    }
    return push_cut(s, parts, string, at, string->bytes);
}

/* From the right; the parts come in reverse. */
static bool rsplit_by(struct tstate *s, const struct tstring *string, const struct tstring *by, uint64_t limit,
                      struct tgrowing *parts) {
    size_t end = string->bytes, offset;
    while (parts->count < limit) {
        if (!find_last(s, string->data, end, by, &offset))
            return false;
        if (offset == end)
            break;
        if (!push_cut(s, parts, string, offset + by->bytes, end))
            return false;
        end = offset;
    }
    return push_cut(s, parts, string, 0, end);
}

static bool rsplit_blanks(struct tstate *s, const struct tstring *string, uint64_t limit, struct tgrowing *parts) {
    size_t end = string->bytes;
    for (;;) {
        struct tvalue left;
        struct tstring head = {.data = string->data, .bytes = end, .chars = end};
        if (!template_text_strip_ends(s, &head, template_none(), false, true, &left))
            return false;
        end = left.string->bytes;
        if (end == 0)
            return true;
        if (parts->count == limit)
            return push_cut(s, parts, string, 0, end);
        size_t at = end, step;
        while (at > 0) {
            size_t before = at - 1;
            while (((unsigned char)string->data[before] & 0xc0) == 0x80)
                before--;
            if (template_char_space(template_utf8_at(string->data + before, &step)))
                break;
            at = before;
        }
        if (!template_work_bytes(s, end - at) || !push_cut(s, parts, string, at, end))
            return false;
        end = at;
    }
}

static bool split(struct tstate *s, struct tvalue self, const struct tcall *call, bool right, struct tvalue *ret) {
    struct tgrowing parts = {0};
    int64_t limit;
    bool blanks = template_is_missing(call->args[0]) || call->args[0].kind == TV_NONE, ok;
    if (!blanks && !want_text(s, call->args[0]))
        return false;
    if (!template_arg_int(s, call->args[1], -1, &limit))
        return false;
    uint64_t splits = limit < 0 ? UINT64_MAX : (uint64_t)limit;
    if (!blanks && call->args[0].string->bytes == 0)
        return template_fail(s, "ValueError", "empty separator");
    if (blanks)
        ok = right ? rsplit_blanks(s, self.string, splits, &parts) : split_blanks(s, self.string, splits, &parts);
    else
        ok = right ? rsplit_by(s, self.string, call->args[0].string, splits, &parts)
                   : split_by(s, self.string, call->args[0].string, splits, &parts);
    for (size_t i = 0; ok && right && i < parts.count / 2; i++) {
        struct tvalue swap = parts.items[i];
        parts.items[i] = parts.items[parts.count - 1 - i];
        parts.items[parts.count - 1 - i] = swap;
    }
    return ok && template_list_of(s, TV_LIST, parts.items, parts.count, ret);
}

bool template_text_split(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return split(s, self, call, false, ret);
}
bool template_text_rsplit(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return split(s, self, call, true, ret);
}

bool template_text_lines(struct tstate *s, const struct tstring *string, bool keep_ends, struct tgrowing *ret) {
    size_t begin = 0, step;
    *ret = (struct tgrowing){0};
    for (size_t at = 0; at < string->bytes; at += step) {
        uint32_t code = template_utf8_at(string->data + at, &step);
        if (!template_char_line_break(code))
            continue;
        size_t end = at + step;
        if (code == '\r' && end < string->bytes && string->data[end] == '\n')
            end++;
        if (!template_work_bytes(s, end - begin) || !push_cut(s, ret, string, begin, keep_ends ? end : at))
            return false;
        step = end - at;
        begin = end;
    }
    return begin == string->bytes || push_cut(s, ret, string, begin, string->bytes);
}

bool template_text_splitlines(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    struct tgrowing lines;
    bool keep;
    return template_arg_truth(s, call->args[0], false, &keep) && template_text_lines(s, self.string, keep, &lines) &&
           template_list_of(s, TV_LIST, lines.items, lines.count, ret);
}

static bool partition(struct tstate *s, struct tvalue self, const struct tcall *call, bool last, struct tvalue *ret) {
    const struct tstring *string = self.string;
    struct tgrowing parts = {0};
    struct tvalue empty;
    size_t offset;
    if (!want_text(s, call->args[0]))
        return false;
    const struct tstring *by = call->args[0].string;
    if (by->bytes == 0)
        return template_fail(s, "ValueError", "empty separator");
    if (!(last ? find_last(s, string->data, string->bytes, by, &offset)
               : template_find(s, string->data, string->bytes, by->data, by->bytes, &offset)) ||
        !template_string_text(s, "", &empty))
        return false;
    bool ok;
    if (offset < string->bytes)
        ok = push_cut(s, &parts, string, 0, offset) && template_push(s, &parts, call->args[0]) &&
             push_cut(s, &parts, string, offset + by->bytes, string->bytes);
    else
        ok = template_push(s, &parts, last ? empty : self) && template_push(s, &parts, empty) &&
             template_push(s, &parts, last ? self : empty);
    return ok && template_list_of(s, TV_TUPLE, parts.items, parts.count, ret);
}

bool template_text_partition(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return partition(s, self, call, false, ret);
}
bool template_text_rpartition(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return partition(s, self, call, true, ret);
}

/* ---- join -------------------------------------------------------------------------------------------------------- */

bool template_text_join(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    struct titerator *it;
    struct tbuilder b = {0};
    if (!template_is_iterable(call->args[0]))
        return template_fail(s, "TypeError", "can only join an iterable");
    if (!template_iterate(s, call->args[0], &it))
        return false;
    for (size_t i = 0;; i++) {
        struct tvalue item;
        if (!it->next(s, it, &item))
            return false;
        if (template_is_missing(item))
            break;
        if (item.kind != TV_STRING)
            return template_fail(s, "TypeError", "sequence item %zu: expected str instance, %s found", i,
                                 template_type_name(item));
        if (self.string->markup && !item.string->markup && !template_escape(s, item.string, &item))
            return false;
        if ((i && !template_put(s, &b, self.string->data, self.string->bytes)) ||
            !template_put(s, &b, item.string->data, item.string->bytes))
            return false;
    }
    if (!template_built(s, &b, ret))
        return false;
    template_mark(*ret, self.string->markup);
    return true;
}
