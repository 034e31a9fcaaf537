/* SPDX-License-Identifier: Apache-2.0 */
/* Compression of one matrix against the NumPy references of tests/reference, and its properties. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compress.h"

/* ---- the fixture: records of make_compress_fixture.py ----------------------------------------------------------- */

struct record {
    char kind;
    uint32_t rows, cols;
    const void *data;
};

static uint8_t *fixture;
static size_t fixture_bytes;

static void fixture_load(void) {
    char path[4096];
    snprintf(path, sizeof path, "%s/compress/reference.bin", getenv("MOESAIC_TEST_DATA"));
    FILE *file = fopen(path, "rb");
    cr_assert(file != NULL, "no fixture at %s", path);
    fixture = malloc(1 << 20);
    fixture_bytes = fread(fixture, 1, 1 << 20, file);
    fclose(file);
}

static void fixture_free(void) {
    free(fixture);
}

static struct record fixture_find(int number, const char *name) {
    char full[25];
    snprintf(full, sizeof full, "%d.%s", number, name);
    for (size_t at = 0; at + 36 <= fixture_bytes;) {
        struct record record = {.kind = (char)fixture[at + 24], .data = fixture + at + 36};
        memcpy(&record.rows, fixture + at + 28, 4);
        memcpy(&record.cols, fixture + at + 32, 4);
        if (strncmp((const char *)fixture + at, full, 24) == 0)
            return record;
        at += 36 + (size_t)record.rows * record.cols * (record.kind == 'f' ? 4 : record.kind == 'e' ? 2 : 1);
    }
    cr_assert(false, "no record %s", full);
    return (struct record){0};
}

/* One matrix with its statistics. */
struct subject {
    size_t rows, cols;
    uint32_t group;
    float *w;
    struct calib_stats *stats;
};

static struct subject subject_from_fixture(int number) {
    struct record w = fixture_find(number, "w"), x = fixture_find(number, "x");
    struct subject subject = {.rows = w.rows, .cols = w.cols};
    float group, *inputs = malloc(sizeof *inputs * x.rows * x.cols);
    memcpy(&group, fixture_find(number, "group").data, sizeof group);
    subject.group = (uint32_t)group;
    subject.w = malloc(sizeof *subject.w * w.rows * w.cols);
    memcpy(subject.w, w.data, sizeof *subject.w * w.rows * w.cols);
    for (size_t i = 0; i < (size_t)x.rows * x.cols; i++) {
        uint16_t half;
        memcpy(&half, (const uint8_t *)x.data + 2 * i, 2);
        inputs[i] = half_to_float(half);
    }
    cr_assert_eq(calib_stats_create(w.cols, true, &subject.stats, NULL), MOESAIC_OK);
    calib_add(subject.stats, inputs, x.cols, NULL, NULL, x.rows, 0, x.cols);
    free(inputs);
    return subject;
}

static void subject_done(struct subject *subject) {
    free(subject->w);
    calib_stats_destroy(subject->stats);
}

static struct compress_result compress(const struct subject *subject, struct compress_options options) {
    struct compress_result result;
    moesaic_error error = {.message = ""};
    options.group = options.group != 0 ? options.group : subject->group;
    moesaic_status status =
        compress_matrix(subject->w, subject->rows, subject->cols, subject->stats, &options, &result, &error);
    cr_assert_eq(status, MOESAIC_OK, "%s", error.message);
    return result;
}

static void expect_bytes(int number, const char *name, const void *found, size_t count) {
    struct record record = fixture_find(number, name);
    size_t other = 0;
    cr_assert_eq((size_t)record.rows * record.cols, count);
    for (size_t i = 0; i < count; i++)
        other += ((const int8_t *)record.data)[i] != ((const int8_t *)found)[i];
    cr_expect_eq(other, 0, "%d.%s: %zu of %zu differ", number, name, other, count);
}

