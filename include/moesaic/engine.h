/* SPDX-License-Identifier: Apache-2.0 */
/* Engines: the threads, scratch memory and KV cache that run a model. */
#ifndef MOESAIC_ENGINE_H
#define MOESAIC_ENGINE_H

#include <moesaic/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* An engine steps one model with one team of threads. Sequences of several caller threads share its steps. Results do
 * not depend on threads, instruction set, chunking or what else runs: the same bits always.
 *
 * Process-wide effects: none on the caller's threads. The engine's own threads are bound to cores (switch: pin) and
 * block all signals. */
typedef struct moesaic_engine moesaic_engine;

typedef enum moesaic_kv_type {
    MOESAIC_KV_DEFAULT = 0,
    MOESAIC_KV_F32 = 1,
    MOESAIC_KV_F16 = 2,
    MOESAIC_KV_INT8 = 3 /* one scale a token and head */
} moesaic_kv_type;

typedef struct moesaic_engine_options {
    size_t size;              /* sizeof(moesaic_engine_options) */
    uint32_t threads;         /* 0: one per usable physical core */
    bool no_pin;              /* leave the engine's threads unbound */
    moesaic_kv_type kv;       /* default: F32 for checkpoints, F16 for artifacts */
    uint32_t step_tokens;     /* most tokens of one step, prompts are cut into such chunks; 0: 512 */
    uint32_t max_sequences;   /* that may share a step; 0: 64 */
    const char *isa;          /* use no newer instructions than this level ("avx2", ...; the same as $MOESAIC_CPU);
                                 NULL: all that the CPU has. Process-wide, and never widened again. */
    const char *plan_path;    /* placement plan to carry out (moesaic_place writes them); "none": leave the experts
                                 where the system maps them; NULL: slice them over the nodes that threads are bound
                                 to, where these are several */
    bool rebalance;           /* move experts of a whole or replicate plan between steps when the traffic drifts from
                                 what it was made for; tokens stay the same. Decisions and gains go to the log */
    uint32_t rebalance_tokens; /* watched before each decision; 0: 2048 */
    uint64_t rebalance_bytes_per_s; /* most that is moved; 0: 256 MiB */
} moesaic_engine_options;

/* Starts an engine and takes a reference on `model`. `options` may be NULL. Errors: USAGE, MEMORY, FAILED. */
MOESAIC_API moesaic_status moesaic_engine_create(moesaic_model *model, const moesaic_engine_options *options,
                                                 moesaic_engine **ret_engine, moesaic_error *error);
/* Stops the threads. All of the engine's sequences must be destroyed before. NULL is accepted. */
MOESAIC_API void moesaic_engine_destroy(moesaic_engine *engine);
/* The engine's model; no reference is taken. Thread-safe. */
MOESAIC_API moesaic_model *moesaic_engine_model(const moesaic_engine *engine);
MOESAIC_API uint32_t moesaic_engine_threads(const moesaic_engine *engine);

/* Totals since the engine was created. */
typedef struct moesaic_counters {
    size_t size; /* sizeof(moesaic_counters), set by the caller */
    uint64_t steps, tokens, prompt_tokens, generated_tokens;
    uint64_t flops_nominal;  /* 2 x active parameters of every token, and attention */
    uint64_t flops_executed; /* what the kernels did, padding included */
    uint64_t flops_skipped;  /* pruned away */
    uint64_t bytes_local, bytes_remote; /* of weights and KV read; remote: expert bytes that the placement plan has
                                           threads read from another NUMA node */
    uint64_t step_ns, barrier_ns;
} moesaic_counters;
/* Readable at any time from any thread; each figure is exact as of the last finished step. */
MOESAIC_API moesaic_status moesaic_engine_counters(const moesaic_engine *engine, moesaic_counters *ret_counters,
                                                   moesaic_error *error);

/* Work of one layer since the engine was created, or of one NUMA node in it. */
typedef struct moesaic_work {
    size_t size; /* sizeof(moesaic_work), set by the caller */
    uint64_t flops_nominal, flops_executed, flops_skipped; /* as in moesaic_counters */
    uint64_t bytes_local, bytes_remote;
    uint64_t distinct_experts; /* chosen by at least one token of a step, summed over the steps */
    uint64_t barrier_ns;       /* that one thread waited for the others: thread 0, or the node's first */
} moesaic_work;
#define MOESAIC_ALL_NODES UINT32_MAX
/* Of `layer` as a whole (MOESAIC_ALL_NODES), or what the placement plan has the threads of `node` do in it: the experts
 * or parts of experts that they are to read. What no plan places (attention, router, shared experts) is in the whole
 * alone. The whole lacks nothing but embedding and head. Readable at any time from any thread, as of the last finished
 * step; two readings around one step, as in a token callback, differ by that step. Errors: USAGE (no such layer, or a
 * node that is not below moesaic_engine_placement.nodes). */
MOESAIC_API moesaic_status moesaic_engine_work(const moesaic_engine *engine, uint32_t layer, uint32_t node,
                                               moesaic_work *ret_work, moesaic_error *error);

enum { MOESAIC_ENGINE_NODES_MAX = 64 };

/* Where the experts were to be and where their pages are. */
typedef struct moesaic_engine_placement {
    size_t size;            /* sizeof(moesaic_engine_placement), set by the caller */
    const char *policy;     /* of the plan that was carried out; NULL: none, the experts are mapped as they are */
    uint32_t nodes;
    uint64_t asked_bytes[MOESAIC_ENGINE_NODES_MAX];
    uint64_t found_bytes[MOESAIC_ENGINE_NODES_MAX]; /* as the kernel says, asked when the engine was created */
    uint64_t unknown_bytes; /* that it does not tell about */
    double copy_s;          /* that the copying took */
} moesaic_engine_placement;
MOESAIC_API moesaic_status moesaic_engine_placement_get(const moesaic_engine *engine,
                                                        moesaic_engine_placement *ret_placement, moesaic_error *error);

#ifdef __cplusplus
}
#endif
#endif
