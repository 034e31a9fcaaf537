/* SPDX-License-Identifier: Apache-2.0 */
/* Grouped-query attention: projections, q/k norms, rotary encoding, the cache, online softmax over its blocks. */
#include "forward_internal.h"

#include <math.h>
#include <string.h>

/* ---- projections ------------------------------------------------------------------------------------------------ */

/* out[t, begin .. end) = W x + bias for `tokens` rows of x. */
static void project(const struct weight *weight, const float *bias, const struct expert_input *x, size_t tokens,
                    size_t begin, size_t end, float *out, size_t stride) {
    if (begin == end)
        return;
    weight_product(weight, expert_input_for(x, weight), NULL, tokens, begin, end, out, stride);
    if (bias)
        for (size_t t = 0; t < tokens; t++)
            expert_add(out + t * stride + begin, bias + begin, end - begin);
}

/* The residual of this worker's rows, complete up to the layer before, and its norm. */
static void enter(struct forward *f, struct forward_worker *w, uint32_t layer, const float *gain) {
    size_t hidden = f->config->hidden, rows = w->end - w->begin;
    for (size_t r = w->begin; r < w->end; r++) {
        float *residual = forward_residual(f, w, r);
        if (f->narrow)
            memcpy(residual, f->hidden + r * hidden, hidden * sizeof *residual);
        if (w->previous)
            ffn_finish_row(f, w->previous, r, residual);
        norm_row(f, residual, gain, w->normed + (r - w->begin) * hidden);
    }
    w->previous = NULL;
    expert_input_bind(&w->input, f->forms[layer - f->layer_begin].attention, w->normed, rows, hidden, hidden, w->forms);
    expert_input_quantize(&w->input, 0, rows);
}

/* ---- q and k: norm, clip, rotate -------------------------------------------------------------------------------- */

/* Of the whole q and k of a row, where the norm runs over all heads, computed once: by the row's own thread (wide), or
 * by every thread that attends with the row (narrow), which costs no barrier. */
static struct row_inverse *row_inverse(const struct forward *f, const struct forward_worker *w, size_t row) {
    return (f->narrow ? w->inverse : f->inverse) + row;
}

static void find_inverse(const struct forward *f, const struct forward_worker *w, size_t row) {
    const float *q = f->qkv + row * f->qkv_rows;
    if (f->config->qk_norm == QK_NORM_FULL)
        *row_inverse(f, w, row) = (struct row_inverse){norm_inverse(f->kernels, q, f->q_rows, f->epsilon),
                                                       norm_inverse(f->kernels, q + f->q_rows, f->kv_rows, f->epsilon)};
}

/* One head of one row, in place; `inverse` is the row's own where the norm runs over all heads. */
static void prepare_head(const struct forward *f, float *x, const float *gain, float inverse, size_t row) {
    const struct model_config *config = f->config;
    size_t half = config->rotary_dim / 2;
    if (config->qk_norm == QK_NORM_HEAD)
        inverse = norm_inverse(f->kernels, x, config->head_dim, f->epsilon);
    if (config->qk_norm != QK_NORM_NONE)
        f->kernels->scale_gain(x, inverse, gain, config->head_dim, x);
    if (config->clip_qkv > 0)
        f->kernels->clip(x, (float)config->clip_qkv, config->head_dim);
    f->kernels->rotate(x, f->cosine + row * half, f->sine + row * half, half);
}

static const float *head_gain(const struct forward *f, const float *gain, size_t head) {
    return f->config->qk_norm == QK_NORM_FULL ? gain + head * f->config->head_dim : gain;
}

/* Query head `head` of row `row`, ready for scores, into out[head_dim]. */
static void load_query(const struct forward *f, const struct forward_worker *w, const struct layer_weights *weights,
                       size_t row, size_t head, float *out) {
    const float *q = f->qkv + row * f->qkv_rows;
    memcpy(out, q + head * f->config->head_dim, f->config->head_dim * sizeof *out);
    prepare_head(f, out, head_gain(f, weights->q_norm, head), row_inverse(f, w, row)->q, row);
}

/* ---- the cache -------------------------------------------------------------------------------------------------- */

static uint32_t cache_layer(const struct kv_cache *cache, uint32_t layer) {
    return cache->shape.layers == 1 ? 0 : layer;
}

static void store_f32(float *keys, float *values, size_t width, size_t at, const float *key, const float *value,
                      size_t head_dim) {
    for (size_t d = 0; d < head_dim; d++)
        keys[d * KV_BLOCK_TOKENS + at] = key[d];
    memcpy(values + at * width, value, head_dim * sizeof *value);
}

