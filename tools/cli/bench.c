/* SPDX-License-Identifier: Apache-2.0 */
/* `moesaic bench`: speed, and how near the roof. */
#include <stdlib.h>

#include "cli.h"

static int64_t prompt = 512, decode = 64, repetitions = 5, chunk = 512;
static const char *batches = "1";

static const struct option_spec options[] = {
    {"prompt", 'p', OPTION_INT, "N", "tokens of the prompt (512)", &prompt, 1, 1e9},
    {"decode", 'n', OPTION_INT, "N", "tokens decoded a sequence (64)", &decode, 1, 1e9},
    {"chunk", 0, OPTION_INT, "N", "most tokens of the prompt in one step (512)", &chunk, 1, 1e9},
    {"batch", 'b', OPTION_TEXT, "1,4,8", "sequences decoded together, one measurement each (1)", &batches},
    {"repetitions", 'r', OPTION_INT, "N", "counted repetitions, after one that is not (5)", &repetitions, 1,
     MOESAIC_BENCH_REPETITIONS_MAX - 1},
    {0}};

static json_t *spread_json(const moesaic_bench_spread *s) {
    json_t *values = json_array();
    for (uint32_t i = 0; i < s->count; i++)
        cli_json_add(&values, json_real(s->value[i]));
    return json_pack("{s:f,s:f,s:f,s:o}", "median", s->median, "low", s->low, "high", s->high, "values", values);
}

static const char *const part_names[MOESAIC_BENCH_PARTS] = {"embedding", "project", "attention", "output", "router",
                                                            "up",        "down",    "head",      "wait"};

static json_t *parts_json(const moesaic_bench_run *r) {
    json_t *parts = json_object();
    for (int i = 0; i < MOESAIC_BENCH_PARTS; i++)
        cli_json_set(&parts, part_names[i], json_real(r->part_fraction[i]));
    return parts;
}

static json_t *run_json(const moesaic_bench_result *result, uint32_t index) {
    const moesaic_bench_run *r = &result->run[index];
    const moesaic_work *work = result->work + (size_t)index * result->layers * (1 + result->nodes);
    return json_pack("{s:o,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:o,s:o}", "tok_s", spread_json(&r->tokens_per_second),
                     "bytes_per_token", r->bytes_per_token, "flops_per_token", r->flops_per_token,
                     "float_flops_per_token", r->float_flops_per_token, "read_fraction", r->read_fraction,
                     "int8_fraction", r->int8_fraction, "f32_fraction", r->f32_fraction, "barrier_us_per_layer",
                     r->barrier_us_per_layer, "barrier_fraction", r->barrier_fraction, "barriers_per_layer",
                     r->barriers_per_layer, "parts", parts_json(r), "layers",
                     cli_work_json(work, result->layers, result->nodes));
}

static int print_json(const moesaic_bench_result *r) {
    json_t *decodes = json_array();
    for (uint32_t i = 1; i < r->runs; i++) {
        json_t *run = run_json(r, i);
        cli_json_set(&run, "batch", json_integer(r->run[i].batch));
        cli_json_add(&decodes, run);
    }
    return cli_json_print(json_pack(
        "{s:s,s:i,s:o,s:o,s:o,s:o,s:o}", "schema", "moesaic.bench/1", "threads", (int)r->threads, "read_bytes_s",
        spread_json(&r->read_bytes_per_second), "int8_ops_s", spread_json(&r->int8_ops_per_second), "f32_flops_s",
        spread_json(&r->f32_flops_per_second), "prompt", run_json(r, 0), "decode", decodes));
}

static const char *run_name(const moesaic_bench_run *r, char ret_name[32]) {
    if (!r->batch)
        return "prompt";
    snprintf(ret_name, 32, "decode %u", r->batch);
    return ret_name;
}

static void print_run(const moesaic_bench_run *r) {
    char name[32], bytes[32], flops[32];
    printf("%-10s %9.1f  %8.1f to %-8.1f %12s %10s  %5.1f %%  %5.1f %%  %5.1f %%  %7.2f us\n", run_name(r, name),
           r->tokens_per_second.median, r->tokens_per_second.low, r->tokens_per_second.high,
           cli_bytes(r->bytes_per_token, bytes), cli_count(r->flops_per_token, flops), 100 * r->read_fraction,
           100 * r->int8_fraction, 100 * r->f32_fraction, r->barrier_us_per_layer);
}

