/* SPDX-License-Identifier: Apache-2.0 */
/* The INT8 form of activations: where it lies in the caller's scratch, and filling it. */
#include "kernels.h"

/* Codes of all tokens, rounded up to a line, then scales, then sums. */
size_t activations_bytes(size_t tokens, size_t cols, uint32_t group) {
    size_t groups = (size_t)quant_rows_groups(cols, group), codes, factors;
    if (!size_mul(groups * group, tokens, &codes) || !size_mul(groups * sizeof(float), tokens, &factors) ||
        codes > SIZE_MAX / 4 || factors > SIZE_MAX / 8)
        return SIZE_MAX;
    return size_round_up(codes, 64) + 2 * size_round_up(factors, 64);
}

void activations_bind(struct activations *activations, uint32_t group, void *scratch) {
    size_t groups = (size_t)quant_rows_groups(activations->cols, group);
    size_t codes = size_round_up(groups * group * activations->tokens, 64);
    size_t factors = size_round_up(groups * sizeof(float) * activations->tokens, 64);
    activations->group = group;
    activations->k_padded = groups * group;
    activations->codes = scratch;
    activations->scales = (float *)(void *)((uint8_t *)scratch + codes);
    activations->sums = (int32_t *)(void *)((uint8_t *)scratch + codes + factors);
}

void activations_quantize(struct activations *activations, size_t begin, size_t end) {
    kernel_quantize_fn *quantize = kernels()->quantize;
    size_t groups = activations->k_padded / activations->group;
    for (size_t t = begin; t < end; t++)
        quantize(activations->values + t * activations->stride, activations->cols, activations->group,
                 activations->codes + t * activations->k_padded, activations->scales + t * groups,
                 activations->sums + t * groups);
}
