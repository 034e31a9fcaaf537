/* SPDX-License-Identifier: Apache-2.0 */
/* Speed and energy of base and optimized, in rounds by turns: a prompt and its greedy continuation. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "compare_internal.h"

enum { PROMPT_TOKENS = 256, DECODE_TOKENS = 48, ROUNDS = 5, ROUNDS_MAX = 1000, REST_MS = 200 };

static uint64_t meter_read(struct comparison *c) {
    uint64_t now = clock_ns();
    c->metered = c->metered && energy_meter_read(&c->meter, now);
    return now;
}

/* The counters and the meter so far. */
static struct stretch stretch_now(struct comparison *c, const struct contender *contender) {
    const struct counters *n = sched_counters(contender->engine.sched);
    uint64_t now = meter_read(c);
    return (struct stretch){.bytes = atomic_load(&n->bytes_local) + atomic_load(&n->bytes_remote),
                            .flops = atomic_load(&n->flops_nominal),
                            .ns = now,
                            .package_uj = c->meter.package_uj,
                            .dram_uj = c->meter.dram_uj};
}

static void stretch_add(struct stretch *sum, const struct stretch *from, const struct stretch *to) {
    sum->bytes += to->bytes - from->bytes;
    sum->flops += to->flops - from->flops;
    sum->ns += to->ns - from->ns;
    sum->package_uj += to->package_uj - from->package_uj;
    sum->dram_uj += to->dram_uj - from->dram_uj;
}

/* A round of one contender at work. */
struct round {
    struct comparison *c;
    const struct contender *contender;
    struct stretch first_token;
    size_t tokens;
};

static int token_seen(void *user, const moesaic_token *token) {
    struct round *round = user;
    (void)token;
    if (!round->tokens++)
        round->first_token = stretch_now(round->c, round->contender);
    return 0;
}

/* A prompt and its greedy continuation, timed by the engine. */
static moesaic_status speed_once(struct comparison *c, struct contender *contender, struct sched_text *text,
                                 bool counted, double *ret_prompt_s, double *ret_decode_s, moesaic_error *error) {
    struct speed *speed = &contender->speed;
    struct round round = {c, contender, {0}, 0};
    moesaic_sampling sampling = {.size = sizeof sampling, .ignore_eos = true};
    moesaic_generation generation = {.size = sizeof generation};
    struct sched_generate request = {.text = text,
                                     .sampling = &sampling,
                                     .max_tokens = 1 + speed->decode_tokens,
                                     .callback = token_seen,
                                     .user = &round};
    memcpy(text->ids, c->text[0].ids, speed->prompt_tokens * sizeof *text->ids);
    text->count = speed->prompt_tokens;
    model_context_truncate(text->context, 0);
    struct stretch before = stretch_now(c, contender);
    moesaic_status status = sched_generate(contender->engine.sched, &request, &generation, error);
    struct stretch after = stretch_now(c, contender);
    if (counted && !status) {
        stretch_add(&speed->prompt, &before, &round.first_token);
        stretch_add(&speed->decode, &round.first_token, &after);
    }
    *ret_prompt_s = generation.prefill_s;
    *ret_decode_s = generation.decode_s;
    return status;
}

/* The first round warms caches up and is not counted. */
static moesaic_status speed_rounds(struct comparison *c, struct sched_text texts[2], double *seconds, size_t rounds,
                                   moesaic_error *error) {
    moesaic_status status = MOESAIC_OK;
    for (size_t round = 0; !status && round <= rounds; round++)
        for (size_t i = 0; !status && i < 2; i++) {
            double *to = seconds + i * 2 * rounds + (round ? round - 1 : 0);
            status = speed_once(c, &c->contender[i], &texts[i], round > 0, to, to + rounds, error);
        }
    for (size_t i = 0; !status && i < 2; i++) {
        struct speed *s = &c->contender[i].speed;
        s->rounds = rounds;
        s->prompt_s = median_of(seconds + i * 2 * rounds, rounds);
        s->decode_s = median_of(seconds + i * 2 * rounds + rounds, rounds);
        s->prompt_tok_s = s->prompt_s > 0 ? (double)s->prompt_tokens / s->prompt_s : 0;
        s->decode_tok_s = s->decode_s > 0 ? (double)s->decode_tokens / s->decode_s : 0;
    }
    return status;
}

/* Opens the meter, where there is one, and reads what the packages draw at rest. */
static void meter_begin(struct comparison *c) {
    const char *root = c->options->cost->powercap;
    struct timespec rest = {.tv_nsec = REST_MS * 1000000L};
    energy_meter_open(root ? root : "/sys/class/powercap", clock_ns(), &c->meter);
    c->metered = c->meter.packages > 0;
    c->dram_metered = c->meter.drams > 0;
    if (!c->metered)
        return;
    uint64_t start = meter_read(c), from = c->meter.package_uj;
    nanosleep(&rest, NULL);
    uint64_t end = meter_read(c);
    c->idle_w = (double)(c->meter.package_uj - from) * 1e-6 / ((double)(end - start) * 1e-9);
}

static moesaic_status speed_text(const struct contender *contender, struct sched_text *text, moesaic_error *error) {
    const struct pipeline_engine *e = &contender->engine;
    text->capacity = contender->speed.prompt_tokens + contender->speed.decode_tokens + 1;
    text->ids = calloc(text->capacity, sizeof *text->ids);
    if (!text->ids)
        return status_no_memory(error, "speeds", text->capacity * sizeof *text->ids);
    return model_context_create(e->model, sched_kv_pool(e->sched), text->capacity, &text->context, error);
}

/* What is timed: a prompt of PROMPT_TOKENS and DECODE_TOKENS behind it, or what the model and the text have room for.
 * The first token belongs to the prompt. */
static void speed_sizes(struct comparison *c) {
    size_t limit = (size_t)model_config(c->contender[0].engine.model)->max_position;
    size_t decode = limit > 2 * DECODE_TOKENS ? DECODE_TOKENS : 2;
    size_t prompt = limit > decode ? limit - decode : 1;
    prompt = prompt < PROMPT_TOKENS ? prompt : PROMPT_TOKENS;
    prompt = prompt < c->text[0].tokens ? prompt : c->text[0].tokens;
    for (size_t i = 0; i < 2; i++) {
        c->contender[i].speed.prompt_tokens = prompt;
        c->contender[i].speed.decode_tokens = decode - 1;
    }
}

moesaic_status compare_speed(struct comparison *c, moesaic_error *error) {
    size_t rounds = c->options->speed_rounds ? c->options->speed_rounds : ROUNDS;
    rounds = rounds < ROUNDS_MAX ? rounds : ROUNDS_MAX;
    struct sched_text texts[2] = {{0}};
    double *seconds = calloc(4 * rounds, sizeof *seconds);
    moesaic_status status = seconds ? MOESAIC_OK : status_no_memory(error, "speeds", 4 * rounds * sizeof *seconds);
    speed_sizes(c);
    for (size_t i = 0; !status && i < 2; i++)
        status = speed_text(&c->contender[i], &texts[i], error);
    if (!status) {
        meter_begin(c);
        status = speed_rounds(c, texts, seconds, rounds, error);
        energy_meter_close(&c->meter);
    }
    for (size_t i = 0; i < 2; i++) {
        model_context_destroy(texts[i].context);
        free(texts[i].ids);
    }
    free(seconds);
    return status;
}
