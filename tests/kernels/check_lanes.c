/* SPDX-License-Identifier: Apache-2.0 */
/* Kernels written on lanes.h (forward pass, experts, router): every ISA bit for bit against plain C, in guarded memory,
 * over all tails and with values of every magnitude. */
#include "check.h"

#if defined(__x86_64__)
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "experts_internal.h"
#include "kernels/model_kernels.h"
#include "router_internal.h"

/* A table of each layer, of one ISA. */
struct lanes_set {
    const char *isa;
    uint32_t bundle;
    const struct model_kernels *model;
    const struct expert_kernels *experts;
    const struct router_kernels *router;
};
static const struct lanes_set plain = {"ref", CPU_SCALAR, &model_kernels_ref, &expert_kernels_ref, &router_kernels_ref};
static const struct lanes_set sets[] = {
    {"avx2", CPU_AVX2, &model_kernels_avx2, &expert_kernels_avx2, &router_kernels_avx2},
    {"avx512", CPU_AVX512, &model_kernels_avx512, &expert_kernels_avx512, &router_kernels_avx512},
};

enum { CASES = 330, BUFFERS = 3 };

/* Buffers that end before a page which may not be touched; both tables run on the same inputs. */
struct lanes_case {
    struct check_random random;
    size_t count;
    float *in[BUFFERS];    /* [count] each, up to the guard */
    float *io[2], *out[2]; /* likewise, of the two tables */
    float results[2][4];
};

static float *guarded_floats(struct guarded *guarded, size_t count) {
    *guarded = guarded_alloc(count * sizeof(float), sizeof(float));
    return (float *)(void *)guarded->data;
}

/* One kernel on `count` numbers: `which` says whose io, out and results are filled. */
typedef void lanes_run(const struct lanes_set *set, struct lanes_case *c, int which);

static void run_sum_squares(const struct lanes_set *set, struct lanes_case *c, int which) {
    c->results[which][0] = set->model->sum_squares(c->in[0], c->count);
}
static void run_scale_gain(const struct lanes_set *set, struct lanes_case *c, int which) {
    set->model->scale_gain(c->in[0], 0.37f, c->in[1], c->count, c->out[which]);
}
static void run_clip(const struct lanes_set *set, struct lanes_case *c, int which) {
    set->model->clip(c->io[which], 0.5f, c->count);
}
static void run_sigmoid(const struct lanes_set *set, struct lanes_case *c, int which) {
    set->model->sigmoid(c->io[which], c->count);
}
static void run_rotate(const struct lanes_set *set, struct lanes_case *c, int which) {
    set->model->rotate(c->io[which], c->in[1], c->in[2], c->count / 2);
}
static void run_finite(const struct lanes_set *set, struct lanes_case *c, int which) {
    c->results[which][0] = set->model->finite(c->in[0], c->count);
}
static void run_narrow(const struct lanes_set *set, struct lanes_case *c, int which) {
    set->model->narrow(c->in[0], c->count, (uint16_t *)(void *)c->out[which]);
}
/* The codes go up to a whole vector, into the bytes of `count` floats. */
static void run_quantize(const struct lanes_set *set, struct lanes_case *c, int which) {
    if (c->count >= 4)
        c->results[which][0] = set->model->quantize(c->in[0], c->count, (int8_t *)(void *)c->out[which]);
}
/* Without a bias, with one and with both, by the count. A fifth of the values are at the limit, beside it or none. */
static void run_gated(const struct lanes_set *set, struct lanes_case *c, int which, activation_type type) {
    const struct expert_activation activation = {.type = type, .limit = 7.0f, .alpha = 1.702f};
    const float extreme[] = {7.0f, -7.0f, 0x1.c00002p2f, 0x1.bffffep2f, -0.0f, INFINITY, -INFINITY, NAN};
    for (size_t i = c->count % 5; i < c->count; i += 5) {
        c->io[which][i] = extreme[(i + c->count) % 8];
        c->in[1][i] = extreme[i / 3 % 8];
    }
    set->experts->gated[type](c->io[which], c->in[1], c->count % 3 ? c->in[0] : NULL,
                              c->count % 3 == 2 ? c->in[2] : NULL, &activation, c->count);
}
static void run_gated_silu(const struct lanes_set *set, struct lanes_case *c, int which) {
    run_gated(set, c, which, ACTIVATION_SILU);
}
static void run_gated_gelu(const struct lanes_set *set, struct lanes_case *c, int which) {
    run_gated(set, c, which, ACTIVATION_GELU);
}
static void run_gated_gelu_tanh(const struct lanes_set *set, struct lanes_case *c, int which) {
    run_gated(set, c, which, ACTIVATION_GELU_TANH);
}
static void run_gated_clamped(const struct lanes_set *set, struct lanes_case *c, int which) {
    run_gated(set, c, which, ACTIVATION_CLAMPED);
}
static void run_add(const struct lanes_set *set, struct lanes_case *c, int which) {
    set->experts->add(c->io[which], c->in[1], c->count);
}
static void run_combine(const struct lanes_set *set, struct lanes_case *c, int which) {
    const uint32_t place[] = {1, 0};
    const float weight[] = {0.75f, 0.3f};
    size_t cols = c->count / 2;
    set->experts->combine(c->io[which], cols, c->in[0], place, weight, 2, c->count % 3 ? c->in[1] : NULL, 0.7f);
}
static void run_exponentials(const struct lanes_set *set, struct lanes_case *c, int which) {
    c->results[which][0] = set->router->exponentials(c->io[which], c->count);
}

