/* SPDX-License-Identifier: Apache-2.0 */
/* `moesaic compress`: a checkpoint becomes a packed artifact. */
#include <stdlib.h>
#include <string.h>

#include "cost.h"

static const char *output, *calib_path, *preset, *recipe_path, *drop, *drop_layers, *masks, *prune, *quant, *compensate,
    *attention, *head, *budget;
static int64_t calib_tokens, seed;
static bool recover, resume, report = true, opponents = true;
static moesaic_cost_options cost;

static const struct option_spec options[] = {
    {"output", 'o', OPTION_TEXT, "OUT.moe", "the artifact to write", &output},
    {"calib", 0, OPTION_TEXT, "FILE", "calibration text ('-': standard input)", &calib_path},
    {"calib-tokens", 0, OPTION_INT, "N", "most tokens of it to use; 0: all, at most 131072", &calib_tokens, 0, 1e9},
    {"preset", 0, OPTION_TEXT, "NAME", "int4 (default), int4-all, int4-sparse50, small or quality", &preset},
    {"drop-experts", 0, OPTION_TEXT, "METHOD:SHARE",
     "whole experts of every layer: reap, frequency or random, and the share to drop", &drop},
    {"drop-layers", 0, OPTION_TEXT, "METHOD:SHARE", "whole layers: influence, and the share to drop", &drop_layers},
    {"seed", 0, OPTION_INT, "S", "of random choices", &seed, 0, 9e15},
    {"prune", 0, OPTION_TEXT, "METHOD:SHARE",
     "experts: magnitude, wanda, sparsegpt or structured, and the share to remove or 2:4, 4:8", &prune},
    {"masks", 0, OPTION_TEXT, "FOLDER", "prune by the masks of an exported folder", &masks},
    {"quant", 0, OPTION_TEXT, "METHOD:FORMAT",
     "experts: none, or rtn, clip, awq or gptq, and int8, int4, int3 or int2 with -gN", &quant},
    {"compensate", 0, OPTION_TEXT, "lowrank:RANK", "experts: a BF16 term of this rank for what is lost", &compensate},
    {"attention", 0, OPTION_TEXT, "FORMAT", "attention: bf16, int8, int4-g64, ...", &attention},
    {"head", 0, OPTION_TEXT, "FORMAT", "embedding and head: bf16, int8, int4-g64, ...", &head},
    {"budget", 0, OPTION_TEXT, "SIZE",
     "bits and density per expert under one budget: 3.2bpw of the whole file, or active:500MB a token", &budget},
    {"recover", 0, OPTION_FLAG, NULL, "fit each compressed layer to the full one's outputs on the text", &recover},
    {"recipe", 0, OPTION_TEXT, "FILE", "a JSON recipe over the preset; the options above win", &recipe_path},
    {"resume", 0, OPTION_FLAG, NULL, "go on from where an interrupted run stopped", &resume},
    {"report", 0, OPTION_FLAG, NULL, "--no-report leaves the comparison with the base out", &report},
    {"opponents", 0, OPTION_FLAG, NULL, "--no-opponents leaves plain INT8, INT4 and INT3 out of it", &opponents},
    CLI_COST_OPTIONS,
    {0}};

/* Puts `value` under KEY of PART, which is made when it is not there; one that is no object is left for the library to
 * refuse by name. */
static void recipe_set(json_t **recipe, const char *part, const char *key, json_t *value) {
    if (*recipe && !json_object_get(*recipe, part))
        cli_json_set(recipe, part, json_object());
    json_t *object = json_object_get(*recipe, part);
    if (object && !json_is_object(object)) {
        json_decref(value);
    } else if (json_object_set_new(object, key, value)) {
        json_decref(*recipe);
        *recipe = NULL;
    }
}

/* "int4-g64" into format and group; a format alone keeps the recipe's group. */
static void set_format(json_t **recipe, const char *part, const char *text) {
    const char *dash = strstr(text, "-g");
    recipe_set(recipe, part, "format", json_stringn(text, dash ? (size_t)(dash - text) : strlen(text)));
    if (dash)
        recipe_set(recipe, part, "group", json_integer(atol(dash + 2)));
}

/* METHOD:SHARE of an option into the object under `key`. */
static int set_drop(json_t **recipe, const char *key, const char *option, const char *text, const char *example) {
    const char *colon = strchr(text, ':');
    char *end = NULL;
    double share = colon ? strtod(colon + 1, &end) : -1;
    if (!colon || end == colon + 1 || *end || !(share >= 0 && share < 1))
        return cli_usage("%s: '%s' is not METHOD:SHARE, such as %s", option, text, example);
    recipe_set(recipe, key, "method", json_stringn(text, (size_t)(colon - text)));
    recipe_set(recipe, key, "share", json_real(share));
    return EXIT_DONE;
}

