/* SPDX-License-Identifier: Apache-2.0 */
/* What the roofs of all ISAs share. */
#ifndef ROOF_INTERNAL_H
#define ROOF_INTERNAL_H

#include "kernels.h"

enum { ROOF_STEP_BYTES = 256 }; /* read in a step, by all streams together */

/* `read` with a constant number of streams: straight code for each. */
#define ROOF_STREAMS(read, data, bytes, streams)                                                                       \
    ((streams) == 1 ? read(data, bytes, 1) : (streams) == 2 ? read(data, bytes, 2) : read(data, bytes, 4))

/* roof_NAME: the peak of an ISA, `product` of a `sum`, `a` and `b` between registers (of constraint KIND) in more
 * chains than its latency covers. */
#define ROOF_PEAK(name, kind, chains, start, first, second, product, multiply_adds)                                    \
    uint64_t roof_##name(uint64_t rounds) {                                                                            \
        __typeof__(first) a = first, b = second;                                                                       \
        __typeof__(start) acc[chains];                                                                                 \
        for (int c = 0; c < (chains); c++)                                                                             \
            acc[c] = start;                                                                                            \
        for (uint64_t i = 0; i < rounds; i++)                                                                          \
            _Pragma("GCC unroll 16") for (int c = 0; c < (chains); c++) {                                              \
                __typeof__(start) sum = acc[c];                                                                        \
                __asm__("" : "+" kind(a));                                                                             \
                acc[c] = product;                                                                                      \
            }                                                                                                          \
        for (int c = 0; c < (chains); c++)                                                                             \
            __asm__ volatile("" : : kind(acc[c]));                                                                     \
        return 2 * rounds * (chains) * (multiply_adds);                                                                \
    }

#endif
