/* SPDX-License-Identifier: Apache-2.0 */
/* Operators of the chat template: Python's arithmetic with integers of 64 bits, subscripts, slices and attributes. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "template_internal.h"

static const char *const symbols[] = {"+", "-", "*", "/", "//", "%", "** or pow()"};

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

static bool fail_overflow(struct tstate *s) {
    return template_fail(s, "OverflowError", "integer result does not fit in 64 bits");
}

static bool power_integers(struct tstate *s, int64_t base, int64_t exponent, struct tvalue *ret) {
    if (exponent < 0) {
        if (base == 0)
            return template_fail(s, "ZeroDivisionError", "0.0 cannot be raised to a negative power");
        *ret = template_float(pow((double)base, (double)exponent));
        return true;
    }
    int64_t result = 1;
    while (exponent > 0) {
        if ((exponent & 1) && __builtin_mul_overflow(result, base, &result))
            return fail_overflow(s);
        exponent >>= 1;
        if (exponent && __builtin_mul_overflow(base, base, &base))
            return fail_overflow(s);
    }
    *ret = template_int(result);
    return true;
}

static bool divide_integers(struct tstate *s, enum toperator operator, int64_t a, int64_t b, struct tvalue *ret) {
    if (b == 0)
        return template_fail(s, "ZeroDivisionError",
                                operator== TOP_DIV ? "division by zero" :
                                operator== TOP_MOD ? "integer modulo by zero"
                                                   : "integer division or modulo by zero");
    if (operator== TOP_DIV) {
        *ret = template_float((double)a / (double)b);
        return true;
    }
    if (a == INT64_MIN && b == -1) {
        *ret = template_int(0);
        return operator== TOP_MOD || fail_overflow(s);
    }
    int64_t quotient = a / b, rest = a % b;
    if (rest && (rest < 0) != (b < 0)) { /* rounds towards minus infinity */
        quotient--;
        rest += b;
    }
    *ret = template_int(operator== TOP_MOD ? rest : quotient);
    return true;
}

static bool integers(struct tstate *s, enum toperator operator, int64_t a, int64_t b, struct tvalue *ret) {
    int64_t result;
    bool overflow;
    if (operator== TOP_POW)
        return power_integers(s, a, b, ret);
    if (operator!= TOP_ADD && operator!= TOP_SUB && operator!= TOP_MUL)
        return divide_integers(s, operator, a, b, ret);
    if (operator== TOP_ADD)
        overflow = __builtin_add_overflow(a, b, &result);
    else if (operator== TOP_SUB)
        overflow = __builtin_sub_overflow(a, b, &result);
    else
        overflow = __builtin_mul_overflow(a, b, &result);
    *ret = template_int(result);
    return !overflow || fail_overflow(s);
}

static bool power_reals(struct tstate *s, double a, double b, double *ret) {
    if (a == 0 && b < 0)
        return template_fail(s, "ZeroDivisionError", "0.0 cannot be raised to a negative power");
    *ret = pow(a, b);
    if (isinf(*ret) && isfinite(a) && isfinite(b))
        return template_fail(s, "OverflowError", "(34, 'Numerical result out of range')");
    if (isnan(*ret) && !isnan(a) && !isnan(b))
        return template_fail(s, "TypeError", "complex numbers are not supported");
    return true;
}

/* Python's float division: the remainder has the divisor's sign, the quotient is floored. */
static void divide_reals(double a, double b, double *ret_quotient, double *ret_rest) {
    double rest = fmod(a, b), quotient = (a - rest) / b;
    if (rest != 0 && (rest < 0) != (b < 0)) {
        rest += b;
        quotient -= 1;
    } else if (rest == 0) {
        rest = copysign(0, b);
    }
    double whole = floor(quotient);
    *ret_quotient = quotient == 0 ? copysign(0, a / b) : quotient - whole > 0.5 ? whole + 1 : whole;
    *ret_rest = rest;
}

