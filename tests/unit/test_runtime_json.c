/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the bounded JSON reader: what it reads, what it refuses and where it says so. */
#include <criterion/criterion.h>

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime.h"

static json_value *parsed(const char *text, const struct json_limits *limits) {
    json_value *root = NULL;
    moesaic_error error = {0};
    moesaic_status status = json_parse(text, strlen(text), limits, "test", &root, &error);
    cr_assert_eq(status, MOESAIC_OK, "%s: %s", text, error.message);
    return root;
}

/* Parses a copy without a byte behind it, so that a sanitizer sees any read past the end. */
static void refused(const char *text, size_t bytes, const struct json_limits *limits, const char *why) {
    char *copy = malloc(bytes ? bytes : 1);
    memcpy(copy, text, bytes);
    json_value *root = (json_value *)copy;
    moesaic_error error = {0};
    cr_expect_eq(json_parse(copy, bytes, limits, "file.json", &root, &error), MOESAIC_E_INPUT, "accepted: %.60s", text);
    cr_expect_eq((char *)root, copy, "output touched");
    cr_expect(strncmp(error.message, "file.json: ", 11) == 0 && strstr(error.message, why), "%.60s: %s", text,
              error.message);
    free(copy);
}

static void refused_text(const char *text, const char *why) {
    refused(text, strlen(text), NULL, why);
}

Test(runtime_json, reads_every_kind) {
    json_value *root = parsed(" {\"a\":[1,-2.5e1,true,false,null,\"x\"],\r\n\t\"b\":{}, \"\":0 } ", NULL);
    cr_assert_eq(json_kind_of(root), JSON_KIND_OBJECT);
    cr_assert_eq(json_count(root), 3);
    const json_value *a = json_get(root, "a");
    cr_assert_eq(json_count(a), 6);
    static const json_kind kinds[] = {JSON_KIND_INTEGER, JSON_KIND_REAL, JSON_KIND_BOOL,
                                      JSON_KIND_BOOL,    JSON_KIND_NULL, JSON_KIND_STRING};
    for (size_t i = 0; i < 6; i++)
        cr_expect_eq(json_kind_of(json_at(a, i)), kinds[i]);
    cr_assert_eq(json_int(json_at(a, 0)), 1);
    cr_assert_eq(json_number(json_at(a, 0)), 1.0);
    cr_assert_eq(json_number(json_at(a, 1)), -25.0);
    cr_assert(json_truth(json_at(a, 2)) && !json_truth(json_at(a, 3)));
    cr_assert_null(json_at(a, 6));
    cr_assert_null(json_get(root, "c"));
    cr_assert_null(json_get(a, "a"));
    cr_assert_null(json_text(a, NULL));
    cr_assert_eq(json_kind_of(NULL), JSON_KIND_NULL);
    cr_assert_eq(json_count(NULL), 0);
    json_free(root);
    json_free(NULL);
}

Test(runtime_json, reads_scalars_at_the_root) {
    json_value *root = parsed("\"\"", NULL);
    size_t bytes = 9;
    cr_assert_str_eq(json_text(root, &bytes), "");
    cr_assert_eq(bytes, 0);
    json_free(root);
}

Test(runtime_json, decodes_escapes) {
    json_value *root = parsed("\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e4\\u20AC\\ud83d\\ude00\\u0000z\xc3\xa4\"", NULL);
    static const char wanted[] = "a\"\\/\b\f\n\r\t\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\0z\xc3\xa4";
    size_t bytes;
    const char *text = json_text(root, &bytes);
    cr_assert_eq(bytes, sizeof wanted - 1);
    cr_assert_eq(memcmp(text, wanted, bytes), 0);
    json_free(root);
}

Test(runtime_json, decodes_long_strings_with_escapes) {
    enum { PAIRS = 5000 };
    char *text = malloc(PAIRS * 3 + 3), *at = text;
    *at++ = '"';
    for (int i = 0; i < PAIRS; i++, at += 3)
        memcpy(at, "x\\n", 3);
    memcpy(at, "\"", 2);
    json_value *root = parsed(text, NULL);
    size_t bytes;
    const char *decoded = json_text(root, &bytes);
    cr_assert_eq(bytes, 2 * PAIRS);
    for (int i = 0; i < PAIRS; i++)
        cr_assert(decoded[2 * i] == 'x' && decoded[2 * i + 1] == '\n');
    json_free(root);
    free(text);
}

