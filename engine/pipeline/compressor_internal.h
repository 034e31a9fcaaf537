/* SPDX-License-Identifier: Apache-2.0 */
/* The compressor at work: a checkpoint, a text's hidden states on their way through the layers, the artifact so far. */
#ifndef COMPRESSOR_INTERNAL_H
#define COMPRESSOR_INTERNAL_H

#include <moesaic/compress.h>
#include <moesaic/version.h>

#include "pipeline.h"
#include "recipe.h"

/* A matrix in its new form, with the memory behind it. */
struct packed {
    struct weight weight;
    void *memory; /* freed with free(); NULL: the weight borrows the checkpoint's bytes */
    struct expert_term term;
    void *factor[2]; /* behind left and right of the term, or NULL */
    double error, energy, density;
};

struct packed_ffn {
    struct packed gate, up, down;
    uint64_t tokens, forced;
};

/* The calibration tokens of one feed-forward, in the order of the text, with their routing weights. */
struct reached {
    uint32_t *token;
    float *weight;
    size_t count;
};

/* An expert of the checkpoint with fewer intermediate neurons, in floats. */
struct narrowed {
    struct ffn_weights weights; /* over gate, up and down */
    float *gate, *up, *down;
    uint32_t *kept;       /* rows of the old gate and up that stay, rising */
    double share;         /* of the neurons that stay */
    double error, energy; /* of down without the others, as in compress_result */
};

/* What a budget decided, or is about to. */
struct budget_plan {
    uint64_t limit;      /* bytes of the file, or read for a token */
    double error, bound; /* of the choice, and what no other choice can go below */
};

/* What each choice would cost each feed-forward, numbered as in `choice`. Those that the budget does not decide about
 * keep zeros. */
struct measured {
    struct budget_option *option; /* [layers, experts + 1, choices]. The error: the squared difference of the outputs,
                                   * times routing weights, over the squares of the hidden states behind the layer, on
                                   * tokens that the choice was not fitted to */
    uint64_t *tokens;             /* [layers, experts + 1] that reach it */
};

/* An expert of the checkpoint in floats, AWQ's scales folded into its matrices. */
struct scaled {
    struct ffn_weights weights; /* over gate, up and down */
    float *gate, *up, *down;
};

/* Whole layers dropped. */
struct layer_drop {
    const struct model *whole; /* the checkpoint with all its layers; NULL: none go */
    struct model *cut;         /* those that stay: what is compressed in its place */
    double *influence;         /* [layers of the checkpoint] */
    uint32_t *kept;            /* [layers that stay]: their numbers in the checkpoint, rising */
};

/* AWQ at the layer at hand. */
struct awq {
    float *scales;              /* [hidden] of the feed-forwards' inputs; NULL without AWQ */
    struct calib_stats *inputs; /* while they are chosen: squares of the inputs, and */
    double *errors;             /* [feed-forwards, AWQ_CANDIDATES] */
};

/* The checkpoint's own way over the text, beside that of the compressed model; NULL without recovery. */
enum { RECOVERY_SITES = FORWARD_SITE_FFN + 1 };
struct recovery {
    bool beside;                 /* it is on its way */
    float *hidden;               /* [tokens, hidden] where those of the compressed model are */
    float *seen[RECOVERY_SITES]; /* [tokens, ...] inputs of its matrices there */
    struct calib_drift *attention_drift, *output_drift; /* of the inputs of q, k, v and of o */
};

/* Memory in use at once, beside the mapped checkpoint and a window's step: hidden states and feed-forward inputs of the
 * whole text (8 bytes x tokens x hidden), the routing, one layer in its new form, and for each thread one matrix at
 * work (quant/compress.h) with two Hessians. With recovery also the numbers of struct recovery (4 bytes x tokens x (3
 * hidden + heads x head_dim)), and for each thread two drifts (8 bytes x cols² each) and one matrix in floats. */
