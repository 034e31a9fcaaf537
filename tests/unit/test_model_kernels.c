/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels of the forward pass and of the experts: the references against plain double arithmetic, and special values on
 * every ISA. That the ISAs agree with the references is checked in tests/kernels. */
#include "experts_internal.h"
#include "kernels/model_kernels.h"
#include "portable_math.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { VALUES_MAX = 8192 };
static float x[VALUES_MAX], y[VALUES_MAX], z[VALUES_MAX], w[VALUES_MAX];
static uint32_t random_state = 7;

static float random_float(float limit) {
    random_state = random_state * 1664525u + 1013904223u;
    return limit * ((float)(random_state >> 8) / (1 << 23) - 1.0f);
}

static void fill(float *values, size_t count, float limit) {
    for (size_t i = 0; i < count; i++)
        values[i] = random_float(limit);
}

/* The sets that this CPU can run beside the reference. */
struct isa {
    const char *name;
    const struct model_kernels *model;
    const struct expert_kernels *experts;
};
static size_t isas(struct isa *ret) {
    size_t n = 0;
#if defined(__x86_64__)
    if (cpu_bundles() & CPU_AVX2)
        ret[n++] = (struct isa){"avx2", &model_kernels_avx2, &expert_kernels_avx2};
    if (cpu_bundles() & CPU_AVX512)
        ret[n++] = (struct isa){"avx512", &model_kernels_avx512, &expert_kernels_avx512};
#endif
    if (n == 0)
        cr_skip_test("no vector ISA on this machine");
    return n;
}

static void same(const char *isa, const char *kernel, size_t count, const void *a, const void *b, size_t bytes) {
    cr_assert_eq(memcmp(a, b, bytes), 0, "%s: %s of %zu differs from the reference", isa, kernel, count);
}

static const size_t counts[] = {1, 2, 7, 15, 16, 17, 31, 32, 48, 64, 100, 128, 256, 1000};
#define EACH_COUNT(n) for (const size_t *n = counts; n < counts + sizeof counts / sizeof *counts; n++)

/* FP16 of everything that matters: ties, subnormals, overflow, infinities. */
Test(kernels, narrowing_has_the_same_bits_on_every_isa) {
    struct isa list[2];
    static uint16_t a[VALUES_MAX], b[VALUES_MAX];
    const float special[] = {0.0f,     -0.0f,    65504.0f, 65519.9f, 65520.0f, 1e9f,     INFINITY, -INFINITY,
                             0x1p-14f, 0x1p-24f, 0x1p-25f, 0x1.8p-25f, 0x1p-26f, 1.00048828125f, 1.0009765625f, 1e-40f};
    for (size_t i = 0; i < VALUES_MAX; i++)
        x[i] = ldexpf(random_float(1), (int)(i % 48) - 30);
    memcpy(x, special, sizeof special);
    model_kernels_ref.narrow(x, VALUES_MAX - 3, a);
    for (size_t i = 0, n = isas(list); i < n; i++) {
        list[i].model->narrow(x, VALUES_MAX - 3, b);
        same(list[i].name, "narrow", VALUES_MAX - 3, a, b, (VALUES_MAX - 3) * sizeof *a);
    }
    for (size_t i = 0; i < VALUES_MAX - 3; i++)
        cr_assert_eq(a[i], half_from_float(x[i]), "%a narrows to %04x", x[i], a[i]);
}

/* Codes are the nearest, within 127, and repeat on every ISA; what has no scale says so. */
Test(kernels, quantizing_has_the_same_bits_on_every_isa) {
    struct isa list[2];
    int8_t a[1008], b[1008];
    for (size_t i = 0, n = isas(list); i < n; i++) {
        EACH_COUNT(count) {
            size_t padded = (*count + 15) / 16 * 16;
            for (int round = -130; round < 128; round += 3) {
                fill(x, *count, ldexpf(1, round));
                float scale = model_kernels_ref.quantize(x, *count, a);
                float isa_scale = list[i].model->quantize(x, *count, b);
                same(list[i].name, "quantize's scale", *count, &scale, &isa_scale, sizeof scale);
                same(list[i].name, "quantize", *count, a, b, padded);
                for (size_t k = 0; scale > 0 && k < padded; k++)
                    cr_assert_leq(fabs((k < *count ? (double)x[k] : 0) - (double)a[k] * (double)scale),
                                  0.50001 * (double)scale);
            }
            for (int kind = 0; kind < 3; kind++) {
                x[*count - 1] = kind == 0 ? NAN : kind == 1 ? INFINITY : -INFINITY;
                cr_assert(isnan(list[i].model->quantize(x, *count, b)));
                cr_assert(isnan(model_kernels_ref.quantize(x, *count, a)));
                same(list[i].name, "quantize of a bad row", *count, a, b, padded);
                cr_assert_eq(a[0], 0);
            }
        }
    }
}

