/* SPDX-License-Identifier: Apache-2.0 */
/* C reference of unpacking: one group's codes to lines [quads][16 rows][4 k] of stored codes (contract.md,
 * "Unpack"). */
#include <string.h>

#include "kernels.h"

const uint8_t *unpack_int8_ref(const uint8_t *codes, uint32_t quads, uint8_t *lines) {
    memcpy(lines, codes, (size_t)quads * PANEL_LINE);
    return codes + (size_t)quads * PANEL_LINE;
}

const uint8_t *unpack_int4_ref(const uint8_t *codes, uint32_t quads, uint8_t *lines) {
    for (uint32_t quad = 0; quad < quads; quad++)
        for (unsigned b = 0; b < PANEL_LINE; b++)
            lines[quad * PANEL_LINE + b] = codes[quad / 2 * PANEL_LINE + b] >> quad % 2 * 4 & 15;
    return codes + (size_t)quads / 2 * PANEL_LINE;
}

const uint8_t *unpack_int3_ref(const uint8_t *codes, uint32_t quads, uint8_t *lines) {
    for (uint32_t quad = 0; quad < quads; quad++) {
        const uint8_t *block = codes + (size_t)quad / 8 * 3 * PANEL_LINE;
        unsigned q = quad % 8;
        for (unsigned b = 0; b < PANEL_LINE; b++)
            lines[quad * PANEL_LINE + b] = (uint8_t)((block[q / 4 * PANEL_LINE + b] >> q % 4 * 2 & 3) |
                                                     (block[2 * PANEL_LINE + b] >> q & 1) << 2);
    }
    return codes + (size_t)quads / 8 * 3 * PANEL_LINE;
}

const uint8_t *unpack_int2_ref(const uint8_t *codes, uint32_t quads, uint8_t *lines) {
    for (uint32_t quad = 0; quad < quads; quad++)
        for (unsigned b = 0; b < PANEL_LINE; b++)
            lines[quad * PANEL_LINE + b] = codes[quad / 4 * PANEL_LINE + b] >> quad % 4 * 2 & 3;
    return codes + (size_t)quads / 4 * PANEL_LINE;
}

const uint8_t *unpack_int4_24_ref(const uint8_t *codes, uint32_t quads, uint8_t *lines) {
    static const uint8_t pairs[8][2] = {{0, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3}, {2, 3}, {2, 3}, {2, 3}};
    memset(lines, 8, (size_t)quads * PANEL_LINE);
    for (uint32_t quad = 0; quad < quads; quad++) {
        const uint8_t *block = codes + (size_t)quad / 8 * 3 * PANEL_LINE;
        unsigned q = quad % 8, in_line = q % 4;
        for (unsigned r = 0; r < PANEL_ROWS; r++) {
            const uint8_t *values = block + PANEL_LINE * (1 + q / 4) + 4 * r + in_line % 2 * 2;
            const uint8_t *pair = pairs[block[4 * r + q / 2] >> q % 2 * 4 & 7];
            for (unsigned i = 0; i < 2; i++)
                lines[quad * PANEL_LINE + 4 * r + pair[i]] = (values[i] >> in_line / 2 * 4 & 15) ^ 8;
        }
    }
    return codes + (size_t)quads / 8 * 3 * PANEL_LINE;
}

const uint8_t *unpack_int4_48_ref(const uint8_t *codes, uint32_t quads, uint8_t *lines) {
    memset(lines, 8, (size_t)quads * PANEL_LINE);
    for (uint32_t octet = 0; octet < quads / 2; octet++) {
        const uint8_t *block = codes + (size_t)octet / 4 * 3 * PANEL_LINE;
        const uint8_t *masks = block + octet % 4 * 16, *values = block + PANEL_LINE + octet % 4 * 32;
        for (unsigned half = 0; half < 2; half++) {
            unsigned next =
                0; /* kept weights of eight rows so far: 32 unless the masks are hostile, never read beyond */
            for (unsigned i = 0; i < 64; i++) {
                unsigned r = half * 8 + i / 8, k = i % 8;
                if ((masks[r] >> k & 1) == 0)
                    continue;
                uint8_t nibble = next < 32 ? values[next] >> half * 4 & 15 : 0;
                lines[(2 * octet + k / 4) * PANEL_LINE + 4 * r + k % 4] = nibble;
                next++;
            }
        }
    }
    return codes + (size_t)quads / 8 * 3 * PANEL_LINE;
}

const uint8_t *unpack_int4_mask_ref(const uint8_t *codes, uint32_t quads, uint8_t *lines) {
    const uint8_t *nibbles = codes + (size_t)quads * sizeof(uint64_t);
    size_t next[2] = {0, 0};
    memset(lines, 8, (size_t)quads * PANEL_LINE);
    for (uint32_t quad = 0; quad < quads; quad++) {
        unsigned half = quad / (quads / 2);
        uint64_t mask;
        memcpy(&mask, codes + quad * sizeof mask, sizeof mask);
        for (unsigned b = 0; b < PANEL_LINE; b++)
            if (mask >> b & 1)
                lines[quad * PANEL_LINE + b] = nibbles[next[half]++] >> half * 4 & 15;
    }
    return nibbles + (next[0] > next[1] ? next[0] : next[1]);
}