struct compressor {
    const struct model *model;
    const struct model_config *config; /* of the artifact: the checkpoint's, or `shape` */
    const moesaic_compress_options *options;
    struct recipe recipe;
    struct layer_drop layers;
    struct budget_plan plan;
    struct measured measured; /* while the plan is made */
    uint8_t *choice; /* [layers, experts + 1]: which of the budget's choices, or BUDGET_UNDECIDED; NULL: no budget */
    struct team *team;
    struct forward *forward;
    struct model_config *shape; /* fewer experts or neurons; NULL: that of the checkpoint */
    struct model *view;         /* the model in that shape, and */
    struct forward *reshaped;   /* what runs its layers */
    bool in_shape;              /* the layer at hand has it already */
    uint32_t *kept;             /* [experts] of the layer at hand: their numbers in the checkpoint, rising */
    struct expert_saliency *saliency; /* [experts of the checkpoint] */
    struct packed router, shared_gate, norm; /* of the layer at hand, where they are not the checkpoint's */
    struct awq awq;
    struct safetensors *masks; /* from outside, or NULL */
    uint64_t masks_checksum;
    struct kv_pool *pool;
    struct model_context *context;
    int32_t *ids;
    size_t tokens, window;
    float *hidden;                          /* [tokens, hidden] before the layer at hand */
    float *ffn_input;                       /* [tokens, hidden] of the layer at hand */
    uint32_t *chosen;                       /* [tokens, top_k] */
    float *weights;                         /* [tokens, top_k] */
    float *scratch;                         /* [window, hidden] */
    float *looked; /* of a window: [window, hidden] inputs of q, k and v, then [window, heads * head_dim] of o */
    size_t first;                           /* of the window in the text */
    struct calib_stats *attention, *output; /* inputs of q, k, v and of o; NULL where nobody looks */
    struct recovery full;
    uint32_t layer;
    struct layer_weights new_layer;
    struct packed matrices[4]; /* q, k, v, o */
    struct packed_ffn *ffn;    /* [experts + 1]: the last is the shared expert or the dense feed-forward */
    struct artifact_writer *writer;
    uint64_t source_checksum; /* XXH3-64 of every tensor's name, shape and bytes */
    struct packed embedding;
    moesaic_compressed_part *part;
    size_t parts;
    double steps_done, steps;  /* of progress */
    uint64_t forward_ns, fit_ns; /* the text over the layers; statistics, pruning, quantization and packing */
    _Atomic uint32_t next_job; /* ticket of the jobs of a team_run */
    _Atomic bool stop;
    moesaic_status status; /* of the first job that failed; guarded by `failing` */
    moesaic_error error;
    _Atomic bool failing;
};

/* ---- one matrix (compress_matrix.c) ---- */

/* Compresses `source` as `recipe` says for inputs with `stats` (NULL: nothing is known of them; with a low-rank term,
 * with a Hessian), pruned by `mask` [rows, cols] where one is given (1: kept), in parts of rows where the matrix is
 * large, and packs it. Any thread. */
moesaic_status packed_make(const struct weight *source, const struct recipe_matrix *recipe, const uint8_t *mask,
                           const struct calib_stats *stats, struct packed *ret_packed, moesaic_error *error);
void packed_done(struct packed *packed); /* accepts a zeroed struct */
/* values [rows, cols] as a weight that borrows them; or rounded to BF16, in *ret_memory, which the caller frees. */
struct weight floats_weight(const float *values, size_t rows, size_t cols);
moesaic_status halves_weight(const float *values, size_t rows, size_t cols, struct weight *ret_weight,
                             void **ret_memory, moesaic_error *error);

/* ---- calibration (compress_calibrate.c) ---- */

/* Cuts the text into windows and makes room. */
moesaic_status calibrate_begin(struct compressor *c, const struct tokenizer *tokenizer, moesaic_error *error);
/* Fills hidden [tokens, hidden] with the text's rows of `embedding`. */
void calibrate_embed(const struct compressor *c, const struct weight *embedding, float *hidden);
/* Columns of what is seen at a site. */
size_t calibrate_cols(const struct compressor *c, forward_site site);
/* Runs what `kind` says of the layer at hand over the text. Looking, attending and the feed-forward make one layer's
 * whole calibration: no more than a forward pass and an attention. */
