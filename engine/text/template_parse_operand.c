/* SPDX-License-Identifier: Apache-2.0 */
/* Parser of what the operators of the chat template join: literals, names, calls, subscripts, filters and tests. */
#include <string.h>

#include "template_internal.h"

/* ---- calls and subscripts ---------------------------------------------------------------------------------------- */

static bool parse_argument(struct tparser *p, struct tnode *owner, struct targuments *args) {
    struct ttoken next = {0};
    struct tnode *value;
    uint32_t line = p->current.line;
    bool valid = true;
    if (p->current.kind == TT_MUL || p->current.kind == TT_POW) {
        struct tnode **star = p->current.kind == TT_MUL ? &args->star : &args->star_star;
        valid = !args->star_star && !*star;
        if (valid && (!template_advance(p) || !template_parse_expression(p, true, star)))
            return false;
        return valid ? template_node_deepen(p, owner, *star)
                     : template_fail_syntax(p, line, "invalid syntax for function call expression");
    }
    if (p->current.kind == TT_NAME && !template_look(p, &next))
        return false;
    if (next.kind != TT_ASSIGN) {
        if (args->star || args->star_star || args->keywords.count)
            return template_fail_syntax(p, line, "invalid syntax for function call expression");
        return template_parse_expression(p, true, &value) && template_list_add(p, owner, &args->args, value);
    }
    if (args->star_star)
        return template_fail_syntax(p, line, "invalid syntax for function call expression");
    struct tnode *keyword = template_node(p, TN_KEYWORD, line);
    if (!keyword)
        return false;
    keyword->pair.name = p->current.value.string;
    return template_advance(p) && template_advance(p) && template_parse_expression(p, true, &keyword->pair.left) &&
           template_node_deepen(p, keyword, keyword->pair.left) &&
           template_list_add(p, owner, &args->keywords, keyword);
}

static bool parse_arguments(struct tparser *p, struct tnode *owner, struct targuments *args) {
    if (!template_expect(p, TT_LPAREN))
        return false;
    for (bool first = true; p->current.kind != TT_RPAREN; first = false) {
        if (!first && !template_expect(p, TT_COMMA))
            return false;
        if (!first && p->current.kind == TT_RPAREN)
            break;
        if (!parse_argument(p, owner, args))
            return false;
    }
    return template_expect(p, TT_RPAREN);
}

static bool parse_call(struct tparser *p, struct tnode **io_node) {
    struct tnode *node = template_node(p, TN_CALL, p->current.line);
    if (!node)
        return false;
    node->call.object = *io_node;
    *io_node = node;
    return template_node_deepen(p, node, node->call.object) && parse_arguments(p, node, &node->call.arguments);
}

/* [a], [a:b], [a:b:c]: a slice's missing bounds stay NULL; [] is the empty tuple. */
static bool parse_slice(struct tparser *p, struct tnode **ret) {
    if (p->current.kind == TT_RBRACKET)
        return (*ret = template_node(p, TN_TUPLE, p->current.line)) != NULL;
    struct tnode *slice = template_node(p, TN_SLICE, p->current.line);
    bool is_slice = false;
    if (!slice)
        return false;
    for (int i = 0; i < 3; i++) {
        bool has = p->current.kind != TT_COLON && p->current.kind != TT_RBRACKET && p->current.kind != TT_COMMA;
        if (has && (!template_parse_expression(p, true, &slice->slice.bounds[i]) ||
                    !template_node_deepen(p, slice, slice->slice.bounds[i])))
            return false;
        if (p->current.kind != TT_COLON || i == 2)
            break;
        is_slice = true;
        if (!template_advance(p))
            return false;
    }
    *ret = is_slice ? slice : slice->slice.bounds[0];
    return *ret || template_fail_syntax(p, p->current.line, "expected subscript expression");
}

static bool parse_subscript(struct tparser *p, struct tnode **io_node) {
    uint32_t line = p->current.line;
    struct tnode *key, *tuple = NULL;
    if (!template_expect(p, TT_LBRACKET) || !parse_slice(p, &key))
        return false;
    while (p->current.kind == TT_COMMA) {
        if (!tuple && !(tuple = template_node(p, TN_TUPLE, line)))
            return false;
        if (key->kind == TN_SLICE)
            return template_fail_syntax(p, line, "a slice cannot be part of a tuple");
        if (!template_list_add(p, tuple, &tuple->list, key) || !template_advance(p))
            return false;
        if (!parse_slice(p, &key))
            return false;
    }
    if (tuple && (key->kind == TN_SLICE || !template_list_add(p, tuple, &tuple->list, key)))
        return template_fail_syntax(p, line, "a slice cannot be part of a tuple");
    return template_expect(p, TT_RBRACKET) && template_binary_node(p, TN_ITEM, 0, line, io_node, tuple ? tuple : key);
}

