/* SPDX-License-Identifier: Apache-2.0 */
/* The decision tree: each question is answered by what was measured here, and the branch taken is written down. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "advise_internal.h"
#include "runtime.h"

/* Of texts that are given, and of those that the model has to write. */
enum { CALIB_TOKENS = 16384, TEXT_TOKENS = 8192, SAMPLED_CALIB_TOKENS = 4096, SAMPLED_TEXT_TOKENS = 2048 };
#define MAX_KL 0.01
/* Sizes of weights this near count as equal, and so do speeds. */
#define NEAR_BYTES 1.01
#define NEAR_SPEED 1.05

enum { INT8, INT4, INT3, SPARSE50, SPARSE24, DROP25, TREATMENTS };
static const struct treatment treatments[TREATMENTS] = {
    [INT8] = {"int8", "--preset quality", "quality", NULL},
    [INT4] = {"int4", "--preset int4", "int4", NULL},
    [INT3] = {"int3", "--quant gptq:int3-g64", "int4", "{\"experts\":{\"format\":\"int3\"}}"},
    [SPARSE50] = {"int4-sparse50", "--preset int4-sparse50", "int4-sparse50", NULL},
    [SPARSE24] = {"int4-2:4", "--preset int4-sparse50 --prune sparsegpt:2:4", "int4-sparse50",
                  "{\"experts\":{\"pattern\":\"2:4\"}}"},
    [DROP25] = {"int4-drop25", "--preset int4 --drop-experts reap:0.25", "int4",
                "{\"drop\":{\"method\":\"reap\",\"share\":0.25}}"}};

/* ---- steps ------------------------------------------------------------------------------------------------------- */

static moesaic_advice_step *step_add(struct advice *a, bool yes, const char *question) {
    moesaic_advice_step *step = &a->result->step[a->result->steps++];
    step->yes = yes;
    snprintf(step->question, sizeof step->question, "%s", question);
    return step;
}

