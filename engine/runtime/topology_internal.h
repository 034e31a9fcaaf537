/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the topology, shared with the arenas; the only header that shows hwloc's types. */
#ifndef TOPOLOGY_INTERNAL_H
#define TOPOLOGY_INTERNAL_H

#include "runtime.h"

#include <hwloc.h>

struct topology {
    hwloc_topology_t hwloc;
    hwloc_bitmap_t usable; /* PUs this process may run on, after cpuset and affinity */
    bool this_machine;
    unsigned nodes, cores;
    struct topology_node node[TOPOLOGY_NODES_MAX];
    struct topology_core *core; /* [cores], node by node */
};

/* hwloc's object of a node. Never NULL for node < topology->nodes. */
hwloc_obj_t topology_node_object(const struct topology *topology, unsigned node);

#endif
