/* SPDX-License-Identifier: Apache-2.0 */
/* What an engine counted, as JSON: in all, by layer, and by NUMA node where a placement plan is carried out. */
#include <stdlib.h>

#include "cli.h"

static json_t *work_json(const moesaic_work *w) {
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "flops_nominal", (json_int_t)w->flops_nominal, "flops_executed",
                     (json_int_t)w->flops_executed, "flops_skipped", (json_int_t)w->flops_skipped, "bytes_local",
                     (json_int_t)w->bytes_local, "bytes_remote", (json_int_t)w->bytes_remote, "distinct_experts",
                     (json_int_t)w->distinct_experts, "barrier_ns", (json_int_t)w->barrier_ns);
}

json_t *cli_work_json(const moesaic_work *work, uint32_t layers, uint32_t nodes) {
    json_t *list = json_array();
    for (uint32_t layer = 0; layer < layers; layer++, work += 1 + nodes) {
        json_t *object = work_json(work), *by_node = json_array();
        for (uint32_t node = 0; node < nodes; node++)
            cli_json_add(&by_node, work_json(&work[1 + node]));
        cli_json_set(&object, "nodes", by_node);
        cli_json_add(&list, object);
    }
    return list;
}

/* NULL when out of memory. */
static json_t *engine_work_json(const moesaic_engine *engine, uint32_t layers, uint32_t nodes) {
    moesaic_work *work = calloc((size_t)layers * (1 + nodes), sizeof *work);
    for (uint32_t i = 0; work && i < layers * (1 + nodes); i++) {
        uint32_t cell = i % (1 + nodes);
        work[i].size = sizeof *work;
        moesaic_engine_work(engine, i / (1 + nodes), cell ? cell - 1 : MOESAIC_ALL_NODES, &work[i], NULL);
    }
    json_t *list = work ? cli_work_json(work, layers, nodes) : NULL;
    free(work);
    return list;
}

json_t *cli_counters_json(const moesaic_engine *engine) {
    moesaic_counters c = {.size = sizeof c};
    moesaic_model_info info = {.size = sizeof info};
    moesaic_engine_placement placement = {.size = sizeof placement};
    if (moesaic_engine_counters(engine, &c, NULL) || moesaic_engine_placement_get(engine, &placement, NULL) ||
        moesaic_model_info_get(moesaic_engine_model(engine), &info, NULL))
        return NULL;
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o}", "steps", (json_int_t)c.steps, "tokens",
                     (json_int_t)c.tokens, "flops_nominal", (json_int_t)c.flops_nominal, "flops_executed",
                     (json_int_t)c.flops_executed, "flops_skipped", (json_int_t)c.flops_skipped, "bytes_local",
                     (json_int_t)c.bytes_local, "bytes_remote", (json_int_t)c.bytes_remote, "step_ns",
                     (json_int_t)c.step_ns, "barrier_ns", (json_int_t)c.barrier_ns, "layers",
                     engine_work_json(engine, info.layers, placement.nodes));
}