static void answer(moesaic_advice_step *step, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void answer(moesaic_advice_step *step, const char *format, ...) {
    va_list list;
    va_start(list, format);
    vsnprintf(step->answer, sizeof step->answer, format, list);
    va_end(list);
}

static void branch(moesaic_advice_step *step, const char *text) {
    snprintf(step->branch, sizeof step->branch, "%s", text);
}

static double mib(uint64_t bytes) {
    return (double)bytes / 0x1p20;
}

/* ---- candidates -------------------------------------------------------------------------------------------------- */

static const moesaic_advice_candidate *candidate_find(const struct advice *a, int treatment) {
    for (uint32_t i = 0; i < a->result->candidates; i++)
        if (!strcmp(a->result->candidate[i].name, treatments[treatment].name))
            return &a->result->candidate[i];
    return NULL;
}

static bool meets(const moesaic_advice_candidate *c) {
    return c->fits && c->good && c->fast;
}

/* A dense candidate that is no larger and no worse; NULL: there is none. */
static const moesaic_advice_candidate *better_dense(const struct advice *a, const moesaic_advice_candidate *c) {
    const moesaic_advice_candidate *found = NULL;
    for (int t = INT8; t <= INT3; t++) {
        const moesaic_advice_candidate *dense = candidate_find(a, t);
        if ((double)dense->bytes <= (double)c->bytes * NEAR_BYTES && dense->kl_mean <= c->kl_mean)
            found = dense;
    }
    return found;
}

static bool asked(const struct advice *a) {
    return a->result->memory_bytes != 0 || a->result->min_tok_s > 0;
}

/* Whether c is the better advice of two that meet everything: in quality where a memory or a speed was asked for, else
 * in size, where near sizes count as equal. */
static bool better(const struct advice *a, const moesaic_advice_candidate *c, const moesaic_advice_candidate *b) {
    bool smaller = (double)c->bytes * NEAR_BYTES < (double)b->bytes;
    bool larger = (double)b->bytes * NEAR_BYTES < (double)c->bytes;
    return asked(a) || (!smaller && !larger) ? c->kl_mean < b->kl_mean : smaller;
}

static int32_t candidate_choose(const struct advice *a) {
    int32_t best = -1;
    for (uint32_t i = 0; i < a->result->candidates; i++) {
        const moesaic_advice_candidate *c = &a->result->candidate[i];
        if (meets(c) && (best < 0 || better(a, c, &a->result->candidate[best])))
            best = (int32_t)i;
    }
    return best;
}

/* ---- questions --------------------------------------------------------------------------------------------------- */

static bool ask_memory(struct advice *a) {
    uint64_t needs = advise_needs(a, a->info.weight_bytes, 1);
    bool fits = needs <= a->options.memory_bytes;
    moesaic_advice_step *step = step_add(a, fits, "Does the base fit in the memory?");
    answer(step, "weights %.1f MiB and a KV cache of %.1f MiB, of %.1f MiB", mib(a->info.weight_bytes),
           mib(needs - a->info.weight_bytes), mib(a->options.memory_bytes));
    branch(step, fits ? "compression is not needed for the memory's sake" : "it must become smaller");
    return fits;
}

static moesaic_status ask_speed(struct advice *a, bool *ret_fast, moesaic_error *error) {
    moesaic_advise_result *r = a->result;
    moesaic_status status = advise_base_speed(a, error);
    if (status)
        return status;
    *ret_fast = r->base_tok_s >= a->options.min_tok_s;
    moesaic_advice_step *step = step_add(a, *ret_fast, "Does the base decode fast enough?");
    char wanted[32] = "none";
    if (a->options.min_tok_s > 0)
        snprintf(wanted, sizeof wanted, "%.1f", a->options.min_tok_s);
    answer(step, "%.1f tokens/s, %s asked for; it reads %.1f of the %.1f GB/s that a plain loop reads here",
           r->base_tok_s, wanted, r->base_tok_s * (double)a->info.active_bytes / 1e9, r->read_bytes_s / 1e9);
    branch(step, *ret_fast ? "compression is not needed for the speed's sake" : "it must read less for a token");
    return MOESAIC_OK;
}

/* Only where there is none. */
static moesaic_status ask_text(struct advice *a, moesaic_error *error) {
    bool judges = !a->options.text;
    moesaic_status status = advise_sample(a, error);
    if (status)
        return status;
    moesaic_advice_step *step = step_add(a, false, "Is there a text to calibrate on?");
    answer(step, "%u tokens that the model wrote itself, at temperature 1 from starts spread over its vocabulary%s",
           a->options.calib_tokens, judges ? "; others such to judge by" : "");
    branch(step, "what follows holds for such text: a text of its use (--calib) gives a surer answer");
    a->result->sampled = true;
    return MOESAIC_OK;
}

static void ask_dense(struct advice *a, int treatment, const char *question, const char *yes, const char *no) {
    const moesaic_advice_candidate *c = candidate_find(a, treatment);
    moesaic_advice_step *step = step_add(a, c->good, question);
    answer(step, "%.2f bits a weight, %.1f MiB: KL %.5f of %.5f, same first choice %.2f %%, %.1f tokens/s",
           c->bits_per_weight, mib(c->bytes), c->kl_mean, a->options.max_kl, 100 * c->top1, c->decode_tok_s);
    branch(step, c->good ? yes : no);
}

/* A treatment pays when it is good and nothing dense is as small and as good, or where `faster_counts` as fast. */
static void ask_against(struct advice *a, const char *question, const moesaic_advice_candidate *c, bool faster_counts,
                        const char *yes, const char *no) {
    const moesaic_advice_candidate *dense = better_dense(a, c);
    bool faster = dense && faster_counts && c->decode_tok_s > dense->decode_tok_s * NEAR_SPEED;
    moesaic_advice_step *step = step_add(a, c->good && (!dense || faster), question);
    char beside[96] = "nothing dense is as small and as good";
    if (dense)
        snprintf(beside, sizeof beside, "%s has %.5f in %.1f MiB at %.1f", dense->name, dense->kl_mean,
                 mib(dense->bytes), dense->decode_tok_s);
    answer(step, "KL %.5f in %.1f MiB at %.1f tokens/s; %s", c->kl_mean, mib(c->bytes), c->decode_tok_s, beside);
    if (step->yes)
        branch(step, yes);
    else
        snprintf(step->branch, sizeof step->branch, "%s: %s%s", no, dense ? dense->name : "it costs too much quality",
                 !dense        ? ""
                 : dense->good ? " instead"
                               : " does better");
}

static void ask_load(struct advice *a) {
    moesaic_advice_step *step = step_add(a, a->idle > 0, "Are there experts that hardly any token reaches?");
    answer(step, "%.1f %% of the experts get under a hundredth of an even load, the busiest %.1f times it",
           100 * a->idle, a->busiest);
    branch(step, a->idle > 0 ? "their bytes are the first to save" : "every expert earns its bytes");
}

/* ---- the walk ---------------------------------------------------------------------------------------------------- */

static bool can_drop(const struct advice *a) {
    return a->info.experts >= 4 && a->info.experts * 3 / 4 >= a->info.top_k;
}

static moesaic_status try_all(struct advice *a, moesaic_error *error) {
    moesaic_status status = MOESAIC_OK;
    for (int t = 0; !status && t < TREATMENTS; t++)
        if (t != DROP25 || can_drop(a))
            status = advise_try(a, &treatments[t], error);
    return status;
}

static void ask_all(struct advice *a) {
    ask_dense(a, INT8, "Is INT8 good enough?", "fewer bits may be too", "leave the weights as they are");
    ask_dense(a, INT4, "Is INT4 good enough?", "4 bits will do", "not 4 bits throughout");
    ask_dense(a, INT3, "Is INT3 good enough?", "3 bits will do", "not 3 bits throughout");
    ask_against(a, "Does pruning half of every expert beat dense bits?", candidate_find(a, SPARSE50), false,
                "pruning stays a choice", "do not prune");
    ask_against(a, "Does 2:4 pay with this CPU's kernels?", candidate_find(a, SPARSE24), true, "2:4 stays a choice",
                "do not prune 2:4");
    if (a->info.experts)
        ask_load(a);
    if (can_drop(a))
        ask_against(a, "Can a quarter of the experts go?", candidate_find(a, DROP25), true,
                    "dropping experts stays a choice", "keep every expert");
}

/* Bits a weight of the whole file for a budget that could better the choice: its own bytes; where size counts, those of
 * the dense bits below it, which were not good enough; the memory's, where nothing met everything. 0: none could. */
static double budget_bits(const struct advice *a, int32_t chosen) {
    const moesaic_advice_candidate *c = chosen < 0 ? NULL : &a->result->candidate[chosen];
    uint64_t bytes = c ? c->file_bytes : 0, kv = advise_needs(a, 0, 0.5);
    if (c && c == candidate_find(a, DROP25))
        bytes = 0;
    else if (c && c == candidate_find(a, INT8))
        bytes = asked(a) ? 0 : candidate_find(a, INT4)->file_bytes;
    else if (c && c == candidate_find(a, INT4) && !asked(a))
        bytes = candidate_find(a, INT3)->file_bytes;
    else if (!c && a->options.memory_bytes > kv)
        bytes = a->options.memory_bytes - kv;
    return floor(8e3 * (double)bytes / (double)a->info.total_parameters) / 1e3;
}

/* Bits per expert instead of the same for all. What cannot be made so small is an answer too. */
static moesaic_status ask_budget(struct advice *a, moesaic_error *error) {
    moesaic_advise_result *r = a->result;
    char recipe[96], options[64];
    double bits = budget_bits(a, r->chosen);
    moesaic_error why = {0};
    if (bits == 0)
        return MOESAIC_OK;
    snprintf(recipe, sizeof recipe, "{\"budget\":{\"bits_per_weight\":%.3f}}", bits);
    snprintf(options, sizeof options, "--budget %.3fbpw", bits);
    const struct treatment budget = {"budget", options, "int4", recipe};
    moesaic_status status = advise_try(a, &budget, &why);
    if (status && status != MOESAIC_E_USAGE) {
        *error = why;
        return status;
    }
    const moesaic_advice_candidate *c = status ? NULL : &r->candidate[r->candidates - 1];
    bool pays = c && meets(c) && (r->chosen < 0 || better(a, c, &r->candidate[r->chosen]));
    moesaic_advice_step *step = step_add(a, pays, "Do bits chosen per expert do better?");
    if (c)
        answer(step, "KL %.5f in %.1f MiB, %.3f bits a weight of the file, at %.1f tokens/s", c->kl_mean, mib(c->bytes),
               bits, c->decode_tok_s);
    else
        answer(step, "%.200s", why.message);
    branch(step, pays ? "spend bits where the routing needs them" : "stay with what was found");
    if (pays)
        r->chosen = (int32_t)r->candidates - 1;
    return MOESAIC_OK;
}

static moesaic_status walk(struct advice *a, moesaic_error *error) {
    moesaic_advise_result *r = a->result;
    bool fast = false, fits = ask_memory(a);
    moesaic_status status = ask_speed(a, &fast, error);
    if (status)
        return status;
    if (fits && fast && asked(a)) {
        r->verdict = "nothing";
        return MOESAIC_OK;
    }
    if (!a->options.calib)
        status = ask_text(a, error);
    if (!status)
        status = try_all(a, error);
    if (status)
        return status;
    ask_all(a);
    r->chosen = candidate_choose(a);
    status = ask_budget(a, error);
    r->verdict = r->chosen >= 0 ? "compress" : fits && fast ? "nothing" : "impossible";
    return status;
}

static uint64_t machine_memory(void) {
    uint64_t limit = topology_memory_limit();
    long pages = sysconf(_SC_PHYS_PAGES), bytes = sysconf(_SC_PAGESIZE);
    uint64_t all = pages > 0 && bytes > 0 ? (uint64_t)pages * (uint64_t)bytes : UINT64_MAX;
    return limit && limit < all ? limit : all;
}

static moesaic_status advice_check(struct advice *a, moesaic_error *error) {
    moesaic_advise_options *o = &a->options;
    moesaic_status status = moesaic_model_info_get(a->model, &a->info, error);
    if (status)
        return status;
    if (!strcmp(a->info.container, "moe"))
        return status_set(error, MOESAIC_E_USAGE, "advise: the model is an artifact already (%s)", a->info.path);
    bool given = o->calib != NULL;
    if (given && !o->text)
        return status_set(error, MOESAIC_E_USAGE, "advise: a calibration text without one to judge by");
    if (!(o->max_kl >= 0) || !(o->min_tok_s >= 0))
        return status_set(error, MOESAIC_E_USAGE, "advise: max_kl %g and min_tok_s %g, expected numbers from 0",
                          o->max_kl, o->min_tok_s);
    o->calib_tokens = o->calib_tokens ? o->calib_tokens : given ? CALIB_TOKENS : SAMPLED_CALIB_TOKENS;
    o->text_tokens = o->text_tokens ? o->text_tokens : o->text ? TEXT_TOKENS : SAMPLED_TEXT_TOKENS;
    o->max_kl = o->max_kl > 0 ? o->max_kl : MAX_KL;
    return MOESAIC_OK;
}

moesaic_status pipeline_advise(moesaic_model *model, const moesaic_advise_options *options,
                               moesaic_advise_result *ret_result, moesaic_error *error) {
    moesaic_error why;
    struct advice a = {.model = model, .options = *options, .info = {.size = sizeof a.info}, .result = ret_result};
    ret_result->chosen = -1;
    moesaic_status status = advice_check(&a, error);
    if (status)
        return status;
    ret_result->memory_bytes = a.options.memory_bytes; /* as asked for, while the tree is walked */
    ret_result->min_tok_s = a.options.min_tok_s;
    ret_result->max_kl = a.options.max_kl;
    ret_result->base_bytes = a.info.weight_bytes;
    a.options.memory_bytes = a.options.memory_bytes ? a.options.memory_bytes : machine_memory();
    a.total = ADVISE_BASE + (a.options.calib ? 0 : ADVISE_SAMPLE) + ADVISE_TREATMENT * (TREATMENTS + (uint64_t)1);
    status = advise_begin(&a, &why);
    if (!status)
        status = walk(&a, &why);
    advise_end(&a);
    ret_result->memory_bytes = a.options.memory_bytes;
    if (status && error)
        *error = why;
    return status;
}
