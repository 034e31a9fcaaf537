/* SPDX-License-Identifier: Apache-2.0 */
/* The comparison from its options to the report: who competes, on which tokens, and what is written. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compare_internal.h"

enum { WINDOW_DEFAULT = 512, TEXTS_MAX = 64, OPPONENTS_MAX = 16, GATES_MAX = 64 };

/* ---- checks ------------------------------------------------------------------------------------------------------ */

static moesaic_status gates_check(const struct comparison *c, moesaic_error *error) {
    const moesaic_compare_options *o = c->options;
    for (size_t i = 0; i < o->gates; i++) {
        double value;
        bool at_least;
        const char *name = o->gate[i].name ? o->gate[i].name : "";
        if (!compare_gate_value(c, NULL, name, &value, &at_least))
            return status_set(error, MOESAIC_E_USAGE, "gate: '%.60s' is unknown", name);
        if (!isfinite(o->gate[i].limit))
            return status_set(error, MOESAIC_E_USAGE, "gate: %s: the limit is not a finite number", name);
        if (o->no_speed && (!strcmp(name, "prompt_ratio") || !strcmp(name, "decode_ratio")))
            return status_set(error, MOESAIC_E_USAGE, "gate: %s: speed is not measured", name);
    }
    return MOESAIC_OK;
}

static moesaic_status options_check(const struct comparison *c, moesaic_error *error) {
    const moesaic_compare_options *o = c->options;
    if (!o->texts || o->texts > TEXTS_MAX)
        return status_set(error, MOESAIC_E_USAGE, "compare: %zu texts, expected 1 to %d", o->texts, TEXTS_MAX);
    if (o->opponents > OPPONENTS_MAX || o->gates > GATES_MAX)
        return status_set(error, MOESAIC_E_USAGE, "compare: %zu opponents and %zu gates, at most %d and %d",
                          o->opponents, o->gates, OPPONENTS_MAX, GATES_MAX);
    for (size_t i = 0; i < o->texts; i++)
        if (!o->text[i].name || !o->text[i].text)
            return status_set(error, MOESAIC_E_USAGE, "compare: text %zu has no name or no bytes", i);
    return gates_check(c, error);
}

static moesaic_status rates_find(struct comparison *c, moesaic_error *error) {
    struct cost_cpu cpu = {.name = cpu_model_name()};
    if (!cpu_family_model(&cpu.family, &cpu.model))
        cpu.family = cpu.model = 0;
    return cost_rates_make(c->options->cost, &cpu, &c->rates, error);
}

static moesaic_status vocabulary_check(const struct comparison *c, moesaic_error *error) {
    const struct model_config *base = model_config(c->contender[0].engine.model);
    for (size_t i = 0; i < c->contenders; i++) {
        const struct model_config *config = model_config(c->contender[i].engine.model);
        if (!c->contender[i].engine.tokenizer)
            return status_set(error, MOESAIC_E_INPUT, "compare: the model has no tokenizer.json (%s)",
                              c->contender[i].name);
        if (config->vocab != base->vocab)
            return status_set(error, MOESAIC_E_USAGE,
                              "compare: vocabularies of %u and %u tokens cannot be compared (%s)", base->vocab,
                              config->vocab, c->contender[i].name);
        if ((int64_t)c->window > config->max_position)
            return status_set(error, MOESAIC_E_USAGE, "window: %zu tokens, the maximum of %s is %lld", c->window,
                              c->contender[i].name, (long long)config->max_position);
    }
    if (c->window < 2)
        return status_set(error, MOESAIC_E_USAGE, "window: %zu tokens, at least 2", c->window);
    return MOESAIC_OK;
}

/* ---- texts ------------------------------------------------------------------------------------------------------- */

/* Positions that a text of so many tokens scores: all but the last of each window. */
static size_t scored_of(size_t tokens, size_t window) {
    size_t windows = (tokens + window - 1) / window;
    return tokens - windows;
}

/* Bytes of the tokens evaluated: the whole text's, or those that the first tokens spell. */
static moesaic_status text_cut(struct comparison *c, struct compared_text *text, moesaic_error *error) {
    char *spelt;
    size_t limit = c->options->tokens;
    if (!limit || text->tokens <= limit)
        return MOESAIC_OK;
    text->tokens = limit;
    moesaic_status status =
        tokenizer_decode(c->contender[0].engine.tokenizer, text->ids, limit, false, &spelt, &text->bytes, error);
    if (!status)
        free(spelt);
    return status;
}

/* The base's tokenizer decides; the others must agree with it. */
static moesaic_status tokenizers_agree(const struct comparison *c, const struct compared_text *text,
                                       const moesaic_compare_text *given, size_t tokens, moesaic_error *error) {
    for (size_t i = 1; i < c->contenders; i++) {
        int32_t *ids;
        size_t count;
        moesaic_status status = tokenizer_encode(c->contender[i].engine.tokenizer, given->text, given->bytes, false,
                                                 true, &ids, &count, error);
        if (status)
            return status;
        bool same = count == tokens && !memcmp(ids, text->ids, count * sizeof *ids);
        free(ids);
        if (!same)
            return status_set(error, MOESAIC_E_USAGE, "compare: the tokenizers of base and %s differ on %s",
                              c->contender[i].name, given->name);
    }
    return MOESAIC_OK;
}

