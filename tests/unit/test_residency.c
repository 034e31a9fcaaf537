/* SPDX-License-Identifier: Apache-2.0 */
/* Plans carried out: cut weights, copies in arenas, the bits of a step whatever the placement, bytes counted by hand,
 * and the pages' nodes as the kernel says. */
#include "../golden/golden.h"
#include "place.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* ---- cutting ----------------------------------------------------------------------------------------------------- */

static uint32_t state = 1;
static uint32_t next_random(void) {
    return (state = state * 1664525u + 1013904223u) >> 8;
}

static struct quant_rows *random_rows(number_format format, uint32_t group, uint64_t rows, uint64_t cols) {
    struct quant_rows *q;
    moesaic_error error = {0};
    cr_assert_eq(quant_rows_create(format, group, rows, cols, &q, &error), MOESAIC_OK, "%s", error.message);
    for (uint64_t i = 0; i < rows * cols; i++) {
        if (q->mask)
            q->mask[i] = format == FORMAT_INT4_MASK ? next_random() % 3 > 0 : i % 2;
        q->codes[i] = (int8_t)(q->mask && !q->mask[i] ? 0 : (int)(next_random() % 4) - 2);
    }
    for (uint64_t i = 0; i < rows * quant_rows_groups(cols, group); i++)
        q->scales[i] = half_from_float(0.01f * (float)(1 + next_random() % 100));
    return q;
}

/* Every cut of `weight` multiplies as the same rows of the whole do. */
static void expect_cuts(const struct weight *weight, const char *name) {
    static const uint64_t edges[] = {0, 16, 48, 80, 91};
    enum { N = sizeof edges / sizeof *edges };
    float whole[96], part[96];
    float *values = calloc(weight->cols, sizeof *values);
    for (uint64_t k = 0; k < weight->cols; k++)
        values[k] = (float)((int)(next_random() % 201) - 100) / 64;
    struct activations x = {.values = values, .tokens = 1, .cols = weight->cols, .stride = weight->cols};
    void *scratch = memory_zeroed(activations_bytes(1, weight->cols, weight->group ? weight->group : 32), 1);
    if (weight->group) {
        activations_bind(&x, weight->group, scratch);
        activations_quantize(&x, 0, 1);
    }
    weight_product(weight, &x, NULL, 1, 0, weight->rows, whole, weight->rows);
    for (int i = 0; i < N; i++)
        for (int j = i + 1; j < N; j++) {
            struct weight cut;
            moesaic_error error = {0};
            uint64_t bytes = weight_cut_bytes(weight, edges[i], edges[j]), rows = edges[j] - edges[i];
            void *out = aligned_alloc(64, size_round_up(bytes, 64));
            weight_cut(weight, edges[i], edges[j], out, &cut);
            cr_expect_eq(cut.bytes, bytes, "%s", name);
            cr_expect_eq(weight_check(&cut, &error), MOESAIC_OK, "%s: %s", name, error.message);
            weight_product(&cut, &x, NULL, 1, 0, rows, part, rows);
            cr_expect_arr_eq(part, whole + edges[i], rows * sizeof *part, "%s rows %d to %d", name, (int)edges[i],
                             (int)edges[j]);
            free(out);
        }
    free(scratch);
    free(values);
}

Test(residency, cut_rows_multiply_as_in_the_whole) {
    for (int format = FORMAT_INT8; format <= FORMAT_INT4_MASK; format++)
        for (uint32_t group = 32; group <= 128; group *= 2) {
            struct quant_rows *rows = random_rows((number_format)format, group, 91, 200);
            struct weight weight;
            moesaic_error error = {0};
            uint64_t bytes = weight_packed_bytes(rows);
            void *packed = memory_zeroed(1, bytes);
            cr_assert_eq(weight_pack(rows, packed, bytes, &weight, &error), MOESAIC_OK, "%s", error.message);
            expect_cuts(&weight, number_format_name(weight.format));
            free(packed);
            quant_rows_destroy(rows);
        }
}

