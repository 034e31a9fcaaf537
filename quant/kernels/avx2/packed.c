/* SPDX-License-Identifier: Apache-2.0 */
/* AVX2 products on packed weights: byte products widened in two steps. */
#define PACKED_VNNI 0
#include "packed_internal.h"

FEW_KERNEL(few_int8_avx2, FORMAT_INT8, 512)
FEW_KERNEL(few_int4_avx2, FORMAT_INT4, 256)
FEW_KERNEL(few_int3_avx2, FORMAT_INT3, 192)
FEW_KERNEL(few_int2_avx2, FORMAT_INT2, 128)
FEW_KERNEL(few_int4_24_avx2, FORMAT_INT4_24, 192)
FEW_KERNEL_UNPACKED(few_int4_48_avx2, unpack_int4_48_avx2)
FEW_KERNEL_UNPACKED(few_int4_mask_avx2, unpack_int4_mask_avx2)
MANY_KERNEL(many_avx2)
