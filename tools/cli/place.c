/* SPDX-License-Identifier: Apache-2.0 */
/* `moesaic place`: a placement plan, and what the simulator predicts of every policy. */
#include <string.h>

#include "machine.h"

static const char *trace, *policy = "auto", *output, *against;
static int64_t batch = 1, context = 512;
static double copies_gib, min_gain = 0.05;

static const struct option_spec options[] = {
    {"trace", 0, OPTION_TEXT, "FILE", "routing that 'moesaic trace' recorded of this model", &trace},
    {"policy", 0, OPTION_TEXT, "NAME", "auto (default), slice, whole, replicate or interleave", &policy},
    {"batch", 'b', OPTION_INT, "N", "sequences decoded together (1)", &batch, 1, 4096},
    {"context", 0, OPTION_INT, "N", "tokens of each sequence, whose KV cache is read (512)", &context, 1, 1 << 24},
    {"copies", 0, OPTION_REAL, "GiB", "most memory for copies of experts (a quarter of theirs)", &copies_gib, 0, 1e6},
    {"min-gain", 0, OPTION_REAL, "X", "share of a step below which the simpler policy is kept (0.05)", &min_gain,
     0.0001, 0.99},
    {"output", 'o', OPTION_TEXT, "PLAN.json", "write the plan, for --plan", &output},
    {"against", 0, OPTION_TEXT, "PLAN.json", "price another plan and say what would move", &against},
    CLI_MACHINE_OPTIONS,
    {0}};

static const char *const policy_names[] = {"auto", "interleave", "slice", "whole", "replicate"};

static json_t *prediction_json(const moesaic_place_prediction *p) {
    if (!p->possible)
        return json_pack("{s:s,s:b}", "policy", p->policy, "possible", 0);
    return json_pack("{s:s,s:b,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:I}", "policy", p->policy, "possible", 1,
                     "predicted_tok_s", p->tokens_per_s, "remote_bytes_per_token", p->remote_bytes_per_token,
                     "local_bytes_per_token", p->local_bytes_per_token, "max_over_mean", p->max_over_mean, "step_s",
                     p->step_s, "expert_s", p->expert_s, "exchange_s", p->exchange_s, "dense_s", p->dense_s,
                     "resident_bytes", (json_int_t)p->resident_bytes);
}

/* Nodes that hold a part of an expert, each once; interleaved: all that hold any. */
static json_t *expert_json(const moesaic_place_result *r, size_t expert) {
    json_t *nodes = json_array();
    bool interleaved = !strcmp(r->policy, "interleave");
    for (uint32_t n = 0; n < r->nodes; n++) {
        bool holds = interleaved && r->node_bytes[n] > 0;
        for (uint32_t p = r->piece_at[expert]; p < r->piece_at[expert + 1]; p++)
            holds |= r->piece[p].node == n;
        if (holds)
            cli_json_add(&nodes, json_integer(n));
    }
    return nodes;
}

static json_t *experts_json(const moesaic_place_result *r) {
    json_t *layers = json_array();
    for (uint32_t layer = 0; layer < r->layers; layer++) {
        json_t *experts = json_array();
        for (uint32_t e = 0; e < r->experts; e++)
            cli_json_add(&experts, expert_json(r, (size_t)layer * r->experts + e));
        cli_json_add(&layers, experts);
    }
    return layers;
}

static int print_json(const moesaic_place_result *r) {
    json_t *policies = json_array(), *bytes = json_array();
    for (int i = 0; i < MOESAIC_PLACE_POLICIES; i++)
        cli_json_add(&policies, prediction_json(&r->prediction[i]));
    for (uint32_t n = 0; n < r->nodes; n++)
        cli_json_add(&bytes, json_integer((json_int_t)r->node_bytes[n]));
    json_t *document =
        json_pack("{s:s,s:s,s:s,s:s,s:s,s:f,s:s,s:i,s:i,s:i,s:i,s:o,s:o,s:o}", "schema", "moesaic.place/1", "source",
                  r->source, "speeds", r->speeds, "policy", r->policy, "best", r->best, "gain", r->gain, "reason",
                  r->reason, "batch", (int)r->batch, "steps", (int)r->steps, "context_tokens", (int)r->context_tokens,
                  "nodes", (int)r->nodes, "policies", policies, "node_bytes", bytes, "experts", experts_json(r));
    if (document && r->compared)
        cli_json_set(&document, "against",
                     json_pack("{s:o,s:I,s:I}", "prediction", prediction_json(&r->against), "experts_moved",
                               (json_int_t)r->experts_moved, "bytes_moved", (json_int_t)r->bytes_moved));
    return cli_json_print(document);
}

