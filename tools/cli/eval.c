/* SPDX-License-Identifier: Apache-2.0 */
/* `moesaic eval`, `moesaic logits` and `moesaic trace`: what a model makes of a text. */
#include <stdlib.h>

#include "cli.h"

static const char *text_path, *output, *ids_text, *nll_path;
static int64_t window, stride;
static bool hidden;

static const struct option_spec eval_options[] = {
    {"text", 0, OPTION_TEXT, "FILE", "the text to score ('-': standard input)", &text_path},
    {"window", 0, OPTION_INT, "N", "tokens evaluated together; 0: the model's maximum, at most 512", &window, 0, 1e9},
    {"stride", 0, OPTION_INT, "N", "tokens between the starts of windows; 0: the window", &stride, 0, 1e9},
    {"nll", 0, OPTION_TEXT, "FILE", "write each token's negative log-likelihood to a safetensors file", &nll_path},
    {0}};
static const struct option_spec logits_options[] = {
    {"ids", 0, OPTION_TEXT, "1,2,3", "the ids to evaluate", &ids_text},
    {"output", 'o', OPTION_TEXT, "FILE", "safetensors file to write", &output},
    {"hidden", 0, OPTION_FLAG, NULL, "also write the hidden states after each layer", &hidden},
    {0}};
static const struct option_spec trace_options[] = {
    {"text", 0, OPTION_TEXT, "FILE", "the text to run ('-': standard input)", &text_path},
    {"output", 'o', OPTION_TEXT, "FILE", "safetensors file to write", &output},
    {"window", 0, OPTION_INT, "N", "tokens of a sequence; 0: the model's maximum, at most 512", &window, 0, 1e9},
    {0}};

/* A session and a text, for the two verbs that need both. */
struct text_session {
    struct cli_session session;
    char *text;
    size_t bytes;
};

static int text_session_open(const char *model, struct text_session *ret) {
    moesaic_kv_type kv;
    int status = cli_kv(MOESAIC_KV_DEFAULT, &kv);
    if (!status && !text_path)
        status = cli_usage("--text FILE is missing");
    if (!status)
        status = cli_read_file(text_path, &ret->text, &ret->bytes);
    if (!status && (status = cli_session_open(model, kv, &ret->session)))
        free(ret->text);
    return status;
}

static void text_session_close(struct text_session *text) {
    cli_session_close(&text->session);
    free(text->text);
}

static int eval_print(const moesaic_eval_result *r) {
    if (cli_common.json)
        return cli_json_print(json_pack("{s:s,s:I,s:I,s:I,s:f,s:f,s:f,s:f}", "schema", "moesaic.eval/1", "tokens",
                                        (json_int_t)r->tokens, "scored", (json_int_t)r->scored, "bytes",
                                        (json_int_t)r->bytes, "nll", r->nll, "perplexity", r->perplexity,
                                        "bits_per_byte", r->bits_per_byte, "seconds", r->seconds));
    printf("tokens         %llu (%llu scored)\nbytes          %llu\nnll            %.4f\nperplexity     %.4f\n"
           "bits per byte  %.4f\n",
           (unsigned long long)r->tokens, (unsigned long long)r->scored, (unsigned long long)r->bytes, r->nll,
           r->perplexity, r->bits_per_byte);
    if (!cli_common.quiet && r->seconds > 0)
        printf("speed          %.0f tokens/s\n", (double)r->tokens / r->seconds);
    return cli_flush();
}

static int run_eval(int count, const char *const *positional) {
    struct text_session text;
    int status = text_session_open(count ? positional[0] : NULL, &text);
    if (status)
        return status;
    struct cli_progress progress;
    cli_progress_begin(&progress, "eval", "tokens");
    moesaic_error error;
    moesaic_eval_result result = {.size = sizeof result};
    moesaic_eval_options eval = {.size = sizeof eval,
                                 .window = (uint32_t)window,
                                 .stride = (uint32_t)stride,
                                 .nll_path = nll_path,
                                 .progress = cli_progress_update,
                                 .user = &progress};
    bool failed = moesaic_eval(text.session.engine, text.text, text.bytes, &eval, &result, &error) != MOESAIC_OK;
    cli_progress_end(&progress);
    status = failed ? cli_fail_text(&error, text_path) : eval_print(&result);
    text_session_close(&text);
    return status;
}

