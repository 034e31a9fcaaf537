/* SPDX-License-Identifier: Apache-2.0 */
/* The attention work of a step as tasks that threads take by ticket. */
#include "forward_internal.h"

static size_t segments_of(size_t tokens) {
    return (tokens + ATTENTION_SEGMENT_TOKENS - 1) / ATTENTION_SEGMENT_TOKENS;
}

/* Shares of a thread that a task may be before it is split. */
enum { TASKS_A_THREAD = 16, HEADS_A_TASK = 2 };

/* Keys of all items and heads, in tokens: the size of the step's attention. */
static size_t narrow_tokens(const struct forward *f) {
    size_t tokens = 0;
    for (size_t i = 0; i < f->n_items; i++)
        tokens += f->items[i].context->cache->tokens + f->items[i].count;
    return tokens * f->config->kv_heads;
}

/* How many KV heads a task of one query takes: two, whose runs lie side by side in each block, read faster than one;
 * but one where that leaves threads without work. */
static uint32_t narrow_heads(const struct forward *f, size_t count) {
    size_t group = f->config->heads / f->config->kv_heads;
    bool several = count == 1 && HEADS_A_TASK * group <= ATTENTION_TILE_ROWS &&
                   (f->threads == 1 || f->n_items * f->config->kv_heads >= 2 * HEADS_A_TASK * f->threads);
    return several ? HEADS_A_TASK : 1;
}

/* Narrow: one task writes an item's new keys of a head and attends with all of its rows; over a long text, where a
 * task would be too much of the step and parts find room, one task a whole segment, the last with what is left. */
static void plan_narrow(struct forward *f, uint32_t item, uint32_t first_row, size_t total, size_t *io_parts) {
    size_t count = f->items[item].count, tokens = f->items[item].context->cache->tokens + count;
    uint32_t kv_heads = f->config->kv_heads, group = f->config->heads / kv_heads, heads = narrow_heads(f, count);
    uint32_t segments = (uint32_t)segments_of(tokens), splits = (uint32_t)(tokens / ATTENTION_SEGMENT_TOKENS);
    size_t parts = count * f->config->heads * segments;
    if (splits < 2 || f->threads == 1 || tokens * heads <= total / (f->threads * TASKS_A_THREAD) ||
        *io_parts + parts > ATTENTION_PARTS_MAX)
        splits = 1;
    for (uint32_t head = 0; head < kv_heads; head += heads) {
        struct attention_task task = {.item = item,
                                      .kv_head = head,
                                      .kv_heads = (uint32_t)smaller(heads, kv_heads - head),
                                      .first_row = first_row,
                                      .splits = splits,
                                      .segments = segments,
                                      .part = (uint32_t)*io_parts};
        task.row_end = (uint32_t)count * task.kv_heads * group;
        for (uint32_t split = 0; split < splits; split++) {
            task.segment_begin = split;
            task.segment_end = split + 1 < splits ? split + 1 : segments;
            f->task[f->tasks++] = task;
        }
        if (splits > 1)
            *io_parts += (size_t)task.row_end * segments;
    }
}

/* Wide: keys are in the cache already; a task is one tile of rows. Head by head, so that its keys stay in a cache, and
 * longest first, so that the last tasks are short. */
static void plan_wide(struct forward *f, uint32_t item, uint32_t first_row) {
    size_t count = f->items[item].count, before = f->items[item].context->cache->tokens;
    uint32_t group = f->config->heads / f->config->kv_heads, rows = (uint32_t)count * group;
    for (uint32_t head = 0; head < f->config->kv_heads; head++)
        for (uint32_t end = rows, begin; end > 0; end = begin) {
            begin = (end - 1) / ATTENTION_TILE_ROWS * ATTENTION_TILE_ROWS;
            f->task[f->tasks++] =
                (struct attention_task){.item = item,
                                        .kv_head = head,
                                        .kv_heads = 1,
                                        .splits = 1,
                                        .first_row = first_row,
                                        .row_begin = begin,
                                        .row_end = end,
                                        .segment_end = (uint32_t)segments_of(before + (end - 1) / group + 1)};
        }
}

void attention_plan(struct forward *f) {
    size_t parts = 0, total = narrow_tokens(f);
    uint32_t first_row = 0;
    f->tasks = 0;
    for (uint32_t item = 0; item < f->n_items; item++) {
        if (f->narrow)
            plan_narrow(f, item, first_row, total, &parts);
        else
            plan_wide(f, item, first_row);
        first_row += (uint32_t)f->items[item].count;
    }
    atomic_store_explicit(&f->next_task, 0, memory_order_relaxed);
}
