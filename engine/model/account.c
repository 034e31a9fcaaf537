/* SPDX-License-Identifier: Apache-2.0 */
/* What a step cost: tokens, floating-point operations and bytes, counted from its shape, exactly. */
#include "forward_internal.h"

/* Positions that the rows [before, before + count) of a sequence attend to in a layer with `window`: in all, and
 * different ones. */
static void positions(uint64_t before, uint64_t count, uint64_t window, uint64_t *ret_sum, uint64_t *ret_distinct) {
    uint64_t sum = 0, first = window && before + 1 > window ? before + 1 - window : 0;
    if (!window || before + count <= window)
        sum = count * before + count * (count + 1) / 2;
    else
        for (uint64_t p = before + 1; p <= before + count; p++)
            sum += p < window ? p : window;
    *ret_sum = sum;
    *ret_distinct = before + count - first;
}

static void work_add(struct step_work *work, const struct weight *weight, uint64_t tokens, bool remote) {
    struct weight_flops flops = weight_flops(weight);
    work->flops_nominal += tokens * flops.nominal;
    work->flops_executed += tokens * flops.executed;
    work->flops_float += tokens * flops.floats;
    work->flops_skipped += tokens * flops.skipped;
    *(remote ? &work->bytes_remote : &work->bytes_local) += weight->bytes;
}

static void work_add_ffn(struct step_work *work, const struct ffn_weights *weights, uint64_t tokens, bool remote) {
    work_add(work, &weights->gate, tokens, remote);
    work_add(work, &weights->up, tokens, remote);
    work_add(work, &weights->down, tokens, remote);
    for (size_t i = 0; i < 3; i++) {
        work_add(work, &weights->term[i].left, tokens, remote);
        work_add(work, &weights->term[i].right, tokens, remote);
    }
}

void account_expert(struct forward *f, uint32_t layer, const struct ffn_weights *weights, uint64_t tokens,
                    const struct residency *residency) {
    struct step_work *work = step_work_at(f, layer, 0);
    uint64_t remote = residency ? residency_remote_bytes(residency, expert_ffn_bytes(weights)) : 0;
    work_add_ffn(work, weights, tokens, false);
    work->bytes_local -= remote;
    work->bytes_remote += remote;
    work->distinct_experts++;
}

void account_copy(struct forward *f, uint32_t layer, const struct expert_copy *copy, uint64_t tokens) {
    step_work_at(f, layer, 0)->distinct_experts++;
    for (uint32_t p = 0; p < copy->parts; p++) {
        const struct expert_part *part = &copy->part[p];
        struct step_work *node = step_work_at(f, layer, 1 + part->reader);
        bool again = false; /* a reader may have parts in several memories */
        for (uint32_t before = 0; before < p; before++)
            again |= copy->part[before].reader == part->reader;
        work_add_ffn(step_work_at(f, layer, 0), &part->weights, tokens, part->node != part->reader);
        work_add_ffn(node, &part->weights, tokens, part->node != part->reader);
        node->distinct_experts += !again;
    }
}

void account_waiting(struct forward *f, const struct forward_worker *w, uint32_t layer, uint64_t waited_ns) {
    if (w->thread == 0)
        step_work_at(f, layer, 0)->barrier_ns = waited_ns;
    if (w->node_first && w->node < f->nodes)
        step_work_at(f, layer, 1 + w->node)->barrier_ns = waited_ns;
}

/* The matrices of one layer that every token is multiplied by. */
static void account_dense(const struct forward *f, uint32_t layer, const struct layer_weights *w,
                          struct step_work *work) {
    const struct weight *always[] = {&w->q, &w->k, &w->v, &w->o};
    for (size_t i = 0; i < sizeof always / sizeof *always; i++)
        work_add(work, always[i], f->rows, false);
    if (!f->config->layer[layer].moe) {
        work_add_ffn(work, &w->dense, f->rows, false);
        return;
    }
    work_add(work, &w->router, f->rows, false);
    if (f->config->shared_intermediate)
        work_add_ffn(work, &w->shared, f->rows, false);
    if (f->config->shared_gate)
        work_add(work, &w->shared_gate, f->rows, false);
}

