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

/* Below, a function with `type`, `rows` and `cols` is inlined where they are constants: one register tile each. */
LANES_INLINE size_t element_bytes(kv_type type) {
    return type == KV_F32 ? 4 : type == KV_F16 ? 2 : 1;
}

LANES_INLINE lanes load_elements(kv_type type, const void *run, size_t at) {
    return type == KV_F32   ? lanes_load((const float *)run + at)
           : type == KV_F16 ? lanes_load_f16((const uint16_t *)run + at)
                            : lanes_load_i8((const int8_t *)run + at);
}

/* Groups of rows that `rows` fall into, as even as can be. */
static inline size_t row_groups(size_t rows) {
    return (rows + LANES_TILE_ROWS - 1) / LANES_TILE_ROWS;
}
static inline size_t group_rows(size_t left) {
    return (left + row_groups(left) - 1) / row_groups(left);
}

/* What is asked for while a run is read: the run itself from where the one before left it, then the beginning of the
 * next. Each tile asks for as many bytes as it reads, in step with its reading and shared by the groups of rows that
 * all read the same, so that memory and arithmetic both keep busy. */
struct run_ahead {
    uintptr_t at, own_end, next, next_end;
    size_t groups;
};

static inline struct run_ahead run_ahead_of(const void *own, size_t own_bytes, struct kv_ahead next, size_t rows) {
    uintptr_t own_end = (uintptr_t)own + own_bytes, from = (uintptr_t)own + next.bytes;
    uintptr_t to = (uintptr_t)(next.run ? next.run : own);
    return (struct run_ahead){from < own_end ? from : own_end, own_end, to, next.run ? to + next.bytes : to,
                              row_groups(rows)};
}

/* In one iteration of a tile that reads `bytes` in each. Tiles of more rows than are read 8 KiB ahead are bound by
 * instructions; they find their own run complete, and ask for the next without a look at the ends. */
LANES_INLINE void ahead_fetch(const struct run_ahead *ahead, size_t rows, size_t iteration, size_t bytes) {
    uintptr_t at = ahead->at + iteration * (bytes / ahead->groups);
    if (rows > KV_STREAM_ROWS) {
        at = at - ahead->own_end + ahead->next;
    } else if (at >= ahead->own_end) {
        at = at - ahead->own_end + ahead->next;
        if (at >= ahead->next_end)
            return;
    }
    for (size_t i = 0; i < bytes; i += 64)
        __builtin_prefetch((const void *)(at + i));
}

LANES_INLINE void ahead_move(struct run_ahead *ahead, size_t iterations, size_t bytes) {
    ahead->at += iterations * (bytes / ahead->groups);
}

/* What the tiles had no iterations for. */
static inline void ahead_finish(const struct run_ahead *ahead) {
    uintptr_t done = ahead->at > ahead->own_end ? ahead->at - ahead->own_end : 0;
    for (uintptr_t at = ahead->next + done; at < ahead->next_end; at += 64)
        __builtin_prefetch((const void *)at);
}

/* Calls tile(work, type, n) with n as a constant, 1 to LANES_TILE_ROWS. */
#define EACH_TILE_ROWS(n, tile, work, type)                                                                            \
    do {                                                                                                               \
        if (LANES_TILE_ROWS >= 6 && n == 6)                                                                            \
            tile(work, type, 6);                                                                                       \
        else if (LANES_TILE_ROWS >= 5 && n == 5)                                                                       \
            tile(work, type, 5);                                                                                       \
        else if (LANES_TILE_ROWS >= 4 && n == 4)                                                                       \
            tile(work, type, 4);                                                                                       \
        else if (LANES_TILE_ROWS >= 3 && n == 3)                                                                       \
            tile(work, type, 3);                                                                                       \
        else if (LANES_TILE_ROWS >= 2 && n == 2)                                                                       \
            tile(work, type, 2);                                                                                       \
        else                                                                                                           \
            tile(work, type, 1);                                                                                       \
    } while (0)

