/* SPDX-License-Identifier: Apache-2.0 */
/* What Python asks of every value: its type's name, truth, length, equality, order and membership. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "template_internal.h"

const char *template_type_name(struct tvalue v) {
    static const char *const views[] = {"dict_keys", "dict_values", "dict_items"};
    static const char *const names[] = {
        [TV_MISSING] = "Undefined",
        [TV_UNDEFINED] = "Undefined",
        [TV_NONE] = "NoneType",
        [TV_BOOL] = "bool",
        [TV_INT] = "int",
        [TV_FLOAT] = "float",
        [TV_STRING] = "str",
        [TV_LIST] = "list",
        [TV_TUPLE] = "tuple",
        [TV_DICT] = "dict",
        [TV_RANGE] = "range",
        [TV_NAMESPACE] = "TemplateNamespace",
        [TV_MACRO] = "Macro",
        [TV_FUNCTION] = "function",
        [TV_METHOD] = "builtin_function_or_method",
        [TV_LOOP] = "LoopContext",
        [TV_CYCLER] = "Cycler",
        [TV_JOINER] = "Joiner",
    };
    if (v.kind == TV_VIEW)
        return views[v.view->kind];
    if (v.kind == TV_ITERATOR)
        return v.iterator->type_name;
    if (v.kind == TV_STRING && v.string->markup)
        return "Markup";
    return names[v.kind];
}

const char *template_object_name(struct tvalue v) {
    static const char *const views[] = {"dict_keys object", "dict_values object", "dict_items object"};
    static const char *const names[] = {
        [TV_MISSING] = "jinja2.runtime.Undefined object",
        [TV_UNDEFINED] = "jinja2.runtime.Undefined object",
        [TV_NONE] = "None",
        [TV_BOOL] = "bool object",
        [TV_INT] = "int object",
        [TV_FLOAT] = "float object",
        [TV_STRING] = "str object",
        [TV_LIST] = "list object",
        [TV_TUPLE] = "tuple object",
        [TV_DICT] = "dict object",
        [TV_RANGE] = "range object",
        [TV_ITERATOR] = "generator object",
        [TV_NAMESPACE] = "transformers.utils.chat_template_utils.TemplateNamespace object",
        [TV_MACRO] = "jinja2.runtime.Macro object",
        [TV_FUNCTION] = "function object",
        [TV_METHOD] = "builtin_function_or_method object",
        [TV_LOOP] = "jinja2.runtime.LoopContext object",
        [TV_CYCLER] = "jinja2.utils.Cycler object",
        [TV_JOINER] = "jinja2.utils.Joiner object",
    };
    if (v.kind == TV_VIEW)
        return views[v.view->kind];
    return v.kind == TV_STRING && v.string->markup ? "markupsafe.Markup object" : names[v.kind];
}

/* ---- undefined --------------------------------------------------------------------------------------------------- */

bool template_fail_undefined(struct tstate *s, const struct tundefined *undefined) {
    const char *kind = undefined->unsafe ? "SecurityError" : "UndefinedError";
    if (undefined->hint)
        return template_fail(s, kind, "%.*s", (int)undefined->hint->bytes, undefined->hint->data);
    const struct tstring *name;
    if (undefined->element)
        return template_fail(s, kind, "%s has no element %.*s", undefined->owner, (int)undefined->name->bytes,
                             undefined->name->data);
    if (!template_repr(s, template_of_string(undefined->name), &name))
        return false;
    if (undefined->owner)
        return template_fail(s, kind, "'%s' has no attribute %.*s", undefined->owner, (int)name->bytes, name->data);
    return template_fail(s, kind, "%.*s is undefined", (int)name->bytes, name->data);
}

bool template_undefined_hint(struct tstate *s, struct tvalue *ret, const char *format, ...) {
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    struct tundefined *undefined = template_alloc(s, 1, sizeof *undefined);
    struct tvalue hint;
    if (!undefined || !template_string_copy(s, text, strlen(text), &hint))
        return false;
    undefined->hint = hint.string;
    *ret = (struct tvalue){.kind = TV_UNDEFINED, .undefined = undefined};
    return true;
}

bool template_undefined_name(struct tstate *s, const struct tstring *name, struct tvalue *ret) {
    struct tundefined *undefined = template_alloc(s, 1, sizeof *undefined);
    if (!undefined)
        return false;
    undefined->name = name;
    *ret = (struct tvalue){.kind = TV_UNDEFINED, .undefined = undefined};
    return true;
}

/* ---- truth and length -------------------------------------------------------------------------------------------- */

/* False when the value has no length. */
static bool sized(struct tvalue v, size_t *ret) {
    switch (v.kind) {
    case TV_UNDEFINED:
        *ret = 0;
        return true;
    case TV_STRING:
        *ret = v.string->chars;
        return true;
    case TV_LIST:
    case TV_TUPLE:
        *ret = v.list->count;
        return true;
    case TV_DICT:
        *ret = v.dict->count;
        return true;
    case TV_VIEW:
        *ret = v.view->dict->count;
        return true;
    case TV_RANGE:
        *ret = v.range->count;
        return true;
    default:
        return false;
    }
}

