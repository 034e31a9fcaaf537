/* SPDX-License-Identifier: Apache-2.0 */
/* The C API: models and their text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api_internal.h"
#include "build_config.h"

/* ---- opening ----------------------------------------------------------------------------------------------------- */

const char *moesaic_bundled_model_path(void) {
    const char *places[] = {getenv("MOESAIC_BUNDLED_MODEL"), MOESAIC_BUNDLED_INSTALLED, MOESAIC_BUNDLED_SOURCE};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (places[i] && file_is_folder(places[i]))
            return places[i];
    return NULL;
}

/* tokenizer.json of the folder, where there is one. */
static moesaic_status tokenizer_open(moesaic_model *model, bool needed, moesaic_error *error) {
    char path[4096];
    struct file_map file;
    if ((size_t)snprintf(path, sizeof path, "%s/tokenizer.json", model->path) >= sizeof path)
        return status_set(error, MOESAIC_E_INPUT, "model: the path is too long");
    if (!needed && !file_is_regular(path))
        return MOESAIC_OK;
    moesaic_status status = file_map_open(path, &file, error);
    if (status)
        return status;
    status = tokenizer_create((const char *)file.data, file.bytes, path, &model->tokenizer, error);
    file_map_close(&file);
    return status ? status : text_settings_read(model->path, &model->settings, error);
}

moesaic_status moesaic_model_open(const char *path, const moesaic_model_options *options, moesaic_model **ret_model,
                                  moesaic_error *error) {
    moesaic_model_options o;
    moesaic_status status = api_options(options, &o, sizeof o, "model options", error);
    if (status)
        return status;
    path = path ? path : moesaic_bundled_model_path();
    if (!path)
        return status_set(error, MOESAIC_E_IO, "model: the bundled model is not installed (set MOESAIC_BUNDLED_MODEL)");
    moesaic_model *model = calloc(1, sizeof *model);
    if (!model)
        return status_no_memory(error, "model", sizeof *model);
    atomic_init(&model->references, 1);
    pthread_mutex_init(&model->lock, NULL);
    model->path = strdup(path);
    if (!model->path)
        status = status_no_memory(error, "model", strlen(path));
    if (!status && !o.tokenizer_only)
        status = model_open(path, &model->model, error);
    if (!status)
        status = tokenizer_open(model, o.tokenizer_only, error);
    if (status) {
        moesaic_model_release(model);
        return status;
    }
    *ret_model = model;
    return MOESAIC_OK;
}

moesaic_model *moesaic_model_retain(moesaic_model *model) {
    atomic_fetch_add_explicit(&model->references, 1, memory_order_relaxed);
    return model;
}

void moesaic_model_release(moesaic_model *model) {
    if (!model || atomic_fetch_sub_explicit(&model->references, 1, memory_order_acq_rel) != 1)
        return;
    chat_template_destroy(model->tools);
    chat_template_destroy(model->chat);
    text_settings_done(&model->settings);
    tokenizer_destroy(model->tokenizer);
    model_close(model->model);
    pthread_mutex_destroy(&model->lock);
    free(model->path);
    free(model);
}

/* ---- describing -------------------------------------------------------------------------------------------------- */

static const char *tensor_type_name(tensor_type type) {
    static const char *const names[] = {[TENSOR_F32] = "F32", [TENSOR_F16] = "F16", [TENSOR_BF16] = "BF16",
                                        [TENSOR_I32] = "I32", [TENSOR_I64] = "I64", [TENSOR_U8] = "U8",
                                        [TENSOR_I8] = "I8",   [TENSOR_U16] = "U16", [TENSOR_OTHER] = "other"};
    return names[type];
}

static moesaic_status weights_needed(const moesaic_model *model, moesaic_error *error) {
    return model->model ? MOESAIC_OK
                        : status_set(error, MOESAIC_E_USAGE, "model: opened for its tokenizer only (%s)", model->path);
}

moesaic_status moesaic_model_info_get(const moesaic_model *model, moesaic_model_info *ret_info, moesaic_error *error) {
    moesaic_status status = weights_needed(model, error);
    if (status)
        return status;
    moesaic_model_info info = {.size = sizeof info, .path = model->path, .container = "safetensors"};
    const struct checkpoint *checkpoint = model_checkpoint(model->model);
    pipeline_describe(model->model, &info);
    info.tensors = checkpoint_count(checkpoint);
    info.weight_bytes = 0;
    for (size_t i = 0; i < info.tensors; i++)
        info.weight_bytes += checkpoint_at(checkpoint, i)->bytes;
    info.bits_per_weight = 8.0 * (double)info.weight_bytes / (double)info.total_parameters;
    return api_result(ret_info, &info, sizeof info, "model info", error);
}

moesaic_status moesaic_model_tensor_get(const moesaic_model *model, size_t index, moesaic_tensor_info *ret_info,
                                        moesaic_error *error) {
    moesaic_status status = weights_needed(model, error);
    if (status)
        return status;
    const struct checkpoint *checkpoint = model_checkpoint(model->model);
    if (index >= checkpoint_count(checkpoint))
        return status_set(error, MOESAIC_E_USAGE, "tensor: index %zu of %zu", index, checkpoint_count(checkpoint));
    const struct tensor *t = checkpoint_at(checkpoint, index);
    moesaic_tensor_info info = {.size = sizeof info,
                                .name = t->name,
                                .format = tensor_type_name(t->type),
                                .layout = "rows",
                                .rank = t->rank,
                                .bytes = t->bytes};
    double elements = 1;
    for (uint32_t i = 0; i < t->rank; i++) {
        info.shape[i] = t->shape[i];
        elements *= (double)t->shape[i];
    }
    info.bits_per_weight = elements > 0 ? 8.0 * (double)t->bytes / elements : 0;
    return api_result(ret_info, &info, sizeof info, "tensor info", error);
}

