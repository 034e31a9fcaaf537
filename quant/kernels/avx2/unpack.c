/* SPDX-License-Identifier: Apache-2.0 */
/* AVX2 unpacking of every packed format. */
#include <string.h>

#include "mask_internal.h"

const uint8_t *unpack_int8_avx2(const uint8_t *codes, uint32_t quads, uint8_t *lines) {
    memcpy(lines, codes, (size_t)quads * PANEL_LINE);
    return codes + (size_t)quads * PANEL_LINE;
}

INLINE const uint8_t *unpack(number_format format, size_t block_bytes, const uint8_t *codes, uint32_t quads,
                             uint8_t *lines) {
    for (uint32_t quad = 0; quad < quads; quad += 8, codes += block_bytes, lines += (size_t)8 * PANEL_LINE) {
        _Pragma("GCC unroll 8") for (unsigned q = 0; q < 8; q++) {
            __m256i *to = (__m256i *)(void *)(lines + q * PANEL_LINE);
            _mm256_store_si256(to, expand_half(format, codes, q));
            _mm256_store_si256(to + 1, expand_half(format, codes + HALF_LINE, q));
        }
    }
    return codes;
}

const uint8_t *unpack_int4_avx2(const uint8_t *codes, uint32_t quads, uint8_t *lines) {
    return unpack(FORMAT_INT4, 256, codes, quads, lines);
}

const uint8_t *unpack_int3_avx2(const uint8_t *codes, uint32_t quads, uint8_t *lines) {
    return unpack(FORMAT_INT3, 192, codes, quads, lines);
}

const uint8_t *unpack_int2_avx2(const uint8_t *codes, uint32_t quads, uint8_t *lines) {
    return unpack(FORMAT_INT2, 128, codes, quads, lines);
}

const uint8_t *unpack_int4_24_avx2(const uint8_t *codes, uint32_t quads, uint8_t *lines) {
    return unpack(FORMAT_INT4_24, 192, codes, quads, lines);
}

/* Byte shuffle controls of a lane of 4: `spread[mask]` moves the lane's first bytes to the positions that the four mask
 * bits keep, `spread_last[mask]` its last ones. */
INLINE __m256i spread_control(__m256i mask, bool last) {
    const __m256i low = last ? _mm256_setr_epi32((int)0x80808080, (int)0x80808003, (int)0x80800380, (int)0x80800302,
                                                 (int)0x80038080, (int)0x80038002, (int)0x80030280, (int)0x80030201)
                             : _mm256_setr_epi32((int)0x80808080, (int)0x80808000, (int)0x80800080, (int)0x80800100,
                                                 (int)0x80008080, (int)0x80018000, (int)0x80010080, (int)0x80020100);
    const __m256i high = last ? _mm256_setr_epi32((int)0x03808080, (int)0x03808002, (int)0x03800280, (int)0x03800201,
                                                  (int)0x03028080, (int)0x03028001, (int)0x03020180, (int)0x03020100)
                              : _mm256_setr_epi32((int)0x00808080, (int)0x01808000, (int)0x01800080, (int)0x02800100,
                                                  (int)0x01008080, (int)0x02018000, (int)0x02010080, (int)0x03020100);
    __m256 pick = _mm256_castsi256_ps(_mm256_slli_epi32(mask, 28)); /* bit 3 of the mask as the sign */
    return _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(_mm256_permutevar8x32_epi32(low, mask)),
                                                _mm256_castsi256_ps(_mm256_permutevar8x32_epi32(high, mask)), pick));
}

/* 4:8: of the four kept codes of a row and octet the first belong to the first quad, the last to the second. */
const uint8_t *unpack_int4_48_avx2(const uint8_t *codes, uint32_t quads, uint8_t *lines) {
    const __m256i lanes = _mm256_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c, 0, 0x04040404, 0x08080808,
                                            0x0c0c0c0c);
    const __m256i eight = _mm256_set1_epi8(8), nibble = _mm256_set1_epi8(15);
    for (uint32_t quad = 0; quad < quads; quad += 2, lines += (size_t)2 * PANEL_LINE) {
        const uint8_t *block = codes + (size_t)quad / 8 * 3 * PANEL_LINE;
        const size_t octet = quad % 8 / 2;
        __m256i both = load_half(block + PANEL_LINE + octet * 32);
        for (unsigned half = 0; half < 2; half++) {
            __m256i values = _mm256_and_si256(half ? _mm256_srli_epi32(both, 4) : both, nibble);
            __m256i mask = _mm256_cvtepu8_epi32(
                _mm_loadl_epi64((const __m128i *)(const void *)(block + octet * 16 + half * 8)));
            __m256i first = _mm256_or_si256(spread_control(mask, false), lanes);
            __m256i second = _mm256_or_si256(spread_control(_mm256_srli_epi32(mask, 4), true), lanes);
            values = _mm256_xor_si256(values, eight);
            __m256i *to = (__m256i *)(void *)(lines + half * HALF_LINE);
            _mm256_store_si256(to, _mm256_xor_si256(_mm256_shuffle_epi8(values, first), eight));
            _mm256_store_si256(to + 2, _mm256_xor_si256(_mm256_shuffle_epi8(values, second), eight));
        }
    }
    return codes + (size_t)quads / 8 * 3 * PANEL_LINE;
}

const uint8_t *unpack_int4_mask_avx2(const uint8_t *codes, uint32_t quads, uint8_t *lines) {
    const uint8_t *nibbles[2] = {codes + (size_t)quads * 8, codes + (size_t)quads * 8};
    for (size_t quad = 0; quad < quads; quad += 4) {
        const unsigned half = quad >= quads / 2;
        const uint8_t *masks = codes + quad * 8;
        struct mask_rows rows = mask_rows(masks);
        _Pragma("GCC unroll 2") for (unsigned pair = 0; pair < 2; pair++) {
            __m256i control[4];
            mask_controls(&rows, pair, control);
            _Pragma("GCC unroll 2") for (unsigned i = 0; i < 2; i++) {
                __m256i w[2];
                nibbles[half] = mask_quad(masks + (2 * pair + i) * 8, nibbles[half], half, control + 2 * i, w);
                _mm256_store_si256((__m256i *)(void *)lines, w[0]);
                _mm256_store_si256((__m256i *)(void *)(lines + HALF_LINE), w[1]);
                lines += PANEL_LINE;
            }
        }
    }
    return nibbles[0] > nibbles[1] ? nibbles[0] : nibbles[1];
}
