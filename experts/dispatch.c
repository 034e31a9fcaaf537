/* SPDX-License-Identifier: Apache-2.0 */
/* The feed-forward work of a layer and step as tiles (expert x output rows) that threads take by ticket. */
#include "experts_internal.h"

#include <stdlib.h>

moesaic_status expert_dispatch_init(struct expert_dispatch *dispatch, size_t max_jobs, size_t max_parts, size_t hidden,
                                    activation_type activation, moesaic_error *error) {
    size_t runs = max_parts > max_jobs ? max_parts : max_jobs;
    *dispatch = (struct expert_dispatch){
        .hidden = hidden, .activation = activation, .max_jobs = max_jobs, .max_runs = runs};
    dispatch->job = calloc(max_jobs, sizeof *dispatch->job);
    dispatch->up.run = calloc(runs, sizeof *dispatch->up.run);
    dispatch->down.run = calloc(runs, sizeof *dispatch->down.run);
    if (dispatch->job && dispatch->up.run && dispatch->down.run)
        return MOESAIC_OK;
    expert_dispatch_done(dispatch);
    return status_no_memory(error, "expert dispatch",
                            max_jobs * sizeof *dispatch->job + 2 * runs * sizeof *dispatch->up.run);
}

void expert_dispatch_done(struct expert_dispatch *dispatch) {
    free(dispatch->job);
    free(dispatch->up.run);
    free(dispatch->down.run);
    dispatch->job = NULL;
    dispatch->up.run = dispatch->down.run = NULL;
}

void expert_dispatch_clear(struct expert_dispatch *dispatch) {
    dispatch->jobs = 0;
    dispatch->nodes = 1;
}

void expert_dispatch_add_parts(struct expert_dispatch *dispatch, const struct expert_part *part, uint32_t parts,
                               size_t intermediate, const uint32_t *row, size_t n, float *inner, float *out,
                               void *scratch) {
    struct expert_job *job = &dispatch->job[dispatch->jobs++];
    job->part = part;
    job->parts = parts;
    job->intermediate = intermediate;
    job->row = row;
    job->n = n;
    job->inner_values = inner;
    job->out = out;
    for (uint32_t p = 0; p < parts; p++)
        dispatch->nodes = part[p].reader < dispatch->nodes ? dispatch->nodes : part[p].reader + 1;
    expert_input_bind(&job->inner, expert_form_bit(&part->weights.down), inner, n, intermediate, intermediate, scratch);
}

void expert_dispatch_add(struct expert_dispatch *dispatch, const struct ffn_weights *weights, size_t intermediate,
                         const uint32_t *row, size_t n, float *inner, float *out, void *scratch) {
    struct expert_part *whole = &dispatch->job[dispatch->jobs].whole;
    *whole = expert_part_whole(weights, intermediate, dispatch->hidden);
    expert_dispatch_add_parts(dispatch, whole, 1, intermediate, row, n, inner, out, scratch);
}

/* ---- tiles ------------------------------------------------------------------------------------------------------- */

static uint32_t tiles_of(size_t rows, size_t tile) { return (uint32_t)((rows + tile - 1) / tile); }

/* A few tiles a thread even the load out; more only cost tickets. Whole panels of 16 rows keep every format's unit. */
static size_t tile_rows(size_t total_rows, unsigned threads) {
    size_t rows = size_round_up(total_rows / (4 * (size_t)threads), 16);
    if (rows == 0)
        return 16;
    return rows < EXPERT_TILE_ROWS_MAX ? rows : EXPERT_TILE_ROWS_MAX;
}

/* Appends the rows [begin, end) of a part to the runs of `node`; returns its tiles. */
static uint32_t queue_add(struct expert_queue *queue, unsigned node, struct expert_job *job,
                          const struct expert_part *part, uint32_t begin, uint32_t end) {
    if (begin == end)
        return 0;
    uint32_t tiles = tiles_of(end - begin, queue->tile_rows);
    queue->run[queue->node_begin[node + 1]++] = (struct expert_run){job, part, begin, end, queue->tiles[node]};
    queue->tiles[node] += tiles;
    return tiles;
}

