/* SPDX-License-Identifier: Apache-2.0 */
/* AVX512-VNNI products with few tokens, for the formats that VBMI2 expands. */
#include "expand_internal.h"

#define FEW_VNNI 1
#include "../avx512/few_internal.h"

FEW_SET_MASKED(int4_48, FORMAT_INT4_48)
FEW_SET_MASKED(int4_mask, FORMAT_INT4_MASK)

FEW_KERNEL(few_int4_48_avx512vbmi2, &int4_48)
FEW_KERNEL(few_int4_mask_avx512vbmi2, &int4_mask)
