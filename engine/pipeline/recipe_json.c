/* SPDX-License-Identifier: Apache-2.0 */
/* Recipes as JSON: read over a preset with every key checked, and written with every setting spelt out. */
#include "recipe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "experts.h"

static const char *const prune_names[] = {
    [PRUNE_NONE] = "none", [PRUNE_MAGNITUDE] = "magnitude", [PRUNE_WANDA] = "wanda", [PRUNE_SPARSEGPT] = "sparsegpt"};
static const char *const quant_names[] = {
    [QUANT_NONE] = "none", [QUANT_RTN] = "rtn", [QUANT_CLIP] = "clip", [QUANT_GPTQ] = "gptq", [QUANT_AWQ] = "awq"};
static const char *const drop_names[] = {
    [SALIENCY_FREQUENCY] = "frequency", [SALIENCY_REAP] = "reap", [SALIENCY_RANDOM] = "random"};
enum { PRUNES = 4, DROPS = 3, QUANTS = 5, EXCEPTIONS_MAX = 65536 };

/* ---- reading ------------------------------------------------------------------------------------------------------
 */

static moesaic_status refuse(moesaic_error *error, const char *where, const char *key, const char *why) {
    return status_set(error, MOESAIC_E_USAGE, "recipe: %s%s%s: %s", where, *where ? "." : "", key, why);
}

/* USAGE when the object has a key that is not in `known` (NULL-terminated). */
static moesaic_status keys_check(const json_value *object, const char *where, const char *const *known,
                                 moesaic_error *error) {
    void *cursor = NULL;
    const char *key;
    const json_value *value;
    if (json_kind_of(object) != JSON_KIND_OBJECT)
        return refuse(error, "", where, "not an object");
    while (json_next(object, &cursor, &key, &value)) {
        size_t i = 0;
        while (known[i] && strcmp(known[i], key))
            i++;
        if (!known[i])
            return refuse(error, where, key, "unknown key");
    }
    return MOESAIC_OK;
}

/* Index of the string value of `key` in `names`; *io_index is left alone when the key is absent. */
static moesaic_status name_read(const json_value *object, const char *where, const char *key, const char *const *names,
                                size_t count, int *io_index, moesaic_error *error) {
    const json_value *value = json_get(object, key);
    const char *text = json_text(value, NULL);
    if (!value)
        return MOESAIC_OK;
    for (size_t i = 0; text && i < count; i++) {
        if (!strcmp(text, names[i])) {
            *io_index = (int)i;
            return MOESAIC_OK;
        }
    }
    return refuse(error, where, key, text ? "unknown name" : "not a string");
}

static moesaic_status number_read(const json_value *object, const char *where, const char *key, double low, double high,
                                  double *io_value, moesaic_error *error) {
    const json_value *value = json_get(object, key);
    if (!value)
        return MOESAIC_OK;
    json_kind kind = json_kind_of(value);
    double number = json_number(value);
    if ((kind != JSON_KIND_INTEGER && kind != JSON_KIND_REAL) || !(number >= low && number <= high))
        return status_set(error, MOESAIC_E_USAGE, "recipe: %s.%s: not a number from %g to %g", where, key, low, high);
    *io_value = number;
    return MOESAIC_OK;
}

static moesaic_status count_read(const json_value *object, const char *where, const char *key, double low, double high,
                                 uint32_t *io_value, moesaic_error *error) {
    double value = *io_value;
    moesaic_status status = number_read(object, where, key, low, high, &value, error);
    if (!status && value != floor(value))
        return refuse(error, where, key, "not a whole number");
    if (!status)
        *io_value = (uint32_t)value;
    return status;
}

static moesaic_status truth_read(const json_value *root, const char *key, bool *io_value, moesaic_error *error) {
    const json_value *value = json_get(root, key);
    if (value && json_kind_of(value) != JSON_KIND_BOOL)
        return refuse(error, "", key, "neither true nor false");
    *io_value = value ? json_truth(value) : *io_value;
    return MOESAIC_OK;
}

