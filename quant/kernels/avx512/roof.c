/* SPDX-License-Identifier: Apache-2.0 */
/* AVX-512 roofs. */
#include <immintrin.h>

#include "../roof_internal.h"

INLINE uint64_t read_streams(const uint8_t *data, size_t bytes, size_t streams) {
    const size_t stream = bytes / streams / ROOF_STEP_BYTES * ROOF_STEP_BYTES;
    __m512i acc[4];
    for (int i = 0; i < 4; i++)
        acc[i] = _mm512_setzero_si512();
    for (size_t at = 0; at < stream; at += ROOF_STEP_BYTES / streams) {
        _Pragma("GCC unroll 4") for (size_t i = 0; i < 4; i++) {
            const uint8_t *line = data + i % streams * stream + at + i / streams * 64;
            if (streams == 1)
                _mm_prefetch((const char *)line + PANEL_AHEAD_BYTES, _MM_HINT_T0);
            acc[i] = _mm512_xor_si512(acc[i], _mm512_loadu_si512((const void *)line));
        }
    }
    _Alignas(64) uint64_t words[8];
    _mm512_store_si512(words, _mm512_xor_si512(_mm512_xor_si512(acc[0], acc[1]), _mm512_xor_si512(acc[2], acc[3])));
    return words[0] ^ words[1] ^ words[2] ^ words[3] ^ words[4] ^ words[5] ^ words[6] ^ words[7] ^
           roof_read_ref(data + streams * stream, bytes - streams * stream, 1);
}

uint64_t roof_read_avx512(const uint8_t *data, size_t bytes, unsigned streams) {
    return ROOF_STREAMS(read_streams, data, bytes, streams);
}

/* Byte products of small codes: they gather in 16 bits for eight steps and are widened once, which is the least that a
 * dot product costs without VNNI. */
uint64_t roof_int8_avx512(uint64_t rounds) {
    enum { CHAINS = 8, STEPS = 8 };
    __m512i acc[CHAINS], a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(-5);
    for (int c = 0; c < CHAINS; c++)
        acc[c] = _mm512_setzero_si512();
    for (uint64_t i = 0; i < rounds; i++) {
        __m512i gathered[CHAINS];
        _Pragma("GCC unroll 8") for (int c = 0; c < CHAINS; c++) gathered[c] = _mm512_setzero_si512();
        _Pragma("GCC unroll 8") for (int step = 0; step < STEPS; step++) {
            _Pragma("GCC unroll 8") for (int c = 0; c < CHAINS; c++) {
                __asm__("" : "+v"(a));
                gathered[c] = _mm512_add_epi16(gathered[c], _mm512_maddubs_epi16(a, b));
                __asm__("" : "+v"(gathered[c]));
            }
        }
        _Pragma("GCC unroll 8") for (int c = 0; c < CHAINS; c++) acc[c] =
            _mm512_add_epi32(acc[c], _mm512_madd_epi16(gathered[c], _mm512_set1_epi16(1)));
    }
    for (int c = 0; c < CHAINS; c++)
        __asm__ volatile("" : : "v"(acc[c]));
    return rounds * CHAINS * STEPS * 64 * 2;
}

INLINE __m512 multiply_add(__m512 acc, __m512 a, __m512 b) {
    __asm__("vfmadd231ps %2, %1, %0" : "+v"(acc) : "v"(a), "v"(b));
    return acc;
}

ROOF_PEAK(f32_avx512, "v", 16, _mm512_set1_ps(1), _mm512_set1_ps(3), _mm512_set1_ps(0.5f), multiply_add(sum, a, b), 16)