static bool reals(struct tstate *s, enum toperator operator, double a, double b, struct tvalue *ret) {
    double quotient, rest, result = 0;
    if ((operator== TOP_DIV || operator== TOP_FLOORDIV || operator== TOP_MOD) && b == 0)
        return template_fail(s, "ZeroDivisionError",
                                operator== TOP_DIV ? "float division by zero" :
                                operator== TOP_MOD ? "float modulo"
                                                   : "float floor division by zero");
    switch (operator) {
    case TOP_ADD:
        result = a + b;
        break;
    case TOP_SUB:
        result = a - b;
        break;
    case TOP_MUL:
        result = a * b;
        break;
    case TOP_DIV:
        result = a / b;
        break;
    case TOP_FLOORDIV:
    case TOP_MOD:
        divide_reals(a, b, &quotient, &rest);
        result = operator== TOP_MOD ? rest : quotient;
        break;
    case TOP_POW:
        if (!power_reals(s, a, b, &result))
            return false;
        break;
    }
    *ret = template_float(result);
    return true;
}

/* ---- sequences --------------------------------------------------------------------------------------------------- */

/* As markupsafe joins: when one side is marked safe, the other is escaped and the result is safe. */
static bool add_text(struct tstate *s, const struct tstring *a, const struct tstring *b, struct tvalue *ret) {
    struct tvalue left = template_of_string(a), right = template_of_string(b);
    if (a->markup != b->markup && !template_escape(s, a->markup ? b : a, a->markup ? &right : &left))
        return false;
    return template_string_concat(s, left.string, right.string, ret);
}

static bool add_lists(struct tstate *s, struct tvalue a, struct tvalue b, struct tvalue *ret) {
    size_t count = a.list->count + b.list->count;
    struct tvalue *items = template_alloc(s, count, sizeof *items);
    if (!items || !template_work(s, count))
        return false;
    if (a.list->count)
        memcpy(items, a.list->items, a.list->count * sizeof *items);
    if (b.list->count)
        memcpy(items + a.list->count, b.list->items, b.list->count * sizeof *items);
    return template_list_of(s, a.kind, items, count, ret);
}

static bool repeat_text(struct tstate *s, const struct tstring *string, int64_t times, struct tvalue *ret) {
    struct tbuilder b = {0};
    for (int64_t i = 0; string->bytes && i < times; i++)
        if (!template_put(s, &b, string->data, string->bytes))
            return false;
    if (!template_built(s, &b, ret))
        return false;
    template_mark(*ret, string->markup);
    return true;
}

static bool repeat_list(struct tstate *s, struct tvalue list, int64_t times, struct tvalue *ret) {
    struct tgrowing all = {0};
    for (int64_t i = 0; list.list->count && i < times; i++)
        for (size_t k = 0; k < list.list->count; k++)
            if (!template_push(s, &all, list.list->items[k]))
                return false;
    return template_list_of(s, list.kind, all.items, all.count, ret);
}

static bool is_sequence(struct tvalue v) {
    return v.kind == TV_STRING || v.kind == TV_LIST || v.kind == TV_TUPLE;
}

static bool multiply_sequence(struct tstate *s, struct tvalue a, struct tvalue b, struct tvalue *ret) {
    struct tvalue sequence = is_sequence(a) ? a : b, times = is_sequence(a) ? b : a;
    if (!template_is_integral(times))
        return template_fail(s, "TypeError", "can't multiply sequence by non-int of type '%s'",
                             template_type_name(times));
    return sequence.kind == TV_STRING ? repeat_text(s, sequence.string, template_integer(times), ret)
                                      : repeat_list(s, sequence, template_integer(times), ret);
}

static bool fail_operands(struct tstate *s, enum toperator operator, struct tvalue a, struct tvalue b) {
    if (operator== TOP_ADD && is_sequence(a))
        return template_fail(s, "TypeError", "can only concatenate %s (not \"%s\") to %s", template_type_name(a),
                             template_type_name(b), template_type_name(a));
    return template_fail(s, "TypeError", "unsupported operand type(s) for %s: '%s' and '%s'", symbols[operator],
                         template_type_name(a), template_type_name(b));
}

