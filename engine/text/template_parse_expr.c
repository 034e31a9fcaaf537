/* SPDX-License-Identifier: Apache-2.0 */
/* Parser of the chat template's operators, with Jinja's precedences. */
#include "template_internal.h"

/* ---- operators, tightest first ----------------------------------------------------------------------------------- */

static bool parse_unary(struct tparser *p, bool with_filter, struct tnode **ret) {
    uint32_t line = p->current.line;
    bool minus = p->current.kind == TT_SUB, ok;
    if (minus || p->current.kind == TT_ADD) {
        ok = template_nest(p) && template_advance(p) && parse_unary(p, false, ret) &&
             template_binary_node(p, TN_NEGATE, 0, line, ret, NULL);
        p->nesting--;
        if (ok)
            (*ret)->flag = minus;
    } else {
        ok = template_parse_primary(p, false, ret);
    }
    return ok && template_parse_postfix(p, ret) && (!with_filter || template_parse_filters(p, ret));
}

static bool parse_power(struct tparser *p, struct tnode **ret) {
    struct tnode *right;
    uint32_t line = p->current.line;
    if (!parse_unary(p, true, ret))
        return false;
    while (p->current.kind == TT_POW)
        if (!template_advance(p) || !parse_unary(p, true, &right) ||
            !template_binary_node(p, TN_BINARY, TOP_POW, line, ret, right))
            return false;
    return true;
}

static bool parse_product(struct tparser *p, struct tnode **ret) {
    struct tnode *right;
    uint32_t line = p->current.line;
    if (!parse_power(p, ret))
        return false;
    for (;;) {
        enum toperator operator;
        switch (p->current.kind) {
        case TT_MUL:
            operator= TOP_MUL;
            break;
        case TT_DIV:
            operator= TOP_DIV;
            break;
        case TT_FLOORDIV:
            operator= TOP_FLOORDIV;
            break;
        case TT_MOD:
            operator= TOP_MOD;
            break;
        default:
            return true;
        }
        if (!template_advance(p) || !parse_power(p, &right) ||
            !template_binary_node(p, TN_BINARY, operator, line, ret, right))
            return false;
    }
}

static bool parse_concat(struct tparser *p, struct tnode **ret) {
    struct tnode *concat = NULL, *item;
    uint32_t line = p->current.line;
    if (!parse_product(p, ret))
        return false;
    while (p->current.kind == TT_TILDE) {
        if (!concat &&
            (!(concat = template_node(p, TN_CONCAT, line)) || !template_list_add(p, concat, &concat->list, *ret)))
            return false;
        if (!template_advance(p) || !parse_product(p, &item) || !template_list_add(p, concat, &concat->list, item))
            return false;
    }
    *ret = concat ? concat : *ret;
    return true;
}

static bool parse_sum(struct tparser *p, struct tnode **ret) {
    struct tnode *right;
    uint32_t line = p->current.line;
    if (!parse_concat(p, ret))
        return false;
    while (p->current.kind == TT_ADD || p->current.kind == TT_SUB) {
        enum toperator operator= p->current.kind == TT_ADD ? TOP_ADD : TOP_SUB;
        if (!template_advance(p) || !parse_concat(p, &right) ||
            !template_binary_node(p, TN_BINARY, operator, line, ret, right))
            return false;
    }
    return true;
}

/* The comparison operator that stands here, which is stepped over; *ret_found is false where there is none. */
static bool comparison(struct tparser *p, enum tcompare *ret, bool *ret_found) {
    static const struct {
        enum ttoken_kind token;
        enum tcompare operator;
    } operators[] = {{TT_EQ, TCMP_EQ}, {TT_NE, TCMP_NE}, {TT_LT, TCMP_LT},
                     {TT_LE, TCMP_LE}, {TT_GT, TCMP_GT}, {TT_GE, TCMP_GE}};
    struct ttoken next = {0};
    *ret_found = true;
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++)
        if (p->current.kind == operators[i].token) {
            *ret = operators[i].operator;
            return template_advance(p);
        }
    *ret = TCMP_IN;
    if (template_at_name(p, "in"))
        return template_advance(p);
    if (template_at_name(p, "not") && !template_look(p, &next))
        return false;
    *ret_found = next.kind == TT_NAME && template_is(next.value.string, "in");
    *ret = TCMP_NOT_IN;
    return !*ret_found || (template_advance(p) && template_advance(p));
}

static bool parse_compare(struct tparser *p, struct tnode **ret) {
    struct tnode *compare = NULL, *operand;
    uint32_t line = p->current.line;
    if (!parse_sum(p, ret))
        return false;
    for (;;) {
        enum tcompare operator;
        bool found;
        if (!comparison(p, &operator, & found))
            return false;
        if (!found)
            return true;
        if (!compare) {
            if (!template_binary_node(p, TN_COMPARE, 0, line, ret, NULL))
                return false;
            compare = *ret;
        }
        if (!parse_sum(p, &operand))
            return false;
        struct tnode *link = template_node(p, TN_OPERAND, line);
        if (!link)
            return false;
        link->operator=(uint8_t) operator;
        link->pair.left = operand;
        if (!template_node_deepen(p, link, operand) || !template_list_add(p, compare, &compare->pair.operands, link))
            return false;
    }
}

static bool parse_not(struct tparser *p, struct tnode **ret) {
    uint32_t line = p->current.line;
    if (!template_at_name(p, "not"))
        return parse_compare(p, ret);
    bool ok = template_nest(p) && template_advance(p) && parse_not(p, ret) &&
              template_binary_node(p, TN_NOT, 0, line, ret, NULL);
    p->nesting--;
    return ok;
}

static bool parse_and(struct tparser *p, struct tnode **ret) {
    struct tnode *right;
    uint32_t line = p->current.line;
    bool found;
    if (!parse_not(p, ret))
        return false;
    for (;;) {
        if (!template_skip_name(p, "and", &found))
            return false;
        if (!found)
            return true;
        if (!parse_not(p, &right) || !template_binary_node(p, TN_AND, 0, line, ret, right))
            return false;
    }
}

static bool parse_or(struct tparser *p, struct tnode **ret) {
    struct tnode *right;
    uint32_t line = p->current.line;
    bool found;
    if (!parse_and(p, ret))
        return false;
    for (;;) {
        if (!template_skip_name(p, "or", &found))
            return false;
        if (!found)
            return true;
        if (!parse_and(p, &right) || !template_binary_node(p, TN_OR, 0, line, ret, right))
            return false;
    }
}

static bool parse_condition(struct tparser *p, struct tnode **ret) {
    uint32_t line = p->current.line;
    bool found;
    if (!parse_or(p, ret))
        return false;
    for (;;) {
        if (!template_skip_name(p, "if", &found))
            return false;
        if (!found)
            return true;
        struct tnode *node = template_node(p, TN_CONDITION, line);
        if (!node || !parse_or(p, &node->condition.test) || !template_skip_name(p, "else", &found))
            return false;
        if (found && !template_parse_expression(p, true, &node->condition.otherwise))
            return false;
        node->condition.then = *ret;
        if (!template_node_deepen(p, node, node->condition.then) ||
            !template_node_deepen(p, node, node->condition.test) ||
            !template_node_deepen(p, node, node->condition.otherwise))
            return false;
        *ret = node;
        line = p->current.line;
    }
}

bool template_parse_expression(struct tparser *p, bool with_condition, struct tnode **ret) {
    bool ok = template_nest(p) && (with_condition ? parse_condition(p, ret) : parse_or(p, ret));
    p->nesting--;
    return ok;
}