static bool parse_member(struct tparser *p, struct tnode **io_node) {
    uint32_t line = p->current.line;
    struct tnode *key = NULL;
    if (!template_advance(p))
        return false;
    if (p->current.kind != TT_NAME && p->current.kind != TT_INTEGER)
        return template_fail_syntax(p, p->current.line, "expected name or number");
    if (p->current.kind == TT_INTEGER)
        return template_const_node(p, p->current.value, line, &key) && template_advance(p) &&
               template_binary_node(p, TN_ITEM, 0, line, io_node, key);
    const struct tstring *name = p->current.value.string;
    if (!template_advance(p) || !template_binary_node(p, TN_ATTRIBUTE, 0, line, io_node, NULL))
        return false;
    (*io_node)->pair.name = name;
    return true;
}

bool template_parse_postfix(struct tparser *p, struct tnode **io_node) {
    for (;;) {
        bool ok;
        if (p->current.kind == TT_DOT)
            ok = parse_member(p, io_node);
        else if (p->current.kind == TT_LBRACKET)
            ok = parse_subscript(p, io_node);
        else if (p->current.kind == TT_LPAREN)
            ok = parse_call(p, io_node);
        else
            return true;
        if (!ok)
            return false;
    }
}

/* ---- filters and tests ------------------------------------------------------------------------------------------- */

/* A name with dots, as one string. */
static bool dotted_name(struct tparser *p, const struct tstring **ret) {
    static const struct tstring dot = {.data = ".", .bytes = 1, .chars = 1};
    const struct tstring *part;
    struct tvalue whole;
    if (!template_expect_name(p, ret))
        return false;
    while (p->current.kind == TT_DOT) {
        if (!template_advance(p) || !template_expect_name(p, &part) ||
            !template_string_concat(p->lexer.s, *ret, &dot, &whole) ||
            !template_string_concat(p->lexer.s, whole.string, part, &whole))
            return false;
        *ret = whole.string;
    }
    return true;
}

bool template_parse_filter(struct tparser *p, struct tnode *object, bool inline_start, struct tnode **ret) {
    while (p->current.kind == TT_PIPE || inline_start) {
        struct tnode *node = template_node(p, TN_FILTER, p->current.line);
        if (!node || (!inline_start && !template_advance(p)))
            return false;
        inline_start = false;
        node->call.object = object;
        if (!template_node_deepen(p, node, object) || !dotted_name(p, &node->call.name))
            return false;
        if (p->current.kind == TT_LPAREN && !parse_arguments(p, node, &node->call.arguments))
            return false;
        object = node;
    }
    *ret = object;
    return true;
}

/* A test's argument may stand without parentheses when it is a name, a literal or a collection. */
static bool parse_test_argument(struct tparser *p, struct tnode *node) {
    enum ttoken_kind kind = p->current.kind;
    struct tnode *argument;
    bool starts = kind == TT_NAME || kind == TT_STRING || kind == TT_INTEGER || kind == TT_FLOAT ||
                  kind == TT_LBRACKET || kind == TT_LBRACE;
    if (kind == TT_LPAREN)
        return parse_arguments(p, node, &node->call.arguments);
    if (!starts || template_at_name(p, "else") || template_at_name(p, "or") || template_at_name(p, "and"))
        return true;
    if (template_at_name(p, "is"))
        return template_fail_syntax(p, p->current.line, "You cannot chain multiple tests with is");
    return template_parse_primary(p, false, &argument) && template_parse_postfix(p, &argument) &&
           template_list_add(p, node, &node->call.arguments.args, argument);
}

static bool parse_test(struct tparser *p, struct tnode **io_node) {
    struct tnode *node = template_node(p, TN_TEST, p->current.line);
    bool negated;
    if (!node || !template_advance(p) || !template_skip_name(p, "not", &negated))
        return false;
    node->call.object = *io_node;
    *io_node = node;
    if (!template_node_deepen(p, node, node->call.object) || !dotted_name(p, &node->call.name) ||
        !parse_test_argument(p, node))
        return false;
    return !negated || template_binary_node(p, TN_NOT, 0, node->line, io_node, NULL);
}

bool template_parse_filters(struct tparser *p, struct tnode **io_node) {
    for (;;) {
        bool ok;
        if (p->current.kind == TT_PIPE)
            ok = template_parse_filter(p, *io_node, false, io_node);
        else if (template_at_name(p, "is"))
            ok = parse_test(p, io_node);
        else if (p->current.kind == TT_LPAREN)
            ok = parse_call(p, io_node);
        else
            return true;
        if (!ok)
            return false;
    }
}

/* ---- literals ---------------------------------------------------------------------------------------------------- */

