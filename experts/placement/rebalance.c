/* SPDX-License-Identifier: Apache-2.0 */
/* The rebalancer: watches a window of live routing, decides, and hands out the moves as fast as is allowed. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rebalance_internal.h"

/* Step times summed up: nanoseconds a token on one side of a migration. */
struct rebalance_pace {
    uint64_t tokens, ns;
};

struct rebalancer {
    const struct placement_model *model;
    const struct machine_speeds *machine;
    struct rebalance_options options;
    struct placement_plan *plan;
    uint32_t piece_capacity;
    uint64_t copy_bytes_max;      /* that copies beyond the first held at the beginning */
    struct routing_trace *window; /* its first `watched` tokens are filled */
    uint32_t watched;
    struct migration migration;
    uint32_t next; /* move to hand out; handed out and not yet done while `handed` */
    bool handed;
    double allowance_bytes;
    uint64_t allowance_ns; /* when it was last topped up; 0: never */
    struct rebalance_pace before, after;
    struct rebalance_record last;
};

/* Bytes of copies beyond the first. */
static uint64_t rebalance_copy_bytes(const struct placement_model *model, const struct placement_plan *plan) {
    uint64_t bytes = 0;
    for (size_t item = 0; item < (size_t)model->layers * model->experts; item++) {
        uint32_t count = plan->piece_at[item + 1] - plan->piece_at[item];
        bytes += count > 1 ? (count - 1) * expert_bytes(&model->expert[item]) : 0;
    }
    return bytes;
}

/* ---- create ------------------------------------------------------------------------------------------------------ */

static struct rebalance_options rebalance_defaults(const struct placement_model *model,
                                                   const struct rebalance_options *options) {
    struct rebalance_options o = options != NULL ? *options : (struct rebalance_options){0};
    if (o.window_tokens == 0)
        o.window_tokens = 2048;
    if (o.drift_bits == 0)
        o.drift_bits = 0.02;
    if (o.min_gain == 0)
        o.min_gain = 0.05;
    if (o.bytes_per_s == 0)
        o.bytes_per_s = (uint64_t)256 << 20;
    if (o.max_bytes == 0)
        o.max_bytes = placement_model_bytes(model) / 8;
    return o;
}

static moesaic_status rebalance_check(const struct placement_model *model, const struct machine_speeds *machine,
                                      const struct placement_plan *plan, const struct rebalance_options *options,
                                      moesaic_error *error) {
    moesaic_status status = placement_plan_check(plan, model, machine, error);
    if (status != MOESAIC_OK)
        return status;
    if (plan->policy != PLACEMENT_WHOLE && plan->policy != PLACEMENT_REPLICATE)
        return status_set(error, MOESAIC_E_UNSUPPORTED,
                          "rebalance: a plan of policy %s does not depend on the load; nothing can be rebalanced",
                          placement_policy_name(plan->policy));
    for (size_t item = 0; item < (size_t)model->layers * model->experts; item++)
        for (uint32_t p = plan->piece_at[item]; p < plan->piece_at[item + 1]; p++)
            if (!placement_piece_is_whole(&plan->pieces[p], model, (uint32_t)(item / model->experts),
                                          (uint32_t)(item % model->experts)))
                return status_set(error, MOESAIC_E_UNSUPPORTED, "rebalance: layer %zu, expert %zu is sliced",
                                  item / model->experts, item % model->experts);
    if (options->window_tokens < plan->batch || !(options->drift_bits >= 0) || !(options->min_gain >= 0))
        return status_set(error, MOESAIC_E_USAGE,
                          "rebalance: window of %u tokens for a batch of %u, drift of %g bits, gain of %g",
                          options->window_tokens, plan->batch, options->drift_bits, options->min_gain);
    return MOESAIC_OK;
}

/* A copy with room for the pieces that migrations add. */
static moesaic_status rebalance_copy_plan(const struct placement_plan *plan, uint32_t capacity,
                                          struct placement_plan **ret_plan, moesaic_error *error) {
    uint32_t items = plan->model.layers * plan->model.experts;
    struct placement_plan *copy = NULL;
    moesaic_status status = placement_plan_allocate(items, capacity, &copy, error);
    if (status != MOESAIC_OK)
        return status;
    memcpy(copy->piece_at, plan->piece_at, ((size_t)items + 1) * sizeof *copy->piece_at);
    memcpy(copy->pieces, plan->pieces, plan->piece_at[items] * sizeof *copy->pieces);
    memcpy(copy->histogram, plan->histogram, items * sizeof *copy->histogram);
    struct placement_plan filled = *plan;
    filled.piece_at = copy->piece_at;
    filled.pieces = copy->pieces;
    filled.histogram = copy->histogram;
    *copy = filled;
    *ret_plan = copy;
    return MOESAIC_OK;
}

