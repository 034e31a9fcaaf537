/* SPDX-License-Identifier: Apache-2.0 */
/* What the handles of the C API hold, and how its structs that begin with their size are read and written. */
#ifndef API_INTERNAL_H
#define API_INTERNAL_H

#include <moesaic/moesaic.h>
#include <pthread.h>

#include "pipeline.h"
#include "place.h"

struct moesaic_model {
    _Atomic uint32_t references;
    char *path;
    struct model *model;             /* NULL when only the tokenizer was opened */
    struct tokenizer *tokenizer;     /* NULL when the folder has no tokenizer.json */
    struct text_settings settings;
    pthread_mutex_t lock;            /* guards the compiling of the templates on first use */
    struct chat_template *chat, *tools;
};

struct moesaic_engine {
    moesaic_model *model;
    struct team *team;
    struct place_engine *placed; /* NULL: experts are mapped as they are */
    struct sched *sched;
    struct pipeline_engine pipeline;
};

struct moesaic_sequence {
    moesaic_engine *engine;
    struct sched_text text;
};

/* Copies the caller's struct `given` (NULL: all zero), whose first member is its size, over `ret_known` of `bytes`.
 * USAGE when it is longer than known and its tail is not zero, or too short to hold its size. */
moesaic_status api_options(const void *given, void *ret_known, size_t bytes, const char *what, moesaic_error *error);
/* Copies `known` of `bytes` into the caller's struct, as much as its size has room for; its size stays. */
moesaic_status api_result(void *given, const void *known, size_t bytes, const char *what, moesaic_error *error);

#endif
