/* SPDX-License-Identifier: Apache-2.0 */
/* AVX512-VNNI products with few tokens, for the formats that VBMI2 expands. */
#include "expand_internal.h"

#define FEW_VNNI 1
#include "../avx512/few_internal.h"
#include "sparse_internal.h"

FEW_SET_MASKED(int4_48, FORMAT_INT4_48)
FEW_SET_MASKED(int4_mask, FORMAT_INT4_MASK)

FEW_KERNEL(few_int4_48_avx512vbmi2, &int4_48)
SPARSE_INSTANCE(32)
SPARSE_INSTANCE(64)

void few_int4_mask_avx512vbmi2(PRODUCT_ARGUMENTS) {
    struct few_set set = int4_mask;
    if (sparse_weight(weight))
        set.far[0].run = weight->group == 32 ? sparse_32 : sparse_64;
    few_product(&set, weight, x, index, tokens, row_begin, row_end, out, out_stride);
}