static void store_f16(const struct model_kernels *kernels, uint16_t *keys, uint16_t *values, size_t width, size_t at,
                      const float *key, const float *value, size_t head_dim, uint16_t *narrowed) {
    kernels->narrow(key, head_dim, narrowed);
    for (size_t d = 0; d < head_dim; d++)
        keys[d * KV_BLOCK_TOKENS + at] = narrowed[d];
    kernels->narrow(value, head_dim, values + at * width);
}

static void store_int8(const struct model_kernels *kernels, int8_t *keys, int8_t *values, size_t width, size_t at,
                       const float *key, const float *value, size_t head_dim, int8_t *codes) {
    kv_scales(keys, width)[at] = kernels->quantize(key, head_dim, codes);
    for (size_t d = 0; d < head_dim; d++)
        keys[d * KV_BLOCK_TOKENS + at] = codes[d];
    kv_scales(values, width)[at] = kernels->quantize(value, head_dim, values + at * width);
}

/* Row `row`'s key and value of one head go to their place in the cache. */
static void store_row(struct forward *f, struct forward_worker *w, uint32_t layer, const struct layer_weights *weights,
                      size_t row, uint32_t kv_head) {
    size_t head_dim = f->config->head_dim, position = f->row[row].position;
    const struct kv_cache *cache = f->items[f->row[row].item].context->cache;
    float *k = f->qkv + row * f->qkv_rows + f->q_rows, *value = k + f->kv_rows + kv_head * head_dim;
    size_t block = position / KV_BLOCK_TOKENS, at = position % KV_BLOCK_TOKENS;
    void *keys = kv_cache_keys(cache, block, cache_layer(cache, layer), kv_head);
    void *values = kv_cache_values(cache, block, cache_layer(cache, layer), kv_head);
    memcpy(w->key, k + kv_head * head_dim, head_dim * sizeof *w->key);
    prepare_head(f, w->key, head_gain(f, weights->k_norm, kv_head), row_inverse(f, w, row)->k, row);
    if (f->config->clip_qkv > 0)
        f->kernels->clip(value, (float)f->config->clip_qkv, head_dim);
    if (cache->shape.type == KV_F16)
        store_f16(f->kernels, keys, values, f->head_width, at, w->key, value, head_dim, w->narrowed);
    else if (cache->shape.type == KV_INT8)
        store_int8(f->kernels, keys, values, f->head_width, at, w->key, value, head_dim, w->codes);
    else
        store_f32(keys, values, f->head_width, at, w->key, value, head_dim);
}

void attention_project(struct forward *f, struct forward_worker *w, uint32_t layer,
                       const struct layer_weights *weights) {
    size_t tokens = w->end - w->begin, stride = f->qkv_rows, begin[3], end[3];
    const size_t rows[3] = {f->q_rows, f->kv_rows, f->kv_rows};
    float *q = f->qkv + w->begin * stride, *k = q + f->q_rows, *v = k + f->kv_rows;
    enter(f, w, layer, weights->attention_norm);
    forward_share(f, w, rows, 3, begin, end);
    project(&weights->q, weights->q_bias, &w->input, tokens, begin[0], end[0], q, stride);
    project(&weights->k, weights->k_bias, &w->input, tokens, begin[1], end[1], k, stride);
    project(&weights->v, weights->v_bias, &w->input, tokens, begin[2], end[2], v, stride);
    if (f->narrow) /* whoever attends stores: the rows of one head lie with several threads */
        return;
    for (size_t r = w->begin; r < w->end; r++) {
        find_inverse(f, w, r);
        for (uint32_t head = 0; head < f->config->kv_heads; head++)
            store_row(f, w, layer, weights, r, head);
    }
}

/* ---- attention over the cache ------------------------------------------------------------------------------------ */

/* A tile: up to 16 (query, head) rows of one item and KV head, their positions ascending. */
struct tile {
    const struct kv_cache *cache;
    uint32_t layer, kv_head;
    size_t rows;
    size_t row[ATTENTION_TILE_ROWS], head[ATTENTION_TILE_ROWS]; /* of the step, of the model */
    size_t low[ATTENTION_TILE_ROWS], high[ATTENTION_TILE_ROWS]; /* positions attended: [low, high) */
    size_t end;                                                 /* of all that its task attends */
    float part_max[ATTENTION_TILE_ROWS], part_sum[ATTENTION_TILE_ROWS];
    float total_max[ATTENTION_TILE_ROWS], total_sum[ATTENTION_TILE_ROWS];
};