/* KV_INT8: the scales behind the next run. */
static inline void ahead_scales(const void *next, size_t width) {
    for (size_t t = 0; t < KV_BLOCK_TOKENS; t += LANES)
        __builtin_prefetch(kv_scales(next, width) + t);
}

enum { BLOCK_COLS = KV_BLOCK_TOKENS / LANES, VALUES_COLS = 8 };

struct scores_work {
    const float *q;
    size_t q_stride, head_dim, col_begin, col_end;
    const void *keys;
    float factor;
    float *s;
    struct run_ahead ahead;
};

LANES_INLINE void scores_tile(struct scores_work *work, kv_type type, size_t rows, size_t cols, size_t col) {
    lanes sum[LANES_TILE_ROWS][BLOCK_COLS];
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++)
            sum[r][c] = lanes_set(0.0f);
    for (size_t d = 0; d < work->head_dim; d++) {
        lanes key[BLOCK_COLS];
        ahead_fetch(&work->ahead, rows, d, cols * LANES * element_bytes(type));
        for (size_t c = 0; c < cols; c++)
            key[c] = load_elements(type, work->keys, d * KV_BLOCK_TOKENS + (col + c) * LANES);
        for (size_t r = 0; r < rows; r++) {
            lanes query = lanes_set(work->q[r * work->q_stride + d]);
            for (size_t c = 0; c < cols; c++)
                sum[r][c] = lanes_fma(query, key[c], sum[r][c]);
        }
    }
    ahead_move(&work->ahead, work->head_dim, cols * LANES * element_bytes(type));
    for (size_t c = 0; c < cols; c++) {
        size_t at = (col + c) * LANES, width = (work->head_dim + LANES - 1) / LANES * LANES;
        lanes factor = lanes_set(work->factor);
        if (type == KV_INT8)
            factor = lanes_mul(factor, lanes_load(kv_scales(work->keys, width) + at));
        for (size_t r = 0; r < rows; r++)
            lanes_store(work->s + r * KV_BLOCK_TOKENS + at, lanes_mul(sum[r][c], factor));
    }
}

LANES_INLINE void scores_rows(struct scores_work *work, kv_type type, size_t rows) {
    size_t col = work->col_begin;
    for (; rows * 4 <= LANES_TILE_SUMS && col + 4 <= work->col_end; col += 4)
        scores_tile(work, type, rows, 4, col);
    for (; rows * 2 <= LANES_TILE_SUMS && col + 2 <= work->col_end; col += 2)
        scores_tile(work, type, rows, 2, col);
    for (; col < work->col_end; col++)
        scores_tile(work, type, rows, 1, col);
}

#define SCORES(type, TYPE)                                                                                             \
    static void scores_##type(const float *q, size_t q_stride, size_t rows, const void *keys, struct kv_ahead next,    \
                              size_t head_dim, size_t col_begin, size_t col_end, float factor, float *s) {             \
        size_t bytes = head_dim * KV_BLOCK_TOKENS * element_bytes(TYPE);                                               \
        struct scores_work work = {                                                                                    \
            q, q_stride, head_dim, col_begin, col_end, keys, factor, s, run_ahead_of(keys, bytes, next, rows)};        \
        if (TYPE == KV_INT8 && next.run)                                                                               \
            ahead_scales(next.run, (head_dim + LANES - 1) / LANES * LANES);                                            \
        for (size_t row = 0, n; row < rows; row += n) {                                                                \
            n = group_rows(rows - row);                                                                                \
            EACH_TILE_ROWS(n, scores_rows, &work, TYPE);                                                               \
            work.q += n * q_stride;                                                                                    \
            work.s += n * KV_BLOCK_TOKENS;                                                                             \
        }                                                                                                              \
        ahead_finish(&work.ahead);                                                                                     \
    }
SCORES(f32, KV_F32)
SCORES(f16, KV_F16)
SCORES(int8, KV_INT8)