moesaic_status rebalancer_create(const struct placement_model *model, const struct machine_speeds *machine,
                                 const struct placement_plan *plan, const struct rebalance_options *options,
                                 struct rebalancer **ret_rebalancer, moesaic_error *error) {
    struct rebalance_options filled = rebalance_defaults(model, options);
    moesaic_status status = rebalance_check(model, machine, plan, &filled, error);
    if (status != MOESAIC_OK)
        return status;
    struct rebalancer *r = calloc(1, sizeof *r);
    if (r == NULL)
        return status_no_memory(error, "the rebalancer", sizeof *r);
    *r = (struct rebalancer){.model = model, .machine = machine, .options = filled};
    r->piece_capacity = plan->piece_at[model->layers * model->experts] + REBALANCE_MOVES_MAX;
    r->copy_bytes_max = rebalance_copy_bytes(model, plan);
    status = rebalance_copy_plan(plan, r->piece_capacity, &r->plan, error);
    if (status == MOESAIC_OK)
        status =
            routing_trace_create(model->layers, model->experts, model->top_k, filled.window_tokens, &r->window, error);
    if (status == MOESAIC_OK) {
        r->migration.move = calloc(REBALANCE_MOVES_MAX, sizeof *r->migration.move);
        if (r->migration.move == NULL)
            status = status_no_memory(error, "the rebalancer", REBALANCE_MOVES_MAX * sizeof *r->migration.move);
    }
    if (status != MOESAIC_OK) {
        rebalancer_destroy(r);
        return status;
    }
    *ret_rebalancer = r;
    return MOESAIC_OK;
}

void rebalancer_destroy(struct rebalancer *rebalancer) {
    if (rebalancer == NULL)
        return;
    placement_plan_destroy(rebalancer->plan);
    routing_trace_destroy(rebalancer->window);
    free(rebalancer->migration.move);
    free(rebalancer);
}

const struct placement_plan *rebalancer_plan(const struct rebalancer *rebalancer) {
    return rebalancer->plan;
}

const struct rebalance_record *rebalancer_last(const struct rebalancer *rebalancer) {
    return &rebalancer->last;
}

/* ---- watch ------------------------------------------------------------------------------------------------------- */

void rebalancer_observe(struct rebalancer *r, const uint16_t *chosen, int32_t sequence) {
    if (r->watched == r->window->tokens)
        return;
    for (uint32_t layer = 0; layer < r->model->layers; layer++)
        memcpy(routing_trace_at(r->window, layer, r->watched), chosen + (size_t)layer * r->model->top_k,
               r->model->top_k * sizeof *chosen);
    r->window->sequence[r->watched++] = sequence;
}

static bool rebalance_idle(const struct rebalancer *r) {
    return r->next == r->migration.moves && !r->handed;
}

static double rebalance_ns_a_token(const struct rebalance_pace *pace) {
    return pace->tokens > 0 ? (double)pace->ns / (double)pace->tokens : 0;
}

/* Before a migration on one side, after its last move on the other; as many tokens as a window make a figure. */
void rebalancer_observe_step(struct rebalancer *r, uint32_t tokens, uint64_t step_ns) {
    bool migrated = r->last.verdict == REBALANCE_MIGRATE;
    if (migrated && !rebalance_idle(r))
        return;
    struct rebalance_pace *pace = migrated && !r->last.observed ? &r->after : &r->before;
    pace->tokens += tokens;
    pace->ns += step_ns;
    if (pace == &r->before || r->after.tokens < r->options.window_tokens)
        return;
    double after = rebalance_ns_a_token(&r->after);
    r->last.observed_gain = after > 0 && r->before.tokens > 0 ? rebalance_ns_a_token(&r->before) / after - 1 : 0;
    r->last.observed = true;
    r->before = r->after;
    r->after = (struct rebalance_pace){0};
}

