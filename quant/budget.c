/* SPDX-License-Identifier: Apache-2.0 */
/* One option per item under a budget of bytes: exact where the table is small, otherwise with a stated bound. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compress.h"

#define TABLE_BYTES_MAX (UINT64_C(64) << 20)

static size_t smallest_option(const struct budget_item *item) {
    size_t best = 0;
    for (size_t i = 1; i < item->count; i++) {
        const struct budget_option *option = &item->options[i], *other = &item->options[best];
        if (option->bytes < other->bytes || (option->bytes == other->bytes && option->error < other->error))
            best = i;
    }
    return best;
}

/* Every item at its smallest option; the bytes of that. */
static moesaic_status start_smallest(const struct budget_item *items, size_t count, uint8_t *choice,
                                     uint64_t *ret_bytes, moesaic_error *error) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        if (items[i].count == 0 || items[i].count > 255)
            return status_set(error, MOESAIC_E_USAGE, "budget: item %zu has %zu options, expected 1 to 255", i,
                              items[i].count);
        for (size_t o = 0; o < items[i].count; o++) {
            if (!(items[i].options[o].error >= 0.0) || !isfinite(items[i].options[o].error))
                return status_set(error, MOESAIC_E_USAGE, "budget: option %zu of item %zu has error %g, expected a "
                                  "finite number from 0", o, i, items[i].options[o].error);
        }
        choice[i] = (uint8_t)smallest_option(&items[i]);
        if (__builtin_add_overflow(bytes, items[i].options[choice[i]].bytes, &bytes))
            return status_set(error, MOESAIC_E_USAGE, "budget: the items' bytes do not add up to a 64-bit number");
    }
    *ret_bytes = bytes;
    return MOESAIC_OK;
}

/* ---- exact ------------------------------------------------------------------------------------------------------- */

static uint64_t common_divisor(uint64_t a, uint64_t b) {
    while (b != 0) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Bytes of every item at its largest option, saturated. */
static uint64_t largest_bytes(const struct budget_item *items, size_t count) {
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t most = 0;
        for (size_t o = 0; o < items[i].count; o++)
            most = items[i].options[o].bytes > most ? items[i].options[o].bytes : most;
        if (__builtin_add_overflow(sum, most, &sum))
            return UINT64_MAX;
    }
    return sum;
}

/* Common divisor of what every option takes beyond its item's smallest; 0 when all are equal. */
static uint64_t bytes_unit(const struct budget_item *items, size_t count, const uint8_t *smallest) {
    uint64_t unit = 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t o = 0; o < items[i].count; o++)
            unit = common_divisor(unit, items[i].options[o].bytes - items[i].options[smallest[i]].bytes);
    }
    return unit;
}

/* One item's row of the table: best[c] = smallest error of the items so far in at most c units, and what it took. */
static void table_row(const struct budget_item *item, uint64_t base, uint64_t unit, size_t units, const double *before,
                      double *best, uint8_t *taken) {
    for (size_t c = 0; c <= units; c++) {
        best[c] = INFINITY;
        uint64_t least = UINT64_MAX;
        for (size_t o = 0; o < item->count; o++) {
            uint64_t extra = (item->options[o].bytes - base) / unit;
            if (extra > c)
                continue;
            double sum = before[c - extra] + item->options[o].error;
            if (sum < best[c] || (sum == best[c] && extra < least)) {
                best[c] = sum;
                least = extra;
                taken[c] = (uint8_t)o;
            }
        }
    }
}

static moesaic_status solve_exactly(const struct budget_item *items, size_t count, uint64_t unit, size_t units,
                                    uint8_t *choice, moesaic_error *error) {
    size_t width = units + 1;
    uint8_t *taken = malloc(count * width);
    double *rows = calloc(2 * width, sizeof *rows);
    if (taken == NULL || rows == NULL) {
        free(taken);
        free(rows);
        return status_no_memory(error, "budget table", count * width + 2 * width * sizeof *rows);
    }
    for (size_t i = 0; i < count; i++)
        table_row(&items[i], items[i].options[choice[i]].bytes, unit, units, rows + (i % 2) * width,
                  rows + (1 - i % 2) * width, taken + i * width);
    for (size_t i = count, c = units; i-- > 0;) {
        uint64_t base = items[i].options[choice[i]].bytes;
        choice[i] = taken[i * width + c];
        c -= (size_t)((items[i].options[choice[i]].bytes - base) / unit);
    }
    free(taken);
    free(rows);
    return MOESAIC_OK;
}

/* ---- relaxed ----------------------------------------------------------------------------------------------------- */

/* A step along the lower convex hull of one item's options: from its present option to `option`. */
struct hull_step {
    double gain;      /* error saved a byte */
    size_t item;
    size_t order;     /* place in the list as made: an item's steps go in theirs */
    uint8_t option;
};

static int compare_steps(const void *a, const void *b) {
    const struct hull_step *left = a, *right = b;
    if (left->gain != right->gain)
        return left->gain > right->gain ? -1 : 1;
    return (left->order > right->order) - (left->order < right->order);
}

