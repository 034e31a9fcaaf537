/* SPDX-License-Identifier: Apache-2.0 */
/* A plan with its times worked out, and the time of one layer of one step under it: the objective of every search. */
#include <stdlib.h>
#include <string.h>

#include "placement_internal.h"

struct part part_make(const struct machine_speeds *machine, unsigned node, unsigned reader, double bytes,
                      double flops) {
    struct place place = place_of(machine, node, reader);
    return (struct part){.node = (uint16_t)node,
                         .reader = (uint16_t)reader,
                         .bytes = bytes,
                         .read_s = bytes * place.byte_s,
                         .token_s = flops * place.flop_s,
                         .supply_s = bytes * place.supply_s};
}

/* ---- building ---------------------------------------------------------------------------------------------------- */

moesaic_status layout_create(const struct placement_problem *problem, uint32_t capacity, struct layout **ret_layout,
                             moesaic_error *error) {
    uint32_t items = problem->model->layers * problem->model->experts; /* at most 2^22 */
    size_t parts = (size_t)items * capacity;
    struct layout *layout = calloc(1, sizeof *layout);
    if (layout == NULL)
        return status_no_memory(error, "a placement layout", sizeof *layout);
    *layout = (struct layout){.machine = problem->machine, .items = items};
    layout->first = calloc(items, sizeof *layout->first);
    layout->count = calloc(items, sizeof *layout->count);
    layout->divided = calloc(items, sizeof *layout->divided);
    layout->item_bytes = calloc(items, sizeof *layout->item_bytes);
    layout->item_flops = calloc(items, sizeof *layout->item_flops);
    layout->parts = calloc(parts > 0 ? parts : 1, sizeof *layout->parts);
    if (layout->first == NULL || layout->count == NULL || layout->divided == NULL || layout->item_bytes == NULL ||
        layout->item_flops == NULL || layout->parts == NULL) {
        layout_destroy(layout);
        return status_no_memory(error, "a placement layout", parts * sizeof *layout->parts);
    }
    for (uint32_t item = 0; item < items; item++) {
        layout->first[item] = item * capacity;
        layout->item_bytes[item] = (double)expert_bytes(&problem->model->expert[item]);
        layout->item_flops[item] = problem->model->expert[item].flops;
    }
    *ret_layout = layout;
    return MOESAIC_OK;
}

void layout_destroy(struct layout *layout) {
    if (layout == NULL)
        return;
    free(layout->first);
    free(layout->count);
    free(layout->divided);
    free(layout->item_bytes);
    free(layout->item_flops);
    free(layout->parts);
    free(layout);
}

/* Readers divide every expert in proportion to their cores and find its pages everywhere. */
static void layout_interleave(const struct placement_problem *problem, struct layout *layout) {
    const struct machine_speeds *machine = problem->machine;
    double page[TOPOLOGY_NODES_MAX], cores = 0;
    placement_page_shares(problem, page);
    for (unsigned n = 0; n < machine->nodes; n++)
        cores += machine->node[n].cores;
    layout->interleaved = true;
    for (unsigned reader = 0; reader < machine->nodes; reader++) {
        double work = machine->node[reader].cores / cores;
        for (unsigned node = 0; node < machine->nodes && work > 0; node++) {
            if (page[node] == 0)
                continue;
            struct place place = place_of(machine, node, reader);
            layout->reader_byte_s[reader] += work * page[node] * place.byte_s;
            layout->supply_byte_s[node] += work * page[node] * place.supply_s;
            layout->reader_flop_s[reader] = work * place.flop_s;
            layout->remote_share += reader != node ? work * page[node] : 0;
        }
    }
}

static struct part layout_part(const struct placement_problem *problem, const struct placement_piece *piece,
                               uint32_t item) {
    const struct placement_expert *expert = &problem->model->expert[item];
    double gate = (double)(piece->gate_end - piece->gate_begin) / expert->intermediate;
    double down = (double)(piece->down_end - piece->down_begin) / problem->model->hidden;
    return part_make(problem->machine, piece->node, piece->reader,
                     (double)expert->gate_up_bytes * gate + (double)expert->down_bytes * down,
                     expert->flops * (2 * gate + down) / 3);
}

