/* SPDX-License-Identifier: Apache-2.0 */
/* AVX512-VNNI products with few tokens, for the formats that VBMI2 expands. */
#include "expand_internal.h"

#include "../avx512vnni/few_internal.h"

FEW_KERNEL(few_int4_48_avx512vbmi2, FORMAT_INT4_48, 192)
FEW_KERNEL(few_int4_mask_avx512vbmi2, FORMAT_INT4_MASK, 0)
