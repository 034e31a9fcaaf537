/* SPDX-License-Identifier: Apache-2.0 */
/* The comparison as a document, schema moesaic.compare/1. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <moesaic/version.h>

#include "compare_internal.h"

/* Every value is put with its failure remembered by the document's builder. */
struct builder {
    const struct comparison *c;
    const struct splits *s;
    bool whole;
};

static void put(struct builder *b, json_value *object, const char *key, json_value *value) {
    b->whole &= json_put(object, key, value);
}

static void put_real(struct builder *b, json_value *object, const char *key, double value) {
    put(b, object, key, json_make_real(isnan(value) ? 0 : fmax(-DBL_MAX, fmin(value, DBL_MAX))));
}

static void put_count(struct builder *b, json_value *object, const char *key, uint64_t value) {
    put(b, object, key, json_make_integer((int64_t)value));
}

/* Paths, names and reasons come from outside: what is no UTF-8 in them becomes '?'. */
static void put_text(struct builder *b, json_value *object, const char *key, const char *text) {
    json_value *value = json_make_text(text, strlen(text));
    char *printable = value ? NULL : strdup(text);
    if (printable) {
        text_make_printable(printable);
        value = json_make_text(printable, strlen(printable));
        free(printable);
    }
    put(b, object, key, value);
}

/* ---- models ------------------------------------------------------------------------------------------------------ */

static json_value *model_json(struct builder *b, const struct contender *m) {
    json_value *object = json_make_object();
    double tokens = (double)b->c->tokens;
    put_text(b, object, "path", m->info.path);
    put_text(b, object, "container", m->info.container);
    put_text(b, object, "architecture", m->info.architecture);
    put_count(b, object, "file_bytes", m->info.file_bytes);
    put_count(b, object, "weight_bytes", m->info.weight_bytes);
    put_count(b, object, "active_bytes_per_token", m->info.active_bytes);
    put_count(b, object, "kv_bytes_per_token", m->info.kv_bytes_per_token);
    put_real(b, object, "bits_per_weight", m->info.bits_per_weight);
    put_real(b, object, "expert_bits_per_weight", m->info.expert_bits_per_weight);
    put_count(b, object, "total_parameters", m->info.total_parameters);
    put_count(b, object, "active_parameters", m->info.active_parameters);
    put_real(b, object, "flops_per_token_nominal", (double)m->flops_nominal / tokens);
    put_real(b, object, "flops_per_token_executed", (double)m->flops_executed / tokens);
    put_real(b, object, "flops_per_token_skipped", (double)m->flops_skipped / tokens);
    return object;
}

static json_value *ratios_json(struct builder *b) {
    const moesaic_model_info *base = &b->c->contender[0].info, *optimized = &b->c->contender[1].info;
    json_value *object = json_make_object();
    put_real(b, object, "file_bytes", (double)optimized->file_bytes / (double)base->file_bytes);
    put_real(b, object, "weight_bytes", (double)optimized->weight_bytes / (double)base->weight_bytes);
    put_real(b, object, "active_bytes", (double)optimized->active_bytes / (double)base->active_bytes);
    return object;
}

/* ---- quality ----------------------------------------------------------------------------------------------------- */

static void put_summary(struct builder *b, json_value *object, const struct summary *s) {
    put_count(b, object, "scored", s->scored);
    put_real(b, object, "kl_mean", s->kl_mean);
    put_real(b, object, "kl_median", s->kl_median);
    put_real(b, object, "kl_p90", s->kl_p90);
    put_real(b, object, "kl_p99", s->kl_p99);
    put_real(b, object, "kl_p999", s->kl_p999);
    put_real(b, object, "kl_max", s->kl_max);
    put_real(b, object, "top1", s->top1);
    put_count(b, object, "confident", s->confident);
    put_real(b, object, "confident_flips", s->confident_flips);
    put_real(b, object, "base_perplexity", exp(s->base_nll));
    put_real(b, object, "perplexity", exp(s->nll));
    put_real(b, object, "perplexity_ratio", exp(s->nll - s->base_nll));
}

