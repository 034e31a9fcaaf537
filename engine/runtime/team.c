/* SPDX-License-Identifier: Apache-2.0 */
/* The team at work: runs handed to waiting threads, and the barrier among them.
 *
 * The threads stay inside one parallel region for the life of the team and wait at a gate between runs: entering a
 * region would cost libgomp's own barriers, whose waiting can only be tuned for the whole process through the
 * environment. */
#include "team_internal.h"

/* Dissemination barrier (Hensgen, Finkel and Manber, 1988): in round r each thread signals the one 2^r further on and
 * waits for the one 2^r behind. No line has two writers, so the cost is ceil(log2 n) transfers of a cache line. A
 * partner may be one barrier ahead at most, since it cannot pass the next one before this thread has arrived there. */
static void team_meet(struct team *team, unsigned thread) {
    struct team_member *self = &team->member[thread];
    uint32_t ticket = ++self->ticket;
    unsigned round = 0;
    for (unsigned distance = 1; distance < team->threads; distance *= 2, round++) {
        unsigned partner = thread + distance;
        if (partner >= team->threads)
            partner -= team->threads;
        gate_open(&team->member[partner].signal[round], ticket);
        gate_wait(&self->signal[round], ticket, team->at_barrier);
    }
}

void team_barrier(struct team *team, unsigned thread) {
    if (team->threads == 1)
        return;
    if (thread != 0) {
        team_meet(team, thread);
        return;
    }
    uint64_t start = clock_ns();
    team_meet(team, 0);
    atomic_fetch_add_explicit(&team->barrier_ns, clock_ns() - start, memory_order_relaxed);
}

void team_serve(struct team *team, unsigned thread) {
    for (uint32_t run = 1;; run++) {
        team_barrier(team, thread);
        if (thread == 0)
            gate_open(&team->done, run);
        gate_wait(&team->start, run, team->at_start);
        if (!team->body)
            return;
        team->body(team, thread, team->argument);
    }
}

void team_run(struct team *team, team_body *body, void *argument) {
    team->body = body;
    team->argument = argument;
    uint32_t run = ++team->runs;
    gate_open(&team->start, run);
    gate_wait(&team->done, run + 1, team->at_done);
}

unsigned team_threads(const struct team *team) {
    return team->threads;
}

unsigned team_node_of(const struct team *team, unsigned thread) {
    return team->member[thread].node;
}

uint64_t team_barrier_ns(const struct team *team) {
    return atomic_load_explicit(&team->barrier_ns, memory_order_relaxed);
}
