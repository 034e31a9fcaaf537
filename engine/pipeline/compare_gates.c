/* SPDX-License-Identifier: Apache-2.0 */
/* Gates: the figures of a comparison that a deployment may set limits for. */
#include <math.h>
#include <string.h>

#include "compare_internal.h"

/* In the order of the values in gate_values. Upper limits first. */
const char *const compare_gate_names[] = {"kl_mean",
                                          "kl_median",
                                          "kl_p99",
                                          "kl_p999",
                                          "kl_max",
                                          "rare_kl_mean",
                                          "worst_text_kl_mean",
                                          "confident_flips",
                                          "perplexity",
                                          "perplexity_ratio",
                                          "bytes_ratio",
                                          "active_bytes_ratio",
                                          "top1",
                                          "prompt_ratio",
                                          "decode_ratio",
                                          NULL};
enum { GATES = sizeof compare_gate_names / sizeof *compare_gate_names - 1, LOWER_LIMITS = 12 };

static double ratio(double optimized, double base) {
    return base > 0 ? optimized / base : 0;
}

static void gate_values(const struct comparison *c, const struct splits *s, double ret_values[GATES]) {
    const struct contender *base = &c->contender[0], *optimized = &c->contender[1];
    double worst_text = 0;
    for (size_t i = 0; i < c->texts; i++)
        worst_text = fmax(worst_text, s->text[i].kl_mean);
    const double values[GATES] = {
        s->whole.kl_mean,
        s->whole.kl_median,
        s->whole.kl_p99,
        s->whole.kl_p999,
        s->whole.kl_max,
        s->decile[0].kl_mean,
        worst_text,
        s->whole.confident_flips,
        exp(s->whole.nll),
        exp(s->whole.nll - s->whole.base_nll),
        ratio((double)optimized->info.file_bytes, (double)base->info.file_bytes),
        ratio((double)optimized->info.active_bytes, (double)base->info.active_bytes),
        s->whole.top1,
        ratio(optimized->speed.prompt_tok_s, base->speed.prompt_tok_s),
        ratio(optimized->speed.decode_tok_s, base->speed.decode_tok_s)};
    memcpy(ret_values, values, sizeof values);
}

bool compare_gate_value(const struct comparison *c, const struct splits *splits, const char *name, double *ret_value,
                        bool *ret_at_least) {
    double values[GATES] = {0};
    if (splits)
        gate_values(c, splits, values);
    for (size_t i = 0; i < GATES; i++) {
        if (strcmp(compare_gate_names[i], name))
            continue;
        *ret_value = values[i];
        *ret_at_least = i >= LOWER_LIMITS;
        return true;
    }
    return false;
}
