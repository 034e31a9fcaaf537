/* SPDX-License-Identifier: Apache-2.0 */
/* Every allocation of every verb fails once: the call says so, frees what it took, and the next one works. argv[1] is
 * the folder of test data. Prints TAP. */
#include <moesaic/moesaic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "allocations.h"

/* What a scenario works with; opened before the faults begin, NULL where the scenario itself opens it. */
struct world {
    const char *data;
    char model_path[512], out[64], folder[64], masks[64], routing[64], plan[64], text[2048];
    size_t text_bytes;
    moesaic_model *model, *deep; /* deep: of several layers */
    moesaic_engine *engine;
    uint64_t digest; /* of what the scenario computed */
};

static void digest_add(struct world *w, const void *data, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        w->digest = (w->digest ^ ((const uint8_t *)data)[i]) * UINT64_C(0x100000001b3);
}

/* ---- scenarios --------------------------------------------------------------------------------------------------- */

static moesaic_status open_model(struct world *w, moesaic_error *error) {
    moesaic_model *model;
    moesaic_model_info info = {.size = sizeof info};
    moesaic_status status = moesaic_model_open(w->model_path, NULL, &model, error);
    if (status)
        return status;
    status = moesaic_model_info_get(model, &info, error);
    digest_add(w, &info.total_parameters, sizeof info.total_parameters);
    moesaic_model_release(model);
    return status;
}

static moesaic_status tokenize(struct world *w, moesaic_error *error) {
    int32_t *ids;
    size_t count, bytes;
    char *text;
    moesaic_status status = moesaic_tokenize(w->model, w->text, w->text_bytes, true, &ids, &count, error);
    if (status)
        return status;
    digest_add(w, ids, count * sizeof *ids);
    status = moesaic_detokenize(w->model, ids, count, false, &text, &bytes, error);
    moesaic_free(ids);
    if (status)
        return status;
    digest_add(w, text, bytes);
    moesaic_free(text);
    return MOESAIC_OK;
}

static moesaic_status render(struct world *w, moesaic_error *error) {
    static const char request[] =
        "{\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\",\"content\":\"Why?\"},"
        "{\"role\":\"assistant\",\"content\":\"Because.\"},{\"role\":\"user\",\"content\":\"caf\\u00e9\"}],"
        "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\"}}}],"
        "\"add_generation_prompt\":true,\"kwargs\":{\"a\":[1,2.5,null]},\"now\":\"2025-02-03T04:05:06\"}";
    char *text;
    size_t bytes;
    moesaic_status status = moesaic_template_render(w->model, request, sizeof request - 1, &text, &bytes, error);
    if (status)
        return status;
    digest_add(w, text, bytes);
    moesaic_free(text);
    return MOESAIC_OK;
}

static moesaic_status create_engine(struct world *w, moesaic_error *error) {
    moesaic_engine_options options = {.size = sizeof options, .threads = 2, .no_pin = true, .step_tokens = 32};
    moesaic_engine *engine;
    moesaic_status status = moesaic_engine_create(w->model, &options, &engine, error);
    if (!status)
        moesaic_engine_destroy(engine);
    return status;
}

static int digest_token(void *user, const moesaic_token *token) {
    digest_add(user, &token->id, sizeof token->id);
    digest_add(user, token->text, token->text_bytes);
    return 0;
}

static moesaic_status generate(struct world *w, moesaic_error *error) {
    static const char *const stops[] = {"never to be met", "nor this"};
    moesaic_sampling sampling = {.size = sizeof sampling,
                                 .temperature = 0.8,
                                 .top_p = 0.9,
                                 .repeat_penalty = 1.1,
                                 .frequency_penalty = 0.1,
                                 .seed = 5,
                                 .ignore_eos = true,
                                 .logprobs = true,
                                 .top_logprobs = 3,
                                 .stop = stops,
                                 .stops = 2};
    moesaic_sequence_options options = {.size = sizeof options, .capacity_tokens = 300};
    moesaic_sequence *sequence;
    moesaic_status status = moesaic_sequence_create(w->engine, &options, &sequence, error);
    if (status)
        return status;
    status = moesaic_sequence_append_text(sequence, w->text, 300, true, error);
    if (!status)
        status = moesaic_sequence_generate(sequence, &sampling, 8, digest_token, w, NULL, error);
    moesaic_sequence_destroy(sequence);
    return status;
}

