/* SPDX-License-Identifier: Apache-2.0 */
/* What the stages of a forward pass share: the step at hand, its buffers, and each thread's own scratch.
 *
 * A step is narrow or wide. Narrow (few rows): every thread keeps its own copy of the residual rows and of their norms,
 * and matrices are cut by output rows, so that a stage costs one barrier and reads each weight once. Wide (many rows):
 * each thread owns a range of tokens and does all the work between two exchanges on it alone. The bits are the same:
 * every output is computed by the same operations in the same order.
 *
 * Barriers of a layer, narrow: after the projections, attention, its output, the router, gate/up and down: 6. Wide:
 * 5. */
#ifndef FORWARD_INTERNAL_H
#define FORWARD_INTERNAL_H

#include "experts.h"
#include "kernels/model_kernels.h"
#include "model.h"
#include "placement/residency.h"

/* Attention is summed up by segments of this many absolute positions, joined in ascending order: the definition of the
 * result, and the unit by which threads may share one long sequence. */
enum { ATTENTION_SEGMENT_TOKENS = 512, ATTENTION_PARTS_MAX = 8192 };

struct model {
    struct checkpoint *checkpoint;   /* one of the two */
    struct artifact *artifact;
    struct model_weights *weights;
    const struct model_config *config;
    bool view;                       /* everything above belongs to another model */
    struct model_cut *cut;           /* but for weights and configuration of fewer layers, which are these; or NULL */
};

struct model_context {
    const struct model *model;
    struct kv_cache *cache;
    float rope_scale;            /* factor on cosines and sines */
    float inverse_frequency[];   /* [rotary_dim / 2] */
};

static inline size_t larger(size_t a, size_t b) { return a > b ? a : b; }
static inline size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* ---- the step --------------------------------------------------------------------------------------------------- */

struct forward_row {
    uint32_t item, position;
};

/* Attention of neighbouring KV heads of one item, whose runs lie side by side: the (query, head) rows [row_begin,
 * row_end), query-major, over the segments [segment_begin, segment_end). Several heads only of a single query. */
struct attention_task {
    uint32_t item, kv_head, kv_heads, first_row; /* first_row: of the item in the step */
    uint32_t row_begin, row_end, segment_begin, segment_end;
    uint32_t splits;   /* above 1: how many tasks share these rows; each leaves parts, which the last one joins */
    uint32_t segments; /* of the item */
    uint32_t part;     /* split: part of (row, segment) is part + row * segments + segment */
};

/* What the inputs of a layer's stages must be quantized to: bits of expert_form_of. */
struct layer_forms {
    unsigned attention, output, ffn;
};

/* Work of a layer, or of one node in it; see struct work_counters. */
struct step_work {
    uint64_t flops_nominal, flops_executed, flops_float, flops_skipped;
    uint64_t bytes_local, bytes_remote, distinct_experts, barrier_ns;
};

/* Inverse norms of a row's q and k. */
struct row_inverse {
    float q, k;
};

struct forward_worker {
    unsigned thread, node;               /* NUMA node that the thread is bound to */
    bool node_first;                     /* the first thread of its node */
    size_t begin, end;                   /* rows whose residual and norms this thread computes */
    const struct layer_config *previous; /* layer whose feed-forward output is not yet added to the residual, or NULL */
    float *residual;                     /* narrow: [narrow_rows, hidden], the thread's copy */
    float *normed;                       /* [own_rows, hidden] */
    struct expert_input input;           /* over `normed` or over attended rows, in turn */
    void *forms;                         /* its INT8 forms */
    float *tile;                         /* [expert_tile_floats(max_step_tokens)] */
    float *query, *score, *part, *total; /* attention: [ATTENTION_TILE_ROWS, head width or 64] */
    float *key;                          /* [head width]: a key on its way into the cache, */
    uint16_t *narrowed;                  /* [head width]: and as FP16, */
    int8_t *codes;                       /* [head width]: or INT8 */
    struct row_inverse *inverse;         /* narrow: [narrow_rows], of the rows of item `inverse_item` */
    uint32_t inverse_item;
    const struct attention_task *fetched; /* task whose first keys and queries are asked for */
    size_t bad_row;                      /* first row of logits found not finite, or SIZE_MAX */
    struct forward_times times;          /* of this thread */
    uint64_t part_begin_ns;              /* since when its time is not yet in them */
};

