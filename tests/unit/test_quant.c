/* SPDX-License-Identifier: Apache-2.0 */
/* Number formats, packing and its inverse, dequantization, and packed products against plain floats. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "quant.h"

static uint64_t random_state = 7;

static uint32_t random_below(uint32_t limit) {
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((random_state >> 33) % limit);
}

static float random_float(void) { return (float)((int)random_below(20001) - 10000) * 1e-4f; }

static const number_format packed_formats[] = {FORMAT_INT8,    FORMAT_INT4,    FORMAT_INT3,     FORMAT_INT2,
                                               FORMAT_INT4_24, FORMAT_INT4_48, FORMAT_INT4_MASK};
enum { PACKED_FORMATS = sizeof packed_formats / sizeof *packed_formats };

static int code_limit(number_format format) {
    return format == FORMAT_INT8 ? 128 : format == FORMAT_INT3 ? 4 : format == FORMAT_INT2 ? 2 : 8;
}

/* Keeps exactly half of every part, and what there is, at most half, of the last. */
static void fill_pattern(uint8_t *mask, uint64_t cols, unsigned part) {
    for (uint64_t begin = 0; begin < cols; begin += part) {
        unsigned count = cols - begin < part ? (unsigned)(cols - begin) : part;
        unsigned wanted = count < part / 2 ? count : part / 2;
        for (unsigned kept = 0; kept < wanted;) {
            uint8_t *flag = &mask[begin + random_below(count)];
            kept += !*flag;
            *flag = 1;
        }
    }
}

static struct quant_rows *random_rows(number_format format, uint32_t group, uint64_t rows, uint64_t cols) {
    struct quant_rows *result = NULL;
    cr_assert(eq(int, quant_rows_create(format, group, rows, cols, &result, NULL), MOESAIC_OK));
    int limit = code_limit(format);
    for (uint64_t i = 0; i < rows * cols; i++)
        result->codes[i] = (int8_t)((int)random_below((uint32_t)limit * 2) - limit);
    for (uint64_t i = 0; i < rows * quant_rows_groups(cols, group); i++)
        result->scales[i] = half_from_float(0.001f + 0.01f * fabsf(random_float()));
    result->factor = 0.5f;
    for (uint64_t r = 0; result->mask && r < rows; r++) {
        if (format != FORMAT_INT4_MASK)
            fill_pattern(result->mask + r * cols, cols, format == FORMAT_INT4_24 ? 4 : 8);
        else
            for (uint64_t k = 0; k < cols; k++)
                result->mask[r * cols + k] = random_below(100) < 10 + r * 80 / rows;
    }
    for (uint64_t i = 0; result->mask && i < rows * cols; i++)
        result->codes[i] = result->mask[i] ? result->codes[i] : 0;
    return result;
}

static uint8_t *pack(const struct quant_rows *rows, struct weight *ret_weight) {
    uint64_t bytes = weight_packed_bytes(rows);
    uint8_t *data = aligned_alloc(64, (bytes + 63) / 64 * 64);
    cr_assert(ne(ptr, data, NULL));
    moesaic_error error = {0};
    cr_assert(eq(int, weight_pack(rows, data, bytes, ret_weight, &error), MOESAIC_OK), "%s", error.message);
    cr_assert(eq(u64, ret_weight->bytes, bytes));
    return data;
}

static float value_of(const struct quant_rows *rows, uint64_t r, uint64_t k) {
    uint16_t scale = rows->scales[r * quant_rows_groups(rows->cols, rows->group) + k / rows->group];
    return (float)rows->codes[r * rows->cols + k] * half_to_float(scale) * rows->factor;
}

Test(quant, half_conversion_is_exact_for_every_half) {
    for (uint32_t bits = 0; bits < 65536; bits++) {
        float value = half_to_float((uint16_t)bits);
        if ((bits & 0x7fff) > 0x7c00) {
            cr_assert(isnan(value));
            continue;
        }
        int exponent = (int)(bits >> 10 & 31);
        float fraction = (float)(bits & 1023);
        float expected = exponent == 31  ? INFINITY
                         : exponent == 0 ? ldexpf(fraction, -24)
                                         : ldexpf(1024.0f + fraction, exponent - 25);
        cr_assert(eq(flt, value, bits & 0x8000 ? -expected : expected));
        cr_assert(eq(u16, half_from_float(value), (uint16_t)bits));
    }
}

