/* SPDX-License-Identifier: Apache-2.0 */
/* Products of any weight: picks the kernel of the format and of the number of tokens. */
#include "kernels.h"

static kernel_product_fn *few_of(const struct kernel_table *table, number_format format) {
    switch (format) {
    case FORMAT_INT8:
        return table->few_int8;
    case FORMAT_INT4:
        return table->few_int4;
    case FORMAT_INT3:
        return table->few_int3;
    case FORMAT_INT2:
        return table->few_int2;
    case FORMAT_INT4_24:
        return table->few_int4_24;
    case FORMAT_INT4_48:
        return table->few_int4_48;
    default:
        return table->few_int4_mask;
    }
}

static kernel_product_fn *product_of(const struct kernel_table *table, number_format format, size_t tokens) {
    switch (format) {
    case FORMAT_F32:
        return table->rows_f32;
    case FORMAT_F16:
        return table->rows_f16;
    case FORMAT_BF16:
        return table->rows_bf16;
    default:
        return tokens < kernels_many_tokens(format, cpu_bundles()) ? few_of(table, format) : table->many;
    }
}

void weight_product(const struct weight *weight, const struct activations *x, const uint32_t *index, size_t tokens,
                    size_t row_begin, size_t row_end, float *out, size_t out_stride) {
    if (tokens > 0 && row_begin < row_end)
        product_of(kernels(), weight->format, tokens)(weight, x, index, tokens, row_begin, row_end, out, out_stride);
}

uint64_t roof_read(const void *data, size_t bytes, unsigned streams) {
    return kernels()->roof_read(data, bytes, streams);
}

uint64_t roof_int8(uint64_t rounds) {
    return kernels()->roof_int8(rounds);
}

uint64_t roof_f32(uint64_t rounds) {
    return kernels()->roof_f32(rounds);
}
