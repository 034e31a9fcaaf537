/* SPDX-License-Identifier: Apache-2.0 */
/* The softmax gate: probabilities over all experts, the k largest, and the weights with which they are applied. */
#include "router_internal.h"

const struct router_kernels *router_kernels(void) {
#if defined(__x86_64__)
    uint32_t bundles = cpu_bundles();
    if (bundles & CPU_AVX512)
        return &router_kernels_avx512;
    if (bundles & CPU_AVX2)
        return &router_kernels_avx2;
#endif
    return &router_kernels_ref;
}

/* Choosing by logits is choosing by probabilities, but for ties that rounding would make. */
void router_choose(const struct router_gate *gate, float *logits, uint32_t *ret_experts, float *ret_weights) {
    router_top_k(logits, gate->experts, gate->top_k, ret_experts);
    float total = router_kernels()->exponentials(logits, gate->experts), chosen = 0.0f;
    for (uint32_t i = 0; i < gate->top_k; i++) {
        ret_weights[i] = logits[ret_experts[i]] / total;
        chosen += ret_weights[i];
    }
    if (gate->renormalize)
        for (uint32_t i = 0; i < gate->top_k; i++)
            ret_weights[i] /= chosen;
}