static moesaic_status eval(struct world *w, moesaic_error *error) {
    moesaic_eval_options options = {.size = sizeof options, .window = 64, .stride = 48, .nll_path = w->out};
    moesaic_eval_result result = {.size = sizeof result};
    moesaic_status status = moesaic_eval(w->engine, w->text, w->text_bytes, &options, &result, error);
    digest_add(w, &result.nll, sizeof result.nll);
    return status;
}

static moesaic_status logits(struct world *w, moesaic_error *error) {
    static const int32_t ids[] = {1, 2, 3, 4, 5};
    return moesaic_logits_write(w->engine, ids, 5, true, w->out, error);
}

static moesaic_status trace(struct world *w, moesaic_error *error) {
    moesaic_trace_result result = {.size = sizeof result};
    moesaic_status status =
        moesaic_trace_write(w->engine, w->text, w->text_bytes, 64, w->out, NULL, NULL, &result, error);
    if (status)
        return status;
    for (uint32_t i = 0; i < result.layers; i++)
        digest_add(w, &result.layer[i].entropy_bits, sizeof(double));
    moesaic_free(result.layer);
    return MOESAIC_OK;
}

static moesaic_status compress_any(struct world *w, const moesaic_model *model, const char *recipe, const char *masks,
                                   moesaic_error *error) {
    moesaic_compress_options options = {.size = sizeof options,
                                        .recipe = recipe,
                                        .recipe_bytes = strlen(recipe),
                                        .calib = w->text,
                                        .calib_bytes = w->text_bytes,
                                        .calib_tokens = 128,
                                        .threads = 2,
                                        .no_pin = true,
                                        .masks = masks};
    moesaic_compress_result result = {.size = sizeof result};
    moesaic_status status = moesaic_compress(model, w->out, &options, &result, error);
    if (status)
        return status;
    for (size_t i = 0; i < result.parts; i++)
        digest_add(w, &result.part[i].error, sizeof(double));
    moesaic_free(result.source_layer);
    moesaic_free(result.part);
    return MOESAIC_OK;
}

static moesaic_status compress_with(struct world *w, const char *recipe, moesaic_error *error) {
    return compress_any(w, w->model, recipe, NULL, error);
}

static moesaic_status compress(struct world *w, moesaic_error *error) {
    return compress_with(w, "{}", error);
}

static moesaic_status compress_sparse(struct world *w, moesaic_error *error) {
    return compress_with(w, "{\"experts\":{\"prune\":\"sparsegpt\",\"density\":0.5}}", error);
}

static moesaic_status compress_budget(struct world *w, moesaic_error *error) {
    return compress_with(
        w, "{\"budget\":{\"active_bytes\":1e9,\"choices\":[{\"format\":\"int4\"},{\"format\":\"int8\"}]}}", error);
}

static moesaic_status compress_recovered(struct world *w, moesaic_error *error) {
    return compress_with(w, "{\"recover\":true,\"experts\":{\"quant\":\"rtn\",\"refine\":0}}", error);
}

static moesaic_status compress_awq(struct world *w, moesaic_error *error) {
    return compress_with(w, "{\"experts\":{\"quant\":\"awq\",\"refine\":0}}", error);
}

static moesaic_status compress_compensated(struct world *w, moesaic_error *error) {
    return compress_with(w, "{\"experts\":{\"quant\":\"rtn\",\"refine\":0,\"rank\":2}}", error);
}

static moesaic_status compress_without_experts(struct world *w, moesaic_error *error) {
    return compress_with(w, "{\"drop\":{\"share\":0.25},\"experts\":{\"quant\":\"rtn\",\"refine\":0}}", error);
}

static moesaic_status compress_without_layers(struct world *w, moesaic_error *error) {
    return compress_any(w, w->deep, "{\"drop_layers\":{\"share\":0.4},\"experts\":{\"quant\":\"rtn\",\"refine\":0}}",
                        NULL, error);
}

static const char masked_recipe[] =
    "{\"experts\":{\"prune\":\"magnitude\",\"density\":0.5,\"quant\":\"rtn\",\"refine\":0}}";

static moesaic_status compress_masked(struct world *w, moesaic_error *error) {
    return compress_any(w, w->model, masked_recipe, w->masks, error);
}

/* With texts that the model writes itself: every treatment is compressed, opened, compared and timed. Only the speeds
 * differ between two runs. */
