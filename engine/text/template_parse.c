/* SPDX-License-Identifier: Apache-2.0 */
/* Parser of the chat template's statements. */
#include <stdio.h>
#include <string.h>

#include "template_internal.h"

/* ---- bodies ------------------------------------------------------------------------------------------------------ */

static bool parse_statement(struct tparser *p, struct tnodes *body);

/* Appends to the output that ends the body, so that a run of text and expressions is one node. */
static bool add_output(struct tparser *p, struct tnodes *body, struct tnode *item) {
    struct tnode *output = body->last && body->last->kind == TN_OUTPUT ? body->last : NULL;
    if (!output) {
        output = template_node(p, TN_OUTPUT, item->line);
        if (!output)
            return false;
        template_nodes_add(body, output);
    }
    template_nodes_add(&output->list, item);
    return true;
}

static bool parse_data(struct tparser *p, struct tnodes *body) {
    struct tnode *text = template_node(p, TN_CONST, p->current.line);
    if (!text)
        return false;
    text->constant = p->current.value;
    return (!p->current.bytes || add_output(p, body, text)) && template_advance(p);
}

static bool parse_print(struct tparser *p, struct tnodes *body) {
    struct tnode *item;
    return template_advance(p) && template_parse_tuple(p, TUPLE_CONDITION, &item) && add_output(p, body, item) &&
           template_expect(p, TT_VARIABLE_END);
}

/* `start`, and what was expected instead. */
static bool fail_tag(struct tparser *p, const char *start) {
    char tags[128] = "";
    if (!p->ends)
        return template_fail_syntax(p, p->current.line, "%s", start);
    for (size_t i = 0, used = 0; p->ends[i] && used < sizeof tags; i++)
        used += (size_t)snprintf(tags + used, sizeof tags - used, "%s'%s'", i ? " or " : "", p->ends[i]);
    return template_fail_syntax(p, p->current.line,
                                "%s Jinja was looking for the following tags: %s. The innermost block "
                                "that needs to be closed is '%s'.",
                                start, tags, p->tag);
}

/* Up to one of p->ends; *ret_end is the one that stopped the body, still current. */
static bool parse_nodes(struct tparser *p, struct tnodes *body, const char **ret_end) {
    const char *const *ends = p->ends;
    for (;;) {
        bool ok;
        switch (p->current.kind) {
        case TT_EOF:
            *ret_end = NULL;
            return !ends || fail_tag(p, "Unexpected end of template.");
        case TT_DATA:
            ok = parse_data(p, body);
            break;
        case TT_VARIABLE_BEGIN:
            ok = parse_print(p, body);
            break;
        default:
            ok = template_expect(p, TT_BLOCK_BEGIN);
            for (size_t i = 0; ok && ends && ends[i]; i++)
                if (template_at_name(p, ends[i])) {
                    *ret_end = ends[i];
                    return true;
                }
            ok = ok && parse_statement(p, body) && template_expect(p, TT_BLOCK_END);
        }
        if (!ok)
            return false;
    }
}

/* From behind a tag's own words to one of the end tags, which is stepped over. */
static bool parse_body(struct tparser *p, const char *const *ends, struct tnodes *body, const char **ret_end) {
    const char *end, *const *outer = p->ends;
    if ((p->current.kind == TT_COLON && !template_advance(p)) || !template_expect(p, TT_BLOCK_END))
        return false;
    p->ends = ends;
    bool ok = template_nest(p) && parse_nodes(p, body, &end) && template_advance(p);
    p->nesting--;
    p->ends = outer;
    if (ok && ret_end)
        *ret_end = end;
    return ok;
}

/* ---- targets ----------------------------------------------------------------------------------------------------- */

static bool check_target(struct tparser *p, const struct tnode *target) {
    if (target->kind == TN_TUPLE) {
        for (const struct tnode *item = target->list.first; item; item = item->next)
            if (!check_target(p, item))
                return false;
        return true;
    }
    return target->kind == TN_NAME || target->kind == TN_NAMESPACE_REF ||
           template_fail_syntax(p, target->line, "can't assign to '%s'",
                                target->kind == TN_LIST   ? "list"
                                : target->kind == TN_DICT ? "dict"
                                                          : "const");
}

static bool parse_target(struct tparser *p, unsigned flags, struct tnode **ret) {
    return template_parse_tuple(p, flags | TUPLE_TARGET, ret) && check_target(p, *ret);
}

