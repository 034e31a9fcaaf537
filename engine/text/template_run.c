/* SPDX-License-Identifier: Apache-2.0 */
/* Execution of the chat template's statements: output, conditions, loops, macros and blocks. */
#include <string.h>

#include "template_internal.h"

enum flow { FLOW_NEXT, FLOW_BREAK, FLOW_CONTINUE, FLOW_FAIL };

static enum flow run_nodes(struct tstate *s, const struct tnodes *nodes, struct tframe *frame);

static enum flow flow_of(bool ok) {
    return ok ? FLOW_NEXT : FLOW_FAIL;
}

/* ---- frames ------------------------------------------------------------------------------------------------------ */

struct tframe *template_frame_new(struct tstate *s, const struct tscope *scope, struct tframe *parent) {
    struct tframe *frame = template_alloc(s, 1, sizeof *frame + scope->count * sizeof frame->slots[0]);
    if (frame)
        frame->parent = parent;
    return frame;
}

/* Gives every slot but parameters its first value. */
bool template_frame_enter(struct tstate *s, const struct tscope *scope, struct tframe *frame) {
    for (size_t i = 0; i < scope->count; i++) {
        const struct tsymbol *symbol = &scope->symbols[i];
        const struct tframe *outer = frame;
        const struct tpair *pair;
        switch (symbol->load) {
        case TLOAD_PARAMETER:
            break;
        case TLOAD_UNSET:
            frame->slots[i] = template_missing();
            break;
        case TLOAD_OUTER:
            for (uint32_t up = symbol->up; up > 0; up--)
                outer = outer->parent;
            frame->slots[i] = outer->slots[symbol->slot];
            break;
        case TLOAD_CONTEXT:
            if (!template_dict_find(s, s->context, template_of_string(symbol->name), &pair))
                return false;
            frame->slots[i] = pair ? pair->value : template_missing();
            break;
        }
    }
    return template_work(s, scope->count);
}

static struct tframe *frame_open(struct tstate *s, const struct tscope *scope, struct tframe *parent) {
    struct tframe *frame = template_frame_new(s, scope, parent);
    return frame && template_frame_enter(s, scope, frame) ? frame : NULL;
}

/* ---- captured output --------------------------------------------------------------------------------------------- */

/* Sends what follows to a builder of its own until capture_end. */
static struct tbuilder *capture_begin(struct tstate *s, struct tbuilder *capture) {
    struct tbuilder *before = s->output;
    *capture = (struct tbuilder){.limit_bytes = s->output_limit_bytes};
    s->output = capture;
    return before;
}

/* ---- loops ------------------------------------------------------------------------------------------------------- */

bool template_loop_length(struct tstate *s, struct tloop *loop, int64_t *ret) {
    size_t count;
    if (loop->length < 0 && loop->iterable.kind != TV_ITERATOR) {
        if (!template_length(s, loop->iterable, &count))
            return false;
        loop->length = (int64_t)count;
    }
    if (loop->length < 0) { /* what is left is read ahead */
        struct tgrowing rest;
        struct tvalue source = {.kind = TV_ITERATOR, .iterator = loop->iterator}, list;
        if (!template_collect(s, source, &rest) ||
            !template_iterator_over(s, rest.items, rest.count, "iterator", &list))
            return false;
        loop->iterator = list.iterator;
        loop->length = (int64_t)rest.count + loop->index0 + 1 + (loop->peeked && !template_is_missing(loop->after));
    }
    *ret = loop->length;
    return true;
}

static bool loop_peek(struct tstate *s, struct tloop *loop) {
    if (loop->peeked)
        return true;
    loop->peeked = true;
    return loop->iterator->next(s, loop->iterator, &loop->after);
}

/* The next item into loop->current; missing at the end. */
static bool loop_next(struct tstate *s, struct tloop *loop) {
    struct tvalue next = loop->after;
    if (!loop->peeked && !loop->iterator->next(s, loop->iterator, &next))
        return false;
    loop->peeked = false;
    loop->before = loop->current;
    loop->current = next;
    loop->index0 += !template_is_missing(next);
    return true;
}

