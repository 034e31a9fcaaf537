/* SPDX-License-Identifier: Apache-2.0 */
/* Norms, rotary embedding and attention on 16 lanes; compiled once per ISA with KERNELS set to the table's name. */
#include "kernels/model_kernels.h"
#include "lanes.h"

/* ---- rows ------------------------------------------------------------------------------------------------------- */

/* Up to 16 values at p; the whole vector is read where there is one. */
static inline lanes load_some(const float *p, size_t n) { return n >= LANES ? lanes_load(p) : lanes_load_n(p, n); }

static inline void store_some(float *p, lanes v, size_t n) {
    if (n >= LANES)
        lanes_store(p, v);
    else
        lanes_store_n(p, v, n);
}

static float sum_squares(const float *x, size_t count) {
    lanes sum = lanes_set(0.0f);
    for (size_t i = 0; i < count; i += LANES) {
        lanes v = load_some(x + i, count - i);
        sum = lanes_fma(v, v, sum);
    }
    return lanes_sum(sum);
}

static void scale_gain(const float *x, float factor, const float *gain, size_t count, float *out) {
    const lanes f = lanes_set(factor);
    for (size_t i = 0; i < count; i += LANES) {
        lanes v = lanes_mul(load_some(x + i, count - i), f);
        store_some(out + i, lanes_mul(load_some(gain + i, count - i), v), count - i);
    }
}

static void clip(float *x, float limit, size_t count) {
    const lanes high = lanes_set(limit), low = lanes_set(-limit);
    for (size_t i = 0; i < count; i += LANES)
        store_some(x + i, lanes_max(low, lanes_min(high, load_some(x + i, count - i))), count - i);
}

static void rotate(float *x, const float *cosine, const float *sine, size_t half) {
    for (size_t i = 0; i < half; i += LANES) {
        size_t n = half - i;
        lanes a = load_some(x + i, n), b = load_some(x + half + i, n);
        lanes c = load_some(cosine + i, n), s = load_some(sine + i, n);
        store_some(x + i, lanes_sub(lanes_mul(a, c), lanes_mul(b, s)), n);
        store_some(x + half + i, lanes_add(lanes_mul(b, c), lanes_mul(a, s)), n);
    }
}

static float finite_sum(const float *x, size_t count) {
    const lanes zero = lanes_set(0.0f);
    lanes sum = zero;
    for (size_t i = 0; i < count; i += LANES)
        sum = lanes_fma(load_some(x + i, count - i), zero, sum);
    return lanes_sum(sum);
}

static void sigmoid(float *x, size_t count) {
    const lanes one = lanes_set(1.0f), zero = lanes_set(0.0f);
    for (size_t i = 0; i < count; i += LANES) {
        lanes e = lanes_exp(lanes_sub(zero, load_some(x + i, count - i)));
        store_some(x + i, lanes_div(one, lanes_add(one, e)), count - i);
    }
}

static void narrow(const float *x, size_t count, uint16_t *out) {
    uint16_t part[LANES];
    for (size_t i = 0; i < count; i += LANES) {
        lanes_store_f16(part, load_some(x + i, count - i));
        memcpy(out + i, part, (count - i < LANES ? count - i : LANES) * sizeof *part);
    }
}

/* 127 / largest rounds to a factor that takes no value beyond 127.00002, and so no code beyond 127. */
static float quantize(const float *x, size_t count, int8_t *codes) {
    const lanes zero = lanes_set(0.0f);
    lanes largest = zero;
    for (size_t i = 0; i < count; i += LANES) {
        lanes v = load_some(x + i, count - i);
        largest = lanes_max(largest, lanes_max(v, lanes_sub(zero, v)));
    }
    float limit = lanes_largest(largest), bad = finite_sum(x, count);
    bool usable = bad == 0.0f && limit >= 0x1p-120f;
    const lanes inverse = lanes_set(usable ? 127.0f / limit : 0.0f);
    for (size_t i = 0; i < count; i += LANES)
        lanes_store_i8(codes + i, usable ? lanes_mul(load_some(x + i, count - i), inverse) : zero);
    return usable ? limit / 127.0f : bad;
}

static void scale(float *x, float factor, size_t count) {
    const lanes f = lanes_set(factor);
    for (size_t i = 0; i < count; i += LANES)
        lanes_store(x + i, lanes_mul(lanes_load(x + i), f));
}

/* ---- attention -------------------------------------------------------------------------------------------------- */

static inline lanes load_f32(const void *base, size_t at) { return lanes_load((const float *)base + at); }
static inline lanes load_f16(const void *base, size_t at) { return lanes_load_f16((const uint16_t *)base + at); }
static inline lanes load_int8(const void *base, size_t at) { return lanes_load_i8((const int8_t *)base + at); }

