/* SPDX-License-Identifier: Apache-2.0 */
/* The frame of the x86 kernels on packed weights: which panels meet which tokens, in what order.
 *
 * An ISA brings, for each format it expands in registers, functions that multiply a few panels with 1, 2 or 4 tokens
 * (struct few_set). Up to four tokens, the panels of a call are read from memory as one forward stream, or as two where
 * that leaves the broadcasts of the activations behind. For more, a strip of panels stays in the second-level cache
 * while the tokens pass, four at a time; for many, the strip is unpacked first where expanding costs more than loading
 * (tuning.c says from how many on).
 */
#ifndef FEW_INTERNAL_H
#define FEW_INTERNAL_H

#include <string.h>

#include "kernels.h"

enum {
    FEW_TOKENS = 4,          /* most tokens at a time */
    FEW_PANELS = 4,          /* most panels at a time */
    STRIP_CHUNK_COLS = 2048, /* k of an unpacked strip: 4 panels take 136 KiB */
    STRIP_ROWS = FEW_PANELS * PANEL_ROWS,
    STRIP_PANEL_BYTES = STRIP_CHUNK_COLS / 4 * PANEL_LINE + STRIP_CHUNK_COLS / 64 * PANEL_SCALE_LINE
};

/* Where the activations of one token start, at the first group of a job. */
struct few_token {
    const int8_t *codes;
    const float *scales;
    const int32_t *sums;
};

/* What is the same for all panels and tokens. */
struct few_job {
    size_t group, groups; /* k of a group, and groups to go over */
    int zero;             /* the stored code that stands for zero */
    const uint8_t *limit; /* bitmask format: where a superblock may start at the latest */
    bool carry;           /* sums start from what is in `out` */
    float factor;         /* times the sums at the end */
    const uint8_t *ahead; /* what is multiplied next, and how many of its lines to prefetch in each group */
    size_t ahead_lines;
};

/* Multiplies panels that start at at[p] with tokens x[t]; the first `live` tokens go to
 * out[t * out_stride + p * apart + r], of the last panel only `rows` rows. All FEW_TOKENS tokens can be read. */
typedef void few_panels_fn(const struct few_job *job, const uint8_t *const *at, const struct few_token *x, size_t live,
                           size_t rows, size_t apart, float *out, size_t out_stride);

/* `panels` panels side by side. */
struct few_side {
    size_t panels;
    few_panels_fn *run;
};

/* The functions of a format for 1, 2 and 3 to 4 tokens: for panels that come from memory, for those that are in a
 * cache, and for a single one. */
struct few_set {
    struct few_side far[3], near[3];
    few_panels_fn *single[3];
};

static inline unsigned few_choice(size_t tokens) { return tokens == 1 ? 0 : tokens == 2 ? 1 : 2; }

/* Up to four tokens from `begin` on, at group `group`; those that are not there repeat the first. */
static inline size_t few_gather(const struct activations *x, const uint32_t *index, size_t begin, size_t end,
                                size_t group, struct few_token *ret_tokens) {
    const size_t groups = x->k_padded / x->group, count = end - begin < FEW_TOKENS ? end - begin : FEW_TOKENS;
    for (size_t t = 0; t < FEW_TOKENS; t++) {
        size_t i = begin + (t < count ? t : 0), from = index ? index[i] : i;
        ret_tokens[t] = (struct few_token){x->codes + from * x->k_padded + group * x->group,
                                           x->scales + from * groups + group, x->sums + from * groups + group};
    }
    return count;
}

/* Panels as equal runs side by side, `live` tokens; what is left over one by one. */
static inline void few_rows(const struct few_set *set, const struct few_job *job, const struct weight *weight,
                            const struct few_token *x, size_t live, size_t row_begin, size_t row_end, float *out,
                            size_t out_stride) {
    const unsigned choice = few_choice(live);
    const struct few_side side = set->far[choice];
    const size_t first = row_begin / PANEL_ROWS, panels = (row_end - row_begin + PANEL_ROWS - 1) / PANEL_ROWS;
    const size_t run = panels / side.panels, rest = run * side.panels;
    const size_t last = row_end - row_begin - (panels - 1) * PANEL_ROWS;
    for (size_t p = 0; p < run; p++) {
        const uint8_t *at[FEW_PANELS];
        for (size_t i = 0; i < side.panels; i++)
            at[i] = panel_begin(weight, first + p + i * run);
        side.run(job, at, x, live, p == run - 1 && rest == panels ? last : PANEL_ROWS, run * PANEL_ROWS,
                 out + (first + p) * PANEL_ROWS, out_stride);
    }
    for (size_t p = rest; p < panels; p++) {
        const uint8_t *at = panel_begin(weight, first + p);
        set->single[choice](job, &at, x, live, p == panels - 1 ? last : PANEL_ROWS, 0, out + (first + p) * PANEL_ROWS,
                            out_stride);
    }
}

