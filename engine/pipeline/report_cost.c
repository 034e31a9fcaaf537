/* SPDX-License-Identifier: Apache-2.0 */
/* What 1,000 tokens cost with base and optimized: the report's "cost", and its section of the page. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compare_internal.h"
#include "report_page_internal.h"

/* ---- the document ------------------------------------------------------------------------------------------------ */

/* A stretch of one round, of `tokens` tokens that took `seconds` (the median). The engine's threads spin while they
 * wait: its cores are busy throughout. */
static struct cost_work work_of(const struct comparison *c, const struct contender *m, const struct stretch *s,
                                size_t tokens, double seconds) {
    double rounds = (double)m->speed.rounds;
    return (struct cost_work){.tokens = (double)tokens,
                              .seconds = seconds,
                              .bytes = (double)s->bytes / rounds,
                              .flops = (double)s->flops / rounds,
                              .busy = 1,
                              .cores = m->threads,
                              .measured = c->metered && s->package_uj,
                              .dram_measured = c->dram_metered && s->dram_uj,
                              .metered_s = (double)s->ns * 1e-9 / rounds,
                              .package_j = (double)s->package_uj * 1e-6 / rounds,
                              .dram_j = (double)s->dram_uj * 1e-6 / rounds,
                              .idle_w = c->idle_w};
}

static void costs_of(const struct comparison *c, const struct contender *m, struct cost ret[2]) {
    const struct speed *s = &m->speed;
    struct cost_work prompt = work_of(c, m, &s->prompt, s->prompt_tokens, s->prompt_s),
                     decode = work_of(c, m, &s->decode, s->decode_tokens, s->decode_s);
    cost_make(&c->rates, &prompt, &ret[0]);
    cost_make(&c->rates, &decode, &ret[1]);
}

static bool put_costs(json_value *object, const char *key, const struct contender *m, const struct cost cost[2]) {
    json_value *model = json_make_object();
    bool whole = json_put(model, "cores", json_make_integer(m->threads));
    whole &= json_put(model, "prompt", cost_json(&cost[0]));
    whole &= json_put(model, "decode", cost_json(&cost[1]));
    return json_put(object, key, model) && whole;
}

static json_value *energy_ratio(const struct cost *base, const struct cost *optimized) {
    return json_make_real(base->energy_j.value > 0 ? optimized->energy_j.value / base->energy_j.value : 0);
}

json_value *report_cost_json(const struct comparison *c) {
    struct cost base[2], optimized[2];
    struct cost_figure idle = {c->idle_w, c->idle_w, c->idle_w, COST_MEASURED, "powercap: packages at rest"};
    json_value *object = cost_rates_json(&c->rates);
    costs_of(c, &c->contender[0], base);
    costs_of(c, &c->contender[1], optimized);
    bool whole = json_put(object, "cpu", json_make_text(cpu_model_name(), strlen(cpu_model_name())));
    whole &= json_put(object, "tokens", json_make_integer(1000));
    if (c->metered)
        whole &= json_put(object, "idle_w", cost_figure_json(&idle));
    whole &= put_costs(object, "base", &c->contender[0], base);
    whole &= put_costs(object, "optimized", &c->contender[1], optimized);
    whole &= json_put(object, "prompt_energy_ratio", energy_ratio(&base[0], &optimized[0]));
    whole &= json_put(object, "decode_energy_ratio", energy_ratio(&base[1], &optimized[1]));
    if (whole)
        return object;
    json_free(object);
    return NULL;
}

/* ---- the chart: what the energy goes into ------------------------------------------------------------------------ */

static void energy_bar(struct page *p, const json_value *cost, const char *label, double y, double scale) {
    enum { NAMES = 150 };
    static const struct {
        const char *key, *name, *opacity;
    } parts[] = {{"idle_j", "idle", "0.35"}, {"active_j", "active", "0.7"}, {"dram_j", "DRAM", "1"}};
    const json_value *energy = json_get(cost, "energy_j");
    double x = NAMES, high = NAMES + real_at(energy, "high") * scale;
    page_print(p, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", NAMES - 8, y + 15, label);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        double joules = real_at(json_get(cost, parts[i].key), "value");
        page_print(p,
                   "<rect class=\"mark\" fill-opacity=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"16\">"
                   "<title>%s: %.4g J</title></rect>\n",
                   parts[i].opacity, x, y + 3, joules * scale, parts[i].name, joules);
        x += joules * scale;
    }
    page_print(p, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" style=\"stroke:var(--ink)\"/>\n",
               NAMES + real_at(energy, "low") * scale, y + 21, high, y + 21);
    page_print(p, "<text x=\"%.1f\" y=\"%.1f\">%.4g J</text>\n", high + 6, y + 15, real_at(energy, "value"));
}

static const json_value *cost_at(const json_value *cost, const char *model, const char *part) {
    return json_get(json_get(cost, model), part);
}