/* The items of a list, or the keys and values of a dict, up to the bracket that closes it. */
static bool parse_items(struct tparser *p, enum tnode_kind kind, enum ttoken_kind close, struct tnode **ret) {
    struct tnode *item;
    *ret = template_node(p, kind, p->current.line);
    if (!*ret || !template_advance(p))
        return false;
    while (p->current.kind != close) {
        if ((*ret)->list.count && !template_expect(p, TT_COMMA))
            return false;
        if (p->current.kind == close)
            break;
        if (!template_parse_expression(p, true, &item) || !template_list_add(p, *ret, &(*ret)->list, item))
            return false;
        if (kind == TN_DICT && (!template_expect(p, TT_COLON) || !template_parse_expression(p, true, &item) ||
                                !template_list_add(p, *ret, &(*ret)->list, item)))
            return false;
    }
    return template_expect(p, close);
}

static bool parse_strings(struct tparser *p, struct tnode **ret) {
    struct tstate *s = p->lexer.s;
    struct tvalue text = p->current.value;
    struct tbuilder joined = {0};
    uint32_t line = p->current.line;
    size_t count = 0;
    for (; p->current.kind == TT_STRING; count++)
        if (!template_put_str(s, &joined, p->current.value) || !template_advance(p))
            return false;
    return (count == 1 || template_built_constant(s, &joined, &text)) && template_const_node(p, text, line, ret);
}

/* How often the names that change what a loop or a macro provides are read. */
static void count_special(struct tparser *p, const struct tstring *name) {
    p->uses_loop += template_is(name, "loop");
    p->uses_caller += template_is(name, "caller");
    p->uses_kwargs += template_is(name, "kwargs");
    p->uses_varargs += template_is(name, "varargs");
}

static bool parse_name(struct tparser *p, bool with_namespace, struct tnode **ret) {
    const struct tstring *name = p->current.value.string;
    uint32_t line = p->current.line;
    bool is_true = template_is(name, "true") || template_is(name, "True");
    if (!template_advance(p))
        return false;
    if (is_true || template_is(name, "false") || template_is(name, "False"))
        return template_const_node(p, template_bool(is_true), line, ret);
    if (template_is(name, "none") || template_is(name, "None"))
        return template_const_node(p, template_none(), line, ret);
    bool reference = with_namespace && p->current.kind == TT_DOT;
    *ret = template_node(p, reference ? TN_NAMESPACE_REF : TN_NAME, line);
    if (!*ret)
        return false;
    (*ret)->name.name = name;
    count_special(p, name);
    return !reference || (template_advance(p) && template_expect_name(p, &(*ret)->name.attribute));
}

static bool parse_primary(struct tparser *p, bool with_namespace, struct tnode **ret) {
    char text[64];
    struct tvalue number = p->current.value;
    uint32_t line = p->current.line;
    switch (p->current.kind) {
    case TT_NAME:
        return parse_name(p, with_namespace, ret);
    case TT_STRING:
        return parse_strings(p, ret);
    case TT_INTEGER:
    case TT_FLOAT:
        return template_advance(p) && template_const_node(p, number, line, ret);
    case TT_LPAREN:
        return template_advance(p) && template_parse_tuple(p, TUPLE_CONDITION | TUPLE_PARENTHESES, ret) &&
               template_expect(p, TT_RPAREN);
    case TT_LBRACKET:
        return parse_items(p, TN_LIST, TT_RBRACKET, ret);
    case TT_LBRACE:
        return parse_items(p, TN_DICT, TT_RBRACE, ret);
    default:
        return template_fail_syntax(p, line, "unexpected '%s'", template_token_text(&p->current, text, sizeof text));
    }
}

bool template_parse_primary(struct tparser *p, bool with_namespace, struct tnode **ret) {
    bool ok = template_nest(p) && parse_primary(p, with_namespace, ret);
    p->nesting--;
    return ok;
}

static bool tuple_ends(const struct tparser *p, unsigned flags) {
    enum ttoken_kind kind = p->current.kind;
    return kind == TT_VARIABLE_END || kind == TT_BLOCK_END || kind == TT_RPAREN ||
           ((flags & TUPLE_UNTIL_IN) && template_at_name(p, "in")) ||
           ((flags & TUPLE_UNTIL_RECURSIVE) && template_at_name(p, "recursive"));
}

bool template_parse_tuple(struct tparser *p, unsigned flags, struct tnode **ret) {
    uint32_t line = p->current.line;
    char text[64];
    struct tnode *tuple = template_node(p, TN_TUPLE, line), *item = NULL;
    bool is_tuple = false;
    if (!tuple)
        return false;
    while (!tuple_ends(p, flags)) {
        if (flags & TUPLE_TARGET ? !template_parse_primary(p, flags & TUPLE_NAMESPACE, &item)
                                 : !template_parse_expression(p, flags & TUPLE_CONDITION, &item))
            return false;
        if (!template_list_add(p, tuple, &tuple->list, item))
            return false;
        if (p->current.kind != TT_COMMA)
            break;
        is_tuple = true;
        if (!template_advance(p))
            return false;
    }
    *ret = is_tuple || !item ? tuple : item;
    return is_tuple || item || (flags & TUPLE_PARENTHESES) ||
           template_fail_syntax(p, p->current.line, "Expected an expression, got '%s'",
                                template_token_text(&p->current, text, sizeof text));
}
