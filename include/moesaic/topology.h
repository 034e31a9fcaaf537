/* SPDX-License-Identifier: Apache-2.0 */
/* Machines: NUMA nodes, cores, caches and memory, and how fast each node reads, writes and multiplies. */
#ifndef MOESAIC_TOPOLOGY_H
#define MOESAIC_TOPOLOGY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <moesaic/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A machine and where its speeds come from. Speeds are measured where that is asked for; else they are those given
 * here, and where a field is 0 the default in brackets, which is an assumption and labelled so. */
typedef struct moesaic_machine_options {
    size_t size;                 /* sizeof(moesaic_machine_options) */
    const char *synthetic;       /* hwloc synthetic description, such as "pack:2 [numa(memory=64GB)] core:16 pu:2" */
    const char *xml_path;        /* hwloc XML export; with neither: this machine */
    bool measure;                /* this machine only; takes about a second a pair of nodes */
    double local_read_bps;       /* bytes/s of a node with cores from its own memory [40e9] */
    double remote_read_bps;      /* from another such node's memory [half of local] */
    double memory_node_read_bps; /* from the memory of a node without cores [half of local] */
    double int8_ops_per_core;    /* per second, 2 a multiply-add [100e9] */
    double exchange_s;           /* one synchronisation of all threads [2e-6] */
    double read_fraction;        /* of the read bandwidth that the engine's kernels reach, at most 1 [1] */
    double compute_fraction;     /* of the INT8 rate that they reach, at most 1 [1] */
    uint64_t node_memory_bytes;  /* of every node, where the topology states no memory at all [none: refused] */
} moesaic_machine_options;

typedef struct moesaic_topology_node {
    uint32_t os_index;
    uint32_t cores;         /* physical cores that this process may use */
    uint32_t hardware_threads;
    uint64_t memory_bytes;  /* 0: no memory of its own. On this machine within the limit of the process's cgroup */
    double int8_ops_per_s;  /* all its cores together; 0 without cores */
} moesaic_topology_node;

/* Data and unified caches of one level and size. */
typedef struct moesaic_topology_cache {
    uint32_t level;
    uint32_t count;            /* in the whole machine */
    uint32_t hardware_threads; /* that share one */
    uint64_t bytes;            /* of one */
} moesaic_topology_cache;

enum { MOESAIC_TOPOLOGY_CACHES_MAX = 8 };

typedef struct moesaic_topology {
    size_t size;             /* sizeof(moesaic_topology), set by the caller */
    const char *speeds;      /* "measured", "given" (local and remote reads and INT8 rate) or "assumed"; static */
    bool this_machine;
    uint32_t nodes, caches;
    moesaic_topology_node *node; /* [nodes], one block with the arrays below: moesaic_free(node) frees all */
    double *read_bps;        /* [nodes, nodes] reader by memory, bytes/s with all cores of the reader; 0 where there is
                                no core or no memory */
    double *write_bps;       /* likewise */
    double exchange_s, read_fraction, compute_fraction;
    double cpu_quota;        /* CPUs that the process's cgroup allows; 0: no limit */
    uint64_t memory_limit_bytes; /* of the process's cgroup; 0: no limit */
    moesaic_topology_cache cache[MOESAIC_TOPOLOGY_CACHES_MAX];
} moesaic_topology;

/* Describes the machine of `options` (NULL: this one, speeds assumed). Errors: INPUT (not a topology), IO, USAGE (both
 * sources, measuring another machine, a negative speed), UNSUPPORTED (no usable core, no memory, too many nodes),
 * MEMORY. Thread-safe; a measurement keeps all cores busy. */
MOESAIC_API moesaic_status moesaic_topology_get(const moesaic_machine_options *options, moesaic_topology *ret_topology,
                                                moesaic_error *error);

#ifdef __cplusplus
}
#endif
#endif
