/* SPDX-License-Identifier: Apache-2.0 */
/* The stepping thread: takes requests, makes batches of decode tokens and prompt chunks, runs steps. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "sched_internal.h"

/* Logits of a step take at most this many bytes, unless a row for each sequence takes more. */
enum { LOGITS_BYTES_MAX = 64 << 20, LOGITS_ROWS_MIN = 16 };

struct sched {
    const struct model *model;
    struct kv_pool *pool;
    struct forward *forward;
    struct sched_options options;
    struct counters counters;
    size_t step_tokens, max_sequences, logits_rows;
    bool searched; /* for weights that are no numbers, with `blame` as the outcome; the stepping thread's own */
    moesaic_error blame;
    struct forward_item *items; /* [max_sequences] */
    struct request **stepping;  /* [max_sequences], of the items */
    pthread_t thread;
    bool started, stopping;
    pthread_mutex_t lock;
    pthread_cond_t arrived, finished;
    struct request *queue; /* in order of arrival, guarded by lock */
};

struct kv_pool *sched_kv_pool(struct sched *sched) {
    return sched->pool;
}
const struct counters *sched_counters(const struct sched *sched) {
    return &sched->counters;
}
const struct forward *sched_forward(const struct sched *sched) {
    return sched->forward;
}
const struct model *sched_model(const struct sched *sched) {
    return sched->model;
}
size_t sched_step_rows(const struct sched *sched) {
    return sched->logits_rows;
}

static void queue_remove(struct sched *sched, struct request *request) {
    struct request **at = &sched->queue;
    while (*at != request)
        at = &(*at)->next;
    *at = request->next;
}

static void request_finish(struct sched *sched, struct request *request) {
    pthread_mutex_lock(&sched->lock);
    queue_remove(sched, request);
    request->done = true;
    pthread_cond_broadcast(&sched->finished);
    pthread_mutex_unlock(&sched->lock);
}

/* The next run of the request's text, at most `budget` tokens. */
static struct forward_item request_item(const struct request *request, size_t budget) {
    const struct sched_text *text = request->text;
    size_t evaluated = model_context_tokens(text->context), left = text->count - evaluated;
    size_t count = left < budget ? left : budget;
    return (struct forward_item){.context = text->context,
                                 .ids = text->ids + evaluated,
                                 .count = count,
                                 .generated = evaluated >= request->prompt_end,
                                 .want = request->alone  ? FORWARD_ALL_LOGITS
                                         : count == left ? FORWARD_LAST_LOGITS
                                                         : FORWARD_NO_LOGITS};
}

/* Fills items and stepping from the queue: what has one token left first, so that no prompt holds up an answer, then
 * prompts in order of arrival while rows are left. A request that wants every row runs alone, in its turn. */
static size_t batch_make(struct sched *sched) {
    size_t n = 0, rows = 0;
    if (sched->queue && sched->queue->alone) {
        sched->stepping[0] = sched->queue;
        sched->items[0] = request_item(sched->queue, sched->logits_rows);
        return 1;
    }
    for (int prompts = 0; prompts < 2; prompts++) {
        for (struct request *r = sched->queue; r && n < sched->max_sequences && rows < sched->step_tokens;
             r = r->next) {
            bool is_prompt = r->text->count - model_context_tokens(r->text->context) > 1;
            if (r->alone || is_prompt != prompts)
                continue;
            sched->stepping[n] = r;
            sched->items[n] = request_item(r, sched->step_tokens - rows);
            rows += sched->items[n++].count;
        }
    }
    return n;
}

/* What the forward pass says of results that are no numbers, with the file; for a checkpoint, the weight at fault,
 * which takes one search through all of them. */
static void nonfinite_explain(struct sched *sched, moesaic_error *error) {
    const struct checkpoint *checkpoint = model_checkpoint(sched->model);
    if (!sched->searched) {
        sched->searched = true;
        sched->blame.status = MOESAIC_OK;
        if (checkpoint)
            checkpoint_check_finite(checkpoint, &sched->blame);
    }
    if (sched->blame.status) {
        *error = sched->blame;
        return;
    }
    char what[sizeof error->message];
    memcpy(what, error->message, sizeof what);
    status_set(error, MOESAIC_E_NONFINITE, "%s: %s",
               checkpoint ? checkpoint_path(checkpoint) : artifact_path(model_artifact(sched->model)), what);
}

static void request_fail(struct sched *sched, struct request *request, moesaic_status status,
                         const moesaic_error *error) {
    request->status = status;
    request->error = *error;
    if (status == MOESAIC_E_NONFINITE)
        nonfinite_explain(sched, &request->error);
    request_finish(sched, request);
}

/* One step of the items, shown to whoever looks. */
static moesaic_status run_items(struct sched *sched, struct forward_item *items, size_t n,
                                const struct forward_tap *tap, moesaic_error *error) {
    uint64_t start = sched->options.stepped ? clock_ns() : 0;
    moesaic_status status = forward_step(sched->forward, items, n, tap, error);
    if (!status && sched->options.stepped)
        sched->options.stepped(sched->options.user, sched->forward, items, n, clock_ns() - start);
    return status;
}

