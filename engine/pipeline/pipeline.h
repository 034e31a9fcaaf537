/* SPDX-License-Identifier: Apache-2.0 */
/* Door of engine/pipeline: what runs the model to learn about the model. */
#ifndef PIPELINE_H
#define PIPELINE_H

#include <moesaic/bench.h>
#include <moesaic/compress.h>
#include <moesaic/evaluate.h>
#include <moesaic/export.h>
#include <moesaic/report.h>
#include <moesaic/trace.h>

#include "scheduler.h"

/* An engine as the pipeline uses it. */
struct pipeline_engine {
    struct sched *sched;
    const struct model *model;
    const struct tokenizer *tokenizer; /* NULL: the model has none */
};

/* A text cut into windows that are evaluated one after another in one context. */
struct windows {
    const struct pipeline_engine *engine;
    int32_t *ids; /* the whole text, freed by windows_done */
    size_t tokens, window, stride;
    size_t start, end, scored_end; /* of the window at hand; positions before scored_end were in an earlier one */
    struct sched_text text;
};
/* Tokenizes `text` without special tokens. `window` 0: the model's max_position, at most 512; `stride` 0: window.
 * Errors: INPUT (fewer than two tokens, no tokenizer, invalid UTF-8), USAGE, MEMORY. */
moesaic_status windows_init(const struct pipeline_engine *engine, const char *text, size_t bytes, uint32_t window,
                            uint32_t stride, struct windows *ret_windows, moesaic_error *error);
/* Makes the next window the one at hand, its ids in text.ids [0, end - start) and nothing evaluated. False behind the
 * last. */
bool windows_next(struct windows *windows);
void windows_done(struct windows *windows);

/* The median of `count` > 0 values, which are sorted on the way. */
double median_of(double *values, size_t count);

/* As the functions of the C API of the same names. */
moesaic_status pipeline_eval(const struct pipeline_engine *engine, const char *text, size_t bytes,
                             const moesaic_eval_options *options, moesaic_eval_result *ret_result,
                             moesaic_error *error);
moesaic_status pipeline_logits(const struct pipeline_engine *engine, const int32_t *ids, size_t count, bool hidden,
                               const char *path, moesaic_error *error);
moesaic_status pipeline_trace(const struct pipeline_engine *engine, const char *text, size_t bytes, uint32_t window,
                              const char *path, moesaic_progress_callback *progress, void *user,
                              moesaic_trace_result *ret_result, moesaic_error *error);
moesaic_status pipeline_export(const struct model *model, const char *path, moesaic_progress_callback *progress,
                               void *user, moesaic_export_result *ret_result, moesaic_error *error);
moesaic_status pipeline_compress(const struct model *model, const struct tokenizer *tokenizer, const char *path,
                                 const moesaic_compress_options *options, moesaic_compress_result *ret_result,
                                 moesaic_error *error);
moesaic_status pipeline_bench(const struct model *model, const moesaic_bench_options *options,
                              moesaic_bench_result *ret_result, moesaic_error *error);

/* Adds `sign` (1 or -1) times the counters to the figures. */
void pipeline_work_add(const struct work_counters *counters, int sign, moesaic_work *io_work);

/* Contenders: base, optimized, opponents; each with its name, engine, threads and info filled in.
 * `options->cost` is not NULL. */
struct contender;
moesaic_status pipeline_compare(struct contender *contenders, size_t count, const moesaic_compare_options *options,
                                moesaic_compare_result *ret_result, moesaic_error *error);

/* Counts of parameters, bytes and FLOPs; fills every figure of `ret_info` but size, path, container and tensors. */
void pipeline_describe(const struct model *model, moesaic_model_info *ret_info);

#endif