/* The steepest way down from `from`, the next corner of the hull; false when nothing is better. */
static bool hull_next(const struct budget_item *item, size_t from, struct hull_step *ret_step) {
    const struct budget_option *here = &item->options[from];
    double before = ret_step->gain; /* rounding must not make a hull turn upwards */
    bool found = false;
    for (size_t o = 0; o < item->count; o++) {
        const struct budget_option *option = &item->options[o];
        if (option->bytes <= here->bytes || option->error >= here->error)
            continue;
        double gain = (here->error - option->error) / (double)(option->bytes - here->bytes);
        if (!found || gain > ret_step->gain ||
            (gain == ret_step->gain && option->bytes > item->options[ret_step->option].bytes)) {
            ret_step->gain = gain;
            ret_step->option = (uint8_t)o;
            found = true;
        }
    }
    ret_step->gain = fmin(ret_step->gain, before);
    return found;
}

static size_t hull_steps(const struct budget_item *items, size_t count, const uint8_t *choice,
                         struct hull_step *steps) {
    size_t made = 0;
    for (size_t i = 0; i < count; i++) {
        struct hull_step step = {.item = i, .gain = INFINITY};
        for (size_t at = choice[i]; hull_next(&items[i], at, &step); at = step.option) {
            step.order = made;
            steps[made++] = step;
        }
    }
    return made;
}

/* Takes the steps in falling order of gain as far as the bytes reach, passing over what does not fit; an item whose
 * step was passed over stays where it is. *ret_bound: where a fraction of the first step that does not fit would
 * end. */
static void fill_greedily(const struct budget_item *items, size_t count, const struct hull_step *steps, size_t made,
                          uint64_t room, uint8_t *choice, double *ret_bound, uint8_t *stopped) {
    double reached = 0.0;
    bool bounded = false;
    for (size_t i = 0; i < count; i++)
        reached += items[i].options[choice[i]].error;
    for (size_t s = 0; s < made; s++) {
        const struct budget_option *from = &items[steps[s].item].options[choice[steps[s].item]];
        const struct budget_option *to = &items[steps[s].item].options[steps[s].option];
        if (stopped[steps[s].item])
            continue;
        if (to->bytes - from->bytes > room) {
            if (!bounded)
                *ret_bound = reached - steps[s].gain * (double)room;
            bounded = true;
            stopped[steps[s].item] = 1;
            continue;
        }
        room -= to->bytes - from->bytes;
        reached += to->error - from->error;
        choice[steps[s].item] = steps[s].option;
    }
    if (!bounded)
        *ret_bound = reached;
}

static moesaic_status solve_relaxed(const struct budget_item *items, size_t count, uint64_t room, uint8_t *choice,
                                    double *ret_bound, moesaic_error *error) {
    size_t most = 0;
    for (size_t i = 0; i < count; i++)
        most += items[i].count;
    struct hull_step *steps = malloc(most * sizeof *steps);
    uint8_t *stopped = calloc(count, 1);
    if (steps == NULL || stopped == NULL) {
        free(steps);
        free(stopped);
        return status_no_memory(error, "budget", most * sizeof *steps);
    }
    size_t made = hull_steps(items, count, choice, steps);
    qsort(steps, made, sizeof *steps, compare_steps);
    fill_greedily(items, count, steps, made, room, choice, ret_bound, stopped);
    free(steps);
    free(stopped);
    return MOESAIC_OK;
}

/* ---- the choice -------------------------------------------------------------------------------------------------- */

static void outcome_sum(const struct budget_item *items, size_t count, const uint8_t *choice,
                        struct budget_outcome *outcome) {
    outcome->bytes = 0;
    outcome->error = 0.0;
    for (size_t i = 0; i < count; i++) {
        outcome->bytes += items[i].options[choice[i]].bytes;
        outcome->error += items[i].options[choice[i]].error;
    }
}

moesaic_status budget_solve(const struct budget_item *items, size_t count, uint64_t limit, uint8_t *ret_choice,
                            struct budget_outcome *ret_outcome, moesaic_error *error) {
    uint64_t least = 0;
    uint8_t *choice = malloc(count > 0 ? count : 1);
    struct budget_outcome outcome = {0};
    if (choice == NULL)
        return status_no_memory(error, "budget", count);
    moesaic_status status = start_smallest(items, count, choice, &least, error);
    if (status == MOESAIC_OK && least > limit)
        status = status_set(error, MOESAIC_E_USAGE, "budget: %llu bytes, but the smallest options take %llu",
                            (unsigned long long)limit, (unsigned long long)least);
    if (status == MOESAIC_OK) {
        uint64_t most = largest_bytes(items, count), room = (limit < most ? limit : most) - least;
        uint64_t unit = bytes_unit(items, count, choice), units = unit > 0 ? room / unit : 0;
        bool exact = unit > 0 && units < TABLE_BYTES_MAX / (count + 16);
        if (exact)
            status = solve_exactly(items, count, unit, (size_t)units, choice, error);
        else
            status = solve_relaxed(items, count, room, choice, &outcome.bound, error);
        outcome_sum(items, count, choice, &outcome);
        if (exact || outcome.bound > outcome.error)
            outcome.bound = outcome.error;
    }
    if (status == MOESAIC_OK) {
        memcpy(ret_choice, choice, count);
        *ret_outcome = outcome;
    }
    free(choice);
    return status;
}
