/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the chat template: what may stand behind `is` and what select and reject apply. */
#include "template_internal.h"

/* ---- kinds of value ---------------------------------------------------------------------------------------------- */

#define TEST(name, condition)                                                                                          \
    static bool name(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {             \
        (void)s, (void)call;                                                                                           \
        *ret = template_bool(condition);                                                                               \
        return true;                                                                                                   \
    }
TEST(test_defined, self.kind != TV_UNDEFINED)
TEST(test_undefined, self.kind == TV_UNDEFINED)
TEST(test_none, self.kind == TV_NONE)
TEST(test_boolean, self.kind == TV_BOOL)
TEST(test_true, self.kind == TV_BOOL && self.truth)
TEST(test_false, self.kind == TV_BOOL && !self.truth)
TEST(test_integer, self.kind == TV_INT)
TEST(test_float, self.kind == TV_FLOAT)
TEST(test_number, template_is_number(self))
TEST(test_string, self.kind == TV_STRING)
TEST(test_mapping, self.kind == TV_DICT)
TEST(test_iterable, template_is_iterable(self))
TEST(test_sequence, self.kind == TV_STRING || self.kind == TV_LIST || self.kind == TV_TUPLE || self.kind == TV_DICT ||
                        self.kind == TV_RANGE || self.kind == TV_UNDEFINED)
TEST(test_callable, self.kind == TV_UNDEFINED || self.kind == TV_MACRO || self.kind == TV_FUNCTION ||
                        self.kind == TV_METHOD || self.kind == TV_LOOP || self.kind == TV_JOINER)
TEST(test_escaped, self.kind == TV_STRING && self.string->markup)
TEST(test_filter, self.kind == TV_STRING && template_filter_find(self.string))
TEST(test_test, self.kind == TV_STRING && template_test_find(self.string))
#undef TEST

/* ---- numbers and text -------------------------------------------------------------------------------------------- */

/* value % divisor == wanted, with the errors of %. */
static bool remainder_is(struct tstate *s, struct tvalue self, struct tvalue divisor, int64_t wanted,
                         struct tvalue *ret) {
    struct tvalue rest;
    bool equal;
    if (!template_binary(s, TOP_MOD, self, divisor, &rest) || !template_equal(s, rest, template_int(wanted), &equal))
        return false;
    *ret = template_bool(equal);
    return true;
}

static bool test_even(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)call;
    return remainder_is(s, self, template_int(2), 0, ret);
}
static bool test_odd(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)call;
    return remainder_is(s, self, template_int(2), 1, ret);
}
static bool test_divisibleby(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return remainder_is(s, self, call->args[0], 0, ret);
}

/* str(value).islower() and .isupper() */
static bool test_case(struct tstate *s, struct tvalue self, const char *method, struct tvalue *ret) {
    const struct tstring *text;
    const struct tcall none = {0};
    if (!template_str(s, self, &text))
        return false;
    for (const struct tbuiltin *builtin = template_string_methods; builtin->name; builtin++)
        if (!__builtin_strcmp(builtin->name, method))
            return template_call_builtin(s, builtin, template_of_string(text), &none, ret);
    return false;
}
static bool test_lower(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)call;
    return test_case(s, self, "islower", ret);
}
static bool test_upper(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    (void)call;
    return test_case(s, self, "isupper", ret);
}

/* ---- comparisons ------------------------------------------------------------------------------------------------- */

static bool test_eq(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    *ret = template_bool(false);
    return template_equal(s, self, call->args[0], &ret->truth);
}
static bool test_ne(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    if (!test_eq(s, self, call, ret))
        return false;
    ret->truth = !ret->truth;
    return true;
}
static bool test_compare(struct tstate *s, struct tvalue self, struct tvalue other, enum tcompare operator,
                         struct tvalue * ret) {
    *ret = template_bool(false);
    return template_compare(s, operator, self, other, &ret->truth);
}
static bool test_lt(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return test_compare(s, self, call->args[0], TCMP_LT, ret);
}
static bool test_le(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return test_compare(s, self, call->args[0], TCMP_LE, ret);
}
static bool test_gt(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return test_compare(s, self, call->args[0], TCMP_GT, ret);
}
static bool test_ge(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return test_compare(s, self, call->args[0], TCMP_GE, ret);
}
static bool test_in(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    return test_compare(s, self, call->args[0], TCMP_IN, ret);
}

/* Python's `is`: one object. Numbers and text are one when they are equal and of one type. */
static bool test_sameas(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    struct tvalue other = call->args[0];
    *ret = template_bool(self.kind == other.kind);
    if (!ret->truth || self.kind == TV_NONE)
        return true;
    if (template_is_number(self) || self.kind == TV_STRING)
        return template_equal(s, self, other, &ret->truth);
    ret->truth = self.list == other.list;
    return true;
}

static const struct tbuiltin tests[] = {
    {"defined", "", 0, test_defined},
    {"undefined", "", 0, test_undefined},
    {"none", "", 0, test_none},
    {"string", "", 0, test_string},
    {"mapping", "", 0, test_mapping},
    {"iterable", "", 0, test_iterable},
    {"sequence", "", 0, test_sequence},
    {"number", "", 0, test_number},
    {"integer", "", 0, test_integer},
    {"float", "", 0, test_float},
    {"boolean", "", 0, test_boolean},
    {"true", "", 0, test_true},
    {"false", "", 0, test_false},
    {"callable", "/", 0, test_callable},
    {"escaped", "", 0, test_escaped},
    {"filter", "", 0, test_filter},
    {"test", "", 0, test_test},
    {"even", "", 0, test_even},
    {"odd", "", 0, test_odd},
    {"divisibleby", "num", 1, test_divisibleby},
    {"lower", "", 0, test_lower},
    {"upper", "", 0, test_upper},
    {"sameas", "other", 1, test_sameas},
    {"in", "seq", 1, test_in},
    {"eq", "/b", 1, test_eq},
    {"equalto", "/b", 1, test_eq},
    {"==", "/b", 1, test_eq},
    {"ne", "/b", 1, test_ne},
    {"!=", "/b", 1, test_ne},
    {"lt", "/b", 1, test_lt},
    {"lessthan", "/b", 1, test_lt},
    {"<", "/b", 1, test_lt},
    {"le", "/b", 1, test_le},
    {"<=", "/b", 1, test_le},
    {"gt", "/b", 1, test_gt},
    {"greaterthan", "/b", 1, test_gt},
    {">", "/b", 1, test_gt},
    {"ge", "/b", 1, test_ge},
    {">=", "/b", 1, test_ge},
    {0},
};

const struct tbuiltin *template_test_find(const struct tstring *name) {
    for (const struct tbuiltin *test = tests; test->name; test++)
        if (template_is(name, test->name))
            return test;
    return NULL;
}
