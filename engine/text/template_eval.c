/* SPDX-License-Identifier: Apache-2.0 */
/* Evaluation of the chat template's expressions. */
#include <string.h>

#include "template_internal.h"

/* ---- collections ------------------------------------------------------------------------------------------------- */

static bool eval_list(struct tstate *s, const struct tnode *node, struct tframe *frame, struct tvalue *ret) {
    size_t count = node->list.count, i = 0;
    struct tvalue *items = template_alloc(s, count, sizeof *items);
    if (!items)
        return false;
    for (const struct tnode *item = node->list.first; item; item = item->next)
        if (!template_eval(s, item, frame, &items[i++]))
            return false;
    return template_list_of(s, node->kind == TN_TUPLE ? TV_TUPLE : TV_LIST, items, count, ret);
}

static bool eval_dict(struct tstate *s, const struct tnode *node, struct tframe *frame, struct tvalue *ret) {
    struct tdict *dict = template_dict_new(s);
    if (!dict)
        return false;
    for (const struct tnode *key = node->list.first; key; key = key->next->next) {
        struct tvalue k, v;
        if (!template_eval(s, key, frame, &k) || !template_eval(s, key->next, frame, &v) ||
            !template_dict_set(s, dict, k, v))
            return false;
    }
    *ret = (struct tvalue){.kind = TV_DICT, .dict = dict};
    return true;
}

static bool eval_concat(struct tstate *s, const struct tnode *node, struct tframe *frame, struct tvalue *ret) {
    struct tbuilder b = {0};
    size_t i = 0;
    struct tvalue *items = template_alloc(s, node->list.count, sizeof *items);
    if (!items)
        return false;
    for (const struct tnode *item = node->list.first; item; item = item->next)
        if (!template_eval(s, item, frame, &items[i++]))
            return false;
    for (i = 0; i < node->list.count; i++)
        if (!template_put_str(s, &b, items[i]))
            return false;
    return template_built(s, &b, ret);
}

/* ---- names, attributes, subscripts ------------------------------------------------------------------------------- */

static struct tvalue *slot_of(const struct tnode *name, struct tframe *frame) {
    for (uint32_t up = name->name.up; up > 0; up--)
        frame = frame->parent;
    return &frame->slots[name->name.slot];
}

static bool eval_name(struct tstate *s, const struct tnode *node, struct tframe *frame, struct tvalue *ret) {
    *ret = *slot_of(node, frame);
    return !template_is_missing(*ret) || template_undefined_name(s, node->name.name, ret);
}

static bool eval_item(struct tstate *s, const struct tnode *node, struct tframe *frame, struct tvalue *ret) {
    struct tvalue object, key, bounds[3];
    const struct tnode *right = node->pair.right;
    if (!template_eval(s, node->pair.left, frame, &object))
        return false;
    if (right->kind != TN_SLICE)
        return template_eval(s, right, frame, &key) && template_item(s, object, key, ret);
    for (int i = 0; i < 3; i++) {
        bounds[i] = template_none();
        if (right->slice.bounds[i] && !template_eval(s, right->slice.bounds[i], frame, &bounds[i]))
            return false;
    }
    return template_slice(s, object, bounds, ret);
}

static bool assign_tuple(struct tstate *s, const struct tnode *target, struct tframe *frame, struct tvalue v) {
    struct tgrowing items;
    size_t wanted = target->list.count, i = 0;
    if (!template_is_iterable(v))
        return template_fail(s, "TypeError", "cannot unpack non-iterable %s object", template_type_name(v));
    if (!template_collect(s, v, &items))
        return false;
    if (items.count < wanted)
        return template_fail(s, "ValueError", "not enough values to unpack (expected %zu, got %zu)", wanted,
                             items.count);
    if (items.count > wanted)
        return template_fail(s, "ValueError", "too many values to unpack (expected %zu)", wanted);
    for (const struct tnode *item = target->list.first; item; item = item->next)
        if (!template_assign(s, item, frame, items.items[i++]))
            return false;
    return true;
}

static bool fail_no_namespace(struct tstate *s) {
    return template_fail(s, "TemplateRuntimeError", "cannot assign attribute on non-namespace object");
}

bool template_check_target(struct tstate *s, const struct tnode *target, struct tframe *frame) {
    if (target->kind == TN_NAMESPACE_REF)
        return slot_of(target, frame)->kind == TV_NAMESPACE || fail_no_namespace(s);
    if (target->kind != TN_TUPLE)
        return true;
    for (const struct tnode *item = target->list.first; item; item = item->next)
        if (!template_check_target(s, item, frame))
            return false;
    return true;
}

