/* SPDX-License-Identifier: Apache-2.0 */
/* What a comparison amounts to: distributions over all positions and over every split of them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compare_internal.h"

static int by_float(const void *x, const void *y) {
    float a = *(const float *)x, b = *(const float *)y;
    return (a > b) - (a < b);
}

/* The smallest value that at least a share q of the sorted values do not exceed. */
static double quantile(const float *sorted, size_t n, double q) {
    size_t rank = (size_t)ceil(q * (double)n);
    return sorted[rank ? rank - 1 : 0];
}

struct summary summary_make(const struct comparison *c, const struct contender *candidate, const uint32_t *index,
                            size_t n, float *scratch) {
    struct summary s = {.scored = n};
    double kl = 0, base_nll = 0, nll = 0;
    uint64_t agree = 0, flips = 0;
    if (!n)
        return s;
    for (size_t i = 0; i < n; i++) {
        const struct position *p = &c->position[index[i]];
        const struct verdict *v = &candidate->verdict[index[i]];
        bool confident = p->top_p > 0.5f, same = p->top == v->top;
        scratch[i] = v->kl;
        kl += v->kl;
        base_nll += p->nll;
        nll += v->nll;
        agree += same;
        s.confident += confident;
        flips += confident && !same;
    }
    qsort(scratch, n, sizeof *scratch, by_float);
    double count = (double)n;
    s.kl_mean = kl / count;
    s.kl_median = quantile(scratch, n, 0.5);
    s.kl_p90 = quantile(scratch, n, 0.9);
    s.kl_p99 = quantile(scratch, n, 0.99);
    s.kl_p999 = quantile(scratch, n, 0.999);
    s.kl_max = scratch[n - 1];
    s.top1 = (double)agree / count;
    s.confident_flips = s.confident ? (double)flips / (double)s.confident : 0;
    s.base_nll = base_nll / count;
    s.nll = nll / count;
    return s;
}

/* ---- splits ------------------------------------------------------------------------------------------------------ */

/* Scratch of the splits: an order of the positions and a column of numbers. */
struct splitting {
    const struct comparison *c;
    uint64_t *occurrences; /* [vocab] in the evaluated texts */
    uint32_t *index;       /* [scored] */
    float *scratch;        /* [scored] */
};

static void index_all(struct splitting *s) {
    for (size_t i = 0; i < s->c->scored; i++)
        s->index[i] = (uint32_t)i;
}

static void split_by_text(struct splitting *s, struct splits *splits) {
    for (size_t i = 0; i < s->c->texts; i++) {
        const struct compared_text *t = &s->c->text[i];
        splits->text[i] = summary_make(s->c, &s->c->contender[1], s->index + t->first, t->scored, s->scratch);
    }
}

static int by_frequency(const void *x, const void *y, void *user) {
    const struct splitting *s = user;
    uint32_t i = *(const uint32_t *)x, j = *(const uint32_t *)y;
    int32_t a = s->c->position[i].target, b = s->c->position[j].target;
    if (s->occurrences[a] != s->occurrences[b])
        return s->occurrences[a] < s->occurrences[b] ? -1 : 1;
    return a != b ? (a < b ? -1 : 1) : (i > j) - (i < j);
}

static void split_by_frequency(struct splitting *s, struct splits *splits) {
    const struct comparison *c = s->c;
    qsort_r(s->index, c->scored, sizeof *s->index, by_frequency, s);
    for (size_t d = 0; d < COMPARE_DECILES; d++) {
        size_t begin = c->scored * d / COMPARE_DECILES, end = c->scored * (d + 1) / COMPARE_DECILES;
        splits->decile[d] = summary_make(c, &c->contender[1], s->index + begin, end - begin, s->scratch);
        if (begin < end) {
            splits->decile_least[d] = s->occurrences[c->position[s->index[begin]].target];
            splits->decile_most[d] = s->occurrences[c->position[s->index[end - 1]].target];
        }
    }
}

