/* SPDX-License-Identifier: Apache-2.0 */
/* AVX512-VNNI products: with few tokens for formats whose blocks are all of one size, with many for all. */
#define FEW_VNNI 1
#include "../avx512/few_internal.h"

FEW_DENSE(avx512vnni)
FEW_SET(int4_48, FORMAT_INT4_48, 192)
FEW_KERNEL(few_int4_48_avx512vnni, &int4_48)
FEW_SET(int4_mask, FORMAT_INT4_MASK, 0)
FEW_OR_MANY_KERNEL(few_int4_mask_avx512vnni, &int4_mask, &int8)

/* Unpacked lines look like INT8; the zero point is the weight's own. */
MANY_KERNEL(many_avx512vnni, &int8)