static int set_prune(json_t **recipe) {
    const char *colon = strchr(prune, ':');
    if (!strcmp(prune, "none")) {
        recipe_set(recipe, "experts", "prune", json_string("none"));
        recipe_set(recipe, "experts", "density", json_integer(1));
        return EXIT_DONE;
    }
    if (!colon)
        return cli_usage("--prune: '%s' is not METHOD:SHARE, such as sparsegpt:0.5 or wanda:2:4", prune);
    bool structured = !strncmp(prune, "structured:", 11);
    if (!structured)
        recipe_set(recipe, "experts", "prune", json_stringn(prune, (size_t)(colon - prune)));
    if (!structured && strchr(colon + 1, ':')) {
        recipe_set(recipe, "experts", "pattern", json_string(colon + 1));
        return EXIT_DONE;
    }
    char *end;
    double share = strtod(colon + 1, &end);
    if (end == colon + 1 || *end || !(share >= 0 && share < 1))
        return cli_usage("--prune: '%s' is not a share from 0 to under 1%s", colon + 1,
                         structured ? "" : ", 2:4 or 4:8");
    if (structured)
        recipe_set(recipe, "neurons", "share", json_real(share));
    else
        recipe_set(recipe, "experts", "density", json_real(1 - share));
    return EXIT_DONE;
}

static int set_quant(json_t **recipe) {
    const char *colon = strchr(quant, ':');
    if (!strcmp(quant, "none")) {
        recipe_set(recipe, "experts", "quant", json_string("none"));
        recipe_set(recipe, "experts", "format", json_string("bf16"));
        recipe_set(recipe, "experts", "refine", json_integer(0));
        return EXIT_DONE;
    }
    if (!colon)
        return cli_usage("--quant: '%s' is not METHOD:FORMAT, such as gptq:int4-g64", quant);
    recipe_set(recipe, "experts", "quant", json_stringn(quant, (size_t)(colon - quant)));
    if (strncmp(quant, "gptq", 4))
        recipe_set(recipe, "experts", "refine", json_integer(0));
    set_format(recipe, "experts", colon + 1);
    return EXIT_DONE;
}

static int set_compensate(json_t **recipe) {
    char *end = NULL;
    long rank = strncmp(compensate, "lowrank:", 8) ? 0 : strtol(compensate + 8, &end, 10);
    if (rank < 1 || *end)
        return cli_usage("--compensate: '%s' is not lowrank:RANK, such as lowrank:16", compensate);
    recipe_set(recipe, "experts", "rank", json_integer(rank));
    return EXIT_DONE;
}

/* Matrices beside the experts: integers by clip search, or by GPTQ where inputs are known and the format is coarse. */
static void set_part(json_t **recipe, const char *part, const char *format) {
    bool looked_up = !strcmp(part, "embedding"), coarse = strncmp(format, "int8", 4) && strcmp(format, "bf16");
    recipe_set(recipe, part, "quant",
               json_string(!strcmp(format, "bf16") ? "none"
                           : coarse && !looked_up  ? "gptq"
                                                   : "clip"));
    recipe_set(recipe, part, "refine", json_integer(coarse && !looked_up ? 8 : 0));
    set_format(recipe, part, format);
}

static int set_budget(json_t **recipe) {
    bool active = !strncmp(budget, "active:", 7);
    char *end;
    double amount = active ? 0 : strtod(budget, &end);
    if (active ? !cli_read_bytes(budget + 7, &amount) : end == budget || strcmp(end, "bpw"))
        return cli_usage("--budget: '%s' is neither bits a weight, such as 3.2bpw, nor active:BYTES, such as "
                         "active:500MB",
                         budget);
    recipe_set(recipe, "budget", active ? "active_bytes" : "bits_per_weight", json_real(amount));
    json_object_del(json_object_get(*recipe, "budget"), active ? "bits_per_weight" : "active_bytes");
    return EXIT_DONE;
}

