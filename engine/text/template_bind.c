/* SPDX-License-Identifier: Apache-2.0 */
/* Resolves every name of a parsed template to a slot, by the rules of Jinja's compiler: a loop, macro or block is a
 * scope of its own that starts with the outer values, conditions are not, and a name that a scope sets only later is
 * unset there until then, even when the caller passes a variable of that name. Filters and tests are found here too. */
#include <string.h>

#include "template_internal.h"

struct binder {
    struct tstate *s;
    struct tscope *scope;
    unsigned branches;   /* conditions around the node being declared */
    bool soft;           /* inside a condition, where an unknown filter fails only when it runs */
    unsigned for_depth;  /* loops around, macros notwithstanding: `loop` cannot be set there */
    unsigned loop_depth; /* loops around in the same function body: where break may stand */
};

/* ---- scopes ------------------------------------------------------------------------------------------------------ */

static bool same_name(const struct tstring *a, const struct tstring *b) {
    return a->bytes == b->bytes && !memcmp(a->data, b->data, a->bytes);
}

static size_t scope_find(const struct tscope *scope, const struct tstring *name) {
    for (size_t i = 0; i < scope->count; i++)
        if (same_name(scope->symbols[i].name, name))
            return i;
    return SIZE_MAX;
}

/* Finds a name in `scope` or around it; *ret_found is false when no scope knows it. Fails at the limit of work. */
static bool scope_resolve(struct binder *b, const struct tscope *scope, const struct tstring *name, bool *ret_found,
                          uint32_t *ret_up, uint32_t *ret_slot) {
    *ret_found = false;
    for (uint32_t up = 0; scope && !*ret_found; scope = scope->parent, up++) {
        size_t slot = scope_find(scope, name);
        if (!template_work(b->s, scope->count / 2))
            return false;
        *ret_found = slot != SIZE_MAX;
        *ret_up = up;
        *ret_slot = (uint32_t)slot;
    }
    return true;
}

static bool scope_add(struct binder *b, const struct tstring *name, enum tload load, uint32_t up, uint32_t slot) {
    struct tscope *scope = b->scope;
    if (scope->count == scope->capacity) {
        size_t capacity = scope->capacity ? scope->capacity * 2 : 4;
        struct tsymbol *symbols = template_alloc(b->s, capacity, sizeof *symbols);
        if (!symbols)
            return false;
        if (scope->count)
            memcpy(symbols, scope->symbols, scope->count * sizeof *symbols);
        scope->symbols = symbols;
        scope->capacity = capacity;
    }
    scope->symbols[scope->count++] = (struct tsymbol){.name = name, .load = load, .up = up, .slot = slot};
    return true;
}

static bool declare_load(struct binder *b, const struct tstring *name) {
    uint32_t up, slot;
    bool found;
    return scope_resolve(b, b->scope, name, &found, &up, &slot) && (found || scope_add(b, name, TLOAD_CONTEXT, 0, 0));
}

static bool declare_store(struct binder *b, const struct tstring *name) {
    uint32_t up, slot;
    bool found;
    if (!template_work(b->s, b->scope->count / 2))
        return false;
    if (scope_find(b->scope, name) != SIZE_MAX)
        return true;
    if (!scope_resolve(b, b->scope->parent, name, &found, &up, &slot))
        return false;
    if (found)
        return scope_add(b, name, TLOAD_OUTER, up + 1, slot);
    return scope_add(b, name, b->branches ? TLOAD_CONTEXT : TLOAD_UNSET, 0, 0);
}

static bool declare_parameter(struct binder *b, const struct tstring *name, uint32_t *ret_slot) {
    size_t slot = scope_find(b->scope, name);
    if (slot == SIZE_MAX) {
        slot = b->scope->count;
        if (!scope_add(b, name, TLOAD_PARAMETER, 0, 0))
            return false;
    }
    b->scope->symbols[slot].load = TLOAD_PARAMETER;
    *ret_slot = (uint32_t)slot;
    return true;
}

/* ---- first pass: what a scope declares, scopes inside it left alone ---------------------------------------------- */

static bool declare(struct binder *b, const struct tnode *node);

static bool declare_nodes(struct binder *b, const struct tnodes *nodes) {
    for (const struct tnode *node = nodes->first; node; node = node->next)
        if (!declare(b, node))
            return false;
    return true;
}

static bool declare_arguments(struct binder *b, const struct targuments *args) {
    return declare_nodes(b, &args->args) && declare_nodes(b, &args->keywords) && declare(b, args->star) &&
           declare(b, args->star_star);
}