static void put_bits(struct builder *b, json_value *object, const struct summary *s, size_t tokens, size_t bytes) {
    double bits = bytes ? (double)tokens / (double)bytes / M_LN2 : 0;
    put_real(b, object, "base_bits_per_byte", s->base_nll * bits);
    put_real(b, object, "bits_per_byte", s->nll * bits);
}

static json_value *quality_json(struct builder *b) {
    json_value *object = json_make_object();
    size_t bytes = 0;
    for (size_t i = 0; i < b->c->texts; i++)
        bytes += b->c->text[i].bytes;
    put_count(b, object, "tokens", b->c->tokens);
    put_count(b, object, "bytes", bytes);
    put_count(b, object, "window", b->c->window);
    put_summary(b, object, &b->s->whole);
    put_bits(b, object, &b->s->whole, b->c->tokens, bytes);
    return object;
}

static json_value *histogram_json(struct builder *b) {
    json_value *object = json_make_object(), *bins = json_make_array();
    for (size_t i = 0; i < COMPARE_BINS; i++)
        b->whole &= json_push(bins, json_make_integer((int64_t)b->s->bin[i]));
    put_real(b, object, "low_log10", b->s->bin_low);
    put_real(b, object, "high_log10", b->s->bin_high);
    put(b, object, "counts", bins);
    return object;
}

/* ---- the tail ---------------------------------------------------------------------------------------------------- */

static json_value *texts_json(struct builder *b) {
    json_value *list = json_make_array();
    for (size_t i = 0; i < b->c->texts; i++) {
        const struct compared_text *t = &b->c->text[i];
        json_value *object = json_make_object();
        put_text(b, object, "name", t->name);
        put_count(b, object, "tokens", t->tokens);
        put_count(b, object, "bytes", t->bytes);
        put_summary(b, object, &b->s->text[i]);
        put_bits(b, object, &b->s->text[i], t->tokens, t->bytes);
        b->whole &= json_push(list, object);
    }
    return list;
}

static json_value *deciles_json(struct builder *b) {
    json_value *list = json_make_array();
    for (size_t i = 0; i < COMPARE_DECILES; i++) {
        json_value *object = json_make_object();
        put_count(b, object, "least_occurrences", b->s->decile_least[i]);
        put_count(b, object, "most_occurrences", b->s->decile_most[i]);
        put_summary(b, object, &b->s->decile[i]);
        b->whole &= json_push(list, object);
    }
    return list;
}

static json_value *positions_json(struct builder *b) {
    json_value *list = json_make_array();
    for (size_t i = 0; i < b->s->positions; i++) {
        json_value *object = json_make_object();
        put_count(b, object, "begin", b->s->at_begin[i]);
        put_count(b, object, "end", b->s->at_begin[i + 1]);
        put_summary(b, object, &b->s->at[i]);
        b->whole &= json_push(list, object);
    }
    return list;
}

/* Index in the model of the moe-th MoE layer. */
static uint32_t layer_of(const struct builder *b, uint32_t moe) {
    const struct model_config *config = model_config(b->c->contender[0].engine.model);
    uint32_t layer = 0;
    for (uint32_t seen = 0; layer < config->layers; layer++)
        if (config->layer[layer].moe && seen++ == moe)
            break;
    return layer;
}

static json_value *experts_json(struct builder *b) {
    json_value *list = json_make_array();
    double tokens = (double)b->c->scored;
    for (uint32_t moe = 0; moe < b->c->moe_layers; moe++) {
        uint32_t layer = layer_of(b, moe);
        for (uint32_t e = 0; e < b->c->experts; e++) {
            const struct expert_tally *t = &b->c->tally[moe * b->c->experts + e];
            double n = t->tokens ? (double)t->tokens : 1;
            json_value *object = json_make_object();
            put_count(b, object, "layer", layer);
            put_count(b, object, "expert", e);
            put_count(b, object, "tokens", t->tokens);
            put_real(b, object, "load", (double)t->tokens / tokens);
            put_real(b, object, "kl_mean", t->kl / n);
            put_real(b, object, "top1", (double)t->agree / n);
            b->whole &= json_push(list, object);
        }
    }
    return list;
}

