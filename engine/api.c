/* SPDX-License-Identifier: Apache-2.0 */
/* The C API: engines, sequences and the work done with them. Validates, translates, forwards. */
#include <stdlib.h>
#include <string.h>

#include "api_internal.h"
#include "artifact.h"
#include "build_config.h"
#include "recipe.h"

enum { SEQUENCES = 64, SEQUENCES_MAX = 4096, THREADS_MAX = 1024 };

moesaic_status api_options(const void *given, void *ret_known, size_t bytes, const char *what, moesaic_error *error) {
    memset(ret_known, 0, bytes);
    if (!given)
        return MOESAIC_OK;
    size_t size;
    memcpy(&size, given, sizeof size);
    if (size < sizeof size)
        return status_set(error, MOESAIC_E_USAGE, "%s: its size is %zu, set it to sizeof the struct", what, size);
    for (size_t i = bytes; i < size; i++)
        if (((const uint8_t *)given)[i])
            return status_set(error, MOESAIC_E_USAGE, "%s: byte %zu is set, this library knows %zu", what, i, bytes);
    memcpy(ret_known, given, size < bytes ? size : bytes);
    return MOESAIC_OK;
}

moesaic_status api_result(void *given, const void *known, size_t bytes, const char *what, moesaic_error *error) {
    size_t size;
    if (!given)
        return MOESAIC_OK;
    memcpy(&size, given, sizeof size);
    if (size < sizeof size)
        return status_set(error, MOESAIC_E_USAGE, "%s: its size is %zu, set it to sizeof the struct", what, size);
    memcpy((uint8_t *)given + sizeof size, (const uint8_t *)known + sizeof size,
           (size < bytes ? size : bytes) - sizeof size);
    return MOESAIC_OK;
}

/* ---- library ---------------------------------------------------------------------------------------------------- */

const char *moesaic_version(void) {
    return MOESAIC_BUILD_VERSION;
}

void moesaic_free(void *memory) {
    free(memory);
}

static struct {
    moesaic_log_callback *callback;
    void *user;
} log_target;

static void log_forward(void *user, log_level level, const char *line) {
    (void)user;
    log_target.callback(log_target.user, (int)level, line);
}

void moesaic_log_set(moesaic_log_callback *callback, void *user) {
    log_set(NULL, NULL);
    log_target.callback = callback;
    log_target.user = user;
    if (callback)
        log_set(log_forward, NULL);
}

/* ---- engine ------------------------------------------------------------------------------------------------------ */

static void engine_stepped(void *user, const struct forward *forward, const struct forward_item *items, size_t n,
                           uint64_t step_ns) {
    place_rebalance_step(user, forward, items, n, step_ns);
}

static moesaic_status engine_check(const moesaic_model *model, const moesaic_engine_options *o, moesaic_error *error) {
    if (!model)
        return status_set(error, MOESAIC_E_USAGE, "engine: no model");
    if (!model->model)
        return status_set(error, MOESAIC_E_USAGE, "engine: the model was opened for its tokenizer only (%s)",
                          model->path);
    if (o->threads > THREADS_MAX)
        return status_set(error, MOESAIC_E_USAGE, "engine: %u threads, at most %d", o->threads, THREADS_MAX);
    if (o->step_tokens > FORWARD_STEP_TOKENS_MAX)
        return status_set(error, MOESAIC_E_USAGE, "engine: step_tokens is %u, at most %d", o->step_tokens,
                          FORWARD_STEP_TOKENS_MAX);
    if (o->max_sequences > SEQUENCES_MAX)
        return status_set(error, MOESAIC_E_USAGE, "engine: max_sequences is %u, at most %d", o->max_sequences,
                          SEQUENCES_MAX);
    if ((unsigned)o->kv > MOESAIC_KV_INT8)
        return status_set(error, MOESAIC_E_USAGE, "engine: unknown KV cache type %d", (int)o->kv);
    return o->isa ? cpu_limit(o->isa, error) : MOESAIC_OK;
}

