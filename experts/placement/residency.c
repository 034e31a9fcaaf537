/* SPDX-License-Identifier: Apache-2.0 */
/* Experts where the plan puts them: arenas of the nodes, copies by the nodes' threads, and the check of the pages. */
#include "placement/residency.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct home {
    struct expert_copy *copy;
    uint32_t copies, chosen, slots; /* slots: copies that there is room for */
};

struct residency {
    uint32_t layers, experts, nodes, memory_nodes;
    bool interleaved, movable;
    const struct topology *topology;
    struct team *team;
    double core_share[TOPOLOGY_NODES_MAX]; /* 1 / cores of the node */
    double load[TOPOLOGY_NODES_MAX];       /* of the assignment at hand */
    struct arena *arena[TOPOLOGY_NODES_MAX];
    struct home *home;   /* [layers with experts, experts] */
    struct home **layer; /* [layers]: into home, NULL without experts */
    struct expert_copy *copies;
    struct expert_part *parts; /* one for each piece of the plan, in its order; movable: a slot for each node */
    uint32_t *pending;         /* [experts] */
    size_t max_parts;
    struct residency_report report;
};

/* One piece and what it is made of: the work of one thread. */
struct haul {
    const struct ffn_weights *from;
    struct expert_part *to;
    uint8_t *block;
    size_t bytes;
    uint32_t node;
};

/* ---- copying ----------------------------------------------------------------------------------------------------- */

enum { BLOCK_ALIGNMENT = 64 };

static size_t matrix_block(const struct weight *w, uint32_t begin, uint32_t end) {
    return begin < end ? size_round_up(weight_cut_bytes(w, begin, end), BLOCK_ALIGNMENT) : 0;
}

/* A part has its rows of left, and all of right. */
static size_t term_block(const struct expert_term *term, uint32_t begin, uint32_t end) {
    return begin < end && term->left.data
               ? matrix_block(&term->left, begin, end) + matrix_block(&term->right, 0, (uint32_t)term->right.rows)
               : 0;
}

static size_t haul_bytes(const struct ffn_weights *from, const struct expert_part *part) {
    return term_block(&from->term[0], part->gate_begin, part->gate_end) +
           term_block(&from->term[1], part->gate_begin, part->gate_end) +
           term_block(&from->term[2], part->down_begin, part->down_end) +
           matrix_block(&from->gate, part->gate_begin, part->gate_end) +
           matrix_block(&from->up, part->gate_begin, part->gate_end) +
           matrix_block(&from->down, part->down_begin, part->down_end);
}

/* Rows of a matrix to *io_at; no rows are a weight without data, of the same kind. */
static void haul_matrix(const struct weight *from, uint32_t begin, uint32_t end, uint8_t **io_at, struct weight *to) {
    if (begin < end) {
        weight_cut(from, begin, end, *io_at, to);
    } else {
        *to = *from;
        to->data = NULL;
        to->rows = to->bytes = 0;
    }
    *io_at += matrix_block(from, begin, end);
}

static void haul_term(const struct expert_term *from, uint32_t begin, uint32_t end, uint8_t **io_at,
                      struct expert_term *to) {
    *to = (struct expert_term){0};
    if (!term_block(from, begin, end))
        return;
    haul_matrix(&from->left, begin, end, io_at, &to->left);
    haul_matrix(&from->right, 0, (uint32_t)from->right.rows, io_at, &to->right);
}

static void haul_run(const struct haul *haul) {
    struct expert_part *part = haul->to;
    const struct ffn_weights *from = haul->from;
    uint8_t *at = haul->block;
    haul_matrix(&from->gate, part->gate_begin, part->gate_end, &at, &part->weights.gate);
    haul_matrix(&from->up, part->gate_begin, part->gate_end, &at, &part->weights.up);
    haul_matrix(&from->down, part->down_begin, part->down_end, &at, &part->weights.down);
    haul_term(&from->term[0], part->gate_begin, part->gate_end, &at, &part->weights.term[0]);
    haul_term(&from->term[1], part->gate_begin, part->gate_end, &at, &part->weights.term[1]);
    haul_term(&from->term[2], part->down_begin, part->down_end, &at, &part->weights.term[2]);
    part->weights.gate_bias = from->gate_bias ? from->gate_bias + part->gate_begin : NULL;
    part->weights.up_bias = from->up_bias ? from->up_bias + part->gate_begin : NULL;
    part->weights.down_bias = from->down_bias ? from->down_bias + part->down_begin : NULL;
}

