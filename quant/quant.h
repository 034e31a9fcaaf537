/* SPDX-License-Identifier: Apache-2.0 */
/* Door of layer 1: number formats, packed layouts and the matrix products on them. */
#ifndef QUANT_H
#define QUANT_H

#include "runtime.h"

/* ---- formats and layouts ------------------------------------------------------------------------------------------ */

/* How one number is coded. Values are written to files: never renumber. */
typedef enum number_format {
    FORMAT_F32 = 0,
    FORMAT_F16 = 1,
    FORMAT_BF16 = 2,
    FORMAT_INT8 = 3,          /* symmetric, excess-128 in panels, FP16 scale per row and group */
    FORMAT_INT4 = 4,          /* codes 0..15, zero is 8 */
    FORMAT_INT3 = 5,          /* codes 0..7, zero is 4 */
    FORMAT_INT2 = 6,          /* codes 0..3, zero is 2 */
    FORMAT_INT4_24 = 7,       /* INT4 with 2 of 4 along k kept */
    FORMAT_INT4_48 = 8,       /* INT4 with 4 of 8 along k kept */
    FORMAT_INT4_MASK = 9      /* INT4 with a bitmask, any density */
} number_format;

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
    const uint64_t *panel_at;  /* byte offset of each panel where panels differ in size (FORMAT_INT4_MASK), else NULL */
    float factor;              /* power of two that multiplies every scale (FP16 scales stay normal); 1 without */
};

/* ---- activations -------------------------------------------------------------------------------------------------- */

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

/* ---- products ----------------------------------------------------------------------------------------------------- */

/* Rows by which the output of `weight` may be cut between threads: 16 for panel16, 1 for rows. */
static inline size_t weight_row_unit(const struct weight *weight) { return weight->layout == LAYOUT_PANEL16 ? 16 : 1; }
/* Group the weight wants its activations quantized in; 0 when it consumes floats. */
static inline uint32_t weight_activation_group(const struct weight *weight) { return weight->group; }

/* out[t * out_stride + r] = sum over k of W[r, k] * x[index ? index[t] : t, k] for r in [row_begin, row_end) and
 * t in [0, tokens). row_begin is a multiple of weight_row_unit; row_end too, or equal to rows. Bits do not depend on the
 * cut, on the number of tokens or on the ISA (quant/kernels/contract.md). Floats are used for F32/F16/BF16 weights, the
 * INT8 form (of the weight's group, already filled) otherwise. `out` does not alias the inputs. Never fails, allocates
 * only on its own stack. Any thread. */
void weight_product(const struct weight *weight, const struct activations *x, const uint32_t *index, size_t tokens,
                    size_t row_begin, size_t row_end, float *out, size_t out_stride);

/* Plain floats of rows [row_begin, row_end): out[(r - row_begin) * cols + k]. Any format, any layout; the second
 * reference of every kernel (dequantize, then multiply). */
void weight_dequantize(const struct weight *weight, uint64_t row_begin, uint64_t row_end, float *out);

#endif
