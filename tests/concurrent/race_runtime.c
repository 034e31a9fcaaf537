/* SPDX-License-Identifier: Apache-2.0 */
/* Concurrent uses of the runtime in one process without a test framework, to be run under ThreadSanitizer (Criterion
 * aborts under it). Exit status 0: all counts came out right; the sanitizer adds its own verdict. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime.h"

enum { THREADS = 3, ROUNDS = 200, RUNS = 50, USERS = 3 };

static _Atomic unsigned failures;

static void check(bool right, const char *what) {
    if (!right) {
        fprintf(stderr, "race_runtime: %s\n", what);
        atomic_fetch_add(&failures, 1);
    }
}

/* Plain memory: only barriers, and the start and end of runs, order it. */
struct work {
    unsigned cell[THREADS], wrong[THREADS], total;
};

static void work_body(struct team *team, unsigned thread, void *argument) {
    struct work *work = argument;
    for (unsigned round = 0; round < ROUNDS; round++) {
        work->cell[thread]++;
        team_barrier(team, thread);
        for (unsigned i = 0; i < THREADS; i++)
            work->wrong[thread] += work->cell[i] != work->cell[thread];
        team_barrier(team, thread);
    }
    if (thread == THREADS - 1)
        work->total++;
}

static void use_team(void) {
    struct team *team;
    if (team_create(&(struct team_options){.threads = THREADS}, &team, NULL) != MOESAIC_OK) {
        check(false, "team_create failed");
        return;
    }
    struct work work = {0};
    for (int run = 0; run < RUNS; run++) {
        work.total++; /* between runs the caller owns it */
        team_run(team, work_body, &work);
    }
    team_destroy(team);
    check(work.total == 2 * RUNS, "runs were lost");
    for (unsigned i = 0; i < THREADS; i++)
        check(work.cell[i] == RUNS * ROUNDS && work.wrong[i] == 0, "a barrier let a thread pass");
}

static void use_arena(struct arena *arena) {
    for (unsigned i = 0; i < 300; i++) {
        size_t bytes = 1 + i * 97 % 5000;
        uint8_t *block = arena_alloc(arena, bytes, 64);
        check(block != NULL, "arena_alloc failed");
        if (block)
            memset(block, 1, bytes);
        arena_free(arena, block);
    }
}

static void ignore_line(void *user, log_level level, const char *line) {
    atomic_fetch_add((_Atomic uint64_t *)user, 1);
}

static void *user_main(void *argument) {
    char text[200];
    cpu_bundles_text(cpu_bundles(), text, sizeof text);
    log_line(LOG_INFO, "user of %s with %s", cpu_model_name(), text);
    use_arena(argument);
    use_team();
    log_line(LOG_INFO, "done");
    return NULL;
}

int main(void) {
    static _Atomic uint64_t lines;
    log_set(ignore_line, &lines);
    struct topology *topology;
    struct arena *arena;
    if (topology_open(NULL, &topology, NULL) != MOESAIC_OK ||
        arena_create(topology, 0, false, &arena, NULL) != MOESAIC_OK) {
        fprintf(stderr, "race_runtime: cannot start\n");
        return 1;
    }
    pthread_t user[USERS];
    for (int i = 0; i < USERS; i++)
        if (pthread_create(&user[i], NULL, user_main, arena) != 0)
            return 1;
    for (int i = 0; i < USERS; i++)
        pthread_join(user[i], NULL);
    log_set(NULL, NULL);
    check(arena_bytes(arena) == 0, "blocks were lost");
    check(atomic_load(&lines) >= 2 * USERS, "log lines were lost");
    arena_destroy(arena);
    topology_close(topology);
    return atomic_load(&failures) != 0;
}