static const struct {
    const char *name;
    lanes_run *run;
} rows_kernels[] = {
    {"model.sum_squares", run_sum_squares}, {"model.scale_gain", run_scale_gain},
    {"model.clip", run_clip},               {"model.sigmoid", run_sigmoid},
    {"model.rotate", run_rotate},           {"model.finite", run_finite},
    {"model.narrow", run_narrow},           {"model.quantize", run_quantize},
    {"experts.gated_silu", run_gated_silu}, {"experts.gated_gelu", run_gated_gelu},
    {"experts.gated_gelu_tanh", run_gated_gelu_tanh},
    {"experts.gated_clamped", run_gated_clamped},
    {"experts.add", run_add},               {"experts.combine", run_combine},
    {"router.exponentials", run_exponentials},
};

static bool rows_case(const struct kernel_entry *label, const struct lanes_set *set, lanes_run *run, size_t count) {
    struct lanes_case c = {.random = {.state = count}, .count = count};
    struct guarded memory[BUFFERS + 4];
    char what[32];
    for (size_t i = 0; i < BUFFERS + 4; i++) {
        float *at = guarded_floats(&memory[i], count);
        for (size_t k = 0; k < count; k++)
            at[k] = check_random_float(&c.random);
        if (count % 7 == 0) /* what is not finite must show, everywhere alike */
            at[check_random_below(&c.random, count)] = count % 2 ? NAN : INFINITY;
        *(i < BUFFERS ? &c.in[i] : i < BUFFERS + 2 ? &c.io[i - BUFFERS] : &c.out[i - BUFFERS - 2]) = at;
    }
    memcpy(c.io[1], c.io[0], count * sizeof(float));
    memcpy(c.out[1], c.out[0], count * sizeof(float));
    run(&plain, &c, 0);
    run(set, &c, 1);
    snprintf(what, sizeof what, "%zu values", count);
    bool same = check_floats(label, what, c.io[0], c.io[1], count) &&
                check_bytes(label, what, c.out[0], c.out[1], run == run_scale_gain ? 0 : count * sizeof(float)) &&
                (run != run_scale_gain || check_floats(label, what, c.out[0], c.out[1], count)) &&
                check_floats(label, what, c.results[0], c.results[1], 4);
    for (size_t i = 0; i < BUFFERS + 4; i++)
        guarded_free(&memory[i]);
    return same;
}

/* ---- attention --------------------------------------------------------------------------------------------------- */