static bool parse_name_target(struct tparser *p, struct tnode **ret) {
    static const char *const reserved[] = {"true", "false", "none", "True", "False", "None"};
    *ret = template_node(p, TN_NAME, p->current.line);
    if (!*ret || !template_expect_name(p, &(*ret)->name.name))
        return false;
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
        if (template_is((*ret)->name.name, reserved[i]))
            return template_fail_syntax(p, (*ret)->line, "can't assign to 'name'");
    return true;
}

/* ---- statements -------------------------------------------------------------------------------------------------- */

static bool parse_if(struct tparser *p, struct tnode *node) {
    static const char *const ends[] = {"elif", "else", "endif", NULL}, *const last[] = {"endif", NULL};
    struct tnode *branch = node;
    const char *end;
    for (;;) {
        if (!template_parse_tuple(p, 0, &branch->branch.test) || !parse_body(p, ends, &branch->branch.body.nodes, &end))
            return false;
        if (end != ends[0])
            break;
        branch = template_node(p, TN_IF, p->current.line);
        if (!branch)
            return false;
        template_nodes_add(&node->branch.elifs, branch);
    }
    return end == ends[2] || parse_body(p, last, &node->branch.otherwise.nodes, NULL);
}

static bool parse_for(struct tparser *p, struct tnode *node) {
    static const char *const ends[] = {"endfor", "else", NULL}, *const last[] = {"endfor", NULL};
    const char *end;
    if (!parse_target(p, TUPLE_UNTIL_IN, &node->loop.target))
        return false;
    if (!template_at_name(p, "in"))
        return template_expect(p, TT_NAME) &&
               template_fail_syntax(p, node->line, "expected token 'in' behind a loop's target");
    if (!template_advance(p) || !template_parse_tuple(p, TUPLE_UNTIL_RECURSIVE, &node->loop.iterable))
        return false;
    if (template_at_name(p, "if") && (!template_advance(p) || !template_parse_expression(p, true, &node->loop.test)))
        return false;
    node->flag = template_at_name(p, "recursive");
    if (node->flag && !template_advance(p))
        return false;
    size_t before = p->uses_loop;
    if (!parse_body(p, ends, &node->loop.body.nodes, &end))
        return false;
    node->loop.uses_loop = node->flag || p->uses_loop > before;
    return end == ends[0] || parse_body(p, last, &node->loop.otherwise.nodes, NULL);
}

static bool parse_set(struct tparser *p, struct tnode *node) {
    static const char *const ends[] = {"endset", NULL};
    if (!parse_target(p, TUPLE_NAMESPACE, &node->set.target))
        return false;
    if (p->current.kind == TT_ASSIGN)
        return template_advance(p) && template_parse_tuple(p, TUPLE_CONDITION, &node->set.value);
    node->kind = TN_SET_BLOCK;
    return template_parse_filter(p, NULL, false, &node->set.value) && parse_body(p, ends, &node->set.body.nodes, NULL);
}

static bool parse_parameters(struct tparser *p, struct tnode *node) {
    if (!template_expect(p, TT_LPAREN))
        return false;
    while (p->current.kind != TT_RPAREN) {
        struct tnode *param, *value;
        if ((node->macro.params.count && !template_expect(p, TT_COMMA)) || !parse_name_target(p, &param))
            return false;
        template_nodes_add(&node->macro.params, param);
        if (p->current.kind == TT_ASSIGN) {
            if (!template_advance(p) || !template_parse_expression(p, true, &value))
                return false;
            template_nodes_add(&node->macro.defaults, value);
        } else if (node->macro.defaults.count) {
            return template_fail_syntax(p, param->line, "non-default argument follows default argument");
        }
    }
    return template_expect(p, TT_RPAREN);
}

/* The body of a macro or call block, and which of the special variables it reads. */
static bool parse_macro_body(struct tparser *p, struct tnode *node, const char *const *ends) {
    size_t caller = p->uses_caller, kwargs = p->uses_kwargs, varargs = p->uses_varargs;
    if (!parse_body(p, ends, &node->macro.body.nodes, NULL))
        return false;
    node->macro.uses_caller = p->uses_caller > caller;
    node->macro.uses_kwargs = p->uses_kwargs > kwargs;
    node->macro.uses_varargs = p->uses_varargs > varargs;
    return true;
}

static bool parse_macro(struct tparser *p, struct tnode *node) {
    static const char *const ends[] = {"endmacro", NULL};
    if (!parse_name_target(p, &node->macro.name))
        return false;
    node->macro.text = node->macro.name->name.name;
    return parse_parameters(p, node) && parse_macro_body(p, node, ends);
}

