/* SPDX-License-Identifier: Apache-2.0 */
/* The slice policy: every expert divided by rows over the places in proportion to their speed, within their memory. */
#include <inttypes.h>
#include <math.h>

#include "placement_internal.h"

struct slicing {
    const struct placement_problem *problem;
    struct places places;
    bool usable[PLACES_MAX]; /* a node with cores keeps its memory for itself and lends none to nodes without memory */
    unsigned rank[PLACES_MAX];         /* 0: the memory that its reader reads fastest, 1: the next, ... */
    double target[PLACES_MAX];         /* share of every expert, sums to 1 */
    uint64_t room[TOPOLOGY_NODES_MAX]; /* bytes left on each node */
    double gate_owed[PLACES_MAX], down_owed[PLACES_MAX]; /* units that rounding has not given yet */
};

/* ---- shares ------------------------------------------------------------------------------------------------------ */

static unsigned slice_distance(const struct place *place) {
    return place->node > place->reader ? place->node - place->reader : place->reader - place->node;
}

/* Whether the reader of both turns to `a` before `b`: the faster memory, then the nearer by number, then the first. */
static bool slice_prefers(const struct slicing *slicing, unsigned a, unsigned b) {
    const struct place *x = &slicing->places.at[a], *y = &slicing->places.at[b];
    if (x->byte_s != y->byte_s)
        return x->byte_s < y->byte_s;
    return slice_distance(x) != slice_distance(y) ? slice_distance(x) < slice_distance(y) : a < b;
}

static void slice_rank(struct slicing *slicing) {
    const struct places *places = &slicing->places;
    for (unsigned p = 0; p < places->count; p++)
        slicing->usable[p] = p < places->locals || slicing->problem->machine->node[places->at[p].node].cores == 0;
    for (unsigned p = 0; p < places->count; p++)
        for (unsigned q = 0; q < places->count; q++)
            slicing->rank[p] +=
                slicing->usable[q] && places->at[q].reader == places->at[p].reader && slice_prefers(slicing, q, p);
}

/* 1 / time of an average active expert at each place. */
static void slice_speeds(const struct slicing *slicing, const struct workload *workload, double *ret_speed) {
    const struct placement_model *model = slicing->problem->model;
    double bytes = 0, flops = 0;
    uint32_t uses = workload->choice_at[workload->rows];
    for (uint32_t c = 0; c < uses; c++) {
        const struct placement_expert *expert = &model->expert[workload->choices[c].item];
        bytes += (double)expert_bytes(expert) / uses;
        flops += expert->flops * workload->choices[c].tokens / uses;
    }
    for (unsigned p = 0; p < slicing->places.count; p++) {
        const struct place *place = &slicing->places.at[p];
        ret_speed[p] = 1 / (bytes * place->byte_s + flops * place->flop_s + 1e-30);
    }
}

/* What the places of one rank may take: their node's memory that is still free, shared evenly; [places]. */
static void slice_limits(const struct slicing *slicing, unsigned rank, double *ret_limit) {
    const struct places *places = &slicing->places;
    double total = (double)placement_model_bytes(slicing->problem->model);
    for (unsigned p = 0; p < places->count; p++) {
        double free_share = (double)slicing->room[places->at[p].node] / total;
        unsigned sharing = 0;
        for (unsigned q = 0; q < places->count; q++)
            if (slicing->usable[q] && places->at[q].node == places->at[p].node) {
                free_share -= slicing->target[q];
                sharing += slicing->rank[q] == rank;
            }
        bool open = slicing->usable[p] && slicing->rank[p] == rank && free_share > 0;
        ret_limit[p] = open ? free_share / sharing : 0;
    }
}

/* Shares in proportion to `speed`, none above `limit`: what a full place cannot take goes to the others. Adds to
 * `target` and returns what no place could take of `amount`. */
static double slice_fill(double amount, unsigned count, const double *speed, const double *limit, double *target) {
    double put[PLACES_MAX] = {0};
    for (unsigned round = 0; round < count && amount > 1e-12; round++) {
        double open = 0, given = 0;
        for (unsigned p = 0; p < count; p++)
            open += put[p] < limit[p] ? speed[p] : 0;
        for (unsigned p = 0; p < count && open > 0; p++) {
            double room = limit[p] - put[p], share = amount * speed[p] / open;
            double more = room <= 0 ? 0 : share < room ? share : room;
            put[p] += more;
            given += more;
        }
        amount -= given;
    }
    for (unsigned p = 0; p < count; p++)
        target[p] += put[p];
    return amount;
}

/* Fills the fastest memory of every reader first, then the next fastest with what is left. */
static void slice_targets(struct slicing *slicing, const struct workload *workload) {
    double speed[PLACES_MAX] = {0}, limit[PLACES_MAX] = {0}, left = 1;
    slice_rank(slicing);
    slice_speeds(slicing, workload, speed);
    for (unsigned rank = 0; rank < slicing->places.count && left > 1e-12; rank++) {
        slice_limits(slicing, rank, limit);
        left = slice_fill(left, slicing->places.count, speed, limit, slicing->target);
    }
}

/* ---- units ------------------------------------------------------------------------------------------------------- */

/* Units that the place may still take of `unit_bytes` each. */
static uint32_t slice_room(const struct slicing *slicing, unsigned place, uint64_t unit_bytes) {
    if (!slicing->usable[place])
        return 0;
    uint64_t units = slicing->room[slicing->places.at[place].node] / (unit_bytes > 0 ? unit_bytes : 1);
    return units < UINT32_MAX ? (uint32_t)units : UINT32_MAX;
}

