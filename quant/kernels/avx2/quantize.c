/* SPDX-License-Identifier: Apache-2.0 */
/* AVX2 quantization of activations. */
#include <immintrin.h>
#include <string.h>

#include "kernels.h"

/* Eight of the group's values from `k` on; past its `count` values there are zeros. */
static inline __m256 load_values(const float *values, size_t k, size_t count) {
    if (k + 8 <= count)
        return _mm256_loadu_ps(values + k);
    float padded[8] = {0};
    if (k < count)
        memcpy(padded, values + k, (count - k) * sizeof(float));
    return _mm256_loadu_ps(padded);
}

static inline uint32_t reduce_max(__m256i lanes) {
    __m128i four = _mm_max_epu32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
    four = _mm_max_epu32(four, _mm_shuffle_epi32(four, 0x4e));
    return (uint32_t)_mm_cvtsi128_si32(_mm_max_epu32(four, _mm_shuffle_epi32(four, 0xb1)));
}

static inline int32_t reduce_add(__m256i lanes) {
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256(lanes, 1));
    four = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(four, _mm_shuffle_epi32(four, 0xb1)));
}

void quantize_avx2(const float *values, size_t cols, uint32_t group, int8_t *codes, float *scales, int32_t *sums) {
    const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
    for (size_t begin = 0; begin < cols; begin += group, codes += group, scales++, sums++) {
        size_t count = cols - begin < group ? cols - begin : group;
        __m256i largest = _mm256_setzero_si256();
        for (size_t k = 0; k < count; k += 8) {
            __m256i bits = _mm256_castps_si256(load_values(values + begin, k, count));
            largest = _mm256_max_epu32(largest, _mm256_and_si256(bits, magnitude));
        }
        struct quantize_scale scale = quantize_scale_of(reduce_max(largest));
        *scales = scale.scale;
        const __m256 inverse = _mm256_set1_ps(scale.inverse);
        __m256i sum = _mm256_setzero_si256();
        for (size_t k = 0; k < group; k += 8) {
            __m256 x = load_values(values + begin, k, scale.usable ? count : 0);
            __m256i code = _mm256_cvtps_epi32(_mm256_mul_ps(x, inverse));
            sum = _mm256_add_epi32(sum, code);
            __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(code), _mm256_extracti128_si256(code, 1));
            _mm_storel_epi64((__m128i *)(void *)(codes + k), _mm_packs_epi16(words, words));
        }
        *sums = reduce_add(sum);
    }
}