/* 91 x 200 in panels of 16 rows and groups: 96 rows, 224, 256 or 256 columns. As floats the columns fill up vectors of
 * 16. */
Test(residency, padding_is_all_that_is_executed_beside_the_nominal) {
    struct weight weight = {.format = FORMAT_INT4, .layout = LAYOUT_PANEL16, .rows = 91, .cols = 200};
    for (weight.group = 32; weight.group <= 128; weight.group *= 2) {
        struct weight_flops flops = weight_flops(&weight);
        cr_expect_eq(flops.nominal, 2 * 91 * 200);
        cr_expect_eq(flops.executed, 2 * 96 * (weight.group == 32 ? 224 : 256));
    }
    weight = (struct weight){.format = FORMAT_BF16, .layout = LAYOUT_ROWS, .rows = 91, .cols = 200};
    cr_expect_eq(weight_flops(&weight).executed, 2 * 91 * 208);
}

Test(residency, cut_rows_of_floats) {
    uint16_t *half = memory_zeroed(91 * 200, sizeof *half);
    for (int i = 0; i < 91 * 200; i++)
        half[i] = bfloat_from_float((float)(next_random() % 1000) / 1000);
    struct weight weight = {.format = FORMAT_BF16,
                            .layout = LAYOUT_ROWS,
                            .rows = 91,
                            .cols = 200,
                            .data = (const uint8_t *)half,
                            .bytes = 91 * 200 * 2,
                            .factor = 1};
    expect_cuts(&weight, "bf16");
    free(half);
}

/* ---- a model placed ---------------------------------------------------------------------------------------------- */

static const char *const two_nodes = "pack:2 [numa(memory=1GB)] core:1 pu:1";

/* The reference checkpoint with its experts where a plan says, on a topology where binding does nothing. */
struct placed {
    struct golden_engine engine;
    struct topology *topology;
    struct placement_model shape;
    struct placement_plan *plan;
    struct residency *residency;
    struct forward *forward;
    struct counters counters;
    const struct ffn_weights *experts[CONFIG_LAYERS_MAX];
};

/* How a plan file has the pieces of every expert: whole ones on alternating nodes; slices with the first 16 rows on
 * node 0 and the rest on node `second`; `reader` computes (9: the node itself). */
struct layout {
    const char *policy;
    unsigned nodes, split; /* split: 0 whole, 1 slices, 2 copies on both nodes */
    unsigned second, reader;
    bool movable, crowded; /* crowded: all but the last expert on node 0, and the plan was made for other traffic */
};

static void print_pieces(FILE *file, const struct layout *l, uint32_t expert, uint32_t gate, uint32_t down) {
    unsigned node = l->crowded ? expert == 7 : l->nodes > 1 ? expert % 2 : 0;
    if (l->split == 1)
        fprintf(file, "[[0,0,0,16,0,16],[%u,%u,16,%u,16,%u]]", l->second, l->reader, gate, down);
    else if (l->split == 2)
        fprintf(file, "[[0,0,0,%u,0,%u],[1,1,0,%u,0,%u]]", gate, down, gate, down);
    else
        fprintf(file, "[[%u,%u,0,%u,0,%u]]", node, l->reader == 9 ? node : l->reader, gate, down);
}

