/* SPDX-License-Identifier: Apache-2.0 */
/* Options: tables become parsing and help. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

struct cli_common cli_common;

static const struct option_spec common_options[] = {
    {"json", 0, OPTION_FLAG, NULL, "print JSON on standard output and nothing else there", &cli_common.json},
    {"threads", 't', OPTION_INT, "N", "threads of the engine; 0: one per physical core", &cli_common.threads, 0, 1024},
    {"kv", 0, OPTION_TEXT, "TYPE", "type of the KV cache: f32, f16 or int8", &cli_common.kv},
    {"isa", 0, OPTION_TEXT, "LEVEL", "use no newer instructions than: scalar, avx2, avxvnni, avx512, avx512vnni, ...",
     &cli_common.isa},
    {"plan", 0, OPTION_TEXT, "FILE", "placement plan of 'moesaic place'; none: leave experts where they are mapped",
     &cli_common.plan},
    {"rebalance", 0, OPTION_FLAG, NULL, "move experts of the plan when the traffic drifts from it (see -v)",
     &cli_common.rebalance},
    {"quiet", 'q', OPTION_FLAG, NULL, "no progress, no warnings", &cli_common.quiet},
    {"verbose", 'v', OPTION_FLAG, NULL, "say more on standard error", &cli_common.verbose},
    {0}};

int cli_usage(const char *format, ...) {
    va_list list;
    va_start(list, format);
    fputs("moesaic: ", stderr);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    return EXIT_WRONG_USAGE;
}

static void help_options(const struct option_spec *options) {
    for (const struct option_spec *o = options; o && o->name; o++) {
        char left[64], letter[8] = "   ";
        if (o->letter)
            snprintf(letter, sizeof letter, "-%c,", o->letter);
        snprintf(left, sizeof left, "%s --%s%s%s", letter, o->name, o->argument ? " " : "",
                 o->argument ? o->argument : "");
        printf("  %-28s %s\n", left, o->help);
    }
}

static int help(const struct verb *verb) {
    printf("usage: moesaic %s %s\n\n%s\n\n", verb->name, verb->arguments, verb->summary);
    help_options(verb->options);
    puts("");
    help_options(common_options);
    return cli_flush();
}

/* The option that `name` (its first `bytes` bytes) means in `options`; *ret_negated for "no-x" where a flag x is. */
static const struct option_spec *find_long(const struct option_spec *options, const char *name, size_t bytes,
                                           bool *ret_negated) {
    for (const struct option_spec *o = options; o && o->name; o++) {
        size_t length = strlen(o->name);
        *ret_negated = false;
        if (length == bytes && !memcmp(o->name, name, bytes))
            return o;
        *ret_negated = true;
        if (o->kind == OPTION_FLAG && bytes == length + 3 && !memcmp(name, "no-", 3) &&
            !memcmp(name + 3, o->name, length))
            return o;
    }
    return NULL;
}

static const struct option_spec *find_letter(const struct option_spec *options, char letter) {
    for (const struct option_spec *o = options; o && o->name; o++)
        if (o->letter == letter)
            return o;
    return NULL;
}

static int set_number(const struct option_spec *o, const char *value) {
    char *end;
    errno = 0;
    double real = o->kind == OPTION_REAL ? strtod(value, &end) : (double)strtoll(value, &end, 10);
    if (end == value || *end || errno || !(real >= o->low && real <= o->high))
        return cli_usage("--%s: '%s' is not %s from %g to %g", o->name, value,
                         o->kind == OPTION_REAL ? "a number" : "a whole number", o->low, o->high);
    if (o->kind == OPTION_REAL)
        *(double *)o->at = real;
    else
        *(int64_t *)o->at = strtoll(value, NULL, 10);
    return EXIT_DONE;
}

static int set_value(const struct option_spec *o, const char *value) {
    if (o->kind == OPTION_INT || o->kind == OPTION_REAL)
        return set_number(o, value);
    if (o->kind == OPTION_TEXT) {
        *(const char **)o->at = value;
        return EXIT_DONE;
    }
    struct option_texts *texts = o->at;
    if (texts->count == OPTION_TEXTS_MAX)
        return cli_usage("--%s: given more than %d times", o->name, OPTION_TEXTS_MAX);
    texts->text[texts->count++] = value;
    return EXIT_DONE;
}

/* Handles argv[*io_at], an option; moves *io_at to its last word. */
static int parse_option(const struct verb *verb, int argc, char **argv, int *io_at) {
    const char *word = argv[*io_at], *value = NULL;
    const struct option_spec *o;
    bool negated = false;
    if (word[1] == '-') {
        const char *equal = strchr(word, '=');
        size_t bytes = equal ? (size_t)(equal - word - 2) : strlen(word + 2);
        o = find_long(verb->options, word + 2, bytes, &negated);
        o = o ? o : find_long(common_options, word + 2, bytes, &negated);
        value = equal ? equal + 1 : NULL;
    } else {
        o = find_letter(verb->options, word[1]);
        o = o ? o : find_letter(common_options, word[1]);
        value = word[2] ? word + 2 : NULL;
    }
    if (!o)
        return cli_usage("%s: no such option of '%s' ('moesaic %s --help' lists them)", word, verb->name, verb->name);
    if (o->kind == OPTION_FLAG) {
        if (value)
            return cli_usage("--%s takes no value", o->name);
        *(bool *)o->at = !negated;
        return EXIT_DONE;
    }
    if (!value && ++*io_at >= argc)
        return cli_usage("--%s wants a value: %s", o->name, o->argument);
    return set_value(o, value ? value : argv[*io_at]);
}

int cli_parse(const struct verb *verb, int argc, char **argv, int *ret_count, const char **ret_positional) {
    int count = 0;
    bool options = true;
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i];
        if (options && (!strcmp(word, "--help") || !strcmp(word, "-h")))
            return help(verb);
        if (options && !strcmp(word, "--")) {
            options = false;
        } else if (options && word[0] == '-' && word[1]) {
            int status = parse_option(verb, argc, argv, &i);
            if (status)
                return status;
        } else {
            ret_positional[count++] = word;
        }
    }
    if (count < verb->positional_min || count > verb->positional_max)
        return cli_usage("usage: moesaic %s %s", verb->name, verb->arguments);
    *ret_count = count;
    return -1;
}

int cli_parse_ids(const char *text, int32_t **ret_ids, size_t *ret_count) {
    size_t capacity = 1;
    for (const char *c = text; *c; c++)
        capacity += *c == ',';
    int32_t *ids = calloc(capacity, sizeof *ids);
    if (!ids)
        return cli_fail(&(moesaic_error){MOESAIC_E_MEMORY, "--ids: out of memory"});
    size_t count = 0;
    for (const char *at = text; *at;) {
        char *end;
        errno = 0;
        long long id = strtoll(at, &end, 10);
        if (end == at || errno || id < 0 || id > INT32_MAX || (*end && *end != ',') || (*end && !end[1])) {
            free(ids);
            return cli_usage("--ids: '%.20s' is not an id (at character %zu)", at, (size_t)(at - text));
        }
        ids[count++] = (int32_t)id;
        at = *end ? end + 1 : end;
    }
    *ret_ids = ids;
    *ret_count = count;
    return EXIT_DONE;
}