Test(kernels, finite_sees_what_is_not) {
    struct isa list[3];
    size_t n = isas(list);
    list[n++] = (struct isa){"ref", &model_kernels_ref, NULL};
    for (size_t i = 0; i < n; i++) {
        EACH_COUNT(count) {
            fill(x, *count, 3e38f);
            cr_assert_eq(list[i].model->finite(x, *count), 0.0f);
            x[*count - 1] = i % 2 ? NAN : INFINITY;
            cr_assert_neq(list[i].model->finite(x, *count), 0.0f, "%s misses one of %zu", list[i].name, *count);
        }
    }
}

/* The reference against double: e^(s - max) with the mask, its sum, and the factor for what came before. */
Test(kernels, softmax_is_the_softmax) {
    for (size_t round = 0; round < 200; round++) {
        size_t begin = round % 60, end = begin + 1 + round * 11 % (64 - begin);
        float max = round % 3 ? random_float(10) : -INFINITY, sum = round % 3 ? 2.0f : 0.0f, before = max;
        fill(x, 64, 30);
        memcpy(z, x, 64 * sizeof *x);
        double largest = max, total = 0;
        for (size_t i = begin; i < end; i++)
            largest = x[i] > largest ? x[i] : largest;
        float rescale;
        model_kernels_ref.softmax(z, 1, &begin, &end, &max, &sum, &rescale);
        cr_assert_eq(max, (float)largest);
        cr_assert_float_eq(rescale, exp(before - largest), 1e-6);
        for (size_t i = begin / 16 * 16; i < (end + 15) / 16 * 16; i++) {
            float below = x[i] - (float)largest; /* rounded, as in the kernel: what is tested is the exponential */
            double expected = i >= begin && i < end ? exp(below) : 0;
            cr_assert_float_eq(z[i], expected, 2.4e-7 * expected + 2e-38, "lane %zu", i);
            total += expected;
        }
        cr_assert_float_eq(sum, (round % 3 ? 2.0 : 0.0) * exp(before - largest) + total, 1e-5 * (total + 2));
    }
}

static double erf_gelu(double v) { return v / 2 * (1 + erf(v / sqrt(2))); }
static double tanh_gelu(double v) {
    return v / 2 * (1 + tanh(sqrt(2 / 3.14159265358979) * (v + 0.044715 * v * v * v)));
}
static double plain_silu(double v) { return v / (1 + exp(-v)); }

Test(kernels, activations_are_what_they_are_called) {
    double (*const plain[])(double) = {[ACTIVATION_SILU] = plain_silu, [ACTIVATION_GELU] = erf_gelu,
                                       [ACTIVATION_GELU_TANH] = tanh_gelu};
    for (size_t type = 0; type <= ACTIVATION_GELU_TANH; type++) {
        const struct expert_activation activation = {.type = (activation_type)type};
        for (size_t i = 0; i < 4001; i++) {
            x[i] = z[i] = ((float)i - 2000) / 100;
            y[i] = 1.5f;
        }
        expert_kernels_ref.gated[type](z, y, NULL, NULL, &activation, 4001);
        for (size_t i = 0; i < 4001; i++) {
            double expected = 1.5 * plain[type](x[i]);
            cr_assert_float_eq(z[i], expected, 5e-7 * (1 + fabs(expected)), "activation %zu of %g: %g, not %g",
                               type, x[i], z[i], expected);
        }
    }
}

Test(kernels, activations_of_extreme_values_stay_sane) {
    const float extreme[] = {-INFINITY, -1e30f, -100, -88.5f, 88.5f, 100, 1e30f, INFINITY};
    float values[8], up[8];
    for (size_t i = 0; i < 8; i++) {
        values[i] = extreme[i];
        up[i] = 1;
    }
    expert_kernels_ref.gated[ACTIVATION_SILU](values, up, NULL, NULL, &(struct expert_activation){0}, 8);
    for (size_t i = 1; i < 4; i++)
        cr_assert(fabsf(values[i]) < 1e-6f || extreme[i] < -1e20f, "silu %g is %g", extreme[i], values[i]);
    for (size_t i = 4; i < 8; i++)
        cr_assert_eq(values[i], extreme[i]);
}