static bool rest_next(struct tstate *s, struct titerator *it, struct tvalue *ret) {
    struct tloop *loop = it->more;
    if (!template_work(s, 1) || !loop_next(s, loop))
        return false;
    *ret = loop->current;
    if (template_is_missing(*ret))
        return true;
    struct tpair pair = {.key = loop->current, .value = {.kind = TV_LOOP, .loop = loop}};
    return template_pair_tuple(s, &pair, ret);
}

bool template_loop_iterate(struct tstate *s, struct tloop *loop, struct titerator **ret) {
    *ret = template_iterator_new(s, "LoopContext", rest_next);
    if (*ret)
        (*ret)->more = loop;
    return *ret != NULL;
}

static bool loop_cycle(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    if (call->count == 0)
        return template_fail(s, "TypeError", "no items for cycling given");
    *ret = call->args[(size_t)self.loop->index0 % call->count];
    return true;
}

static bool loop_changed(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret) {
    struct tvalue now;
    bool same = false;
    if (!template_list_of(s, TV_TUPLE, call->args, call->count, &now))
        return false;
    if (!template_is_missing(self.loop->changed) && !template_equal(s, self.loop->changed, now, &same))
        return false;
    if (!same)
        self.loop->changed = now;
    *ret = template_bool(!same);
    return true;
}

static bool loop_method(struct tstate *s, struct tloop *loop, const struct tbuiltin *builtin, struct tvalue *ret) {
    struct tmethod *method = template_alloc(s, 1, sizeof *method);
    if (!method)
        return false;
    *method = (struct tmethod){.self = {.kind = TV_LOOP, .loop = loop}, .builtin = builtin};
    *ret = (struct tvalue){.kind = TV_METHOD, .method = method};
    return true;
}

static bool loop_neighbour(struct tstate *s, struct tloop *loop, bool next, struct tvalue *ret) {
    if (next && !loop_peek(s, loop))
        return false;
    *ret = next ? loop->after : loop->index0 == 0 ? template_missing() : loop->before;
    return !template_is_missing(*ret) ||
           template_undefined_hint(s, ret, next ? "there is no next item" : "there is no previous item");
}

bool template_loop_member(struct tstate *s, struct tloop *loop, const struct tstring *name, struct tvalue *ret) {
    static const struct tbuiltin cycle = {"cycle", NULL, 0, loop_cycle}, changed = {"changed", NULL, 0, loop_changed};
    int64_t length = 0;
    bool from_end = template_is(name, "revindex") || template_is(name, "revindex0");
    if ((from_end || template_is(name, "length")) && !template_loop_length(s, loop, &length))
        return false;
    if (template_is(name, "last")) {
        *ret = template_bool(false);
        if (!loop_peek(s, loop))
            return false;
        ret->truth = template_is_missing(loop->after);
    } else if (template_is(name, "index")) {
        *ret = template_int(loop->index0 + 1);
    } else if (template_is(name, "index0")) {
        *ret = template_int(loop->index0);
    } else if (template_is(name, "first")) {
        *ret = template_bool(loop->index0 == 0);
    } else if (template_is(name, "length")) {
        *ret = template_int(length);
    } else if (from_end) {
        *ret = template_int(length - loop->index0 - (name->bytes == 9));
    } else if (template_is(name, "depth") || template_is(name, "depth0")) {
        *ret = template_int((int64_t)loop->depth0 + (name->bytes == 5));
    } else if (template_is(name, "previtem") || template_is(name, "nextitem")) {
        return loop_neighbour(s, loop, name->data[0] == 'n', ret);
    } else if (template_is(name, "cycle") || template_is(name, "changed")) {
        return loop_method(s, loop, template_is(name, "cycle") ? &cycle : &changed, ret);
    }
    return true;
}

/* The items that a loop's condition lets through, asked for one by one. */
struct filtered {
    const struct tnode *node;
    struct titerator *items;
    struct tframe *frame;
};