bool template_length(struct tstate *s, struct tvalue v, size_t *ret) {
    if (v.kind == TV_LOOP) {
        int64_t length;
        if (!template_loop_length(s, v.loop, &length))
            return false;
        *ret = (size_t)length;
        return true;
    }
    if (!sized(v, ret))
        return template_fail(s, "TypeError", "object of type '%s' has no len()", template_type_name(v));
    return true;
}

bool template_truth(struct tstate *s, struct tvalue v, bool *ret) {
    size_t length;
    (void)s;
    if (v.kind == TV_NONE || v.kind == TV_MISSING)
        *ret = false;
    else if (template_is_integral(v))
        *ret = template_integer(v) != 0;
    else if (v.kind == TV_FLOAT)
        *ret = v.real != 0;
    else
        *ret = sized(v, &length) ? length != 0 : true;
    return true;
}

/* ---- equality ---------------------------------------------------------------------------------------------------- */

/* Exact comparison of an integer with a real, as Python does: no rounding of the integer. */
static int compare_int_real(int64_t n, double x) {
    if (isnan(x))
        return 2; /* unordered */
    if (x >= 0x1p63)
        return -1;
    if (x < -0x1p63)
        return 1;
    int64_t whole = (int64_t)x;
    if (n != whole)
        return n < whole ? -1 : 1;
    double rest = x - (double)whole;
    return rest > 0 ? -1 : rest < 0;
}

/* -1, 0, 1, or 2 when unordered (NaN). */
static int compare_numbers(struct tvalue a, struct tvalue b) {
    if (a.kind != TV_FLOAT && b.kind != TV_FLOAT)
        return (template_integer(a) > template_integer(b)) - (template_integer(a) < template_integer(b));
    if (a.kind == TV_FLOAT && b.kind == TV_FLOAT)
        return isnan(a.real) || isnan(b.real) ? 2 : (a.real > b.real) - (a.real < b.real);
    if (a.kind != TV_FLOAT)
        return compare_int_real(template_integer(a), b.real);
    int order = compare_int_real(template_integer(b), a.real);
    return order == 2 ? 2 : -order;
}

static bool equal_lists(struct tstate *s, const struct tlist *a, const struct tlist *b, bool *ret) {
    *ret = a->count == b->count;
    for (size_t i = 0; *ret && i < a->count; i++)
        if (!template_work(s, 1) || !template_equal(s, a->items[i], b->items[i], ret))
            return false;
    return true;
}

static bool equal_dicts(struct tstate *s, const struct tdict *a, const struct tdict *b, bool *ret) {
    *ret = a->count == b->count;
    for (size_t i = 0; *ret && i < a->count; i++) {
        const struct tpair *pair;
        if (!template_dict_find(s, b, a->pairs[i].key, &pair))
            return false;
        *ret = pair != NULL;
        if (pair && !template_equal(s, a->pairs[i].value, pair->value, ret))
            return false;
    }
    return true;
}

static bool equal_text(struct tstate *s, const struct tstring *a, const struct tstring *b, bool *ret) {
    *ret = a->bytes == b->bytes && (a->data == b->data || !memcmp(a->data, b->data, a->bytes));
    return a->bytes != b->bytes || template_work_bytes(s, a->bytes);
}

bool template_equal(struct tstate *s, struct tvalue a, struct tvalue b, bool *ret) {
    if (template_is_number(a) && template_is_number(b)) {
        *ret = compare_numbers(a, b) == 0;
        return true;
    }
    *ret = false;
    if (a.kind != b.kind)
        return true;
    bool ok = template_enter(s);
    switch (ok ? a.kind : TV_MISSING) {
    case TV_NONE:
    case TV_UNDEFINED:
        *ret = true;
        break;
    case TV_STRING:
        ok = equal_text(s, a.string, b.string, ret);
        break;
    case TV_LIST:
    case TV_TUPLE:
        if (a.list == b.list)
            *ret = true;
        else
            ok = equal_lists(s, a.list, b.list, ret);
        break;
    case TV_DICT:
        ok = equal_dicts(s, a.dict, b.dict, ret);
        break;
    case TV_RANGE:
        *ret = a.range->count == b.range->count &&
               (!a.range->count ||
                (a.range->start == b.range->start && (a.range->count == 1 || a.range->step == b.range->step)));
        break;
    case TV_METHOD:
        *ret = a.method->builtin == b.method->builtin && a.method->self.string == b.method->self.string;
        break;
    default: /* everything else is equal to itself only */
        *ret = ok && a.string == b.string;
    }
    template_leave(s);
    return ok;
}

/* ---- order ------------------------------------------------------------------------------------------------------- */

