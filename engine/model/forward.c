/* SPDX-License-Identifier: Apache-2.0 */
/* The forward pass: a batch of sequences in one parallel region, or one layer alone. */
#include "forward_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- creation ---------------------------------------------------------------------------------------------------- */

static struct layer_forms layer_forms_of(const struct model_config *config, uint32_t layer,
                                         const struct layer_weights *w) {
    struct layer_forms forms = {
        .attention = expert_form_bit(&w->q) | expert_form_bit(&w->k) | expert_form_bit(&w->v),
        .output = expert_form_bit(&w->o),
    };
    if (!config->layer[layer].moe) {
        forms.ffn = expert_form_bit(&w->dense.gate) | expert_form_bit(&w->dense.up);
        return forms;
    }
    forms.ffn = expert_form_bit(&w->router);
    for (uint32_t e = 0; e < config->experts; e++)
        forms.ffn |= expert_form_bit(&w->experts[e].gate) | expert_form_bit(&w->experts[e].up);
    if (config->shared_intermediate)
        forms.ffn |= expert_form_bit(&w->shared.gate) | expert_form_bit(&w->shared.up);
    if (config->shared_gate)
        forms.ffn |= expert_form_bit(&w->shared_gate);
    return forms;
}

/* Up to how many rows the threads repeat each other's norms rather than meet once more: that costs little beside a
 * layer's matrices, but memory in each thread. */
enum { NARROW_ROWS_MIN = 32, NARROW_ROWS_MAX = 128 };

static void derive(struct forward *f) {
    const struct model_config *config = f->config;
    size_t rows = f->options.max_step_tokens, group = config->heads / config->kv_heads;
    f->q_rows = (size_t)config->heads * config->head_dim;
    f->kv_rows = (size_t)config->kv_heads * config->head_dim;
    f->qkv_rows = f->q_rows + 2 * f->kv_rows;
    f->head_width = size_round_up(config->head_dim, 16);
    f->epsilon = (float)config->norm_epsilon;
    f->score_scale = (float)(1 / sqrt((double)config->head_dim));
    f->narrow_rows = smaller(rows, larger(NARROW_ROWS_MIN, smaller(NARROW_ROWS_MAX, 4 * (size_t)f->threads)));
    f->own_rows = larger(f->narrow_rows, rows / f->threads + 1);
    f->max_tasks =
        config->kv_heads * (2 * f->options.max_items + rows * group / ATTENTION_TILE_ROWS + 1) + ATTENTION_PARTS_MAX;
    for (uint32_t layer = 0; f->options.keep_routing && layer < config->layers; layer++)
        f->moe_layers += config->layer[layer].moe;
    f->gate =
        (struct router_gate){.experts = config->experts, .top_k = config->top_k, .renormalize = config->norm_topk_prob};
}

static moesaic_status check_options(const struct forward_options *options, moesaic_error *error) {
    const size_t values[] = {options->max_step_tokens, options->max_items, options->max_logits_rows};
    static const char *const names[] = {"max_step_tokens", "max_items", "max_logits_rows"};
    for (size_t i = 0; i < 3; i++)
        if (values[i] == 0 || values[i] > 1u << 20)
            return status_set(error, MOESAIC_E_USAGE, "forward pass: %s %zu is outside 1 to 1048576", names[i],
                              values[i]);
    return MOESAIC_OK;
}

static moesaic_status init(struct forward *f, moesaic_error *error) {
    const struct model_config *config = f->config;
    derive(f);
    moesaic_status status = forward_buffers_init(f, error);
    if (!status)
        status = router_plan_init(&f->plan, f->options.max_step_tokens, config->experts, config->top_k, error);
    if (!status)
        status = expert_dispatch_init(&f->dispatch, (size_t)config->experts + 1,
                                      f->options.residency ? residency_max_parts(f->options.residency) + 1 : 0,
                                      config->hidden, config->activation, error);
    for (uint32_t layer = 0; !status && layer < config->layers; layer++)
        f->model_forms[layer] = layer_forms_of(config, layer, &model_weights(f->model)->layers[layer]);
    return status;
}

moesaic_status forward_create(const struct model *model, struct team *team, const struct forward_options *options,
                              struct counters *counters, struct forward **ret_forward, moesaic_error *error) {
    moesaic_status status = check_options(options, error);
    if (status)
        return status;
    struct forward *f = calloc(1, sizeof *f);
    if (!f)
        return status_no_memory(error, "forward pass", sizeof *f);
    *f = (struct forward){.model = model,
                          .config = model_config(model),
                          .kernels = model_kernels(),
                          .team = team,
                          .counters = counters,
                          .options = *options,
                          .threads = team_threads(team),
                          .nodes = options->residency ? residency_report(options->residency)->nodes : 0};
    status = init(f, error);
    if (status) {
        forward_destroy(f);
        return status;
    }
    *ret_forward = f;
    return MOESAIC_OK;
}