typedef enum calibrate_kind {
    CALIBRATE_LOOK,   /* adds the attention's inputs to `attention` and `output`; the hidden states stay */
    CALIBRATE_ATTEND, /* moves the hidden states through attention; keeps the feed-forward's inputs and routing */
    CALIBRATE_FFN,    /* moves them through the feed-forward */
    CALIBRATE_LAYER,  /* moves them through both, and keeps the same */
    CALIBRATE_THROUGH, /* moves them through both, and keeps nothing */
    CALIBRATE_FULL_ATTEND, /* moves the checkpoint's own through its attention, and keeps what its matrices see */
    CALIBRATE_FULL_FFN     /* moves them through its feed-forward */
} calibrate_kind;
moesaic_status calibrate_pass(struct compressor *c, const struct layer_weights *weights, calibrate_kind kind,
                              moesaic_error *error);
/* Statistics of the final norm's output, for the head. */
moesaic_status calibrate_head(struct compressor *c, struct calib_stats **ret_stats, moesaic_error *error);
void calibrate_end(struct compressor *c);

/* ---- fewer layers (compress_layers.c) ---- */

/* Where the recipe drops layers, walks the text through the checkpoint and puts the model of the layers that stay in
 * its place: from there on it is the checkpoint. USAGE when no layer would go, or all. */
moesaic_status layers_begin(struct compressor *c, const struct tokenizer *tokenizer, moesaic_error *error);
void layers_end(struct compressor *c);
/* Number of a layer in the checkpoint: recipes and masks count so. */
uint32_t layers_source(const struct compressor *c, uint32_t layer);
/* For the metadata, once layers have been dropped; NULL when out of memory. */
json_value *layers_json(const struct compressor *c);
/* Fills the result's source_layer, which the caller frees. */
moesaic_status layers_result(const struct compressor *c, moesaic_compress_result *result, moesaic_error *error);

/* ---- another shape (compress_reshape.c, compress_config.c) ---- */

/* Works out the artifact's shape from the recipe. USAGE when fewer experts would stay than a token uses, or when no
 * neuron would go. */
moesaic_status reshape_begin(struct compressor *c, moesaic_error *error);
/* Makes what runs layers of that shape; nothing where it is the checkpoint's. */
moesaic_status reshape_forward(struct compressor *c, const struct forward_options *options, moesaic_error *error);
/* Chooses the experts of the layer at hand that stay by the routing recorded, and routes again without the others. */
moesaic_status reshape_choose(struct compressor *c, moesaic_error *error);
/* Leaves in the layer at hand the experts `kept` and their rows of the router. */
moesaic_status reshape_layer(struct compressor *c, moesaic_error *error);
/* Mixtral's and OLMoE's experts go by the name of the dense feed-forward that these models do not have. */
bool config_intermediate_shared(const struct model_config *config);
/* The bytes of config.json with the new numbers, freed with free(); nothing else of it changes. */
moesaic_status config_reshape(const struct compressor *c, const void *data, size_t bytes, char **ret_text,
                              size_t *ret_bytes, moesaic_error *error);
void reshape_end(struct compressor *c);
/* Whether experts are dropped, and whether those that stay become narrower. */
bool reshape_drops(const struct compressor *c);
bool reshape_narrows(const struct compressor *c);

/* ---- narrower experts (compress_neurons.c) ---- */

/* The checkpoint's expert `old` with the artifact's number of neurons, chosen and fitted by what reached it. */
moesaic_status narrowed_make(const struct compressor *c, const struct ffn_weights *old, const struct reached *reached,
                             struct narrowed *ret_narrowed, moesaic_error *error);
/* Makes errors and densities of what was packed from it those against the whole expert. */
void narrowed_take(const struct narrowed *narrowed, struct packed_ffn *ffn);
void narrowed_done(struct narrowed *narrowed); /* accepts a zeroed struct */
/* Gives each matrix that borrows floats, because nothing was asked for it, BF16 of its own. */
moesaic_status packed_ffn_own(struct packed_ffn *ffn, moesaic_error *error);

/* ---- AWQ (compress_awq.c) ---- */

