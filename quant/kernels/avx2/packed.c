/* SPDX-License-Identifier: Apache-2.0 */
/* AVX2 products on packed weights: byte products widened in two steps. */
#define PACKED_VNNI 0
#include "packed_internal.h"

FEW_DENSE(avx2)
FEW_SET(lines, FORMAT_LINES, 512)

FEW_SET(int4_48, FORMAT_INT4_48, 192)
FEW_KERNEL(few_int4_48_avx2, &int4_48)
FEW_SET(int4_mask, FORMAT_INT4_MASK, 0)
FEW_OR_MANY_KERNEL(few_int4_mask_avx2, &int4_mask, &lines)

/* Unpacked lines hold codes up to 15, but those of INT8. */
void many_avx2(PRODUCT_ARGUMENTS) {
    many_product(weight->format == FORMAT_INT8 ? &int8 : &lines, weight, x, index, tokens, row_begin, row_end, out,
                 out_stride);
}
