/* SPDX-License-Identifier: Apache-2.0 */
/* Codes in row order: allocation and the rules that a matrix must keep before it is packed. */
#include <stdlib.h>

#include "formats_internal.h"

moesaic_status quant_rows_create(number_format format, uint32_t group, uint64_t rows, uint64_t cols,
                                 struct quant_rows **ret_rows, moesaic_error *error) {
    uint64_t packed;
    if (!weight_shape_bytes(format, LAYOUT_PANEL16, group, rows, cols, &packed))
        return status_set(error, MOESAIC_E_USAGE,
                          "quantized matrix: format %u, group %u and shape [%llu, %llu] do not go together",
                          (unsigned)format, group, (unsigned long long)rows, (unsigned long long)cols);
    size_t count = rows * cols, scales = rows * quant_rows_groups(cols, group);
    struct quant_rows *result = calloc(1, sizeof *result);
    if (result == NULL)
        return status_no_memory(error, "quantized matrix", sizeof *result);
    *result = (struct quant_rows){.format = format, .group = group, .rows = rows, .cols = cols, .factor = 1};
    result->codes = calloc(count, sizeof *result->codes);
    result->scales = calloc(scales, sizeof *result->scales);
    bool masked = format_is_sparse(format);
    if (masked)
        result->mask = calloc(count, sizeof *result->mask);
    if (result->codes == NULL || result->scales == NULL || (masked && result->mask == NULL)) {
        quant_rows_destroy(result);
        return status_no_memory(error, "quantized matrix", count);
    }
    *ret_rows = result;
    return MOESAIC_OK;
}

void quant_rows_destroy(struct quant_rows *rows) {
    if (rows == NULL)
        return;
    free(rows->codes);
    free(rows->scales);
    free(rows->mask);
    free(rows);
}

static moesaic_status check_codes(const struct quant_rows *rows, uint64_t row, moesaic_error *error) {
    int zero = format_zero(rows->format);
    const int8_t *codes = rows->codes + row * rows->cols;
    const uint8_t *mask = rows->mask ? rows->mask + row * rows->cols : NULL;
    for (uint64_t k = 0; k < rows->cols; k++) {
        if (mask && mask[k] > 1)
            return status_set(error, MOESAIC_E_USAGE, "pack: mask is %u at [%llu, %llu], must be 0 or 1", mask[k],
                              (unsigned long long)row, (unsigned long long)k);
        if ((!mask || mask[k]) && (codes[k] < -zero || codes[k] >= zero))
            return status_set(error, MOESAIC_E_USAGE, "pack: code %d at [%llu, %llu] is out of range for %s", codes[k],
                              (unsigned long long)row, (unsigned long long)k, number_format_name(rows->format));
    }
    const uint16_t *scales = rows->scales + row * quant_rows_groups(rows->cols, rows->group);
    for (uint64_t g = 0; g < quant_rows_groups(rows->cols, rows->group); g++)
        if ((scales[g] & 0x7c00) == 0x7c00)
            return status_set(error, MOESAIC_E_USAGE, "pack: scale at [%llu, %llu] is not finite",
                              (unsigned long long)row, (unsigned long long)g);
    return MOESAIC_OK;
}

/* 2:4 and 4:8 keep exactly half of each aligned part, and min(half, what there is) of a shorter last one. */
static moesaic_status check_pattern(const struct quant_rows *rows, uint64_t row, unsigned part, moesaic_error *error) {
    const uint8_t *mask = rows->mask + row * rows->cols;
    for (uint64_t begin = 0; begin < rows->cols; begin += part) {
        uint64_t count = rows->cols - begin < part ? rows->cols - begin : part;
        unsigned kept = 0, wanted = count < part / 2 ? (unsigned)count : part / 2;
        for (uint64_t k = 0; k < count; k++)
            kept += mask[begin + k];
        if (kept != wanted)
            return status_set(error, MOESAIC_E_USAGE, "pack: row %llu keeps %u of the %u weights from %llu, must be %u",
                              (unsigned long long)row, kept, (unsigned)count, (unsigned long long)begin, wanted);
    }
    return MOESAIC_OK;
}

moesaic_status quant_rows_check(const struct quant_rows *rows, moesaic_error *error) {
    uint64_t packed;
    if (!weight_shape_bytes(rows->format, LAYOUT_PANEL16, rows->group, rows->rows, rows->cols, &packed) ||
        (rows->mask != NULL) != format_is_sparse(rows->format))
        return status_set(error, MOESAIC_E_USAGE, "pack: format, group, shape and mask do not go together");
    unsigned part = rows->format == FORMAT_INT4_24 ? 4 : rows->format == FORMAT_INT4_48 ? 8 : 0;
    for (uint64_t row = 0; row < rows->rows; row++) {
        moesaic_status status = check_codes(rows, row, error);
        if (status == MOESAIC_OK && part)
            status = check_pattern(rows, row, part, error);
        if (status != MOESAIC_OK)
            return status;
    }
    return MOESAIC_OK;
}
