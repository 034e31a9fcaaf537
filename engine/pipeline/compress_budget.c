/* SPDX-License-Identifier: Apache-2.0 */
/* Bits and density of every expert under one budget: what is fixed is counted, the rest is measured and chosen. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compressor_internal.h"

/* Bytes of the tail: a part's notes in the metadata, a run's and a tensor's records with its name, the rest. */
enum { NOTE_BYTES = 330, RUN_BYTES = 40, TENSOR_BYTES = 64 + 60, TAIL_BYTES = 4096, PAGE = 4096 };

double budget_steps(const struct recipe *recipe) {
    return recipe->budget.kind ? 1.0 + (double)recipe->budget.choices : 0;
}

static bool of_file(const struct compressor *c) {
    return c->recipe.budget.kind == RECIPE_BUDGET_BITS;
}

static size_t ffns_a_layer(const struct compressor *c) {
    return (size_t)c->config->experts + 1;
}

bool budget_decides(const struct compressor *c, uint32_t expert) {
    return !recipe_is_exception(&c->recipe, layers_source(c, c->layer),
                                expert == c->config->experts ? UINT32_MAX : expert);
}

/* ---- bytes by shape ---------------------------------------------------------------------------------------------- */

/* Exact but for a bitmask, whose bytes depend on where the kept weights lie. */
static uint64_t matrix_bytes(const struct weight *w, const struct recipe_matrix *m) {
    number_format format = m->format;
    uint64_t bytes = w->bytes, count = w->rows * w->cols;
    if (!m->quant)
        return m->prune ? 2 * count : bytes;
    if (m->prune)
        format = m->of == 4 ? FORMAT_INT4_24 : m->of == 8 ? FORMAT_INT4_48 : FORMAT_INT4_MASK;
    weight_shape_bytes(format, LAYOUT_PANEL16, m->group, w->rows, w->cols, &bytes);
    return format == FORMAT_INT4_MASK ? bytes + (uint64_t)((double)count * m->density / 2) : bytes;
}

static uint64_t ffn_bytes(const struct ffn_weights *f, const struct recipe_matrix *m) {
    const struct weight *matrices[] = {&f->gate, &f->up, &f->down};
    uint64_t bytes = 0;
    for (size_t i = 0; i < 3; i++)
        bytes += matrix_bytes(matrices[i], m) + 2 * m->rank * (matrices[i]->rows + matrices[i]->cols);
    return bytes;
}

/* In the unit of the budget: an expert's run fills whole pages of the file; of the bytes read for a token it has the
 * share of the tokens that use it, one at least: other texts may use what this one does not. */
static uint64_t cost(const struct compressor *c, uint32_t expert, uint64_t bytes, uint64_t tokens) {
    if (of_file(c))
        return expert < c->config->experts ? size_round_up(bytes, PAGE) : bytes;
    return bytes * (tokens ? tokens : 1);
}

/* Before the routing is known: experts of an even load. */
static uint64_t tokens_even(const struct compressor *c, uint32_t expert) {
    return expert < c->config->experts ? c->tokens * c->config->top_k / c->config->experts : c->tokens;
}

static uint64_t attention_bytes(const struct compressor *c, const struct layer_weights *l) {
    const struct recipe_matrix *m = &c->recipe.attention;
    return matrix_bytes(&l->q, m) + matrix_bytes(&l->k, m) + matrix_bytes(&l->v, m) + matrix_bytes(&l->o, m) +
           (l->router.rows * l->router.cols + l->shared_gate.rows * l->shared_gate.cols) * sizeof(float);
}

/* Norms and biases of all layers: what no matrix accounts for. */
static uint64_t vector_bytes(const struct compressor *c, const moesaic_model_info *info) {
    const struct model_weights *w = model_weights(c->model);
    uint64_t matrices = w->embedding.rows * w->embedding.cols * (c->config->tied_head ? 1 : 2);
    for (uint32_t layer = 0; layer < c->config->layers; layer++) {
        const struct layer_weights *l = &w->layers[layer];
        const struct weight *all[] = {&l->q,          &l->k,           &l->v,          &l->o,
                                      &l->router,     &l->shared_gate, &l->dense.gate, &l->dense.up,
                                      &l->dense.down, &l->shared.gate, &l->shared.up,  &l->shared.down};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            matrices += all[i]->rows * all[i]->cols;
        for (uint32_t e = 0; l->experts && e < c->config->experts; e++)
            matrices += 3 * l->experts[e].gate.rows * l->experts[e].gate.cols;
    }
    return (info->total_parameters - matrices) * sizeof(float);
}

