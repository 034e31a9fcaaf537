/* SPDX-License-Identifier: Apache-2.0 */
/* From a problem to a plan: one policy on request, or the simplest that is close to the best of all. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "search_internal.h"

/* What all policies of one problem share. */
struct chooser {
    struct placement_problem problem; /* checked */
    struct workload *workload;
    struct places places;
    uint16_t *place; /* [items] the whole placement, once searched */
    bool searched;
};

static moesaic_status chooser_open(const struct placement_problem *problem, struct chooser *chooser,
                                   moesaic_error *error) {
    memset(chooser, 0, sizeof *chooser);
    moesaic_status status = placement_problem_check(problem, &chooser->problem, error);
    if (status == MOESAIC_OK)
        status = workload_create(&chooser->problem, &chooser->workload, error);
    if (status != MOESAIC_OK)
        return status;
    places_list(chooser->problem.machine, &chooser->places);
    chooser->place = malloc(chooser->workload->items * sizeof *chooser->place);
    return chooser->place != NULL
               ? MOESAIC_OK
               : status_no_memory(error, "a placement", chooser->workload->items * sizeof *chooser->place);
}

static void chooser_close(struct chooser *chooser) {
    workload_destroy(chooser->workload);
    free(chooser->place);
}

static moesaic_status chooser_search_whole(struct chooser *chooser, moesaic_error *error) {
    if (chooser->searched)
        return MOESAIC_OK;
    moesaic_status status = search_whole(&chooser->problem, chooser->workload, &chooser->places, chooser->place, error);
    chooser->searched = status == MOESAIC_OK;
    return status;
}

static moesaic_status chooser_whole_plan(struct chooser *chooser, struct placement_plan **ret_plan,
                                         moesaic_error *error) {
    uint32_t items = chooser->workload->items;
    uint8_t *count = malloc(items);
    if (count == NULL)
        return status_no_memory(error, "a placement", items);
    for (uint32_t item = 0; item < items; item++)
        count[item] = chooser->place[item] != PLACE_NONE;
    moesaic_status status = placement_plan_from_copies(&chooser->problem, PLACEMENT_WHOLE, &chooser->places,
                                                       chooser->place, count, 1, ret_plan, error);
    free(count);
    return status;
}

static moesaic_status chooser_make(struct chooser *chooser, enum placement_policy policy,
                                   struct placement_plan **ret_plan, moesaic_error *error) {
    if (policy == PLACEMENT_INTERLEAVE)
        return placement_plan_create(&chooser->problem, policy, 0, ret_plan, error);
    if (policy == PLACEMENT_SLICE)
        return placement_make_slice(&chooser->problem, chooser->workload, ret_plan, error);
    moesaic_status status = chooser_search_whole(chooser, error);
    if (status != MOESAIC_OK)
        return status;
    if (policy == PLACEMENT_WHOLE)
        return chooser_whole_plan(chooser, ret_plan, error);
    return placement_make_replicate(&chooser->problem, chooser->workload, &chooser->places, chooser->place, ret_plan,
                                    error);
}

/* Makes the plan and writes its predicted step into it. */
static moesaic_status chooser_predict(struct chooser *chooser, enum placement_policy policy,
                                      struct placement_plan **ret_plan, struct placement_prediction *ret_prediction,
                                      moesaic_error *error) {
    struct placement_plan *plan = NULL;
    moesaic_status status = chooser_make(chooser, policy, &plan, error);
    if (status == MOESAIC_OK)
        status = placement_plan_check(plan, chooser->problem.model, chooser->problem.machine, error);
    if (status == MOESAIC_OK)
        status = simulate_workload(&chooser->problem, chooser->workload, plan, ret_prediction, error);
    if (status != MOESAIC_OK) {
        placement_plan_destroy(plan);
        return status;
    }
    plan->predicted_step_ns = (uint64_t)(ret_prediction->step_s * 1e9 + 0.5);
    *ret_plan = plan;
    return MOESAIC_OK;
}

moesaic_status placement_plan_make(const struct placement_problem *problem, enum placement_policy policy,
                                   struct placement_plan **ret_plan, moesaic_error *error) {
    if ((unsigned)policy >= PLACEMENT_POLICIES)
        return status_set(error, MOESAIC_E_USAGE, "placement: there is no policy %d", (int)policy);
    struct chooser chooser;
    struct placement_prediction prediction;
    moesaic_status status = chooser_open(problem, &chooser, error);
    if (status == MOESAIC_OK)
        status = chooser_predict(&chooser, policy, ret_plan, &prediction, error);
    chooser_close(&chooser);
    return status;
}

