/* SPDX-License-Identifier: Apache-2.0 */
/* AVX-512BW unpacking of the formats whose blocks are all of one size, and of the bitmask format. */
#include "mask_internal.h"

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

const uint8_t *unpack_int4_mask_avx512(const uint8_t *codes, uint32_t quads, uint8_t *lines) {
    const __m512i nibble = _mm512_set1_epi8(15);
    const uint8_t *nibbles[2] = {codes + (size_t)quads * 8, codes + (size_t)quads * 8};
    for (size_t quad = 0; quad < quads / 2; quad += 4) {
        struct mask_rows rows = mask_rows(codes + quad * 8, codes + (quad + quads / 2) * 8);
        _Pragma("GCC unroll 2") for (unsigned half = 0; half < 2; half++) {
            const size_t first = quad + half * (quads / 2);
            __m512i control[4];
            mask_controls(&rows, half, control);
            _Pragma("GCC unroll 4") for (unsigned q = 0; q < 4; q++) {
                __m512i both = mask_quad(codes + (first + q) * 8, &nibbles[half], control[q]);
                _mm512_store_si512(lines + (first + q) * PANEL_LINE,
                                   _mm512_and_si512(half ? _mm512_srli_epi16(both, 4) : both, nibble));
            }
        }
    }
    return nibbles[0] > nibbles[1] ? nibbles[0] : nibbles[1];
}
