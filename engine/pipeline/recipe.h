/* SPDX-License-Identifier: Apache-2.0 */
/* Recipes: what is done to each matrix, from presets and JSON. */
#ifndef RECIPE_H
#define RECIPE_H

#include "compress.h"

/* What is done to one matrix. FORMAT_BF16 with QUANT_NONE keeps the matrix, pruned or not, as floats. */
struct recipe_matrix {
    prune_method prune;
    unsigned keep, of; /* N:M; of == 0: by density */
    double density;
    quant_method quant;
    number_format format;
    uint32_t group;
    double damping; /* 0: the method's default */
    unsigned refine;
    bool in_order;
    uint32_t rank; /* of the low-rank term for what is lost; 0: none */
};

/* An exception for the experts [expert_begin, expert_end) of the layers [layer_begin, layer_end). */
struct recipe_exception {
    uint32_t layer_begin, layer_end, expert_begin, expert_end;
    struct recipe_matrix matrix;
};

/* Whole experts of every layer that go before anything else is done. */
struct recipe_drop {
    saliency_method method;
    double share; /* 0: none */
    uint64_t seed;
};

/* One budget for all that is not fixed otherwise, and what each expert may become under it. */
enum recipe_budget_kind {
    RECIPE_BUDGET_NONE,
    RECIPE_BUDGET_BITS,  /* a weight, over the whole file */
    RECIPE_BUDGET_ACTIVE /* bytes of weights read for a token decoded alone, by the routing of the calibration text */
};
enum { RECIPE_CHOICES_MAX = 64 };
struct recipe_budget {
    enum recipe_budget_kind kind;
    double amount;
    size_t choices;
    struct recipe_matrix *choice;
};

struct recipe {
    struct recipe_budget budget;
    double layers; /* share of the layers that goes before anything else, those of the least influence; 0: none */
    struct recipe_drop drop;
    double neurons;               /* share of every routed expert's intermediate neurons that goes; 0: none */
    struct recipe_matrix experts; /* of routed, shared and dense feed-forwards */
    struct recipe_matrix rare;    /* of routed experts that less than rare_share of an even load reaches */
    double rare_share;            /* 0: none */
    struct recipe_matrix attention, embedding, head;
    bool recover; /* matrices are made to give the checkpoint's outputs from the compressed model's inputs */
    bool embedding_given, head_given; /* in the JSON, whatever the preset says */
    uint32_t min_tokens;              /* experts that fewer reach are sent more by force */
    size_t exceptions;
    struct recipe_exception *exception;
};

extern const char *const recipe_presets[];
/* Whether there is such a preset; then it fills `ret_recipe`. */
bool recipe_preset(const char *name, struct recipe *ret_recipe);
/* The preset (NULL: "int4") overlaid with the JSON object `text` (may be NULL): unknown keys, methods and formats and
 * impossible numbers are MOESAIC_E_USAGE naming the key. */
moesaic_status recipe_read(const char *preset, const char *text, size_t bytes, struct recipe *ret_recipe,
                           moesaic_error *error);
void recipe_done(struct recipe *recipe); /* accepts a zeroed struct */
/* The recipe as a JSON object, every setting spelt out: what the artifact records. NULL when out of memory. */
json_value *recipe_json(const struct recipe *recipe);
/* For a model whose head is its embedding: one table, compressed as the embedding is, or as the head where the JSON
 * says so of it. USAGE when the JSON asks for two different things. */
moesaic_status recipe_tie(struct recipe *recipe, moesaic_error *error);
/* What applies to an expert (UINT32_MAX: the shared or dense feed-forward) of a layer: the last exception that covers
 * it, or `rare`, or `experts`. `load`: its calibration tokens over those of an even load. */
const struct recipe_matrix *recipe_of_expert(const struct recipe *recipe, uint32_t layer, uint32_t expert, double load);
/* Whether an exception says what becomes of it. */
bool recipe_is_exception(const struct recipe *recipe, uint32_t layer, uint32_t expert);
/* GPTQ INT4 in groups of 64, or the same by clip search for tables that are looked up. */
struct recipe_matrix recipe_coarse(bool looked_up);
/* Whether the method looks at second-order statistics, or at any activations at all. */
bool recipe_wants_hessian(const struct recipe_matrix *matrix);
bool recipe_wants_activations(const struct recipe_matrix *matrix);
/* Whether scales may be folded into norms, routers and neighbours (awq). */
bool recipe_folds(const struct recipe *recipe);
/* Whether some expert may get a low-rank term. */
bool recipe_compensates(const struct recipe *recipe);
/* Whether the matrix becomes another: one that stays as it is has nothing to be fitted. */
bool recipe_changes(const struct recipe_matrix *matrix);
/* "sparsegpt+gptq", "clip", ..., behind "structured+" where neurons went and before "+lowrank" with a term, and
 * "int4-mask-g64": static strings. */
const char *recipe_method_name(const struct recipe_matrix *matrix, bool narrowed);
const char *recipe_format_name(const struct recipe_matrix *matrix);

#endif
