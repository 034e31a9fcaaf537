/* SPDX-License-Identifier: Apache-2.0 */
/* From work to energy, carbon and money of 1,000 tokens (docs/cost.md has the formulas). */
#include <math.h>
#include <string.h>

#include "profile.h"

/* The counters are written about once a millisecond (Intel SDM vol. 3B, 15.10.3): what each end of a reading may be
 * off. */
static const double counter_period_s = 1e-3;
static const double meter_error_max = 0.5; /* beyond it the model says more */

const char *cost_source_name(enum cost_source source) {
    static const char *const names[] = {"measured", "modelled", "given"};
    return names[source];
}

static struct cost_figure scaled(struct cost_figure f, double factor, const char *how) {
    return (struct cost_figure){f.value * factor, f.low * factor, f.high * factor, f.source, how ? how : f.how};
}

static struct cost_figure product(struct cost_figure a, struct cost_figure b, const char *how) {
    return (struct cost_figure){a.value * b.value, a.low * b.low, a.high * b.high, COST_MODELLED, how};
}

/* ---- energy ------------------------------------------------------------------------------------------------------ */

/* E = t (P_idle + u (P_busy - P_idle)) over the cores in use: the idle term and the active one. */
static void energy_model(const struct cost_rates *r, const struct cost_work *w, struct cost *c) {
    struct cost_figure idle = r->core_idle_w, busy = r->core_busy_w;
    struct cost_figure active = {busy.value - idle.value, busy.low - idle.low, busy.high - idle.high, COST_MODELLED,
                                 NULL};
    double core_seconds = w->seconds * w->cores;
    c->idle_j = scaled(idle, core_seconds, "t x cores x P_idle x PUE");
    c->active_j = scaled(active, core_seconds * w->busy, "t x cores x u x (P_busy - P_idle) x PUE");
    c->dram_j = scaled(r->dram_j_per_byte, w->bytes, "bytes read x e_DRAM x PUE");
}

/* What share of the energy between two readings the counters may be off by. */
static double meter_error(const struct cost_work *w) {
    return w->metered_s > 0 ? 2 * counter_period_s / w->metered_s : 1;
}

static struct cost_figure metered(const struct cost_work *w, double joules, const char *how) {
    double off = meter_error(w);
    return (struct cost_figure){joules, joules * (1 - off), joules * (1 + off), COST_MEASURED, how};
}

/* What the packages draw with nothing to do is taken out of what was measured. */
static void energy_measured(const struct cost_work *w, struct cost *c) {
    double idle = fmin(w->idle_w * w->metered_s, w->package_j);
    c->idle_j = metered(w, idle, "powercap: packages, t x power measured at rest, x PUE");
    c->active_j = metered(w, w->package_j - idle, "powercap: packages, without the idle part, x PUE");
    if (w->dram_measured)
        c->dram_j = metered(w, w->dram_j, "powercap: dram, x PUE");
}

static struct cost_figure energy_sum(const struct cost *c) {
    const struct cost_figure *part[] = {&c->idle_j, &c->active_j, &c->dram_j};
    struct cost_figure sum = {.source = COST_MEASURED, .how = "idle + active + DRAM"};
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        sum.value += part[i]->value;
        sum.low += part[i]->low;
        sum.high += part[i]->high;
        if (part[i]->source != COST_MEASURED)
            sum.source = COST_MODELLED;
    }
    return sum;
}

/* amount / energy: the least energy gives the most. */
static struct cost_figure per_joule(double amount, struct cost_figure energy, const char *how) {
    struct cost_figure f = {.source = energy.source, .how = how};
    f.value = energy.value > 0 ? amount / energy.value : 0;
    f.low = energy.high > 0 ? amount / energy.high : 0;
    f.high = energy.low > 0 ? amount / energy.low : f.value;
    return f;
}

void cost_make(const struct cost_rates *r, const struct cost_work *w, struct cost *ret_cost) {
    static const double kwh_per_j = 1 / 3.6e6;
    struct cost c;
    energy_model(r, w, &c);
    if (w->measured && meter_error(w) < meter_error_max)
        energy_measured(w, &c);
    double scale = w->tokens > 0 ? 1000 / w->tokens : 0;
    c.idle_j = scaled(c.idle_j, scale * r->pue.value, NULL);
    c.active_j = scaled(c.active_j, scale * r->pue.value, NULL);
    c.dram_j = scaled(c.dram_j, scale * r->pue.value, NULL);
    c.energy_j = energy_sum(&c);
    struct cost_figure kwh = scaled(c.energy_j, kwh_per_j, NULL);
    c.carbon_g = product(kwh, r->intensity, "energy x intensity, operational, location-based");
    c.money = product(kwh, r->price, "energy x price");
    c.tokens_per_j = per_joule(1000, c.energy_j, "tokens / energy");
    c.gflops_per_w = per_joule(w->flops * scale * 1e-9, c.energy_j, "nominal FLOPs / energy");
    *ret_cost = c;
}

/* ---- documents --------------------------------------------------------------------------------------------------- */

static json_value *text_json(const char *text) {
    return json_make_text(text, strlen(text));
}

/* NULL for an object that is not whole. */
static json_value *whole_or_null(json_value *object, bool whole) {
    if (whole)
        return object;
    json_free(object);
    return NULL;
}

json_value *cost_figure_json(const struct cost_figure *f) {
    json_value *object = json_make_object();
    bool whole = json_put(object, "value", json_make_real(f->value));
    whole &= json_put(object, "low", json_make_real(f->low));
    whole &= json_put(object, "high", json_make_real(f->high));
    whole &= json_put(object, "source", text_json(cost_source_name(f->source)));
    whole &= json_put(object, "how", text_json(f->how));
    return whole_or_null(object, whole);
}

json_value *cost_rates_json(const struct cost_rates *r) {
    json_value *object = json_make_object();
    bool whole = json_put(object, "region", text_json(r->region));
    whole &= json_put(object, "price_usd_per_kwh", cost_figure_json(&r->price));
    whole &= json_put(object, "intensity_g_per_kwh", cost_figure_json(&r->intensity));
    whole &= json_put(object, "pue", cost_figure_json(&r->pue));
    whole &= json_put(object, "core_busy_w", cost_figure_json(&r->core_busy_w));
    whole &= json_put(object, "core_idle_w", cost_figure_json(&r->core_idle_w));
    whole &= json_put(object, "dram_j_per_byte", cost_figure_json(&r->dram_j_per_byte));
    return whole_or_null(object, whole);
}

json_value *cost_json(const struct cost *c) {
    json_value *object = json_make_object();
    bool whole = json_put(object, "energy_j", cost_figure_json(&c->energy_j));
    whole &= json_put(object, "idle_j", cost_figure_json(&c->idle_j));
    whole &= json_put(object, "active_j", cost_figure_json(&c->active_j));
    whole &= json_put(object, "dram_j", cost_figure_json(&c->dram_j));
    whole &= json_put(object, "carbon_g", cost_figure_json(&c->carbon_g));
    whole &= json_put(object, "money_usd", cost_figure_json(&c->money));
    whole &= json_put(object, "tokens_per_joule", cost_figure_json(&c->tokens_per_j));
    whole &= json_put(object, "gflops_per_watt", cost_figure_json(&c->gflops_per_w));
    return whole_or_null(object, whole);
}
