/* SPDX-License-Identifier: Apache-2.0 */
/* Grids and prices by region, each row with its source and year, and what the user gives in their place. */
#include <math.h>
#include <string.h>

#include "profile.h"

#define EMBER "Ember, Yearly Electricity Data, 2024, life cycle"
#define EIA "EIA, Electric Power Annual 2023: CO2 over net generation of the state (tables 9.5 and 3.7)"
#define EIA_PRICE "EIA, Electric Power Annual 2023: industrial revenue a kWh"
#define EUROSTAT "Eurostat nrg_pc_205, non-household without VAT, first half of 2024, at 1.0824 $ a euro"
#define NO_PRICE 0, NULL

/* Name, gCO2e a kWh and its source, $ a kWh and its source. */
#define REGIONS(row)                                                                                                   \
    row("world", 472.94, EMBER, NO_PRICE) row("au", 553.76, EMBER, NO_PRICE) row("br", 106.06, EMBER, NO_PRICE)        \
        row("ca", 184.99, EMBER, NO_PRICE) row("ch", 36.72, EMBER, NO_PRICE) row("cn", 557.50, EMBER, NO_PRICE)        \
            row("de", 342.06, EMBER, NO_PRICE) row("dk", 143.30, EMBER, NO_PRICE) row("es", 146.15, EMBER, NO_PRICE)   \
                row("eu", 213.02, EMBER, NO_PRICE) row("fi", 72.25, EMBER, 0.0939 * 1.0824, EUROSTAT)                  \
                    row("fr", 44.18, EMBER, NO_PRICE) row("gb", 215.79, EMBER, NO_PRICE)                               \
                        row("ie", 279.79, EMBER, 0.256 * 1.0824, EUROSTAT) row("in", 708.96, EMBER, NO_PRICE)          \
                            row("jp", 483.73, EMBER, NO_PRICE) row("kr", 415.65, EMBER, NO_PRICE)                      \
                                row("nl", 252.70, EMBER, NO_PRICE) row("no", 30.75, EMBER, NO_PRICE)                   \
                                    row("pl", 614.98, EMBER, NO_PRICE) row("se", 35.89, EMBER, NO_PRICE)               \
                                        row("sg", 498.74, EMBER, NO_PRICE)                                             \
                                            row("us", 383.55, EMBER, 0.0806,                                           \
                                                "EIA, Electric Power Monthly: average price to industry, 2023")        \
                                                row("us-il", 42186 / 177.738, EIA, 0.0820, EIA_PRICE)                  \
                                                    row("us-ny", 29418 / 124.040, EIA, 0.0687, EIA_PRICE)              \
                                                        row("us-oh", 63226 / 133.223, EIA, 0.0703, EIA_PRICE)          \
                                                            row("us-pa", 70207 / 235.925, EIA, 0.0775, EIA_PRICE)

#define REGION_NAME(name, ...) name,
const char *const cost_region_names[] = {REGIONS(REGION_NAME) NULL};

#define REGION_ROW(name, ...) {__VA_ARGS__},
static const struct region {
    double intensity;
    const char *intensity_how;
    double price; /* 0: none published here */
    const char *price_how;
} regions[] = {REGIONS(REGION_ROW)};

static struct cost_figure point(double value, enum cost_source source, const char *how) {
    return (struct cost_figure){value, value, value, source, how};
}

static const struct region *region_find(const char *name) {
    for (size_t i = 0; cost_region_names[i]; i++)
        if (!strcmp(cost_region_names[i], name))
            return &regions[i];
    return NULL;
}

static moesaic_status options_check(const moesaic_cost_options *o, moesaic_error *error) {
    if (o->has_price && !(o->price >= 0 && isfinite(o->price)))
        return status_set(error, MOESAIC_E_USAGE, "price: %g $/kWh, expected 0 or more", o->price);
    if (o->has_intensity && !(o->intensity >= 0 && isfinite(o->intensity)))
        return status_set(error, MOESAIC_E_USAGE, "intensity: %g g/kWh, expected 0 or more", o->intensity);
    if (o->pue != 0 && !(o->pue >= 1 && isfinite(o->pue)))
        return status_set(error, MOESAIC_E_USAGE, "pue: %g, expected 1 or more", o->pue);
    return MOESAIC_OK;
}

moesaic_status cost_rates_make(const moesaic_cost_options *o, const struct cost_cpu *cpu, struct cost_rates *ret_rates,
                               moesaic_error *error) {
    struct cost_rates rates = {.region = o->region ? o->region : cost_region_names[0]};
    const struct region *region = region_find(rates.region);
    moesaic_status status = options_check(o, error);
    if (!status && !region)
        status = status_set(error, MOESAIC_E_USAGE, "region: '%.40s' is unknown (moesaic_cost_regions lists them)",
                            rates.region);
    if (status)
        return status;
    rates.intensity = o->has_intensity ? point(o->intensity, COST_GIVEN, "by the caller")
                                       : point(region->intensity, COST_MODELLED, region->intensity_how);
    if (o->has_price)
        rates.price = point(o->price, COST_GIVEN, "by the caller");
    else if (region->price_how)
        rates.price = point(region->price, COST_MODELLED, region->price_how);
    else
        rates.price = (struct cost_figure){0.095, 0.05, 0.14, COST_MODELLED,
                                           "assumed: the span of industrial prices, and its middle"};
    rates.pue = o->pue != 0 ? point(o->pue, COST_GIVEN, "by the caller")
                            : point(1, COST_MODELLED, "assumed: the machine alone");
    /* Bytes that a cache serves reach no memory. */
    rates.dram_j_per_byte = (struct cost_figure){1.95e-9 / 8, 0, 2.6e-9 / 8, COST_MODELLED,
                                                 "1.3 to 2.6 nJ for 64 bits (Horowitz, ISSCC 2014); low: all from "
                                                 "caches"};
    cost_power_find(cpu, &rates.core_busy_w, &rates.core_idle_w);
    *ret_rates = rates;
    return MOESAIC_OK;
}
