/* SPDX-License-Identifier: Apache-2.0 */
/* One matrix from the checkpoint's floats to its packed form. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compressor_internal.h"

/* Numbers of a part: what the methods' scratch of F64 is bounded by. */
enum { PART_NUMBERS = 4 << 20 };

/* A matrix in parts of rows, each compressed alone: rows do not depend on each other, but for the factor. */
struct assembly {
    const struct weight *source;
    struct compress_options options;
    const uint8_t *mask; /* [rows, cols] or NULL */
    const struct calib_stats *stats;
    size_t part_rows;
    float *values;            /* [part_rows, cols] */
    struct quant_rows *codes; /* the whole; NULL until the first part says its format, or without quantization */
    uint16_t *halves;         /* [rows, cols] BF16 without quantization */
    double error, energy, kept;
};

static float largest_weight(const struct assembly *a) {
    float largest = 0;
    for (uint64_t row = 0; row < a->source->rows; row += a->part_rows) {
        uint64_t end = row + a->part_rows < a->source->rows ? row + a->part_rows : a->source->rows;
        weight_dequantize(a->source, row, end, a->values);
        for (size_t i = 0; i < (end - row) * a->source->cols; i++)
            largest = fmaxf(largest, fabsf(a->values[i]));
    }
    return largest;
}

static moesaic_status codes_take(struct assembly *a, uint64_t row, size_t rows, const struct quant_rows *part,
                                 moesaic_error *error) {
    uint64_t cols = a->source->cols, groups = quant_rows_groups(cols, part->group);
    moesaic_status status = MOESAIC_OK;
    if (!a->codes)
        status = quant_rows_create(part->format, part->group, a->source->rows, cols, &a->codes, error);
    if (status)
        return status;
    a->codes->factor = part->factor;
    memcpy(a->codes->codes + row * cols, part->codes, rows * cols);
    memcpy(a->codes->scales + row * groups, part->scales, rows * groups * sizeof *part->scales);
    if (part->mask)
        memcpy(a->codes->mask + row * cols, part->mask, rows * cols);
    return MOESAIC_OK;
}

static void halves_take(struct assembly *a, uint64_t row, size_t rows, const float *values) {
    for (size_t i = 0; i < rows * a->source->cols; i++)
        a->halves[row * a->source->cols + i] = bfloat_from_float(values[i]);
}

static moesaic_status part_compress(struct assembly *a, uint64_t row, moesaic_error *error) {
    const struct weight *source = a->source;
    size_t rows = source->rows - row < a->part_rows ? source->rows - row : a->part_rows;
    struct compress_result result = {0};
    a->options.mask = a->mask ? a->mask + row * source->cols : NULL;
    weight_dequantize(source, row, row + rows, a->values);
    moesaic_status status = compress_matrix(a->values, rows, source->cols, a->stats, &a->options, &result, error);
    if (!status && result.codes)
        status = codes_take(a, row, rows, result.codes, error);
    else if (!status)
        halves_take(a, row, rows, result.values);
    a->error += result.error * result.energy;
    a->energy += result.energy;
    a->kept += result.density * (double)rows;
    compress_result_done(&result);
    return status;
}

/* The packed bytes of the whole. */
static moesaic_status assembly_pack(struct assembly *a, struct packed *ret, moesaic_error *error) {
    if (!a->codes) {
        ret->weight = (struct weight){.format = FORMAT_BF16,
                                      .layout = LAYOUT_ROWS,
                                      .rows = a->source->rows,
                                      .cols = a->source->cols,
                                      .data = (const uint8_t *)a->halves,
                                      .bytes = a->source->rows * a->source->cols * 2,
                                      .factor = 1};
        ret->memory = a->halves;
        a->halves = NULL;
        return MOESAIC_OK;
    }
    uint64_t bytes = weight_packed_bytes(a->codes);
    ret->memory = memory_zeroed(bytes, 1);
    if (!ret->memory)
        return status_no_memory(error, "packed matrix", bytes);
    return weight_pack(a->codes, ret->memory, bytes, &ret->weight, error);
}

static moesaic_status assembly_run(struct assembly *a, struct packed *ret, moesaic_error *error) {
    const struct weight *source = a->source;
    size_t count = source->rows * source->cols;
    a->values = calloc(a->part_rows * source->cols, sizeof *a->values);
    if (a->options.quant == QUANT_NONE)
        a->halves = memory_zeroed(count, sizeof *a->halves);
    if (!a->values || (a->options.quant == QUANT_NONE && !a->halves))
        return status_no_memory(error, "matrix", count * sizeof *a->halves);
    if (a->options.quant != QUANT_NONE)
        a->options.factor = compress_factor(largest_weight(a), a->options.format);
    moesaic_status status = MOESAIC_OK;
    for (uint64_t row = 0; !status && row < source->rows; row += a->part_rows)
        status = part_compress(a, row, error);
    if (!status)
        status = assembly_pack(a, ret, error);
    if (status)
        return status;
    ret->energy = a->energy;
    ret->error = a->energy > 0 ? a->error / a->energy : 0;
    ret->density = a->kept / (double)source->rows;
    return MOESAIC_OK;
}