struct hauling {
    struct haul *haul;
    size_t hauls;
};

/* Threads that are to copy for `node`, and this thread's number among them: those bound to it, or all where none is. */
static unsigned hauling_crew(const struct team *team, unsigned thread, unsigned node, unsigned *ret_number) {
    unsigned crew = 0, number = 0;
    for (unsigned t = 0; t < team_threads(team); t++)
        if (team_node_of(team, t) == node) {
            number += t < thread;
            crew++;
        }
    *ret_number = crew == 0 ? thread : team_node_of(team, thread) == node ? number : crew;
    return crew ? crew : team_threads(team);
}

static void hauling_body(struct team *team, unsigned thread, void *argument) {
    const struct hauling *hauling = argument;
    unsigned crew[TOPOLOGY_NODES_MAX], number[TOPOLOGY_NODES_MAX], turn[TOPOLOGY_NODES_MAX] = {0};
    for (unsigned node = 0; node < TOPOLOGY_NODES_MAX; node++)
        crew[node] = hauling_crew(team, thread, node, &number[node]);
    for (size_t i = 0; i < hauling->hauls; i++) {
        unsigned node = hauling->haul[i].node;
        if (turn[node]++ % crew[node] == number[node])
            haul_run(&hauling->haul[i]);
    }
}

/* ---- the plan's pieces as parts and copies ----------------------------------------------------------------------- */

static moesaic_status residency_allocate(struct residency *r, const struct residency_options *o, size_t pieces,
                                         moesaic_error *error) {
    size_t items = (size_t)o->shape->layers * o->shape->experts, slots = r->movable ? items * r->nodes : pieces;
    r->home = calloc(items, sizeof *r->home);
    r->layer = calloc(r->layers, sizeof *r->layer);
    r->parts = calloc(slots + 1, sizeof *r->parts);
    r->copies = calloc(slots + 1, sizeof *r->copies);
    r->pending = calloc(r->experts, sizeof *r->pending);
    if (r->home && r->layer && r->parts && r->copies && r->pending)
        return MOESAIC_OK;
    return status_no_memory(error, "placed experts", items * sizeof *r->home + slots * sizeof *r->parts);
}

static moesaic_status residency_open_arenas(struct residency *r, const struct residency_options *o,
                                            moesaic_error *error) {
    moesaic_status status = MOESAIC_OK;
    for (unsigned n = 0; !status && n < r->nodes; n++) {
        const struct topology_node *node = topology_node_at(o->topology, n);
        r->core_share[n] = node->cores ? 1.0 / node->cores : 1;
        r->memory_nodes += node->memory_bytes > 0;
        if (!r->interleaved)
            status = arena_create(o->topology, n, o->huge_pages, &r->arena[n], error);
    }
    return status;
}

static struct expert_part part_of(const struct placement_piece *piece) {
    return (struct expert_part){.node = piece->node,
                                .reader = piece->reader,
                                .gate_begin = piece->gate_begin,
                                .gate_end = piece->gate_end,
                                .down_begin = piece->down_begin,
                                .down_end = piece->down_end};
}