Test(runtime_json, keeps_document_order) {
    json_value *root = parsed("{\"z\":0,\"a\":1,\"m\":2,\"\\u0062\":3}", NULL);
    static const char *const order[] = {"z", "a", "m", "b"};
    void *cursor = NULL;
    const char *key;
    const json_value *value;
    int64_t seen = 0;
    for (; json_next(root, &cursor, &key, &value); seen++) {
        cr_assert_str_eq(key, order[seen]);
        cr_assert_eq(json_int(value), seen);
    }
    cr_assert_eq(seen, 4);
    cursor = NULL;
    cr_assert(!json_next(json_get(root, "z"), &cursor, &key, &value));
    json_free(root);
}

Test(runtime_json, reads_numbers_at_their_limits) {
    json_value *root = parsed("[9223372036854775807,-9223372036854775808,9223372036854775808,-9223372036854775809,"
                              "1000000000000000019884624838656,-0,0.1,1E+2,1e-400]",
                              NULL);
    cr_assert_eq(json_int(json_at(root, 0)), INT64_MAX);
    cr_assert_eq(json_int(json_at(root, 1)), INT64_MIN);
    cr_assert_eq(json_kind_of(json_at(root, 2)), JSON_KIND_REAL);
    cr_assert_eq(json_number(json_at(root, 2)), 0x1p63);
    cr_assert_eq(json_kind_of(json_at(root, 3)), JSON_KIND_REAL);
    cr_assert_eq(json_number(json_at(root, 4)), 1e30);
    cr_assert_eq(json_int(json_at(root, 5)), 0);
    cr_assert_eq(json_number(json_at(root, 6)), 0.1);
    cr_assert_eq(json_number(json_at(root, 7)), 100.0);
    cr_assert_eq(json_number(json_at(root, 8)), 0.0);
    json_free(root);
}

Test(runtime_json, the_programs_locale_does_not_matter) {
    static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "C"};
    for (size_t i = 0; i < 3 && !setlocale(LC_ALL, names[i]); i++)
        ;
    json_value *root = parsed("1.5", NULL);
    cr_assert_eq(json_number(root), 1.5);
    json_free(root);
}

Test(runtime_json, refuses_bad_text) {
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"", "unexpected end"},
        {"  ", "unexpected end"},
        {"{", "key"},
        {"[", "unexpected end"},
        {"[1", "expected ',' or ']'"},
        {"[1,", "unexpected end"},
        {"[1,]", "unexpected character"},
        {"[,1]", "unexpected character"},
        {"{\"a\"", "':'"},
        {"{\"a\":", "unexpected end"},
        {"{\"a\":1", "expected ',' or '}'"},
        {"{\"a\":1,}", "key"},
        {"{a:1}", "key"},
        {"{1:1}", "key"},
        {"[1}", "expected ',' or ']'"},
        {"1 2", "behind the document"},
        {"[]]", "behind the document"},
        {"nul", "unexpected character"},
        {"True", "unexpected character"},
        {"\xef\xbb\xbf{}", "unexpected character"},
        {"NaN", "not a JSON number"},
        {"[Infinity]", "not a JSON number"},
        {"[-Infinity]", "not a JSON number"},
        {"01", "leading zero"},
        {"-", "without digits"},
        {"+1", "unexpected character"},
        {".5", "unexpected character"},
        {"1.", "decimal point"},
        {"1e", "exponent"},
        {"1e+", "exponent"},
        {"1e400", "out of range"},
        {"0x10", "behind the document"},
        {"\"", "unterminated"},
        {"\"abc", "unterminated"},
        {"\"\\", "unterminated"},
        {"\"\\x\"", "unknown escape"},
        {"\"\\u12\"", "four hexadecimal"},
        {"\"\\u12g4\"", "four hexadecimal"},
        {"\"\\ud800\"", "lone surrogate"},
        {"\"\\ud800x\"", "lone surrogate"},
        {"\"\\ud800\\n\"", "lone surrogate"},
        {"\"\\ud800\\ud800\"", "lone surrogate"},
        {"\"\\udc00\"", "lone surrogate"},
        {"\"a\nb\"", "control character"},
        {"\"\xff\"", "invalid UTF-8"},
        {"\"\xed\xa0\x80\"", "invalid UTF-8"},
        {"\"\xc3", "invalid UTF-8"},
        {"{\"a\\u0000b\":1}", "NUL in a key"},
        {"// comment\n1", "unexpected character"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        refused_text(cases[i].text, cases[i].why);
    refused("[\0]", 3, NULL, "unexpected character");
}

Test(runtime_json, says_where) {
    refused_text("{\n \"a\": 1,\n \"b\": x}", "(line 3, byte 17)");
    refused_text("[\n\n\"\\ud800\"]", "(line 3, byte 4)");
}

Test(runtime_json, no_message_is_fine) {
    json_value *root = NULL;
    cr_assert_eq(json_parse("x", 1, NULL, "test", &root, NULL), MOESAIC_E_INPUT);
    cr_assert_null(root);
}