static void tile_init(const struct forward *f, struct forward_worker *w, const struct layer_weights *weights,
                      const struct attention_task *task, uint32_t layer, size_t begin, size_t end, struct tile *tile) {
    size_t group = f->config->heads / f->config->kv_heads, window = f->config->layer[layer].window;
    tile->cache = f->items[task->item].context->cache;
    tile->layer = cache_layer(tile->cache, layer);
    tile->kv_head = task->kv_head;
    tile->rows = end - begin;
    for (size_t i = 0; i < tile->rows; i++) {
        tile->row[i] = task->first_row + (begin + i) / group;
        tile->head[i] = task->kv_head * group + (begin + i) % group;
        tile->high[i] = f->row[tile->row[i]].position + 1;
        tile->low[i] = window && tile->high[i] > window ? tile->high[i] - window : 0;
        load_query(f, w, weights, tile->row[i], tile->head[i], w->query + i * f->head_width);
    }
    tile->end = smaller(tile->high[tile->rows - 1], (size_t)task->segment_end * ATTENTION_SEGMENT_TOKENS);
}

/* A block as a tile sees it: row i of [first, last) the columns [from[i], to[i]), both ascending in i. */
struct tile_block {
    const void *keys, *values, *next; /* next: the keys that are read after these values */
    size_t first, last;
    size_t from[ATTENTION_TILE_ROWS], to[ATTENTION_TILE_ROWS];
};

/* acc += p V of the rows [first, last) over the columns of [from, to) that each sees: together over what all see, by
 * halves of the rows over what lies before and behind it. Every row adds its columns in ascending order. */
static void add_values(const struct forward *f, struct forward_worker *w, const struct tile *tile,
                       const struct tile_block *block, size_t first, size_t last, size_t from, size_t to) {
    if (from >= to)
        return;
    size_t middle = (first + last) / 2, width = f->head_width;
    size_t common_from = smaller(larger(from, block->from[last - 1]), to);
    size_t common_to = larger(common_from, smaller(to, block->to[first]));
    if (middle > first) {
        add_values(f, w, tile, block, first, middle, from, common_from);
        add_values(f, w, tile, block, middle, last, from, common_from);
    }
    if (common_from < common_to)
        f->kernels->values[tile->cache->shape.type](w->score + first * KV_BLOCK_TOKENS, last - first, block->values,
                                                    block->next, common_from, common_to, width, w->part + first * width,
                                                    width);
    if (middle > first) {
        add_values(f, w, tile, block, first, middle, common_to, to);
        add_values(f, w, tile, block, middle, last, common_to, to);
    }
}

/* The rows of the tile that see something of a block, and what; false where none does. */
static bool block_open(const struct tile *tile, size_t index, struct tile_block *ret) {
    size_t base = index * KV_BLOCK_TOKENS, after = base + KV_BLOCK_TOKENS, first = 0, last = tile->rows;
    while (first < last && tile->high[first] <= base)
        first++;
    while (last > first && tile->low[last - 1] >= after)
        last--;
    ret->first = first;
    ret->last = last;
    for (size_t i = first; i < last; i++) {
        ret->from[i] = larger(tile->low[i], base) - base;
        ret->to[i] = smaller(tile->high[i] - base, KV_BLOCK_TOKENS);
    }
    ret->keys = kv_cache_keys(tile->cache, index, tile->layer, tile->kv_head);
    ret->values = kv_cache_values(tile->cache, index, tile->layer, tile->kv_head);
    ret->next = after < tile->end ? kv_cache_keys(tile->cache, index + 1, tile->layer, tile->kv_head) : ret->values;
    return first < last;
}

static void attend_block(const struct forward *f, struct forward_worker *w, struct tile *tile, size_t index) {
    struct tile_block block;
    if (!block_open(tile, index, &block))
        return;
    size_t width = f->head_width, first = block.first, last = block.last;
    float *score = w->score + first * KV_BLOCK_TOKENS, rescale[ATTENTION_TILE_ROWS];
    f->kernels->scores[tile->cache->shape.type](w->query + first * width, width, last - first, block.keys, block.values,
                                                f->config->head_dim, block.from[first] / 16,
                                                (block.to[last - 1] + 15) / 16, f->score_scale, score);
    f->kernels->softmax(score, last - first, block.from + first, block.to + first, tile->part_max + first,
                        tile->part_sum + first, rescale);
    for (size_t i = first; i < last; i++)
        if (rescale[i - first] != 1.0f)
            f->kernels->scale(w->part + i * width, rescale[i - first], width);
    add_values(f, w, tile, &block, first, last, block.from[first], block.to[last - 1]);
}

