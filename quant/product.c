/* SPDX-License-Identifier: Apache-2.0 */
/* Products of any weight: picks the kernel of the format. */
#include "kernels.h"

void weight_product(const struct weight *weight, const struct activations *x, const uint32_t *index, size_t tokens,
                    size_t row_begin, size_t row_end, float *out, size_t out_stride) {
    const struct kernel_table *table = kernels();
    kernel_product_fn *product;
    switch (weight->format) {
    case FORMAT_F32:
        product = table->product_f32;
        break;
    case FORMAT_F16:
        product = table->product_f16;
        break;
    case FORMAT_BF16:
        product = table->product_bf16;
        break;
    default:
        product = table->product_packed;
        break;
    }
    product(weight, x, index, tokens, row_begin, row_end, out, out_stride);
}
