/* SPDX-License-Identifier: Apache-2.0 */
/* Quantization of activations: group sizes, tails, halfway cases, zeros, subnormal and non-finite values. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "check.h"

/* What a row holds: ordinary values, values that fall halfway between codes, or something extreme. */
static void fill(struct check_random *random, unsigned kind, float *values, size_t count) {
    for (size_t k = 0; k < count; k++) {
        float sign = check_random_below(random, 2) ? 1.0f : -1.0f;
        values[k] = kind == 1   ? sign * ((float)check_random_below(random, 127) + 0.5f)
                    : kind == 2 ? sign * 0x1p-149f * (float)check_random_below(random, 9)
                    : kind == 3 ? 0.0f
                    : kind == 4 ? sign * 0x1p-119f * (float)check_random_below(random, 5)
                                : check_random_float(random);
    }
    if (kind == 1)
        values[check_random_below(random, count)] = 127.0f;
    if (kind == 5)
        values[check_random_below(random, count)] = INFINITY;
    if (kind == 6)
        values[check_random_below(random, count)] = -NAN;
    if (kind == 7)
        values[check_random_below(random, count)] = 0x1.fffffep127f;
}

static bool run_case(const struct kernel_entry *entry, kernel_quantize_fn *reference, struct check_random *random,
                     size_t cols, uint32_t group, unsigned kind) {
    size_t groups = (size_t)quant_rows_groups(cols, group);
    struct guarded values = guarded_alloc(cols * sizeof(float), 4), codes[2], scales[2], sums[2];
    fill(random, kind, (float *)(void *)values.data, cols);
    for (int i = 0; i < 2; i++) {
        codes[i] = guarded_alloc(groups * group, 32);
        scales[i] = guarded_alloc(groups * sizeof(float), 4);
        sums[i] = guarded_alloc(groups * sizeof(int32_t), 4);
        memset(codes[i].data, 0x5a, codes[i].bytes);
        (i == 0 ? reference : (kernel_quantize_fn *)entry->function)(
            (const float *)(void *)values.data, cols, group, (int8_t *)codes[i].data,
            (float *)(void *)scales[i].data, (int32_t *)(void *)sums[i].data);
    }
    char what[80];
    snprintf(what, sizeof what, "cols %zu group %u kind %u", cols, group, kind);
    bool same = check_bytes(entry, what, codes[0].data, codes[1].data, codes[0].bytes) &&
                check_bytes(entry, what, sums[0].data, sums[1].data, sums[0].bytes) &&
                check_floats(entry, what, (const float *)(void *)scales[0].data, (const float *)(void *)scales[1].data,
                             groups);
    guarded_free(&values);
    for (int i = 0; i < 2; i++) {
        guarded_free(&codes[i]);
        guarded_free(&scales[i]);
        guarded_free(&sums[i]);
    }
    return same;
}

unsigned check_quantize(const struct kernel_entry *entry, const struct kernel_table *reference) {
    struct check_random random = {.state = 2};
    unsigned failed = 0;
    for (uint32_t group = 32; group <= 128; group *= 2)
        for (unsigned kind = 0; kind < 8; kind++)
            for (size_t cols = 1; cols < 300; cols += kind == 0 ? 1 : 13)
                failed += !run_case(entry, reference->quantize, &random, cols, group, kind);
    return failed;
}
