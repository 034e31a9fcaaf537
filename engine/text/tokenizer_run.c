/* SPDX-License-Identifier: Apache-2.0 */
/* The text on its way through a tokenizer: pieces of the current text, and the lists that grow with them. */
#include "tokenizer_internal.h"

bool id_list_reserve(struct id_list *list, size_t extra) {
    size_t need, capacity = list->capacity ? list->capacity : 16;
    if (list->capacity - list->count >= extra)
        return true;
    if (!size_add(list->count, extra, &need) || need > SIZE_MAX / 4 / sizeof *list->data)
        return false;
    while (capacity < need)
        capacity *= 2;
    int32_t *data = realloc(list->data, capacity * sizeof *data);
    if (!data)
        return false;
    list->data = data;
    list->capacity = capacity;
    return true;
}

static bool pieces_grow(struct pieces *pieces) {
    size_t capacity = pieces->capacity ? 2 * pieces->capacity : 16;
    if (capacity > SIZE_MAX / 2 / sizeof *pieces->data)
        return false;
    struct piece *data = realloc(pieces->data, capacity * sizeof *data);
    if (!data)
        return false;
    pieces->data = data;
    pieces->capacity = capacity;
    return true;
}

bool run_emit(struct encode_run *run, const struct piece *piece) {
    if (piece->bytes == 0)
        return true;
    if (run->next.count == run->next.capacity && !pieces_grow(&run->next))
        return false;
    run->next.data[run->next.count++] = *piece;
    return true;
}

void run_swap_pieces(struct encode_run *run) {
    struct pieces old = run->pieces;
    run->pieces = run->next;
    run->next = old;
    run->next.count = 0;
}

moesaic_status run_no_memory(struct encode_run *run) {
    return status_no_memory(run->error, "tokenizing", run->made[0].bytes + run->made[1].bytes);
}

void encode_run_done(struct encode_run *run) {
    text_buffer_done(&run->made[0]);
    text_buffer_done(&run->made[1]);
    free(run->pieces.data);
    free(run->next.data);
    pattern_scratch_done(&run->scratch);
}

moesaic_status run_check_size(struct encode_run *run, const struct text_buffer *out) {
    if (out->bytes <= run->limit_bytes)
        return MOESAIC_OK;
    return status_set(run->error, MOESAIC_E_INPUT, "the tokenizer's normalizers grow the text beyond %zu bytes",
                      run->limit_bytes);
}

moesaic_status run_map_pieces(struct encode_run *run, run_map *map, const void *stage) {
    struct text_buffer *out = &run->made[run->turn];
    out->bytes = 0;
    if (!text_buffer_reserve(out, 1)) /* the current text is never NULL */
        return run_no_memory(run);
    for (size_t i = 0; i < run->pieces.count; i++) {
        struct piece *piece = &run->pieces.data[i];
        if (piece->id >= 0)
            continue;
        size_t begin = out->bytes;
        if (piece->bytes) {
            moesaic_status status = map(run, stage, run->text + piece->begin, piece->bytes, &piece->origin_bytes, out);
            if (status == MOESAIC_OK)
                status = run_check_size(run, out);
            if (status != MOESAIC_OK)
                return status;
        }
        piece->begin = begin;
        piece->bytes = out->bytes - begin;
    }
    run->text = out->data;
    run->turn = !run->turn;
    return MOESAIC_OK;
}