Test(quant, half_rounds_to_nearest_even) {
    for (uint32_t bits = 0; bits < 0x7bff; bits++) {
        float low = half_to_float((uint16_t)bits), high = half_to_float((uint16_t)(bits + 1)),
              middle = (low + high) / 2;
        cr_assert(eq(u16, half_from_float(middle), (uint16_t)(bits + (bits & 1))));
        cr_assert(eq(u16, half_from_float(nextafterf(middle, 0)), (uint16_t)bits));
        cr_assert(eq(u16, half_from_float(nextafterf(middle, INFINITY)), (uint16_t)(bits + 1)));
    }
    cr_assert(eq(u16, half_from_float(65519.99f), 0x7bff));
    cr_assert(eq(u16, half_from_float(65520.0f), 0x7c00));
    cr_assert(eq(u16, half_from_float(-1e30f), 0xfc00));
}

Test(quant, format_names_go_both_ways) {
    for (int f = FORMAT_F32; f <= FORMAT_INT4_MASK; f++) {
        number_format format = FORMAT_F32;
        cr_assert(number_format_parse(number_format_name((number_format)f), &format));
        cr_assert(eq(int, format, f));
    }
    number_format format;
    cr_assert(not(number_format_parse("int5", &format)));
    cr_assert(eq(ptr, (void *)number_format_name((number_format)99), NULL));
}

/* unpack(pack(rows)) gives rows, pack(unpack(w)) gives w, and dequantize agrees with both. */
static void check_round_trip(number_format format, uint32_t group, uint64_t rows, uint64_t cols) {
    struct quant_rows *source = random_rows(format, group, rows, cols), *back = NULL;
    struct weight weight, again;
    uint8_t *data = pack(source, &weight);
    cr_assert(eq(int, weight_check(&weight, NULL), MOESAIC_OK));
    cr_assert(eq(int, weight_unpack(&weight, &back, NULL), MOESAIC_OK));
    cr_assert(eq(int, memcmp(source->codes, back->codes, rows * cols), 0), "%s codes", number_format_name(format));
    cr_assert(eq(int, memcmp(source->scales, back->scales, rows * quant_rows_groups(cols, group) * 2), 0));
    cr_assert(eq(flt, back->factor, source->factor));
    if (source->mask)
        cr_assert(eq(int, memcmp(source->mask, back->mask, rows * cols), 0), "%s mask", number_format_name(format));
    uint8_t *data_again = pack(back, &again);
    cr_assert(eq(u64, again.bytes, weight.bytes));
    cr_assert(eq(int, memcmp(data, data_again, weight.bytes), 0));
    uint64_t begin = rows / 3;
    float *values = malloc(rows * cols * sizeof *values);
    weight_dequantize(&weight, begin, rows, values);
    for (uint64_t r = begin; r < rows; r++)
        for (uint64_t k = 0; k < cols; k++)
            cr_assert(eq(flt, values[(r - begin) * cols + k], value_of(source, r, k)));
    free(values);
    free(data);
    free(data_again);
    quant_rows_destroy(source);
    quant_rows_destroy(back);
}

Test(quant, packing_is_lossless) {
    static const uint64_t shapes[][2] = {{1, 1}, {3, 2}, {16, 32}, {17, 33}, {40, 129}, {5, 255}, {33, 256}, {64, 131}};
    for (unsigned f = 0; f < PACKED_FORMATS; f++)
        for (uint32_t group = 32; group <= 128; group *= 2)
            for (unsigned s = 0; s < sizeof shapes / sizeof *shapes; s++)
                check_round_trip(packed_formats[f], group, shapes[s][0], shapes[s][1]);
}