moesaic_status moesaic_engine_create(moesaic_model *model, const moesaic_engine_options *options,
                                     moesaic_engine **ret_engine, moesaic_error *error) {
    moesaic_engine_options o;
    moesaic_status status = api_options(options, &o, sizeof o, "engine options", error);
    if (!status)
        status = engine_check(model, &o, error);
    if (status)
        return status;
    moesaic_engine *engine = calloc(1, sizeof *engine);
    if (!engine)
        return status_no_memory(error, "engine", sizeof *engine);
    struct team_options team = {.threads = o.threads, .pin = !o.no_pin};
    struct sched_options sched = {.kv = sched_kv_type(model->model, o.kv),
                                  .step_tokens = o.step_tokens ? o.step_tokens : FORWARD_STEP_TOKENS,
                                  .max_sequences = o.max_sequences ? o.max_sequences : SEQUENCES};
    struct rebalance_options rebalance = {.window_tokens = o.rebalance_tokens, .bytes_per_s = o.rebalance_bytes_per_s};
    engine->model = moesaic_model_retain(model);
    status = team_create(&team, &engine->team, error);
    if (!status)
        status = place_engine_open(model->model, engine->team, o.plan_path, o.rebalance ? &rebalance : NULL,
                                   &engine->placed, error);
    if (engine->placed) {
        sched.residency = engine->placed->residency;
        sched.stepped = engine->placed->rebalance ? engine_stepped : NULL;
        sched.user = engine->placed->rebalance;
    }
    if (!status)
        status = sched_create(model->model, engine->team, &sched, &engine->sched, error);
    if (status) {
        moesaic_engine_destroy(engine);
        return status;
    }
    engine->pipeline = (struct pipeline_engine){engine->sched, model->model, model->tokenizer};
    *ret_engine = engine;
    return MOESAIC_OK;
}

void moesaic_engine_destroy(moesaic_engine *engine) {
    if (!engine)
        return;
    sched_destroy(engine->sched);
    place_engine_close(engine->placed);
    team_destroy(engine->team);
    moesaic_model_release(engine->model);
    free(engine);
}

moesaic_model *moesaic_engine_model(const moesaic_engine *engine) {
    return engine->model;
}
uint32_t moesaic_engine_threads(const moesaic_engine *engine) {
    return team_threads(engine->team);
}

moesaic_status moesaic_engine_counters(const moesaic_engine *engine, moesaic_counters *ret_counters,
                                       moesaic_error *error) {
    const struct counters *c = sched_counters(engine->sched);
    moesaic_counters known = {.steps = atomic_load(&c->steps),
                              .tokens = atomic_load(&c->tokens),
                              .prompt_tokens = atomic_load(&c->prompt_tokens),
                              .generated_tokens = atomic_load(&c->generated_tokens),
                              .flops_nominal = atomic_load(&c->flops_nominal),
                              .flops_executed = atomic_load(&c->flops_executed),
                              .flops_skipped = atomic_load(&c->flops_skipped),
                              .bytes_local = atomic_load(&c->bytes_local),
                              .bytes_remote = atomic_load(&c->bytes_remote),
                              .step_ns = atomic_load(&c->step_ns),
                              .barrier_ns = atomic_load(&c->barrier_ns)};
    return api_result(ret_counters, &known, sizeof known, "counters", error);
}

moesaic_status moesaic_engine_work(const moesaic_engine *engine, uint32_t layer, uint32_t node, moesaic_work *ret_work,
                                   moesaic_error *error) {
    uint32_t nodes, layers = model_config(engine->model->model)->layers;
    const struct work_counters *work = forward_work(sched_forward(engine->sched), &nodes);
    if (layer >= layers || (node != MOESAIC_ALL_NODES && node >= nodes))
        return status_set(error, MOESAIC_E_USAGE, "work: layer %u of %u, node %u of %u", layer, layers, node, nodes);
    moesaic_work known = {.size = sizeof known};
    pipeline_work_add(&work[(size_t)layer * (1 + nodes) + (node == MOESAIC_ALL_NODES ? 0 : 1 + node)], 1, &known);
    return api_result(ret_work, &known, sizeof known, "work", error);
}

/* ---- sequences --------------------------------------------------------------------------------------------------- */