/* The options over the recipe. */
static int options_set(json_t **recipe) {
    int status = drop ? set_drop(recipe, "drop", "--drop-experts", drop, "reap:0.25") : EXIT_DONE;
    if (!status && drop)
        recipe_set(recipe, "drop", "seed", json_integer(seed));
    if (!status && drop_layers)
        status = set_drop(recipe, "drop_layers", "--drop-layers", drop_layers, "influence:0.25");
    if (!status && prune)
        status = set_prune(recipe);
    if (!status && quant)
        status = set_quant(recipe);
    if (!status && compensate)
        status = set_compensate(recipe);
    if (!status && budget)
        status = set_budget(recipe);
    if (recover)
        cli_json_set(recipe, "recover", json_true());
    if (attention)
        set_part(recipe, "attention", attention);
    if (head) {
        set_part(recipe, "embedding", head);
        set_part(recipe, "head", head);
    }
    return status;
}

/* The recipe file and the options over it, as JSON text; freed with free(). */
static int recipe_text(char **ret_text) {
    char *text = NULL;
    size_t bytes = 0;
    json_error_t why;
    int status = recipe_path ? cli_read_file(recipe_path, &text, &bytes) : EXIT_DONE;
    if (status)
        return status;
    json_t *recipe = recipe_path ? json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &why) : json_object();
    free(text);
    if (!json_is_object(recipe)) {
        json_decref(recipe);
        return cli_usage("%s: not a JSON object: %s (line %d)", recipe_path, recipe ? "" : why.text,
                         recipe ? 1 : why.line);
    }
    status = options_set(&recipe);
    if (!status && !(*ret_text = cli_json_text(recipe)))
        status = cli_json_fail("recipe");
    json_decref(recipe);
    return status;
}

static json_t *part_json(const moesaic_compressed_part *p) {
    return json_pack("{s:i,s:i,s:i,s:s,s:s,s:f,s:I,s:I,s:I,s:f,s:f}", "layer", (int)p->layer, "expert", (int)p->expert,
                     "source", (int)p->source, "method", p->method, "format", p->format, "density", p->density,
                     "tokens", (json_int_t)p->tokens, "forced_tokens", (json_int_t)p->forced_tokens, "bytes",
                     (json_int_t)p->bytes, "bits_per_weight", p->bits_per_weight, "error", p->error);
}

/* A line for each layer that has experts with too little calibration: "expert (tokens that reached it)". */
static void starved_print(const moesaic_compress_result *r) {
    const moesaic_compressed_part *before = NULL;
    for (size_t i = 0; i < r->parts; i++) {
        const moesaic_compressed_part *p = &r->part[i];
        if (!p->forced_tokens)
            continue;
        if (!before || before->layer != p->layer)
            printf("%slayer %u, experts with too little calibration, made up by force:", before ? "\n" : "", p->layer);
        printf(" %d (%llu)", p->expert, (unsigned long long)p->tokens);
        before = p;
    }
    if (before)
        putchar('\n');
}

/* The layers that went, each with its influence. */
static void layers_print(const moesaic_compress_result *r) {
    fputs("layers dropped (influence):", stdout);
    for (uint32_t i = 0; i < r->source_layers; i++)
        if (r->source_layer[i].layer < 0)
            printf(" %u (%.4f)", i, r->source_layer[i].influence);
    putchar('\n');
}

static void summary_print(const moesaic_compress_result *r) {
    char bytes[32];
    size_t worst = 0;
    double error = 0;
    for (size_t i = 0; i < r->parts; i++) {
        worst = r->part[i].error > r->part[worst].error ? i : worst;
        error += r->part[i].error / (double)r->parts;
    }
    printf("%s: %s, %.3f bits a weight, %.3f in the experts; %.1f s on %llu tokens\n", output,
           cli_bytes((double)r->bytes, bytes), r->bits_per_weight, r->expert_bits_per_weight, r->seconds,
           (unsigned long long)r->calib_tokens);
    if (r->source_layers)
        layers_print(r);
    if (r->parts)
        printf("output error of the experts: %.4f on average, %.4f at worst (layer %u, expert %d)\n", error,
               r->part[worst].error, r->part[worst].layer, r->part[worst].expert);
    if (r->budget_bytes)
        printf("budget: %.2f %% of it used; another choice of bits could lower the experts' error by %.2g %% at most\n",
               100.0 * (double)r->budget_used / (double)r->budget_bytes, 100 * r->budget_gap);
    starved_print(r);
}

/* The dense alternatives, and which of them are no larger and nearer to the base. */
static void opponents_print(const json_t *list) {
    size_t i;
    const json_t *o;
    json_array_foreach(list, i, o) {
        char bytes[32];
        double kl = json_number_value(json_object_get(o, "kl_mean"));
        printf("%s %-14s %10s  KL %.5f%s\n", i ? "        " : "beside: ", json_string_value(json_object_get(o, "name")),
               cli_bytes(json_number_value(json_object_get(o, "file_bytes")), bytes), kl,
               json_is_true(json_object_get(o, "better")) ? "  better, and no larger" : "");
    }
}