moesaic_status moesaic_model_verify(const moesaic_model *model, moesaic_error *error) {
    return weights_needed(model, error);
}

/* ---- text -------------------------------------------------------------------------------------------------------- */

static moesaic_status tokenizer_needed(const moesaic_model *model, moesaic_error *error) {
    return model->tokenizer ? MOESAIC_OK
                            : status_set(error, MOESAIC_E_INPUT, "model: it has no tokenizer.json (%s)", model->path);
}

moesaic_status moesaic_tokenize(const moesaic_model *model, const char *text, size_t bytes, bool special,
                                int32_t **ret_ids, size_t *ret_count, moesaic_error *error) {
    moesaic_status status = tokenizer_needed(model, error);
    return status ? status : tokenizer_encode(model->tokenizer, text, bytes, special, true, ret_ids, ret_count, error);
}

moesaic_status moesaic_detokenize(const moesaic_model *model, const int32_t *ids, size_t count, bool skip_special,
                                  char **ret_text, size_t *ret_bytes, moesaic_error *error) {
    moesaic_status status = tokenizer_needed(model, error);
    return status ? status : tokenizer_decode(model->tokenizer, ids, count, skip_special, ret_text, ret_bytes, error);
}

int32_t moesaic_token_id(const moesaic_model *model, const char *text, size_t bytes) {
    return model->tokenizer ? tokenizer_id_of(model->tokenizer, text, bytes) : -1;
}

size_t moesaic_token_count(const moesaic_model *model) {
    return model->tokenizer ? tokenizer_size(model->tokenizer) : 0;
}

/* The model's template for a conversation with or without tools, compiled on first use. */
static moesaic_status template_get(moesaic_model *model, bool with_tools, struct chat_template **ret_template,
                                   moesaic_error *error) {
    bool own = with_tools && model->settings.tool_template;
    const char *source = own ? model->settings.tool_template : model->settings.chat_template;
    size_t bytes = own ? model->settings.tool_template_bytes : model->settings.chat_template_bytes;
    struct chat_template **slot = own ? &model->tools : &model->chat;
    if (!source)
        return status_set(error, MOESAIC_E_INPUT, "template: the model has no chat template (%s)", model->path);
    pthread_mutex_lock(&model->lock);
    moesaic_status status = *slot ? MOESAIC_OK : chat_template_create(source, bytes, model->path, slot, error);
    *ret_template = *slot;
    pthread_mutex_unlock(&model->lock);
    return status;
}

static moesaic_status request_check(const json_value *request, moesaic_error *error) {
    void *cursor = NULL;
    const char *key;
    const json_value *value;
    if (json_kind_of(request) != JSON_KIND_OBJECT)
        return status_set(error, MOESAIC_E_INPUT, "template: the request is not a JSON object");
    while (json_next(request, &cursor, &key, &value))
        if (strcmp(key, "messages") && strcmp(key, "tools") && strcmp(key, "add_generation_prompt") &&
            strcmp(key, "kwargs") && strcmp(key, "now") && strcmp(key, "documents"))
            return status_set(error, MOESAIC_E_INPUT, "template: unknown key '%s' in the request", key);
    if (json_kind_of(json_get(request, "messages")) != JSON_KIND_ARRAY)
        return status_set(error, MOESAIC_E_INPUT, "template: 'messages' is not an array");
    return MOESAIC_OK;
}

static moesaic_status render(moesaic_model *model, const json_value *request, char **ret_text, size_t *ret_bytes,
                             moesaic_error *error) {
    const json_value *tools = json_get(request, "tools"), *kwargs = json_get(request, "kwargs");
    struct chat_template *compiled;
    struct chat_template_input input = {.messages = json_get(request, "messages"),
                                        .tools = json_kind_of(tools) == JSON_KIND_NULL ? NULL : tools,
                                        .documents = json_get(request, "documents"),
                                        .kwargs = json_kind_of(kwargs) == JSON_KIND_NULL ? NULL : kwargs,
                                        .now = json_text(json_get(request, "now"), NULL),
                                        .bos_token = model->settings.bos,
                                        .eos_token = model->settings.eos,
                                        .pad_token = model->settings.pad,
                                        .unk_token = model->settings.unk};
    moesaic_status status =
        json_read_bool(request, "add_generation_prompt", "template", &input.add_generation_prompt, error);
    if (!status)
        status = template_get(model, input.tools != NULL, &compiled, error);
    return status ? status : chat_template_render(compiled, &input, ret_text, ret_bytes, error);
}

moesaic_status moesaic_template_render(const moesaic_model *model, const char *request, size_t bytes, char **ret_text,
                                       size_t *ret_bytes, moesaic_error *error) {
    json_value *root;
    moesaic_status status = json_parse(request, bytes, NULL, "template request", &root, error);
    if (status)
        return status;
    status = request_check(root, error);
    if (!status)
        status = render((moesaic_model *)model, root, ret_text, ret_bytes, error);
    json_free(root);
    return status;
}
