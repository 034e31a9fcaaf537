/* SPDX-License-Identifier: Apache-2.0 */
/* `moesaic run`: continues a prompt, streaming. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

static const char *prompt, *prompt_file, *prompt_ids;
static int64_t tokens = 128, context;
static struct option_texts stops;
static int64_t top_k, seed, logprobs = -1;
static double temperature, top_p, min_p, repeat_penalty, presence_penalty, frequency_penalty;
static bool ignore_eos;

static const struct option_spec options[] = {
    {"prompt", 'p', OPTION_TEXT, "TEXT", "the text to continue", &prompt},
    {"file", 'f', OPTION_TEXT, "FILE", "read the text from a file ('-': standard input)", &prompt_file},
    {"ids", 0, OPTION_TEXT, "1,2,3", "the ids to continue", &prompt_ids},
    {"tokens", 'n', OPTION_INT, "N", "most tokens to generate; 0: as many as the context holds (128)", &tokens, 0, 1e9},
    {"ctx", 0, OPTION_INT, "N", "context in tokens; 0: prompt and answer, at most the model's maximum", &context, 0,
     1e9},
    {"temp", 0, OPTION_REAL, "T", "temperature; 0: greedy (0)", &temperature, 0, 1e6},
    {"top-k", 0, OPTION_INT, "K", "sample among the K most likely; 0: all", &top_k, 0, 1e9},
    {"top-p", 0, OPTION_REAL, "P", "sample among the most likely that make up P; 0: all", &top_p, 0, 1},
    {"min-p", 0, OPTION_REAL, "P", "drop tokens less likely than P times the best", &min_p, 0, 1},
    {"repeat-penalty", 0, OPTION_REAL, "X", "divide the logits of tokens seen by X; 0 or 1: none", &repeat_penalty, 0,
     1e6},
    {"presence-penalty", 0, OPTION_REAL, "X", "subtract X from logits of tokens generated", &presence_penalty, -1e6,
     1e6},
    {"frequency-penalty", 0, OPTION_REAL, "X", "subtract X for each time a token was generated", &frequency_penalty,
     -1e6, 1e6},
    {"seed", 0, OPTION_INT, "S", "seed of the draws (0)", &seed, 0, 9e18},
    {"stop", 0, OPTION_TEXTS, "TEXT", "end the answer before TEXT; may be given again", &stops},
    {"ignore-eos", 0, OPTION_FLAG, NULL, "go on behind end-of-sequence tokens", &ignore_eos},
    {"logprobs", 0, OPTION_INT, "N", "report log-probabilities and N alternatives (with --json)", &logprobs, 0, 20},
    {0}};

/* What the callback gathers for the document, and whether the text could not be written. */
struct answer {
    json_t *ids, *text_parts, *logprobs;
    bool failed;
};

static json_t *candidate_json(int32_t id, float logprob) {
    return json_pack("{s:i,s:f}", "id", id, "logprob", logprob);
}

static void token_gather(struct answer *answer, const moesaic_token *token) {
    cli_json_add(&answer->ids, json_integer(token->id));
    cli_json_add(&answer->text_parts, json_stringn(token->text, token->text_bytes));
    if (logprobs >= 0) {
        json_t *entry = candidate_json(token->id, token->logprob), *top = json_array();
        for (size_t i = 0; i < token->tops; i++)
            cli_json_add(&top, candidate_json(token->top[i].id, token->top[i].logprob));
        cli_json_set(&entry, "top", top);
        cli_json_add(&answer->logprobs, entry);
    }
}

static int on_token(void *user, const moesaic_token *token) {
    struct answer *answer = user;
    if (cli_common.json)
        token_gather(answer, token);
    else if (fwrite(token->text, 1, token->text_bytes, stdout) != token->text_bytes || fflush(stdout))
        answer->failed = true;
    return answer->failed || cli_interrupted;
}

/* The prompt as ids, from whichever option gives it; freed with moesaic_free or free, which are one. */
static int prompt_read(const moesaic_model *model, int32_t **ret_ids, size_t *ret_count) {
    if ((prompt != NULL) + (prompt_file != NULL) + (prompt_ids != NULL) > 1)
        return cli_usage("give one of -p, -f and --ids");
    if (prompt_ids)
        return cli_parse_ids(prompt_ids, ret_ids, ret_count);
    if (!prompt && !prompt_file && isatty(STDIN_FILENO))
        return cli_usage("no prompt: give -p TEXT, -f FILE or --ids 1,2,3");
    char *text = NULL;
    size_t bytes = prompt ? strlen(prompt) : 0;
    int status = prompt ? EXIT_DONE : cli_read_file(prompt_file ? prompt_file : "-", &text, &bytes);
    if (status)
        return status;
    moesaic_error error;
    if (moesaic_tokenize(model, prompt ? prompt : text, bytes, true, ret_ids, ret_count, &error))
        status = cli_fail_text(&error, prompt ? "-p" : prompt_file ? prompt_file : "-");
    free(text);
    return status;
}