/* "pattern": "2:4" or "4:8". */
static moesaic_status pattern_read(const json_value *object, const char *where, struct recipe_matrix *io,
                                   moesaic_error *error) {
    const json_value *value = json_get(object, "pattern");
    const char *text = json_text(value, NULL);
    if (!value)
        return MOESAIC_OK;
    if (!text || (strcmp(text, "2:4") && strcmp(text, "4:8")))
        return refuse(error, where, "pattern", "neither \"2:4\" nor \"4:8\"");
    io->keep = text[0] - '0';
    io->of = text[2] - '0';
    io->density = 0.5;
    return MOESAIC_OK;
}

static moesaic_status format_read(const json_value *object, const char *where, struct recipe_matrix *io,
                                  moesaic_error *error) {
    const json_value *value = json_get(object, "format");
    const char *text = json_text(value, NULL);
    number_format format;
    if (!value)
        return MOESAIC_OK;
    if (!text || !number_format_parse(text, &format) ||
        (format != FORMAT_BF16 && format != FORMAT_INT8 && format != FORMAT_INT4 && format != FORMAT_INT3 &&
         format != FORMAT_INT2))
        return refuse(error, where, "format", "not one of bf16, int8, int4, int3, int2");
    io->format = format;
    return MOESAIC_OK;
}

static moesaic_status matrix_check(const char *where, struct recipe_matrix *m, moesaic_error *error) {
    if ((m->quant == QUANT_NONE) != (m->format == FORMAT_BF16))
        return refuse(error, where, "quant", "\"none\" and the format \"bf16\" go together");
    if (m->quant != QUANT_NONE && m->group != 32 && m->group != 64 && m->group != 128)
        return refuse(error, where, "group", "not 32, 64 or 128");
    if (m->prune != PRUNE_NONE && m->quant != QUANT_NONE && m->format != FORMAT_INT4)
        return refuse(error, where, "format", "pruned matrices are stored as int4 or bf16");
    if (m->rank && !recipe_changes(m))
        return refuse(error, where, "rank", "nothing is pruned or quantized that it could make up for");
    if (m->prune == PRUNE_NONE && (m->of || m->density < 1))
        return refuse(error, where, "prune", "\"none\", but a density or a pattern is given");
    return MOESAIC_OK;
}

static moesaic_status matrix_read(const json_value *object, const char *where, struct recipe_matrix *io,
                                  moesaic_error *error) {
    static const char *const known[] = {"prune",   "density", "pattern", "quant",  "format",  "group", "refine",
                                        "damping", "order",   "rank",    "layers", "experts", NULL};
    static const char *const orders[] = {"diagonal", "columns"};
    struct recipe_matrix m = *io;
    int prune = m.prune, quant = m.quant, order = m.in_order;
    uint32_t refine = m.refine;
    moesaic_status status = keys_check(object, where, known, error);
    if (!status)
        status = name_read(object, where, "prune", prune_names, PRUNES, &prune, error);
    if (!status && json_get(object, "density")) {
        m.keep = m.of = 0;
        status = number_read(object, where, "density", 0.01, 1, &m.density, error);
    }
    if (!status)
        status = pattern_read(object, where, &m, error);
    if (!status)
        status = name_read(object, where, "quant", quant_names, QUANTS, &quant, error);
    if (!status)
        status = format_read(object, where, &m, error);
    if (!status)
        status = count_read(object, where, "group", 32, 128, &m.group, error);
    if (!status)
        status = count_read(object, where, "refine", 0, 1000, &refine, error);
    if (!status)
        status = number_read(object, where, "damping", 0, 1, &m.damping, error);
    if (!status)
        status = name_read(object, where, "order", orders, 2, &order, error);
    if (!status)
        status = count_read(object, where, "rank", 0, EXPERT_RANK_MAX, &m.rank, error);
    m.prune = (prune_method)prune;
    m.quant = (quant_method)quant;
    m.refine = refine;
    m.in_order = order;
    if (!status)
        status = matrix_check(where, &m, error);
    if (!status)
        *io = m;
    return status;
}

