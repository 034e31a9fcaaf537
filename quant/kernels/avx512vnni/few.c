/* SPDX-License-Identifier: Apache-2.0 */
/* AVX512-VNNI products: with few tokens for formats whose blocks are all of one size, with many for all. */
#include "few_internal.h"

FEW_SET(int8, FORMAT_INT8, 512)
FEW_SET(int4, FORMAT_INT4, 256)
FEW_SET(int3, FORMAT_INT3, 192)
FEW_SET(int2, FORMAT_INT2, 128)
FEW_SET(int4_24, FORMAT_INT4_24, 192)

FEW_KERNEL(few_int8_avx512vnni, &int8)
FEW_KERNEL(few_int4_avx512vnni, &int4)
FEW_KERNEL(few_int3_avx512vnni, &int3)
FEW_KERNEL(few_int2_avx512vnni, &int2)
FEW_KERNEL(few_int4_24_avx512vnni, &int4_24)

/* Unpacked lines look like INT8; the zero point is the weight's own. */
MANY_KERNEL(many_avx512vnni, &int8)
