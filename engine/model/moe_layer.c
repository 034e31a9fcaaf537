/* SPDX-License-Identifier: Apache-2.0 */
/* A Mixture-of-Experts layer, the whole story on one page.
 *
 *   norm -> router logits [T, E] -> k experts and weights a token -> plan: tokens grouped by expert
 *        -> gate and up of each expert over its tokens -> down, one unreduced row per (token, expert)
 *        -> (as the next layer begins) residual += sum of the k rows by weight, in slot order (+ gated shared expert)
 *
 * A shared expert is one more job of the same dispatch, over all tokens. */
#include "forward_internal.h"

/* Logits of this worker's part: all experts of its rows (wide), or its experts of all rows (narrow). */
static void gate_logits(struct forward *f, const struct forward_worker *w, const struct layer_weights *weights,
                        const struct expert_input *x) {
    size_t experts = f->config->experts, tokens = w->end - w->begin, begin, end;
    forward_share(f, w, &experts, 1, &begin, &end);
    if (begin < end)
        weight_product(&weights->router, expert_input_for(x, &weights->router), f->identity + w->begin, tokens, begin,
                       end, f->gate_logits + w->begin * experts, experts);
}

/* The shared expert's factor: 1, or the sigmoid of its own gate. In a narrow step the last thread, whose share of the
 * router is never the largest, does it for all. */
static void shared_factor(struct forward *f, const struct forward_worker *w, const struct layer_weights *weights,
                          const struct expert_input *x) {
    if (!f->config->shared_intermediate || (f->narrow && w->thread + 1 != f->threads))
        return;
    if (!f->config->shared_gate) {
        for (size_t r = w->begin; r < w->end; r++)
            f->shared_gate[r] = 1.0f;
        return;
    }
    weight_product(&weights->shared_gate, expert_input_for(x, &weights->shared_gate), f->identity + w->begin,
                   w->end - w->begin, 0, 1, f->shared_gate + w->begin, 1);
    f->kernels->sigmoid(f->shared_gate + w->begin, w->end - w->begin);
}

static void choose(struct forward *f, size_t begin, size_t end) {
    size_t k = f->config->top_k;
    for (size_t r = begin; r < end; r++)
        router_choose(&f->gate, f->gate_logits + r * f->config->experts, f->chosen + r * k, f->weights + r * k);
}

static void add_job(struct forward *f, const struct ffn_weights *weights, size_t intermediate, const uint32_t *row,
                    size_t n, float *inner, float *out, uint8_t **io_forms) {
    expert_dispatch_add(&f->dispatch, weights, intermediate, row, n, inner, out, *io_forms);
    *io_forms += size_round_up(expert_input_bytes(expert_form_bit(&weights->down), n, intermediate), 64);
}

/* A routed expert over its tokens, from where the plan of placement has it. */
static void add_expert(struct forward *f, const struct residency *residency, uint32_t layer, uint32_t expert,
                       const struct ffn_weights *weights, uint8_t **io_forms) {
    size_t hidden = f->config->hidden, intermediate = f->config->moe_intermediate;
    size_t first = f->plan.offset[expert], n = f->plan.offset[expert + 1] - first;
    const uint32_t *row = f->plan.token + first;
    float *inner = f->inner + first * intermediate, *out = f->out + first * hidden;
    const struct expert_copy *copy = residency ? residency_copy(residency, layer, expert) : NULL;
    if (!copy) {
        account_expert(f, layer, weights, n, residency);
        add_job(f, weights, intermediate, row, n, inner, out, io_forms);
        return;
    }
    account_copy(f, layer, copy, n);
    expert_dispatch_add_parts(&f->dispatch, copy->part, copy->parts, intermediate, row, n, inner, out, *io_forms);
    *io_forms += size_round_up(expert_input_bytes(expert_form_bit(&weights->down), n, intermediate), 64);
}

static void keep_routing(struct forward *f, uint32_t layer) {
    size_t k = f->config->top_k;
    for (size_t row = 0; row < f->rows; row++) {
        uint16_t *kept = f->routing + (row * f->moe_layers + f->moe_index[layer]) * k;
        for (size_t i = 0; i < k; i++)
            kept[i] = (uint16_t)f->chosen[row * k + i];
    }
}

/* Groups the tokens by expert and lists the jobs; done by the thread that comes last, so that it costs no barrier. */
static void plan(struct forward *f, uint32_t layer, const struct layer_weights *weights) {
    uint8_t *forms = f->inner_forms;
    bool own = weights == &model_weights(f->model)->layers[layer];
    struct residency *residency = own ? f->options.residency : NULL;
    router_plan_build(&f->plan, f->rows, f->chosen, f->weights);
    if (f->options.keep_routing)
        keep_routing(f, layer);
    expert_dispatch_clear(&f->dispatch);
    if (residency)
        residency_assign(residency, layer, &f->plan);
    if (f->config->shared_intermediate)
        add_job(f, &weights->shared, f->config->shared_intermediate, NULL, f->rows, f->shared_inner, f->shared_out,
                &forms);
    for (uint32_t i = 0; i < f->plan.distinct; i++)
        add_expert(f, residency, layer, f->plan.active[i], &weights->experts[f->plan.active[i]], &forms);
    expert_dispatch_seal(&f->dispatch, f->threads);
}

static void observe_experts(const struct forward *f, uint32_t layer, const struct expert_input *x) {
    size_t intermediate = f->config->moe_intermediate;
    for (uint32_t i = 0; i < f->plan.distinct; i++) {
        uint32_t expert = f->plan.active[i];
        size_t first = f->plan.offset[expert], n = f->plan.offset[expert + 1] - first;
        f->tap->expert(f->tap->user, layer, expert, n, f->plan.token + first, f->plan.weight + first, x->form[0].values,
                       x->form[0].stride, f->inner + first * intermediate, intermediate);
    }
}

void moe_layer_run(struct forward *f, struct forward_worker *w, uint32_t layer, const struct layer_weights *weights) {
    const struct expert_input *x = ffn_enter(f, w, layer, weights);
    shared_factor(f, w, weights, x);
    gate_logits(f, w, weights, x);
    if (!f->narrow)
        choose(f, w->begin, w->end);
    if (atomic_fetch_add_explicit(&f->arrived, 1, memory_order_acq_rel) + 1 == f->threads) {
        atomic_store_explicit(&f->arrived, 0, memory_order_relaxed);
        if (f->narrow)
            choose(f, 0, f->rows);
        plan(f, layer, weights);
    }
    forward_meet(f, w, FORWARD_ROUTER);
    if (w->thread == 0 && f->tap->routing)
        f->tap->routing(f->tap->user, layer, f->chosen, f->weights, f->rows, f->config->top_k);
    ffn_observe(f, w, layer, x);
    if (f->half == FORWARD_ATTENTION_HALF)
        return;
    expert_dispatch_up(&f->dispatch, w->node, x, w->tile);
    forward_meet(f, w, FORWARD_UP);
    if (w->thread == 0 && f->tap->expert)
        observe_experts(f, layer, x);
    expert_dispatch_down(&f->dispatch, w->node);
    forward_meet(f, w, FORWARD_DOWN);
}