static inline struct few_job few_job_of(const struct weight *weight) {
    return (struct few_job){.group = weight->group,
                            .groups = (size_t)quant_rows_groups(weight->cols, weight->group),
                            .zero = format_zero(weight->format),
                            .limit = panel_limit(weight),
                            .factor = weight->factor};
}

/* Fetches where up to four tokens' sums of `rows` rows will go: mostly memory that no cache holds. */
static inline void strip_fetch_out(float *out, size_t out_stride, size_t tokens, size_t rows) {
    for (size_t t = 0; t < tokens && t < FEW_TOKENS; t++)
        for (size_t row = 0; row < rows; row += PANEL_ROWS)
            __builtin_prefetch(out + t * out_stride + row, 1);
}

/* All tokens with the `panels` panels of a strip, `rows` rows in all. */
static inline void strip_tokens(const struct few_set *set, const struct few_job *job, const uint8_t *const *at,
                                size_t rows, const struct activations *x, const uint32_t *index, size_t tokens,
                                size_t group, float *out, size_t out_stride) {
    const size_t panels = (rows + PANEL_ROWS - 1) / PANEL_ROWS;
    struct few_job pass = *job;
    for (size_t begin = 0; begin < tokens; begin += FEW_TOKENS) {
        struct few_token token[FEW_TOKENS];
        size_t live = few_gather(x, index, begin, tokens, group, token), p = 0;
        const unsigned choice = few_choice(live);
        const struct few_side side = set->near[choice];
        strip_fetch_out(out + (begin + live) * out_stride, out_stride, tokens - begin - live, rows);
        for (; p + side.panels <= panels; p += side.panels)
            side.run(&pass, at + p, token, live,
                     p + side.panels == panels ? rows - (panels - 1) * PANEL_ROWS : PANEL_ROWS, PANEL_ROWS,
                     out + begin * out_stride + p * PANEL_ROWS, out_stride);
        for (; p < panels; p++)
            set->single[choice](&pass, at + p, token, live, p + 1 == panels ? rows - p * PANEL_ROWS : PANEL_ROWS, 0,
                                out + begin * out_stride + p * PANEL_ROWS, out_stride);
        pass.ahead += pass.ahead_lines * pass.groups * PANEL_LINE;
    }
}

/* Writes `groups` groups of a panel as a panel of lines: scales as they are, codes unpacked. Returns its
 * end. */
static inline const uint8_t *strip_unpack(const struct few_job *job, size_t groups, kernel_unpack_fn *unpack,
                                          const uint8_t *at, uint8_t *out) {
    const uint32_t quads = (uint32_t)job->group / 4;
    for (size_t g = 0; g < groups; g += 2) {
        at = panel_clamp(at, job->limit);
        for (size_t line = 0; line < job->group * 16; line += PANEL_LINE) /* as far ahead as two groups are at most */
            __builtin_prefetch(at + job->group * 16 + line);
        memcpy(out, at, PANEL_SCALE_LINE);
        at += PANEL_SCALE_LINE;
        out += PANEL_SCALE_LINE;
        for (size_t i = 0; i < 2 && g + i < groups; i++, out += (size_t)quads * PANEL_LINE)
            at = unpack(at, quads, out);
    }
    return at;
}

/* While the tokens pass over the strip at `at`, the next one, which mostly lies behind it, is fetched a part a pass. */
static inline void strip_look_ahead(struct few_job *job, const struct weight *weight, const uint8_t *at,
                                    size_t tokens) {
    const size_t bytes = weight->bytes / ((weight->rows + STRIP_ROWS - 1) / STRIP_ROWS);
    const size_t groups = (tokens + FEW_TOKENS - 1) / FEW_TOKENS * job->groups;
    job->ahead = at + bytes;
    job->ahead_lines = bytes / (groups * PANEL_LINE) + 1;
}

/* Up to four tokens: all panels once, side by side. More: strip after strip, all tokens while it is near. */
static inline void few_product(const struct few_set *set, const struct weight *weight, const struct activations *x,
                               const uint32_t *index, size_t tokens, size_t row_begin, size_t row_end, float *out,
                               size_t out_stride) {
    struct few_job job = few_job_of(weight);
    if (tokens <= FEW_TOKENS) {
        struct few_token token[FEW_TOKENS];
        size_t live = few_gather(x, index, 0, tokens, 0, token);
        few_rows(set, &job, weight, token, live, row_begin, row_end, out, out_stride);
        return;
    }
    for (size_t row = row_begin; row < row_end; row += STRIP_ROWS) {
        const size_t rows = row_end - row < STRIP_ROWS ? row_end - row : STRIP_ROWS;
        const uint8_t *at[FEW_PANELS];
        for (size_t p = 0; p * PANEL_ROWS < rows; p++)
            at[p] = panel_begin(weight, row / PANEL_ROWS + p);
        strip_look_ahead(&job, weight, at[0], tokens);
        strip_tokens(set, &job, at, rows, x, index, tokens, 0, out + row, out_stride);
    }
}

