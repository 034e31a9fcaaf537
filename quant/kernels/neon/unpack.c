/* SPDX-License-Identifier: Apache-2.0 */
/* NEON unpacking of every packed format, 16 bytes (4 rows of a quad) at a time. */
#include <arm_neon.h>
#include <string.h>

#include "kernels.h"

enum { QUARTERS = 4, QUARTER = 16 };

const uint8_t *unpack_int8_neon(const uint8_t *codes, uint32_t quads, uint8_t *lines) {
    memcpy(lines, codes, (size_t)quads * PANEL_LINE);
    return codes + (size_t)quads * PANEL_LINE;
}

const uint8_t *unpack_int4_neon(const uint8_t *codes, uint32_t quads, uint8_t *lines) {
    for (uint32_t quad = 0; quad < quads; quad += 2, lines += 2 * PANEL_LINE, codes += PANEL_LINE) {
        for (int i = 0; i < QUARTERS; i++) {
            uint8x16_t both = vld1q_u8(codes + i * QUARTER);
            vst1q_u8(lines + i * QUARTER, vandq_u8(both, vdupq_n_u8(15)));
            vst1q_u8(lines + PANEL_LINE + i * QUARTER, vshrq_n_u8(both, 4));
        }
    }
    return codes;
}

/* Two bits of each of four quads. */
static inline void unpack_low_bits(const uint8_t *codes, uint8x16_t *ret_quads) {
    uint8x16_t all = vld1q_u8(codes);
    const uint8x16_t mask = vdupq_n_u8(3);
    ret_quads[0] = vandq_u8(all, mask);
    ret_quads[1] = vandq_u8(vshrq_n_u8(all, 2), mask);
    ret_quads[2] = vandq_u8(vshrq_n_u8(all, 4), mask);
    ret_quads[3] = vshrq_n_u8(all, 6);
}

const uint8_t *unpack_int2_neon(const uint8_t *codes, uint32_t quads, uint8_t *lines) {
    for (uint32_t quad = 0; quad < quads; quad += 4, lines += 4 * PANEL_LINE, codes += PANEL_LINE) {
        for (int i = 0; i < QUARTERS; i++) {
            uint8x16_t low[4];
            unpack_low_bits(codes + i * QUARTER, low);
            for (int q = 0; q < 4; q++)
                vst1q_u8(lines + q * PANEL_LINE + i * QUARTER, low[q]);
        }
    }
    return codes;
}

const uint8_t *unpack_int3_neon(const uint8_t *codes, uint32_t quads, uint8_t *lines) {
    const uint8x16_t bit = vdupq_n_u8(4);
    for (uint32_t quad = 0; quad < quads; quad += 8, lines += 8 * PANEL_LINE, codes += 3 * PANEL_LINE) {
        for (int i = 0; i < QUARTERS; i++) {
            uint8x16_t low[8], third = vld1q_u8(codes + 2 * PANEL_LINE + i * QUARTER);
            unpack_low_bits(codes + i * QUARTER, low);
            unpack_low_bits(codes + PANEL_LINE + i * QUARTER, low + 4);
            for (int q = 0; q < 8; q++) {
                uint8x16_t moved = vshlq_u8(third, vdupq_n_s8((int8_t)(2 - q)));
                vst1q_u8(lines + q * PANEL_LINE + i * QUARTER, vorrq_u8(low[q], vandq_u8(moved, bit)));
            }
        }
    }
    return codes;
}

/* Where the bytes of a lane of 4 come from: its first bytes to the positions that a rank (2:4) or four mask bits (4:8)
 * keep, its last bytes in `last_of_mask`; 255 reads as zero. */
static const uint8_t pair_of_rank[32] = {0,   1,   255, 255, 0,   255, 1,   255, 0,   255, 255, 1,   255, 0,   1,   255,
                                         255, 0,   255, 1,   255, 255, 0,   1,   255, 255, 0,   1,   255, 255, 0,   1};
static const uint8_t first_of_mask[64] = {
    255, 255, 255, 255, 0, 255, 255, 255, 255, 0, 255, 255, 0, 1, 255, 255, 255, 255, 0, 255, 0, 255, 1, 255, 255, 0, 1,
    255, 0,   1,   2,   255, 255, 255, 255, 0, 0, 255, 255, 1, 255, 0, 255, 1, 0, 1, 255, 2, 255, 255, 0, 1, 0, 255,
    1,   2,   255, 0,   1, 2, 0, 1, 2, 3};
static const uint8_t last_of_mask[64] = {
    255, 255, 255, 255, 3, 255, 255, 255, 255, 3, 255, 255, 2, 3, 255, 255, 255, 255, 3, 255, 2, 255, 3, 255, 255, 2, 3,
    255, 1,   2,   3,   255, 255, 255, 255, 3, 2, 255, 255, 3, 255, 2, 255, 3, 1, 2, 255, 3, 255, 255, 2, 3, 1, 255,
    2,   3,   255, 1,   2, 3, 0, 1, 2, 3};

/* 4 x the key of each lane of 4 (in its lowest byte) + 0..3: where the lane's entry stands in a table above. */
static inline uint8x16_t table_index(uint32x4_t keys) {
    const uint8x16_t step = vreinterpretq_u8_u32(vdupq_n_u32(0x03020100));
    return vaddq_u8(vreinterpretq_u8_u32(vmulq_n_u32(keys, 0x04040404)), step);
}

