/* SPDX-License-Identifier: Apache-2.0 */
/* Two engines over one model and one KV pool at the same time, in narrow, wide and split steps, without a test
 * framework: to be run under ThreadSanitizer. Exit status 0: both computed the same bits; the sanitizer adds its own
 * verdict. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

enum { TOKENS = 540, STEPS = 6, THREADS = 3 };
static const size_t counts[STEPS] = {60, 450, 1, 20, 5, 4}; /* wide, wide, then narrow across a segment's end */

struct user {
    const struct model *model;
    struct kv_pool *pool;
    float *logits; /* of the last step: [2, vocab] */
    moesaic_error error;
    moesaic_status status;
};

static moesaic_status run_steps(struct user *user, struct forward *forward, struct model_context **context) {
    static const int32_t ids[TOKENS] = {7, 1, 8, 2, 8};
    moesaic_status status = MOESAIC_OK;
    size_t done = 0, vocab = model_config(user->model)->vocab;
    for (int step = 0; !status && step < STEPS; done += counts[step++]) {
        struct forward_item items[2];
        for (int i = 0; i < 2; i++)
            items[i] = (struct forward_item){.context = context[i],
                                             .ids = ids + i,
                                             .count = counts[step] - (size_t)i % 2,
                                             .want = FORWARD_LAST_LOGITS};
        status = forward_step(forward, items, counts[step] > 1 ? 2 : 1, NULL, &user->error);
        for (int i = 0; !status && i < 2; i++)
            memcpy(user->logits + (size_t)i * vocab, forward_logits(forward, items[i].ret_row % 2),
                   vocab * sizeof(float));
    }
    return status;
}

static void *user_main(void *argument) {
    struct user *user = argument;
    struct team *team = NULL;
    struct forward *forward = NULL;
    struct model_context *context[2] = {NULL, NULL};
    struct forward_options options = {.max_step_tokens = 1000, .max_items = 2, .max_logits_rows = 2};
    user->status = team_create(&(struct team_options){.threads = THREADS}, &team, &user->error);
    if (!user->status)
        user->status = forward_create(user->model, team, &options, NULL, &forward, &user->error);
    for (int i = 0; !user->status && i < 2; i++)
        user->status = model_context_create(user->model, user->pool, TOKENS, &context[i], &user->error);
    if (!user->status)
        user->status = run_steps(user, forward, context);
    for (int i = 0; i < 2; i++)
        model_context_destroy(context[i]);
    forward_destroy(forward);
    team_destroy(team);
    return NULL;
}

static int race(const char *path) {
    struct model *model;
    struct kv_pool *pool;
    struct user user[2];
    pthread_t thread[2];
    moesaic_error error = {0};
    if (model_open(path, &model, &error) != MOESAIC_OK) {
        fprintf(stderr, "race_forward: %s\n", error.message);
        return 1;
    }
    struct kv_shape shape = model_kv_shape(model, KV_F16);
    size_t bytes = 2 * (size_t)model_config(model)->vocab * sizeof(float);
    if (kv_pool_create(&shape, 0, &pool, &error) != MOESAIC_OK)
        return 1;
    for (int i = 0; i < 2; i++) {
        user[i] = (struct user){.model = model, .pool = pool, .logits = calloc(1, bytes)};
        if (!user[i].logits || pthread_create(&thread[i], NULL, user_main, &user[i]) != 0)
            return 1;
    }
    for (int i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    bool same = !user[0].status && !user[1].status && memcmp(user[0].logits, user[1].logits, bytes) == 0;
    if (!same)
        fprintf(stderr, "race_forward: %s: %s%s differ\n", path, user[0].error.message, user[1].error.message);
    free(user[0].logits);
    free(user[1].logits);
    kv_pool_destroy(pool);
    model_close(model);
    return !same;
}

int main(void) {
    static const char *const models[] = {"checkpoints/llama", "checkpoints/olmoe", "checkpoints/qwen2_moe"};
    const char *data = getenv("MOESAIC_TEST_DATA");
    int failed = data == NULL;
    for (int i = 0; data && i < 3; i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", data, models[i]);
        failed |= race(path);
    }
    return failed;
}