/* A strip of up to four panels, unpacked in chunks of k; `out` carries the sums from chunk to chunk. */
static inline void strip_lines(const struct few_set *lines, const struct weight *weight, const struct activations *x,
                               const uint32_t *index, size_t tokens, size_t row, size_t rows, float *out,
                               size_t out_stride) {
    _Alignas(64) uint8_t buffer[FEW_PANELS][STRIP_PANEL_BYTES];
    const uint8_t *const to[FEW_PANELS] = {buffer[0], buffer[1], buffer[2], buffer[3]}, *at[FEW_PANELS];
    const size_t panels = (rows + PANEL_ROWS - 1) / PANEL_ROWS, most = STRIP_CHUNK_COLS / weight->group;
    struct few_job whole = few_job_of(weight);
    kernel_unpack_fn *unpack = kernel_unpack_of(kernels(), weight->format);
    for (size_t p = 0; p < panels; p++)
        at[p] = panel_begin(weight, row / PANEL_ROWS + p);
    strip_look_ahead(&whole, weight, at[0], tokens);
    for (size_t group = 0; group < whole.groups; group += most) {
        struct few_job job = whole;
        job.groups = whole.groups - group < most ? whole.groups - group : most;
        job.carry = group > 0;
        job.factor = group + job.groups == whole.groups ? whole.factor : 1.0f;
        for (size_t p = 0; p < panels; p++)
            at[p] = strip_unpack(&job, job.groups, unpack, at[p], buffer[p]);
        strip_tokens(lines, &job, to, rows, x, index, tokens, group, out + row, out_stride);
        whole.ahead += (tokens + FEW_TOKENS - 1) / FEW_TOKENS * job.groups * job.ahead_lines * PANEL_LINE;
    }
}

/* Any number of tokens with strips that are unpacked for `lines`. */
static inline void many_product(const struct few_set *lines, const struct weight *weight, const struct activations *x,
                                const uint32_t *index, size_t tokens, size_t row_begin, size_t row_end, float *out,
                                size_t out_stride) {
    for (size_t row = row_begin; row < row_end; row += STRIP_ROWS)
        strip_lines(lines, weight, x, index, tokens, row, row_end - row < STRIP_ROWS ? row_end - row : STRIP_ROWS, out,
                    out_stride);
}

#define FEW_ARGUMENTS                                                                                                  \
    const struct few_job *job, const uint8_t *const *at, const struct few_token *x, size_t live, size_t rows,          \
        size_t apart, float *out, size_t out_stride
/* An instance of the ISA's few_panels, which is inlined with these constants. */
#define FEW_INSTANCE(name, format, block_bytes, panels, tokens)                                                        \
    static void name##_##panels##_##tokens(FEW_ARGUMENTS) {                                                            \
        few_panels(format, block_bytes, panels, tokens, job, at, x, live, rows, apart, out, out_stride);               \
    }
#define PRODUCT_ARGUMENTS                                                                                              \
    const struct weight *weight, const struct activations *x, const uint32_t *index, size_t tokens, size_t row_begin,  \
        size_t row_end, float *out, size_t out_stride
#define FEW_KERNEL(name, set)                                                                                          \
    void name(PRODUCT_ARGUMENTS) { few_product(set, weight, x, index, tokens, row_begin, row_end, out, out_stride); }
#define MANY_KERNEL(name, set)                                                                                         \
    void name(PRODUCT_ARGUMENTS) { many_product(set, weight, x, index, tokens, row_begin, row_end, out, out_stride); }
/* For a format that is slow to expand: few tokens at once, or unpacked for all. */
#define FEW_OR_MANY_KERNEL(name, set, lines)                                                                           \
    void name(PRODUCT_ARGUMENTS) {                                                                                     \
        if (tokens <= FEW_TOKENS)                                                                                      \
            few_product(set, weight, x, index, tokens, row_begin, row_end, out, out_stride);                           \
        else                                                                                                           \
            many_product(lines, weight, x, index, tokens, row_begin, row_end, out, out_stride);                        \
    }
/* Sets and kernels of an ISA for the formats whose blocks are all of one size; FEW_SET is the ISA's. */
#define FEW_DENSE(isa)                                                                                                 \
    FEW_SET(int8, FORMAT_INT8, 512)                                                                                    \
    FEW_SET(int4, FORMAT_INT4, 256)                                                                                    \
    FEW_SET(int3, FORMAT_INT3, 192)                                                                                    \
    FEW_SET(int2, FORMAT_INT2, 128)                                                                                    \
    FEW_SET(int4_24, FORMAT_INT4_24, 192)                                                                              \
    FEW_KERNEL(few_int8_##isa, &int8)                                                                                  \
    FEW_KERNEL(few_int4_##isa, &int4)                                                                                  \
    FEW_KERNEL(few_int3_##isa, &int3)                                                                                  \
    FEW_KERNEL(few_int2_##isa, &int2)                                                                                  \
    FEW_KERNEL(few_int4_24_##isa, &int4_24)

#endif
