/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of built-in functions: arguments bound to parameters as Python binds them, and conversions of arguments. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "template_internal.h"

enum { PARAMETERS_MAX = 8 };

/* ---- binding ----------------------------------------------------------------------------------------------------- */

/* Position of a name in "a,b,c", or -1. */
static int parameter_find(const char *params, const struct tstring *name) {
    for (int i = 0; *params; i++) {
        size_t bytes = strcspn(params, ",");
        if (bytes == name->bytes && !memcmp(params, name->data, bytes))
            return i;
        params += bytes + (params[bytes] == ',');
    }
    return -1;
}

static size_t parameter_count(const char *params) {
    size_t count = *params != '\0';
    for (; *params; params++)
        count += *params == ',';
    return count;
}

static bool bind_keywords(struct tstate *s, const struct tbuiltin *builtin, const char *params, bool positional_only,
                          const struct tdict *keywords, struct tvalue *args) {
    for (size_t i = 0; i < keywords->count; i++) {
        const struct tstring *name = keywords->pairs[i].key.string;
        int at = positional_only ? -1 : parameter_find(params, name);
        if (positional_only)
            return template_fail(s, "TypeError", "%s() takes no keyword arguments", builtin->name);
        if (at < 0)
            return template_fail(s, "TypeError", "%s() got an unexpected keyword argument '%.*s'", builtin->name,
                                 (int)name->bytes, name->data);
        if (!template_is_missing(args[at]))
            return template_fail(s, "TypeError", "%s() got multiple values for argument '%.*s'", builtin->name,
                                 (int)name->bytes, name->data);
        args[at] = keywords->pairs[i].value;
    }
    return true;
}

bool template_call_builtin(struct tstate *s, const struct tbuiltin *builtin, struct tvalue self,
                           const struct tcall *call, struct tvalue *ret) {
    if (!builtin->params)
        return builtin->function(s, self, call, ret);
    bool positional_only = builtin->params[0] == '/';
    const char *params = builtin->params + positional_only;
    size_t count = parameter_count(params);
    struct tvalue args[PARAMETERS_MAX] = {0};
    if (call->count > count)
        return template_fail(s, "TypeError", "%s() takes at most %zu arguments (%zu given)", builtin->name, count,
                             call->count);
    for (size_t i = 0; i < call->count; i++)
        args[i] = call->args[i];
    if (call->keywords && !bind_keywords(s, builtin, params, positional_only, call->keywords, args))
        return false;
    for (size_t i = 0; i < builtin->required; i++)
        if (template_is_missing(args[i]))
            return template_fail(s, "TypeError", "%s() missing a required argument (number %zu)", builtin->name, i + 1);
    struct tcall bound = {.args = args, .count = count};
    return builtin->function(s, self, &bound, ret);
}

/* ---- conversions ------------------------------------------------------------------------------------------------- */

bool template_arg_int(struct tstate *s, struct tvalue v, int64_t otherwise, int64_t *ret) {
    *ret = otherwise;
    if (template_is_missing(v))
        return true;
    if (!template_is_integral(v))
        return template_fail(s, "TypeError", "'%s' object cannot be interpreted as an integer", template_type_name(v));
    *ret = template_integer(v);
    return true;
}

bool template_arg_truth(struct tstate *s, struct tvalue v, bool otherwise, bool *ret) {
    *ret = otherwise;
    return template_is_missing(v) || template_truth(s, v, ret);
}

/* ASCII copy without outer blanks and without underscores between digits; empty when that is not possible. */
static bool numeral(struct tstate *s, const struct tstring *text, char **ret) {
    size_t begin = 0, end = text->bytes, used = 0, step;
    while (begin < end && template_char_space(template_utf8_at(text->data + begin, &step)))
        begin += step;
    while (end > begin && template_char_space((unsigned char)text->data[end - 1]) && (text->data[end - 1] & 0x80) == 0)
        end--;
    *ret = template_alloc(s, end - begin + 1, 1);
    if (!*ret)
        return false;
    for (size_t i = begin; i < end; i++) {
        char c = text->data[i];
        bool between = i > begin && i + 1 < end && text->data[i - 1] != '_' && text->data[i + 1] != '_';
        if ((c == '_' && !between) || (unsigned char)c >= 0x80 || c == '\0') {
            **ret = '\0';
            return true;
        }
        if (c != '_')
            (*ret)[used++] = c;
    }
    (*ret)[used] = '\0';
    return true;
}

