/* SPDX-License-Identifier: Apache-2.0 */
/* `moesaic advise`: the decision tree, walked for this machine, model and these tolerances. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static const char *calib_path, *text_path, *memory_text;
static int64_t calib_tokens, text_tokens;
static double max_kl, min_tok_s;

static const struct option_spec options[] = {
    {"calib", 0, OPTION_TEXT, "FILE", "calibration text ('-': standard input); without it what the model itself writes",
     &calib_path},
    {"text", 0, OPTION_TEXT, "FILE", "text to judge by; without it the last twentieth of the calibration's",
     &text_path},
    {"memory", 0, OPTION_TEXT, "SIZE", "for weights and KV cache, such as 24GiB (this machine's)", &memory_text},
    {"max-kl", 0, OPTION_REAL, "NATS", "mean KL from the base that is still good (0.01)", &max_kl, 1e-9, 100},
    {"min-tok-s", 0, OPTION_REAL, "N", "tokens a second to decode one sequence at", &min_tok_s, 1e-9, 1e9},
    {"calib-tokens", 0, OPTION_INT, "N", "most tokens to calibrate on (16384)", &calib_tokens, 1, 1e9},
    {"tokens", 0, OPTION_INT, "N", "most tokens to judge by (8192)", &text_tokens, 2, 1e9},
    {0}};

/* `text` as one word of a shell, at `to`, where 4 * strlen(text) + 3 bytes are; returns the end. */
static char *shell_word(char *to, const char *text) {
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_@%+=:,./-";
    if (*text && strspn(text, plain) == strlen(text))
        return stpcpy(to, text);
    *to++ = '\'';
    for (; *text; text++)
        if (*text == '\'')
            to = stpcpy(to, "'\\''");
        else
            *to++ = *text;
    return stpcpy(to, "'");
}

/* The command that carries the advice out; freed with free(). */
static char *command_make(const moesaic_advise_result *r, const char *model) {
    const char *calib = calib_path ? calib_path : "TEXT";
    char *command = malloc(4 * (strlen(model) + strlen(calib)) + sizeof r->candidate->options + 64);
    if (!command)
        return NULL;
    char *to = stpcpy(command, r->chosen >= 0 ? "moesaic compress" : "moesaic run");
    if (*model)
        to = shell_word(stpcpy(to, " "), model);
    if (r->chosen >= 0) {
        to = shell_word(stpcpy(to, " -o OUT.moe --calib "), calib);
        stpcpy(stpcpy(to, " "), r->candidate[r->chosen].options);
    }
    return command;
}

static json_t *candidate_json(const moesaic_advice_candidate *c) {
    return json_pack("{s:s,s:s,s:I,s:I,s:f,s:f,s:f,s:f,s:f,s:b,s:b,s:b}", "name", c->name, "options", c->options,
                     "bytes", (json_int_t)c->bytes, "file_bytes", (json_int_t)c->file_bytes, "bits_per_weight",
                     c->bits_per_weight, "kl_mean", c->kl_mean, "kl_p99", c->kl_p99, "top1", c->top1, "decode_tok_s",
                     c->decode_tok_s, "fits", c->fits, "good", c->good, "fast", c->fast);
}

static json_t *step_json(const moesaic_advice_step *s) {
    return json_pack("{s:s,s:b,s:s,s:s}", "question", s->question, "yes", s->yes, "answer", s->answer, "branch",
                     s->branch);
}

static int print_json(const moesaic_advise_result *r, const char *command) {
    json_t *walk = json_array(), *candidates = json_array();
    for (uint32_t i = 0; i < r->steps; i++)
        cli_json_add(&walk, step_json(&r->step[i]));
    for (uint32_t i = 0; i < r->candidates; i++)
        cli_json_add(&candidates, candidate_json(&r->candidate[i]));
    return cli_json_print(json_pack(
        "{s:s,s:s,s:s?,s:s,s:s,s:I,s:f,s:f,s:{s:I,s:f,s:f},s:o,s:o}", "schema", "moesaic.advise/1", "verdict",
        r->verdict, "chosen", r->chosen >= 0 ? r->candidate[r->chosen].name : NULL, "command", command, "calibration",
        r->sampled   ? "sampled"
        : calib_path ? "given"
                     : "none",
        "memory_bytes", (json_int_t)r->memory_bytes, "max_kl", r->max_kl, "min_tok_s", r->min_tok_s, "base", "bytes",
        (json_int_t)r->base_bytes, "decode_tok_s", r->base_tok_s, "read_bytes_s", r->read_bytes_s, "walk", walk,
        "candidates", candidates));
}

