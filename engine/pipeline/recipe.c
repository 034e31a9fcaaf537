/* SPDX-License-Identifier: Apache-2.0 */
/* Recipes: the presets, what a recipe says of an expert, and what methods are called. */
#include "recipe.h"

#include <stdlib.h>
#include <string.h>

enum { PRUNES = 4, QUANTS = 5, REFINE_ROUNDS = 8 };

/* ---- presets ----------------------------------------------------------------------------------------------------- */

const char *const recipe_presets[] = {"int4", "int4-all", "int4-sparse50", "small", "quality", NULL};

static struct recipe_matrix quantized(quant_method quant, number_format format, uint32_t group) {
    return (struct recipe_matrix){.density = 1,
                                  .quant = quant,
                                  .format = format,
                                  .group = group,
                                  .refine = quant == QUANT_GPTQ ? REFINE_ROUNDS : 0};
}

struct recipe_matrix recipe_coarse(bool looked_up) {
    return quantized(looked_up ? QUANT_CLIP : QUANT_GPTQ, FORMAT_INT4, 64);
}

bool recipe_preset(const char *name, struct recipe *ret) {
    struct recipe_matrix int8 = quantized(QUANT_CLIP, FORMAT_INT8, 64), int4 = quantized(QUANT_GPTQ, FORMAT_INT4, 64);
    *ret = (struct recipe){.experts = int4, .attention = int8, .embedding = int8, .head = int8, .min_tokens = 128};
    ret->rare = int4;
    if (!strcmp(name, "int4")) {
        ret->rare = quantized(QUANT_GPTQ, FORMAT_INT3, 64);
        ret->rare_share = 0.01;
        return true;
    }
    if (!strcmp(name, "int4-all")) {
        ret->attention = ret->head = int4;
        ret->rare = quantized(QUANT_GPTQ, FORMAT_INT3, 128);
        ret->rare_share = 0.05;
        return true;
    }
    if (!strcmp(name, "int4-sparse50")) {
        ret->experts.prune = PRUNE_SPARSEGPT;
        ret->experts.density = 0.5;
        return true;
    }
    if (!strcmp(name, "small")) {
        ret->experts = quantized(QUANT_GPTQ, FORMAT_INT3, 64);
        ret->attention = ret->head = int4;
        return true;
    }
    if (!strcmp(name, "quality")) {
        ret->experts = quantized(QUANT_GPTQ, FORMAT_INT8, 64);
        return true;
    }
    return false;
}

void recipe_done(struct recipe *recipe) {
    free(recipe->budget.choice);
    free(recipe->exception);
    recipe->budget.choice = NULL;
    recipe->exception = NULL;
}

/* ---- questions --------------------------------------------------------------------------------------------------- */

static const struct recipe_matrix *exception_of(const struct recipe *r, uint32_t layer, uint32_t expert) {
    for (size_t i = r->exceptions; i-- > 0;) {
        const struct recipe_exception *e = &r->exception[i];
        if (layer >= e->layer_begin && layer < e->layer_end && expert >= e->expert_begin && expert < e->expert_end)
            return &e->matrix;
    }
    return NULL;
}

bool recipe_is_exception(const struct recipe *r, uint32_t layer, uint32_t expert) {
    return exception_of(r, layer, expert) != NULL;
}

const struct recipe_matrix *recipe_of_expert(const struct recipe *r, uint32_t layer, uint32_t expert, double load) {
    const struct recipe_matrix *exception = exception_of(r, layer, expert);
    if (exception)
        return exception;
    return expert != UINT32_MAX && load < r->rare_share ? &r->rare : &r->experts;
}

bool recipe_wants_hessian(const struct recipe_matrix *m) {
    return m->prune == PRUNE_SPARSEGPT || m->quant == QUANT_GPTQ || m->refine || m->rank;
}

bool recipe_wants_activations(const struct recipe_matrix *m) {
    return recipe_wants_hessian(m) || m->prune == PRUNE_WANDA || m->quant == QUANT_CLIP || m->quant == QUANT_AWQ;
}

/* Whether a feed-forward may become what `is` says. */
static bool any_expert(const struct recipe *r, bool (*is)(const struct recipe_matrix *)) {
    bool any = is(&r->experts) || (r->rare_share > 0 && is(&r->rare));
    for (size_t i = 0; i < r->exceptions; i++)
        any |= is(&r->exception[i].matrix);
    for (size_t i = 0; i < r->budget.choices; i++)
        any |= is(&r->budget.choice[i]);
    return any;
}

static bool is_awq(const struct recipe_matrix *m) {
    return m->quant == QUANT_AWQ;
}

static bool has_term(const struct recipe_matrix *m) {
    return m->rank > 0;
}

bool recipe_folds(const struct recipe *r) {
    return any_expert(r, is_awq);
}

bool recipe_compensates(const struct recipe *r) {
    return any_expert(r, has_term);
}

bool recipe_changes(const struct recipe_matrix *m) {
    return m->prune != PRUNE_NONE || m->quant != QUANT_NONE;
}

/* Every name is one string, put together from what stands before and behind it. */
#define PRUNED(name, behind)                                                                                           \
    { name behind, name "+rtn" behind, name "+clip" behind, name "+gptq" behind, name "+awq" behind }
#define METHODS(alone, before, behind)                                                                                 \
    {                                                                                                                  \
        {alone behind, before "rtn" behind, before "clip" behind, before "gptq" behind, before "awq" behind},          \
            PRUNED(before "magnitude", behind), PRUNED(before "wanda", behind), PRUNED(before "sparsegpt", behind)     \
    }

const char *recipe_method_name(const struct recipe_matrix *m, bool narrowed) {
    static const char *const names[2][2][PRUNES][QUANTS] = {
        {METHODS("none", "", ""), METHODS("none", "", "+lowrank")},
        {METHODS("structured", "structured+", ""), METHODS("structured", "structured+", "+lowrank")}};
    return names[narrowed][m->rank > 0][m->prune][m->quant];
}

const char *recipe_format_name(const struct recipe_matrix *m) {
    static const char *const names[][3] = {{"int8-g32", "int8-g64", "int8-g128"},
                                           {"int4-g32", "int4-g64", "int4-g128"},
                                           {"int3-g32", "int3-g64", "int3-g128"},
                                           {"int2-g32", "int2-g64", "int2-g128"},
                                           {"int4-2:4-g32", "int4-2:4-g64", "int4-2:4-g128"},
                                           {"int4-4:8-g32", "int4-4:8-g64", "int4-4:8-g128"},
                                           {"int4-mask-g32", "int4-mask-g64", "int4-mask-g128"}};
    if (m->quant == QUANT_NONE)
        return "bf16";
    int row = m->prune == PRUNE_NONE ? (int)m->format - FORMAT_INT8 : m->of == 4 ? 4 : m->of == 8 ? 5 : 6;
    return names[row][m->group == 32 ? 0 : m->group == 64 ? 1 : 2];
}