static struct placement_plan *plan_made(const struct placement_model *shape, const struct layout *l) {
    char *text;
    size_t bytes;
    struct placement_plan *plan = NULL;
    moesaic_error error = {0};
    bool interleaved = !strcmp(l->policy, "interleave");
    FILE *file = open_memstream(&text, &bytes);
    fprintf(file,
            "{\"schema\":\"moesaic.plan/1\",\"policy\":\"%s\",\"model\":{\"layers\":%u,\"experts\":%u,\"hidden\":%u,"
            "\"bytes\":%llu},\"nodes\":%u,\"batch\":1,\"simulated_step_ns\":1,\"histogram\":[",
            l->policy, shape->layers, shape->experts, shape->hidden, (unsigned long long)placement_model_bytes(shape),
            l->nodes);
    for (uint32_t layer = 0; layer < shape->layers; layer++)
        for (uint32_t e = 0; e < shape->experts; e++)
            fprintf(file, "%s%d%s", e ? "," : layer ? ",[" : "[", l->crowded && e == 7 ? 1000 : 0,
                    e + 1 == shape->experts ? "]" : "");
    fputs("],\"pieces\":[", file);
    for (uint32_t layer = 0; layer < shape->layers && !interleaved; layer++)
        for (uint32_t e = 0; e < shape->experts; e++) {
            fputs(e ? "," : layer ? ",[" : "[", file);
            print_pieces(file, l, e, shape->expert[layer * shape->experts + e].intermediate, shape->hidden);
            fputs(e + 1 == shape->experts ? "]" : "", file);
        }
    fputs("]}", file);
    fclose(file);
    cr_assert_eq(placement_plan_parse(text, bytes, "test", &plan, &error), MOESAIC_OK, "%s", error.message);
    free(text);
    return plan;
}

static void placed_open(struct placed *p, const char *model, const struct layout *l) {
    moesaic_error error = {0};
    *p = (struct placed){.plan = NULL};
    golden_open(&p->engine, model, (struct golden_setup){.threads = 2});
    const struct model_config *config = model_config(p->engine.model);
    struct topology_source source = {.synthetic = l->nodes > 1 ? two_nodes : "node:1(memory=2GB) core:2 pu:1"};
    cr_assert_eq(topology_open(&source, &p->topology, &error), MOESAIC_OK, "%s", error.message);
    cr_assert_eq(place_model_init(p->engine.model, 0, &p->shape, &error), MOESAIC_OK, "%s", error.message);
    p->plan = plan_made(&p->shape, l);
    for (uint32_t layer = 0; layer < config->layers; layer++)
        p->experts[layer] = config->layer[layer].moe ? model_weights(p->engine.model)->layers[layer].experts : NULL;
    struct residency_options options = {.topology = p->topology,
                                        .team = p->engine.team,
                                        .plan = p->plan,
                                        .shape = &p->shape,
                                        .layers = config->layers,
                                        .experts = p->experts,
                                        .movable = l->movable};
    cr_assert_eq(residency_create(&options, &p->residency, &error), MOESAIC_OK, "%s", error.message);
    struct forward_options forward = {
        .max_step_tokens = 64, .max_items = 1, .max_logits_rows = 64, .residency = p->residency,
        .keep_routing = l->movable};
    cr_assert_eq(forward_create(p->engine.model, p->engine.team, &forward, &p->counters, &p->forward, &error),
                 MOESAIC_OK, "%s", error.message);
}

static void placed_close(struct placed *p) {
    forward_destroy(p->forward);
    residency_destroy(p->residency);
    placement_plan_destroy(p->plan);
    place_model_done(&p->shape);
    topology_close(p->topology);
    golden_close(&p->engine);
}

/* Logits of `count` tokens, freed by the caller. */
static float *logits_of(struct placed *p, struct forward *forward, const int32_t *ids, size_t count) {
    moesaic_error error = {0};
    struct model_context *context;
    size_t vocab = model_config(p->engine.model)->vocab;
    float *logits = calloc(count * vocab, sizeof *logits);
    cr_assert_eq(model_context_create(p->engine.model, p->engine.pool, count, &context, &error), MOESAIC_OK, "%s",
                 error.message);
    struct forward_item item = {.context = context, .ids = ids, .count = count, .want = FORWARD_ALL_LOGITS};
    cr_assert_eq(forward_step(forward, &item, 1, NULL, &error), MOESAIC_OK, "%s", error.message);
    memcpy(logits, forward_logits(forward, item.ret_row), count * vocab * sizeof *logits);
    model_context_destroy(context);
    return logits;
}

