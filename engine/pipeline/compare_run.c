/* SPDX-License-Identifier: Apache-2.0 */
/* Both models over the same windows: divergence of every position's logits, window by window. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compare_internal.h"

/* ---- one position ------------------------------------------------------------------------------------------------ */

/* The base's logits keep until the other models have seen the window. */
static int base_keep(void *user, const moesaic_evaluation *e) {
    struct comparison *c = user;
    size_t row = e->position, routed = (size_t)c->moe_layers * c->k;
    memcpy(c->logits + row * c->vocab, e->logits, c->vocab * sizeof *c->logits);
    if (routed)
        memcpy(c->chosen + row * routed, e->experts, routed * sizeof *c->chosen);
    return 0;
}

static size_t largest(const float *logits, size_t count) {
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

/* KL(base || other) = sum p (b - o) - log sum exp b + log sum exp o, in doubles and in the order of the vocabulary. */
static void position_compare(const float *base, const float *other, size_t vocab, struct position *io_position,
                             struct verdict *ret_verdict) {
    size_t base_top = largest(base, vocab), top = largest(other, vocab);
    double base_max = base[base_top], max = other[top], base_sum = 0, sum = 0, apart = 0;
    for (size_t i = 0; i < vocab; i++) {
        double weight = exp(base[i] - base_max);
        base_sum += weight;
        sum += exp(other[i] - max);
        apart += weight * ((double)base[i] - other[i]);
    }
    double base_norm = base_max + log(base_sum), norm = max + log(sum);
    *ret_verdict = (struct verdict){.kl = (float)fmax(0, apart / base_sum - base_norm + norm),
                                    .nll = (float)(norm - other[io_position->target]),
                                    .top_p = (float)exp(max - norm),
                                    .top = (int32_t)top};
    io_position->top = (int32_t)base_top;
    io_position->top_p = (float)exp(base_max - base_norm);
    io_position->nll = (float)(base_norm - base[io_position->target]);
}

static bool chosen_has(const int32_t *chosen, uint32_t k, int32_t expert) {
    for (uint32_t i = 0; i < k; i++)
        if (chosen[i] == expert)
            return true;
    return false;
}

static void routing_count(struct comparison *c, size_t row, const int32_t *experts, const struct position *p,
                          const struct verdict *v) {
    const int32_t *base = c->chosen + row * c->moe_layers * c->k;
    for (uint32_t layer = 0; layer < c->moe_layers; layer++) {
        const int32_t *now = c->twin[layer] < 0 ? NULL : experts + (uint32_t)c->twin[layer] * c->k;
        uint32_t lost = 0;
        for (uint32_t slot = 0; slot < c->k; slot++) {
            int32_t expert = base[layer * c->k + slot];
            struct expert_tally *t = &c->tally[layer * c->experts + (uint32_t)expert];
            t->tokens++;
            t->agree += p->top == v->top;
            t->kl += v->kl;
            lost += now && !chosen_has(now, c->k, expert);
        }
        c->drift[layer].changed += lost > 0;
        c->drift[layer].changed_slots += lost;
    }
}

static int candidate_compare(void *user, const moesaic_evaluation *e) {
    struct comparison *c = user;
    struct contender *candidate = c->at_contender;
    const struct compared_text *text = &c->text[c->at_text];
    size_t row = e->position, next = c->at_start + row + 1;
    if (next >= c->at_end)
        return 0;
    struct position *p = &c->position[c->at_scored + row];
    *p = (struct position){.text = (uint32_t)c->at_text,
                           .at = (uint32_t)(next - 1),
                           .in_window = (uint32_t)row,
                           .target = text->ids[next]};
    struct verdict *v = &candidate->verdict[c->at_scored + row];
    position_compare(c->logits + row * c->vocab, e->logits, c->vocab, p, v);
    if (candidate == &c->contender[1])
        routing_count(c, row, e->experts, p, v);
    return 0;
}

/* ---- windows ----------------------------------------------------------------------------------------------------- */

static moesaic_status progress(struct comparison *c, size_t tokens, moesaic_error *error) {
    c->evaluated += tokens;
    const moesaic_compare_options *o = c->options;
    if (o->progress && o->progress(o->user, c->evaluated, c->tokens * c->contenders))
        return status_set(error, MOESAIC_E_CANCELLED, "compare: cancelled");
    return MOESAIC_OK;
}

static moesaic_status window_evaluate(struct comparison *c, struct contender *contender, moesaic_error *error) {
    size_t count = c->at_end - c->at_start;
    c->at_contender = contender;
    contender->text.ids = c->text[c->at_text].ids + c->at_start;
    contender->text.count = count;
    contender->text.capacity = count;
    model_context_truncate(contender->text.context, 0);
    moesaic_status status = sched_evaluate(contender->engine.sched, &contender->text, false,
                                           contender == c->contender ? base_keep : candidate_compare, c, error);
    return status ? status : progress(c, count, error);
}

static moesaic_status text_evaluate(struct comparison *c, size_t index, moesaic_error *error) {
    const struct compared_text *text = &c->text[index];
    moesaic_status status = MOESAIC_OK;
    c->at_text = index;
    c->at_scored = text->first;
    for (size_t start = 0; !status && text->tokens - start > 1; start = c->at_end) {
        c->at_start = start;
        c->at_end = text->tokens - start < c->window ? text->tokens : start + c->window;
        for (size_t i = 0; !status && i < c->contenders; i++)
            status = window_evaluate(c, &c->contender[i], error);
        c->at_scored += c->at_end - c->at_start - 1;
    }
    return status;
}

static void flops_read(struct contender *contender, int sign) {
    const struct counters *n = sched_counters(contender->engine.sched);
    contender->flops_nominal += (uint64_t)sign * atomic_load(&n->flops_nominal);
    contender->flops_executed += (uint64_t)sign * atomic_load(&n->flops_executed);
    contender->flops_skipped += (uint64_t)sign * atomic_load(&n->flops_skipped);
}

moesaic_status compare_run(struct comparison *c, moesaic_error *error) {
    moesaic_status status = MOESAIC_OK;
    for (size_t i = 0; i < c->contenders; i++)
        flops_read(&c->contender[i], -1);
    for (size_t i = 0; !status && i < c->texts; i++)
        status = text_evaluate(c, i, error);
    for (size_t i = 0; i < c->contenders; i++)
        flops_read(&c->contender[i], 1);
    return status;
}
