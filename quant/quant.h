/* SPDX-License-Identifier: Apache-2.0 */
/* Door of layer 1: number formats, packed layouts and the matrix products on them. */
#ifndef QUANT_H
#define QUANT_H

#include "runtime.h"

/* ---- formats and layouts ---------------------------------------------------------------------------------------- */

/* How one number is coded. Values are written to files: never renumber. */
typedef enum number_format {
    FORMAT_F32 = 0,
    FORMAT_F16 = 1,
    FORMAT_BF16 = 2,
    FORMAT_INT8 = 3,          /* codes 0..255 in panels, zero is 128; FP16 scale per row and group, as all below */
    FORMAT_INT4 = 4,          /* codes 0..15, zero is 8 */
    FORMAT_INT3 = 5,          /* codes 0..7, zero is 4 */
    FORMAT_INT2 = 6,          /* codes 0..3, zero is 2 */
    FORMAT_INT4_24 = 7,       /* INT4 with 2 of 4 along k kept */
    FORMAT_INT4_48 = 8,       /* INT4 with 4 of 8 along k kept */
    FORMAT_INT4_MASK = 9      /* INT4 with a bitmask, any density */
} number_format;

/* FP16 and BF16 bits as floats, exactly; and the nearest FP16 (ties to even, overflow to infinity). */
float half_to_float(uint16_t half);
uint16_t half_from_float(float value);
/* Nearest BF16 of a finite value, ties to even. */
static inline uint16_t bfloat_from_float(float value) {
    union {
        float f;
        uint32_t u;
    } pun = {.f = value};
    return (uint16_t)((pun.u + 0x7fff + (pun.u >> 16 & 1)) >> 16);
}
static inline float bfloat_to_float(uint16_t bits) {
    union {
        uint32_t u;
        float f;
    } pun = {.u = (uint32_t)bits << 16};
    return pun.f;
}

/* Where the numbers of a matrix [rows, cols] lie. Row-major: cols numbers a row, rows without padding.
 * panel16: panels of 16 output rows, K in quads of 4, groups of `group` k. A panel is one forward stream of superblocks
 * of two groups: one 64-byte line with the FP16 scales of both (16 rows each; 32 zero bytes if the last has only one
 * group), then the code lines of the first group, then those of the second. See docs/formats.md for every format. */
typedef enum weight_layout { LAYOUT_ROWS = 0, LAYOUT_PANEL16 = 1 } weight_layout;

/* A matrix [rows, cols] (out features x in features) or, with cols == 1, a vector. Borrows its bytes. */
struct weight {
    number_format format;
    weight_layout layout;
    uint32_t group;            /* 0 for F32/F16/BF16; 32, 64 or 128 otherwise */
    uint64_t rows, cols;       /* as the model means them, without padding */
    const uint8_t *data;       /* rows layout: any alignment; panel16: 64 bytes */
    uint64_t bytes;
    float factor;              /* power of two that multiplies every scale (FP16 scales stay normal); 1 without */
};

/* "f32", "int4", "int4-2:4", ... and back; the names of docs/formats.md, static strings. NULL / false when unknown. */
const char *number_format_name(number_format format);
bool number_format_parse(const char *name, number_format *ret_format);
/* Bits of one stored code (32, 16, 8, 4, 3, 2), without mask, index and scale. */
unsigned number_format_bits(number_format format);

/* Bytes a matrix takes in a layout. FORMAT_INT4_MASK has no size of its own (it depends on the mask): for it this is
 * the smallest possible, a matrix with nothing kept. False when the shape, group and layout do not go together or the
 * size does not fit. */
bool weight_shape_bytes(number_format format, weight_layout layout, uint32_t group, uint64_t rows, uint64_t cols,
                        uint64_t *ret_bytes);
/* Whether a weight from outside can be given to the functions below: format, layout, group, shape, alignment, bytes and
 * factor agree. Reads no code: products stay inside `bytes` whatever the bytes say. MOESAIC_E_INPUT otherwise. */
moesaic_status weight_check(const struct weight *weight, moesaic_error *error);

/* ---- codes in row order, and packing ---------------------------------------------------------------------------- */

/* A quantized matrix as the compressor makes it: value[r, k] = codes[r, k] * scales[r, k / group] * factor, or 0 where
 * mask[r, k] == 0. */
struct quant_rows {
    number_format format;      /* FORMAT_INT8 ... FORMAT_INT4_MASK */
    uint32_t group;            /* 32, 64 or 128 */
    uint64_t rows, cols;
    int8_t *codes; /* [rows, cols], zero point removed: INT8 -128..127, INT4* -8..7, INT3 -4..3, INT2 -2..1 */
    uint16_t *scales;          /* [rows, quant_rows_groups], FP16 bits */
    uint8_t *mask;             /* [rows, cols], 1 = kept, 0 = pruned; NULL for the dense formats. 2:4 keeps exactly 2 of
                                * each aligned 4 (all it has, at most 2, of a last part), 4:8 exactly 4 of each 8 */
    float factor;              /* power of two */
};
static inline uint64_t quant_rows_groups(uint64_t cols, uint32_t group) { return (cols + group - 1) / group; }

/* Allocates zeroed codes and scales, and for the three sparse formats a zeroed mask; factor 1. The caller fills them
 * and frees all with quant_rows_destroy. MOESAIC_E_USAGE for an impossible format, group or shape. */
moesaic_status quant_rows_create(number_format format, uint32_t group, uint64_t rows, uint64_t cols,
                                 struct quant_rows **ret_rows, moesaic_error *error);
