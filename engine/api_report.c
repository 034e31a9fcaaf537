/* SPDX-License-Identifier: Apache-2.0 */
/* The C API: comparisons and advice. */
#include <stdlib.h>

#include "advise.h"
#include "api_internal.h"
#include "compare_internal.h"

enum { CONTENDERS_MAX = 2 + 16 };

const char *const *moesaic_gate_names(void) {
    return compare_gate_names;
}

const char *const *moesaic_cost_regions(void) {
    return cost_region_names;
}

static moesaic_status contender_make(const moesaic_engine *engine, const char *name, struct contender *ret,
                                     moesaic_error *error) {
    if (!engine || !name)
        return status_set(error, MOESAIC_E_USAGE, "compare: an engine or an opponent's name is missing");
    *ret = (struct contender){.name = name,
                              .engine = engine->pipeline,
                              .threads = moesaic_engine_threads(engine),
                              .info = {.size = sizeof ret->info}};
    return moesaic_model_info_get(engine->model, &ret->info, error);
}

moesaic_status moesaic_compare(moesaic_engine *base, moesaic_engine *optimized,
                               const moesaic_compare_options *options, moesaic_compare_result *ret_result,
                               moesaic_error *error) {
    moesaic_compare_options o;
    moesaic_cost_options cost;
    moesaic_compare_result result = {.size = sizeof result};
    struct contender contender[CONTENDERS_MAX];
    moesaic_status status = api_options(options, &o, sizeof o, "compare options", error);
    if (!status)
        status = api_options(o.cost, &cost, sizeof cost, "cost options", error);
    o.cost = &cost;
    if (!status && o.opponents > CONTENDERS_MAX - 2)
        status = status_set(error, MOESAIC_E_USAGE, "compare: %zu opponents, at most %d", o.opponents,
                            CONTENDERS_MAX - 2);
    if (!status)
        status = contender_make(base, "the base", &contender[0], error);
    if (!status)
        status = contender_make(optimized, "the optimized model", &contender[1], error);
    for (size_t i = 0; !status && i < o.opponents; i++)
        status = contender_make(o.opponent[i].engine, o.opponent[i].name, &contender[2 + i], error);
    if (!status)
        status = pipeline_compare(contender, 2 + o.opponents, &o, &result, error);
    if (status)
        return status;
    status = api_result(ret_result, &result, sizeof result, "compare result", error);
    if (status || !ret_result)
        free(result.json);
    return status;
}

moesaic_status moesaic_advise(moesaic_model *model, const moesaic_advise_options *options,
                              moesaic_advise_result *ret_result, moesaic_error *error) {
    moesaic_advise_options o;
    moesaic_status status = api_options(options, &o, sizeof o, "advise options", error);
    if (!status && (!model || !model->model))
        status = status_set(error, MOESAIC_E_USAGE, "advise: no model with weights");
    moesaic_advise_result *result = calloc(1, sizeof *result);
    if (!status && !result)
        status = status_no_memory(error, "advise", sizeof *result);
    if (!status)
        status = pipeline_advise(model, &o, result, error);
    if (!status)
        status = api_result(ret_result, result, sizeof *result, "advise result", error);
    free(result);
    return status;
}
