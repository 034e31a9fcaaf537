/* SPDX-License-Identifier: Apache-2.0 */
/* Bounded JSON reader (RFC 8259) that builds jansson values.
 *
 * jansson's own loader is not used: it drops bytes silently when its text buffer cannot grow, refuses NaN and integers
 * from 2^63, which published config files hold, and has a fixed depth limit. Its values report failures well, so text
 * is read here, with limits, exact offsets and every allocation checked. */
#include "runtime.h"

#include <jansson.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    JSON_DEPTH_DEFAULT = 64,
    JSON_DEPTH_MOST = 1024, /* the reader recurses: this many small frames fit any thread's stack */
    JSON_NUMBER_BYTES = 1024
};
static const size_t json_bytes_default = (size_t)256 << 20;
/* An empty object takes some 250 bytes for two bytes of text: the count of values bounds memory where size does not. */
static const size_t json_values_default = (size_t)4 << 20;

struct json_reader {
    const char *text, *at, *end;
    size_t depth, max_depth, values, max_values;
    bool reject_duplicates, allow_nonfinite;
    char *scratch; /* where escaped strings are decoded */
    size_t scratch_bytes;
    const char *where;
    moesaic_error *error;
    moesaic_status status;
};

/* A string's decoded bytes, in the text itself or in the reader's scratch (valid until the next string is read). */
struct json_span {
    const char *data;
    size_t bytes;
};

static json_t *json_value_read(struct json_reader *reader);

static size_t json_line_of(const struct json_reader *reader, const char *at) {
    size_t line = 1;
    for (const char *p = reader->text; p < at; p++)
        line += *p == '\n';
    return line;
}

/* Each records a failure; the first set returns false, the second NULL, for their callers to return on. */
static bool json_refuse_at(struct json_reader *reader, const char *at, const char *why) {
    reader->status = status_set(reader->error, MOESAIC_E_INPUT, "%s: invalid JSON: %s (line %zu, byte %zu)",
                                reader->where, why, json_line_of(reader, at), (size_t)(at - reader->text));
    return false;
}

static bool json_refuse(struct json_reader *reader, const char *why) {
    return json_refuse_at(reader, reader->at, why);
}

static bool json_refuse_memory(struct json_reader *reader) {
    reader->status = status_no_memory(reader->error, reader->where, (size_t)(reader->end - reader->text));
    return false;
}

static json_t *json_bad_at(struct json_reader *reader, const char *at, const char *why) {
    json_refuse_at(reader, at, why);
    return NULL;
}

static json_t *json_bad(struct json_reader *reader, const char *why) {
    return json_bad_at(reader, reader->at, why);
}

static json_t *json_made(struct json_reader *reader, json_t *value) {
    if (!value)
        json_refuse_memory(reader);
    return value;
}

static void json_skip_blanks(struct json_reader *reader) {
    while (reader->at < reader->end &&
           (*reader->at == ' ' || *reader->at == '\t' || *reader->at == '\n' || *reader->at == '\r'))
        reader->at++;
}

static bool json_take(struct json_reader *reader, const char *word) {
    size_t bytes = strlen(word);
    if ((size_t)(reader->end - reader->at) < bytes || memcmp(reader->at, word, bytes) != 0)
        return false;
    reader->at += bytes;
    return true;
}

/* ---- strings ---- */