/* The biases come first, and both clamps see what they made. */
Test(kernels, clamped_activation_is_that_of_gpt_oss) {
    const struct expert_activation activation = {.type = ACTIVATION_CLAMPED, .limit = 7.0f, .alpha = 1.702f};
    fill(x, 4001, 12);
    fill(y, 4001, 12);
    fill(w, 4001, 2);
    for (int biases = 0; biases < 4; biases++) {
        const float *gate_bias = biases & 1 ? w : NULL, *up_bias = biases & 2 ? w + 1 : NULL;
        memcpy(z, x, sizeof z);
        expert_kernels_ref.gated[ACTIVATION_CLAMPED](z, y, gate_bias, up_bias, &activation, 4000);
        for (size_t i = 0; i < 4000; i++) {
            double gate = fmin(7, (double)x[i] + (gate_bias ? gate_bias[i] : 0));
            double up = fmax(-7, fmin(7, (double)y[i] + (up_bias ? up_bias[i] : 0)));
            double expected = gate / (1 + exp(-1.702 * gate)) * (up + 1);
            cr_assert_float_eq(z[i], expected, 5e-6 * (1 + fabs(expected)), "biases %d, gate %g, up %g: %g, not %g",
                               biases, gate, up, z[i], expected);
        }
        cr_assert_eq(z[4000], x[4000]);
    }
}

Test(kernels, clamped_activation_of_extreme_values) {
    const struct expert_activation activation = {.type = ACTIVATION_CLAMPED, .limit = 7.0f, .alpha = 1.702f};
    const float at_limit = (float)(7 / (1 + exp(-7 * 1.702)));
    static const float gates[] = {7.0f, 7.5f, INFINITY, 7.0f, 7.0f, 1.0f, -1000.0f, NAN, 7.0f};
    static const float ups[] = {0.0f, 0.0f, 0.0f, 7.0f, INFINITY, -1.0f, 1.0f, 0.0f, NAN};
    float out[9];
    memcpy(out, gates, sizeof out);
    expert_kernels_ref.gated[ACTIVATION_CLAMPED](out, ups, NULL, NULL, &activation, 9);
    for (size_t i = 0; i < 3; i++)
        cr_assert_float_eq(out[i], at_limit, 1e-5, "gate %g: %g", gates[i], out[i]);
    for (size_t i = 3; i < 5; i++)
        cr_assert_float_eq(out[i], 8 * at_limit, 1e-4, "up %g: %g", ups[i], out[i]);
    cr_assert_eq(out[5], 0.0f);
    cr_assert_float_eq(out[6], 0.0f, 1e-30);
    cr_assert(isnan(out[7]) && isnan(out[8]), "%g %g", out[7], out[8]);
}

Test(kernels, combine_is_the_weighted_sum) {
    const uint32_t place[] = {3, 0};
    const float weight[] = {0.75f, 0.5f};
    fill(x, 4 * 37, 4);
    fill(y, 37, 4);
    fill(z, 37, 4);
    memcpy(w, z, sizeof w);
    expert_combine(z, 37, x, place, weight, 2, y, 0.25f);
    for (size_t i = 0; i < 37; i++)
        cr_assert_float_eq(z[i], w[i] + 0.75 * x[3 * 37 + i] + 0.5 * x[i] + 0.25 * y[i], 2e-6);
}

Test(kernels, portable_math_is_exact_enough) {
    for (int i = 1; i < 4000; i++) {
        double v = i * 0.1731, s, c;
        cr_assert_float_eq(portable_log(v), log(v), 1e-15 * (1 + fabs(log(v))));
        cr_assert_float_eq(portable_exp(v / 10) / exp(v / 10), 1, 4e-15);
        cr_assert_float_eq(portable_exp(-v / 10) / exp(-v / 10), 1, 4e-15);
        cr_assert_float_eq(portable_power(10000, -v / 700) / pow(10000, -v / 700), 1, 1e-14);
        for (double scale = 1; scale < 5e4; scale *= 37) {
            portable_sincos(v * scale, &s, &c);
            cr_assert_float_eq(s, sin(v * scale), 1e-14, "sin %g", v * scale);
            cr_assert_float_eq(c, cos(v * scale), 1e-14, "cos %g", v * scale);
        }
    }
}