moesaic_status moesaic_sequence_create(moesaic_engine *engine, const moesaic_sequence_options *options,
                                       moesaic_sequence **ret_sequence, moesaic_error *error) {
    moesaic_sequence_options o;
    moesaic_status status = api_options(options, &o, sizeof o, "sequence options", error);
    if (status)
        return status;
    moesaic_sequence *sequence = calloc(1, sizeof *sequence);
    if (!sequence)
        return status_no_memory(error, "sequence", sizeof *sequence);
    sequence->engine = engine;
    status = model_context_create(engine->model->model, sched_kv_pool(engine->sched), o.capacity_tokens,
                                  &sequence->text.context, error);
    if (!status) {
        sequence->text.capacity = model_context_capacity(sequence->text.context);
        sequence->text.ids = calloc(sequence->text.capacity, sizeof *sequence->text.ids);
        if (!sequence->text.ids)
            status = status_no_memory(error, "sequence", sequence->text.capacity * sizeof *sequence->text.ids);
    }
    if (status) {
        moesaic_sequence_destroy(sequence);
        return status;
    }
    *ret_sequence = sequence;
    return MOESAIC_OK;
}

void moesaic_sequence_destroy(moesaic_sequence *sequence) {
    if (!sequence)
        return;
    model_context_destroy(sequence->text.context);
    free(sequence->text.ids);
    free(sequence);
}

moesaic_status moesaic_sequence_append(moesaic_sequence *sequence, const int32_t *ids, size_t count,
                                       moesaic_error *error) {
    struct sched_text *text = &sequence->text;
    uint32_t vocab = model_config(sequence->engine->model->model)->vocab;
    if (count > text->capacity - text->count)
        return status_set(error, MOESAIC_E_USAGE, "sequence: %zu tokens and %zu more, its capacity is %zu", text->count,
                          count, text->capacity);
    for (size_t i = 0; i < count; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= vocab)
            return status_set(error, MOESAIC_E_INPUT, "sequence: id %d at position %zu, expected 0 to %u", ids[i], i,
                              vocab - 1);
    if (count)
        memcpy(text->ids + text->count, ids, count * sizeof *ids);
    text->count += count;
    return MOESAIC_OK;
}

moesaic_status moesaic_sequence_append_text(moesaic_sequence *sequence, const char *text, size_t bytes, bool special,
                                            moesaic_error *error) {
    int32_t *ids;
    size_t count;
    moesaic_status status = moesaic_tokenize(sequence->engine->model, text, bytes, special, &ids, &count, error);
    if (status)
        return status;
    status = moesaic_sequence_append(sequence, ids, count, error);
    free(ids);
    return status;
}

moesaic_status moesaic_sequence_truncate(moesaic_sequence *sequence, size_t tokens, moesaic_error *error) {
    struct sched_text *text = &sequence->text;
    if (tokens > text->count)
        return status_set(error, MOESAIC_E_USAGE, "sequence: cannot cut %zu tokens to %zu", text->count, tokens);
    text->count = tokens;
    if (model_context_tokens(text->context) > tokens)
        model_context_truncate(text->context, tokens);
    return MOESAIC_OK;
}

size_t moesaic_sequence_tokens(const moesaic_sequence *sequence, const int32_t **ret_ids) {
    if (ret_ids)
        *ret_ids = sequence->text.ids;
    return sequence->text.count;
}

const char *moesaic_finish_name(moesaic_finish finish) {
    switch (finish) {
    case MOESAIC_FINISH_LENGTH:
        return "length";
    case MOESAIC_FINISH_STOP:
        return "stop";
    case MOESAIC_FINISH_CANCELLED:
        return "cancelled";
    }
    return "unknown";
}

moesaic_status moesaic_sequence_generate(moesaic_sequence *sequence, const moesaic_sampling *sampling,
                                         size_t max_tokens, moesaic_token_callback *callback, void *user,
                                         moesaic_generation *ret_generation, moesaic_error *error) {
    moesaic_sampling settings;
    moesaic_generation generation = {.size = sizeof generation};
    moesaic_status status = api_options(sampling, &settings, sizeof settings, "sampling", error);
    if (status)
        return status;
    const moesaic_model *model = sequence->engine->model;
    struct sched_generate request = {.text = &sequence->text,
                                     .tokenizer = model->tokenizer,
                                     .eos = model_config(model->model)->eos,
                                     .n_eos = model_config(model->model)->n_eos,
                                     .sampling = &settings,
                                     .max_tokens = max_tokens,
                                     .callback = callback,
                                     .user = user};
    status = sched_generate(sequence->engine->sched, &request, &generation, error);
    return status ? status : api_result(ret_generation, &generation, sizeof generation, "generation", error);
}

