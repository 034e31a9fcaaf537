/* SPDX-License-Identifier: Apache-2.0 */
/* Gates over a futex: the opener pays for a wake only when somebody sleeps. */
#include "gate_internal.h"

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime.h"

enum { GATE_LOOKS = 64 }; /* between readings of the clock */

static void gate_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static bool gate_reached(uint32_t word, uint32_t ticket) {
    return (int32_t)((word & ~1u) - ticket * 2) >= 0;
}

void gate_open(struct gate *gate, uint32_t ticket) {
    uint32_t before = atomic_exchange_explicit(&gate->word, ticket * 2, memory_order_acq_rel);
    if (before & 1)
        syscall(SYS_futex, &gate->word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static bool gate_spin(struct gate *gate, uint32_t ticket, uint64_t limit_ns, bool yield) {
    uint64_t start = 0;
    for (;;) {
        for (int i = 0; i < GATE_LOOKS; i++) {
            if (gate_reached(atomic_load_explicit(&gate->word, memory_order_acquire), ticket))
                return true;
            if (yield) {
                sched_yield();
                break; /* a yield takes about as long as a round of looks */
            }
            gate_relax();
        }
        uint64_t now = clock_ns();
        if (start == 0)
            start = now;
        if (now - start >= limit_ns)
            return false;
    }
}

void gate_wait(struct gate *gate, uint32_t ticket, struct gate_patience patience) {
    if (gate_reached(atomic_load_explicit(&gate->word, memory_order_acquire), ticket))
        return;
    if (patience.spin_ns && gate_spin(gate, ticket, patience.spin_ns, false))
        return;
    if (patience.yield_ns && gate_spin(gate, ticket, patience.yield_ns, true))
        return;
    for (;;) {
        uint32_t word = atomic_load_explicit(&gate->word, memory_order_acquire);
        if (gate_reached(word, ticket))
            return;
        /* The mark makes the opener wake us; the kernel sleeps only while the word still carries it unopened. */
        if ((word & 1) || atomic_compare_exchange_strong_explicit(&gate->word, &word, word | 1, memory_order_acq_rel,
                                                                  memory_order_acquire))
            syscall(SYS_futex, &gate->word, FUTEX_WAIT_PRIVATE, word | 1, NULL, NULL, 0);
    }
}
