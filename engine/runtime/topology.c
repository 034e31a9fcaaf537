/* SPDX-License-Identifier: Apache-2.0 */
/* The machine's shape through hwloc: NUMA nodes and the cores of each that this process may use. */
#include "topology_internal.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum {
    TOPOLOGY_SYNTHETIC_BYTES = 4096,
    TOPOLOGY_SYNTHETIC_OBJECTS = 1 << 14, /* hwloc builds what it is told to: "pu:4000000000" would take all memory */
    TOPOLOGY_XML_BYTES = 64 << 20
};

/* ---- sources ---- */

/* Whether a synthetic description asks for a bounded machine. Each word outside parentheses ends in the count of its
 * level for each object of the level above ("pack:2", "4"); a word in brackets hangs a memory object on each. */
static bool topology_synthetic_bounded(const char *text) {
    uint64_t level = 1, objects = 0;
    int nested = 0;
    if (strlen(text) > TOPOLOGY_SYNTHETIC_BYTES)
        return false;
    for (const char *p = text; *p && objects <= TOPOLOGY_SYNTHETIC_OBJECTS;) {
        objects += *p == '[' ? level : 0;
        nested += *p == '(' || *p == '[';
        nested -= *p == ')' || *p == ']';
        bool starts = nested == 0 && isdigit((unsigned char)*p) && (p == text || strchr(": \t\n", p[-1]));
        char *end = (char *)(uintptr_t)p + 1;
        if (starts) {
            unsigned long count = strtoul(p, &end, 0); /* ULONG_MAX when it does not fit: too many as well */
            level *= count <= TOPOLOGY_SYNTHETIC_OBJECTS ? count : TOPOLOGY_SYNTHETIC_OBJECTS + 1;
            objects += level;
        }
        p = end;
    }
    return objects <= TOPOLOGY_SYNTHETIC_OBJECTS;
}

static moesaic_status topology_set_synthetic(struct topology *topology, const char *text, moesaic_error *error) {
    if (!topology_synthetic_bounded(text))
        return status_set(error, MOESAIC_E_INPUT, "topology \"%.200s\": more than %d objects", text,
                          TOPOLOGY_SYNTHETIC_OBJECTS);
    if (hwloc_topology_set_synthetic(topology->hwloc, text) != 0)
        return status_set(
            error, MOESAIC_E_INPUT,
            "topology \"%.200s\": not a synthetic description (expected a form like \"node:2 core:8 pu:2\")", text);
    return MOESAIC_OK;
}

static moesaic_status topology_set_xml(struct topology *topology, const char *path, moesaic_error *error) {
    struct file_map map;
    moesaic_status status = file_map_open(path, &map, error);
    if (status != MOESAIC_OK)
        return status;
    char *text = NULL;
    if (map.bytes == 0 || map.bytes > TOPOLOGY_XML_BYTES)
        status = status_set(error, MOESAIC_E_INPUT, "%s: %zu bytes, expected an hwloc XML export of 1 to %d bytes",
                            path, map.bytes, TOPOLOGY_XML_BYTES);
    else if (!(text = malloc(map.bytes + 1))) /* hwloc wants a NUL at the end */
        status = status_no_memory(error, path, map.bytes + 1);
    if (status == MOESAIC_OK) {
        memcpy(text, map.data, map.bytes);
        text[map.bytes] = '\0';
        if (hwloc_topology_set_xmlbuffer(topology->hwloc, text, (int)map.bytes + 1) != 0)
            status = status_set(error, MOESAIC_E_INPUT, "%s: not an hwloc XML topology", path);
    }
    free(text);
    file_map_close(&map);
    return status;
}

static moesaic_status topology_load(struct topology *topology, const struct topology_source *source,
                                    moesaic_error *error) {
    if (hwloc_topology_init(&topology->hwloc) != 0) {
        topology->hwloc = NULL;
        return status_no_memory(error, "topology", sizeof *topology);
    }
    moesaic_status status = MOESAIC_OK;
    const char *name = "topology of this machine";
    if (source && source->synthetic)
        status = topology_set_synthetic(topology, name = source->synthetic, error);
    else if (source && source->xml_path)
        status = topology_set_xml(topology, name = source->xml_path, error);
    if (status == MOESAIC_OK && hwloc_topology_load(topology->hwloc) != 0)
        status = status_set(error, MOESAIC_E_INPUT, "%.200s: hwloc cannot build this topology", name);
    return status;
}