static const struct layout layouts[] = {
    {"whole", 1, 0, 0, 0}, {"slice", 2, 1, 1, 1},     {"slice", 2, 1, 1, 0},
    {"whole", 2, 0, 0, 9}, {"replicate", 2, 2, 0, 0}, {"interleave", 2, 0, 0, 0},
};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

Test(residency, placement_changes_no_bit) {
    static const char *const models[] = {"checkpoints/mixtral", "checkpoints/qwen2_moe", "checkpoints/olmoe"};
    int32_t ids[40];
    for (int i = 0; i < 40; i++)
        ids[i] = 3 + i * 7 % 90;
    for (size_t m = 0; m < sizeof models / sizeof *models; m++)
        for (int l = 0; l < LAYOUTS; l++)
            for (size_t count = 1; count <= 40; count += 39) {
                struct placed p;
                placed_open(&p, models[m], &layouts[l]);
                float *plain = logits_of(&p, p.engine.forward, ids, count);
                float *placed = logits_of(&p, p.forward, ids, count);
                cr_expect_arr_eq(placed, plain, count * model_config(p.engine.model)->vocab * sizeof *plain,
                                 "%s, layout %d, %zu tokens", models[m], l, count);
                cr_expect_eq(p.counters.bytes_local + p.counters.bytes_remote, p.engine.counters.bytes_local);
                free(placed);
                free(plain);
                placed_close(&p);
            }
}

/* One token reads top_k experts of every layer, all of one size. By hand: nothing is remote where every reader has its
 * own; all of the second slice where node 0 reads it from node 1; of whole experts on alternating nodes, all read by
 * node 0, the odd ones; half of interleaved ones. */
Test(residency, local_and_remote_bytes_by_hand) {
    static const struct layout odd_read_by_0 = {"whole", 2, 0, 0, 0};
    int32_t id = 5;
    struct placed p;
    for (int l = 0; l <= LAYOUTS; l++) {
        const struct layout *layout = l < LAYOUTS ? &layouts[l] : &odd_read_by_0;
        placed_open(&p, "checkpoints/mixtral", layout);
        const struct model_config *config = model_config(p.engine.model);
        const struct ffn_weights *expert = &p.experts[0][0];
        uint64_t bytes = expert->gate.bytes + expert->up.bytes + expert->down.bytes, chosen = 0, odd = 0;
        uint64_t first = 16 * (expert->gate.bytes + expert->up.bytes) / expert->gate.rows +
                         16 * expert->down.bytes / expert->down.rows;
        struct golden_run run;
        golden_evaluate(&p.engine, &id, 1, 0, 0, &run);
        for (uint32_t i = 0; i < config->layers * config->top_k; i++, chosen++)
            odd += run.experts[i] % 2;
        golden_run_done(&run);
        free(logits_of(&p, p.forward, &id, 1));
        uint64_t want = layout == &odd_read_by_0 ? odd * bytes
                        : l == 2                 ? chosen * (bytes - first)
                        : l == 5                 ? chosen * (bytes - bytes / 2)
                                                 : 0;
        cr_expect_eq(p.counters.bytes_remote, want, "layout %d: %llu, by hand %llu", l,
                     (unsigned long long)p.counters.bytes_remote, (unsigned long long)want);
        placed_close(&p);
    }
}

/* Work of a layer's experts on two nodes; FLOPs, two a weight, and bytes, two a weight in BF16. */
struct expected {
    uint64_t pairs[2], experts[2]; /* whole experts: (token, expert) pairs and distinct experts of even and odd ones */
};

static struct expected count_experts(const uint32_t *chosen, size_t count) {
    struct expected e = {0};
    for (uint32_t expert = 0; expert < 8; expert++) {
        uint64_t pairs = 0;
        for (size_t i = 0; i < count; i++)
            pairs += chosen[i] == expert;
        e.pairs[expert % 2] += pairs;
        e.experts[expert % 2] += pairs > 0;
    }
    return e;
}

