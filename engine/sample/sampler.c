/* SPDX-License-Identifier: Apache-2.0 */
/* The sampler: penalties, temperature, truncation and one reproducible draw. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sample.h"

enum { TOP_LOGPROBS_MAX = 20 };

struct sampler {
    moesaic_sampling settings;
    uint32_t vocab;
    uint64_t draws;
    uint32_t *generated;           /* [vocab] times each token was generated */
    uint8_t *seen;                 /* [vocab] 1: in the prompt or the answer */
    float *logits;                 /* [vocab] after penalties */
    moesaic_candidate *candidates; /* [vocab]; `logprob` holds the penalized logit */
    double *probability;           /* [vocab] of the candidates */
    moesaic_candidate top[TOP_LOGPROBS_MAX];
};

static moesaic_status settings_check(const moesaic_sampling *s, moesaic_error *error) {
    struct {
        const char *name;
        double value, low, high;
    } ranges[] = {{"temperature", s->temperature, 0, 1e6},
                  {"top_p", s->top_p, 0, 1},
                  {"min_p", s->min_p, 0, 1},
                  {"repeat_penalty", s->repeat_penalty, 0, 1e6},
                  {"presence_penalty", s->presence_penalty, -1e6, 1e6},
                  {"frequency_penalty", s->frequency_penalty, -1e6, 1e6},
                  {"top_logprobs", s->top_logprobs, 0, TOP_LOGPROBS_MAX}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (!(ranges[i].value >= ranges[i].low && ranges[i].value <= ranges[i].high))
            return status_set(error, MOESAIC_E_USAGE, "sampling: %s is %g, expected %g to %g", ranges[i].name,
                              ranges[i].value, ranges[i].low, ranges[i].high);
    return MOESAIC_OK;
}

moesaic_status sampler_create(const moesaic_sampling *settings, uint32_t vocab, struct sampler **ret_sampler,
                              moesaic_error *error) {
    moesaic_status status = settings_check(settings, error);
    if (status)
        return status;
    struct sampler *sampler = calloc(1, sizeof *sampler);
    if (!sampler)
        return status_no_memory(error, "sampler", sizeof *sampler);
    sampler->settings = *settings;
    sampler->vocab = vocab;
    sampler->generated = calloc(vocab, sizeof *sampler->generated);
    sampler->seen = calloc(vocab, 1);
    sampler->logits = calloc(vocab, sizeof *sampler->logits);
    sampler->candidates = calloc(vocab, sizeof *sampler->candidates);
    sampler->probability = calloc(vocab, sizeof *sampler->probability);
    if (!sampler->generated || !sampler->seen || !sampler->logits || !sampler->candidates || !sampler->probability) {
        sampler_destroy(sampler);
        return status_no_memory(error, "sampler", (size_t)vocab * 32);
    }
    *ret_sampler = sampler;
    return MOESAIC_OK;
}

void sampler_destroy(struct sampler *sampler) {
    if (!sampler)
        return;
    free(sampler->generated);
    free(sampler->seen);
    free(sampler->logits);
    free(sampler->candidates);
    free(sampler->probability);
    free(sampler);
}

void sampler_accept(struct sampler *sampler, int32_t id, bool generated) {
    if (id < 0 || (uint32_t)id >= sampler->vocab)
        return;
    sampler->seen[id] = 1;
    if (generated)
        sampler->generated[id]++;
}

/* exp for x <= 0 with at most 1 ulp or so of error. libm's may take another path, and other bits, on another CPU. */
static double exp_fixed(double x) {
    if (x < -700)
        return 0;
    double n = rint(x * 1.4426950408889634);
    double r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10; /* ln 2 in two parts (fdlibm) */
    double p = 1.0 / 6227020800.0;                                                 /* Taylor, |r| <= 0.3466 */
    static const double inverse_factorial[] = {
        1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040, 1.0 / 720,
        1.0 / 120,       1.0 / 24,       1.0 / 6,       0.5,          1.0,         1.0};
    for (size_t i = 0; i < sizeof inverse_factorial / sizeof *inverse_factorial; i++)
        p = p * r + inverse_factorial[i];
    return ldexp(p, (int)n);
}

double sample_log_sum_exp(const float *logits, size_t count) {
    float best = -INFINITY;
    for (size_t i = 0; i < count; i++)
        best = logits[i] > best ? logits[i] : best;
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += exp_fixed((double)logits[i] - best);
    return best + log(sum);
}

/* splitmix64 of (seed, n), as a number in [0, 1): Steele, Lea, Flood, "Fast splittable pseudorandom number generators".
 */
static double draw_uniform(uint64_t seed, uint64_t n) {
    uint64_t z = seed + (n + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1p-53;
}

static void penalize(struct sampler *sampler, const float *logits) {
    const moesaic_sampling *s = &sampler->settings;
    memcpy(sampler->logits, logits, sampler->vocab * sizeof *logits);
    double repeat = s->repeat_penalty > 0 ? s->repeat_penalty : 1;
    if (repeat == 1 && s->presence_penalty == 0 && s->frequency_penalty == 0)
        return;
    for (uint32_t id = 0; id < sampler->vocab; id++) {
        if (!sampler->seen[id])
            continue;
        double l = logits[id];
        l = l > 0 ? l / repeat : l * repeat;
        if (sampler->generated[id])
            l -= s->presence_penalty + s->frequency_penalty * sampler->generated[id];
        sampler->logits[id] = (float)l;
    }
}

static int32_t argmax(const float *logits, uint32_t vocab) {
    uint32_t best = 0;
    for (uint32_t id = 1; id < vocab; id++)
        if (logits[id] > logits[best])
            best = id;
    return (int32_t)best;
}

/* The total order of candidates: higher first, then the lower id. */
static bool candidate_before(moesaic_candidate a, moesaic_candidate b) {
    return a.logprob > b.logprob || (a.logprob == b.logprob && a.id < b.id);
}

/* Restores the heap below `i`: its root is the candidate that comes last. */
static void heap_sift(moesaic_candidate *heap, size_t count, size_t i) {
    for (;;) {
        size_t last = i, left = 2 * i + 1;
        for (size_t child = left; child < left + 2 && child < count; child++)
            if (candidate_before(heap[last], heap[child]))
                last = child;
        if (last == i)
            return;
        moesaic_candidate t = heap[i];
        heap[i] = heap[last];
        heap[last] = t;
        i = last;
    }
}

/* The first `count` candidates of `logits` [vocab] in order. */
static void candidates_select(const float *logits, uint32_t vocab, moesaic_candidate *ret, size_t count) {
    for (size_t i = 0; i < count; i++)
        ret[i] = (moesaic_candidate){(int32_t)i, logits[i]};
    for (size_t i = count / 2; i-- > 0;)
        heap_sift(ret, count, i);
    for (size_t id = count; id < vocab; id++) {
        moesaic_candidate c = {(int32_t)id, logits[id]};
        if (!candidate_before(c, ret[0]))
            continue;
        ret[0] = c;
        heap_sift(ret, count, 0);
    }
    /* The heap empties from the last to the first; qsort would allocate, for every token. */
    for (size_t left = count; left > 1;) {
        moesaic_candidate last = ret[0];
        ret[0] = ret[--left];
        ret[left] = last;
        heap_sift(ret, left, 0);
    }
}

/* Keeps the smallest prefix of the `count` sorted candidates whose probability reaches top_p of `total`, and of it
 * those not under min_p of the first. Returns its length, or 0 when more candidates are needed to reach top_p. */
static size_t candidates_cut(const struct sampler *sampler, size_t count, double total) {
    const moesaic_sampling *s = &sampler->settings;
    size_t kept = count;
    if (s->top_p > 0 && s->top_p < 1) {
        double sum = 0;
        for (kept = 0; kept < count && sum < s->top_p * total;)
            sum += sampler->probability[kept++];
        if (sum < s->top_p * total && count < sampler->vocab && !s->top_k)
            return 0;
    }
    while (kept > 1 && sampler->probability[kept - 1] < s->min_p * sampler->probability[0])
        kept--;
    return kept;
}

/* Unnormalized probabilities exp((l - best) / T) of the sorted candidates; returns their sum. */
static double candidates_weigh(struct sampler *sampler, size_t count) {
    double sum = 0, best = sampler->candidates[0].logprob;
    for (size_t i = 0; i < count; i++) {
        sampler->probability[i] = exp_fixed((sampler->candidates[i].logprob - best) / sampler->settings.temperature);
        sum += sampler->probability[i];
    }
    return sum;
}

/* Every id, in order, that min_p keeps, with its probability; returns their number and, in *ret_total, the sum over
 * all. */
static size_t candidates_all(struct sampler *sampler, double *ret_total) {
    float best = sampler->logits[argmax(sampler->logits, sampler->vocab)];
    size_t count = 0;
    *ret_total = 0;
    for (uint32_t id = 0; id < sampler->vocab; id++) {
        double p = exp_fixed(((double)sampler->logits[id] - best) / sampler->settings.temperature);
        *ret_total += p;
        if (p < sampler->settings.min_p)
            continue;
        sampler->candidates[count].id = (int32_t)id;
        sampler->probability[count++] = p;
    }
    return count;
}

/* Only top-k and top-p need an order. Sorting a whole vocabulary for each token would cost more than a small model's
 * step: for top-p the sorted head grows until it holds its share of the whole, which is nearly always at once. */
static size_t candidates_make(struct sampler *sampler) {
    const moesaic_sampling *s = &sampler->settings;
    if (s->top_k && s->top_k < sampler->vocab) {
        candidates_select(sampler->logits, sampler->vocab, sampler->candidates, s->top_k);
        return candidates_cut(sampler, s->top_k, candidates_weigh(sampler, s->top_k));
    }
    double total;
    size_t kept = candidates_all(sampler, &total);
    if (s->top_p <= 0 || s->top_p >= 1)
        return kept;
    kept = 0;
    for (size_t count = 128; !kept; count *= 8) {
        count = count < sampler->vocab ? count : sampler->vocab;
        candidates_select(sampler->logits, sampler->vocab, sampler->candidates, count);
        candidates_weigh(sampler, count);
        kept = candidates_cut(sampler, count, total);
    }
    return kept;
}

static int32_t draw(struct sampler *sampler) {
    size_t count = candidates_make(sampler);
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += sampler->probability[i];
    double target = draw_uniform(sampler->settings.seed, sampler->draws++) * sum, reached = 0;
    for (size_t i = 0; i + 1 < count; i++) {
        reached += sampler->probability[i];
        if (target < reached)
            return sampler->candidates[i].id;
    }
    return sampler->candidates[count - 1].id;
}

static void sample_describe(struct sampler *sampler, const float *logits, struct sample *sample) {
    double norm = sample_log_sum_exp(logits, sampler->vocab);
    sample->logprob = (float)(logits[sample->id] - norm);
    sample->tops = sampler->settings.top_logprobs < sampler->vocab ? sampler->settings.top_logprobs : sampler->vocab;
    if (sample->tops)
        candidates_select(logits, sampler->vocab, sampler->top, sample->tops);
    for (size_t i = 0; i < sample->tops; i++)
        sampler->top[i].logprob = (float)(sampler->top[i].logprob - norm);
    sample->top = sampler->top;
}

struct sample sampler_next(struct sampler *sampler, const float *logits) {
    struct sample sample = {0};
    penalize(sampler, logits);
    sample.id = sampler->settings.temperature > 0 ? draw(sampler) : argmax(sampler->logits, sampler->vocab);
    if (sampler->settings.logprobs)
        sample_describe(sampler, logits, &sample);
    return sample;
}