static void quality_print(const moesaic_compare_result *r, const json_t *document, const char *name, const char *stem) {
    printf(
        "against the base on %llu %s tokens: KL %.5f (p99 %.3f), same first choice %.2f %%, perplexity %.3f to %.3f\n",
        (unsigned long long)r->tokens, name, r->kl_mean, r->kl_p99, 100 * r->top1, r->base_perplexity, r->perplexity);
    opponents_print(json_object_get(document, "opponents"));
    cli_cost_print(document);
    printf("report: %s.report.html, %s.report.json\n", stem, stem);
}

/* ---- the comparison ---------------------------------------------------------------------------------------------- */

enum { COMPARED_TOKENS = 8192 };

/* "OUT.report.html" for OUT.moe; freed with free(). */
static char *report_path(const char *suffix) {
    size_t bytes = strlen(output);
    if (bytes > 4 && !strcmp(output + bytes - 4, ".moe"))
        bytes -= 4;
    char *path = malloc(bytes + strlen(suffix) + 1);
    if (path) {
        memcpy(path, output, bytes);
        strcpy(path + bytes, suffix);
    }
    return path;
}

/* Everything the comparison opens. */
struct comparing {
    char *stem, *html, *json;
    moesaic_model *packed;
    moesaic_engine *base, *optimized;
    struct cli_opponents opponents;
};

static int comparing_open(struct comparing *c, moesaic_model *model) {
    moesaic_error error;
    moesaic_engine_options engine = {
        .size = sizeof engine, .threads = (uint32_t)cli_common.threads, .kv = MOESAIC_KV_F32, .isa = cli_common.isa};
    c->stem = report_path("");
    c->html = report_path(".report.html");
    c->json = report_path(".report.json");
    if (!c->stem || !c->html || !c->json) {
        fputs("moesaic: report: out of memory\n", stderr);
        return EXIT_FAILED;
    }
    if (moesaic_model_open(output, NULL, &c->packed, &error) ||
        moesaic_engine_create(model, &engine, &c->base, &error) ||
        moesaic_engine_create(c->packed, &engine, &c->optimized, &error))
        return cli_fail(&error);
    return EXIT_DONE;
}

static void comparing_close(struct comparing *c) {
    cli_opponents_close(&c->opponents);
    moesaic_engine_destroy(c->optimized);
    moesaic_engine_destroy(c->base);
    moesaic_model_release(c->packed);
    free(c->json);
    free(c->html);
    free(c->stem);
}

/* Compares on the held-out text and writes the report beside the artifact. *ret_report: the document, with --json. */
static int compare(moesaic_model *model, const moesaic_compress_options *made, bool pruned, const char *calib,
                   size_t calib_bytes, json_t **ret_report) {
    moesaic_error error;
    struct cli_progress progress;
    struct comparing c = {0};
    size_t used = cli_calibration_bytes(calib, calib_bytes);
    bool held_out = used < calib_bytes;
    const moesaic_compare_text text = {held_out ? "held-out" : "calibration", held_out ? calib + used : calib,
                                       held_out ? calib_bytes - used : calib_bytes};
    moesaic_compare_result result = {.size = sizeof result};
    int status = comparing_open(&c, model);
    if (!status && opponents)
        status = cli_opponents_make(model, made, c.stem, pruned, &c.opponents);
    moesaic_compare_options compare_options = {.size = sizeof compare_options,
                                               .text = &text,
                                               .texts = 1,
                                               .tokens = COMPARED_TOKENS,
                                               .opponent = c.opponents.opponent,
                                               .opponents = c.opponents.count,
                                               .json_path = c.json,
                                               .html_path = c.html,
                                               .progress = cli_progress_update,
                                               .user = &progress,
                                               .cost = &cost};
    cli_progress_begin(&progress, "compare", "tokens");
    bool failed = !status && moesaic_compare(c.base, c.optimized, &compare_options, &result, &error) != MOESAIC_OK;
    cli_progress_end(&progress);
    if (failed)
        status = cli_fail_output(&error);
    if (!status && !(*ret_report = json_loadb(result.json, result.json_bytes, JSON_ALLOW_NUL, NULL)))
        status = cli_json_fail("report");
    if (!status && !cli_common.json && !cli_common.quiet)
        quality_print(&result, *ret_report, text.name, c.stem);
    moesaic_free(result.json);
    comparing_close(&c);
    return status;
}

/* ---- the verb ---------------------------------------------------------------------------------------------------- */

