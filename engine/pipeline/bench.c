/* SPDX-License-Identifier: Apache-2.0 */
/* The benchmark: roofs, prompt and decoding, measured in turn so that the machine's moods hit all alike. */
#include <stdlib.h>
#include <string.h>

#include "pipeline.h"
#include "place.h"

enum {
    PROMPT_TOKENS = 512,
    DECODE_TOKENS = 64,
    REPETITIONS = 5,
    ROOF_BYTES_MOST = 256 << 20, /* a thread: beyond every cache; of many threads, */
    ROOF_BYTES_LEAST = 32 << 20, /* beyond its share of them */
    ROOF_BYTES_TOGETHER = 1 << 30,
    ROOF_PIECE_BYTES = 8 << 20,
    ROOF_PASSES = 2,
    ROOF_PIECES = 32, /* of a thread's multiplications */
    ROOF_ROUNDS = 1 << 15
};

struct bench {
    const struct model *model;
    moesaic_bench_options options;
    struct team *team;
    struct place_engine *placed;
    struct forward *forward;
    struct kv_pool *pool;
    struct counters counters;
    uint32_t max_batch;
    struct model_context **context; /* [max_batch] */
    struct forward_item *item;      /* [max_batch] */
    int32_t *prompt;                /* [max_batch, prompt_tokens] */
    int32_t *first, *next;          /* [max_batch]: the prompt's continuation, and the one at hand */
    uint8_t *roof;                  /* [threads, roof_bytes] */
    size_t roof_bytes;
    unsigned streams;               /* that each thread reads it in */
    struct roof_share *share;       /* [threads] */
    uint64_t (*multiply)(uint64_t); /* the peak that is measured */
    _Atomic uint64_t operations, sink;
    moesaic_bench_result *result;
    uint64_t done, total;
};

/* ---- roofs ------------------------------------------------------------------------------------------------------- */

/* Pieces of a roof's work that are taken of a thread's share. */
struct roof_share {
    _Alignas(64) _Atomic uint32_t taken;
};

struct roof_piece {
    unsigned visited, whose;
    uint32_t index;
};

/* The next piece of the thread's own share, then of the others': as in a step, nobody rests while there is work, so
 * that a core that is held up does not make the roof a low one. */
static bool piece_take(struct bench *b, unsigned thread, uint32_t pieces, struct roof_piece *io_piece) {
    unsigned threads = team_threads(b->team);
    for (; io_piece->visited < threads; io_piece->visited++) {
        io_piece->whose = (thread + io_piece->visited) % threads;
        io_piece->index = atomic_fetch_add_explicit(&b->share[io_piece->whose].taken, 1, memory_order_relaxed);
        if (io_piece->index < pieces)
            return true;
    }
    return false;
}

static void read_body(struct team *team, unsigned thread, void *argument) {
    struct bench *b = argument;
    struct roof_piece piece = {0};
    uint32_t pieces = (uint32_t)(b->roof_bytes / ROOF_PIECE_BYTES);
    uint64_t sum = 0;
    (void)team;
    while (piece_take(b, thread, ROOF_PASSES * pieces, &piece))
        sum ^= roof_read(b->roof + piece.whose * b->roof_bytes + (size_t)(piece.index % pieces) * ROOF_PIECE_BYTES,
                         ROOF_PIECE_BYTES, b->streams);
    atomic_fetch_add(&b->sink, sum);
}

static void touch_body(struct team *team, unsigned thread, void *argument) {
    struct bench *b = argument;
    (void)team;
    memset(b->roof + thread * b->roof_bytes, (int)thread + 1, b->roof_bytes);
}

static void multiply_body(struct team *team, unsigned thread, void *argument) {
    struct bench *b = argument;
    struct roof_piece piece = {0};
    uint64_t operations = 0;
    (void)team;
    while (piece_take(b, thread, ROOF_PIECES, &piece))
        operations += b->multiply(ROOF_ROUNDS);
    atomic_fetch_add(&b->operations, operations);
}

static double seconds_since(uint64_t start) {
    return (double)(clock_ns() - start) * 1e-9;
}

static double roof_seconds(struct bench *b, team_body *body) {
    for (unsigned thread = 0; thread < team_threads(b->team); thread++)
        atomic_store(&b->share[thread].taken, 0);
    uint64_t start = clock_ns();
    team_run(b->team, body, b);
    return seconds_since(start);
}

static double read_roof(struct bench *b) {
    double best = 0, bytes = (double)b->roof_bytes * ROOF_PASSES * team_threads(b->team);
    for (b->streams = 1; b->streams <= ROOF_STREAMS_MAX; b->streams *= 2) {
        double speed = bytes / roof_seconds(b, read_body);
        best = speed > best ? speed : best;
    }
    return best;
}

