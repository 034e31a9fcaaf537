/* SPDX-License-Identifier: Apache-2.0 */
/* The report's page in the making: escaped text, and the charts drawn into it. */
#ifndef REPORT_PAGE_INTERNAL_H
#define REPORT_PAGE_INTERNAL_H

#include "runtime.h"

/* Text that grows; once memory runs out everything further is dropped and `failed` says so. */
struct page {
    char *text;
    size_t bytes, capacity;
    bool failed;
};
void page_print(struct page *page, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Text from outside: markup characters escaped, control characters shown as blanks. */
void page_text(struct page *page, const char *text, size_t bytes);
/* The text under `key` of an object likewise, or nothing. */
void page_text_at(struct page *page, const json_value *object, const char *key);
static inline double real_at(const json_value *object, const char *key) {
    return json_number(json_get(object, key));
}

/* ---- cost (report_cost.c) ---- */

/* The report's "cost", as a section. */
void page_cost(struct page *page, const json_value *cost);

/* ---- charts (report_charts.c): inline SVG, coloured by the page's variables ---- */

/* Histogram of log10(KL): the document's "histogram". */
void chart_histogram(struct page *page, const json_value *histogram);
/* KL (logarithmic) against bytes on disk: the optimized model and its opponents. */
void chart_bytes(struct page *page, const json_value *report);
/* A cell for each layer and expert, shaded by `key` of the entries; entries with expert < 0 are left out. */
void chart_experts(struct page *page, const json_value *entries, const char *key, const char *title);
/* A bar for each entry of the list: `key`, labelled by what `label` writes for it. */
typedef void chart_label(const json_value *entry, char *ret_text, size_t bytes);
void chart_bars(struct page *page, const json_value *list, const char *key, chart_label *label, const char *title);

#endif