static moesaic_status advise(struct world *w, moesaic_error *error) {
    static moesaic_advise_result result;
    moesaic_advise_options options = {.size = sizeof options,
                                      .calib_tokens = 128,
                                      .text_tokens = 16,
                                      .memory_bytes = 80 << 10,
                                      .threads = 1,
                                      .no_pin = true};
    result = (moesaic_advise_result){.size = sizeof result};
    moesaic_status status = moesaic_advise(w->model, &options, &result, error);
    for (uint32_t i = 0; !status && i < result.candidates; i++)
        digest_add(w, &result.candidate[i].kl_mean, sizeof(double));
    return status;
}

static moesaic_status compress_narrowed(struct world *w, moesaic_error *error) {
    return compress_with(w, "{\"neurons\":{\"share\":0.5},\"experts\":{\"quant\":\"rtn\",\"refine\":0}}", error);
}

/* Opens the artifact that `compress` left, checks it, and lets it go. */
static moesaic_status open_artifact(struct world *w, moesaic_error *error) {
    moesaic_model *model;
    moesaic_status status = moesaic_model_open(w->out, NULL, &model, error);
    if (status)
        return status;
    status = moesaic_model_verify(model, error);
    moesaic_model_release(model);
    return status;
}

/* The model against itself; speeds and costs differ from run to run and are left out of the digest. */
static moesaic_status compare(struct world *w, moesaic_error *error) {
    const moesaic_compare_text text = {"text", w->text, w->text_bytes};
    moesaic_compare_options options = {.size = sizeof options,
                                       .text = &text,
                                       .texts = 1,
                                       .window = 16,
                                       .tokens = 32,
                                       .speed_rounds = 1,
                                       .html_path = w->out};
    moesaic_compare_result result = {.size = sizeof result};
    moesaic_status status = moesaic_compare(w->engine, w->engine, &options, &result, error);
    if (status)
        return status;
    digest_add(w, &result.scored, sizeof result.scored);
    digest_add(w, &result.perplexity, sizeof result.perplexity);
    moesaic_free(result.json);
    return MOESAIC_OK;
}

static bool folder_remove(const char *folder) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return !system(command);
}

static moesaic_status export(struct world *w, moesaic_error *error) {
    moesaic_export_result result = {.size = sizeof result};
    moesaic_status status = moesaic_export(w->model, w->folder, NULL, NULL, &result, error);
    digest_add(w, &result.bytes, sizeof result.bytes);
    return folder_remove(w->folder) ? status : MOESAIC_E_FAILED;
}

static moesaic_status place(struct world *w, moesaic_error *error) {
    moesaic_machine_options machine = {.size = sizeof machine}; /* with assumed speeds */
    moesaic_place_options options = {.size = sizeof options,
                                     .trace_path = w->routing,
                                     .machine = &machine,
                                     .policy = MOESAIC_PLACE_REPLICATE,
                                     .plan_path = w->plan};
    moesaic_place_result result = {.size = sizeof result};
    moesaic_status status = moesaic_place(w->model, &options, &result, error);
    if (status)
        return status;
    digest_add(w, &result.gain, sizeof result.gain);
    moesaic_free(result.node_bytes);
    return MOESAIC_OK;
}

/* Makes the plan that `place` left one for other traffic, all to the first expert, so that what follows is a drift. */
static bool plan_for_other_traffic(const struct world *w) {
    static char text[1 << 20];
    FILE *file = fopen(w->plan, "r+b");
    size_t bytes = file ? fread(text, 1, sizeof text - 1, file) : 0;
    char *at = bytes ? strstr(text, "\"histogram\":") : NULL, digit = '1';
    for (; at && *at && strncmp(at, "\"pieces\"", 8); at++) {
        digit = *at == '[' ? '9' : *at == ',' ? '1' : digit;
        *at = *at >= '0' && *at <= '9' ? digit : *at;
    }
    bool done = at && !fseek(file, 0, SEEK_SET) && fwrite(text, 1, bytes, file) == bytes;
    return file && !fclose(file) && done;
}

/* Reads the plan, copies the experts, and rebalances as it generates. */
static moesaic_status carry_out(struct world *w, moesaic_error *error) {
    moesaic_engine_options options = {.size = sizeof options,
                                      .threads = 2,
                                      .no_pin = true,
                                      .step_tokens = 32,
                                      .plan_path = w->plan,
                                      .rebalance = true,
                                      .rebalance_tokens = 64};
    moesaic_engine *engine, *before = w->engine;
    moesaic_status status = moesaic_engine_create(w->model, &options, &engine, error);
    if (status)
        return status;
    w->engine = engine;
    status = generate(w, error);
    w->engine = before;
    moesaic_engine_destroy(engine);
    return status;
}