/* Parts and copies of one expert, and what is to be copied for it. */
static moesaic_status residency_settle(struct residency *r, const struct residency_options *o, size_t item,
                                       const struct ffn_weights *from, struct hauling *io_hauling,
                                       moesaic_error *error) {
    uint32_t first = o->plan->piece_at[item], end = o->plan->piece_at[item + 1];
    uint32_t layer = (uint32_t)(item / r->experts), expert = (uint32_t)(item % r->experts);
    struct home *home = &r->home[item];
    size_t slot = r->movable ? item * r->nodes : first;
    home->slots = r->movable ? r->nodes : end - first;
    home->copy = &r->copies[slot];
    if (end - first > home->slots)
        return status_set(error, MOESAIC_E_UNSUPPORTED,
                          "placed experts: layer %u, expert %u is in %u pieces on %u nodes", layer, expert, end - first,
                          r->nodes);
    for (uint32_t p = first; p < end; p++) {
        const struct placement_piece *piece = &o->plan->pieces[p];
        struct expert_part *part = &r->parts[slot + p - first];
        *part = part_of(piece);
        struct haul haul = {.from = from, .to = part, .bytes = haul_bytes(from, part), .node = piece->node};
        haul.block = arena_alloc(r->arena[piece->node], haul.bytes, BLOCK_ALIGNMENT);
        if (!haul.block)
            return status_no_memory(error, "placed experts", haul.bytes);
        io_hauling->haul[io_hauling->hauls++] = haul;
        r->report.asked_bytes[piece->node] += haul.bytes;
        if (p == first || placement_piece_is_whole(piece, o->shape, layer, expert))
            home->copy[home->copies++] = (struct expert_copy){.part = part};
        home->copy[home->copies - 1].parts++;
    }
    return MOESAIC_OK;
}

static moesaic_status residency_settle_all(struct residency *r, const struct residency_options *o,
                                           struct hauling *io_hauling, moesaic_error *error) {
    moesaic_status status = MOESAIC_OK;
    size_t item = 0;
    for (uint32_t layer = 0; layer < o->layers; layer++) {
        if (!o->experts[layer])
            continue;
        r->layer[layer] = &r->home[item];
        size_t first = o->plan->piece_at[item];
        for (uint32_t e = 0; !status && e < r->experts; e++, item++)
            status = residency_settle(r, o, item, &o->experts[layer][e], io_hauling, error);
        if (status)
            return status;
        size_t parts = o->plan->piece_at[item] - first;
        r->max_parts = parts > r->max_parts ? parts : r->max_parts;
    }
    return MOESAIC_OK;
}

static uint64_t part_bytes(const struct expert_part *part) {
    return expert_ffn_bytes(&part->weights);
}

/* Bytes of every copy, once its parts have theirs. */
static void residency_measure(struct residency *r, size_t items) {
    for (size_t item = 0; item < items; item++)
        for (uint32_t c = 0; c < r->home[item].copies; c++) {
            struct expert_copy *copy = &r->home[item].copy[c];
            for (uint32_t p = 0; p < copy->parts; p++)
                copy->bytes += part_bytes(&copy->part[p]);
        }
}

/* ---- the check --------------------------------------------------------------------------------------------------- */

static void residency_read_back(struct residency *r, const struct residency_options *o, const struct hauling *hauling) {
    bool told = true;
    for (size_t i = 0; i < hauling->hauls; i++)
        told &= memory_residency_add(o->topology, hauling->haul[i].block, hauling->haul[i].bytes, &r->report.found);
    for (unsigned n = 0; n < r->nodes; n++) {
        uint64_t asked = r->report.asked_bytes[n], found = r->report.found.node_bytes[n];
        if (asked > 0)
            log_line(LOG_INFO, "experts: NUMA node %u was to hold %" PRIu64 " bytes and holds %" PRIu64,
                     topology_node_at(o->topology, n)->os_index, asked, found);
        if (found < asked)
            log_line(LOG_WARNING, "experts: NUMA node %u was to hold %" PRIu64 " bytes and holds %" PRIu64 ": %s",
                     topology_node_at(o->topology, n)->os_index, asked, found,
                     told ? "memory could not be bound to it, or it had no more"
                          : "the kernel does not say where the rest is");
    }
}

static void residency_let_go(const struct hauling *hauling) {
    const struct ffn_weights *last = NULL;
    for (size_t i = 0; i < hauling->hauls; i++) {
        const struct ffn_weights *from = hauling->haul[i].from;
        if (from != last) {
            memory_let_go(from->gate.data, from->gate.bytes);
            memory_let_go(from->up.data, from->up.bytes);
            memory_let_go(from->down.data, from->down.bytes);
            for (size_t t = 0; t < 3; t++) {
                memory_let_go(from->term[t].left.data, from->term[t].left.bytes);
                memory_let_go(from->term[t].right.data, from->term[t].right.bytes);
            }
        }
        last = from;
    }
}