static int sequence_open(const struct cli_session *session, const int32_t *ids, size_t count,
                         moesaic_sequence **ret_sequence) {
    moesaic_error error;
    moesaic_model_info info = {.size = sizeof info};
    if (moesaic_model_info_get(session->model, &info, &error))
        return cli_fail(&error);
    int64_t want = context ? context : tokens ? (int64_t)count + tokens : info.max_position;
    if (!context && want > info.max_position && (int64_t)count < info.max_position)
        want = info.max_position;
    moesaic_sequence_options sequence_options = {.size = sizeof sequence_options, .capacity_tokens = (uint32_t)want};
    if (moesaic_sequence_create(session->engine, &sequence_options, ret_sequence, &error) ||
        moesaic_sequence_append(*ret_sequence, ids, count, &error)) {
        moesaic_sequence_destroy(*ret_sequence);
        return cli_fail(&error);
    }
    return EXIT_DONE;
}

static int report(const moesaic_engine *engine, const moesaic_generation *generation, struct answer *answer,
                  json_t *prompt_list) {
    double rate = generation->decode_s > 0 && generation->completion_tokens > 1
                      ? (double)(generation->completion_tokens - 1) / generation->decode_s
                      : 0;
    if (!cli_common.json) {
        putchar('\n');
        if (!cli_common.quiet)
            fprintf(stderr, "[%zu prompt tokens in %.3f s; %zu tokens in %.3f s: %.1f tokens/s; %s]\n",
                    generation->prompt_tokens, generation->prefill_s, generation->completion_tokens,
                    generation->decode_s, rate, moesaic_finish_name(generation->finish));
        return cli_flush();
    }
    size_t bytes = 0;
    for (size_t i = 0; i < json_array_size(answer->text_parts); i++)
        bytes += json_string_length(json_array_get(answer->text_parts, i));
    char *text = answer->text_parts ? malloc(bytes + 1) : NULL, *at = text;
    for (size_t i = 0; text && i < json_array_size(answer->text_parts); i++) {
        json_t *part = json_array_get(answer->text_parts, i);
        memcpy(at, json_string_value(part), json_string_length(part));
        at += json_string_length(part);
    }
    json_t *document =
        json_pack("{s:s,s:O,s:o,s:O,s:s,s:I,s:I,s:f,s:f,s:f,s:o}", "schema", "moesaic.run/1", "ids", answer->ids,
                  "text", text ? json_stringn(text, bytes) : NULL, "prompt_ids", prompt_list, "finish_reason",
                  moesaic_finish_name(generation->finish), "prompt_tokens", (json_int_t)generation->prompt_tokens,
                  "completion_tokens", (json_int_t)generation->completion_tokens, "prefill_s", generation->prefill_s,
                  "decode_s", generation->decode_s, "decode_tok_s", rate, "counters", cli_counters_json(engine));
    free(text);
    if (document && logprobs >= 0)
        cli_json_set(&document, "logprobs", json_incref(answer->logprobs));
    return cli_json_print(document);
}

static int generate(const moesaic_engine *engine, moesaic_sequence *sequence, struct answer *answer,
                    json_t *prompt_list) {
    moesaic_error error;
    moesaic_generation generation = {.size = sizeof generation};
    moesaic_sampling sampling = {.size = sizeof sampling,
                                 .temperature = temperature,
                                 .top_k = (uint32_t)(top_k > UINT32_MAX ? UINT32_MAX : top_k),
                                 .top_p = top_p,
                                 .min_p = min_p,
                                 .repeat_penalty = repeat_penalty,
                                 .presence_penalty = presence_penalty,
                                 .frequency_penalty = frequency_penalty,
                                 .seed = (uint64_t)seed,
                                 .ignore_eos = ignore_eos,
                                 .logprobs = logprobs >= 0,
                                 .top_logprobs = logprobs > 0 ? (uint32_t)logprobs : 0,
                                 .stop = stops.text,
                                 .stops = stops.count};
    if (moesaic_sequence_generate(sequence, &sampling, (size_t)tokens, on_token, answer, &generation, &error))
        return cli_fail(&error);
    int status = report(engine, &generation, answer, prompt_list);
    return status ? status : answer->failed ? EXIT_FAILED : cli_interrupted ? EXIT_INTERRUPTED : EXIT_DONE;
}

static int run(int count, const char *const *positional) {
    moesaic_kv_type kv;
    struct cli_session session;
    int status = cli_kv(MOESAIC_KV_DEFAULT, &kv);
    if (status || (status = cli_session_open(count ? positional[0] : NULL, kv, &session)))
        return status;
    int32_t *ids = NULL;
    size_t prompt_count = 0;
    moesaic_sequence *sequence = NULL;
    struct answer answer = {json_array(), json_array(), json_array(), false};
    json_t *prompt_list = json_array();
    status = prompt_read(session.model, &ids, &prompt_count);
    for (size_t i = 0; i < prompt_count; i++)
        cli_json_add(&prompt_list, json_integer(ids[i]));
    if (!status)
        status = sequence_open(&session, ids, prompt_count, &sequence);
    if (!status) {
        status = generate(session.engine, sequence, &answer, prompt_list);
        moesaic_sequence_destroy(sequence);
    }
    json_decref(answer.ids);
    json_decref(answer.text_parts);
    json_decref(answer.logprobs);
    json_decref(prompt_list);
    moesaic_free(ids);
    cli_session_close(&session);
    return status;
}

const struct verb verb_run = {"run",
                              "[MODEL] [-p TEXT | -f FILE | --ids 1,2,3] [-n N] [OPTIONS]",
                              "continue a prompt, streaming; without MODEL the bundled one",
                              options,
                              0,
                              1,
                              run};