static bool declare_target(struct binder *b, const struct tnode *target, bool as_parameter) {
    uint32_t slot;
    if (target->kind == TN_NAMESPACE_REF)
        return declare_load(b, target->name.name);
    if (target->kind == TN_NAME)
        return as_parameter ? declare_parameter(b, target->name.name, &slot) : declare_store(b, target->name.name);
    for (const struct tnode *item = target->list.first; item; item = item->next)
        if (!declare_target(b, item, as_parameter))
            return false;
    return true;
}

static bool declare_if(struct binder *b, const struct tnode *node) {
    if (!declare(b, node->branch.test))
        return false;
    b->branches++;
    bool ok = declare_nodes(b, &node->branch.body.nodes) && declare_nodes(b, &node->branch.elifs) &&
              declare_nodes(b, &node->branch.otherwise.nodes);
    b->branches--;
    return ok;
}

static bool declare_statement(struct binder *b, const struct tnode *node) {
    switch (node->kind) {
    case TN_OUTPUT:
        return declare_nodes(b, &node->list);
    case TN_IF:
        return declare_if(b, node);
    case TN_FOR:
        return declare(b, node->loop.iterable);
    case TN_SET:
        return declare(b, node->set.value) && declare_target(b, node->set.target, false);
    case TN_SET_BLOCK:
        return declare_target(b, node->set.target, false);
    case TN_MACRO:
        return declare_store(b, node->macro.text);
    case TN_CALL_BLOCK:
        return declare(b, node->macro.call);
    case TN_FILTER_BLOCK:
        return declare(b, node->block.filter);
    case TN_WITH:
        return declare_nodes(b, &node->block.values);
    default:
        return true;
    }
}

static bool declare_expression(struct binder *b, const struct tnode *node) {
    switch (node->kind) {
    case TN_NAME:
        return declare_load(b, node->name.name);
    case TN_TUPLE:
    case TN_LIST:
    case TN_DICT:
    case TN_CONCAT:
        return declare_nodes(b, &node->list);
    case TN_SLICE:
        return declare(b, node->slice.bounds[0]) && declare(b, node->slice.bounds[1]) &&
               declare(b, node->slice.bounds[2]);
    case TN_CALL:
    case TN_FILTER:
    case TN_TEST:
        return declare(b, node->call.object) && declare_arguments(b, &node->call.arguments);
    case TN_CONDITION:
        return declare(b, node->condition.test) && declare(b, node->condition.then) &&
               declare(b, node->condition.otherwise);
    case TN_COMPARE:
        return declare(b, node->pair.left) && declare_nodes(b, &node->pair.operands);
    case TN_ATTRIBUTE:
    case TN_ITEM:
    case TN_NOT:
    case TN_NEGATE:
    case TN_AND:
    case TN_OR:
    case TN_BINARY:
    case TN_OPERAND:
    case TN_KEYWORD:
        return declare(b, node->pair.left) && declare(b, node->pair.right);
    default:
        return true;
    }
}

static bool declare(struct binder *b, const struct tnode *node) {
    if (!node)
        return true;
    return template_work(b->s, 1) &&
           (node->kind < TN_OUTPUT ? declare_expression(b, node) : declare_statement(b, node));
}

/* ---- second pass: names to slots, scopes inside scopes ----------------------------------------------------------- */

static bool bind(struct binder *b, struct tnode *node);

static bool bind_nodes(struct binder *b, const struct tnodes *nodes) {
    for (struct tnode *node = nodes->first; node; node = node->next)
        if (!bind(b, node))
            return false;
    return true;
}

/* Python refuses a call that names an argument twice before anything runs. */
static bool check_keywords(struct binder *b, const struct tnodes *keywords) {
    for (const struct tnode *node = keywords->first; node; node = node->next)
        for (const struct tnode *other = keywords->first; other != node; other = other->next) {
            if (same_name(node->pair.name, other->pair.name))
                return template_fail(b->s, "SyntaxError", "keyword argument repeated: %.*s",
                                     (int)node->pair.name->bytes, node->pair.name->data);
            if (!template_work(b->s, 1))
                return false;
        }
    return true;
}

static bool bind_arguments(struct binder *b, const struct targuments *args) {
    return check_keywords(b, &args->keywords) && bind_nodes(b, &args->args) && bind_nodes(b, &args->keywords) &&
           bind(b, args->star) && bind(b, args->star_star);
}

static bool bind_name(struct binder *b, struct tnode *node) {
    bool found; /* always: every name was declared in the first pass */
    return scope_resolve(b, b->scope, node->name.name, &found, &node->name.up, &node->name.slot);
}

