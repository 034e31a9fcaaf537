/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the chat template share: values, syntax tree, scopes, and the state of one compilation or render.
 *
 * The language is the part of Jinja that published chat templates use, with Python's semantics for values. Everything
 * lives in one arena per template (the tree) or per render (the values), and values never change once built, except
 * namespaces, cyclers, joiners, loops and iterators, which belong to one render. Functions that can fail return false
 * with the reason in state->fault; the fault names the Python exception that the reference raises. */
#ifndef TEMPLATE_INTERNAL_H
#define TEMPLATE_INTERNAL_H

#include <locale.h>
#include <time.h>

#include "text.h"

/* ---- state ------------------------------------------------------------------------------------------------------- */

enum {
    TEMPLATE_SOURCE_BYTES_MAX = 1 << 20,
    TEMPLATE_NESTING_MAX = 200,      /* brackets inside brackets, blocks inside blocks: bounds the parser's recursion */
    TEMPLATE_TREE_DEPTH_MAX = 250,   /* longest path in one expression: a + b + c... grows one level a term */
    TEMPLATE_DEPTH_MAX = 1000,       /* evaluations inside evaluations, macros calling macros */
    TEMPLATE_RANGE_MAX = 100000,     /* the reference's sandbox has the same bound */
    TEMPLATE_WORK_MAX = 1 << 25,     /* steps: a node, a list item, or TEMPLATE_STEP_BYTES bytes of text */
    TEMPLATE_STEP_BYTES = 32,
};

/* Why something failed. `kind` is a Python exception's name, in static storage. */
struct tfault {
    moesaic_status status; /* MOESAIC_OK: nothing has failed */
    const char *kind;
    uint32_t line; /* of the template; 0 while unknown */
    char message[480];
};

struct tarena {
    struct tarena_chunk *chunks;
    size_t total_bytes, limit_bytes;
};

/* One compilation or one render; used by one thread. */
struct tstate {
    struct tarena arena;
    struct tfault fault;
    size_t work;
    unsigned depth;
    size_t output_limit_bytes;
    struct tbuilder *output;     /* where statements write; NULL while compiling */
    struct tdict *context;       /* the variables that the caller passes, and the global functions */
    struct tm clock;             /* what strftime_now prints */
    int clock_microseconds;
};

/* Records the first failure and returns false. */
bool template_fail(struct tstate *s, const char *kind, const char *format, ...) __attribute__((format(printf, 3, 4)));
bool template_fail_limit(struct tstate *s, moesaic_status status, const char *what, size_t limit);
/* Zeroed memory of the state's arena, aligned for any type; NULL after template_fail. */
void *template_alloc(struct tstate *s, size_t count, size_t size);
void template_arena_done(struct tarena *arena);
/* Adds to the work done; fails at the limit, so that no template runs for ever. */
bool template_work(struct tstate *s, size_t steps);
static inline bool template_work_bytes(struct tstate *s, size_t bytes) {
    return template_work(s, 1 + bytes / TEMPLATE_STEP_BYTES);
}
/* One level deeper, or RecursionError; paired with template_leave also when the level fails. */
bool template_enter(struct tstate *s);
static inline void template_leave(struct tstate *s) { s->depth--; }

/* ---- values ------------------------------------------------------------------------------------------------------ */

enum tkind {
    TV_MISSING, /* no value: an unset variable or an argument not given */
    TV_UNDEFINED,
    TV_NONE,
    TV_BOOL,
    TV_INT,
    TV_FLOAT,
    TV_STRING,
    TV_LIST,
    TV_TUPLE,
    TV_DICT,
    TV_VIEW,     /* dict.keys(), .values(), .items() */
    TV_RANGE,
    TV_ITERATOR, /* a generator or an iterator: passes once */
    TV_NAMESPACE,
    TV_MACRO,
    TV_FUNCTION,
    TV_METHOD,
    TV_LOOP,
    TV_CYCLER,
    TV_JOINER,
};

