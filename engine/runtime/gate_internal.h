/* SPDX-License-Identifier: Apache-2.0 */
/* A gate: one writer opens it to ever higher tickets, waiters spin and then sleep until theirs has come. */
#ifndef GATE_INTERNAL_H
#define GATE_INTERNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { GATE_LINE_BYTES = 64 };

/* The word holds the ticket shifted left by one; the lowest bit says that somebody sleeps on it. A line of its own
 * keeps writers of neighbouring gates apart. Zeroed memory is a gate open to ticket 0. */
struct gate {
    _Alignas(GATE_LINE_BYTES) _Atomic uint32_t word;
};

/* How a waiter passes its time: spinning for `spin_ns`, giving up its CPU between looks for `yield_ns` more, asleep
 * from then on. Both 0: it sleeps at once. */
struct gate_patience {
    uint64_t spin_ns, yield_ns;
};

/* Opens the gate to `ticket` (31 bits, wrapping; above the one before) and wakes the sleepers. Releases memory. */
void gate_open(struct gate *gate, uint32_t ticket);
/* Returns once the gate is open to `ticket`. A gate may be at most 2^30 tickets ahead of a waiter. Acquires memory. */
void gate_wait(struct gate *gate, uint32_t ticket, struct gate_patience patience);

#endif
