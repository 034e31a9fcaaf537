/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs' JSON while each allocation fails once: the document is whole, or the verb fails and says so. argv[1] is
 * the folder of test data. Prints TAP. */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../tools/cli/cli.h"
#include "allocations.h"

enum { WORDS = 16, OUTPUT_MAX = 1 << 20, DENSE = 100, LEAKED = 99 };

/* MODEL, TEXT, RECIPE, OUT and PLAN in the words stand for paths of this run. */
static const struct verb_case {
    const char *name;
    const struct verb *verb;
    const char *words[WORDS];
    size_t spared; /* first allocations that do not fail: hwloc (2.9) does not survive all of its own */
    size_t stride; /* of the last allocations one in so many fails, 0: each */
} cases[] = {
    {"inspect", &verb_inspect, {"MODEL", "--verify"}},
    {"topology", &verb_topology, {"--synthetic", "pack:2 [numa(memory=1GB)] core:2 pu:1"}, 20},
    {"eval", &verb_eval, {"MODEL", "--text", "TEXT", "--window", "64"}},
    {"logits", &verb_logits, {"MODEL", "--ids", "1,2,3", "-o", "OUT"}},
    {"trace", &verb_trace, {"MODEL", "--text", "TEXT", "-o", "TRACE"}},
    {"place", &verb_place, {"MODEL", "--trace", "TRACE", "--synthetic", "pack:2 [numa(memory=1GB)] core:2 pu:1"}},
    {"run", &verb_run, {"MODEL", "--ids", "1,2,3", "-n", "4", "--ignore-eos", "--logprobs", "2"}},
    {"compress",
     &verb_compress,
     {"MODEL", "--calib", "TEXT", "-o", "OUT", "--no-report", "--recipe", "RECIPE", "--prune", "structured:0.5",
      "--attention", "int8", "--drop-experts", "reap:0.25"}},
    {"compare", &verb_compare, {"MODEL", "MODEL", "--text", "TEXT", "--tokens", "32", "--no-speed"}},
    {"bench", &verb_bench, {"MODEL", "-p", "4", "-n", "2", "-r", "1"}, 0, 7}, /* a run reads gigabytes */
};
static char folder[] = "/tmp/moesaic-verbs-XXXXXX";
static char model[512], text[64], recipe[64], out[64], trace[64];

static char *word_of(const char *word) {
    static const char *const names[] = {"MODEL", "TEXT", "RECIPE", "OUT", "TRACE"};
    char *const paths[] = {model, text, recipe, out, trace};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(word, names[i]))
            return paths[i];
    return (char *)(uintptr_t)word;
}

/* ---- one run ----------------------------------------------------------------------------------------------------- */

struct outcome {
    int status;         /* of the exit; -1: a signal */
    size_t allocations; /* counted until the verb's end */
    bool silent;        /* nothing on standard error */
    json_t *document;
};

/* In a process of its own: teams and options of a run before are not there. */
static void run_here(const struct verb_case *c, size_t fail_at, int allocations) {
    char *argv[WORDS + 4] = {"--json", "--threads", "1"};
    const char *positional[WORDS + 4];
    int argc = 3, count = 0;
    for (; c->words[argc - 3]; argc++)
        argv[argc] = word_of(c->words[argc - 3]);
    size_t live = allocations_live(), before = allocations_counted();
    allocations_fail_at(fail_at);
    int status = cli_parse(c->verb, argc, argv, &count, positional);
    if (status < 0)
        status = c->verb->run(count, positional);
    allocations_fail_at(0);
    size_t counted = allocations_counted() - before;
    bool told = write(allocations, &counted, sizeof counted) == sizeof counted;
    fflush(stdout);
    _exit(!told || (status && allocations_live() != live) ? LEAKED : status);
}

static json_t *document_read(FILE *file) {
    rewind(file);
    return json_loadf(file, JSON_DISABLE_EOF_CHECK, NULL);
}

static struct outcome run_apart(const struct verb_case *c, size_t fail_at) {
    struct outcome outcome = {.status = -1};
    FILE *output = tmpfile(), *errors = tmpfile();
    int ends[2], wait_status;
    if (!output || !errors || pipe(ends))
        abort();
    fflush(stdout);
    pid_t child = fork();
    if (!child) {
        dup2(fileno(output), STDOUT_FILENO);
        dup2(fileno(errors), STDERR_FILENO);
        run_here(c, fail_at, ends[1]);
    }
    close(ends[1]);
    waitpid(child, &wait_status, 0);
    if (read(ends[0], &outcome.allocations, sizeof outcome.allocations) == sizeof outcome.allocations)
        outcome.status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1;
    close(ends[0]);
    outcome.silent = !lseek(fileno(errors), 0, SEEK_END);
    outcome.document = document_read(output);
    fclose(errors);
    fclose(output);
    return outcome;
}

