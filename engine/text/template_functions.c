/* SPDX-License-Identifier: Apache-2.0 */
/* Global functions of the chat template: range, dict, namespace, cycler, joiner, raise_exception, strftime_now. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "template_internal.h"

static bool function_range(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)self;
    int64_t bounds[3] = {0, 0, 1};
    if (call->keywords || call->count < 1 || call->count > 3)
        return template_fail(s, "TypeError", "range expected 1 to 3 arguments, got %zu", call->count);
    for (size_t i = 0; i < call->count; i++) {
        if (call->args[i].kind == TV_UNDEFINED || template_is_missing(call->args[i]) ||
            !template_arg_int(s, call->args[i], 0, &bounds[call->count == 1 ? 1 : i]))
            return template_fail(s, "TypeError", "'%s' object cannot be interpreted as an integer",
                                 template_type_name(call->args[i]));
    }
    struct trange *range = template_alloc(s, 1, sizeof *range);
    if (!range)
        return false;
    *range = (struct trange){.start = bounds[0], .stop = bounds[1], .step = bounds[2]};
    if (range->step == 0)
        return template_fail(s, "ValueError", "range() arg 3 must not be zero");
    bool up = range->step > 0, any = up ? range->start < range->stop : range->start > range->stop;
    uint64_t distance =
        up ? (uint64_t)range->stop - (uint64_t)range->start : (uint64_t)range->start - (uint64_t)range->stop;
    uint64_t stride = up ? (uint64_t)range->step : 0 - (uint64_t)range->step;
    uint64_t count = any ? (distance - 1) / stride + 1 : 0;
    if (count > TEMPLATE_RANGE_MAX)
        return template_fail(s, "OverflowError", "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).",
                             (int)TEMPLATE_RANGE_MAX);
    range->count = (size_t)count;
    *ret = (struct tvalue){.kind = TV_RANGE, .range = range};
    return true;
}

/* dict(x, **keywords) */
static bool build_dict(struct tstate *s, const char *name, const struct tcall *call, struct tdict **ret) {
    struct tdict *dict = template_dict_new(s);
    if (call->count > 1)
        return template_fail(s, "TypeError", "%s expected at most 1 argument, got %zu", name, call->count);
    if (!dict || (call->count && !template_dict_update(s, dict, call->args[0])))
        return false;
    if (call->keywords && !template_dict_update(s, dict, (struct tvalue){.kind = TV_DICT, .dict = call->keywords}))
        return false;
    *ret = dict;
    return true;
}

static bool function_dict(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)self;
    struct tdict *dict = NULL;
    if (!build_dict(s, "dict", call, &dict))
        return false;
    *ret = (struct tvalue){.kind = TV_DICT, .dict = dict};
    return true;
}

bool template_namespace_name(struct tstate *s, struct tvalue name) {
    const struct tstring *shown;
    if (name.kind != TV_STRING || name.string->bytes == 0 || name.string->data[0] != '_')
        return true;
    return template_repr(s, name, &shown) &&
           template_fail(s, "SecurityError",
                         "Chat templates cannot store underscore-prefixed attributes on a namespace, but got %.*s. "
                         "Please rename the attribute.",
                         (int)shown->bytes, shown->data);
}

static bool function_namespace(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)self;
    struct tdict *dict = NULL;
    if (!build_dict(s, "dict", call, &dict))
        return false;
    for (size_t i = 0; i < dict->count; i++)
        if (!template_namespace_name(s, dict->pairs[i].key))
            return false;
    *ret = (struct tvalue){.kind = TV_NAMESPACE, .names = dict};
    return true;
}

static bool function_cycler(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)self;
    struct tcycler *cycler = template_alloc(s, 1, sizeof *cycler);
    struct tvalue *items = template_alloc(s, call->count, sizeof *items), list;
    if (!cycler || !items)
        return false;
    if (call->count == 0 || call->keywords)
        return template_fail(s, "RuntimeError", "at least one item has to be provided");
    memcpy(items, call->args, call->count * sizeof *items);
    if (!template_list_of(s, TV_TUPLE, items, call->count, &list))
        return false;
    cycler->items = list.list;
    *ret = (struct tvalue){.kind = TV_CYCLER, .cycler = cycler};
    return true;
}

static bool function_joiner(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)self;
    struct tjoiner *joiner = template_alloc(s, 1, sizeof *joiner);
    if (!joiner)
        return false;
    joiner->separator = call->args[0];
    if (template_is_missing(joiner->separator) && !template_string_text(s, ", ", &joiner->separator))
        return false;
    *ret = (struct tvalue){.kind = TV_JOINER, .joiner = joiner};
    return true;
}

/* The template's own complaint, under a name of its own: callers tell it from errors of the template. */
static bool function_raise(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)self, (void)ret;
    const struct tstring *message;
    return template_str(s, call->args[0], &message) &&
           template_fail(s, "raise_exception", "%.*s", (int)message->bytes, message->data);
}

/* ---- time -------------------------------------------------------------------------------------------------------- */

/* The format with what Python adds to C's: microseconds; and without zones, which a naive clock has not. */
static bool clock_format(struct tstate *s, const struct tstring *format, const struct tstring **ret) {
    struct tbuilder b = {0};
    struct tvalue text;
    char digits[16];
    snprintf(digits, sizeof digits, "%06d", s->clock_microseconds);
    for (size_t i = 0; i < format->bytes; i++) {
        bool pair = format->data[i] == '%' && i + 1 < format->bytes;
        char next = pair ? format->data[i + 1] : '\0';
        bool ok = next == 'f'                  ? template_put_text(s, &b, digits)
                  : next == 'z' || next == 'Z' ? true
                                               : template_put(s, &b, format->data + i, pair ? 2 : 1);
        if (!ok)
            return false;
        i += pair;
    }
    /* strftime returns 0 for an empty result and for a full buffer alike: a blank at the end tells them apart. */
    if (!template_put(s, &b, " ", 2) || !template_built(s, &b, &text))
        return false;
    *ret = text.string;
    return true;
}

static bool function_strftime_now(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)self;
    const struct tstring *format;
    if (call->args[0].kind != TV_STRING)
        return template_fail(s, "TypeError", "strftime() argument 1 must be str, not %s",
                             template_type_name(call->args[0]));
    if (memchr(call->args[0].string->data, 0, call->args[0].string->bytes))
        return template_fail(s, "ValueError", "embedded null character");
    if (!clock_format(s, call->args[0].string, &format) || !template_work_bytes(s, format->bytes * 64))
        return false;
    size_t room = 256 + format->bytes * 64, used;
    char *text = template_alloc(s, room, 1);
    if (!text)
        return false;
    used = strftime(text, room, format->data, &s->clock);
    if (used == 0)
        return template_fail(s, "ValueError", "the time does not fit: a width in the format is too large");
    return template_string_copy(s, text, used - 1, ret);
}

/* ---- table ------------------------------------------------------------------------------------------------------- */

static const struct tbuiltin functions[] = {
    {"range", NULL, 0, function_range},
    {"dict", NULL, 0, function_dict},
    {"namespace", NULL, 0, function_namespace},
    {"cycler", NULL, 0, function_cycler},
    {"joiner", "sep", 0, function_joiner},
    {"raise_exception", "message", 1, function_raise},
    {"strftime_now", "format", 1, function_strftime_now},
    {0},
};

bool template_functions_add(struct tstate *s, struct tdict *context) {
    for (const struct tbuiltin *function = functions; function->name; function++) {
        struct tvalue v = {.kind = TV_FUNCTION, .function = function};
        if (!template_dict_set_text(s, context, function->name, v))
            return false;
    }
    return true;
}
