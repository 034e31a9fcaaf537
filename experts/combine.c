/* SPDX-License-Identifier: Apache-2.0 */
/* The sum over a token's experts, in slot order, and the choice of the kernels behind it. */
#include "experts_internal.h"

const struct expert_kernels *expert_kernels(void) {
#if defined(__x86_64__)
    uint32_t bundles = cpu_bundles();
    if (bundles & CPU_AVX512)
        return &expert_kernels_avx512;
    if (bundles & CPU_AVX2)
        return &expert_kernels_avx2;
#endif
    return &expert_kernels_ref;
}

void expert_combine(float *io, size_t cols, const float *rows, const uint32_t *place, const float *weight, uint32_t k,
                    const float *shared, float gate) {
    expert_kernels()->combine(io, cols, rows, place, weight, k, shared, gate);
}

void expert_add(float *io, const float *x, size_t cols) { expert_kernels()->add(io, x, cols); }