struct tvalue {
    enum tkind kind;
    union {
        bool truth;
        int64_t integer;
        double real;
        const struct tstring *string;
        const struct tlist *list; /* list and tuple */
        const struct tdict *dict;
        const struct tundefined *undefined;
        const struct tview *view;
        const struct trange *range;
        const struct tbuiltin *function;
        const struct tmethod *method;
        const struct tmacro *macro;
        struct titerator *iterator;
        struct tdict *names; /* namespace */
        struct tloop *loop;
        struct tcycler *cycler;
        struct tjoiner *joiner;
    };
};

/* Text grows at its end in place: a string that ends where its buffer's used part ends can be extended without a copy,
 * so that a template that builds its answer by repeated concatenation takes linear time and memory. */
struct tbuffer {
    size_t used, capacity;
    char *data;
};
struct tstring {
    const char *data; /* UTF-8, may hold NUL */
    size_t bytes, chars;
    struct tbuffer *buffer; /* NULL: not extensible */
    bool markup;            /* marked safe: other text joined to it is HTML-escaped, as markupsafe does */
};
struct tlist {
    const struct tvalue *items;
    size_t count;
    bool group; /* a tuple of the groupby filter: .grouper and .list */
};
struct tpair {
    struct tvalue key, value;
    uint64_t hash;
};
/* Insertion-ordered hash table. Never changed once a template can see it (namespaces excepted). */
struct tdict {
    struct tpair *pairs;
    size_t count, capacity;
    uint32_t *slots; /* pair index + 1, or 0; NULL while the table is small enough to be searched in order */
    size_t slot_count;
};
struct tundefined {
    const struct tstring *hint; /* the whole message, or NULL */
    const struct tstring *name; /* what was looked up: its text, or its repr when `element` */
    const char *owner;          /* type of the object it was looked up in, or NULL for a variable */
    bool element;
    bool unsafe; /* raises SecurityError instead of UndefinedError */
};
enum tview_kind { TVIEW_KEYS, TVIEW_VALUES, TVIEW_ITEMS };
struct tview {
    const struct tdict *dict;
    enum tview_kind kind;
};
struct trange {
    int64_t start, stop, step;
    size_t count;
};
struct tcycler {
    const struct tlist *items;
    size_t position;
};
struct tjoiner {
    struct tvalue separator;
    bool used;
};
struct tmacro {
    const struct tnode *node; /* TN_MACRO, TN_CALL_BLOCK or TN_GENERATION */
    struct tframe *closure;
};
struct tcall {
    const struct tvalue *args;
    size_t count;
    const struct tdict *keywords; /* NULL: none */
};
/* A filter, test, method or global function. `self` is the value it is applied to (missing for a global function).
 * `params`: NULL takes the call as it is written; otherwise names in order ("a,b"), of which `required` must be given,
 * and call->args then has one entry a name, missing where not given. A leading '/' forbids keywords. */
typedef bool tbuiltin_function(struct tstate *s, struct tvalue self, const struct tcall *call, struct tvalue *ret);
struct tbuiltin {
    const char *name, *params;
    unsigned required;
    tbuiltin_function *function;
};
struct tmethod {
    struct tvalue self;
    const struct tbuiltin *builtin;
};
/* Produces values one by one; *ret is missing at the end. */
struct titerator {
    bool (*next)(struct tstate *s, struct titerator *it, struct tvalue *ret);
    const char *type_name;
    const struct tvalue *items; /* list, tuple */
    const struct tdict *dict;
    const struct tstring *text;
    const struct trange *range;
    size_t position, count;
    int64_t step;
    enum tview_kind view;
    void *more; /* what map, select and the loop condition need */
};
struct tloop {
    const struct tnode *node;
    struct tframe *frame;      /* where the loop stands */
    struct titerator *iterator;
    struct tvalue iterable;    /* for its length */
    struct tvalue before, current, after;
    bool peeked;               /* `after` holds the next item, or missing at the end */
    int64_t index0, length;    /* length -1: not asked for yet */
    unsigned depth0;
    struct tvalue changed;     /* arguments of the last loop.changed() */
};