static void queue_open_node(struct expert_queue *queue, unsigned node) {
    if (node == 0)
        queue->node_begin[0] = 0;
    queue->node_begin[node + 1] = queue->node_begin[node];
    queue->tiles[node] = 0;
    atomic_store_explicit(&queue->tickets[node].next, 0, memory_order_relaxed);
}

static void seal_job(struct expert_dispatch *dispatch, unsigned node, struct expert_job *job) {
    uint32_t up_tiles = 0;
    for (uint32_t p = 0; p < job->parts; p++) {
        const struct expert_part *part = &job->part[p];
        if (part->reader != node)
            continue;
        up_tiles += queue_add(&dispatch->up, node, job, part, part->gate_begin, part->gate_end);
        queue_add(&dispatch->down, node, job, part, part->down_begin, part->down_end);
    }
    uint32_t before = node == 0 ? 0 : atomic_load_explicit(&job->tiles_left, memory_order_relaxed);
    atomic_store_explicit(&job->tiles_left, before + up_tiles, memory_order_relaxed);
}

void expert_dispatch_seal(struct expert_dispatch *dispatch, unsigned threads) {
    size_t inner_rows = 0;
    for (size_t j = 0; j < dispatch->jobs; j++)
        inner_rows += dispatch->job[j].intermediate;
    dispatch->up.tile_rows = tile_rows(inner_rows, threads);
    dispatch->down.tile_rows = tile_rows(dispatch->hidden * dispatch->jobs, threads);
    for (unsigned node = 0; node < dispatch->nodes; node++) {
        queue_open_node(&dispatch->up, node);
        queue_open_node(&dispatch->down, node);
        for (size_t j = 0; j < dispatch->jobs; j++)
            seal_job(dispatch, node, &dispatch->job[j]);
    }
}

/* Where a thread is in a queue: its own node first, then the others in turn. */
struct queue_walk {
    struct expert_queue *queue;
    unsigned nodes, visited, node;
    uint32_t run; /* a thread's tickets of one node only rise */
};

static struct queue_walk queue_enter(struct expert_queue *queue, unsigned nodes, unsigned node) {
    unsigned first = node % nodes;
    return (struct queue_walk){queue, nodes, 0, first, queue->node_begin[first]};
}

/* Takes the next tile: its run and the rows [*ret_begin, *ret_end) of it; NULL when none is left. */
static const struct expert_run *queue_take(struct queue_walk *walk, size_t *ret_begin, size_t *ret_end) {
    struct expert_queue *queue = walk->queue;
    while (walk->visited < walk->nodes) {
        uint32_t ticket = atomic_fetch_add_explicit(&queue->tickets[walk->node].next, 1, memory_order_relaxed);
        if (ticket < queue->tiles[walk->node]) {
            while (walk->run + 1 < queue->node_begin[walk->node + 1] && ticket >= queue->run[walk->run + 1].first_tile)
                walk->run++;
            const struct expert_run *run = &queue->run[walk->run];
            *ret_begin = run->begin + (ticket - run->first_tile) * queue->tile_rows;
            *ret_end = *ret_begin + queue->tile_rows < run->end ? *ret_begin + queue->tile_rows : run->end;
            return run;
        }
        walk->visited++;
        walk->node = walk->node + 1 < walk->nodes ? walk->node + 1 : 0;
        walk->run = queue->node_begin[walk->node];
    }
    return NULL;
}

void expert_dispatch_up(struct expert_dispatch *dispatch, unsigned node, const struct expert_input *x, float *scratch) {
    struct queue_walk walk = queue_enter(&dispatch->up, dispatch->nodes, node);
    const struct expert_run *run;
    size_t begin, end;
    while ((run = queue_take(&walk, &begin, &end))) {
        struct expert_job *job = run->job;
        expert_ffn_up(job, run->part, dispatch->activation, x, begin, end, scratch);
        if (atomic_fetch_sub_explicit(&job->tiles_left, 1, memory_order_acq_rel) == 1)
            expert_input_quantize(&job->inner, 0, job->n);
    }
}

void expert_dispatch_down(struct expert_dispatch *dispatch, unsigned node) {
    struct queue_walk walk = queue_enter(&dispatch->down, dispatch->nodes, node);
    const struct expert_run *run;
    size_t begin, end;
    while ((run = queue_take(&walk, &begin, &end)))
        expert_ffn_down(run->job, run->part, dispatch->hidden, begin, end);
}
