/* SPDX-License-Identifier: Apache-2.0 */
/* Advice at work: the walk through the tree, and what tries a treatment for it. A client of the C API. */
#ifndef ADVISE_INTERNAL_H
#define ADVISE_INTERNAL_H

#include <moesaic/moesaic.h>

#include "advise.h"

/* A treatment as the compressor takes it. */
struct treatment {
    const char *name, *options, *preset, *recipe;
};

struct advice {
    moesaic_model *model;
    moesaic_advise_options options; /* defaults filled in */
    moesaic_model_info info;
    moesaic_engine *base;
    char *folder, *path;          /* of the artifact at hand */
    char *sampled[2];             /* texts to calibrate on and to judge by, where none were given */
    uint64_t done, weight, total; /* units of progress: before the piece of work at hand, its own, all */
    double busiest, idle; /* of the experts: the largest load over the mean of its layer; the share of experts under a
                           * hundredth of an even load. Known after the first treatment */
    moesaic_advise_result *result;
};

/* Progress of one treatment, and of the base's speed. */
enum { ADVISE_TREATMENT = 1000, ADVISE_BASE = 100, ADVISE_SAMPLE = 500 };
/* Reports `done` of `total` of the piece of work at hand; other than 0: cancelled. The next piece is `weight` units. */
int advise_progress(void *advice, uint64_t done, uint64_t total);
void advise_piece_begin(struct advice *a, uint64_t weight);

/* Makes the folder and the base's engine. */
moesaic_status advise_begin(struct advice *a, moesaic_error *error);
void advise_end(struct advice *a);
/* Measures the base's decoding and what a plain loop reads, in the same run. */
moesaic_status advise_base_speed(struct advice *a, moesaic_error *error);
/* Lets the base write the texts that were not given, as many tokens of each as the options say, and makes them the
 * options' own. */
moesaic_status advise_sample(struct advice *a, moesaic_error *error);
/* Compresses, compares, forgets; the candidate goes behind those of the result. */
moesaic_status advise_try(struct advice *a, const struct treatment *treatment, moesaic_error *error);
/* Weights and the KV cache of one sequence of at most 4096 tokens, in `kv_share` of F32's bytes. */
uint64_t advise_needs(const struct advice *a, uint64_t weight_bytes, double kv_share);

#endif
