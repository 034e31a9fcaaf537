/* SPDX-License-Identifier: Apache-2.0 */
/* Door of engine/model: an opened model, a sequence's state, and the forward pass over a batch of sequences. */
#ifndef MODEL_H
#define MODEL_H

#include "artifact.h"
#include "checkpoint.h"
#include "kv.h"

/* ---- model: configuration and weights; immutable, any thread ---------------------------------------------------- */

struct model;
/* Opens the checkpoint folder or the artifact at `path`, recognised by content, maps it and binds every tensor that the
 * configuration asks for. Errors: INPUT (naming file and tensor, key or offset), IO, MEMORY, UNSUPPORTED. */
moesaic_status model_open(const char *path, struct model **ret_model, moesaic_error *error);
void model_close(struct model *model); /* accepts NULL */
/* `source` seen with another configuration: fewer experts, or feed-forwards of another width, all else equal. Its
 * weights are those of `source`, so that only forward_layer with weights of the new shape may run on it. `source` and
 * `config` outlive it; closed by model_close. MOESAIC_E_MEMORY. */
moesaic_status model_view(const struct model *source, const struct model_config *config, struct model **ret_model,
                          moesaic_error *error);
/* Some layers of `source`, layer[0 .. layers - 1], rising, as a model of their own: the weights are those of `source`,
 * which outlives it. Its checkpoint is the whole one. Closed by model_close. MOESAIC_E_MEMORY. */
moesaic_status model_cut(const struct model *source, const uint32_t *layer, uint32_t layers, struct model **ret_model,
                         moesaic_error *error);
const struct model_config *model_config(const struct model *model);
const struct model_weights *model_weights(const struct model *model);
const struct checkpoint *model_checkpoint(const struct model *model); /* NULL for an artifact */
const struct artifact *model_artifact(const struct model *model);     /* NULL for a checkpoint */
/* The last norm: out[hidden] = norm(x[hidden]), what the head multiplies. `out` may be `x`. */
void model_final_norm(const struct model *model, const float *x, float *out);
/* Shape of the KV cache that the model needs. */
struct kv_shape model_kv_shape(const struct model *model, kv_type type);
kv_type model_kv_default(const struct model *model); /* F16 for artifacts, F32 for checkpoints */

/* ---- context: what a forward pass remembers of one sequence ----------------------------------------------------- */

/* One sequence: its KV cache and its position encoding, whose regime (`dynamic`, `longrope`) is fixed by the capacity
 * given here. Used by one thread at a time. */
struct model_context;
/* `capacity_tokens` 0: the model's max_position. Errors: USAGE, MEMORY. */
moesaic_status model_context_create(const struct model *model, struct kv_pool *pool, size_t capacity_tokens,
                                    struct model_context **ret_context, moesaic_error *error);
void model_context_destroy(struct model_context *context); /* accepts NULL */
size_t model_context_capacity(const struct model_context *context);
size_t model_context_tokens(const struct model_context *context); /* evaluated so far */
moesaic_status model_context_reserve(struct model_context *context, size_t tokens, moesaic_error *error);
void model_context_truncate(struct model_context *context, size_t tokens); /* tokens <= model_context_tokens */

/* ---- forward: the scratch memory and the team that run a model; one step at a time ------------------------------ */

typedef enum forward_want { FORWARD_NO_LOGITS, FORWARD_LAST_LOGITS, FORWARD_ALL_LOGITS } forward_want;

/* A run of tokens of one sequence, appended at model_context_tokens(context). Each context at most once a step. */
struct forward_item {
    struct model_context *context;
    const int32_t *ids;       /* [count], 0 <= id < vocab: checked by the caller's tokenizer and again here */
    size_t count;             /* >= 1 */
    bool generated;           /* counted as generated tokens, not as prompt */
    forward_want want;
    size_t ret_row;           /* out: row of forward_logits of the first logits of this item */
};

/* Observers of a step. Every call comes from thread 0 of the team, in the order of the layers; what the pointers show
 * stays as it is during the call, while the others go on to their next meeting. Rows are the step's tokens: the items'
 * tokens one after another. Any member but `user` may be NULL. */
typedef enum forward_site {
    FORWARD_SITE_ATTENTION, /* the normed input of q, k and v [hidden] */
    FORWARD_SITE_OUTPUT,    /* the attended values, input of o [heads * head_dim] */
    FORWARD_SITE_FFN        /* the normed input of the router and every feed-forward [hidden] */
} forward_site;
struct forward_tap {
    void *user;
    /* The input of a layer's matrices, the step's rows [first, first + rows): x[i * stride + c] of row first + i. A
     * step's rows may come in several calls. */
    void (*input)(void *user, uint32_t layer, forward_site site, const float *x, size_t first, size_t rows,
                  size_t stride);
    /* After `layer`: hidden[row * stride + h], the residual stream. */
    void (*hidden)(void *user, uint32_t layer, const float *hidden, size_t rows, size_t stride);
    /* The router's choice in `layer`: experts and weights [rows, k], in the order chosen, weights as applied. */
    void (*routing)(void *user, uint32_t layer, const uint32_t *experts, const float *weights, size_t rows, uint32_t k);
    /* What reached an expert: its gate/up input x[row[i] * stride + h], h < hidden, for i in [0, n), each with its
     * routing weight, and the input of its down matrix inner[i * inner_stride + j], j < moe_intermediate. Called for
     * every expert with n >= 1, in ascending order. */
    void (*expert)(void *user, uint32_t layer, uint32_t expert, size_t n, const uint32_t *row, const float *weight,
                   const float *x, size_t stride, const float *inner, size_t inner_stride);
};