static const struct scenario {
    const char *name;
    moesaic_status (*run)(struct world *w, moesaic_error *error);
    bool slow; /* fewer of its allocations fail: what it calls has scenarios of its own */
} scenarios[] = {{"open a model", open_model},
                 {"tokenize and back", tokenize},
                 {"render a template", render},
                 {"create an engine", create_engine},
                 {"generate", generate},
                 {"evaluate a text", eval},
                 {"write logits", logits},
                 {"trace routing", trace},
                 {"carry out a plan and rebalance", carry_out},
                 {"plan a placement", place},
                 {"export", export},
                 {"compare and report", compare},
                 {"compress", compress},
                 {"open an artifact", open_artifact},
                 {"compress with pruning", compress_sparse},
                 {"compress under a budget", compress_budget},
                 {"compress with recovery", compress_recovered},
                 {"compress with AWQ", compress_awq},
                 {"compress with a low-rank term", compress_compensated},
                 {"compress without some experts", compress_without_experts},
                 {"compress without a layer", compress_without_layers},
                 {"compress with fewer neurons", compress_narrowed},
                 {"compress by masks", compress_masked},
                 {"advise", advise, true}};

/* ---- faults ------------------------------------------------------------------------------------------------------ */

/* One run with the n-th allocation failing. Returns whether all is as it should be; *ret_fired: whether there was an
 * n-th. A call may do without what it did not get (a cache, a hint): then its result is the same. */
static bool run_with_fault(struct world *w, const struct scenario *s, size_t n, uint64_t want, bool *ret_fired) {
    moesaic_error error = {MOESAIC_OK, ""};
    size_t live = allocations_live();
    w->digest = 0;
    allocations_fail_at(n);
    moesaic_status status = s->run(w, &error);
    *ret_fired = allocations_failed();
    allocations_fail_at(0);
    bool says_so = status == MOESAIC_E_MEMORY || (status && strstr(error.message, "Cannot allocate memory"));
    bool right = status ? *ret_fired && says_so && *error.message : w->digest == want;
    size_t left = allocations_live() - live;
    if (!right)
        printf("# allocation %zu: status %s, \"%s\"\n", n, moesaic_status_name(status), error.message);
    if (left)
        printf("# allocation %zu: status %s, %zd blocks were not freed\n", n, moesaic_status_name(status),
               (ssize_t)left);
    return right && !left;
}

/* Each allocation of the first hundred (of a slow scenario, of the first five) in turn, then ever fewer, until a run
 * gets by without a fault. */
static bool fail_each(struct world *w, const struct scenario *s) {
    moesaic_error error = {MOESAIC_OK, ""};
    unsigned wrong = 0, runs = 0;
    bool fired = true;
    /* Twice: what is made once a process is made in the first. */
    for (int i = 0; i < 2; i++) {
        w->digest = 0;
        moesaic_status status = s->run(w, &error);
        if (status) {
            printf("# without a fault: status %s, \"%s\"\n", moesaic_status_name(status), error.message);
            return false;
        }
    }
    uint64_t want = w->digest;
    for (size_t n = 1; fired && wrong < 5; n += s->slow ? 1 + n / 5 : 1 + n / 100 + n / 16 * (n > 1000)) {
        wrong += !run_with_fault(w, s, n, want, &fired);
        runs++;
    }
    printf("# %s: %u runs\n", s->name, runs);
    return !wrong;
}

/* ---- the per-token path ------------------------------------------------------------------------------------------ */

enum { DECODE_TOKENS = 40, DECODE_WARM = 2 };
struct decode {
    size_t tokens, at_warm, at_last;
};

static int count_token(void *user, const moesaic_token *token) {
    struct decode *decode = user;
    (void)token;
    decode->at_last = allocations_counted();
    if (++decode->tokens == DECODE_WARM)
        decode->at_warm = decode->at_last;
    return 0;
}

