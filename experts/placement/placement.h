/* SPDX-License-Identifier: Apache-2.0 */
/* Door of experts/placement: the machine's speeds, the plan that says where every expert's bytes live, its search, its
 * file, the simulator that prices it and the rebalancer that keeps it honest. All of it is pure functions of model
 * shape, machine and routing trace, but for machine_speeds_measure. */
#ifndef PLACEMENT_H
#define PLACEMENT_H

#include "runtime.h"
#include "trace/routing_trace.h"

/* ---- machine ----------------------------------------------------------------------------------------------------- */

struct machine_node {
    unsigned os_index;
    uint64_t memory_bytes; /* 0: no memory of its own */
    unsigned cores;        /* 0: memory only, such as CXL or high-bandwidth memory beside another node */
    double int8_ops;       /* per second, all its cores together: 2 x multiply-adds; 0 without cores */
};

/* What moving and multiplying costs. Plain values: copy freely; about 70 KiB, so not for small stacks. */
struct machine_speeds {
    unsigned nodes;
    bool measured; /* false: the speeds were given, not measured */
    struct machine_node node[TOPOLOGY_NODES_MAX];
    /* [reader][memory] bytes per second, all cores of `reader` streaming from `memory`; 0 where either is missing */
    double read_bps[TOPOLOGY_NODES_MAX][TOPOLOGY_NODES_MAX];
    double write_bps[TOPOLOGY_NODES_MAX][TOPOLOGY_NODES_MAX];
    double exchange_s;       /* one synchronisation of the threads of all nodes */
    double read_fraction;    /* of read_bps that kernels reach, in (0, 1] */
    double compute_fraction; /* of int8_ops that kernels reach, in (0, 1] */
};

/* Speeds stated instead of measured. Fields left 0 take the default in brackets. */
struct machine_given {
    double local_read_bps;         /* a node with cores, its own memory [40e9] */
    double remote_read_bps;        /* another such node's memory [half of local] */
    double memory_node_read_bps;   /* memory of a node without cores [half of local] */
    double int8_ops_per_core;      /* [100e9] */
    double exchange_s;             /* [2e-6] */
    double read_fraction;          /* [1] */
    double compute_fraction;       /* [1] */
    uint64_t assumed_memory_bytes; /* per node, used only when the topology states no memory at all [none: refused] */
};
/* Nodes, cores and memory from `topology`, speeds from `given` (NULL: all defaults). Errors: USAGE (a negative speed),
 * UNSUPPORTED (a machine that no plan can serve: no cores, no memory, too many nodes). */
moesaic_status machine_speeds_from_topology(const struct topology *topology, const struct machine_given *given,
                                            struct machine_speeds *ret_speeds, moesaic_error *error);
/* Measures this machine: each node pair's read and write bandwidth with all usable cores of the reading node streaming
 * four streams each (the best of several passes and of one and four streams), the int8 rate of every node from a
 * register-only kernel, and a barrier of all threads. `buffer_bytes` a node pair (0: 256 MiB, less where the node has
 * less). Takes about a second a node pair. Errors: USAGE (not this machine's topology), MEMORY, FAILED. */
moesaic_status machine_speeds_measure(const struct topology *topology, uint64_t buffer_bytes,
                                      struct machine_speeds *ret_speeds, moesaic_error *error);
/* Every field in range and at least one node that can read memory; for speeds the caller filled itself.
 * Errors: UNSUPPORTED naming node and field. */
moesaic_status machine_speeds_check(const struct machine_speeds *speeds, moesaic_error *error);

/* ---- model shape ------------------------------------------------------------------------------------------------- */

struct placement_expert {
    uint64_t gate_up_bytes; /* of both matrices [intermediate, hidden], scales and padding included */
    uint64_t down_bytes;    /* of [hidden, intermediate] */
    uint32_t intermediate;  /* rows of gate; 0 for a dropped expert, which then has no bytes and is never placed */
    uint32_t group;         /* quantization group along the rows that down consumes; 0: none */
    double flops;           /* executed for one token */
};

