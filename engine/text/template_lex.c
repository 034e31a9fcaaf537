/* SPDX-License-Identifier: Apache-2.0 */
/* Lexer of the chat template: text and tags with Jinja's white space control (trim_blocks and lstrip_blocks on). */
#include <stdio.h>
#include <string.h>

#include "template_internal.h"

static bool __attribute__((format(printf, 2, 3))) fail(struct tlexer *l, const char *format, ...) {
    char message[128];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    template_fail(l->s, "TemplateSyntaxError", "%s", message);
    if (!l->s->fault.line)
        l->s->fault.line = l->line;
    return false;
}

/* A character that begins no token. */
static bool fail_character(struct tlexer *l) {
    struct tvalue text;
    const struct tstring *shown;
    size_t step;
    template_utf8_at(l->source + l->position, &step);
    return template_string_view(l->s, l->source + l->position, step, &text) && template_repr(l->s, text, &shown) &&
           fail(l, "unexpected char %.*s at %zu", (int)shown->bytes, shown->data,
                template_utf8_count(l->source, l->position));
}

static char char_at(const struct tlexer *l, size_t position) {
    return position < l->bytes ? l->source[position] : '\0';
}

/* The white space control behind the two characters that open a tag: '-', '+' or none. */
static char open_sign(const struct tlexer *l, size_t open) {
    char sign = char_at(l, open + 2);
    return sign == '-' || sign == '+' ? sign : '\0';
}

static bool at_text(const struct tlexer *l, size_t position, const char *text) {
    size_t bytes = strlen(text);
    return position <= l->bytes && bytes <= l->bytes - position && !memcmp(l->source + position, text, bytes);
}

/* Moves to `position`, counting the lines passed. */
static void move(struct tlexer *l, size_t position) {
    for (; l->position < position; l->position++)
        l->line += l->source[l->position] == '\n';
}

static size_t skip_blanks(const struct tlexer *l, size_t position) {
    size_t step;
    while (position < l->bytes && template_char_space(template_utf8_at(l->source + position, &step)))
        position += step;
    return position;
}

/* ---- ends of tags ------------------------------------------------------------------------------------------------ */

/* Position behind the end marker `close` if one stands at `position`, else 0: "-%}" takes the blanks that follow, "+%}"
 * nothing, "%}" one line break where `trims`. */
static size_t tag_end(const struct tlexer *l, size_t position, const char *close, bool plus, bool trims) {
    char sign = char_at(l, position);
    if (sign == '-' && at_text(l, position + 1, close))
        return skip_blanks(l, position + 3);
    if (plus && sign == '+' && at_text(l, position + 1, close))
        return position + 3;
    if (!at_text(l, position, close))
        return 0;
    return position + 2 + (trims && char_at(l, position + 2) == '\n');
}

/* Leaves a tag: what follows it begins a line when the tag took a line break last. */
static void leave_tag(struct tlexer *l, size_t position) {
    move(l, position);
    l->line_starting = l->source[position - 1] == '\n';
    l->state = TLEX_DATA;
}

/* ---- text between tags ------------------------------------------------------------------------------------------- */

/* End of the text [begin, end) before a tag: "-" strips all blanks, otherwise those between a line's start and a tag
 * that is no expression. */
static size_t text_end(const struct tlexer *l, size_t begin, size_t end, char sign, bool is_variable) {
    size_t cut = end, line = end;
    while (cut > begin) {
        size_t before = cut - 1, step;
        while (((unsigned char)l->source[before] & 0xc0) == 0x80)
            before--;
        if (!template_char_space(template_utf8_at(l->source + before, &step)))
            break;
        cut = before;
    }
    if (sign == '-')
        return cut;
    while (line > begin && l->source[line - 1] != '\n')
        line--;
    bool starts_line = line > begin || l->line_starting;
    return sign != '+' && !is_variable && starts_line && cut <= line ? line : end;
}

static bool data_token(struct tlexer *l, size_t begin, size_t end, struct ttoken *ret) {
    ret->kind = TT_DATA;
    ret->text = l->source + begin;
    ret->bytes = end - begin;
    return template_string_view(l->s, ret->text, ret->bytes, &ret->value);
}

static size_t find_open(const struct tlexer *l) {
    size_t position = l->position;
    for (;; position++) {
        const char *brace = position < l->bytes ? memchr(l->source + position, '{', l->bytes - position) : NULL;
        if (!brace)
            return l->bytes;
        position = (size_t)(brace - l->source);
        char kind = char_at(l, position + 1);
        if (kind == '%' || kind == '{' || kind == '#')
            return position;
    }
}

