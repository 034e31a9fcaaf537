/* SPDX-License-Identifier: Apache-2.0 */
/* The router's kernels: one source, compiled for each ISA. */
#ifndef ROUTER_INTERNAL_H
#define ROUTER_INTERNAL_H

#include "router.h"

struct router_kernels {
    /* x[i] = e^(x[i] - max x) in place; returns the sum in 16 lanes over i and a fixed tree. */
    float (*exponentials)(float *x, size_t count);
};
extern const struct router_kernels router_kernels_ref;
#if defined(__x86_64__)
extern const struct router_kernels router_kernels_avx2, router_kernels_avx512;
#endif
/* The newest set that this process may use. */
const struct router_kernels *router_kernels(void);

#endif