static bool parse_call_block(struct tparser *p, struct tnode *node) {
    static const char *const ends[] = {"endcall", NULL};
    if (p->current.kind == TT_LPAREN && !parse_parameters(p, node))
        return false;
    if (!template_parse_expression(p, true, &node->macro.call))
        return false;
    if (node->macro.call->kind != TN_CALL)
        return template_fail_syntax(p, node->line, "expected call");
    return parse_macro_body(p, node, ends);
}

static bool parse_filter_block(struct tparser *p, struct tnode *node) {
    static const char *const ends[] = {"endfilter", NULL};
    return template_parse_filter(p, NULL, true, &node->block.filter) &&
           parse_body(p, ends, &node->block.body.nodes, NULL);
}

static bool parse_with(struct tparser *p, struct tnode *node) {
    static const char *const ends[] = {"endwith", NULL};
    while (p->current.kind != TT_BLOCK_END) {
        struct tnode *target, *value;
        if ((node->block.targets.count && !template_expect(p, TT_COMMA)) || !parse_target(p, 0, &target) ||
            !template_expect(p, TT_ASSIGN) || !template_parse_expression(p, true, &value))
            return false;
        template_nodes_add(&node->block.targets, target);
        template_nodes_add(&node->block.values, value);
    }
    return parse_body(p, ends, &node->block.body.nodes, NULL);
}

static bool parse_generation(struct tparser *p, struct tnode *node) {
    static const char *const ends[] = {"endgeneration", NULL};
    return parse_macro_body(p, node, ends);
}

static bool parse_print_statement(struct tparser *p, struct tnode *node) {
    while (p->current.kind != TT_BLOCK_END) {
        struct tnode *item;
        if ((node->list.count && !template_expect(p, TT_COMMA)) || !template_parse_expression(p, true, &item))
            return false;
        template_nodes_add(&node->list, item);
    }
    return true;
}

static bool parse_nothing(struct tparser *p, struct tnode *node) {
    (void)p, (void)node;
    return true;
}

static const struct {
    const char *tag;
    enum tnode_kind kind;
    bool (*parse)(struct tparser *p, struct tnode *node);
} statements[] = {
    {"if", TN_IF, parse_if},
    {"for", TN_FOR, parse_for},
    {"set", TN_SET, parse_set},
    {"macro", TN_MACRO, parse_macro},
    {"call", TN_CALL_BLOCK, parse_call_block},
    {"filter", TN_FILTER_BLOCK, parse_filter_block},
    {"with", TN_WITH, parse_with},
    {"generation", TN_GENERATION, parse_generation},
    {"print", TN_OUTPUT, parse_print_statement},
    {"break", TN_BREAK, parse_nothing},
    {"continue", TN_CONTINUE, parse_nothing},
};

/* A tag that no statement has. Other templates cannot be reached from a chat template, in the reference neither. */
static bool fail_unknown_tag(struct tparser *p) {
    static const char *const others[] = {"include", "import", "from", "extends", "block", "autoescape"};
    const struct tstring *name = p->current.value.string;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (template_is(name, others[i]))
            return template_fail_syntax(p, p->current.line, "the tag '%s' is not supported in chat templates",
                                        others[i]);
    char start[128];
    int shown = name->bytes < 64 ? (int)name->bytes : 64;
    snprintf(start, sizeof start, "Encountered unknown tag '%.*s'.", shown, name->data);
    return fail_tag(p, start);
}

static bool parse_statement(struct tparser *p, struct tnodes *body) {
    if (p->current.kind != TT_NAME)
        return template_fail_syntax(p, p->current.line, "tag name expected");
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++) {
        if (!template_at_name(p, statements[i].tag))
            continue;
        struct tnode *node = template_node(p, statements[i].kind, p->current.line);
        const char *outer = p->tag;
        p->tag = statements[i].tag;
        if (!node || !template_advance(p) || !statements[i].parse(p, node))
            return false;
        p->tag = outer;
        template_nodes_add(body, node);
        return true;
    }
    return fail_unknown_tag(p);
}

bool template_parse(struct tstate *s, const char *source, size_t bytes, struct tbody *ret_body) {
    struct tparser p = {.lexer = {.s = s, .source = source, .bytes = bytes, .line = 1, .line_starting = true}};
    const char *end;
    *ret_body = (struct tbody){0};
    bool ok = template_advance(&p) && parse_nodes(&p, &ret_body->nodes, &end);
    if (!ok && !s->fault.line)
        s->fault.line = p.current.line;
    return ok;
}