static bool filtered_next(struct tstate *s, struct titerator *it, struct tvalue *ret) {
    struct filtered *filtered = it->more;
    const struct tnode *node = filtered->node;
    for (bool keep = false; !keep;) {
        struct tvalue test;
        if (!filtered->items->next(s, filtered->items, ret))
            return false;
        if (template_is_missing(*ret))
            return true;
        if (!template_assign(s, node->loop.target, filtered->frame, *ret) ||
            !template_eval(s, node->loop.test, filtered->frame, &test) || !template_truth(s, test, &keep))
            return false;
    }
    return true;
}

static bool loop_filter(struct tstate *s, struct tloop *loop) {
    struct titerator *it = template_iterator_new(s, "generator", filtered_next);
    struct filtered *filtered = template_alloc(s, 1, sizeof *filtered);
    if (!it || !filtered)
        return false;
    *filtered = (struct filtered){.node = loop->node, .items = loop->iterator};
    filtered->frame = frame_open(s, loop->node->loop.test_scope, loop->frame);
    it->more = filtered;
    loop->iterator = it;
    loop->iterable = (struct tvalue){.kind = TV_ITERATOR, .iterator = it};
    return filtered->frame != NULL;
}

static enum flow run_iterations(struct tstate *s, struct tloop *loop, bool *ret_completed) {
    const struct tnode *node = loop->node;
    struct tframe *frame = template_frame_new(s, node->loop.body.scope, loop->frame);
    enum flow flow = flow_of(frame != NULL);
    while (flow == FLOW_NEXT) {
        if (!loop_next(s, loop))
            return FLOW_FAIL;
        if (template_is_missing(loop->current))
            break;
        if (node->loop.uses_loop)
            frame->slots[node->loop.loop_slot] = (struct tvalue){.kind = TV_LOOP, .loop = loop};
        if (!template_assign(s, node->loop.target, frame, loop->current) ||
            !template_frame_enter(s, node->loop.body.scope, frame))
            return FLOW_FAIL;
        flow = run_nodes(s, &node->loop.body.nodes, frame);
        *ret_completed |= flow == FLOW_NEXT;
        flow = flow == FLOW_CONTINUE ? FLOW_NEXT : flow;
    }
    return flow == FLOW_FAIL ? FLOW_FAIL : FLOW_NEXT;
}

/* Python's condition for else is that no iteration came to its end: one left by break or continue does not count. */
static enum flow run_loop(struct tstate *s, const struct tnode *node, struct tframe *frame, struct tvalue iterable,
                          unsigned depth0) {
    struct tloop *loop = template_alloc(s, 1, sizeof *loop);
    bool completed = false;
    if (!loop)
        return FLOW_FAIL;
    *loop = (struct tloop){
        .node = node, .frame = frame, .iterable = iterable, .index0 = -1, .length = -1, .depth0 = depth0};
    if (!template_iterate(s, iterable, &loop->iterator) || (node->loop.test && !loop_filter(s, loop)))
        return FLOW_FAIL;
    enum flow flow = run_iterations(s, loop, &completed);
    if (flow == FLOW_FAIL || completed || !node->loop.otherwise.nodes.count)
        return flow;
    struct tframe *otherwise = frame_open(s, node->loop.otherwise.scope, frame);
    return otherwise ? run_nodes(s, &node->loop.otherwise.nodes, otherwise) : FLOW_FAIL;
}

static enum flow run_for(struct tstate *s, const struct tnode *node, struct tframe *frame) {
    struct tvalue iterable;
    if (!template_eval(s, node->loop.iterable, frame, &iterable))
        return FLOW_FAIL;
    return run_loop(s, node, frame, iterable, 0);
}

bool template_loop_recurse(struct tstate *s, struct tloop *loop, struct tvalue iterable, struct tvalue *ret) {
    if (!loop->node->flag)
        return template_fail(s, "TypeError", "The loop must have the 'recursive' marker to be called recursively.");
    struct tbuilder capture, *before = capture_begin(s, &capture);
    bool ok = template_enter(s) && run_loop(s, loop->node, loop->frame, iterable, loop->depth0 + 1) != FLOW_FAIL;
    template_leave(s);
    s->output = before;
    return ok && template_built(s, &capture, ret);
}