/* ---- nodes and cores ---- */

/* PUs of the topology; on this machine those that the affinity of the process leaves, as taskset and mpirun set it. */
static bool topology_find_usable(struct topology *topology) {
    topology->usable = hwloc_bitmap_dup(hwloc_topology_get_allowed_cpuset(topology->hwloc));
    if (!topology->usable)
        return false;
    if (!topology->this_machine)
        return true;
    hwloc_bitmap_t bound = hwloc_bitmap_alloc();
    if (!bound)
        return false;
    if (hwloc_get_cpubind(topology->hwloc, bound, HWLOC_CPUBIND_PROCESS) == 0 &&
        hwloc_bitmap_intersects(bound, topology->usable))
        hwloc_bitmap_and(topology->usable, topology->usable, bound);
    hwloc_bitmap_free(bound);
    return true;
}

static moesaic_status topology_find_nodes(struct topology *topology, moesaic_error *error) {
    int nodes = hwloc_get_nbobjs_by_type(topology->hwloc, HWLOC_OBJ_NUMANODE);
    if (nodes < 1 || nodes > TOPOLOGY_NODES_MAX)
        return status_set(error, MOESAIC_E_UNSUPPORTED, "topology: %d NUMA nodes, expected 1 to %d", nodes,
                          TOPOLOGY_NODES_MAX);
    topology->nodes = (unsigned)nodes;
    for (unsigned i = 0; i < topology->nodes; i++) {
        hwloc_obj_t object = topology_node_object(topology, i);
        topology->node[i].os_index = object->os_index;
        topology->node[i].memory_bytes = object->attr->numanode.local_memory;
    }
    return MOESAIC_OK;
}

/* The node nearest to a core: of those whose CPUs include it the one with the fewest, so that a memory-only expander of
 * the whole machine gives way to the socket's own memory; ties (HBM beside DRAM) go to the lowest index, and so do
 * cores whose own node is hidden from this process. */
static unsigned topology_nearest_node(const struct topology *topology, hwloc_const_bitmap_t cpus) {
    unsigned nearest = 0;
    int fewest = -1;
    for (unsigned i = 0; i < topology->nodes; i++) {
        hwloc_const_bitmap_t local = topology_node_object(topology, i)->cpuset;
        int count = hwloc_bitmap_weight(local);
        if (hwloc_bitmap_intersects(local, cpus) && (fewest < 0 || count < fewest)) {
            nearest = i;
            fewest = count;
        }
    }
    return nearest;
}

/* Lists usable cores (PUs where the topology names no cores), first by node, then in hwloc's order. */
static moesaic_status topology_find_cores(struct topology *topology, moesaic_error *error) {
    hwloc_obj_type_t type =
        hwloc_get_nbobjs_by_type(topology->hwloc, HWLOC_OBJ_CORE) > 0 ? HWLOC_OBJ_CORE : HWLOC_OBJ_PU;
    size_t count = (size_t)hwloc_get_nbobjs_by_type(topology->hwloc, type);
    hwloc_bitmap_t cpus = hwloc_bitmap_alloc();
    topology->core = calloc(count ? count : 1, sizeof *topology->core);
    if (!cpus || !topology->core) {
        hwloc_bitmap_free(cpus);
        return status_no_memory(error, "topology", count * sizeof *topology->core);
    }
    for (hwloc_obj_t object = NULL; (object = hwloc_get_next_obj_by_type(topology->hwloc, type, object)) != NULL;) {
        hwloc_bitmap_and(cpus, object->cpuset, topology->usable);
        if (hwloc_bitmap_iszero(cpus))
            continue;
        unsigned node = topology_nearest_node(topology, cpus);
        topology->core[topology->cores++] = (struct topology_core){(unsigned)hwloc_bitmap_first(cpus), node};
        topology->node[node].cores++;
        topology->node[node].pus += (unsigned)hwloc_bitmap_weight(cpus);
    }
    hwloc_bitmap_free(cpus);
    if (topology->cores == 0)
        return status_set(error, MOESAIC_E_INPUT, "topology: no core that this process may use");
    return MOESAIC_OK;
}

