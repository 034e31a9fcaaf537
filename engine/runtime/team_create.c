/* SPDX-License-Identifier: Apache-2.0 */
/* The team's life: how many threads, where they are bound, how they start and how all of them end. */
#include "team_internal.h"

#include <omp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* libgomp is not instrumented: without these ThreadSanitizer takes the region's entry and exit for races. */
#if defined(__SANITIZE_THREAD__)
void __tsan_acquire(void *address);
void __tsan_release(void *address);
static void team_tsan_acquire(struct team *team) {
    __tsan_acquire(team);
}
static void team_tsan_release(struct team *team) {
    __tsan_release(team);
}
#else
static void team_tsan_acquire(struct team *team) {}
static void team_tsan_release(struct team *team) {}
#endif

/* ---- how many threads, and how patient ---- */

/* CPUs that the calling thread may run on, which unbound threads of a team inherit. */
static unsigned team_inherited_cpus(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return (unsigned)CPU_COUNT(&set);
    long online = sysconf(_SC_NPROCESSORS_ONLN); /* more CPUs than cpu_set_t holds */
    return online > 0 ? (unsigned)online : 1;
}

static unsigned team_default_threads(unsigned cores, double quota) {
    unsigned threads = cores < TEAM_THREADS_MAX ? cores : TEAM_THREADS_MAX;
    if (quota > 0 && quota < threads)
        threads = quota < 1 ? 1 : (unsigned)quota;
    return threads;
}

/* Spinning is for threads that own a CPU each. Under a smaller quota or on shared CPUs it eats the time that the thread
 * waited for needs: then all sleep at once. Bound threads know that their partners run elsewhere and may spin; unbound
 * ones may have been put on one CPU and soon yield, which costs a fraction of a microsecond when nobody else wants to
 * run. Between runs every thread yields to the caller. The caller spins only where the team leaves it a CPU. */
static void team_set_patience(struct team *team, unsigned cpus, bool bound, double quota) {
    if (team->threads > cpus || (quota > 0 && quota < team->threads))
        return;
    team->at_barrier =
        bound ? (struct gate_patience){.spin_ns = 100000} : (struct gate_patience){.spin_ns = 2000, .yield_ns = 200000};
    team->at_start = (struct gate_patience){.spin_ns = 2000, .yield_ns = 300000};
    if (team_inherited_cpus() > team->threads)
        team->at_done = (struct gate_patience){.spin_ns = 20000};
}

/* Spreads the threads over the cores, so that neighbours share a node and every node gives its bandwidth. */
static void team_assign_cores(struct team *team, const struct topology *topology, const struct topology_core *core,
                              unsigned cores) {
    bool real = topology_is_this_machine(topology);
    for (unsigned i = 0; i < team->threads; i++) {
        size_t chosen = team->threads <= cores ? (size_t)i * cores / team->threads : i % cores;
        team->member[i].node = core[chosen].node;
        team->member[i].pu_os_index = real ? (int)core[chosen].pu_os_index : -1;
    }
}

/* ---- the threads ---- */

static void team_bind(struct team *team, unsigned thread) {
    struct team_member *self = &team->member[thread];
    char name[16];
    snprintf(name, sizeof name, "moesaic/%u", thread);
    pthread_setname_np(pthread_self(), name);
    self->tid = (pid_t)syscall(SYS_gettid);
    if (self->pu_os_index < 0)
        return;
    unsigned pu = (unsigned)self->pu_os_index;
    size_t bytes = CPU_ALLOC_SIZE(pu + 1);
    cpu_set_t *set = CPU_ALLOC(pu + 1);
    bool bound = false;
    if (set) {
        CPU_ZERO_S(bytes, set);
        CPU_SET_S(pu, bytes, set);
        bound = pthread_setaffinity_np(pthread_self(), bytes, set) == 0;
        CPU_FREE(set);
    }
    if (!bound) {
        self->node = 0;
        log_line(LOG_WARNING, "thread %u: cannot be bound to CPU %u; it runs unbound", thread, pu);
    }
}

static void team_thread(struct team *team, unsigned thread, unsigned given) {
    team_tsan_acquire(team);
    team_bind(team, thread);
    if (thread == 0) {
        if (given < team->threads)
            log_line(LOG_WARNING, "OpenMP gives %u of %u threads (OMP_THREAD_LIMIT?)", given, team->threads);
        team->threads = given;
        gate_open(&team->formed, 1);
    } else {
        gate_wait(&team->formed, 1, (struct gate_patience){0});
    }
    team_serve(team, thread);
    team_tsan_release(team);
}

