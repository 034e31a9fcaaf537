/* SPDX-License-Identifier: Apache-2.0 */
/* The program's allocator under the test's hand: it counts, fails one request on demand, and knows what was not
 * freed. */
#ifndef ALLOCATIONS_H
#define ALLOCATIONS_H

#include <stdbool.h>
#include <stddef.h>

/* Counted are the requests of this program (the library is linked into it), of jansson, PCRE2 and (without sanitizers)
 * libc. What hwloc, libgomp and the dynamic linker ask for always succeeds: they end the process on failure, or ignore
 * it. */
void allocations_fail_at(size_t n); /* the n-th counted request from now on fails, once; 0: none does */
bool allocations_failed(void);      /* whether it did */
size_t allocations_counted(void);   /* requests since the program began */
size_t allocations_live(void);      /* blocks of counted requests that were not freed */

#endif