/* A run of keys or values of `type`, with scales of every magnitude behind INT8. */
static struct guarded make_run(struct check_random *random, kv_type type, size_t width) {
    struct guarded run = guarded_alloc(kv_row_bytes(type, width) * KV_BLOCK_TOKENS, 64);
    for (size_t i = 0; i < width * KV_BLOCK_TOKENS; i++) {
        float value = check_random_float(random);
        if (type == KV_F32)
            ((float *)(void *)run.data)[i] = value;
        else if (type == KV_F16)
            ((uint16_t *)(void *)run.data)[i] = half_from_float(value);
        else
            ((int8_t *)run.data)[i] = (int8_t)check_random_u64(random);
    }
    for (size_t t = 0; type == KV_INT8 && t < KV_BLOCK_TOKENS; t++)
        kv_scales(run.data, width)[t] = fabsf(check_random_float(random));
    return run;
}

/* What each row sees of a block, ascending: everything, a causal triangle, or a window that slides through it. */
static void make_spans(struct check_random *random, size_t rows, size_t *from, size_t *to) {
    size_t window = 1 + check_random_below(random, KV_BLOCK_TOKENS), last = check_random_below(random, KV_BLOCK_TOKENS);
    bool whole = check_random_below(random, 3) == 0, causal = check_random_below(random, 2);
    for (size_t r = 0; r < rows; r++) {
        to[r] = whole ? KV_BLOCK_TOKENS : last + 1;
        from[r] = whole || causal || last < window ? 0 : last - window + 1;
        last += last + 1 < KV_BLOCK_TOKENS && check_random_below(random, 4);
    }
}

static bool attention_case(const struct kernel_entry *label, const struct lanes_set *set, struct check_random *random,
                           kv_type type, bool scores) {
    size_t rows = 1 + check_random_below(random, ATTENTION_TILE_ROWS), dim = 1 + check_random_below(random, 144);
    size_t width = size_round_up(dim, 16), inputs = scores ? width : KV_BLOCK_TOKENS;
    size_t outputs = scores ? KV_BLOCK_TOKENS : width, from[ATTENTION_TILE_ROWS], to[ATTENTION_TILE_ROWS];
    size_t begin = check_random_below(random, 4), end = begin + 1 + check_random_below(random, 4 - begin);
    make_spans(random, rows, from, to);
    struct guarded run = make_run(random, type, width), memory[3];
    struct kv_ahead next = {run.data, check_random_below(random, kv_row_bytes(type, width) * KV_BLOCK_TOKENS)};
    float *in = guarded_floats(&memory[0], rows * inputs), *out[2], rescale[ATTENTION_TILE_ROWS];
    for (size_t i = 0; i < rows * inputs; i++)
        in[i] = check_random_float(random);
    for (size_t i = 0; i < rows; i++)
        rescale[i] = check_random_below(random, 2) ? 1.0f : check_random_float(random);
    for (int i = 0; i < 2; i++) {
        out[i] = guarded_floats(&memory[1 + i], rows * outputs);
        for (size_t k = 0; k < rows * outputs; k++)
            out[i][k] = (float)(k % 31) - 15;
        const struct model_kernels *kernels = (i ? set : &plain)->model;
        if (scores)
            kernels->scores[type](in, inputs, rows, run.data, next, dim, begin, end, 0.125f, out[i]);
        else
            kernels->values[type](in, rows, run.data, next, from, to, width, rescale, out[i], width);
    }
    char what[120];
    snprintf(what, sizeof what, "type %d, %zu rows of %zu, vectors [%zu, %zu), first row [%zu, %zu)", (int)type, rows,
             dim, begin, end, from[0], to[0]);
    bool same = check_floats(label, what, out[0], out[1], rows * outputs);
    guarded_free(&run);
    for (int i = 0; i < 3; i++)
        guarded_free(&memory[i]);
    return same;
}

