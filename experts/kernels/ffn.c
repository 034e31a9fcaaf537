/* SPDX-License-Identifier: Apache-2.0 */
/* Gated activations with their biases, and the weighted sum over experts, on 16 lanes; compiled once per ISA with
 * KERNELS set to the table's name. */
#include "experts_internal.h"
#include "lanes.h"

/* x / (1 + e^-x) */
static inline lanes silu(lanes x) {
    const lanes one = lanes_set(1.0f), zero = lanes_set(0.0f);
    return lanes_div(x, lanes_add(one, lanes_exp(lanes_sub(zero, x))));
}

/* g / (1 + e^(-alpha g)) * (u + 1) of g = min(gate, limit) and u = max(-limit, min(up, limit)) (transformers'
 * GptOssExperts). NaN stays: it is the second operand of each min and max. */
static inline lanes clamped(lanes gate, lanes up, const struct expert_activation *activation) {
    const lanes one = lanes_set(1.0f), limit = lanes_set(activation->limit);
    gate = lanes_min(limit, gate);
    up = lanes_max(lanes_set(-activation->limit), lanes_min(limit, up));
    lanes power = lanes_exp(lanes_mul(gate, lanes_set(-activation->alpha)));
    return lanes_mul(lanes_div(gate, lanes_add(one, power)), lanes_add(up, one));
}

/* x / 2 * (1 + tanh u) = x / (1 + e^-2u), u = sqrt(2 / pi) * (x + 0.044715 x^3) */
static inline lanes gelu_tanh(lanes x) {
    const lanes one = lanes_set(1.0f);
    lanes cubic = lanes_fma(lanes_mul(lanes_mul(x, x), x), lanes_set(0.044715f), x);
    return lanes_div(x, lanes_add(one, lanes_exp(lanes_mul(cubic, lanes_set(-1.5957691216f)))));
}

/* x / 2 * (1 + erf(x / sqrt 2)); erf by Abramowitz and Stegun 7.1.26, absolute error under 1.5e-7. */
static inline lanes gelu(lanes x) {
    const lanes zero = lanes_set(0.0f), one = lanes_set(1.0f);
    lanes magnitude = lanes_mul(lanes_max(x, lanes_sub(zero, x)), lanes_set(0.70710678f));
    lanes t = lanes_div(one, lanes_fma(lanes_set(0.3275911f), magnitude, one));
    lanes p = lanes_set(1.061405429f);
    p = lanes_fma(p, t, lanes_set(-1.453152027f));
    p = lanes_fma(p, t, lanes_set(1.421413741f));
    p = lanes_fma(p, t, lanes_set(-0.284496736f));
    p = lanes_fma(p, t, lanes_set(0.254829592f));
    lanes tail = lanes_mul(lanes_mul(p, t), lanes_exp(lanes_sub(zero, lanes_mul(magnitude, magnitude))));
    lanes twice = lanes_select_less(x, zero, tail, lanes_sub(lanes_set(2.0f), tail));
    return lanes_mul(lanes_mul(x, lanes_set(0.5f)), twice);
}

/* values[i .. i + n) and their bias, where there is one. */
static inline lanes biased(const float *values, const float *bias, size_t i, size_t n) {
    if (n == LANES)
        return bias ? lanes_add(lanes_load(values + i), lanes_load(bias + i)) : lanes_load(values + i);
    return bias ? lanes_add(lanes_load_n(values + i, n), lanes_load_n(bias + i, n)) : lanes_load_n(values + i, n);
}

/* `formula` is of gate, up and activation. */
#define GATED(name, formula)                                                                                           \
    static void name(float *gates, const float *ups, const float *gate_bias, const float *up_bias,                     \
                     const struct expert_activation *activation, size_t count) {                                       \
        size_t i = 0;                                                                                                  \
        (void)activation;                                                                                              \
        for (; i + LANES <= count; i += LANES) {                                                                       \
            lanes gate = biased(gates, gate_bias, i, LANES), up = biased(ups, up_bias, i, LANES);                      \
            lanes_store(gates + i, formula);                                                                           \
        }                                                                                                              \
        if (i < count) {                                                                                               \
            lanes gate = biased(gates, gate_bias, i, count - i), up = biased(ups, up_bias, i, count - i);              \
            lanes_store_n(gates + i, formula, count - i);                                                              \
        }                                                                                                              \
    }
GATED(gated_silu, lanes_mul(silu(gate), up))
GATED(gated_gelu, lanes_mul(gelu(gate), up))
GATED(gated_gelu_tanh, lanes_mul(gelu_tanh(gate), up))
GATED(gated_clamped, clamped(gate, up, activation))

static inline lanes weighted_sum(const float *rows, size_t cols, const uint32_t *place, const float *weight, uint32_t k,
                                 size_t at, size_t n) {
    lanes sum = lanes_set(0.0f);
    for (uint32_t slot = 0; slot < k; slot++) {
        const float *row = rows + place[slot] * cols + at;
        sum = lanes_fma(lanes_set(weight[slot]), n == LANES ? lanes_load(row) : lanes_load_n(row, n), sum);
    }
    return sum;
}

static void combine(float *io, size_t cols, const float *rows, const uint32_t *place, const float *weight, uint32_t k,
                    const float *shared, float gate) {
    size_t i = 0;
    for (; i + LANES <= cols; i += LANES) {
        lanes sum = weighted_sum(rows, cols, place, weight, k, i, LANES);
        if (shared)
            sum = lanes_fma(lanes_set(gate), lanes_load(shared + i), sum);
        lanes_store(io + i, lanes_add(lanes_load(io + i), sum));
    }
    if (i < cols) {
        size_t n = cols - i;
        lanes sum = weighted_sum(rows, cols, place, weight, k, i, n);
        if (shared)
            sum = lanes_fma(lanes_set(gate), lanes_load_n(shared + i, n), sum);
        lanes_store_n(io + i, lanes_add(lanes_load_n(io + i, n), sum), n);
    }
}

static void add(float *io, const float *x, size_t cols) {
    size_t i = 0;
    for (; i + LANES <= cols; i += LANES)
        lanes_store(io + i, lanes_add(lanes_load(io + i), lanes_load(x + i)));
    if (i < cols)
        lanes_store_n(io + i, lanes_add(lanes_load_n(io + i, cols - i), lanes_load_n(x + i, cols - i)), cols - i);
}

const struct expert_kernels KERNELS = {
    .gated = {[ACTIVATION_SILU] = gated_silu,
              [ACTIVATION_GELU] = gated_gelu,
              [ACTIVATION_GELU_TANH] = gated_gelu_tanh,
              [ACTIVATION_CLAMPED] = gated_clamped},
    .combine = combine,
    .add = add,
};