/* "layers": [first, last], both included; absent: all. */
static moesaic_status range_read(const json_value *object, const char *key, uint32_t *ret_begin, uint32_t *ret_end,
                                 moesaic_error *error) {
    const json_value *range = json_get(object, key), *first = json_at(range, 0), *last = json_at(range, 1);
    *ret_begin = 0;
    *ret_end = UINT32_MAX;
    if (!range)
        return MOESAIC_OK;
    if (json_kind_of(range) != JSON_KIND_ARRAY || json_count(range) != 2 || json_kind_of(first) != JSON_KIND_INTEGER ||
        json_kind_of(last) != JSON_KIND_INTEGER || json_number(first) < 0 || json_number(last) < json_number(first) ||
        json_number(last) >= UINT32_MAX)
        return refuse(error, "exceptions", key, "not [first, last]");
    *ret_begin = (uint32_t)json_number(first);
    *ret_end = (uint32_t)json_number(last) + 1;
    return MOESAIC_OK;
}

static moesaic_status exceptions_read(const json_value *list, struct recipe *recipe, moesaic_error *error) {
    size_t count = json_count(list);
    if (!list)
        return MOESAIC_OK;
    if (json_kind_of(list) != JSON_KIND_ARRAY || count > EXCEPTIONS_MAX)
        return refuse(error, "", "exceptions", "not an array of at most 65536");
    recipe->exception = calloc(count + 1, sizeof *recipe->exception);
    if (!recipe->exception)
        return status_no_memory(error, "recipe", count * sizeof *recipe->exception);
    moesaic_status status = MOESAIC_OK;
    for (size_t i = 0; !status && i < count; i++) {
        struct recipe_exception *e = &recipe->exception[recipe->exceptions++];
        e->matrix = recipe->experts;
        status = matrix_read(json_at(list, i), "exceptions", &e->matrix, error);
        if (!status)
            status = range_read(json_at(list, i), "layers", &e->layer_begin, &e->layer_end, error);
        if (!status)
            status = range_read(json_at(list, i), "experts", &e->expert_begin, &e->expert_end, error);
    }
    return status;
}

static moesaic_status drop_read(const json_value *object, struct recipe_drop *drop, moesaic_error *error) {
    static const char *const known[] = {"method", "share", "seed", NULL};
    int method = SALIENCY_REAP;
    double seed = 0;
    if (!object)
        return MOESAIC_OK;
    moesaic_status status = keys_check(object, "drop", known, error);
    if (!status)
        status = name_read(object, "drop", "method", drop_names, DROPS, &method, error);
    if (!status)
        status = number_read(object, "drop", "share", 0, 0.99, &drop->share, error);
    if (!status)
        status = number_read(object, "drop", "seed", 0, 9007199254740992.0, &seed, error);
    if (!status && seed != floor(seed))
        status = refuse(error, "drop", "seed", "not a whole number");
    drop->method = (saliency_method)method;
    drop->seed = (uint64_t)seed;
    return status;
}

static moesaic_status layers_read(const json_value *object, double *io_share, moesaic_error *error) {
    static const char *const known[] = {"method", "share", NULL}, *const methods[] = {"influence"};
    int method = 0;
    if (!object)
        return MOESAIC_OK;
    moesaic_status status = keys_check(object, "drop_layers", known, error);
    if (!status)
        status = name_read(object, "drop_layers", "method", methods, 1, &method, error);
    return status ? status : number_read(object, "drop_layers", "share", 0, 0.99, io_share, error);
}

static moesaic_status neurons_read(const json_value *object, double *io_share, moesaic_error *error) {
    static const char *const known[] = {"share", NULL};
    if (!object)
        return MOESAIC_OK;
    moesaic_status status = keys_check(object, "neurons", known, error);
    return status ? status : number_read(object, "neurons", "share", 0, 0.99, io_share, error);
}