static moesaic_status text_read(struct comparison *c, size_t index, moesaic_error *error) {
    const moesaic_compare_text *given = &c->options->text[index];
    struct compared_text *text = &c->text[index];
    *text = (struct compared_text){.name = given->name, .bytes = given->bytes, .first = c->scored};
    moesaic_status status = tokenizer_encode(c->contender[0].engine.tokenizer, given->text, given->bytes, false, true,
                                             &text->ids, &text->tokens, error);
    if (status == MOESAIC_E_INPUT)
        status_set(error, status, "%s (%s)", error ? error->message : "", text->name);
    if (!status)
        status = tokenizers_agree(c, text, given, text->tokens, error);
    if (!status)
        status = text_cut(c, text, error);
    if (status)
        return status;
    if (text->tokens < 2)
        return status_set(error, MOESAIC_E_INPUT, "text: %zu tokens, at least 2 are needed (%s)", text->tokens,
                          text->name);
    for (size_t i = 0; i < text->tokens; i++)
        if ((size_t)text->ids[i] >= c->vocab)
            return status_set(error, MOESAIC_E_INPUT, "compare: id %d at token %zu of %s is outside the model's %zu",
                              text->ids[i], i, text->name, c->vocab);
    text->scored = scored_of(text->tokens, c->window);
    c->tokens += text->tokens;
    c->scored += text->scored;
    return MOESAIC_OK;
}

/* ---- room -------------------------------------------------------------------------------------------------------- */

static uint32_t moe_layers(const struct model_config *config) {
    uint32_t n = 0;
    for (uint32_t layer = 0; layer < config->layers; layer++)
        n += config->layer[layer].moe;
    return n;
}

static void shapes_read(struct comparison *c) {
    const struct model_config *base = model_config(c->contender[0].engine.model);
    size_t largest = base->max_position < WINDOW_DEFAULT ? (size_t)base->max_position : WINDOW_DEFAULT;
    c->window = c->options->window ? c->options->window : largest;
    c->vocab = base->vocab;
    c->moe_layers = moe_layers(base);
    c->experts = c->moe_layers ? base->experts : 0;
    c->k = c->moe_layers ? base->top_k : 0;
}

/* Layer of the optimized model that the base's layer became; -1: none. Where layers were dropped, the artifact says
 * which stayed. */
static int32_t layer_became(const struct comparison *c, uint32_t layer) {
    const struct model *optimized = c->contender[1].engine.model;
    const struct artifact *artifact = model_artifact(optimized);
    const json_value *dropped = artifact ? json_get(artifact_metadata(artifact), "layers") : NULL;
    const json_value *kept = json_get(dropped, "kept");
    uint32_t layers = model_config(c->contender[0].engine.model)->layers, left = model_config(optimized)->layers;
    if (layers == left)
        return (int32_t)layer;
    if (json_int(json_get(dropped, "source")) == layers && json_count(kept) == left)
        for (uint32_t i = 0; i < left; i++)
            if (json_int(json_at(kept, i)) == layer)
                return (int32_t)i;
    return -1;
}

/* Number of a MoE layer among the MoE layers. */
static int32_t moe_number(const struct model_config *config, uint32_t layer) {
    int32_t number = 0;
    for (uint32_t i = 0; i < layer; i++)
        number += config->layer[i].moe;
    return number;
}

static void twins_find(struct comparison *c) {
    const struct model_config *base = model_config(c->contender[0].engine.model),
                              *optimized = model_config(c->contender[1].engine.model);
    bool alike = optimized->experts == c->experts && optimized->top_k == c->k;
    for (uint32_t layer = 0, moe = 0; layer < base->layers; layer++) {
        if (!base->layer[layer].moe)
            continue;
        int32_t now = alike ? layer_became(c, layer) : -1;
        c->twin[moe++] = now >= 0 && optimized->layer[now].moe ? moe_number(optimized, (uint32_t)now) : -1;
    }
}

static moesaic_status room_make(struct comparison *c, moesaic_error *error) {
    size_t logits, routed = c->window * c->moe_layers * c->k, tallies = (size_t)c->moe_layers * c->experts;
    if (c->scored > UINT32_MAX || !size_mul(c->window * sizeof(float), c->vocab, &logits))
        return status_set(error, MOESAIC_E_USAGE, "compare: %zu tokens in windows of %zu are too many", c->tokens,
                          c->window);
    c->position = calloc(c->scored, sizeof *c->position);
    c->logits = malloc(logits);
    c->chosen = calloc(routed + 1, sizeof *c->chosen);
    c->tally = calloc(tallies + 1, sizeof *c->tally);
    c->drift = calloc(c->moe_layers + 1, sizeof *c->drift);
    c->twin = calloc(c->moe_layers + 1, sizeof *c->twin);
    bool room = c->position && c->logits && c->chosen && c->tally && c->drift && c->twin;
    moesaic_status status = MOESAIC_OK;
    for (size_t i = 0; !status && i < c->contenders; i++) {
        struct contender *contender = &c->contender[i];
        contender->verdict = i ? calloc(c->scored, sizeof *contender->verdict) : NULL;
        room &= !i || contender->verdict;
        status = model_context_create(contender->engine.model, sched_kv_pool(contender->engine.sched), c->window,
                                      &contender->text.context, error);
    }
    return status || room ? status : status_no_memory(error, "comparison", logits + c->scored * sizeof *c->position);
}