struct forward {
    const struct model *model;
    const struct model_config *config;
    const struct model_kernels *kernels;
    struct team *team;
    struct counters *counters;
    struct forward_options options;
    unsigned threads;
    size_t narrow_rows, own_rows; /* most rows of a narrow step; rows that a worker's own buffers hold */
    size_t q_rows, kv_rows, qkv_rows, head_width; /* head_width: head_dim in whole vectors */
    float epsilon, score_scale;

    struct forward_item *items;
    size_t n_items, rows;
    uint32_t layer_begin, layer_end;
    const struct layer_weights *layers; /* of layer_begin on: the model's own, or one substitute */
    const struct layer_forms *forms;    /* likewise */
    const struct forward_tap *tap;      /* never NULL during a step */
    bool given_hidden;                  /* forward_layer: `hidden` came from the caller */
    forward_half half;                  /* what of each layer runs */
    bool narrow;

    struct forward_row *row;       /* [rows] */
    uint32_t *logits_row;          /* [logits_rows]: ascending rows whose logits are wanted */
    size_t logits_rows;
    struct attention_task *task;
    size_t tasks, max_tasks;

    float *hidden;                 /* [rows, hidden] the residual stream */
    float *cosine, *sine;          /* [rows, rotary_dim / 2] */
    float *qkv;                    /* [rows, qkv_rows] */
    struct row_inverse *inverse;   /* wide: [rows] */
    float *attended;               /* [rows, q_rows] */
    float *projected;              /* [rows, hidden] */
    float *part;                   /* [ATTENTION_PARTS_MAX, head_width + 16]: sums, then maximum and total */
    float *ffn_values;             /* [rows, hidden]: wide: the feed-forward's input; then the head's */
    struct expert_input ffn_input, head_input; /* over ffn_values, one after the other */
    void *ffn_forms;
    uint32_t *identity;            /* [max_step_tokens]: 0, 1, 2 ... */
    float *gate_logits;            /* [rows, experts] */
    uint32_t *chosen;              /* [rows, top_k] */
    float *weights;                /* [rows, top_k] */
    uint32_t moe_layers;           /* with keep_routing, else 0 */
    uint32_t *moe_index;           /* [layers]: which MoE layer a layer is */
    uint16_t *routing;             /* [rows, moe_layers, top_k] */
    float *shared_gate;            /* [rows]: factor of the shared expert */
    float *inner, *out;            /* [rows * top_k, moe_intermediate] and [.., hidden], by place; dense: by row */
    float *shared_inner, *shared_out;
    uint8_t *inner_forms;          /* INT8 forms of inner rows, cut up job by job */
    float *logits;                 /* [max_logits_rows, vocab] */

    struct router_gate gate;
    struct router_plan plan;
    struct expert_dispatch dispatch;
    struct layer_forms *model_forms; /* [layers] */
    struct layer_forms given_forms;

    _Atomic uint32_t next_task;    /* ticket of the attention tasks */
    _Atomic uint32_t *joined;      /* [max_items, kv_heads]: split tasks done */
    _Atomic uint32_t arrived;      /* threads that have finished the router's logits */
    uint32_t nodes;                /* that the residency has experts read by */
    struct step_work *work;        /* [layers, 1 + nodes]: of the step at hand, a layer's whole and what each node did;
                                      experts are added by who plans a layer, time by each cell's timekeeper */
    struct work_counters *done;    /* [layers, 1 + nodes]: of all finished steps */

    struct forward_worker *worker; /* [threads] */
    void *memory;                  /* behind every buffer above */
};

/* This thread's shares of the output rows of `n` matrices side by side, in units of 16 rows: matrix i gets
 * [begin[i], end[i]). All of them in a wide step. */
void forward_share(const struct forward *f, const struct forward_worker *w, const size_t *rows, size_t n, size_t *begin,
                   size_t *end);
/* What this thread did since it last said so was `part`. */
static inline void forward_part_end(struct forward_worker *w, forward_part part) {
    uint64_t now = clock_ns();
    w->times.part_ns[part] += now - w->part_begin_ns;
    w->part_begin_ns = now;
}
/* Ends `part` and waits for the others. */
static inline void forward_meet(struct forward *f, struct forward_worker *w, forward_part part) {
    forward_part_end(w, part);
    team_barrier(f->team, w->thread);
    w->times.barriers++;
    forward_part_end(w, FORWARD_WAIT);
}
/* Residual row `row` of this worker, begin <= row < end. */
static inline float *forward_residual(const struct forward *f, const struct forward_worker *w, size_t row) {
    return (f->narrow ? w->residual : f->hidden) + row * f->config->hidden;
}