static const number_format choice_formats[] = {FORMAT_INT2, FORMAT_INT3, FORMAT_INT4, FORMAT_INT8};
enum { CHOICE_FORMATS = sizeof choice_formats / sizeof *choice_formats };

/* The experts' method at every number of bits, after the experts' own where they are pruned. */
static void choices_default(const struct recipe_matrix *experts, struct recipe_budget *budget) {
    if (experts->prune)
        budget->choice[budget->choices++] = *experts;
    for (size_t i = 0; i < CHOICE_FORMATS; i++) {
        struct recipe_matrix *m = &budget->choice[budget->choices++];
        *m = *experts;
        m->prune = PRUNE_NONE;
        m->keep = m->of = 0;
        m->density = 1;
        m->format = choice_formats[i];
    }
}

static moesaic_status choices_read(const json_value *list, const struct recipe_matrix *experts,
                                   struct recipe_budget *budget, moesaic_error *error) {
    size_t count = list ? json_count(list) : CHOICE_FORMATS + 1;
    moesaic_status status = MOESAIC_OK;
    if (list && (json_kind_of(list) != JSON_KIND_ARRAY || count < 2 || count > RECIPE_CHOICES_MAX))
        return refuse(error, "budget", "choices", "not an array of 2 to 64");
    if (!list && !experts->quant)
        return refuse(error, "budget", "choices", "the experts are not quantized, so say what they may become");
    budget->choice = calloc(count, sizeof *budget->choice);
    if (!budget->choice)
        return status_no_memory(error, "budget", count * sizeof *budget->choice);
    if (!list)
        choices_default(experts, budget);
    for (size_t i = 0; !status && list && i < count; i++) {
        struct recipe_matrix *m = &budget->choice[budget->choices++];
        *m = *experts;
        m->prune = PRUNE_NONE;
        m->keep = m->of = 0;
        m->density = 1;
        status = matrix_read(json_at(list, i), "budget.choices", m, error);
    }
    return status;
}

static moesaic_status budget_read(const json_value *object, struct recipe *recipe, moesaic_error *error) {
    static const char *const known[] = {"bits_per_weight", "active_bytes", "choices", NULL};
    struct recipe_budget *budget = &recipe->budget;
    if (!object)
        return MOESAIC_OK;
    moesaic_status status = keys_check(object, "budget", known, error);
    bool bits = json_get(object, "bits_per_weight"), active = json_get(object, "active_bytes");
    if (!status && bits == active)
        return refuse(error, "budget", "bits_per_weight", "either this or active_bytes, and not both");
    budget->kind = bits ? RECIPE_BUDGET_BITS : RECIPE_BUDGET_ACTIVE;
    if (!status && bits)
        status = number_read(object, "budget", "bits_per_weight", 0.01, 32, &budget->amount, error);
    if (!status && active)
        status = number_read(object, "budget", "active_bytes", 1, 1e15, &budget->amount, error);
    if (!status && (recipe->drop.share > 0 || recipe->neurons > 0))
        status = refuse(error, "", "budget", "whole experts or neurons go first: export, then compress again");
    return status ? status : choices_read(json_get(object, "choices"), &recipe->experts, budget, error);
}

