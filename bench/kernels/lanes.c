/* SPDX-License-Identifier: Apache-2.0 */
/* The kernels on lanes.h (forward pass, experts, router) against the roof of reads: attention over a cache beyond the
 * last-level cache, the others over rows that stay in the first. One thread. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "experts_internal.h"
#include "kernels.h"
#include "kernels/model_kernels.h"
#include "lanes_bench.h"
#include "router_internal.h"

enum { ROW = 2048, HEAD_DIM = 128, EXPERTS = 128, EXPERTS_CHOSEN = 8, REPEATS_MAX = 101 };
enum { BLOCK_SCORES = ATTENTION_TILE_ROWS * KV_BLOCK_TOKENS };
enum { BATCH = 32, BATCHES_MAX = 1024 }; /* calls by which the clock is read */

struct set {
    const char *isa;
    uint32_t bundle;
    const struct model_kernels *model;
    const struct expert_kernels *experts;
    const struct router_kernels *router;
};
static const struct set sets[] = {
    {"ref", CPU_SCALAR, &model_kernels_ref, &expert_kernels_ref, &router_kernels_ref},
#if defined(__x86_64__)
    {"avx2", CPU_AVX2, &model_kernels_avx2, &expert_kernels_avx2, &router_kernels_avx2},
    {"avx512", CPU_AVX512, &model_kernels_avx512, &expert_kernels_avx512, &router_kernels_avx512},
#endif
};

/* What all cases work on. */
struct arena {
    const struct set *set;
    const uint8_t *far; /* blocks of keys and values */
    size_t far_bytes;
    kv_type type;
    unsigned streams; /* of the roof */
    float near[EXPERTS_CHOSEN * ROW], row[ROW], out[ROW];
    float query[ATTENTION_TILE_ROWS * HEAD_DIM], score[ATTENTION_TILE_ROWS * KV_BLOCK_TOKENS];
    int8_t codes[ROW];
    size_t queries; /* rows of an attention tile: whole blocks */
    size_t from[ATTENTION_TILE_ROWS], to[ATTENTION_TILE_ROWS];
    float rescale[ATTENTION_TILE_ROWS];
    volatile float sink;
};

/* One call: `at` is the next of the far runs. */
typedef void case_run(struct arena *a, const uint8_t *at);

