/* SPDX-License-Identifier: Apache-2.0 */
/* NEON products on packed weights with the byte matrix product, two tokens at a time, and the dot product for one. */
#define PACKED_DOT 1
#define PACKED_MATRIX 1
#include "../neon/group_internal.h"
#include "../roof_internal.h"

PACKED_KERNELS(i8mm)

ROOF_PEAK(int8_i8mm, "w", 16, vdupq_n_s32(0), vdupq_n_s8(3), vdupq_n_s8(-5), vmmlaq_s32(sum, a, b), 32)
