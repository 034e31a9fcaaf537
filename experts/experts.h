/* SPDX-License-Identifier: Apache-2.0 */
/* Door of layer 3: the experts' feed-forward networks, the work of a step cut into tiles, and the sum over a token's
 * experts. */
#ifndef EXPERTS_H
#define EXPERTS_H

#include "router.h"

/* ---- weights ---------------------------------------------------------------------------------------------------- */

typedef enum activation_type {
    ACTIVATION_SILU,
    ACTIVATION_GELU,
    ACTIVATION_GELU_TANH,
    ACTIVATION_CLAMPED, /* gpt-oss: u + 1 for up, g sigmoid(alpha g) for act, g up to limit, u within it */
    ACTIVATION_TYPES
} activation_type;
struct expert_activation {
    activation_type type;
    float limit, alpha; /* of the clamped type */
};

/* What is added to the products of a matrix [rows, cols] for the error that compression left: left (right x), both BF16
 * in rows. No data: nothing is added. */
struct expert_term {
    struct weight left;  /* [rows, rank] */
    struct weight right; /* [rank, cols] */
};
/* Bounds the scratch of a product; 1 to this, and at most the smaller side of the matrix. */
enum { EXPERT_RANK_MAX = 4096 };
/* Whether the factors have the format and the shapes of a term of `matrix`. */
bool expert_term_fits(const struct expert_term *term, const struct weight *matrix);
/* Adds the rows [begin, end) of left right to the dense io_values [end - begin, cols]. */
void expert_term_sum(const struct expert_term *term, uint64_t begin, uint64_t end, float *io_values);

/* One gated feed-forward: down(act(gate x) * (up x)). Biases are NULL where the model has none. A product is the sum of
 * matrix, term and bias, in this order. */
struct ffn_weights {
    struct weight gate, up;   /* [intermediate, hidden] */
    struct weight down;       /* [hidden, intermediate] */
    const float *gate_bias, *up_bias; /* [intermediate] */
    const float *down_bias;           /* [hidden] */
    struct expert_term term[3];       /* of gate, up and down */
};
/* Bytes of the three matrices and their terms. */
uint64_t expert_ffn_bytes(const struct ffn_weights *weights);

/* ---- inputs: one matrix of activations in every form that the weights of a stage consume ------------------------- */

/* Forms by the group that a weight asks for: 0 floats, then INT8 in groups of 32, 64 and 128. */
enum { EXPERT_FORMS = 4 };
static inline unsigned expert_form_of(uint32_t group) { return group == 0 ? 0 : group == 32 ? 1 : group == 64 ? 2 : 3; }
static inline unsigned expert_form_bit(const struct weight *weight) {
    return 1u << expert_form_of(weight_activation_group(weight));
}
struct expert_input {
    unsigned forms;                          /* bit f: form f is kept */
    struct activations form[EXPERT_FORMS];   /* form[0] always holds the floats */
};
/* Bytes of scratch for the INT8 forms of `forms` for `rows` rows of `cols`; 0 when none is asked for. */
size_t expert_input_bytes(unsigned forms, size_t rows, size_t cols);
/* Describes values[rows, cols] at `stride` and cuts `scratch` (64-byte aligned, expert_input_bytes) into its forms. */
void expert_input_bind(struct expert_input *input, unsigned forms, const float *values, size_t rows, size_t cols,
                       size_t stride, void *scratch);
/* Fills the INT8 forms of the rows [begin, end); threads may fill disjoint ranges. */
void expert_input_quantize(struct expert_input *input, size_t begin, size_t end);
/* The form that `weight` consumes. */
static inline const struct activations *expert_input_for(const struct expert_input *input,
                                                         const struct weight *weight) {
    return &input->form[expert_form_of(weight_activation_group(weight))];
}

/* ---- dispatch: the experts of a layer and step, cut into tiles that threads take one by one ---------------------- */

/* Rows of a feed-forward that lie together: gate and up [gate_begin, gate_end), down [down_begin, down_end). The
 * matrices and biases hold those rows only, in memory of NUMA node `node`. Threads of node `reader` take its tiles
 * before others do. */
struct expert_part {
    struct ffn_weights weights;
    uint32_t node, reader;
    uint32_t gate_begin, gate_end, down_begin, down_end;
};
enum { EXPERT_NODES_MAX = TOPOLOGY_NODES_MAX };

/* One feed-forward over n rows of the layer's input. `inner` [n, intermediate] and `out` [n, hidden] are the job's own.
 */
struct expert_job {
    const struct expert_part *part; /* [parts]: together every row once */
    uint32_t parts;
    struct expert_part whole; /* the only part of a job that was given without any */
    size_t intermediate;
    const uint32_t *row;       /* [n] rows of the input, NULL: the rows 0 .. n - 1 */
    size_t n;
    struct expert_input inner; /* over the job's own rows; stride `intermediate` */
    float *inner_values;
    float *out;                  /* row stride hidden */
    _Atomic uint32_t units_left; /* of the up stage: who takes it to zero quantizes `inner` for `down` */
};

