/* SPDX-License-Identifier: Apache-2.0 */
/* Power of a core by what its CPU is called: published thermal design power over published cores. */
#include <ctype.h>
#include <string.h>

#include "profile.h"

/* From the makers' product pages (amd.com, ark.intel.com); the idle shares and the fallback from
 * cloud-carbon-footprint's coefficients, which come from SPECpower_ssj2008 results (docs/cost.md). */

static const struct named_cpu {
    const char *name; /* in the brand string, as a word */
    double tdp_w, cores;
} named_cpus[] = {
    {"EPYC 7601", 180, 32},          {"EPYC 7551", 180, 32},     {"EPYC 7742", 225, 64},
    {"EPYC 7702", 200, 64},          {"EPYC 7502", 180, 32},     {"EPYC 7763", 280, 64},
    {"EPYC 7713", 225, 64},          {"EPYC 7543", 225, 32},     {"EPYC 9654", 360, 96},
    {"EPYC 9554", 360, 64},          {"EPYC 9354", 280, 32},     {"EPYC 9754", 360, 128},
    {"EPYC 9965", 500, 192},         {"EPYC 9755", 500, 128},    {"EPYC 9655", 400, 96},
    {"EPYC 9575F", 400, 64},         {"EPYC 9555", 360, 64},     {"EPYC 9355", 280, 32},
    {"Ryzen 9 5950X", 105, 16},      {"Ryzen 9 7950X", 170, 16}, {"Ryzen 9 9950X", 170, 16},
    {"Ryzen 9 9900X", 120, 12},      {"Ryzen 7 7700X", 105, 8},  {"Ryzen 7 9700X", 65, 8},
    {"Threadripper 7980X", 350, 64}, {"Gold 6148", 150, 20},     {"Gold 6248", 150, 20},
    {"Gold 6338", 205, 32},          {"Gold 6348", 235, 28},     {"Gold 6430", 270, 32},
    {"Platinum 8180", 205, 28},      {"Platinum 8260", 165, 24}, {"Platinum 8280", 205, 28},
    {"Platinum 8380", 270, 40},      {"Platinum 8480", 350, 56}, {"Platinum 8490H", 350, 60},
    {"Platinum 8592", 350, 64},
};

/* Where a cloud hides the model, a family's dense parts are the likely ones: W a core of those, and of the family's
 * thriftiest and of its 32-core (or nearest) part. */
static const struct cpu_family {
    const char *brand; /* in the brand string */
    unsigned family, model_low, model_high;
    double value, low, high;
    const char *how;
} cpu_families[] = {
    {"EPYC", 0x17, 0x00, 0xff, 225.0 / 64, 200.0 / 64, 180.0 / 32,
     "TDP over cores, EPYC 7001 and 7002: 7742, from 7702 to 7601"},
    {"EPYC", 0x19, 0x00, 0x0f, 280.0 / 64, 225.0 / 64, 225.0 / 32,
     "TDP over cores, EPYC 7003: 7763, from 7713 to 7543"},
    {"EPYC", 0x19, 0x10, 0xff, 360.0 / 96, 360.0 / 128, 280.0 / 32,
     "TDP over cores, EPYC 9004: 9654, from 9754 to 9354"},
    {"EPYC", 0x1a, 0x00, 0xff, 500.0 / 128, 500.0 / 192, 280.0 / 32,
     "TDP over cores, EPYC 9005: 9755, from 9965 to 9355"},
    {"Xeon", 6, 85, 85, 205.0 / 28, 165.0 / 24, 150.0 / 20,
     "TDP over cores, Xeon Scalable 1st and 2nd generation: Platinum 8280, from 8260 to Gold 6148"},
    {"Xeon", 6, 106, 108, 270.0 / 40, 205.0 / 32, 235.0 / 28,
     "TDP over cores, Xeon Scalable 3rd generation: Platinum 8380, from Gold 6338 to Gold 6348"},
    {"Xeon", 6, 143, 143, 350.0 / 56, 350.0 / 60, 270.0 / 32,
     "TDP over cores, Xeon Scalable 4th generation: Platinum 8480+, from 8490H to Gold 6430"},
    {"Xeon", 6, 207, 207, 350.0 / 64, 350.0 / 64, 270.0 / 32,
     "TDP over cores, Xeon Scalable 5th generation: Platinum 8592+, to Gold 6430 of the 4th"},
};

/* Packages at full load against their TDP (assumed; the coefficients' servers are at 0.86 to 1.15 of it), and idle
 * against full load: the coefficients of EPYC 3rd generation, Skylake and EPYC 1st generation. */
static const double load_low = 0.8, load_high = 1.2, idle_share = 0.22, idle_share_low = 0.15, idle_share_high = 0.32;

/* Whether the brand string has the name with no letter or digit behind it but "P" (for one socket: the same power). */
static bool name_found(const char *brand, const char *name) {
    const char *at = strstr(brand, name);
    if (!at)
        return false;
    at += strlen(name);
    at += *at == 'P';
    return !isalnum((unsigned char)*at);
}

static struct cost_figure core_power(const struct cost_cpu *cpu) {
    for (size_t i = 0; i < sizeof named_cpus / sizeof *named_cpus; i++) {
        const struct named_cpu *n = &named_cpus[i];
        double watts = n->tdp_w / n->cores;
        if (name_found(cpu->name, n->name))
            return (struct cost_figure){watts, load_low * watts, load_high * watts, COST_MODELLED,
                                        "published TDP over cores of this CPU, assumed to within 20 %"};
    }
    for (size_t i = 0; i < sizeof cpu_families / sizeof *cpu_families; i++) {
        const struct cpu_family *f = &cpu_families[i];
        if (cpu->family == f->family && cpu->model >= f->model_low && cpu->model <= f->model_high &&
            strstr(cpu->name, f->brand))
            return (struct cost_figure){f->value, load_low * f->low, load_high * f->high, COST_MODELLED, f->how};
    }
    /* Two hardware threads of the coefficients at full load: Cascade Lake, EPYC 2nd generation and Haswell. */
    return (struct cost_figure){2 * 3.967, 2 * 1.575, 2 * 6.013, COST_MODELLED,
                                "assumed, the CPU is not known: as Cascade Lake, from EPYC 2nd generation to Haswell"};
}

void cost_power_find(const struct cost_cpu *cpu, struct cost_figure *ret_busy_w, struct cost_figure *ret_idle_w) {
    struct cost_figure busy = core_power(cpu);
    *ret_busy_w = busy;
    *ret_idle_w = (struct cost_figure){idle_share * busy.value, idle_share_low * busy.low, idle_share_high * busy.high,
                                       COST_MODELLED, "22 % of full load, from 15 % to 32 % (SPECpower results)"};
}