/* Tokens by which prompts are cut where nobody says otherwise, chosen by measurement: with 128 experts of which 8 are
 * chosen, an expert still sees 32 tokens a step, below which its weights are read more often than they are worth. */
enum { FORWARD_STEP_TOKENS = 512, FORWARD_STEP_TOKENS_MAX = 65536 };

struct residency;
struct forward_options {
    size_t max_step_tokens;   /* rows of a step */
    size_t max_items;         /* sequences of a step */
    size_t max_logits_rows;   /* rows of logits of a step */
    struct residency *residency; /* where the experts are, outlives the forward; NULL: where the model has them */
    bool keep_routing;        /* for forward_routing */
};
struct forward;
/* Buffers are sized here; a step allocates nothing but KV blocks that were not reserved. `counters` (may be NULL) is
 * updated by every finished step. `model`, `team` and `counters` outlive the forward.
 * Errors: USAGE (an option 0), MEMORY. */
moesaic_status forward_create(const struct model *model, struct team *team, const struct forward_options *options,
                              struct counters *counters, struct forward **ret_forward, moesaic_error *error);
void forward_destroy(struct forward *forward); /* accepts NULL */
const struct forward_options *forward_limits(const struct forward *forward);

/* Where the time of steps goes. Waiting is at barriers, and before and after the region. */
typedef enum forward_part {
    FORWARD_EMBEDDING,
    FORWARD_PROJECT,   /* sum over the previous layer's experts, norm, queries, keys and values */
    FORWARD_ATTENTION, /* norms of queries and keys, positions, cache, scores and values */
    FORWARD_OUTPUT,
    FORWARD_ROUTER,    /* norm, logits, choice and plan */
    FORWARD_UP,        /* gate, up and activation */
    FORWARD_DOWN,
    FORWARD_HEAD,
    FORWARD_WAIT,
    FORWARD_PARTS
} forward_part;
struct forward_times {
    uint64_t part_ns[FORWARD_PARTS]; /* of all threads */
    uint64_t barriers;               /* inside of steps */
};
/* Of all steps so far; not during one. */
void forward_times(const struct forward *forward, struct forward_times *ret_times);

/* Evaluates the items in one parallel region and appends them to their contexts. On failure no context has advanced.
 * Bits do not depend on ISA, threads, chunking or batch mates. `tap` may be NULL.
 * Errors: USAGE (a limit or a capacity exceeded), INPUT (id out of range), MEMORY (KV blocks), NONFINITE (logits that
 * are not finite, naming the position in its sequence). */
moesaic_status forward_step(struct forward *forward, struct forward_item *items, size_t n_items,
                            const struct forward_tap *tap, moesaic_error *error);
/* The experts that row `row` of the last step chose, [MoE layers, top_k] in the order chosen; only with keep_routing,
 * valid until the next step. */
const uint16_t *forward_routing(const struct forward *forward, size_t row);
/* [layers, 1 + *ret_nodes]: of each layer its whole, and of each node of the residency what the plan has its threads
 * do; *ret_nodes is 0 without a residency. Readable at any time. */
const struct work_counters *forward_work(const struct forward *forward, uint32_t *ret_nodes);
/* Logits [vocab] of row `row` of the last step; valid until the next. */
const float *forward_logits(const struct forward *forward, size_t row);

/* Runs only `layer`, or one of its halves, over hidden[T, hidden] in place (T: the sum of the items' counts; their ids
 * are not looked at), with `weights` in place of the model's own when not NULL. The two halves one after the other give
 * the bits of the whole. Contexts do not advance, and one from a pool of a single layer suffices: calibration gives
 * each sequence whole, starting at position 0. Counters count a whole layer. Errors: as forward_step. */
typedef enum forward_half {
    FORWARD_BOTH_HALVES,
    FORWARD_ATTENTION_HALF, /* hidden += attention; then the feed-forward's input and routing, for the taps alone */
    FORWARD_FFN_HALF        /* hidden += feed-forward */
} forward_half;
struct layer_weights;
moesaic_status forward_layer(struct forward *forward, uint32_t layer, forward_half half,
                             const struct layer_weights *weights, struct forward_item *items, size_t n_items,
                             float *hidden, const struct forward_tap *tap, moesaic_error *error);

#endif
