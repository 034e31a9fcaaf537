/* SPDX-License-Identifier: Apache-2.0 */
/* Attention over the cache: online softmax block by block, segment by segment, and what is read ahead. */
#include "forward_internal.h"

#include <math.h>
#include <string.h>

/* ---- tiles ------------------------------------------------------------------------------------------------------- */

/* A tile: up to 16 (query, head) rows of a task, their positions ascending, or several KV heads of one position. */
struct tile {
    const struct attention_task *task;
    const struct kv_cache *cache;
    uint32_t layer; /* of the model */
    size_t rows;
    size_t row[ATTENTION_TILE_ROWS], head[ATTENTION_TILE_ROWS]; /* of the step, of the model */
    size_t low[ATTENTION_TILE_ROWS], high[ATTENTION_TILE_ROWS]; /* positions attended: [low, high) */
    size_t end;                                                 /* of all that it attends in its task */
    bool last;                                                  /* of its task */
    float part_max[ATTENTION_TILE_ROWS], part_sum[ATTENTION_TILE_ROWS];
    float total_max[ATTENTION_TILE_ROWS], total_sum[ATTENTION_TILE_ROWS];
};

/* Query heads of a task; row r of it is query r / columns. */
static size_t task_columns(const struct forward *f, const struct attention_task *task) {
    return task->kv_heads * (f->config->heads / f->config->kv_heads);
}
static size_t task_row(const struct forward *f, const struct attention_task *task, size_t r) {
    return task->first_row + r / task_columns(f, task);
}
static size_t task_head(const struct forward *f, const struct attention_task *task, size_t r) {
    return task->kv_head * (f->config->heads / f->config->kv_heads) + r % task_columns(f, task);
}

/* The first position that a row attends. */
static size_t row_low(const struct forward *f, size_t row, uint32_t layer) {
    size_t window = f->config->layer[layer].window, high = f->row[row].position + (size_t)1;
    return window && high > window ? high - window : 0;
}

static void tile_init(const struct forward *f, struct forward_worker *w, const struct layer_weights *weights,
                      const struct attention_task *task, uint32_t layer, size_t begin, size_t end, struct tile *tile) {
    tile->task = task;
    tile->cache = f->items[task->item].context->cache;
    tile->layer = layer;
    tile->rows = end - begin;
    for (size_t i = 0; i < tile->rows; i++) {
        tile->row[i] = task_row(f, task, begin + i);
        tile->head[i] = task_head(f, task, begin + i);
        tile->high[i] = f->row[tile->row[i]].position + 1;
        tile->low[i] = row_low(f, tile->row[i], layer);
        attention_query(f, w, weights, tile->row[i], tile->head[i], w->query + i * f->head_width);
    }
    tile->last = end == task->row_end;
    tile->end = smaller(tile->high[tile->rows - 1], (size_t)task->segment_end * ATTENTION_SEGMENT_TOKENS);
}

/* ---- what is read ahead ------------------------------------------------------------------------------------------ */

/* The keys that a task reads first. */
static struct kv_ahead first_keys(const struct forward *f, const struct attention_task *task, uint32_t layer) {
    const struct kv_cache *cache = f->items[task->item].context->cache;
    size_t low = larger(row_low(f, task_row(f, task, task->row_begin), layer),
                        (size_t)task->segment_begin * ATTENTION_SEGMENT_TOKENS);
    const void *keys = kv_cache_keys(cache, low / KV_BLOCK_TOKENS, cache_layer(cache, layer), task->kv_head);
    return kv_ahead_of(keys, cache->run_bytes,
                       smaller(task->row_end - task->row_begin, ATTENTION_TILE_ROWS) / task->kv_heads);
}

static void fetch(const void *at, size_t bytes) {
    for (size_t byte = 0; byte < bytes; byte += 64)
        __builtin_prefetch((const uint8_t *)at + byte);
}

static void fetch_queries(const struct forward *f, const struct attention_task *task) {
    size_t columns = task_columns(f, task), end = smaller(task->row_begin + ATTENTION_TILE_ROWS, task->row_end);
    for (size_t r = task->row_begin; r < end; r += columns - r % columns)
        fetch(f->qkv + task_row(f, task, r) * f->qkv_rows +
                  task->kv_head * columns / task->kv_heads * f->config->head_dim,
              columns * f->config->head_dim * sizeof(float));
}

/* The keys that are read after the values of block `index` and KV head `head` of the tile's: its own next ones, or the
 * first of the task that this thread takes next unless another is faster, whose queries are asked for here. */
static struct kv_ahead keys_after(const struct forward *f, struct forward_worker *w, const struct tile *tile,
                                  size_t index, size_t head, size_t rows) {
    const struct attention_task *task = tile->task;
    if (++head == task->kv_heads) {
        head = 0;
        index++;
    }
    const struct kv_cache *cache = tile->cache;
    if (index * KV_BLOCK_TOKENS < tile->end)
        return kv_ahead_of(kv_cache_keys(cache, index, cache_layer(cache, tile->layer), task->kv_head + (uint32_t)head),
                           cache->run_bytes, rows);
    if (tile->last) {
        uint32_t ticket = atomic_load_explicit(&f->next_task, memory_order_relaxed);
        if (ticket >= f->tasks)
            return kv_ahead_of(NULL, cache->run_bytes, rows);
        w->fetched = task = &f->task[ticket];
        fetch_queries(f, task);
    }
    return first_keys(f, task, tile->layer);
}

