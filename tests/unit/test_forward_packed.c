/* SPDX-License-Identifier: Apache-2.0 */
/* One MoE layer with packed weights of every format at once and low-rank terms beside them: INT8 activations, the same
 * bits however the step is cut, and near what the dequantized weights give. */
#include "../golden/golden.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MATRICES_MAX = 96, TOKENS = 100, NARROW = 20 };

/* Substitutes and what they borrow. */
struct packed_layer {
    struct layer_weights packed, plain; /* the same numbers, packed and as floats */
    struct ffn_weights *experts[2];
    void *blocks[2 * MATRICES_MAX];
    size_t n_blocks;
};

static void *keep(struct packed_layer *layer, void *block) {
    cr_assert_not_null(block);
    cr_assert_lt(layer->n_blocks, 2 * MATRICES_MAX);
    return layer->blocks[layer->n_blocks++] = block;
}

/* Round to nearest, with the largest of a group at the edge of the codes; sparse formats keep every other pair. */
static void quantize_row(struct quant_rows *rows, uint64_t r, const float *values) {
    unsigned bits = number_format_bits(rows->format);
    float top = (float)((1 << (bits - 1)) - 1);
    for (uint64_t begin = 0, g = 0; begin < rows->cols; begin += rows->group, g++) {
        uint64_t end = begin + rows->group < rows->cols ? begin + rows->group : rows->cols;
        float largest = 1e-6f;
        for (uint64_t k = begin; k < end; k++)
            largest = fmaxf(largest, fabsf(values[k]));
        uint16_t scale = half_from_float(largest / top);
        rows->scales[r * quant_rows_groups(rows->cols, rows->group) + g] = scale;
        for (uint64_t k = begin; k < end; k++)
            rows->codes[r * rows->cols + k] =
                (int8_t)fminf(top, fmaxf(-top, rintf(values[k] / half_to_float(scale))));
        for (uint64_t k = begin; rows->mask && k < end; k++) {
            rows->mask[r * rows->cols + k] = k % 4 < 2;
            rows->codes[r * rows->cols + k] *= k % 4 < 2;
        }
    }
}

static void pack(struct packed_layer *layer, const struct weight *source, number_format format, uint32_t group,
                 struct weight *ret_packed, struct weight *ret_plain) {
    struct quant_rows *rows;
    moesaic_error error = {0};
    float *values = keep(layer, malloc(source->rows * source->cols * sizeof *values));
    cr_assert_eq(quant_rows_create(format, group, source->rows, source->cols, &rows, &error), MOESAIC_OK, "%s",
                 error.message);
    weight_dequantize(source, 0, source->rows, values);
    for (uint64_t r = 0; r < source->rows; r++)
        quantize_row(rows, r, values + r * source->cols);
    uint64_t bytes = weight_packed_bytes(rows);
    void *out = keep(layer, memory_zeroed(1, bytes));
    cr_assert_eq(weight_pack(rows, out, bytes, ret_packed, &error), MOESAIC_OK, "%s", error.message);
    quant_rows_destroy(rows);
    weight_dequantize(ret_packed, 0, source->rows, values);
    *ret_plain = (struct weight){.format = FORMAT_F32,
                                 .layout = LAYOUT_ROWS,
                                 .rows = source->rows,
                                 .cols = source->cols,
                                 .data = (const uint8_t *)values,
                                 .bytes = source->rows * source->cols * sizeof *values,
                                 .factor = 1};
}

/* A term of the size of the weights, and its sum with the plain form of the matrix. */
static void compensate(struct packed_layer *layer, uint32_t seed, const struct weight *plain,
                       struct expert_term *ret_term) {
    uint64_t rank = 1 + seed % 3 * 11, count = (plain->rows + plain->cols) * rank;
    uint16_t *factors = keep(layer, malloc(count * sizeof *factors));
    for (uint64_t i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        factors[i] = bfloat_from_float((float)(seed >> 8) / (1 << 25) - 0.25f);
    }
    struct weight left = {.format = FORMAT_BF16, .rows = plain->rows, .cols = rank, .factor = 1}, right = left;
    left.data = (const uint8_t *)factors;
    left.bytes = plain->rows * rank * sizeof *factors;
    right.rows = rank;
    right.cols = plain->cols;
    right.data = left.data + left.bytes;
    right.bytes = rank * plain->cols * sizeof *factors;
    *ret_term = (struct expert_term){left, right};
    expert_term_sum(ret_term, 0, plain->rows, (float *)(uintptr_t)plain->data);
}