static bool skip_comment(struct tlexer *l, size_t position) {
    for (; position < l->bytes; position++) {
        size_t end = tag_end(l, position, "#}", true, true);
        if (end) {
            leave_tag(l, end);
            return true;
        }
    }
    return fail(l, "Missing end of comment tag");
}

/* Position behind `{% raw %}` if one stands at the block that opens at `open`, else 0. */
static size_t raw_begin(const struct tlexer *l, size_t open) {
    size_t position = skip_blanks(l, open + 2 + (open_sign(l, open) != '\0'));
    if (!at_text(l, position, "raw"))
        return 0;
    position = skip_blanks(l, position + 3);
    return tag_end(l, position, "%}", false, false);
}

/* The text up to `{% endraw %}` as one token. */
static bool raw_token(struct tlexer *l, size_t begin, struct ttoken *ret) {
    move(l, begin);
    l->line_starting = l->source[begin - 1] == '\n';
    ret->line = l->line;
    for (size_t open = begin; open + 1 < l->bytes; open++) {
        if (!at_text(l, open, "{%"))
            continue;
        char sign = open_sign(l, open);
        size_t position = skip_blanks(l, open + 2 + (sign != '\0'));
        if (!at_text(l, position, "endraw"))
            continue;
        size_t end = tag_end(l, skip_blanks(l, position + 6), "%}", true, true);
        if (!end)
            continue;
        if (!data_token(l, begin, text_end(l, begin, open, sign, false), ret))
            return false;
        leave_tag(l, end);
        return true;
    }
    return fail(l, "Missing end of raw directive");
}

/* Enters the tag at `open`; comments and raw blocks are consumed here. */
static bool open_tag(struct tlexer *l, size_t open, struct ttoken *ret, bool *ret_token) {
    char kind = l->source[open + 1];
    size_t behind = open + 2 + (open_sign(l, open) != '\0');
    *ret_token = true;
    if (kind == '#') {
        *ret_token = false;
        return skip_comment(l, behind);
    }
    size_t raw = kind == '%' ? raw_begin(l, open) : 0;
    if (raw)
        return raw_token(l, raw, ret);
    ret->kind = kind == '%' ? TT_BLOCK_BEGIN : TT_VARIABLE_BEGIN;
    ret->line = l->line;
    l->state = kind == '%' ? TLEX_BLOCK : TLEX_VARIABLE;
    move(l, behind);
    return true;
}

static bool lex_data(struct tlexer *l, struct ttoken *ret) {
    for (;;) {
        size_t begin = l->position, open = find_open(l), end = open;
        bool is_token;
        if (begin == l->bytes) {
            ret->kind = TT_EOF;
            ret->line = l->line;
            return true;
        }
        if (open < l->bytes)
            end = text_end(l, begin, open, open_sign(l, open), l->source[open + 1] == '{');
        if (end > begin) {
            ret->line = l->line;
            move(l, open);
            /* The tag comes with the next call; it must not see the text before it again. */
            l->line_starting = false;
            return data_token(l, begin, end, ret);
        }
        move(l, open);
        if (open == l->bytes)
            continue;
        if (!open_tag(l, open, ret, &is_token))
            return false;
        if (is_token)
            return true;
    }
}

/* ---- inside tags ------------------------------------------------------------------------------------------------- */

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* End of a run of digits with single underscores between them; `position` where there is none. */
static size_t digits_end(const struct tlexer *l, size_t position) {
    while (position < l->bytes && is_digit(l->source[position])) {
        position++;
        if (position + 1 < l->bytes && l->source[position] == '_' && is_digit(l->source[position + 1]))
            position++;
    }
    return position;
}

/* End of a float at the lexer's position, or 0. */
static size_t float_end(const struct tlexer *l) {
    size_t end = digits_end(l, l->position), fraction, exponent;
    if (l->position && l->source[l->position - 1] == '.')
        return 0;
    bool real = false;
    if (end + 1 < l->bytes && l->source[end] == '.' && (fraction = digits_end(l, end + 1)) > end + 1) {
        end = fraction;
        real = true;
    }
    if (end < l->bytes && (l->source[end] | 0x20) == 'e') {
        size_t sign = end + 1 < l->bytes && (l->source[end + 1] == '+' || l->source[end + 1] == '-');
        exponent = digits_end(l, end + 1 + sign);
        if (exponent > end + 1 + sign) {
            end = exponent;
            real = true;
        }
    }
    return real ? end : 0;
}

