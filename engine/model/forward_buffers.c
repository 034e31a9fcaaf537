/* SPDX-License-Identifier: Apache-2.0 */
/* Every buffer of a forward pass, sized once from the model and the limits of a step and cut from one block. */
#include "forward_internal.h"

#include <stdlib.h>

/* A first pass with base NULL adds up sizes, a second hands out addresses. */
struct cutter {
    uint8_t *base;
    size_t used;
    bool overflow;
};

static void *cut(struct cutter *cutter, size_t count, size_t size) {
    size_t bytes, end;
    if (!size_mul(count, size, &bytes) || bytes > SIZE_MAX / 2 ||
        !size_add(cutter->used, size_round_up(bytes, 64), &end)) {
        cutter->overflow = true;
        return NULL;
    }
    void *at = cutter->base ? cutter->base + cutter->used : NULL;
    cutter->used = end;
    return at;
}

enum { ALL_FORMS = (1 << EXPERT_FORMS) - 1 };

/* A layer may be run with substitutes in any format, so that every form finds room. */
static void *cut_forms(struct cutter *cutter, size_t rows, size_t cols) {
    return cut(cutter, expert_input_bytes(ALL_FORMS, rows, cols), 1);
}

static void cut_worker(struct forward *f, struct cutter *cutter, struct forward_worker *w) {
    size_t hidden = f->config->hidden, width = f->head_width;
    w->residual = cut(cutter, f->narrow_rows * hidden, sizeof(float));
    w->normed = cut(cutter, f->own_rows * hidden, sizeof(float));
    w->forms = cut_forms(cutter, f->own_rows, larger(hidden, f->q_rows));
    w->tile = cut(cutter, expert_tile_floats(f->options.max_step_tokens), sizeof(float));
    w->query = cut(cutter, ATTENTION_TILE_ROWS * width, sizeof(float));
    w->score = cut(cutter, ATTENTION_TILE_ROWS * KV_BLOCK_TOKENS, sizeof(float));
    w->part = cut(cutter, ATTENTION_TILE_ROWS * width, sizeof(float));
    w->total = cut(cutter, ATTENTION_TILE_ROWS * width, sizeof(float));
    w->key = cut(cutter, width, sizeof(float));
    w->inverse = cut(cutter, f->narrow_rows, sizeof *w->inverse);
    w->narrowed = cut(cutter, width, sizeof(uint16_t));
    w->codes = cut(cutter, width, sizeof(int8_t));
}

static void cut_step(struct forward *f, struct cutter *cutter) {
    const struct model_config *config = f->config;
    size_t rows = f->options.max_step_tokens, half = config->rotary_dim / 2;
    f->row = cut(cutter, rows, sizeof *f->row);
    f->identity = cut(cutter, rows, sizeof *f->identity);
    f->logits_row = cut(cutter, f->options.max_logits_rows, sizeof *f->logits_row);
    f->task = cut(cutter, f->max_tasks, sizeof *f->task);
    f->joined = cut(cutter, f->options.max_items * config->kv_heads, sizeof *f->joined);
    f->hidden = cut(cutter, rows, config->hidden * sizeof(float));
    f->cosine = cut(cutter, rows, half * sizeof(float));
    f->sine = cut(cutter, rows, half * sizeof(float));
    f->qkv = cut(cutter, rows, f->qkv_rows * sizeof(float));
    f->inverse = cut(cutter, rows, sizeof *f->inverse);
    f->attended = cut(cutter, rows, f->q_rows * sizeof(float));
    f->projected = cut(cutter, rows, config->hidden * sizeof(float));
    f->part = cut(cutter, ATTENTION_PARTS_MAX, (f->head_width + 16) * sizeof(float));
    f->ffn_values = cut(cutter, rows, config->hidden * sizeof(float));
    f->ffn_forms = cut_forms(cutter, rows, config->hidden);
    f->logits = cut(cutter, f->options.max_logits_rows, config->vocab * sizeof(float));
}

