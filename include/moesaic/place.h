/* SPDX-License-Identifier: Apache-2.0 */
/* Placement: on which NUMA node each expert's weights are to live, and what that is predicted to give. */
#ifndef MOESAIC_PLACE_H
#define MOESAIC_PLACE_H

#include <moesaic/model.h>
#include <moesaic/topology.h>

#ifdef __cplusplus
extern "C" {
#endif

/* In order of simplicity but for auto, which takes the simplest policy within `min_gain` of the best. */
typedef enum moesaic_place_policy {
    MOESAIC_PLACE_AUTO = 0,
    MOESAIC_PLACE_INTERLEAVE = 1, /* pages round robin over all memory */
    MOESAIC_PLACE_SLICE = 2,      /* every expert cut by rows over the nodes */
    MOESAIC_PLACE_WHOLE = 3,      /* every expert on one node */
    MOESAIC_PLACE_REPLICATE = 4   /* whole, and hot experts on several nodes */
} moesaic_place_policy;
enum { MOESAIC_PLACE_POLICIES = 4 };

typedef struct moesaic_place_options {
    size_t size;                 /* sizeof(moesaic_place_options) */
    const char *trace_path;      /* what moesaic_trace_write wrote for this model; needed */
    const moesaic_machine_options *machine; /* NULL: this machine, measured */
    moesaic_place_policy policy;
    uint32_t batch;              /* sequences decoded together; 0: 1 */
    uint32_t context_tokens;     /* of each, whose KV cache a step reads; 0: 512 */
    uint64_t replica_budget_bytes; /* for copies; 0: a quarter of the experts' bytes */
    double min_gain;             /* share of the step; 0: 0.05 */
    const char *plan_path;       /* where to write the plan, or NULL */
    const char *against_path;    /* a plan to price and compare on the same machine and trace, or NULL */
} moesaic_place_options;

/* What the simulator says of one policy. Nothing here was run. */
typedef struct moesaic_place_prediction {
    const char *policy;          /* a static string */
    bool possible;               /* false: everything below is 0 */
    double tokens_per_s, step_s;
    double expert_s, exchange_s, dense_s; /* parts of step_s */
    double local_bytes_per_token;  /* expert bytes read from the reader's own node */
    double remote_bytes_per_token; /* expert bytes and activations that cross nodes */
    double max_over_mean;        /* busiest node's expert time over the mean */
    uint64_t resident_bytes;     /* of experts, copies included */
} moesaic_place_prediction;

/* Part of an expert in the memory of `node`, computed by the threads of `reader`. */
typedef struct moesaic_place_piece {
    uint32_t node, reader;
    uint32_t gate_begin, gate_end; /* rows of gate and up */
    uint32_t down_begin, down_end; /* rows of down */
} moesaic_place_piece;

typedef struct moesaic_place_result {
    size_t size;                 /* sizeof(moesaic_place_result), set by the caller */
    const char *source;          /* "simulated"; a static string */
    const char *speeds;          /* "measured", "given" or "assumed": as moesaic_topology */
    const char *policy;          /* taken */
    const char *best;            /* predicted to be fastest, simple or not */
    double gain;                 /* of the taken policy's tokens per second over interleave's: 0.1 is 10 % more */
    char reason[256];
    uint32_t batch, steps, context_tokens;
    uint32_t layers, experts, nodes; /* MoE layers */
    moesaic_place_prediction prediction[MOESAIC_PLACE_POLICIES]; /* interleave, slice, whole, replicate */
    uint64_t *node_bytes;        /* [nodes] of experts; one block with the arrays below: moesaic_free(node_bytes) */
    uint32_t *piece_at;          /* [layers * experts + 1]: pieces of expert i are [piece_at[i], piece_at[i + 1]) */
    moesaic_place_piece *piece;  /* none where interleaved */
    bool compared;               /* against_path was given: */
    moesaic_place_prediction against;
    uint64_t experts_moved, bytes_moved; /* from that plan to this one */
} moesaic_place_result;

/* Plans for `model` as it is stored. Deterministic but for measured speeds. Errors: INPUT (a dense model, a trace or a
 * plan of another model, naming what differs), IO, USAGE, MEMORY (too little memory for any plan: how much is missing
 * and the first number format that would fit), UNSUPPORTED (an impossible machine, or one that a policy cannot serve).
 */
MOESAIC_API moesaic_status moesaic_place(const moesaic_model *model, const moesaic_place_options *options,
                                         moesaic_place_result *ret_result, moesaic_error *error);

#ifdef __cplusplus
}
#endif
#endif
