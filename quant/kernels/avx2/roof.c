/* SPDX-License-Identifier: Apache-2.0 */
/* AVX2 roofs. */
#include <immintrin.h>

#include "../roof_internal.h"

INLINE uint64_t read_streams(const uint8_t *data, size_t bytes, size_t streams) {
    const size_t stream = bytes / streams / ROOF_STEP_BYTES * ROOF_STEP_BYTES;
    __m256i acc[4][2];
    for (int i = 0; i < 4; i++)
        acc[i][0] = acc[i][1] = _mm256_setzero_si256();
    for (size_t at = 0; at < stream; at += ROOF_STEP_BYTES / streams) {
        _Pragma("GCC unroll 4") for (size_t i = 0; i < 4; i++) {
            const uint8_t *line = data + i % streams * stream + at + i / streams * 64;
            if (streams == 1)
                _mm_prefetch((const char *)line + PANEL_AHEAD_BYTES, _MM_HINT_T0);
            acc[i][0] = _mm256_xor_si256(acc[i][0], _mm256_loadu_si256((const __m256i *)(const void *)line));
            acc[i][1] = _mm256_xor_si256(acc[i][1], _mm256_loadu_si256((const __m256i *)(const void *)(line + 32)));
        }
    }
    for (int i = 1; i < 4; i++) {
        acc[0][0] = _mm256_xor_si256(acc[0][0], acc[i][0]);
        acc[0][1] = _mm256_xor_si256(acc[0][1], acc[i][1]);
    }
    _Alignas(32) uint64_t words[4];
    _mm256_store_si256((__m256i *)(void *)words, _mm256_xor_si256(acc[0][0], acc[0][1]));
    return words[0] ^ words[1] ^ words[2] ^ words[3] ^
           roof_read_ref(data + streams * stream, bytes - streams * stream, 1);
}

uint64_t roof_read_avx2(const uint8_t *data, size_t bytes, unsigned streams) {
    return ROOF_STREAMS(read_streams, data, bytes, streams);
}

/* Byte products of small codes: they gather in 16 bits for eight steps and are widened once, which is the least that a
 * dot product costs without VNNI. */
uint64_t roof_int8_avx2(uint64_t rounds) {
    enum { CHAINS = 6, STEPS = 8 };
    __m256i acc[CHAINS], a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(-5);
    const __m256i ones = _mm256_set1_epi16(1);
    for (int c = 0; c < CHAINS; c++)
        acc[c] = _mm256_setzero_si256();
    for (uint64_t i = 0; i < rounds; i++) {
        __m256i gathered[CHAINS];
        _Pragma("GCC unroll 6") for (int c = 0; c < CHAINS; c++) gathered[c] = _mm256_setzero_si256();
        _Pragma("GCC unroll 8") for (int step = 0; step < STEPS; step++) {
            _Pragma("GCC unroll 6") for (int c = 0; c < CHAINS; c++) {
                __asm__("" : "+x"(a));
                gathered[c] = _mm256_add_epi16(gathered[c], _mm256_maddubs_epi16(a, b));
                __asm__("" : "+x"(gathered[c]));
            }
        }
        _Pragma("GCC unroll 6") for (int c = 0; c < CHAINS; c++) acc[c] =
            _mm256_add_epi32(acc[c], _mm256_madd_epi16(gathered[c], ones));
    }
    for (int c = 0; c < CHAINS; c++)
        __asm__ volatile("" : : "x"(acc[c]));
    return rounds * CHAINS * STEPS * 32 * 2;
}

INLINE __m256 multiply_add(__m256 acc, __m256 a, __m256 b) {
    __asm__("vfmadd231ps %2, %1, %0" : "+x"(acc) : "x"(a), "x"(b));
    return acc;
}

ROOF_PEAK(f32_avx2, "x", 12, _mm256_set1_ps(1), _mm256_set1_ps(3), _mm256_set1_ps(0.5f), multiply_add(sum, a, b), 8)