void quant_rows_destroy(struct quant_rows *rows); /* accepts NULL */

/* Bytes of the panel16 form; for FORMAT_INT4_MASK the mask decides. 0 when the shape is impossible. */
uint64_t weight_packed_bytes(const struct quant_rows *rows);
/* Packs into `out` (64-byte aligned, at least weight_packed_bytes bytes; every one of those is written) and describes
 * it in *ret_weight, which borrows `out`. Same rows, same bytes. MOESAIC_E_USAGE when a code is out of its format's
 * range, a mask breaks its pattern, or `bytes` is too small. */
moesaic_status weight_pack(const struct quant_rows *rows, void *out, uint64_t bytes, struct weight *ret_weight,
                           moesaic_error *error);
/* The way back, lossless: pack(unpack(pack(rows))) gives the same bytes, and unpack(pack(rows)) the same codes (pruned
 * ones as 0), mask and scales. */
moesaic_status weight_unpack(const struct weight *weight, struct quant_rows **ret_rows, moesaic_error *error);

/* A part of the rows as a weight of its own, with the same bits in its products: bytes of the rows [begin, end), and
 * their copy to `out` (64-byte aligned, that many bytes), which *ret_weight borrows. `weight` passes weight_check;
 * begin < end <= rows, both multiples of weight_row_unit or equal to rows. */
uint64_t weight_cut_bytes(const struct weight *weight, uint64_t begin, uint64_t end);
void weight_cut(const struct weight *weight, uint64_t begin, uint64_t end, void *out, struct weight *ret_weight);

/* ---- activations ------------------------------------------------------------------------------------------------ */

/* T rows of K floats and, where a packed weight consumes them, their INT8 form for one group size:
 * codes [T, k_padded] in -127..127, scales [T, k_padded/group], sums [T, k_padded/group] of the codes of a group. */
struct activations {
    const float *values;       /* [tokens, cols], row stride `stride` floats */
    size_t tokens, cols, stride;
    uint32_t group;            /* 0: not quantized */
    size_t k_padded;           /* cols rounded up to the group */
    int8_t *codes;             /* 64-byte aligned */
    float *scales;
    int32_t *sums;
};

/* Bytes of scratch for the INT8 form of `tokens` rows of `cols` in groups of `group`; activations_bind cuts it up. */
size_t activations_bytes(size_t tokens, size_t cols, uint32_t group);
void activations_bind(struct activations *activations, uint32_t group, void *scratch);
/* Fills codes, scales and sums of the tokens [begin, end). Per group: scale = max|x| / 127, codes rounded to nearest
 * even, padding zero. Threads may fill disjoint ranges. */
void activations_quantize(struct activations *activations, size_t begin, size_t end);

/* ---- products --------------------------------------------------------------------------------------------------- */

/* Rows by which the output of `weight` may be cut between threads: 16 for panel16, 1 for rows. */
static inline size_t weight_row_unit(const struct weight *weight) { return weight->layout == LAYOUT_PANEL16 ? 16 : 1; }
/* Group the weight wants its activations quantized in; 0 when it consumes floats. */
static inline uint32_t weight_activation_group(const struct weight *weight) { return weight->group; }

/* out[t * out_stride + r] = sum over k of W[r, k] * x[index ? index[t] : t, k] for r in [row_begin, row_end) and
 * t in [0, tokens). row_begin is a multiple of weight_row_unit; row_end too, or equal to rows. Bits do not depend on
 * the cut, on the number of tokens or on the ISA (quant/kernels/contract.md). Floats are used for F32/F16/BF16 weights,
 * the INT8 form (of the weight's group, already filled) otherwise. `out` does not alias the inputs. Never fails,
 * allocates only on its own stack. Any thread. */
void weight_product(const struct weight *weight, const struct activations *x, const uint32_t *index, size_t tokens,
                    size_t row_begin, size_t row_end, float *out, size_t out_stride);

/* Floating-point operations of a product with one token, 2 a multiply-add. executed = nominal + padding - skipped. */
struct weight_flops {
    uint64_t nominal;  /* of the matrix as the model means it, pruned weights included */
    uint64_t executed; /* what kernels do, with the rows and columns that fill up panels, groups and vectors of 16 */
    uint64_t floats;   /* of those executed: all of a row-major matrix, none of a packed one */
    uint64_t skipped;  /* pruned weights that kernels do not multiply by */
};
struct weight_flops weight_flops(const struct weight *weight);

/* Plain floats of rows [row_begin, row_end): out[(r - row_begin) * cols + k]. Any format, any layout; the second
 * reference of every kernel (dequantize, then multiply). */
void weight_dequantize(const struct weight *weight, uint64_t row_begin, uint64_t row_end, float *out);

/* ---- roofs: what the products are measured against, with the same instructions ---------------------------------- */

/* Reads `bytes` bytes (a multiple of 8) once and returns the XOR of their 64-bit words. With how many streams side by
 * side, 1, 2 or 4, a CPU reads fastest differs: the roof is the best of them. */
enum { ROOF_STREAMS_MAX = 4 };
uint64_t roof_read(const void *data, size_t bytes, unsigned streams);
/* `rounds` rounds of INT8 dot products between registers; returns the operations done (2 a multiply-add). */
uint64_t roof_int8(uint64_t rounds);
/* Likewise of multiply-adds in F32. */
uint64_t roof_f32(uint64_t rounds);

#endif
