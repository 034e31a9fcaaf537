/* SPDX-License-Identifier: Apache-2.0 */
/* AMX tiles in plain C, from the architecture's pseudocode: lets the AMX kernels run where the CPU has none. */
#ifndef AMX_EMULATED_H
#define AMX_EMULATED_H

#include <stdint.h>
#include <string.h>

static struct {
    uint8_t rows[8], data[8][16][64];
    uint16_t row_bytes[8];
} emulated;

static inline void emulated_loadconfig(const void *config) {
    memset(&emulated, 0, sizeof emulated);
    for (int i = 0; i < 8; i++) {
        memcpy(&emulated.row_bytes[i], (const uint8_t *)config + 16 + 2 * i, 2);
        emulated.rows[i] = ((const uint8_t *)config)[48 + i];
    }
}

static inline void emulated_load(int tile, const void *base, size_t stride) {
    memset(emulated.data[tile], 0, sizeof emulated.data[tile]);
    for (size_t r = 0; r < emulated.rows[tile]; r++)
        memcpy(emulated.data[tile][r], (const uint8_t *)base + r * stride, emulated.row_bytes[tile]);
}

static inline void emulated_store(int tile, void *base, size_t stride) {
    for (size_t r = 0; r < emulated.rows[tile]; r++)
        memcpy((uint8_t *)base + r * stride, emulated.data[tile][r], emulated.row_bytes[tile]);
}

/* TDPBSUD: signed bytes of `a` times unsigned bytes of `b`. */
static inline void emulated_dpbsud(int sum, int a, int b) {
    for (int m = 0; m < emulated.rows[sum]; m++) {
        for (int k = 0; k < emulated.row_bytes[a] / 4; k++) {
            for (int n = 0; n < emulated.row_bytes[sum] / 4; n++) {
                int32_t value;
                memcpy(&value, &emulated.data[sum][m][4 * n], 4);
                for (int i = 0; i < 4; i++)
                    value += (int8_t)emulated.data[a][m][4 * k + i] * emulated.data[b][k][4 * n + i];
                memcpy(&emulated.data[sum][m][4 * n], &value, 4);
            }
        }
    }
}

#undef _tile_loadconfig
#undef _tile_release
#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbsud
#define _tile_loadconfig(config) emulated_loadconfig(config)
#define _tile_release() memset(&emulated, 0, sizeof emulated)
#define _tile_zero(tile) memset(emulated.data[tile], 0, sizeof emulated.data[tile])
#define _tile_loadd(tile, base, stride) emulated_load(tile, base, stride)
#define _tile_stored(tile, base, stride) emulated_store(tile, base, stride)
#define _tile_dpbsud(sum, a, b) emulated_dpbsud(sum, a, b)

#endif
