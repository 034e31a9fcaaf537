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

/* A folder's tokenizer.json, where there is one, and the settings beside it. */
static moesaic_status tokenizer_of_folder(moesaic_model *model, bool needed, moesaic_error *error) {
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

/* The same of an artifact, which carries the files. */
static moesaic_status tokenizer_of_artifact(moesaic_model *model, const struct artifact *artifact,
                                            moesaic_error *error) {
    const char *text;
    size_t bytes;
    if (!artifact_file(artifact, "tokenizer.json", &text, &bytes))
        return MOESAIC_OK;
    moesaic_status status = tokenizer_create(text, bytes, model->path, &model->tokenizer, error);
    for (size_t i = 0; !status && text_settings_files[i]; i++)
        if (artifact_file(artifact, text_settings_files[i], &text, &bytes))
            status = text_settings_apply(&model->settings, text_settings_files[i], text, bytes, model->path, error);
    return status;
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
    bool packed = artifact_recognized(path); /* mapping one is cheap, and its tokenizer lies in it */
    if (!status && (packed || !o.tokenizer_only))
        status = model_open(path, &model->model, error);
    if (!status)
        status = packed ? tokenizer_of_artifact(model, model_artifact(model->model), error)
                        : tokenizer_of_folder(model, o.tokenizer_only, error);
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

static moesaic_status weights_needed(const moesaic_model *model, moesaic_error *error) {
    return model->model ? MOESAIC_OK
                        : status_set(error, MOESAIC_E_USAGE, "model: opened for its tokenizer only (%s)", model->path);
}

/* Tensors and their bytes as the container has them. */
static void container_describe(const struct model *model, moesaic_model_info *info) {
    const struct artifact *artifact = model_artifact(model);
    const struct checkpoint *checkpoint = model_checkpoint(model);
    info->container = artifact ? "moe" : "safetensors";
    info->tensors = artifact ? artifact_tensors(artifact) : checkpoint_count(checkpoint);
    info->weight_bytes = 0;
    for (size_t i = 0; i < info->tensors; i++)
        info->weight_bytes +=
            artifact ? artifact_tensor_at(artifact, i)->weight.bytes : checkpoint_at(checkpoint, i)->bytes;
    info->file_bytes = artifact ? artifact_bytes(artifact) : info->weight_bytes;
    info->bits_per_weight = 8.0 * (double)info->weight_bytes / (double)info->total_parameters;
}

moesaic_status moesaic_model_info_get(const moesaic_model *model, moesaic_model_info *ret_info, moesaic_error *error) {
    moesaic_status status = weights_needed(model, error);
    if (status)
        return status;
    moesaic_model_info info = {.size = sizeof info, .path = model->path};
    pipeline_describe(model->model, &info);
    container_describe(model->model, &info);
    return api_result(ret_info, &info, sizeof info, "model info", error);
}

static moesaic_tensor_info checkpoint_tensor_info(const struct checkpoint *checkpoint, size_t index) {
    const struct tensor *t = checkpoint_at(checkpoint, index);
    moesaic_tensor_info info = {.size = sizeof info,
                                .name = t->name,
                                .format = t->type_name,
                                .layout = "rows",
                                .rank = t->rank,
                                .bytes = t->bytes};
    memcpy(info.shape, t->shape, sizeof info.shape);
    return info;
}

static moesaic_tensor_info artifact_tensor_info(const struct artifact *artifact, size_t index) {
    const struct artifact_tensor *t = artifact_tensor_at(artifact, index);
    return (moesaic_tensor_info){.size = sizeof(moesaic_tensor_info),
                                 .name = t->name,
                                 .format = number_format_name(t->weight.format),
                                 .layout = t->weight.layout == LAYOUT_PANEL16 ? "panel16" : "rows",
                                 .group = t->weight.group,
                                 .rank = t->weight.cols == 1 ? 1 : 2,
                                 .shape = {t->weight.rows, t->weight.cols},
                                 .bytes = t->weight.bytes,
                                 .checksum = artifact_run_at(artifact, t->run)->checksum};
}

moesaic_status moesaic_model_tensor_get(const moesaic_model *model, size_t index, moesaic_tensor_info *ret_info,
                                        moesaic_error *error) {
    moesaic_status status = weights_needed(model, error);
    if (status)
        return status;
    const struct artifact *artifact = model_artifact(model->model);
    const struct checkpoint *checkpoint = model_checkpoint(model->model);
    size_t count = artifact ? artifact_tensors(artifact) : checkpoint_count(checkpoint);
    if (index >= count)
        return status_set(error, MOESAIC_E_USAGE, "tensor: index %zu of %zu", index, count);
    moesaic_tensor_info info =
        artifact ? artifact_tensor_info(artifact, index) : checkpoint_tensor_info(checkpoint, index);
    double elements = 1;
    for (uint32_t i = 0; i < info.rank; i++)
        elements *= (double)info.shape[i];
    info.bits_per_weight = elements > 0 ? 8.0 * (double)info.bytes / elements : 0;
    return api_result(ret_info, &info, sizeof info, "tensor info", error);
}

moesaic_status moesaic_model_verify(const moesaic_model *model, moesaic_error *error) {
    moesaic_status status = weights_needed(model, error);
    return status || !model_artifact(model->model) ? status : artifact_verify(model_artifact(model->model), error);
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
    struct chat_template *compiled = NULL;
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