/* Gives one more unit to the place that is owed most and has room; false when none has. */
static bool slice_give_one(struct slicing *slicing, uint64_t unit_bytes, double *owed, uint32_t *units) {
    unsigned best = slicing->places.count;
    for (unsigned p = 0; p < slicing->places.count; p++)
        if (slice_room(slicing, p, unit_bytes) > 0 && (best == slicing->places.count || owed[p] > owed[best] + 1e-9))
            best = p;
    if (best == slicing->places.count)
        return false;
    units[best]++;
    owed[best]--;
    slicing->room[slicing->places.at[best].node] -= unit_bytes;
    return true;
}

/* Divides `total` units by the targets; what rounding withholds is owed and paid with later experts, so that the extra
 * units of a row of experts go round. */
static bool slice_divide(struct slicing *slicing, uint32_t total, uint64_t unit_bytes, double *owed,
                         uint32_t *ret_units) {
    uint32_t given = 0;
    for (unsigned p = 0; p < slicing->places.count; p++) {
        owed[p] += slicing->target[p] * total;
        double want = floor(owed[p] + 1e-9);
        uint32_t room = slice_room(slicing, p, unit_bytes), units = want > 0 ? (uint32_t)want : 0;
        units = units < room ? units : room;
        units = units < total - given ? units : total - given;
        ret_units[p] = units;
        given += units;
        owed[p] -= units;
        slicing->room[slicing->places.at[p].node] -= units * unit_bytes;
    }
    for (; given < total; given++)
        if (!slice_give_one(slicing, unit_bytes, owed, ret_units))
            return false;
    return true;
}

static uint64_t slice_unit_bytes(uint64_t bytes, uint32_t rows, uint32_t unit) {
    return (uint64_t)ceil((double)bytes * unit / rows);
}

static uint32_t slice_rows(uint32_t units, uint32_t unit, uint32_t rows) {
    uint64_t end = (uint64_t)units * unit;
    return end < rows ? (uint32_t)end : rows;
}

/* Appends the pieces of one expert; false when the memory of the nodes is too cut up to take it. */
static bool slice_expert(struct slicing *slicing, uint32_t item, struct placement_plan *plan) {
    const struct placement_model *model = slicing->problem->model;
    const struct placement_expert *expert = &model->expert[item];
    uint32_t at = plan->piece_at[item], gate[PLACES_MAX], down[PLACES_MAX], gate_units = 0, down_units = 0;
    plan->piece_at[item + 1] = at;
    if (expert->intermediate == 0)
        return true;
    uint32_t unit = expert->group > PLACEMENT_ROW_UNIT ? expert->group : PLACEMENT_ROW_UNIT;
    uint32_t gate_total = (expert->intermediate + unit - 1) / unit;
    uint32_t down_total = (model->hidden + PLACEMENT_ROW_UNIT - 1) / PLACEMENT_ROW_UNIT;
    if (!slice_divide(slicing, gate_total, slice_unit_bytes(expert->gate_up_bytes, expert->intermediate, unit),
                      slicing->gate_owed, gate) ||
        !slice_divide(slicing, down_total, slice_unit_bytes(expert->down_bytes, model->hidden, PLACEMENT_ROW_UNIT),
                      slicing->down_owed, down))
        return false;
    for (unsigned p = 0; p < slicing->places.count; p++) {
        if (gate[p] == 0 && down[p] == 0)
            continue;
        struct placement_piece *piece = &plan->pieces[at++];
        *piece = (struct placement_piece){.node = slicing->places.at[p].node, .reader = slicing->places.at[p].reader};
        piece->gate_begin = slice_rows(gate_units, unit, expert->intermediate);
        piece->down_begin = slice_rows(down_units, PLACEMENT_ROW_UNIT, model->hidden);
        gate_units += gate[p];
        down_units += down[p];
        piece->gate_end = slice_rows(gate_units, unit, expert->intermediate);
        piece->down_end = slice_rows(down_units, PLACEMENT_ROW_UNIT, model->hidden);
    }
    plan->piece_at[item + 1] = at;
    return true;
}

moesaic_status placement_make_slice(const struct placement_problem *problem, const struct workload *workload,
                                    struct placement_plan **ret_plan, moesaic_error *error) {
    struct slicing slicing = {.problem = problem};
    struct placement_plan *plan = NULL;
    uint32_t items = workload->items;
    places_list(problem->machine, &slicing.places);
    placement_capacity(problem, slicing.room);
    slice_targets(&slicing, workload);
    uint32_t width = 0;
    for (unsigned p = 0; p < slicing.places.count; p++)
        width += slicing.usable[p];
    moesaic_status status = placement_plan_create(problem, PLACEMENT_SLICE, items * width, &plan, error);
    if (status != MOESAIC_OK)
        return status;
    for (uint32_t item = 0; item < items; item++)
        if (!slice_expert(&slicing, item, plan)) {
            placement_plan_destroy(plan);
            return status_set(error, MOESAIC_E_UNSUPPORTED,
                              "placement: slices of layer %u, expert %u (%" PRIu64
                              " bytes) fit no node any more; a smaller format or another policy may",
                              item / workload->experts, item % workload->experts,
                              expert_bytes(&problem->model->expert[item]));
        }
    *ret_plan = plan;
    return MOESAIC_OK;
}
