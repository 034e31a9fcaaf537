/* SPDX-License-Identifier: Apache-2.0 */
/* The report's charts as inline SVG; every mark says its number when pointed at. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report_page_internal.h"

static void svg_begin(struct page *p, double width, double height, const char *title) {
    page_print(p, "<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"%s\">\n", width, height, title);
}

static void svg_text(struct page *p, double x, double y, const char *anchor, const char *text) {
    page_print(p, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">", x, y, anchor);
    page_text(p, text, strlen(text));
    page_print(p, "</text>\n");
}

static void svg_line(struct page *p, double x0, double y0, double x1, double y1) {
    page_print(p, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", x0, y0, x1, y1);
}

/* ---- histogram --------------------------------------------------------------------------------------------------- */

enum { WIDE = 720, HIGH = 240, LEFT = 56, RIGHT = 16, TOP = 16, BOTTOM = 40 };

static void decade_axis(struct page *p, double low, double high, double width, double height) {
    for (double decade = ceil(low); decade <= floor(high); decade++) {
        char text[24];
        double x = LEFT + (decade - low) / (high - low) * width;
        snprintf(text, sizeof text, "%g", pow(10, decade));
        svg_line(p, x, TOP + height, x, TOP + height + 4);
        svg_text(p, x, TOP + height + 17, "middle", text);
    }
}

void chart_histogram(struct page *p, const json_value *histogram) {
    const json_value *counts = json_get(histogram, "counts");
    double low = real_at(histogram, "low_log10"), high = real_at(histogram, "high_log10"), most = 1, total = 0;
    double width = WIDE - LEFT - RIGHT, height = HIGH - TOP - BOTTOM;
    size_t n = json_count(counts);
    for (size_t i = 0; i < n; i++) {
        most = fmax(most, json_number(json_at(counts, i)));
        total += json_number(json_at(counts, i));
    }
    svg_begin(p, WIDE, HIGH, "Distribution of the KL divergence");
    for (size_t i = 0; i < n; i++) {
        double count = json_number(json_at(counts, i)), bar = count / most * height, step = width / (double)n;
        double begin = pow(10, low + (high - low) * (double)i / (double)n);
        page_print(p,
                   "<rect class=\"mark\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"><title>%.0f positions "
                   "(%.2f %%) from KL %.2g</title></rect>\n",
                   LEFT + (double)i * step + 0.5, TOP + height - bar, step - 1, bar, count,
                   total > 0 ? 100 * count / total : 0, begin);
    }
    svg_line(p, LEFT, TOP + height, WIDE - RIGHT, TOP + height);
    decade_axis(p, low, high, width, height);
    char text[32];
    snprintf(text, sizeof text, "%.0f", most);
    svg_text(p, LEFT - 6, TOP + 10, "end", text);
    svg_text(p, LEFT - 6, TOP + height, "end", "0");
    svg_text(p, LEFT + width / 2, HIGH - 6, "middle",
             "KL divergence of a position (nats); the left bar holds what is less");
    page_print(p, "</svg>\n");
}

/* ---- quality against bytes --------------------------------------------------------------------------------------- */

struct point {
    const char *name;
    double bytes, kl;
    bool ours;
};

struct frame {
    double bytes_high, low, high; /* bytes from 0; decades of KL */
};

static void point_draw(struct page *p, const struct frame *f, const struct point *point) {
    double width = WIDE - LEFT - RIGHT - 90, height = HIGH + 60 - TOP - BOTTOM;
    double x = LEFT + point->bytes / f->bytes_high * width;
    double y = TOP + (f->high - log10(fmax(point->kl, 1e-9))) / (f->high - f->low) * height;
    page_print(p, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"5\"><title>%.2f MiB, KL %.5f</title></circle>\n",
               point->ours ? "mark" : "other", x, y, point->bytes / 1048576, point->kl);
    svg_text(p, x + 9, y + 4, "start", point->name);
}

static void frame_draw(struct page *p, const struct frame *f) {
    double width = WIDE - LEFT - RIGHT - 90, height = HIGH + 60 - TOP - BOTTOM;
    char text[32];
    for (double decade = f->low; decade <= f->high; decade++) {
        double y = TOP + (f->high - decade) / (f->high - f->low) * height;
        snprintf(text, sizeof text, "%g", pow(10, decade));
        svg_line(p, LEFT, y, LEFT + width, y);
        svg_text(p, LEFT - 6, y + 4, "end", text);
    }
    for (int i = 0; i <= 4; i++) {
        double x = LEFT + width * i / 4;
        snprintf(text, sizeof text, "%.3g", f->bytes_high * i / 4 / 1048576);
        svg_line(p, x, TOP + height, x, TOP + height + 4);
        svg_text(p, x, TOP + height + 17, "middle", text);
    }
    svg_text(p, LEFT + width / 2, TOP + height + 34, "middle", "MiB on disk");
}

static void frame_fit(struct frame *f, const struct point *point) {
    double decade = log10(fmax(point->kl, 1e-9));
    f->bytes_high = fmax(f->bytes_high, point->bytes * 1.05);
    f->low = fmin(f->low, floor(decade));
    f->high = fmax(f->high, ceil(decade));
}

