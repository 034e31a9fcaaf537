/* SPDX-License-Identifier: Apache-2.0 */
/* `moesaic inspect` and `moesaic export`: what is in a model, and the model as a folder for other tools. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static bool verify, tensors;
static const char *output;

static const struct option_spec inspect_options[] = {
    {"tensors", 0, OPTION_FLAG, NULL, "list every tensor (always with --json)", &tensors},
    {"verify", 0, OPTION_FLAG, NULL, "recompute every checksum that the container keeps", &verify},
    {0}};
static const struct option_spec export_options[] = {
    {"output", 'o', OPTION_TEXT, "FOLDER", "new or empty folder to write", &output}, {0}};

static json_t *tensor_json(const moesaic_tensor_info *t) {
    json_t *shape = json_array();
    for (uint32_t i = 0; i < t->rank; i++)
        cli_json_add(&shape, json_integer((json_int_t)t->shape[i]));
    json_t *entry = json_pack("{s:s,s:s,s:s,s:o,s:I,s:f}", "name", t->name, "format", t->format, "layout", t->layout,
                              "shape", shape, "bytes", (json_int_t)t->bytes, "bits_per_weight", t->bits_per_weight);
    if (entry && t->checksum) {
        char text[20];
        snprintf(text, sizeof text, "%016" PRIx64, t->checksum);
        cli_json_set(&entry, "xxh3", json_string(text));
    }
    return entry;
}

static json_t *info_json(const moesaic_model_info *m) {
    return json_pack(
        "{s:s,s:s,s:s,s:s,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:i,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:f}",
        "schema", "moesaic.inspect/1", "architecture", m->architecture, "family", m->family, "container", m->container,
        "layers", (int)m->layers, "moe_layers", (int)m->moe_layers, "hidden", (int)m->hidden, "heads", (int)m->heads,
        "kv_heads", (int)m->kv_heads, "head_dim", (int)m->head_dim, "vocab", (int)m->vocab, "experts", (int)m->experts,
        "top_k", (int)m->top_k, "intermediate", (int)m->intermediate, "moe_intermediate", (int)m->moe_intermediate,
        "shared_intermediate", (int)m->shared_intermediate, "max_position", (json_int_t)m->max_position,
        "total_parameters", (json_int_t)m->total_parameters, "active_parameters", (json_int_t)m->active_parameters,
        "flops_per_token", (json_int_t)m->flops_per_token, "attention_flops_per_position",
        (json_int_t)m->attention_flops_per_position, "bytes", (json_int_t)m->weight_bytes, "active_bytes",
        (json_int_t)m->active_bytes, "kv_bytes_per_token", (json_int_t)m->kv_bytes_per_token, "bits_per_weight",
        m->bits_per_weight, "expert_bits_per_weight", m->expert_bits_per_weight);
}

static void info_print(const moesaic_model_info *m) {
    char a[32], b[32];
    printf("architecture      %s (%s)\n", m->architecture, m->container);
    printf("layers            %u (%u with experts)\n", m->layers, m->moe_layers);
    printf("hidden            %u; %u heads, %u KV heads of %u\n", m->hidden, m->heads, m->kv_heads, m->head_dim);
    if (m->experts)
        printf("experts           %u, top-%u of %u%s\n", m->experts, m->top_k, m->moe_intermediate,
               m->shared_intermediate ? ", and a shared one" : "");
    printf("vocabulary        %u\n", m->vocab);
    printf("context           %" PRId64 "\n", m->max_position);
    printf("parameters        %s total, %s active a token\n", cli_count((double)m->total_parameters, a),
           cli_count((double)m->active_parameters, b));
    printf("FLOPs             %s a token, and %s for each position attended to\n",
           cli_count((double)m->flops_per_token, a), cli_count((double)m->attention_flops_per_position, b));
    printf("weights           %s, %s read for a token alone; %.3f bits a weight", cli_bytes((double)m->weight_bytes, a),
           cli_bytes((double)m->active_bytes, b), m->bits_per_weight);
    printf(m->experts ? ", %.3f in the experts\n" : "\n", m->expert_bits_per_weight);
    printf("KV cache          %s a token (F32)\n", cli_bytes((double)m->kv_bytes_per_token, a));
}

static void tensor_print(const moesaic_tensor_info *t) {
    char shape[128] = "", bytes[32];
    for (uint32_t i = 0; i < t->rank; i++) {
        size_t at = strlen(shape);
        snprintf(shape + at, sizeof shape - at, i ? " x %" PRIu64 : "%" PRIu64, t->shape[i]);
    }
    printf("%-64s %-12s %-8s %-20s %12s\n", t->name, t->format, t->layout, shape, cli_bytes((double)t->bytes, bytes));
}

static int inspect(const moesaic_model *model) {
    moesaic_error error;
    moesaic_model_info info = {.size = sizeof info};
    if (moesaic_model_info_get(model, &info, &error) || (verify && moesaic_model_verify(model, &error)))
        return cli_fail(&error);
    json_t *list = json_array();
    if (!cli_common.json)
        info_print(&info);
    if (!cli_common.json && tensors)
        putchar('\n');
    for (size_t i = 0; (cli_common.json || tensors) && i < info.tensors; i++) {
        moesaic_tensor_info tensor = {.size = sizeof tensor};
        if (moesaic_model_tensor_get(model, i, &tensor, &error)) {
            json_decref(list);
            return cli_fail(&error);
        }
        if (cli_common.json)
            cli_json_add(&list, tensor_json(&tensor));
        else
            tensor_print(&tensor);
    }
    if (!cli_common.json) {
        json_decref(list);
        return cli_flush();
    }
    json_t *document = info_json(&info);
    if (verify)
        cli_json_set(&document, "verified", json_true());
    cli_json_set(&document, "tensors", list);
    return cli_json_print(document);
}

static int run_inspect(int count, const char *const *positional) {
    moesaic_error error;
    moesaic_model *model;
    if (moesaic_model_open(count ? positional[0] : NULL, NULL, &model, &error))
        return cli_fail(&error);
    int status = inspect(model);
    moesaic_model_release(model);
    return status;
}

static int run_export(int count, const char *const *positional) {
    moesaic_error error;
    moesaic_model *model;
    if (!output)
        return cli_usage("export: -o FOLDER is missing");
    if (moesaic_model_open(count ? positional[0] : NULL, NULL, &model, &error))
        return cli_fail(&error);
    struct cli_progress progress;
    moesaic_export_result result = {.size = sizeof result};
    cli_progress_begin(&progress, "export", "bytes");
    bool failed = moesaic_export(model, output, cli_progress_update, &progress, &result, &error) != MOESAIC_OK;
    cli_progress_end(&progress);
    moesaic_model_release(model);
    if (failed)
        return cli_fail_output(&error);
    if (cli_common.json)
        return cli_json_print(json_pack("{s:s,s:i,s:I}", "schema", "moesaic.export/1", "files", (int)result.files,
                                        "bytes", (json_int_t)result.bytes));
    char bytes[32];
    if (!cli_common.quiet)
        printf("%s: %u files, %s\n", output, result.files, cli_bytes((double)result.bytes, bytes));
    return cli_flush();
}

const struct verb verb_inspect = {
    "inspect", "[MODEL] [--tensors] [--verify]", "say what is in a model", inspect_options, 0, 1, run_inspect};
const struct verb verb_export = {
    "export", "[MODEL] -o FOLDER", "write the model as a Hugging Face folder", export_options, 0, 1, run_export};
