/* SPDX-License-Identifier: Apache-2.0 */
/* AVX-512 read roof. */
#include <immintrin.h>

#include "kernels.h"

enum { STREAMS = 4, PREFETCH_BYTES = 1024 };

uint64_t roof_read_avx512(const uint8_t *data, size_t bytes) {
    const size_t stream = bytes / STREAMS / 64 * 64;
    __m512i acc[STREAMS];
    for (int s = 0; s < STREAMS; s++)
        acc[s] = _mm512_setzero_si512();
    for (size_t at = 0; at < stream; at += 64) {
        _Pragma("GCC unroll 4") for (size_t s = 0; s < STREAMS; s++) {
            const uint8_t *line = data + s * stream + at;
            _mm_prefetch((const char *)line + PREFETCH_BYTES, _MM_HINT_T0);
            acc[s] = _mm512_xor_si512(acc[s], _mm512_loadu_si512((const void *)line));
        }
    }
    _Alignas(64) uint64_t words[8];
    _mm512_store_si512(words, _mm512_xor_si512(_mm512_xor_si512(acc[0], acc[1]), _mm512_xor_si512(acc[2], acc[3])));
    return words[0] ^ words[1] ^ words[2] ^ words[3] ^ words[4] ^ words[5] ^ words[6] ^ words[7] ^
           roof_read_ref(data + STREAMS * stream, bytes - STREAMS * stream);
}