static void expect_work(const struct work_counters *w, uint64_t flops, uint64_t local, uint64_t remote,
                        uint64_t distinct, const char *what) {
    cr_expect_eq(w->flops_nominal, flops, "%s: %llu FLOPs, by hand %llu", what, (unsigned long long)w->flops_nominal,
                 (unsigned long long)flops);
    cr_expect_eq(w->flops_executed, flops, "%s", what); /* every side is a multiple of 16 */
    cr_expect_eq(w->flops_skipped, 0, "%s", what);
    cr_expect_eq(w->bytes_local, local, "%s: %llu local bytes, by hand %llu", what, (unsigned long long)w->bytes_local,
                 (unsigned long long)local);
    cr_expect_eq(w->bytes_remote, remote, "%s: %llu remote bytes, by hand %llu", what,
                 (unsigned long long)w->bytes_remote, (unsigned long long)remote);
    cr_expect_eq(w->distinct_experts, distinct, "%s", what);
}

/* mixtral: 2 layers, hidden and intermediate 128, 4 heads and 2 KV heads of 32, 8 experts top-2. A step of 5 tokens in
 * a layer: attention matrices and router of 384 x 128 + 8 x 128 weights for each, 15 positions attended to, the F32 KV
 * cache of 5 tokens. A slice of 16 rows of each matrix has 48 x 128 weights. */
Test(residency, work_by_layer_and_node_by_hand) {
    enum { TOKENS = 5, DENSE = 392 * 128, EXPERT = 3 * 128 * 128, FIRST = 48 * 128 };
    static const int32_t ids[TOKENS] = {5, 80, 17, 5, 44};
    const uint64_t flops = 2 * TOKENS * DENSE + 15 * 4 * 4 * 32, bytes = 2 * DENSE + TOKENS * 2 * 2 * 32 * 4;
    for (int l = 0; l < LAYOUTS; l++) {
        struct placed p;
        struct golden_run run;
        uint32_t nodes;
        placed_open(&p, "checkpoints/mixtral", &layouts[l]);
        golden_evaluate(&p.engine, ids, TOKENS, 0, 0, &run);
        free(logits_of(&p, p.forward, ids, TOKENS));
        const struct work_counters *work = forward_work(p.forward, &nodes);
        cr_assert_eq(nodes, layouts[l].nodes);
        for (uint32_t layer = 0; layer < 2; layer++, work += 1 + nodes) {
            struct expected e = count_experts(run.experts + layer * TOKENS * 2, TOKENS * 2);
            uint64_t distinct = e.experts[0] + e.experts[1], read = 2 * distinct * EXPERT, pairs = 2 * TOKENS;
            uint64_t second = 2 * distinct * (EXPERT - FIRST);
            uint64_t remote = l == 2 ? second : l == 5 ? read / 2 : 0;
            cr_assert_eq(e.pairs[0] + e.pairs[1], pairs);
            expect_work(&work[0], flops + 2 * pairs * EXPERT, bytes + read - remote, remote, distinct, "layer");
            cr_expect_gt(work[0].barrier_ns, 0);
            if (l == 0)
                expect_work(&work[1], 2 * pairs * EXPERT, read, 0, distinct, "one node");
            for (uint32_t n = 0; l == 1 && n < 2; n++)
                expect_work(&work[1 + n], 2 * pairs * (n ? EXPERT - FIRST : FIRST), n ? second : read - second, 0,
                            distinct, "slices");
            if (l == 2) {
                expect_work(&work[1], 2 * pairs * EXPERT, read - second, second, distinct, "both slices read by 0");
                expect_work(&work[2], 0, 0, 0, 0, "node without work");
            }
            for (uint32_t n = 0; l == 3 && n < 2; n++)
                expect_work(&work[1 + n], 2 * e.pairs[n] * EXPERT, 2 * e.experts[n] * EXPERT, 0, e.experts[n], "whole");
            if (l == 4) { /* which copy was read depends on the load, together they are everything */
                cr_expect_eq(work[1].distinct_experts + work[2].distinct_experts, distinct);
                cr_expect_eq(work[1].flops_nominal + work[2].flops_nominal, 2 * pairs * EXPERT);
                cr_expect_eq(work[1].bytes_local + work[2].bytes_local, read);
                cr_expect_gt(work[1].bytes_local, 0);
                cr_expect_gt(work[2].bytes_local, 0);
            }
            if (l == 5) /* no plan says who reads interleaved pages */
                expect_work(&work[1], 0, 0, 0, 0, "interleaved");
        }
        golden_run_done(&run);
        placed_close(&p);
    }
}

