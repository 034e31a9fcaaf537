/* SPDX-License-Identifier: Apache-2.0 */
/* The report as one page without a script and without anything fetched: figures, charts, tables, worst tokens. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compare_internal.h"
#include "report_page_internal.h"

/* ---- text -------------------------------------------------------------------------------------------------------- */

static bool page_room(struct page *p, size_t bytes) {
    if (p->failed || bytes < p->capacity - p->bytes)
        return !p->failed;
    size_t capacity = p->capacity * 2 + bytes + 4096;
    char *larger = realloc(p->text, capacity);
    if (!larger) {
        p->failed = true;
        return false;
    }
    p->text = larger;
    p->capacity = capacity;
    return true;
}

void page_print(struct page *p, const char *format, ...) {
    va_list list, again;
    va_start(list, format);
    va_copy(again, list);
    int bytes = vsnprintf(NULL, 0, format, list);
    if (bytes >= 0 && page_room(p, (size_t)bytes + 1)) {
        vsnprintf(p->text + p->bytes, (size_t)bytes + 1, format, again);
        p->bytes += (size_t)bytes;
    }
    va_end(again);
    va_end(list);
}

void page_text(struct page *p, const char *text, size_t bytes) {
    for (size_t i = 0; i < bytes && page_room(p, 8); i++) {
        const char *as = text[i] == '<'   ? "&lt;"
                         : text[i] == '>' ? "&gt;"
                         : text[i] == '&' ? "&amp;"
                         : text[i] == '"' ? "&quot;"
                                          : NULL;
        if (as)
            page_print(p, "%s", as);
        else
            p->text[p->bytes++] = (unsigned char)text[i] < ' ' ? ' ' : text[i];
    }
}

void page_text_at(struct page *p, const json_value *object, const char *key) {
    size_t bytes = 0;
    const char *text = json_text(json_get(object, key), &bytes);
    page_text(p, text ? text : "", bytes);
}

static const char style[] =
    ":root{--paper:#fcfcfb;--ink:#1d2329;--faint:#5b6670;--line:#d9dee2;--mark:#1f5fa8;--other:#9a6b00;--good:#1d7a3e;"
    "--bad:#b3261e;--card:#f1f3f5}\n"
    "@media(prefers-color-scheme:dark){:root{--paper:#14181c;--ink:#e4e8eb;--faint:#9aa5ae;--line:#343c43;"
    "--mark:#6aaaf0;--other:#e0b04a;--good:#5fc483;--bad:#f28b82;--card:#1d2329}}\n"
    "body{background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif;max-width:880px;margin:0 auto;"
    "padding:24px 16px}\n"
    "h1{font-size:24px;margin:0 0 4px}h2{font-size:19px;margin:36px 0 8px}h3{font-size:15px;margin:18px 0 4px}\n"
    "p{margin:6px 0}.faint,figcaption{color:var(--faint)}.good{color:var(--good)}.bad{color:var(--bad)}\n"
    ".cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(160px,1fr));gap:10px;margin:16px 0}\n"
    ".card{background:var(--card);border-radius:8px;padding:10px 14px}.card b{display:block;font-size:22px}\n"
    ".wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}\n"
    "th,td{text-align:right;padding:4px 8px;border-bottom:1px solid var(--line);vertical-align:top}\n"
    "th:first-child,td:first-child,td.left,th.left{text-align:left}th{color:var(--faint);font-weight:600}\n"
    "svg{width:100%;height:auto;display:block}svg text{fill:var(--faint);font-size:12px}svg line{stroke:var(--line)}\n"
    ".mark{fill:var(--mark)}.other{fill:var(--other)}mark{background:none;color:var(--mark);font-weight:700}\n"
    "td.left{overflow-wrap:anywhere;min-width:260px}\n";

/* ---- head: decision, cards, gates -------------------------------------------------------------------------------- */

static void card(struct page *p, const char *what, const char *format, double value, const char *below) {
    page_print(p, "<div class=\"card\"><span class=\"faint\">%s</span><b>", what);
    switch (format[0]) {
    case 'x':
        page_print(p, "%.2f&times;", value);
        break;
    case '%':
        page_print(p, "%.2f&thinsp;%%", 100 * value);
        break;
    default:
        page_print(p, "%.5f", value);
    }
    page_print(p, "</b><span class=\"faint\">%s</span></div>\n", below);
}

