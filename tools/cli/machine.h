/* SPDX-License-Identifier: Apache-2.0 */
/* Options that describe a machine, shared by the verbs that plan for one. */
#ifndef CLI_MACHINE_H
#define CLI_MACHINE_H

#include "cli.h"

/* Set by the parser; speeds 0 where not given. */
struct cli_machine {
    const char *synthetic, *xml;
    double local_gbs, remote_gbs, memory_node_gbs, gops, exchange_us, read_fraction, compute_fraction, node_memory_gib;
};
extern struct cli_machine cli_machine;

/* Rows of an option table. */
#define CLI_MACHINE_OPTIONS                                                                                            \
    {"synthetic", 0, OPTION_TEXT, "SPEC", "a machine by hwloc's description, such as \"pack:2 [numa] core:16 pu:2\"",  \
     &cli_machine.synthetic},                                                                                          \
        {"xml", 0, OPTION_TEXT, "FILE", "a machine by its hwloc XML export (lstopo FILE.xml)", &cli_machine.xml},      \
        {"local-gbs", 0, OPTION_REAL, "GB/s", "reads of a node from its own memory (assumed: 40)",                     \
         &cli_machine.local_gbs, 0.001, 1e6},                                                                          \
        {"remote-gbs", 0, OPTION_REAL, "GB/s", "reads from another node's memory (assumed: half of local)",            \
         &cli_machine.remote_gbs, 0.001, 1e6},                                                                         \
        {"memory-node-gbs", 0, OPTION_REAL, "GB/s", "reads from a node without cores (assumed: half of local)",        \
         &cli_machine.memory_node_gbs, 0.001, 1e6},                                                                    \
        {"gops", 0, OPTION_REAL, "N", "1e9 INT8 operations a second of a core (assumed: 100)", &cli_machine.gops,      \
         0.001, 1e6},                                                                                                  \
        {"exchange-us", 0, OPTION_REAL, "N", "one synchronisation of all threads (assumed: 2)",                        \
         &cli_machine.exchange_us, 0.001, 1e6},                                                                        \
        {"read-fraction", 0, OPTION_REAL, "X", "of the reads that kernels reach (assumed: 1)",                         \
         &cli_machine.read_fraction, 0.001, 1},                                                                        \
        {"compute-fraction", 0, OPTION_REAL, "X", "of the INT8 operations that kernels reach (assumed: 1)",            \
         &cli_machine.compute_fraction, 0.001, 1},                                                                     \
    {                                                                                                                  \
        "node-memory", 0, OPTION_REAL, "GiB", "of each node, where the topology states no memory at all",              \
            &cli_machine.node_memory_gib, 0.001, 1e6                                                                   \
    }

/* The options as the library takes them. */
moesaic_machine_options cli_machine_options(bool measure);

#endif
