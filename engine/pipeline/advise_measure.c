/* SPDX-License-Identifier: Apache-2.0 */
/* Trying a treatment: compressed into a folder of its own, held against the base, timed, and removed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "advise_internal.h"
#include "artifact.h"
#include "runtime.h"

enum { KV_TOKENS = 4096, PROMPT_TOKENS = 32, DECODE_TOKENS = 32, REPETITIONS = 3 };

/* ---- the folder -------------------------------------------------------------------------------------------------- */

static moesaic_status folder_make(struct advice *a, moesaic_error *error) {
    const char *above = a->options.folder ? a->options.folder : getenv("TMPDIR");
    above = above && *above ? above : "/tmp";
    size_t bytes = strlen(above) + sizeof "/moesaic-advise-XXXXXX/tried.moe";
    a->folder = malloc(bytes);
    a->path = calloc(1, bytes); /* empty: nothing to remove yet */
    if (!a->folder || !a->path)
        return status_no_memory(error, "advise", bytes);
    snprintf(a->folder, bytes, "%s/moesaic-advise-XXXXXX", above);
    if (!mkdtemp(a->folder))
        return status_set(error, MOESAIC_E_IO, "advise: cannot make a folder: %s (%s)", strerror(errno), above);
    snprintf(a->path, bytes, "%s/tried.moe", a->folder);
    return MOESAIC_OK;
}

static void tried_remove(const struct advice *a) {
    unlink(a->path);
    artifact_discard(a->path, NULL);
}

moesaic_status advise_begin(struct advice *a, moesaic_error *error) {
    moesaic_engine_options engine = {
        .size = sizeof engine, .threads = a->options.threads, .no_pin = a->options.no_pin, .kv = MOESAIC_KV_F32};
    moesaic_status status = folder_make(a, error);
    return status ? status : moesaic_engine_create(a->model, &engine, &a->base, error);
}

void advise_end(struct advice *a) {
    moesaic_engine_destroy(a->base);
    if (a->path && a->path[0]) {
        tried_remove(a);
        rmdir(a->folder);
    }
    free(a->sampled[1]);
    free(a->sampled[0]);
    free(a->path);
    free(a->folder);
}

/* ---- measurements ------------------------------------------------------------------------------------------------ */

int advise_progress(void *user, uint64_t done, uint64_t total) {
    struct advice *a = user;
    if (!a->options.progress)
        return 0;
    return a->options.progress(a->options.user, a->done + (total ? a->weight * done / total : 0), a->total);
}

void advise_piece_begin(struct advice *a, uint64_t weight) {
    a->done += a->weight;
    a->weight = weight;
}

uint64_t advise_needs(const struct advice *a, uint64_t weight_bytes, double kv_share) {
    int64_t tokens = a->info.max_position < KV_TOKENS ? a->info.max_position : KV_TOKENS;
    return weight_bytes + (uint64_t)((double)tokens * (double)a->info.kv_bytes_per_token * kv_share);
}

moesaic_status advise_base_speed(struct advice *a, moesaic_error *error) {
    uint32_t third = (uint32_t)(a->info.max_position / 3);
    moesaic_bench_options o = {.size = sizeof o,
                               .prompt_tokens = third < PROMPT_TOKENS ? third : PROMPT_TOKENS,
                               .decode_tokens = third < DECODE_TOKENS ? third : DECODE_TOKENS,
                               .repetitions = REPETITIONS,
                               .threads = a->options.threads,
                               .no_pin = a->options.no_pin,
                               .progress = advise_progress,
                               .user = a};
    moesaic_bench_result *result = calloc(1, sizeof *result);
    if (!result)
        return status_no_memory(error, "advise", sizeof *result);
    result->size = sizeof *result;
    advise_piece_begin(a, ADVISE_BASE);
    moesaic_status status = moesaic_bench(a->model, &o, result, error);
    a->result->base_tok_s = result->run[1].tokens_per_second.median;
    a->result->read_bytes_s = result->read_bytes_per_second.median;
    moesaic_free(result->work);
    free(result);
    return status;
}