/* Experts 0 (6 tokens), 1 (1) and 3 (3) have copies on both nodes: by descending tokens 0 goes to node 0, the first of
 * equals, 3 to node 1, and 1 to node 0 again. */
Test(residency, copies_go_to_the_reader_that_is_done_first) {
    struct placed p;
    struct router_plan plan;
    moesaic_error error = {0};
    placed_open(&p, "checkpoints/mixtral", &layouts[4]);
    static const uint32_t chosen[10] = {0, 0, 0, 0, 0, 0, 1, 3, 3, 3};
    static const float weights[10] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    cr_assert_geq(p.shape.experts, 4);
    cr_assert_eq(router_plan_init(&plan, 10, p.shape.experts, 1, &error), MOESAIC_OK, "%s", error.message);
    router_plan_build(&plan, 10, chosen, weights);
    residency_assign(p.residency, 0, &plan);
    cr_expect_eq(residency_copy(p.residency, 0, 0)->part->reader, 0);
    cr_expect_eq(residency_copy(p.residency, 0, 3)->part->reader, 1);
    cr_expect_eq(residency_copy(p.residency, 0, 1)->part->reader, 0);
    router_plan_done(&plan);
    placed_close(&p);
}

/* ---- moving ------------------------------------------------------------------------------------------------------ */

static struct rebalance_move move_of(const struct placed *p, enum rebalance_kind kind, uint16_t from, uint16_t to) {
    const struct placement_expert *expert = &p->shape.expert[3];
    struct placement_piece piece = {
        .node = from, .reader = from, .gate_end = expert->intermediate, .down_end = p->shape.hidden};
    struct rebalance_move move = {.kind = kind, .expert = 3, .from = piece, .to = piece};
    move.to.node = move.to.reader = to;
    return move;
}

static void expect_same_bits(struct placed *p, const char *what) {
    static const int32_t ids[] = {5, 80, 17, 5, 44, 3, 9, 61};
    enum { TOKENS = sizeof ids / sizeof *ids };
    size_t bytes = TOKENS * model_config(p->engine.model)->vocab * sizeof(float);
    float *plain = logits_of(p, p->engine.forward, ids, TOKENS), *placed = logits_of(p, p->forward, ids, TOKENS);
    cr_expect_arr_eq(placed, plain, bytes, "%s", what);
    free(placed);
    free(plain);
}

