/* SPDX-License-Identifier: Apache-2.0 */
/* The loops that the machine is measured with. */
#ifndef MEASURE_INTERNAL_H
#define MEASURE_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

enum { MEASURE_LINE_BYTES = 64, MEASURE_STREAMS = 4 };

/* Reads `bytes` (a multiple of MEASURE_LINE_BYTES x MEASURE_STREAMS, aligned to a line) once, in one or in
 * MEASURE_STREAMS equal streams side by side; the result only keeps the reads alive. */
uint64_t measure_read_one(const void *data, size_t bytes);
uint64_t measure_read_four(const void *data, size_t bytes);

/* Runs `rounds` rounds of INT8 multiply-adds on registers alone, with the best instruction of cpu_bundles(); returns
 * the operations of a round (2 a multiply-add). AMX is not used: panels are measured as vectors. */
uint32_t measure_int8(uint64_t rounds);

#endif