static void split_by_position(struct splitting *s, struct splits *splits) {
    const struct comparison *c = s->c;
    uint32_t begin = 0, end = 16;
    for (; splits->positions < COMPARE_POSITIONS && begin < c->window; begin = end, end *= 2) {
        bool last = splits->positions + 1 == COMPARE_POSITIONS;
        size_t n = 0;
        end = last || end > c->window ? (uint32_t)c->window : end;
        for (size_t i = 0; i < c->scored; i++)
            if (c->position[i].in_window >= begin && c->position[i].in_window < end)
                s->index[n++] = (uint32_t)i;
        splits->at_begin[splits->positions] = begin;
        splits->at_begin[splits->positions + 1] = end;
        splits->at[splits->positions++] = summary_make(c, &c->contender[1], s->index, n, s->scratch);
    }
}

static int by_divergence(const void *x, const void *y, void *user) {
    const struct verdict *verdict = user;
    uint32_t i = *(const uint32_t *)x, j = *(const uint32_t *)y;
    if (verdict[i].kl != verdict[j].kl)
        return verdict[i].kl > verdict[j].kl ? -1 : 1;
    return (i > j) - (i < j);
}

static void worst_find(struct splitting *s, struct splits *splits) {
    index_all(s);
    qsort_r(s->index, s->c->scored, sizeof *s->index, by_divergence, s->c->contender[1].verdict);
    splits->n_worst = s->c->scored < COMPARE_WORST ? s->c->scored : COMPARE_WORST;
    memcpy(splits->worst, s->index, splits->n_worst * sizeof *s->index);
}

static void bins_count(const struct comparison *c, struct splits *splits) {
    splits->bin_low = -6;
    splits->bin_high = 2;
    for (size_t i = 0; i < c->scored; i++) {
        double at = (log10(c->contender[1].verdict[i].kl + 1e-30) - splits->bin_low) /
                    (splits->bin_high - splits->bin_low) * COMPARE_BINS;
        at = at < 0 ? 0 : at > COMPARE_BINS - 1 ? COMPARE_BINS - 1 : at;
        splits->bin[(size_t)at]++;
    }
}

static void occurrences_count(struct splitting *s) {
    for (size_t i = 0; i < s->c->texts; i++)
        for (size_t t = 0; t < s->c->text[i].tokens; t++)
            s->occurrences[s->c->text[i].ids[t]]++;
}

moesaic_status splits_make(const struct comparison *c, struct splits *ret_splits, moesaic_error *error) {
    struct splitting s = {.c = c};
    struct splits splits = {0};
    moesaic_status status = MOESAIC_OK;
    s.occurrences = calloc(c->vocab, sizeof *s.occurrences);
    s.index = calloc(c->scored, sizeof *s.index);
    s.scratch = calloc(c->scored, sizeof *s.scratch);
    splits.text = calloc(c->texts, sizeof *splits.text);
    splits.opponent = calloc(c->contenders - 1, sizeof *splits.opponent);
    if (!s.occurrences || !s.index || !s.scratch || !splits.text || !splits.opponent) {
        status = status_no_memory(error, "comparison", c->scored * 8 + c->vocab * sizeof *s.occurrences);
        splits_done(&splits);
    } else {
        index_all(&s);
        splits.whole = summary_make(c, &c->contender[1], s.index, c->scored, s.scratch);
        for (size_t i = 2; i < c->contenders; i++)
            splits.opponent[i - 2] = summary_make(c, &c->contender[i], s.index, c->scored, s.scratch);
        split_by_text(&s, &splits);
        occurrences_count(&s);
        split_by_frequency(&s, &splits);
        split_by_position(&s, &splits);
        worst_find(&s, &splits);
        bins_count(c, &splits);
        *ret_splits = splits;
    }
    free(s.scratch);
    free(s.index);
    free(s.occurrences);
    return status;
}

void splits_done(struct splits *splits) {
    free(splits->opponent);
    free(splits->text);
    splits->opponent = NULL;
    splits->text = NULL;
}