/* The work of one stage: runs of rows of parts, node by node, counted in units of EXPERT_UNIT_ROWS rows. Threads take
 * tiles of some units from the front of a node's; how many is in dispatch.c. */
struct expert_run {
    struct expert_job *job;
    const struct expert_part *part;
    uint32_t begin, end;  /* rows of the job */
    uint32_t first_unit;  /* counted within the node */
};
struct expert_queue {
    struct expert_run *run;
    uint32_t least_units;                      /* of a tile */
    uint32_t node_begin[EXPERT_NODES_MAX + 1]; /* runs of a node */
    uint32_t units[EXPERT_NODES_MAX];
    struct expert_tickets {
        _Atomic uint32_t next; /* units taken */
        uint32_t apart[15];    /* nodes take theirs on cache lines of their own */
    } tickets[EXPERT_NODES_MAX];
};

struct expert_dispatch {
    size_t hidden;
    struct expert_activation activation;
    struct expert_job *job;
    size_t jobs, max_jobs, max_runs;
    uint32_t nodes; /* of the readers in the jobs at hand, at least 1 */
    unsigned threads;
    struct expert_queue up, down;
};
/* Most rows of a tile. Of jobs with a few tokens, which cost what reading their weights costs, tiles are long: each
 * starts with waits for memory. */
enum { EXPERT_UNIT_ROWS = 16, EXPERT_TILE_ROWS_MAX = 128, EXPERT_FEW_TOKENS = 4, EXPERT_FEW_ROWS_MAX = 1024 };
/* Floats of scratch that a tile of a job with at most `tokens` rows asks for. */
static inline size_t expert_tile_floats(size_t tokens) {
    size_t many = tokens * EXPERT_TILE_ROWS_MAX, few = EXPERT_FEW_TOKENS * EXPERT_FEW_ROWS_MAX;
    return many > few ? many : few;
}
/* At most `max_jobs` jobs a step, with at most `max_parts` parts together (0: one a job). */
moesaic_status expert_dispatch_init(struct expert_dispatch *dispatch, size_t max_jobs, size_t max_parts, size_t hidden,
                                    struct expert_activation activation, moesaic_error *error);
void expert_dispatch_done(struct expert_dispatch *dispatch); /* accepts a zeroed struct */
/* One thread fills a dispatch: clear, add each job, then seal, which cuts the jobs into tiles for `threads` threads.
 * `scratch` holds expert_input_bytes(form of down, n, intermediate). */
void expert_dispatch_clear(struct expert_dispatch *dispatch);
void expert_dispatch_add(struct expert_dispatch *dispatch, const struct ffn_weights *weights, size_t intermediate,
                         const uint32_t *row, size_t n, float *inner, float *out, void *scratch);
/* The same of an expert that lies in `parts` parts, borrowed until the step is done. */
void expert_dispatch_add_parts(struct expert_dispatch *dispatch, const struct expert_part *part, uint32_t parts,
                               size_t intermediate, const uint32_t *row, size_t n, float *inner, float *out,
                               void *scratch);
void expert_dispatch_seal(struct expert_dispatch *dispatch, unsigned threads);
/* Every thread calls `up`, then all meet at a barrier, then every thread calls `down`; each returns when no tile is
 * left. `node` is the thread's own: its tiles come first, then those of the nodes after it. `x` is the layer's input,
 * equal in all threads; `scratch` is the thread's own: expert_tile_floats(most rows of a job) floats. Outputs are
 * disjoint: bits depend neither on who takes which tile nor on the parts. */
void expert_dispatch_up(struct expert_dispatch *dispatch, unsigned node, const struct expert_input *x, float *scratch);
void expert_dispatch_down(struct expert_dispatch *dispatch, unsigned node);

/* out[t, i] = act(gate x_t) * (up x_t) for x [tokens, hidden]: what down sees, by the calling thread alone, with the
 * bits of a step. Allocates its scratch. Errors: MEMORY. */
moesaic_status expert_ffn_inner(const struct ffn_weights *weights, struct expert_activation activation, const float *x,
                                size_t tokens, size_t hidden, size_t intermediate, float *out, moesaic_error *error);

/* ---- combine ----------------------------------------------------------------------------------------------------- */

/* io[h] += sum over slots, in slot order, of weight[slot] * rows[place[slot] * cols + h]; then, with `shared`, + gate *
 * shared[h]. The sum is finished before it is added to io. */
void expert_combine(float *io, size_t cols, const float *rows, const uint32_t *place, const float *weight, uint32_t k,
                    const float *shared, float gate);
/* io[h] += x[h] */
void expert_add(float *io, const float *x, size_t cols);

#endif
