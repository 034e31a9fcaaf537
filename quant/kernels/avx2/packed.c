/* SPDX-License-Identifier: Apache-2.0 */
/* AVX2 products on packed weights: byte products widened in two steps. */
#define PACKED_VNNI 0
#include "packed_internal.h"

FEW_SET(int8, FORMAT_INT8, 512)
FEW_SET(int4, FORMAT_INT4, 256)
FEW_SET(int3, FORMAT_INT3, 192)
FEW_SET(int2, FORMAT_INT2, 128)
FEW_SET(int4_24, FORMAT_INT4_24, 192)
FEW_SET(lines, FORMAT_LINES, 512)

FEW_KERNEL(few_int8_avx2, &int8)
FEW_KERNEL(few_int4_avx2, &int4)
FEW_KERNEL(few_int3_avx2, &int3)
FEW_KERNEL(few_int2_avx2, &int2)
FEW_KERNEL(few_int4_24_avx2, &int4_24)

/* The masked formats are unpacked whatever the number of tokens. */
MANY_KERNEL(few_int4_48_avx2, &lines)
MANY_KERNEL(few_int4_mask_avx2, &lines)

/* Unpacked lines hold codes up to 15, but those of INT8. */
void many_avx2(PRODUCT_ARGUMENTS) {
    many_product(weight->format == FORMAT_INT8 ? &int8 : &lines, weight, x, index, tokens, row_begin, row_end, out,
                 out_stride);
}
