/* SPDX-License-Identifier: Apache-2.0 */
/* One layer: attention first, then every expert on its own from the tokens that reach it, over what is compressed
 * already. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compressor_internal.h"

/* ---- jobs -------------------------------------------------------------------------------------------------------- */

struct jobs {
    struct compressor *c;
    size_t count;
    moesaic_status (*run)(struct compressor *c, size_t job, moesaic_error *error);
};

static void job_failed(struct compressor *c, moesaic_status status, const moesaic_error *error) {
    bool first = false;
    if (atomic_compare_exchange_strong(&c->failing, &first, true)) {
        c->status = status;
        c->error = *error;
    }
    atomic_store(&c->stop, true);
}

static void jobs_body(struct team *team, unsigned thread, void *argument) {
    const struct jobs *jobs = argument;
    struct compressor *c = jobs->c;
    (void)team;
    for (size_t job; !atomic_load(&c->stop) && (job = atomic_fetch_add(&c->next_job, 1)) < jobs->count;) {
        moesaic_error error;
        moesaic_status status = jobs->run(c, job, &error);
        if (status)
            job_failed(c, status, &error);
        else if (thread == 0 && compress_progress(c, 0, &error))
            job_failed(c, MOESAIC_E_CANCELLED, &error);
    }
}

moesaic_status compress_jobs(struct compressor *c, size_t count,
                             moesaic_status (*run)(struct compressor *, size_t, moesaic_error *),
                             moesaic_error *error) {
    struct jobs jobs = {c, count, run};
    uint64_t begun = clock_ns();
    atomic_store(&c->next_job, 0);
    team_run(c->team, jobs_body, &jobs);
    c->fit_ns += clock_ns() - begun;
    if (c->status && error)
        *error = c->error;
    return c->status;
}

/* Compresses `source`, or with a drift what recovers its outputs in its place. */
static moesaic_status matrix_make(const struct weight *source, const struct recipe_matrix *recipe, const uint8_t *mask,
                                  const struct calib_stats *stats, const struct calib_drift *drift,
                                  const struct calib_drift *residual, struct packed *ret, moesaic_error *error) {
    struct packed target = {.weight = *source};
    moesaic_status status = drift ? recover_make(source, stats, drift, residual, &target, error) : MOESAIC_OK;
    if (!status)
        status = packed_make(&target.weight, recipe, mask, stats, ret, error);
    packed_done(&target);
    return status;
}

/* ---- attention --------------------------------------------------------------------------------------------------- */

static moesaic_status attention_job(struct compressor *c, size_t job, moesaic_error *error) {
    const struct layer_weights *old = &model_weights(c->model)->layers[c->layer];
    const struct weight *source[] = {&old->q, &old->k, &old->v, &old->o};
    return matrix_make(source[job], &c->recipe.attention, NULL, job == 3 ? c->output : c->attention,
                       job == 3 ? c->full.output_drift : c->full.attention_drift, NULL, &c->matrices[job], error);
}

static moesaic_status attention_statistics(struct compressor *c, moesaic_error *error) {
    const struct recipe_matrix *recipe = &c->recipe.attention;
    size_t width = c->config->hidden, attended = (size_t)c->config->heads * c->config->head_dim;
    bool recovers = c->full.beside && recipe_changes(recipe), hessian = recovers || recipe_wants_hessian(recipe);
    moesaic_status status = MOESAIC_OK;
    if (!hessian && !recipe_wants_activations(recipe))
        return MOESAIC_OK;
    status = calib_stats_create(width, hessian, &c->attention, error);
    if (!status)
        status = calib_stats_create(attended, hessian, &c->output, error);
    if (!status && recovers)
        status = calib_drift_create(width, width, &c->full.attention_drift, error);
    if (!status && recovers)
        status = calib_drift_create(attended, attended, &c->full.output_drift, error);
    return status ? status : calibrate_pass(c, NULL, CALIBRATE_LOOK, error);
}