/* Every layer of the checkpoint: its influence, and its number in the artifact or null. */
static json_t *layers_json(const moesaic_compress_result *r) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < r->source_layers; i++) {
        int32_t now = r->source_layer[i].layer;
        cli_json_add(&list, json_pack("{s:i,s:f,s:o}", "source", (int)i, "influence", r->source_layer[i].influence,
                                      "layer", now < 0 ? json_null() : json_integer(now)));
    }
    return list;
}

static int result_json(const moesaic_compress_result *r, json_t *document) {
    json_t *parts = json_array();
    for (size_t i = 0; i < r->parts; i++)
        cli_json_add(&parts, part_json(&r->part[i]));
    json_t *root = json_pack("{s:s,s:s,s:I,s:I,s:f,s:f,s:I,s:i,s:f,s:o}", "schema", "moesaic.compress/1", "output",
                             output, "bytes", (json_int_t)r->bytes, "weight_bytes", (json_int_t)r->weight_bytes,
                             "bits_per_weight", r->bits_per_weight, "expert_bits_per_weight", r->expert_bits_per_weight,
                             "calib_tokens", (json_int_t)r->calib_tokens, "resumed_layers", (int)r->resumed_layers,
                             "seconds", r->seconds, "experts", parts);
    cli_json_set(&root, "forward_s", json_real(r->forward_s));
    cli_json_set(&root, "fit_s", json_real(r->fit_s));
    if (r->budget_bytes)
        cli_json_set(&root, "budget",
                     json_pack("{s:I,s:I,s:f,s:f}", "bytes", (json_int_t)r->budget_bytes, "used",
                               (json_int_t)r->budget_used, "error", r->budget_error, "gap", r->budget_gap));
    if (r->source_layers)
        cli_json_set(&root, "layers", layers_json(r));
    if (document)
        cli_json_set(&root, "report", document);
    return cli_json_print(root);
}

static int compress(moesaic_model *model, const char *recipe, const char *calib, size_t calib_bytes) {
    moesaic_error error;
    struct cli_progress progress;
    json_t *document = NULL;
    moesaic_compress_result result = {.size = sizeof result};
    moesaic_compress_options compress_options = {.size = sizeof compress_options,
                                                 .preset = preset,
                                                 .recipe = recipe,
                                                 .recipe_bytes = strlen(recipe),
                                                 .calib = calib,
                                                 .calib_bytes = cli_calibration_bytes(calib, calib_bytes),
                                                 .calib_tokens = (uint32_t)calib_tokens,
                                                 .threads = (uint32_t)cli_common.threads,
                                                 .resume = resume,
                                                 .progress = cli_progress_update,
                                                 .user = &progress,
                                                 .masks = masks};
    cli_progress_begin(&progress, "compress", "thousandths");
    bool failed = moesaic_compress(model, output, &compress_options, &result, &error) != MOESAIC_OK;
    cli_progress_end(&progress);
    if (failed)
        return cli_fail_text(&error, calib_path);
    if (!cli_common.json && !cli_common.quiet)
        summary_print(&result);
    bool pruned = false;
    for (size_t i = 0; i < result.parts; i++)
        pruned |= result.part[i].density < 1;
    int status = report ? compare(model, &compress_options, pruned, calib, calib_bytes, &document) : EXIT_DONE;
    if (cli_common.json && !status)
        status = result_json(&result, json_incref(document));
    else if (!status)
        status = cli_flush();
    json_decref(document);
    moesaic_free(result.source_layer);
    moesaic_free(result.part);
    return status;
}

static int run(int count, const char *const *positional) {
    moesaic_error error;
    moesaic_model *model = NULL;
    char *recipe = NULL, *calib = NULL;
    size_t calib_bytes = 0;
    if (!output || !calib_path)
        return cli_usage("compress: -o OUT.moe and --calib FILE are needed");
    int status = cli_cost_options(&cost);
    if (!status)
        status = recipe_text(&recipe);
    if (!status)
        status = cli_read_file(calib_path, &calib, &calib_bytes);
    if (!status && moesaic_model_open(count ? positional[0] : NULL, NULL, &model, &error))
        status = cli_fail(&error);
    if (!status)
        status = compress(model, recipe, calib, calib_bytes);
    moesaic_model_release(model);
    free(calib);
    free(recipe);
    return status;
}

const struct verb verb_compress = {"compress",
                                   "[MODEL] -o OUT.moe --calib FILE [OPTIONS]",
                                   "prune and quantize every expert on its own, into one packed file",
                                   options,
                                   0,
                                   1,
                                   run};
