/* SPDX-License-Identifier: Apache-2.0 */
/* Status codes and the caller-owned error message that every call of the library can fill. */
#ifndef MOESAIC_STATUS_H
#define MOESAIC_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define MOESAIC_API __attribute__((visibility("default")))
#else
#define MOESAIC_API
#endif

/* Outcome of a call. Zero is success; every other value is a failure and leaves the outputs untouched. */
typedef enum moesaic_status {
    MOESAIC_OK = 0,
    MOESAIC_E_FAILED = 1,      /* the work itself failed */
    MOESAIC_E_USAGE = 2,       /* an argument or option is out of range */
    MOESAIC_E_INPUT = 3,       /* a file or a string from outside is not what its format allows */
    MOESAIC_E_GATE = 4,        /* a quality gate was not met */
    MOESAIC_E_MEMORY = 5,      /* an allocation failed or a stated limit would be exceeded */
    MOESAIC_E_IO = 6,          /* the operating system refused to open, read, write or map */
    MOESAIC_E_UNSUPPORTED = 7, /* well formed, but this build or machine cannot do it */
    MOESAIC_E_NONFINITE = 8,   /* the model produced NaN or infinity */
    MOESAIC_E_CANCELLED = 130  /* the caller's callback asked to stop */
} moesaic_status;

/* Message of the last failure of the call it was given to: one line, NUL-terminated, never longer than the array.
 * Owned by the caller; a call that succeeds does not touch it. Every `moesaic_error *` argument may be NULL. */
typedef struct moesaic_error {
    moesaic_status status;
    char message[504];
} moesaic_error;

/* Name of a status, such as "input"; a static string, never NULL. Thread-safe. */
MOESAIC_API const char *moesaic_status_name(moesaic_status status);

#ifdef __cplusplus
}
#endif
#endif
