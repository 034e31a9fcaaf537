/* SPDX-License-Identifier: Apache-2.0 */
/* The feed-forward work of a layer and step as tiles (expert x output rows) that threads take by ticket. */
#include "experts_internal.h"

#include <stdlib.h>

moesaic_status expert_dispatch_init(struct expert_dispatch *dispatch, size_t max_jobs, size_t max_parts, size_t hidden,
                                    struct expert_activation activation, moesaic_error *error) {
    size_t runs = max_parts > max_jobs ? max_parts : max_jobs;
    *dispatch =
        (struct expert_dispatch){.hidden = hidden, .activation = activation, .max_jobs = max_jobs, .max_runs = runs};
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

/* Whole panels of 16 rows keep every format's unit. */
static uint32_t units_of(size_t rows) { return (uint32_t)((rows + EXPERT_UNIT_ROWS - 1) / EXPERT_UNIT_ROWS); }

/* An eighth of a thread's share: smaller tiles only cost tickets. */
static uint32_t least_units(size_t total_rows, unsigned threads) {
    size_t units = total_rows / (8 * (size_t)threads * EXPERT_UNIT_ROWS);
    return units < 1                                         ? 1
           : units < EXPERT_TILE_ROWS_MAX / EXPERT_UNIT_ROWS ? (uint32_t)units
                                                             : EXPERT_TILE_ROWS_MAX / EXPERT_UNIT_ROWS;
}

/* Appends the rows [begin, end) of a part to the runs of `node`; returns its units. */
static uint32_t queue_add(struct expert_queue *queue, unsigned node, struct expert_job *job,
                          const struct expert_part *part, uint32_t begin, uint32_t end) {
    if (begin == end)
        return 0;
    uint32_t units = units_of(end - begin);
    queue->run[queue->node_begin[node + 1]++] = (struct expert_run){job, part, begin, end, queue->units[node]};
    queue->units[node] += units;
    return units;
}

static void queue_open_node(struct expert_queue *queue, unsigned node) {
    if (node == 0)
        queue->node_begin[0] = 0;
    queue->node_begin[node + 1] = queue->node_begin[node];
    queue->units[node] = 0;
    atomic_store_explicit(&queue->tickets[node].next, 0, memory_order_relaxed);
}

static void seal_job(struct expert_dispatch *dispatch, unsigned node, struct expert_job *job) {
    uint32_t up_units = 0;
    for (uint32_t p = 0; p < job->parts; p++) {
        const struct expert_part *part = &job->part[p];
        if (part->reader != node)
            continue;
        up_units += queue_add(&dispatch->up, node, job, part, part->gate_begin, part->gate_end);
        queue_add(&dispatch->down, node, job, part, part->down_begin, part->down_end);
    }
    uint32_t before = node == 0 ? 0 : atomic_load_explicit(&job->units_left, memory_order_relaxed);
    atomic_store_explicit(&job->units_left, before + up_units, memory_order_relaxed);
}

void expert_dispatch_seal(struct expert_dispatch *dispatch, unsigned threads) {
    size_t inner_rows = 0;
    for (size_t j = 0; j < dispatch->jobs; j++)
        inner_rows += dispatch->job[j].intermediate;
    dispatch->threads = threads;
    dispatch->up.least_units = least_units(inner_rows, threads);
    dispatch->down.least_units = least_units(dispatch->hidden * dispatch->jobs, threads);
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
    unsigned nodes, threads, visited, node;
    uint32_t run; /* the units taken of one node only rise */
};

static struct queue_walk queue_enter(struct expert_queue *queue, const struct expert_dispatch *dispatch,
                                     unsigned node) {
    unsigned first = node % dispatch->nodes;
    return (struct queue_walk){queue, dispatch->nodes, dispatch->threads, 0, first, queue->node_begin[first]};
}

/* Units of the tile that begins at `first`: half of a thread's share of what is left, so that tiles are long while
 * there is much to do and the last ones even the load out (guided self-scheduling; Polychronopoulos and Kuck, 1987),
 * within the run and the scratch. Moves the walk to that run. */
static uint32_t tile_units(struct queue_walk *walk, uint32_t first) {
    const struct expert_queue *queue = walk->queue;
    while (walk->run + 1 < queue->node_begin[walk->node + 1] && first >= queue->run[walk->run + 1].first_unit)
        walk->run++;
    const struct expert_run *run = &queue->run[walk->run];
    uint32_t units = (queue->units[walk->node] - first) / (2 * walk->threads);
    uint32_t rest = run->first_unit + units_of(run->end - run->begin) - first;
    uint32_t most = (run->job->n <= EXPERT_FEW_TOKENS ? EXPERT_FEW_ROWS_MAX : EXPERT_TILE_ROWS_MAX) / EXPERT_UNIT_ROWS;
    units = units > queue->least_units ? units : queue->least_units;
    units = units < most ? units : most;
    return units < rest ? units : rest;
}

/* A tile: rows [begin, end) of a run's job, `units` units. */
struct queue_tile {
    const struct expert_run *run;
    size_t begin, end;
    uint32_t units;
};

/* Takes the next tile; false when none is left. */
static bool queue_take(struct queue_walk *walk, struct queue_tile *ret_tile) {
    struct expert_queue *queue = walk->queue;
    while (walk->visited < walk->nodes) {
        _Atomic uint32_t *next = &queue->tickets[walk->node].next;
        uint32_t first = atomic_load_explicit(next, memory_order_relaxed);
        while (first < queue->units[walk->node]) {
            uint32_t units = tile_units(walk, first);
            if (!atomic_compare_exchange_weak_explicit(next, &first, first + units, memory_order_relaxed,
                                                       memory_order_relaxed))
                continue;
            const struct expert_run *run = &queue->run[walk->run];
            size_t begin = run->begin + (size_t)(first - run->first_unit) * EXPERT_UNIT_ROWS;
            size_t end = begin + (size_t)units * EXPERT_UNIT_ROWS;
            *ret_tile = (struct queue_tile){run, begin, end < run->end ? end : run->end, units};
            return true;
        }
        walk->visited++;
        walk->node = walk->node + 1 < walk->nodes ? walk->node + 1 : 0;
        walk->run = queue->node_begin[walk->node];
    }
    return false;
}

void expert_dispatch_up(struct expert_dispatch *dispatch, unsigned node, const struct expert_input *x, float *scratch) {
    struct queue_walk walk = queue_enter(&dispatch->up, dispatch, node);
    struct queue_tile tile;
    while (queue_take(&walk, &tile)) {
        struct expert_job *job = tile.run->job;
        expert_ffn_up(job, tile.run->part, &dispatch->activation, x, tile.begin, tile.end, scratch);
        if (atomic_fetch_sub_explicit(&job->units_left, tile.units, memory_order_acq_rel) == tile.units)
            expert_input_quantize(&job->inner, 0, job->n);
    }
}

void expert_dispatch_down(struct expert_dispatch *dispatch, unsigned node) {
    struct queue_walk walk = queue_enter(&dispatch->down, dispatch, node);
    struct queue_tile tile;
    while (queue_take(&walk, &tile))
        expert_ffn_down(tile.run->job, tile.run->part, dispatch->hidden, tile.begin, tile.end);
}