static int print_text(const moesaic_advise_result *r, const char *command) {
    char bytes[32];
    for (uint32_t i = 0; i < r->steps; i++)
        printf("%u. %s %s\n   %s\n   -> %s\n", i + 1, r->step[i].question, r->step[i].yes ? "Yes." : "No.",
               r->step[i].answer, r->step[i].branch);
    if (r->candidates)
        puts("\ntreatment          weights  bits/w        KL  same first  tokens/s  memory  KL  speed");
    for (uint32_t i = 0; i < r->candidates; i++) {
        const moesaic_advice_candidate *c = &r->candidate[i];
        printf("%-14s %11s  %6.3f  %8.5f  %8.2f %%  %8.1f  %-6s  %-3s %s\n", c->name,
               cli_bytes((double)c->bytes, bytes), c->bits_per_weight, c->kl_mean, 100 * c->top1, c->decode_tok_s,
               c->fits ? "yes" : "no", c->good ? "yes" : "no", c->fast ? "yes" : "no");
    }
    printf("\nadvice: %s\n  %s\n",
           !strcmp(r->verdict, "nothing")    ? "do nothing: the model meets what was asked for as it is"
           : !strcmp(r->verdict, "compress") ? r->candidate[r->chosen].name
                                             : "no treatment meets all of this; give up a tolerance, or run the base:",
           command);
    return cli_flush();
}

static int advise(moesaic_model *model, const char *name, const char *const texts[2], const size_t bytes[2]) {
    moesaic_error error;
    struct cli_progress progress;
    double memory = 0;
    if (memory_text && !cli_read_bytes(memory_text, &memory))
        return cli_usage("--memory: '%s' is not a size, such as 24GiB", memory_text);
    size_t used = text_path || !calib_path ? bytes[0] : cli_calibration_bytes(texts[0], bytes[0]);
    size_t held_out = used < bytes[0] ? used : 0;
    const char *judge = text_path ? texts[1] : calib_path ? texts[0] + held_out : NULL;
    moesaic_advise_options o = {.size = sizeof o,
                                .calib = texts[0],
                                .calib_bytes = used,
                                .calib_tokens = (uint32_t)calib_tokens,
                                .text = judge,
                                .text_bytes = text_path ? bytes[1] : bytes[0] - held_out,
                                .text_tokens = (uint32_t)text_tokens,
                                .memory_bytes = (uint64_t)memory,
                                .max_kl = max_kl,
                                .min_tok_s = min_tok_s,
                                .threads = (uint32_t)cli_common.threads,
                                .progress = cli_progress_update,
                                .user = &progress};
    moesaic_advise_result *result = calloc(1, sizeof *result);
    if (!result)
        return cli_fail(&(moesaic_error){MOESAIC_E_MEMORY, "advise: out of memory"});
    result->size = sizeof *result;
    cli_progress_begin(&progress, "advise", "thousandths of a treatment");
    bool failed = moesaic_advise(model, &o, result, &error) != MOESAIC_OK;
    cli_progress_end(&progress);
    char *command = failed ? NULL : command_make(result, name);
    int status = failed            ? cli_fail_output(&error)
                 : !command        ? cli_fail(&(moesaic_error){MOESAIC_E_MEMORY, "advise: out of memory"})
                 : cli_common.json ? print_json(result, command)
                                   : print_text(result, command);
    free(command);
    free(result);
    return status;
}

static int run(int count, const char *const *positional) {
    moesaic_error error;
    moesaic_model *model = NULL;
    char *texts[2] = {NULL, NULL};
    size_t bytes[2] = {0, 0};
    int status = calib_path ? cli_read_file(calib_path, &texts[0], &bytes[0]) : EXIT_DONE;
    if (!status && text_path)
        status = cli_read_file(text_path, &texts[1], &bytes[1]);
    if (!status && moesaic_model_open(count ? positional[0] : NULL, NULL, &model, &error))
        status = cli_fail(&error);
    if (!status)
        status = advise(model, count ? positional[0] : "", (const char *const *)texts, bytes);
    moesaic_model_release(model);
    free(texts[1]);
    free(texts[0]);
    return status;
}

const struct verb verb_advise = {
    "advise",
    "[MODEL] [--calib FILE] [--memory 24GiB] [--max-kl 0.01] [--min-tok-s N] [--text FILE]",
    "say what to do to a model on this machine, every answer measured",
    options,
    0,
    1,
    run};