static moesaic_status attention_compress(struct compressor *c, moesaic_error *error) {
    moesaic_status status = attention_statistics(c, error);
    if (!status)
        status = compress_jobs(c, 4, attention_job, error);
    calib_drift_destroy(c->full.output_drift);
    calib_drift_destroy(c->full.attention_drift);
    calib_stats_destroy(c->output);
    calib_stats_destroy(c->attention);
    c->full.attention_drift = c->full.output_drift = NULL;
    c->attention = c->output = NULL;
    struct layer_weights *new = &c->new_layer;
    new->q = c->matrices[0].weight;
    new->k = c->matrices[1].weight;
    new->v = c->matrices[2].weight;
    new->o = c->matrices[3].weight;
    return status;
}

/* ---- feed-forwards ----------------------------------------------------------------------------------------------- */

static moesaic_status reached_allocate(struct reached *r, size_t capacity, moesaic_error *error) {
    r->token = calloc(capacity, sizeof *r->token);
    r->weight = calloc(capacity, sizeof *r->weight);
    return r->token && r->weight ? MOESAIC_OK : status_no_memory(error, "tokens of an expert", capacity * 8);
}

/* Experts that fewer than the recipe's minimum reach are also sent tokens by force, evenly over the text, each with
 * half of an even share: enough to keep the second-order methods from inventing. */
static void reached_force(const struct compressor *c, struct packed_ffn *ffn, struct reached *r) {
    size_t wanted = c->recipe.min_tokens < c->tokens ? c->recipe.min_tokens : c->tokens;
    size_t missing = r->count < wanted ? wanted - r->count : 0;
    for (size_t i = 0; i < missing; i++) {
        r->token[r->count] = (uint32_t)(i * c->tokens / missing);
        r->weight[r->count++] = 0.5f / (float)c->config->top_k;
    }
    ffn->forced = missing;
}

/* Tokens that the routing sends to an expert; to the shared or dense feed-forward all. */
uint64_t reached_count(const struct compressor *c, uint32_t expert) {
    size_t count = 0;
    if (expert == c->config->experts)
        return c->tokens;
    for (size_t i = 0; i < c->tokens * c->config->top_k; i++)
        count += c->chosen[i] == expert;
    return count;
}

/* Calibration tokens of an expert over those of an even load. */
static double load_of(const struct compressor *c, uint64_t tokens) {
    return (double)tokens * c->config->experts / ((double)c->tokens * (c->config->top_k ? c->config->top_k : 1));
}

const struct recipe_matrix *compress_recipe(const struct compressor *c, uint32_t expert, uint64_t tokens) {
    uint32_t experts = c->config->experts;
    uint8_t choice = BUDGET_UNDECIDED;
    if (c->choice)
        choice = c->choice[(size_t)c->layer * (experts + 1) + (expert == UINT32_MAX ? experts : expert)];
    return choice == BUDGET_UNDECIDED
               ? recipe_of_expert(&c->recipe, layers_source(c, c->layer), expert, load_of(c, tokens))
               : &c->recipe.budget.choice[choice];
}

moesaic_status reached_make(const struct compressor *c, uint32_t expert, struct packed_ffn *ffn, struct reached *ret,
                            moesaic_error *error) {
    uint32_t k = c->config->top_k;
    bool all = expert == c->config->experts;
    moesaic_status status = reached_allocate(ret, ffn->tokens + c->recipe.min_tokens + 1, error);
    for (size_t t = 0; !status && t < c->tokens; t++) {
        for (uint32_t slot = 0; slot < (all ? 1 : k); slot++) {
            if (!all && c->chosen[t * k + slot] != expert)
                continue;
            ret->token[ret->count] = (uint32_t)t;
            ret->weight[ret->count++] = all ? 1 : c->weights[t * k + slot];
        }
    }
    if (!status && !all)
        reached_force(c, ffn, ret);
    return status;
}

void reached_done(struct reached *r) {
    free(r->weight);
    free(r->token);
    *r = (struct reached){0};
}

