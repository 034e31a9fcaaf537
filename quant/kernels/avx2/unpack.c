/* SPDX-License-Identifier: Apache-2.0 */
/* AVX2 unpacking of every packed format. */
#include <string.h>

#include "expand_internal.h"

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

/* Bitmask format: which of a row's kept codes stands at place i, by the row's four mask bits; 0x80: pruned. */
static const uint8_t rank_of_mask[4][16] = {
    {0x80, 0, 0x80, 0, 0x80, 0, 0x80, 0, 0x80, 0, 0x80, 0, 0x80, 0, 0x80, 0},
    {0x80, 0x80, 0, 1, 0x80, 0x80, 0, 1, 0x80, 0x80, 0, 1, 0x80, 0x80, 0, 1},
    {0x80, 0x80, 0x80, 0x80, 0, 1, 1, 2, 0x80, 0x80, 0x80, 0x80, 0, 1, 1, 2},
    {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0, 1, 1, 2, 1, 2, 2, 3},
};
static const uint8_t kept_of_mask[16] = {0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4};

INLINE __m256i table(const uint8_t *bytes) { /* twice */
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)bytes));
}

/* The four mask bits of each row of two quads, a byte each: rows 0-3 and 8-11 of both in the lower 128 bits, the others
 * in the upper. */
INLINE __m256i mask_nibbles(const uint8_t *first, const uint8_t *second) {
    const __m256i order = _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 0, 0, 0, 0, 0, 0, 0, 0, 2, 3, 6, 7, 10, 11, 14, 15,
                                           0, 0, 0, 0, 0, 0, 0, 0);
    const __m256i nibble = _mm256_set1_epi8(15);
    __m128i both = _mm_unpacklo_epi64(_mm_loadl_epi64((const __m128i *)(const void *)first),
                                      _mm_loadl_epi64((const __m128i *)(const void *)second));
    __m256i rows = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(both), order);
    return _mm256_unpacklo_epi8(_mm256_and_si256(rows, nibble),
                                _mm256_and_si256(_mm256_srli_epi16(rows, 4), nibble));
}

/* Byte shuffles that bring the kept codes of four rows, as they follow each other, to their places: ret[0] for the rows
 * 0-7 of the first quad, ret[1] for the rows 8-15, ret[2] and ret[3] for the second quad. */
INLINE void mask_controls(__m256i masks, __m256i ret[4]) {
    /* Kept codes of the rows before, among the four. */
    __m256i before = _mm256_slli_epi32(_mm256_shuffle_epi8(table(kept_of_mask), masks), 8);
    before = _mm256_add_epi8(_mm256_add_epi8(before, _mm256_slli_epi32(before, 8)), _mm256_slli_epi32(before, 16));
    __m256i plane[4];
    _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++) plane[i] =
        _mm256_add_epi8(_mm256_shuffle_epi8(table(rank_of_mask[i]), masks), before);
    __m256i low[2] = {_mm256_unpacklo_epi8(plane[0], plane[1]), _mm256_unpackhi_epi8(plane[0], plane[1])};
    __m256i high[2] = {_mm256_unpacklo_epi8(plane[2], plane[3]), _mm256_unpackhi_epi8(plane[2], plane[3])};
    _Pragma("GCC unroll 2") for (int i = 0; i < 2; i++) {
        ret[2 * i] = _mm256_unpacklo_epi16(low[i], high[i]);
        ret[2 * i + 1] = _mm256_unpackhi_epi16(low[i], high[i]);
    }
}

/* Eight rows, whose codes start at `first` (rows 0-3) and `second`; nibbles of the group's half. */
INLINE void unpack_eight_rows(const uint8_t *first, const uint8_t *second, unsigned half, __m256i control,
                              uint8_t *to) {
    const __m256i eight = _mm256_set1_epi8(8), nibble = _mm256_set1_epi8(15);
    __m256i codes = _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)first)),
        _mm_loadu_si128((const __m128i *)(const void *)second), 1);
    codes = _mm256_xor_si256(_mm256_and_si256(half ? _mm256_srli_epi16(codes, 4) : codes, nibble), eight);
    _mm256_store_si256((__m256i *)(void *)to, _mm256_xor_si256(_mm256_shuffle_epi8(codes, control), eight));
}

/* One quad; returns where its nibbles end. */
INLINE const uint8_t *unpack_masked(const uint8_t *mask, const uint8_t *nibbles, unsigned half,
                                    const __m256i *control, uint8_t *line) {
    uint64_t bits;
    memcpy(&bits, mask, sizeof bits);
    const uint8_t *third = nibbles + __builtin_popcountll(bits & UINT32_MAX);
    unpack_eight_rows(nibbles, nibbles + __builtin_popcountll(bits & UINT16_MAX), half, control[0], line);
    unpack_eight_rows(third, third + __builtin_popcountll(bits >> 32 & UINT16_MAX), half, control[1], line + HALF_LINE);
    return nibbles + __builtin_popcountll(bits);
}

const uint8_t *unpack_int4_mask_avx2(const uint8_t *codes, uint32_t quads, uint8_t *lines) {
    const uint8_t *low = codes + (size_t)quads * 8, *high = low;
    const size_t half = quads / 2;
    for (size_t quad = 0; quad < half; quad++) {
        const uint8_t *first = codes + quad * 8, *second = first + half * 8;
        __m256i control[4];
        mask_controls(mask_nibbles(first, second), control);
        low = unpack_masked(first, low, 0, control, lines + quad * PANEL_LINE);
        high = unpack_masked(second, high, 1, control + 2, lines + (quad + half) * PANEL_LINE);
    }
    return low > high ? low : high;
}
