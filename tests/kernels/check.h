/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel checker: every kernel of kernels.def and of the tables on lanes.h that this CPU has, bit for bit against
 * its C reference. */
#ifndef CHECK_H
#define CHECK_H

#include "kernels.h"

/* Deterministic random numbers (splitmix64), so that a failure can be repeated. */
struct check_random {
    uint64_t state;
};
uint64_t check_random_u64(struct check_random *random);
size_t check_random_below(struct check_random *random, size_t limit);
/* About half ordinary values around 1, the rest zeros, tiny, huge and subnormal ones; always finite. */
float check_random_float(struct check_random *random);

/* Zeroed memory before a page that may not be touched: `bytes` bytes on `alignment` (a power of two), ending less than
 * that before the page. Ends the program when memory is short. */
struct guarded {
    uint8_t *data;
    size_t bytes;
    void *map;
    size_t map_bytes;
};
struct guarded guarded_alloc(size_t bytes, size_t alignment);
void guarded_free(struct guarded *guarded);

/* One comparison: same bits, any NaN equal to any NaN. On a difference prints slot, isa and `what` and returns
 * false. */
bool check_floats(const struct kernel_entry *entry, const char *what, const float *expected, const float *got,
                  size_t count);
bool check_bytes(const struct kernel_entry *entry, const char *what, const void *expected, const void *got,
                 size_t bytes);

/* Each compares one kernel with the reference of its slot over many cases and returns how many failed. */
typedef unsigned check_fn(const struct kernel_entry *entry, const struct kernel_table *reference);
check_fn check_product_rows;
check_fn check_quantize;
check_fn check_unpack;
check_fn check_few;
check_fn check_many;
check_fn check_roof_read;
check_fn check_roof_peak;

/* What was checked of one ISA. */
struct check_outcome {
    unsigned passed, failed, absent;
};
/* The kernels of the forward pass, the experts and the router, which have tables of their own. */
void check_lanes(const char *isa, struct check_outcome *outcome);

/* Kernels whose instructions are emulated in C, under an ISA name that says so. */
extern const struct kernel_entry emulated_entries[];
extern const size_t emulated_entries_count;

#endif
