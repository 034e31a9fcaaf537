/* SPDX-License-Identifier: Apache-2.0 */
/* One tile of one expert: gate and up with the activation between them, or down. */
#include "experts_internal.h"

#include <stdlib.h>

bool expert_term_fits(const struct expert_term *term, const struct weight *matrix) {
    const struct weight *left = &term->left, *right = &term->right;
    uint64_t rank = right->rows, most = matrix->rows < matrix->cols ? matrix->rows : matrix->cols;
    return left->format == FORMAT_BF16 && right->format == FORMAT_BF16 && left->rows == matrix->rows &&
           left->cols == rank && right->cols == matrix->cols && rank >= 1 && rank <= most && rank <= EXPERT_RANK_MAX;
}

void expert_term_sum(const struct expert_term *term, uint64_t begin, uint64_t end, float *io_values) {
    const uint16_t *left = (const uint16_t *)term->left.data, *right = (const uint16_t *)term->right.data;
    uint64_t rank = term->right.rows, cols = term->right.cols;
    for (uint64_t r = begin; r < end; r++)
        for (uint64_t i = 0; i < rank; i++)
            for (uint64_t k = 0; k < cols; k++)
                io_values[(r - begin) * cols + k] +=
                    bfloat_to_float(left[r * rank + i]) * bfloat_to_float(right[i * cols + k]);
}

uint64_t expert_ffn_bytes(const struct ffn_weights *weights) {
    uint64_t bytes = weights->gate.bytes + weights->up.bytes + weights->down.bytes;
    for (size_t i = 0; i < 3; i++)
        bytes += weights->term[i].left.bytes + weights->term[i].right.bytes;
    return bytes;
}

/* Floats on the stack for the products of a term: 64 KiB. */
enum { TERM_FLOATS = 1 << 14 };
_Static_assert(EXPERT_RANK_MAX + EXPERT_FEW_ROWS_MAX <= TERM_FLOATS, "one token finds room");

/* out[t * stride + r - begin] += left[r] . (right x_t) for the rows [begin, end) and n tokens, some at a time. Each
 * tile multiplies by `right` anew, which is small, rather than that all threads meet once more behind it. */
static void add_term(const struct expert_term *term, const struct expert_input *x, const uint32_t *row, size_t n,
                     size_t begin, size_t end, float *out, size_t stride) {
    float scratch[TERM_FLOATS];
    size_t rank = term->right.rows, width = end - begin, most = TERM_FLOATS / (rank + width), count;
    struct activations in = x->form[0];
    for (size_t t = 0; term->left.data && t < n; t += count, in.values += row ? 0 : count * in.stride) {
        count = n - t < most ? n - t : most;
        float *sums = scratch + count * rank;
        const struct activations between = {.values = scratch, .tokens = count, .cols = rank, .stride = rank};
        weight_product(&term->right, &in, row ? row + t : NULL, count, 0, rank, scratch, rank);
        weight_product(&term->left, &between, NULL, count, begin, end, sums - begin, width);
        for (size_t i = 0; i < count; i++)
            expert_kernels()->add(out + (t + i) * stride, sums + i * width, width);
    }
}

void expert_ffn_up(const struct expert_job *job, const struct expert_part *part,
                   const struct expert_activation *activation, const struct expert_input *x, size_t begin, size_t end,
                   float *scratch) {
    const struct ffn_weights *w = &part->weights;
    expert_gated_fn *gated = expert_kernels()->gated[activation->type];
    size_t n = job->n, width = end - begin, stride = job->intermediate, first = part->gate_begin;
    size_t from = begin - first, to = end - first;
    float *gate = job->inner_values + begin, *up = scratch;
    const float *gate_bias = w->gate_bias ? w->gate_bias + from : NULL;
    const float *up_bias = w->up_bias ? w->up_bias + from : NULL;
    /* weight_product writes row r of the matrix to out[r]: the scratch is shifted so that `from` lands on its start,
     * and the part's first row on its place in the job's. */
    weight_product(&w->gate, expert_input_for(x, &w->gate), job->row, n, from, to, job->inner_values + first, stride);
    weight_product(&w->up, expert_input_for(x, &w->up), job->row, n, from, to, up - from, width);
    add_term(&w->term[0], x, job->row, n, from, to, gate, stride);
    add_term(&w->term[1], x, job->row, n, from, to, up, width);
    for (size_t i = 0; i < n; i++)
        gated(gate + i * stride, up + i * width, gate_bias, up_bias, activation, width);
}

void expert_ffn_down(const struct expert_job *job, const struct expert_part *part, size_t hidden, size_t begin,
                     size_t end) {
    const struct ffn_weights *w = &part->weights;
    size_t first = part->down_begin, from = begin - first, to = end - first;
    weight_product(&w->down, expert_input_for(&job->inner, &w->down), NULL, job->n, from, to, job->out + first, hidden);
    add_term(&w->term[2], &job->inner, NULL, job->n, from, to, job->out + begin, hidden);
    for (size_t i = 0; w->down_bias && i < job->n; i++)
        expert_kernels()->add(job->out + i * hidden + begin, w->down_bias + from, end - begin);
}

struct expert_part expert_part_whole(const struct ffn_weights *weights, size_t intermediate, size_t hidden) {
    return (struct expert_part){
        .weights = *weights, .gate_end = (uint32_t)intermediate, .down_end = (uint32_t)hidden};
}

moesaic_status expert_ffn_inner(const struct ffn_weights *weights, struct expert_activation activation, const float *x,
                                size_t tokens, size_t hidden, size_t intermediate, float *out, moesaic_error *error) {
    unsigned forms = expert_form_bit(&weights->gate) | expert_form_bit(&weights->up);
    void *form_bytes = memory_zeroed(expert_input_bytes(forms, tokens, hidden) + 64, 1);
    float *scratch = calloc(expert_tile_floats(tokens), sizeof *scratch);
    if (!form_bytes || !scratch) {
        free(scratch);
        free(form_bytes);
        return status_no_memory(error, "inner activations", expert_tile_floats(tokens) * sizeof *scratch);
    }
    struct expert_input input;
    struct expert_part part = expert_part_whole(weights, intermediate, hidden);
    struct expert_job job = {.intermediate = intermediate, .n = tokens, .inner_values = out};
    expert_input_bind(&input, forms, x, tokens, hidden, hidden, form_bytes);
    expert_input_quantize(&input, 0, tokens);
    for (size_t begin = 0; begin < intermediate; begin += EXPERT_TILE_ROWS_MAX) {
        size_t end = intermediate - begin < EXPERT_TILE_ROWS_MAX ? intermediate : begin + EXPERT_TILE_ROWS_MAX;
        expert_ffn_up(&job, &part, &activation, &input, begin, end, scratch);
    }
    free(scratch);
    free(form_bytes);
    return MOESAIC_OK;
}