bool template_binary(struct tstate *s, enum toperator operator, struct tvalue a, struct tvalue b, struct tvalue *ret) {
    if (template_is_integral(a) && template_is_integral(b))
        return integers(s, operator, template_integer(a), template_integer(b), ret);
    if (template_is_number(a) && template_is_number(b))
        return reals(s, operator, template_real(a), template_real(b), ret);
    if (operator== TOP_MOD && a.kind == TV_STRING)
        return template_format_percent(s, a.string, b, ret);
    if (a.kind == TV_UNDEFINED || b.kind == TV_UNDEFINED)
        return template_fail_undefined(s, a.kind == TV_UNDEFINED ? a.undefined : b.undefined);
    if (operator== TOP_ADD && a.kind == TV_STRING && b.kind == TV_STRING)
        return add_text(s, a.string, b.string, ret);
    if (operator== TOP_ADD && a.kind == b.kind &&(a.kind == TV_LIST || a.kind == TV_TUPLE))
        return add_lists(s, a, b, ret);
    if (operator== TOP_MUL &&(is_sequence(a) || is_sequence(b)))
        return multiply_sequence(s, a, b, ret);
    return fail_operands(s, operator, a, b);
}

bool template_negate(struct tstate *s, struct tvalue v, bool negative, struct tvalue *ret) {
    if (v.kind == TV_UNDEFINED)
        return template_fail_undefined(s, v.undefined);
    if (!template_is_number(v))
        return template_fail(s, "TypeError", "bad operand type for unary %c: '%s'", negative ? '-' : '+',
                             template_type_name(v));
    if (v.kind == TV_FLOAT) {
        *ret = template_float(negative ? -v.real : v.real);
        return true;
    }
    int64_t n = template_integer(v);
    if (negative && n == INT64_MIN)
        return fail_overflow(s);
    *ret = template_int(negative ? -n : n);
    return true;
}

/* ---- subscripts -------------------------------------------------------------------------------------------------- */

/* Whether index `at`, counted from the end when negative, is inside; *ret_index is it from the start. */
static bool index_inside(int64_t at, size_t count, size_t *ret_index) {
    if (at < 0)
        at += (int64_t)count;
    *ret_index = (size_t)at;
    return at >= 0 && (uint64_t)at < count;
}

/* object[key] as Python has it; *ret is missing where Python raises LookupError or TypeError. */
static bool subscript(struct tstate *s, struct tvalue object, struct tvalue key, struct tvalue *ret) {
    size_t index = 0;
    *ret = template_missing();
    if (object.kind == TV_DICT) {
        const struct tpair *pair = NULL;
        bool hashable = key.kind != TV_LIST && key.kind != TV_DICT && key.kind != TV_VIEW;
        if (hashable && !template_dict_find(s, object.dict, key, &pair))
            return false;
        if (pair)
            *ret = pair->value;
        return true;
    }
    if (!template_is_integral(key))
        return true;
    int64_t at = template_integer(key);
    if ((object.kind == TV_LIST || object.kind == TV_TUPLE) && index_inside(at, object.list->count, &index)) {
        *ret = object.list->items[index];
    } else if (object.kind == TV_RANGE && index_inside(at, object.range->count, &index)) {
        *ret = template_int(object.range->start + (int64_t)index * object.range->step);
    } else if (object.kind == TV_STRING && index_inside(at, object.string->chars, &index)) {
        size_t begin = template_string_offset(object.string, index), step;
        template_utf8_at(object.string->data + begin, &step);
        bool ascii = object.string->chars == object.string->bytes;
        return (ascii || template_work_bytes(s, begin)) &&
               template_string_cut(s, object.string, begin, begin + step, ret);
    }
    return true;
}

static bool undefined_in(struct tstate *s, struct tvalue object, struct tvalue key, bool unsafe, struct tvalue *ret) {
    struct tundefined *undefined = template_alloc(s, 1, sizeof *undefined);
    if (!undefined)
        return false;
    undefined->owner = template_object_name(object);
    undefined->element = key.kind != TV_STRING;
    if (key.kind == TV_STRING)
        undefined->name = key.string;
    else if (!template_repr(s, key, &undefined->name))
        return false;
    *ret = (struct tvalue){.kind = TV_UNDEFINED, .undefined = undefined};
    if (!unsafe)
        return true;
    const struct tstring *name;
    if (!template_repr(s, key, &name) ||
        !template_undefined_hint(s, ret, "access to attribute %.*s of '%s' object is unsafe.", (int)name->bytes,
                                 name->data, template_type_name(object)))
        return false;
    ((struct tundefined *)ret->undefined)->unsafe = true;
    return true;
}

