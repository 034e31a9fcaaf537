/* SPDX-License-Identifier: Apache-2.0 */
/* The part of bench_kernels that measures the kernels on lanes.h. */
#ifndef LANES_BENCH_H
#define LANES_BENCH_H

#include <stddef.h>
#include <stdint.h>

/* Prints a CSV line, in the columns of bench_kernels, for each kernel whose name contains `slot` (NULL: all) of `isa`
 * (NULL: every vector ISA of this CPU). `far`: memory beyond every cache. Exit status: 1 when memory is short. */
int bench_lanes(const char *slot, const char *isa, const uint8_t *far, size_t far_bytes, unsigned repeats);

#endif