/* ---- macros ------------------------------------------------------------------------------------------------------ */

/* Arguments that no parameter takes: kept for the macro to read, or an error. */
static bool macro_rest(struct tstate *s, const struct tnode *node, const struct tcall *call, struct tdict *keywords,
                       struct tframe *frame) {
    const struct tstring *name = node->macro.text;
    size_t params = node->macro.params.count;
    if (node->macro.uses_kwargs) {
        frame->slots[node->macro.kwargs_slot] = (struct tvalue){.kind = TV_DICT, .dict = keywords};
    } else if (keywords->count) {
        const struct tstring *key = keywords->pairs[0].key.string;
        if (template_is(key, "caller"))
            return template_fail(s, "TypeError",
                                 "macro '%.*s' was invoked with two values for the special caller argument. "
                                 "This is most likely a bug.",
                                 name ? (int)name->bytes : 4, name ? name->data : "None");
        return template_fail(s, "TypeError", "macro '%.*s' takes no keyword argument '%.*s'",
                             name ? (int)name->bytes : 4, name ? name->data : "None", (int)key->bytes, key->data);
    }
    if (!node->macro.uses_varargs)
        return call->count <= params ||
               template_fail(s, "TypeError", "macro '%.*s' takes not more than %zu argument(s)",
                             name ? (int)name->bytes : 4, name ? name->data : "None", params);
    size_t extra = call->count > params ? call->count - params : 0;
    return template_list_of(s, TV_TUPLE, extra ? call->args + params : NULL, extra,
                            &frame->slots[node->macro.varargs_slot]);
}

/* Fills the parameters' slots from the call; what has no value stays missing. */
static bool macro_bind(struct tstate *s, const struct tnode *node, const struct tcall *call, struct tframe *frame) {
    struct tdict *rest = template_dict_new(s);
    size_t index = 0;
    if (!rest)
        return false;
    for (const struct tnode *param = node->macro.params.first; param; param = param->next, index++) {
        const struct tpair *pair = NULL;
        if (index >= call->count && call->keywords &&
            !template_dict_find(s, call->keywords, template_of_string(param->name.name), &pair))
            return false;
        frame->slots[param->name.slot] = index < call->count ? call->args[index]
                                         : pair              ? pair->value
                                                             : template_missing();
    }
    if (node->macro.uses_caller)
        frame->slots[node->macro.caller_slot] = template_missing();
    for (size_t i = 0; call->keywords && i < call->keywords->count; i++) {
        const struct tpair *pair = &call->keywords->pairs[i];
        bool taken = false;
        index = 0;
        for (const struct tnode *param = node->macro.params.first; param && !taken; param = param->next, index++)
            taken = index >= call->count && param->name.name->bytes == pair->key.string->bytes &&
                    !memcmp(param->name.name->data, pair->key.string->data, pair->key.string->bytes);
        if (!taken && node->macro.uses_caller && template_is(pair->key.string, "caller"))
            frame->slots[node->macro.caller_slot] = pair->value;
        else if (!taken && !template_dict_set(s, rest, pair->key, pair->value))
            return false;
    }
    return macro_rest(s, node, call, rest, frame);
}

/* Defaults are evaluated inside the macro, in order: they see the parameters before them. */
static bool macro_defaults(struct tstate *s, const struct tnode *node, struct tframe *frame) {
    size_t without = node->macro.params.count - node->macro.defaults.count, index = 0;
    const struct tnode *otherwise = node->macro.defaults.first;
    for (const struct tnode *param = node->macro.params.first; param; param = param->next, index++) {
        struct tvalue *slot = &frame->slots[param->name.slot];
        bool has = index >= without;
        if (template_is_missing(*slot) && has && !template_eval(s, otherwise, frame, slot))
            return false;
        if (template_is_missing(*slot) &&
            !template_undefined_hint(s, slot, "parameter '%.*s' was not provided", (int)param->name.name->bytes,
                                     param->name.name->data))
            return false;
        otherwise = has ? otherwise->next : otherwise;
    }
    bool lacks_caller = node->macro.uses_caller && template_is_missing(frame->slots[node->macro.caller_slot]);
    return !lacks_caller || template_undefined_hint(s, &frame->slots[node->macro.caller_slot], "No caller defined");
}