Test(quant, bytes_are_what_the_format_promises) {
    static const double bits[PACKED_FORMATS] = {8.25, 4.25, 3.25, 2.25, 3.25, 3.25};
    for (unsigned f = 0; f < PACKED_FORMATS - 1; f++) {
        uint64_t bytes = 0;
        cr_assert(weight_shape_bytes(packed_formats[f], LAYOUT_PANEL16, 64, 1024, 2048, &bytes));
        cr_assert(eq(dbl, (double)bytes * 8 / (1024 * 2048), bits[f]));
    }
    struct quant_rows *rows = NULL;
    cr_assert(eq(int, quant_rows_create(FORMAT_INT4_MASK, 128, 512, 2048, &rows, NULL), MOESAIC_OK));
    for (uint64_t i = 0; i < 512 * 2048; i++)
        rows->mask[i] = i * 3 / 10 != (i + 1) * 3 / 10;
    double per_weight = (double)weight_packed_bytes(rows) * 8 / (512 * 2048);
    cr_assert(lt(dbl, per_weight, 1 + 4 * 0.3 + 0.125 + 0.08));
    quant_rows_destroy(rows);
}

Test(quant, packing_refuses_what_it_could_not_give_back) {
    moesaic_error error;
    struct weight weight;
    _Alignas(64) static uint8_t out[1 << 16];
    struct quant_rows *rows = random_rows(FORMAT_INT4, 64, 16, 64);
    rows->codes[70] = 8;
    cr_assert(eq(int, weight_pack(rows, out, sizeof out, &weight, &error), MOESAIC_E_USAGE));
    cr_assert(ne(ptr, strstr(error.message, "[1, 6]"), NULL), "%s", error.message);
    rows->codes[70] = 7;
    rows->scales[3] = 0x7c00;
    cr_assert(eq(int, weight_pack(rows, out, sizeof out, &weight, &error), MOESAIC_E_USAGE));
    rows->scales[3] = 0x3c00;
    cr_assert(eq(int, weight_pack(rows, out, weight_packed_bytes(rows) - 1, &weight, &error), MOESAIC_E_USAGE));
    cr_assert(eq(int, weight_pack(rows, out + 8, sizeof out - 8, &weight, &error), MOESAIC_E_USAGE));
    rows->factor = 0.3f;
    cr_assert(ne(int, weight_pack(rows, out, sizeof out, &weight, &error), MOESAIC_OK));
    quant_rows_destroy(rows);
    rows = random_rows(FORMAT_INT4_24, 64, 16, 64);
    memcpy(rows->mask + 8, (const uint8_t[]){1, 1, 1, 0}, 4);
    cr_assert(eq(int, weight_pack(rows, out, sizeof out, &weight, &error), MOESAIC_E_USAGE));
    quant_rows_destroy(rows);
    cr_assert(eq(int, quant_rows_create(FORMAT_INT4, 48, 16, 64, &rows, NULL), MOESAIC_E_USAGE));
    cr_assert(eq(int, quant_rows_create(FORMAT_BF16, 0, 16, 64, &rows, NULL), MOESAIC_E_USAGE));
    cr_assert(eq(int, quant_rows_create(FORMAT_INT4, 64, UINT64_MAX, 64, &rows, NULL), MOESAIC_E_USAGE));
}

Test(quant, weights_from_outside_are_checked) {
    _Alignas(64) static uint8_t data[1 << 14];
    struct weight good = {FORMAT_INT4, LAYOUT_PANEL16, 64, 16, 128, data, 64 + 16 * 128 / 2, 1}, bad;
    cr_assert(eq(int, weight_check(&good, NULL), MOESAIC_OK));
    bad = good, bad.group = 0;
    cr_assert(eq(int, weight_check(&bad, NULL), MOESAIC_E_INPUT));
    bad = good, bad.bytes--;
    cr_assert(eq(int, weight_check(&bad, NULL), MOESAIC_E_INPUT));
    bad = good, bad.data++;
    cr_assert(eq(int, weight_check(&bad, NULL), MOESAIC_E_INPUT));
    bad = good, bad.factor = NAN;
    cr_assert(eq(int, weight_check(&bad, NULL), MOESAIC_E_INPUT));
    bad = good, bad.rows = UINT64_C(1) << 60;
    cr_assert(eq(int, weight_check(&bad, NULL), MOESAIC_E_INPUT));
    bad = good, bad.format = (number_format)77;
    cr_assert(eq(int, weight_check(&bad, NULL), MOESAIC_E_INPUT));
    bad = good, bad.layout = LAYOUT_ROWS;
    cr_assert(eq(int, weight_check(&bad, NULL), MOESAIC_E_INPUT));
}

