/* SPDX-License-Identifier: Apache-2.0 */
/* Many callers of one engine at once: generating, evaluating, cancelling, reading counters, using the model's text,
 * without a test framework: to be run under ThreadSanitizer. argv[1] is a model. Exit status 0: every caller got what
 * it gets alone; the sanitizer adds its own verdict. */
#include <moesaic/moesaic.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CALLERS = 5, ROUNDS = 3, TOKENS = 12, CANCEL_AFTER = 3 };

static const char *const prompts[CALLERS] = {"Once upon a time there was", "The sea", "a",
                                             "In the deep forest, at night, when",
                                             "Tell me, said the king to the youngest of his three sons, what"};
static const char request[] =
    "{\"messages\":[{\"role\":\"user\",\"content\":\"Why?\"}],\"add_generation_prompt\":true}";

struct answer {
    int32_t ids[TOKENS];
    size_t count, most; /* most: tokens after which the callback cancels */
};

struct shared {
    moesaic_model *model;
    moesaic_engine *engine;
    struct answer alone[CALLERS];
    double evaluation; /* of the first prompt, alone: a sum over its logits */
    _Atomic unsigned failures;
    atomic_bool done;
};

struct caller {
    struct shared *shared;
    int index;
};

static void check(struct shared *s, bool right, const char *what, const char *why) {
    if (!right) {
        fprintf(stderr, "race_engine: %s: %s\n", what, why);
        atomic_fetch_add(&s->failures, 1);
    }
}

static int take_token(void *user, const moesaic_token *token) {
    struct answer *answer = user;
    answer->ids[answer->count++] = token->id;
    return answer->count == answer->most;
}

/* An answer to prompt `index`, sampled with a seed of its own; cancelled after `most` tokens. */
static moesaic_status ask(struct shared *s, int index, size_t most, struct answer *ret_answer, moesaic_error *error) {
    moesaic_sampling sampling = {
        .size = sizeof sampling, .temperature = 0.9, .top_p = 0.95, .seed = (uint64_t)index, .ignore_eos = true};
    moesaic_sequence_options options = {.size = sizeof options, .capacity_tokens = 200};
    moesaic_sequence *sequence;
    *ret_answer = (struct answer){.most = most};
    moesaic_status status = moesaic_sequence_create(s->engine, &options, &sequence, error);
    if (status)
        return status;
    status = moesaic_sequence_append_text(sequence, prompts[index], strlen(prompts[index]), true, error);
    if (!status)
        status = moesaic_sequence_generate(sequence, &sampling, TOKENS, take_token, ret_answer, NULL, error);
    moesaic_sequence_destroy(sequence);
    return status;
}

static bool answers_equal(const struct answer *a, const struct answer *b, size_t count) {
    return a->count >= count && b->count >= count && memcmp(a->ids, b->ids, count * sizeof *a->ids) == 0;
}

static void *generate(void *argument) {
    struct caller *caller = argument;
    struct shared *s = caller->shared;
    for (int round = 0; round < ROUNDS; round++) {
        moesaic_error error = {0};
        struct answer answer;
        moesaic_status status = ask(s, caller->index, TOKENS + 1, &answer, &error);
        check(s, !status && answer.count == TOKENS && answers_equal(&answer, &s->alone[caller->index], TOKENS),
              "an answer among others differs from the one alone", error.message);
    }
    return NULL;
}

static void *cancel(void *argument) {
    struct caller *caller = argument;
    for (int round = 0; round < 2 * ROUNDS; round++) {
        moesaic_error error = {0};
        struct answer answer;
        moesaic_status status = ask(caller->shared, 0, CANCEL_AFTER, &answer, &error);
        check(caller->shared, !status && answer.count == CANCEL_AFTER &&
              answers_equal(&answer, &caller->shared->alone[0], CANCEL_AFTER), "a cancelled answer", error.message);
    }
    return NULL;
}

static int add_logit(void *user, const moesaic_evaluation *evaluation) {
    *(double *)user += (double)evaluation->logits[0] * (double)(evaluation->position + 1);
    return 0;
}

