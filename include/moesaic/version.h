/* SPDX-License-Identifier: Apache-2.0 */
/* Version of the library: the header's at compile time, the loaded library's at run time. */
#ifndef MOESAIC_VERSION_H
#define MOESAIC_VERSION_H

#include <moesaic/status.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MOESAIC_VERSION_MAJOR 0
#define MOESAIC_VERSION_MINOR 1
#define MOESAIC_VERSION_PATCH 0

/* "0.1.0" of the loaded library; a static string. Thread-safe. */
MOESAIC_API const char *moesaic_version(void);
/* One line a fact: version, build options, CPU and the instruction sets in use, libraries. A static string, made on the
 * first call. Thread-safe. */
MOESAIC_API const char *moesaic_build_info(void);

#ifdef __cplusplus
}
#endif
#endif