static moesaic_status overlay_read(const json_value *root, struct recipe *recipe, moesaic_error *error) {
    static const char *const known[] = {
        "schema", "preset",  "experts", "attention",  "embedding", "head",    "min_tokens",  "exceptions",
        "drop",   "neurons", "rare",    "rare_share", "budget",    "recover", "drop_layers", NULL};
    const struct {
        const char *key;
        struct recipe_matrix *matrix;
    } parts[] = {{"experts", &recipe->experts},
                 {"rare", &recipe->rare},
                 {"attention", &recipe->attention},
                 {"embedding", &recipe->embedding},
                 {"head", &recipe->head}};
    moesaic_status status = keys_check(root, "recipe", known, error);
    recipe->embedding_given = json_get(root, "embedding") != NULL;
    recipe->head_given = json_get(root, "head") != NULL;
    for (size_t i = 0; !status && i < sizeof parts / sizeof *parts; i++)
        if (json_get(root, parts[i].key))
            status = matrix_read(json_get(root, parts[i].key), parts[i].key, parts[i].matrix, error);
    for (size_t i = 2; !status && i < sizeof parts / sizeof *parts; i++)
        if (parts[i].matrix->quant == QUANT_AWQ)
            status = refuse(error, parts[i].key, "quant", "awq has neighbours to fold into in feed-forwards only");
        else if (parts[i].matrix->rank)
            status = refuse(error, parts[i].key, "rank", "only feed-forwards have low-rank terms");
    if (!status && (recipe->embedding.prune || recipe->embedding.quant == QUANT_GPTQ))
        status = refuse(error, "embedding", "quant", "rows are looked up, not multiplied: none, rtn or clip, unpruned");
    /* A preset's rare experts are variations of its experts, not of others. */
    if (json_get(root, "experts") && !json_get(root, "rare"))
        recipe->rare_share = 0;
    if (!status)
        status = number_read(root, "recipe", "rare_share", 0, 1, &recipe->rare_share, error);
    if (!status)
        status = truth_read(root, "recover", &recipe->recover, error);
    if (!status)
        status = count_read(root, "recipe", "min_tokens", 0, 1e6, &recipe->min_tokens, error);
    if (!status)
        status = layers_read(json_get(root, "drop_layers"), &recipe->layers, error);
    if (!status)
        status = drop_read(json_get(root, "drop"), &recipe->drop, error);
    if (!status)
        status = neurons_read(json_get(root, "neurons"), &recipe->neurons, error);
    if (!status)
        status = exceptions_read(json_get(root, "exceptions"), recipe, error);
    return status ? status : budget_read(json_get(root, "budget"), recipe, error);
}

moesaic_status recipe_read(const char *preset, const char *text, size_t bytes, struct recipe *ret_recipe,
                           moesaic_error *error) {
    struct recipe recipe = {0};
    json_value *root = NULL;
    struct json_limits limits = {.reject_duplicates = true};
    moesaic_status status = text ? json_parse(text, bytes, &limits, "recipe", &root, error) : MOESAIC_OK;
    const char *named = json_text(json_get(root, "preset"), NULL);
    preset = preset ? preset : named ? named : "int4";
    if (!status && !recipe_preset(preset, &recipe))
        status = status_set(error, MOESAIC_E_USAGE, "recipe: preset '%.40s' is unknown", preset);
    if (!status && root)
        status = overlay_read(root, &recipe, error);
    json_free(root);
    if (status) {
        recipe_done(&recipe);
        return status == MOESAIC_E_INPUT ? MOESAIC_E_USAGE : status;
    }
    *ret_recipe = recipe;
    return MOESAIC_OK;
}

/* ---- writing ------------------------------------------------------------------------------------------------------
 */

static bool put_text(json_value *object, const char *key, const char *text) {
    return json_put(object, key, json_make_text(text, strlen(text)));
}

static json_value *matrix_json(const struct recipe_matrix *m) {
    json_value *object = json_make_object();
    bool whole = put_text(object, "prune", prune_names[m->prune]);
    if (m->of)
        whole &= put_text(object, "pattern", m->of == 4 ? "2:4" : "4:8");
    else if (m->prune)
        whole &= json_put(object, "density", json_make_real(m->density));
    whole &=
        put_text(object, "quant", quant_names[m->quant]) & put_text(object, "format", number_format_name(m->format));
    if (m->quant)
        whole &= json_put(object, "group", json_make_integer(m->group));
    whole &= json_put(object, "refine", json_make_integer(m->refine)) &
             json_put(object, "damping", json_make_real(m->damping)) &
             put_text(object, "order", m->in_order ? "columns" : "diagonal");
    if (m->rank)
        whole &= json_put(object, "rank", json_make_integer(m->rank));
    if (whole)
        return object;
    json_free(object);
    return NULL;
}