/* ---- decide ------------------------------------------------------------------------------------------------------ */

/* The layer whose routing differs most from the plan's beyond what samples of that size do anyway. */
static bool rebalance_drifted(const struct rebalancer *r, const uint64_t *live, struct rebalance_record *record) {
    uint32_t experts = r->model->experts;
    double most = 0;
    for (uint32_t layer = 0; layer < r->model->layers; layer++) {
        const uint64_t *now = live + (size_t)layer * experts, *then = r->plan->histogram + (size_t)layer * experts;
        double bits = routing_divergence_bits(now, then, experts),
               noise = routing_divergence_noise_bits(now, then, experts);
        if (layer > 0 && bits - noise <= most)
            continue;
        most = bits - noise;
        record->layer = layer;
        record->drift_bits = bits;
        record->noise_bits = noise;
    }
    return most > r->options.drift_bits && record->drift_bits > 2 * record->noise_bits;
}

/* Searches a migration for the window; the share of a step that it saves goes into the record. */
static moesaic_status rebalance_plan_moves(struct rebalancer *r, struct rebalance_record *record,
                                           moesaic_error *error) {
    const struct placement_problem live = {
        .model = r->model, .machine = r->machine, .trace = r->window, .options.batch = r->plan->batch};
    struct placement_problem problem;
    struct placement_prediction now;
    uint64_t copy_bytes = rebalance_copy_bytes(r->model, r->plan);
    uint64_t spare = r->copy_bytes_max > copy_bytes ? r->copy_bytes_max - copy_bytes : 0;
    moesaic_status status = placement_problem_check(&live, &problem, error);
    if (status == MOESAIC_OK)
        status = placement_simulate(&problem, r->plan, &now, error);
    if (status == MOESAIC_OK)
        status = rebalance_search(&problem, r->plan, r->options.max_bytes, spare, &r->migration, error);
    if (status != MOESAIC_OK)
        return status;
    double after_s = now.step_s - r->migration.saved_s;
    record->predicted_gain = after_s > 0 ? now.step_s / after_s - 1 : 0;
    record->verdict =
        record->predicted_gain >= r->options.min_gain && r->migration.moves > 0 ? REBALANCE_MIGRATE : REBALANCE_NO_GAIN;
    if (record->verdict != REBALANCE_MIGRATE)
        r->migration.moves = 0;
    record->moves = r->migration.moves;
    record->bytes = r->migration.moves > 0 ? r->migration.bytes : 0;
    r->plan->predicted_step_ns = (uint64_t)((record->moves > 0 ? after_s : now.step_s) * 1e9 + 0.5);
    return MOESAIC_OK;
}

static moesaic_status rebalance_decide_full(struct rebalancer *r, struct rebalance_record *record,
                                            moesaic_error *error) {
    size_t items = (size_t)r->model->layers * r->model->experts;
    uint64_t *live = malloc(items * sizeof *live);
    if (live == NULL)
        return status_no_memory(error, "the rebalancer", items * sizeof *live);
    routing_trace_histogram(r->window, live);
    moesaic_status status = MOESAIC_OK;
    record->verdict = REBALANCE_STEADY;
    if (rebalance_drifted(r, live, record)) {
        status = rebalance_plan_moves(r, record, error);
        /* Whatever came of it, this is now what the next window is compared with. */
        if (status == MOESAIC_OK)
            memcpy(r->plan->histogram, live, items * sizeof *live);
    }
    free(live);
    return status;
}

moesaic_status rebalancer_decide(struct rebalancer *r, struct rebalance_record *ret_record, moesaic_error *error) {
    struct rebalance_record record = {.number = r->last.number, .verdict = REBALANCE_FEW_TOKENS};
    if (!rebalance_idle(r))
        record.verdict = REBALANCE_BUSY;
    else if (r->watched == r->window->tokens) {
        record.number++;
        r->next = r->migration.moves = 0;
        moesaic_status status = rebalance_decide_full(r, &record, error);
        r->watched = 0;
        if (status != MOESAIC_OK) {
            r->migration.moves = 0;
            return status;
        }
        r->last = record;
        if (record.verdict == REBALANCE_MIGRATE)
            r->after = (struct rebalance_pace){0};
    }
    *ret_record = record;
    return MOESAIC_OK;
}

/* ---- carry out --------------------------------------------------------------------------------------------------- */