/* How uneven the routing is, by the tokens that reached each expert of the checkpoint. */
static void load_note(struct advice *a, const moesaic_compress_result *r) {
    uint64_t idle = 0, experts = 0;
    double even = (double)r->calib_tokens * a->info.top_k / (a->info.experts ? a->info.experts : 1);
    a->busiest = 0;
    for (size_t i = 0; i < r->parts; i++) {
        if (r->part[i].expert < 0)
            continue;
        double load = (double)r->part[i].tokens / even;
        a->busiest = load > a->busiest ? load : a->busiest;
        idle += load < 0.01;
        experts++;
    }
    a->idle = experts ? (double)idle / (double)experts : 0;
}

static moesaic_status tried_compress(struct advice *a, const struct treatment *t, moesaic_error *error) {
    moesaic_compress_result result = {.size = sizeof result};
    moesaic_compress_options o = {.size = sizeof o,
                                  .preset = t->preset,
                                  .recipe = t->recipe,
                                  .recipe_bytes = t->recipe ? strlen(t->recipe) : 0,
                                  .calib = a->options.calib,
                                  .calib_bytes = a->options.calib_bytes,
                                  .calib_tokens = a->options.calib_tokens,
                                  .threads = a->options.threads,
                                  .no_pin = a->options.no_pin,
                                  .progress = advise_progress,
                                  .user = a};
    advise_piece_begin(a, ADVISE_TREATMENT * 8 / 10);
    moesaic_status status = moesaic_compress(a->model, a->path, &o, &result, error);
    if (!status && !a->result->candidates)
        load_note(a, &result);
    moesaic_free(result.part);
    return status;
}

static moesaic_status tried_compare(struct advice *a, moesaic_model *model, moesaic_advice_candidate *c,
                                    moesaic_error *error) {
    moesaic_engine *engine = NULL;
    moesaic_engine_options engine_options = {.size = sizeof engine_options,
                                             .threads = a->options.threads,
                                             .no_pin = a->options.no_pin,
                                             .kv = MOESAIC_KV_F32};
    const moesaic_compare_text text = {"the text to judge by", a->options.text, a->options.text_bytes};
    moesaic_compare_options o = {.size = sizeof o,
                                 .text = &text,
                                 .texts = 1,
                                 .tokens = a->options.text_tokens,
                                 .speed_rounds = REPETITIONS,
                                 .progress = advise_progress,
                                 .user = a};
    moesaic_compare_result result = {.size = sizeof result};
    moesaic_status status = moesaic_engine_create(model, &engine_options, &engine, error);
    advise_piece_begin(a, ADVISE_TREATMENT * 2 / 10);
    if (!status)
        status = moesaic_compare(a->base, engine, &o, &result, error);
    c->kl_mean = result.kl_mean;
    c->kl_p99 = result.kl_p99;
    c->top1 = result.top1;
    /* Base and candidate decode in turn there, so that their ratio is worth more than either figure. */
    if (result.base_decode_tok_s > 0)
        c->decode_tok_s = a->result->base_tok_s * result.decode_tok_s / result.base_decode_tok_s;
    moesaic_free(result.json);
    moesaic_engine_destroy(engine);
    return status;
}

static void candidate_judge(const struct advice *a, moesaic_advice_candidate *c) {
    c->fits = advise_needs(a, c->bytes, 0.5) <= a->options.memory_bytes; /* artifacts keep K and V in F16 */
    c->good = c->kl_mean <= a->options.max_kl;
    c->fast = c->decode_tok_s >= a->options.min_tok_s;
}

moesaic_status advise_try(struct advice *a, const struct treatment *t, moesaic_error *error) {
    moesaic_model *model = NULL;
    moesaic_model_info info = {.size = sizeof info};
    moesaic_advice_candidate c = {0};
    snprintf(c.name, sizeof c.name, "%s", t->name);
    snprintf(c.options, sizeof c.options, "%s", t->options);
    moesaic_status status = tried_compress(a, t, error);
    if (!status)
        status = moesaic_model_open(a->path, NULL, &model, error);
    tried_remove(a); /* what is mapped stays until it is closed */
    if (!status)
        status = moesaic_model_info_get(model, &info, error);
    if (!status)
        status = tried_compare(a, model, &c, error);
    moesaic_model_release(model);
    if (status)
        return status;
    c.bytes = info.weight_bytes;
    c.file_bytes = info.file_bytes;
    c.bits_per_weight = info.bits_per_weight;
    candidate_judge(a, &c);
    a->result->candidate[a->result->candidates++] = c;
    return MOESAIC_OK;
}
