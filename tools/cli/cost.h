/* SPDX-License-Identifier: Apache-2.0 */
/* What tokens cost: options and output of the verbs whose report says so. */
#ifndef COST_H
#define COST_H

#include "cli.h"

/* Set by CLI_COST_OPTIONS. */
struct cli_cost {
    const char *region;
    double price, intensity, pue; /* negative price or intensity: not given; pue 0 likewise */
};
extern struct cli_cost cli_cost;
#define CLI_COST_OPTIONS                                                                                               \
    {"region", 0, OPTION_TEXT, "R", "whose grid and prices hold: world (default), eu, us, us-ny, de, ...",             \
     &cli_cost.region},                                                                                                \
        {"price", 0, OPTION_REAL, "$/kWh", "of electricity, in place of the region's", &cli_cost.price, 0, 1e6},       \
        {"intensity", 0, OPTION_REAL, "g/kWh", "CO2e of electricity, in place of the region's", &cli_cost.intensity,   \
         0, 1e6},                                                                                                      \
        {"pue", 0, OPTION_REAL, "X", "energy of the site over that of the machine (1)", &cli_cost.pue, 1, 100}
/* The options for the library; $MOESAIC_POWERCAP names other energy counters than the system's. Exit status, with a
 * line for an unknown region. */
int cli_cost_options(moesaic_cost_options *ret_options);
/* A line for a report's "cost"; none without one. */
void cli_cost_print(const json_t *report);

#endif
