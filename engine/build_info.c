/* SPDX-License-Identifier: Apache-2.0 */
/* What this build is, in a few lines. */
#include <pthread.h>
#include <stdio.h>

#include "api_internal.h"
#include "build_config.h"

static char text[1024];

static void text_make(void) {
    char bundles[256];
    snprintf(text, sizeof text,
             "moesaic %s\nbuild     %s, %s\nCPU       %s: %s\nlibraries hwloc %s, jansson %s, PCRE2 %s, utf8proc %s\n"
             "arenas    %s",
             MOESAIC_BUILD_VERSION, MOESAIC_BUILD_TYPE, MOESAIC_BUILD_COMPILER, cpu_model_name(),
             cpu_bundles_text(cpu_bundles(), bundles, sizeof bundles), MOESAIC_BUILD_HWLOC, MOESAIC_BUILD_JANSSON,
             MOESAIC_BUILD_PCRE2, MOESAIC_BUILD_UTF8PROC, arena_backend());
}

const char *moesaic_build_info(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, text_make);
    return text;
}