static void expect_codes(int number, const char *name, struct compress_options options) {
    struct subject subject = subject_from_fixture(number);
    struct compress_result result = compress(&subject, options);
    expect_bytes(number, name, result.codes->codes, subject.rows * subject.cols);
    compress_result_done(&result);
    subject_done(&subject);
}

static void expect_mask(int number, const char *name, struct compress_options options) {
    struct subject subject = subject_from_fixture(number);
    struct compress_result result = compress(&subject, options);
    expect_bytes(number, name, result.mask, subject.rows * subject.cols);
    compress_result_done(&result);
    subject_done(&subject);
}

TestSuite(compress_reference, .init = fixture_load, .fini = fixture_free);

Test(compress_reference, rtn_and_clip) {
    for (int i = 0; i < 3; i++) {
        expect_codes(i, "rtn8", (struct compress_options){.quant = QUANT_RTN, .format = FORMAT_INT8});
        expect_codes(i, "rtn4", (struct compress_options){.quant = QUANT_RTN, .format = FORMAT_INT4});
        expect_codes(i, "rtn3", (struct compress_options){.quant = QUANT_RTN, .format = FORMAT_INT3});
        expect_codes(i, "clip4", (struct compress_options){.quant = QUANT_CLIP, .format = FORMAT_INT4});
    }
}

Test(compress_reference, gptq) {
    for (int i = 0; i < 3; i++) {
        expect_codes(i, "gptq4", (struct compress_options){.quant = QUANT_GPTQ, .format = FORMAT_INT4});
        expect_codes(i, "gptq3.in_order",
                     (struct compress_options){.quant = QUANT_GPTQ, .format = FORMAT_INT3, .in_order = true});
    }
}

Test(compress_reference, magnitude_and_wanda) {
    for (int i = 0; i < 3; i++) {
        expect_mask(i, "magnitude.5", (struct compress_options){.prune = PRUNE_MAGNITUDE, .density = 0.5});
        expect_mask(i, "wanda.5", (struct compress_options){.prune = PRUNE_WANDA, .density = 0.5});
        expect_mask(i, "wanda2:4", (struct compress_options){.prune = PRUNE_WANDA, .keep = 2, .of = 4});
    }
}

Test(compress_reference, sparsegpt) {
    for (int i = 0; i < 3; i++) {
        struct subject subject = subject_from_fixture(i);
        size_t count = subject.rows * subject.cols;
        struct compress_result result =
            compress(&subject, (struct compress_options){.prune = PRUNE_SPARSEGPT, .density = 0.5, .in_order = true});
        expect_bytes(i, "sparsegpt.5", result.mask, count);
        const float *values = fixture_find(i, "sparsegpt.5.values").data;
        for (size_t k = 0; k < count; k++) {
            float expected;
            memcpy(&expected, values + k, sizeof expected);
            cr_assert_float_eq(result.values[k], expected, 1e-6f);
        }
        compress_result_done(&result);
        subject_done(&subject);
        expect_mask(i, "sparsegpt.6", (struct compress_options){.prune = PRUNE_SPARSEGPT, .density = 0.6});
        expect_mask(i, "sparsegpt2:4", (struct compress_options){.prune = PRUNE_SPARSEGPT, .keep = 2, .of = 4});
    }
}

Test(compress_reference, sparsegpt_and_gptq_in_one_pass) {
    for (int i = 0; i < 3; i++) {
        struct compress_options pattern = {
            .prune = PRUNE_SPARSEGPT, .keep = 4, .of = 8, .quant = QUANT_GPTQ, .format = FORMAT_INT4};
        struct compress_options density = {
            .prune = PRUNE_SPARSEGPT, .density = 0.4, .quant = QUANT_GPTQ, .format = FORMAT_INT4};
        expect_codes(i, "joint4:8", pattern);
        expect_mask(i, "joint4:8.mask", pattern);
        expect_codes(i, "joint.4", density);
    }
}