/* ---- what is right ----------------------------------------------------------------------------------------------- */

/* Whether both have the same keys, lengths and kinds; numbers and strings may differ. */
static bool same_shape(const json_t *a, const json_t *b) {
    const char *key;
    json_t *value;
    if (!a || !b || json_typeof(a) != json_typeof(b) || json_object_size(a) != json_object_size(b) ||
        json_array_size(a) != json_array_size(b))
        return false;
    json_object_foreach((json_t *)(uintptr_t)a, key,
                        value) if (!same_shape(value, json_object_get(b, key))) return false;
    for (size_t i = 0; i < json_array_size(a); i++)
        if (!same_shape(json_array_get(a, i), json_array_get(b, i)))
            return false;
    return true;
}

static bool fault_passes(const struct verb_case *c, size_t fail_at, const json_t *want) {
    struct outcome outcome = run_apart(c, fail_at);
    bool failed = (outcome.status == EXIT_FAILED || outcome.status == EXIT_BAD_INPUT) && !outcome.silent;
    bool right = failed || (outcome.status == EXIT_DONE && same_shape(outcome.document, want));
    if (!right)
        printf("# allocation %zu: exit %d%s%s\n", fail_at, outcome.status, outcome.silent ? ", silent" : "",
               same_shape(outcome.document, want) ? ", a whole document" : "");
    json_decref(outcome.document);
    return right;
}

/* The last allocations one by one (or by the case's stride), where the document is made, and ever fewer towards the
 * first. */
static bool case_passes(const struct verb_case *c) {
    struct outcome whole = run_apart(c, 0);
    unsigned wrong = 0, runs = 0;
    if (whole.status || !whole.document) {
        printf("# without a fault: exit %d\n", whole.status);
        return false;
    }
    const size_t stride = c->stride ? c->stride : 1;
    for (size_t back = 0; back + c->spared < whole.allocations && wrong < 5;
         back += back < DENSE ? stride : back / 8, runs++)
        wrong += !fault_passes(c, whole.allocations - back, whole.document);
    printf("# %s: %u of %zu allocations\n", c->name, runs, whole.allocations);
    json_decref(whole.document);
    return !wrong;
}

/* ---- main -------------------------------------------------------------------------------------------------------- */

static void file_write(const char *path, const char *content, size_t bytes) {
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(content, 1, bytes, file) != bytes || fclose(file))
        abort();
}

static bool world_make(const char *data) {
    static const char fitted[] = "{\"experts\":{\"quant\":\"rtn\",\"refine\":0}}";
    static char calib[1500];
    char path[600];
    snprintf(path, sizeof path, "%s/texts/calib.txt", data);
    FILE *file = fopen(path, "rb");
    if (!file || !mkdtemp(folder))
        return false;
    size_t bytes = fread(calib, 1, sizeof calib, file);
    fclose(file);
    snprintf(model, sizeof model, "%s/bad/_valid", data);
    snprintf(text, sizeof text, "%s/text", folder);
    snprintf(recipe, sizeof recipe, "%s/recipe", folder);
    snprintf(out, sizeof out, "%s/out", folder);
    snprintf(trace, sizeof trace, "%s/trace", folder);
    file_write(text, calib, bytes);
    file_write(recipe, fitted, sizeof fitted - 1);
    return true;
}

int main(int argc, char **argv) {
    size_t count = sizeof cases / sizeof *cases;
    if (argc < 2 || !world_make(argv[1])) {
        fprintf(stderr, "verbs: usage: verbs DATA_FOLDER\n");
        return 1;
    }
    printf("1..%zu\n", count);
    for (size_t i = 0; i < count; i++)
        printf("%s %zu - %s\n", case_passes(&cases[i]) ? "ok" : "not ok", i + 1, cases[i].name);
    moesaic_compress_discard(out, NULL);
    const char *const left[] = {text, recipe, out, trace, folder};
    for (size_t i = 0; i < sizeof left / sizeof *left; i++)
        remove(left[i]);
    return 0;
}
