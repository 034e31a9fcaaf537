/* SPDX-License-Identifier: Apache-2.0 */
/* C reference of activation quantization: defines the bits (contract.md, "Activations"). */
#include <math.h>

#include "kernels.h"

/* Largest |x| of a group as float bits: integer order is float order, with NaN above infinity, on every ISA alike. */
static uint32_t magnitude_bits(const float *values, size_t count) {
    uint32_t largest = 0;
    for (size_t k = 0; k < count; k++) {
        uint32_t bits = float_bits(values[k]) & 0x7fffffff;
        largest = bits > largest ? bits : largest;
    }
    return largest;
}

void quantize_ref(const float *values, size_t cols, uint32_t group, int8_t *codes, float *scales, int32_t *sums) {
    for (size_t begin = 0; begin < cols; begin += group, codes += group, scales++, sums++) {
        size_t count = cols - begin < group ? cols - begin : group;
        struct quantize_scale scale = quantize_scale_of(magnitude_bits(values + begin, count));
        *scales = scale.scale;
        *sums = 0;
        for (size_t k = 0; k < group; k++) {
            codes[k] = k < count && scale.usable ? (int8_t)nearbyintf(values[begin + k] * scale.inverse) : 0;
            *sums += codes[k];
        }
    }
}
