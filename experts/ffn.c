/* SPDX-License-Identifier: Apache-2.0 */
/* One tile of one expert: gate and up with the activation between them, or down. */
#include "experts_internal.h"

static void add_bias(float *out, size_t stride, size_t rows, size_t cols, const float *bias) {
    if (bias)
        for (size_t r = 0; r < rows; r++)
            expert_kernels()->add(out + r * stride, bias, cols);
}

void expert_ffn_up(const struct expert_job *job, activation_type activation, const struct expert_input *x, size_t begin,
                   size_t end, float *scratch) {
    const struct ffn_weights *w = job->weights;
    const struct expert_kernels *kernels = expert_kernels();
    size_t n = job->n, width = end - begin, stride = job->intermediate;
    float *gate = job->inner_values + begin, *up = scratch;
    /* weight_product writes row r of the matrix to out[r]: the scratch is shifted so that `begin` lands on its start. */
    weight_product(&w->gate, expert_input_for(x, &w->gate), job->row, n, begin, end, job->inner_values, stride);
    weight_product(&w->up, expert_input_for(x, &w->up), job->row, n, begin, end, up - begin, width);
    add_bias(gate, stride, n, width, w->gate_bias ? w->gate_bias + begin : NULL);
    add_bias(up, width, n, width, w->up_bias ? w->up_bias + begin : NULL);
    for (size_t i = 0; i < n; i++)
        kernels->gated[activation](gate + i * stride, up + i * width, width);
}

void expert_ffn_down(const struct expert_job *job, size_t hidden, size_t begin, size_t end) {
    const struct ffn_weights *w = job->weights;
    weight_product(&w->down, expert_input_for(&job->inner, &w->down), NULL, job->n, begin, end, job->out, hidden);
    add_bias(job->out + begin, hidden, job->n, end - begin, w->down_bias ? w->down_bias + begin : NULL);
}
