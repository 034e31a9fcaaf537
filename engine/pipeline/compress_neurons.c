/* SPDX-License-Identifier: Apache-2.0 */
/* Narrower experts: intermediate neurons go before anything is rounded, and down is fitted to those that stay. */
#include <stdlib.h>
#include <string.h>

#include "compressor_internal.h"

void narrowed_done(struct narrowed *n) {
    free(n->kept);
    free(n->down);
    free(n->up);
    free(n->gate);
    *n = (struct narrowed){0};
}

static moesaic_status narrowed_allocate(struct narrowed *n, size_t neurons, size_t keep, size_t hidden,
                                        moesaic_error *error) {
    n->gate = calloc(keep * hidden, sizeof *n->gate);
    n->up = calloc(keep * hidden, sizeof *n->up);
    n->down = calloc(hidden * keep, sizeof *n->down);
    n->kept = calloc(keep, sizeof *n->kept);
    n->share = (double)keep / (double)neurons;
    if (n->gate && n->up && n->down && n->kept)
        return MOESAIC_OK;
    return status_no_memory(error, "neurons", 3 * keep * hidden * sizeof *n->gate);
}

/* Chooses by the whole down matrix, which lives only as long. */
static moesaic_status neurons_choose(const struct weight *down, const struct calib_stats *stats, size_t keep,
                                     struct narrowed *n, moesaic_error *error) {
    float *whole = calloc(down->rows * down->cols, sizeof *whole);
    if (!whole)
        return status_no_memory(error, "neurons", down->rows * down->cols * sizeof *whole);
    weight_dequantize(down, 0, down->rows, whole);
    moesaic_status status = calib_energy(stats, whole, down->rows, &n->energy, error);
    if (!status)
        status = prune_neurons(whole, down->rows, down->cols, stats, NEURON_RECONSTRUCTION, keep, 0, n->kept, n->down,
                               &n->error, error);
    free(whole);
    return status;
}

moesaic_status narrowed_make(const struct compressor *c, const struct ffn_weights *old, const struct reached *reached,
                             struct narrowed *ret, moesaic_error *error) {
    size_t hidden = c->config->hidden, keep = c->config->moe_intermediate;
    struct calib_stats *stats = NULL;
    moesaic_status status = narrowed_allocate(ret, old->down.cols, keep, hidden, error);
    if (!status)
        status = calib_stats_create(old->down.cols, true, &stats, error);
    if (!status)
        status = inner_collect(c, old, reached, stats, error);
    if (!status)
        status = neurons_choose(&old->down, stats, keep, ret, error);
    calib_stats_destroy(stats);
    if (status)
        return status;
    for (size_t i = 0; i < keep; i++) {
        weight_dequantize(&old->gate, ret->kept[i], (uint64_t)ret->kept[i] + 1, ret->gate + i * hidden);
        weight_dequantize(&old->up, ret->kept[i], (uint64_t)ret->kept[i] + 1, ret->up + i * hidden);
    }
    ret->weights = (struct ffn_weights){.gate = floats_weight(ret->gate, keep, hidden),
                                        .up = floats_weight(ret->up, keep, hidden),
                                        .down = floats_weight(ret->down, hidden, keep),
                                        .down_bias = old->down_bias};
    return MOESAIC_OK;
}

/* A matrix that borrows floats because nothing else was asked for gets halves of its own. */
static moesaic_status packed_own(struct packed *p, moesaic_error *error) {
    if (p->memory)
        return MOESAIC_OK;
    return halves_weight((const float *)p->weight.data, p->weight.rows, p->weight.cols, &p->weight, &p->memory, error);
}

moesaic_status packed_ffn_own(struct packed_ffn *ffn, moesaic_error *error) {
    moesaic_status status = packed_own(&ffn->gate, error);
    if (!status)
        status = packed_own(&ffn->up, error);
    return status ? status : packed_own(&ffn->down, error);
}

void narrowed_take(const struct narrowed *n, struct packed_ffn *ffn) {
    ffn->gate.density *= n->share;
    ffn->up.density *= n->share;
    ffn->down.density *= n->share;
    /* The least-squares fit leaves an error that what is added by rounding does not cancel: the two add up. */
    double wrong = n->error * n->energy + ffn->down.error * ffn->down.energy;
    ffn->down.energy = n->energy;
    ffn->down.error = n->energy > 0 ? wrong / n->energy : 0;
}
