/* SPDX-License-Identifier: Apache-2.0 */
/* What each choice of a budget costs each expert: bytes and output error, by trying it. */
#include <stdlib.h>
#include <string.h>

#include "compressor_internal.h"

/* Every HELD_SHARE-th token of an expert, at most HELD_MAX of them, judges what was fitted to the others: on the tokens
 * it was fitted to, a coarse format looks better than it is, and the more so the fewer they are. */
enum { HELD_SHARE = 4, HELD_MAX = 512 };

struct trial {
    const struct compressor *c;
    const struct ffn_weights *expert;
    struct reached fit, held;
    float *x;          /* [held, hidden] */
    float *inner;      /* [held, intermediate] */
    float *want, *out; /* [held, hidden] of the checkpoint's expert and of the one tried */
    float *down;       /* [hidden, intermediate] */
    double scale;      /* from the held tokens to all */
};

static double squares_of_weights(const struct reached *r) {
    double sum = 0;
    for (size_t i = 0; i < r->count; i++)
        sum += (double)r->weight[i] * r->weight[i];
    return sum;
}

/* Deals the tokens out; those held are spread evenly. */
static moesaic_status trial_split(struct trial *t, const struct reached *all, moesaic_error *error) {
    size_t held = all->count / HELD_SHARE < HELD_MAX ? all->count / HELD_SHARE : HELD_MAX;
    struct reached *parts[] = {&t->fit, &t->held};
    for (int i = 0; i < 2; i++) {
        parts[i]->token = calloc(all->count + 1, sizeof *parts[i]->token);
        parts[i]->weight = calloc(all->count + 1, sizeof *parts[i]->weight);
        if (!parts[i]->token || !parts[i]->weight)
            return status_no_memory(error, "tokens of an expert", all->count * 8);
    }
    for (size_t i = 0; i < all->count; i++) {
        bool hold = t->held.count < held && i >= (t->held.count + 1) * all->count / held - 1;
        struct reached *part = parts[hold];
        part->token[part->count] = all->token[i];
        part->weight[part->count++] = all->weight[i];
    }
    double sum = squares_of_weights(&t->held);
    t->scale = sum > 0 ? squares_of_weights(all) / sum : 0;
    return MOESAIC_OK;
}

static moesaic_status trial_allocate(struct trial *t, moesaic_error *error) {
    size_t rows = t->held.count + 1, hidden = t->c->config->hidden, inner = t->expert->down.cols;
    t->x = calloc(rows * hidden, sizeof *t->x);
    t->inner = calloc(rows * inner, sizeof *t->inner);
    t->want = calloc(rows * hidden, sizeof *t->want);
    t->out = calloc(rows * hidden, sizeof *t->out);
    t->down = calloc(hidden * inner, sizeof *t->down);
    if (t->x && t->inner && t->want && t->out && t->down)
        return MOESAIC_OK;
    return status_no_memory(error, "trial of an expert", (rows * (3 * hidden + inner) + hidden * inner) * sizeof *t->x);
}

static void trial_free(struct trial *t) {
    free(t->down);
    free(t->out);
    free(t->want);
    free(t->inner);
    free(t->x);
    reached_done(&t->held);
    reached_done(&t->fit);
}

/* Outputs for the held tokens, without the bias of down, which nothing changes. */
static moesaic_status trial_run(struct trial *t, const struct ffn_weights *weights, float *out, moesaic_error *error) {
    size_t rows = t->held.count, hidden = t->c->config->hidden, inner = weights->down.cols;
    const struct activations x = {.values = t->inner, .tokens = rows, .cols = inner, .stride = inner};
    struct weight down = floats_weight(t->down, hidden, inner);
    moesaic_status status =
        expert_ffn_inner(weights, t->c->config->activation, t->x, rows, hidden, inner, t->inner, error);
    if (status)
        return status;
    weight_dequantize(&weights->down, 0, hidden, t->down);
    if (weights->term[2].left.data)
        expert_term_sum(&weights->term[2], 0, hidden, t->down);
    weight_product(&down, &x, NULL, rows, 0, hidden, out, hidden);
    return MOESAIC_OK;
}

