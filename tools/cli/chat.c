/* SPDX-License-Identifier: Apache-2.0 */
/* `moesaic chat`: a conversation with the model's own template, line editing and history. */
#include <editline/readline.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

static const char *system_prompt;
static int64_t tokens, context, seed;
static double temperature = 0.7, top_p = 0.9;

static const struct option_spec options[] = {
    {"system", 0, OPTION_TEXT, "TEXT", "the system message", &system_prompt},
    {"tokens", 'n', OPTION_INT, "N", "most tokens of an answer; 0: as many as the context holds (0)", &tokens, 0, 1e9},
    {"ctx", 0, OPTION_INT, "N", "context in tokens; 0: the model's maximum, at most 8192", &context, 0, 1e9},
    {"temp", 0, OPTION_REAL, "T", "temperature; 0: greedy (0.7)", &temperature, 0, 1e6},
    {"top-p", 0, OPTION_REAL, "P", "sample among the most likely that make up P (0.9)", &top_p, 0, 1},
    {"seed", 0, OPTION_INT, "S", "seed of the draws (0)", &seed, 0, 9e18},
    {0}};

struct chat {
    struct cli_session session;
    moesaic_sequence *sequence;
    json_t *messages;
    char *answer;
    size_t answer_bytes;
    FILE *answer_stream; /* gathers the answer at hand */
};

static int on_token(void *user, const moesaic_token *token) {
    struct chat *chat = user;
    fwrite(token->text, 1, token->text_bytes, stdout);
    fflush(stdout);
    fwrite(token->text, 1, token->text_bytes, chat->answer_stream);
    return cli_interrupted;
}

static moesaic_status no_memory(moesaic_error *error) {
    *error = (moesaic_error){MOESAIC_E_MEMORY, "chat: out of memory"};
    return MOESAIC_E_MEMORY;
}

/* The ids of the conversation so far, ready for an answer. */
static moesaic_status conversation_ids(struct chat *chat, int32_t **ret_ids, size_t *ret_count, moesaic_error *error) {
    json_t *request = json_pack("{s:O,s:b}", "messages", chat->messages, "add_generation_prompt", 1);
    char *text = cli_json_text(request), *rendered;
    size_t bytes;
    json_decref(request);
    if (!text)
        return no_memory(error);
    moesaic_status status = moesaic_template_render(chat->session.model, text, strlen(text), &rendered, &bytes, error);
    free(text);
    if (status)
        return status;
    status = moesaic_tokenize(chat->session.model, rendered, bytes, false, ret_ids, ret_count, error);
    moesaic_free(rendered);
    return status;
}

/* Brings the sequence to `ids`, keeping what both begin with: its keys and values are still right. */
static moesaic_status sequence_set(moesaic_sequence *sequence, const int32_t *ids, size_t count, moesaic_error *error) {
    const int32_t *held;
    size_t have = moesaic_sequence_tokens(sequence, &held), same = 0;
    while (same < have && same < count && held[same] == ids[same])
        same++;
    moesaic_status status = moesaic_sequence_truncate(sequence, same, error);
    return status ? status : moesaic_sequence_append(sequence, ids + same, count - same, error);
}

static moesaic_status answer(struct chat *chat, moesaic_error *error) {
    int32_t *ids;
    size_t count;
    moesaic_status status = conversation_ids(chat, &ids, &count, error);
    if (status)
        return status;
    moesaic_sampling sampling = {
        .size = sizeof sampling, .temperature = temperature, .top_p = top_p, .seed = (uint64_t)seed};
    moesaic_generation generation = {.size = sizeof generation};
    status = sequence_set(chat->sequence, ids, count, error);
    moesaic_free(ids);
    chat->answer_stream = open_memstream(&chat->answer, &chat->answer_bytes);
    if (!chat->answer_stream)
        return no_memory(error);
    cli_interrupted = 0;
    if (!status)
        status =
            moesaic_sequence_generate(chat->sequence, &sampling, (size_t)tokens, on_token, chat, &generation, error);
    bool whole = !fclose(chat->answer_stream);
    json_t *content = status || !whole ? NULL : json_stringn(chat->answer, chat->answer_bytes);
    if (!status &&
        json_array_append_new(chat->messages, json_pack("{s:s,s:o}", "role", "assistant", "content", content)))
        status = no_memory(error);
    if (!status) {
        putchar('\n');
        if (!cli_common.quiet && generation.decode_s > 0 && generation.completion_tokens > 1)
            fprintf(stderr, "[%zu tokens, %.1f tokens/s%s]\n", generation.completion_tokens,
                    (double)(generation.completion_tokens - 1) / generation.decode_s,
                    cli_interrupted ? ", stopped" : "");
    }
    free(chat->answer);
    chat->answer = NULL;
    return status;
}

/* A line of the user's, freed with free(); NULL at the end of input (Ctrl-D). */
static char *line_read(void) {
    if (isatty(STDIN_FILENO))
        return readline("> ");
    char *line = NULL;
    size_t capacity = 0;
    ssize_t bytes = getline(&line, &capacity, stdin);
    if (bytes < 0) {
        free(line);
        return NULL;
    }
    if (bytes && line[bytes - 1] == '\n')
        line[bytes - 1] = 0;
    return line;
}

/* Until Ctrl-D. A message that fails is taken back, so that the conversation can go on. */
static int converse(struct chat *chat) {
    int status = EXIT_DONE;
    for (char *line; (line = line_read()); free(line)) {
        moesaic_error error;
        if (!*line)
            continue;
        add_history(line);
        size_t before = json_array_size(chat->messages);
        json_t *message = json_pack("{s:s,s:s}", "role", "user", "content", line);
        if (json_array_append_new(chat->messages, message)) {
            status = cli_usage("chat: the line is not UTF-8");
        } else if (answer(chat, &error)) {
            status = cli_fail(&error);
            while (json_array_size(chat->messages) > before)
                json_array_remove(chat->messages, before);
        }
        if (status && !isatty(STDIN_FILENO)) {
            free(line);
            return status;
        }
    }
    return isatty(STDIN_FILENO) ? cli_flush() : status;
}

static int run(int count, const char *const *positional) {
    moesaic_error error;
    moesaic_kv_type kv;
    struct chat chat = {.messages = json_array()};
    moesaic_model_info info = {.size = sizeof info};
    int status = cli_kv(MOESAIC_KV_DEFAULT, &kv);
    if (!status)
        status = cli_session_open(count ? positional[0] : NULL, kv, &chat.session);
    if (!status && moesaic_model_info_get(chat.session.model, &info, &error))
        status = cli_fail(&error);
    if (!status) {
        int64_t capacity = context ? context : info.max_position < 8192 ? info.max_position : 8192;
        moesaic_sequence_options sequence = {.size = sizeof sequence, .capacity_tokens = (uint32_t)capacity};
        if (moesaic_sequence_create(chat.session.engine, &sequence, &chat.sequence, &error))
            status = cli_fail(&error);
    }
    if (!status && system_prompt &&
        json_array_append_new(chat.messages, json_pack("{s:s,s:s}", "role", "system", "content", system_prompt)))
        status = cli_usage("--system: the text is not UTF-8");
    if (!status)
        status = converse(&chat);
    moesaic_sequence_destroy(chat.sequence);
    cli_session_close(&chat.session);
    json_decref(chat.messages);
    return status;
}

const struct verb verb_chat = {"chat",
                               "[MODEL] [--system TEXT] [OPTIONS]",
                               "talk with a model; Ctrl-C stops an answer, Ctrl-D leaves",
                               options,
                               0,
                               1,
                               run};