static void print_prediction(const moesaic_place_prediction *p, const char *mark) {
    char remote[32], resident[32];
    if (p->possible)
        printf("%-12s %10.1f  %14s  %8.3f  %12s  %s\n", p->policy, p->tokens_per_s,
               cli_bytes(p->remote_bytes_per_token, remote), p->max_over_mean,
               cli_bytes((double)p->resident_bytes, resident), mark);
    else
        printf("%-12s impossible: the nodes' memory is too cut up\n", p->policy);
}

static int print_text(const moesaic_place_result *r) {
    char bytes[32];
    printf("%s, %s speeds; %u steps of %u tokens over %u nodes\n\n", r->source, r->speeds, r->steps, r->batch,
           r->nodes);
    puts("policy         tokens/s    remote/token  max/mean      resident");
    for (int i = 0; i < MOESAIC_PLACE_POLICIES; i++)
        print_prediction(&r->prediction[i], strcmp(r->prediction[i].policy, r->policy) ? "" : "<- taken");
    printf("\n%s: %s\n", r->policy, r->reason);
    for (uint32_t n = 0; n < r->nodes; n++)
        printf("node %u holds %s of experts\n", n, cli_bytes((double)r->node_bytes[n], bytes));
    if (r->compared) {
        puts("");
        print_prediction(&r->against, "<- the plan compared");
        printf("from it %llu experts change place, %s are copied\n", (unsigned long long)r->experts_moved,
               cli_bytes((double)r->bytes_moved, bytes));
    }
    return cli_flush();
}

static int policy_read(moesaic_place_policy *ret_policy) {
    for (size_t i = 0; i < sizeof policy_names / sizeof *policy_names; i++)
        if (!strcmp(policy, policy_names[i])) {
            *ret_policy = (moesaic_place_policy)i;
            return EXIT_DONE;
        }
    return cli_usage("--policy: '%s' is none of auto, slice, whole, replicate, interleave", policy);
}

static int run(int count, const char *const *positional) {
    moesaic_error error;
    moesaic_model *model;
    /* This machine is measured unless its speeds are given. */
    moesaic_machine_options machine =
        cli_machine_options(!cli_machine.synthetic && !cli_machine.xml && cli_machine.local_gbs == 0);
    moesaic_place_options place = {.size = sizeof place,
                                   .trace_path = trace,
                                   .machine = &machine,
                                   .batch = (uint32_t)batch,
                                   .context_tokens = (uint32_t)context,
                                   .replica_budget_bytes = (uint64_t)(copies_gib * (1ull << 30)),
                                   .min_gain = min_gain,
                                   .plan_path = output,
                                   .against_path = against};
    if (!trace)
        return cli_usage("place: --trace FILE is missing ('moesaic trace' records one)");
    int status = policy_read(&place.policy);
    if (status)
        return status;
    if (moesaic_model_open(count ? positional[0] : NULL, NULL, &model, &error))
        return cli_fail(&error);
    moesaic_place_result result = {.size = sizeof result};
    bool failed = moesaic_place(model, &place, &result, &error) != MOESAIC_OK;
    moesaic_model_release(model);
    if (failed) /* a message begins with the file that it is about */
        return output && !strncmp(error.message, output, strlen(output)) ? cli_fail_output(&error) : cli_fail(&error);
    status = cli_common.json ? print_json(&result) : print_text(&result);
    moesaic_free(result.node_bytes);
    return status;
}

const struct verb verb_place = {"place",
                                "[MODEL] --trace FILE [--synthetic SPEC | --xml FILE] [--policy P] [-b N] [-o PLAN]",
                                "plan where each expert's weights live, and predict what that gives",
                                options,
                                0,
                                1,
                                run};