static bool less_text(struct tstate *s, const struct tstring *a, const struct tstring *b, bool *ret) {
    size_t common = a->bytes < b->bytes ? a->bytes : b->bytes;
    int order = common ? memcmp(a->data, b->data, common) : 0; /* UTF-8 sorts as its code points do */
    *ret = order < 0 || (order == 0 && a->bytes < b->bytes);
    return template_work_bytes(s, common);
}

/* Python's rule: the first pair that differs decides with the operator itself, then the lengths do. */
static bool less_lists(struct tstate *s, const struct tlist *a, const struct tlist *b, const char *operator,
                       bool * ret) {
    for (size_t i = 0; i < a->count && i < b->count; i++) {
        bool equal;
        if (!template_work(s, 1) || !template_equal(s, a->items[i], b->items[i], &equal))
            return false;
        if (!equal)
            return template_less(s, a->items[i], b->items[i], operator, ret);
    }
    *ret = a->count < b->count;
    return true;
}

/* a < b. `operator` is what the template wrote, for the message: for > and >= the caller has swapped the operands. */
bool template_less(struct tstate *s, struct tvalue a, struct tvalue b, const char *operator, bool * ret) {
    bool swapped = operator[0] == '>';
    if (a.kind == TV_UNDEFINED || b.kind == TV_UNDEFINED) {
        struct tvalue first = swapped ? b : a, second = swapped ? a : b;
        return template_fail_undefined(s, first.kind == TV_UNDEFINED ? first.undefined : second.undefined);
    }
    if (template_is_number(a) && template_is_number(b)) {
        *ret = compare_numbers(a, b) == -1;
        return true;
    }
    if (a.kind == TV_STRING && b.kind == TV_STRING)
        return less_text(s, a.string, b.string, ret);
    if ((a.kind == TV_LIST && b.kind == TV_LIST) || (a.kind == TV_TUPLE && b.kind == TV_TUPLE)) {
        bool ok = template_enter(s) && less_lists(s, a.list, b.list, operator, ret);
        template_leave(s);
        return ok;
    }
    return template_fail(s, "TypeError", "'%s' not supported between instances of '%s' and '%s'", operator,
                         template_type_name(swapped ? b : a), template_type_name(swapped ? a : b));
}

/* ---- membership -------------------------------------------------------------------------------------------------- */

static bool contains_text(struct tstate *s, const struct tstring *string, struct tvalue item, bool *ret) {
    if (item.kind != TV_STRING)
        return template_fail(s, "TypeError", "'in <string>' requires string as left operand, not %s",
                             template_type_name(item));
    size_t offset;
    if (!template_find(s, string->data, string->bytes, item.string->data, item.string->bytes, &offset))
        return false;
    *ret = offset < string->bytes || item.string->bytes == 0;
    return true;
}

static bool contains_any(struct tstate *s, struct tvalue container, struct tvalue item, bool *ret) {
    struct titerator *it;
    if (!template_iterate(s, container, &it))
        return false;
    for (*ret = false; !*ret;) {
        struct tvalue v;
        if (!it->next(s, it, &v))
            return false;
        if (template_is_missing(v))
            return true;
        if (!template_equal(s, v, item, ret))
            return false;
    }
    return true;
}

bool template_contains(struct tstate *s, struct tvalue container, struct tvalue item, bool *ret) {
    if (container.kind == TV_STRING)
        return contains_text(s, container.string, item, ret);
    if (container.kind == TV_DICT || (container.kind == TV_VIEW && container.view->kind == TVIEW_KEYS)) {
        const struct tpair *pair;
        if (!template_dict_find(s, container.kind == TV_DICT ? container.dict : container.view->dict, item, &pair))
            return false;
        *ret = pair != NULL;
        return true;
    }
    if (!template_is_iterable(container))
        return template_fail(s, "TypeError", "argument of type '%s' is not iterable", template_type_name(container));
    return contains_any(s, container, item, ret);
}

bool template_compare(struct tstate *s, enum tcompare operator, struct tvalue a, struct tvalue b, bool *ret) {
    bool ok = false, equal = false;
    switch (operator) {
    case TCMP_EQ:
    case TCMP_NE:
        ok = template_equal(s, a, b, ret);
        break;
    case TCMP_LT:
        return template_less(s, a, b, "<", ret);
    case TCMP_GT:
        return template_less(s, b, a, ">", ret);
    case TCMP_LE: /* "less or equal" rather than "not greater": NaN is neither */
    case TCMP_GE:
        if (!(operator== TCMP_LE ? template_less(s, a, b, "<=", ret) : template_less(s, b, a, ">=", ret)) ||
            !template_equal(s, a, b, &equal))
            return false;
        *ret |= equal;
        return true;
    case TCMP_IN:
    case TCMP_NOT_IN:
        ok = template_contains(s, b, a, ret);
        break;
    }
    if (operator== TCMP_NE || operator== TCMP_NOT_IN)
        *ret = !*ret;
    return ok;
}
