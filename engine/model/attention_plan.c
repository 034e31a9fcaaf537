/* SPDX-License-Identifier: Apache-2.0 */
/* The attention work of a step as tasks that threads take by ticket. */
#include "forward_internal.h"

static size_t segments_of(size_t tokens) {
    return (tokens + ATTENTION_SEGMENT_TOKENS - 1) / ATTENTION_SEGMENT_TOKENS;
}

/* Narrow: one task writes an item's new keys of one head and attends with all of its rows; over a long text, one task a
 * segment, where their parts find room. */
static void plan_narrow(struct forward *f, uint32_t item, uint32_t first_row, size_t *io_parts) {
    size_t count = f->items[item].count, tokens = f->items[item].context->cache->tokens + count;
    uint32_t rows = (uint32_t)count * (f->config->heads / f->config->kv_heads),
             segments = (uint32_t)segments_of(tokens);
    size_t parts = (size_t)rows * segments;
    bool split = segments > 1 && f->threads > 1 && *io_parts + parts * f->config->kv_heads <= ATTENTION_PARTS_MAX;
    for (uint32_t head = 0; head < f->config->kv_heads; head++) {
        struct attention_task task = {
            .item = item, .kv_head = head, .first_row = first_row, .row_end = rows, .segment_end = segments};
        if (!split) {
            f->task[f->tasks++] = task;
            continue;
        }
        task.split = true;
        task.segments = segments;
        task.part = (uint32_t)*io_parts;
        for (uint32_t segment = 0; segment < segments; segment++) {
            task.segment_begin = segment;
            task.segment_end = segment + 1;
            f->task[f->tasks++] = task;
        }
        *io_parts += parts;
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
            f->task[f->tasks++] = (struct attention_task){
                .item = item,
                .kv_head = head,
                .first_row = first_row,
                .row_begin = begin,
                .row_end = end,
                .segment_end = (uint32_t)segments_of(before + (end - 1) / group + 1)};
        }
}

void attention_plan(struct forward *f) {
    size_t parts = 0;
    uint32_t first_row = 0;
    f->tasks = 0;
    for (uint32_t item = 0; item < f->n_items; item++) {
        if (f->narrow)
            plan_narrow(f, item, first_row, &parts);
        else
            plan_wide(f, item, first_row);
        first_row += (uint32_t)f->items[item].count;
    }
    atomic_store_explicit(&f->next_task, 0, memory_order_relaxed);
}