moesaic_status layout_from_plan(const struct placement_problem *problem, const struct placement_plan *plan,
                                struct layout **ret_layout, moesaic_error *error) {
    uint32_t items = problem->model->layers * problem->model->experts, experts = problem->model->experts;
    struct layout *layout = NULL;
    moesaic_status status = layout_create(problem, 0, &layout, error);
    if (status != MOESAIC_OK)
        return status;
    if (plan->policy == PLACEMENT_INTERLEAVE) {
        layout_interleave(problem, layout);
        *ret_layout = layout;
        return MOESAIC_OK;
    }
    size_t pieces = plan->piece_at[items];
    struct part *parts = realloc(layout->parts, (pieces > 0 ? pieces : 1) * sizeof *parts);
    if (parts == NULL) {
        layout_destroy(layout);
        return status_no_memory(error, "a placement layout", pieces * sizeof *parts);
    }
    layout->parts = parts;
    for (uint32_t item = 0; item < items; item++) {
        layout->first[item] = plan->piece_at[item];
        layout->count[item] = (uint16_t)(plan->piece_at[item + 1] - plan->piece_at[item]);
        for (uint32_t p = plan->piece_at[item]; p < plan->piece_at[item + 1]; p++) {
            layout->parts[p] = layout_part(problem, &plan->pieces[p], item);
            layout->divided[item] |=
                !placement_piece_is_whole(&plan->pieces[p], problem->model, item / experts, item % experts);
        }
    }
    *ret_layout = layout;
    return MOESAIC_OK;
}

/* ---- the time of a row ------------------------------------------------------------------------------------------- */

static void row_add(const struct layout *layout, const struct part *part, uint32_t tokens, struct row_load *load) {
    load->seconds[part->reader] += part->read_s + tokens * part->token_s;
    load->seconds[layout->machine->nodes + part->node] += part->supply_s;
    if (part->reader == part->node)
        load->local_bytes += part->bytes;
    else
        load->remote_bytes += part->bytes;
}

/* The copy whose reader, or memory where that is the slower, would be done first; the earliest in the list on a tie. */
static const struct part *row_pick_copy(const struct layout *layout, uint32_t item, uint32_t tokens,
                                        const struct row_load *load) {
    const struct part *copies = layout->parts + layout->first[item], *best = NULL;
    double best_s = 0;
    for (uint32_t c = 0; c < layout->count[item]; c++) {
        double reader_s = load->seconds[copies[c].reader] + copies[c].read_s + tokens * copies[c].token_s;
        double memory_s = load->seconds[layout->machine->nodes + copies[c].node] + copies[c].supply_s;
        double done_s = reader_s > memory_s ? reader_s : memory_s;
        if (best == NULL || done_s < best_s) {
            best = &copies[c];
            best_s = done_s;
        }
    }
    return best;
}

static double row_slowest(const struct layout *layout, const struct row_load *load) {
    double slowest = 0;
    for (unsigned r = 0; r < 2 * layout->machine->nodes; r++)
        slowest = load->seconds[r] > slowest ? load->seconds[r] : slowest;
    return slowest;
}

static double row_interleaved(const struct layout *layout, const struct workload *workload, uint32_t row,
                              struct row_load *load) {
    double bytes = 0, flops = 0;
    for (uint32_t c = workload->choice_at[row]; c < workload->choice_at[row + 1]; c++) {
        const struct workload_choice *choice = &workload->choices[c];
        bytes += layout->item_bytes[choice->item];
        flops += layout->item_flops[choice->item] * choice->tokens;
    }
    unsigned nodes = layout->machine->nodes;
    for (unsigned n = 0; n < nodes; n++) {
        load->seconds[n] = bytes * layout->reader_byte_s[n] + flops * layout->reader_flop_s[n];
        load->seconds[nodes + n] = bytes * layout->supply_byte_s[n];
    }
    load->remote_bytes = bytes * layout->remote_share;
    load->local_bytes = bytes - load->remote_bytes;
    return row_slowest(layout, load);
}

double layout_row(const struct layout *layout, const struct workload *workload, uint32_t row,
                  struct row_load *ret_load) {
    struct row_load *load = ret_load;
    memset(load->seconds, 0, 2 * layout->machine->nodes * sizeof load->seconds[0]);
    load->local_bytes = load->remote_bytes = 0;
    if (layout->interleaved)
        return row_interleaved(layout, workload, row, load);
    bool copies = false;
    for (uint32_t c = workload->choice_at[row]; c < workload->choice_at[row + 1]; c++) {
        const struct workload_choice *choice = &workload->choices[c];
        uint32_t count = layout->count[choice->item];
        if (count > 1 && !layout->divided[choice->item]) {
            copies = true;
            continue;
        }
        for (uint32_t p = 0; p < count; p++)
            row_add(layout, &layout->parts[layout->first[choice->item] + p], choice->tokens, load);
    }
    for (uint32_t c = workload->choice_at[row]; copies && c < workload->choice_at[row + 1]; c++) {
        const struct workload_choice *choice = &workload->choices[c];
        if (layout->count[choice->item] > 1 && !layout->divided[choice->item])
            row_add(layout, row_pick_copy(layout, choice->item, choice->tokens, load), choice->tokens, load);
    }
    return row_slowest(layout, load);
}