static json_value *drift_json(struct builder *b) {
    json_value *list = json_make_array();
    double tokens = (double)b->c->scored;
    for (uint32_t moe = 0; moe < b->c->moe_layers; moe++) {
        if (b->c->twin[moe] < 0)
            continue;
        json_value *object = json_make_object();
        put_count(b, object, "layer", layer_of(b, moe));
        put_real(b, object, "changed", (double)b->c->drift[moe].changed / tokens);
        put_real(b, object, "changed_slots", (double)b->c->drift[moe].changed_slots / (tokens * b->c->k));
        b->whole &= json_push(list, object);
    }
    return list;
}

/* ---- worst tokens ------------------------------------------------------------------------------------------------ */

enum { CONTEXT_TOKENS = 40 };

static void put_ids(struct builder *b, json_value *object, const char *key, const int32_t *ids, size_t count) {
    char *text = NULL;
    size_t bytes;
    moesaic_status status =
        tokenizer_decode(b->c->contender[0].engine.tokenizer, ids, count, false, &text, &bytes, NULL);
    b->whole &= status != MOESAIC_E_MEMORY;
    json_value *value = status ? NULL : json_make_text(text, bytes);
    if (value)
        put(b, object, key, value);
    else /* bytes that are no UTF-8, or outputs of the model that spell nothing */
        put_text(b, object, key, status ? "" : text);
    free(text);
}

static json_value *worst_json(struct builder *b) {
    json_value *list = json_make_array();
    for (size_t i = 0; i < b->s->n_worst; i++) {
        const struct position *p = &b->c->position[b->s->worst[i]];
        const struct verdict *v = &b->c->contender[1].verdict[b->s->worst[i]];
        const struct compared_text *t = &b->c->text[p->text];
        size_t before = p->in_window + 1 < CONTEXT_TOKENS ? p->in_window + 1 : CONTEXT_TOKENS;
        json_value *object = json_make_object();
        put_text(b, object, "text", t->name);
        put_count(b, object, "token", p->at + 1);
        put_real(b, object, "kl", v->kl);
        put_ids(b, object, "context", t->ids + p->at + 1 - before, before);
        put_ids(b, object, "actual", &p->target, 1);
        put_real(b, object, "base_actual_p", exp(-p->nll));
        put_real(b, object, "actual_p", exp(-v->nll));
        put_ids(b, object, "base_top", &p->top, 1);
        put_real(b, object, "base_top_p", p->top_p);
        put_ids(b, object, "top", &v->top, 1);
        put_real(b, object, "top_p", v->top_p);
        b->whole &= json_push(list, object);
    }
    return list;
}

/* ---- opponents, speed, parts, gates ------------------------------------------------------------------------------ */

/* No larger than the optimized model, within a hundredth, and nearer to the base. */
static bool opponent_is_better(const struct builder *b, size_t i) {
    const struct contender *theirs = &b->c->contender[i], *ours = &b->c->contender[1];
    return (double)theirs->info.file_bytes <= 1.01 * (double)ours->info.file_bytes &&
           b->s->opponent[i - 2].kl_mean < b->s->whole.kl_mean;
}

static json_value *opponents_json(struct builder *b) {
    json_value *list = json_make_array();
    for (size_t i = 2; i < b->c->contenders; i++) {
        const struct contender *m = &b->c->contender[i];
        json_value *object = json_make_object();
        put_text(b, object, "name", m->name);
        put_count(b, object, "file_bytes", m->info.file_bytes);
        put_real(b, object, "bits_per_weight", m->info.bits_per_weight);
        put_real(b, object, "expert_bits_per_weight", m->info.expert_bits_per_weight);
        put_summary(b, object, &b->s->opponent[i - 2]);
        b->whole &= json_put(object, "better", json_make_bool(opponent_is_better(b, i)));
        b->whole &= json_push(list, object);
    }
    return list;
}

static json_value *speed_of_json(struct builder *b, const struct speed *s) {
    json_value *object = json_make_object();
    put_real(b, object, "prompt_tok_s", s->prompt_tok_s);
    put_real(b, object, "decode_tok_s", s->decode_tok_s);
    put_real(b, object, "first_token_s", s->prompt_s);
    return object;
}

