/* SPDX-License-Identifier: Apache-2.0 */
/* AVX-512 quantization of activations. */
#include <immintrin.h>

#include "kernels.h"

static inline __mmask16 lanes_below(size_t count) {
    return count >= 16 ? (__mmask16)0xffff : (__mmask16)((1u << count) - 1);
}

void quantize_avx512(const float *values, size_t cols, uint32_t group, int8_t *codes, float *scales, int32_t *sums) {
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    for (size_t begin = 0; begin < cols; begin += group, codes += group, scales++, sums++) {
        size_t count = cols - begin < group ? cols - begin : group;
        __m512i largest = _mm512_setzero_si512();
        for (size_t k = 0; k < count; k += 16) {
            __m512i bits = _mm512_maskz_loadu_epi32(lanes_below(count - k), values + begin + k);
            largest = _mm512_max_epu32(largest, _mm512_and_si512(bits, magnitude));
        }
        struct quantize_scale scale = quantize_scale_of(_mm512_reduce_max_epu32(largest));
        *scales = scale.scale;
        const __m512 inverse = _mm512_set1_ps(scale.inverse);
        __m512i sum = _mm512_setzero_si512();
        for (size_t k = 0; k < group; k += 16) {
            __mmask16 lanes = k < count && scale.usable ? lanes_below(count - k) : (__mmask16)0;
            __m512 x = _mm512_maskz_loadu_ps(lanes, values + begin + k);
            __m512i code = _mm512_cvtps_epi32(_mm512_mul_ps(x, inverse));
            sum = _mm512_add_epi32(sum, code);
            _mm_storeu_si128((__m128i *)(void *)(codes + k), _mm512_cvtepi32_epi8(code));
        }
        *sums = _mm512_reduce_add_epi32(sum);
    }
}
