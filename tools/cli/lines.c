/* SPDX-License-Identifier: Apache-2.0 */
/* `moesaic tokenize` and `moesaic template`: one JSON value a line in, one a line out. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static bool decode, special = true;

/* Reads standard input line by line and hands each to `line`; its exit status ends the loop. */
static int each_line(const moesaic_model *model,
                     int (*line)(const moesaic_model *model, const char *text, size_t bytes, size_t number)) {
    char *text = NULL;
    size_t capacity = 0;
    int status = EXIT_DONE;
    ssize_t bytes;
    for (size_t number = 1; !status && !cli_interrupted && (bytes = getline(&text, &capacity, stdin)) >= 0; number++) {
        if (bytes && text[bytes - 1] == '\n')
            bytes--;
        if (bytes)
            status = line(model, text, (size_t)bytes, number);
    }
    if (!status && ferror(stdin)) {
        fputs("moesaic: standard input: cannot read\n", stderr);
        status = EXIT_BAD_INPUT;
    }
    free(text);
    return !status && cli_interrupted ? EXIT_INTERRUPTED : status;
}

static int line_failed(size_t number, const char *what, const char *why) {
    fprintf(stderr, "moesaic: %s: %s (standard input, line %zu)\n", what, why, number);
    return EXIT_BAD_INPUT;
}

static int print_ids(const int32_t *ids, size_t count) {
    putchar('[');
    for (size_t i = 0; i < count; i++)
        printf(i ? ",%d" : "%d", ids[i]);
    puts("]");
    return cli_flush();
}

static int tokenize_line(const moesaic_model *model, const char *text, size_t bytes, size_t number) {
    json_error_t why;
    json_t *value = json_loadb(text, bytes, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
    if (!json_is_string(value)) {
        json_decref(value);
        return line_failed(number, "tokenize", value ? "not a JSON string" : why.text);
    }
    int32_t *ids;
    size_t count;
    moesaic_error error;
    int status =
        moesaic_tokenize(model, json_string_value(value), json_string_length(value), special, &ids, &count, &error)
            ? cli_fail(&error)
            : EXIT_DONE;
    json_decref(value);
    if (status)
        return status;
    status = print_ids(ids, count);
    moesaic_free(ids);
    return status;
}

/* The ids of a JSON array of integers; NULL when it is something else. */
static int32_t *ids_of(const json_t *array, size_t *ret_count) {
    size_t count = json_array_size(array);
    int32_t *ids = json_is_array(array) ? calloc(count + 1, sizeof *ids) : NULL;
    for (size_t i = 0; ids && i < count; i++) {
        json_int_t id = json_integer_value(json_array_get(array, i));
        if (!json_is_integer(json_array_get(array, i)) || id < 0 || id > INT32_MAX) {
            free(ids);
            return NULL;
        }
        ids[i] = (int32_t)id;
    }
    *ret_count = count;
    return ids;
}

static int decode_line(const moesaic_model *model, const char *text, size_t bytes, size_t number) {
    json_error_t why;
    json_t *value = json_loadb(text, bytes, JSON_DECODE_ANY, &why);
    size_t count = 0, decoded_bytes;
    int32_t *ids = ids_of(value, &count);
    json_decref(value);
    if (!ids)
        return line_failed(number, "tokenize --decode", value ? "not a JSON array of ids" : why.text);
    char *decoded;
    moesaic_error error;
    int status = moesaic_detokenize(model, ids, count, !special, &decoded, &decoded_bytes, &error) ? cli_fail(&error)
                                                                                                   : EXIT_DONE;
    free(ids);
    if (status)
        return status;
    status = cli_json_print(json_stringn(decoded, decoded_bytes));
    moesaic_free(decoded);
    return status;
}

static int render_line(const moesaic_model *model, const char *text, size_t bytes, size_t number) {
    (void)number;
    char *rendered;
    size_t rendered_bytes;
    moesaic_error error;
    if (moesaic_template_render(model, text, bytes, &rendered, &rendered_bytes, &error))
        return cli_fail(&error);
    int status = cli_json_print(json_stringn(rendered, rendered_bytes));
    moesaic_free(rendered);
    return status;
}

static int with_model(const char *path,
                      int (*line)(const moesaic_model *model, const char *text, size_t bytes, size_t number)) {
    moesaic_error error;
    moesaic_model *model;
    moesaic_model_options model_options = {.size = sizeof model_options, .tokenizer_only = true};
    if (moesaic_model_open(path, &model_options, &model, &error))
        return cli_fail(&error);
    int status = each_line(model, line);
    moesaic_model_release(model);
    return status;
}

static int run_tokenize(int count, const char *const *positional) {
    return with_model(count ? positional[0] : NULL, decode ? decode_line : tokenize_line);
}

static int run_template(int count, const char *const *positional) {
    return with_model(count ? positional[0] : NULL, render_line);
}

static const struct option_spec tokenize_options[] = {
    {"decode", 0, OPTION_FLAG, NULL, "turn arrays of ids into strings", &decode},
    {"special", 0, OPTION_FLAG, NULL, "add (with --decode: keep) special tokens; --no-special leaves them out",
     &special},
    {0}};

const struct verb verb_tokenize = {"tokenize",
                                   "[MODEL] [--decode] [--special | --no-special] < LINES",
                                   "turn text into ids: one JSON string a line in, one array a line out",
                                   tokenize_options,
                                   0,
                                   1,
                                   run_tokenize};
const struct verb verb_template = {"template",
                                   "[MODEL] < LINES",
                                   "render the chat template: one JSON object a line in, one string a line out",
                                   NULL,
                                   0,
                                   1,
                                   run_template};