/* Groups the cores by node. One pass a node keeps hwloc's order inside it, which qsort would not promise. */
static moesaic_status topology_sort_cores(struct topology *topology, moesaic_error *error) {
    struct topology_core *sorted = calloc(topology->cores, sizeof *sorted);
    if (!sorted)
        return status_no_memory(error, "topology", topology->cores * sizeof *sorted);
    unsigned next = 0;
    for (unsigned node = 0; node < topology->nodes; node++)
        for (unsigned i = 0; i < topology->cores; i++)
            if (topology->core[i].node == node)
                sorted[next++] = topology->core[i];
    free(topology->core);
    topology->core = sorted;
    return MOESAIC_OK;
}

moesaic_status topology_open(const struct topology_source *source, struct topology **ret_topology,
                             moesaic_error *error) {
    struct topology *topology = calloc(1, sizeof *topology);
    if (!topology)
        return status_no_memory(error, "topology", sizeof *topology);
    moesaic_status status = topology_load(topology, source, error);
    if (status != MOESAIC_OK)
        goto fail;
    topology->this_machine = hwloc_topology_is_thissystem(topology->hwloc) != 0;
    if (!topology_find_usable(topology)) {
        status = status_no_memory(error, "topology", sizeof *topology);
        goto fail;
    }
    if ((status = topology_find_nodes(topology, error)) != MOESAIC_OK ||
        (status = topology_find_cores(topology, error)) != MOESAIC_OK ||
        (status = topology_sort_cores(topology, error)) != MOESAIC_OK)
        goto fail;
    *ret_topology = topology;
    return MOESAIC_OK;
fail:
    topology_close(topology);
    return status;
}

void topology_close(struct topology *topology) {
    if (!topology)
        return;
    free(topology->core);
    hwloc_bitmap_free(topology->usable);
    if (topology->hwloc)
        hwloc_topology_destroy(topology->hwloc);
    free(topology);
}

/* ---- queries ---- */

hwloc_obj_t topology_node_object(const struct topology *topology, unsigned node) {
    return hwloc_get_obj_by_type(topology->hwloc, HWLOC_OBJ_NUMANODE, node);
}

unsigned topology_nodes(const struct topology *topology) {
    return topology->nodes;
}

const struct topology_node *topology_node_at(const struct topology *topology, unsigned node) {
    return &topology->node[node];
}

bool topology_is_this_machine(const struct topology *topology) {
    return topology->this_machine;
}

unsigned topology_cores(const struct topology *topology, struct topology_core *ret_cores, unsigned limit) {
    unsigned count = topology->cores < limit ? topology->cores : limit;
    if (count > 0)
        memcpy(ret_cores, topology->core, count * sizeof *ret_cores);
    return topology->cores;
}

/* The kind of `object` among the `kinds` first of the list, or the next free place. */
static unsigned topology_cache_kind(const struct topology_cache *list, unsigned kinds, hwloc_obj_t object) {
    for (unsigned i = 0; i < kinds; i++)
        if (list[i].level == object->attr->cache.depth && list[i].bytes == object->attr->cache.size)
            return i;
    return kinds;
}

unsigned topology_caches(const struct topology *topology, struct topology_cache *ret_caches, unsigned limit) {
    unsigned kinds = 0;
    for (hwloc_obj_type_t type = HWLOC_OBJ_L1CACHE; type <= HWLOC_OBJ_L5CACHE; type++)
        for (hwloc_obj_t object = NULL;
             (object = hwloc_get_next_obj_by_type(topology->hwloc, type, object)) != NULL;) {
            unsigned kind = topology_cache_kind(ret_caches, kinds < limit ? kinds : limit, object);
            if (kind == limit)
                return limit;
            if (kind == kinds)
                ret_caches[kinds++] =
                    (struct topology_cache){.level = object->attr->cache.depth,
                                            .pus = (unsigned)hwloc_bitmap_weight(object->cpuset),
                                            .bytes = object->attr->cache.size};
            ret_caches[kind].count++;
        }
    return kinds;
}