static bool sees(const struct tile *tile, size_t i, size_t segment) {
    return tile->high[i] > segment * ATTENTION_SEGMENT_TOKENS &&
           tile->low[i] < (segment + 1) * ATTENTION_SEGMENT_TOKENS;
}

static void attend_segment(const struct forward *f, struct forward_worker *w, struct tile *tile, size_t segment) {
    size_t begin = larger(segment * ATTENTION_SEGMENT_TOKENS, tile->low[0]) / KV_BLOCK_TOKENS;
    size_t end = smaller((segment + 1) * ATTENTION_SEGMENT_TOKENS, tile->high[tile->rows - 1]);
    for (size_t i = 0; i < tile->rows; i++) {
        tile->part_max[i] = -INFINITY;
        tile->part_sum[i] = 0.0f;
    }
    memset(w->part, 0, tile->rows * f->head_width * sizeof *w->part);
    for (size_t block = begin; block * KV_BLOCK_TOKENS < end; block++)
        attend_block(f, w, tile, block);
}

static void finish_row(const struct forward *f, float *total, float sum, size_t row, size_t head) {
    size_t head_dim = f->config->head_dim;
    f->kernels->scale(total, 1.0f / sum, f->head_width);
    memcpy(f->attended + row * f->q_rows + head * head_dim, total, head_dim * sizeof *total);
}

/* A tile alone over all its segments. */
static void attend_whole(struct forward *f, struct forward_worker *w, struct tile *tile,
                         const struct attention_task *task) {
    size_t width = f->head_width;
    size_t first = tile->low[0] / ATTENTION_SEGMENT_TOKENS;
    for (size_t segment = first; segment < task->segment_end; segment++) {
        attend_segment(f, w, tile, segment);
        for (size_t i = 0; i < tile->rows; i++) {
            if (!sees(tile, i, segment))
                continue;
            if (segment == tile->low[i] / ATTENTION_SEGMENT_TOKENS) {
                memcpy(w->total + i * width, w->part + i * width, width * sizeof *w->total);
                tile->total_max[i] = tile->part_max[i];
                tile->total_sum[i] = tile->part_sum[i];
            } else {
                f->kernels->join(w->total + i * width, &tile->total_max[i], &tile->total_sum[i], w->part + i * width,
                                 tile->part_max[i], tile->part_sum[i], width);
            }
        }
    }
    for (size_t i = 0; i < tile->rows; i++)
        finish_row(f, w->total + i * width, tile->total_sum[i], tile->row[i], tile->head[i]);
}

/* ---- one long sequence shared by several threads ----------------------------------------------------------------- */

static float *part_at(const struct forward *f, const struct attention_task *task, size_t row, size_t segment) {
    return f->part + (task->part + row * task->segments + segment) * (f->head_width + 16);
}

static void attend_part(struct forward *f, struct forward_worker *w, struct tile *tile,
                        const struct attention_task *task, size_t row_begin) {
    size_t width = f->head_width, segment = task->segment_begin;
    attend_segment(f, w, tile, segment);
    for (size_t i = 0; i < tile->rows; i++) {
        float *part = part_at(f, task, row_begin + i, segment);
        memcpy(part, w->part + i * width, width * sizeof *part);
        part[width] = tile->part_max[i];
        part[width + 1] = tile->part_sum[i];
    }
}

/* The last of a head's tasks joins the parts, in ascending order whoever it is. */
static void join_parts(struct forward *f, struct forward_worker *w, const struct attention_task *task, uint32_t layer) {
    size_t width = f->head_width, group = f->config->heads / f->config->kv_heads;
    size_t window = f->config->layer[layer].window;
    for (size_t r = 0; r < task->row_end; r++) {
        size_t row = task->first_row + r / group, high = f->row[row].position + (size_t)1;
        size_t segment = (window && high > window ? high - window : 0) / ATTENTION_SEGMENT_TOKENS;
        const float *part = part_at(f, task, r, segment);
        float total_max = part[width], total_sum = part[width + 1];
        memcpy(w->total, part, width * sizeof *part);
        while (++segment * ATTENTION_SEGMENT_TOKENS < high) {
            part = part_at(f, task, r, segment);
            f->kernels->join(w->total, &total_max, &total_sum, part, part[width], part[width + 1], width);
        }
        finish_row(f, w->total, total_sum, row, task->kv_head * group + r % group);
    }
}