static inline struct tvalue template_none(void) { return (struct tvalue){.kind = TV_NONE}; }
static inline struct tvalue template_missing(void) { return (struct tvalue){.kind = TV_MISSING}; }
static inline struct tvalue template_bool(bool truth) { return (struct tvalue){.kind = TV_BOOL, .truth = truth}; }
static inline struct tvalue template_int(int64_t n) { return (struct tvalue){.kind = TV_INT, .integer = n}; }
static inline struct tvalue template_float(double x) { return (struct tvalue){.kind = TV_FLOAT, .real = x}; }
static inline struct tvalue template_of_string(const struct tstring *string) {
    return (struct tvalue){.kind = TV_STRING, .string = string};
}
/* Sets the flag of a string that was just built and that nobody else holds yet. */
static inline void template_mark(struct tvalue fresh, bool markup) {
    ((struct tstring *)fresh.string)->markup = markup;
}
static inline bool template_is_missing(struct tvalue v) { return v.kind == TV_MISSING; }
/* Integers as Python sees them: bool is one. */
static inline bool template_is_integral(struct tvalue v) { return v.kind == TV_INT || v.kind == TV_BOOL; }
static inline bool template_is_number(struct tvalue v) { return template_is_integral(v) || v.kind == TV_FLOAT; }
static inline int64_t template_integer(struct tvalue v) { return v.kind == TV_BOOL ? v.truth : v.integer; }
static inline double template_real(struct tvalue v) {
    return v.kind == TV_FLOAT ? v.real : (double)template_integer(v);
}
static inline bool template_is(const struct tstring *string, const char *text) {
    size_t bytes = __builtin_strlen(text);
    return string->bytes == bytes && !__builtin_memcmp(string->data, text, bytes);
}

