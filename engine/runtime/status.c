/* SPDX-License-Identifier: Apache-2.0 */
/* Status names and the one-line messages that every failing call leaves with its caller. */
#include "runtime.h"

#include <stdio.h>
#include <string.h>

const char *moesaic_status_name(moesaic_status status) {
    switch (status) {
    case MOESAIC_OK:
        return "ok";
    case MOESAIC_E_FAILED:
        return "failed";
    case MOESAIC_E_USAGE:
        return "usage";
    case MOESAIC_E_INPUT:
        return "input";
    case MOESAIC_E_GATE:
        return "gate";
    case MOESAIC_E_MEMORY:
        return "memory";
    case MOESAIC_E_IO:
        return "io";
    case MOESAIC_E_UNSUPPORTED:
        return "unsupported";
    case MOESAIC_E_NONFINITE:
        return "nonfinite";
    case MOESAIC_E_CANCELLED:
        return "cancelled";
    }
    return "unknown";
}

unsigned utf8_span(const char *text, size_t bytes) {
    const uint8_t *p = (const uint8_t *)text;
    if (bytes == 0)
        return 0;
    if (p[0] < 0x80)
        return 1;
    /* Bounds of the second byte exclude overlong forms, surrogates and values above U+10FFFF (Unicode table 3-7). */
    unsigned length = p[0] < 0xC2 ? 0 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : p[0] < 0xF5 ? 4 : 0;
    if (length == 0 || length > bytes)
        return 0;
    uint8_t low = p[0] == 0xE0 ? 0xA0 : p[0] == 0xF0 ? 0x90 : 0x80;
    uint8_t high = p[0] == 0xED ? 0x9F : p[0] == 0xF4 ? 0x8F : 0xBF;
    if (p[1] < low || p[1] > high)
        return 0;
    for (unsigned i = 2; i < length; i++)
        if (p[i] < 0x80 || p[i] > 0xBF)
            return 0;
    return length;
}

void text_make_printable(char *text) {
    size_t bytes = strlen(text);
    for (size_t i = 0; i < bytes;) {
        unsigned span = utf8_span(text + i, bytes - i);
        /* C0, DEL and C1 (two bytes C2 80..9F) would move a terminal's cursor or worse. */
        bool control = (span == 1 && ((uint8_t)text[i] < 0x20 || text[i] == 0x7F)) ||
                       (span == 2 && (uint8_t)text[i] == 0xC2 && (uint8_t)text[i + 1] < 0xA0);
        if (span == 0 || control) {
            unsigned count = span == 0 ? 1 : span;
            memset(text + i, '?', count);
            i += count;
        } else {
            i += span;
        }
    }
}

moesaic_status status_set(moesaic_error *error, moesaic_status status, const char *format, ...) {
    if (!error)
        return status;
    char message[sizeof error->message]; /* apart from error->message, which may be among the arguments */
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (length < 0)
        snprintf(message, sizeof message, "%s", moesaic_status_name(status));
    text_make_printable(message);
    memcpy(error->message, message, sizeof message);
    error->status = status;
    return status;
}

moesaic_status status_no_memory(moesaic_error *error, const char *what, size_t bytes) {
    return status_set(error, MOESAIC_E_MEMORY, "%s: out of memory (%zu bytes)", what, bytes);
}