/* Once the first tokens are out, a generation asks for no memory. */
static bool decode_allocates_nothing(struct world *w) {
    moesaic_sampling sampling = {.size = sizeof sampling,
                                 .temperature = 0.8,
                                 .top_p = 0.9,
                                 .repeat_penalty = 1.1,
                                 .seed = 5,
                                 .ignore_eos = true,
                                 .logprobs = true,
                                 .top_logprobs = 3};
    moesaic_sequence *sequence;
    moesaic_error error;
    struct decode decode = {0};
    moesaic_status status = moesaic_sequence_create(w->engine, NULL, &sequence, &error);
    if (!status) {
        status = moesaic_sequence_append_text(sequence, w->text, 100, true, &error);
        if (!status)
            status = moesaic_sequence_generate(sequence, &sampling, DECODE_TOKENS, count_token, &decode, NULL, &error);
        moesaic_sequence_destroy(sequence);
    }
    printf("# %zu allocations in %zu tokens\n", decode.at_last - decode.at_warm, decode.tokens - DECODE_WARM);
    return !status && decode.tokens == DECODE_TOKENS && decode.at_last == decode.at_warm;
}

/* ---- main -------------------------------------------------------------------------------------------------------- */

/* Leaves masks as an export writes them. */
static moesaic_status masks_make(struct world *w, moesaic_error *error) {
    moesaic_model *pruned;
    moesaic_export_result result = {.size = sizeof result};
    moesaic_status status = compress_with(w, masked_recipe, error);
    if (!status)
        status = moesaic_model_open(w->out, NULL, &pruned, error);
    if (status)
        return status;
    status = moesaic_export(pruned, w->masks, NULL, NULL, &result, error);
    moesaic_model_release(pruned);
    return status;
}

static moesaic_status world_open(struct world *w, const char *data, moesaic_error *error) {
    moesaic_engine_options options = {.size = sizeof options, .threads = 2, .no_pin = true, .step_tokens = 32};
    w->data = data;
    snprintf(w->model_path, sizeof w->model_path, "%s/bad/_valid", data);
    snprintf(w->folder, sizeof w->folder, "/tmp/moesaic-fault-%d", (int)getpid());
    snprintf(w->out, sizeof w->out, "/tmp/moesaic-fault-%d.out", (int)getpid());
    snprintf(w->routing, sizeof w->routing, "/tmp/moesaic-fault-%d.routing", (int)getpid());
    snprintf(w->plan, sizeof w->plan, "/tmp/moesaic-fault-%d.plan", (int)getpid());
    snprintf(w->masks, sizeof w->masks, "/tmp/moesaic-fault-%d.masks", (int)getpid());
    char path[600];
    snprintf(path, sizeof path, "%s/texts/calib.txt", data);
    FILE *file = fopen(path, "rb");
    if (file) {
        w->text_bytes = fread(w->text, 1, 1500, file);
        fclose(file);
    }
    moesaic_status status = moesaic_model_open(w->model_path, NULL, &w->model, error);
    snprintf(path, sizeof path, "%s/checkpoints/qwen2_moe", data);
    if (!status)
        status = moesaic_model_open(path, NULL, &w->deep, error);
    if (!status)
        status = masks_make(w, error);
    if (!status)
        status = moesaic_engine_create(w->model, &options, &w->engine, error);
    if (!status)
        status = moesaic_trace_write(w->engine, w->text, w->text_bytes, 64, w->routing, NULL, NULL, NULL, error);
    if (!status)
        status = place(w, error);
    if (!status && !plan_for_other_traffic(w))
        status = MOESAIC_E_FAILED;
    return status;
}

int main(int argc, char **argv) {
    static struct world world;
    moesaic_error error;
    size_t count = sizeof scenarios / sizeof *scenarios;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc < 2 || world_open(&world, argv[1], &error)) {
        fprintf(stderr, "fault: %s\n", argc < 2 ? "usage: fault DATA_FOLDER" : error.message);
        return 1;
    }
    printf("1..%zu\n", count + 1);
    for (size_t i = 0; i < count; i++)
        printf("%s %zu - %s\n", fail_each(&world, &scenarios[i]) ? "ok" : "not ok", i + 1, scenarios[i].name);
    printf("%s %zu - decoding allocates nothing\n", decode_allocates_nothing(&world) ? "ok" : "not ok", count + 1);
    moesaic_engine_destroy(world.engine);
    moesaic_model_release(world.deep);
    moesaic_model_release(world.model);
    remove(world.out);
    remove(world.routing);
    remove(world.plan);
    return folder_remove(world.masks) ? 0 : 1;
}