static void energy_chart(struct page *p, const json_value *cost) {
    static const struct {
        const char *model, *part, *label;
    } bars[] = {{"base", "prompt", "prompt, base"},
                {"optimized", "prompt", "prompt, optimized"},
                {"base", "decode", "generated, base"},
                {"optimized", "decode", "generated, optimized"}};
    double most = 1e-300;
    for (size_t i = 0; i < 4; i++)
        most = fmax(most, real_at(json_get(cost_at(cost, bars[i].model, bars[i].part), "energy_j"), "high"));
    page_print(p, "<h3>Energy of 1,000 tokens: idle (faintest), active and DRAM; the line below is the range</h3>\n"
                  "<svg viewBox=\"0 0 720 112\" role=\"img\" aria-label=\"Energy of 1,000 tokens\">\n");
    for (size_t i = 0; i < 4; i++)
        energy_bar(p, cost_at(cost, bars[i].model, bars[i].part), bars[i].label, 28 * (double)i, 480 / most);
    page_print(p, "</svg>\n");
}

/* ---- the tables -------------------------------------------------------------------------------------------------- */

/* No power of ten for large numbers. */
static void number(struct page *p, double value, int digits) {
    if (value >= 1000)
        page_print(p, "%.0f", value);
    else
        page_print(p, "%.*g", digits, value);
}

static void value_cell(struct page *p, const json_value *figure, double unit) {
    double low = real_at(figure, "low"), high = real_at(figure, "high");
    page_print(p, "<td>");
    number(p, real_at(figure, "value") * unit, 4);
    if (low < high) {
        page_print(p, "<br><span class=\"faint\">");
        number(p, low * unit, 3);
        page_print(p, " to ");
        number(p, high * unit, 3);
        page_print(p, "</span>");
    }
    page_print(p, "</td>");
}

/* The source as a word that tells the formula when it is pointed at. */
static void source_cell(struct page *p, const json_value *figure) {
    page_print(p, "<td><span title=\"");
    page_text_at(p, figure, "how");
    page_print(p, "\">");
    page_text_at(p, figure, "source");
    page_print(p, "</span></td></tr>\n");
}

static void cost_rows(struct page *p, const json_value *cost, const char *part, const char *what) {
    static const struct {
        const char *key, *name;
        double unit;
    } rows[] = {{"energy_j", "energy, J", 1},
                {"carbon_g", "carbon, mgCO2e", 1e3},
                {"money_usd", "money, millionths of a $", 1e6},
                {"tokens_per_joule", "tokens/s per watt", 1},
                {"gflops_per_watt", "nominal GFLOP/s per watt", 1}};
    const json_value *base = cost_at(cost, "base", part), *optimized = cost_at(cost, "optimized", part);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const json_value *a = json_get(base, rows[i].key), *b = json_get(optimized, rows[i].key);
        double before = real_at(a, "value");
        page_print(p, "<tr><td>%s: %s</td>", what, rows[i].name);
        value_cell(p, a, rows[i].unit);
        value_cell(p, b, rows[i].unit);
        page_print(p, "<td>%.3f</td>", before > 0 ? real_at(b, "value") / before : 0);
        source_cell(p, b);
    }
}

static void rate_row(struct page *p, const json_value *cost, const char *key, const char *name, double unit) {
    const json_value *figure = json_get(cost, key);
    if (!figure)
        return;
    page_print(p, "<tr><td>%s</td>", name);
    value_cell(p, figure, unit);
    page_print(p, "<td>");
    page_text_at(p, figure, "source");
    page_print(p, "</td><td class=\"left\">");
    page_text_at(p, figure, "how");
    page_print(p, "</td></tr>\n");
}

static void rates_table(struct page *p, const json_value *cost) {
    page_print(p, "<h3>What it is reckoned with</h3>\n<div class=\"wide\"><table><tr><th></th><th>value</th>"
                  "<th>source</th><th class=\"left\"></th></tr>\n");
    rate_row(p, cost, "price_usd_per_kwh", "price, $ a kWh", 1);
    rate_row(p, cost, "intensity_g_per_kwh", "grid, gCO2e a kWh", 1);
    rate_row(p, cost, "pue", "PUE", 1);
    rate_row(p, cost, "core_busy_w", "a busy core, W", 1);
    rate_row(p, cost, "core_idle_w", "an idle core, W", 1);
    rate_row(p, cost, "dram_j_per_byte", "DRAM, nJ a byte", 1e9);
    rate_row(p, cost, "idle_w", "packages at rest, W", 1);
    page_print(p, "</table></div>\n");
}

void page_cost(struct page *p, const json_value *cost) {
    page_print(p, "<h2>Cost of 1,000 tokens</h2>\n<p>Region ");
    page_text_at(p, cost, "region");
    page_print(p, ", %.0f core(s) in use of ", real_at(json_get(cost, "optimized"), "cores"));
    page_text_at(p, cost, "cpu");
    page_print(p, ". Carbon is operational and location-based; neither it nor money counts the machine itself. "
                  "Base and optimized share their uncertainty: their ratio is surer than either.</p>\n");
    energy_chart(p, cost);
    page_print(p, "<div class=\"wide\"><table><tr><th></th><th>base</th><th>optimized</th><th>optimized / base</th>"
                  "<th>source</th></tr>\n");
    cost_rows(p, cost, "prompt", "prompt");
    cost_rows(p, cost, "decode", "generated");
    page_print(p, "</table></div>\n");
    rates_table(p, cost);
}