/* ---- buffers ---------------------------------------------------------------------------------------------------- */

/* Sizes and cuts every buffer from one block. Errors: USAGE (sizes overflow), MEMORY. */
moesaic_status forward_buffers_init(struct forward *f, moesaic_error *error);
void forward_buffers_done(struct forward *f);

/* ---- stages ----------------------------------------------------------------------------------------------------- */

void embedding_run(struct forward *f, struct forward_worker *w);

/* 1 / sqrt(mean of x^2 + epsilon), and the row normed by it. */
float norm_inverse(const struct model_kernels *kernels, const float *x, size_t count, float epsilon);
void norm_row(const struct forward *f, const float *x, const float *gain, float *out);

/* Frequencies of the position encoding for a sequence of `capacity` tokens: ret_inverse [rotary_dim / 2]. */
void rope_frequencies(const struct model_config *config, size_t capacity, float *ret_inverse, float *ret_scale);
/* Cosines and sines [half] at a position. */
void rope_angles(const float *inverse, float scale, size_t half, uint32_t position, float *cosine, float *sine);

/* Lists the step's attention tasks. Called by the stepping thread before the region. */
void attention_plan(struct forward *f);
/* What attends: of a task, its first keys asked for, unless w->fetched says that they were; then all of it. */
void attention_fetch(const struct forward *f, const struct forward_worker *w, const struct attention_task *task,
                     uint32_t layer);
void attention_attend(struct forward *f, struct forward_worker *w, const struct attention_task *task, uint32_t layer,
                      const struct layer_weights *weights);
/* Query head `head` of row `row`, ready for scores, into out[head_dim]. */
void attention_query(const struct forward *f, const struct forward_worker *w, const struct layer_weights *weights,
                     size_t row, size_t head, float *out);
static inline uint32_t cache_layer(const struct kv_cache *cache, uint32_t layer) {
    return cache->shape.layers == 1 ? 0 : layer;
}
/* The three stages of attention; the caller meets between them. */
void attention_project(struct forward *f, struct forward_worker *w, uint32_t layer,
                       const struct layer_weights *weights);
void attention_run(struct forward *f, struct forward_worker *w, uint32_t layer, const struct layer_weights *weights);
void attention_output(struct forward *f, struct forward_worker *w, uint32_t layer, const struct layer_weights *weights);

/* Norms the feed-forward's input of this worker's rows; returns the input that the worker is to read. */
const struct expert_input *ffn_enter(struct forward *f, struct forward_worker *w, uint32_t layer,
                                     const struct layer_weights *weights);
/* Shows the taps the feed-forward's input, once all of it is there. */
void ffn_observe(const struct forward *f, const struct forward_worker *w, uint32_t layer, const struct expert_input *x);
void dense_ffn_plan(struct forward *f,
                    const struct layer_weights *weights); /* one thread, before the layer's last meet */
void dense_ffn_run(struct forward *f, struct forward_worker *w, uint32_t layer, const struct layer_weights *weights);
void moe_layer_run(struct forward *f, struct forward_worker *w, uint32_t layer, const struct layer_weights *weights);
/* Adds the output of layer `done`'s feed-forward to a residual row. */
void ffn_finish_row(const struct forward *f, const struct layer_config *done, size_t row, float *residual);

/* Final norm and logits of the rows wanted. */
void head_run(struct forward *f, struct forward_worker *w);

/* ---- accounting ------------------------------------------------------------------------------------------------- */

/* What is counted under `layer` for all nodes (cell 0) or for node `cell` - 1. */
static inline struct step_work *step_work_at(const struct forward *f, uint32_t layer, uint32_t cell) {
    return &f->work[(size_t)layer * (1 + f->nodes) + cell];
}
/* Counts an expert over `tokens` tokens: one that stays where the model has it (`residency` may be NULL), or a placed
 * one. */
void account_expert(struct forward *f, uint32_t layer, const struct ffn_weights *weights, uint64_t tokens,
                    const struct residency *residency);
void account_copy(struct forward *f, uint32_t layer, const struct expert_copy *copy, uint64_t tokens);
/* Notes how long this thread waited in a layer, for all and for its node where it speaks for them. */
void account_waiting(struct forward *f, const struct forward_worker *w, uint32_t layer, uint64_t waited_ns);
/* Adds the finished step to the counters. */
void account_step(struct forward *f, uint64_t start_ns, uint64_t barrier_ns_before);

#endif
