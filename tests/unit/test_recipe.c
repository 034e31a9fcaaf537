/* SPDX-License-Identifier: Apache-2.0 */
/* Recipes: presets, what JSON over them changes, what is refused and by which name, and that what is recorded is read
 * back as the same. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "recipe.h"

static moesaic_status read_over(const char *preset, const char *text, struct recipe *ret, moesaic_error *error) {
    memset(error, 0, sizeof *error);
    return recipe_read(preset, text, text ? strlen(text) : 0, ret, error);
}

static char *recorded(const struct recipe *recipe) {
    json_value *json = recipe_json(recipe);
    char *text = json_dump(json, false, NULL);
    json_free(json);
    cr_assert_not_null(text);
    return text;
}

Test(recipe, of_every_preset_is_recorded_and_read_back) {
    for (size_t i = 0; recipe_presets[i]; i++) {
        struct recipe recipe, again;
        moesaic_error error;
        cr_assert_eq(read_over(recipe_presets[i], NULL, &recipe, &error), MOESAIC_OK, "%s", error.message);
        char *text = recorded(&recipe);
        cr_assert_eq(read_over(NULL, text, &again, &error), MOESAIC_OK, "%s: %s", recipe_presets[i], error.message);
        char *twice = recorded(&again);
        cr_assert_str_eq(text, twice);
        free(twice);
        free(text);
        recipe_done(&again);
        recipe_done(&recipe);
    }
}

Test(recipe, of_json_lies_over_the_preset) {
    struct recipe r;
    moesaic_error error;
    cr_assert_eq(read_over(NULL,
                           "{\"preset\":\"int4-sparse50\",\"experts\":{\"pattern\":\"2:4\",\"group\":128},"
                           "\"min_tokens\":7,\"exceptions\":[{\"layers\":[1,2],\"experts\":[3,3],\"prune\":\"none\","
                           "\"density\":1,\"format\":\"int8\",\"quant\":\"rtn\",\"refine\":0}]}",
                           &r, &error),
                 MOESAIC_OK, "%s", error.message);
    cr_assert_str_eq(recipe_format_name(recipe_of_expert(&r, 0, 3, 1)), "int4-2:4-g128");
    cr_assert_str_eq(recipe_format_name(recipe_of_expert(&r, 1, 3, 1)), "int8-g128");
    cr_assert_str_eq(recipe_format_name(recipe_of_expert(&r, 2, 3, 1)), "int8-g128");
    cr_assert_str_eq(recipe_format_name(recipe_of_expert(&r, 3, 3, 1)), "int4-2:4-g128");
    cr_assert_str_eq(recipe_format_name(recipe_of_expert(&r, 1, 4, 1)), "int4-2:4-g128");
    cr_assert_eq(r.min_tokens, 7);
    cr_assert_eq(r.attention.format, FORMAT_INT8);
    recipe_done(&r);
}

Test(recipe, recovers_what_is_changed_and_says_so) {
    struct recipe r, again;
    moesaic_error error;
    cr_assert_eq(read_over("int4", "{\"recover\":true,\"head\":{\"quant\":\"none\",\"format\":\"bf16\"}}", &r, &error),
                 MOESAIC_OK, "%s", error.message);
    cr_assert(r.recover && recipe_changes(&r.experts) && !recipe_changes(&r.head));
    char *text = recorded(&r);
    cr_assert_eq(read_over(NULL, text, &again, &error), MOESAIC_OK, "%s", error.message);
    cr_assert(again.recover);
    free(text);
    recipe_done(&again);
    recipe_done(&r);
}

Test(recipe, compensates_by_a_rank_and_says_so) {
    static const char *const refused[] = {
        "{\"attention\":{\"rank\":4}}", "{\"head\":{\"rank\":4}}",
        "{\"experts\":{\"rank\":-1}}",  "{\"experts\":{\"rank\":4097}}",
        "{\"experts\":{\"rank\":1.5}}", "{\"experts\":{\"quant\":\"none\",\"format\":\"bf16\",\"rank\":4}}"};
    struct recipe r, again;
    moesaic_error error;
    cr_assert_eq(read_over("quality", "{\"exceptions\":[{\"rank\":16,\"experts\":[3,3]}]}", &r, &error), MOESAIC_OK,
                 "%s", error.message);
    const struct recipe_matrix *with = recipe_of_expert(&r, 0, 3, 1), *without = recipe_of_expert(&r, 0, 2, 1);
    cr_assert(with->rank == 16 && without->rank == 0 && recipe_compensates(&r));
    cr_assert_str_eq(recipe_method_name(with, false), "gptq+lowrank");
    cr_assert_str_eq(recipe_method_name(without, false), "gptq");
    cr_assert_str_eq(recipe_method_name(with, true), "structured+gptq+lowrank");
    struct recipe_matrix rounded = {.quant = QUANT_RTN, .rank = 1};
    cr_assert(recipe_wants_hessian(&rounded));
    char *text = recorded(&r);
    cr_assert_eq(read_over(NULL, text, &again, &error), MOESAIC_OK, "%s", error.message);
    cr_assert_eq(recipe_of_expert(&again, 0, 3, 1)->rank, 16);
    free(text);
    recipe_done(&again);
    recipe_done(&r);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        cr_assert_eq(read_over("int4", refused[i], &r, &error), MOESAIC_E_USAGE, "%s", refused[i]);
        cr_assert(strstr(error.message, "rank"), "%s: %s", refused[i], error.message);
    }
}

Test(recipe, folds_where_any_expert_is_awq) {
    static const struct {
        const char *text;
        bool folds;
    } cases[] = {{"{}", false},
                 {"{\"experts\":{\"quant\":\"awq\"}}", true},
                 {"{\"rare\":{\"quant\":\"awq\"}}", false},
                 {"{\"rare\":{\"quant\":\"awq\"},\"rare_share\":0.1}", true},
                 {"{\"exceptions\":[{\"quant\":\"awq\",\"experts\":[3,3]}]}", true},
                 {"{\"budget\":{\"bits_per_weight\":5,\"choices\":[{\"quant\":\"awq\"},{}]}}", true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct recipe r;
        moesaic_error error;
        cr_assert_eq(read_over("quality", cases[i].text, &r, &error), MOESAIC_OK, "%s", error.message);
        cr_assert_eq(recipe_folds(&r), cases[i].folds, "%s", cases[i].text);
        recipe_done(&r);
    }
}

Test(recipe, stores_rare_experts_in_fewer_bits) {
    struct recipe r;
    moesaic_error error;
    cr_assert_eq(read_over("int4-all", NULL, &r, &error), MOESAIC_OK);
    cr_assert_str_eq(recipe_format_name(recipe_of_expert(&r, 0, 0, 0.049)), "int3-g128");
    cr_assert_str_eq(recipe_format_name(recipe_of_expert(&r, 0, 0, 0.05)), "int4-g64");
    cr_assert_str_eq(recipe_format_name(recipe_of_expert(&r, 0, UINT32_MAX, 0)), "int4-g64",
                     "shared ones are no experts");
    recipe_done(&r);
    cr_assert_eq(read_over("int4", NULL, &r, &error), MOESAIC_OK);
    cr_assert_str_eq(recipe_format_name(recipe_of_expert(&r, 0, 0, 0.009)), "int3-g64");
    cr_assert_str_eq(recipe_format_name(recipe_of_expert(&r, 0, 0, 0.01)), "int4-g64");
    recipe_done(&r);
    cr_assert_eq(read_over("int4", "{\"experts\":{\"format\":\"int8\"}}", &r, &error), MOESAIC_OK);
    cr_assert_str_eq(recipe_format_name(recipe_of_expert(&r, 0, 0, 0)), "int8-g64", "experts named, rare ones not");
    recipe_done(&r);
}

Test(recipe, of_a_tied_table_is_one) {
    static const struct {
        const char *text;
        number_format format;
        quant_method quant;
    } cases[] = {{"{}", FORMAT_INT8, QUANT_CLIP},
                 {"{\"head\":{\"format\":\"int4\",\"quant\":\"gptq\"}}", FORMAT_INT4, QUANT_GPTQ},
                 {"{\"embedding\":{\"format\":\"int4\"}}", FORMAT_INT4, QUANT_CLIP}};
    moesaic_error error;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct recipe r;
        cr_assert_eq(read_over("int4-all", cases[i].text, &r, &error), MOESAIC_OK, "%s", error.message);
        cr_assert_eq(recipe_tie(&r, &error), MOESAIC_OK, "%s", cases[i].text);
        cr_assert(r.embedding.format == cases[i].format && r.embedding.quant == cases[i].quant, "%s", cases[i].text);
        cr_assert(!memcmp(&r.embedding, &r.head, sizeof r.head));
        recipe_done(&r);
    }
    struct recipe r;
    const char *both = "{\"head\":{\"format\":\"int8\"},\"embedding\":{\"format\":\"int3\"}}";
    cr_assert_eq(read_over("int4", both, &r, &error), MOESAIC_OK);
    cr_assert_eq(recipe_tie(&r, &error), MOESAIC_E_USAGE);
    recipe_done(&r);
}

static void check_choice(const struct recipe *r, size_t i, prune_method prune, const char *format) {
    cr_assert_lt(i, r->budget.choices);
    cr_assert_eq(r->budget.choice[i].prune, prune, "choice %zu", i);
    cr_assert_str_eq(recipe_format_name(&r->budget.choice[i]), format, "choice %zu", i);
}

Test(recipe, of_a_budget_says_what_an_expert_may_become) {
    struct recipe r, again;
    moesaic_error error;
    cr_assert_eq(read_over("int4-sparse50",
                           "{\"experts\":{\"group\":128},\"budget\":{\"bits_per_weight\":3.25},"
                           "\"exceptions\":[{\"layers\":[1,1],\"experts\":[2,3]}]}",
                           &r, &error),
                 MOESAIC_OK, "%s", error.message);
    cr_assert(r.budget.kind == RECIPE_BUDGET_BITS && r.budget.amount == 3.25 && r.budget.choices == 5);
    check_choice(&r, 0, PRUNE_SPARSEGPT, "int4-mask-g128");
    check_choice(&r, 1, PRUNE_NONE, "int2-g128");
    check_choice(&r, 4, PRUNE_NONE, "int8-g128");
    cr_assert(recipe_is_exception(&r, 1, 3) && !recipe_is_exception(&r, 1, 4) && !recipe_is_exception(&r, 0, 3));
    char *text = recorded(&r);
    recipe_done(&r);
    cr_assert_eq(read_over(NULL, text, &again, &error), MOESAIC_OK, "%s", error.message);
    char *twice = recorded(&again);
    cr_assert_str_eq(text, twice);
    free(twice);
    free(text);
    recipe_done(&again);
    cr_assert_eq(read_over("int4",
                           "{\"budget\":{\"active_bytes\":5e8,\"choices\":[{\"format\":\"int3\"},"
                           "{\"format\":\"bf16\",\"quant\":\"none\"}]}}",
                           &r, &error),
                 MOESAIC_OK, "%s", error.message);
    cr_assert(r.budget.kind == RECIPE_BUDGET_ACTIVE && r.budget.amount == 5e8 && r.budget.choices == 2);
    check_choice(&r, 0, PRUNE_NONE, "int3-g64");
    check_choice(&r, 1, PRUNE_NONE, "bf16");
    recipe_done(&r);
}

Test(recipe, is_refused_by_the_name_of_the_key) {
    static const struct {
        const char *text, *names;
    } cases[] = {{"{\"expert\":{}}", "expert"},
                 {"{\"experts\":{\"prunes\":\"wanda\"}}", "prunes"},
                 {"{\"experts\":{\"prune\":\"sparse\"}}", "prune"},
                 {"{\"experts\":{\"prune\":3}}", "prune"},
                 {"{\"experts\":{\"prune\":\"wanda\",\"density\":0}}", "density"},
                 {"{\"experts\":{\"prune\":\"wanda\",\"density\":1.5}}", "density"},
                 {"{\"experts\":{\"density\":0.5}}", "prune"},
                 {"{\"experts\":{\"prune\":\"wanda\",\"pattern\":\"1:4\"}}", "pattern"},
                 {"{\"experts\":{\"prune\":\"wanda\",\"density\":0.5,\"format\":\"int3\"}}", "format"},
                 {"{\"experts\":{\"format\":\"int5\"}}", "format"},
                 {"{\"experts\":{\"format\":\"bf16\"}}", "quant"},
                 {"{\"experts\":{\"group\":48}}", "group"},
                 {"{\"experts\":{\"group\":64.5}}", "group"},
                 {"{\"experts\":{\"refine\":-1}}", "refine"},
                 {"{\"experts\":{\"damping\":2}}", "damping"},
                 {"{\"experts\":[]}", "experts"},
                 {"{\"embedding\":{\"quant\":\"gptq\"}}", "embedding"},
                 {"{\"attention\":{\"quant\":\"awq\"}}", "attention"},
                 {"{\"min_tokens\":1e9}", "min_tokens"},
                 {"{\"rare_share\":2}", "rare_share"},
                 {"{\"recover\":1}", "recover"},
                 {"{\"rare\":{\"format\":\"int1\"}}", "format"},
                 {"{\"drop\":{\"share\":1}}", "share"},
                 {"{\"drop_layers\":{\"share\":1}}", "share"},
                 {"{\"drop_layers\":{\"method\":\"reap\"}}", "method"},
                 {"{\"drop_layers\":{\"count\":1}}", "count"},
                 {"{\"exceptions\":{}}", "exceptions"},
                 {"{\"exceptions\":[{\"layers\":[2,1]}]}", "layers"},
                 {"{\"exceptions\":[{\"experts\":[0,4294967295]}]}", "experts"},
                 {"{\"budget\":{}}", "bits_per_weight"},
                 {"{\"budget\":{\"bits_per_weight\":3,\"active_bytes\":1e6}}", "active_bytes"},
                 {"{\"budget\":{\"bits_per_weight\":0}}", "bits_per_weight"},
                 {"{\"budget\":{\"bits_per_weight\":3,\"choices\":[{}]}}", "choices"},
                 {"{\"budget\":{\"bits_per_weight\":3,\"choices\":[{},{\"group\":7}]}}", "group"},
                 {"{\"budget\":{\"bits_per_weight\":3},\"drop\":{\"share\":0.5}}", "budget"},
                 {"{\"budget\":{\"bits_per_weight\":3},\"neurons\":{\"share\":0.5}}", "budget"},
                 {"{\"experts\":{\"quant\":\"none\",\"format\":\"bf16\"},\"budget\":{\"active_bytes\":9}}", "choices"},
                 {"{\"preset\":\"int5\"}", "int5"},
                 {"{\"experts\":{},\"experts\":{}}", "experts"},
                 {"[1]", "recipe"},
                 {"{\"experts\":", "recipe"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct recipe recipe = {.min_tokens = 77};
        moesaic_error error;
        cr_assert_eq(read_over(NULL, cases[i].text, &recipe, &error), MOESAIC_E_USAGE, "%s", cases[i].text);
        cr_assert_not_null(strstr(error.message, cases[i].names), "%s: %s", cases[i].text, error.message);
        cr_assert_eq(recipe.min_tokens, 77, "a failure touched its output");
    }
}