/* A step that failed: its requests are tried one by one, so that one bad text does not take the others with it. */
static void step_failed(struct sched *sched, size_t n, moesaic_status status, const moesaic_error *error) {
    if (n == 1) {
        request_fail(sched, sched->stepping[0], status, error);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        moesaic_error own;
        moesaic_status own_status = run_items(sched, &sched->items[i], 1, NULL, &own);
        if (own_status)
            request_fail(sched, sched->stepping[i], own_status, &own);
        else if (sched->items[i].want != FORWARD_NO_LOGITS &&
                 sched->stepping[i]->advance(sched->stepping[i], sched->forward, &sched->items[i]))
            request_finish(sched, sched->stepping[i]);
    }
}

static void step(struct sched *sched, size_t n) {
    moesaic_error error;
    const struct forward_tap *tap = sched->stepping[0]->alone ? sched->stepping[0]->tap : NULL;
    moesaic_status status = run_items(sched, sched->items, n, tap, &error);
    if (status) {
        step_failed(sched, n, status, &error);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        struct request *request = sched->stepping[i];
        if (sched->items[i].want != FORWARD_NO_LOGITS && request->advance(request, sched->forward, &sched->items[i]))
            request_finish(sched, request);
    }
}

static void *sched_run(void *argument) {
    struct sched *sched = argument;
    for (;;) {
        pthread_mutex_lock(&sched->lock);
        while (!sched->queue && !sched->stopping)
            pthread_cond_wait(&sched->arrived, &sched->lock);
        size_t n = batch_make(sched);
        pthread_mutex_unlock(&sched->lock);
        if (!n)
            return NULL;
        step(sched, n);
    }
}

moesaic_status sched_submit(struct sched *sched, struct request *request) {
    pthread_mutex_lock(&sched->lock);
    struct request **end = &sched->queue;
    while (*end)
        end = &(*end)->next;
    *end = request;
    pthread_cond_signal(&sched->arrived);
    while (!request->done)
        pthread_cond_wait(&sched->finished, &sched->lock);
    pthread_mutex_unlock(&sched->lock);
    return request->status;
}

static moesaic_status thread_start(struct sched *sched, moesaic_error *error) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&sched->thread, NULL, sched_run, sched);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed)
        return status_set(error, MOESAIC_E_FAILED, "engine: cannot start its thread: %s", strerror(failed));
    sched->started = true;
    return MOESAIC_OK;
}

moesaic_status sched_create(const struct model *model, struct team *team, const struct sched_options *options,
                            struct sched **ret_sched, moesaic_error *error) {
    struct sched *sched = calloc(1, sizeof *sched);
    if (!sched)
        return status_no_memory(error, "engine", sizeof *sched);
    size_t by_bytes = LOGITS_BYTES_MAX / ((size_t)model_config(model)->vocab * sizeof(float));
    size_t rows = by_bytes < LOGITS_ROWS_MIN ? LOGITS_ROWS_MIN : by_bytes;
    rows = rows < options->max_sequences ? options->max_sequences : rows;
    sched->model = model;
    sched->options = *options;
    sched->step_tokens = options->step_tokens;
    sched->max_sequences =
        options->max_sequences < options->step_tokens ? options->max_sequences : options->step_tokens;
    sched->logits_rows = rows < options->step_tokens ? rows : options->step_tokens;
    sched->items = calloc(sched->max_sequences, sizeof *sched->items);
    sched->stepping = calloc(sched->max_sequences, sizeof(struct request *));
    pthread_mutex_init(&sched->lock, NULL);
    pthread_cond_init(&sched->arrived, NULL);
    pthread_cond_init(&sched->finished, NULL);
    struct kv_shape shape = model_kv_shape(model, options->kv);
    struct forward_options forward = {.max_step_tokens = sched->step_tokens,
                                      .max_items = sched->max_sequences,
                                      .max_logits_rows = sched->logits_rows,
                                      .residency = options->residency,
                                      .keep_routing = options->stepped != NULL};
    moesaic_status status = MOESAIC_OK;
    if (!sched->items || !sched->stepping)
        status = status_no_memory(error, "engine", sched->max_sequences * sizeof *sched->items);
    if (!status)
        status = kv_pool_create(&shape, 0, &sched->pool, error);
    if (!status)
        status = forward_create(model, team, &forward, &sched->counters, &sched->forward, error);
    if (!status)
        status = thread_start(sched, error);
    if (status) {
        sched_destroy(sched);
        return status;
    }
    *ret_sched = sched;
    return MOESAIC_OK;
}

void sched_destroy(struct sched *sched) {
    if (!sched)
        return;
    if (sched->started) {
        pthread_mutex_lock(&sched->lock);
        sched->stopping = true;
        pthread_cond_signal(&sched->arrived);
        pthread_mutex_unlock(&sched->lock);
        pthread_join(sched->thread, NULL);
    }
    forward_destroy(sched->forward);
    kv_pool_destroy(sched->pool);
    pthread_cond_destroy(&sched->finished);
    pthread_cond_destroy(&sched->arrived);
    pthread_mutex_destroy(&sched->lock);
    free(sched->stepping);
    free(sched->items);
    free(sched);
}