/* What the planner must know of a model. `layers` counts MoE layers. Borrowed, never changed. */
struct placement_model {
    uint32_t layers, experts, top_k, hidden;
    const struct placement_expert *expert; /* [layers, experts] */
    uint64_t dense_bytes; /* read by every step whatever is chosen: attention, router, shared experts, head */
    uint64_t token_bytes; /* read for each token besides: its KV cache */
    double dense_flops;   /* for each token */
};
/* Every size in range and the total below 2^56 bytes. Errors: INPUT naming layer and expert. */
moesaic_status placement_model_check(const struct placement_model *model, moesaic_error *error);
/* Bytes of all experts. */
uint64_t placement_model_bytes(const struct placement_model *model);
/* One expert of SwiGLU form at `weight_bits` a weight and one FP16 scale per `group` weights (0: none). */
struct placement_expert placement_expert_shape(uint32_t hidden, uint32_t intermediate, double weight_bits,
                                               uint32_t group);

/* ---- plan -------------------------------------------------------------------------------------------------------- */

/* In order of simplicity: a policy is taken only where every simpler one is worse by more than the threshold. */
enum placement_policy {
    PLACEMENT_INTERLEAVE = 0, /* pages round robin over all memory: nothing to carry out */
    PLACEMENT_SLICE = 1,      /* every expert cut by rows over the nodes */
    PLACEMENT_WHOLE = 2,      /* every expert on one node */
    PLACEMENT_REPLICATE = 3   /* whole, with hot experts on several nodes */
};
enum { PLACEMENT_POLICIES = 4, PLACEMENT_PIECES_MAX = 4 * TOPOLOGY_NODES_MAX, PLACEMENT_ROW_UNIT = 16 };
const char *placement_policy_name(enum placement_policy policy); /* "interleave", ... */
/* False, leaving *ret_policy, when there is no such policy ("auto" is none: call placement_choose). */
bool placement_policy_from_name(const char *name, enum placement_policy *ret_policy);

/* Part of an expert in the memory of one node, computed by the threads of `reader` (the node itself when it has cores).
 * Rows of gate and up in multiples of max(16, group), rows of down in multiples of 16, but for the last. */
struct placement_piece {
    uint16_t node, reader;
    uint32_t gate_begin, gate_end; /* intermediate rows */
    uint32_t down_begin, down_end; /* hidden rows */
};

/* What ties a plan to its model. */
struct placement_fingerprint {
    uint32_t layers, experts, hidden;
    uint64_t bytes; /* of all experts */
};

/* Where everything lives. Pieces of an expert either all cover it whole (replicas) or divide it (slices); an
 * interleaved plan has none. Immutable once made. */
struct placement_plan {
    enum placement_policy policy;
    struct placement_fingerprint model;
    uint32_t nodes, batch;
    uint64_t predicted_step_ns; /* simulated */
    uint32_t *piece_at;         /* [layers x experts + 1]: pieces of expert i are [piece_at[i], piece_at[i + 1]) */
    struct placement_piece *pieces;
    uint64_t *histogram; /* [layers, experts] choices of the trace that the plan was made for */
};
void placement_plan_destroy(struct placement_plan *plan); /* accepts NULL */
/* Pieces of one expert; returns how many. */
uint32_t placement_plan_pieces(const struct placement_plan *plan, uint32_t layer, uint32_t expert,
                               const struct placement_piece **ret_pieces);
/* Whether the pieces are replicas (one whole copy each) rather than slices. */
bool placement_piece_is_whole(const struct placement_piece *piece, const struct placement_model *model, uint32_t layer,
                              uint32_t expert);
/* The plan fits this model and machine: fingerprint, nodes, readers with cores, every expert covered exactly, memory
 * not exceeded. Errors: INPUT naming the difference (plans of another model), MEMORY naming node and missing bytes. */
moesaic_status placement_plan_check(const struct placement_plan *plan, const struct placement_model *model,
                                    const struct machine_speeds *machine, moesaic_error *error);
/* Expert bytes that the plan puts on each node, [plan->nodes]. */
void placement_plan_node_bytes(const struct placement_plan *plan, const struct placement_model *model,
                               const struct machine_speeds *machine, uint64_t *ret_bytes);

/* How two plans of one model differ. */
struct placement_difference {
    bool same_model;
    uint64_t experts_moved; /* whose pieces differ */
    uint64_t bytes_moved;   /* that `to` has on a node where `from` had not; 0 when either is interleaved */
};
void placement_plan_compare(const struct placement_plan *from, const struct placement_plan *to,
                            const struct placement_model *model, struct placement_difference *ret_difference);