/* |packed product - product of the dequantized floats| <= K * max|w| * max|x| / 254 per group, and float rounding. */
static void check_product(number_format format, uint32_t group, uint64_t rows, uint64_t cols, size_t tokens) {
    struct quant_rows *source = random_rows(format, group, rows, cols);
    struct weight weight;
    uint8_t *data = pack(source, &weight);
    float *x = malloc(tokens * cols * sizeof *x), *out = malloc(tokens * rows * sizeof *out);
    for (size_t i = 0; i < tokens * cols; i++)
        x[i] = random_float();
    struct activations a = {.values = x, .tokens = tokens, .cols = cols, .stride = cols};
    size_t bytes = activations_bytes(tokens, cols, group);
    void *scratch = aligned_alloc(64, bytes);
    activations_bind(&a, group, scratch);
    activations_quantize(&a, 0, tokens);
    weight_product(&weight, &a, NULL, tokens, 0, rows, out, rows);
    for (size_t t = 0; t < tokens; t++) {
        for (uint64_t r = 0; r < rows; r++) {
            double sum = 0, magnitude = 0;
            for (uint64_t k = 0; k < cols; k++) {
                sum += (double)value_of(source, r, k) * x[t * cols + k];
                magnitude += fabs((double)value_of(source, r, k));
            }
            cr_assert(le(dbl, fabs(out[t * rows + r] - sum), magnitude * (0.5 / 127 + 1e-6)),
                      "%s [%u, %u] of %ux%u", number_format_name(format), (unsigned)t, (unsigned)r, (unsigned)rows,
                      (unsigned)cols);
        }
    }
    free(data);
    free(x);
    free(out);
    free(scratch);
    quant_rows_destroy(source);
}

Test(quant, packed_products_are_near_plain_floats) {
    for (unsigned f = 0; f < PACKED_FORMATS; f++) {
        for (uint32_t group = 32; group <= 128; group *= 2) {
            check_product(packed_formats[f], group, 40, 300, 3);
            check_product(packed_formats[f], group, 16, 64, 20);
        }
    }
}

/* A bitmask weight of random bytes stays inside its bytes (the sanitizers look on) and has finite codes. */
Test(quant, hostile_bitmasks_stay_inside) {
    enum { BYTES = 1 << 14 };
    uint8_t *data = aligned_alloc(64, BYTES);
    float *x = calloc(600, sizeof *x), out[32];
    struct activations a = {.values = x, .tokens = 1, .cols = 600, .stride = 600};
    void *scratch = aligned_alloc(64, activations_bytes(1, 600, 64));
    activations_bind(&a, 64, scratch);
    activations_quantize(&a, 0, 1);
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < BYTES; i++)
            data[i] = (uint8_t)(round % 2 ? 0xff : random_below(256));
        if (round % 5)
            memcpy(data, (uint64_t[]){BYTES - random_below(5000), random_below(BYTES)}, 16);
        struct weight weight = {FORMAT_INT4_MASK, LAYOUT_PANEL16, 64, 32, 600, data, BYTES, 1};
        cr_assert(eq(int, weight_check(&weight, NULL), MOESAIC_OK));
        weight_product(&weight, &a, NULL, 1, 0, 32, out, 32);
        struct quant_rows *rows = NULL;
        cr_assert(eq(int, weight_unpack(&weight, &rows, NULL), MOESAIC_OK));
        quant_rows_destroy(rows);
    }
    free(data);
    free(x);
    free(scratch);
}