Test(residency, moved_copied_and_dropped_experts_are_the_same) {
    static const struct layout movable = {"replicate", 2, 0, 0, 9, .movable = true};
    static const struct {
        enum rebalance_kind kind;
        uint16_t from, to;
        bool possible;
        uint32_t reader, copies; /* what the expert then is: the first copy's reader */
    } moves[] = {{REBALANCE_MOVE, 1, 0, true, 0, 1},  {REBALANCE_MOVE, 1, 0, false, 0, 1}, /* it is not on 1 any more */
                 {REBALANCE_DROP, 0, 0, false, 0, 1},                                      /* the only copy */
                 {REBALANCE_COPY, 0, 1, true, 0, 2},  {REBALANCE_COPY, 0, 1, false, 0, 2},
                 {REBALANCE_DROP, 0, 0, true, 1, 1},  {REBALANCE_COPY, 1, 0, true, 1, 2},
                 {REBALANCE_DROP, 0, 0, true, 1, 1}};
    struct placed p;
    placed_open(&p, "checkpoints/mixtral", &movable);
    struct router_plan plan;
    static const uint32_t chosen = 3;
    static const float weight = 1;
    cr_assert_eq(router_plan_init(&plan, 1, p.shape.experts, 1, NULL), MOESAIC_OK);
    router_plan_build(&plan, 1, &chosen, &weight);
    for (size_t i = 0; i < sizeof moves / sizeof *moves; i++) {
        struct rebalance_move move = move_of(&p, moves[i].kind, moves[i].from, moves[i].to);
        cr_expect_eq(residency_apply(p.residency, &move), moves[i].possible, "move %zu", i);
        residency_assign(p.residency, 0, &plan);
        cr_expect_eq(residency_copy(p.residency, 0, 3)->part->reader, moves[i].reader, "move %zu", i);
        expect_same_bits(&p, "after a move");
    }
    router_plan_done(&plan);
    placed_close(&p);
}

Test(residency, only_movable_experts_move) {
    struct placed p;
    placed_open(&p, "checkpoints/mixtral", &layouts[3]);
    struct rebalance_move move = move_of(&p, REBALANCE_MOVE, 1, 0);
    cr_expect_not(residency_apply(p.residency, &move));
    placed_close(&p);
}

/* ---- rebalancing ------------------------------------------------------------------------------------------------- */

struct lines {
    char text[8][512];
    unsigned count;
};

static void keep_line(void *user, log_level level, const char *line) {
    struct lines *lines = user;
    if (level == LOG_INFO && lines->count < 8)
        snprintf(lines->text[lines->count++], sizeof lines->text[0], "%s", line);
}

/* One token after another through the forward pass and the rebalancer; its logits. */
static float *decode_watched(struct placed *p, struct place_rebalance *rebalance, const int32_t *ids, size_t count,
                             uint64_t step_ns) {
    moesaic_error error = {0};
    struct model_context *context;
    size_t vocab = model_config(p->engine.model)->vocab;
    float *logits = calloc(count * vocab, sizeof *logits);
    cr_assert_eq(model_context_create(p->engine.model, p->engine.pool, count, &context, &error), MOESAIC_OK);
    for (size_t i = 0; i < count; i++) {
        struct forward_item item = {.context = context, .ids = ids + i, .count = 1, .want = FORWARD_LAST_LOGITS};
        cr_assert_eq(forward_step(p->forward, &item, 1, NULL, &error), MOESAIC_OK, "%s", error.message);
        memcpy(logits + i * vocab, forward_logits(p->forward, item.ret_row), vocab * sizeof *logits);
        place_rebalance_step(rebalance, p->forward, &item, 1, step_ns);
    }
    model_context_destroy(context);
    return logits;
}

/* Seven of eight experts crowd on node 0 of a plan made for traffic that chose the other: one window later some have
 * moved, the log says what was predicted and then what was seen, and no bit is another. */
