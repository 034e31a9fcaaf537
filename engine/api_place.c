/* SPDX-License-Identifier: Apache-2.0 */
/* The C API: machines and placement. */
#include <stdlib.h>

#include "api_internal.h"

moesaic_status moesaic_topology_get(const moesaic_machine_options *options, moesaic_topology *ret_topology,
                                    moesaic_error *error) {
    moesaic_machine_options o;
    moesaic_topology topology = {.size = sizeof topology};
    moesaic_status status = api_options(options, &o, sizeof o, "machine options", error);
    if (!status)
        status = pipeline_topology(&o, &topology, error);
    if (status)
        return status;
    status = api_result(ret_topology, &topology, sizeof topology, "topology", error);
    if (status || !ret_topology)
        free(topology.node);
    return status;
}

moesaic_status moesaic_place(const moesaic_model *model, const moesaic_place_options *options,
                             moesaic_place_result *ret_result, moesaic_error *error) {
    moesaic_place_options o;
    moesaic_machine_options machine;
    moesaic_place_result result = {.size = sizeof result};
    moesaic_status status = api_options(options, &o, sizeof o, "place options", error);
    if (!status && o.machine) {
        status = api_options(o.machine, &machine, sizeof machine, "machine options", error);
        o.machine = &machine;
    }
    if (!status && !model->model)
        status =
            status_set(error, MOESAIC_E_USAGE, "place: the model was opened for its tokenizer only (%s)", model->path);
    if (!status)
        status = pipeline_place(model->model, &o, &result, error);
    if (status)
        return status;
    status = api_result(ret_result, &result, sizeof result, "place result", error);
    if (status || !ret_result)
        free(result.node_bytes);
    return status;
}

moesaic_status moesaic_engine_placement_get(const moesaic_engine *engine, moesaic_engine_placement *ret_placement,
                                            moesaic_error *error) {
    moesaic_engine_placement placement = {.size = sizeof placement};
    place_engine_describe(engine->placed, &placement);
    return api_result(ret_placement, &placement, sizeof placement, "engine placement", error);
}
