/* SPDX-License-Identifier: Apache-2.0 */
/* AVX-512BW unpacking of the formats whose blocks are all of one size. */
#include "expand_internal.h"

INLINE const uint8_t *unpack(number_format format, size_t block_bytes, const uint8_t *codes, uint32_t quads,
                             uint8_t *lines) {
    for (uint32_t quad = 0; quad < quads; quad += 8, codes += block_bytes)
        _Pragma("GCC unroll 8") for (unsigned q = 0; q < 8; q++)
            _mm512_store_si512(lines + (size_t)(quad + q) * PANEL_LINE, expand_quad(format, codes, q));
    return codes;
}

const uint8_t *unpack_int4_avx512(const uint8_t *codes, uint32_t quads, uint8_t *lines) {
    return unpack(FORMAT_INT4, 256, codes, quads, lines);
}

const uint8_t *unpack_int3_avx512(const uint8_t *codes, uint32_t quads, uint8_t *lines) {
    return unpack(FORMAT_INT3, 192, codes, quads, lines);
}

const uint8_t *unpack_int2_avx512(const uint8_t *codes, uint32_t quads, uint8_t *lines) {
    return unpack(FORMAT_INT2, 128, codes, quads, lines);
}

const uint8_t *unpack_int4_24_avx512(const uint8_t *codes, uint32_t quads, uint8_t *lines) {
    return unpack(FORMAT_INT4_24, 192, codes, quads, lines);
}