Test(residency, drifted_traffic_moves_experts_and_no_bit) {
    enum { TOKENS = 64 };
    static const struct layout crowded = {"whole", 2, 0, 0, 9, .movable = true, .crowded = true};
    const struct rebalance_options options = {.window_tokens = TOKENS, .max_bytes = 1 << 30};
    struct placed p;
    struct place_rebalance *rebalance;
    struct lines lines = {.count = 0};
    moesaic_error error = {0};
    placed_open(&p, "checkpoints/mixtral", &crowded);
    struct machine_speeds *speeds = calloc(1, sizeof *speeds);
    cr_assert_eq(machine_speeds_from_topology(p.topology, NULL, speeds, &error), MOESAIC_OK, "%s", error.message);
    cr_assert_eq(place_rebalance_create(&p.shape, speeds, p.plan, p.residency, &options, &rebalance, &error),
                 MOESAIC_OK, "%s", error.message);
    log_set(keep_line, &lines);
    int32_t ids[TOKENS];
    for (int i = 0; i < TOKENS; i++)
        ids[i] = 3 + i * 7 % 90;
    float *before = decode_watched(&p, rebalance, ids, TOKENS, 1500);
    cr_assert_eq(lines.count, 1);
    cr_expect_not_null(strstr(lines.text[0], "rebalance 1: migrate"), "%s", lines.text[0]);
    cr_expect_null(strstr(lines.text[0], "observed"), "%s", lines.text[0]);
    const struct rebalance_record *last = rebalancer_last(place_rebalance_state(rebalance));
    cr_expect_gt(last->moves, 0);
    cr_expect_eq(last->moves_failed, 0);
    for (uint32_t layer = 0; layer < 2; layer++) {
        uint32_t on_one = 0;
        for (uint32_t e = 0; e < 8; e++)
            on_one += residency_copy(p.residency, layer, e)->part->node == 1;
        cr_expect_geq(on_one, 2, "layer %u: %u experts on node 1", layer, on_one);
    }
    float *after = decode_watched(&p, rebalance, ids, TOKENS, 1000);
    cr_expect_arr_eq(after, before, TOKENS * model_config(p.engine.model)->vocab * sizeof *after);
    cr_assert_eq(lines.count, 3);
    cr_expect_not_null(strstr(lines.text[1], "50.0 % observed"), "%s", lines.text[1]);
    cr_expect_not_null(strstr(lines.text[2], "rebalance 2: steady"), "%s", lines.text[2]);
    log_set(NULL, NULL);
    free(before);
    free(after);
    free(speeds);
    place_rebalance_destroy(rebalance);
    place_rebalance_destroy(NULL);
    placed_close(&p);
}

/* ---- pages ------------------------------------------------------------------------------------------------------- */

Test(residency, pages_are_where_they_were_touched) {
    struct topology *topology;
    struct memory_residency residency = {0};
    moesaic_error error = {0};
    enum { PAGES = 1000 };
    size_t page = 4096;
    cr_assert_eq(topology_open(NULL, &topology, &error), MOESAIC_OK, "%s", error.message);
    uint8_t *memory =
        mmap(NULL, PAGES * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    cr_assert_neq(memory, MAP_FAILED);
    madvise(memory, PAGES * page, MADV_NOHUGEPAGE);
    for (size_t i = 0; i < 600; i++)
        memory[i * page] = 1;
    if (!memory_residency_add(topology, memory + 100, PAGES * page - 100, &residency)) {
        topology_close(topology);
        cr_skip_test("the kernel does not tell where pages are");
    }
    uint64_t found = 0;
    for (unsigned n = 0; n < topology_nodes(topology); n++)
        found += residency.node_bytes[n];
    cr_expect_eq(found, 600 * page - 100);
    cr_expect_eq(residency.unknown_bytes, 400 * page);
    memory_let_go(memory + 100, 600 * page);
    cr_expect_eq(memory[0] + memory[page] + memory[599 * page], 3, "content stays");
    munmap(memory, PAGES * page);
    topology_close(topology);
}

Test(residency, report_counts_what_was_asked) {
    struct placed p;
    placed_open(&p, "checkpoints/mixtral", &layouts[1]);
    const struct residency_report *report = residency_report(p.residency);
    uint64_t asked = report->asked_bytes[0] + report->asked_bytes[1], found = report->found.unknown_bytes;
    for (unsigned n = 0; n < report->nodes; n++)
        found += report->found.node_bytes[n];
    cr_expect_eq(found, asked);
    cr_expect_geq(asked, placement_model_bytes(&p.shape));
    cr_expect_gt(report->asked_bytes[0], 0);
    cr_expect_gt(report->asked_bytes[1], report->asked_bytes[0], "the second slice is the larger");
    placed_close(&p);
}
