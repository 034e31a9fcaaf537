/* SPDX-License-Identifier: Apache-2.0 */
/* `moesaic compare`: an optimized model held against its base. */
#include <stdlib.h>
#include <string.h>

#include "cost.h"

static struct option_texts text_args, gate_args, against_args;
static const char *output, *json_output, *justify;
static int64_t window, tokens;
static bool speed = true;

static const struct option_spec options[] = {
    {"text", 0, OPTION_TEXTS, "[NAME=]FILE", "a text to compare on; may be given several times", &text_args},
    {"output", 'o', OPTION_TEXT, "REPORT.html", "write the report as one self-contained page", &output},
    {"report-json", 0, OPTION_TEXT, "FILE", "write the report as JSON", &json_output},
    {"against", 0, OPTION_TEXTS, "NAME=MODEL", "an opponent, for the chart of quality against bytes", &against_args},
    {"gate", 0, OPTION_TEXTS, "NAME=LIMIT", "exit 4 unless the figure meets the limit, such as kl_mean=0.05",
     &gate_args},
    {"justify", 0, OPTION_TEXT, "TEXT", "why the baseline is deployed all the same: recorded, and exit 0", &justify},
    {"window", 0, OPTION_INT, "N", "tokens evaluated together; 0: the models' maximum, at most 512", &window, 0, 1e9},
    {"tokens", 0, OPTION_INT, "N", "most tokens of each text; 0: all", &tokens, 0, 4e9},
    {"speed", 0, OPTION_FLAG, NULL, "--no-speed leaves speeds and costs out", &speed},
    CLI_COST_OPTIONS,
    {0}};

/* What the models and texts are made into, for the library and then for the freeing. */
struct comparing {
    struct cli_session base, optimized, opponent[16];
    moesaic_compare_opponent opponents[16];
    moesaic_compare_text text[OPTION_TEXTS_MAX];
    char *bytes[OPTION_TEXTS_MAX];
    char name[OPTION_TEXTS_MAX][80];
    moesaic_gate gate[OPTION_TEXTS_MAX];
    char gate_name[OPTION_TEXTS_MAX][80];
    moesaic_cost_options cost;
};

/* "NAME=REST" into name and rest. False without a name that fits. */
static bool name_split(const char *text, char name[80], const char **ret_rest) {
    const char *equal = strchr(text, '=');
    if (!equal || equal == text || equal - text >= 80)
        return false;
    memcpy(name, text, (size_t)(equal - text));
    name[equal - text] = 0;
    *ret_rest = equal + 1;
    return true;
}

/* A text without a name is called after its file, without folder and ending. */
static void name_after(const char *path, char name[80]) {
    const char *slash = strrchr(path, '/'), *begin = slash ? slash + 1 : path, *dot = strrchr(begin, '.');
    size_t bytes = dot && dot > begin ? (size_t)(dot - begin) : strlen(begin);
    bytes = bytes < 79 ? bytes : 79;
    memcpy(name, begin, bytes);
    name[bytes] = 0;
}

static int texts_read(struct comparing *c) {
    int status = text_args.count ? EXIT_DONE : cli_usage("compare: --text FILE is missing");
    for (size_t i = 0; !status && i < text_args.count; i++) {
        const char *path;
        size_t bytes;
        if (!name_split(text_args.text[i], c->name[i], &path)) {
            path = text_args.text[i];
            name_after(path, c->name[i]);
        }
        status = cli_read_file(path, &c->bytes[i], &bytes);
        if (!status)
            c->text[i] = (moesaic_compare_text){c->name[i], c->bytes[i], bytes};
    }
    return status;
}

static int gates_read(struct comparing *c) {
    for (size_t i = 0; i < gate_args.count; i++) {
        const char *limit;
        char *end;
        if (!name_split(gate_args.text[i], c->gate_name[i], &limit))
            return cli_usage("--gate: '%s' is not NAME=LIMIT", gate_args.text[i]);
        c->gate[i] = (moesaic_gate){c->gate_name[i], strtod(limit, &end)};
        if (end == limit || *end)
            return cli_usage("--gate: %s: '%s' is not a number", c->gate_name[i], limit);
    }
    return EXIT_DONE;
}

