/* SPDX-License-Identifier: Apache-2.0 */
/* This machine, measured: bandwidth of every node pair with all cores of the reader, INT8 rate, and one barrier. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "placement.h"

enum { MEASURE_PASSES = 4, MEASURE_BARRIERS = 2000, MEASURE_UNIT = 4096 };
#define MEASURE_THREAD_BYTES ((uint64_t)64 << 20) /* well beyond a core's share of any last-level cache */
#define MEASURE_INT8_ROUNDS ((uint64_t)1 << 21)

enum measure_job { JOB_TOUCH, JOB_WRITE, JOB_READ, JOB_INT8, JOB_BARRIER };

struct measure_thread {
    uint64_t begin_ns, end_ns, kept; /* `kept` holds what a loop returned, so that it is not optimised away */
    unsigned rank;                   /* among the threads of its node */
    uint8_t gap[64];                 /* no two threads write one line */
};

struct measure {
    struct team *team;
    unsigned threads, node_threads[TOPOLOGY_NODES_MAX];
    struct measure_thread *thread;
    /* the job at hand */
    enum measure_job job;
    unsigned reader;
    uint8_t *buffer;
    size_t buffer_bytes;
    uint8_t fill;
    unsigned streams;
};

/* ---- jobs -------------------------------------------------------------------------------------------------------- */

static uint64_t measure_work(const struct measure *m, struct team *team, unsigned thread, uint8_t *data, size_t bytes) {
    switch (m->job) {
    case JOB_TOUCH:
    case JOB_WRITE:
        memset(data, m->fill, bytes);
        return 0;
    case JOB_READ:
        return roof_read(data, bytes, m->streams);
    case JOB_INT8:
        return roof_int8(MEASURE_INT8_ROUNDS);
    case JOB_BARRIER:
        for (unsigned b = 0; b < MEASURE_BARRIERS; b++)
            team_barrier(team, thread);
        return 0;
    }
    return 0;
}

/* Threads of the reading node work on their shares of the buffer; INT8 and barriers are everybody's. */
static void measure_body(struct team *team, unsigned thread, void *argument) {
    struct measure *m = argument;
    struct measure_thread *own = &m->thread[thread];
    bool all = m->job == JOB_INT8 || m->job == JOB_BARRIER;
    size_t begin = 0, end = 0;
    if (!all && team_node_of(team, thread) == m->reader)
        team_share(m->buffer_bytes, MEASURE_UNIT, own->rank, m->node_threads[m->reader], &begin, &end);
    team_barrier(team, thread);
    own->begin_ns = clock_ns();
    if (all || begin < end)
        own->kept = measure_work(m, team, thread, m->buffer + begin, end - begin);
    own->end_ns = clock_ns();
}

/* Seconds from the first start to the last end among the threads of `node` (of all for TOPOLOGY_NODES_MAX). */
static double measure_run(struct measure *m, unsigned node) {
    uint64_t begin_ns = UINT64_MAX, end_ns = 0;
    team_run(m->team, measure_body, m);
    for (unsigned t = 0; t < m->threads; t++) {
        if (node != TOPOLOGY_NODES_MAX && team_node_of(m->team, t) != node)
            continue;
        begin_ns = m->thread[t].begin_ns < begin_ns ? m->thread[t].begin_ns : begin_ns;
        end_ns = m->thread[t].end_ns > end_ns ? m->thread[t].end_ns : end_ns;
    }
    return end_ns > begin_ns ? (double)(end_ns - begin_ns) * 1e-9 : 1e-9;
}

/* Best bytes per second of several passes. */
static double measure_best(struct measure *m, enum measure_job job, unsigned reader) {
    double best_s = 0;
    m->job = job;
    m->reader = reader;
    for (unsigned pass = 0; pass < MEASURE_PASSES; pass++) {
        m->fill = (uint8_t)(pass + 1);
        double seconds = measure_run(m, reader);
        best_s = pass == 0 || seconds < best_s ? seconds : best_s;
    }
    return (double)m->buffer_bytes / best_s;
}

/* ---- what is measured -------------------------------------------------------------------------------------------- */

/* Bytes to stream: enough for the node with most threads to leave its caches, at most a quarter of what there is. */
static size_t measure_buffer_bytes(const struct measure *m, uint64_t asked, uint64_t memory_bytes) {
    uint64_t bytes = asked, limit = topology_memory_limit();
    unsigned most = 1;
    for (unsigned n = 0; n < TOPOLOGY_NODES_MAX; n++)
        most = m->node_threads[n] > most ? m->node_threads[n] : most;
    if (limit > 0 && limit < memory_bytes)
        memory_bytes = limit;
    if (bytes == 0)
        bytes = most * MEASURE_THREAD_BYTES;
    if (bytes > memory_bytes / 4)
        bytes = memory_bytes / 4;
    bytes -= bytes % MEASURE_UNIT;
    return bytes < (uint64_t)most * MEASURE_UNIT ? (size_t)most * MEASURE_UNIT : (size_t)bytes;
}