/* A feed-forward of the layer in its new form. */
static struct ffn_weights *ffn_target(struct compressor *c, uint32_t expert) {
    if (!c->config->layer[c->layer].moe)
        return &c->new_layer.dense;
    return expert == c->config->experts ? &c->new_layer.shared : &c->new_layer.experts[expert];
}

/* The same of the checkpoint. */
const struct ffn_weights *ffn_source(const struct compressor *c, uint32_t expert) {
    const struct layer_weights *old = &model_weights(c->model)->layers[c->layer];
    if (!c->config->layer[c->layer].moe)
        return &old->dense;
    return expert == c->config->experts ? &old->shared : &old->experts[c->kept[expert]];
}

enum { INNER_ROWS = 256 };

/* In blocks of tokens. */
moesaic_status inner_collect(const struct compressor *c, const struct ffn_weights *weights, const struct reached *r,
                             struct calib_stats *stats, moesaic_error *error) {
    size_t width = c->config->hidden, inner = weights->gate.rows;
    float *x = calloc(INNER_ROWS * width, sizeof *x), *out = calloc(INNER_ROWS * inner, sizeof *out);
    moesaic_status status =
        x && out ? MOESAIC_OK : status_no_memory(error, "inner activations", INNER_ROWS * inner * 4);
    for (size_t first = 0; !status && first < r->count; first += INNER_ROWS) {
        size_t rows = r->count - first < INNER_ROWS ? r->count - first : INNER_ROWS;
        for (size_t i = 0; i < rows; i++)
            memcpy(x + i * width, c->ffn_input + r->token[first + i] * width, width * sizeof *x);
        status = expert_ffn_inner(weights, c->config->activation, x, rows, width, inner, out, error);
        if (!status)
            calib_add(stats, out, inner, NULL, r->weight + first, rows, 0, stats->cols);
    }
    free(out);
    free(x);
    return status;
}

/* One of the three matrices (0 gate, 1 up, 2 down) of a feed-forward, by its mask where there are masks. */
static moesaic_status ffn_pack(const struct compressor *c, const struct recipe_matrix *recipe, uint32_t expert,
                               int which, const struct weight *source, const struct calib_stats *stats,
                               const struct calib_drift *drift, const struct calib_drift *residual, struct packed *ret,
                               moesaic_error *error) {
    const struct model_config *config = model_config(c->model);
    uint32_t number = expert == c->config->experts ? config->experts : c->kept[expert];
    const uint8_t *mask = NULL;
    moesaic_status status = MOESAIC_OK;
    char name[160];
    if (c->masks && recipe->prune != PRUNE_NONE)
        status = mask_find(c, ffn_tensor_name(config, layers_source(c, c->layer), number, which, name), source, &mask,
                           error);
    return status ? status : matrix_make(source, recipe, mask, stats, drift, residual, ret, error);
}

/* One feed-forward at work. */
struct fitting {
    const struct compressor *c;
    const struct recipe_matrix *recipe;
    uint32_t expert;
    const struct ffn_weights *old; /* what is compressed: the checkpoint's, or with fewer neurons */
    const struct reached *reached;
    bool looks, hessian, recovers;
};

static struct fitting fitting_of(const struct compressor *c, const struct recipe_matrix *recipe, uint32_t expert,
                                 const struct reached *reached) {
    struct fitting f = {.c = c, .recipe = recipe, .expert = expert, .old = ffn_source(c, expert), .reached = reached};
    f.recovers = c->full.beside && recipe_changes(recipe);
    f.hessian = f.recovers || recipe_wants_hessian(recipe);
    f.looks = f.hessian || recipe_wants_activations(recipe);
    return f;
}