static json_value *drop_json(const struct recipe_drop *d) {
    json_value *object = json_make_object();
    bool whole = put_text(object, "method", drop_names[d->method]) &
                 json_put(object, "share", json_make_real(d->share)) &
                 json_put(object, "seed", json_make_integer((int64_t)d->seed));
    if (whole)
        return object;
    json_free(object);
    return NULL;
}

static json_value *layers_json(double share) {
    json_value *object = json_make_object();
    if (put_text(object, "method", "influence") & json_put(object, "share", json_make_real(share)))
        return object;
    json_free(object);
    return NULL;
}

static json_value *exception_json(const struct recipe_exception *e) {
    json_value *object = matrix_json(&e->matrix), *layers = json_make_array(), *experts = json_make_array();
    json_push(layers, json_make_integer(e->layer_begin));
    json_push(layers, json_make_integer((int64_t)e->layer_end - 1));
    json_push(experts, json_make_integer(e->expert_begin));
    json_push(experts, json_make_integer((int64_t)e->expert_end - 1));
    if (json_put(object, "layers", layers) & json_put(object, "experts", experts))
        return object;
    json_free(object);
    return NULL;
}

static json_value *budget_json(const struct recipe_budget *b) {
    json_value *object = json_make_object(), *choices = json_make_array();
    bool whole =
        json_put(object, b->kind == RECIPE_BUDGET_BITS ? "bits_per_weight" : "active_bytes", json_make_real(b->amount));
    for (size_t i = 0; i < b->choices; i++)
        whole &= json_push(choices, matrix_json(&b->choice[i]));
    if (json_put(object, "choices", choices) & whole)
        return object;
    json_free(object);
    return NULL;
}

json_value *recipe_json(const struct recipe *r) {
    json_value *root = json_make_object(), *exceptions = json_make_array();
    bool whole = put_text(root, "schema", "moesaic.recipe/1");
    whole &= json_put(root, "experts", matrix_json(&r->experts)) &
             json_put(root, "attention", matrix_json(&r->attention)) &
             json_put(root, "embedding", matrix_json(&r->embedding)) & json_put(root, "head", matrix_json(&r->head)) &
             json_put(root, "min_tokens", json_make_integer(r->min_tokens));
    if (r->rare_share > 0)
        whole &=
            json_put(root, "rare", matrix_json(&r->rare)) & json_put(root, "rare_share", json_make_real(r->rare_share));
    if (r->recover)
        whole &= json_put(root, "recover", json_make_bool(true));
    if (r->layers > 0)
        whole &= json_put(root, "drop_layers", layers_json(r->layers));
    if (r->drop.share > 0)
        whole &= json_put(root, "drop", drop_json(&r->drop));
    if (r->budget.kind)
        whole &= json_put(root, "budget", budget_json(&r->budget));
    if (r->neurons > 0) {
        json_value *neurons = json_make_object();
        whole &= json_put(neurons, "share", json_make_real(r->neurons)) & json_put(root, "neurons", neurons);
    }
    for (size_t i = 0; i < r->exceptions; i++)
        whole &= json_push(exceptions, exception_json(&r->exception[i]));
    whole &= json_put(root, "exceptions", exceptions);
    if (whole)
        return root;
    json_free(root);
    return NULL;
}

moesaic_status recipe_tie(struct recipe *r, moesaic_error *error) {
    const struct recipe_matrix *e = &r->embedding, *h = &r->head;
    bool differ = e->format != h->format || (e->quant && e->group != h->group);
    if (r->embedding_given && r->head_given && differ)
        return refuse(error, "", "embedding", "this model's head is its embedding: one format for both");
    r->embedding = r->head_given ? r->head : r->embedding;
    r->head = r->embedding;
    return MOESAIC_OK;
}