/* Rows of scores: the block's softmax, then its use as parts of a sum and as values to be scaled. */
static bool softmax_case(const struct kernel_entry *label, const struct lanes_set *set, struct check_random *random) {
    size_t rows = 1 + check_random_below(random, ATTENTION_TILE_ROWS), count = rows * KV_BLOCK_TOKENS;
    size_t from[ATTENTION_TILE_ROWS], to[ATTENTION_TILE_ROWS];
    struct guarded memory[4];
    float *values[4], max[2][ATTENTION_TILE_ROWS], sum[2][ATTENTION_TILE_ROWS], rescale[2][ATTENTION_TILE_ROWS];
    for (int i = 0; i < 4; i++)
        values[i] = guarded_floats(&memory[i], count);
    for (size_t k = 0; k < count; k++) {
        values[0][k] = values[1][k] = check_random_below(random, 500) ? 20 * check_random_float(random) : NAN;
        values[2][k] = values[3][k] = check_random_float(random);
    }
    for (size_t r = 0; r < rows; r++) {
        bool whole = check_random_below(random, 2), first = check_random_below(random, 4) == 0;
        from[r] = whole ? 0 : check_random_below(random, KV_BLOCK_TOKENS);
        to[r] = whole ? KV_BLOCK_TOKENS : from[r] + 1 + check_random_below(random, KV_BLOCK_TOKENS - from[r]);
        max[0][r] = max[1][r] = first ? -INFINITY : 1.5f;
        sum[0][r] = sum[1][r] = first ? 0.0f : 3.0f;
    }
    for (int i = 0; i < 2; i++) {
        const struct model_kernels *kernels = (i ? set : &plain)->model;
        kernels->softmax(values[i], rows, from, to, max[i], sum[i], rescale[i]);
        kernels->join(values[2 + i], &max[i][0], &sum[i][0], values[i], 0.5f, 7.0f, KV_BLOCK_TOKENS);
        kernels->scale(values[2 + i], 0.3f, KV_BLOCK_TOKENS);
    }
    char what[40];
    snprintf(what, sizeof what, "%zu rows, first [%zu, %zu)", rows, from[0], to[0]);
    bool same = check_floats(label, what, values[0], values[1], count) &&
                check_floats(label, what, values[2], values[3], count) &&
                check_floats(label, what, max[0], max[1], rows) && check_floats(label, what, sum[0], sum[1], rows) &&
                check_floats(label, what, rescale[0], rescale[1], rows);
    for (int i = 0; i < 4; i++)
        guarded_free(&memory[i]);
    return same;
}

/* ---- the list ---------------------------------------------------------------------------------------------------- */

static void report(const struct kernel_entry *label, unsigned failed, struct check_outcome *outcome) {
    printf("%s %s %s\n", failed ? "FAIL" : "ok", label->slot, label->isa);
    outcome->passed += failed == 0;
    outcome->failed += failed != 0;
}

static void check_set(const struct lanes_set *set, struct check_outcome *outcome) {
    static const char *const names[KV_TYPES][2] = {{"model.values_f32", "model.scores_f32"},
                                                   {"model.values_f16", "model.scores_f16"},
                                                   {"model.values_int8", "model.scores_int8"}};
    struct check_random random = {.state = 3};
    struct kernel_entry label = {.isa = set->isa};
    for (size_t k = 0; k < sizeof rows_kernels / sizeof *rows_kernels; k++) {
        unsigned failed = 0;
        label.slot = rows_kernels[k].name;
        for (size_t count = 1; count < CASES; count++)
            failed += !rows_case(&label, set, rows_kernels[k].run, count);
        report(&label, failed, outcome);
    }
    for (int which = 0; which < 2 * KV_TYPES; which++) {
        unsigned failed = 0;
        label.slot = names[which / 2][which % 2];
        for (size_t i = 0; i < CASES; i++)
            failed += !attention_case(&label, set, &random, (kv_type)(which / 2), which % 2);
        report(&label, failed, outcome);
    }
    unsigned failed = 0;
    label.slot = "model.softmax, join, scale";
    for (size_t i = 0; i < CASES; i++)
        failed += !softmax_case(&label, set, &random);
    report(&label, failed, outcome);
}

void check_lanes(const char *isa, struct check_outcome *outcome) {
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        if (strcmp(sets[i].isa, isa) != 0)
            continue;
        if (cpu_bundles() & sets[i].bundle)
            check_set(&sets[i], outcome);
        else
            outcome->absent++;
    }
}

#else /* plain C everywhere: the definition itself */

void check_lanes(const char *isa, struct check_outcome *outcome) {
    (void)isa;
    (void)outcome;
}

#endif