/* A block as a tile sees it: row i of [first, last) the columns [from[i], to[i]), both ascending in i. */
struct tile_block {
    size_t first, last;
    size_t from[ATTENTION_TILE_ROWS], to[ATTENTION_TILE_ROWS];
};

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
    return first < last;
}

/* The rows [first, last) of the tile, all of its KV head `head`, over one block. */
static void attend_block(const struct forward *f, struct forward_worker *w, struct tile *tile,
                         const struct tile_block *block, size_t index, uint32_t head, size_t first, size_t last) {
    kv_type type = tile->cache->shape.type;
    size_t width = f->head_width, rows = last - first;
    uint32_t layer = cache_layer(tile->cache, tile->layer), kv_head = tile->task->kv_head + head;
    const void *keys = kv_cache_keys(tile->cache, index, layer, kv_head);
    const void *values = kv_cache_values(tile->cache, index, layer, kv_head);
    float *score = w->score + first * KV_BLOCK_TOKENS, rescale[ATTENTION_TILE_ROWS];
    f->kernels->scores[type](w->query + first * width, width, rows, keys,
                             kv_ahead_of(values, tile->cache->run_bytes, rows), f->config->head_dim,
                             block->from[first] / 16, (block->to[last - 1] + 15) / 16, f->score_scale, score);
    f->kernels->softmax(score, rows, block->from + first, block->to + first, tile->part_max + first,
                        tile->part_sum + first, rescale);
    f->kernels->values[type](score, rows, values, keys_after(f, w, tile, index, head, rows), block->from + first,
                             block->to + first, width, rescale, w->part + first * width, width);
}

static void attend_heads(const struct forward *f, struct forward_worker *w, struct tile *tile, size_t index) {
    struct tile_block block;
    if (!block_open(tile, index, &block))
        return;
    if (tile->task->kv_heads == 1) {
        attend_block(f, w, tile, &block, index, 0, block.first, block.last);
        return;
    }
    size_t rows = tile->rows / tile->task->kv_heads; /* all of one position */
    for (uint32_t head = 0; head < tile->task->kv_heads; head++)
        attend_block(f, w, tile, &block, index, head, head * rows, (head + 1) * rows);
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
        attend_heads(f, w, tile, block);
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
    size_t width = f->head_width;
    for (size_t segment = task->segment_begin; segment < task->segment_end; segment++) {
        attend_segment(f, w, tile, segment);
        for (size_t i = 0; i < tile->rows; i++) {
            float *part = part_at(f, task, row_begin + i, segment);
            memcpy(part, w->part + i * width, width * sizeof *part);
            part[width] = tile->part_max[i];
            part[width + 1] = tile->part_sum[i];
        }
    }
}

/* The last of a head's tasks joins the parts, in ascending order whoever it is. */
static void join_parts(struct forward *f, struct forward_worker *w, const struct attention_task *task, uint32_t layer) {
    size_t width = f->head_width;
    for (size_t r = 0; r < task->row_end; r++) {
        size_t row = task_row(f, task, r), high = f->row[row].position + (size_t)1;
        size_t segment = row_low(f, row, layer) / ATTENTION_SEGMENT_TOKENS;
        const float *part = part_at(f, task, r, segment);
        float total_max = part[width], total_sum = part[width + 1];
        memcpy(w->total, part, width * sizeof *part);
        while (++segment * ATTENTION_SEGMENT_TOKENS < high) {
            part = part_at(f, task, r, segment);
            f->kernels->join(w->total, &total_max, &total_sum, part, part[width], part[width + 1], width);
        }
        finish_row(f, w->total, total_sum, row, task_head(f, task, r));
    }
}

/* ---- a task ------------------------------------------------------------------------------------------------------ */

void attention_fetch(const struct forward *f, const struct forward_worker *w, const struct attention_task *task,
                     uint32_t layer) {
    if (w->fetched == task)
        return;
    struct kv_ahead keys = first_keys(f, task, layer);
    fetch(keys.run, keys.bytes);
}

void attention_attend(struct forward *f, struct forward_worker *w, const struct attention_task *task, uint32_t layer,
                      const struct layer_weights *weights) {
    for (size_t begin = task->row_begin; begin < task->row_end; begin += ATTENTION_TILE_ROWS) {
        struct tile tile;
        size_t end = smaller(begin + ATTENTION_TILE_ROWS, task->row_end);
        tile_init(f, w, weights, task, layer, begin, end, &tile);
        if (task->splits > 1)
            attend_part(f, w, &tile, task, begin);
        else
            attend_whole(f, w, &tile, task);
    }
    if (task->splits == 1)
        return;
    _Atomic uint32_t *joined = &f->joined[task->item * f->config->kv_heads + task->kv_head];
    if (atomic_fetch_add_explicit(joined, 1, memory_order_acq_rel) + 1 == task->splits) {
        atomic_store_explicit(joined, 0, memory_order_relaxed);
        join_parts(f, w, task, layer);
    }
}