void forward_destroy(struct forward *f) {
    if (!f)
        return;
    expert_dispatch_done(&f->dispatch);
    router_plan_done(&f->plan);
    forward_buffers_done(f);
    free(f);
}

const struct forward_options *forward_limits(const struct forward *f) { return &f->options; }

void forward_times(const struct forward *f, struct forward_times *ret_times) {
    *ret_times = (struct forward_times){.barriers = f->worker[0].times.barriers};
    for (unsigned thread = 0; thread < f->threads; thread++)
        for (unsigned part = 0; part < FORWARD_PARTS; part++)
            ret_times->part_ns[part] += f->worker[thread].times.part_ns[part];
}

const uint16_t *forward_routing(const struct forward *f, size_t row) {
    return f->routing + row * f->moe_layers * f->config->top_k;
}
const struct work_counters *forward_work(const struct forward *f, uint32_t *ret_nodes) {
    *ret_nodes = f->nodes;
    return f->done;
}
const float *forward_logits(const struct forward *f, size_t row) { return f->logits + row * f->config->vocab; }

/* ---- the region -------------------------------------------------------------------------------------------------- */

void forward_share(const struct forward *f, const struct forward_worker *w, const size_t *rows, size_t n, size_t *begin,
                   size_t *end) {
    size_t units = 0, from, to;
    for (size_t i = 0; i < n; i++)
        units += (rows[i] + 15) / 16;
    team_share(units, 1, f->narrow ? w->thread : 0, f->narrow ? f->threads : 1, &from, &to);
    for (size_t i = 0, first = 0; i < n; i++) {
        size_t last = first + (rows[i] + 15) / 16;
        begin[i] = smaller((larger(from, first) - first) * 16, rows[i]);
        end[i] = to > first ? smaller((smaller(to, last) - first) * 16, rows[i]) : 0;
        end[i] = larger(begin[i], end[i]);
        first = last;
    }
}

static void observe_hidden(const struct forward *f, const struct forward_worker *w, uint32_t layer) {
    size_t hidden = f->config->hidden;
    if (w->thread == 0 && f->tap->hidden)
        f->tap->hidden(f->tap->user, layer, f->narrow ? w->residual : f->hidden, f->rows, hidden);
}

/* The normed rows lie with the threads that made them, until these go on: all meet once more when somebody looks. */
static void observe_attention(struct forward *f, struct forward_worker *w, uint32_t layer) {
    if (!f->tap->input)
        return;
    for (unsigned i = 0; w->thread == 0 && i < (f->narrow ? 1 : f->threads); i++)
        if (f->worker[i].begin < f->worker[i].end)
            f->tap->input(f->tap->user, layer, FORWARD_SITE_ATTENTION, f->worker[i].normed, f->worker[i].begin,
                          f->worker[i].end - f->worker[i].begin, f->config->hidden);
    forward_meet(f, w, FORWARD_PROJECT);
}

/* By thread 0, while the layer's first stage runs: what later stages of the layer find ready. */
static void prepare_layer(struct forward *f, uint32_t layer, const struct layer_weights *weights) {
    atomic_store_explicit(&f->next_task, 0, memory_order_relaxed);
    expert_input_bind(&f->ffn_input, f->forms[layer - f->layer_begin].ffn, f->ffn_values, f->rows, f->config->hidden,
                      f->config->hidden, f->ffn_forms);
    if (!f->config->layer[layer].moe)
        dense_ffn_plan(f, weights);
}

static void run_attention(struct forward *f, struct forward_worker *w, uint32_t layer,
                          const struct layer_weights *weights) {
    bool first = layer == f->layer_begin;
    attention_project(f, w, layer, weights);
    forward_meet(f, w, FORWARD_PROJECT);
    if (!first)
        observe_hidden(f, w, layer - 1);
    observe_attention(f, w, layer);
    attention_run(f, w, layer, weights);
    forward_meet(f, w, FORWARD_ATTENTION);
    if (w->thread == 0 && f->tap->input)
        f->tap->input(f->tap->user, layer, FORWARD_SITE_OUTPUT, f->attended, 0, f->rows, f->q_rows);
    attention_output(f, w, layer, weights);
    if (f->narrow)
        forward_meet(f, w, FORWARD_OUTPUT);
    else
        forward_part_end(w, FORWARD_OUTPUT);
}

