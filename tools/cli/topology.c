/* SPDX-License-Identifier: Apache-2.0 */
/* `moesaic topology`: the machine as the engine sees it. */
#include "machine.h"

struct cli_machine cli_machine;
static bool measure;

static const struct option_spec options[] = {
    CLI_MACHINE_OPTIONS,
    {"measure", 0, OPTION_FLAG, NULL, "measure this machine's speeds (about a second a pair of nodes)", &measure},
    {0}};

moesaic_machine_options cli_machine_options(bool measured) {
    return (moesaic_machine_options){.size = sizeof(moesaic_machine_options),
                                     .synthetic = cli_machine.synthetic,
                                     .xml_path = cli_machine.xml,
                                     .measure = measured,
                                     .local_read_bps = cli_machine.local_gbs * 1e9,
                                     .remote_read_bps = cli_machine.remote_gbs * 1e9,
                                     .memory_node_read_bps = cli_machine.memory_node_gbs * 1e9,
                                     .int8_ops_per_core = cli_machine.gops * 1e9,
                                     .exchange_s = cli_machine.exchange_us * 1e-6,
                                     .read_fraction = cli_machine.read_fraction,
                                     .compute_fraction = cli_machine.compute_fraction,
                                     .node_memory_bytes = (uint64_t)(cli_machine.node_memory_gib * (1ull << 30))};
}

static json_t *matrix_json(const double *matrix, uint32_t nodes) {
    json_t *rows = json_array();
    for (uint32_t reader = 0; reader < nodes; reader++) {
        json_t *row = json_array();
        for (uint32_t memory = 0; memory < nodes; memory++)
            cli_json_add(&row, json_real(matrix[reader * nodes + memory]));
        cli_json_add(&rows, row);
    }
    return rows;
}

static int print_json(const moesaic_topology *t) {
    json_t *nodes = json_array(), *caches = json_array();
    for (uint32_t n = 0; n < t->nodes; n++)
        cli_json_add(&nodes, json_pack("{s:i,s:i,s:i,s:i,s:I,s:f}", "node", (int)n, "os_index",
                                       (int)t->node[n].os_index, "cores", (int)t->node[n].cores, "hardware_threads",
                                       (int)t->node[n].hardware_threads, "memory_bytes",
                                       (json_int_t)t->node[n].memory_bytes, "int8_ops_s", t->node[n].int8_ops_per_s));
    for (uint32_t i = 0; i < t->caches; i++)
        cli_json_add(&caches, json_pack("{s:i,s:i,s:i,s:I}", "level", (int)t->cache[i].level, "count",
                                        (int)t->cache[i].count, "hardware_threads", (int)t->cache[i].hardware_threads,
                                        "bytes", (json_int_t)t->cache[i].bytes));
    return cli_json_print(json_pack("{s:s,s:b,s:s,s:o,s:o,s:o,s:o,s:f,s:f,s:f,s:f,s:I}", "schema", "moesaic.topology/1",
                                    "this_machine", t->this_machine, "speeds", t->speeds, "nodes", nodes, "caches",
                                    caches, "read_bytes_s", matrix_json(t->read_bps, t->nodes), "write_bytes_s",
                                    matrix_json(t->write_bps, t->nodes), "exchange_s", t->exchange_s, "read_fraction",
                                    t->read_fraction, "compute_fraction", t->compute_fraction, "cpu_quota",
                                    t->cpu_quota, "memory_limit_bytes", (json_int_t)t->memory_limit_bytes));
}

static void print_matrix(const char *what, const double *matrix, uint32_t nodes) {
    printf("\n%s, GB/s (row: cores of, column: memory of)\n     ", what);
    for (uint32_t memory = 0; memory < nodes; memory++)
        printf(" %8u", memory);
    for (uint32_t reader = 0; reader < nodes; reader++) {
        printf("\n%4u ", reader);
        for (uint32_t memory = 0; memory < nodes; memory++)
            printf(" %8.1f", matrix[reader * nodes + memory] / 1e9);
    }
    puts("");
}

static int print_text(const moesaic_topology *t) {
    char bytes[32];
    puts("node  os index  cores  threads        memory  INT8 GOPS");
    for (uint32_t n = 0; n < t->nodes; n++)
        printf("%4u  %8u  %5u  %7u  %12s  %9.0f\n", n, t->node[n].os_index, t->node[n].cores,
               t->node[n].hardware_threads, cli_bytes((double)t->node[n].memory_bytes, bytes),
               t->node[n].int8_ops_per_s / 1e9);
    for (uint32_t i = 0; i < t->caches; i++)
        printf("%sL%u  %u x %s, each of %u threads\n", i ? "" : "\n", t->cache[i].level, t->cache[i].count,
               cli_bytes((double)t->cache[i].bytes, bytes), t->cache[i].hardware_threads);
    if (t->cpu_quota > 0)
        printf("the cgroup allows %.2f CPUs\n", t->cpu_quota);
    if (t->memory_limit_bytes)
        printf("the cgroup allows %s of memory\n", cli_bytes((double)t->memory_limit_bytes, bytes));
    printf("\nspeeds are %s; %.2f us a synchronisation\n", t->speeds, t->exchange_s * 1e6);
    print_matrix("reads", t->read_bps, t->nodes);
    print_matrix("writes", t->write_bps, t->nodes);
    return cli_flush();
}

static int run(int count, const char *const *positional) {
    (void)count;
    (void)positional;
    moesaic_error error;
    moesaic_topology topology = {.size = sizeof topology};
    moesaic_machine_options machine = cli_machine_options(measure);
    if (moesaic_topology_get(&machine, &topology, &error))
        return cli_fail(&error);
    int status = cli_common.json ? print_json(&topology) : print_text(&topology);
    moesaic_free(topology.node);
    return status;
}

const struct verb verb_topology = {"topology",
                                   "[--synthetic SPEC | --xml FILE] [--measure]",
                                   "nodes, cores, caches and memory, and how fast they read and multiply",
                                   options,
                                   0,
                                   0,
                                   run};
