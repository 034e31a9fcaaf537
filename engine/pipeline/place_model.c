/* SPDX-License-Identifier: Apache-2.0 */
/* What the planner must know of a model and of its traffic: shapes and bytes of its weights, and a recorded trace. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "place.h"

/* ---- model ------------------------------------------------------------------------------------------------------- */

static double matrix_flops(const struct weight *w) {
    return 2.0 * (double)w->rows * (double)w->cols;
}

static void shape_add_matrix(struct placement_model *shape, const struct weight *w) {
    shape->dense_bytes += w->bytes;
    shape->dense_flops += matrix_flops(w);
}

static void shape_add_ffn(struct placement_model *shape, const struct ffn_weights *f) {
    shape_add_matrix(shape, &f->gate);
    shape_add_matrix(shape, &f->up);
    shape_add_matrix(shape, &f->down);
    for (size_t i = 0; i < 3; i++) {
        shape_add_matrix(shape, &f->term[i].left);
        shape_add_matrix(shape, &f->term[i].right);
    }
}

/* What every token of a layer is multiplied by, and the KV cache that it reads. */
static void shape_add_layer(const struct model_config *config, const struct layer_weights *layer, uint32_t index,
                            uint32_t context_tokens, kv_type type, struct placement_model *shape) {
    const struct weight *matrices[] = {&layer->q, &layer->k, &layer->v, &layer->o, &layer->router, &layer->shared_gate};
    uint32_t window = config->layer[index].window, seen = window && window < context_tokens ? window : context_tokens;
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++)
        shape_add_matrix(shape, matrices[i]);
    shape_add_ffn(shape, &layer->dense);
    shape_add_ffn(shape, &layer->shared);
    shape->token_bytes += 2ull * seen * config->kv_heads * kv_row_bytes(type, config->head_dim);
    shape->dense_flops += 4.0 * seen * config->heads * config->head_dim;
}

static struct placement_expert expert_shape(const struct ffn_weights *f) {
    const struct expert_term *down = &f->term[2];
    uint64_t down_bytes = f->down.bytes + down->left.bytes + down->right.bytes;
    double flops = matrix_flops(&f->gate) + matrix_flops(&f->up) + matrix_flops(&f->down);
    for (size_t i = 0; i < 3; i++)
        flops += matrix_flops(&f->term[i].left) + matrix_flops(&f->term[i].right);
    return (struct placement_expert){.gate_up_bytes = expert_ffn_bytes(f) - down_bytes,
                                     .down_bytes = down_bytes,
                                     .intermediate = (uint32_t)f->gate.rows,
                                     .group = f->down.group,
                                     .flops = flops};
}

moesaic_status place_model_init(const struct model *model, uint32_t context_tokens, struct placement_model *ret_shape,
                                moesaic_error *error) {
    const struct model_config *config = model_config(model);
    const struct model_weights *weights = model_weights(model);
    if (!config->experts)
        return status_set(error, MOESAIC_E_INPUT, "place: %s is a dense model, it has no experts to place",
                          config->architecture);
    struct placement_model shape = {.experts = config->experts, .top_k = config->top_k, .hidden = config->hidden};
    for (uint32_t layer = 0; layer < config->layers; layer++)
        shape.layers += config->layer[layer].moe;
    size_t count = (size_t)shape.layers * shape.experts;
    struct placement_expert *expert = calloc(count ? count : 1, sizeof *expert);
    if (!expert)
        return status_no_memory(error, "place", count * sizeof *expert);
    shape.expert = expert;
    for (uint32_t layer = 0; layer < config->layers; layer++) {
        const struct layer_weights *l = &weights->layers[layer];
        shape_add_layer(config, l, layer, context_tokens, model_kv_default(model), &shape);
        for (uint32_t e = 0; config->layer[layer].moe && e < config->experts; e++)
            *expert++ = expert_shape(&l->experts[e]);
    }
    shape_add_matrix(&shape, &weights->head);
    *ret_shape = shape;
    return MOESAIC_OK;
}

void place_model_done(struct placement_model *shape) {
    free((void *)(uintptr_t)shape->expert);
    shape->expert = NULL;
}

/* ---- trace ------------------------------------------------------------------------------------------------------- */