/* JSON, schema moesaic.plan/1 (docs/placement.md). Reading is bounded and strict: unknown keys, a wrong type or a value
 * out of range fail with INPUT naming `where` and the key or the expert. */
moesaic_status placement_plan_write(const struct placement_plan *plan, const char *path, moesaic_error *error);
moesaic_status placement_plan_text(const struct placement_plan *plan, char **ret_text, size_t *ret_bytes,
                                   moesaic_error *error); /* freed with free() */
moesaic_status placement_plan_read(const char *path, struct placement_plan **ret_plan, moesaic_error *error);
moesaic_status placement_plan_parse(const char *text, size_t bytes, const char *where, struct placement_plan **ret_plan,
                                    moesaic_error *error);

/* ---- planner ----------------------------------------------------------------------------------------------------- */

struct placement_options {
    uint32_t batch;                /* tokens a step; 0: 1 */
    uint32_t max_steps;            /* of the trace that are replayed, evenly spread; 0: 512 */
    uint64_t replica_budget_bytes; /* for copies beyond the first; 0: a quarter of the experts' bytes */
    double min_gain;               /* below this share of the step a simpler policy is kept; 0: 0.05 */
    double min_replica_gain;       /* of the experts' time that one copy must save; 0: 1e-5 */
    uint64_t seed;                 /* of the search's kicks */
};
/* Borrowed by the calls that take it. */
struct placement_problem {
    const struct placement_model *model;
    const struct machine_speeds *machine;
    const struct routing_trace *trace; /* checked; same layers, experts and top-k as the model */
    struct placement_options options;
};

/* What the simulator says of a plan. */
struct placement_prediction {
    const char *source; /* always "simulated" */
    enum placement_policy policy;
    uint32_t batch, steps;
    double step_s, tokens_per_s;
    double expert_s, exchange_s, dense_s; /* parts of step_s */
    double local_bytes_per_token;         /* expert bytes read from the reader's own node */
    double remote_bytes_per_token;        /* expert bytes read across nodes, and activations that cross */
    double max_over_mean;                 /* busiest node's expert time over the mean of the nodes with cores */
    uint64_t resident_bytes;              /* expert bytes held, copies included */
};

/* Replays the trace over the machine with `plan`. The step is the sum over layers of the time of the slowest node
 * (bytes over bandwidth plus FLOPs over rate, and no memory serving more than it can), the exchanges, and the dense
 * part, which every policy divides over the nodes alike. Replicated experts go to the copy that would be done first, in
 * order of descending tokens; whoever dispatches is to follow that rule. Errors: INPUT (plan or trace of another
 * model), MEMORY. */
moesaic_status placement_simulate(const struct placement_problem *problem, const struct placement_plan *plan,
                                  struct placement_prediction *ret_prediction, moesaic_error *error);

/* The best plan of one policy. Deterministic. Errors: INPUT, USAGE, MEMORY (with the bytes that are missing and the
 * first number format that would fit), UNSUPPORTED (the experts fit all memory together, but not under this policy). */
moesaic_status placement_plan_make(const struct placement_problem *problem, enum placement_policy policy,
                                   struct placement_plan **ret_plan, moesaic_error *error);
/* Expert e on the e-th node with memory and cores in turn, the next with room where it is full: the baseline. */
moesaic_status placement_plan_round_robin(const struct placement_problem *problem, struct placement_plan **ret_plan,
                                          moesaic_error *error);

/* How auto decided. */
struct placement_decision {
    struct placement_prediction prediction[PLACEMENT_POLICIES]; /* by policy; step_s 0 where impossible */
    bool possible[PLACEMENT_POLICIES];
    enum placement_policy best, chosen;
    double gain; /* of the chosen policy's tokens per second over interleave's */
    char reason[256];
};
/* Predicts all four policies and takes the simplest whose step is within min_gain of the best one's. */
moesaic_status placement_choose(const struct placement_problem *problem, struct placement_plan **ret_plan,
                                struct placement_decision *ret_decision, moesaic_error *error);

/* The least expert time of any whole placement, by branch and bound. */
struct placement_optimum {
    double expert_s;  /* of the best placement found */
    bool proven;      /* false: the node limit was reached first */
    uint64_t visited; /* search nodes */
};
/* For small cases: at most 64 experts in all layers together. `limit` search nodes (0: 20 million).
 * Errors: USAGE (too large), INPUT, MEMORY. */
