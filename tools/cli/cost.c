/* SPDX-License-Identifier: Apache-2.0 */
/* What tokens cost: the options that several verbs share, and the line in their summary. */
#include <stdlib.h>
#include <string.h>

#include "cost.h"

struct cli_cost cli_cost = {.price = -1, .intensity = -1};

static bool region_known(const char *name) {
    for (const char *const *region = moesaic_cost_regions(); *region; region++)
        if (!strcmp(*region, name))
            return true;
    return false;
}

int cli_cost_options(moesaic_cost_options *ret_options) {
    char names[512] = "";
    if (cli_cost.region && !region_known(cli_cost.region)) {
        for (const char *const *region = moesaic_cost_regions(); *region; region++)
            snprintf(names + strlen(names), sizeof names - strlen(names), " %s", *region);
        return cli_usage("--region: '%s' is unknown, expected one of%s", cli_cost.region, names);
    }
    *ret_options = (moesaic_cost_options){.size = sizeof *ret_options,
                                          .region = cli_cost.region,
                                          .has_price = cli_cost.price >= 0,
                                          .has_intensity = cli_cost.intensity >= 0,
                                          .price = cli_cost.price,
                                          .intensity = cli_cost.intensity,
                                          .pue = cli_cost.pue,
                                          .powercap = getenv("MOESAIC_POWERCAP")};
    return EXIT_DONE;
}

static double decode_value(const json_t *cost, const char *model, const char *key) {
    const json_t *figure = json_object_get(json_object_get(json_object_get(cost, model), "decode"), key);
    return json_number_value(json_object_get(figure, "value"));
}

void cli_cost_print(const json_t *report) {
    const json_t *cost = json_object_get(report, "cost");
    if (!cost)
        return;
    const json_t *energy = json_object_get(json_object_get(json_object_get(cost, "base"), "decode"), "energy_j");
    printf("cost of 1,000 tokens %.3g to %.3g J, %.2g to %.2g mgCO2e, $%.2g to $%.2g (generated; %s, region %s)\n",
           decode_value(cost, "base", "energy_j"), decode_value(cost, "optimized", "energy_j"),
           1e3 * decode_value(cost, "base", "carbon_g"), 1e3 * decode_value(cost, "optimized", "carbon_g"),
           decode_value(cost, "base", "money_usd"), decode_value(cost, "optimized", "money_usd"),
           json_string_value(json_object_get(energy, "source")), json_string_value(json_object_get(cost, "region")));
}