static void decision(struct page *p, const json_value *report) {
    const char *deploy = json_text(json_get(report, "deploy"), NULL);
    bool good = deploy && !strcmp(deploy, "optimized"), base = deploy && !strcmp(deploy, "base");
    page_print(p, "<p class=\"%s\"><b>%s</b></p>\n", good ? "good" : base ? "" : "bad",
               good   ? "Decision: deploy the optimized model."
               : base ? "Decision: the base stays deployed. Reason given:"
                      : "Decision: not to be deployed, a gate is not met.");
    if (base) {
        page_print(p, "<p>");
        page_text_at(p, report, "justification");
        page_print(p, "</p>\n");
    }
}

static void cards(struct page *p, const json_value *report) {
    const json_value *q = json_get(report, "quality"), *r = json_get(report, "ratios"),
                     *speed = json_get(report, "speed");
    page_print(p, "<div class=\"cards\">\n");
    card(p, "smaller on disk", "x", 1 / real_at(r, "file_bytes"), "than the base");
    card(p, "fewer bytes a token", "x", 1 / real_at(r, "active_bytes"), "read while decoding");
    if (speed) {
        card(p, "decode speed", "x", real_at(speed, "decode_ratio"), "of the base");
        card(p, "prompt speed", "x", real_at(speed, "prompt_ratio"), "of the base");
    }
    card(p, "perplexity", "%", real_at(q, "perplexity_ratio") - 1, "change");
    card(p, "KL divergence", "", real_at(q, "kl_mean"), "nats, mean");
    card(p, "same first choice", "%", real_at(q, "top1"), "of the positions");
    page_print(p, "</div>\n");
}

static void gates(struct page *p, const json_value *report) {
    const json_value *list = json_get(report, "gates");
    if (!json_count(list))
        return;
    page_print(p, "<h2>Gates</h2>\n<div class=\"wide\"><table><tr><th>gate</th><th>measured</th><th>limit</th><th></th>"
                  "</tr>\n");
    for (size_t i = 0; i < json_count(list); i++) {
        const json_value *g = json_at(list, i);
        bool met = json_truth(json_get(g, "met"));
        page_print(p, "<tr><td>");
        page_text_at(p, g, "name");
        page_print(p, "</td><td>%.6g</td><td>", real_at(g, "value"));
        page_text_at(p, g, "must_be");
        page_print(p, " %.6g</td><td class=\"%s\">%s</td></tr>\n", real_at(g, "limit"), met ? "good" : "bad",
                   met ? "met" : "not met");
    }
    page_print(p, "</table></div>\n");
}

/* ---- tables ------------------------------------------------------------------------------------------------------ */

static void model_row(struct page *p, const json_value *report, const char *what, const char *key, double unit,
                      int digits) {
    double base = real_at(json_get(report, "base"), key) / unit,
           optimized = real_at(json_get(report, "optimized"), key) / unit;
    page_print(p, "<tr><td>%s</td><td>%.*f</td><td>%.*f</td><td>%.3f</td></tr>\n", what, digits, base, digits,
               optimized, base > 0 ? optimized / base : 0);
}

static void speed_row(struct page *p, const json_value *speed, const char *what, const char *key, int digits) {
    double base = real_at(json_get(speed, "base"), key), optimized = real_at(json_get(speed, "optimized"), key);
    page_print(p, "<tr><td>%s</td><td>%.*f</td><td>%.*f</td><td>%.3f</td></tr>\n", what, digits, base, digits,
               optimized, base > 0 ? optimized / base : 0);
}

static void sizes(struct page *p, const json_value *report) {
    const json_value *speed = json_get(report, "speed");
    page_print(p,
               "<h2>Size, work and speed</h2>\n<div class=\"wide\"><table><tr><th></th><th>base</th><th>optimized</th>"
               "<th>optimized / base</th></tr>\n");
    model_row(p, report, "MiB on disk", "file_bytes", 1048576, 2);
    model_row(p, report, "MiB of weights", "weight_bytes", 1048576, 2);
    model_row(p, report, "MiB of weights read per token", "active_bytes_per_token", 1048576, 3);
    model_row(p, report, "bits per weight", "bits_per_weight", 1, 3);
    model_row(p, report, "bits per weight in the experts", "expert_bits_per_weight", 1, 3);
    model_row(p, report, "million parameters", "total_parameters", 1e6, 2);
    model_row(p, report, "million active parameters", "active_parameters", 1e6, 2);
    model_row(p, report, "million FLOPs per token, nominal", "flops_per_token_nominal", 1e6, 2);
    model_row(p, report, "million FLOPs per token, executed", "flops_per_token_executed", 1e6, 2);
    if (speed) {
        speed_row(p, speed, "prompt tokens per second", "prompt_tok_s", 0);
        speed_row(p, speed, "decode tokens per second", "decode_tok_s", 0);
        speed_row(p, speed, "seconds to the first token", "first_token_s", 4);
    }
    page_print(p, "</table></div>\n");
}

