/* SPDX-License-Identifier: Apache-2.0 */
/* The last stage: final norm and logits, of the rows that somebody wants. */
#include "forward_internal.h"

/* Norms the wanted rows that this worker holds, in `out` by their order among the wanted. */
static void norm_wanted(struct forward *f, struct forward_worker *w, float *out, size_t *ret_begin, size_t *ret_end) {
    const float *gain = model_weights(f->model)->final_norm;
    size_t i = 0;
    while (i < f->logits_rows && f->logits_row[i] < w->begin)
        i++;
    *ret_begin = i;
    for (; i < f->logits_rows && f->logits_row[i] < w->end; i++)
        norm_row(f, forward_residual(f, w, f->logits_row[i]), gain, out + i * f->config->hidden);
    *ret_end = i;
}

/* Narrow: every thread norms all wanted rows for itself; wide: each its own, and they meet. */
static const struct expert_input *enter(struct forward *f, struct forward_worker *w, const struct weight *head) {
    size_t begin, end, hidden = f->config->hidden;
    struct expert_input *input = f->narrow ? &w->input : &f->head_input;
    if (f->narrow)
        expert_input_bind(input, expert_form_bit(head), w->normed, f->logits_rows, hidden, hidden, w->forms);
    norm_wanted(f, w, f->narrow ? w->normed : f->ffn_values, &begin, &end);
    expert_input_quantize(input, begin, end);
    if (!f->narrow)
        forward_meet(f, w, FORWARD_HEAD);
    return input;
}

void head_run(struct forward *f, struct forward_worker *w) {
    const struct weight *head = &model_weights(f->model)->head;
    size_t vocab = f->config->vocab, begin, end;
    const struct expert_input *x = enter(f, w, head);
    team_share(vocab, 16, w->thread, f->threads, &begin, &end);
    if (begin == end || f->logits_rows == 0)
        return;
    weight_product(head, expert_input_for(x, head), NULL, f->logits_rows, begin, end, f->logits, vocab);
    for (size_t i = 0; i < f->logits_rows && w->bad_row == SIZE_MAX; i++)
        if (f->kernels->finite(f->logits + i * vocab + begin, end - begin) != 0.0f)
            w->bad_row = i;
}