bool template_assign(struct tstate *s, const struct tnode *target, struct tframe *frame, struct tvalue v) {
    if (target->kind == TN_TUPLE) {
        bool ok = template_enter(s) && assign_tuple(s, target, frame, v);
        template_leave(s);
        return ok;
    }
    struct tvalue *slot = slot_of(target, frame);
    if (target->kind == TN_NAME) {
        *slot = v;
        return true;
    }
    if (slot->kind != TV_NAMESPACE)
        return fail_no_namespace(s);
    struct tvalue name = template_of_string(target->name.attribute);
    return template_namespace_name(s, name) && template_dict_set(s, slot->names, name, v);
}

/* ---- operators --------------------------------------------------------------------------------------------------- */

static bool eval_logic(struct tstate *s, const struct tnode *node, struct tframe *frame, struct tvalue *ret) {
    bool truth;
    if (!template_eval(s, node->pair.left, frame, ret) || !template_truth(s, *ret, &truth))
        return false;
    bool decided = node->kind == TN_AND ? !truth : truth;
    return decided || template_eval(s, node->pair.right, frame, ret);
}

static bool eval_not(struct tstate *s, const struct tnode *node, struct tframe *frame, struct tvalue *ret) {
    struct tvalue v;
    bool truth;
    if (!template_eval(s, node->pair.left, frame, &v) || !template_truth(s, v, &truth))
        return false;
    *ret = template_bool(!truth);
    return true;
}

static bool eval_binary(struct tstate *s, const struct tnode *node, struct tframe *frame, struct tvalue *ret) {
    struct tvalue left, right;
    return template_eval(s, node->pair.left, frame, &left) && template_eval(s, node->pair.right, frame, &right) &&
           template_binary(s, node->operator, left, right, ret);
}

static bool eval_compare(struct tstate *s, const struct tnode *node, struct tframe *frame, struct tvalue *ret) {
    struct tvalue left, right;
    *ret = template_bool(true);
    if (!template_eval(s, node->pair.left, frame, &left))
        return false;
    for (const struct tnode *operand = node->pair.operands.first; operand && ret->truth; operand = operand->next) {
        if (!template_eval(s, operand->pair.left, frame, &right) ||
            !template_compare(s, operand->operator, left, right, &ret->truth))
            return false;
        left = right;
    }
    return true;
}

static bool eval_condition(struct tstate *s, const struct tnode *node, struct tframe *frame, struct tvalue *ret) {
    struct tvalue test;
    bool truth;
    if (!template_eval(s, node->condition.test, frame, &test) || !template_truth(s, test, &truth))
        return false;
    const struct tnode *chosen = truth ? node->condition.then : node->condition.otherwise;
    if (chosen)
        return template_eval(s, chosen, frame, ret);
    return template_undefined_hint(s, ret,
                                   "the inline if-expression on line %u evaluated to false and no else section "
                                   "was defined.",
                                   (unsigned)node->line);
}

/* ---- calls ------------------------------------------------------------------------------------------------------- */

static bool keyword_add(struct tstate *s, struct tdict *keywords, struct tvalue name, struct tvalue v) {
    const struct tpair *pair;
    if (name.kind != TV_STRING)
        return template_fail(s, "TypeError", "keywords must be strings");
    if (!template_dict_find(s, keywords, name, &pair))
        return false;
    if (pair)
        return template_fail(s, "TypeError", "got multiple values for keyword argument '%.*s'", (int)name.string->bytes,
                             name.string->data);
    return template_dict_set(s, keywords, name, v);
}

static bool keywords_spread(struct tstate *s, struct tdict *keywords, struct tvalue v) {
    if (v.kind != TV_DICT)
        return template_fail(s, "TypeError", "argument after ** must be a mapping, not %s", template_type_name(v));
    for (size_t i = 0; i < v.dict->count; i++)
        if (!keyword_add(s, keywords, v.dict->pairs[i].key, v.dict->pairs[i].value))
            return false;
    return true;
}

static bool eval_keywords(struct tstate *s, const struct targuments *arguments, struct tframe *frame,
                          struct tcall *ret) {
    struct tdict *keywords = template_dict_new(s);
    struct tvalue v;
    if (!keywords)
        return false;
    for (const struct tnode *node = arguments->keywords.first; node; node = node->next)
        if (!template_eval(s, node->pair.left, frame, &v) ||
            !keyword_add(s, keywords, template_of_string(node->pair.name), v))
            return false;
    if (arguments->star_star &&
        (!template_eval(s, arguments->star_star, frame, &v) || !keywords_spread(s, keywords, v)))
        return false;
    ret->keywords = keywords->count ? keywords : NULL;
    return true;
}

bool template_eval_arguments(struct tstate *s, const struct targuments *arguments, struct tframe *frame,
                             struct tcall *ret) {
    struct tgrowing args = {0};
    struct tvalue v;
    *ret = (struct tcall){0};
    for (const struct tnode *node = arguments->args.first; node; node = node->next)
        if (!template_eval(s, node, frame, &v) || !template_push(s, &args, v))
            return false;
    if (arguments->star) {
        struct tgrowing more;
        if (!template_eval(s, arguments->star, frame, &v) || !template_collect(s, v, &more))
            return false;
        for (size_t i = 0; i < more.count; i++)
            if (!template_push(s, &args, more.items[i]))
                return false;
    }
    ret->args = args.items;
    ret->count = args.count;
    return (!arguments->keywords.count && !arguments->star_star) || eval_keywords(s, arguments, frame, ret);
}