static double multiply_roof(struct bench *b, uint64_t (*multiply)(uint64_t rounds)) {
    b->multiply = multiply;
    atomic_store(&b->operations, 0);
    double seconds = roof_seconds(b, multiply_body);
    return (double)atomic_load(&b->operations) / seconds;
}

/* ---- counters by layer and node ---------------------------------------------------------------------------------- */

void pipeline_work_add(const struct work_counters *counters, int sign, moesaic_work *io_work) {
    uint64_t factor = (uint64_t)sign;
    io_work->flops_nominal += factor * atomic_load(&counters->flops_nominal);
    io_work->flops_executed += factor * atomic_load(&counters->flops_executed);
    io_work->flops_skipped += factor * atomic_load(&counters->flops_skipped);
    io_work->bytes_local += factor * atomic_load(&counters->bytes_local);
    io_work->bytes_remote += factor * atomic_load(&counters->bytes_remote);
    io_work->distinct_experts += factor * atomic_load(&counters->distinct_experts);
    io_work->barrier_ns += factor * atomic_load(&counters->barrier_ns);
}

/* Adds all counters to the figures of run `index`, or takes them away. */
static void work_record(struct bench *b, uint32_t index, int sign) {
    uint32_t nodes;
    const struct work_counters *counters = forward_work(b->forward, &nodes);
    size_t cells = (size_t)b->result->layers * (1 + nodes);
    for (size_t i = 0; i < cells; i++)
        pipeline_work_add(&counters[i], sign, &b->result->work[index * cells + i]);
}

/* ---- the model --------------------------------------------------------------------------------------------------- */

/* What a measurement used up of the counters. */
struct used {
    double seconds;
    uint64_t tokens, bytes, flops, flops_float, steps, barrier_ns, step_ns;
    struct forward_times times;
};

static struct used used_now(const struct bench *b) {
    const struct counters *c = &b->counters;
    struct used used = {.tokens = c->tokens,
                        .bytes = c->bytes_local + c->bytes_remote,
                        .flops = c->flops_executed,
                        .flops_float = c->flops_float,
                        .steps = c->steps,
                        .barrier_ns = c->barrier_ns,
                        .step_ns = c->step_ns};
    forward_times(b->forward, &used.times);
    return used;
}

static struct used used_since(const struct bench *b, struct used before, uint64_t start) {
    double seconds = seconds_since(start);
    struct used now = used_now(b);
    struct used used = {.seconds = seconds,
                        .tokens = now.tokens - before.tokens,
                        .bytes = now.bytes - before.bytes,
                        .flops = now.flops - before.flops,
                        .flops_float = now.flops_float - before.flops_float,
                        .steps = now.steps - before.steps,
                        .barrier_ns = now.barrier_ns - before.barrier_ns,
                        .step_ns = now.step_ns - before.step_ns,
                        .times.barriers = now.times.barriers - before.times.barriers};
    for (unsigned part = 0; part < FORWARD_PARTS; part++)
        used.times.part_ns[part] = now.times.part_ns[part] - before.times.part_ns[part];
    return used;
}

static void used_add(struct used *sum, const struct used *u) {
    sum->seconds += u->seconds;
    sum->tokens += u->tokens;
    sum->bytes += u->bytes;
    sum->flops += u->flops;
    sum->flops_float += u->flops_float;
    sum->steps += u->steps;
    sum->barrier_ns += u->barrier_ns;
    sum->step_ns += u->step_ns;
    sum->times.barriers += u->times.barriers;
    for (unsigned part = 0; part < FORWARD_PARTS; part++)
        sum->times.part_ns[part] += u->times.part_ns[part];
}

static int32_t best_id(const float *logits, uint32_t vocab) {
    uint32_t best = 0;
    for (uint32_t id = 1; id < vocab; id++)
        best = logits[id] > logits[best] ? id : best;
    return (int32_t)best;
}

static moesaic_status bench_step(struct bench *b, struct forward_item *items, size_t n, moesaic_error *error) {
    uint64_t start = clock_ns();
    moesaic_status status = forward_step(b->forward, items, n, NULL, error);
    if (!status && b->placed && b->placed->rebalance)
        place_rebalance_step(b->placed->rebalance, b->forward, items, n, clock_ns() - start);
    return status;
}

