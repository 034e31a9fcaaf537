/* SPDX-License-Identifier: Apache-2.0 */
/* The model's shape and the planning problem: checked against each other before anything is searched. */
#include <inttypes.h>
#include <math.h>

#include "placement_internal.h"

static moesaic_status model_check_expert(const struct placement_model *model, uint32_t layer, uint32_t expert,
                                         moesaic_error *error) {
    const struct placement_expert *e = &model->expert[(size_t)layer * model->experts + expert];
    if (e->intermediate > 1u << 24 || e->group > 1u << 16 || e->gate_up_bytes >> 44 != 0 || e->down_bytes >> 44 != 0 ||
        !(isfinite(e->flops) && e->flops >= 0 && e->flops < 1e18))
        return status_set(error, MOESAIC_E_INPUT,
                          "placement: layer %u, expert %u: %u rows in groups of %u, %" PRIu64 " and %" PRIu64
                          " bytes, %g FLOPs are out of range",
                          layer, expert, e->intermediate, e->group, e->gate_up_bytes, e->down_bytes, e->flops);
    if ((e->intermediate == 0) != (expert_bytes(e) == 0))
        return status_set(error, MOESAIC_E_INPUT, "placement: layer %u, expert %u: %u rows in %" PRIu64 " bytes", layer,
                          expert, e->intermediate, expert_bytes(e));
    return MOESAIC_OK;
}

moesaic_status placement_model_check(const struct placement_model *model, moesaic_error *error) {
    if (model->layers < 1 || model->layers > ROUTING_LAYERS_MAX || model->experts < 1 ||
        model->experts > ROUTING_EXPERTS_MAX || model->top_k < 1 || model->top_k > ROUTING_TOP_K_MAX ||
        model->top_k > model->experts || model->hidden < 1 || model->hidden > 1u << 24)
        return status_set(error, MOESAIC_E_INPUT,
                          "placement: %u layers of %u experts, top-k %u, hidden size %u are out of range",
                          model->layers, model->experts, model->top_k, model->hidden);
    if (model->dense_bytes >> 50 != 0 || model->token_bytes >> 50 != 0 ||
        !(isfinite(model->dense_flops) && model->dense_flops >= 0))
        return status_set(error, MOESAIC_E_INPUT,
                          "placement: dense part of %" PRIu64 " bytes, %" PRIu64 " a token, %g FLOPs is out of range",
                          model->dense_bytes, model->token_bytes, model->dense_flops);
    uint64_t total = 0;
    for (uint32_t layer = 0; layer < model->layers; layer++)
        for (uint32_t expert = 0; expert < model->experts; expert++) {
            moesaic_status status = model_check_expert(model, layer, expert, error);
            if (status != MOESAIC_OK)
                return status;
            total += expert_bytes(&model->expert[(size_t)layer * model->experts + expert]);
            if (total >> 56 != 0)
                return status_set(error, MOESAIC_E_INPUT, "placement: the experts need more than 2^56 bytes");
        }
    return MOESAIC_OK;
}

uint64_t placement_model_bytes(const struct placement_model *model) {
    uint64_t total = 0;
    for (size_t i = 0; i < (size_t)model->layers * model->experts; i++)
        total += expert_bytes(&model->expert[i]);
    return total;
}

struct placement_expert placement_expert_shape(uint32_t hidden, uint32_t intermediate, double weight_bits,
                                               uint32_t group) {
    double bytes_a_weight = (weight_bits + (group > 0 ? 16.0 / group : 0)) / 8;
    double weights = (double)hidden * intermediate;
    return (struct placement_expert){.gate_up_bytes = (uint64_t)ceil(2 * weights * bytes_a_weight),
                                     .down_bytes = (uint64_t)ceil(weights * bytes_a_weight),
                                     .intermediate = intermediate,
                                     .group = group,
                                     .flops = 6 * weights};
}

/* ---- the problem ------------------------------------------------------------------------------------------------- */