static void run_layer(struct forward *f, struct forward_worker *w, uint32_t layer) {
    const struct layer_weights *weights = &f->layers[layer - f->layer_begin];
    uint64_t waited_ns = w->times.part_ns[FORWARD_WAIT];
    if (w->thread == 0)
        prepare_layer(f, layer, weights);
    if (f->half == FORWARD_FFN_HALF)
        forward_meet(f, w, FORWARD_ROUTER);
    else
        run_attention(f, w, layer, weights);
    if (f->config->layer[layer].moe)
        moe_layer_run(f, w, layer, weights);
    else
        dense_ffn_run(f, w, layer, weights);
    account_waiting(f, w, layer, w->times.part_ns[FORWARD_WAIT] - waited_ns);
    if (f->half != FORWARD_ATTENTION_HALF)
        w->previous = &f->config->layer[layer];
}

/* The residual after the last layer. */
static void finish_layers(struct forward *f, struct forward_worker *w) {
    size_t hidden = f->config->hidden;
    for (size_t r = w->begin; r < w->end; r++) {
        float *residual = forward_residual(f, w, r);
        if (f->narrow)
            memcpy(residual, f->hidden + r * hidden, hidden * sizeof *residual);
        if (w->previous)
            ffn_finish_row(f, w->previous, r, residual);
    }
    if (!f->narrow && (f->given_hidden || f->tap->hidden))
        forward_meet(f, w, FORWARD_HEAD);
    observe_hidden(f, w, f->layer_end - 1);
}

static void step_body(struct team *team, unsigned thread, void *argument) {
    struct forward *f = argument;
    struct forward_worker *w = &f->worker[thread];
    (void)team;
    forward_part_end(w, FORWARD_WAIT);
    w->previous = NULL;
    w->bad_row = SIZE_MAX;
    w->begin = 0;
    w->end = f->rows;
    if (!f->narrow)
        team_share(f->rows, 1, thread, f->threads, &w->begin, &w->end);
    embedding_run(f, w);
    forward_meet(f, w, FORWARD_EMBEDDING);
    for (uint32_t layer = f->layer_begin; layer < f->layer_end; layer++)
        run_layer(f, w, layer);
    finish_layers(f, w);
    if (!f->given_hidden)
        head_run(f, w);
    forward_part_end(w, FORWARD_HEAD);
}

/* ---- a step ------------------------------------------------------------------------------------------------------ */

static size_t rows_wanted(const struct forward_item *item) {
    return item->want == FORWARD_ALL_LOGITS ? item->count : item->want == FORWARD_LAST_LOGITS;
}

static moesaic_status check_item(const struct forward *f, size_t index, bool ids, moesaic_error *error) {
    const struct forward_item *item = &f->items[index];
    if (item->count == 0 || item->count > f->options.max_step_tokens)
        return status_set(error, MOESAIC_E_USAGE, "forward pass: item %zu has %zu tokens, outside 1 to %zu", index,
                          item->count, f->options.max_step_tokens);
    for (size_t i = 0; i < index; i++)
        if (f->items[i].context == item->context)
            return status_set(error, MOESAIC_E_USAGE, "forward pass: items %zu and %zu are the same sequence", i,
                              index);
    for (size_t i = 0; ids && i < item->count; i++)
        if (item->ids[i] < 0 || (uint32_t)item->ids[i] >= f->config->vocab)
            return status_set(error, MOESAIC_E_INPUT, "token id %d at position %zu is outside the vocabulary of %u",
                              item->ids[i], item->context->cache->tokens + i, f->config->vocab);
    return MOESAIC_OK;
}

static void add_rows(struct forward *f, uint32_t index) {
    struct forward_item *item = &f->items[index];
    size_t wanted = rows_wanted(item), first = item->context->cache->tokens;
    item->ret_row = f->logits_rows;
    for (size_t i = 0; i < item->count; i++) {
        if (item->count - i <= wanted)
            f->logits_row[f->logits_rows++] = (uint32_t)f->rows;
        f->row[f->rows++] = (struct forward_row){.item = index, .position = (uint32_t)(first + i)};
    }
}

