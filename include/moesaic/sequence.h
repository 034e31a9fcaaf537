/* SPDX-License-Identifier: Apache-2.0 */
/* Sequences: a text in the making, its KV cache, and how its next tokens are sampled. */
#ifndef MOESAIC_SEQUENCE_H
#define MOESAIC_SEQUENCE_H

#include <moesaic/engine.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A sequence belongs to one engine and is used by one thread at a time; different sequences may be used from different
 * threads at once, and their work is batched. Callbacks come from the engine's own thread: they may read tokens and
 * counters, and must not call functions that take the sequence or the engine other than moesaic_engine_counters. */
typedef struct moesaic_sequence moesaic_sequence;

typedef struct moesaic_sequence_options {
    size_t size;              /* sizeof(moesaic_sequence_options) */
    uint32_t capacity_tokens; /* most tokens, prompt and answer; 0: the model's max_position. Fixes the regime of
                                 `dynamic` and `longrope` position encodings for the life of the sequence. */
} moesaic_sequence_options;

/* Errors: USAGE (capacity), MEMORY. */
MOESAIC_API moesaic_status moesaic_sequence_create(moesaic_engine *engine, const moesaic_sequence_options *options,
                                                   moesaic_sequence **ret_sequence, moesaic_error *error);
MOESAIC_API void moesaic_sequence_destroy(moesaic_sequence *sequence); /* NULL is accepted */

/* Appends ids to the text; they are evaluated by the next generate or evaluate. Errors: INPUT (id out of range, named
 * by position), USAGE (capacity), MEMORY. */
MOESAIC_API moesaic_status moesaic_sequence_append(moesaic_sequence *sequence, const int32_t *ids, size_t count,
                                                   moesaic_error *error);
/* Tokenizes and appends. `special` as in moesaic_tokenize. */
MOESAIC_API moesaic_status moesaic_sequence_append_text(moesaic_sequence *sequence, const char *text, size_t bytes,
                                                        bool special, moesaic_error *error);
/* Cuts the text to its first `tokens` tokens. Errors: USAGE (longer than it is). */
MOESAIC_API moesaic_status moesaic_sequence_truncate(moesaic_sequence *sequence, size_t tokens, moesaic_error *error);
MOESAIC_API size_t moesaic_sequence_tokens(const moesaic_sequence *sequence, const int32_t **ret_ids);

typedef struct moesaic_sampling {
    size_t size;               /* sizeof(moesaic_sampling) */
    double temperature;        /* 0: greedy; ties go to the lowest id */
    uint32_t top_k;            /* 0: all */
    double top_p;              /* 0 or 1: all */
    double min_p;              /* 0: all; else tokens under min_p x the best probability are dropped */
    double repeat_penalty;     /* 0 or 1: none; divides positive and multiplies negative logits of tokens seen */
    double presence_penalty;   /* subtracted once from logits of tokens generated */
    double frequency_penalty;  /* subtracted for each time a token was generated */
    uint64_t seed;             /* the same seed, text and settings give the same tokens */
    bool ignore_eos;
    bool logprobs;             /* report each token's log-probability, and of */
    uint32_t top_logprobs;     /* the most likely alternatives this many, at most 20 */
    const char *const *stop;   /* strings that end the answer and are not part of it */
    const size_t *stop_bytes;  /* their lengths; NULL: NUL-terminated */
    size_t stops;
} moesaic_sampling;

typedef struct moesaic_candidate {
    int32_t id;
    float logprob; /* natural logarithm of the model's own probability, before penalties and temperature */
} moesaic_candidate;

typedef struct moesaic_token {
    int32_t id;
    const char *text;  /* what this token lets be printed: whole UTF-8 characters, maybe none; valid during the call */
    size_t text_bytes;
    float logprob;     /* 0 unless asked for */
    const moesaic_candidate *top; /* top_logprobs of them, most likely first */
    size_t tops;
} moesaic_token;

/* Called for each token; a value other than 0 stops the generation after this token. */
typedef int moesaic_token_callback(void *user, const moesaic_token *token);

typedef enum moesaic_finish {
    MOESAIC_FINISH_LENGTH = 0,   /* the number of tokens asked for, or the capacity, is reached */
    MOESAIC_FINISH_STOP = 1,     /* an end-of-sequence token or a stop string */
    MOESAIC_FINISH_CANCELLED = 2 /* the callback said so */
} moesaic_finish;
MOESAIC_API const char *moesaic_finish_name(moesaic_finish finish); /* "length", "stop", "cancelled" */

typedef struct moesaic_generation {
    size_t size; /* sizeof(moesaic_generation), set by the caller */
    moesaic_finish finish;
    size_t prompt_tokens;     /* evaluated by this call */
    size_t completion_tokens;
    double prefill_s;         /* until the first token was sampled */
    double decode_s;          /* from then to the last */
} moesaic_generation;

/* Evaluates what was appended and samples up to `max_tokens` tokens (0: up to the capacity), appending them. The last
 * token reported may be an end-of-sequence token, with no text. The text reported in all is the answer without the stop
 * string; at the end held-back text is given with the last token. `sampling`, `callback` and `ret_generation` may be
 * NULL. Blocks; other threads' sequences go on meanwhile. Errors: USAGE (nothing to evaluate), NONFINITE, MEMORY. */
MOESAIC_API moesaic_status moesaic_sequence_generate(moesaic_sequence *sequence, const moesaic_sampling *sampling,
                                                     size_t max_tokens, moesaic_token_callback *callback, void *user,
                                                     moesaic_generation *ret_generation, moesaic_error *error);

/* What the model computed for one evaluated token. Pointers are valid during the call. */
typedef struct moesaic_evaluation {
    size_t position;         /* in the sequence */
    int32_t id;
    const float *logits;     /* [vocab] */
    const float *hidden;     /* [layers, hidden] after each layer, when asked for, else NULL */
    const int32_t *experts;  /* [moe layers, top_k] in the order chosen, else NULL for dense models */
    const float *weights;    /* [moe layers, top_k] as applied */
} moesaic_evaluation;
typedef int moesaic_evaluation_callback(void *user, const moesaic_evaluation *evaluation);

/* Evaluates what was appended and reports every position in order; a value other than 0 stops with CANCELLED.
 * Errors: USAGE, NONFINITE, MEMORY, CANCELLED. */
MOESAIC_API moesaic_status moesaic_sequence_evaluate(moesaic_sequence *sequence, bool hidden,
                                                     moesaic_evaluation_callback *callback, void *user,
                                                     moesaic_error *error);

#ifdef __cplusplus
}
#endif
#endif