Test(runtime_json, every_prefix_is_refused_or_read) {
    static const char text[] = "{\"a\":[1,2.5e-3,\"\\ud83d\\ude00\\n\",true],\"b\":{\"c\":null,\"d\":[[],{}]}}";
    for (size_t bytes = 0; bytes < sizeof text - 1; bytes++)
        refused(text, bytes, NULL, "invalid JSON");
    json_free(parsed(text, NULL));
}

Test(runtime_json, bounds_depth) {
    enum { DEEP = 200000 };
    char *text = malloc(DEEP);
    memset(text, '[', DEEP);
    refused(text, DEEP, NULL, "nested too deeply");
    struct json_limits most = {.max_depth = SIZE_MAX};
    refused(text, DEEP, &most, "nested too deeply");
    for (size_t i = 0; i + 5 <= DEEP; i += 5)
        memcpy(text + i, "{\"a\":", 5);
    refused(text, DEEP, &most, "nested too deeply");
    free(text);
    struct json_limits three = {.max_depth = 3};
    json_free(parsed("[[[1]],[[2]]]", &three));
    refused("[[[[]]]]", 8, &three, "nested too deeply");
}

Test(runtime_json, bounds_size_and_count) {
    struct json_limits ten = {.max_bytes = 10};
    json_free(parsed("[1,2,3,45]", &ten));
    refused("[1,2,3,456]", 11, &ten, "11 bytes");
    struct json_limits few = {.max_values = 4};
    json_free(parsed("[1,2,3]", &few));
    refused("[1,2,[]]", 8, &(struct json_limits){.max_values = 3}, "too many values");
    enum { MANY = 3 * 5000000 };
    char *text = malloc(MANY);
    for (size_t i = 0; i < MANY; i += 3)
        memcpy(text + i, "1, ", 3);
    memcpy(text, "[  ", 3);
    refused(text, MANY, NULL, "too many values");
    free(text);
}

Test(runtime_json, duplicates_and_nonfinite_by_choice) {
    json_value *root = parsed("{\"a\":1,\"b\":2,\"a\":3}", NULL);
    cr_assert_eq(json_int(json_get(root, "a")), 3);
    cr_assert_eq(json_count(root), 2);
    json_free(root);
    struct json_limits strict = {.reject_duplicates = true};
    refused("{\"a\":1,\"\\u0061\":3}", 18, &strict, "duplicate key \"a\" (line 1, byte 7)");
    json_free(parsed("[{\"a\":1},{\"a\":1}]", &strict));
    struct json_limits lenient = {.allow_nonfinite = true};
    root = parsed("[NaN,Infinity,-Infinity,\"NaN\",-1]", &lenient);
    for (size_t i = 0; i < 3; i++)
        cr_expect_eq(json_kind_of(json_at(root, i)), JSON_KIND_NULL);
    cr_assert_str_eq(json_text(json_at(root, 3), NULL), "NaN");
    cr_assert_eq(json_int(json_at(root, 4)), -1);
    json_free(root);
    refused("[nan]", 5, &lenient, "unexpected character");
}

Test(runtime_json, many_keys_take_linear_time, .timeout = 10) {
    enum { KEYS = 200000, ROOM = 24 };
    char *text = malloc((size_t)KEYS * ROOM), *at = text;
    *at++ = '{';
    for (int i = 0; i < KEYS; i++)
        at += snprintf(at, ROOM, "%s\"k%d\":%d", i ? "," : "", i, i);
    *at++ = '}';
    json_value *root = NULL;
    moesaic_error error = {0};
    struct json_limits strict = {.reject_duplicates = true};
    cr_assert_eq(json_parse(text, (size_t)(at - text), &strict, "test", &root, &error), MOESAIC_OK, "%s",
                 error.message);
    cr_assert_eq(json_count(root), KEYS);
    cr_assert_eq(json_int(json_get(root, "k123456")), 123456);
    json_free(root);
    free(text);
}

/* ---- settings ---- */

