/* SPDX-License-Identifier: Apache-2.0 */
/* The feed-forward of a dense layer: one expert that every token goes to; and what both kinds of layer share. */
#include "forward_internal.h"

const struct expert_input *ffn_enter(struct forward *f, struct forward_worker *w, uint32_t layer,
                                     const struct layer_weights *weights) {
    size_t hidden = f->config->hidden;
    float *out = f->narrow ? w->normed : f->ffn_values;
    for (size_t r = w->begin; r < w->end; r++)
        norm_row(f, f->hidden + r * hidden, weights->ffn_norm, out + r * hidden);
    if (!f->narrow) {
        expert_input_quantize(&f->ffn_input, w->begin, w->end);
        return &f->ffn_input;
    }
    expert_input_bind(&w->input, f->forms[layer - f->layer_begin].ffn, w->normed, f->rows, hidden, hidden, w->forms);
    expert_input_quantize(&w->input, 0, f->rows);
    return &w->input;
}

void ffn_observe(const struct forward *f, const struct forward_worker *w, uint32_t layer,
                 const struct expert_input *x) {
    if (w->thread == 0 && f->tap->input)
        f->tap->input(f->tap->user, layer, FORWARD_SITE_FFN, x->form[0].values, 0, f->rows, x->form[0].stride);
}

void dense_ffn_plan(struct forward *f, const struct layer_weights *weights) {
    expert_dispatch_clear(&f->dispatch);
    expert_dispatch_add(&f->dispatch, &weights->dense, f->config->intermediate, NULL, f->rows, f->inner, f->out,
                        f->inner_forms);
    expert_dispatch_seal(&f->dispatch, f->threads);
}

void dense_ffn_run(struct forward *f, struct forward_worker *w, uint32_t layer, const struct layer_weights *weights) {
    const struct expert_input *x = ffn_enter(f, w, layer, weights);
    if (!f->narrow) /* the input was normed by all */
        forward_meet(f, w, FORWARD_UP);
    ffn_observe(f, w, layer, x);
    if (f->half == FORWARD_ATTENTION_HALF)
        return;
    expert_dispatch_up(&f->dispatch, w->node, x, w->tile);
    forward_meet(f, w, FORWARD_UP);
    expert_dispatch_down(&f->dispatch, w->node);
    forward_meet(f, w, FORWARD_DOWN);
}

void ffn_finish_row(const struct forward *f, const struct layer_config *done, size_t row, float *residual) {
    size_t hidden = f->config->hidden, k = f->config->top_k;
    if (!done->moe) {
        expert_add(residual, f->out + row * hidden, hidden);
        return;
    }
    bool shared = f->config->shared_intermediate > 0;
    expert_combine(residual, hidden, f->out, f->plan.place + row * k, f->weights + row * k, (uint32_t)k,
                   shared ? f->shared_out + row * hidden : NULL, shared ? f->shared_gate[row] : 0.0f);
}
