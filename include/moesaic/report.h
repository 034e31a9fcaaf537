/* SPDX-License-Identifier: Apache-2.0 */
/* Reports: an optimized model held against its base, on the same text and in the same run. */
#ifndef MOESAIC_REPORT_H
#define MOESAIC_REPORT_H

#include <moesaic/evaluate.h>
#include <moesaic/profile.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct moesaic_compare_text {
    const char *name; /* of the domain, in the report; NUL-terminated */
    const char *text; /* UTF-8 */
    size_t bytes;
} moesaic_compare_text;

/* Another way to make the base smaller, for the chart of quality against bytes. */
typedef struct moesaic_compare_opponent {
    const char *name;
    moesaic_engine *engine;
} moesaic_compare_opponent;

/* A limit on one figure of the report: the figure must not be above it, or not below it where less is worse. */
typedef struct moesaic_gate {
    const char *name;
    double limit;
} moesaic_gate;
/* Names of the gates, NULL-terminated: kl_mean, kl_median, kl_p99, kl_p999, kl_max, rare_kl_mean, worst_text_kl_mean,
 * confident_flips, perplexity, perplexity_ratio, bytes_ratio, active_bytes_ratio (upper limits), top1, prompt_ratio and
 * decode_ratio (lower limits). A ratio is optimized over base. Thread-safe. */
MOESAIC_API const char *const *moesaic_gate_names(void);

typedef struct moesaic_compare_options {
    size_t size;                /* sizeof(moesaic_compare_options) */
    const moesaic_compare_text *text;
    size_t texts;               /* 1 to 64 */
    uint32_t window;            /* tokens evaluated together; 0: the models' max_position, at most 512 */
    uint32_t tokens;            /* most tokens of each text; 0: all */
    const moesaic_compare_opponent *opponent;
    size_t opponents;           /* at most 16 */
    const moesaic_gate *gate;
    size_t gates;               /* at most 64 */
    const char *justify;        /* why the base is deployed all the same, recorded; or NULL */
    bool no_speed;              /* leave the speeds out: the report is then the same in every run */
    uint32_t speed_rounds;      /* measurements of each model in turn; 0: 5 */
    const char *json_path;      /* files to write, each whole or not at all; or NULL */
    const char *html_path;
    moesaic_progress_callback *progress; /* in tokens evaluated */
    void *user;
    const moesaic_cost_options *cost; /* region, prices and PUE of the costs, which come with the speeds; or NULL */
} moesaic_compare_options;

typedef struct moesaic_compare_result {
    size_t size; /* sizeof(moesaic_compare_result), set by the caller */
    uint64_t tokens, scored;
    double kl_mean, kl_median, kl_p99, kl_p999, kl_max; /* nats, base to optimized, over every scored position */
    double top1;                       /* share of positions with the same most likely token */
    double confident_flips; /* share of the positions where base's first choice has p > 0.5 that changed it */
    double base_perplexity, perplexity;
    double base_bits_per_byte, bits_per_byte;
    uint64_t base_file_bytes, file_bytes;
    double base_prompt_tok_s, prompt_tok_s, base_decode_tok_s, decode_tok_s; /* medians; 0 with no_speed */
    size_t gates_failed;
    char *json;                        /* the report, schema moesaic.compare/1: freed with moesaic_free */
    size_t json_bytes;
} moesaic_compare_result;

/* Evaluates both models, and the opponents, over the texts in windows, one window at a time, and reports (docs/
 * compression.md lists every figure). Scored are the positions that moesaic_eval scores. The models must share
 * vocabulary and tokenizer. Failing gates are no error: see gates_failed. Only timings differ between two runs.
 * Errors: USAGE (unknown gate, limits, models of different vocabularies), INPUT (a text of fewer than two tokens),
 * NONFINITE, MEMORY, IO, CANCELLED. */
MOESAIC_API moesaic_status moesaic_compare(moesaic_engine *base, moesaic_engine *optimized,
                                           const moesaic_compare_options *options,
                                           moesaic_compare_result *ret_result, moesaic_error *error);

#ifdef __cplusplus
}
#endif
#endif