/* The parts of every run, one run a line. */
static void print_parts(const moesaic_bench_result *r) {
    printf("\n%-10s", "time in %");
    for (int i = 0; i < MOESAIC_BENCH_PARTS; i++)
        printf(" %9s", part_names[i]);
    puts("      rest");
    for (uint32_t run = 0; run < r->runs; run++) {
        double rest = 1;
        char name[32];
        printf("%-10s", run_name(&r->run[run], name));
        for (int i = 0; i < MOESAIC_BENCH_PARTS; i++) {
            printf(" %9.1f", 100 * r->run[run].part_fraction[i]);
            rest -= r->run[run].part_fraction[i];
        }
        printf(" %9.1f\n", 100 * rest);
    }
}

static int print_text(const moesaic_bench_result *r) {
    printf("%u threads; reads %.1f GB/s (%.1f to %.1f), multiplies %.0f INT8 GOPS, %.0f F32 GFLOPS\n\n", r->threads,
           r->read_bytes_per_second.median / 1e9, r->read_bytes_per_second.low / 1e9,
           r->read_bytes_per_second.high / 1e9, r->int8_ops_per_second.median / 1e9,
           r->f32_flops_per_second.median / 1e9);
    puts(
        "            tokens/s  spread               bytes/token  FLOPs/token of reads of INT8  of F32  barriers/layer");
    for (uint32_t i = 0; i < r->runs; i++)
        print_run(&r->run[i]);
    print_parts(r);
    return cli_flush();
}

/* "1,4,8" into the options. */
static int batches_read(moesaic_bench_options *ret) {
    for (const char *at = batches; *at;) {
        char *end;
        long batch = strtol(at, &end, 10);
        if (end == at || batch < 1 || batch > 1024 || (*end && *end != ',') ||
            ret->batches == MOESAIC_BENCH_BATCHES_MAX)
            return cli_usage("--batch: '%s' is not a list of at most %d numbers from 1 to 1024", batches,
                             MOESAIC_BENCH_BATCHES_MAX);
        ret->batch[ret->batches++] = (uint32_t)batch;
        at = *end ? end + 1 : end;
    }
    return EXIT_DONE;
}

static int run(int count, const char *const *positional) {
    moesaic_error error;
    moesaic_model *model;
    struct cli_progress progress;
    moesaic_bench_options bench = {.size = sizeof bench,
                                   .prompt_tokens = (uint32_t)prompt,
                                   .decode_tokens = (uint32_t)decode,
                                   .repetitions = (uint32_t)repetitions,
                                   .step_tokens = (uint32_t)chunk,
                                   .threads = (uint32_t)cli_common.threads,
                                   .plan_path = cli_common.plan,
                                   .rebalance = cli_common.rebalance,
                                   .progress = cli_progress_update,
                                   .user = &progress};
    int status = cli_kv(MOESAIC_KV_DEFAULT, &bench.kv);
    if (!status)
        status = batches_read(&bench);
    if (status)
        return status;
    if (moesaic_model_open(count ? positional[0] : NULL, NULL, &model, &error))
        return cli_fail(&error);
    moesaic_bench_result *result = calloc(1, sizeof *result);
    if (!result) {
        moesaic_model_release(model);
        return cli_fail(&(moesaic_error){MOESAIC_E_MEMORY, "bench: out of memory"});
    }
    result->size = sizeof *result;
    cli_progress_begin(&progress, "bench", "measurements");
    bool failed = moesaic_bench(model, &bench, result, &error) != MOESAIC_OK;
    cli_progress_end(&progress);
    moesaic_model_release(model);
    status = failed ? cli_fail(&error) : cli_common.json ? print_json(result) : print_text(result);
    moesaic_free(result->work);
    free(result);
    return status;
}

const struct verb verb_bench = {"bench",
                                "[MODEL] [-p 512] [-n 64] [-b 1,4,8] [-r 5]",
                                "measure speed, and how near it is to what the machine can read and multiply",
                                options,
                                0,
                                1,
                                run};