static void quality_cells(struct page *p, const json_value *s) {
    page_print(
        p,
        "<td>%.0f</td><td>%.5f</td><td>%.5f</td><td>%.4f</td><td>%.4f</td><td>%.3f</td><td>%.2f</td><td>%.2f</td>"
        "<td>%.2f</td><td>%.2f</td></tr>\n",
        real_at(s, "scored"), real_at(s, "kl_mean"), real_at(s, "kl_median"), real_at(s, "kl_p99"),
        real_at(s, "kl_p999"), real_at(s, "kl_max"), 100 * real_at(s, "top1"), 100 * real_at(s, "confident_flips"),
        real_at(s, "base_perplexity"), real_at(s, "perplexity"));
}

static void quality_head(struct page *p, const char *what) {
    page_print(
        p,
        "<div class=\"wide\"><table><tr><th>%s</th><th>positions</th><th>KL mean</th><th>median</th><th>p99</th>"
        "<th>p99.9</th><th>max</th><th>top-1 %%</th><th>confident flips %%</th><th>base ppl</th><th>ppl</th></tr>\n",
        what);
}

static void decile_label(const json_value *e, char *text, size_t bytes) {
    snprintf(text, bytes, "seen %.0f to %.0f times", real_at(e, "least_occurrences"), real_at(e, "most_occurrences"));
}

static void position_label(const json_value *e, char *text, size_t bytes) {
    snprintf(text, bytes, "%.0f to %.0f", real_at(e, "begin"), real_at(e, "end") - 1);
}

static void layer_label(const json_value *e, char *text, size_t bytes) {
    snprintf(text, bytes, "layer %.0f", real_at(e, "layer"));
}

static void split_table(struct page *p, const json_value *list, const char *what, chart_label *label) {
    char text[96];
    quality_head(p, what);
    for (size_t i = 0; i < json_count(list); i++) {
        page_print(p, "<tr><td>");
        if (label) {
            label(json_at(list, i), text, sizeof text);
            page_text(p, text, strlen(text));
        } else {
            page_text_at(p, json_at(list, i), "name");
        }
        page_print(p, "</td>");
        quality_cells(p, json_at(list, i));
    }
    page_print(p, "</table></div>\n");
}

static void quality(struct page *p, const json_value *report) {
    const json_value *q = json_get(report, "quality");
    page_print(
        p,
        "<h2>Quality</h2>\n<p>KL divergence from the base's next-token distribution to the optimized model's, at "
        "each of %.0f positions in windows of %.0f tokens. Confident are positions where the base's first choice "
        "has a probability over one half.</p>\n",
        real_at(q, "scored"), real_at(q, "window"));
    quality_head(p, "");
    page_print(p, "<tr><td>all</td>");
    quality_cells(p, q);
    page_print(p, "</table></div>\n<p>Bits per byte: %.4f in the base, %.4f optimized.</p>\n",
               real_at(q, "base_bits_per_byte"), real_at(q, "bits_per_byte"));
    chart_histogram(p, json_get(report, "histogram"));
    page_print(p, "<h3>By text</h3>\n");
    split_table(p, json_get(report, "texts"), "text", NULL);
}

static void opponents(struct page *p, const json_value *report) {
    page_print(p, "<h2>Quality against bytes</h2>\n");
    const json_value *list = json_get(report, "opponents");
    chart_bytes(p, report);
    if (json_count(list))
        split_table(p, list, "opponent", NULL);
    for (size_t i = 0; i < json_count(list); i++)
        if (json_truth(json_get(json_at(list, i), "better"))) {
            page_print(p, "<p><b>");
            page_text_at(p, json_at(list, i), "name");
            page_print(p, "</b> is no larger and nearer to the base.</p>\n");
        }
    if (!json_count(list))
        page_print(p, "<p class=\"faint\">No opponents were given (--against NAME=MODEL).</p>\n");
}