static int run_logits(int count, const char *const *positional) {
    int32_t *ids = NULL;
    size_t ids_count = 0;
    struct cli_session session;
    moesaic_kv_type kv;
    if (!ids_text || !output)
        return cli_usage("logits: --ids 1,2,3 and -o FILE are needed");
    int status = cli_kv(MOESAIC_KV_F32, &kv);
    if (!status && kv != MOESAIC_KV_F32)
        status = cli_usage("logits: the KV cache is always f32");
    if (status || (status = cli_parse_ids(ids_text, &ids, &ids_count)))
        return status;
    if (!(status = cli_session_open(count ? positional[0] : NULL, kv, &session))) {
        moesaic_error error;
        if (moesaic_logits_write(session.engine, ids, ids_count, hidden, output, &error))
            status = cli_fail_output(&error);
        else if (cli_common.json)
            status = cli_json_print(json_pack("{s:s,s:s,s:I}", "schema", "moesaic.logits/1", "output", output, "tokens",
                                              (json_int_t)ids_count));
        cli_session_close(&session);
    }
    free(ids);
    return status;
}

static int trace_print(const moesaic_trace_result *r) {
    if (!cli_common.json) {
        printf("%llu tokens in %u sequences\n\nlayer  distinct  max/mean  entropy (bits)\n",
               (unsigned long long)r->tokens, r->sequences);
        for (uint32_t i = 0; i < r->layers; i++)
            printf("%5u  %8u  %8.3f  %14.3f\n", r->layer[i].layer, r->layer[i].distinct, r->layer[i].max_over_mean,
                   r->layer[i].entropy_bits);
        return cli_flush();
    }
    json_t *layers = json_array();
    for (uint32_t i = 0; i < r->layers; i++)
        cli_json_add(&layers, json_pack("{s:i,s:i,s:f,s:f}", "layer", (int)r->layer[i].layer, "distinct",
                                        (int)r->layer[i].distinct, "max_over_mean", r->layer[i].max_over_mean,
                                        "entropy_bits", r->layer[i].entropy_bits));
    return cli_json_print(json_pack("{s:s,s:I,s:i,s:o}", "schema", "moesaic.trace/1", "tokens", (json_int_t)r->tokens,
                                    "sequences", (int)r->sequences, "layers", layers));
}

static int run_trace(int count, const char *const *positional) {
    struct text_session text;
    if (!output)
        return cli_usage("trace: -o FILE is missing");
    int status = text_session_open(count ? positional[0] : NULL, &text);
    if (status)
        return status;
    struct cli_progress progress;
    cli_progress_begin(&progress, "trace", "tokens");
    moesaic_error error;
    moesaic_trace_result result = {.size = sizeof result};
    bool failed = moesaic_trace_write(text.session.engine, text.text, text.bytes, (uint32_t)window, output,
                                      cli_progress_update, &progress, &result, &error) != MOESAIC_OK;
    cli_progress_end(&progress);
    if (failed) {
        status = cli_fail_text(&error, text_path);
    } else {
        status = trace_print(&result);
        moesaic_free(result.layer);
    }
    text_session_close(&text);
    return status;
}

const struct verb verb_eval = {"eval",
                               "[MODEL] --text FILE [--window N] [--stride N] [--nll FILE]",
                               "perplexity and bits per byte over a text",
                               eval_options,
                               0,
                               1,
                               run_eval};
const struct verb verb_logits = {"logits",
                                 "[MODEL] --ids 1,2,3 -o FILE [--hidden]",
                                 "one forward pass, its logits and routing as a safetensors file",
                                 logits_options,
                                 0,
                                 1,
                                 run_logits};
const struct verb verb_trace = {"trace",
                                "[MODEL] --text FILE -o FILE [--window N]",
                                "record which experts a text's tokens choose",
                                trace_options,
                                0,
                                1,
                                run_trace};