static double over(double optimized, double base) {
    return base > 0 ? optimized / base : 0;
}

static json_value *speed_json(struct builder *b) {
    const struct speed *base = &b->c->contender[0].speed, *optimized = &b->c->contender[1].speed;
    json_value *object = json_make_object();
    put(b, object, "base", speed_of_json(b, base));
    put(b, object, "optimized", speed_of_json(b, optimized));
    put_real(b, object, "prompt_ratio", over(optimized->prompt_tok_s, base->prompt_tok_s));
    put_real(b, object, "decode_ratio", over(optimized->decode_tok_s, base->decode_tok_s));
    return object;
}

/* A key of the optimized artifact's own metadata, copied; an empty array where there is none. */
static json_value *metadata_copy(struct builder *b, const char *key) {
    const struct artifact *artifact = model_artifact(b->c->contender[1].engine.model);
    const json_value *value = artifact ? json_get(artifact_metadata(artifact), key) : NULL;
    size_t bytes;
    json_value *copy = NULL;
    char *text = value ? json_dump(value, false, &bytes) : NULL;
    if (!value)
        return json_make_array();
    if (!text || json_parse(text, bytes, NULL, key, &copy, NULL))
        b->whole = false;
    free(text);
    return copy;
}

static json_value *gates_json(struct builder *b, size_t *ret_failed) {
    const moesaic_compare_options *o = b->c->options;
    json_value *list = json_make_array();
    size_t failed = 0;
    for (size_t i = 0; i < o->gates; i++) {
        double value = 0;
        bool at_least = false;
        compare_gate_value(b->c, b->s, o->gate[i].name, &value, &at_least);
        bool met = at_least ? value >= o->gate[i].limit : value <= o->gate[i].limit;
        json_value *object = json_make_object();
        put_text(b, object, "name", o->gate[i].name);
        put_real(b, object, "value", value);
        put_real(b, object, "limit", o->gate[i].limit);
        put_text(b, object, "must_be", at_least ? "at least" : "at most");
        put(b, object, "met", json_make_bool(met));
        b->whole &= json_push(list, object);
        failed += !met;
    }
    *ret_failed = failed;
    return list;
}

json_value *report_json(const struct comparison *c, const struct splits *splits, size_t *ret_failed) {
    struct builder b = {c, splits, true};
    json_value *root = json_make_object();
    const char *justify = c->options->justify;
    put_text(&b, root, "schema", "moesaic.compare/1");
    put_text(&b, root, "version", moesaic_version());
    put(&b, root, "base", model_json(&b, &c->contender[0]));
    put(&b, root, "optimized", model_json(&b, &c->contender[1]));
    put(&b, root, "ratios", ratios_json(&b));
    put(&b, root, "quality", quality_json(&b));
    put(&b, root, "histogram", histogram_json(&b));
    put(&b, root, "texts", texts_json(&b));
    put(&b, root, "by_frequency", deciles_json(&b));
    put(&b, root, "by_position", positions_json(&b));
    put(&b, root, "by_expert", experts_json(&b));
    put(&b, root, "routing_drift", drift_json(&b));
    put(&b, root, "worst", worst_json(&b));
    put(&b, root, "opponents", opponents_json(&b));
    put(&b, root, "recipe", metadata_copy(&b, "recipe"));
    put(&b, root, "parts", metadata_copy(&b, "parts"));
    put(&b, root, "layers", metadata_copy(&b, "layers"));
    put(&b, root, "budget", metadata_copy(&b, "budget"));
    if (!c->options->no_speed) {
        put(&b, root, "speed", speed_json(&b));
        put(&b, root, "cost", report_cost_json(c));
    }
    put(&b, root, "gates", gates_json(&b, ret_failed));
    put_text(&b, root, "deploy", justify ? "base" : *ret_failed ? "nothing" : "optimized");
    if (justify)
        put_text(&b, root, "justification", justify);
    if (b.whole)
        return root;
    json_free(root);
    return NULL;
}
