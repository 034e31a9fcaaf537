/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines handed to the program's callback; without one they are dropped. */
#include "runtime.h"

#include <pthread.h>
#include <stdio.h>

enum { LOG_LINE_BYTES = 1024 };

/* Held for reading while the callback runs: once log_set has returned, the old callback and its `user` are unused. */
static pthread_rwlock_t log_lock = PTHREAD_RWLOCK_INITIALIZER;
static log_callback *log_sink;
static void *log_user;

void log_set(log_callback *callback, void *user) {
    pthread_rwlock_wrlock(&log_lock);
    log_sink = callback;
    log_user = user;
    pthread_rwlock_unlock(&log_lock);
}

void log_line(log_level level, const char *format, ...) {
    pthread_rwlock_rdlock(&log_lock);
    if (log_sink) {
        char line[LOG_LINE_BYTES];
        va_list arguments;
        va_start(arguments, format);
        int length = vsnprintf(line, sizeof line, format, arguments);
        va_end(arguments);
        if (length >= 0) {
            text_make_printable(line);
            log_sink(log_user, level, line);
        }
    }
    pthread_rwlock_unlock(&log_lock);
}
