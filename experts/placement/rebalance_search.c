/* SPDX-License-Identifier: Apache-2.0 */
/* From where the experts are to where they should be, in few bytes: moves and copies by gain per byte. */
#include <stdlib.h>
#include <string.h>

#include "copies_internal.h"
#include "rebalance_internal.h"

enum { REBALANCE_ROUNDS = 4 };

struct rebalance {
    struct copies copies;
    struct candidates waiting;
    struct places places;
    struct migration *migration;
    /* Copies beyond the first are taken away and must win their bytes back; to those that were there before nothing has
     * to be moved. */
    uint16_t *old_place;                  /* [items, COPIES_MAX] */
    uint8_t *old_count;                   /* [items] */
    uint64_t bytes_left, copy_bytes_left; /* to move; to hold in copies */
    double least_gain_s;
};

static uint64_t rebalance_bytes(const struct rebalance *r, uint32_t item) {
    return expert_bytes(&r->copies.problem->model->expert[item]);
}

static struct placement_piece rebalance_piece(const struct rebalance *r, uint32_t item, uint16_t at) {
    const struct place *place = &r->places.at[at];
    return (struct placement_piece){.node = place->node,
                                    .reader = place->reader,
                                    .gate_end = r->copies.problem->model->expert[item].intermediate,
                                    .down_end = r->copies.problem->model->hidden};
}

static void rebalance_record(struct rebalance *r, enum rebalance_kind kind, uint32_t item, uint16_t from, uint16_t to) {
    uint32_t experts = r->copies.workload->experts;
    uint64_t bytes = kind == REBALANCE_DROP ? 0 : rebalance_bytes(r, item);
    r->migration->move[r->migration->moves++] = (struct rebalance_move){.kind = kind,
                                                                        .layer = item / experts,
                                                                        .expert = item % experts,
                                                                        .from = rebalance_piece(r, item, from),
                                                                        .to = rebalance_piece(r, item, to),
                                                                        .bytes = bytes};
    r->migration->bytes += bytes;
}

/* Whether the plan had a copy beyond the first at `place`. */
static bool rebalance_held(const struct rebalance *r, uint32_t item, uint16_t place) {
    for (uint32_t c = 1; c < r->old_count[item]; c++)
        if (r->old_place[(size_t)item * COPIES_MAX + c] == place)
            return true;
    return false;
}

/* ---- start ------------------------------------------------------------------------------------------------------- */

static moesaic_status rebalance_load(struct rebalance *r, const struct placement_plan *plan, moesaic_error *error) {
    struct copies *copies = &r->copies;
    for (uint32_t item = 0; item < copies->workload->items; item++) {
        uint32_t count = plan->piece_at[item + 1] - plan->piece_at[item];
        if (count > COPIES_MAX)
            return status_set(error, MOESAIC_E_UNSUPPORTED, "rebalance: layer %u, expert %u has %u copies, at most %d",
                              item / copies->workload->experts, item % copies->workload->experts, count, COPIES_MAX);
        for (uint32_t c = 0; c < count; c++) {
            const struct placement_piece *piece = &plan->pieces[plan->piece_at[item] + c];
            unsigned at = places_index(copies->problem->machine, piece->node, piece->reader, &r->places);
            if (at == PLACES_MAX)
                return status_set(error, MOESAIC_E_UNSUPPORTED, "rebalance: the plan uses more than %d places",
                                  PLACES_MAX);
            copies_append(copies, item, (uint16_t)at);
            uint64_t bytes = rebalance_bytes(r, item), *room = &copies->room[piece->node];
            *room -= bytes < *room ? bytes : *room;
        }
    }
    return MOESAIC_OK;
}

/* Remembers the copies and takes all but the first away. Their memory stays taken until the engine has dropped them, so
 * that no step of the migration needs more than there is. */