static moesaic_status evaluate_first(struct shared *s, double *ret_sum, moesaic_error *error) {
    moesaic_sequence *sequence;
    moesaic_status status = moesaic_sequence_create(s->engine, NULL, &sequence, error);
    if (status)
        return status;
    *ret_sum = 0;
    status = moesaic_sequence_append_text(sequence, prompts[0], strlen(prompts[0]), true, error);
    if (!status)
        status = moesaic_sequence_evaluate(sequence, true, add_logit, ret_sum, error);
    moesaic_sequence_destroy(sequence);
    return status;
}

static void *evaluate(void *argument) {
    struct shared *s = ((struct caller *)argument)->shared;
    for (int round = 0; round < ROUNDS; round++) {
        moesaic_error error = {0};
        double sum;
        moesaic_status status = evaluate_first(s, &sum, &error);
        check(s, !status && sum == s->evaluation, "an evaluation among answers differs from the one alone",
              error.message);
    }
    return NULL;
}

/* The model's text side, and references to it. */
static void *use_text(void *argument) {
    struct shared *s = ((struct caller *)argument)->shared;
    for (int round = 0; round < 10 * ROUNDS; round++) {
        moesaic_error error = {0};
        moesaic_model *model = moesaic_model_retain(s->model);
        int32_t *ids;
        size_t count, bytes;
        char *text;
        moesaic_status status = moesaic_tokenize(model, prompts[3], strlen(prompts[3]), false, &ids, &count, &error);
        if (!status) {
            status = moesaic_detokenize(model, ids, count, false, &text, &bytes, &error);
            moesaic_free(ids);
        }
        check(s, !status && bytes == strlen(prompts[3]) && !memcmp(text, prompts[3], bytes), "text", error.message);
        if (!status)
            moesaic_free(text);
        status = moesaic_template_render(model, request, sizeof request - 1, &text, &bytes, &error);
        check(s, !status, "template", error.message);
        if (!status)
            moesaic_free(text);
        moesaic_model_release(model);
    }
    return NULL;
}

static void *read_counters(void *argument) {
    struct shared *s = ((struct caller *)argument)->shared;
    uint64_t last = 0;
    while (!s->done) {
        moesaic_counters counters = {.size = sizeof counters};
        moesaic_status status = moesaic_engine_counters(s->engine, &counters, NULL);
        check(s, !status && counters.tokens >= last && counters.tokens >= counters.generated_tokens, "counters",
              "they go back, or parts exceed the whole");
        last = counters.tokens;
    }
    return NULL;
}

static void race(struct shared *s) {
    struct caller caller[CALLERS];
    pthread_t thread[CALLERS + 4];
    void *(*const others[])(void *) = {cancel, evaluate, use_text};
    size_t threads = 0, failed = 0;
    for (int i = 0; i < CALLERS; i++) {
        caller[i] = (struct caller){s, i};
        failed += pthread_create(&thread[threads++], NULL, generate, &caller[i]) != 0;
    }
    for (size_t i = 0; i < 3; i++)
        failed += pthread_create(&thread[threads++], NULL, others[i], &caller[0]) != 0;
    failed += pthread_create(&thread[threads], NULL, read_counters, &caller[0]) != 0;
    if (failed) {
        fputs("race_engine: no threads\n", stderr);
        exit(1);
    }
    for (size_t i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    s->done = true;
    pthread_join(thread[threads], NULL);
}

int main(int argc, char **argv) {
    static struct shared s;
    moesaic_error error = {0};
    moesaic_engine_options options = {
        .size = sizeof options, .threads = 2, .no_pin = true, .step_tokens = 8, .max_sequences = 4};
    moesaic_status status = moesaic_model_open(argc > 1 ? argv[1] : NULL, NULL, &s.model, &error);
    if (!status)
        status = moesaic_engine_create(s.model, &options, &s.engine, &error);
    for (int i = 0; !status && i < CALLERS; i++)
        status = ask(&s, i, TOKENS + 1, &s.alone[i], &error);
    if (!status)
        status = evaluate_first(&s, &s.evaluation, &error);
    if (!status)
        race(&s);
    else
        fprintf(stderr, "race_engine: %s\n", error.message);
    moesaic_engine_destroy(s.engine);
    moesaic_model_release(s.model);
    return status || s.failures;
}