void chart_bytes(struct page *p, const json_value *report) {
    const json_value *opponents = json_get(report, "opponents"), *optimized = json_get(report, "optimized");
    size_t n = json_count(opponents);
    struct point ours = {"optimized", real_at(optimized, "file_bytes"), real_at(json_get(report, "quality"), "kl_mean"),
                         true};
    struct frame f = {.bytes_high = real_at(json_get(report, "base"), "file_bytes"), .low = 0, .high = -9};
    frame_fit(&f, &ours);
    for (int draw = 0; draw < 2; draw++) {
        if (draw) {
            f.high = f.high > f.low ? f.high : f.low + 1;
            svg_begin(p, WIDE, HIGH + 60, "Quality against bytes");
            frame_draw(p, &f);
        }
        for (size_t i = 0; i < n; i++) {
            const json_value *o = json_at(opponents, i);
            struct point other = {json_text(json_get(o, "name"), NULL), real_at(o, "file_bytes"), real_at(o, "kl_mean"),
                                  false};
            if (draw)
                point_draw(p, &f, &other);
            else
                frame_fit(&f, &other);
        }
    }
    point_draw(p, &f, &ours);
    page_print(p, "</svg>\n");
}

/* ---- heat map ---------------------------------------------------------------------------------------------------- */

struct range {
    double low, high, experts, layers;
};

static struct range range_of(const json_value *entries, const char *key) {
    struct range r = {INFINITY, -INFINITY, 1, 1};
    for (size_t i = 0; i < json_count(entries); i++) {
        const json_value *e = json_at(entries, i);
        if (real_at(e, "expert") < 0)
            continue;
        r.low = fmin(r.low, real_at(e, key));
        r.high = fmax(r.high, real_at(e, key));
        r.experts = fmax(r.experts, real_at(e, "expert") + 1);
        r.layers = fmax(r.layers, real_at(e, "layer") + 1);
    }
    return r;
}

void chart_experts(struct page *p, const json_value *entries, const char *key, const char *title) {
    struct range r = range_of(entries, key);
    char text[64];
    if (!(r.low <= r.high))
        return;
    double cell = fmin(30, (WIDE - LEFT) / r.experts), row = fmax(cell, 12), height = r.layers * row + 52;
    double above = r.high > r.low ? r.high - r.low : 1;
    page_print(p, "<h3>%s</h3>\n", title);
    svg_begin(p, WIDE, height, title);
    for (size_t i = 0; i < json_count(entries); i++) {
        const json_value *e = json_at(entries, i);
        double value = real_at(e, key), expert = real_at(e, "expert"), layer = real_at(e, "layer");
        if (expert >= 0)
            page_print(
                p,
                "<rect class=\"mark\" fill-opacity=\"%.3f\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\">"
                "<title>layer %.0f, expert %.0f: %.4g</title></rect>\n",
                0.15 + 0.85 * (value - r.low) / above, LEFT + expert * cell, TOP + layer * row, cell - 1, row - 1,
                layer, expert, value);
    }
    for (double layer = 0; layer < r.layers; layer++) {
        snprintf(text, sizeof text, "layer %.0f", layer);
        svg_text(p, LEFT - 8, TOP + layer * row + row / 2 + 4, "end", text);
    }
    for (double expert = 0; expert < r.experts; expert += r.experts > 24 ? 8 : 1) {
        snprintf(text, sizeof text, "%.0f", expert);
        svg_text(p, LEFT + expert * cell + cell / 2, TOP + r.layers * row + 13, "middle", text);
    }
    snprintf(text, sizeof text, "expert; from %.3g (faintest) to %.3g", r.low, r.high);
    svg_text(p, LEFT, height - 6, "start", text);
    page_print(p, "</svg>\n");
}

/* ---- bars -------------------------------------------------------------------------------------------------------- */

void chart_bars(struct page *p, const json_value *list, const char *key, chart_label *label, const char *title) {
    enum { ROW = 22, NAMES = 150 };
    size_t n = json_count(list);
    double most = 1e-300, width = WIDE - NAMES - 90;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, real_at(json_at(list, i), key));
    page_print(p, "<h3>%s</h3>\n", title);
    svg_begin(p, WIDE, (double)n * ROW + 4, title);
    for (size_t i = 0; i < n; i++) {
        char text[96];
        double value = real_at(json_at(list, i), key), y = (double)i * ROW;
        label(json_at(list, i), text, sizeof text);
        svg_text(p, NAMES - 8, y + 16, "end", text);
        page_print(p, "<rect class=\"mark\" x=\"%d\" y=\"%.1f\" width=\"%.1f\" height=\"%d\"/>\n", NAMES, y + 4,
                   value / most * width, ROW - 6);
        snprintf(text, sizeof text, "%.4g", value);
        svg_text(p, NAMES + value / most * width + 6, y + 16, "start", text);
    }
    page_print(p, "</svg>\n");
}