static moesaic_status trace_tensor(const struct safetensors *file, const char *path, const char *name, tensor_type type,
                                   uint32_t rank, const struct tensor **ret_tensor, moesaic_error *error) {
    const struct tensor *t = safetensors_find(file, name);
    if (!t)
        return status_set(error, MOESAIC_E_INPUT, "trace: no tensor %s, expected what 'moesaic trace' writes (%s)",
                          name, path);
    if (t->type != type || t->rank != rank)
        return status_set(error, MOESAIC_E_INPUT, "trace: %s is %s of rank %u, expected %s of rank %u (%s)", name,
                          t->type_name, t->rank, type == TENSOR_U16 ? "U16" : "I32", rank, path);
    *ret_tensor = t;
    return MOESAIC_OK;
}

/* Shapes against the model's; after this every size is bounded and the two tensors agree. */
static moesaic_status trace_check_shape(const struct tensor *experts, const struct tensor *sequence, const char *path,
                                        const struct placement_model *shape, moesaic_error *error) {
    uint64_t layers = experts->shape[0], tokens = experts->shape[1], k = experts->shape[2];
    if (layers != shape->layers || k != shape->top_k)
        return status_set(error, MOESAIC_E_INPUT,
                          "trace: of another model: %" PRIu64 " layers, top-%" PRIu64 "; this one has %u, top-%u (%s)",
                          layers, k, shape->layers, shape->top_k, path);
    if (tokens < 1 || tokens > ROUTING_TOKENS_MAX || sequence->shape[0] != tokens)
        return status_set(error, MOESAIC_E_INPUT,
                          "trace: %" PRIu64 " tokens and %" PRIu64 " sequence numbers, expected 1 to %d of each (%s)",
                          tokens, sequence->shape[0], ROUTING_TOKENS_MAX, path);
    return MOESAIC_OK;
}

static moesaic_status trace_check_choices(const struct routing_trace *trace, const char *path, moesaic_error *error) {
    moesaic_error why;
    moesaic_status status = routing_trace_check(trace, &why);
    return status ? status_set(error, status, "%s (%s)", why.message, path) : MOESAIC_OK;
}

/* Sequences stand one after another: numbers from 0 on that never fall and rise by one. */
static moesaic_status trace_check_sequence(const struct routing_trace *trace, const char *path, moesaic_error *error) {
    int32_t last = 0;
    for (uint32_t t = 0; t < trace->tokens; t++) {
        int32_t number = trace->sequence[t];
        if (number != last && (t == 0 || (int64_t)number - 1 != last))
            return status_set(error, MOESAIC_E_INPUT, "trace: token %u is of sequence %d, expected %d or one more (%s)",
                              t, number, last, path);
        last = number;
    }
    return MOESAIC_OK;
}

static moesaic_status trace_fill(const struct safetensors *file, const char *path, const struct placement_model *shape,
                                 struct routing_trace **ret_trace, moesaic_error *error) {
    const struct tensor *experts = NULL, *sequence = NULL;
    struct routing_trace *trace = NULL;
    moesaic_status status = trace_tensor(file, path, "experts", TENSOR_U16, 3, &experts, error);
    if (!status)
        status = trace_tensor(file, path, "sequence", TENSOR_I32, 1, &sequence, error);
    if (!status)
        status = trace_check_shape(experts, sequence, path, shape, error);
    if (!status)
        status = routing_trace_create(shape->layers, shape->experts, shape->top_k, (uint32_t)experts->shape[1], &trace,
                                      error);
    if (status)
        return status;
    memcpy(trace->chosen, experts->data, experts->bytes);
    memcpy(trace->sequence, sequence->data, sequence->bytes);
    status = trace_check_choices(trace, path, error);
    if (!status)
        status = trace_check_sequence(trace, path, error);
    if (status) {
        routing_trace_destroy(trace);
        return status;
    }
    *ret_trace = trace;
    return MOESAIC_OK;
}

moesaic_status place_trace_read(const char *path, const struct placement_model *shape,
                                struct routing_trace **ret_trace, moesaic_error *error) {
    struct safetensors *file = NULL;
    moesaic_status status = safetensors_open(path, &file, error);
    if (!status)
        status = trace_fill(file, path, shape, ret_trace, error);
    safetensors_close(file);
    return status;
}