/* These do nothing where the recipe has none. Scales of 1 until the first layer is chosen for. */
moesaic_status awq_begin(struct compressor *c, moesaic_error *error);
/* Chooses the scales of the feed-forwards' inputs at the layer at hand; folds them into its norm, router and shared
 * gate and into the inputs recorded. */
moesaic_status awq_layer(struct compressor *c, moesaic_error *error);
/* Reads the folded norm, router and shared gate of the finished layer at hand back. */
moesaic_status awq_resume(struct compressor *c, moesaic_error *error);
void awq_end(struct compressor *c);
/* The feed-forward `old` with the layer's scales in gate and up, and, where the recipe is awq, with scales of its own
 * between up and down. */
moesaic_status scaled_make(const struct compressor *c, const struct recipe_matrix *recipe,
                           const struct ffn_weights *old, const struct reached *reached, struct scaled *ret_scaled,
                           moesaic_error *error);
void scaled_done(struct scaled *scaled); /* accepts a zeroed struct */

/* ---- masks from outside (compress_masks.c) ---- */

/* Opens the options' masks, if any. USAGE when the recipe has no use for them, INPUT, IO. */
moesaic_status masks_open(struct compressor *c, moesaic_error *error);
/* The mask of the checkpoint's tensor `name`, which has the shape of `weight`; INPUT naming it. */
moesaic_status mask_find(const struct compressor *c, const char *name, const struct weight *weight,
                         const uint8_t **ret_mask, moesaic_error *error);

/* ---- the budget (compress_budget.c, compress_measure.c) ---- */

enum { BUDGET_UNDECIDED = 255 };
/* Steps of progress a layer that deciding takes: a pass and each choice; 0 without a budget. */
double budget_steps(const struct recipe *recipe);
/* Makes room, and lets attention, head and embedding step down where they must. USAGE, naming the smallest that is
 * possible, when that is not enough; USAGE when the recipe also changes the model's shape. */
moesaic_status budget_begin(struct compressor *c, moesaic_error *error);
/* Fills `choice`: out of the journal, or by measuring every choice of every expert and solving. */
moesaic_status budget_plan(struct compressor *c, moesaic_error *error);
void budget_result(const struct compressor *c, moesaic_compress_result *result);
/* For the metadata or, with every choice, for the journal; NULL when out of memory. */
json_value *budget_plan_json(const struct compressor *c, bool choices);
/* Whether the budget decides about a feed-forward of the layer at hand. */
bool budget_decides(const struct compressor *c, uint32_t expert);
/* Runs the text through the checkpoint and fills c->measured. */
moesaic_status budget_measure(struct compressor *c, moesaic_error *error);

/* ---- recovery (compress_recover.c) ---- */

/* These do nothing where the recipe has none. */
moesaic_status recover_begin(struct compressor *c, moesaic_error *error);
/* Puts the checkpoint's way at its beginning, and moves it through one half of the layer at hand or both. */
void recover_embed(struct compressor *c);
moesaic_status recover_attend(struct compressor *c, moesaic_error *error);
moesaic_status recover_ffn(struct compressor *c, moesaic_error *error);
moesaic_status recover_layer(struct compressor *c, moesaic_error *error);
void recover_end(struct compressor *c);
/* The drift of a feed-forward's inputs over the tokens `reached`. What is returned is freed by the caller, also after a
 * failure. */
moesaic_status recover_inputs(const struct compressor *c, const struct reached *reached, struct calib_drift **ret_drift,
                              moesaic_error *error);
/* The drift of down's inputs, behind gate and up of `old` on the checkpoint's way and of `new` on the compressed
 * model's; and of the residual stream (ret_residual NULL: not asked for) as far as this one of a token's `routed`
 * experts is to make up for it. */
moesaic_status recover_inner(const struct compressor *c, const struct ffn_weights *old, const struct ffn_weights *new,
                             const struct reached *reached, bool routed, struct calib_drift **ret_drift,
                             struct calib_drift **ret_residual, moesaic_error *error);
/* What to compress in place of `source`, in floats. `residual` may be NULL. */
moesaic_status recover_make(const struct weight *source, const struct calib_stats *stats,
                            const struct calib_drift *drift, const struct calib_drift *residual,
                            struct packed *ret_target, moesaic_error *error);