static void tail(struct page *p, const json_value *report) {
    page_print(p, "<h2>The tail</h2>\n");
    chart_bars(p, json_get(report, "by_frequency"), "kl_mean", decile_label,
               "Mean KL by how often the predicted token occurs, a tenth of the positions each");
    split_table(p, json_get(report, "by_frequency"), "occurrences", decile_label);
    chart_bars(p, json_get(report, "by_position"), "kl_mean", position_label, "Mean KL by position in the window");
    if (json_count(json_get(report, "routing_drift")))
        chart_bars(p, json_get(report, "routing_drift"), "changed", layer_label,
                   "Routing drift: share of the tokens whose set of experts changed");
}

static void experts(struct page *p, const json_value *report) {
    const json_value *by_expert = json_get(report, "by_expert"), *parts = json_get(report, "parts");
    if (!json_count(by_expert))
        return;
    page_print(p, "<h2>Experts</h2>\n");
    chart_experts(p, parts, "error", "Output error of each expert on its calibration tokens, relative");
    chart_experts(p, parts, "bits_per_weight", "Bits per weight of each expert");
    chart_experts(p, by_expert, "load", "Load: share of the evaluated tokens that use the expert in the base");
    chart_experts(p, by_expert, "kl_mean", "Mean KL over the tokens that use the expert in the base");
}

/* ---- worst tokens ------------------------------------------------------------------------------------------------ */

static void worst(struct page *p, const json_value *report) {
    const json_value *list = json_get(report, "worst");
    page_print(
        p, "<h2>Worst tokens</h2>\n<p>The positions of the largest divergence, with what stood before them; the "
           "token that followed is marked.</p>\n<div class=\"wide\"><table><tr><th class=\"left\">context</th><th>KL"
           "</th><th>p of it, base</th><th>optimized</th><th>first choice, base</th><th>optimized</th></tr>\n");
    for (size_t i = 0; i < json_count(list); i++) {
        const json_value *w = json_at(list, i);
        page_print(p, "<tr><td class=\"left\"><span class=\"faint\">");
        page_text_at(p, w, "text");
        page_print(p, ", token %.0f:</span> ", real_at(w, "token"));
        page_text_at(p, w, "context");
        page_print(p, "<mark>");
        page_text_at(p, w, "actual");
        page_print(p, "</mark></td><td>%.3f</td><td>%.4f</td><td>%.4f</td><td>", real_at(w, "kl"),
                   real_at(w, "base_actual_p"), real_at(w, "actual_p"));
        page_text_at(p, w, "base_top");
        page_print(p, " (%.2f)</td><td>", real_at(w, "base_top_p"));
        page_text_at(p, w, "top");
        page_print(p, " (%.2f)</td></tr>\n", real_at(w, "top_p"));
    }
    page_print(p, "</table></div>\n");
}

char *report_html(const json_value *report, size_t *ret_bytes) {
    struct page p = {0};
    page_print(&p,
               "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
               "content=\"width=device-width,initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">"
               "<title>Comparison report</title>\n<style>%s</style></head><body>\n<h1>Optimized against base</h1>\n"
               "<p class=\"faint\">",
               style);
    page_text_at(&p, json_get(report, "optimized"), "path");
    page_print(&p, " against ");
    page_text_at(&p, json_get(report, "base"), "path");
    page_print(&p, " (");
    page_text_at(&p, json_get(report, "base"), "architecture");
    page_print(&p, "); Moesaic ");
    page_text_at(&p, report, "version");
    page_print(&p, "</p>\n");
    decision(&p, report);
    cards(&p, report);
    gates(&p, report);
    sizes(&p, report);
    if (json_get(report, "cost"))
        page_cost(&p, json_get(report, "cost"));
    quality(&p, report);
    opponents(&p, report);
    tail(&p, report);
    experts(&p, report);
    worst(&p, report);
    page_print(&p, "</body></html>\n");
    if (p.failed) {
        free(p.text);
        return NULL;
    }
    *ret_bytes = p.bytes;
    return p.text;
}