/* Evaluates the whole prompt of sequence `s`, in steps. */
static moesaic_status prompt_run(struct bench *b, uint32_t s, moesaic_error *error) {
    size_t tokens = b->options.prompt_tokens, step = forward_limits(b->forward)->max_step_tokens;
    moesaic_status status = MOESAIC_OK;
    model_context_truncate(b->context[s], 0);
    for (size_t first = 0; !status && first < tokens; first += step) {
        size_t count = tokens - first < step ? tokens - first : step;
        struct forward_item item = {.context = b->context[s],
                                    .ids = b->prompt + s * tokens + first,
                                    .count = count,
                                    .want = first + count == tokens ? FORWARD_LAST_LOGITS : FORWARD_NO_LOGITS};
        status = bench_step(b, &item, 1, error);
        if (!status && item.want == FORWARD_LAST_LOGITS)
            b->first[s] = best_id(forward_logits(b->forward, item.ret_row), model_config(b->model)->vocab);
    }
    return status;
}

/* Decodes `batch` sequences together behind their prompts, greedily, so that routing is the model's own. */
static moesaic_status decode_run(struct bench *b, uint32_t batch, moesaic_error *error) {
    moesaic_status status = MOESAIC_OK;
    memcpy(b->next, b->first, batch * sizeof *b->next);
    for (uint32_t s = 0; s < batch; s++)
        model_context_truncate(b->context[s], b->options.prompt_tokens);
    for (uint32_t step = 0; !status && step < b->options.decode_tokens; step++) {
        for (uint32_t s = 0; s < batch; s++)
            b->item[s] = (struct forward_item){.context = b->context[s],
                                               .ids = &b->next[s],
                                               .count = 1,
                                               .generated = true,
                                               .want = FORWARD_LAST_LOGITS};
        status = bench_step(b, b->item, batch, error);
        for (uint32_t s = 0; !status && s < batch; s++)
            b->next[s] = best_id(forward_logits(b->forward, b->item[s].ret_row), model_config(b->model)->vocab);
    }
    return status;
}

/* One repetition of run `index` (0: the prompt). */
static moesaic_status run_once(struct bench *b, uint32_t index, bool counted, struct used *ret_used,
                               moesaic_error *error) {
    if (counted)
        work_record(b, index, -1);
    struct used before = used_now(b);
    uint64_t start = clock_ns();
    moesaic_status status = index ? decode_run(b, b->result->run[index].batch, error) : prompt_run(b, 0, error);
    *ret_used = used_since(b, before, start);
    if (counted)
        work_record(b, index, 1);
    return status;
}

/* ---- figures ----------------------------------------------------------------------------------------------------- */

static void spread_add(moesaic_bench_spread *spread, double value) {
    double sorted[MOESAIC_BENCH_REPETITIONS_MAX];
    spread->value[spread->count++] = value;
    memcpy(sorted, spread->value, spread->count * sizeof *sorted);
    spread->median = median_of(sorted, spread->count);
    spread->low = sorted[0];
    spread->high = sorted[spread->count - 1];
}

/* What the machine reached beside a run: bytes, and operations of each kind, a second. */
struct roofs {
    double read, int8, f32;
};

/* Of the counted repetitions of one run. */
struct record {
    moesaic_bench_spread read_fraction, int8_fraction, f32_fraction;
    struct used all;
};

_Static_assert((int)MOESAIC_BENCH_PARTS == (int)FORWARD_PARTS, "the parts of a step, in the same order");

static void run_record(struct bench *b, moesaic_bench_run *run, struct record *record, const struct used *u,
                       const struct roofs *roofs) {
    struct used *all = &record->all;
    used_add(all, u);
    spread_add(&run->tokens_per_second, (double)u->tokens / u->seconds);
    spread_add(&record->read_fraction, (double)u->bytes / u->seconds / roofs->read);
    spread_add(&record->int8_fraction, (double)(u->flops - u->flops_float) / u->seconds / roofs->int8);
    spread_add(&record->f32_fraction, (double)u->flops_float / u->seconds / roofs->f32);
    run->read_fraction = record->read_fraction.median;
    run->int8_fraction = record->int8_fraction.median;
    run->f32_fraction = record->f32_fraction.median;
    run->bytes_per_token = (double)all->bytes / (double)all->tokens;
    run->flops_per_token = (double)all->flops / (double)all->tokens;
    run->float_flops_per_token = (double)all->flops_float / (double)all->tokens;
    double layer_steps = (double)all->steps * model_config(b->model)->layers;
    run->barrier_us_per_layer = (double)all->barrier_ns / 1000 / layer_steps;
    run->barrier_fraction = all->step_ns ? (double)all->barrier_ns / (double)all->step_ns : 0;
    run->barriers_per_layer = (double)all->times.barriers / layer_steps;
    for (unsigned part = 0; part < FORWARD_PARTS; part++)
        run->part_fraction[part] = (double)all->times.part_ns[part] / (all->seconds * 1e9 * b->result->threads);
}