moesaic_status placement_plan_round_robin(const struct placement_problem *problem, struct placement_plan **ret_plan,
                                          moesaic_error *error) {
    struct chooser chooser;
    struct placement_prediction prediction;
    moesaic_status status = chooser_open(problem, &chooser, error);
    if (status == MOESAIC_OK)
        status = search_round_robin(&chooser.problem, chooser.workload, &chooser.places, chooser.place, error);
    chooser.searched = status == MOESAIC_OK;
    if (status == MOESAIC_OK)
        status = chooser_predict(&chooser, PLACEMENT_WHOLE, ret_plan, &prediction, error);
    chooser_close(&chooser);
    return status;
}

/* ---- auto -------------------------------------------------------------------------------------------------------- */

static void choose_policy(double min_gain, struct placement_decision *decision) {
    decision->best = PLACEMENT_INTERLEAVE; /* always possible when the experts fit at all */
    for (unsigned p = 0; p < PLACEMENT_POLICIES; p++)
        if (decision->possible[p] && decision->prediction[p].step_s < decision->prediction[decision->best].step_s)
            decision->best = (enum placement_policy)p;
    double best_s = decision->prediction[decision->best].step_s;
    decision->chosen = decision->best;
    for (unsigned p = PLACEMENT_POLICIES; p-- > 0;)
        if (decision->possible[p] && p < (unsigned)decision->best &&
            decision->prediction[p].step_s < best_s * (1 + min_gain))
            decision->chosen = (enum placement_policy)p;
    double chosen_s = decision->prediction[decision->chosen].step_s;
    decision->gain = chosen_s > 0 ? decision->prediction[PLACEMENT_INTERLEAVE].step_s / chosen_s - 1 : 0;
}

static void choose_explain(double min_gain, struct placement_decision *decision) {
    const char *chosen = placement_policy_name(decision->chosen), *best = placement_policy_name(decision->best);
    double best_s = decision->prediction[decision->best].step_s;
    double behind = best_s > 0 ? decision->prediction[decision->chosen].step_s / best_s - 1 : 0;
    if (decision->chosen == decision->best && decision->chosen != PLACEMENT_INTERLEAVE)
        snprintf(decision->reason, sizeof decision->reason,
                 "%s is the best, %.1f %% faster than interleave (simulated)", chosen, 100 * decision->gain);
    else if (decision->chosen == decision->best)
        snprintf(decision->reason, sizeof decision->reason, "no policy is faster than interleave (simulated)");
    else
        snprintf(decision->reason, sizeof decision->reason,
                 "%s is simpler and only %.1f %% slower than %s, the best (simulated; at least %.1f %% is asked for)",
                 chosen, 100 * behind, best, 100 * min_gain);
}

moesaic_status placement_choose(const struct placement_problem *problem, struct placement_plan **ret_plan,
                                struct placement_decision *ret_decision, moesaic_error *error) {
    struct chooser chooser;
    struct placement_plan *plan[PLACEMENT_POLICIES] = {NULL};
    struct placement_decision decision = {.gain = 0};
    moesaic_status status = chooser_open(problem, &chooser, error);
    for (unsigned p = 0; p < PLACEMENT_POLICIES && status == MOESAIC_OK; p++) {
        status = chooser_predict(&chooser, (enum placement_policy)p, &plan[p], &decision.prediction[p], error);
        decision.possible[p] = status == MOESAIC_OK;
        /* A policy for which the nodes' memory is too cut up is out of the race; interleaved pages always fit. */
        if (status == MOESAIC_E_UNSUPPORTED && p != PLACEMENT_INTERLEAVE)
            status = MOESAIC_OK;
    }
    if (status == MOESAIC_OK) {
        choose_policy(chooser.problem.options.min_gain, &decision);
        choose_explain(chooser.problem.options.min_gain, &decision);
        *ret_plan = plan[decision.chosen];
        plan[decision.chosen] = NULL;
        if (ret_decision != NULL)
            *ret_decision = decision;
    }
    for (unsigned p = 0; p < PLACEMENT_POLICIES; p++)
        placement_plan_destroy(plan[p]);
    chooser_close(&chooser);
    return status;
}
