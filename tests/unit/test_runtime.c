/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of status messages, the log, files and CPU bundles. */
#include <criterion/criterion.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime.h"

/* ---- status ---- */

Test(runtime_status, message_is_one_printable_line) {
    moesaic_error error;
    moesaic_status status = status_set(&error, MOESAIC_E_INPUT, "%s", "a\nb\x1b[2J\x7f\xff\xc3\xa4\xe2\x82\xc2\x9b!");
    cr_assert_eq(status, MOESAIC_E_INPUT);
    cr_assert_eq(error.status, MOESAIC_E_INPUT);
    cr_assert_str_eq(error.message, "a?b?[2J??\xc3\xa4?\?\?\?!");
}

Test(runtime_status, message_never_overruns_or_ends_in_half_a_character) {
    char text[2000];
    for (size_t i = 0; i + 2 < sizeof text; i += 2)
        memcpy(text + i, "\xc3\xa4", 3);
    moesaic_error error;
    status_set(&error, MOESAIC_E_IO, "x%s", text);
    size_t length = strlen(error.message);
    cr_assert_eq(length, sizeof error.message - 1);
    for (size_t i = 0; i < length;) {
        unsigned span = utf8_span(error.message + i, length - i);
        cr_assert_gt(span, 0);
        i += span;
    }
}

Test(runtime_status, own_message_may_be_an_argument) {
    moesaic_error error;
    status_set(&error, MOESAIC_E_IO, "inner");
    status_set(&error, MOESAIC_E_INPUT, "outer: %s", error.message);
    cr_assert_str_eq(error.message, "outer: inner");
    cr_assert_eq(status_set(NULL, MOESAIC_E_GATE, "nobody"), MOESAIC_E_GATE);
    cr_assert_eq(status_no_memory(&error, "cache", 12), MOESAIC_E_MEMORY);
    cr_assert_str_eq(error.message, "cache: out of memory (12 bytes)");
}

Test(runtime_status, names_differ) {
    const moesaic_status all[] = {MOESAIC_OK,          MOESAIC_E_FAILED,    MOESAIC_E_USAGE,   MOESAIC_E_INPUT,
                                  MOESAIC_E_GATE,      MOESAIC_E_MEMORY,    MOESAIC_E_IO,      MOESAIC_E_UNSUPPORTED,
                                  MOESAIC_E_NONFINITE, MOESAIC_E_CANCELLED, (moesaic_status)99};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        for (size_t j = 0; j < i; j++)
            cr_assert_str_neq(moesaic_status_name(all[i]), moesaic_status_name(all[j]));
}

