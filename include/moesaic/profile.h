/* SPDX-License-Identifier: Apache-2.0 */
/* Cost: what energy, carbon and money are reckoned with. */
#ifndef MOESAIC_PROFILE_H
#define MOESAIC_PROFILE_H

#include <moesaic/status.h>
#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Names of the built-in regions, NULL-terminated, "world" first; docs/cost.md has their figures. Thread-safe. */
MOESAIC_API const char *const *moesaic_cost_regions(void);

typedef struct moesaic_cost_options {
    size_t size;          /* sizeof(moesaic_cost_options) */
    const char *region;   /* whose grid and prices hold; NULL: "world" */
    bool has_price;       /* `price` is given and stands in for the region's */
    bool has_intensity;   /* likewise `intensity` */
    double price;         /* $ a kWh, not negative */
    double intensity;     /* gCO2e a kWh, not negative */
    double pue;           /* energy of the whole site over that of its machines, from 1 on; 0: 1 */
    const char *powercap; /* folder of Linux' energy counters; NULL: /sys/class/powercap */
} moesaic_cost_options;

#ifdef __cplusplus
}
#endif
#endif