static void run_sum_squares(struct arena *a, const uint8_t *at) {
    (void)at;
    a->sink = a->set->model->sum_squares(a->near, ROW);
}
static void run_scale_gain(struct arena *a, const uint8_t *at) {
    (void)at;
    a->set->model->scale_gain(a->near, 0.5f, a->row, ROW, a->out);
}
static void run_rotate(struct arena *a, const uint8_t *at) {
    (void)at;
    a->set->model->rotate(a->out, a->near, a->row, HEAD_DIM / 2);
}
static void run_gated(struct arena *a, const uint8_t *at) {
    const struct expert_activation silu = {.type = ACTIVATION_SILU};
    (void)at;
    a->set->experts->gated[silu.type](a->out, a->row, NULL, NULL, &silu, ROW);
}
static void run_gated_clamped(struct arena *a, const uint8_t *at) {
    const struct expert_activation clamped = {.type = ACTIVATION_CLAMPED, .limit = 7.0f, .alpha = 1.702f};
    (void)at;
    a->set->experts->gated[clamped.type](a->out, a->row, a->near, a->near + ROW, &clamped, ROW);
}
static void run_combine(struct arena *a, const uint8_t *at) {
    static const uint32_t place[EXPERTS_CHOSEN] = {0, 1, 2, 3, 4, 5, 6, 7};
    static const float weight[EXPERTS_CHOSEN] = {0.3f, 0.2f, 0.1f, 0.1f, 0.1f, 0.1f, 0.05f, 0.05f};
    (void)at;
    a->set->experts->combine(a->out, ROW, a->near, place, weight, EXPERTS_CHOSEN, NULL, 0.0f);
}
static void run_choose(struct arena *a, const uint8_t *at) {
    uint32_t chosen[EXPERTS_CHOSEN];
    (void)at;
    memcpy(a->out, a->row, EXPERTS * sizeof(float));
    router_top_k(a->out, EXPERTS, EXPERTS_CHOSEN, chosen);
    a->sink = a->set->router->exponentials(a->out, EXPERTS) + (float)chosen[0];
}
static void run_quantize_row(struct arena *a, const uint8_t *at) {
    (void)at;
    for (size_t head = 0; head < ROW / HEAD_DIM; head++)
        a->sink = a->set->model->quantize(a->near + head * HEAD_DIM, HEAD_DIM, a->codes);
}
static void run_softmax(struct arena *a, const uint8_t *at) {
    float max[ATTENTION_TILE_ROWS] = {0}, sum[ATTENTION_TILE_ROWS] = {0}, rescale[ATTENTION_TILE_ROWS];
    (void)at;
    memcpy(a->score, a->row, sizeof a->score);
    a->set->model->softmax(a->score, ATTENTION_TILE_ROWS, a->from, a->to, max, sum, rescale);
    a->sink = sum[0] + sum[ATTENTION_TILE_ROWS - 1];
}
/* Far runs of keys or values lie one behind the other. */
static size_t run_bytes(const struct arena *a) {
    return kv_row_bytes(a->type, HEAD_DIM) * KV_BLOCK_TOKENS;
}
static void run_scores(struct arena *a, const uint8_t *at) {
    struct kv_ahead next = kv_ahead_of(at + run_bytes(a), run_bytes(a), a->queries);
    a->set->model->scores[a->type](a->query, HEAD_DIM, a->queries, at, next, HEAD_DIM, 0, KV_BLOCK_TOKENS / 16, 0.1f,
                                   a->score);
}
static void run_values(struct arena *a, const uint8_t *at) {
    struct kv_ahead next = kv_ahead_of(at + run_bytes(a), run_bytes(a), a->queries);
    a->set->model->values[a->type](a->score, a->queries, at, next, a->from, a->to, HEAD_DIM, a->rescale, a->query,
                                   HEAD_DIM);
}

/* Bytes and floating-point operations of a call; an exponential counts as 20. */
struct bench_case {
    const char *name;
    case_run *run;
    size_t bytes, flops;
};
static const struct bench_case near_cases[] = {
    {"model.sum_squares", run_sum_squares, 4 * ROW, 2 * ROW},
    {"model.scale_gain", run_scale_gain, 12 * ROW, 2 * ROW},
    {"model.rotate", run_rotate, 12 * HEAD_DIM, 3 * HEAD_DIM},
    {"model.quantize", run_quantize_row, 5 * ROW, 3 * ROW},
    {"model.softmax", run_softmax, 8 * BLOCK_SCORES, 22 * BLOCK_SCORES},
    {"experts.gated", run_gated, 12 * ROW, 24 * ROW},
    {"experts.gated_clamped", run_gated_clamped, 20 * ROW, 31 * ROW},
    {"experts.combine", run_combine, 4 * (EXPERTS_CHOSEN + 2) * ROW, 2 * EXPERTS_CHOSEN * ROW},
    {"router.choose", run_choose, 8 * EXPERTS, 22 * EXPERTS},
};

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void read_run(struct arena *a, const uint8_t *at, size_t bytes) {
    uint64_t sum = roof_read(at, bytes, a->streams);
    a->sink = (float)sum;
}

/* Seconds of a call, or of reading what it reads (`read`): the median of batches, since others take turns on shared
 * machines. Far runs follow each other through the whole memory; near ones lie in the first-level cache. */
static double seconds_of(struct arena *a, const struct bench_case *c, bool far, bool read) {
    double batch[BATCHES_MAX];
    size_t stride = far ? c->bytes / 64 * 64 : 0, batches = far ? a->far_bytes / (stride * BATCH) : BATCHES_MAX;
    batches = batches < BATCHES_MAX ? batches : BATCHES_MAX;
    for (size_t b = 0; b < batches; b++) {
        const uint8_t *at = far ? a->far + b * BATCH * stride : (const uint8_t *)a->row;
        uint64_t start = clock_ns();
        if (read && far)
            read_run(a, at, BATCH * stride);
        else
            for (size_t i = 0; i < BATCH; i++)
                read ? read_run(a, at, sizeof a->row) : c->run(a, at + i * stride);
        batch[b] = (double)(clock_ns() - start) * 1e-9 / BATCH;
    }
    qsort(batch, batches, sizeof *batch, by_value);
    return batch[batches / 2] * (read && !far ? (double)c->bytes / sizeof a->row : 1.0);
}

