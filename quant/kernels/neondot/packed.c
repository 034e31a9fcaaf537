/* SPDX-License-Identifier: Apache-2.0 */
/* NEON products on packed weights with the byte dot product. */
#define PACKED_DOT 1
#define PACKED_MATRIX 0
#include "../neon/group_internal.h"
#include "../roof_internal.h"

PACKED_KERNELS(neondot)

ROOF_PEAK(int8_neondot, "w", 16, vdupq_n_s32(0), vdupq_n_s8(3), vdupq_n_s8(-5), vdotq_s32(sum, a, b), 16)
