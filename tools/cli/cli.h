/* SPDX-License-Identifier: Apache-2.0 */
/* The command line: verbs, their options as tables, and what all verbs share. */
#ifndef CLI_H
#define CLI_H

#include <jansson.h>
#include <moesaic/moesaic.h>
#include <signal.h>
#include <stdio.h>

/* ---- exit status ------------------------------------------------------------------------------------------------- */

enum {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_WRONG_USAGE = 2,
    EXIT_BAD_INPUT = 3,
    EXIT_GATE = 4,
    EXIT_INTERRUPTED = 130
};
/* Prints "moesaic: MESSAGE" to standard error and returns the exit status that belongs to the error's status. */
int cli_fail(const moesaic_error *error);
/* The same for an output that could not be written: IO is then a failure of the work, not of an input. */
int cli_fail_output(const moesaic_error *error);
/* The same; what is said of a text ("text: ...", "calibration text: ...") gets the place it came from, `path`. */
int cli_fail_text(const moesaic_error *error, const char *path);
/* Prints "moesaic: ..." and returns EXIT_WRONG_USAGE. */
int cli_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- options ----------------------------------------------------------------------------------------------------- */

typedef enum option_kind { OPTION_FLAG, OPTION_INT, OPTION_REAL, OPTION_TEXT, OPTION_TEXTS } option_kind;
enum { OPTION_TEXTS_MAX = 64 };
struct option_texts {
    size_t count;
    const char *text[OPTION_TEXTS_MAX];
};
/* One option of a verb. `at` points to what it sets: bool, int64_t, double, const char * or struct option_texts, which
 * holds the default. A flag named "no-x" clears the bool that "x" sets. */
struct option_spec {
    const char *name; /* without the dashes; NULL ends the table */
    char letter;      /* one-letter form, or 0 */
    option_kind kind;
    const char *argument; /* its name in the help, NULL for flags */
    const char *help;
    void *at;
    double low, high; /* for INT and REAL */
};
/* What every verb takes, set by the parser. */
struct cli_common {
    bool json, quiet, verbose;
    int64_t threads;
    const char *kv;
    const char *isa;
    const char *plan;
    bool rebalance;
};
extern struct cli_common cli_common;

struct verb {
    const char *name;
    const char *arguments; /* of the usage line, such as "MODEL [-p TEXT]" */
    const char *summary;   /* one line */
    const struct option_spec *options;
    int positional_min, positional_max;
    int (*run)(int count, const char *const *positional);
};
extern const struct verb verb_run, verb_chat, verb_tokenize, verb_template, verb_logits, verb_eval, verb_inspect,
    verb_trace, verb_export, verb_compress, verb_compare, verb_advise, verb_bench, verb_topology, verb_place;

/* Parses argv behind the verb's name. Returns -1 to go on, or the exit status to leave with (help, usage). */
int cli_parse(const struct verb *verb, int argc, char **argv, int *ret_count, const char **ret_positional);
/* "1,2,3" into ids; freed with free(). Returns EXIT_DONE or prints and returns the exit status. */
int cli_parse_ids(const char *text, int32_t **ret_ids, size_t *ret_count);

/* ---- models and engines ------------------------------------------------------------------------------------------ */

struct cli_session {
    moesaic_model *model;
    moesaic_engine *engine;
};
/* Opens the model (NULL: the bundled one) and starts an engine with the common options. Exit status. */
int cli_session_open(const char *path, moesaic_kv_type kv, struct cli_session *ret_session);
void cli_session_close(struct cli_session *session);
/* --kv as a value; `fallback` when it is not given. */
int cli_kv(moesaic_kv_type fallback, moesaic_kv_type *ret_kv);
/* How much of a calibration text to calibrate on: its last twentieth is held out, from a line's beginning on, to judge
 * by. A text too short for that is used whole. */
size_t cli_calibration_bytes(const char *text, size_t bytes);
/* A whole file ("-": standard input) into memory, at most 1 GiB; freed with free(). Exit status. */
int cli_read_file(const char *path, char **ret_text, size_t *ret_bytes);

/* Dense alternatives to a compression, for its report: made beside it, opened, and removed from the disk at once. */
enum { CLI_OPPONENTS_MAX = 4 };
struct cli_opponents {
    size_t count;
    moesaic_compare_opponent opponent[CLI_OPPONENTS_MAX];
    moesaic_model *model[CLI_OPPONENTS_MAX];
    moesaic_engine *engine[CLI_OPPONENTS_MAX];
};
/* Compresses `model` with the recipe of `ours`, but for the experts: RTN INT8, INT4 and INT3, and where the recipe
 * prunes GPTQ INT3, each g64. What cannot be made is left out with a warning; `set` is zeroed before. Exit status. */
int cli_opponents_make(const moesaic_model *model, const moesaic_compress_options *ours, const char *beside,
                       bool pruned, struct cli_opponents *set);
void cli_opponents_close(struct cli_opponents *set);

/* ---- output ------------------------------------------------------------------------------------------------------ */

/* Both take `value`. Where it, or the room for it, is missing (no memory, text that is not UTF-8, a number that is not
 * finite), the whole object or array is freed and becomes NULL, on which both do nothing: no document lacks a part. */
void cli_json_set(json_t **object, const char *key, json_t *value);
void cli_json_add(json_t **array, json_t *value);
/* The document as text without blanks, freed with free(); NULL for NULL and without memory. */
char *cli_json_text(const json_t *document);
/* Says on standard error that `what` could not be made. Returns EXIT_FAILED. */
int cli_json_fail(const char *what);
/* Prints one document on a line of standard output and takes it; NULL fails. Exit status. */
int cli_json_print(json_t *document);
/* Flushes standard output; a full disk or a closed pipe is a failure. Exit status. */
int cli_flush(void);
/* "1.23 GiB" and the like into `text`; returns `text`. */
const char *cli_bytes(double bytes, char text[32]);
/* "500MB", "24GiB", "1e9" (bytes) and the like; false when it is nothing of the kind or not above 0. */
bool cli_read_bytes(const char *text, double *ret_bytes);
const char *cli_count(double count, char text[32]); /* "21.1 M" */

/* Work by layer and node, work[layers, 1 + nodes] with each layer's whole first; and all counters of an engine. */
json_t *cli_work_json(const moesaic_work *work, uint32_t layers, uint32_t nodes);
json_t *cli_counters_json(const moesaic_engine *engine);

/* Progress on standard error, when it is a terminal and --quiet and --json are not given, with the time left. */
struct cli_progress {
    const char *what;
    const char *unit;
    double started, shown;
    bool drawn;
};
void cli_progress_begin(struct cli_progress *progress, const char *what, const char *unit);
int cli_progress_update(void *progress, uint64_t done, uint64_t total); /* moesaic_progress_callback; stops on Ctrl-C */
void cli_progress_end(struct cli_progress *progress);

/* Set by SIGINT and SIGTERM. */
extern volatile sig_atomic_t cli_interrupted;

#endif
