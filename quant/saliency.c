/* SPDX-License-Identifier: Apache-2.0 */
/* How much a whole expert matters, and which ones to keep. */
#include <math.h>

#include "compress.h"

void saliency_add(struct expert_saliency *saliency, const float *output, size_t stride, size_t cols,
                  const float *weights, size_t tokens) {
    for (size_t t = 0; t < tokens; t++) {
        double square = 0.0;
        for (size_t i = 0; i < cols; i++)
            square += (double)output[t * stride + i] * output[t * stride + i];
        saliency->weight_sum += weights[t];
        saliency->output_sum += weights[t] * sqrt(square);
    }
    saliency->tokens += tokens;
}

/* splitmix64's finalizer: every bit of the input reaches every bit of the result. */
static uint64_t mix(uint64_t x) {
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

double saliency_score(const struct expert_saliency *saliency, saliency_method method, uint64_t seed, uint32_t layer,
                      uint32_t expert) {
    switch (method) {
    case SALIENCY_FREQUENCY:
        return (double)saliency->tokens;
    case SALIENCY_REAP:
        return saliency->tokens > 0 ? saliency->output_sum / (double)saliency->tokens : 0.0;
    case SALIENCY_RANDOM:
        break;
    }
    return (double)(mix(seed ^ mix((uint64_t)layer << 32 | expert)) >> 11);
}

void saliency_keep(const double *scores, size_t experts, size_t keep, uint8_t *ret_keep) {
    for (size_t e = 0; e < experts; e++) {
        size_t better = 0;
        for (size_t other = 0; other < experts; other++)
            better += scores[other] > scores[e] || (scores[other] == scores[e] && other < e);
        ret_keep[e] = better < keep;
    }
}