moesaic_status moesaic_sequence_evaluate(moesaic_sequence *sequence, bool hidden, moesaic_evaluation_callback *callback,
                                         void *user, moesaic_error *error) {
    if (!callback)
        return status_set(error, MOESAIC_E_USAGE, "evaluate: no callback");
    return sched_evaluate(sequence->engine->sched, &sequence->text, hidden, callback, user, error);
}

/* ---- work over a text -------------------------------------------------------------------------------------------- */

moesaic_status moesaic_eval(moesaic_engine *engine, const char *text, size_t bytes, const moesaic_eval_options *options,
                            moesaic_eval_result *ret_result, moesaic_error *error) {
    moesaic_eval_options o;
    moesaic_eval_result result = {.size = sizeof result};
    moesaic_status status = api_options(options, &o, sizeof o, "eval options", error);
    if (!status)
        status = pipeline_eval(&engine->pipeline, text, bytes, &o, &result, error);
    return status ? status : api_result(ret_result, &result, sizeof result, "eval result", error);
}

moesaic_status moesaic_logits_write(moesaic_engine *engine, const int32_t *ids, size_t count, bool hidden,
                                    const char *path, moesaic_error *error) {
    return pipeline_logits(&engine->pipeline, ids, count, hidden, path, error);
}

moesaic_status moesaic_trace_write(moesaic_engine *engine, const char *text, size_t bytes, uint32_t window,
                                   const char *path, moesaic_progress_callback *progress, void *user,
                                   moesaic_trace_result *ret_result, moesaic_error *error) {
    moesaic_trace_result result = {.size = sizeof result};
    moesaic_status status =
        pipeline_trace(&engine->pipeline, text, bytes, window, path, progress, user, &result, error);
    if (!status) {
        status = api_result(ret_result, &result, sizeof result, "trace result", error);
        if (status || !ret_result)
            free(result.layer);
    }
    return status;
}

moesaic_status moesaic_export(const moesaic_model *model, const char *path, moesaic_progress_callback *progress,
                              void *user, moesaic_export_result *ret_result, moesaic_error *error) {
    moesaic_export_result result = {.size = sizeof result};
    if (!model->model)
        return status_set(error, MOESAIC_E_USAGE, "export: the model was opened for its tokenizer only (%s)",
                          model->path);
    moesaic_status status = pipeline_export(model->model, path, progress, user, &result, error);
    return status ? status : api_result(ret_result, &result, sizeof result, "export result", error);
}

const char *const *moesaic_compress_presets(void) {
    return recipe_presets;
}

moesaic_status moesaic_compress(const moesaic_model *model, const char *path, const moesaic_compress_options *options,
                                moesaic_compress_result *ret_result, moesaic_error *error) {
    moesaic_compress_options o;
    moesaic_compress_result result = {.size = sizeof result};
    moesaic_status status = api_options(options, &o, sizeof o, "compress options", error);
    if (!status && !model->model)
        status = status_set(error, MOESAIC_E_USAGE, "compress: the model was opened for its tokenizer only");
    if (!status)
        status = pipeline_compress(model->model, model->tokenizer, path, &o, &result, error);
    if (status)
        return status;
    status = api_result(ret_result, &result, sizeof result, "compress result", error);
    if (status || !ret_result) {
        free(result.source_layer);
        free(result.part);
    }
    return status;
}

moesaic_status moesaic_compress_discard(const char *path, moesaic_error *error) {
    return artifact_discard(path, error);
}

moesaic_status moesaic_bench(const moesaic_model *model, const moesaic_bench_options *options,
                             moesaic_bench_result *ret_result, moesaic_error *error) {
    moesaic_bench_options o;
    moesaic_status status = api_options(options, &o, sizeof o, "bench options", error);
    if (!status && !model->model)
        status =
            status_set(error, MOESAIC_E_USAGE, "bench: the model was opened for its tokenizer only (%s)", model->path);
    if (status)
        return status;
    moesaic_bench_result *known = calloc(1, sizeof *known);
    if (!known)
        return status_no_memory(error, "bench", sizeof *known);
    status = pipeline_bench(model->model, &o, known, error);
    if (!status)
        status = api_result(ret_result, known, sizeof *known, "bench result", error);
    if (status || !ret_result || ret_result->size < sizeof *known)
        free(known->work);
    free(known);
    return status;
}