/* One column of the matrix: everybody reads and writes the memory of one node. */
static moesaic_status measure_memory_of(struct measure *m, const struct topology *topology, unsigned memory,
                                        uint64_t asked, struct machine_speeds *speeds, moesaic_error *error) {
    struct arena *arena = NULL;
    moesaic_status status = arena_create(topology, memory, true, &arena, error);
    if (status != MOESAIC_OK)
        return status;
    m->buffer_bytes = measure_buffer_bytes(m, asked, speeds->node[memory].memory_bytes);
    m->buffer = arena_alloc(arena, m->buffer_bytes, 4096);
    if (m->buffer == NULL) {
        arena_destroy(arena);
        return status_no_memory(error, "a buffer to measure bandwidth with", m->buffer_bytes);
    }
    bool touched = false;
    for (unsigned reader = 0; reader < speeds->nodes; reader++) {
        if (m->node_threads[reader] == 0)
            continue;
        if (!touched)
            measure_best(m, JOB_TOUCH, reader);
        touched = true;
        for (m->streams = 1; m->streams <= ROOF_STREAMS_MAX; m->streams *= 2) {
            double bps = measure_best(m, JOB_READ, reader);
            if (bps > speeds->read_bps[reader][memory])
                speeds->read_bps[reader][memory] = bps;
        }
        speeds->write_bps[reader][memory] = measure_best(m, JOB_WRITE, reader);
    }
    arena_destroy(arena);
    return MOESAIC_OK;
}

/* All nodes at once, as in a step: a node is as fast as its slowest thread lets an even division be. */
static void measure_compute(struct measure *m, struct machine_speeds *speeds) {
    const double operations = (double)roof_int8(1) * (double)MEASURE_INT8_ROUNDS;
    m->job = JOB_INT8;
    for (unsigned pass = 0; pass < MEASURE_PASSES; pass++) {
        team_run(m->team, measure_body, m);
        for (unsigned n = 0; n < speeds->nodes; n++) {
            uint64_t slowest_ns = 0;
            for (unsigned t = 0; t < m->threads; t++) {
                uint64_t ns = m->thread[t].end_ns - m->thread[t].begin_ns;
                slowest_ns = team_node_of(m->team, t) == n && ns > slowest_ns ? ns : slowest_ns;
            }
            double rate = slowest_ns > 0 ? operations * m->node_threads[n] / ((double)slowest_ns * 1e-9) : 0;
            speeds->node[n].int8_ops = rate > speeds->node[n].int8_ops ? rate : speeds->node[n].int8_ops;
        }
    }
}

static double measure_barrier_s(struct measure *m) {
    double best_s = 0;
    m->job = JOB_BARRIER;
    for (unsigned pass = 0; pass < MEASURE_PASSES; pass++) {
        double seconds = measure_run(m, TOPOLOGY_NODES_MAX) / MEASURE_BARRIERS;
        best_s = pass == 0 || seconds < best_s ? seconds : best_s;
    }
    return best_s;
}

/* ---- set up ------------------------------------------------------------------------------------------------------ */

static moesaic_status measure_open(struct measure *m, const struct topology *topology, moesaic_error *error) {
    const struct team_options options = {.pin = true, .topology = topology};
    moesaic_status status = team_create(&options, &m->team, error);
    if (status != MOESAIC_OK)
        return status;
    m->threads = team_threads(m->team);
    m->thread = calloc(m->threads, sizeof *m->thread);
    if (m->thread == NULL)
        return status_no_memory(error, "the measurement", m->threads * sizeof *m->thread);
    for (unsigned t = 0; t < m->threads; t++)
        m->thread[t].rank = m->node_threads[team_node_of(m->team, t)]++;
    return MOESAIC_OK;
}

/* What the topology states, with the cores that the team really uses (a CPU quota may leave fewer). */
static moesaic_status measure_describe(const struct measure *m, const struct topology *topology,
                                       struct machine_speeds *speeds, moesaic_error *error) {
    moesaic_status status = machine_speeds_from_topology(topology, NULL, speeds, error);
    if (status != MOESAIC_OK)
        return status;
    speeds->measured = true;
    memset(speeds->read_bps, 0, sizeof speeds->read_bps);
    memset(speeds->write_bps, 0, sizeof speeds->write_bps);
    for (unsigned n = 0; n < speeds->nodes; n++) {
        speeds->node[n].cores = m->node_threads[n];
        speeds->node[n].int8_ops = 0;
    }
    return MOESAIC_OK;
}

moesaic_status machine_speeds_measure(const struct topology *topology, uint64_t buffer_bytes,
                                      struct machine_speeds *ret_speeds, moesaic_error *error) {
    if (!topology_is_this_machine(topology))
        return status_set(error, MOESAIC_E_USAGE, "machine: only this machine can be measured; state speeds instead");
    struct measure measure = {0};
    struct machine_speeds *speeds = calloc(1, sizeof *speeds);
    moesaic_status status = speeds != NULL ? measure_open(&measure, topology, error)
                                           : status_no_memory(error, "the measurement", sizeof *speeds);
    if (status == MOESAIC_OK)
        status = measure_describe(&measure, topology, speeds, error);
    for (unsigned n = 0; status == MOESAIC_OK && n < speeds->nodes; n++)
        if (speeds->node[n].memory_bytes > 0)
            status = measure_memory_of(&measure, topology, n, buffer_bytes, speeds, error);
    if (status == MOESAIC_OK) {
        measure_compute(&measure, speeds);
        speeds->exchange_s = measure_barrier_s(&measure);
        status = machine_speeds_check(speeds, error);
    }
    if (status == MOESAIC_OK)
        *ret_speeds = *speeds;
    team_destroy(measure.team);
    free(measure.thread);
    free(speeds);
    return status;
}
