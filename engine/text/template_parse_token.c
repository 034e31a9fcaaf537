/* SPDX-License-Identifier: Apache-2.0 */
/* What the parsers of the chat template stand on: tokens looked at and stepped over, nodes made and linked. */
#include <stdio.h>
#include <string.h>

#include "template_internal.h"

/* ---- tokens and nodes -------------------------------------------------------------------------------------------- */

bool template_fail_syntax(struct tparser *p, uint32_t line, const char *format, ...) {
    struct tstate *s = p->lexer.s;
    char message[sizeof s->fault.message];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    template_fail(s, "TemplateSyntaxError", "%s", message);
    if (!s->fault.line)
        s->fault.line = line;
    return false;
}

bool template_advance(struct tparser *p) {
    if (p->has_ahead) {
        p->current = p->ahead;
        p->has_ahead = false;
        return true;
    }
    return template_lex(&p->lexer, &p->current);
}

bool template_look(struct tparser *p, struct ttoken *ret) {
    if (!p->has_ahead && !template_lex(&p->lexer, &p->ahead))
        return false;
    p->has_ahead = true;
    *ret = p->ahead;
    return true;
}

const char *template_token_text(const struct ttoken *token, char *text, size_t bytes) {
    if (token->kind != TT_NAME)
        return template_token_name(token->kind);
    snprintf(text, bytes, "%.*s", (int)(token->bytes < 60 ? token->bytes : 60), token->text);
    return text;
}

bool template_expect(struct tparser *p, enum ttoken_kind kind) {
    char text[64];
    if (p->current.kind == kind)
        return template_advance(p);
    if (p->current.kind == TT_EOF)
        return template_fail_syntax(p, p->current.line, "unexpected end of template, expected '%s'.",
                                    template_token_name(kind));
    return template_fail_syntax(p, p->current.line, "expected token '%s', got '%s'", template_token_name(kind),
                                template_token_text(&p->current, text, sizeof text));
}

bool template_expect_name(struct tparser *p, const struct tstring **ret) {
    const struct tstring *name = p->current.kind == TT_NAME ? p->current.value.string : NULL;
    if (!template_expect(p, TT_NAME))
        return false;
    *ret = name;
    return true;
}

bool template_at_name(const struct tparser *p, const char *name) {
    return p->current.kind == TT_NAME && template_is(p->current.value.string, name);
}

/* Steps over a name such as "if"; *ret_found is whether it was there. */
bool template_skip_name(struct tparser *p, const char *name, bool *ret_found) {
    *ret_found = template_at_name(p, name);
    return !*ret_found || template_advance(p);
}

struct tnode *template_node(struct tparser *p, enum tnode_kind kind, uint32_t line) {
    struct tnode *node = template_alloc(p->lexer.s, 1, sizeof *node);
    if (!node)
        return NULL;
    node->kind = kind;
    node->line = line;
    node->depth = 1;
    return node;
}

bool template_node_deepen(struct tparser *p, struct tnode *node, const struct tnode *child) {
    if (child && child->depth >= node->depth)
        node->depth = (uint16_t)(child->depth + 1);
    return node->depth <= TEMPLATE_TREE_DEPTH_MAX ||
           template_fail_syntax(p, node->line, "the expression is nested too deeply (over %d levels)",
                                (int)TEMPLATE_TREE_DEPTH_MAX);
}

void template_nodes_add(struct tnodes *nodes, struct tnode *node) {
    if (nodes->last)
        nodes->last->next = node;
    else
        nodes->first = node;
    nodes->last = node;
    nodes->count++;
}

bool template_list_add(struct tparser *p, struct tnode *parent, struct tnodes *nodes, struct tnode *node) {
    template_nodes_add(nodes, node);
    return template_node_deepen(p, parent, node);
}

bool template_nest(struct tparser *p) {
    return ++p->nesting <= TEMPLATE_NESTING_MAX ||
           template_fail_syntax(p, p->current.line, "the template is nested too deeply (over %d levels)",
                                (int)TEMPLATE_NESTING_MAX);
}

/* left <kind> right */
bool template_binary_node(struct tparser *p, enum tnode_kind kind, uint8_t operator, uint32_t line,
                          struct tnode **io_left, struct tnode *right) {
    struct tnode *node = template_node(p, kind, line);
    if (!node)
        return false;
    node->operator= operator;
    node->pair.left = *io_left;
    node->pair.right = right;
    if (!template_node_deepen(p, node, *io_left) || !template_node_deepen(p, node, right))
        return false;
    *io_left = node;
    return true;
}

bool template_const_node(struct tparser *p, struct tvalue v, uint32_t line, struct tnode **ret) {
    *ret = template_node(p, TN_CONST, line);
    if (!*ret)
        return false;
    (*ret)->constant = v;
    return true;
}