bool template_call_macro(struct tstate *s, const struct tmacro *macro, const struct tcall *call, struct tvalue *ret) {
    const struct tnode *node = macro->node;
    struct tframe *frame = template_frame_new(s, node->macro.body.scope, macro->closure);
    if (!frame)
        return false;
    struct tbuilder capture, *before = capture_begin(s, &capture);
    bool ok = template_enter(s) && macro_bind(s, node, call, frame) &&
              template_frame_enter(s, node->macro.body.scope, frame) && macro_defaults(s, node, frame) &&
              run_nodes(s, &node->macro.body.nodes, frame) != FLOW_FAIL;
    template_leave(s);
    s->output = before;
    return ok && template_built(s, &capture, ret);
}

static bool macro_value(struct tstate *s, const struct tnode *node, struct tframe *frame, struct tvalue *ret) {
    struct tmacro *macro = template_alloc(s, 1, sizeof *macro);
    if (!macro)
        return false;
    *macro = (struct tmacro){.node = node, .closure = frame};
    *ret = (struct tvalue){.kind = TV_MACRO, .macro = macro};
    return true;
}

/* The call with one more keyword, caller: the block's body as a macro. */
static bool run_call_block(struct tstate *s, const struct tnode *node, struct tframe *frame) {
    struct tvalue function, caller, result;
    struct tcall call;
    struct tdict *keywords = template_dict_new(s);
    if (!keywords || !macro_value(s, node, frame, &caller) ||
        !template_eval(s, node->macro.call->call.object, frame, &function) ||
        !template_eval_arguments(s, &node->macro.call->call.arguments, frame, &call))
        return false;
    if (call.keywords && !template_dict_update(s, keywords, (struct tvalue){.kind = TV_DICT, .dict = call.keywords}))
        return false;
    call.keywords = keywords;
    return template_dict_set_text(s, keywords, "caller", caller) && template_call(s, function, &call, &result) &&
           template_put_str(s, s->output, result);
}

/* ---- blocks ------------------------------------------------------------------------------------------------------ */

/* Runs a body and gives its text, filtered, in *ret; a break inside leaves no text. */
static enum flow run_captured(struct tstate *s, const struct tbody *body, const struct tnode *filter,
                              struct tframe *outer, struct tvalue *ret) {
    struct tframe *frame = frame_open(s, body->scope, outer);
    if (!frame)
        return FLOW_FAIL;
    struct tbuilder capture, *before = capture_begin(s, &capture);
    enum flow flow = run_nodes(s, &body->nodes, frame);
    s->output = before;
    if (flow != FLOW_NEXT)
        return flow;
    if (!template_built(s, &capture, ret))
        return FLOW_FAIL;
    return flow_of(!filter || template_eval_filter(s, filter, frame, *ret, ret));
}

static enum flow run_set_block(struct tstate *s, const struct tnode *node, struct tframe *frame) {
    struct tvalue text;
    enum flow flow = run_captured(s, &node->set.body, node->set.value, frame, &text);
    return flow != FLOW_NEXT ? flow : flow_of(template_assign(s, node->set.target, frame, text));
}

static enum flow run_filter_block(struct tstate *s, const struct tnode *node, struct tframe *frame) {
    struct tvalue text;
    enum flow flow = run_captured(s, &node->block.body, node->block.filter, frame, &text);
    return flow != FLOW_NEXT ? flow : flow_of(template_put_str(s, s->output, text));
}

