/* SPDX-License-Identifier: Apache-2.0 */
/* Products on row-major weights: shapes, tails, odd addresses, gathers, cuts, and nothing written beside the output. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

static number_format format_of(const struct kernel_entry *entry) {
    number_format format = FORMAT_F32;
    if (!number_format_parse(entry->slot + strlen("rows_"), &format))
        abort();
    return format;
}

struct rows_case {
    size_t rows, cols, tokens, stride, out_stride, row_begin, row_end;
    bool gather;
};

static struct rows_case random_case(struct check_random *random, unsigned step) {
    struct rows_case c = {.rows = 1 + check_random_below(random, 41),
                          .cols = step < 80 ? 1 + step : 1 + check_random_below(random, 700),
                          .tokens = step % 19 == 18 ? 40 : 1 + step % 17,
                          .gather = step % 3 == 0};
    c.stride = c.cols + check_random_below(random, 5);
    c.out_stride = c.rows + check_random_below(random, 5);
    c.row_begin = step % 4 == 0 ? check_random_below(random, c.rows) : 0;
    c.row_end = step % 4 == 1 ? c.row_begin + 1 + check_random_below(random, c.rows - c.row_begin) : c.rows;
    return c;
}

static void fill_weights(struct check_random *random, number_format format, uint8_t *data, size_t count) {
    for (size_t i = 0; i < count; i++) {
        float value = check_random_float(random);
        uint16_t bits = format == FORMAT_F16 ? half_from_float(value) : (uint16_t)(float_bits(value) >> 16);
        if (format == FORMAT_F32)
            memcpy(data + 4 * i, &value, 4);
        else
            memcpy(data + 2 * i, &bits, 2);
    }
}

static bool run_case(const struct kernel_entry *entry, kernel_product_fn *reference, struct check_random *random,
                     const struct rows_case *c) {
    number_format format = format_of(entry);
    size_t size = number_format_bits(format) / 8, sources = c->tokens + 2;
    struct guarded data = guarded_alloc(c->rows * c->cols * size, 1);
    struct guarded values = guarded_alloc(((sources - 1) * c->stride + c->cols) * sizeof(float), 4);
    struct guarded expected = guarded_alloc(c->tokens * c->out_stride * sizeof(float), 4);
    struct guarded got = guarded_alloc(expected.bytes, 4);
    fill_weights(random, format, data.data, c->rows * c->cols);
    float *x = (float *)(void *)values.data;
    for (size_t i = 0; i < values.bytes / sizeof(float); i++)
        x[i] = check_random_float(random);
    uint32_t index[64];
    for (size_t t = 0; t < c->tokens; t++)
        index[t] = (uint32_t)check_random_below(random, sources);
    memset(expected.data, 0x5a, expected.bytes);
    memset(got.data, 0x5a, got.bytes);
    const struct weight weight = {.format = format, .rows = c->rows, .cols = c->cols, .data = data.data,
                                  .bytes = data.bytes, .factor = 1};
    const struct activations a = {.values = x, .tokens = sources, .cols = c->cols, .stride = c->stride};
    const uint32_t *gather = c->gather ? index : NULL;
    reference(&weight, &a, gather, c->tokens, c->row_begin, c->row_end, (float *)(void *)expected.data, c->out_stride);
    ((kernel_product_fn *)entry->function)(&weight, &a, gather, c->tokens, c->row_begin, c->row_end,
                                           (float *)(void *)got.data, c->out_stride);
    char what[120];
    snprintf(what, sizeof what, "rows %zu cols %zu tokens %zu cut %zu..%zu", c->rows, c->cols, c->tokens, c->row_begin,
             c->row_end);
    bool same = check_floats(entry, what, (const float *)(void *)expected.data, (const float *)(void *)got.data,
                             expected.bytes / sizeof(float));
    guarded_free(&data);
    guarded_free(&values);
    guarded_free(&expected);
    guarded_free(&got);
    return same;
}

unsigned check_product_rows(const struct kernel_entry *entry, const struct kernel_table *reference) {
    kernel_product_fn *expected = *(kernel_product_fn *const *)((const char *)reference + entry->table_offset);
    struct check_random random = {.state = 1};
    unsigned failed = 0;
    for (unsigned step = 0; step < 240; step++) {
        struct rows_case c = random_case(&random, step);
        failed += !run_case(entry, expected, &random, &c);
    }
    return failed;
}