/* template_value.c */
const char *template_type_name(struct tvalue v);   /* as Python's type(v).__name__ */
const char *template_object_name(struct tvalue v); /* as Jinja's object_type_repr(v) */
bool template_truth(struct tstate *s, struct tvalue v, bool *ret);
bool template_equal(struct tstate *s, struct tvalue a, struct tvalue b, bool *ret);
bool template_less(struct tstate *s, struct tvalue a, struct tvalue b, const char *operator, bool *ret);
enum tcompare { TCMP_EQ, TCMP_NE, TCMP_LT, TCMP_LE, TCMP_GT, TCMP_GE, TCMP_IN, TCMP_NOT_IN };
bool template_compare(struct tstate *s, enum tcompare operator, struct tvalue a, struct tvalue b, bool *ret);
bool template_length(struct tstate *s, struct tvalue v, size_t *ret);
bool template_contains(struct tstate *s, struct tvalue container, struct tvalue item, bool *ret);
/* Raises the error of an undefined value that is used. */
bool template_fail_undefined(struct tstate *s, const struct tundefined *undefined);
bool template_undefined_hint(struct tstate *s, struct tvalue *ret, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool template_undefined_name(struct tstate *s, const struct tstring *name, struct tvalue *ret);

/* template_collect.c: lists, dicts, iteration */
bool template_list_of(struct tstate *s, enum tkind kind, const struct tvalue *items, size_t count, struct tvalue *ret);
/* A list that grows; `items` may be handed to template_list_of when done. */
struct tgrowing {
    struct tvalue *items;
    size_t count, capacity;
};
bool template_push(struct tstate *s, struct tgrowing *list, struct tvalue v);
struct tdict *template_dict_new(struct tstate *s);
bool template_dict_set(struct tstate *s, struct tdict *dict, struct tvalue key, struct tvalue v);
bool template_dict_set_text(struct tstate *s, struct tdict *dict, const char *key, struct tvalue v);
/* *ret is NULL when the key is absent; fails for a key that cannot be hashed. */
bool template_dict_find(struct tstate *s, const struct tdict *dict, struct tvalue key, const struct tpair **ret);
bool template_dict_find_text(struct tstate *s, const struct tdict *dict, const char *key, const struct tpair **ret);
/* Takes over the entries of a dict, or of an iterable of pairs, as dict(x) does. */
bool template_dict_update(struct tstate *s, struct tdict *dict, struct tvalue source);
bool template_pair_tuple(struct tstate *s, const struct tpair *pair, struct tvalue *ret);
bool template_iterate(struct tstate *s, struct tvalue v, struct titerator **ret);
bool template_is_iterable(struct tvalue v);
bool template_collect(struct tstate *s, struct tvalue v, struct tgrowing *ret); /* list(v) */
struct titerator *template_iterator_new(struct tstate *s, const char *type_name,
                                        bool (*next)(struct tstate *, struct titerator *, struct tvalue *));
bool template_iterator_over(struct tstate *s, const struct tvalue *items, size_t count, const char *type_name,
                            struct tvalue *ret);

/* template_string.c: text as code points */
size_t template_utf8_count(const char *data, size_t bytes);
/* Code point at data (valid UTF-8, at least one byte); *ret_bytes its length. */
uint32_t template_utf8_at(const char *data, size_t *ret_bytes);
size_t template_utf8_put(uint32_t code, char *out); /* returns the bytes written, at most 4 */
bool template_string_view(struct tstate *s, const char *data, size_t bytes, struct tvalue *ret); /* not copied */
bool template_string_copy(struct tstate *s, const char *data, size_t bytes, struct tvalue *ret);
bool template_string_text(struct tstate *s, const char *text, struct tvalue *ret); /* static text, not copied */
bool template_string_concat(struct tstate *s, const struct tstring *a, const struct tstring *b, struct tvalue *ret);
/* Substring by bytes, which are character boundaries; keeps the markup flag. */
bool template_string_cut(struct tstate *s, const struct tstring *string, size_t begin, size_t end, struct tvalue *ret);
size_t template_string_offset(const struct tstring *string, size_t chars); /* byte offset of a character */
bool template_find(struct tstate *s, const char *data, size_t bytes, const char *needle, size_t needle_bytes,
                   size_t *ret_offset); /* *ret_offset is `bytes` when there is none */

struct tbuilder {
    struct tbuffer *buffer;
    size_t chars, limit_bytes; /* limit 0: none but the arena's */
};
bool template_put(struct tstate *s, struct tbuilder *b, const char *data, size_t bytes);
bool template_put_text(struct tstate *s, struct tbuilder *b, const char *text);
bool template_put_code(struct tstate *s, struct tbuilder *b, uint32_t code);
bool template_put_repeated(struct tstate *s, struct tbuilder *b, uint32_t code, size_t count);
bool template_built(struct tstate *s, struct tbuilder *b, struct tvalue *ret);
/* For the tree, which renders share: text that is never extended in place. */
bool template_built_constant(struct tstate *s, struct tbuilder *b, struct tvalue *ret);

/* template_repr.c: how values read as text */
bool template_put_str(struct tstate *s, struct tbuilder *b, struct tvalue v);  /* as str(v) */
bool template_put_repr(struct tstate *s, struct tbuilder *b, struct tvalue v); /* as repr(v) */
bool template_str(struct tstate *s, struct tvalue v, const struct tstring **ret);
bool template_repr(struct tstate *s, struct tvalue v, const struct tstring **ret);
enum { TEMPLATE_FLOAT_TEXT = 32 };
void template_float_text(double x, char text[TEMPLATE_FLOAT_TEXT]); /* as repr(x) */
/* HTML entities for & < > " '; the result is markup. */
bool template_escape(struct tstate *s, const struct tstring *string, struct tvalue *ret);

/* template_char.c: character classes and case of Unicode */
bool template_char_space(uint32_t code);
bool template_char_word(uint32_t code);
bool template_char_printable(uint32_t code);
bool template_char_line_break(uint32_t code);
bool template_char_alpha(uint32_t code);
bool template_char_decimal(uint32_t code);
bool template_char_digit(uint32_t code);
bool template_char_numeric(uint32_t code);
enum tcase { TCASE_NONE, TCASE_LOWER, TCASE_UPPER, TCASE_TITLE };
enum tcase template_char_case(uint32_t code);
enum { TEMPLATE_CASE_CODES = 4 };
unsigned template_char_map(uint32_t code, enum tcase to, uint32_t ret[TEMPLATE_CASE_CODES]);
unsigned template_char_fold(uint32_t code, uint32_t ret[TEMPLATE_CASE_CODES]);
/* Whole strings. */
bool template_map_case(struct tstate *s, const struct tstring *string, enum tcase to, struct tvalue *ret);

/* template_json.c */
bool template_from_json(struct tstate *s, const json_value *json, struct tvalue *ret);
extern const struct tbuiltin template_filter_tojson;

/* template_operate.c: operators and subscripts */
enum toperator { TOP_ADD, TOP_SUB, TOP_MUL, TOP_DIV, TOP_FLOORDIV, TOP_MOD, TOP_POW };
bool template_binary(struct tstate *s, enum toperator operator, struct tvalue a, struct tvalue b, struct tvalue *ret);
bool template_negate(struct tstate *s, struct tvalue v, bool negative, struct tvalue *ret);
bool template_item(struct tstate *s, struct tvalue object, struct tvalue key, struct tvalue *ret);
bool template_attribute(struct tstate *s, struct tvalue object, const struct tstring *name, struct tvalue *ret);
/* What a look-up that finds nothing gives. */
bool template_undefined_attribute(struct tstate *s, struct tvalue object, const struct tstring *name,
                                  struct tvalue *ret);
bool template_slice(struct tstate *s, struct tvalue object, const struct tvalue bounds[3], struct tvalue *ret);
/* Looks a method or property up, without the fallback to subscripts; *ret is missing when there is none. */
bool template_member(struct tstate *s, struct tvalue object, const struct tstring *name, struct tvalue *ret);

/* template_format.c */
bool template_format_percent(struct tstate *s, const struct tstring *format, struct tvalue args, struct tvalue *ret);
bool template_format_braces(struct tstate *s, const struct tstring *format, const struct tcall *call,
                            struct tvalue *ret);
struct tformat {
    uint32_t fill; /* 0: blank */
    char align, sign, grouping, type;
    bool alternate, zero;
    int64_t width, precision; /* -1: not given */
};
bool template_put_formatted(struct tstate *s, struct tbuilder *b, struct tvalue v, const struct tformat *format);

/* template_methods.c, template_filters*.c, template_tests.c, template_functions.c */
/* A method bound to its object, or a property; *ret_unsafe where the sandbox refuses it. */
bool template_object_member(struct tstate *s, struct tvalue object, const struct tstring *name, struct tvalue *ret,
                            bool *ret_unsafe);
const struct tbuiltin *template_filter_find(const struct tstring *name);
const struct tbuiltin *template_test_find(const struct tstring *name);
extern const struct tbuiltin template_filters_text[], template_filters_sequence[], template_filters_lazy[];
extern const struct tbuiltin template_string_methods[]; /* ends with a NULL name, as the tables above */
bool template_functions_add(struct tstate *s, struct tdict *context);
bool template_namespace_name(struct tstate *s, struct tvalue name); /* fails for names that namespaces refuse */
/* Calls with the arguments bound to the builtin's parameters. */
bool template_call_builtin(struct tstate *s, const struct tbuiltin *builtin, struct tvalue self,
                           const struct tcall *call, struct tvalue *ret);
/* An optional argument that must be an integer; `otherwise` when it is not given. */
bool template_arg_int(struct tstate *s, struct tvalue v, int64_t otherwise, int64_t *ret);
bool template_arg_truth(struct tstate *s, struct tvalue v, bool otherwise, bool *ret);
bool template_parse_int(struct tstate *s, const struct tstring *text, int64_t base, bool *ret_valid, int64_t *ret);
bool template_parse_float(struct tstate *s, const struct tstring *text, bool *ret_valid, double *ret);
bool template_sort(struct tstate *s, struct tvalue *keys, struct tvalue *items, size_t count, bool reverse);

/* ---- syntax tree ------------------------------------------------------------------------------------------------- */

enum tnode_kind {
    /* expressions */
    TN_CONST, TN_NAME, TN_TUPLE, TN_LIST, TN_DICT, TN_ATTRIBUTE, TN_ITEM, TN_SLICE, TN_CALL, TN_FILTER, TN_TEST, TN_NOT,
    TN_NEGATE, TN_AND, TN_OR, TN_BINARY, TN_CONCAT, TN_COMPARE, TN_OPERAND, TN_CONDITION, TN_KEYWORD,
    TN_NAMESPACE_REF,
    /* statements */
    TN_OUTPUT, TN_IF, TN_FOR, TN_SET, TN_SET_BLOCK, TN_MACRO, TN_CALL_BLOCK, TN_FILTER_BLOCK, TN_WITH, TN_GENERATION,
    TN_BREAK, TN_CONTINUE,
};

struct tnodes { /* linked through tnode.next */
    struct tnode *first, *last;
    size_t count;
};
struct targuments {
    struct tnodes args, keywords; /* keywords: TN_KEYWORD */
    struct tnode *star, *star_star;
};
struct tbody {
    struct tnodes nodes;
    struct tscope *scope; /* of its own, or NULL */
};
struct tnode {
    enum tnode_kind kind;
    uint8_t operator;  /* TN_BINARY: toperator; TN_OPERAND: tcompare */
    bool flag;         /* TN_NEGATE: minus, not plus; TN_FOR: recursive */
    uint16_t depth;    /* longest path below */
    uint32_t line;
    struct tnode *next;
    union {
        struct tvalue constant;
        struct {
            const struct tstring *name, *attribute; /* attribute: TN_NAMESPACE_REF */
            uint32_t up, slot;                      /* set when names are bound: frames outwards, index in the frame */
        } name;
        struct tnodes list;                         /* tuple, list, dict (key, value, key...), concat, output */
        struct {
            struct tnode *left, *right; /* item: object, key; keyword and operand: value in left */
            const struct tstring *name; /* attribute, keyword */
            struct tnodes operands;     /* compare: left, then TN_OPERAND each */
        } pair;
        struct {
            struct tnode *bounds[3];
        } slice;
        struct {
            struct tnode *object; /* NULL in the filter of a block: the block's text */
            const struct tstring *name;
            const struct tbuiltin *builtin;
            struct targuments arguments;
        } call; /* call, filter, test */
        struct {
            struct tnode *test, *then, *otherwise;
        } condition;
        struct {
            struct tnode *test;
            struct tbody body, otherwise;
            struct tnodes elifs; /* TN_IF each */
        } branch;
        struct {
            struct tnode *target, *iterable, *test;
            struct tbody body, otherwise;
            struct tscope *test_scope;
            bool uses_loop;
            uint32_t loop_slot;
        } loop;
        struct {
            struct tnode *target, *value; /* block: value is its filter, or NULL */
            struct tbody body;
        } set;
        struct {
            const struct tstring *text; /* its name; NULL for the body of a call or generation block */
            struct tnode *name, *call;  /* TN_NAME that takes the macro; the call of a call block */
            struct tnodes params, defaults; /* TN_NAME; the last defaults.count params have one */
            struct tbody body;
            bool uses_caller, uses_kwargs, uses_varargs;
            uint32_t caller_slot, kwargs_slot, varargs_slot;
        } macro;
        struct {
            struct tnodes targets, values;
            struct tnode *filter;
            struct tbody body;
        } block; /* with, filter block */
    };
};

/* ---- scopes: each name is resolved to a slot of a frame before anything runs ------------------------------------- */

enum tload { TLOAD_PARAMETER, TLOAD_CONTEXT, TLOAD_OUTER, TLOAD_UNSET };
struct tsymbol {
    const struct tstring *name;
    enum tload load;   /* what the slot holds when its frame is entered */
    uint32_t up, slot; /* TLOAD_OUTER */
};
struct tscope {
    struct tscope *parent;
    struct tsymbol *symbols;
    size_t count, capacity;
};
struct tframe {
    struct tframe *parent;
    struct tvalue slots[];
};

/* ---- compilation and evaluation ---------------------------------------------------------------------------------- */

struct chat_template {
    struct tarena arena;
    struct tbody body;
    char *where;
};

/* Parses source (UTF-8, newlines normalised, `bytes` long) into *ret_body. */
bool template_parse(struct tstate *s, const char *source, size_t bytes, struct tbody *ret_body);
/* Resolves names, filters and tests of a parsed template. */
bool template_bind(struct tstate *s, struct tbody *body);
bool template_run(struct tstate *s, const struct tbody *body); /* writes to s->output */
bool template_eval(struct tstate *s, const struct tnode *node, struct tframe *frame, struct tvalue *ret);
bool template_eval_arguments(struct tstate *s, const struct targuments *arguments, struct tframe *frame,
                             struct tcall *ret);
/* Applies a filter or test; `inner` is missing, or the text of a block that enters where the chain has no object. */
bool template_eval_filter(struct tstate *s, const struct tnode *node, struct tframe *frame, struct tvalue inner,
                          struct tvalue *ret);
bool template_call(struct tstate *s, struct tvalue function, const struct tcall *call, struct tvalue *ret);
bool template_call_macro(struct tstate *s, const struct tmacro *macro, const struct tcall *call, struct tvalue *ret);
/* Renders a recursive loop's body over another iterable: loop(x). */
bool template_loop_recurse(struct tstate *s, struct tloop *loop, struct tvalue iterable, struct tvalue *ret);
bool template_loop_member(struct tstate *s, struct tloop *loop, const struct tstring *name, struct tvalue *ret);
/* What is left of a loop, as pairs (item, loop): reading it advances the loop. */
bool template_loop_iterate(struct tstate *s, struct tloop *loop, struct titerator **ret);
bool template_loop_length(struct tstate *s, struct tloop *loop, int64_t *ret);
struct tframe *template_frame_new(struct tstate *s, const struct tscope *scope, struct tframe *parent);
bool template_frame_enter(struct tstate *s, const struct tscope *scope, struct tframe *frame);
/* Attributes can be set on namespaces only; looked at before the value is computed. */
bool template_check_target(struct tstate *s, const struct tnode *target, struct tframe *frame);
bool template_assign(struct tstate *s, const struct tnode *target, struct tframe *frame, struct tvalue v);

/* ---- lexer: template_lex.c --------------------------------------------------------------------------------------- */

enum ttoken_kind {
    TT_EOF, TT_DATA, TT_VARIABLE_BEGIN, TT_VARIABLE_END, TT_BLOCK_BEGIN, TT_BLOCK_END, TT_NAME, TT_STRING, TT_INTEGER,
    TT_FLOAT, TT_ADD, TT_SUB, TT_MUL, TT_DIV, TT_FLOORDIV, TT_MOD, TT_POW, TT_TILDE, TT_LBRACKET, TT_RBRACKET,
    TT_LPAREN, TT_RPAREN, TT_LBRACE, TT_RBRACE, TT_EQ, TT_NE, TT_GT, TT_GE, TT_LT, TT_LE, TT_ASSIGN, TT_DOT, TT_COLON,
    TT_PIPE, TT_COMMA, TT_SEMICOLON,
};
struct ttoken {
    enum ttoken_kind kind;
    uint32_t line;
    const char *text; /* data and names */
    size_t bytes;
    struct tvalue value; /* string, integer, float, data, name */
};
enum tlex_state { TLEX_DATA, TLEX_BLOCK, TLEX_VARIABLE };
struct tlexer {
    struct tstate *s;
    const char *source;
    size_t bytes, position;
    uint32_t line;
    enum tlex_state state;
    bool line_starting;
    unsigned open_count;
    char open[TEMPLATE_NESTING_MAX];
};
bool template_lex(struct tlexer *lexer, struct ttoken *ret);
const char *template_token_name(enum ttoken_kind kind);

/* ---- parser: shared by the files template_parse*.c ------------------------------------------------ */

struct tparser {
    struct tlexer lexer;
    struct ttoken current, ahead;
    bool has_ahead;
    unsigned nesting;
    const char *tag;         /* the innermost open block, and the tags that may follow its body; NULL outside blocks */
    const char *const *ends;
    size_t uses_loop, uses_caller, uses_kwargs, uses_varargs; /* how often each special name has been read so far */
};
bool template_fail_syntax(struct tparser *p, uint32_t line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool template_advance(struct tparser *p);
bool template_look(struct tparser *p, struct ttoken *ret);
bool template_expect(struct tparser *p, enum ttoken_kind kind);
bool template_expect_name(struct tparser *p, const struct tstring **ret);
bool template_at_name(const struct tparser *p, const char *name);
struct tnode *template_node(struct tparser *p, enum tnode_kind kind, uint32_t line);
bool template_node_deepen(struct tparser *p, struct tnode *node, const struct tnode *child);
void template_nodes_add(struct tnodes *nodes, struct tnode *node);
/* As template_nodes_add, for a child of `parent`. */
bool template_list_add(struct tparser *p, struct tnode *parent, struct tnodes *nodes, struct tnode *node);
/* A node over *io_left (and `right`, which may be NULL), which becomes *io_left. */
bool template_binary_node(struct tparser *p, enum tnode_kind kind, uint8_t operator, uint32_t line,
                          struct tnode **io_left, struct tnode *right);
bool template_const_node(struct tparser *p, struct tvalue v, uint32_t line, struct tnode **ret);
const char *template_token_text(const struct ttoken *token, char *text, size_t bytes);
/* Steps over a name such as "if"; *ret_found is whether it was there. */
bool template_skip_name(struct tparser *p, const char *name, bool *ret_found);
/* One level deeper into brackets or blocks, or an error; the caller takes it back from p->nesting in either case. */
bool template_nest(struct tparser *p);
/* .name [key] (call), and |filter `is` test, in any number behind *io_node. */
bool template_parse_postfix(struct tparser *p, struct tnode **io_node);
bool template_parse_filters(struct tparser *p, struct tnode **io_node);
bool template_parse_expression(struct tparser *p, bool with_condition, struct tnode **ret);
enum { TUPLE_CONDITION = 1, TUPLE_PARENTHESES = 2, TUPLE_TARGET = 4, TUPLE_NAMESPACE = 8, TUPLE_UNTIL_IN = 16,
       TUPLE_UNTIL_RECURSIVE = 32 };
bool template_parse_tuple(struct tparser *p, unsigned flags, struct tnode **ret);
bool template_parse_primary(struct tparser *p, bool with_namespace, struct tnode **ret);
bool template_parse_filter(struct tparser *p, struct tnode *object, bool inline_start, struct tnode **ret);

#endif