/* The columns [from, to) of a row's vector c are seen. */
static inline lanes seen(lanes v, size_t c, size_t from, size_t to, lanes fill) {
    size_t first = c * LANES;
    return lanes_keep(v, from > first ? from - first : 0, to < first + LANES ? to - first : LANES, fill);
}

LANES_INLINE float largest_score(const float *s, size_t from, size_t to) {
    const lanes lowest = lanes_set(-INFINITY);
    lanes largest = lowest;
    if (to - from == KV_BLOCK_TOKENS)
        for (size_t c = 0; c < BLOCK_COLS; c++)
            largest = lanes_max(largest, lanes_load(s + c * LANES));
    else
        for (size_t c = from / LANES; c * LANES < to; c++)
            largest = lanes_max(largest, seen(lanes_load(s + c * LANES), c, from, to, lowest));
    return lanes_largest(largest);
}

/* Leaves e^(s - max) in place, 0 where it is not seen; returns the sum. */
LANES_INLINE float exponentials(float *s, size_t from, size_t to, float max) {
    const lanes zero = lanes_set(0.0f), most = lanes_set(max);
    lanes sum = zero;
    for (size_t c = from / LANES; c * LANES < to; c++) {
        lanes p = lanes_exp(lanes_sub(lanes_load(s + c * LANES), most));
        if (to - from < KV_BLOCK_TOKENS)
            p = seen(p, c, from, to, zero);
        lanes_store(s + c * LANES, p);
        sum = lanes_add(sum, p);
    }
    return lanes_sum(sum);
}

static void softmax(float *s, size_t rows, const size_t *from, const size_t *to, float *io_max, float *io_sum,
                    float *ret_rescale) {
    float after[LANES];
    for (size_t r = 0; r < rows; r++) {
        float block = largest_score(s + r * KV_BLOCK_TOKENS, from[r], to[r]);
        after[r] = block > io_max[r] ? block : io_max[r];
    }
    lanes change = lanes_sub(lanes_load_n(io_max, rows), lanes_load_n(after, rows));
    lanes_store_n(ret_rescale, lanes_exp(change), rows);
    for (size_t r = 0; r < rows; r++) {
        float kept = io_sum[r] * ret_rescale[r];
        io_sum[r] = kept + exponentials(s + r * KV_BLOCK_TOKENS, from[r], to[r], after[r]);
        io_max[r] = after[r];
    }
}

/* One group of rows, or one of them. */
struct values_work {
    const float *p;
    const void *values;
    size_t begin, end, width; /* tokens [begin, end) */
    const float *factor; /* on the sums, before anything is added */
    float *acc;
    size_t acc_stride;
    struct run_ahead *ahead;
};

LANES_INLINE void values_tile(struct values_work *work, kv_type type, size_t rows, size_t cols, size_t d) {
    lanes sum[LANES_TILE_ROWS][VALUES_COLS];
    for (size_t r = 0; r < rows; r++) {
        lanes factor = lanes_set(work->factor[r]);
        for (size_t c = 0; c < cols; c++)
            sum[r][c] = lanes_mul(lanes_load(work->acc + r * work->acc_stride + d + c * LANES), factor);
    }
    for (size_t t = work->begin; t < work->end; t++) {
        lanes value[VALUES_COLS];
        ahead_fetch(work->ahead, rows, t - work->begin, cols * LANES * element_bytes(type));
        for (size_t c = 0; c < cols; c++)
            value[c] = load_elements(type, work->values, t * work->width + d + c * LANES);
        for (size_t r = 0; r < rows; r++) {
            lanes weight = lanes_set(work->p[r * KV_BLOCK_TOKENS + t]);
            for (size_t c = 0; c < cols; c++)
                sum[r][c] = lanes_fma(weight, value[c], sum[r][c]);
        }
    }
    ahead_move(work->ahead, work->end - work->begin, cols * LANES * element_bytes(type));
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++)
            lanes_store(work->acc + r * work->acc_stride + d + c * LANES, sum[r][c]);
}