/* Of the file but for the feed-forwards. */
static uint64_t file_base(const struct compressor *c, const moesaic_model_info *info) {
    const struct model_weights *w = model_weights(c->model);
    uint64_t layers = c->config->layers, experts = layers * ffns_a_layer(c), vectors = vector_bytes(c, info) / layers;
    uint64_t tensors = recipe_compensates(&c->recipe) ? 9 : 3; /* of a feed-forward, with factors of low-rank terms */
    uint64_t bytes = PAGE + size_round_up(matrix_bytes(&w->embedding, &c->recipe.embedding), PAGE);
    for (uint32_t layer = 0; layer < layers; layer++)
        bytes += size_round_up(attention_bytes(c, &w->layers[layer]) + vectors, PAGE);
    if (!c->config->tied_head)
        bytes += size_round_up(matrix_bytes(&w->head, &c->recipe.head), PAGE);
    return bytes + PAGE + write_files_bytes(c) + TAIL_BYTES + (experts + 2 * layers) * RUN_BYTES +
           (tensors * experts + 12 * layers) * TENSOR_BYTES + experts * NOTE_BYTES;
}

/* Of what is read for a token, but for the feed-forwards. */
static uint64_t active_base(const struct compressor *c, const moesaic_model_info *info) {
    const struct model_weights *w = model_weights(c->model);
    uint64_t bytes = vector_bytes(c, info) + matrix_bytes(&w->embedding, &c->recipe.embedding) / c->config->vocab +
                     matrix_bytes(&w->head, &c->recipe.head);
    for (uint32_t layer = 0; layer < c->config->layers; layer++)
        bytes += attention_bytes(c, &w->layers[layer]);
    return bytes;
}

static uint64_t base_bytes(const struct compressor *c) {
    moesaic_model_info info = {0};
    pipeline_describe(c->model, &info);
    return of_file(c) ? file_base(c, &info) : active_base(c, &info) * c->tokens;
}

/* Of all that is not up to the budget. Moves the layer at hand. */
static uint64_t fixed_cost(struct compressor *c) {
    uint64_t bytes = base_bytes(c);
    for (c->layer = 0; c->layer < c->config->layers; c->layer++) {
        for (size_t job = 0; job < ffn_jobs(c); job++) {
            uint32_t expert = ffn_of_job(c, job);
            uint64_t *tokens = c->measured.tokens;
            if (!budget_decides(c, expert))
                bytes += cost(c, expert,
                              ffn_bytes(ffn_source(c, expert),
                                        recipe_of_expert(&c->recipe, layers_source(c, c->layer),
                                                         expert == c->config->experts ? UINT32_MAX : expert, 1)),
                              tokens ? tokens[c->layer * ffns_a_layer(c) + expert] : tokens_even(c, expert));
        }
    }
    return bytes;
}

/* By shape alone, of the smallest choice for all that is up to the budget. Moves the layer at hand. */
static uint64_t smallest_cost(struct compressor *c) {
    uint64_t bytes = 0;
    for (c->layer = 0; c->layer < c->config->layers; c->layer++) {
        for (size_t job = 0; job < ffn_jobs(c); job++) {
            uint32_t expert = ffn_of_job(c, job);
            uint64_t least = UINT64_MAX;
            if (!budget_decides(c, expert))
                continue;
            for (size_t o = 0; o < c->recipe.budget.choices; o++) {
                uint64_t one = ffn_bytes(ffn_source(c, expert), &c->recipe.budget.choice[o]);
                least = one < least ? one : least;
            }
            bytes += cost(c, expert, least, tokens_even(c, expert));
        }
    }
    return bytes;
}

/* ---- feasible ---------------------------------------------------------------------------------------------------- */

/* The limit in the unit of `cost`. */
static uint64_t limit_cost(const struct compressor *c) {
    return of_file(c) ? c->plan.limit : c->plan.limit * c->tokens;
}