/* Four hexadecimal digits at `at`, or -1. */
static int json_hex4(const char *at, const char *end) {
    int value = 0;
    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = at[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* Writes the UTF-8 form of a Unicode scalar value (at most 4 bytes; never more than its escape took). */
static size_t json_put_utf8(char *out, unsigned scalar) {
    if (scalar < 0x80) {
        out[0] = (char)scalar;
        return 1;
    }
    unsigned extra = scalar < 0x800 ? 1 : scalar < 0x10000 ? 2 : 3;
    static const uint8_t lead[4] = {0, 0xC0, 0xE0, 0xF0};
    out[0] = (char)(lead[extra] | scalar >> (6 * extra));
    for (unsigned i = 1; i <= extra; i++)
        out[i] = (char)(0x80 | (scalar >> (6 * (extra - i)) & 0x3F));
    return extra + 1;
}

/* Decodes \uXXXX, or a surrogate pair of them, at reader->at (behind the 'u'). Returns bytes written, 0 on error. */
static size_t json_unicode_escape(struct json_reader *reader, char *out) {
    const char *start = reader->at - 2;
    int unit = json_hex4(reader->at, reader->end);
    if (unit < 0)
        return json_refuse_at(reader, start, "\\u needs four hexadecimal digits");
    reader->at += 4;
    unsigned scalar = (unsigned)unit;
    if (unit >= 0xD800 && unit <= 0xDFFF) {
        int low = -1;
        if (unit < 0xDC00 && reader->end - reader->at >= 6 && reader->at[0] == '\\' && reader->at[1] == 'u')
            low = json_hex4(reader->at + 2, reader->end);
        if (low < 0xDC00 || low > 0xDFFF)
            return json_refuse_at(reader, start, "lone surrogate in a string");
        reader->at += 6;
        scalar = 0x10000 + (((unsigned)unit - 0xD800) << 10) + ((unsigned)low - 0xDC00);
    }
    return json_put_utf8(out, scalar);
}

/* Decodes one escape; reader->at stands behind the backslash. Returns bytes written, 0 on error. */
static size_t json_escape(struct json_reader *reader, char *out) {
    if (reader->at == reader->end)
        return json_refuse(reader, "unterminated string");
    char c = *reader->at++;
    if (c == 'u')
        return json_unicode_escape(reader, out);
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    const char *found = c ? strchr(names, c) : NULL;
    if (!found)
        return json_refuse_at(reader, reader->at - 2, "unknown escape in a string");
    *out = values[found - names];
    return 1;
}

/* Moves over plain characters up to a quote or a backslash, checking them. False on error. */
static bool json_plain_run(struct json_reader *reader) {
    while (reader->at < reader->end && *reader->at != '"' && *reader->at != '\\') {
        if ((uint8_t)*reader->at < 0x20)
            return json_refuse(reader, "control character in a string");
        bool ascii = (uint8_t)*reader->at < 0x80; /* nearly all text: spares the call */
        unsigned span = ascii ? 1 : utf8_span(reader->at, (size_t)(reader->end - reader->at));
        if (span == 0)
            return json_refuse(reader, "invalid UTF-8");
        reader->at += span;
    }
    return reader->at < reader->end || json_refuse(reader, "unterminated string");
}

/* Makes the scratch hold `bytes` bytes, keeping its content. */
static bool json_scratch_grow(struct json_reader *reader, size_t bytes) {
    if (bytes <= reader->scratch_bytes)
        return true;
    size_t wanted = bytes < 128 ? 256 : bytes * 2; /* bounded by twice the document: decoding never grows a string */
    char *grown = realloc(reader->scratch, wanted);
    if (!grown)
        return json_refuse_memory(reader);
    reader->scratch = grown;
    reader->scratch_bytes = wanted;
    return true;
}

/* Reads a string; reader->at stands on its opening quote. */
static bool json_string_read(struct json_reader *reader, struct json_span *ret_span) {
    const char *run = ++reader->at;
    size_t used = 0;
    for (;;) {
        if (!json_plain_run(reader))
            return false;
        size_t plain = (size_t)(reader->at - run);
        char stop = *reader->at++;
        if (stop == '"' && used == 0) {
            *ret_span = (struct json_span){run, plain}; /* no escape in it: the text itself serves */
            return true;
        }
        if (!json_scratch_grow(reader, used + plain + 4))
            return false;
        memcpy(reader->scratch + used, run, plain);
        used += plain;
        if (stop == '"')
            break;
        size_t escaped = json_escape(reader, reader->scratch + used);
        if (escaped == 0)
            return false;
        used += escaped;
        run = reader->at;
    }
    *ret_span = (struct json_span){reader->scratch, used};
    return true;
}

/* ---- numbers ---- */

static bool json_digits(struct json_reader *reader) {
    const char *start = reader->at;
    while (reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9')
        reader->at++;
    return reader->at > start;
}

static json_t *json_real_read(struct json_reader *reader, const char *start) {
    size_t bytes = (size_t)(reader->at - start);
    char copy[JSON_NUMBER_BYTES + 1]; /* strtod needs an end that the text has not */
    if (bytes > JSON_NUMBER_BYTES)
        return json_bad_at(reader, start, "number too long");
    memcpy(copy, start, bytes);
    copy[bytes] = '\0';
    locale_t c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* the program's locale may write a comma */
    if (c_locale == (locale_t)0) {
        json_refuse_memory(reader);
        return NULL;
    }
    double value = strtod_l(copy, NULL, c_locale);
    freelocale(c_locale);
    if (!isfinite(value))
        return json_bad_at(reader, start, "number out of range");
    return json_made(reader, json_real(value));
}

static json_t *json_number_read(struct json_reader *reader) {
    const char *start = reader->at;
    bool negative = json_take(reader, "-"), real = false;
    const char *digits = reader->at;
    if (!json_digits(reader))
        return json_bad(reader, negative ? "'-' without digits" : "unexpected character");
    if (*digits == '0' && reader->at - digits > 1)
        return json_bad_at(reader, start, "number with a leading zero");
    const char *digits_end = reader->at;
    if (json_take(reader, ".")) {
        real = true;
        if (!json_digits(reader))
            return json_bad(reader, "no digits behind the decimal point");
    }
    if (json_take(reader, "e") || json_take(reader, "E")) {
        real = true;
        if (!json_take(reader, "+"))
            json_take(reader, "-");
        if (!json_digits(reader))
            return json_bad(reader, "no digits in the exponent");
    }
    int64_t value = 0;
    for (const char *p = digits; p < digits_end && !real; p++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_sub_overflow(value, *p - '0', &value)) /* negative: INT64_MIN has no positive twin */
            real = true;
    if (!real && !negative && value == INT64_MIN)
        real = true;
    return real ? json_real_read(reader, start) : json_made(reader, json_integer(negative ? value : -value));
}

/* ---- containers and values ---- */

static bool json_enter(struct json_reader *reader) {
    if (reader->depth == reader->max_depth)
        return json_refuse(reader, "nested too deeply");
    reader->depth++;
    reader->at++;
    json_skip_blanks(reader);
    return true;
}

/* Behind an element: true when another follows, false at the end or on error. */
static bool json_another(struct json_reader *reader, char close) {
    json_skip_blanks(reader);
    if (reader->at < reader->end && *reader->at == close) {
        reader->at++;
        reader->depth--;
        return false;
    }
    if (!json_take(reader, ","))
        return json_refuse(reader, close == ']' ? "expected ',' or ']'" : "expected ',' or '}'");
    json_skip_blanks(reader);
    return true;
}

static json_t *json_array_read(struct json_reader *reader) {
    if (!json_enter(reader))
        return NULL;
    json_t *array = json_made(reader, json_array());
    bool more = array && !(reader->at < reader->end && *reader->at == ']');
    if (array && !more)
        json_another(reader, ']');
    while (more) {
        json_t *element = json_value_read(reader);
        if (!element)
            break;
        if (json_array_append_new(array, element) != 0) /* takes the element, on failure too */
            json_refuse_memory(reader);
        more = reader->status == MOESAIC_OK && json_another(reader, ']');
    }
    if (reader->status == MOESAIC_OK)
        return array;
    json_decref(array);
    return NULL;
}

/* Reads `"key" :` and gives a copy of the key, since reading the value may use the scratch again. */
static bool json_key_read(struct json_reader *reader, char **ret_key) {
    const char *start = reader->at;
    if (reader->at == reader->end || *reader->at != '"')
        return json_refuse(reader, "expected a key in quotes");
    struct json_span span;
    if (!json_string_read(reader, &span))
        return false;
    if (memchr(span.data, 0, span.bytes))
        return json_refuse_at(reader, start, "NUL in a key");
    json_skip_blanks(reader);
    if (reader->at == reader->end || *reader->at != ':')
        return json_refuse(reader, "expected ':'");
    reader->at++;
    json_skip_blanks(reader);
    char *key = malloc(span.bytes + 1);
    if (!key)
        return json_refuse_memory(reader);
    memcpy(key, span.data, span.bytes);
    key[span.bytes] = '\0';
    *ret_key = key;
    return true;
}

static void json_duplicate(struct json_reader *reader, const char *at, const char *key) {
    reader->status =
        status_set(reader->error, MOESAIC_E_INPUT, "%s: invalid JSON: duplicate key \"%.64s\" (line %zu, byte %zu)",
                   reader->where, key, json_line_of(reader, at), (size_t)(at - reader->text));
}

static bool json_member_read(struct json_reader *reader, json_t *object) {
    const char *start = reader->at;
    char *key = NULL;
    if (!json_key_read(reader, &key))
        return false;
    if (reader->reject_duplicates && json_object_get(object, key))
        json_duplicate(reader, start, key);
    else {
        json_t *value = json_value_read(reader);
        if (value && json_object_set_new_nocheck(object, key, value) != 0) /* takes the value, on failure too */
            json_refuse_memory(reader);
    }
    free(key);
    return reader->status == MOESAIC_OK;
}

static json_t *json_object_read(struct json_reader *reader) {
    if (!json_enter(reader))
        return NULL;
    json_t *object = json_made(reader, json_object());
    bool more = object && !(reader->at < reader->end && *reader->at == '}');
    if (object && !more)
        json_another(reader, '}');
    while (more)
        more = json_member_read(reader, object) && json_another(reader, '}');
    if (reader->status == MOESAIC_OK)
        return object;
    json_decref(object);
    return NULL;
}

static json_t *json_word_read(struct json_reader *reader) {
    if (json_take(reader, "true"))
        return json_true();
    if (json_take(reader, "false"))
        return json_false();
    if (json_take(reader, "null"))
        return json_null();
    const char *start = reader->at;
    if (json_take(reader, "NaN") || json_take(reader, "Infinity") || json_take(reader, "-Infinity"))
        return reader->allow_nonfinite ? json_null()
                                       : json_bad_at(reader, start, "NaN or Infinity is not a JSON number");
    return json_number_read(reader);
}

static json_t *json_value_read(struct json_reader *reader) {
    if (reader->at == reader->end)
        return json_bad(reader, "unexpected end of text");
    if (reader->values++ == reader->max_values)
        return json_bad(reader, "too many values");
    if (*reader->at == '{')
        return json_object_read(reader);
    if (*reader->at == '[')
        return json_array_read(reader);
    if (*reader->at != '"')
        return json_word_read(reader);
    struct json_span span;
    if (!json_string_read(reader, &span))
        return NULL;
    return json_made(reader, json_stringn_nocheck(span.data, span.bytes));
}

moesaic_status json_parse(const char *text, size_t bytes, const struct json_limits *limits, const char *where,
                          json_value **ret_root, moesaic_error *error) {
    static const struct json_limits defaults;
    if (!limits)
        limits = &defaults;
    size_t max_bytes = limits->max_bytes ? limits->max_bytes : json_bytes_default;
    if (bytes > max_bytes)
        return status_set(error, MOESAIC_E_INPUT, "%s: %zu bytes of JSON where %zu are allowed", where, bytes,
                          max_bytes);
    size_t depth = limits->max_depth ? limits->max_depth : JSON_DEPTH_DEFAULT;
    struct json_reader reader = {
        .text = text,
        .at = text,
        .end = text + bytes,
        .max_depth = depth < JSON_DEPTH_MOST ? depth : JSON_DEPTH_MOST,
        .max_values = limits->max_values ? limits->max_values : json_values_default,
        .reject_duplicates = limits->reject_duplicates,
        .allow_nonfinite = limits->allow_nonfinite,
        .where = where,
        .error = error,
    };
    json_skip_blanks(&reader);
    json_t *root = json_value_read(&reader);
    json_skip_blanks(&reader);
    if (root && reader.at < reader.end)
        json_bad(&reader, "text behind the document");
    free(reader.scratch);
    if (reader.status != MOESAIC_OK)
        json_decref(root);
    else
        *ret_root = root;
    return reader.status;
}

moesaic_status json_parse_file(const char *path, const struct json_limits *limits, json_value **ret_root,
                               moesaic_error *error) {
    struct file_map map;
    moesaic_status status = file_map_open(path, &map, error);
    if (status != MOESAIC_OK)
        return status;
    status = json_parse((const char *)map.data, map.bytes, limits, path, ret_root, error);
    file_map_close(&map);
    return status;
}