static int opponents_open(struct comparing *c) {
    if (against_args.count > 16)
        return cli_usage("--against: given more than 16 times");
    int status = EXIT_DONE;
    for (size_t i = 0; !status && i < against_args.count; i++) {
        static char names[16][80];
        const char *path;
        if (!name_split(against_args.text[i], names[i], &path))
            return cli_usage("--against: '%s' is not NAME=MODEL", against_args.text[i]);
        status = cli_session_open(path, MOESAIC_KV_F32, &c->opponent[i]);
        c->opponents[i] = (moesaic_compare_opponent){names[i], c->opponent[i].engine};
    }
    return status;
}

/* ---- output ------------------------------------------------------------------------------------------------------ */

static double real_at(const json_t *object, const char *key) {
    return json_number_value(json_object_get(object, key));
}

static void bytes_line(const char *what, const json_t *report, const char *key) {
    char base[32], optimized[32];
    double a = real_at(json_object_get(report, "base"), key), b = real_at(json_object_get(report, "optimized"), key);
    printf("%-20s %14s %14s   %5.2fx smaller\n", what, cli_bytes(a, base), cli_bytes(b, optimized), b > 0 ? a / b : 0);
}

static void speed_line(const char *what, const json_t *speeds, const char *key) {
    double a = real_at(json_object_get(speeds, "base"), key), b = real_at(json_object_get(speeds, "optimized"), key);
    printf("%-20s %14.0f %14.0f   %5.2fx as fast\n", what, a, b, a > 0 ? b / a : 0);
}

static void texts_print(const json_t *report) {
    size_t i;
    json_t *text;
    if (json_array_size(json_object_get(report, "texts")) < 2)
        return;
    json_array_foreach(json_object_get(report, "texts"), i, text)
        printf("  on %-16.16s KL %.4f, p99 %.3f, top-1 %.1f %%, perplexity %.2f to %.2f\n",
               json_string_value(json_object_get(text, "name")), real_at(text, "kl_mean"), real_at(text, "kl_p99"),
               100 * real_at(text, "top1"), real_at(text, "base_perplexity"), real_at(text, "perplexity"));
}

static void opponents_print(const json_t *report) {
    size_t i;
    json_t *o;
    json_array_foreach(json_object_get(report, "opponents"), i, o) {
        char bytes[32];
        printf("%-20.20s %s, %.3f bits a weight: KL %.5f, p99 %.3f, top-1 %.2f %%, perplexity %.3f\n",
               json_string_value(json_object_get(o, "name")), cli_bytes(real_at(o, "file_bytes"), bytes),
               real_at(o, "bits_per_weight"), real_at(o, "kl_mean"), real_at(o, "kl_p99"), 100 * real_at(o, "top1"),
               real_at(o, "perplexity"));
    }
}

static void summary_print(const json_t *report, const moesaic_compare_result *r) {
    const json_t *rare = json_array_get(json_object_get(report, "by_frequency"), 0),
                 *speeds = json_object_get(report, "speed");
    printf("%-20s %14s %14s\n", "", "base", "optimized");
    bytes_line("bytes on disk", report, "file_bytes");
    bytes_line("bytes per token", report, "active_bytes_per_token");
    printf("%-20s %14.3f %14.3f\n", "bits per weight", real_at(json_object_get(report, "base"), "bits_per_weight"),
           real_at(json_object_get(report, "optimized"), "bits_per_weight"));
    if (speeds) {
        speed_line("prompt tokens/s", speeds, "prompt_tok_s");
        speed_line("decode tokens/s", speeds, "decode_tok_s");
    }
    cli_cost_print(report);
    printf("%-20s %14.3f %14.3f   %+.2f %%\n", "perplexity", r->base_perplexity, r->perplexity,
           100 * (r->perplexity / r->base_perplexity - 1));
    printf("KL divergence        %.5f mean, %.5f median, %.3f p99, %.3f p99.9 over %llu positions\n", r->kl_mean,
           r->kl_median, r->kl_p99, r->kl_p999, (unsigned long long)r->scored);
    printf("same first choice    %.2f %% of all tokens; %.2f %% of the confident ones flipped\n", 100 * r->top1,
           100 * r->confident_flips);
    printf("rare tokens          KL %.5f mean, %.3f p99; same first choice %.2f %%\n", real_at(rare, "kl_mean"),
           real_at(rare, "kl_p99"), 100 * real_at(rare, "top1"));
    texts_print(report);
    opponents_print(report);
}

