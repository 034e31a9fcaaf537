/* SPDX-License-Identifier: Apache-2.0 */
/* AVX512-VNNI products with few tokens, for the formats whose blocks are all of one size. */
#include "few_internal.h"

FEW_KERNEL(few_int8_avx512vnni, FORMAT_INT8, 512)
FEW_KERNEL(few_int4_avx512vnni, FORMAT_INT4, 256)
FEW_KERNEL(few_int3_avx512vnni, FORMAT_INT3, 192)
FEW_KERNEL(few_int2_avx512vnni, FORMAT_INT2, 128)
FEW_KERNEL(few_int4_24_avx512vnni, FORMAT_INT4_24, 192)
