/* SPDX-License-Identifier: Apache-2.0 */
/* C reference of the roofs: reading memory, and multiply-adds of INT8 and of floats without any memory. */
#include <math.h>
#include <string.h>

#include "kernels.h"

uint64_t roof_read_ref(const uint8_t *data, size_t bytes, unsigned streams) {
    uint64_t result = 0;
    (void)streams;
    for (size_t i = 0; i < bytes; i += sizeof result) {
        uint64_t word;
        memcpy(&word, data + i, sizeof word);
        result ^= word;
    }
    return result;
}

uint64_t roof_int8_ref(uint64_t rounds) {
    volatile int8_t code = 3;
    int8_t a = code, b = code;
    int32_t sums[8] = {0};
    for (uint64_t i = 0; i < rounds; i++) {
        for (unsigned s = 0; s < 8; s++)
            sums[s] = (int32_t)((uint32_t)sums[s] + (uint32_t)(a * b));
        __asm__ volatile("" : "+r"(a), "+r"(b));
    }
    volatile int32_t sink = sums[0] ^ sums[1] ^ sums[2] ^ sums[3] ^ sums[4] ^ sums[5] ^ sums[6] ^ sums[7];
    (void)sink;
    return rounds * 8 * 2;
}

uint64_t roof_f32_ref(uint64_t rounds) {
    volatile float value = 0.5f;
    float a = value, b = value, sums[8] = {0};
    for (uint64_t i = 0; i < rounds; i++)
        for (unsigned s = 0; s < 8; s++)
            sums[s] = fmaf(a, b, sums[s]);
    volatile float sink = sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7];
    (void)sink;
    return rounds * 8 * 2;
}