bool template_undefined_attribute(struct tstate *s, struct tvalue object, const struct tstring *name,
                                  struct tvalue *ret) {
    return undefined_in(s, object, template_of_string(name), false, ret);
}

/* Dunder attributes exist on every object but are never handed out; the reference says so in its error. */
static bool is_internal(const struct tstring *name) {
    static const char *const names[] = {"__class__",   "__doc__",  "__init__", "__dict__", "__eq__",          "__len__",
                                        "__getitem__", "__repr__", "__str__",  "__hash__", "__subclasshook__"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (template_is(name, names[i]))
            return true;
    return false;
}

/* *ret_unsafe: the member exists but the sandbox refuses it. */
static bool member(struct tstate *s, struct tvalue object, const struct tstring *name, struct tvalue *ret,
                   bool *ret_unsafe) {
    *ret_unsafe = object.kind != TV_NAMESPACE && is_internal(name);
    *ret = template_missing();
    if (*ret_unsafe)
        return true;
    if (object.kind == TV_NAMESPACE) {
        const struct tpair *pair;
        if (!template_dict_find(s, object.names, template_of_string(name), &pair))
            return false;
        if (pair)
            *ret = pair->value;
        return true;
    }
    if (object.kind == TV_LOOP)
        return template_loop_member(s, object.loop, name, ret);
    if (object.kind == TV_TUPLE && object.list->group && (template_is(name, "grouper") || template_is(name, "list"))) {
        *ret = object.list->items[template_is(name, "list")];
        return true;
    }
    return template_object_member(s, object, name, ret, ret_unsafe);
}

bool template_member(struct tstate *s, struct tvalue object, const struct tstring *name, struct tvalue *ret) {
    bool unsafe;
    if (!member(s, object, name, ret, &unsafe))
        return false;
    return !unsafe || undefined_in(s, object, template_of_string(name), true, ret);
}

bool template_item(struct tstate *s, struct tvalue object, struct tvalue key, struct tvalue *ret) {
    if (object.kind == TV_UNDEFINED)
        return template_fail_undefined(s, object.undefined);
    if (!subscript(s, object, key, ret))
        return false;
    if (template_is_missing(*ret) && key.kind == TV_STRING && !template_member(s, object, key.string, ret))
        return false;
    return !template_is_missing(*ret) || undefined_in(s, object, key, false, ret);
}

bool template_attribute(struct tstate *s, struct tvalue object, const struct tstring *name, struct tvalue *ret) {
    struct tvalue key = template_of_string(name);
    if (object.kind == TV_UNDEFINED)
        return template_fail_undefined(s, object.undefined);
    if (!template_member(s, object, name, ret))
        return false;
    if (template_is_missing(*ret) && object.kind == TV_DICT && !subscript(s, object, key, ret))
        return false;
    return !template_is_missing(*ret) || undefined_in(s, object, key, false, ret);
}

/* ---- slices ------------------------------------------------------------------------------------------------------ */

struct bounds {
    int64_t start, step;
    size_t count;
};

static bool slice_bound(struct tstate *s, struct tvalue v, int64_t otherwise, int64_t low, int64_t high, size_t count,
                        int64_t *ret) {
    if (v.kind == TV_NONE) {
        *ret = otherwise;
        return true;
    }
    if (!template_is_integral(v))
        return template_fail(s, "TypeError", "slice indices must be integers or None or have an __index__ method");
    int64_t at = template_integer(v);
    if (at < 0)
        at += (int64_t)count;
    *ret = at < low ? low : at > high ? high : at;
    return true;
}

static bool slice_bounds(struct tstate *s, const struct tvalue bounds[3], size_t count, struct bounds *ret) {
    int64_t step = 1, stop = 0, length = (int64_t)count;
    if (bounds[2].kind != TV_NONE && !template_is_integral(bounds[2]))
        return template_fail(s, "TypeError", "slice indices must be integers or None or have an __index__ method");
    if (bounds[2].kind != TV_NONE)
        step = template_integer(bounds[2]);
    if (step == 0)
        return template_fail(s, "ValueError", "slice step cannot be zero");
    if (step < -INT64_MAX)
        step = -INT64_MAX;
    bool down = step < 0;
    int64_t low = down ? -1 : 0, high = down ? length - 1 : length;
    if (!slice_bound(s, bounds[0], down ? high : low, low, high, count, &ret->start) ||
        !slice_bound(s, bounds[1], down ? low : high, low, high, count, &stop))
        return false;
    ret->step = step;
    int64_t distance = down ? ret->start - stop : stop - ret->start, stride = down ? -step : step;
    ret->count = distance > 0 ? (size_t)((distance - 1) / stride + 1) : 0;
    return true;
}

static bool slice_text(struct tstate *s, const struct tstring *string, const struct bounds *b, struct tvalue *ret) {
    bool ascii = string->chars == string->bytes;
    if (b->step == 1) {
        size_t begin = template_string_offset(string, (size_t)b->start);
        size_t end = template_string_offset(string, (size_t)b->start + b->count);
        return (ascii || template_work_bytes(s, end)) && template_string_cut(s, string, begin, end, ret);
    }
    struct tbuilder out = {0};
    size_t *offsets = template_alloc(s, ascii ? 0 : string->chars, sizeof *offsets);
    if (!offsets || !template_work_bytes(s, string->bytes))
        return false;
    for (size_t i = 0, at = 0, step; !ascii && i < string->chars; i++, at += step) {
        offsets[i] = at;
        template_utf8_at(string->data + at, &step);
    }
    for (size_t i = 0; i < b->count; i++) {
        size_t at = (size_t)(b->start + (int64_t)i * b->step), step;
        const char *data = string->data + (ascii ? at : offsets[at]);
        template_utf8_at(data, &step);
        if (!template_put(s, &out, data, step))
            return false;
    }
    if (!template_built(s, &out, ret))
        return false;
    template_mark(*ret, string->markup);
    return true;
}

static bool slice_list(struct tstate *s, struct tvalue list, const struct bounds *b, struct tvalue *ret) {
    if (b->step == 1) /* lists never change, so that a part of one is a view of it */
        return template_list_of(s, list.kind, b->count ? list.list->items + b->start : NULL, b->count, ret);
    struct tvalue *items = template_alloc(s, b->count, sizeof *items);
    if (!items || !template_work(s, b->count))
        return false;
    for (size_t i = 0; i < b->count; i++)
        items[i] = list.list->items[b->start + (int64_t)i * b->step];
    return template_list_of(s, list.kind, items, b->count, ret);
}

static bool slice_range(struct tstate *s, const struct trange *range, const struct bounds *b, struct tvalue *ret) {
    struct trange *part = template_alloc(s, 1, sizeof *part);
    if (!part)
        return false;
    part->start = range->start + (b->count ? b->start * range->step : 0);
    part->count = b->count;
    if (__builtin_mul_overflow(range->step, b->step, &part->step))
        part->step = b->step < 0 ? -1 : 1; /* at most one item: the step does not matter */
    if (__builtin_mul_overflow((int64_t)b->count, part->step, &part->stop) ||
        __builtin_add_overflow(part->start, part->stop, &part->stop))
        return fail_overflow(s);
    *ret = (struct tvalue){.kind = TV_RANGE, .range = part};
    return true;
}

bool template_slice(struct tstate *s, struct tvalue object, const struct tvalue bounds[3], struct tvalue *ret) {
    struct bounds b = {0};
    size_t count;
    if (object.kind == TV_UNDEFINED)
        return template_fail_undefined(s, object.undefined);
    if (object.kind == TV_DICT)
        return template_fail(s, "TypeError", "unhashable type: 'slice'");
    if (!is_sequence(object) && object.kind != TV_RANGE)
        return template_fail(s, "TypeError", "'%s' object is not subscriptable", template_type_name(object));
    if (!template_length(s, object, &count) || !slice_bounds(s, bounds, count, &b))
        return false;
    if (object.kind == TV_STRING)
        return slice_text(s, object.string, &b, ret);
    return object.kind == TV_RANGE ? slice_range(s, object.range, &b, ret) : slice_list(s, object, &b, ret);
}