/* ---- the door ---------------------------------------------------------------------------------------------------- */

static moesaic_status residency_carry_out(struct residency *r, const struct residency_options *o,
                                          moesaic_error *error) {
    size_t pieces = o->plan->piece_at[(size_t)o->shape->layers * o->shape->experts];
    struct hauling hauling = {.haul = calloc(pieces + 1, sizeof *hauling.haul)};
    moesaic_status status = hauling.haul ? residency_allocate(r, o, pieces, error)
                                         : status_no_memory(error, "placed experts", pieces * sizeof *hauling.haul);
    if (!status)
        status = residency_open_arenas(r, o, error);
    if (!status)
        status = residency_settle_all(r, o, &hauling, error);
    if (!status) {
        uint64_t start = clock_ns();
        team_run(o->team, hauling_body, &hauling);
        r->report.copy_ns = clock_ns() - start;
        residency_measure(r, (size_t)o->shape->layers * r->experts);
        residency_let_go(&hauling);
        residency_read_back(r, o, &hauling);
    }
    free(hauling.haul);
    return status;
}

moesaic_status residency_create(const struct residency_options *options, struct residency **ret_residency,
                                moesaic_error *error) {
    struct residency *r = calloc(1, sizeof *r);
    if (!r)
        return status_no_memory(error, "placed experts", sizeof *r);
    r->layers = options->layers;
    r->experts = options->shape->experts;
    r->nodes = r->report.nodes = options->plan->nodes;
    r->interleaved = options->plan->policy == PLACEMENT_INTERLEAVE;
    r->movable = options->movable;
    r->topology = options->topology;
    r->team = options->team;
    moesaic_status status = residency_carry_out(r, options, error);
    if (status) {
        residency_destroy(r);
        return status;
    }
    *ret_residency = r;
    return MOESAIC_OK;
}

void residency_destroy(struct residency *r) {
    if (!r)
        return;
    for (unsigned n = 0; n < r->nodes; n++)
        arena_destroy(r->arena[n]);
    free(r->pending);
    free(r->copies);
    free(r->parts);
    free(r->layer);
    free(r->home);
    free(r);
}

const struct residency_report *residency_report(const struct residency *residency) {
    return &residency->report;
}
size_t residency_max_parts(const struct residency *residency) {
    return residency->max_parts;
}

/* ---- between steps ----------------------------------------------------------------------------------------------- */

static struct expert_copy *home_find(const struct home *home, const struct placement_piece *piece) {
    for (uint32_t c = 0; c < home->copies; c++)
        if (home->copy[c].part->node == piece->node && home->copy[c].part->reader == piece->reader)
            return &home->copy[c];
    return NULL;
}

/* A whole expert again, in memory of another node, by that node's own threads. */
static bool residency_haul(struct residency *r, const struct expert_part *from, const struct placement_piece *to,
                           struct expert_part *ret_part) {
    struct memory_residency found = {0};
    struct expert_part part = part_of(to);
    struct haul haul = {
        .from = &from->weights, .to = &part, .bytes = haul_bytes(&from->weights, &part), .node = to->node};
    haul.block = arena_alloc(r->arena[to->node], haul.bytes, BLOCK_ALIGNMENT);
    if (!haul.block)
        return false;
    team_run(r->team, hauling_body, &(struct hauling){&haul, 1});
    *ret_part = part;
    memory_residency_add(r->topology, haul.block, haul.bytes, &found);
    if (found.node_bytes[to->node] < haul.bytes)
        log_line(LOG_WARNING, "experts: of %zu bytes moved, NUMA node %u holds %" PRIu64, haul.bytes,
                 topology_node_at(r->topology, to->node)->os_index, found.node_bytes[to->node]);
    return true;
}

