/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the thread team: runs, barriers, idleness, and that nothing of it outlives it. */
#include <criterion/criterion.h>

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "runtime.h"

static struct team *made(const struct team_options *options) {
    struct team *team = NULL;
    moesaic_error error = {0};
    cr_assert_eq(team_create(options, &team, &error), MOESAIC_OK, "%s", error.message);
    return team;
}

static unsigned threads_of_process(void) {
    DIR *folder = opendir("/proc/self/task");
    unsigned count = 0;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(folder);
    return count;
}

/* ---- barriers ---- */

enum { ROUNDS = 300, THREADS_MOST = 8 };

/* Plain memory on purpose: only the barrier orders it. */
struct stress {
    unsigned cell[THREADS_MOST][16];
    unsigned wrong[THREADS_MOST];
};

/* Each thread writes its cell, and after a barrier finds every other thread's cell of the same round. */
static void stress_body(struct team *team, unsigned thread, void *argument) {
    struct stress *stress = argument;
    unsigned threads = team_threads(team);
    for (unsigned round = 1; round <= ROUNDS; round++) {
        stress->cell[thread][0] += 1;
        if (round % 50 == thread)
            sched_yield();
        team_barrier(team, thread);
        for (unsigned i = 0; i < threads; i++)
            stress->wrong[thread] += stress->cell[i][0] != stress->cell[thread][0];
        team_barrier(team, thread);
    }
}

Test(runtime_team, barriers_hold_at_every_size, .timeout = 60) {
    for (unsigned threads = 1; threads <= THREADS_MOST; threads++) {
        struct team *team = made(&(struct team_options){.threads = threads, .pin = threads % 2});
        cr_assert_eq(team_threads(team), threads);
        struct stress stress = {0};
        for (int run = 0; run < 3; run++)
            team_run(team, stress_body, &stress);
        for (unsigned i = 0; i < threads; i++) {
            cr_assert_eq(stress.wrong[i], 0);
            cr_assert_eq(stress.cell[i][0], 3 * ROUNDS);
        }
        cr_assert(threads == 1 || team_barrier_ns(team) > 0);
        team_destroy(team);
    }
}

static void slow_thread(struct team *team, unsigned thread, void *argument) {
    atomic_uint *after = argument;
    if (thread == 1)
        usleep(30000); /* the others go through spinning and yielding to sleep */
    team_barrier(team, thread);
    atomic_fetch_add(after, 1);
}

Test(runtime_team, barrier_wakes_sleepers, .timeout = 30) {
    struct team *team = made(&(struct team_options){.threads = 3});
    atomic_uint after = 0;
    for (int i = 0; i < 5; i++)
        team_run(team, slow_thread, &after);
    cr_assert_eq(after, 15);
    cr_assert_geq(team_barrier_ns(team), 100000000);
    team_destroy(team);
}

/* ---- runs ---- */

static void count_body(struct team *team, unsigned thread, void *argument) {
    unsigned *count = argument;
    count[thread * 16]++;
}

Test(runtime_team, every_thread_runs_every_run, .timeout = 60) {
    struct team *team = made(&(struct team_options){.threads = 4});
    unsigned count[4 * 16] = {0};
    for (int i = 0; i < 2000; i++) {
        team_run(team, count_body, count);
        cr_assert_eq(count[48], i + 1); /* seen by the caller as soon as the run is over */
    }
    for (int i = 0; i < 4; i++)
        cr_assert_eq(count[i * 16], 2000);
    team_destroy(team);
}

Test(runtime_team, default_is_one_a_core_within_the_quota) {
    struct topology *topology;
    cr_assert_eq(topology_open(NULL, &topology, NULL), MOESAIC_OK);
    struct team *team = made(&(struct team_options){0});
    unsigned cores = topology_cores(topology, NULL, 0);
    double quota = topology_cpu_quota();
    if (quota == 0 || quota >= cores)
        cr_assert_eq(team_threads(team), cores);
    else
        cr_assert_leq(team_threads(team), quota < 1 ? 1 : (unsigned)quota);
    team_destroy(team);
    topology_close(topology);
}

Test(runtime_team, too_many_threads_are_refused) {
    struct team *team = NULL;
    moesaic_error error = {0};
    cr_assert_eq(team_create(&(struct team_options){.threads = 1025}, &team, &error), MOESAIC_E_USAGE);
    cr_assert_str_eq(error.message, "threads: 1025, expected 1 to 1024");
    cr_assert_null(team);
    team_destroy(NULL);
}

Test(runtime_team, a_limit_on_threads_is_an_error_not_an_exit) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    cr_skip_test("a sanitizer needs all of the address space");
#endif
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_AS, &limit), 0);
    limit.rlim_cur = (rlim_t)2 << 30; /* room for some stacks of 8 MiB, not for 1000 */
    if (setrlimit(RLIMIT_AS, &limit) != 0)
        cr_skip_test("no limit on address space can be set");
    struct team *team = NULL;
    moesaic_error error = {0};
    cr_assert_eq(team_create(&(struct team_options){.threads = 1000}, &team, &error), MOESAIC_E_FAILED);
    cr_assert(strstr(error.message, "refuses thread"), "%s", error.message);
    cr_assert_null(team);
}

