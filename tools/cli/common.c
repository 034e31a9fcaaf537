/* SPDX-License-Identifier: Apache-2.0 */
/* What verbs share: errors, sessions, files, progress. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

volatile sig_atomic_t cli_interrupted;

int cli_fail(const moesaic_error *error) {
    if (error->status != MOESAIC_E_CANCELLED)
        fprintf(stderr, "moesaic: %s\n", error->message);
    switch (error->status) {
    case MOESAIC_E_USAGE:
        return EXIT_WRONG_USAGE;
    case MOESAIC_E_INPUT:
    case MOESAIC_E_IO:
    case MOESAIC_E_UNSUPPORTED:
    case MOESAIC_E_NONFINITE:
        return EXIT_BAD_INPUT;
    case MOESAIC_E_GATE:
        return EXIT_GATE;
    case MOESAIC_E_CANCELLED:
        return EXIT_INTERRUPTED;
    default:
        return EXIT_FAILED;
    }
}

int cli_fail_output(const moesaic_error *error) {
    int status = cli_fail(error);
    return error->status == MOESAIC_E_IO ? EXIT_FAILED : status;
}

int cli_fail_text(const moesaic_error *error, const char *path) {
    const char *colon = strchr(error->message, ':');
    if (error->status != MOESAIC_E_INPUT || !colon || colon - error->message < 4 || strncmp(colon - 4, "text", 4))
        return cli_fail_output(error);
    fprintf(stderr, "moesaic: %s (%s)\n", error->message, strcmp(path, "-") ? path : "standard input");
    return EXIT_BAD_INPUT;
}

int cli_kv(moesaic_kv_type fallback, moesaic_kv_type *ret_kv) {
    *ret_kv = fallback;
    if (!cli_common.kv)
        return EXIT_DONE;
    if (!strcmp(cli_common.kv, "f32"))
        *ret_kv = MOESAIC_KV_F32;
    else if (!strcmp(cli_common.kv, "f16"))
        *ret_kv = MOESAIC_KV_F16;
    else if (!strcmp(cli_common.kv, "int8"))
        *ret_kv = MOESAIC_KV_INT8;
    else
        return cli_usage("--kv: '%s' is not one of f32, f16, int8", cli_common.kv);
    return EXIT_DONE;
}

int cli_session_open(const char *path, moesaic_kv_type kv, struct cli_session *ret_session) {
    moesaic_error error;
    struct cli_session session = {0};
    moesaic_engine_options options = {.size = sizeof options,
                                      .threads = (uint32_t)cli_common.threads,
                                      .kv = kv,
                                      .isa = cli_common.isa,
                                      .plan_path = cli_common.plan,
                                      .rebalance = cli_common.rebalance};
    if (moesaic_model_open(path, NULL, &session.model, &error) ||
        moesaic_engine_create(session.model, &options, &session.engine, &error)) {
        cli_session_close(&session);
        return cli_fail(&error);
    }
    *ret_session = session;
    return EXIT_DONE;
}

void cli_session_close(struct cli_session *session) {
    moesaic_engine_destroy(session->engine);
    moesaic_model_release(session->model);
    *session = (struct cli_session){0};
}

static int read_failed(const char *path, const char *why) {
    fprintf(stderr, "moesaic: %s: cannot read: %s\n", path, why);
    return EXIT_BAD_INPUT;
}

int cli_read_file(const char *path, char **ret_text, size_t *ret_bytes) {
    const size_t limit = (size_t)1 << 30;
    FILE *file = strcmp(path, "-") ? fopen(path, "rb") : stdin;
    if (!file)
        return read_failed(path, strerror(errno));
    char *text = NULL;
    size_t bytes = 0, capacity = 0;
    const char *why = NULL;
    while (!why && !feof(file)) {
        if (bytes == capacity) {
            capacity = capacity ? capacity * 2 : 65536;
            char *larger = capacity > 2 * limit ? NULL : realloc(text, capacity);
            if (!larger) {
                why = "out of memory";
                break;
            }
            text = larger;
        }
        bytes += fread(text + bytes, 1, capacity - bytes, file);
        why = ferror(file) ? strerror(errno) : bytes > limit ? "longer than 1 GiB" : NULL;
    }
    if (file != stdin)
        fclose(file);
    if (why) {
        free(text);
        return read_failed(path, why);
    }
    *ret_text = text;
    *ret_bytes = bytes;
    return EXIT_DONE;
}

enum { HELD_OUT_SHARE = 20, HELD_OUT_MIN = 2048 };

size_t cli_calibration_bytes(const char *text, size_t bytes) {
    size_t held = bytes / HELD_OUT_SHARE, at = bytes - held;
    if (held < HELD_OUT_MIN)
        return bytes;
    const char *line = memchr(text + at, '\n', held / 2);
    if (line)
        return (size_t)(line - text) + 1;
    while (at && ((unsigned char)text[at] & 0xC0) == 0x80)
        at--;
    return at;
}

int cli_flush(void) {
    if (fflush(stdout) == 0 && !ferror(stdout))
        return EXIT_DONE;
    fprintf(stderr, "moesaic: standard output: cannot write: %s\n", strerror(errno));
    return EXIT_FAILED;
}

static const char *scaled(double value, double unit, const char *const *names, size_t count, char text[32]) {
    size_t i = 0;
    while (value >= unit && i + 1 < count) {
        value /= unit;
        i++;
    }
    snprintf(text, 32, i ? "%.2f %s" : "%.0f %s", value, names[i]);
    return text;
}

const char *cli_bytes(double bytes, char text[32]) {
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    return scaled(bytes, 1024, names, 5, text);
}

bool cli_read_bytes(const char *text, double *ret_bytes) {
    static const struct {
        const char *name;
        double bytes;
    } units[] = {{"", 1},      {"B", 1},        {"kB", 1e3},     {"MB", 1e6},     {"GB", 1e9},
                 {"TB", 1e12}, {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}};
    char *end;
    double number = strtod(text, &end);
    for (size_t i = 0; end != text && i < sizeof units / sizeof *units; i++) {
        if (strcmp(end, units[i].name) == 0 && number > 0 && number * units[i].bytes < 1e18) {
            *ret_bytes = number * units[i].bytes;
            return true;
        }
    }
    return false;
}

const char *cli_count(double count, char text[32]) {
    static const char *const names[] = {"", "K", "M", "G", "T"};
    return scaled(count, 1000, names, 5, text);
}

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void cli_progress_begin(struct cli_progress *progress, const char *what, const char *unit) {
    *progress = (struct cli_progress){.what = what, .unit = unit, .started = now_s()};
}

int cli_progress_update(void *user, uint64_t done, uint64_t total) {
    struct cli_progress *p = user;
    double now = now_s();
    if (cli_interrupted)
        return 1;
    if (cli_common.quiet || cli_common.json || !isatty(STDERR_FILENO) || now - p->shown < 0.2 || !done || !total)
        return 0;
    double left = (now - p->started) * ((double)total - (double)done) / (double)done;
    fprintf(stderr, "\r%s: %3.0f %%  %llu of %llu %s, %.0f s left \033[K", p->what,
            100.0 * (double)done / (double)total, (unsigned long long)done, (unsigned long long)total, p->unit,
            ceil(left));
    p->shown = now;
    p->drawn = true;
    return 0;
}

void cli_progress_end(struct cli_progress *progress) {
    if (progress->drawn)
        fputs("\r\033[K", stderr);
    progress->drawn = false;
}