static moesaic_status impossible(const struct compressor *c, uint64_t least, moesaic_error *error) {
    moesaic_model_info info = {0};
    pipeline_describe(c->model, &info);
    if (of_file(c))
        return status_set(error, MOESAIC_E_USAGE,
                          "budget: %g bits a weight, but the smallest that these choices allow is %.3f",
                          c->recipe.budget.amount, ceil(8e3 * (double)least / (double)info.total_parameters) / 1e3);
    return status_set(error, MOESAIC_E_USAGE,
                      "budget: %.0f bytes a token, but the smallest that these choices allow is %.0f",
                      c->recipe.budget.amount, ceil((double)least / (double)c->tokens));
}

static void step_down(struct recipe_matrix *m, bool looked_up) {
    if (number_format_bits(m->format) > 4)
        *m = recipe_coarse(looked_up);
}

/* Attention and an untied head first; tables that are looked up last, for they cost most in quality. */
static void rung_take(struct compressor *c, int rung) {
    struct recipe *r = &c->recipe;
    if (rung == 1) {
        step_down(&r->attention, false);
        if (!c->config->tied_head)
            step_down(&r->head, false);
    } else if (rung == 2) {
        step_down(&r->embedding, true);
        if (c->config->tied_head)
            r->head = r->embedding;
    }
}

moesaic_status budget_begin(struct compressor *c, moesaic_error *error) {
    moesaic_model_info info = {0};
    size_t count = c->config->layers * ffns_a_layer(c);
    pipeline_describe(c->model, &info);
    double limit = c->recipe.budget.amount * (of_file(c) ? (double)info.total_parameters / 8 : 1);
    c->plan.limit = (uint64_t)limit;
    c->choice = malloc(count);
    if (!c->choice)
        return status_no_memory(error, "budget", count);
    memset(c->choice, BUDGET_UNDECIDED, count);
    uint64_t least = 0;
    for (int rung = 0; rung < 3; rung++) {
        rung_take(c, rung);
        least = fixed_cost(c) + smallest_cost(c);
        if (least <= limit_cost(c))
            return MOESAIC_OK;
    }
    return impossible(c, least, error);
}

/* ---- the choice -------------------------------------------------------------------------------------------------- */

/* The feed-forwards that are up to the budget, as items; `at` [count]: their numbers in `choice`. */
struct problem {
    struct budget_item *items;
    size_t *at;
    uint8_t *choice;
    size_t count;
};

static moesaic_status problem_make(struct compressor *c, struct problem *p, moesaic_error *error) {
    size_t all = c->config->layers * ffns_a_layer(c), choices = c->recipe.budget.choices;
    p->items = calloc(all, sizeof *p->items);
    p->at = calloc(all, sizeof *p->at);
    p->choice = calloc(all, 1);
    if (!p->items || !p->at || !p->choice)
        return status_no_memory(error, "budget", all * (sizeof *p->items + sizeof *p->at + 1));
    for (c->layer = 0; c->layer < c->config->layers; c->layer++) {
        for (size_t job = 0; job < ffn_jobs(c); job++) {
            uint32_t expert = ffn_of_job(c, job);
            size_t at = c->layer * ffns_a_layer(c) + expert;
            struct budget_option *option = c->measured.option + at * choices;
            if (!budget_decides(c, expert))
                continue;
            for (size_t o = 0; o < choices; o++)
                option[o].bytes = cost(c, expert, option[o].bytes, c->measured.tokens[at]);
            p->items[p->count] = (struct budget_item){option, choices};
            p->at[p->count++] = at;
        }
    }
    return MOESAIC_OK;
}

static uint64_t problem_least(const struct problem *p) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < p->count; i++) {
        uint64_t least = UINT64_MAX;
        for (size_t o = 0; o < p->items[i].count; o++)
            least = p->items[i].options[o].bytes < least ? p->items[i].options[o].bytes : least;
        bytes += least;
    }
    return bytes;
}

