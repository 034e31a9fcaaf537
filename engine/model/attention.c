/* SPDX-License-Identifier: Apache-2.0 */
/* Grouped-query attention: projections, q/k norms, rotary encoding, the cache, and the tasks that attend. */
#include "forward_internal.h"

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

/* One head of one row into out[head_dim]; `inverse` is the row's own where the norm runs over all heads. */
static void prepare_head(const struct forward *f, const float *x, const float *gain, float inverse, size_t row,
                         float *out) {
    const struct model_config *config = f->config;
    size_t half = config->rotary_dim / 2;
    if (config->qk_norm == QK_NORM_HEAD)
        inverse = norm_inverse(f->kernels, x, config->head_dim, f->epsilon);
    if (config->qk_norm != QK_NORM_NONE)
        f->kernels->scale_gain(x, inverse, gain, config->head_dim, out);
    else
        memcpy(out, x, config->head_dim * sizeof *out);
    if (config->clip_qkv > 0)
        f->kernels->clip(out, (float)config->clip_qkv, config->head_dim);
    f->kernels->rotate(out, f->cosine + row * half, f->sine + row * half, half);
}

static const float *head_gain(const struct forward *f, const float *gain, size_t head) {
    return f->config->qk_norm == QK_NORM_FULL ? gain + head * f->config->head_dim : gain;
}

void attention_query(const struct forward *f, const struct forward_worker *w, const struct layer_weights *weights,
                     size_t row, size_t head, float *out) {
    const float *q = f->qkv + row * f->qkv_rows + head * f->config->head_dim;
    prepare_head(f, q, head_gain(f, weights->q_norm, head), row_inverse(f, w, row)->q, row, out);
}

/* ---- the cache -------------------------------------------------------------------------------------------------- */

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
    prepare_head(f, k + kv_head * head_dim, head_gain(f, weights->k_norm, kv_head), row_inverse(f, w, row)->k, row,
                 w->key);
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

/* ---- tasks ------------------------------------------------------------------------------------------------------- */

/* The new keys that lie in the task's segments: nobody else reads these segments of this item and these heads in this
 * step. */
static void store_new(struct forward *f, struct forward_worker *w, const struct attention_task *task, uint32_t layer,
                      const struct layer_weights *weights) {
    for (size_t i = 0; i < f->items[task->item].count; i++) {
        size_t row = task->first_row + i, segment = f->row[row].position / ATTENTION_SEGMENT_TOKENS;
        for (uint32_t head = 0; head < task->kv_heads; head++)
            if (segment >= task->segment_begin && segment < task->segment_end)
                store_row(f, w, layer, weights, row, task->kv_head + head);
    }
}

static void task_run(struct forward *f, struct forward_worker *w, const struct attention_task *task, uint32_t layer,
                     const struct layer_weights *weights) {
    attention_fetch(f, w, task, layer);
    if (f->narrow) {
        if (w->inverse_item != task->item)
            for (size_t i = 0; i < f->items[task->item].count; i++)
                find_inverse(f, w, task->first_row + i);
        w->inverse_item = task->item;
        store_new(f, w, task, layer, weights);
    }
    attention_attend(f, w, task, layer, weights);
}

void attention_run(struct forward *f, struct forward_worker *w, uint32_t layer, const struct layer_weights *weights) {
    uint32_t ticket;
    w->inverse_item = UINT32_MAX;
    w->fetched = NULL;
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