static moesaic_status inputs_compress(const struct fitting *f, struct packed_ffn *ffn, moesaic_error *error) {
    const struct compressor *c = f->c;
    const struct reached *r = f->reached;
    struct calib_stats *stats = NULL;
    struct calib_drift *drift = NULL;
    moesaic_status status = MOESAIC_OK;
    if (f->looks)
        status = calib_stats_create(f->old->gate.cols, f->hessian, &stats, error);
    if (!status && f->looks)
        calib_add(stats, c->ffn_input, c->config->hidden, r->token, r->weight, r->count, 0, stats->cols);
    if (!status && f->recovers)
        status = recover_inputs(c, r, &drift, error);
    if (!status)
        status = ffn_pack(c, f->recipe, f->expert, 0, &f->old->gate, stats, drift, NULL, &ffn->gate, error);
    if (!status)
        status = ffn_pack(c, f->recipe, f->expert, 1, &f->old->up, stats, drift, NULL, &ffn->up, error);
    calib_drift_destroy(drift);
    calib_stats_destroy(stats);
    return status;
}

/* With the compressed gate and up. */
static moesaic_status down_compress(const struct fitting *f, struct packed_ffn *ffn, moesaic_error *error) {
    const struct ffn_weights *old = f->old;
    const struct ffn_weights new = {.gate = ffn->gate.weight,
                                    .up = ffn->up.weight,
                                    .down = old->down,
                                    .gate_bias = old->gate_bias,
                                    .up_bias = old->up_bias,
                                    .term = {ffn->gate.term, ffn->up.term}};
    bool routed = f->c->config->layer[f->c->layer].moe, shared = routed && f->expert == f->c->config->experts;
    struct calib_stats *stats = NULL;
    struct calib_drift *drift = NULL, *residual = NULL;
    moesaic_status status = MOESAIC_OK;
    if (f->looks)
        status = calib_stats_create(old->down.cols, f->hessian, &stats, error);
    if (!status && f->looks)
        status = inner_collect(f->c, &new, f->reached, stats, error);
    if (!status && f->recovers)
        status = recover_inner(f->c, old, &new, f->reached, routed, &drift, shared ? NULL : &residual, error);
    if (!status)
        status = ffn_pack(f->c, f->recipe, f->expert, 2, &old->down, stats, drift, residual, &ffn->down, error);
    calib_drift_destroy(residual);
    calib_drift_destroy(drift);
    calib_stats_destroy(stats);
    return status;
}

moesaic_status ffn_compress(const struct compressor *c, const struct recipe_matrix *recipe, uint32_t expert,
                            const struct reached *reached, struct packed_ffn *ffn, moesaic_error *error) {
    struct fitting f = fitting_of(c, recipe, expert, reached);
    struct narrowed narrowed = {0};
    struct scaled scaled = {0};
    bool narrows = reshape_narrows(c) && expert < c->config->experts;
    moesaic_status status = MOESAIC_OK;
    if (narrows) {
        status = narrowed_make(c, f.old, reached, &narrowed, error);
        f.old = &narrowed.weights;
    }
    if (!status && c->awq.scales) {
        status = scaled_make(c, recipe, f.old, reached, &scaled, error);
        f.old = &scaled.weights;
    }
    if (!status)
        status = inputs_compress(&f, ffn, error);
    if (!status)
        status = down_compress(&f, ffn, error);
    if (!status && f.old != ffn_source(c, expert))
        status = packed_ffn_own(ffn, error);
    if (!status && narrows)
        narrowed_take(&narrowed, ffn);
    scaled_done(&scaled);
    narrowed_done(&narrowed);
    return status;
}

void packed_ffn_done(struct packed_ffn *ffn) {
    packed_done(&ffn->gate);
    packed_done(&ffn->up);
    packed_done(&ffn->down);
}

/* Job i of a layer's feed-forwards: routed experts first, then the shared one; a dense layer has only the last. */
uint32_t ffn_of_job(const struct compressor *c, size_t job) {
    return c->config->layer[c->layer].moe ? (uint32_t)job : c->config->experts;
}

size_t ffn_jobs(const struct compressor *c) {
    return c->config->layer[c->layer].moe ? c->config->experts + (c->config->shared_intermediate > 0) : 1;
}

