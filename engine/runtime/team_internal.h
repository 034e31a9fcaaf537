/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the thread team, shared by its life (team_create.c) and its work (team.c). */
#ifndef TEAM_INTERNAL_H
#define TEAM_INTERNAL_H

#include <pthread.h>
#include <sys/types.h>

#include "gate_internal.h"
#include "runtime.h"

enum {
    TEAM_THREADS_MAX = 1024,
    TEAM_ROUNDS_MAX = 10 /* log2 of the above */
};

struct team_member {
    struct gate signal[TEAM_ROUNDS_MAX];       /* opened by the partner of each barrier round */
    _Alignas(GATE_LINE_BYTES) uint32_t ticket; /* barriers passed; the member's own */
    int pu_os_index;                           /* to bind to, or -1 */
    unsigned node;
    pid_t tid;
};

struct team {
    struct gate formed; /* ticket 1: OpenMP has given its threads, `threads` is final */
    struct gate start;  /* ticket k: body and argument of the k-th run stand; a body of NULL ends the team */
    struct gate done;   /* ticket 1: every thread waits at `start`; k + 1: the k-th run is over */
    _Alignas(GATE_LINE_BYTES) team_body *body;
    void *argument;
    uint32_t runs; /* the caller's */
    unsigned threads;
    struct gate_patience at_barrier, at_start, at_done;
    _Atomic uint64_t barrier_ns;
    pthread_t master;
    struct team_member *member; /* [threads asked for] */
};

/* What each thread of the OpenMP region does, from the region's start to its end. */
void team_serve(struct team *team, unsigned thread);

#endif