/* Seconds to read what a call reads, with the number of streams that does it fastest. */
static double read_seconds_of(struct arena *a, const struct bench_case *c, bool far) {
    double best = 0;
    for (a->streams = 1; a->streams <= ROOF_STREAMS_MAX; a->streams *= 2) {
        double seconds = seconds_of(a, c, far, true);
        best = a->streams == 1 || seconds < best ? seconds : best;
    }
    return best;
}

static void measure(struct arena *a, const struct bench_case *c, bool far, unsigned repeats) {
    static const char *const types[KV_TYPES] = {"f32", "f16", "int8"};
    double seconds[REPEATS_MAX], roof[REPEATS_MAX], fraction[REPEATS_MAX];
    for (unsigned i = 0; i < repeats; i++) {
        roof[i] = (double)c->bytes / read_seconds_of(a, c, far) * 1e-9;
        seconds[i] = seconds_of(a, c, far, false);
        fraction[i] = (double)c->bytes / seconds[i] * 1e-9 / roof[i];
    }
    qsort(seconds, repeats, sizeof *seconds, by_value);
    qsort(roof, repeats, sizeof *roof, by_value);
    qsort(fraction, repeats, sizeof *fraction, by_value);
    double median = seconds[repeats / 2];
    printf("%s,%s,%s,0,%zu,%d,1,1,,%.3f,%.1f,%.1f,%.3f,%.1f,,,%.2f\n", c->name, a->set->isa,
           types[far ? a->type : KV_F32], far ? a->queries : 1, far ? HEAD_DIM : ROW, median * 1e6,
           (double)c->bytes / median * 1e-9, roof[repeats / 2], fraction[repeats / 2],
           (double)c->flops / median * 1e-9, seconds[repeats - 1] / seconds[0]);
    fflush(stdout);
}

static bool wanted(const char *slot, const char *name) { return !slot || strstr(name, slot); }

static void bench_set(struct arena *a, const char *slot, unsigned repeats) {
    static const size_t queries[] = {1, 4, 8, ATTENTION_TILE_ROWS}; /* of a key: grouped heads, then a prompt's tile */
    for (size_t i = 0; i < sizeof near_cases / sizeof *near_cases; i++)
        if (wanted(slot, near_cases[i].name))
            measure(a, &near_cases[i], false, repeats);
    for (a->type = KV_F32; a->type < KV_TYPES; a->type++)
        for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) {
            a->queries = queries[i];
            size_t bytes = run_bytes(a);
            size_t flops = 2 * HEAD_DIM * KV_BLOCK_TOKENS * a->queries;
            if (wanted(slot, "model.scores"))
                measure(a, &(struct bench_case){"model.scores", run_scores, bytes, flops}, true, repeats);
            if (wanted(slot, "model.values"))
                measure(a, &(struct bench_case){"model.values", run_values, bytes, flops}, true, repeats);
        }
}

int bench_lanes(const char *slot, const char *isa, const uint8_t *far, size_t far_bytes, unsigned repeats) {
    struct arena *a = memory_zeroed(1, sizeof *a);
    if (!a)
        return 1;
    a->far = far;
    a->far_bytes = far_bytes;
    for (size_t i = 0; i < ATTENTION_TILE_ROWS; i++) {
        a->to[i] = KV_BLOCK_TOKENS;
        a->rescale[i] = 1.0f;
    }
    for (size_t i = 0; i < sizeof a->near / sizeof *a->near; i++)
        a->near[i] = a->row[i % ROW] = (float)(i % 255) * 0.01f - 1.0f;
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        a->set = &sets[i];
        bool chosen = isa ? strcmp(isa, sets[i].isa) == 0 : sets[i].bundle != CPU_SCALAR;
        if (chosen && (cpu_bundles() & sets[i].bundle) == sets[i].bundle)
            bench_set(a, slot, repeats);
    }
    free(a);
    return 0;
}