/* The lane's bytes of `values` in the places that `control` says, and 8 where there is none. */
static inline uint8x16_t spread(uint8x16_t values, uint8x16_t control) {
    const uint8x16_t lanes = vreinterpretq_u8_u64(vcombine_u64(vcreate_u64(UINT64_C(0x0404040400000000)),
                                                               vcreate_u64(UINT64_C(0x0c0c0c0c08080808))));
    const uint8x16_t eight = vdupq_n_u8(8);
    uint8x16_t index = vqaddq_u8(control, lanes); /* 255 stays */
    return veorq_u8(vqtbl1q_u8(veorq_u8(values, eight), index), eight);
}

const uint8_t *unpack_int4_24_neon(const uint8_t *codes, uint32_t quads, uint8_t *lines) {
    const uint8x16x2_t table = {{vld1q_u8(pair_of_rank), vld1q_u8(pair_of_rank + 16)}};
    const uint8x16_t nibble = vdupq_n_u8(15), eight = vdupq_n_u8(8);
    for (uint32_t quad = 0; quad < quads; quad++, lines += PANEL_LINE) {
        const uint8_t *block = codes + (size_t)quad / 8 * 3 * PANEL_LINE;
        const unsigned q = quad % 8;
        for (int i = 0; i < QUARTERS; i++) {
            uint32x4_t ranks = vreinterpretq_u32_u8(vld1q_u8(block + i * QUARTER));
            ranks = vandq_u32(vshlq_u32(ranks, vdupq_n_s32(-(int32_t)(4 * q))), vdupq_n_u32(7));
            uint8x16_t control = vqtbl2q_u8(table, table_index(ranks));
            uint8x16_t values = vld1q_u8(block + PANEL_LINE * (1 + q / 4) + i * QUARTER);
            values = veorq_u8(q % 4 >= 2 ? vshrq_n_u8(values, 4) : vandq_u8(values, nibble), eight);
            if (q % 2) /* the upper two bytes of the lane */
                values = vreinterpretq_u8_u32(vshrq_n_u32(vreinterpretq_u32_u8(values), 16));
            vst1q_u8(lines + i * QUARTER, spread(values, control));
        }
    }
    return codes + (size_t)quads / 8 * 3 * PANEL_LINE;
}

const uint8_t *unpack_int4_48_neon(const uint8_t *codes, uint32_t quads, uint8_t *lines) {
    const uint8x16x4_t first = {{vld1q_u8(first_of_mask), vld1q_u8(first_of_mask + 16), vld1q_u8(first_of_mask + 32),
                                 vld1q_u8(first_of_mask + 48)}};
    const uint8x16x4_t last = {{vld1q_u8(last_of_mask), vld1q_u8(last_of_mask + 16), vld1q_u8(last_of_mask + 32),
                                vld1q_u8(last_of_mask + 48)}};
    for (uint32_t quad = 0; quad < quads; quad += 2, lines += 2 * PANEL_LINE) {
        const uint8_t *block = codes + (size_t)quad / 8 * 3 * PANEL_LINE, *masks = block + quad % 8 / 2 * 16;
        for (int i = 0; i < QUARTERS; i++) {
            uint8x16_t values = vld1q_u8(block + PANEL_LINE + quad % 8 / 2 * 32 + i % 2 * QUARTER);
            values = i < 2 ? vandq_u8(values, vdupq_n_u8(15)) : vshrq_n_u8(values, 4);
            uint32_t four;
            memcpy(&four, masks + 4 * i, sizeof four);
            uint32x4_t mask = vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(four))));
            vst1q_u8(lines + i * QUARTER,
                     spread(values, vqtbl4q_u8(first, table_index(vandq_u32(mask, vdupq_n_u32(15))))));
            vst1q_u8(lines + PANEL_LINE + i * QUARTER,
                     spread(values, vqtbl4q_u8(last, table_index(vshrq_n_u32(mask, 4)))));
        }
    }
    return codes + (size_t)quads / 8 * 3 * PANEL_LINE;
}

/* One quad of the bitmask format, 4 codes a step; returns where its nibbles end. */
static inline const uint8_t *unpack_masked(const uint8_t *mask, const uint8_t *nibbles, unsigned half, uint8_t *line) {
    for (unsigned i = 0; i < PANEL_ROWS; i++) {
        const unsigned bits = mask[i / 2] >> i % 2 * 4 & 15;
        for (unsigned k = 0; k < 4; k++) {
            uint8_t from = first_of_mask[bits * 4 + k];
            line[4 * i + k] = from < 4 ? nibbles[from] >> half * 4 & 15 : 8;
        }
        nibbles += __builtin_popcount(bits);
    }
    return nibbles;
}

const uint8_t *unpack_int4_mask_neon(const uint8_t *codes, uint32_t quads, uint8_t *lines) {
    const uint8_t *low = codes + (size_t)quads * 8, *high = low;
    const size_t half = quads / 2;
    for (size_t quad = 0; quad < half; quad++) {
        low = unpack_masked(codes + quad * 8, low, 0, lines + quad * PANEL_LINE);
        high = unpack_masked(codes + (quad + half) * 8, high, 1, lines + (quad + half) * PANEL_LINE);
    }
    return low > high ? low : high;
}
