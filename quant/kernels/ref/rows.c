/* SPDX-License-Identifier: Apache-2.0 */
/* C reference of the products on row-major F32, F16 and BF16 weights: defines the bits (contract.md, "Float dots"). */
#include <math.h>
#include <string.h>

#include "kernels.h"

enum { LANES = 16 };

typedef float load_fn(const uint8_t *row, size_t k);

static float load_f32(const uint8_t *row, size_t k) {
    float value;
    memcpy(&value, row + k * sizeof value, sizeof value);
    return value;
}

static uint16_t load_u16(const uint8_t *row, size_t k) {
    uint16_t bits;
    memcpy(&bits, row + k * sizeof bits, sizeof bits);
    return bits;
}

static float load_f16(const uint8_t *row, size_t k) { return half_to_float(load_u16(row, k)); }
static float load_bf16(const uint8_t *row, size_t k) { return bfloat_to_float(load_u16(row, k)); }

/* Lane l sums k = l, l + 16, ... ; the tail is padded with zeros to whole steps of 16; then halves are added. */
static float dot(const uint8_t *row, const float *x, size_t cols, load_fn *load) {
    float lane[LANES] = {0};
    for (size_t k = 0; k < size_round_up(cols, LANES); k++)
        lane[k % LANES] = k < cols ? fmaf(load(row, k), x[k], lane[k % LANES]) : fmaf(0.0f, 0.0f, lane[k % LANES]);
    for (unsigned half = LANES / 2; half > 0; half /= 2)
        for (unsigned l = 0; l < half; l++)
            lane[l] += lane[l + half];
    return lane[0];
}

static void product(const struct weight *weight, const struct activations *x, const uint32_t *index, size_t tokens,
                    size_t row_begin, size_t row_end, float *out, size_t out_stride, size_t size, load_fn *load) {
    for (size_t t = 0; t < tokens; t++) {
        const float *values = x->values + (index ? index[t] : t) * x->stride;
        for (size_t r = row_begin; r < row_end; r++)
            out[t * out_stride + r] = dot(weight->data + r * weight->cols * size, values, weight->cols, load);
    }
}

void rows_f32_ref(const struct weight *weight, const struct activations *x, const uint32_t *index, size_t tokens,
                  size_t row_begin, size_t row_end, float *out, size_t out_stride) {
    product(weight, x, index, tokens, row_begin, row_end, out, out_stride, 4, load_f32);
}

void rows_f16_ref(const struct weight *weight, const struct activations *x, const uint32_t *index, size_t tokens,
                  size_t row_begin, size_t row_end, float *out, size_t out_stride) {
    product(weight, x, index, tokens, row_begin, row_end, out, out_stride, 2, load_f16);
}

void rows_bf16_ref(const struct weight *weight, const struct activations *x, const uint32_t *index, size_t tokens,
                   size_t row_begin, size_t row_end, float *out, size_t out_stride) {
    product(weight, x, index, tokens, row_begin, row_end, out, out_stride, 2, load_bf16);
}