/* The best term for what the packed matrix lost. */
static moesaic_status term_make(const struct weight *source, size_t rank, const struct calib_stats *stats,
                                struct packed *io, moesaic_error *error) {
    size_t rows = source->rows, cols = source->cols;
    struct lowrank term = {0};
    float *w = calloc(rows * cols, sizeof *w), *values = calloc(rows * cols, sizeof *values);
    moesaic_status status =
        w && values ? MOESAIC_OK : status_no_memory(error, "low-rank term", 2 * rows * cols * sizeof *w);
    if (!status) {
        weight_dequantize(source, 0, rows, w);
        weight_dequantize(&io->weight, 0, rows, values);
        status = lowrank_fit(w, values, rows, cols, stats, rank, &term, error);
    }
    if (!status)
        status = halves_weight(term.left, rows, rank, &io->term.left, &io->factor[0], error);
    if (!status)
        status = halves_weight(term.right, rank, cols, &io->term.right, &io->factor[1], error);
    if (!status)
        io->error = term.error;
    lowrank_done(&term);
    free(values);
    free(w);
    return status;
}

moesaic_status packed_make(const struct weight *source, const struct recipe_matrix *recipe, const uint8_t *mask,
                           const struct calib_stats *stats, struct packed *ret_packed, moesaic_error *error) {
    struct packed packed = {.weight = *source, .density = 1};
    if (recipe->prune == PRUNE_NONE && recipe->quant == QUANT_NONE) {
        *ret_packed = packed;
        return MOESAIC_OK;
    }
    struct calib_stats *nothing = NULL;
    size_t rows = size_round_up(PART_NUMBERS / source->cols + 1, 16);
    struct assembly a = {.source = source,
                         .mask = mask,
                         .stats = stats,
                         .part_rows = rows < source->rows ? rows : source->rows,
                         .options = {.prune = recipe->prune,
                                     .keep = recipe->keep,
                                     .of = recipe->of,
                                     .density = recipe->density,
                                     .quant = recipe->quant,
                                     .format = recipe->format,
                                     .group = recipe->group,
                                     .in_order = recipe->in_order,
                                     .damping = recipe->damping,
                                     .refine = recipe->refine}};
    moesaic_status status = stats ? MOESAIC_OK : calib_stats_create(source->cols, false, &nothing, error);
    a.stats = stats ? stats : nothing;
    if (!status)
        status = assembly_run(&a, &packed, error);
    if (!status && recipe->rank)
        status = term_make(source, recipe->rank, stats, &packed, error);
    calib_stats_destroy(nothing);
    quant_rows_destroy(a.codes);
    free(a.halves);
    free(a.values);
    if (status)
        packed_done(&packed);
    else
        *ret_packed = packed;
    return status;
}

struct weight floats_weight(const float *values, size_t rows, size_t cols) {
    return (struct weight){.format = FORMAT_F32,
                           .layout = LAYOUT_ROWS,
                           .rows = rows,
                           .cols = cols,
                           .data = (const uint8_t *)values,
                           .bytes = rows * cols * sizeof *values,
                           .factor = 1};
}

moesaic_status halves_weight(const float *values, size_t rows, size_t cols, struct weight *ret_weight,
                             void **ret_memory, moesaic_error *error) {
    uint16_t *halves = memory_zeroed(rows * cols, sizeof *halves);
    if (!halves)
        return status_no_memory(error, "BF16 matrix", rows * cols * sizeof *halves);
    for (size_t i = 0; i < rows * cols; i++)
        halves[i] = bfloat_from_float(values[i]);
    *ret_memory = halves;
    *ret_weight = (struct weight){.format = FORMAT_BF16,
                                  .layout = LAYOUT_ROWS,
                                  .rows = rows,
                                  .cols = cols,
                                  .data = *ret_memory,
                                  .bytes = rows * cols * sizeof *halves,
                                  .factor = 1};
    return MOESAIC_OK;
}

void packed_done(struct packed *packed) {
    free(packed->factor[1]);
    free(packed->factor[0]);
    free(packed->memory);
    *packed = (struct packed){0};
}
