/* SPDX-License-Identifier: Apache-2.0 */
/* The machine as the planner sees it: nodes and memory from a topology, speeds stated by the caller, all checked. */
#include <math.h>
#include <string.h>

#include "placement.h"

static const struct machine_given machine_defaults = {
    .local_read_bps = 40e9, .int8_ops_per_core = 100e9, .exchange_s = 2e-6, .read_fraction = 1, .compute_fraction = 1};

static double machine_or(double given, double otherwise) {
    return given == 0 ? otherwise : given;
}

static bool machine_not_negative(double value) {
    return isfinite(value) && value >= 0;
}

static moesaic_status machine_given_resolve(const struct machine_given *given, struct machine_given *ret_given,
                                            moesaic_error *error) {
    struct machine_given g = given != NULL ? *given : machine_defaults;
    const double stated[] = {g.local_read_bps, g.remote_read_bps, g.memory_node_read_bps, g.int8_ops_per_core,
                             g.exchange_s,     g.read_fraction,   g.compute_fraction};
    for (size_t i = 0; i < sizeof stated / sizeof stated[0]; i++)
        if (!machine_not_negative(stated[i]))
            return status_set(error, MOESAIC_E_USAGE, "machine: stated speed %g, must be a number not below 0",
                              stated[i]);
    g.local_read_bps = machine_or(g.local_read_bps, machine_defaults.local_read_bps);
    g.remote_read_bps = machine_or(g.remote_read_bps, g.local_read_bps / 2);
    g.memory_node_read_bps = machine_or(g.memory_node_read_bps, g.local_read_bps / 2);
    g.int8_ops_per_core = machine_or(g.int8_ops_per_core, machine_defaults.int8_ops_per_core);
    g.exchange_s = machine_or(g.exchange_s, machine_defaults.exchange_s);
    g.read_fraction = machine_or(g.read_fraction, 1);
    g.compute_fraction = machine_or(g.compute_fraction, 1);
    *ret_given = g;
    return MOESAIC_OK;
}

static double machine_given_read(const struct machine_speeds *speeds, const struct machine_given *given,
                                 unsigned reader, unsigned memory) {
    if (speeds->node[reader].cores == 0 || speeds->node[memory].memory_bytes == 0)
        return 0;
    if (reader == memory)
        return given->local_read_bps;
    return speeds->node[memory].cores == 0 ? given->memory_node_read_bps : given->remote_read_bps;
}

moesaic_status machine_speeds_from_topology(const struct topology *topology, const struct machine_given *given,
                                            struct machine_speeds *ret_speeds, moesaic_error *error) {
    struct machine_given resolved = {0};
    moesaic_status status = machine_given_resolve(given, &resolved, error);
    if (status != MOESAIC_OK)
        return status;
    unsigned nodes = topology_nodes(topology);
    if (nodes > TOPOLOGY_NODES_MAX)
        return status_set(error, MOESAIC_E_UNSUPPORTED, "machine: %u NUMA nodes, at most %d are supported", nodes,
                          TOPOLOGY_NODES_MAX);
    struct machine_speeds speeds = {.nodes = nodes,
                                    .exchange_s = resolved.exchange_s,
                                    .read_fraction = resolved.read_fraction,
                                    .compute_fraction = resolved.compute_fraction};
    uint64_t memory_stated = 0;
    for (unsigned n = 0; n < nodes; n++)
        memory_stated |= topology_node_at(topology, n)->memory_bytes;
    for (unsigned n = 0; n < nodes; n++) {
        const struct topology_node *node = topology_node_at(topology, n);
        speeds.node[n] = (struct machine_node){.os_index = node->os_index,
                                               .memory_bytes = memory_stated != 0 ? node->memory_bytes
                                                                                  : resolved.assumed_memory_bytes,
                                               .cores = node->cores,
                                               .int8_ops = node->cores * resolved.int8_ops_per_core};
    }
    for (unsigned reader = 0; reader < nodes; reader++)
        for (unsigned memory = 0; memory < nodes; memory++)
            speeds.read_bps[reader][memory] = speeds.write_bps[reader][memory] =
                machine_given_read(&speeds, &resolved, reader, memory);
    status = machine_speeds_check(&speeds, error);
    if (status == MOESAIC_OK)
        *ret_speeds = speeds;
    return status;
}

static moesaic_status machine_check_pair(const struct machine_speeds *speeds, unsigned reader, unsigned memory,
                                         moesaic_error *error) {
    double bps = speeds->read_bps[reader][memory];
    bool usable = speeds->node[reader].cores > 0 && speeds->node[memory].memory_bytes > 0;
    if (!machine_not_negative(bps) || bps > 1e18 || (usable && bps < 1))
        return status_set(error, MOESAIC_E_UNSUPPORTED,
                          "machine: node %u reads node %u at %g bytes/s, must be 1 to 1e18", reader, memory, bps);
    return MOESAIC_OK;
}

static moesaic_status machine_check_node(const struct machine_speeds *speeds, unsigned n, moesaic_error *error) {
    const struct machine_node *node = &speeds->node[n];
    if (node->memory_bytes >> 60 != 0)
        return status_set(error, MOESAIC_E_UNSUPPORTED, "machine: node %u has %llu bytes of memory, at most 2^60", n,
                          (unsigned long long)node->memory_bytes);
    if (!machine_not_negative(node->int8_ops) || node->int8_ops > 1e21 || (node->cores > 0 && node->int8_ops < 1))
        return status_set(error, MOESAIC_E_UNSUPPORTED,
                          "machine: node %u with %u cores does %g int8 operations/s, must be 1 to 1e21", n, node->cores,
                          node->int8_ops);
    for (unsigned memory = 0; memory < speeds->nodes; memory++) {
        moesaic_status status = machine_check_pair(speeds, n, memory, error);
        if (status != MOESAIC_OK)
            return status;
    }
    return MOESAIC_OK;
}

moesaic_status machine_speeds_check(const struct machine_speeds *speeds, moesaic_error *error) {
    if (speeds->nodes < 1 || speeds->nodes > TOPOLOGY_NODES_MAX)
        return status_set(error, MOESAIC_E_UNSUPPORTED, "machine: %u NUMA nodes, must be 1 to %d", speeds->nodes,
                          TOPOLOGY_NODES_MAX);
    if (!machine_not_negative(speeds->exchange_s) || !(speeds->read_fraction > 0 && speeds->read_fraction <= 1) ||
        !(speeds->compute_fraction > 0 && speeds->compute_fraction <= 1))
        return status_set(error, MOESAIC_E_UNSUPPORTED,
                          "machine: exchange of %g s and kernel fractions %g and %g; the fractions must be in (0, 1]",
                          speeds->exchange_s, speeds->read_fraction, speeds->compute_fraction);
    unsigned cores = 0;
    uint64_t memory = 0;
    for (unsigned n = 0; n < speeds->nodes; n++) {
        moesaic_status status = machine_check_node(speeds, n, error);
        if (status != MOESAIC_OK)
            return status;
        cores |= speeds->node[n].cores;
        memory |= speeds->node[n].memory_bytes;
    }
    if (cores == 0)
        return status_set(error, MOESAIC_E_UNSUPPORTED, "machine: none of its %u NUMA nodes has a usable core",
                          speeds->nodes);
    if (memory == 0)
        return status_set(error, MOESAIC_E_UNSUPPORTED, "machine: none of its %u NUMA nodes states any memory",
                          speeds->nodes);
    return MOESAIC_OK;
}