static moesaic_status plan_solve(struct compressor *c, moesaic_error *error) {
    struct problem p = {0};
    struct budget_outcome outcome = {0};
    moesaic_status status = problem_make(c, &p, error);
    uint64_t fixed = status ? 0 : fixed_cost(c), limit = limit_cost(c);
    if (!status && fixed + problem_least(&p) > limit)
        status = impossible(c, fixed + problem_least(&p), error);
    if (!status)
        status = budget_solve(p.items, p.count, limit - fixed, p.choice, &outcome, error);
    for (size_t i = 0; !status && i < p.count; i++)
        c->choice[p.at[i]] = p.choice[i];
    c->plan.error = outcome.error;
    c->plan.bound = outcome.bound;
    free(p.choice);
    free(p.at);
    free(p.items);
    return status;
}

/* ---- the journal ------------------------------------------------------------------------------------------------- */

json_value *budget_plan_json(const struct compressor *c, bool choices) {
    json_value *object = json_make_object(), *list = json_make_array();
    double gap = c->plan.error > 0 ? 1 - c->plan.bound / c->plan.error : 0;
    bool whole = json_put(object, "of", of_file(c) ? json_make_text("file", 4) : json_make_text("active", 6)) &
                 json_put(object, "limit_bytes", json_make_integer((int64_t)c->plan.limit)) &
                 json_put(object, "error", json_make_real(c->plan.error)) &
                 json_put(object, "bound", json_make_real(c->plan.bound)) &
                 json_put(object, "gap", json_make_real(gap));
    for (size_t i = 0; choices && i < c->config->layers * ffns_a_layer(c); i++)
        whole &= json_push(list, json_make_integer(c->choice[i]));
    if (choices)
        whole &= json_put(object, "choices", list);
    else
        json_free(list);
    if (whole)
        return object;
    json_free(object);
    return NULL;
}

static moesaic_status plan_read(struct compressor *c, const json_value *plan, moesaic_error *error) {
    const json_value *list = json_get(plan, "choices");
    size_t count = c->config->layers * ffns_a_layer(c);
    for (size_t i = 0; i < count; i++) {
        int64_t choice = json_int(json_at(list, i));
        if (json_count(list) != count || choice < 0 ||
            (choice != BUDGET_UNDECIDED && choice >= (int64_t)c->recipe.budget.choices))
            return status_set(error, MOESAIC_E_INPUT, "resume: the journal's budget has no choice for feed-forward %zu",
                              i);
        c->choice[i] = (uint8_t)choice;
    }
    c->plan.error = json_number(json_get(plan, "error"));
    c->plan.bound = json_number(json_get(plan, "bound"));
    c->steps_done += budget_steps(&c->recipe) * c->config->layers;
    return MOESAIC_OK;
}

moesaic_status budget_plan(struct compressor *c, moesaic_error *error) {
    size_t count = c->config->layers * ffns_a_layer(c);
    const json_value *noted = json_at(artifact_writer_notes(c->writer), 0);
    struct measured *m = &c->measured;
    if (noted)
        return plan_read(c, noted, error);
    m->option = calloc(count * c->recipe.budget.choices, sizeof *m->option);
    m->tokens = calloc(count, sizeof *m->tokens);
    moesaic_status status = MOESAIC_OK;
    if (!m->option || !m->tokens)
        status = status_no_memory(error, "budget", count * c->recipe.budget.choices * sizeof *m->option);
    if (!status)
        status = budget_measure(c, error);
    if (!status)
        status = plan_solve(c, error);
    free(m->tokens);
    free(m->option);
    *m = (struct measured){0};
    json_value *plan = status ? NULL : budget_plan_json(c, true);
    if (!status)
        status = plan ? artifact_writer_checkpoint(c->writer, 0, plan, error) : status_no_memory(error, "budget", 0);
    json_free(plan);
    return status;
}

void budget_result(const struct compressor *c, moesaic_compress_result *result) {
    double read = of_file(c) ? 0 : (double)base_bytes(c);
    for (size_t i = 0; i < c->parts; i++)
        read += (double)c->part[i].bytes * (double)c->part[i].tokens;
    result->budget_bytes = c->plan.limit;
    result->budget_used = of_file(c) ? result->bytes : (uint64_t)(read / (double)c->tokens);
    result->budget_error = c->plan.error;
    result->budget_gap = c->plan.error > 0 ? 1 - c->plan.bound / c->plan.error : 0;
}