Test(runtime_json, settings_check_kind_and_range) {
    json_value *root = parsed("{\"i\":7,\"r\":1e6,\"h\":0.5,\"s\":\"x\",\"n\":null,\"t\":true,\"big\":1e30}", NULL);
    moesaic_error error = {0};
    int64_t i = -1;
    cr_assert_eq(json_read_int(root, "i", 0, 10, "config", &i, &error), MOESAIC_OK);
    cr_assert_eq(i, 7);
    cr_assert_eq(json_read_int(root, "r", 0, 1000000, "config", &i, &error), MOESAIC_OK);
    cr_assert_eq(i, 1000000);
    cr_assert_eq(json_read_int(root, "n", 0, 1, "config", &i, &error), MOESAIC_OK);
    cr_assert_eq(json_read_int(root, "absent", 0, 1, "config", &i, &error), MOESAIC_OK);
    cr_assert_eq(i, 1000000);
    cr_assert_eq(json_read_int(root, "i", 8, 10, "config", &i, &error), MOESAIC_E_INPUT);
    cr_assert_str_eq(error.message, "config: i is 7, expected 8 to 10");
    cr_assert_eq(json_read_int(root, "h", 0, 10, "config", &i, &error), MOESAIC_E_INPUT);
    cr_assert_str_eq(error.message, "config: h is 0.5, expected an integer");
    cr_assert_eq(json_read_int(root, "s", 0, 10, "config", &i, &error), MOESAIC_E_INPUT);
    cr_assert_str_eq(error.message, "config: s is a string, expected an integer");
    cr_assert_eq(json_read_int(root, "big", 0, INT64_MAX, "config", &i, &error), MOESAIC_E_INPUT);
    cr_assert_eq(json_read_int(root, "t", 0, 1, "config", &i, &error), MOESAIC_E_INPUT);
    cr_assert_eq(i, 1000000);

    double d = -1;
    cr_assert_eq(json_read_double(root, "h", 0, 1, "config", &d, &error), MOESAIC_OK);
    cr_assert_eq(d, 0.5);
    cr_assert_eq(json_read_double(root, "i", 0, 10, "config", &d, &error), MOESAIC_OK);
    cr_assert_eq(d, 7);
    cr_assert_eq(json_read_double(root, "h", 1, 2, "config", &d, &error), MOESAIC_E_INPUT);
    cr_assert_str_eq(error.message, "config: h is 0.5, expected 1 to 2");
    cr_assert_eq(json_read_double(root, "t", 0, 1, "config", &d, &error), MOESAIC_E_INPUT);
    cr_assert_eq(d, 7);

    bool b = false;
    cr_assert_eq(json_read_bool(root, "t", "config", &b, &error), MOESAIC_OK);
    cr_assert(b);
    cr_assert_eq(json_read_bool(root, "i", "config", &b, &error), MOESAIC_E_INPUT);
    cr_assert_str_eq(error.message, "config: i is an integer, expected true or false");
    cr_assert(b);
    json_free(root);
}

Test(runtime_json, parse_file_names_the_file) {
    json_value *root;
    moesaic_error error = {0};
    cr_assert_eq(json_parse_file("/nonexistent/config.json", NULL, &root, &error), MOESAIC_E_IO);
    cr_assert(strstr(error.message, "/nonexistent/config.json"));
    char name[] = "/tmp/moesaic-test-XXXXXX";
    int descriptor = mkstemp(name);
    cr_assert_geq(descriptor, 0);
    cr_assert_eq(file_write_atomic(name, "{\"a\":[1,2}", 10, NULL), MOESAIC_OK);
    cr_assert_eq(json_parse_file(name, NULL, &root, &error), MOESAIC_E_INPUT);
    cr_assert(strstr(error.message, name) && strstr(error.message, "byte 9"));
    cr_assert_eq(file_write_atomic(name, "[5]", 3, NULL), MOESAIC_OK);
    cr_assert_eq(json_parse_file(name, NULL, &root, &error), MOESAIC_OK);
    cr_assert_eq(json_int(json_at(root, 0)), 5);
    json_free(root);
    remove(name);
}

/* ---- building ---- */

Test(runtime_json, what_is_built_reads_back) {
    json_value *root = json_make_object(), *list = json_make_array();
    bool whole = json_push(list, json_make_integer(INT64_MIN)) & json_push(list, json_make_real(0.5)) &
                 json_push(list, json_make_bool(true)) & json_put(root, "text", json_make_text("a\n\xc3\xa4\0b", 6)) &
                 json_put(root, "list", list);
    cr_assert(whole);
    size_t bytes = 0;
    char *text = json_dump(root, false, &bytes);
    cr_assert_str_eq(text, "{\"text\":\"a\\n\xc3\xa4\\u0000b\",\"list\":[-9223372036854775808,0.5,true]}");
    cr_assert_eq(bytes, strlen(text));
    json_value *again = parsed(text, NULL);
    cr_assert_eq(json_int(json_at(json_get(again, "list"), 0)), INT64_MIN);
    json_free(again);
    free(text);
    cr_assert_not(json_put(root, "bad", json_make_text("\xff", 1)));
    cr_assert_not(json_push(NULL, json_make_integer(1)));
    cr_assert_not(json_put(root, "\xff", json_make_integer(1)));
    cr_assert_eq(json_count(root), 2);
    json_free(root);
}