/* Bytes may be moved as time passes; what one move takes beyond the allowance, the next must wait for. */
bool rebalancer_next_move(struct rebalancer *r, uint64_t now_ns, struct rebalance_move *ret_move) {
    if (r->handed || r->next == r->migration.moves)
        return false;
    double second = (double)r->options.bytes_per_s;
    double passed_s = r->allowance_ns == 0 ? 1 : (double)(now_ns - r->allowance_ns) * 1e-9;
    r->allowance_bytes += passed_s * second;
    if (r->allowance_bytes > second)
        r->allowance_bytes = second;
    r->allowance_ns = now_ns > 0 ? now_ns : 1;
    const struct rebalance_move *move = &r->migration.move[r->next];
    if (move->bytes > 0 && r->allowance_bytes <= 0)
        return false;
    r->allowance_bytes -= (double)move->bytes;
    r->handed = true;
    *ret_move = *move;
    return true;
}

static uint32_t rebalance_find_piece(const struct placement_plan *plan, size_t item,
                                     const struct placement_piece *piece) {
    uint32_t p = plan->piece_at[item];
    while (p < plan->piece_at[item + 1] &&
           (plan->pieces[p].node != piece->node || plan->pieces[p].reader != piece->reader))
        p++;
    return p;
}

/* Inserts (or removes) one piece of an expert at `at`; the capacity covers every move of one migration. */
static void rebalance_shift(struct placement_plan *plan, size_t item, uint32_t at, int by) {
    size_t items = (size_t)plan->model.layers * plan->model.experts;
    uint32_t from = by > 0 ? at : at + 1, end = plan->piece_at[items];
    memmove(plan->pieces + from + by, plan->pieces + from, (end - from) * sizeof *plan->pieces);
    for (size_t i = item + 1; i <= items; i++)
        plan->piece_at[i] = (uint32_t)((int64_t)plan->piece_at[i] + by);
}

void rebalancer_move_done(struct rebalancer *r, bool done) {
    if (!r->handed)
        return;
    const struct rebalance_move *move = &r->migration.move[r->next++];
    size_t item = (size_t)move->layer * r->model->experts + move->expert;
    uint32_t at = rebalance_find_piece(r->plan, item, &move->from);
    r->handed = false;
    bool found = at < r->plan->piece_at[item + 1];
    bool room = move->kind != REBALANCE_COPY ||
                r->plan->piece_at[(size_t)r->model->layers * r->model->experts] < r->piece_capacity;
    if (!done || !found || !room) {
        r->last.moves_failed++;
        return;
    }
    if (move->kind == REBALANCE_MOVE)
        r->plan->pieces[at] = move->to;
    else if (move->kind == REBALANCE_DROP)
        rebalance_shift(r->plan, item, at, -1);
    else {
        at = r->plan->piece_at[item + 1];
        rebalance_shift(r->plan, item, at, 1);
        r->plan->pieces[at] = move->to;
    }
}

/* ---- log --------------------------------------------------------------------------------------------------------- */

static const char *const rebalance_verdicts[] = {
    [REBALANCE_FEW_TOKENS] = "too few tokens yet",
    [REBALANCE_BUSY] = "still moving",
    [REBALANCE_STEADY] = "steady",
    [REBALANCE_NO_GAIN] = "drifted, but no bounded migration gains enough",
    [REBALANCE_MIGRATE] = "migrate",
};

const char *rebalance_record_text(const struct rebalance_record *record, char *text, size_t bytes) {
    int used =
        snprintf(text, bytes, "rebalance %" PRIu64 ": %s; layer %u differs by %.4f bits (noise %.4f)", record->number,
                 rebalance_verdicts[record->verdict], record->layer, record->drift_bits, record->noise_bits);
    if (used > 0 && (size_t)used < bytes && record->verdict >= REBALANCE_NO_GAIN)
        used += snprintf(text + used, bytes - (size_t)used,
                         "; %u moves of %" PRIu64 " bytes, %u failed, gain %.1f %% simulated", record->moves,
                         record->bytes, record->moves_failed, 100 * record->predicted_gain);
    if (used > 0 && (size_t)used < bytes && record->observed)
        snprintf(text + used, bytes - (size_t)used, ", %.1f %% observed", 100 * record->observed_gain);
    return text;
}