static double trial_error(const struct trial *t) {
    size_t hidden = t->c->config->hidden;
    double sum = 0;
    for (size_t i = 0; i < t->held.count; i++) {
        double lost = 0, weight = t->held.weight[i];
        for (size_t k = i * hidden; k < (i + 1) * hidden; k++)
            lost += ((double)t->out[k] - t->want[k]) * ((double)t->out[k] - t->want[k]);
        sum += weight * weight * lost;
    }
    return sum * t->scale;
}

static moesaic_status trial_choice(struct trial *t, uint32_t expert, const struct recipe_matrix *choice,
                                   struct budget_option *ret, moesaic_error *error) {
    struct packed_ffn ffn = {0};
    moesaic_status status = ffn_compress(t->c, choice, expert, &t->fit, &ffn, error);
    struct ffn_weights tried = *t->expert;
    packed_ffn_use(&ffn, &tried);
    if (!status && t->held.count)
        status = trial_run(t, &tried, t->out, error);
    if (!status)
        *ret = (struct budget_option){expert_ffn_bytes(&tried), trial_error(t)};
    packed_ffn_done(&ffn);
    return status;
}

static moesaic_status trial_make(struct trial *t, uint32_t expert, uint64_t tokens, moesaic_error *error) {
    struct packed_ffn counted = {.tokens = tokens};
    struct reached all = {0};
    moesaic_status status = reached_make(t->c, expert, &counted, &all, error);
    if (!status)
        status = trial_split(t, &all, error);
    reached_done(&all);
    if (!status)
        status = trial_allocate(t, error);
    for (size_t i = 0; !status && i < t->held.count; i++)
        memcpy(t->x + i * t->c->config->hidden, t->c->ffn_input + t->held.token[i] * t->c->config->hidden,
               t->c->config->hidden * sizeof *t->x);
    return status || !t->held.count ? status : trial_run(t, t->expert, t->want, error);
}

static moesaic_status measure_job(struct compressor *c, size_t job, moesaic_error *error) {
    uint32_t expert = ffn_of_job(c, job);
    const struct recipe_budget *budget = &c->recipe.budget;
    size_t at = (size_t)c->layer * (c->config->experts + 1) + expert;
    struct trial trial = {.c = c, .expert = ffn_source(c, expert)};
    c->measured.tokens[at] = reached_count(c, expert);
    if (!budget_decides(c, expert))
        return MOESAIC_OK;
    moesaic_status status = trial_make(&trial, expert, c->measured.tokens[at], error);
    for (size_t o = 0; !status && o < budget->choices; o++)
        status = trial_choice(&trial, expert, &budget->choice[o], &c->measured.option[at * budget->choices + o], error);
    trial_free(&trial);
    return status;
}

/* The layer's errors over what its hidden states carry: what the next norm sees of them. */
static void layer_scale(struct compressor *c) {
    size_t count = (c->config->experts + 1) * c->recipe.budget.choices;
    struct budget_option *option = c->measured.option + c->layer * count;
    double energy = 0;
    for (size_t i = 0; i < c->tokens * c->config->hidden; i++)
        energy += (double)c->hidden[i] * c->hidden[i];
    for (size_t i = 0; energy > 0 && i < count; i++)
        option[i].error /= energy;
}

moesaic_status budget_measure(struct compressor *c, moesaic_error *error) {
    moesaic_status status = MOESAIC_OK;
    double before = c->steps_done;
    calibrate_embed(c, &model_weights(c->model)->embedding, c->hidden);
    for (c->layer = 0; !status && c->layer < c->config->layers; c->layer++) {
        status = calibrate_pass(c, NULL, CALIBRATE_LAYER, error);
        if (!status)
            status = compress_jobs(c, ffn_jobs(c), measure_job, error);
        if (!status)
            layer_scale(c);
        c->steps_done = before + budget_steps(&c->recipe) * (c->layer + 1);
    }
    return status;
}