static bool call_joiner(struct tstate *s, struct tjoiner *joiner, struct tvalue *ret) {
    if (!joiner->used) {
        joiner->used = true;
        return template_string_text(s, "", ret);
    }
    *ret = joiner->separator;
    return true;
}

bool template_call(struct tstate *s, struct tvalue function, const struct tcall *call, struct tvalue *ret) {
    switch (function.kind) {
    case TV_UNDEFINED:
        return template_fail_undefined(s, function.undefined);
    case TV_FUNCTION:
        return template_call_builtin(s, function.function, template_missing(), call, ret);
    case TV_METHOD:
        return template_call_builtin(s, function.method->builtin, function.method->self, call, ret);
    case TV_MACRO:
        return template_call_macro(s, function.macro, call, ret);
    case TV_JOINER:
        return call_joiner(s, function.joiner, ret);
    case TV_LOOP:
        if (call->count != 1 || call->keywords)
            return template_fail(s, "TypeError", "loop() takes one iterable");
        return template_loop_recurse(s, function.loop, call->args[0], ret);
    default:
        return template_fail(s, "TypeError", "'%s' object is not callable", template_type_name(function));
    }
}

static bool eval_call(struct tstate *s, const struct tnode *node, struct tframe *frame, struct tvalue *ret) {
    struct tvalue function;
    struct tcall call;
    return template_eval(s, node->call.object, frame, &function) &&
           template_eval_arguments(s, &node->call.arguments, frame, &call) && template_call(s, function, &call, ret);
}

bool template_eval_filter(struct tstate *s, const struct tnode *node, struct tframe *frame, struct tvalue inner,
                          struct tvalue *ret) {
    struct tvalue self = inner;
    struct tcall call;
    if (!node->call.builtin)
        return template_fail(s, "TemplateRuntimeError", "No %s named '%.*s' found.",
                             node->kind == TN_FILTER ? "filter" : "test", (int)node->call.name->bytes,
                             node->call.name->data);
    const struct tnode *object = node->call.object;
    bool ok = template_enter(s);
    if (ok && object && template_is_missing(inner))
        ok = template_eval(s, object, frame, &self);
    else if (ok && object) /* a chain of filters behind a block: its text enters at the innermost */
        ok = template_eval_filter(s, object, frame, inner, &self);
    ok = ok && template_eval_arguments(s, &node->call.arguments, frame, &call) &&
         template_call_builtin(s, node->call.builtin, self, &call, ret);
    template_leave(s);
    if (!ok && !s->fault.line)
        s->fault.line = node->line;
    return ok;
}

/* ---- the switch -------------------------------------------------------------------------------------------------- */

static bool eval(struct tstate *s, const struct tnode *node, struct tframe *frame, struct tvalue *ret) {
    struct tvalue v;
    switch (node->kind) {
    case TN_CONST:
        *ret = node->constant;
        return true;
    case TN_NAME:
        return eval_name(s, node, frame, ret);
    case TN_TUPLE:
    case TN_LIST:
        return eval_list(s, node, frame, ret);
    case TN_DICT:
        return eval_dict(s, node, frame, ret);
    case TN_ATTRIBUTE:
        return template_eval(s, node->pair.left, frame, &v) && template_attribute(s, v, node->pair.name, ret);
    case TN_ITEM:
        return eval_item(s, node, frame, ret);
    case TN_CALL:
        return eval_call(s, node, frame, ret);
    case TN_FILTER:
    case TN_TEST:
        return template_eval_filter(s, node, frame, template_missing(), ret);
    case TN_NOT:
        return eval_not(s, node, frame, ret);
    case TN_NEGATE:
        return template_eval(s, node->pair.left, frame, &v) && template_negate(s, v, node->flag, ret);
    case TN_AND:
    case TN_OR:
        return eval_logic(s, node, frame, ret);
    case TN_BINARY:
        return eval_binary(s, node, frame, ret);
    case TN_CONCAT:
        return eval_concat(s, node, frame, ret);
    case TN_COMPARE:
        return eval_compare(s, node, frame, ret);
    case TN_CONDITION:
        return eval_condition(s, node, frame, ret);
    default: /* the parser makes no expression of other kinds */
        return template_fail(s, "AssertionError", "not an expression");
    }
}

bool template_eval(struct tstate *s, const struct tnode *node, struct tframe *frame, struct tvalue *ret) {
    bool ok = template_enter(s) && template_work(s, 1) && eval(s, node, frame, ret);
    template_leave(s);
    if (!ok && !s->fault.line)
        s->fault.line = node->line;
    return ok;
}