static moesaic_status rebalance_strip(struct rebalance *r, moesaic_error *error) {
    struct copies *copies = &r->copies;
    size_t items = copies->workload->items;
    r->old_place = malloc(items * COPIES_MAX * sizeof *r->old_place);
    r->old_count = malloc(items * sizeof *r->old_count);
    if (r->old_place == NULL || r->old_count == NULL)
        return status_no_memory(error, "the rebalancing search", items * COPIES_MAX * sizeof *r->old_place);
    memcpy(r->old_place, copies->place, items * COPIES_MAX * sizeof *r->old_place);
    memcpy(r->old_count, copies->count, items * sizeof *r->old_count);
    for (uint32_t item = 0; item < items; item++)
        while (copies->count[item] > 1) {
            r->copy_bytes_left += rebalance_bytes(r, item);
            copies_remove(copies, item, copies->count[item] - 1u);
        }
    return MOESAIC_OK;
}

/* ---- moves and copies -------------------------------------------------------------------------------------------- */

/* `copy` below the count moves that copy to `place`; equal to it, one copy more is made there. */
static bool rebalance_possible(const struct rebalance *r, uint32_t item, uint32_t copy, uint16_t place) {
    const struct copies *copies = &r->copies;
    uint64_t bytes = rebalance_bytes(r, item);
    bool more = copy == copies->count[item], held = rebalance_held(r, item, place);
    if (copy > copies->count[item] || (more && (bytes > r->copy_bytes_left || copy == COPIES_MAX)))
        return false;
    if (held) {
        for (uint32_t c = 0; c < copies->count[item]; c++)
            if (copies->place[(size_t)item * COPIES_MAX + c] == place)
                return false;
        return more;
    }
    /* A copy that was there before and is wanted again stays where it is. */
    if (!more && rebalance_held(r, item, copies->place[(size_t)item * COPIES_MAX + copy]))
        return false;
    return bytes <= r->bytes_left && r->migration->moves < REBALANCE_MOVES_MAX / 2 &&
           copies_possible(copies, item, place);
}

static void rebalance_consider(struct rebalance *r, uint32_t item, uint32_t copy, uint16_t place) {
    struct copies *copies = &r->copies;
    if (!rebalance_possible(r, item, copy, place))
        return;
    double gain_s = copy == copies->count[item] ? copies_gain_of_add(copies, item, place)
                                                : copies_gain_of_move(copies, item, copy, place);
    if (gain_s > 0 && gain_s >= r->least_gain_s)
        candidates_push(&r->waiting, (struct candidate){.gain_s = gain_s,
                                                        .gain_per_byte = gain_s / copies->layout->item_bytes[item],
                                                        .item = item,
                                                        .copy = copy,
                                                        .place = place,
                                                        .version = copies->version[item / copies->workload->experts]});
}

static void rebalance_accept(struct rebalance *r, const struct candidate *candidate) {
    struct copies *copies = &r->copies;
    uint32_t item = candidate->item;
    uint64_t bytes = rebalance_bytes(r, item);
    bool more = candidate->copy == copies->count[item], held = rebalance_held(r, item, candidate->place);
    uint16_t from = copies->place[(size_t)item * COPIES_MAX + (more ? 0 : candidate->copy)];
    if (!more) {
        copies_remove(copies, item, candidate->copy);
        copies->room[r->places.at[from].node] += bytes;
    }
    copies_append(copies, item, candidate->place);
    copies_commit(copies, item);
    r->copy_bytes_left -= more ? bytes : 0;
    if (held)
        return;
    copies->room[r->places.at[candidate->place].node] -= bytes;
    r->bytes_left -= bytes;
    rebalance_record(r, more ? REBALANCE_COPY : REBALANCE_MOVE, item, from, candidate->place);
}