static bool bind_target(struct binder *b, struct tnode *target) {
    if (target->kind == TN_TUPLE) {
        for (struct tnode *item = target->list.first; item; item = item->next)
            if (!bind_target(b, item))
                return false;
        return true;
    }
    if (target->kind == TN_NAME && b->for_depth && template_is(target->name.name, "loop"))
        return template_fail(b->s, "TemplateAssertionError",
                             "Can't assign to special loop variable in for-loop target");
    return bind_name(b, target);
}

static struct tscope *scope_new(struct binder *b) {
    struct tscope *scope = template_alloc(b->s, 1, sizeof *scope);
    if (scope)
        scope->parent = b->scope;
    return scope;
}

/* The binder for a scope inside b's. */
static struct binder binder_inside(const struct binder *b, struct tscope *scope) {
    struct binder inner = *b;
    inner.scope = scope;
    inner.branches = 0;
    inner.soft = false;
    return inner;
}

/* Both passes over the body of b's scope, the first after what the caller has declared. */
static bool bind_body(struct binder *b, struct tbody *body) {
    return declare_nodes(b, &body->nodes) && bind_nodes(b, &body->nodes);
}

/* The condition sees the target, in the same slots as the body does, but not this loop's `loop`. */
static bool bind_loop_test(struct binder *b, struct tnode *node) {
    struct tscope *scope = node->loop.test_scope = scope_new(b);
    struct binder test = binder_inside(b, scope);
    return scope && declare_target(&test, node->loop.target, true) && declare(&test, node->loop.test) &&
           bind(&test, node->loop.test);
}

static bool bind_for(struct binder *b, struct tnode *node) {
    static const struct tstring loop = {.data = "loop", .bytes = 4, .chars = 4};
    struct tscope *body = node->loop.body.scope = scope_new(b), *otherwise = node->loop.otherwise.scope = scope_new(b);
    if (!body || !otherwise || !bind(b, node->loop.iterable) || (node->loop.test && !bind_loop_test(b, node)))
        return false;
    struct binder inside = binder_inside(b, body), behind = binder_inside(b, otherwise);
    inside.for_depth++;
    behind.for_depth++;
    inside.loop_depth++;
    if (!declare_target(&inside, node->loop.target, true) ||
        (node->loop.uses_loop && !declare_parameter(&inside, &loop, &node->loop.loop_slot)))
        return false;
    return bind_target(&inside, node->loop.target) && bind_body(&inside, &node->loop.body) &&
           bind_body(&behind, &node->loop.otherwise);
}

static bool bind_macro(struct binder *b, struct tnode *node) {
    static const struct tstring names[] = {{.data = "caller", .bytes = 6, .chars = 6},
                                           {.data = "kwargs", .bytes = 6, .chars = 6},
                                           {.data = "varargs", .bytes = 7, .chars = 7}};
    bool *uses[] = {&node->macro.uses_caller, &node->macro.uses_kwargs, &node->macro.uses_varargs};
    uint32_t *slots[] = {&node->macro.caller_slot, &node->macro.kwargs_slot, &node->macro.varargs_slot};
    struct tscope *scope = node->macro.body.scope = scope_new(b);
    struct binder inner = binder_inside(b, scope);
    inner.loop_depth = 0;
    if (!scope)
        return false;
    size_t before_defaults = node->macro.params.count - node->macro.defaults.count, index = 0;
    bool explicit_caller = false;
    for (struct tnode *param = node->macro.params.first; param; param = param->next, index++) {
        if (!declare_parameter(&inner, param->name.name, &param->name.slot))
            return false;
        explicit_caller |= template_is(param->name.name, "caller");
        if (template_is(param->name.name, "caller") && node->macro.uses_caller && index < before_defaults)
            return template_fail(b->s, "TemplateAssertionError",
                                 "When defining macros or call blocks the special "
                                 "\"caller\" argument must be omitted or be given a "
                                 "default.");
        for (int i = 1; i < 3; i++)
            *uses[i] = *uses[i] && !same_name(param->name.name, &names[i]);
    }
    node->macro.uses_caller &= !explicit_caller; /* then it is a parameter like any other */
    for (int i = 0; i < 3; i++)
        if (*uses[i] && !declare_parameter(&inner, &names[i], slots[i]))
            return false;
    return declare_nodes(&inner, &node->macro.defaults) && bind_nodes(&inner, &node->macro.defaults) &&
           bind_body(&inner, &node->macro.body);
}

