/* SPDX-License-Identifier: Apache-2.0 */
/* Unpacking and products on packed weights: every format and group, shapes, remainders, cuts, gathers and extremes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

static number_format format_of(const char *slot) {
    static const struct {
        const char *suffix;
        number_format format;
    } names[] = {{"_int8", FORMAT_INT8},       {"_int4", FORMAT_INT4},       {"_int3", FORMAT_INT3},
                 {"_int2", FORMAT_INT2},       {"_int4_24", FORMAT_INT4_24}, {"_int4_48", FORMAT_INT4_48},
                 {"_int4_mask", FORMAT_INT4_MASK}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(strchr(slot, '_'), names[i].suffix) == 0)
            return names[i].format;
    abort();
}

struct packed_case {
    number_format format;
    uint32_t group;
    size_t rows, cols, tokens, row_begin, row_end, out_stride;
    bool gather, extreme; /* extreme: only the smallest and largest codes and activations */
    bool sparse;          /* bitmask format: a quarter kept, not half */
    bool damaged;         /* any bytes where codes, masks and scales are, as from a file that lies */
};

static struct packed_case random_case(struct check_random *random, number_format format, unsigned step) {
    static const uint32_t groups[] = {32, 64, 128};
    struct packed_case c = {.format = format,
                            .group = groups[step % 3],
                            .rows = 1 + check_random_below(random, 200),
                            .cols = step % 2 ? 1 + check_random_below(random, 1500) : 1 + step,
                            .tokens = 1 + step % 17,
                            .gather = step % 4 < 2,
                            .extreme = step % 7 == 0,
                            .sparse = step % 4 > 1,
                            .damaged = step % 5 == 4};
    if (step % 8 > 5) /* one token has kernels of its own */
        c.tokens = 1;
    if (step % 23 == 22)
        c.tokens = 90 + check_random_below(random, 60);
    if (step % 29 == 28) { /* longer than any chunk of k */
        c.cols = 2000 + check_random_below(random, 3000);
        c.rows = 1 + check_random_below(random, 100);
    }
    size_t panels = (c.rows + PANEL_ROWS - 1) / PANEL_ROWS, first = check_random_below(random, panels);
    size_t last = first + 1 + check_random_below(random, panels - first);
    c.row_begin = step % 3 == 0 ? first * PANEL_ROWS : 0;
    c.row_end = step % 3 == 0 && last < panels ? last * PANEL_ROWS : c.rows;
    c.out_stride = c.rows + check_random_below(random, 3);
    return c;
}

static void fill_mask(struct check_random *random, const struct packed_case *c, uint8_t *row, size_t r) {
    unsigned part = c->format == FORMAT_INT4_24 ? 4 : 8;
    if (c->format == FORMAT_INT4_MASK) {
        for (size_t k = 0; k < c->cols; k++)
            row[k] = check_random_below(random, c->sparse ? 2 * c->rows : c->rows) <= r;
        return;
    }
    for (size_t begin = 0; begin < c->cols; begin += part) {
        size_t count = c->cols - begin < part ? c->cols - begin : part, wanted = count < part / 2 ? count : part / 2;
        for (size_t kept = 0; kept < wanted;) {
            uint8_t *flag = &row[begin + check_random_below(random, count)];
            kept += !*flag;
            *flag = 1;
        }
    }
}

/* Random bytes, in some stretches with every bit set: bitmasks that keep more than there is. The table of a bitmask
 * weight leads before, into and behind it. */
static void damage(struct check_random *random, const struct packed_case *c, const struct guarded *data) {
    size_t ones = check_random_below(random, 4);
    for (size_t i = 0; i < data->bytes; i++)
        data->data[i] = i / 512 % 4 < ones ? 0xff : (uint8_t)check_random_u64(random);
    for (size_t p = 0; c->format == FORMAT_INT4_MASK && p * PANEL_ROWS < c->rows; p++) {
        uint64_t offset = (uint64_t)check_random_below(random, 3 * data->bytes) - data->bytes;
        memcpy(data->data + p * sizeof offset, &offset, sizeof offset);
    }
}

/* A packed weight of random codes in guarded memory: nothing behind its last byte may be read. */
static struct guarded random_weight(struct check_random *random, const struct packed_case *c,
                                    struct weight *ret_weight) {
    struct quant_rows *rows;
    moesaic_error error = {0};
    if (quant_rows_create(c->format, c->group, c->rows, c->cols, &rows, &error) != MOESAIC_OK)
        abort();
    int zero = format_zero(c->format);
    for (size_t i = 0; i < c->rows * c->cols; i++)
        rows->codes[i] = (int8_t)(c->extreme ? (check_random_below(random, 2) ? -zero : zero - 1)
                                             : (int)check_random_below(random, (size_t)zero * 2) - zero);
    for (size_t i = 0; i < c->rows * quant_rows_groups(c->cols, c->group); i++)
        rows->scales[i] = (uint16_t)check_random_below(random, 0x7c00);
    for (size_t r = 0; rows->mask && r < c->rows; r++)
        fill_mask(random, c, rows->mask + r * c->cols, r);
    rows->factor = 0x1p-7f;
    struct guarded data = guarded_alloc((size_t)weight_packed_bytes(rows), 64);
    if (weight_pack(rows, data.data, data.bytes, ret_weight, &error) != MOESAIC_OK) {
        printf("# %s\n", error.message);
        abort();
    }
    quant_rows_destroy(rows);
    if (c->damaged)
        damage(random, c, &data);
    return data;
}