static bool based_digit(char c, int base) {
    int lower = c | 0x20;
    return base == 16 ? is_digit(c) || (lower >= 'a' && lower <= 'f') : c >= '0' && c < '0' + base;
}

static size_t integer_end(const struct tlexer *l) {
    char first = char_at(l, l->position), letter = (char)(char_at(l, l->position + 1) | 0x20);
    int base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
    size_t end = l->position + 2, begin = end;
    if (first == '0' && base) {
        for (;;) {
            size_t digit = end + (end < l->bytes && l->source[end] == '_');
            if (digit >= l->bytes || !based_digit(l->source[digit], base))
                break;
            end = digit + 1;
        }
        if (end > begin)
            return end;
    }
    if (first != '0')
        return digits_end(l, l->position);
    for (end = l->position + 1; end < l->bytes && l->source[end] == '0'; end++)
        ;
    return end;
}

static bool lex_number(struct tlexer *l, struct ttoken *ret) {
    size_t real = float_end(l), end = real ? real : integer_end(l);
    struct tvalue text;
    bool valid;
    if (!template_string_copy(l->s, l->source + l->position, end - l->position, &text))
        return false;
    ret->kind = real ? TT_FLOAT : TT_INTEGER;
    move(l, end);
    if (real) {
        ret->value = template_float(0);
        return template_parse_float(l->s, text.string, &valid, &ret->value.real);
    }
    ret->value = template_int(0);
    return template_parse_int(l->s, text.string, 0, &valid, &ret->value.integer);
}

/* ---- strings ----------------------------------------------------------------------------------------------------- */