/* Names every gate on standard error that is not met, and says what that means. */
static int gates_print(const json_t *report, const moesaic_compare_result *r) {
    size_t i;
    json_t *gate;
    json_array_foreach(json_object_get(report, "gates"), i, gate)
        if (!json_is_true(json_object_get(gate, "met")))
            fprintf(stderr, "moesaic: gate: %s is %.6g, it must be %s %.6g\n",
                    json_string_value(json_object_get(gate, "name")), real_at(gate, "value"),
                    json_string_value(json_object_get(gate, "must_be")), real_at(gate, "limit"));
    return r->gates_failed && !justify ? EXIT_GATE : EXIT_DONE;
}

static int result_print(const moesaic_compare_result *r) {
    json_t *report = json_loadb(r->json, r->json_bytes, JSON_ALLOW_NUL, NULL);
    if (!report)
        return cli_json_fail("report");
    if (cli_common.json)
        puts(r->json);
    else if (!cli_common.quiet)
        summary_print(report, r);
    int status = cli_flush(), gates = gates_print(report, r);
    json_decref(report);
    return status ? status : gates;
}

/* ---- the verb ---------------------------------------------------------------------------------------------------- */

static int compare(struct comparing *c) {
    moesaic_error error;
    struct cli_progress progress;
    moesaic_compare_result result = {.size = sizeof result};
    moesaic_compare_options compare_options = {.size = sizeof compare_options,
                                               .text = c->text,
                                               .texts = text_args.count,
                                               .window = (uint32_t)window,
                                               .tokens = (uint32_t)tokens,
                                               .opponent = c->opponents,
                                               .opponents = against_args.count,
                                               .gate = c->gate,
                                               .gates = gate_args.count,
                                               .justify = justify,
                                               .no_speed = !speed,
                                               .json_path = json_output,
                                               .html_path = output,
                                               .progress = cli_progress_update,
                                               .user = &progress,
                                               .cost = &c->cost};
    cli_progress_begin(&progress, "compare", "tokens");
    bool failed = moesaic_compare(c->base.engine, c->optimized.engine, &compare_options, &result, &error) != MOESAIC_OK;
    cli_progress_end(&progress);
    if (failed)
        return cli_fail_output(&error);
    int status = result_print(&result);
    moesaic_free(result.json);
    return status;
}

static void comparing_done(struct comparing *c) {
    for (size_t i = 0; i < 16; i++)
        cli_session_close(&c->opponent[i]);
    cli_session_close(&c->optimized);
    cli_session_close(&c->base);
    for (size_t i = 0; i < OPTION_TEXTS_MAX; i++)
        free(c->bytes[i]);
}

static int run(int count, const char *const *positional) {
    static struct comparing comparing;
    struct comparing *c = &comparing;
    moesaic_kv_type kv;
    (void)count;
    int status = cli_kv(MOESAIC_KV_F32, &kv); /* the same cache for all: only the weights differ */
    if (!status)
        status = cli_cost_options(&c->cost);
    if (!status)
        status = gates_read(c);
    if (!status)
        status = texts_read(c);
    if (!status)
        status = cli_session_open(positional[0], kv, &c->base);
    if (!status)
        status = cli_session_open(positional[1], kv, &c->optimized);
    if (!status)
        status = opponents_open(c);
    if (!status)
        status = compare(c);
    comparing_done(c);
    return status;
}

const struct verb verb_compare = {"compare",
                                  "BASE OPTIMIZED --text [NAME=]FILE... [-o REPORT.html] [OPTIONS]",
                                  "quality, tail, size, speed and cost of an optimized model against its base",
                                  options,
                                  2,
                                  2,
                                  run};