static void pack_ffn(struct packed_layer *layer, const struct ffn_weights *source, uint32_t seed,
                     struct ffn_weights *ret_packed, struct ffn_weights *ret_plain) {
    static const struct {
        number_format format;
        uint32_t group;
    } kinds[] = {{FORMAT_INT4, 64},    {FORMAT_INT8, 32},    {FORMAT_INT8, 128},    {FORMAT_INT4, 32},
                 {FORMAT_INT3, 64},    {FORMAT_INT2, 32},    {FORMAT_INT4_24, 128}, {FORMAT_INT4_48, 64},
                 {FORMAT_INT4_MASK, 64}};
    const size_t count = sizeof kinds / sizeof *kinds, gate = seed % count, up = (seed + 1) % count,
                 down = (seed + 2) % count;
    *ret_packed = *ret_plain = *source;
    pack(layer, &source->gate, kinds[gate].format, kinds[gate].group, &ret_packed->gate, &ret_plain->gate);
    pack(layer, &source->up, kinds[up].format, kinds[up].group, &ret_packed->up, &ret_plain->up);
    if (seed % 3) /* every third keeps a float down matrix */
        pack(layer, &source->down, kinds[down].format, kinds[down].group, &ret_packed->down, &ret_plain->down);
    compensate(layer, seed, &ret_plain->gate, &ret_packed->term[0]);
    compensate(layer, seed + 1, &ret_plain->up, &ret_packed->term[1]);
    if (seed % 3)
        compensate(layer, seed + 2, &ret_plain->down, &ret_packed->term[2]);
}

static void build(const struct model *model, uint32_t index, struct packed_layer *layer) {
    const struct layer_weights *source = &model_weights(model)->layers[index];
    uint32_t experts = model_config(model)->experts;
    *layer = (struct packed_layer){.packed = *source, .plain = *source};
    for (int i = 0; i < 2; i++)
        layer->experts[i] = keep(layer, calloc(experts, sizeof *layer->experts[i]));
    layer->packed.experts = layer->experts[0];
    layer->plain.experts = layer->experts[1];
    for (uint32_t e = 0; e < experts; e++)
        pack_ffn(layer, &source->experts[e], e, &layer->experts[0][e], &layer->experts[1][e]);
    pack_ffn(layer, &source->shared, 1, &layer->packed.shared, &layer->plain.shared);
    pack(layer, &source->q, FORMAT_INT8, 64, &layer->packed.q, &layer->plain.q);
    pack(layer, &source->v, FORMAT_INT8, 32, &layer->packed.v, &layer->plain.v);
    pack(layer, &source->o, FORMAT_INT8, 128, &layer->packed.o, &layer->plain.o);
}

static void release(struct packed_layer *layer) {
    for (size_t i = 0; i < layer->n_blocks; i++)
        free(layer->blocks[i]);
}

static void run(unsigned threads, bool packed, size_t tokens, const float *input, float *output) {
    struct golden_engine engine;
    struct packed_layer layer;
    struct model_context *context;
    golden_open(&engine, "checkpoints/qwen2_moe", (struct golden_setup){.threads = threads});
    build(engine.model, 2, &layer);
    cr_assert_eq(model_context_create(engine.model, engine.pool, TOKENS, &context, NULL), MOESAIC_OK);
    struct forward_item item = {.context = context, .count = tokens};
    memcpy(output, input, tokens * model_config(engine.model)->hidden * sizeof *output);
    cr_assert_eq(forward_layer(engine.forward, 2, FORWARD_BOTH_HALVES, packed ? &layer.packed : &layer.plain, &item, 1,
                               output, NULL, NULL),
                 MOESAIC_OK);
    model_context_destroy(context);
    release(&layer);
    golden_close(&engine);
}

Test(packed, layers_keep_the_contract_and_the_meaning) {
    enum { HIDDEN = 128 };
    static const char *const levels[] = {"avx512vbmi2", "avx512vnni", "avx512", "avxvnni", "avx2", "scalar"};
    static float input[TOKENS * HIDDEN], wide[TOKENS * HIDDEN], other[TOKENS * HIDDEN], plain[TOKENS * HIDDEN];
    uint32_t state = 3;
    for (size_t i = 0; i < TOKENS * HIDDEN; i++) {
        state = state * 1664525u + 1013904223u;
        input[i] = (float)(state >> 8) / (1 << 23) - 1.0f;
    }
    run(2, true, TOKENS, input, wide);
    run(2, false, TOKENS, input, plain);
    double change = 0, error = 0;
    for (size_t i = 0; i < TOKENS * HIDDEN; i++) {
        change += pow(plain[i] - input[i], 2);
        error += pow(wide[i] - plain[i], 2);
    }
    cr_assert_gt(error, 0);
    cr_assert_lt(sqrt(error / change), 0.02, "INT8 activations change the layer's output by %g", sqrt(error / change));
    for (unsigned threads = 1; threads <= 3; threads++) {
        run(threads, true, NARROW, input, other);
        cr_assert_eq(memcmp(other, wide, NARROW * HIDDEN * sizeof *other), 0, "narrow, %u threads", threads);
        run(threads, true, TOKENS, input, other);
        cr_assert_eq(memcmp(other, wide, sizeof wide), 0, "wide, %u threads", threads);
    }
    for (size_t level = 0; level < sizeof levels / sizeof *levels; level++) {
        cr_assert_eq(cpu_limit(levels[level], NULL), MOESAIC_OK);
        run(2, true, NARROW, input, other);
        cr_assert_eq(memcmp(other, wide, NARROW * HIDDEN * sizeof *other), 0, "%s differs", levels[level]);
    }
}