static void *team_master(void *argument) {
    struct team *team = argument;
    unsigned asked = team->threads;
    omp_set_dynamic(0);
    omp_set_max_active_levels(1);
    team_tsan_release(team);
#pragma omp parallel num_threads(asked)
    team_thread(team, (unsigned)omp_get_thread_num(), (unsigned)omp_get_num_threads());
    team_tsan_acquire(team);
    return NULL;
}

/* ---- starting ---- */

static void *team_rehearse_thread(void *argument) {
    gate_wait(argument, 1, (struct gate_patience){0});
    return NULL;
}

/* libgomp ends the whole process when a thread cannot be created. So as many as the team needs are created once before,
 * at the same time, which a limit on processes or memory refuses politely. */
static moesaic_status team_rehearse(unsigned threads, moesaic_error *error) {
    struct gate gate = {0};
    pthread_t *thread = calloc(threads, sizeof *thread);
    if (!thread)
        return status_no_memory(error, "team", threads * sizeof *thread);
    unsigned started = 0;
    int code = 0;
    while (started < threads && (code = pthread_create(&thread[started], NULL, team_rehearse_thread, &gate)) == 0)
        started++;
    gate_open(&gate, 1);
    for (unsigned i = 0; i < started; i++)
        pthread_join(thread[i], NULL);
    free(thread);
    if (code == 0)
        return MOESAIC_OK;
    char text[128];
    return status_set(error, MOESAIC_E_FAILED, "team: the system refuses thread %u of %u: %s", started + 1, threads,
                      strerror_r(code, text, sizeof text));
}

/* Starts the master, with every signal blocked for it and the threads that inherit from it. */
static moesaic_status team_start(struct team *team, moesaic_error *error) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    moesaic_status status = team_rehearse(team->threads, error);
    int code = status == MOESAIC_OK ? pthread_create(&team->master, NULL, team_master, team) : 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (code != 0)
        status = status_set(error, MOESAIC_E_FAILED, "team: its master thread cannot be started (error %d)", code);
    if (status == MOESAIC_OK)
        gate_wait(&team->done, 1, (struct gate_patience){0});
    return status;
}

static moesaic_status team_build(const struct team_options *options, const struct topology *topology,
                                 struct team **ret_team, moesaic_error *error) {
    unsigned cores = topology_cores(topology, NULL, 0);
    double quota = topology_cpu_quota();
    unsigned threads = options->threads ? options->threads : team_default_threads(cores, quota);
    if (threads > TEAM_THREADS_MAX)
        return status_set(error, MOESAIC_E_USAGE, "threads: %u, expected 1 to %d", threads, TEAM_THREADS_MAX);
    moesaic_status status = MOESAIC_OK;
    struct topology_core *core = calloc(cores, sizeof *core);
    struct team *team = memory_zeroed(1, sizeof *team);
    struct team_member *member = memory_zeroed(threads, sizeof *member);
    if (!core || !team || !member) {
        status = status_no_memory(error, "team", sizeof *team + threads * sizeof *member);
        goto fail;
    }
    topology_cores(topology, core, cores);
    team->threads = threads;
    team->member = member;
    for (unsigned i = 0; i < threads; i++)
        member[i].pu_os_index = -1;
    if (options->pin)
        team_assign_cores(team, topology, core, cores);
    bool bound = options->pin && topology_is_this_machine(topology);
    team_set_patience(team, bound ? cores : team_inherited_cpus(), bound, quota);
    status = team_start(team, error);
    if (status != MOESAIC_OK)
        goto fail;
    free(core);
    *ret_team = team;
    return MOESAIC_OK;
fail:
    free(member);
    free(team);
    free(core);
    return status;
}

moesaic_status team_create(const struct team_options *options, struct team **ret_team, moesaic_error *error) {
    if (options->topology)
        return team_build(options, options->topology, ret_team, error);
    struct topology *topology;
    moesaic_status status = topology_open(NULL, &topology, error);
    if (status != MOESAIC_OK)
        return status;
    status = team_build(options, topology, ret_team, error);
    topology_close(topology);
    return status;
}

/* ---- ending ---- */

/* libgomp detaches its threads and lets them end after the region's owner: joined by watching them go, so that nothing
 * of the team runs on when the library is unloaded. The bound is for a thread id that another thread has got meanwhile.
 */
static void team_await_end(pid_t tid) {
    uint64_t start = clock_ns();
    while (syscall(SYS_tgkill, getpid(), tid, 0) == 0 && clock_ns() - start < UINT64_C(1000000000))
        sched_yield();
}

void team_destroy(struct team *team) {
    if (!team)
        return;
    team->body = NULL;
    gate_open(&team->start, ++team->runs);
    pthread_join(team->master, NULL);
    for (unsigned i = 1; i < team->threads; i++)
        team_await_end(team->member[i].tid);
    free(team->member);
    free(team);
}