/* What scores, and weights of values, are multiplied by beside the numbers stored: the scales of the tokens. */
static inline lanes factors_f32(const void *run, size_t width, size_t at, float factor) {
    (void)run, (void)width, (void)at;
    return lanes_set(factor);
}
#define factors_f16 factors_f32
static inline lanes factors_int8(const void *run, size_t width, size_t at, float factor) {
    return lanes_mul(lanes_set(factor), lanes_load(kv_scales(run, width) + at));
}
static inline float weight_f32(const void *run, size_t width, size_t at, float weight) {
    (void)run, (void)width, (void)at;
    return weight;
}
#define weight_f16 weight_f32
static inline float weight_int8(const void *run, size_t width, size_t at, float weight) {
    return weight * kv_scales(run, width)[at];
}

/* One register tile of scores: `rows` x `cols` vectors, both constants where this is inlined. */
#define SCORES_TILE(type, rows, cols)                                                                                  \
    do {                                                                                                               \
        lanes sum[rows][cols];                                                                                         \
        for (int r = 0; r < rows; r++)                                                                                 \
            for (int c = 0; c < cols; c++)                                                                             \
                sum[r][c] = lanes_set(0.0f);                                                                           \
        for (size_t d = 0; d < head_dim; d++) {                                                                        \
            lanes key[cols];                                                                                           \
            for (int c = 0; c < cols; c++)                                                                             \
                key[c] = load_##type(keys, d * KV_BLOCK_TOKENS + (col + (size_t)c) * LANES);                           \
            for (int r = 0; r < rows; r++) {                                                                           \
                lanes query = lanes_set(q[(row + (size_t)r) * q_stride + d]);                                          \
                for (int c = 0; c < cols; c++)                                                                         \
                    sum[r][c] = lanes_fma(query, key[c], sum[r][c]);                                                   \
            }                                                                                                          \
        }                                                                                                              \
        for (int r = 0; r < rows; r++)                                                                                 \
            for (int c = 0; c < cols; c++)                                                                             \
                lanes_store(s + (row + (size_t)r) * KV_BLOCK_TOKENS + (col + (size_t)c) * LANES,                       \
                            lanes_mul(sum[r][c], factors_##type(keys, width, (col + (size_t)c) * LANES, factor)));     \
    } while (0)

#define SCORES(type)                                                                                                   \
    static void scores_##type(const float *q, size_t q_stride, size_t rows, const void *keys, size_t head_dim,         \
                              size_t col_begin, size_t col_end, float factor, float *s) {                              \
        const size_t width = (head_dim + LANES - 1) / LANES * LANES;                                                   \
        (void)width;                                                                                                   \
        size_t row = 0;                                                                                                \
        for (; row + LANES_TILE_ROWS <= rows; row += LANES_TILE_ROWS) {                                                \
            size_t col = col_begin;                                                                                    \
            for (; col + LANES_TILE_COLS <= col_end; col += LANES_TILE_COLS)                                           \
                SCORES_TILE(type, LANES_TILE_ROWS, LANES_TILE_COLS);                                                   \
            for (; col < col_end; col++)                                                                               \
                SCORES_TILE(type, LANES_TILE_ROWS, 1);                                                                 \
        }                                                                                                              \
        for (; row < rows; row++) {                                                                                    \
            size_t col = col_begin;                                                                                    \
            for (; col + LANES_TILE_COLS <= col_end; col += LANES_TILE_COLS)                                           \
                SCORES_TILE(type, 1, LANES_TILE_COLS);                                                                 \
            for (; col < col_end; col++)                                                                               \
                SCORES_TILE(type, 1, 1);                                                                               \
        }                                                                                                              \
    }
SCORES(f32)
SCORES(f16)
SCORES(int8)

static float softmax(float *s, size_t begin, size_t end, float *io_max, float *io_sum) {
    const lanes lowest = lanes_set(-INFINITY), zero = lanes_set(0.0f);
    size_t first = begin / LANES, last = (end + LANES - 1) / LANES;
    lanes largest = lowest, sum = zero;
    for (size_t c = first; c < last; c++) {
        size_t from = c == first ? begin % LANES : 0, to = c + 1 == last ? end - c * LANES : LANES;
        largest = lanes_max(largest, lanes_keep(lanes_load(s + c * LANES), from, to, lowest));
    }
    float before = *io_max, block = lanes_largest(largest), after = block > before ? block : before;
    for (size_t c = first; c < last; c++) {
        size_t from = c == first ? begin % LANES : 0, to = c + 1 == last ? end - c * LANES : LANES;
        lanes p = lanes_keep(lanes_exp(lanes_sub(lanes_load(s + c * LANES), lanes_set(after))), from, to, zero);
        lanes_store(s + c * LANES, p);
        sum = lanes_add(sum, p);
    }
    float part[LANES];
    lanes_store(part, lanes_exp(lanes_set(before - after)));
    float rescale = part[0], kept = *io_sum * rescale;
    *io_sum = kept + lanes_sum(sum);
    *io_max = after;
    return rescale;
}

#define VALUES_TILE(type, rows, cols)                                                                                  \
    do {                                                                                                               \
        lanes sum[rows][cols];                                                                                         \
        for (int r = 0; r < rows; r++)                                                                                 \
            for (int c = 0; c < cols; c++)                                                                             \
                sum[r][c] = lanes_load(acc + (row + (size_t)r) * acc_stride + d + (size_t)c * LANES);                  \
        for (size_t t = begin; t < end; t++) {                                                                         \
            lanes value[cols];                                                                                         \
            for (int c = 0; c < cols; c++)                                                                             \
                value[c] = load_##type(v, t * width + d + (size_t)c * LANES);                                          \
            for (int r = 0; r < rows; r++) {                                                                           \
                lanes weight = lanes_set(weight_##type(v, width, t, p[(row + (size_t)r) * KV_BLOCK_TOKENS + t]));      \
                for (int c = 0; c < cols; c++)                                                                         \
                    sum[r][c] = lanes_fma(weight, value[c], sum[r][c]);                                                \
            }                                                                                                          \
        }                                                                                                              \
        for (int r = 0; r < rows; r++)                                                                                 \
            for (int c = 0; c < cols; c++)                                                                             \
                lanes_store(acc + (row + (size_t)r) * acc_stride + d + (size_t)c * LANES, sum[r][c]);                  \
    } while (0)

#define VALUES(type)                                                                                                   \
    static void values_##type(const float *p, size_t rows, const void *v, size_t begin, size_t end, size_t width,      \
                              float *acc, size_t acc_stride) {                                                         \
        enum { WIDE = LANES_TILE_COLS * LANES };                                                                       \
        size_t row = 0;                                                                                                \
        for (; row + LANES_TILE_ROWS <= rows; row += LANES_TILE_ROWS) {                                                \
            size_t d = 0;                                                                                              \
            for (; d + WIDE <= width; d += WIDE)                                                                       \
                VALUES_TILE(type, LANES_TILE_ROWS, LANES_TILE_COLS);                                                   \
            for (; d < width; d += LANES)                                                                              \
                VALUES_TILE(type, LANES_TILE_ROWS, 1);                                                                 \
        }                                                                                                              \
        for (; row < rows; row++) {                                                                                    \
            size_t d = 0;                                                                                              \
            for (; d + WIDE <= width; d += WIDE)                                                                       \
                VALUES_TILE(type, 1, LANES_TILE_COLS);                                                                 \
            for (; d < width; d += LANES)                                                                              \
                VALUES_TILE(type, 1, 1);                                                                               \
        }                                                                                                              \
    }
VALUES(f32)
VALUES(f16)
VALUES(int8)

static void join(float *acc, float *io_max, float *io_sum, const float *part, float part_max, float part_sum,
                 size_t count) {
    float factor[LANES] = {0}, joint = part_max > *io_max ? part_max : *io_max;
    factor[0] = *io_max - joint;
    factor[1] = part_max - joint;
    lanes_store(factor, lanes_exp(lanes_load(factor)));
    const lanes keep = lanes_set(factor[0]), add = lanes_set(factor[1]);
    for (size_t i = 0; i < count; i += LANES)
        lanes_store(acc + i, lanes_fma(lanes_load(part + i), add, lanes_mul(lanes_load(acc + i), keep)));
    float kept = *io_sum * factor[0], added = part_sum * factor[1];
    *io_sum = kept + added;
    *io_max = joint;
}

const struct model_kernels KERNELS = {
    .sum_squares = sum_squares,
    .scale_gain = scale_gain,
    .clip = clip,
    .rotate = rotate,
    .finite = finite_sum,
    .sigmoid = sigmoid,
    .narrow = narrow,
    .quantize = quantize,
    .scores = {[KV_F32] = scores_f32, [KV_F16] = scores_f16, [KV_INT8] = scores_int8},
    .softmax = softmax,
    .values = {[KV_F32] = values_f32, [KV_F16] = values_f16, [KV_INT8] = values_int8},
    .scale = scale,
    .join = join,
};