/* INT8 activations of `tokens` rows, quantized from random values or all at +-127. */
static struct guarded random_activations(struct check_random *random, const struct packed_case *c, size_t tokens,
                                         struct activations *ret_x) {
    float *values = calloc(tokens * c->cols, sizeof *values);
    struct guarded scratch = guarded_alloc(activations_bytes(tokens, c->cols, c->group), 64);
    if (values == NULL)
        abort();
    for (size_t i = 0; i < tokens * c->cols; i++)
        values[i] = c->extreme ? (check_random_below(random, 2) ? 3.0f : -3.0f) : check_random_float(random);
    *ret_x = (struct activations){.values = values, .tokens = tokens, .cols = c->cols, .stride = c->cols};
    activations_bind(ret_x, c->group, scratch.data);
    activations_quantize(ret_x, 0, tokens);
    ret_x->values = NULL;
    free(values);
    return scratch;
}

static bool run_case(const struct kernel_entry *entry, kernel_product_fn *reference, struct check_random *random,
                     const struct packed_case *c) {
    struct weight weight;
    struct activations x;
    size_t sources = c->tokens + 2;
    struct guarded data = random_weight(random, c, &weight), scratch = random_activations(random, c, sources, &x);
    struct guarded expected = guarded_alloc(c->tokens * c->out_stride * sizeof(float), 4);
    struct guarded got = guarded_alloc(expected.bytes, 4);
    uint32_t index[160];
    for (size_t t = 0; t < c->tokens; t++)
        index[t] = (uint32_t)check_random_below(random, sources);
    memset(expected.data, 0x5a, expected.bytes);
    memset(got.data, 0x5a, got.bytes);
    const uint32_t *gather = c->gather ? index : NULL;
    reference(&weight, &x, gather, c->tokens, c->row_begin, c->row_end, (float *)(void *)expected.data, c->out_stride);
    ((kernel_product_fn *)entry->function)(&weight, &x, gather, c->tokens, c->row_begin, c->row_end,
                                           (float *)(void *)got.data, c->out_stride);
    char what[160];
    snprintf(what, sizeof what, "%s g%u rows %zu cols %zu tokens %zu cut %zu..%zu", number_format_name(c->format),
             c->group, c->rows, c->cols, c->tokens, c->row_begin, c->row_end);
    /* What damaged masks mean is unspecified; they only may not lead out of the weight (contract.md). */
    bool same = (c->damaged && (c->format == FORMAT_INT4_48 || c->format == FORMAT_INT4_MASK)) ||
                check_floats(entry, what, (const float *)(void *)expected.data, (const float *)(void *)got.data,
                             expected.bytes / sizeof(float));
    guarded_free(&data);
    guarded_free(&scratch);
    guarded_free(&expected);
    guarded_free(&got);
    return same;
}

static unsigned check_format(const struct kernel_entry *entry, const struct kernel_table *reference,
                             number_format format, unsigned steps) {
    kernel_product_fn *expected = *(kernel_product_fn *const *)((const char *)reference + entry->table_offset);
    struct check_random random = {.state = 3 + (uint64_t)format};
    unsigned failed = 0;
    for (unsigned step = 0; step < steps; step++) {
        struct packed_case c = random_case(&random, format, step);
        failed += !run_case(entry, expected, &random, &c);
    }
    return failed;
}

unsigned check_few(const struct kernel_entry *entry, const struct kernel_table *reference) {
    return check_format(entry, reference, format_of(entry->slot), 140);
}

unsigned check_many(const struct kernel_entry *entry, const struct kernel_table *reference) {
    unsigned failed = 0;
    for (int format = FORMAT_INT8; format <= FORMAT_INT4_MASK; format++)
        failed += check_format(entry, reference, (number_format)format, 60);
    return failed;
}

unsigned check_unpack(const struct kernel_entry *entry, const struct kernel_table *reference) {
    kernel_unpack_fn *expected = *(kernel_unpack_fn *const *)((const char *)reference + entry->table_offset);
    struct check_random random = {.state = 4};
    unsigned failed = 0;
    for (unsigned step = 0; step < 120; step++) {
        struct packed_case c = {.format = format_of(entry->slot), .group = 32u << step % 3, .rows = 1 + step % 16,
                                .cols = 1 + check_random_below(&random, 300), .extreme = step % 5 == 0};
        struct weight weight;
        struct guarded data = random_weight(&random, &c, &weight);
        const uint8_t *codes = panel_begin(&weight, 0) + PANEL_SCALE_LINE;
        struct guarded lines[2] = {guarded_alloc((size_t)c.group / 4 * PANEL_LINE, 64),
                                   guarded_alloc((size_t)c.group / 4 * PANEL_LINE, 64)};
        const uint8_t *end = expected(codes, c.group / 4, lines[0].data);
        const uint8_t *got = ((kernel_unpack_fn *)entry->function)(codes, c.group / 4, lines[1].data);
        failed += !check_bytes(entry, "lines", lines[0].data, lines[1].data, lines[0].bytes) || end != got;
        guarded_free(&lines[0]);
        guarded_free(&lines[1]);
        guarded_free(&data);
    }
    return failed;
}
