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

static uint64_t matrix_flops(const struct weight *weight) { return 2 * weight->rows * weight->cols; }

static uint64_t ffn_flops(const struct ffn_weights *weights) {
    return matrix_flops(&weights->gate) + matrix_flops(&weights->up) + matrix_flops(&weights->down);
}

uint64_t ffn_bytes(const struct ffn_weights *weights) {
    return weights->gate.bytes + weights->up.bytes + weights->down.bytes;
}

/* Of the matrices of one layer that every token is multiplied by, and of k experts. */
static uint64_t layer_flops(const struct model_config *config, uint32_t layer, const struct layer_weights *w) {
    uint64_t flops = matrix_flops(&w->q) + matrix_flops(&w->k) + matrix_flops(&w->v) + matrix_flops(&w->o);
    if (!config->layer[layer].moe)
        return flops + ffn_flops(&w->dense);
    flops += matrix_flops(&w->router) + config->top_k * ffn_flops(&w->experts[0]);
    if (config->shared_intermediate)
        flops += ffn_flops(&w->shared) + (config->shared_gate ? matrix_flops(&w->shared_gate) : 0);
    return flops;
}

/* Without the experts, shared or not: those are counted as they are planned. */
static uint64_t layer_bytes(const struct model_config *config, uint32_t layer, const struct layer_weights *w) {
    uint64_t bytes = w->q.bytes + w->k.bytes + w->v.bytes + w->o.bytes;
    if (!config->layer[layer].moe)
        return bytes + ffn_bytes(&w->dense);
    return bytes + w->router.bytes + (config->shared_gate ? w->shared_gate.bytes : 0);
}

struct account {
    uint64_t flops_nominal, flops_executed, bytes, prompt_tokens, generated_tokens;
};

static void account_attention(const struct forward *f, uint32_t layer, struct account *account) {
    const struct model_config *config = f->config;
    for (size_t i = 0; i < f->n_items; i++) {
        const struct kv_cache *cache = f->items[i].context->cache;
        uint64_t sum, distinct, flops;
        positions(cache->tokens, f->items[i].count, config->layer[layer].window, &sum, &distinct);
        flops = sum * 4 * config->heads * config->head_dim;
        account->flops_nominal += flops;
        account->flops_executed += flops;
        account->bytes += distinct * 2 * config->kv_heads * config->head_dim * kv_element_bytes(cache->shape.type);
    }
}

static void account_layers(const struct forward *f, struct account *account) {
    for (uint32_t layer = f->layer_begin; layer < f->layer_end; layer++) {
        const struct layer_weights *weights = &f->layers[layer - f->layer_begin];
        uint64_t flops = layer_flops(f->config, layer, weights) * f->rows;
        account->flops_nominal += flops;
        account->flops_executed += flops;
        account->bytes += layer_bytes(f->config, layer, weights);
        account_attention(f, layer, account);
    }
    account->bytes += f->expert_bytes;
}

static void account_ends(const struct forward *f, struct account *account) {
    const struct model_weights *weights = model_weights(f->model);
    account->bytes += f->rows * (weights->embedding.bytes / weights->embedding.rows);
    account->flops_nominal += matrix_flops(&weights->head) * f->rows;
    account->flops_executed += matrix_flops(&weights->head) * f->logits_rows;
    account->bytes += f->logits_rows ? weights->head.bytes : 0;
}

void account_step(struct forward *f, uint64_t start_ns, uint64_t barrier_ns_before) {
    struct account account = {0};
    struct counters *counters = f->counters;
    if (!counters)
        return;
    account_layers(f, &account);
    if (!f->given_hidden)
        account_ends(f, &account);
    for (size_t i = 0; i < f->n_items; i++)
        *(f->items[i].generated ? &account.generated_tokens : &account.prompt_tokens) += f->items[i].count;
    counter_add(&counters->steps, 1);
    counter_add(&counters->tokens, f->rows);
    counter_add(&counters->prompt_tokens, account.prompt_tokens);
    counter_add(&counters->generated_tokens, account.generated_tokens);
    counter_add(&counters->flops_nominal, account.flops_nominal);
    counter_add(&counters->flops_executed, account.flops_executed);
    counter_add(&counters->bytes_local, account.bytes - f->remote_bytes);
    counter_add(&counters->bytes_remote, f->remote_bytes);
    counter_add(&counters->step_ns, clock_ns() - start_ns);
    counter_add(&counters->barrier_ns, team_barrier_ns(f->team) - barrier_ns_before);
}