static void problem_defaults(struct placement_options *options) {
    if (options->batch == 0)
        options->batch = 1;
    if (options->max_steps == 0)
        options->max_steps = 512;
    if (options->min_gain == 0)
        options->min_gain = 0.05;
    if (options->min_replica_gain == 0)
        options->min_replica_gain = 1e-5;
}

static moesaic_status problem_check_trace(const struct placement_problem *problem, moesaic_error *error) {
    const struct placement_model *model = problem->model;
    const struct routing_trace *trace = problem->trace;
    const struct placement_options *options = &problem->options;
    if (trace->layers != model->layers || trace->experts != model->experts || trace->top_k != model->top_k)
        return status_set(error, MOESAIC_E_INPUT,
                          "placement: the trace has %u layers of %u experts, top-%u; the model %u of %u, top-%u",
                          trace->layers, trace->experts, trace->top_k, model->layers, model->experts, model->top_k);
    if (options->batch > trace->tokens)
        return status_set(error, MOESAIC_E_USAGE, "placement: batch of %u, but the trace has only %u tokens",
                          options->batch, trace->tokens);
    if (!(options->min_gain >= 0 && options->min_gain < 1) || !(options->min_replica_gain >= 0))
        return status_set(error, MOESAIC_E_USAGE,
                          "placement: least gains of %g and %g, must be 0 to 1 and not negative", options->min_gain,
                          options->min_replica_gain);
    return MOESAIC_OK;
}

/* Names of formats by the bytes they would need, largest first; bits a weight with FP16 scales in groups of 64. */
static const struct {
    const char *name;
    double bits;
} model_formats[] = {{"bf16", 16}, {"int8", 8.25}, {"int4", 4.25}, {"int3", 3.25}, {"int2", 2.25}};

static const char *model_format_that_fits(const struct placement_model *model, double available_bytes) {
    double weights = 0, needed = (double)placement_model_bytes(model);
    for (size_t i = 0; i < (size_t)model->layers * model->experts; i++)
        weights += 3.0 * model->hidden * model->expert[i].intermediate;
    for (size_t f = 0; f < sizeof model_formats / sizeof model_formats[0]; f++) {
        double bytes = weights * model_formats[f].bits / 8;
        if (bytes <= available_bytes && bytes < needed)
            return model_formats[f].name;
    }
    return NULL;
}

/* All experts and the dense part against all memory. */
static moesaic_status problem_check_memory(const struct placement_problem *problem, moesaic_error *error) {
    uint64_t memory = 0, experts = placement_model_bytes(problem->model), dense = problem->model->dense_bytes;
    for (unsigned n = 0; n < problem->machine->nodes; n++)
        memory += problem->machine->node[n].memory_bytes;
    if (experts + dense <= memory)
        return MOESAIC_OK;
    double left = memory > dense ? (double)(memory - dense) : 0;
    const char *format = model_format_that_fits(problem->model, left);
    return status_set(error, MOESAIC_E_MEMORY,
                      "placement: %" PRIu64 " bytes of experts and %" PRIu64 " dense need more than the nodes' %" PRIu64
                      ": %" PRIu64 " bytes are missing; %s%s",
                      experts, dense, memory, experts + dense - memory,
                      format != NULL ? "the experts would fit as " : "not even int2 would fit",
                      format != NULL ? format : "");
}

moesaic_status placement_problem_check(const struct placement_problem *problem, struct placement_problem *ret_problem,
                                       moesaic_error *error) {
    struct placement_problem checked = *problem;
    problem_defaults(&checked.options);
    moesaic_status status = machine_speeds_check(checked.machine, error);
    if (status == MOESAIC_OK)
        status = placement_model_check(checked.model, error);
    if (status == MOESAIC_OK)
        status = problem_check_trace(&checked, error);
    if (status == MOESAIC_OK)
        status = problem_check_memory(&checked, error);
    if (status == MOESAIC_OK)
        *ret_problem = checked;
    return status;
}
