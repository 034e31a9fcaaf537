/* SPDX-License-Identifier: Apache-2.0 */
/* Clamped and biased feed-forwards against transformers' gpt-oss experts (tests/reference/make_expert_fixture.py),
 * whole and in parts. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint.h"

enum { TOKENS = 7, HIDDEN = 24, INNER = 40, EXPERTS = 3, TOP_K = 2, CUT = 16 };
static const struct expert_activation gpt_oss = {.type = ACTIVATION_CLAMPED, .limit = 7.0f, .alpha = 1.702f};

/* The fixture's tensors, and the experts with gate and up apart and outputs in rows. */
static struct {
    float gate_up[EXPERTS][HIDDEN][2 * INNER], gate_up_bias[EXPERTS][2 * INNER];
    float down_columns[EXPERTS][INNER][HIDDEN], down_bias[EXPERTS][HIDDEN];
    float x[TOKENS][HIDDEN], weight[TOKENS][TOP_K], out[TOKENS][HIDDEN];
    int64_t chosen[TOKENS][TOP_K];
    float gate[EXPERTS][INNER][HIDDEN], up[EXPERTS][INNER][HIDDEN], down[EXPERTS][HIDDEN][INNER];
    float gate_bias[EXPERTS][INNER], up_bias[EXPERTS][INNER];
} f;

static void read_fixture(void) {
    const struct {
        const char *name;
        void *to;
        size_t bytes;
    } list[] = {{"gate_up_proj", f.gate_up, sizeof f.gate_up},
                {"gate_up_proj_bias", f.gate_up_bias, sizeof f.gate_up_bias},
                {"down_proj", f.down_columns, sizeof f.down_columns},
                {"down_proj_bias", f.down_bias, sizeof f.down_bias},
                {"x", f.x, sizeof f.x},
                {"weight", f.weight, sizeof f.weight},
                {"chosen", f.chosen, sizeof f.chosen},
                {"out", f.out, sizeof f.out}};
    char path[512];
    struct safetensors *file;
    snprintf(path, sizeof path, "%s/reference/gpt_oss_experts.safetensors", getenv("MOESAIC_TEST_DATA"));
    cr_assert_eq(safetensors_open(path, &file, NULL), MOESAIC_OK);
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        const struct tensor *tensor = safetensors_find(file, list[i].name);
        cr_assert(tensor && tensor->bytes == list[i].bytes, "%s", list[i].name);
        memcpy(list[i].to, tensor->data, tensor->bytes);
    }
    safetensors_close(file);
    for (size_t e = 0; e < EXPERTS; e++) {
        for (size_t r = 0; r < INNER; r++) {
            f.gate_bias[e][r] = f.gate_up_bias[e][2 * r];
            f.up_bias[e][r] = f.gate_up_bias[e][2 * r + 1];
            for (size_t k = 0; k < HIDDEN; k++) {
                f.gate[e][r][k] = f.gate_up[e][k][2 * r];
                f.up[e][r][k] = f.gate_up[e][k][2 * r + 1];
                f.down[e][k][r] = f.down_columns[e][r][k];
            }
        }
    }
}

static struct weight floats(const float *data, uint64_t rows, uint64_t cols) {
    return (struct weight){.format = FORMAT_F32,
                           .layout = LAYOUT_ROWS,
                           .rows = rows,
                           .cols = cols,
                           .data = (const uint8_t *)data,
                           .bytes = rows * cols * sizeof *data,
                           .factor = 1};
}

/* The rows of an expert from `gate` to `gate_end` and from `down` to `down_end`. */
static struct expert_part part_of(size_t e, uint32_t gate, uint32_t gate_end, uint32_t down, uint32_t down_end) {
    return (struct expert_part){.weights = {.gate = floats(f.gate[e][gate], gate_end - gate, HIDDEN),
                                            .up = floats(f.up[e][gate], gate_end - gate, HIDDEN),
                                            .down = floats(f.down[e][down], down_end - down, INNER),
                                            .gate_bias = f.gate_bias[e] + gate,
                                            .up_bias = f.up_bias[e] + gate,
                                            .down_bias = f.down_bias[e] + down},
                                .gate_begin = gate,
                                .gate_end = gate_end,
                                .down_begin = down,
                                .down_end = down_end};
}

