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
    uint64_t done, weight, total; /* units of progress: before the piece of work at hand, its own, all */
    double busiest, idle; /* of the experts: the largest load over the mean of its layer; the share of experts under a
                           * hundredth of an even load. Known after the first treatment */
    moesaic_advise_result *result;
};

/* Progress of one treatment, and of the base's speed. */
enum { ADVISE_TREATMENT = 1000, ADVISE_BASE = 100 };

/* Makes the folder and the base's engine. */
moesaic_status advise_begin(struct advice *a, moesaic_error *error);
void advise_end(struct advice *a);
/* Measures the base's decoding and what a plain loop reads, in the same run. */
moesaic_status advise_base_speed(struct advice *a, moesaic_error *error);
/* Compresses, compares, forgets; the candidate goes behind those of the result. */
moesaic_status advise_try(struct advice *a, const struct treatment *treatment, moesaic_error *error);
/* Weights and the KV cache of one sequence of at most 4096 tokens, in `kv_share` of F32's bytes. */
uint64_t advise_needs(const struct advice *a, uint64_t weight_bytes, double kv_share);

#endif