/* ---- one layer (compress_layer.c) ---- */

/* What is done to a feed-forward of the layer at hand (its number in the checkpoint, UINT32_MAX: shared or dense). */
const struct recipe_matrix *compress_recipe(const struct compressor *c, uint32_t expert, uint64_t tokens);
/* The feed-forwards of the layer at hand, by jobs: routed experts first, then the shared or dense one, `experts`. */
size_t ffn_jobs(const struct compressor *c);
uint32_t ffn_of_job(const struct compressor *c, size_t job);
const struct ffn_weights *ffn_source(const struct compressor *c, uint32_t expert);
/* Tokens that the routing sends to it; and those with their weights, after ffn->tokens is set, with others by force. */
uint64_t reached_count(const struct compressor *c, uint32_t expert);
moesaic_status reached_make(const struct compressor *c, uint32_t expert, struct packed_ffn *ffn, struct reached *ret,
                            moesaic_error *error);
void reached_done(struct reached *reached);
/* Compresses a feed-forward for the tokens `reached`. Any thread. */
moesaic_status ffn_compress(const struct compressor *c, const struct recipe_matrix *recipe, uint32_t expert,
                            const struct reached *reached, struct packed_ffn *ffn, moesaic_error *error);
void packed_ffn_done(struct packed_ffn *ffn);
/* Makes a feed-forward use the new matrices and terms. */
void packed_ffn_use(const struct packed_ffn *packed, struct ffn_weights *weights);

/* Runs the jobs 0 .. count - 1 on the team, taken by ticket; the first that fails stops the rest. */
moesaic_status compress_jobs(struct compressor *c, size_t count,
                             moesaic_status (*run)(struct compressor *, size_t, moesaic_error *), moesaic_error *error);

/* Adds what the down matrix sees of the tokens `reached`: act(gate x) * up x. */
moesaic_status inner_collect(const struct compressor *c, const struct ffn_weights *weights,
                             const struct reached *reached, struct calib_stats *stats, moesaic_error *error);
/* What applies to a feed-forward of the layer at hand, whose tokens are counted. */
const struct recipe_matrix *ffn_recipe(const struct compressor *c, uint32_t expert);
/* Reads a matrix of the artifact so far back. */
moesaic_status matrix_back(struct compressor *c, const char *name, struct packed *packed, struct weight *ret_weight,
                           moesaic_error *error);
/* Compresses the layer at hand, moves the hidden states through it, writes its runs and frees its matrices. */
moesaic_status compress_layer(struct compressor *c, moesaic_error *error);
/* Reads the finished layer at hand back and moves the hidden states through it. */
moesaic_status resume_layer(struct compressor *c, moesaic_error *error);
/* Reports progress after `amount` more steps. CANCELLED when the callback says so. */
moesaic_status compress_progress(struct compressor *c, double amount, moesaic_error *error);

/* ---- the artifact (compress_write.c) ---- */

extern const char embedding_tensor_name[];
moesaic_status write_embedding(struct compressor *c, moesaic_error *error);
moesaic_status write_layer(struct compressor *c, moesaic_error *error);
/* Bytes of the files that the artifact carries. */
uint64_t write_files_bytes(const struct compressor *c);
moesaic_status write_end(struct compressor *c, const struct packed *head, moesaic_error *error);
/* Fills source_checksum. */
void source_identify(struct compressor *c);
/* Identifies checkpoint, text, recipe and tokens. */
moesaic_status compress_fingerprint(const struct compressor *c, uint64_t *ret_fingerprint, moesaic_error *error);
/* Name of a layer's tensor as published, into `name`; returns `name`. */
const char *layer_tensor_name(const struct model_config *config, uint32_t layer, const char *part, char name[160]);
/* Name of an expert's matrix (which: 0 gate, 1 up, 2 down); expert == config->experts: shared or dense. */
const char *ffn_tensor_name(const struct model_config *config, uint32_t layer, uint32_t expert, int which,
                            char name[160]);

#endif
