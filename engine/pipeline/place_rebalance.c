/* SPDX-License-Identifier: Apache-2.0 */
/* The rebalancer at work: it sees every step's routing, decides, and moves a few experts between steps. */
#include <stdlib.h>

#include "place.h"

struct place_rebalance {
    struct rebalancer *rebalancer;
    struct residency *residency;
    bool observed; /* the last decision's observed gain is in the log */
};

moesaic_status place_rebalance_create(const struct placement_model *shape, const struct machine_speeds *speeds,
                                      const struct placement_plan *plan, struct residency *residency,
                                      const struct rebalance_options *options, struct place_rebalance **ret_rebalance,
                                      moesaic_error *error) {
    struct place_rebalance *p = calloc(1, sizeof *p);
    if (!p)
        return status_no_memory(error, "the rebalancer", sizeof *p);
    p->residency = residency;
    moesaic_status status = rebalancer_create(shape, speeds, plan, options, &p->rebalancer, error);
    if (status) {
        free(p);
        return status;
    }
    *ret_rebalance = p;
    return MOESAIC_OK;
}

void place_rebalance_destroy(struct place_rebalance *p) {
    if (!p)
        return;
    rebalancer_destroy(p->rebalancer);
    free(p);
}

const struct rebalancer *place_rebalance_state(const struct place_rebalance *p) {
    return p->rebalancer;
}

static void log_record(const struct rebalance_record *record) {
    char text[512];
    log_line(LOG_INFO, "%s", rebalance_record_text(record, text, sizeof text));
}

/* Once the window is full. A decision that fails for want of memory leaves everything where it is. */
static void decide(struct place_rebalance *p) {
    struct rebalance_record record;
    moesaic_error error;
    if (rebalancer_decide(p->rebalancer, &record, &error)) {
        log_line(LOG_WARNING, "rebalance: no decision: %s", error.message);
        return;
    }
    if (record.verdict < REBALANCE_STEADY)
        return;
    p->observed = false;
    log_record(&record);
}

/* Decode steps alone are timed: a prompt's tokens cost less each, and would pass for a gain. */
static void observe_time(struct place_rebalance *p, const struct forward_item *items, size_t n, uint64_t step_ns) {
    for (size_t i = 0; i < n; i++)
        if (items[i].count != 1)
            return;
    rebalancer_observe_step(p->rebalancer, (uint32_t)n, step_ns);
    const struct rebalance_record *last = rebalancer_last(p->rebalancer);
    if (last->observed && !p->observed) {
        p->observed = true;
        log_record(last);
    }
}

void place_rebalance_step(struct place_rebalance *p, const struct forward *forward, const struct forward_item *items,
                          size_t n, uint64_t step_ns) {
    size_t row = 0;
    struct rebalance_move move;
    for (size_t i = 0; i < n; i++)
        for (size_t t = 0; t < items[i].count; t++)
            rebalancer_observe(p->rebalancer, forward_routing(forward, row++), (int32_t)i);
    observe_time(p, items, n, step_ns);
    decide(p);
    while (rebalancer_next_move(p->rebalancer, clock_ns(), &move)) {
        bool done = residency_apply(p->residency, &move);
        rebalancer_move_done(p->rebalancer, done);
        if (!done)
            log_line(LOG_WARNING, "rebalance: expert %u of MoE layer %u could not be moved to node %u", move.expert,
                     move.layer, move.to.node);
    }
}
