/* SPDX-License-Identifier: Apache-2.0 */
/* Benchmarks: how fast a model runs here, and how near to what this machine can read and multiply. */
#ifndef MOESAIC_BENCH_H
#define MOESAIC_BENCH_H

#include <moesaic/engine.h>
#include <moesaic/evaluate.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { MOESAIC_BENCH_BATCHES_MAX = 16, MOESAIC_BENCH_REPETITIONS_MAX = 64 };

typedef struct moesaic_bench_options {
    size_t size;               /* sizeof(moesaic_bench_options) */
    uint32_t prompt_tokens;    /* 0: 512 */
    uint32_t decode_tokens;    /* steps of each decode measurement; 0: 64 */
    uint32_t repetitions;      /* counted, after one warm-up; 0: 5 */
    uint32_t batches;          /* 0: one batch, of 1 */
    uint32_t batch[MOESAIC_BENCH_BATCHES_MAX]; /* sequences decoded together */
    uint32_t threads;          /* 0: one per usable physical core */
    bool no_pin;
    moesaic_kv_type kv;
    moesaic_progress_callback *progress; /* in repetitions */
    void *user;
    const char *plan_path;     /* as moesaic_engine_options, */
    bool rebalance;            /* and so is this */
    uint32_t step_tokens;      /* most tokens of a prompt's step, as moesaic_engine_options; 0: 512 */
} moesaic_bench_options;

/* Of the counted repetitions. */
typedef struct moesaic_bench_spread {
    double median, low, high;
    uint32_t count;
    double value[MOESAIC_BENCH_REPETITIONS_MAX];
} moesaic_bench_spread;

/* Where the time of a step goes. */
typedef enum moesaic_bench_part {
    MOESAIC_BENCH_EMBEDDING,
    MOESAIC_BENCH_PROJECT,   /* sum over the previous layer's experts, norm, queries, keys and values */
    MOESAIC_BENCH_ATTENTION, /* norms of queries and keys, positions, cache, scores and values */
    MOESAIC_BENCH_OUTPUT,    /* of attention */
    MOESAIC_BENCH_ROUTER,    /* norm, logits, choice and plan */
    MOESAIC_BENCH_UP,        /* gate, up and activation */
    MOESAIC_BENCH_DOWN,
    MOESAIC_BENCH_HEAD,
    MOESAIC_BENCH_WAIT,      /* at barriers, and before and after the step's parallel region */
    MOESAIC_BENCH_PARTS
} moesaic_bench_part;

/* Prompt processing (batch 0), or decoding with a batch of sequences. */
typedef struct moesaic_bench_run {
    uint32_t batch;
    moesaic_bench_spread tokens_per_second;
    double bytes_per_token;        /* of weights and KV read, counted by the steps */
    double flops_per_token;        /* executed */
    double float_flops_per_token;  /* of these: attention's and those of matrices in floats, the router's for one */
    double read_fraction;          /* of the measured read bandwidth: median of the pairs measured next to each other */
    double int8_fraction;          /* of its operations in INT8 of the measured INT8 peak, likewise, */
    double f32_fraction;           /* and of those in floats of the F32 peak: the sum is the share of the time that all
                                      multiplications would take at the peaks */
    double barrier_us_per_layer;   /* that thread 0 spends waiting, a layer and step */
    double barrier_fraction;       /* of the step */
    double barriers_per_layer;     /* those at the ends of the step counted in */
    double part_fraction[MOESAIC_BENCH_PARTS]; /* of the time of all threads; what is missing to 1 is between steps */
} moesaic_bench_run;

typedef struct moesaic_bench_result {
    size_t size;                   /* sizeof(moesaic_bench_result), set by the caller */
    uint32_t threads;
    moesaic_bench_spread read_bytes_per_second; /* of a plain read loop in as many streams as read fastest */
    moesaic_bench_spread int8_ops_per_second;   /* of a register-only dot-product loop; 2 a multiply-add */
    moesaic_bench_spread f32_flops_per_second;  /* of a register-only loop of multiply-adds, likewise */
    uint32_t runs;
    moesaic_bench_run run[1 + MOESAIC_BENCH_BATCHES_MAX]; /* the prompt first */
    uint32_t layers, nodes;        /* nodes: of the placement plan carried out, 0 without */
    moesaic_work *work;            /* [runs, layers, 1 + nodes] over the counted repetitions: each layer's whole, then
                                      its nodes; moesaic_free(work) */
} moesaic_bench_result;

/* Measures roofs and model alternately, repetition by repetition. Errors: USAGE, MEMORY, NONFINITE, CANCELLED. */
MOESAIC_API moesaic_status moesaic_bench(const moesaic_model *model, const moesaic_bench_options *options,
                                         moesaic_bench_result *ret_result, moesaic_error *error);

#ifdef __cplusplus
}
#endif
#endif