static bool has_dense(const struct model_config *config) {
    bool dense = false;
    for (uint32_t layer = 0; layer < config->layers; layer++)
        dense |= !config->layer[layer].moe;
    return dense;
}

static void cut_ffn(struct forward *f, struct cutter *cutter) {
    const struct model_config *config = f->config;
    size_t rows = f->options.max_step_tokens, pairs = rows * config->top_k;
    size_t dense = has_dense(config) ? config->intermediate : 0, moe = config->moe_intermediate;
    size_t shared = config->shared_intermediate, jobs = (size_t)config->experts + 2;
    f->gate_logits = cut(cutter, rows, config->experts * sizeof(float));
    f->chosen = cut(cutter, pairs, sizeof *f->chosen);
    f->weights = cut(cutter, pairs, sizeof *f->weights);
    f->shared_gate = cut(cutter, rows, sizeof(float));
    f->inner = cut(cutter, larger(pairs * moe, rows * dense), sizeof(float));
    f->out = cut(cutter, larger(pairs, dense ? rows : 0), config->hidden * sizeof(float));
    f->shared_inner = cut(cutter, rows, shared * sizeof(float));
    f->shared_out = cut(cutter, shared ? rows : 0, config->hidden * sizeof(float));
    /* Of one job's rows at a time, each rounded up to a few lines. */
    f->inner_forms = cut(cutter,
                         larger(expert_input_bytes(ALL_FORMS, pairs, moe), expert_input_bytes(ALL_FORMS, rows, dense)) +
                             expert_input_bytes(ALL_FORMS, rows, shared) + jobs * 1024,
                         1);
}

static void cut_all(struct forward *f, struct cutter *cutter) {
    f->worker = cut(cutter, f->threads, sizeof *f->worker);
    f->model_forms = cut(cutter, f->config->layers, sizeof *f->model_forms);
    f->moe_index = cut(cutter, f->config->layers, sizeof *f->moe_index);
    f->routing = cut(cutter, f->options.max_step_tokens, (size_t)f->moe_layers * f->config->top_k * sizeof *f->routing);
    f->work = cut(cutter, (size_t)f->config->layers * (1 + f->nodes), sizeof *f->work);
    f->done = cut(cutter, (size_t)f->config->layers * (1 + f->nodes), sizeof *f->done);
    cut_step(f, cutter);
    cut_ffn(f, cutter);
    for (unsigned thread = 0; thread < f->threads; thread++) {
        struct forward_worker sizes = {0};
        cut_worker(f, cutter, cutter->base ? &f->worker[thread] : &sizes);
    }
}

moesaic_status forward_buffers_init(struct forward *f, moesaic_error *error) {
    struct cutter cutter = {0};
    cut_all(f, &cutter);
    if (cutter.overflow)
        return status_set(error, MOESAIC_E_USAGE, "forward pass: buffers for %zu tokens a step overflow",
                          f->options.max_step_tokens);
    f->memory = memory_zeroed(1, cutter.used);
    if (!f->memory)
        return status_no_memory(error, "forward pass's buffers", cutter.used);
    cutter = (struct cutter){.base = f->memory};
    cut_all(f, &cutter);
    for (size_t r = 0; r < f->options.max_step_tokens; r++)
        f->identity[r] = (uint32_t)r;
    for (uint32_t layer = 0, moe = 0; layer < f->config->layers; layer++)
        f->moe_index[layer] = f->config->layer[layer].moe ? moe++ : 0;
    for (unsigned thread = 0; thread < f->threads; thread++) {
        f->worker[thread].thread = thread;
        f->worker[thread].node = team_node_of(f->team, thread);
        f->worker[thread].node_first = true;
        for (unsigned before = 0; before < thread; before++)
            f->worker[thread].node_first &= f->worker[before].node != f->worker[thread].node;
    }
    return MOESAIC_OK;
}

void forward_buffers_done(struct forward *f) { free(f->memory); }