/* One round over all experts that the trace met; whether anything was done. Lazy greedy, as in the replicate policy. */
static bool rebalance_round(struct rebalance *r) {
    struct copies *copies = &r->copies;
    const struct workload *workload = copies->workload;
    bool any = false;
    for (uint32_t item = 0; item < workload->items; item++)
        for (uint32_t c = 0; c <= copies->count[item] && workload->use_at[item + 1] > workload->use_at[item]; c++)
            for (uint16_t p = 0; p < r->places.count; p++)
                rebalance_consider(r, item, c, p);
    while (r->waiting.count > 0) {
        struct candidate top = candidates_pop(&r->waiting);
        if (top.version != copies->version[top.item / workload->experts])
            rebalance_consider(r, top.item, top.copy, top.place);
        else if (rebalance_possible(r, top.item, top.copy, top.place)) {
            rebalance_accept(r, &top);
            any = true;
        }
    }
    return any;
}

/* ---- end --------------------------------------------------------------------------------------------------------- */

/* Copies that did not win their bytes back are dropped, before anything else is moved. */
static void rebalance_drop(struct rebalance *r) {
    struct migration *migration = r->migration;
    uint32_t accepted = migration->moves, drops;
    for (uint32_t item = 0; item < r->copies.workload->items; item++)
        for (uint32_t c = 1; c < r->old_count[item] && migration->moves < REBALANCE_MOVES_MAX; c++) {
            uint16_t place = r->old_place[(size_t)item * COPIES_MAX + c];
            bool kept = false;
            for (uint32_t now = 0; now < r->copies.count[item]; now++)
                kept = kept || r->copies.place[(size_t)item * COPIES_MAX + now] == place;
            if (!kept)
                rebalance_record(r, REBALANCE_DROP, item, place, place);
        }
    drops = migration->moves - accepted;
    for (uint32_t d = 0; d < drops; d++) { /* the list is short: rotate one by one */
        struct rebalance_move drop = migration->move[accepted + d];
        memmove(migration->move + d + 1, migration->move + d, accepted * sizeof drop);
        migration->move[d] = drop;
    }
}

static moesaic_status rebalance_run(struct rebalance *r, const struct placement_plan *plan, moesaic_error *error) {
    moesaic_status status = rebalance_load(r, plan, error);
    if (status != MOESAIC_OK)
        return status;
    double before_s = copies_fill_rows(&r->copies);
    r->least_gain_s = r->copies.problem->options.min_replica_gain * before_s;
    status = rebalance_strip(r, error);
    if (status == MOESAIC_OK)
        status =
            candidates_open(&r->waiting, (size_t)r->copies.workload->items * (COPIES_MAX + 1) * r->places.count, error);
    if (status != MOESAIC_OK)
        return status;
    copies_fill_rows(&r->copies);
    for (unsigned round = 0; round < REBALANCE_ROUNDS; round++)
        if (!rebalance_round(r))
            break;
    rebalance_drop(r);
    r->migration->saved_s = (before_s - copies_fill_rows(&r->copies)) / r->copies.workload->steps;
    return MOESAIC_OK;
}

moesaic_status rebalance_search(const struct placement_problem *problem, const struct placement_plan *plan,
                                uint64_t max_bytes, uint64_t spare_copy_bytes, struct migration *migration,
                                moesaic_error *error) {
    struct workload *workload = NULL;
    struct rebalance *r = calloc(1, sizeof *r);
    if (r == NULL)
        return status_no_memory(error, "the rebalancing search", sizeof *r);
    *r = (struct rebalance){.migration = migration, .bytes_left = max_bytes, .copy_bytes_left = spare_copy_bytes};
    migration->moves = 0;
    migration->bytes = 0;
    migration->saved_s = 0;
    places_list(problem->machine, &r->places);
    moesaic_status status = workload_create(problem, &workload, error);
    if (status == MOESAIC_OK)
        status = copies_open(problem, workload, &r->places, &r->copies, error);
    if (status == MOESAIC_OK)
        status = rebalance_run(r, plan, error);
    candidates_close(&r->waiting);
    copies_close(&r->copies);
    workload_destroy(workload);
    free(r->old_place);
    free(r->old_count);
    free(r);
    return status;
}