/* The layer's output, every expert over the tokens that chose it, in one part or in two. */
static void run_layer(struct expert_activation activation, uint32_t parts, float out[TOKENS][HIDDEN]) {
    static float inner[EXPERTS][TOKENS][INNER], rows[EXPERTS][TOKENS][HIDDEN];
    struct expert_part part[EXPERTS][2];
    uint32_t row[EXPERTS][TOKENS], count[EXPERTS] = {0}, place[TOKENS][TOP_K];
    struct expert_dispatch dispatch;
    struct expert_input x;
    float *scratch = calloc(expert_tile_floats(TOKENS), sizeof *scratch);
    cr_assert_not_null(scratch);
    cr_assert_eq(expert_dispatch_init(&dispatch, EXPERTS, 2 * EXPERTS, HIDDEN, activation, NULL), MOESAIC_OK);
    for (uint32_t t = 0; t < TOKENS; t++)
        for (size_t slot = 0; slot < TOP_K; slot++) {
            size_t e = (size_t)f.chosen[t][slot];
            cr_assert_lt(e, EXPERTS);
            place[t][slot] = (uint32_t)e * TOKENS + count[e];
            row[e][count[e]++] = t;
        }
    expert_input_bind(&x, 1, f.x[0], TOKENS, HIDDEN, HIDDEN, NULL);
    expert_dispatch_clear(&dispatch);
    for (size_t e = 0; e < EXPERTS; e++) {
        part[e][0] = parts == 1 ? part_of(e, 0, INNER, 0, HIDDEN) : part_of(e, 0, CUT, 0, CUT);
        part[e][1] = part_of(e, CUT, INNER, CUT, HIDDEN);
        expert_dispatch_add_parts(&dispatch, part[e], parts, INNER, row[e], count[e], inner[e][0], rows[e][0], NULL);
    }
    expert_dispatch_seal(&dispatch, 1);
    expert_dispatch_up(&dispatch, 0, &x, scratch);
    expert_dispatch_down(&dispatch, 0);
    memset(out, 0, sizeof f.out);
    for (size_t t = 0; t < TOKENS; t++)
        expert_combine(out[t], HIDDEN, rows[0][0], place[t], f.weight[t], TOP_K, NULL, 0);
    expert_dispatch_done(&dispatch);
    free(scratch);
}

static double largest_difference(float a[TOKENS][HIDDEN], float b[TOKENS][HIDDEN]) {
    double largest = 0;
    for (size_t i = 0; i < TOKENS * HIDDEN; i++)
        largest = fmax(largest, fabs((double)a[i / HIDDEN][i % HIDDEN] - b[i / HIDDEN][i % HIDDEN]));
    return largest;
}

/* Outputs are around 50: the sums of 40 products of that size are good to some 1e-5. That the fixture reaches the
 * limit, and that alpha matters, shows in what another limit and another alpha give. */
Test(expert_ffn, is_that_of_gpt_oss) {
    float out[TOKENS][HIDDEN], cut[TOKENS][HIDDEN], other[TOKENS][HIDDEN];
    read_fixture();
    run_layer(gpt_oss, 1, out);
    cr_assert_lt(largest_difference(out, f.out), 1e-4, "%g", largest_difference(out, f.out));
    run_layer(gpt_oss, 2, cut);
    cr_assert_arr_eq(out, cut, sizeof out, "parts change the bits");
    run_layer((struct expert_activation){ACTIVATION_CLAMPED, 100.0f, gpt_oss.alpha}, 1, other);
    cr_assert_gt(largest_difference(other, f.out), 1);
    run_layer((struct expert_activation){ACTIVATION_CLAMPED, gpt_oss.limit, 1.0f}, 1, other);
    cr_assert_gt(largest_difference(other, f.out), 0.1);
}

/* The same inner values where calibration asks for them. */
Test(expert_ffn, inner_has_the_bits_of_a_step) {
    static float inner[TOKENS][INNER], row[INNER];
    read_fixture();
    const struct expert_part whole = part_of(0, 0, INNER, 0, HIDDEN);
    cr_assert_eq(expert_ffn_inner(&whole.weights, gpt_oss, f.x[0], TOKENS, HIDDEN, INNER, inner[0], NULL), MOESAIC_OK);
    for (size_t t = 0; t < TOKENS; t++) {
        for (size_t r = 0; r < INNER; r++) {
            double gate = f.gate_bias[0][r], up = f.up_bias[0][r];
            for (size_t k = 0; k < HIDDEN; k++) {
                gate += (double)f.gate[0][r][k] * f.x[t][k];
                up += (double)f.up[0][r][k] * f.x[t][k];
            }
            gate = fmin(gate, 7), up = fmax(-7, fmin(up, 7));
            cr_assert_float_eq(inner[t][r], gate / (1 + exp(-1.702 * gate)) * (up + 1), 1e-4);
        }
        cr_assert_eq(expert_ffn_inner(&whole.weights, gpt_oss, f.x[t], 1, HIDDEN, INNER, row, NULL), MOESAIC_OK);
        cr_assert_arr_eq(row, inner[t], sizeof row);
    }
}
