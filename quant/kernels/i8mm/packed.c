/* SPDX-License-Identifier: Apache-2.0 */
/* NEON products on packed weights with the byte matrix product, two tokens at a time, and the dot product for one. */
#define PACKED_DOT 1
#define PACKED_MATRIX 1
#include "../neon/group_internal.h"

PACKED_KERNELS(i8mm)
ROOF_KERNEL(i8mm, vmmlaq_s32, 32)