static void account_attention(const struct forward *f, uint32_t layer, struct step_work *work) {
    const struct model_config *config = f->config;
    for (size_t i = 0; i < f->n_items; i++) {
        const struct kv_cache *cache = f->items[i].context->cache;
        uint64_t sum, distinct;
        positions(cache->tokens, f->items[i].count, config->layer[layer].window, &sum, &distinct);
        const uint64_t flops = sum * 4 * config->heads * config->head_dim;
        work->flops_nominal += flops;
        work->flops_executed += flops;
        work->flops_float += flops;
        work->bytes_local += distinct * 2 * config->kv_heads * kv_row_bytes(cache->shape.type, config->head_dim);
    }
}

/* Adds the step's work to a cell of the counters. */
static void account_cell(struct work_counters *counters, const struct step_work *work) {
    counter_add(&counters->flops_nominal, work->flops_nominal);
    counter_add(&counters->flops_executed, work->flops_executed);
    counter_add(&counters->flops_skipped, work->flops_skipped);
    counter_add(&counters->bytes_local, work->bytes_local);
    counter_add(&counters->bytes_remote, work->bytes_remote);
    counter_add(&counters->distinct_experts, work->distinct_experts);
    counter_add(&counters->barrier_ns, work->barrier_ns);
}

static void account_layers(struct forward *f, struct step_work *total) {
    for (uint32_t layer = f->layer_begin; layer < f->layer_end; layer++) {
        struct step_work *work = step_work_at(f, layer, 0);
        account_dense(f, layer, &f->layers[layer - f->layer_begin], work);
        account_attention(f, layer, work);
        for (uint32_t cell = 0; cell <= f->nodes; cell++)
            account_cell(&f->done[(size_t)layer * (1 + f->nodes) + cell], &work[cell]);
        total->flops_nominal += work->flops_nominal;
        total->flops_executed += work->flops_executed;
        total->flops_float += work->flops_float;
        total->flops_skipped += work->flops_skipped;
        total->bytes_local += work->bytes_local;
        total->bytes_remote += work->bytes_remote;
    }
}

/* The embedding and the head, whose logits are computed only where they are wanted. */
static void account_ends(const struct forward *f, struct step_work *total) {
    const struct model_weights *weights = model_weights(f->model);
    struct weight_flops flops = weight_flops(&weights->head);
    total->bytes_local += f->rows * (weights->embedding.bytes / weights->embedding.rows);
    total->bytes_local += f->logits_rows ? weights->head.bytes : 0;
    total->flops_nominal += f->rows * flops.nominal;
    total->flops_executed += f->logits_rows * flops.executed;
    total->flops_float += f->logits_rows * flops.floats;
    total->flops_skipped += f->logits_rows * flops.skipped;
}

void account_step(struct forward *f, uint64_t start_ns, uint64_t barrier_ns_before) {
    struct step_work total = {0};
    uint64_t prompt = 0, generated = 0;
    struct counters *counters = f->counters;
    account_layers(f, &total);
    if (!counters)
        return;
    if (!f->given_hidden)
        account_ends(f, &total);
    for (size_t i = 0; i < f->n_items; i++)
        *(f->items[i].generated ? &generated : &prompt) += f->items[i].count;
    counter_add(&counters->steps, 1);
    counter_add(&counters->tokens, f->rows);
    counter_add(&counters->prompt_tokens, prompt);
    counter_add(&counters->generated_tokens, generated);
    counter_add(&counters->flops_nominal, total.flops_nominal);
    counter_add(&counters->flops_executed, total.flops_executed);
    counter_add(&counters->flops_float, total.flops_float);
    counter_add(&counters->flops_skipped, total.flops_skipped);
    counter_add(&counters->bytes_local, total.bytes_local);
    counter_add(&counters->bytes_remote, total.bytes_remote);
    counter_add(&counters->step_ns, clock_ns() - start_ns);
    counter_add(&counters->barrier_ns, team_barrier_ns(f->team) - barrier_ns_before);
}
