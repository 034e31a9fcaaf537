/* SPDX-License-Identifier: Apache-2.0 */
/* The forward pass's own kernels: norms, rotary embedding, attention. One source, compiled for each ISA; every bit of
 * every result is defined by it (engine/runtime/lanes.h), whichever ISA runs. */
#ifndef MODEL_KERNELS_H
#define MODEL_KERNELS_H

#include "kv.h"

/* Rows of one attention tile: (query, head) pairs that share a KV head. */
enum { ATTENTION_TILE_ROWS = 16 };

/* What a kernel asks for while it reads a run: of this run all but the first `bytes`, which were asked for before, and
 * the first `bytes` of the run that is read next (NULL: none). */
struct kv_ahead {
    const void *run;
    size_t bytes;
};
/* Runs are one stream, asked for 8 KiB ahead while few rows read it; where more rows multiply, a run ahead. */
enum { KV_STREAM_ROWS = 3, KV_STREAM_BYTES = 8192 };
static inline struct kv_ahead kv_ahead_of(const void *run, size_t run_bytes, size_t rows) {
    return (struct kv_ahead){run, rows <= KV_STREAM_ROWS && run_bytes > KV_STREAM_BYTES ? KV_STREAM_BYTES : run_bytes};
}

struct model_kernels {
    /* Sum of x[i]^2, in 16 lanes over i and a fixed tree. */
    float (*sum_squares)(const float *x, size_t count);
    /* out[i] = gain[i] * (x[i] * factor); out may be x. */
    void (*scale_gain)(const float *x, float factor, const float *gain, size_t count, float *out);
    /* x[i] limited to [-limit, limit]; NaN stays. */
    void (*clip)(float *x, float limit, size_t count);
    /* Rotates the pairs (x[i], x[i + half]) by the angles whose cosines and sines [half] are given. */
    void (*rotate)(float *x, const float *cosine, const float *sine, size_t half);
    /* NaN or zero: zero exactly when every x[i] is finite. */
    float (*finite)(const float *x, size_t count);
    /* x[i] = 1 / (1 + e^-x[i]) */
    void (*sigmoid)(float *x, size_t count);
    void (*narrow)(const float *x, size_t count, uint16_t *out); /* to FP16, nearest even */
    /* INT8 codes of x, with zeros up to a multiple of 16; returns their scale, largest |x| / 127. A row with a value
     * that is not finite has the scale NaN and codes 0; one that is 0 throughout (or under 2^-120) the scale 0. */
    float (*quantize)(const float *x, size_t count, int8_t *codes);

    /* Scores of `rows` (<= ATTENTION_TILE_ROWS) queries against the tokens [16 col_begin, 16 col_end) of a block:
     * s[row * 64 + t] = scale * sum over d, ascending, of q[row * q_stride + d] * keys[d * 64 + t]. Indexed by
     * kv_type; of KV_INT8 `scale` is first multiplied by the token's. */
    void (*scores[KV_TYPES])(const float *q, size_t q_stride, size_t rows, const void *keys, struct kv_ahead next,
                             size_t head_dim, size_t col_begin, size_t col_end, float scale, float *s);
    /* One block of the online softmax of `rows` rows: of s[row * 64 + [from[row], to[row])), the tokens that the row
     * may see, takes the maximum into io_max[row], leaves e^(s - max) there and 0 in the other columns of [16 * (from /
     * 16), to rounded up), adds their sum to io_sum[row] after rescaling it, and puts that factor, by which the row's
     * values are to be scaled, into ret_rescale[row]. */
    void (*softmax)(float *s, size_t rows, const size_t *from, const size_t *to, float *io_max, float *io_sum,
                    float *ret_rescale);
    /* acc[row * acc_stride + d] is multiplied by rescale[row]; then the products p[row * 64 + t] * values[t * width +
     * d] of t in [from[row], to[row]) are added, ascending. `from` and `to` ascend with the rows; width is a multiple
     * of 16. Of KV_INT8 p is first multiplied by the token's scale. */
    void (*values[KV_TYPES])(const float *p, size_t rows, const void *values, struct kv_ahead next, const size_t *from,
                             const size_t *to, size_t width, const float *rescale, float *acc, size_t acc_stride);
    void (*scale)(float *x, float factor, size_t count); /* x[i] *= factor; count is a multiple of 16 */
    /* Joins two parts of a softmax: acc[i] = part[i] * f_part + acc[i] * f_acc with the factors e^(max - joint max);
     * likewise the sums; *io_max becomes the joint maximum. */
    void (*join)(float *acc, float *io_max, float *io_sum, const float *part, float part_max, float part_sum,
                 size_t count);
};
extern const struct model_kernels model_kernels_ref;
#if defined(__x86_64__)
extern const struct model_kernels model_kernels_avx2, model_kernels_avx512;
#endif
/* The newest set that this process may use. */
const struct model_kernels *model_kernels(void);

#endif