static bool hexadecimal(struct tlexer *l, size_t position, size_t end, unsigned digits, uint32_t *ret) {
    *ret = 0;
    for (unsigned i = 0; i < digits; i++) {
        char c = position + i < end ? l->source[position + i] : '\0';
        if (!based_digit(c, 16))
            return fail(l, "truncated escape in a string");
        *ret = *ret * 16 + (uint32_t)(is_digit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    if (*ret > 0x10ffff || (*ret >= 0xd800 && *ret < 0xe000))
        return fail(l, "illegal Unicode character in a string's escape");
    return true;
}

/* One escape, behind its backslash; *io_position moves over it. */
static bool lex_escape(struct tlexer *l, struct tbuilder *b, size_t *io_position, size_t end) {
    static const char from[] = "abfnrtv\\'\"", to[] = "\a\b\f\n\r\t\v\\'\"";
    char c = l->source[*io_position];
    const char *simple = c ? strchr(from, c) : NULL;
    uint32_t code = 0;
    if (c == '\n') { /* a line continued */
        ++*io_position;
        return true;
    }
    if (simple) {
        ++*io_position;
        return template_put(l->s, b, &to[simple - from], 1);
    }
    unsigned digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (digits) {
        if (!hexadecimal(l, *io_position + 1, end, digits, &code))
            return false;
        *io_position += 1 + digits;
        return template_put_code(l->s, b, code);
    }
    if (c >= '0' && c <= '7') {
        for (int i = 0; i < 3 && *io_position < end && based_digit(l->source[*io_position], 8); i++)
            code = code * 8 + (uint32_t)(l->source[(*io_position)++] - '0');
        return template_put_code(l->s, b, code);
    }
    if (c == 'N')
        return fail(l, "named characters (\\N{...}) are not supported");
    return template_put(l->s, b, "\\", 1); /* an unknown escape stays as it is written */
}

static bool lex_string(struct tlexer *l, struct ttoken *ret) {
    char quote = l->source[l->position];
    size_t begin = l->position + 1, end = begin;
    bool escaped = false;
    for (; end < l->bytes && l->source[end] != quote; end++)
        if (l->source[end] == '\\') {
            escaped = true;
            end++;
        }
    if (end >= l->bytes)
        return fail_character(l);
    ret->kind = TT_STRING;
    if (!escaped) {
        move(l, end + 1);
        return template_string_view(l->s, l->source + begin, end - begin, &ret->value);
    }
    struct tbuilder b = {0};
    for (size_t position = begin; position < end;) {
        const char *slash = memchr(l->source + position, '\\', end - position);
        size_t plain = slash ? (size_t)(slash - l->source) : end;
        if (!template_put(l->s, &b, l->source + position, plain - position))
            return false;
        position = plain + 1;
        if (slash && !lex_escape(l, &b, &position, end))
            return false;
    }
    move(l, end + 1);
    return template_built_constant(l->s, &b, &ret->value);
}

/* ---- names and operators ----------------------------------------------------------------------------------------- */

static bool lex_name(struct tlexer *l, struct ttoken *ret) {
    size_t end = l->position, step;
    while (end < l->bytes && template_char_word(template_utf8_at(l->source + end, &step)))
        end += step;
    ret->kind = TT_NAME;
    ret->text = l->source + l->position;
    ret->bytes = end - l->position;
    move(l, end);
    return template_string_view(l->s, ret->text, ret->bytes, &ret->value);
}

static const struct {
    char text[3];
    enum ttoken_kind kind;
} operators[] = {
    {"//", TT_FLOORDIV}, {"**", TT_POW},      {"==", TT_EQ},    {"!=", TT_NE},    {">=", TT_GE},    {"<=", TT_LE},
    {"+", TT_ADD},       {"-", TT_SUB},       {"/", TT_DIV},    {"*", TT_MUL},    {"%", TT_MOD},    {"~", TT_TILDE},
    {"[", TT_LBRACKET},  {"]", TT_RBRACKET},  {"(", TT_LPAREN}, {")", TT_RPAREN}, {"{", TT_LBRACE}, {"}", TT_RBRACE},
    {">", TT_GT},        {"<", TT_LT},        {"=", TT_ASSIGN}, {".", TT_DOT},    {":", TT_COLON},  {"|", TT_PIPE},
    {",", TT_COMMA},     {";", TT_SEMICOLON},
};

/* Brackets must match; inside them the ends of tags are not looked for. */
static bool balance(struct tlexer *l, char c) {
    if (c == '(' || c == '[' || c == '{') {
        if (l->open_count == TEMPLATE_NESTING_MAX)
            return fail(l, "brackets are nested too deeply");
        l->open[l->open_count++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
        if (l->open_count == 0)
            return fail(l, "unexpected '%c'", c);
        if (l->open[l->open_count - 1] != c)
            return fail(l, "unexpected '%c', expected '%c'", c, l->open[l->open_count - 1]);
        l->open_count--;
    }
    return true;
}

static bool lex_operator(struct tlexer *l, struct ttoken *ret) {
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++) {
        if (!at_text(l, l->position, operators[i].text))
            continue;
        ret->kind = operators[i].kind;
        if (!balance(l, operators[i].text[0]))
            return false;
        move(l, l->position + strlen(operators[i].text));
        return true;
    }
    return fail_character(l);
}

static bool lex_tag(struct tlexer *l, struct ttoken *ret) {
    bool block = l->state == TLEX_BLOCK;
    size_t end = 0, step;
    move(l, skip_blanks(l, l->position));
    if (l->open_count == 0)
        end = tag_end(l, l->position, block ? "%}" : "}}", block, block);
    ret->line = l->line;
    if (end) {
        ret->kind = block ? TT_BLOCK_END : TT_VARIABLE_END;
        leave_tag(l, end);
        return true;
    }
    if (l->position == l->bytes) {
        ret->kind = TT_EOF;
        return true;
    }
    char c = char_at(l, l->position);
    if (is_digit(c))
        return lex_number(l, ret);
    if (c == '\'' || c == '"')
        return lex_string(l, ret);
    if (template_char_word(template_utf8_at(l->source + l->position, &step)))
        return lex_name(l, ret);
    return lex_operator(l, ret);
}

bool template_lex(struct tlexer *lexer, struct ttoken *ret) {
    *ret = (struct ttoken){.kind = TT_EOF, .line = lexer->line};
    return template_work(lexer->s, 1) && (lexer->state == TLEX_DATA ? lex_data(lexer, ret) : lex_tag(lexer, ret));
}

const char *template_token_name(enum ttoken_kind kind) {
    static const char *const names[] = {
        [TT_EOF] = "end of template",
        [TT_DATA] = "template data / text",
        [TT_VARIABLE_BEGIN] = "begin of print statement",
        [TT_VARIABLE_END] = "end of print statement",
        [TT_BLOCK_BEGIN] = "begin of statement block",
        [TT_BLOCK_END] = "end of statement block",
        [TT_NAME] = "name",
        [TT_STRING] = "string",
        [TT_INTEGER] = "integer",
        [TT_FLOAT] = "float",
    };
    if (kind <= TT_FLOAT)
        return names[kind];
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++)
        if (operators[i].kind == kind)
            return operators[i].text;
    return "token";
}