moesaic_status placement_optimum_whole(const struct placement_problem *problem, uint64_t limit,
                                       struct placement_optimum *ret_optimum, moesaic_error *error);

/* ---- rebalancer: opt-in, for whole and replicate plans ----------------------------------------------------------- */

/* Watches live routing, and when it has drifted from what the plan was made for, moves or copies a bounded number of
 * experts where that pays. One thread at a time; the engine's step thread observes, and moves between steps. */
struct rebalancer;

struct rebalance_options {
    uint32_t window_tokens; /* watched before each decision; 0: 2048 */
    double drift_bits;      /* Jensen-Shannon divergence beyond sampling noise that counts as drift; 0: 0.02 */
    double min_gain;        /* of the simulated step, below which nothing is moved; 0: 0.05 */
    uint64_t bytes_per_s;   /* most bytes moved a second; 0: 256 MiB */
    uint64_t max_bytes;     /* of one migration; 0: an eighth of the experts' bytes */
};

enum rebalance_verdict {
    REBALANCE_FEW_TOKENS = 0, /* the window is not full */
    REBALANCE_BUSY = 1,       /* moves of an earlier decision are still to be done */
    REBALANCE_STEADY = 2,     /* no layer has drifted */
    REBALANCE_NO_GAIN = 3,    /* drifted, but no bounded migration gains enough */
    REBALANCE_MIGRATE = 4
};
/* One decision, for the log. Gains are shares of a token's time: 0.1 is 10 % more tokens per second. */
struct rebalance_record {
    uint64_t number; /* of decisions with a full window, from 1 */
    enum rebalance_verdict verdict;
    uint32_t layer;                /* that drifted most */
    double drift_bits, noise_bits; /* of that layer */
    uint32_t moves, moves_failed;
    uint64_t bytes;
    double predicted_gain; /* simulated */
    double observed_gain;  /* measured from step times; meaningful once `observed` */
    bool observed;
};
enum rebalance_kind { REBALANCE_MOVE, REBALANCE_COPY, REBALANCE_DROP };
struct rebalance_move {
    enum rebalance_kind kind;
    uint32_t layer, expert;
    struct placement_piece from; /* the copy that is moved or dropped; where to read from for a new copy */
    struct placement_piece to;   /* moved or copied: where it is to be */
    uint64_t bytes;              /* to be copied; 0 for a drop */
};

/* `model` and `machine` are borrowed, `plan` is copied. Errors: INPUT (a plan that does not fit), UNSUPPORTED (slices
 * and interleaved pages do not depend on the load), USAGE, MEMORY. */
moesaic_status rebalancer_create(const struct placement_model *model, const struct machine_speeds *machine,
                                 const struct placement_plan *plan, const struct rebalance_options *options,
                                 struct rebalancer **ret_rebalancer, moesaic_error *error);
void rebalancer_destroy(struct rebalancer *rebalancer); /* accepts NULL */
/* One token's choices, [layers, top_k]. Allocates nothing; tokens beyond a full window are not kept. */
void rebalancer_observe(struct rebalancer *rebalancer, const uint16_t *chosen, int32_t sequence);
/* What a step of `tokens` tokens took: the observed side of a gain. */
void rebalancer_observe_step(struct rebalancer *rebalancer, uint32_t tokens, uint64_t step_ns);
/* Decides once the window is full, and begins a new one. A drift costs a search of up to seconds on large models.
 * Errors: MEMORY. */
moesaic_status rebalancer_decide(struct rebalancer *rebalancer, struct rebalance_record *ret_record,
                                 moesaic_error *error);
/* The next move if one is left and the bytes moved so far allow it at `now_ns`. The engine carries it out, then says
 * whether that worked before it asks for another. */
bool rebalancer_next_move(struct rebalancer *rebalancer, uint64_t now_ns, struct rebalance_move *ret_move);
void rebalancer_move_done(struct rebalancer *rebalancer, bool done);
/* The plan as it now is. */
const struct placement_plan *rebalancer_plan(const struct rebalancer *rebalancer);
/* The last decision with a full window, its observed gain filled in when it is known. */
const struct rebalance_record *rebalancer_last(const struct rebalancer *rebalancer);
/* One line for the log; returns `text`. */
const char *rebalance_record_text(const struct rebalance_record *record, char *text, size_t bytes);

#endif