/* The slot of the part that a copy no longer needs is the first one free: parts are found through copies alone. */
static struct expert_part *home_free_part(const struct residency *r, const struct home *home) {
    struct expert_part *slot = &r->parts[home->copy - r->copies];
    for (uint32_t s = 0; s < home->slots; s++, slot++) {
        bool used = false;
        for (uint32_t c = 0; c < home->copies; c++)
            used |= home->copy[c].part == slot;
        if (!used)
            return slot;
    }
    return NULL;
}

/* Blocks begin with the gate matrix. */
static void residency_free_part(struct residency *r, const struct expert_part *part) {
    arena_free(r->arena[part->node], (void *)(uintptr_t)part->weights.gate.data);
}

bool residency_apply(struct residency *r, const struct rebalance_move *move) {
    struct home *home = &r->home[(size_t)move->layer * r->experts + move->expert];
    struct expert_copy *from = r->movable ? home_find(home, &move->from) : NULL;
    struct expert_part part;
    if (!from || (move->kind == REBALANCE_DROP && home->copies == 1))
        return false;
    if (move->kind == REBALANCE_COPY) {
        struct expert_part *slot = home_find(home, &move->to) ? NULL : home_free_part(r, home);
        if (!slot || !residency_haul(r, from->part, &move->to, slot))
            return false;
        home->copy[home->copies++] = (struct expert_copy){.part = slot, .parts = 1, .bytes = from->bytes};
    } else if (move->kind == REBALANCE_DROP) {
        residency_free_part(r, from->part);
        memmove(from, from + 1, (size_t)(&home->copy[--home->copies] - from) * sizeof *from);
    } else {
        if (!residency_haul(r, from->part, &move->to, &part))
            return false;
        residency_free_part(r, from->part);
        r->parts[from->part - r->parts] = part;
    }
    home->chosen = 0;
    return true;
}

/* ---- a step ------------------------------------------------------------------------------------------------------ */

static uint32_t tokens_of(const struct router_plan *plan, uint32_t expert) {
    return plan->offset[expert + 1] - plan->offset[expert];
}

static void load_add(struct residency *r, const struct expert_copy *copy) {
    for (uint32_t p = 0; p < copy->parts; p++)
        r->load[copy->part[p].reader] += (double)part_bytes(&copy->part[p]) * r->core_share[copy->part[p].reader];
}

/* The copy whose reader would be done first; the first of equals. */
static void home_choose(struct residency *r, struct home *home) {
    double least = 0;
    for (uint32_t c = 0; c < home->copies; c++) {
        uint32_t reader = home->copy[c].part->reader;
        double load = r->load[reader] + (double)home->copy[c].bytes * r->core_share[reader];
        if (c == 0 || load < least) {
            least = load;
            home->chosen = c;
        }
    }
    load_add(r, &home->copy[home->chosen]);
}

void residency_assign(struct residency *r, uint32_t layer, const struct router_plan *plan) {
    struct home *homes = r->layer[layer];
    uint32_t pending = 0;
    if (!homes)
        return;
    for (unsigned n = 0; n < r->nodes; n++)
        r->load[n] = 0;
    for (uint32_t i = 0; i < plan->distinct; i++) {
        uint32_t expert = plan->active[i], at;
        if (homes[expert].copies == 1)
            load_add(r, homes[expert].copy);
        if (homes[expert].copies < 2)
            continue;
        for (at = pending++; at > 0 && tokens_of(plan, r->pending[at - 1]) < tokens_of(plan, expert); at--)
            r->pending[at] = r->pending[at - 1];
        r->pending[at] = expert;
    }
    for (uint32_t i = 0; i < pending; i++)
        home_choose(r, &homes[r->pending[i]]);
}

const struct expert_copy *residency_copy(const struct residency *r, uint32_t layer, uint32_t expert) {
    const struct home *home = r->layer[layer] ? &r->layer[layer][expert] : NULL;
    return home && home->copies ? &home->copy[home->chosen] : NULL;
}

uint64_t residency_remote_bytes(const struct residency *r, uint64_t bytes) {
    return r->interleaved && r->memory_nodes > 1 ? bytes - bytes / r->memory_nodes : 0;
}
