/* SPDX-License-Identifier: Apache-2.0 */
/* Machines for the planner: this one or a described one, with speeds measured, given or assumed. */
#include <stdlib.h>

#include "place.h"

static moesaic_status machine_options_check(const moesaic_machine_options *o, moesaic_error *error) {
    bool described = o->synthetic || o->xml_path;
    if (o->synthetic && o->xml_path)
        return status_set(error, MOESAIC_E_USAGE, "machine: a synthetic description and an XML file, expected one");
    if (o->measure && described)
        return status_set(error, MOESAIC_E_USAGE,
                          "machine: only this machine can be measured; give the speeds of a described one");
    if (o->measure && (o->local_read_bps != 0 || o->remote_read_bps != 0 || o->memory_node_read_bps != 0 ||
                       o->int8_ops_per_core != 0 || o->exchange_s != 0))
        return status_set(error, MOESAIC_E_USAGE, "machine: speeds are measured or given, not both");
    if (!(o->read_fraction >= 0 && o->read_fraction <= 1) || !(o->compute_fraction >= 0 && o->compute_fraction <= 1))
        return status_set(error, MOESAIC_E_USAGE, "machine: fractions %g and %g, expected 0 (the default) to 1",
                          o->read_fraction, o->compute_fraction);
    return MOESAIC_OK;
}

/* No more than the process may use: a cgroup's limit lowers every node in proportion. */
static void machine_limit_memory(struct machine_speeds *speeds, uint64_t limit_bytes) {
    uint64_t total = 0;
    for (unsigned n = 0; n < speeds->nodes; n++)
        total += speeds->node[n].memory_bytes;
    if (limit_bytes == 0 || limit_bytes >= total)
        return;
    double share = (double)limit_bytes / (double)total;
    for (unsigned n = 0; n < speeds->nodes; n++)
        speeds->node[n].memory_bytes = (uint64_t)((double)speeds->node[n].memory_bytes * share);
}

static moesaic_status machine_find_speeds(const moesaic_machine_options *o, struct place_machine *machine,
                                          moesaic_error *error) {
    const struct machine_given given = {.local_read_bps = o->local_read_bps,
                                        .remote_read_bps = o->remote_read_bps,
                                        .memory_node_read_bps = o->memory_node_read_bps,
                                        .int8_ops_per_core = o->int8_ops_per_core,
                                        .exchange_s = o->exchange_s,
                                        .read_fraction = o->read_fraction,
                                        .compute_fraction = o->compute_fraction,
                                        .assumed_memory_bytes = o->node_memory_bytes};
    bool all_given = o->local_read_bps > 0 && o->remote_read_bps > 0 && o->int8_ops_per_core > 0;
    machine->source = o->measure ? "measured" : all_given ? "given" : "assumed";
    if (!o->measure)
        return machine_speeds_from_topology(machine->topology, &given, &machine->speeds, error);
    moesaic_status status = machine_speeds_measure(machine->topology, 0, &machine->speeds, error);
    if (o->read_fraction > 0)
        machine->speeds.read_fraction = o->read_fraction;
    if (o->compute_fraction > 0)
        machine->speeds.compute_fraction = o->compute_fraction;
    return status;
}

moesaic_status place_machine_open(const moesaic_machine_options *options, struct place_machine **ret_machine,
                                  moesaic_error *error) {
    const struct topology_source source = {options->synthetic, options->xml_path};
    moesaic_status status = machine_options_check(options, error);
    if (status)
        return status;
    struct place_machine *machine = calloc(1, sizeof *machine);
    if (!machine)
        return status_no_memory(error, "machine", sizeof *machine);
    status = topology_open(&source, &machine->topology, error);
    if (!status)
        status = machine_find_speeds(options, machine, error);
    if (status) {
        place_machine_close(machine);
        return status;
    }
    if (topology_is_this_machine(machine->topology))
        machine_limit_memory(&machine->speeds, topology_memory_limit());
    *ret_machine = machine;
    return MOESAIC_OK;
}

void place_machine_close(struct place_machine *machine) {
    if (!machine)
        return;
    topology_close(machine->topology);
    free(machine);
}

/* ---- description ------------------------------------------------------------------------------------------------- */

static void topology_describe_node(const struct place_machine *machine, unsigned n, moesaic_topology *t) {
    const struct machine_node *node = &machine->speeds.node[n];
    t->node[n] = (moesaic_topology_node){.os_index = node->os_index,
                                         .cores = node->cores,
                                         .hardware_threads = topology_node_at(machine->topology, n)->pus,
                                         .memory_bytes = node->memory_bytes,
                                         .int8_ops_per_s = node->int8_ops};
    for (unsigned memory = 0; memory < t->nodes; memory++) {
        t->read_bps[n * t->nodes + memory] = machine->speeds.read_bps[n][memory];
        t->write_bps[n * t->nodes + memory] = machine->speeds.write_bps[n][memory];
    }
}

/* The nodes and both matrices in one block. */
static moesaic_status topology_allocate(unsigned nodes, moesaic_topology *t, moesaic_error *error) {
    size_t pairs = (size_t)nodes * nodes, bytes = nodes * sizeof *t->node + 2 * pairs * sizeof *t->read_bps;
    t->node = calloc(1, bytes);
    if (!t->node)
        return status_no_memory(error, "topology", bytes);
    t->read_bps = (double *)(t->node + nodes);
    t->write_bps = t->read_bps + pairs;
    return MOESAIC_OK;
}

static void topology_describe_caches(const struct topology *topology, moesaic_topology *t) {
    struct topology_cache cache[MOESAIC_TOPOLOGY_CACHES_MAX];
    t->caches = topology_caches(topology, cache, MOESAIC_TOPOLOGY_CACHES_MAX);
    for (uint32_t i = 0; i < t->caches; i++)
        t->cache[i] = (moesaic_topology_cache){.level = cache[i].level,
                                               .count = cache[i].count,
                                               .hardware_threads = cache[i].pus,
                                               .bytes = cache[i].bytes};
}

moesaic_status pipeline_topology(const moesaic_machine_options *options, moesaic_topology *ret_topology,
                                 moesaic_error *error) {
    struct place_machine *machine = NULL;
    moesaic_status status = place_machine_open(options, &machine, error);
    if (status)
        return status;
    bool here = topology_is_this_machine(machine->topology);
    moesaic_topology t = {.size = sizeof t,
                          .speeds = machine->source,
                          .this_machine = here,
                          .nodes = machine->speeds.nodes,
                          .exchange_s = machine->speeds.exchange_s,
                          .read_fraction = machine->speeds.read_fraction,
                          .compute_fraction = machine->speeds.compute_fraction,
                          .cpu_quota = here ? topology_cpu_quota() : 0,
                          .memory_limit_bytes = here ? topology_memory_limit() : 0};
    status = topology_allocate(t.nodes, &t, error);
    for (unsigned n = 0; !status && n < t.nodes; n++)
        topology_describe_node(machine, n, &t);
    if (!status) {
        topology_describe_caches(machine->topology, &t);
        *ret_topology = t;
    }
    place_machine_close(machine);
    return status;
}
