/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a plan, which may come from a file, fits this model and this machine. */
#include <inttypes.h>

#include "placement_internal.h"

static moesaic_status check_fingerprint(const struct placement_plan *plan, const struct placement_model *model,
                                        const struct machine_speeds *machine, moesaic_error *error) {
    const struct placement_fingerprint *print = &plan->model;
    uint64_t bytes = placement_model_bytes(model);
    if (print->layers != model->layers || print->experts != model->experts || print->hidden != model->hidden ||
        print->bytes != bytes)
        return status_set(error, MOESAIC_E_INPUT,
                          "plan: made for another model: %u layers of %u experts, hidden size %u, %" PRIu64
                          " bytes; this one has %u of %u, %u, %" PRIu64,
                          print->layers, print->experts, print->hidden, print->bytes, model->layers, model->experts,
                          model->hidden, bytes);
    if (plan->nodes != machine->nodes)
        return status_set(error, MOESAIC_E_INPUT, "plan: made for %u NUMA nodes; this machine has %u", plan->nodes,
                          machine->nodes);
    return MOESAIC_OK;
}

static bool check_unit(uint32_t row, uint32_t unit, uint32_t rows) {
    return row % unit == 0 || row == rows;
}

/* Node, reader and row ranges of one piece. */
static moesaic_status check_piece(const struct placement_piece *piece, const struct placement_model *model,
                                  const struct machine_speeds *machine, uint32_t layer, uint32_t expert,
                                  moesaic_error *error) {
    const struct placement_expert *shape = &model->expert[(size_t)layer * model->experts + expert];
    uint32_t unit = shape->group > PLACEMENT_ROW_UNIT ? shape->group : PLACEMENT_ROW_UNIT;
    if (piece->node >= machine->nodes || piece->reader >= machine->nodes ||
        machine->node[piece->node].memory_bytes == 0 || machine->node[piece->reader].cores == 0)
        return status_set(error, MOESAIC_E_INPUT,
                          "plan: layer %u, expert %u: node %u read by node %u; one has no memory or the other no cores",
                          layer, expert, piece->node, piece->reader);
    if (piece->gate_begin > piece->gate_end || piece->gate_end > shape->intermediate ||
        piece->down_begin > piece->down_end || piece->down_end > model->hidden)
        return status_set(error, MOESAIC_E_INPUT,
                          "plan: layer %u, expert %u: rows %u to %u of %u and %u to %u of %u do not exist", layer,
                          expert, piece->gate_begin, piece->gate_end, shape->intermediate, piece->down_begin,
                          piece->down_end, model->hidden);
    if (!check_unit(piece->gate_begin, unit, shape->intermediate) ||
        !check_unit(piece->gate_end, unit, shape->intermediate) ||
        !check_unit(piece->down_begin, PLACEMENT_ROW_UNIT, model->hidden) ||
        !check_unit(piece->down_end, PLACEMENT_ROW_UNIT, model->hidden))
        return status_set(error, MOESAIC_E_INPUT,
                          "plan: layer %u, expert %u: cut at rows %u, %u and %u, %u, must be multiples of %u and %d",
                          layer, expert, piece->gate_begin, piece->gate_end, piece->down_begin, piece->down_end, unit,
                          PLACEMENT_ROW_UNIT);
    return MOESAIC_OK;
}

/* Either every piece is a whole copy, each on a place of its own, or they divide both row ranges in order. */
static moesaic_status check_cover(const struct placement_piece *pieces, uint32_t count,
                                  const struct placement_model *model, uint32_t layer, uint32_t expert,
                                  moesaic_error *error) {
    const struct placement_expert *shape = &model->expert[(size_t)layer * model->experts + expert];
    uint32_t whole = 0, gate = 0, down = 0;
    bool in_order = true;
    for (uint32_t p = 0; p < count; p++) {
        whole += placement_piece_is_whole(&pieces[p], model, layer, expert);
        in_order = in_order && pieces[p].gate_begin == gate && pieces[p].down_begin == down;
        gate = pieces[p].gate_end;
        down = pieces[p].down_end;
        for (uint32_t before = 0; before < p; before++)
            if (pieces[before].node == pieces[p].node && (pieces[before].reader == pieces[p].reader ||
                                                          placement_piece_is_whole(&pieces[p], model, layer, expert)))
                return status_set(error, MOESAIC_E_INPUT, "plan: layer %u, expert %u: node %u holds two pieces", layer,
                                  expert, pieces[p].node);
    }
    bool divided = in_order && gate == shape->intermediate && down == model->hidden;
    if (count > 0 ? whole != count && !divided : shape->intermediate > 0)
        return status_set(error, MOESAIC_E_INPUT,
                          "plan: layer %u, expert %u: its %u pieces are neither copies nor do they cover it once",
                          layer, expert, count);
    return MOESAIC_OK;
}

static moesaic_status check_item(const struct placement_plan *plan, const struct placement_model *model,
                                 const struct machine_speeds *machine, uint32_t layer, uint32_t expert,
                                 moesaic_error *error) {
    const struct placement_piece *pieces;
    uint32_t count = placement_plan_pieces(plan, layer, expert, &pieces);
    bool dropped = model->expert[(size_t)layer * model->experts + expert].intermediate == 0;
    if (count > PLACEMENT_PIECES_MAX || (count > 0 && dropped))
        return status_set(error, MOESAIC_E_INPUT, "plan: layer %u, expert %u: %u pieces, at most %d%s", layer, expert,
                          count, dropped ? 0 : PLACEMENT_PIECES_MAX, dropped ? " as the expert was dropped" : "");
    for (uint32_t p = 0; p < count; p++) {
        moesaic_status status = check_piece(&pieces[p], model, machine, layer, expert, error);
        if (status != MOESAIC_OK)
            return status;
    }
    return check_cover(pieces, count, model, layer, expert, error);
}

static moesaic_status check_memory(const struct placement_plan *plan, const struct placement_model *model,
                                   const struct machine_speeds *machine, moesaic_error *error) {
    uint64_t bytes[TOPOLOGY_NODES_MAX];
    placement_plan_node_bytes(plan, model, machine, bytes);
    for (unsigned n = 0; n < plan->nodes; n++)
        if (bytes[n] > machine->node[n].memory_bytes)
            return status_set(error, MOESAIC_E_MEMORY,
                              "plan: node %u is to hold %" PRIu64 " bytes of experts and has %" PRIu64 ": %" PRIu64
                              " bytes are missing",
                              n, bytes[n], machine->node[n].memory_bytes, bytes[n] - machine->node[n].memory_bytes);
    return MOESAIC_OK;
}

moesaic_status placement_plan_check(const struct placement_plan *plan, const struct placement_model *model,
                                    const struct machine_speeds *machine, moesaic_error *error) {
    moesaic_status status = machine_speeds_check(machine, error);
    if (status == MOESAIC_OK)
        status = placement_model_check(model, error);
    if (status == MOESAIC_OK)
        status = check_fingerprint(plan, model, machine, error);
    if (status != MOESAIC_OK)
        return status;
    bool interleaved = plan->policy == PLACEMENT_INTERLEAVE;
    if (interleaved && plan->piece_at[(size_t)model->layers * model->experts] != 0)
        return status_set(error, MOESAIC_E_INPUT, "plan: interleaved, and yet it names pieces");
    for (uint32_t layer = 0; layer < model->layers && !interleaved; layer++)
        for (uint32_t expert = 0; expert < model->experts; expert++) {
            status = check_item(plan, model, machine, layer, expert, error);
            if (status != MOESAIC_OK)
                return status;
        }
    return check_memory(plan, model, machine, error);
}