LANES_INLINE void values_rows(struct values_work *work, kv_type type, size_t rows) {
    size_t d = 0;
    for (; rows * 8 <= LANES_TILE_SUMS && d + 8 * LANES <= work->width; d += 8 * LANES)
        values_tile(work, type, rows, 8, d);
    for (; rows * 4 <= LANES_TILE_SUMS && d + 4 * LANES <= work->width; d += 4 * LANES)
        values_tile(work, type, rows, 4, d);
    for (; rows * 2 <= LANES_TILE_SUMS && d + 2 * LANES <= work->width; d += 2 * LANES)
        values_tile(work, type, rows, 2, d);
    for (; d < work->width; d += LANES)
        values_tile(work, type, rows, 1, d);
}

/* KV_INT8: the weights p [rows, 64] times the tokens' scales. */
static const float *scale_weights(const float *p, size_t rows, const float *scales, float *out) {
    for (size_t r = 0; r < rows; r++)
        for (size_t t = 0; t < KV_BLOCK_TOKENS; t += LANES)
            lanes_store(out + r * KV_BLOCK_TOKENS + t,
                        lanes_mul(lanes_load(p + r * KV_BLOCK_TOKENS + t), lanes_load(scales + t)));
    return out;
}

/* A group of rows: together over the tokens that all see, one by one over what lies before and behind. */
#define VALUES(type, TYPE)                                                                                             \
    static void span_##type(const struct values_work *block, size_t row, size_t n, size_t begin, size_t end,           \
                            float *factor) {                                                                           \
        struct values_work work = *block;                                                                              \
        work.p += row * KV_BLOCK_TOKENS;                                                                               \
        work.acc += row * work.acc_stride;                                                                             \
        work.factor = factor + row;                                                                                    \
        work.begin = begin;                                                                                            \
        work.end = end;                                                                                                \
        EACH_TILE_ROWS(n, values_rows, &work, TYPE);                                                                   \
        for (size_t r = row; r < row + n; r++)                                                                         \
            factor[r] = 1.0f;                                                                                          \
    }                                                                                                                  \
    static void values_##type(const float *p, size_t rows, const void *values, struct kv_ahead next,                   \
                              const size_t *from, const size_t *to, size_t width, const float *rescale, float *acc,    \
                              size_t acc_stride) {                                                                     \
        float scaled[TYPE == KV_INT8 ? ATTENTION_TILE_ROWS * KV_BLOCK_TOKENS : 1], factor[ATTENTION_TILE_ROWS];        \
        struct run_ahead ahead = run_ahead_of(values, to[rows - 1] * width * element_bytes(TYPE), next, rows);         \
        if (TYPE == KV_INT8) {                                                                                         \
            p = scale_weights(p, rows, kv_scales(values, width), scaled);                                              \
            if (next.run)                                                                                              \
                ahead_scales(next.run, width);                                                                         \
        }                                                                                                              \
        memcpy(factor, rescale, rows * sizeof *factor);                                                                \
        struct values_work work = {                                                                                    \
            .p = p, .values = values, .width = width, .acc = acc, .acc_stride = acc_stride, .ahead = &ahead};          \
        for (size_t row = 0, n; row < rows; row += n) {                                                                \
            n = group_rows(rows - row);                                                                                \
            size_t begin = from[row + n - 1], end = to[row] > begin ? to[row] : begin;                                 \
            for (size_t r = row; r < row + n; r++)                                                                     \
                if (from[r] < begin)                                                                                   \
                    span_##type(&work, r, 1, from[r], to[r] < begin ? to[r] : begin, factor);                          \
            if (begin < end)                                                                                           \
                span_##type(&work, row, n, begin, end, factor);                                                        \
            for (size_t r = row; r < row + n; r++)                                                                     \
                if (end < to[r])                                                                                       \
                    span_##type(&work, r, 1, end, to[r], factor);                                                      \
        }                                                                                                              \
        ahead_finish(&ahead);                                                                                          \
    }
VALUES(f32, KV_F32)
VALUES(f16, KV_F16)
VALUES(int8, KV_INT8)

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