/* Every run once, the roofs measured beside each. The first repetition is not counted, and needs no prompt: all have
 * just been evaluated. */
static moesaic_status repeat(struct bench *b, struct record *records, bool counted, moesaic_error *error) {
    moesaic_status status = MOESAIC_OK;
    struct roofs roofs = {.int8 = multiply_roof(b, roof_int8), .f32 = multiply_roof(b, roof_f32)};
    double before = read_roof(b), sum = before;
    for (uint32_t i = counted ? 0 : 1; !status && i < b->result->runs; i++) {
        struct used used;
        status = run_once(b, i, counted, &used, error);
        double after = read_roof(b);
        roofs.read = (before + after) / 2;
        if (!status && counted)
            run_record(b, &b->result->run[i], &records[i], &used, &roofs);
        sum += before = after;
        if (!status && b->options.progress && b->options.progress(b->options.user, ++b->done, b->total))
            status = status_set(error, MOESAIC_E_CANCELLED, "bench: cancelled");
    }
    if (counted) {
        spread_add(&b->result->read_bytes_per_second, sum / (b->result->runs + 1));
        spread_add(&b->result->int8_ops_per_second, roofs.int8);
        spread_add(&b->result->f32_flops_per_second, roofs.f32);
    }
    return status;
}

static moesaic_status measure(struct bench *b, moesaic_error *error) {
    struct record *records = calloc(b->result->runs, sizeof *records);
    moesaic_status status = records ? MOESAIC_OK : status_no_memory(error, "bench", b->result->runs * sizeof *records);
    for (uint32_t s = 0; !status && s < b->max_batch; s++)
        status = prompt_run(b, s, error);
    for (uint32_t repetition = 0; !status && repetition <= b->options.repetitions; repetition++)
        status = repeat(b, records, repetition > 0, error);
    free(records);
    return status;
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

static moesaic_status options_check(struct bench *b, moesaic_error *error) {
    moesaic_bench_options *o = &b->options;
    int64_t limit = model_config(b->model)->max_position;
    o->prompt_tokens = o->prompt_tokens ? o->prompt_tokens : PROMPT_TOKENS;
    o->decode_tokens = o->decode_tokens ? o->decode_tokens : DECODE_TOKENS;
    o->repetitions = o->repetitions ? o->repetitions : REPETITIONS;
    if (!o->batches)
        o->batch[o->batches++] = 1;
    if (o->batches > MOESAIC_BENCH_BATCHES_MAX || o->repetitions >= MOESAIC_BENCH_REPETITIONS_MAX)
        return status_set(error, MOESAIC_E_USAGE, "bench: more than %d batches or %d repetitions",
                          MOESAIC_BENCH_BATCHES_MAX, MOESAIC_BENCH_REPETITIONS_MAX - 1);
    if ((int64_t)o->prompt_tokens + o->decode_tokens > limit)
        return status_set(error, MOESAIC_E_USAGE, "bench: %u prompt and %u decoded tokens, the model holds %lld",
                          o->prompt_tokens, o->decode_tokens, (long long)limit);
    if (o->step_tokens > FORWARD_STEP_TOKENS_MAX)
        return status_set(error, MOESAIC_E_USAGE, "bench: step_tokens is %u, at most %d", o->step_tokens,
                          FORWARD_STEP_TOKENS_MAX);
    for (uint32_t i = 0; i < o->batches; i++) {
        if (o->batch[i] < 1 || o->batch[i] > 1024)
            return status_set(error, MOESAIC_E_USAGE, "bench: a batch of %u, expected 1 to 1024", o->batch[i]);
        b->max_batch = o->batch[i] > b->max_batch ? o->batch[i] : b->max_batch;
        b->result->run[1 + i].batch = o->batch[i];
    }
    b->result->runs = 1 + o->batches;
    b->total = (uint64_t)b->result->runs * (o->repetitions + 1) - 1;
    return MOESAIC_OK;
}

/* Bytes that the roof reads of each of `threads` threads' memory, whole pieces. */
static size_t roof_bytes_for(unsigned threads) {
    size_t bytes = ROOF_BYTES_TOGETHER / threads / ROOF_PIECE_BYTES * ROOF_PIECE_BYTES;
    return bytes < ROOF_BYTES_LEAST ? ROOF_BYTES_LEAST : bytes > ROOF_BYTES_MOST ? ROOF_BYTES_MOST : bytes;
}

static moesaic_status bench_allocate(struct bench *b, moesaic_error *error) {
    unsigned threads = team_threads(b->team);
    size_t tokens = (size_t)b->max_batch * b->options.prompt_tokens, roof;
    b->roof_bytes = roof_bytes_for(threads);
    roof = threads * b->roof_bytes;
    b->context = calloc(b->max_batch, sizeof(struct model_context *));
    b->item = calloc(b->max_batch, sizeof *b->item);
    b->prompt = calloc(tokens, sizeof *b->prompt);
    b->first = calloc(b->max_batch, sizeof *b->first);
    b->next = calloc(b->max_batch, sizeof *b->next);
    b->roof = memory_zeroed(roof, 1);
    b->share = memory_zeroed(threads, sizeof *b->share);
    if (!b->context || !b->item || !b->prompt || !b->first || !b->next || !b->roof || !b->share)
        return status_no_memory(error, "bench", roof + tokens * sizeof *b->prompt);
    uint64_t state = 1; /* ids that follow no pattern, the same in every run */
    for (size_t i = 0; i < tokens; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        b->prompt[i] = (int32_t)((state >> 33) % model_config(b->model)->vocab);
    }
    return MOESAIC_OK;
}

static moesaic_status work_allocate(struct bench *b, moesaic_error *error) {
    moesaic_bench_result *r = b->result;
    r->layers = model_config(b->model)->layers;
    forward_work(b->forward, &r->nodes);
    size_t cells = (size_t)r->runs * r->layers * (1 + r->nodes);
    r->work = calloc(cells, sizeof *r->work);
    if (!r->work)
        return status_no_memory(error, "bench", cells * sizeof *r->work);
    for (size_t i = 0; i < cells; i++)
        r->work[i].size = sizeof *r->work;
    return MOESAIC_OK;
}

static moesaic_status bench_begin(struct bench *b, moesaic_error *error) {
    struct team_options team = {.threads = b->options.threads, .pin = !b->options.no_pin};
    struct rebalance_options rebalance = {0};
    struct kv_shape shape = model_kv_shape(b->model, sched_kv_type(b->model, b->options.kv));
    size_t rows = b->options.step_tokens ? b->options.step_tokens : FORWARD_STEP_TOKENS;
    struct forward_options forward = {.max_step_tokens = rows > b->max_batch ? rows : b->max_batch,
                                      .max_items = b->max_batch,
                                      .max_logits_rows = b->max_batch};
    moesaic_status status = team_create(&team, &b->team, error);
    if (!status)
        status = place_engine_open(b->model, b->team, b->options.plan_path, b->options.rebalance ? &rebalance : NULL,
                                   &b->placed, error);
    forward.residency = b->placed ? b->placed->residency : NULL;
    forward.keep_routing = b->options.rebalance;
    if (!status)
        status = bench_allocate(b, error);
    if (!status)
        status = kv_pool_create(&shape, 0, &b->pool, error);
    if (!status)
        status = forward_create(b->model, b->team, &forward, &b->counters, &b->forward, error);
    if (!status)
        status = work_allocate(b, error);
    size_t capacity = (size_t)b->options.prompt_tokens + b->options.decode_tokens;
    for (uint32_t s = 0; !status && s < b->max_batch; s++) {
        status = model_context_create(b->model, b->pool, capacity, &b->context[s], error);
        if (!status)
            status = model_context_reserve(b->context[s], capacity, error);
    }
    return status;
}

static void bench_end(struct bench *b) {
    for (uint32_t s = 0; b->context && s < b->max_batch; s++)
        model_context_destroy(b->context[s]);
    forward_destroy(b->forward);
    place_engine_close(b->placed);
    kv_pool_destroy(b->pool);
    team_destroy(b->team);
    free(b->share);
    free(b->roof);
    free(b->next);
    free(b->first);
    free(b->prompt);
    free(b->item);
    free(b->context);
}

moesaic_status pipeline_bench(const struct model *model, const moesaic_bench_options *options,
                              moesaic_bench_result *ret_result, moesaic_error *error) {
    struct bench b = {.model = model, .options = *options, .result = ret_result};
    moesaic_status status = options_check(&b, error);
    if (!status)
        status = bench_begin(&b, error);
    if (!status) {
        ret_result->threads = team_threads(b.team);
        team_run(b.team, touch_body, &b);
        status = measure(&b, error);
    }
    bench_end(&b);
    if (status) {
        free(ret_result->work);
        ret_result->work = NULL;
    }
    return status;
}