/* int(text, base). *ret_valid is false where Python raises ValueError; a number over 64 bits is OverflowError. */
bool template_parse_int(struct tstate *s, const struct tstring *text, int64_t base, bool *ret_valid, int64_t *ret) {
    char *copy;
    *ret_valid = false;
    if (base != 0 && (base < 2 || base > 36))
        return template_fail(s, "ValueError", "int() base must be >= 2 and <= 36, or 0");
    if (!numeral(s, text, &copy))
        return false;
    bool negative = copy[0] == '-';
    const char *digits = copy + (negative || copy[0] == '+');
    static const struct {
        char letter;
        int base;
    } prefixes[] = {{'x', 16}, {'o', 8}, {'b', 2}};
    int radix = base ? (int)base : 10;
    for (size_t i = 0; i < 3; i++)
        if (digits[0] == '0' && (digits[1] | 0x20) == prefixes[i].letter && (base == 0 || base == prefixes[i].base)) {
            radix = prefixes[i].base;
            digits += 2;
            break;
        }
    uint64_t value = 0;
    bool overflow = false, any = false;
    for (; *digits; digits++, any = true) {
        int c = *digits | 0x20, digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'z' ? c - 'a' + 10 : 99;
        if ((*digits < '0' || *digits > '9') && (c < 'a' || c > 'z'))
            digit = 99;
        if (digit >= radix)
            return true;
        overflow |= __builtin_mul_overflow(value, (uint64_t)radix, &value) ||
                    __builtin_add_overflow(value, (uint64_t)digit, &value);
    }
    if (any && (overflow || value > (uint64_t)INT64_MAX + negative))
        return template_fail(s, "OverflowError", "integer does not fit in 64 bits");
    *ret_valid = any;
    *ret = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

bool template_parse_float(struct tstate *s, const struct tstring *text, bool *ret_valid, double *ret) {
    char *copy, *end;
    *ret_valid = false;
    if (!numeral(s, text, &copy))
        return false;
    if (!*copy || strpbrk(copy, "xXpP( \t\n")) /* what strtod reads and Python does not */
        return true;
    *ret = strtod(copy, &end);
    *ret_valid = *end == '\0';
    return true;
}

/* ---- sorting ----------------------------------------------------------------------------------------------------- */

/* Merges two sorted runs; equal keys keep their order. */
static bool merge(struct tstate *s, struct tvalue *keys, struct tvalue *items, struct tvalue *scratch, size_t left,
                  size_t right, bool reverse) {
    struct tvalue *sorted_keys = scratch, *sorted_items = scratch + left + right;
    size_t a = 0, b = left, out = 0;
    while (a < left || b < left + right) {
        bool take_right = a == left;
        if (a < left && b < left + right &&
            !(reverse ? template_less(s, keys[a], keys[b], "<", &take_right)
                      : template_less(s, keys[b], keys[a], "<", &take_right)))
            return false;
        size_t from = take_right ? b++ : a++;
        sorted_keys[out] = keys[from];
        sorted_items[out++] = items[from];
    }
    memcpy(keys, sorted_keys, out * sizeof *keys);
    memcpy(items, sorted_items, out * sizeof *items);
    return true;
}

/* Sorts both arrays by the keys, stable as Python's sorted() (in reverse too); fails where keys have no order. */
bool template_sort(struct tstate *s, struct tvalue *keys, struct tvalue *items, size_t count, bool reverse) {
    struct tvalue *scratch = template_alloc(s, count, 2 * sizeof *scratch);
    if (!scratch)
        return false;
    for (size_t run = 1; run < count; run *= 2)
        for (size_t at = 0; at + run < count; at += 2 * run) {
            size_t right = count - at - run < run ? count - at - run : run;
            if (!template_work(s, run + right) || !merge(s, keys + at, items + at, scratch, run, right, reverse))
                return false;
        }
    return true;
}
