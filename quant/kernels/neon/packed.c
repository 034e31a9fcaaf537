/* SPDX-License-Identifier: Apache-2.0 */
/* NEON products on packed weights: byte products widened in two steps. */
#define PACKED_DOT 0
#define PACKED_MATRIX 0
#include "packed_internal.h"

FEW_KERNEL(few_int8_neon, unpack_int8_neon)
FEW_KERNEL(few_int4_neon, unpack_int4_neon)
FEW_KERNEL(few_int3_neon, unpack_int3_neon)
FEW_KERNEL(few_int2_neon, unpack_int2_neon)
FEW_KERNEL(few_int4_24_neon, unpack_int4_24_neon)
FEW_KERNEL(few_int4_48_neon, unpack_int4_48_neon)
FEW_KERNEL(few_int4_mask_neon, unpack_int4_mask_neon)
MANY_KERNEL(many_neon)