/* Recipes count experts as the checkpoint does. */
const struct recipe_matrix *ffn_recipe(const struct compressor *c, uint32_t expert) {
    return compress_recipe(c, expert == c->config->experts ? UINT32_MAX : c->kept[expert], c->ffn[expert].tokens);
}

static moesaic_status ffn_job(struct compressor *c, size_t job, moesaic_error *error) {
    uint32_t expert = ffn_of_job(c, job);
    struct packed_ffn *ffn = &c->ffn[expert];
    struct reached r = {0};
    ffn->tokens = reached_count(c, expert);
    moesaic_status status = reached_make(c, expert, ffn, &r, error);
    if (!status)
        status = ffn_compress(c, ffn_recipe(c, expert), expert, &r, ffn, error);
    reached_done(&r);
    return status;
}

void packed_ffn_use(const struct packed_ffn *packed, struct ffn_weights *weights) {
    weights->gate = packed->gate.weight;
    weights->up = packed->up.weight;
    weights->down = packed->down.weight;
    weights->term[0] = packed->gate.term;
    weights->term[1] = packed->up.term;
    weights->term[2] = packed->down.term;
}

static void part_record(struct compressor *c, uint32_t expert) {
    const struct packed_ffn *f = &c->ffn[expert];
    bool routed = expert < c->config->experts;
    const struct recipe_matrix *recipe = ffn_recipe(c, expert);
    double energy = f->gate.energy + f->up.energy + f->down.energy;
    double wrong = f->gate.error * f->gate.energy + f->up.error * f->up.energy + f->down.error * f->down.energy;
    double count = (double)(f->gate.weight.rows * f->gate.weight.cols);
    uint64_t bytes = expert_ffn_bytes(ffn_target(c, expert));
    c->part[c->parts++] = (moesaic_compressed_part){.layer = c->layer,
                                                    .expert = routed ? (int32_t)expert : -1,
                                                    .source = routed ? (int32_t)c->kept[expert] : -1,
                                                    .method = recipe_method_name(recipe, routed && reshape_narrows(c)),
                                                    .format = recipe_format_name(recipe),
                                                    .density = (f->gate.density + f->up.density + f->down.density) / 3,
                                                    .tokens = f->tokens,
                                                    .forced_tokens = f->forced,
                                                    .bytes = bytes,
                                                    .bits_per_weight = 8.0 * (double)bytes / (3 * count),
                                                    .error = energy > 0 ? wrong / energy : 0};
}

static moesaic_status ffns_compress(struct compressor *c, moesaic_error *error) {
    moesaic_status status = compress_jobs(c, ffn_jobs(c), ffn_job, error);
    for (size_t job = 0; !status && job < ffn_jobs(c); job++) {
        uint32_t expert = ffn_of_job(c, job);
        packed_ffn_use(&c->ffn[expert], ffn_target(c, expert));
        part_record(c, expert);
    }
    return status;
}

/* ---- the layer --------------------------------------------------------------------------------------------------- */

/* Begins with the checkpoint's own layer, whose matrices are then replaced one after another. */
static moesaic_status layer_begin(struct compressor *c, moesaic_error *error) {
    const struct layer_weights *old = &model_weights(c->model)->layers[c->layer];
    c->new_layer = *old;
    if (!old->experts)
        return MOESAIC_OK;
    size_t experts = model_config(c->model)->experts;
    c->new_layer.experts = calloc(experts, sizeof *old->experts);
    if (!c->new_layer.experts)
        return status_no_memory(error, "layer", experts * sizeof *old->experts);
    memcpy(c->new_layer.experts, old->experts, experts * sizeof *old->experts);
    return MOESAIC_OK;
}

static void layer_end(struct compressor *c) {
    const struct layer_weights *old = &model_weights(c->model)->layers[c->layer];
    for (size_t i = 0; i < 4; i++)
        packed_done(&c->matrices[i]);
    for (size_t i = 0; i <= c->config->experts; i++)
        packed_ffn_done(&c->ffn[i]);
    packed_done(&c->router);
    packed_done(&c->shared_gate);
    packed_done(&c->norm);
    c->in_shape = false;
    if (c->new_layer.experts != old->experts)
        free(c->new_layer.experts);
    c->new_layer = (struct layer_weights){0};
}