static bool bind_with(struct binder *b, struct tnode *node) {
    struct tscope *scope = node->block.body.scope = scope_new(b);
    struct binder inner = binder_inside(b, scope);
    if (!scope || !bind_nodes(b, &node->block.values))
        return false;
    for (struct tnode *target = node->block.targets.first; target; target = target->next)
        if (!declare_target(&inner, target, true) || !bind_target(&inner, target))
            return false;
    return bind_body(&inner, &node->block.body);
}

/* A filter block or set block: a body in a scope of its own, and a filter that runs in it. */
static bool bind_block(struct binder *b, struct tbody *body, struct tnode *filter) {
    struct tscope *scope = body->scope = scope_new(b);
    struct binder inner = binder_inside(b, scope);
    return scope && declare_nodes(&inner, &body->nodes) && declare(&inner, filter) &&
           bind_nodes(&inner, &body->nodes) && bind(&inner, filter);
}

static bool bind_if(struct binder *b, struct tnode *node) {
    struct binder inner = *b;
    inner.soft = true;
    return bind(&inner, node->branch.test) && bind_nodes(&inner, &node->branch.body.nodes) &&
           bind_nodes(&inner, &node->branch.elifs) && bind_nodes(&inner, &node->branch.otherwise.nodes);
}

static bool bind_statement(struct binder *b, struct tnode *node) {
    switch (node->kind) {
    case TN_OUTPUT:
        return bind_nodes(b, &node->list);
    case TN_IF:
        return bind_if(b, node);
    case TN_FOR:
        return bind_for(b, node);
    case TN_SET:
        return bind(b, node->set.value) && bind_target(b, node->set.target);
    case TN_SET_BLOCK:
        return bind_target(b, node->set.target) && bind_block(b, &node->set.body, node->set.value);
    case TN_MACRO:
        return bind_target(b, node->macro.name) && bind_macro(b, node);
    case TN_CALL_BLOCK:
        return bind(b, node->macro.call) && bind_macro(b, node);
    case TN_FILTER_BLOCK:
        return bind_block(b, &node->block.body, node->block.filter);
    case TN_WITH:
        return bind_with(b, node);
    case TN_GENERATION:
        return bind_macro(b, node);
    default:
        return b->loop_depth ||
               template_fail(b->s, "SyntaxError",
                             node->kind == TN_BREAK ? "'break' outside loop" : "'continue' not properly in loop");
    }
}

static bool bind_builtin(struct binder *b, struct tnode *node) {
    bool filter = node->kind == TN_FILTER;
    const struct tstring *name = node->call.name;
    node->call.builtin = filter ? template_filter_find(name) : template_test_find(name);
    if (!node->call.builtin && !b->soft)
        return template_fail(b->s, "TemplateAssertionError", "No %s named '%.*s'.", filter ? "filter" : "test",
                             (int)name->bytes, name->data);
    return bind(b, node->call.object) && bind_arguments(b, &node->call.arguments);
}

static bool bind_expression(struct binder *b, struct tnode *node) {
    struct binder soft = *b;
    soft.soft = true;
    switch (node->kind) {
    case TN_NAME:
        return bind_name(b, node);
    case TN_TUPLE:
    case TN_LIST:
    case TN_DICT:
    case TN_CONCAT:
        return bind_nodes(b, &node->list);
    case TN_SLICE:
        return bind(b, node->slice.bounds[0]) && bind(b, node->slice.bounds[1]) && bind(b, node->slice.bounds[2]);
    case TN_CALL:
        return bind(b, node->call.object) && bind_arguments(b, &node->call.arguments);
    case TN_FILTER:
    case TN_TEST:
        return bind_builtin(b, node);
    case TN_CONDITION:
        return bind(&soft, node->condition.test) && bind(&soft, node->condition.then) &&
               bind(&soft, node->condition.otherwise);
    case TN_COMPARE:
        return bind(b, node->pair.left) && bind_nodes(b, &node->pair.operands);
    case TN_CONST:
        return true;
    default:
        return bind(b, node->pair.left) && bind(b, node->pair.right);
    }
}

static bool bind(struct binder *b, struct tnode *node) {
    if (!node)
        return true;
    bool ok = template_work(b->s, 1) && (node->kind < TN_OUTPUT ? bind_expression(b, node) : bind_statement(b, node));
    if (!ok && !b->s->fault.line)
        b->s->fault.line = node->line;
    return ok;
}

bool template_bind(struct tstate *s, struct tbody *body) {
    struct binder b = {.s = s};
    body->scope = scope_new(&b);
    b.scope = body->scope;
    return body->scope && declare_nodes(&b, &body->nodes) && bind_nodes(&b, &body->nodes);
}