Test(runtime_status, utf8_span_follows_the_standard) {
    static const struct {
        const char *text;
        size_t bytes;
        unsigned span;
    } cases[] = {
        {"", 0, 0},
        {"a", 1, 1},
        {"\0", 1, 1},
        {"\x80", 1, 0},
        {"\xc1\xbf", 2, 0},
        {"\xc2\x80", 2, 2},
        {"\xc2", 1, 0},
        {"\xe0\x9f\xbf", 3, 0},
        {"\xe0\xa0\x80", 3, 3},
        {"\xed\x9f\xbf", 3, 3},
        {"\xed\xa0\x80", 3, 0},
        {"\xef\xbf\xbf", 3, 3},
        {"\xf0\x8f\xbf\xbf", 4, 0},
        {"\xf0\x90\x80\x80", 4, 4},
        {"\xf4\x8f\xbf\xbf", 4, 4},
        {"\xf4\x90\x80\x80", 4, 0},
        {"\xf5\x80\x80\x80", 4, 0},
        {"\xf0\x90\x80", 3, 0},
        {"\xe2\x82\x41", 3, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        cr_expect_eq(utf8_span(cases[i].text, cases[i].bytes), cases[i].span, "case %zu", i);
}

Test(runtime_status, checked_sizes) {
    size_t r = 7;
    cr_assert(!size_add(SIZE_MAX, 1, &r) && r == 7);
    cr_assert(!size_mul(SIZE_MAX / 2, 3, &r) && r == 7);
    cr_assert(size_add(SIZE_MAX - 1, 1, &r) && r == SIZE_MAX);
    cr_assert(size_mul(6, 7, &r) && r == 42);
    cr_assert_eq(size_round_up(65, 64), 128);
    cr_assert_eq(size_round_up(64, 64), 64);
}

/* ---- log ---- */

struct lines {
    int count;
    log_level level;
    char last[2048];
};

static void keep_line(void *user, log_level level, const char *line) {
    struct lines *lines = user;
    lines->count++;
    lines->level = level;
    snprintf(lines->last, sizeof lines->last, "%s", line);
}

Test(runtime_log, goes_to_the_callback_only) {
    struct lines lines = {0};
    log_line(LOG_ERROR, "dropped");
    log_set(keep_line, &lines);
    log_line(LOG_WARNING, "bad %s", "by\tte");
    cr_assert_eq(lines.count, 1);
    cr_assert_eq(lines.level, LOG_WARNING);
    cr_assert_str_eq(lines.last, "bad by?te");
    log_line(LOG_INFO, "%3000d", 1);
    cr_assert_eq(strlen(lines.last), 1023);
    log_set(NULL, NULL);
    log_line(LOG_ERROR, "dropped");
    cr_assert_eq(lines.count, 2);
}

Test(runtime_log, clock_does_not_go_back) {
    uint64_t before = clock_ns();
    usleep(1000);
    uint64_t after = clock_ns();
    cr_assert_geq(after - before, 1000000);
}

/* ---- files ---- */

static char folder[64];

static void make_folder(void) {
    snprintf(folder, sizeof folder, "/tmp/moesaic-test-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
}

static void remove_folder(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    cr_assert_eq(system(command), 0);
}

static const char *in_folder(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

Test(runtime_file, written_whole_and_mapped, .init = make_folder, .fini = remove_folder) {
    const char *path = in_folder("data");
    moesaic_error error = {0};
    cr_assert_eq(file_write_atomic(path, "first", 5, &error), MOESAIC_OK);
    struct file_map old, new;
    cr_assert_eq(file_map_open(path, &old, &error), MOESAIC_OK);
    cr_assert_eq(file_write_atomic(path, "second one", 10, &error), MOESAIC_OK);
    cr_assert_eq(file_map_open(path, &new, &error), MOESAIC_OK);
    cr_assert(old.bytes == 5 && memcmp(old.data, "first", 5) == 0); /* the old file lives on in its mapping */
    cr_assert(new.bytes == 10 && memcmp(new.data, "second one", 10) == 0);
    file_map_close(&old);
    file_map_close(&new);
    file_map_close(&new);
    file_map_close(NULL);
    struct stat info;
    mode_t mask = umask(022);
    cr_assert_eq(file_write_atomic(in_folder("mode"), "", 0, &error), MOESAIC_OK);
    umask(mask);
    cr_assert_eq(stat(in_folder("mode"), &info), 0);
    cr_assert_eq(info.st_mode & 0777, 0644);
}

Test(runtime_file, empty_file_maps_to_something, .init = make_folder, .fini = remove_folder) {
    struct file_map map = {0};
    moesaic_error error = {0};
    cr_assert_eq(file_write_atomic(in_folder("empty"), NULL, 0, &error), MOESAIC_OK);
    cr_assert_eq(file_map_open(in_folder("empty"), &map, &error), MOESAIC_OK);
    cr_assert_not_null(map.data);
    cr_assert_eq(map.bytes, 0);
    file_map_close(&map);
}

Test(runtime_file, refuses_what_is_no_file, .init = make_folder, .fini = remove_folder, .timeout = 5) {
    struct file_map map = {(const uint8_t *)"x", 1};
    moesaic_error error = {0};
    cr_assert_eq(file_map_open(in_folder("missing"), &map, &error), MOESAIC_E_IO);
    cr_assert(strstr(error.message, "missing: cannot open: No such file"));
    cr_assert_eq(file_map_open(folder, &map, &error), MOESAIC_E_IO);
    cr_assert_eq(mkfifo(in_folder("fifo"), 0600), 0);
    cr_assert_eq(file_map_open(in_folder("fifo"), &map, &error), MOESAIC_E_IO); /* and does not wait for a writer */
    cr_assert_eq(file_map_open("/dev/zero", &map, &error), MOESAIC_E_IO);
    cr_assert_eq(map.bytes, 1);
    cr_assert(file_is_folder(folder) && !file_is_regular(folder));
    cr_assert(!file_is_folder(in_folder("fifo")) && !file_is_regular(in_folder("fifo")));
    cr_assert(!file_is_regular(in_folder("missing")));
}

Test(runtime_file, failed_write_leaves_nothing, .init = make_folder, .fini = remove_folder) {
    moesaic_error error = {0};
    cr_assert_eq(file_write_atomic(folder, "x", 1, &error), MOESAIC_E_IO);
    cr_assert_eq(file_write_atomic("/dev/null", "x", 1, &error), MOESAIC_E_IO);
    struct stat info;
    cr_assert(stat("/dev/null", &info) == 0 && S_ISCHR(info.st_mode));
    cr_assert_eq(file_write_atomic(in_folder("no/such/folder"), "x", 1, &error), MOESAIC_E_IO);
    cr_assert(strstr(error.message, "no/such/folder"));
    cr_assert_eq(rmdir(folder), 0, "a temporary file was left behind");
    cr_assert_eq(mkdir(folder, 0700), 0);
}

static void *write_many(void *path) {
    char data[4096];
    for (int i = 0; i < 30; i++) {
        memset(data, 'a' + i % 26, sizeof data);
        if (file_write_atomic(path, data, sizeof data, NULL) != MOESAIC_OK)
            return path;
    }
    return NULL;
}

Test(runtime_file, readers_never_see_half, .init = make_folder, .fini = remove_folder) {
    char path[256];
    snprintf(path, sizeof path, "%s", in_folder("shared"));
    cr_assert_null(write_many(path));
    pthread_t writers[2];
    for (int i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&writers[i], NULL, write_many, path), 0);
    for (int i = 0; i < 200; i++) {
        struct file_map map;
        cr_assert_eq(file_map_open(path, &map, NULL), MOESAIC_OK);
        cr_assert_eq(map.bytes, 4096);
        cr_assert_eq(memcmp(map.data, map.data + 1, map.bytes - 1), 0);
        file_map_close(&map);
    }
    for (int i = 0; i < 2; i++) {
        void *failed;
        pthread_join(writers[i], &failed);
        cr_assert_null(failed);
    }
}

/* ---- CPU ---- */

static bool implies(uint32_t bundles, uint32_t bundle, uint32_t needs) {
    return !(bundles & bundle) || (bundles & needs) == needs;
}

Test(runtime_cpu, a_level_implies_what_it_builds_on) {
    uint32_t b = cpu_bundles();
    cr_assert(implies(b, CPU_AVXVNNI, CPU_AVX2));
    cr_assert(implies(b, CPU_AVX512, CPU_AVX2));
    cr_assert(implies(b, CPU_AVX512VNNI, CPU_AVX512));
    cr_assert(implies(b, CPU_AVX512VBMI2, CPU_AVX512VNNI));
    cr_assert(implies(b, CPU_AVX512BF16, CPU_AVX512VNNI));
    cr_assert(implies(b, CPU_AMX, CPU_AVX512VBMI2 | CPU_AVX512BF16));
    cr_assert(implies(b, CPU_I8MM, CPU_NEONDOT) && implies(b, CPU_NEONDOT, CPU_NEON));
#if defined(__x86_64__)
    cr_assert_eq((b & CPU_AVX2) != 0, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                                          __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("f16c"));
    cr_assert_eq((b & CPU_AVX512VNNI) != 0, __builtin_cpu_supports("avx512vnni") &&
                                                __builtin_cpu_supports("avx512bw") &&
                                                __builtin_cpu_supports("avx512vl"));
#endif
    cr_assert_gt(strlen(cpu_model_name()), 0);
}

/* As the kernel reads them. */
Test(runtime_cpu, family_and_model) {
    unsigned family = 0, model = 0, kernel_family = 0, kernel_model = 0;
    char line[256];
    FILE *file = fopen("/proc/cpuinfo", "r");
    cr_assert_not_null(file);
    while (fgets(line, sizeof line, file) && line[0] != '\n') {
        (void)sscanf(line, "cpu family : %u", &kernel_family);
        (void)sscanf(line, "model : %u", &kernel_model);
    }
    fclose(file);
#if defined(__x86_64__)
    cr_assert(cpu_family_model(&family, &model));
    cr_assert_eq(family, kernel_family);
    cr_assert_eq(model, kernel_model);
#else
    cr_assert_not(cpu_family_model(&family, &model));
#endif
}

Test(runtime_cpu, environment_caps) {
    setenv("MOESAIC_CPU", "avx512", 1);
    cr_assert_eq(cpu_bundles() & ~(uint32_t)(CPU_AVX2 | CPU_AVX512), 0);
}

Test(runtime_cpu, environment_scalar) {
    setenv("MOESAIC_CPU", "scalar", 1);
    cr_assert_eq(cpu_bundles(), CPU_SCALAR);
}

Test(runtime_cpu, unknown_environment_is_said_and_ignored) {
    struct lines lines = {0};
    log_set(keep_line, &lines);
    setenv("MOESAIC_CPU", "avx1024", 1);
    cpu_bundles();
    cr_assert_eq(lines.count, 1);
    cr_assert(strstr(lines.last, "avx1024"));
}

Test(runtime_cpu, limit_narrows_and_never_widens) {
    uint32_t all = cpu_bundles();
    moesaic_error error = {0};
    cr_assert_eq(cpu_limit("sse2", &error), MOESAIC_E_USAGE);
    cr_assert(strstr(error.message, "\"sse2\""));
    cr_assert_eq(cpu_bundles(), all);
    cr_assert_eq(cpu_limit("avx512vnni", &error), MOESAIC_OK);
    cr_assert_eq(cpu_bundles(), all & (CPU_AVX2 | CPU_AVX512 | CPU_AVX512VNNI));
    cr_assert_eq(cpu_limit("avx2", NULL), MOESAIC_OK);
    cr_assert_eq(cpu_limit("amx", NULL), MOESAIC_OK);
    cr_assert_eq(cpu_bundles(), all & CPU_AVX2);
    cr_assert_eq(cpu_limit("scalar", NULL), MOESAIC_OK);
    cr_assert_eq(cpu_bundles(), CPU_SCALAR);
}

Test(runtime_cpu, text) {
    char text[64], tiny[6];
    cr_assert_str_eq(cpu_bundles_text(CPU_AVX2 | CPU_AVX512, text, sizeof text), "avx2 avx512");
    cr_assert_str_eq(cpu_bundles_text(0, text, sizeof text), "scalar");
    cr_assert_str_eq(cpu_bundles_text(CPU_AVX2 | CPU_AVX512, tiny, sizeof tiny), "avx2 ");
}