static enum flow run_with(struct tstate *s, const struct tnode *node, struct tframe *outer) {
    struct tframe *frame = frame_open(s, node->block.body.scope, outer);
    const struct tnode *target = node->block.targets.first;
    if (!frame)
        return FLOW_FAIL;
    for (const struct tnode *value = node->block.values.first; value; value = value->next, target = target->next) {
        struct tvalue v;
        if (!template_eval(s, value, outer, &v) || !template_assign(s, target, frame, v))
            return FLOW_FAIL;
    }
    return run_nodes(s, &node->block.body.nodes, frame);
}

/* The reference calls the body as a macro without parameters. */
static bool run_generation(struct tstate *s, const struct tnode *node, struct tframe *frame) {
    const struct tmacro macro = {.node = node, .closure = frame};
    const struct tcall call = {0};
    struct tvalue text;
    return template_call_macro(s, &macro, &call, &text) && template_put_str(s, s->output, text);
}

/* ---- statements -------------------------------------------------------------------------------------------------- */

static bool run_output(struct tstate *s, const struct tnode *node, struct tframe *frame) {
    for (const struct tnode *item = node->list.first; item; item = item->next) {
        struct tvalue v;
        if (!template_eval(s, item, frame, &v) || !template_put_str(s, s->output, v))
            return false;
    }
    return true;
}

static enum flow run_if(struct tstate *s, const struct tnode *node, struct tframe *frame) {
    const struct tnode *branch = node;
    for (bool first = true; branch; branch = first ? node->branch.elifs.first : branch->next, first = false) {
        struct tvalue v;
        bool truth;
        if (!template_eval(s, branch->branch.test, frame, &v) || !template_truth(s, v, &truth))
            return FLOW_FAIL;
        if (truth)
            return run_nodes(s, &branch->branch.body.nodes, frame);
    }
    return run_nodes(s, &node->branch.otherwise.nodes, frame);
}

static bool run_set(struct tstate *s, const struct tnode *node, struct tframe *frame) {
    struct tvalue v;
    return template_check_target(s, node->set.target, frame) && template_eval(s, node->set.value, frame, &v) &&
           template_assign(s, node->set.target, frame, v);
}

static bool run_macro(struct tstate *s, const struct tnode *node, struct tframe *frame) {
    struct tvalue macro;
    return macro_value(s, node, frame, &macro) && template_assign(s, node->macro.name, frame, macro);
}

static enum flow run(struct tstate *s, const struct tnode *node, struct tframe *frame) {
    switch (node->kind) {
    case TN_OUTPUT:
        return flow_of(run_output(s, node, frame));
    case TN_IF:
        return run_if(s, node, frame);
    case TN_FOR:
        return run_for(s, node, frame);
    case TN_SET:
        return flow_of(run_set(s, node, frame));
    case TN_SET_BLOCK:
        return run_set_block(s, node, frame);
    case TN_MACRO:
        return flow_of(run_macro(s, node, frame));
    case TN_CALL_BLOCK:
        return flow_of(run_call_block(s, node, frame));
    case TN_FILTER_BLOCK:
        return run_filter_block(s, node, frame);
    case TN_WITH:
        return run_with(s, node, frame);
    case TN_GENERATION:
        return flow_of(run_generation(s, node, frame));
    case TN_BREAK:
        return FLOW_BREAK;
    case TN_CONTINUE:
        return FLOW_CONTINUE;
    default: /* the parser makes no statement of other kinds */
        return flow_of(template_fail(s, "AssertionError", "not a statement"));
    }
}

static enum flow run_nodes(struct tstate *s, const struct tnodes *nodes, struct tframe *frame) {
    enum flow flow = template_enter(s) ? FLOW_NEXT : FLOW_FAIL;
    for (const struct tnode *node = nodes->first; node && flow == FLOW_NEXT; node = node->next) {
        flow = template_work(s, 1) ? run(s, node, frame) : FLOW_FAIL;
        if (flow == FLOW_FAIL && !s->fault.line)
            s->fault.line = node->line;
    }
    template_leave(s);
    return flow;
}

bool template_run(struct tstate *s, const struct tbody *body) {
    struct tframe *frame = frame_open(s, body->scope, NULL);
    return frame && run_nodes(s, &body->nodes, frame) != FLOW_FAIL;
}