static void comparison_done(struct comparison *c) {
    for (size_t i = 0; i < c->contenders; i++) {
        model_context_destroy(c->contender[i].text.context);
        free(c->contender[i].verdict);
    }
    for (size_t i = 0; c->text && i < c->texts; i++)
        free(c->text[i].ids);
    free(c->twin);
    free(c->drift);
    free(c->tally);
    free(c->chosen);
    free(c->logits);
    free(c->position);
    free(c->text);
}

/* ---- the report -------------------------------------------------------------------------------------------------- */

static void result_fill(const struct comparison *c, const struct splits *s, moesaic_compare_result *r) {
    double bytes = 0;
    for (size_t i = 0; i < c->texts; i++)
        bytes += (double)c->text[i].bytes;
    double bits = 1 / M_LN2 / bytes * (double)c->tokens;
    const struct contender *base = &c->contender[0], *optimized = &c->contender[1];
    r->tokens = c->tokens;
    r->scored = c->scored;
    r->kl_mean = s->whole.kl_mean;
    r->kl_median = s->whole.kl_median;
    r->kl_p99 = s->whole.kl_p99;
    r->kl_p999 = s->whole.kl_p999;
    r->kl_max = s->whole.kl_max;
    r->top1 = s->whole.top1;
    r->confident_flips = s->whole.confident_flips;
    r->base_perplexity = exp(s->whole.base_nll);
    r->perplexity = exp(s->whole.nll);
    r->base_bits_per_byte = s->whole.base_nll * bits;
    r->bits_per_byte = s->whole.nll * bits;
    r->base_file_bytes = base->info.file_bytes;
    r->file_bytes = optimized->info.file_bytes;
    r->base_prompt_tok_s = base->speed.prompt_tok_s;
    r->prompt_tok_s = optimized->speed.prompt_tok_s;
    r->base_decode_tok_s = base->speed.decode_tok_s;
    r->decode_tok_s = optimized->speed.decode_tok_s;
}

static moesaic_status html_write(const json_value *report, const char *path, moesaic_error *error) {
    size_t bytes;
    char *page = report_html(report, &bytes);
    if (!page)
        return status_no_memory(error, "report", 0);
    moesaic_status status = file_write_atomic(path, page, bytes, error);
    free(page);
    return status;
}

static moesaic_status report_make(const struct comparison *c, const struct splits *splits,
                                  moesaic_compare_result *ret_result, moesaic_error *error) {
    const moesaic_compare_options *o = c->options;
    moesaic_compare_result r = {.size = sizeof r};
    json_value *report = report_json(c, splits, &r.gates_failed);
    char *text = report ? json_dump(report, false, &r.json_bytes) : NULL;
    moesaic_status status = text ? MOESAIC_OK : status_no_memory(error, "report", 0);
    if (!status && o->json_path)
        status = file_write_atomic(o->json_path, text, r.json_bytes, error);
    if (!status && o->html_path)
        status = html_write(report, o->html_path, error);
    json_free(report);
    if (status) {
        free(text);
        return status;
    }
    result_fill(c, splits, &r);
    r.json = text;
    *ret_result = r;
    return MOESAIC_OK;
}

moesaic_status pipeline_compare(struct contender *contenders, size_t count, const moesaic_compare_options *options,
                                moesaic_compare_result *ret_result, moesaic_error *error) {
    struct comparison c = {.options = options, .contender = contenders, .contenders = count};
    struct splits splits = {0};
    moesaic_status status = options_check(&c, error);
    if (!status)
        status = rates_find(&c, error);
    if (status)
        return status;
    shapes_read(&c);
    status = vocabulary_check(&c, error);
    if (!status && !(c.text = calloc(options->texts, sizeof *c.text)))
        status = status_no_memory(error, "texts", options->texts * sizeof *c.text);
    for (; !status && c.texts < options->texts; c.texts++)
        status = text_read(&c, c.texts, error);
    if (!status)
        status = room_make(&c, error);
    if (!status)
        twins_find(&c);
    if (!status)
        status = compare_run(&c, error);
    if (!status && !options->no_speed)
        status = compare_speed(&c, error);
    if (!status)
        status = splits_make(&c, &splits, error);
    if (!status)
        status = report_make(&c, &splits, ret_result, error);
    splits_done(&splits);
    comparison_done(&c);
    return status;
}
