/* SPDX-License-Identifier: Apache-2.0 */
/* NEON products on packed weights with the byte dot product. */
#define PACKED_DOT 1
#define PACKED_MATRIX 0
#include "../neon/group_internal.h"

PACKED_KERNELS(neondot)
ROOF_KERNEL(neondot, vdotq_s32, 16)
