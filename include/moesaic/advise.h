/* SPDX-License-Identifier: Apache-2.0 */
/* Advice: what to do to a model on this machine, every answer measured. */
#ifndef MOESAIC_ADVISE_H
#define MOESAIC_ADVISE_H

#include <moesaic/evaluate.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { MOESAIC_ADVICE_STEPS_MAX = 12, MOESAIC_ADVICE_CANDIDATES_MAX = 8 };

typedef struct moesaic_advise_options {
    size_t size;           /* sizeof(moesaic_advise_options) */
    const char *calib;     /* UTF-8 text to calibrate on; NULL: what the model itself writes, at temperature 1 */
    size_t calib_bytes;
    uint32_t calib_tokens; /* most tokens of it to use; 0: 16384, or 4096 of the model's own */
    const char *text;      /* UTF-8 text to judge by, which calibration should not have seen; or NULL without calib */
    size_t text_bytes;
    uint32_t text_tokens;  /* most tokens of it to use; 0: 8192, or 2048 of the model's own */
    uint64_t memory_bytes; /* for weights and the KV cache of one sequence; 0: this machine's */
    double max_kl;         /* mean KL from the base that is still good, in nats; 0: 0.01 */
    double min_tok_s;      /* decoding one sequence; 0: no demand */
    uint32_t threads;      /* 0: one per usable physical core */
    bool no_pin;
    const char *folder;    /* for one artifact at a time, gone when the call returns; NULL: $TMPDIR, else /tmp */
    moesaic_progress_callback *progress; /* in thousandths of a treatment tried */
    void *user;
} moesaic_advise_options;

/* A treatment, tried. */
typedef struct moesaic_advice_candidate {
    char name[24];         /* such as "int3" */
    char options[64];      /* of `moesaic compress` */
    uint64_t bytes;        /* of its weights */
    uint64_t file_bytes;
    double bits_per_weight, kl_mean, kl_p99, top1, decode_tok_s;
    bool fits, good, fast; /* inside the memory, the KL and the speed asked for */
} moesaic_advice_candidate;

/* A question of the tree, what was measured, and where that leads. */
typedef struct moesaic_advice_step {
    char question[96];
    char answer[256];
    char branch[160];
    bool yes;
} moesaic_advice_step;

typedef struct moesaic_advise_result {
    size_t size;         /* sizeof(moesaic_advise_result), set by the caller */
    const char *verdict; /* "nothing": leave the model as it is; "compress": see `chosen`; "impossible": no treatment
                          * tried meets what was asked for. A static string */
    int32_t chosen;      /* candidate, or -1 */
    uint64_t memory_bytes, base_bytes; /* asked for, or this machine's; weights of the base */
    double max_kl, min_tok_s;
    double base_tok_s, read_bytes_s;   /* decoding; what a plain loop reads */
    uint32_t steps, candidates;
    moesaic_advice_step step[MOESAIC_ADVICE_STEPS_MAX];
    moesaic_advice_candidate candidate[MOESAIC_ADVICE_CANDIDATES_MAX];
    bool sampled;        /* calibrated on what the model itself wrote, for want of a text */
} moesaic_advise_result;

/* Walks the decision tree for the checkpoint `model` (docs/compression.md). With a memory or a speed asked for, the
 * best quality that meets them is advised, and nothing where the base does; with neither, the smallest that is still
 * good. Only speeds differ between two runs. Errors: USAGE (the model is an artifact; no text to judge by), INPUT
 * (texts too short), IO (naming the file), MEMORY, NONFINITE, CANCELLED; nothing is left behind in any case. */
MOESAIC_API moesaic_status moesaic_advise(moesaic_model *model, const moesaic_advise_options *options,
                                          moesaic_advise_result *ret_result, moesaic_error *error);

#ifdef __cplusplus
}
#endif
#endif