moesaic_status compress_layer(struct compressor *c, moesaic_error *error) {
    moesaic_status status = layer_begin(c, error);
    if (!status)
        status = recover_attend(c, error);
    if (!status)
        status = attention_compress(c, error);
    if (!status)
        status = calibrate_pass(c, &c->new_layer, CALIBRATE_ATTEND, error);
    if (!status && reshape_drops(c) && c->new_layer.experts)
        status = reshape_choose(c, error);
    if (!status)
        status = awq_layer(c, error);
    if (!status)
        status = ffns_compress(c, error);
    c->in_shape = c->shape != NULL;
    if (!status)
        status = recover_ffn(c, error);
    if (!status)
        status = calibrate_pass(c, &c->new_layer, CALIBRATE_FFN, error);
    if (!status)
        status = write_layer(c, error);
    layer_end(c);
    return status;
}

moesaic_status matrix_back(struct compressor *c, const char *name, struct packed *packed, struct weight *ret,
                           moesaic_error *error) {
    moesaic_status status = artifact_writer_read(c->writer, name, &packed->weight, &packed->memory, error);
    if (!status)
        *ret = packed->weight;
    return status;
}

/* The same of a matrix's term, if it has one. */
static moesaic_status term_back(struct compressor *c, const char *matrix, struct packed *packed, moesaic_error *error) {
    struct weight *factors[] = {&packed->term.left, &packed->term.right};
    moesaic_status status = MOESAIC_OK;
    for (int side = 0; !status && side < 2; side++) {
        char name[192];
        snprintf(name, sizeof name, "%s%s", matrix, artifact_factor_suffix[side]);
        if (artifact_writer_has(c->writer, name))
            status = artifact_writer_read(c->writer, name, factors[side], &packed->factor[side], error);
    }
    if (!status && packed->term.left.data && !expert_term_fits(&packed->term, &packed->weight))
        status = status_set(error, MOESAIC_E_INPUT, "resume: the factors of %s do not fit it", matrix);
    return status;
}

static moesaic_status ffn_back(struct compressor *c, uint32_t expert, moesaic_error *error) {
    struct packed_ffn *f = &c->ffn[expert];
    struct packed *packed[] = {&f->gate, &f->up, &f->down};
    moesaic_status status = MOESAIC_OK;
    for (int i = 0; !status && i < 3; i++) {
        char name[160];
        ffn_tensor_name(c->config, c->layer, expert, i, name);
        status = artifact_writer_read(c->writer, name, &packed[i]->weight, &packed[i]->memory, error);
        if (!status)
            status = term_back(c, name, packed[i], error);
    }
    if (!status)
        packed_ffn_use(f, ffn_target(c, expert));
    return status;
}

moesaic_status resume_layer(struct compressor *c, moesaic_error *error) {
    static const char *const names[] = {"self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight",
                                        "self_attn.o_proj.weight"};
    char name[160];
    moesaic_status status = layer_begin(c, error);
    struct layer_weights *new = &c->new_layer;
    struct weight *attention[] = {&new->q, &new->k, &new->v, &new->o};
    for (size_t i = 0; !status && i < 4; i++)
        status = matrix_back(c, layer_tensor_name(c->config, c->layer, names[i], name), &c->matrices[i], attention[i],
                             error);
    if (!status && reshape_drops(c) && new->experts)
        status = reshape_layer(c, error);
    if (!status)
        status = awq_resume(c, error);
    for (size_t job = 0; !status && job < ffn_jobs(c); job++)
        status = ffn_back(c, ffn_of_job(c, job), error);
    c->in_shape = c->shape != NULL;
    if (!status)
        status = recover_layer(c, error);
    if (!status)
        status = calibrate_pass(c, new, CALIBRATE_LAYER, error);
    layer_end(c);
    return status;
}
