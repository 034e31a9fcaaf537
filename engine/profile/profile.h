/* SPDX-License-Identifier: Apache-2.0 */
/* Door of engine/profile: what running a model costs in energy, carbon and money, measured where an instrument is. */
#ifndef PROFILE_H
#define PROFILE_H

#include <moesaic/profile.h>

#include "runtime.h"

/* ---- the instrument (energy_meter.c) ---- */

enum { ENERGY_PACKAGES_MAX = 16 };

/* One counter of Linux' powercap interface. */
struct energy_counter {
    int file;          /* energy_uj, open */
    uint64_t range_uj; /* its largest value, behind which it begins at 0 again */
    uint64_t last_uj;
};
/* The packages' energy counters, and those of their memory. Not thread-safe. */
struct energy_meter {
    struct energy_counter package[ENERGY_PACKAGES_MAX], dram[ENERGY_PACKAGES_MAX];
    unsigned packages; /* 0: no instrument */
    unsigned drams;    /* the number of packages, or 0 */
    uint64_t last_ns;
    uint64_t package_uj, dram_uj; /* used since the meter was opened */
};
/* Opens the counters under `root` (/sys/class/powercap), or leaves the meter without packages: there are none, or this
 * process may not read them all, as those of a part of the packages would say too little. `now_ns` is clock_ns(). */
void energy_meter_open(const char *root, uint64_t now_ns, struct energy_meter *ret_meter);
/* Adds what was used since the last reading to the totals. False, the meter being left without packages, when a counter
 * cannot be read or may have gone round more than once (at 1 kW a package, some four minutes). */
bool energy_meter_read(struct energy_meter *meter, uint64_t now_ns);
void energy_meter_close(struct energy_meter *meter); /* accepts a zeroed struct */

/* ---- figures ---- */

enum cost_source { COST_MEASURED, COST_MODELLED, COST_GIVEN };
/* A figure with its range and where it comes from. low <= value <= high. */
struct cost_figure {
    double value, low, high;
    enum cost_source source;
    const char *how; /* the instrument, the formula or the publication; a string constant */
};
const char *cost_source_name(enum cost_source source);

/* ---- rates (cost_power.c, cost_regions.c) ---- */

/* What a CPU is known by. */
struct cost_cpu {
    const char *name;       /* brand string */
    unsigned family, model; /* of CPUID; 0 where there is none */
};
/* Power of one busy core and of one idle core, W: the CPU's published TDP over its cores, by name, else by family, else
 * assumed. */
void cost_power_find(const struct cost_cpu *cpu, struct cost_figure *ret_busy_w, struct cost_figure *ret_idle_w);

/* What energy, carbon and money are reckoned with. */
struct cost_rates {
    const char *region;
    struct cost_figure price;     /* $ a kWh */
    struct cost_figure intensity; /* gCO2e a kWh, location-based */
    struct cost_figure pue;
    struct cost_figure core_busy_w, core_idle_w;
    struct cost_figure dram_j_per_byte;
};
extern const char *const cost_region_names[]; /* NULL-terminated */
/* `options` zeroed: the defaults. Errors: USAGE, naming the option. */
moesaic_status cost_rates_make(const moesaic_cost_options *options, const struct cost_cpu *cpu,
                               struct cost_rates *ret_rates, moesaic_error *error);

/* ---- cost (cost.c) ---- */

/* Work that was done over some tokens, and what the meter said of it. */
struct cost_work {
    double tokens, seconds;
    double bytes;       /* of weights and KV cache that were read */
    double flops;       /* nominal */
    double busy;        /* share of the time for which the cores in use were busy */
    unsigned cores;     /* in use */
    bool measured;      /* the following hold: used between two readings that were metered_s apart */
    bool dram_measured; /* dram_j holds */
    double metered_s, package_j, dram_j;
    double idle_w; /* of all packages with nothing to do */
};
/* Of 1,000 tokens. The energies include the site's overhead (PUE). */
struct cost {
    struct cost_figure idle_j, active_j, dram_j, energy_j;
    struct cost_figure carbon_g, money;
    struct cost_figure tokens_per_j; /* the same as tokens a second and watt */
    struct cost_figure gflops_per_w; /* nominal */
};
void cost_make(const struct cost_rates *rates, const struct cost_work *work, struct cost *ret_cost);

/* Documents; NULL when out of memory. A figure is {value, low, high, source, how}. */
json_value *cost_figure_json(const struct cost_figure *figure);
json_value *cost_rates_json(const struct cost_rates *rates);
json_value *cost_json(const struct cost *cost);

#endif