/* The new keys that lie in the task's segments: nobody else reads these segments of this item and head in this step. */
static void store_new(struct forward *f, struct forward_worker *w, const struct attention_task *task, uint32_t layer,
                      const struct layer_weights *weights) {
    for (size_t i = 0; i < f->items[task->item].count; i++) {
        size_t row = task->first_row + i, segment = f->row[row].position / ATTENTION_SEGMENT_TOKENS;
        if (segment >= task->segment_begin && segment < task->segment_end)
            store_row(f, w, layer, weights, row, task->kv_head);
    }
}

/* Asks for the keys that the task reads first, while its queries are made ready. */
static void fetch_first(const struct forward *f, const struct attention_task *task, uint32_t layer) {
    size_t group = f->config->heads / f->config->kv_heads, window = f->config->layer[layer].window;
    size_t high = f->row[task->first_row + task->row_begin / group].position + (size_t)1;
    size_t low = larger(window && high > window ? high - window : 0, task->segment_begin * ATTENTION_SEGMENT_TOKENS);
    const struct kv_cache *cache = f->items[task->item].context->cache;
    const uint8_t *keys = kv_cache_keys(cache, low / KV_BLOCK_TOKENS, cache_layer(cache, layer), task->kv_head);
    for (size_t byte = 0; byte < cache->run_bytes; byte += 64)
        __builtin_prefetch(keys + byte);
}

static void task_run(struct forward *f, struct forward_worker *w, const struct attention_task *task, uint32_t layer,
                     const struct layer_weights *weights) {
    fetch_first(f, task, layer);
    if (f->narrow) {
        if (w->inverse_item != task->item)
            for (size_t i = 0; i < f->items[task->item].count; i++)
                find_inverse(f, w, task->first_row + i);
        w->inverse_item = task->item;
        store_new(f, w, task, layer, weights);
    }
    for (size_t begin = task->row_begin; begin < task->row_end; begin += ATTENTION_TILE_ROWS) {
        struct tile tile;
        size_t end = smaller(begin + ATTENTION_TILE_ROWS, task->row_end);
        tile_init(f, w, weights, task, layer, begin, end, &tile);
        if (task->split)
            attend_part(f, w, &tile, task, begin);
        else
            attend_whole(f, w, &tile, task);
    }
    if (!task->split)
        return;
    _Atomic uint32_t *joined = &f->joined[task->item * f->config->kv_heads + task->kv_head];
    if (atomic_fetch_add_explicit(joined, 1, memory_order_acq_rel) + 1 == task->segments) {
        atomic_store_explicit(joined, 0, memory_order_relaxed);
        join_parts(f, w, task, layer);
    }
}

void attention_run(struct forward *f, struct forward_worker *w, uint32_t layer, const struct layer_weights *weights) {
    uint32_t ticket;
    w->inverse_item = UINT32_MAX;
    while ((ticket = atomic_fetch_add_explicit(&f->next_task, 1, memory_order_relaxed)) < f->tasks)
        task_run(f, w, &f->task[ticket], layer, weights);
}

/* ---- output ------------------------------------------------------------------------------------------------------ */

/* hidden = residual + W_o attended. Narrow: this thread's columns of all rows; wide: all columns of its rows. */
void attention_output(struct forward *f, struct forward_worker *w, uint32_t layer,
                      const struct layer_weights *weights) {
    size_t hidden = f->config->hidden, tokens = w->end - w->begin, begin, end;
    expert_input_bind(&w->input, f->forms[layer - f->layer_begin].output, f->attended + w->begin * f->q_rows, tokens,
                      f->q_rows, f->q_rows, w->forms);
    expert_input_quantize(&w->input, 0, tokens);
    forward_share(f, w, &hidden, 1, &begin, &end);
    project(&weights->o, weights->o_bias, &w->input, tokens, begin, end, f->projected + w->begin * hidden, hidden);
    for (size_t r = w->begin; r < w->end && begin < end; r++) {
        float *out = f->hidden + r * hidden + begin;
        if (f->narrow)
            memcpy(out, forward_residual(f, w, r) + begin, (end - begin) * sizeof *out);
        expert_add(out, f->projected + r * hidden + begin, end - begin);
    }
}
