/* SPDX-License-Identifier: Apache-2.0 */
/* The honest opponents of a compression: what plain dense integers, and not pruning, make of the same model. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

/* The quantized matrices of experts and nothing else; attention, embedding and head stay as in the recipe itself. */
struct dense {
    const char *name, *quant, *format;
    int refine;
    uint32_t calib_tokens; /* at most; 0: as many as the recipe. RTN looks at none, but attention may */
};
enum { PLAIN_TOKENS = 4096 };
static const struct dense plain[] = {{"INT8 g64 RTN", "rtn", "int8", 0, PLAIN_TOKENS},
                                     {"INT4 g64 RTN", "rtn", "int4", 0, PLAIN_TOKENS},
                                     {"INT3 g64 RTN", "rtn", "int3", 0, PLAIN_TOKENS}};
static const struct dense unpruned = {"INT3 g64 GPTQ", "gptq", "int3", 8, 0};

/* The recipe with `dense` for its experts; freed with free(), NULL without memory. */
static char *recipe_of(const char *recipe, const struct dense *dense) {
    static const char *const gone[] = {"rare",   "rare_share", "drop",       "neurons",
                                       "budget", "recover",    "exceptions", "drop_layers"};
    json_t *root = json_loads(recipe, 0, NULL);
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        json_object_del(root, gone[i]);
    cli_json_set(&root, "experts",
                 json_pack("{s:s,s:i,s:s,s:s,s:i,s:i}", "prune", "none", "density", 1, "quant", dense->quant, "format",
                           dense->format, "group", 64, "refine", dense->refine));
    char *text = cli_json_text(root);
    json_decref(root);
    return text;
}

static moesaic_status opponent_add(const moesaic_model *model, const moesaic_compress_options *ours, const char *path,
                                   const struct dense *dense, struct cli_opponents *set, moesaic_error *error) {
    moesaic_compress_options options = *ours;
    moesaic_compress_result result = {.size = sizeof result};
    moesaic_engine_options engine = {
        .size = sizeof engine, .threads = (uint32_t)cli_common.threads, .kv = MOESAIC_KV_F32, .isa = cli_common.isa};
    struct cli_progress progress;
    char *recipe = recipe_of(ours->recipe, dense);
    if (!recipe) {
        snprintf(error->message, sizeof error->message, "out of memory");
        return MOESAIC_E_MEMORY;
    }
    options.recipe = recipe;
    options.recipe_bytes = strlen(recipe);
    options.masks = NULL;
    options.resume = false;
    options.user = &progress;
    if (dense->calib_tokens && (!ours->calib_tokens || ours->calib_tokens > dense->calib_tokens))
        options.calib_tokens = dense->calib_tokens;
    cli_progress_begin(&progress, dense->name, "thousandths");
    moesaic_status status = moesaic_compress(model, path, &options, &result, error);
    cli_progress_end(&progress);
    moesaic_free(result.part);
    free(recipe);
    size_t i = set->count;
    if (!status)
        status = moesaic_model_open(path, NULL, &set->model[i], error);
    unlink(path); /* what is mapped stays until it is closed */
    if (!status)
        status = moesaic_engine_create(set->model[i], &engine, &set->engine[i], error);
    set->opponent[i] = (moesaic_compare_opponent){dense->name, set->engine[i]};
    set->count += !status;
    return status;
}

int cli_opponents_make(const moesaic_model *model, const moesaic_compress_options *ours, const char *beside,
                       bool pruned, struct cli_opponents *set) {
    static const char folder_end[] = ".opponents-XXXXXX", file[] = "/dense.moe";
    moesaic_error error = {0};
    size_t folder_bytes = strlen(beside) + sizeof folder_end;
    char *folder = malloc(folder_bytes), *path = malloc(folder_bytes + sizeof file);
    moesaic_status status = folder && path ? MOESAIC_OK : MOESAIC_E_MEMORY;
    if (!status) {
        sprintf(folder, "%s%s", beside, folder_end);
        status = mkdtemp(folder) ? MOESAIC_OK : MOESAIC_E_IO;
        sprintf(path, "%s%s", folder, file);
    }
    if (status) {
        snprintf(error.message, sizeof error.message, "cannot make a folder beside %s", beside);
    } else {
        for (size_t i = 0; !status && i < sizeof plain / sizeof *plain; i++)
            status = opponent_add(model, ours, path, &plain[i], set, &error);
        if (!status && pruned)
            status = opponent_add(model, ours, path, &unpruned, set, &error);
        moesaic_compress_discard(path, NULL);
        rmdir(folder);
    }
    free(path);
    free(folder);
    if (status == MOESAIC_E_CANCELLED)
        return cli_fail(&error);
    if (status)
        fprintf(stderr, "moesaic: opponents left out: %s\n", error.message);
    return EXIT_DONE;
}

void cli_opponents_close(struct cli_opponents *set) {
    for (size_t i = 0; i < CLI_OPPONENTS_MAX; i++) {
        moesaic_engine_destroy(set->engine[i]);
        moesaic_model_release(set->model[i]);
    }
    *set = (struct cli_opponents){0};
}