/* Checks the items against the limits, lists their rows and makes room in their caches. */
static moesaic_status begin_step(struct forward *f, struct forward_item *items, size_t n_items, moesaic_error *error) {
    size_t rows = 0, wanted = 0;
    moesaic_status status = MOESAIC_OK;
    f->items = items;
    f->n_items = n_items;
    if (n_items == 0 || n_items > f->options.max_items)
        return status_set(error, MOESAIC_E_USAGE, "forward pass: %zu sequences in a step, outside 1 to %zu", n_items,
                          f->options.max_items);
    for (size_t i = 0; !status && i < n_items; i++) {
        status = check_item(f, i, !f->given_hidden, error);
        rows += items[i].count;
        wanted += f->given_hidden ? 0 : rows_wanted(&items[i]);
        if (!status && rows > f->options.max_step_tokens)
            status = status_set(error, MOESAIC_E_USAGE, "forward pass: more than %zu tokens in a step",
                                f->options.max_step_tokens);
        if (!status && wanted > f->options.max_logits_rows)
            status = status_set(error, MOESAIC_E_USAGE, "forward pass: logits of more than %zu rows in a step",
                                f->options.max_logits_rows);
    }
    for (size_t i = 0; !status && i < n_items; i++)
        status = kv_cache_reserve(items[i].context->cache, items[i].context->cache->tokens + items[i].count, error);
    f->rows = f->logits_rows = 0;
    for (uint32_t i = 0; !status && i < n_items; i++)
        add_rows(f, i);
    return status;
}

static const struct forward_tap no_tap = {0};

static void run_step(struct forward *f, const struct forward_tap *tap) {
    f->tap = tap ? tap : &no_tap;
    f->narrow = f->rows <= f->narrow_rows;
    memset(step_work_at(f, f->layer_begin, 0), 0,
           (size_t)(f->layer_end - f->layer_begin) * (1 + f->nodes) * sizeof *f->work);
    attention_plan(f);
    expert_input_bind(&f->head_input, expert_form_bit(&model_weights(f->model)->head), f->ffn_values, f->logits_rows,
                      f->config->hidden, f->config->hidden, f->ffn_forms);
    uint64_t begin = clock_ns();
    for (unsigned thread = 0; thread < f->threads; thread++)
        f->worker[thread].part_begin_ns = begin;
    team_run(f->team, step_body, f);
    for (unsigned thread = 0; thread < f->threads; thread++)
        forward_part_end(&f->worker[thread], FORWARD_WAIT);
}

/* The first position whose logits are not finite, if any. */
static moesaic_status check_logits(const struct forward *f, moesaic_error *error) {
    size_t bad = SIZE_MAX;
    for (unsigned thread = 0; thread < f->threads; thread++)
        bad = smaller(bad, f->worker[thread].bad_row);
    if (bad == SIZE_MAX)
        return MOESAIC_OK;
    return status_set(error, MOESAIC_E_NONFINITE,
                      "logits: not finite at position %u: the weights hold NaN or infinity, or overflow",
                      f->row[f->logits_row[bad]].position);
}

moesaic_status forward_step(struct forward *f, struct forward_item *items, size_t n_items,
                            const struct forward_tap *tap, moesaic_error *error) {
    uint64_t start = clock_ns(), barrier = team_barrier_ns(f->team);
    f->given_hidden = false;
    f->half = FORWARD_BOTH_HALVES;
    moesaic_status status = begin_step(f, items, n_items, error);
    if (status)
        return status;
    f->layer_begin = 0;
    f->layer_end = f->config->layers;
    f->layers = model_weights(f->model)->layers;
    f->forms = f->model_forms;
    run_step(f, tap);
    status = check_logits(f, error);
    if (status)
        return status;
    account_step(f, start, barrier);
    for (size_t i = 0; i < n_items; i++)
        items[i].context->cache->tokens += items[i].count;
    return MOESAIC_OK;
}

moesaic_status forward_layer(struct forward *f, uint32_t layer, forward_half half, const struct layer_weights *weights,
                             struct forward_item *items, size_t n_items, float *hidden, const struct forward_tap *tap,
                             moesaic_error *error) {
    uint64_t start = clock_ns(), barrier = team_barrier_ns(f->team);
    f->given_hidden = true;
    f->half = half;
    moesaic_status status = begin_step(f, items, n_items, error);
    if (status)
        return status;
    f->layer_begin = layer;
    f->layer_end = layer + 1;
    f->layers = weights ? weights : &model_weights(f->model)->layers[layer];
    f->given_forms = layer_forms_of(f->config, layer, f->layers);
    f->forms = &f->given_forms;
    memcpy(f->hidden, hidden, f->rows * f->config->hidden * sizeof *hidden);
    run_step(f, tap);
    const float *result = f->narrow ? f->worker[0].residual : f->hidden;
    memcpy(hidden, result, f->rows * f->config->hidden * sizeof *hidden);
    account_step(f, start, barrier);
    return MOESAIC_OK;
}
