/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of a weight as a weight of their own, for experts that are spread over NUMA nodes. */
#include <string.h>

#include "formats_internal.h"

/* Rows and packed panels without a table: an unbroken run of bytes. */
struct cut {
    uint64_t first, bytes;
};

static uint64_t panel_of(uint64_t row) {
    return (row + PANEL_ROWS - 1) / PANEL_ROWS;
}

static struct cut cut_find(const struct weight *w, uint64_t begin, uint64_t end) {
    if (w->format == FORMAT_INT4_MASK) {
        uint64_t stop = w->bytes - mask_tail_bytes(w->group), last = panel_of(end);
        uint64_t from = (uint64_t)(panel_begin(w, panel_of(begin)) - w->data);
        uint64_t to = last < panel_of(w->rows) ? (uint64_t)(panel_begin(w, last) - w->data) : stop;
        return (struct cut){from, to > from ? to - from : 0}; /* a damaged table may fall */
    }
    uint64_t unit = w->layout == LAYOUT_PANEL16 ? format_panel_bytes(w->format, w->group, w->cols)
                                                : w->cols * number_format_bits(w->format) / 8;
    uint64_t from = w->layout == LAYOUT_PANEL16 ? panel_of(begin) : begin;
    uint64_t to = w->layout == LAYOUT_PANEL16 ? panel_of(end) : end;
    return (struct cut){from * unit, (to - from) * unit};
}

uint64_t weight_cut_bytes(const struct weight *weight, uint64_t begin, uint64_t end) {
    uint64_t bytes = cut_find(weight, begin, end).bytes;
    if (weight->format == FORMAT_INT4_MASK)
        bytes += mask_table_bytes(end - begin) + mask_tail_bytes(weight->group);
    return bytes;
}

/* The table of the panels' offsets begins anew, the panels follow, and the tail is zero. */
static void cut_mask(const struct weight *w, uint64_t begin, uint64_t end, struct cut cut, uint8_t *out,
                     uint64_t bytes) {
    size_t table = mask_table_bytes(end - begin);
    memset(out, 0, table);
    for (uint64_t panel = panel_of(begin); panel < panel_of(end); panel++) {
        uint64_t at = (uint64_t)(panel_begin(w, panel) - w->data);
        uint64_t offset = table + (at > cut.first ? at - cut.first : 0);
        memcpy(out + (panel - panel_of(begin)) * sizeof offset, &offset, sizeof offset);
    }
    memcpy(out + table, w->data + cut.first, cut.bytes);
    memset(out + table + cut.bytes, 0, bytes - table - cut.bytes);
}

void weight_cut(const struct weight *weight, uint64_t begin, uint64_t end, void *out, struct weight *ret_weight) {
    struct cut cut = cut_find(weight, begin, end);
    struct weight part = *weight;
    part.rows = end - begin;
    part.data = out;
    part.bytes = weight_cut_bytes(weight, begin, end);
    if (weight->format == FORMAT_INT4_MASK)
        cut_mask(weight, begin, end, cut, out, part.bytes);
    else
        memcpy(out, weight->data + cut.first, cut.bytes);
    *ret_weight = part;
}
