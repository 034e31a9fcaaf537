/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated table of docs/placement.md: every policy, and the one auto takes, for two servers, two model shapes,
 * four batch sizes, uniform and skewed traffic; as CSV on standard output. usage: placement_table [LAYERS [TOKENS]] */
#include <stdio.h>
#include <stdlib.h>

#include "placement/placement.h"

/* ---- servers: shapes from hwloc, speeds stated (docs/placement.md says whence) ----------------------------------- */

struct server {
    const char *name, *synthetic;
    double local_bps, near_bps, far_bps; /* near: nodes 2i and 2i + 1, one socket */
    double core_ops, exchange_s;
};
static const struct server servers[] = {
    {"two-socket", "pack:2 [numa(memory=256GB)] core:32 pu:2", 220e9, 100e9, 100e9, 160e9, 2e-6},
    {"four-node", "pack:2 group:2 [numa(memory=128GB)] core:16 pu:2", 110e9, 80e9, 45e9, 160e9, 3e-6},
};

static struct machine_speeds server_speeds(const struct server *server) {
    struct topology *topology = NULL;
    struct machine_speeds speeds;
    moesaic_error error = {0};
    const struct machine_given given = {.local_read_bps = server->local_bps,
                                        .remote_read_bps = server->far_bps,
                                        .int8_ops_per_core = server->core_ops,
                                        .exchange_s = server->exchange_s,
                                        .read_fraction = 0.88,
                                        .compute_fraction = 0.45};
    if (topology_open(&(struct topology_source){.synthetic = server->synthetic}, &topology, &error) != MOESAIC_OK ||
        machine_speeds_from_topology(topology, &given, &speeds, &error) != MOESAIC_OK) {
        fprintf(stderr, "placement_table: %s\n", error.message);
        exit(1);
    }
    for (unsigned n = 0; n < speeds.nodes; n++)
        speeds.read_bps[n][n ^ 1] = speeds.write_bps[n][n ^ 1] = server->near_bps;
    topology_close(topology);
    return speeds;
}

/* ---- models: published shapes in INT4 with groups of 64 ---------------------------------------------------------- */

struct shape {
    const char *name;
    uint32_t layers, experts, top_k, hidden, intermediate;
    double dense_weights; /* that each token is multiplied by: attention, router and head */
};
static const struct shape shapes[] = {
    {"128-top-8", 48, 128, 8, 2048, 768, 1.2e9}, /* Qwen3-30B-A3B */
    {"8-top-2", 32, 8, 2, 4096, 14336, 1.6e9},   /* Mixtral-8x7B */
};

static struct placement_model shape_model(const struct shape *shape, uint32_t layers,
                                          struct placement_expert **ret_expert) {
    size_t experts = (size_t)layers * shape->experts;
    struct placement_expert *expert = malloc(experts * sizeof *expert);
    if (expert == NULL) {
        fputs("placement_table: out of memory\n", stderr);
        exit(1);
    }
    for (size_t e = 0; e < experts; e++)
        expert[e] = placement_expert_shape(shape->hidden, shape->intermediate, 4, 64);
    *ret_expert = expert;
    double dense = shape->dense_weights * layers / shape->layers;
    return (struct placement_model){.layers = layers,
                                    .experts = shape->experts,
                                    .top_k = shape->top_k,
                                    .hidden = shape->hidden,
                                    .expert = expert,
                                    .dense_bytes = (uint64_t)(dense * 4.25 / 8),
                                    .dense_flops = 2 * dense};
}

/* ---- table ------------------------------------------------------------------------------------------------------- */

static void table_print(const struct server *server, const struct shape *shape, double skew, uint32_t batch,
                        const struct placement_decision *decision) {
    for (unsigned p = 0; p < PLACEMENT_POLICIES; p++) {
        const struct placement_prediction *prediction = &decision->prediction[p];
        printf("simulated,%s,%s,%s,%u,%s,", server->name, shape->name, skew > 0 ? "skewed" : "uniform", batch,
               placement_policy_name(p));
        if (decision->possible[p])
            printf("%.1f,%.0f,%.3f,%.2f,", prediction->tokens_per_s, prediction->remote_bytes_per_token,
                   prediction->max_over_mean, (double)prediction->resident_bytes / (1 << 30));
        else
            printf(",,,,");
        puts(p == (unsigned)decision->chosen ? "auto" : "");
    }
}

static void table_rows(const struct server *server, const struct machine_speeds *machine, const struct shape *shape,
                       uint32_t layers, uint32_t tokens, double skew) {
    struct placement_expert *expert;
    struct placement_model model = shape_model(shape, layers, &expert);
    const struct routing_generator generator = {.layers = layers,
                                                .experts = shape->experts,
                                                .top_k = shape->top_k,
                                                .tokens = tokens,
                                                .tokens_per_sequence = 256,
                                                .skew = skew,
                                                .seed = 1};
    struct routing_trace *trace = NULL;
    moesaic_error error = {0};
    moesaic_status status = routing_trace_generate(&generator, &trace, &error);
    for (uint32_t batch = 1; batch <= 64 && status == MOESAIC_OK; batch *= 4) {
        struct placement_problem problem = {
            .model = &model, .machine = machine, .trace = trace, .options.batch = batch};
        struct placement_plan *plan = NULL;
        struct placement_decision decision;
        status = placement_choose(&problem, &plan, &decision, &error);
        if (status == MOESAIC_OK)
            table_print(server, shape, skew, batch, &decision);
        placement_plan_destroy(plan);
    }
    if (status != MOESAIC_OK) {
        fprintf(stderr, "placement_table: %s\n", error.message);
        exit(1);
    }
    routing_trace_destroy(trace);
    free(expert);
}

int main(int argc, char **argv) {
    uint32_t layers = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 0;
    uint32_t tokens = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 1024;
    puts("source,server,model,traffic,batch,policy,tok_s,remote_bytes_per_token,max_over_mean,resident_gib,taken");
    for (size_t s = 0; s < sizeof servers / sizeof servers[0]; s++) {
        struct machine_speeds machine = server_speeds(&servers[s]);
        for (size_t m = 0; m < sizeof shapes / sizeof shapes[0]; m++)
            for (int skewed = 0; skewed < 2; skewed++)
                table_rows(&servers[s], &machine, &shapes[m], layers > 0 ? layers : shapes[m].layers, tokens,
                           skewed ? 0.8 : 0);
    }
    return 0;
}
