/* SPDX-License-Identifier: Apache-2.0 */
/* Where an expert can be held and computed, and how much each node can hold. */
#include <string.h>

#include "placement_internal.h"

struct place place_of(const struct machine_speeds *machine, unsigned node, unsigned reader) {
    double fastest = 0;
    for (unsigned r = 0; r < machine->nodes; r++)
        if (machine->read_bps[r][node] > fastest)
            fastest = machine->read_bps[r][node];
    return (struct place){.node = (uint16_t)node,
                          .reader = (uint16_t)reader,
                          .byte_s = 1 / (machine->read_bps[reader][node] * machine->read_fraction),
                          .flop_s = 1 / (machine->node[reader].int8_ops * machine->compute_fraction),
                          .supply_s = 1 / (fastest * machine->read_fraction)};
}

static bool place_usable(const struct machine_speeds *machine, unsigned node, unsigned reader) {
    return machine->node[node].memory_bytes > 0 && machine->node[reader].cores > 0;
}

unsigned places_index(const struct machine_speeds *machine, unsigned node, unsigned reader, struct places *places) {
    for (unsigned i = 0; i < places->count; i++)
        if (places->at[i].node == node && places->at[i].reader == reader)
            return i;
    if (places->count == PLACES_MAX)
        return PLACES_MAX;
    places->at[places->count] = place_of(machine, node, reader);
    return places->count++;
}

static unsigned place_distance(unsigned a, unsigned b) {
    return a > b ? a - b : b - a;
}

/* Pairs a node that lacks cores (or memory) with the PLACE_PARTNERS_MAX best others: fastest first, then nearest by
 * number, then lowest. */
static void places_add_partners(const struct machine_speeds *machine, unsigned n, bool lacks_cores,
                                struct places *places) {
    bool taken[TOPOLOGY_NODES_MAX] = {false};
    for (unsigned rank = 0; rank < PLACE_PARTNERS_MAX; rank++) {
        double fastest = 0;
        unsigned partner = machine->nodes;
        for (unsigned other = 0; other < machine->nodes; other++) {
            unsigned node = lacks_cores ? n : other, reader = lacks_cores ? other : n;
            double bps = machine->read_bps[reader][node];
            if (taken[other] || !place_usable(machine, node, reader))
                continue;
            if (bps > fastest || (bps == fastest && place_distance(other, n) < place_distance(partner, n))) {
                fastest = bps;
                partner = other;
            }
        }
        if (partner == machine->nodes)
            return;
        taken[partner] = true;
        places_index(machine, lacks_cores ? n : partner, lacks_cores ? partner : n, places);
    }
}

void places_list(const struct machine_speeds *machine, struct places *ret_places) {
    struct places *places = ret_places;
    places->count = 0;
    for (unsigned n = 0; n < machine->nodes; n++)
        if (place_usable(machine, n, n))
            places_index(machine, n, n, places);
    places->locals = places->count;
    for (unsigned n = 0; n < machine->nodes; n++) {
        bool cores = machine->node[n].cores > 0, memory = machine->node[n].memory_bytes > 0;
        if (cores != memory)
            places_add_partners(machine, n, memory, places);
    }
}

void placement_capacity(const struct placement_problem *problem, uint64_t *ret_bytes) {
    const struct machine_speeds *machine = problem->machine;
    double total = 0;
    for (unsigned n = 0; n < machine->nodes; n++)
        total += (double)machine->node[n].memory_bytes;
    for (unsigned n = 0; n < machine->nodes; n++) {
        double memory = (double)machine->node[n].memory_bytes;
        double dense = (double)problem->model->dense_bytes * (memory / total);
        ret_bytes[n] = dense < memory ? machine->node[n].memory_bytes - (uint64_t)dense : 0;
    }
}

void placement_page_shares(const struct placement_problem *problem, double *ret_share) {
    const struct machine_speeds *machine = problem->machine;
    uint64_t capacity[TOPOLOGY_NODES_MAX];
    placement_capacity(problem, capacity);
    double left = (double)placement_model_bytes(problem->model), total = left;
    memset(ret_share, 0, machine->nodes * sizeof *ret_share);
    for (unsigned round = 0; round < machine->nodes && left > 0.5; round++) {
        unsigned open = 0;
        for (unsigned n = 0; n < machine->nodes; n++)
            open += ret_share[n] * total < (double)capacity[n];
        double each = open > 0 ? left / open : 0;
        for (unsigned n = 0; n < machine->nodes; n++) {
            double room = (double)capacity[n] - ret_share[n] * total, put = room < each ? room : each;
            ret_share[n] += put / total;
            left -= put;
        }
    }
}
