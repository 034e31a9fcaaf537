/* SPDX-License-Identifier: Apache-2.0 */
/* The feed-forward work of a layer and step as tiles (expert x output rows) that threads take by ticket. */
#include "experts_internal.h"

#include <stdlib.h>

moesaic_status expert_dispatch_init(struct expert_dispatch *dispatch, size_t max_jobs, size_t hidden,
                                    activation_type activation, moesaic_error *error) {
    *dispatch = (struct expert_dispatch){.hidden = hidden, .activation = activation, .max_jobs = max_jobs};
    dispatch->job = calloc(max_jobs, sizeof *dispatch->job);
    dispatch->up_first = calloc(max_jobs + 1, sizeof *dispatch->up_first);
    dispatch->down_first = calloc(max_jobs + 1, sizeof *dispatch->down_first);
    if (dispatch->job && dispatch->up_first && dispatch->down_first)
        return MOESAIC_OK;
    expert_dispatch_done(dispatch);
    return status_no_memory(error, "expert dispatch", max_jobs * sizeof *dispatch->job);
}

void expert_dispatch_done(struct expert_dispatch *dispatch) {
    free(dispatch->job);
    free(dispatch->up_first);
    free(dispatch->down_first);
    dispatch->job = NULL;
    dispatch->up_first = dispatch->down_first = NULL;
}

void expert_dispatch_clear(struct expert_dispatch *dispatch) { dispatch->jobs = 0; }

void expert_dispatch_add(struct expert_dispatch *dispatch, const struct ffn_weights *weights, size_t intermediate,
                         const uint32_t *row, size_t n, float *inner, float *out, void *scratch) {
    struct expert_job *job = &dispatch->job[dispatch->jobs++];
    job->weights = weights;
    job->intermediate = intermediate;
    job->row = row;
    job->n = n;
    job->inner_values = inner;
    job->out = out;
    expert_input_bind(&job->inner, expert_form_bit(&weights->down), inner, n, intermediate, intermediate, scratch);
}

static size_t tiles_of(size_t rows, size_t tile) { return (rows + tile - 1) / tile; }

/* A few tiles a thread even the load out; more only cost tickets. Whole panels of 16 rows keep every format's unit. */
static size_t tile_rows(size_t total_rows, unsigned threads) {
    size_t rows = size_round_up(total_rows / (4 * (size_t)threads), 16);
    if (rows == 0)
        return 16;
    return rows < EXPERT_TILE_ROWS_MAX ? rows : EXPERT_TILE_ROWS_MAX;
}

void expert_dispatch_seal(struct expert_dispatch *dispatch, unsigned threads) {
    size_t inner_rows = 0;
    for (size_t j = 0; j < dispatch->jobs; j++)
        inner_rows += dispatch->job[j].intermediate;
    dispatch->up_rows = tile_rows(inner_rows, threads);
    dispatch->down_rows = tile_rows(dispatch->hidden * dispatch->jobs, threads);
    for (size_t j = 0; j < dispatch->jobs; j++) {
        uint32_t up = (uint32_t)tiles_of(dispatch->job[j].intermediate, dispatch->up_rows);
        atomic_store_explicit(&dispatch->job[j].tiles_left, up, memory_order_relaxed);
        dispatch->up_first[j + 1] = dispatch->up_first[j] + up;
        dispatch->down_first[j + 1] =
            dispatch->down_first[j] + (uint32_t)tiles_of(dispatch->hidden, dispatch->down_rows);
    }
    atomic_store_explicit(&dispatch->next_up, 0, memory_order_relaxed);
    atomic_store_explicit(&dispatch->next_down, 0, memory_order_relaxed);
}

/* Takes the next tile: its job and rows [*ret_begin, *ret_end); NULL when none is left. `*io_job` is a cursor: a
 * thread's tickets only rise. */
static struct expert_job *take(struct expert_dispatch *dispatch, _Atomic uint32_t *next, const uint32_t *first,
                               size_t tile, size_t *io_job, size_t *ret_tile_begin) {
    uint32_t ticket = atomic_fetch_add_explicit(next, 1, memory_order_relaxed);
    if (ticket >= first[dispatch->jobs])
        return NULL;
    while (ticket >= first[*io_job + 1])
        ++*io_job;
    *ret_tile_begin = (ticket - first[*io_job]) * tile;
    return &dispatch->job[*io_job];
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

void expert_dispatch_up(struct expert_dispatch *dispatch, const struct expert_input *x, float *scratch) {
    size_t cursor = 0, begin, tile = dispatch->up_rows;
    struct expert_job *job;
    while ((job = take(dispatch, &dispatch->next_up, dispatch->up_first, tile, &cursor, &begin))) {
        expert_ffn_up(job, dispatch->activation, x, begin, least(begin + tile, job->intermediate), scratch);
        if (atomic_fetch_sub_explicit(&job->tiles_left, 1, memory_order_acq_rel) == 1)
            expert_input_quantize(&job->inner, 0, job->n);
    }
}

void expert_dispatch_down(struct expert_dispatch *dispatch) {
    size_t cursor = 0, begin, tile = dispatch->down_rows;
    struct expert_job *job;
    while ((job = take(dispatch, &dispatch->next_down, dispatch->down_first, tile, &cursor, &begin)))
        expert_ffn_down(job, dispatch->hidden, begin, least(begin + tile, dispatch->hidden));
}
