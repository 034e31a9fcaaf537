/* SPDX-License-Identifier: Apache-2.0 */
/* Number formats: names, sizes, the checks a weight from outside must pass, and FP16 conversion. */
#include <math.h>
#include <string.h>

#include "formats_internal.h"

static const struct format_facts {
    const char *name;
    unsigned bits;       /* of one stored code */
    unsigned line_bytes; /* panel16: bytes of 16 rows x 32 k, without scales; 0: not a packed format */
} format_table[] = {
    [FORMAT_F32] = {"f32", 32, 0},          [FORMAT_F16] = {"f16", 16, 0},
    [FORMAT_BF16] = {"bf16", 16, 0},        [FORMAT_INT8] = {"int8", 8, 512},
    [FORMAT_INT4] = {"int4", 4, 256},       [FORMAT_INT3] = {"int3", 3, 192},
    [FORMAT_INT2] = {"int2", 2, 128},       [FORMAT_INT4_24] = {"int4-2:4", 4, 192},
    [FORMAT_INT4_48] = {"int4-4:8", 4, 192}, [FORMAT_INT4_MASK] = {"int4-mask", 4, 64},
};
enum { FORMATS = sizeof format_table / sizeof *format_table };

static bool format_known(number_format format) { return (unsigned)format < FORMATS; }

const char *number_format_name(number_format format) { return format_known(format) ? format_table[format].name : NULL; }

bool number_format_parse(const char *name, number_format *ret_format) {
    for (unsigned f = 0; f < FORMATS; f++) {
        if (strcmp(format_table[f].name, name) == 0) {
            *ret_format = (number_format)f;
            return true;
        }
    }
    return false;
}

unsigned number_format_bits(number_format format) { return format_known(format) ? format_table[format].bits : 0; }

size_t format_block_bytes(number_format format) { return format_table[format].line_bytes; }

bool format_is_packed(number_format format) { return format >= FORMAT_INT8 && format_known(format); }
bool format_is_sparse(number_format format) { return format >= FORMAT_INT4_24 && format_known(format); }

/* Bytes of one panel of a format whose panels are all alike. */
size_t format_panel_bytes(number_format format, uint32_t group, uint64_t cols) {
    uint64_t groups = quant_rows_groups(cols, group);
    return (groups + 1) / 2 * PANEL_SCALE_LINE + groups * (group / 32) * format_block_bytes(format);
}

struct weight_flops weight_flops(const struct weight *weight) {
    bool panels = weight->layout == LAYOUT_PANEL16;
    uint64_t rows = panels ? size_round_up(weight->rows, PANEL_ROWS) : weight->rows;
    uint64_t cols = size_round_up(weight->cols, panels ? weight->group : 16);
    return (struct weight_flops){.nominal = 2 * weight->rows * weight->cols,
                                 .executed = 2 * rows * cols,
                                 .floats = panels ? 0 : 2 * rows * cols};
}

bool weight_shape_bytes(number_format format, weight_layout layout, uint32_t group, uint64_t rows, uint64_t cols,
                        uint64_t *ret_bytes) {
    if (!format_known(format) || rows == 0 || cols == 0 || rows > WEIGHT_SIDE_MAX || cols > WEIGHT_SIDE_MAX)
        return false;
    if (layout == LAYOUT_ROWS) {
        if (format_is_packed(format) || group != 0)
            return false;
        *ret_bytes = rows * cols * (format_table[format].bits / 8);
        return true;
    }
    if (layout != LAYOUT_PANEL16 || !format_is_packed(format) || (group != 32 && group != 64 && group != 128))
        return false;
    uint64_t panels = (rows + PANEL_ROWS - 1) / PANEL_ROWS, bytes = panels * format_panel_bytes(format, group, cols);
    if (format == FORMAT_INT4_MASK)
        bytes = mask_table_bytes(rows) + panels * size_round_up(format_panel_bytes(format, group, cols), 64) +
                mask_tail_bytes(group);
    *ret_bytes = bytes;
    return true;
}

/* Powers of two that keep every product of a scale and a factor a normal float. */
static bool factor_valid(float factor) {
    int exponent;
    return isfinite(factor) && factor > 0 && frexpf(factor, &exponent) == 0.5f && exponent >= -60 && exponent <= 60;
}

moesaic_status weight_check(const struct weight *weight, moesaic_error *error) {
    uint64_t bytes;
    if (!weight_shape_bytes(weight->format, weight->layout, weight->group, weight->rows, weight->cols, &bytes))
        return status_set(error, MOESAIC_E_INPUT,
                          "weight: format %u, layout %u, group %u and shape [%llu, %llu] do not go together",
                          (unsigned)weight->format, (unsigned)weight->layout, (unsigned)weight->group,
                          (unsigned long long)weight->rows, (unsigned long long)weight->cols);
    bool sized = weight->format == FORMAT_INT4_MASK ? weight->bytes >= bytes : weight->bytes == bytes;
    if (!sized || weight->data == NULL)
        return status_set(error, MOESAIC_E_INPUT, "weight: %s of shape [%llu, %llu] takes %llu bytes, has %llu",
                          number_format_name(weight->format), (unsigned long long)weight->rows,
                          (unsigned long long)weight->cols, (unsigned long long)bytes,
                          (unsigned long long)weight->bytes);
    if (weight->layout == LAYOUT_PANEL16 && (uintptr_t)weight->data % 64 != 0)
        return status_set(error, MOESAIC_E_INPUT, "weight: packed data must lie on 64 bytes");
    if (weight->layout == LAYOUT_PANEL16 && !factor_valid(weight->factor))
        return status_set(error, MOESAIC_E_INPUT, "weight: factor %g is not a power of two in 2^-61 to 2^59",
                          (double)weight->factor);
    return MOESAIC_OK;
}

float half_to_float(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, magnitude = half & 0x7fff;
    if (magnitude >= 0x7c00) /* infinity; a NaN becomes quiet, as the hardware makes it */
        return float_from_bits(sign | 0x7f800000 | (magnitude & 0x3ff) << 13 | (magnitude > 0x7c00 ? 0x400000 : 0));
    if (magnitude >= 0x0400)
        return float_from_bits(sign | ((magnitude << 13) + 0x38000000));
    float subnormal = (float)magnitude * 0x1p-24f;
    return sign ? -subnormal : subnormal;
}

uint16_t half_from_float(float value) {
    uint32_t bits = float_bits(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000)
        return (uint16_t)(sign | 0x7e00);
    if (magnitude >= 0x477ff000) /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x38800000) { /* below 2^-14: adding 0.5 leaves the rounded subnormal in the last bits */
        float shifted = float_from_bits(magnitude) + 0.5f;
        return (uint16_t)(sign | (float_bits(shifted) - 0x3f000000));
    }
    uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
    return (uint16_t)(sign | (rounded - 0x38000000) >> 13);
}
