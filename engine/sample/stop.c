/* SPDX-License-Identifier: Apache-2.0 */
/* Stop strings over a stream of text: what may be the beginning of one is held back. */
#include <stdlib.h>
#include <string.h>

#include "sample.h"

enum { STOPS_MAX = 64, STOP_BYTES_MAX = 4096 };

struct stop_filter {
    size_t stops;
    char *stop[STOPS_MAX];
    size_t stop_bytes[STOPS_MAX];
    char *held; /* shown text first, then what is held back */
    size_t shown, bytes, capacity;
};

moesaic_status stop_filter_create(const moesaic_sampling *settings, struct stop_filter **ret_filter,
                                  moesaic_error *error) {
    if (settings->stops > STOPS_MAX)
        return status_set(error, MOESAIC_E_USAGE, "stop: %zu strings, at most %d", settings->stops, STOPS_MAX);
    struct stop_filter *filter = calloc(1, sizeof *filter);
    if (!filter)
        return status_no_memory(error, "stop strings", sizeof *filter);
    for (size_t i = 0; i < settings->stops; i++) {
        size_t bytes = settings->stop_bytes ? settings->stop_bytes[i] : strlen(settings->stop[i]);
        if (bytes == 0 || bytes > STOP_BYTES_MAX) {
            stop_filter_destroy(filter);
            return status_set(error, MOESAIC_E_USAGE, "stop: string %zu has %zu bytes, expected 1 to %d", i, bytes,
                              STOP_BYTES_MAX);
        }
        filter->stop[i] = malloc(bytes);
        if (!filter->stop[i]) {
            stop_filter_destroy(filter);
            return status_no_memory(error, "stop string", bytes);
        }
        memcpy(filter->stop[i], settings->stop[i], bytes);
        filter->stop_bytes[i] = bytes;
        filter->stops++;
    }
    *ret_filter = filter;
    return MOESAIC_OK;
}

void stop_filter_destroy(struct stop_filter *filter) {
    if (!filter)
        return;
    for (size_t i = 0; i < filter->stops; i++)
        free(filter->stop[i]);
    free(filter->held);
    free(filter);
}

/* Where the held text meets a stop string first, or where the longest beginning of one starts at its end. */
static size_t filter_scan(const struct stop_filter *filter, bool *ret_stopped) {
    size_t partial = filter->bytes;
    for (size_t at = 0; at < filter->bytes; at++) {
        size_t left = filter->bytes - at;
        for (size_t i = 0; i < filter->stops; i++) {
            size_t bytes = filter->stop_bytes[i], common = bytes < left ? bytes : left;
            if (memcmp(filter->held + at, filter->stop[i], common))
                continue;
            if (common == bytes) {
                *ret_stopped = true;
                return at;
            }
            partial = at < partial ? at : partial;
        }
    }
    *ret_stopped = false;
    return partial;
}

moesaic_status stop_filter_push(struct stop_filter *filter, const char *text, size_t bytes, bool last,
                                const char **ret_text, size_t *ret_bytes, bool *ret_stopped, moesaic_error *error) {
    if (filter->shown) {
        filter->bytes -= filter->shown;
        memmove(filter->held, filter->held + filter->shown, filter->bytes);
        filter->shown = 0;
    }
    size_t need;
    if (!size_add(filter->bytes, bytes, &need))
        return status_no_memory(error, "held text", SIZE_MAX);
    if (need > filter->capacity || !filter->held) {
        size_t capacity = need < 256 ? 256 : need * 2;
        char *held = realloc(filter->held, capacity);
        if (!held)
            return status_no_memory(error, "held text", capacity);
        filter->held = held;
        filter->capacity = capacity;
    }
    if (bytes)
        memcpy(filter->held + filter->bytes, text, bytes);
    filter->bytes = need;
    bool stopped;
    size_t safe = filter_scan(filter, &stopped);
    filter->shown = stopped || !last ? safe : filter->bytes;
    *ret_text = filter->held;
    *ret_bytes = filter->shown;
    *ret_stopped = stopped;
    return MOESAIC_OK;
}