Test(runtime_team, a_limit_of_openmp_is_taken) {
    if (!getenv("OMP_THREAD_LIMIT")) { /* libgomp reads it when it is loaded: run this test again under it */
        char command[256];
        snprintf(
            command, sizeof command,
            "env -i OMP_THREAD_LIMIT=2 /proc/%d/exe --filter runtime_team/a_limit_of_openmp_is_taken >/dev/null 2>&1",
            (int)getpid());
        cr_assert_eq(system(command), 0);
        return;
    }
    struct team *team = made(&(struct team_options){.threads = 4});
    cr_assert_eq(team_threads(team), 2);
    unsigned count[4 * 16] = {0};
    team_run(team, count_body, count);
    cr_assert(count[0] == 1 && count[16] == 1 && count[32] == 0);
    team_destroy(team);
}

/* ---- threads ---- */

struct facts {
    unsigned node[THREADS_MOST];
    int cpus[THREADS_MOST], signals_open[THREADS_MOST];
};

static void facts_body(struct team *team, unsigned thread, void *argument) {
    struct facts *facts = argument;
    cpu_set_t set;
    sched_getaffinity(0, sizeof set, &set);
    facts->cpus[thread] = CPU_COUNT(&set);
    facts->node[thread] = team_node_of(team, thread);
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    facts->signals_open[thread] = !sigismember(&mask, SIGINT) || !sigismember(&mask, SIGTERM);
}

Test(runtime_team, pins_its_own_threads_only) {
    cpu_set_t before, after;
    sched_getaffinity(0, sizeof before, &before);
    struct team *team = made(&(struct team_options){.pin = true});
    struct facts facts;
    cr_assert_leq(team_threads(team), 1024);
    if (team_threads(team) > THREADS_MOST) {
        team_destroy(team);
        team = made(&(struct team_options){.threads = THREADS_MOST, .pin = true});
    }
    team_run(team, facts_body, &facts);
    for (unsigned i = 0; i < team_threads(team); i++) {
        cr_assert_eq(facts.cpus[i], 1);
        cr_assert_eq(facts.signals_open[i], 0);
    }
    team_destroy(team);
    sched_getaffinity(0, sizeof after, &after);
    cr_assert(CPU_EQUAL(&before, &after));
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    cr_assert_not(sigismember(&mask, SIGTERM));
}

Test(runtime_team, spreads_over_the_nodes_of_a_made_up_machine) {
    struct topology *topology;
    struct topology_source source = {.synthetic = "node:2 core:4 pu:2"};
    cr_assert_eq(topology_open(&source, &topology, NULL), MOESAIC_OK);
    struct team *team = made(&(struct team_options){.threads = 4, .pin = true, .topology = topology});
    for (unsigned i = 0; i < 4; i++)
        cr_assert_eq(team_node_of(team, i), i / 2);
    team_destroy(team);
    team = made(&(struct team_options){.threads = 4, .topology = topology});
    for (unsigned i = 0; i < 4; i++)
        cr_assert_eq(team_node_of(team, i), 0);
    team_destroy(team);
    topology_close(topology);
}

static void *use_a_team(void *argument) {
    struct team *team = made(&(struct team_options){.threads = 2});
    unsigned count[32] = {0};
    for (int i = 0; i < 300; i++)
        team_run(team, count_body, count);
    team_destroy(team);
    *(bool *)argument = count[0] == 300 && count[16] == 300;
    return NULL;
}

Test(runtime_team, several_teams_at_once_and_none_left, .timeout = 60) {
    unsigned before = threads_of_process();
    pthread_t user[3];
    bool right[3] = {false};
    for (size_t i = 0; i < 3; i++)
        cr_assert_eq(pthread_create(&user[i], NULL, use_a_team, &right[i]), 0);
    for (size_t i = 0; i < 3; i++) {
        pthread_join(user[i], NULL);
        cr_assert(right[i]);
    }
    struct team *first = made(&(struct team_options){.threads = 3}),
                *second = made(&(struct team_options){.threads = 2});
    cr_assert_eq(threads_of_process(), before + 5);
    unsigned count[48] = {0};
    for (int i = 0; i < 100; i++) {
        team_run(first, count_body, count);
        team_run(second, count_body, count);
    }
    cr_assert(count[0] == 200 && count[16] == 200 && count[32] == 100);
    team_destroy(first);
    team_destroy(second);
    cr_assert_eq(threads_of_process(), before);
}

Test(runtime_team, idle_teams_sleep) {
    struct team *team = made(&(struct team_options){.threads = 2, .pin = true});
    unsigned count[32] = {0};
    team_run(team, count_body, count);
    usleep(20000);
    struct timespec start, end;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
    usleep(200000);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    double used_s = (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) * 1e-9;
    cr_assert_lt(used_s, 0.01, "%g s of CPU time in 0.2 s of idleness", used_s);
    team_destroy(team);
}

Test(runtime_team, shares_are_contiguous_disjoint_and_complete) {
    static const size_t counts[] = {0, 1, 15, 16, 17, 100, 4096, 4097};
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++)
        for (size_t unit = 1; unit <= 16; unit *= 4)
            for (unsigned threads = 1; threads <= 9; threads++) {
                size_t at = 0, begin, end;
                for (unsigned i = 0; i < threads; i++) {
                    team_share(counts[c], unit, i, threads, &begin, &end);
                    cr_assert_eq(begin, at);
                    cr_assert(end >= begin && end <= counts[c] && (end % unit == 0 || end == counts[c]));
                    at = end;
                }
                cr_assert_eq(at, counts[c]);
            }
}
