/* SPDX-License-Identifier: Apache-2.0 */
/* A comparison at work: what every scored position said in the base and in each candidate, and what is counted of
 * it. */
#ifndef COMPARE_INTERNAL_H
#define COMPARE_INTERNAL_H

#include "pipeline.h"
#include "profile.h"

enum { COMPARE_WORST = 20, COMPARE_DECILES = 10, COMPARE_POSITIONS = 8, COMPARE_BINS = 60 };

/* A text as it is evaluated: its first `tokens` tokens in windows. */
struct compared_text {
    const char *name;
    int32_t *ids;
    size_t tokens, bytes;
    size_t first, scored; /* its scored positions are [first, first + scored) */
};

/* A scored position, as the base sees it. */
struct position {
    uint32_t text, at; /* the token behind which it predicts */
    uint32_t in_window;
    int32_t target, top;
    float nll, top_p;
};

/* The same position in a candidate. */
struct verdict {
    float kl, nll, top_p;
    int32_t top;
};

/* What one half of the speed rounds used, summed over the counted rounds. */
struct stretch {
    uint64_t bytes, flops;            /* read; nominal */
    uint64_t ns, package_uj, dram_uj; /* between the meter's readings */
};

struct speed {
    size_t rounds, prompt_tokens, decode_tokens; /* counted; timed in each */
    double prompt_s, decode_s;                   /* medians */
    double prompt_tok_s, decode_tok_s;
    struct stretch prompt, decode;
};

/* A model at the table: index 0 is the base, 1 the optimized one, the rest opponents. */
struct contender {
    const char *name;
    struct pipeline_engine engine;
    unsigned threads;
    moesaic_model_info info;
    struct sched_text text;  /* its context; ids are borrowed */
    struct verdict *verdict; /* [scored]; NULL for the base */
    uint64_t flops_nominal, flops_executed, flops_skipped; /* over the evaluated tokens */
    struct speed speed;
};

/* Of the tokens that used an expert in the base. */
struct expert_tally {
    uint64_t tokens, agree;
    double kl;
};

/* Of one MoE layer, base against optimized. */
struct drift_tally {
    uint64_t changed;       /* tokens whose set of experts changed */
    uint64_t changed_slots; /* experts of the base that are no longer chosen, over all tokens */
};

struct comparison {
    const moesaic_compare_options *options;
    struct contender *contender; /* [contenders] */
    size_t contenders;
    struct compared_text *text; /* [texts] */
    size_t texts, tokens, scored, window;
    size_t vocab;
    struct position *position;    /* [scored] */
    float *logits;                /* [window, vocab] of the base */
    int32_t *chosen;              /* [window, moe layers, k] of the base */
    uint32_t moe_layers, experts; /* of the base; 0 for a dense one */
    uint32_t k;
    int32_t *twin;              /* [moe layers]: the same layer of the optimized model, likewise numbered; -1: none */
    struct expert_tally *tally; /* [moe layers, experts] */
    struct drift_tally *drift;  /* [moe layers] */
    struct cost_rates rates;
    struct energy_meter meter;  /* open during the speed rounds */
    bool metered, dram_metered; /* it held to their end */
    double idle_w;              /* of the packages at rest, as it says */
    size_t evaluated;           /* tokens, over all contenders */
    /* Of the window at hand. */
    size_t at_text, at_start, at_end, at_scored;
    struct contender *at_contender;
};

/* ---- evaluation (compare_run.c, compare_speed.c) ---- */

/* Evaluates every text with every contender and fills positions, verdicts and tallies. */
moesaic_status compare_run(struct comparison *c, moesaic_error *error);
/* Fills the contenders' speeds for base and optimized, measured in turn, with what the energy meter says. */
moesaic_status compare_speed(struct comparison *c, moesaic_error *error);

/* ---- summaries (compare_summary.c) ---- */

/* Over a set of scored positions; every figure is 0 for an empty one. */
struct summary {
    uint64_t scored, confident; /* positions, and those where the base's first choice has p > 0.5 */
    double kl_mean, kl_median, kl_p90, kl_p99, kl_p999, kl_max;
    double top1, confident_flips;
    double base_nll, nll; /* means */
};

/* The figures of one candidate over the positions index[0..n). `scratch` has room for n floats. */
struct summary summary_make(const struct comparison *c, const struct contender *candidate, const uint32_t *index,
                            size_t n, float *scratch);

/* Every split of the optimized model's positions, and the whole for each opponent. */
struct splits {
    struct summary whole;
    struct summary *text;                        /* [texts] */
    struct summary decile[COMPARE_DECILES];      /* by the frequency of the predicted token, rarest first */
    uint64_t decile_least[COMPARE_DECILES];      /* occurrences of its rarest and its most frequent token */
    uint64_t decile_most[COMPARE_DECILES];
    struct summary at[COMPARE_POSITIONS];        /* by position in the window: under 16, 32, 64, ... */
    uint32_t at_begin[COMPARE_POSITIONS + 1];
    size_t positions;                            /* buckets in use */
    struct summary *opponent;                    /* [contenders - 2] */
    uint32_t worst[COMPARE_WORST];               /* positions of the largest divergence, largest first */
    size_t n_worst;
    uint64_t bin[COMPARE_BINS];                  /* of log10(KL), see bin_low and bin_high */
    double bin_low, bin_high;                    /* decades; what lies outside is in the outermost bins */
};
moesaic_status splits_make(const struct comparison *c, struct splits *ret_splits, moesaic_error *error);
void splits_done(struct splits *splits); /* accepts a zeroed struct */

/* ---- gates (compare_gates.c) ---- */

extern const char *const compare_gate_names[];
/* The figure that a gate limits, and whether it must not fall below (rather than not exceed) its limit. False for an
 * unknown name. `splits` may be NULL: only the name is checked. */
bool compare_gate_value(const struct comparison *c, const struct splits *splits, const char *name, double *ret_value,
                        bool *ret_at_least);

/* ---- the report (report.c, report_cost.c, report_html.c) ---- */

/* The whole report as a document; NULL when out of memory. *ret_failed: gates that are not met. */
json_value *report_json(const struct comparison *c, const struct splits *splits, size_t *ret_failed);
/* What 1,000 tokens cost with base and optimized; NULL when out of memory. */
json_value *report_cost_json(const struct comparison *c);
/* One self-contained page from the document: malloc'ed. NULL when out of memory. */
char *report_html(const json_value *report, size_t *ret_bytes);

#endif
