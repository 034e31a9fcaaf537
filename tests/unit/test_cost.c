/* SPDX-License-Identifier: Apache-2.0 */
/* The energy meter on made-up counters, and cost by hand: model, measurement, regions and what is refused. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "profile.h"

/* ---- made-up counters -------------------------------------------------------------------------------------------- */

struct tree {
    char root[64];
};

static void tree_write(const struct tree *t, const char *domain, const char *file, const char *text) {
    char path[160];
    snprintf(path, sizeof path, "%s/%s", t->root, domain);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/%s/%s", t->root, domain, file);
    int to = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    cr_assert_geq(to, 0);
    cr_assert_eq(write(to, text, strlen(text)), (ssize_t)strlen(text));
    close(to);
}

static void domain_write(const struct tree *t, const char *domain, const char *name, const char *energy) {
    tree_write(t, domain, "name", name);
    tree_write(t, domain, "max_energy_range_uj", "1000000000\n");
    tree_write(t, domain, "energy_uj", energy);
}

/* Two packages with memory counters, and what must not be counted: cores, psys, and the same package once more. */
static struct tree tree_make(void) {
    struct tree t = {.root = "/tmp/moesaic-powercap-XXXXXX"};
    cr_assert_not_null(mkdtemp(t.root));
    domain_write(&t, "intel-rapl:0", "package-0\n", "1000\n");
    domain_write(&t, "intel-rapl:0:0", "core\n", "500\n");
    domain_write(&t, "intel-rapl:0:1", "dram\n", "10\n");
    domain_write(&t, "intel-rapl:1", "package-1\n", "2000\n");
    domain_write(&t, "intel-rapl:1:0", "dram\n", "20\n");
    domain_write(&t, "intel-rapl:2", "psys\n", "9000\n");
    domain_write(&t, "intel-rapl-mmio:0", "package-0\n", "1000\n");
    return t;
}

static void tree_remove(const struct tree *t) {
    char command[96];
    snprintf(command, sizeof command, "rm -r %s", t->root);
    cr_assert_eq(system(command), 0);
}

static struct energy_meter meter_on(const struct tree *t) {
    struct energy_meter meter;
    energy_meter_open(t->root, 0, &meter);
    return meter;
}

enum { SECOND = 1000000000 };

Test(energy_meter, adds_packages_and_memory_apart) {
    struct tree t = tree_make();
    struct energy_meter meter = meter_on(&t);
    cr_assert_eq(meter.packages, 2);
    cr_assert_eq(meter.drams, 2);
    tree_write(&t, "intel-rapl:0", "energy_uj", "1500\n");
    tree_write(&t, "intel-rapl:1", "energy_uj", "2025\n");
    tree_write(&t, "intel-rapl:1:0", "energy_uj", "27\n");
    cr_assert(energy_meter_read(&meter, SECOND / 10));
    cr_assert_eq(meter.package_uj, 525);
    cr_assert_eq(meter.dram_uj, 7);
    tree_write(&t, "intel-rapl:0:1", "energy_uj", "13\n");
    cr_assert(energy_meter_read(&meter, SECOND / 5));
    cr_assert_eq(meter.package_uj, 525);
    cr_assert_eq(meter.dram_uj, 10);
    energy_meter_close(&meter);
    tree_remove(&t);
}

Test(energy_meter, goes_on_where_a_counter_wraps) {
    struct tree t = tree_make();
    tree_write(&t, "intel-rapl:0", "energy_uj", "999999000\n");
    struct energy_meter meter = meter_on(&t);
    tree_write(&t, "intel-rapl:0", "energy_uj", "234\n");
    cr_assert(energy_meter_read(&meter, SECOND / 2));
    cr_assert_eq(meter.package_uj, 1000 + 234);
    energy_meter_close(&meter);
    tree_remove(&t);
}

/* 1,000 J at 1 kW: after a second a second wrap may have passed unseen. */
Test(energy_meter, gives_up_after_too_long) {
    struct tree t = tree_make();
    struct energy_meter meter = meter_on(&t);
    cr_assert(energy_meter_read(&meter, SECOND - 1));
    cr_assert_not(energy_meter_read(&meter, 3 * (uint64_t)SECOND));
    cr_assert_eq(meter.packages, 0);
    cr_assert_not(energy_meter_read(&meter, 3 * (uint64_t)SECOND + 1));
    tree_remove(&t);
}

Test(energy_meter, is_absent_unless_every_package_can_be_read) {
    static const char *const bad[] = {"", "\n", "-5\n", "12x\n", "1000000001\n", "99999999999999999999999\n"};
    struct tree t = tree_make();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        tree_write(&t, "intel-rapl:1", "energy_uj", bad[i]);
        cr_assert_eq(meter_on(&t).packages, 0, "counter '%s'", bad[i]);
    }
    tree_write(&t, "intel-rapl:1", "energy_uj", "2000\n");
    tree_write(&t, "intel-rapl:0", "max_energy_range_uj", "0\n");
    cr_assert_eq(meter_on(&t).packages, 0);
    tree_remove(&t);
    cr_assert_eq(meter_on(&t).packages, 0, "no such folder");
}

Test(energy_meter, measures_packages_without_memory_counters) {
    struct tree t = tree_make();
    tree_write(&t, "intel-rapl:1:0", "energy_uj", "?");
    struct energy_meter meter = meter_on(&t);
    cr_assert_eq(meter.packages, 2);
    cr_assert_eq(meter.drams, 0, "one of two memories would say too little");
    energy_meter_close(&meter);
    tree_remove(&t);
}

Test(energy_meter, stops_at_a_counter_that_breaks) {
    struct tree t = tree_make();
    struct energy_meter meter = meter_on(&t);
    tree_write(&t, "intel-rapl:0", "energy_uj", "nothing\n");
    cr_assert_not(energy_meter_read(&meter, 1));
    cr_assert_eq(meter.packages, 0);
    tree_remove(&t);
}

/* ---- power ------------------------------------------------------------------------------------------------------- */

static void cr_near(double have, double want) {
    cr_assert_float_eq(have, want, 1e-9 * fabs(want) + 1e-15, "%.12g, expected %.12g", have, want);
}

static double busy_w(const char *name, unsigned family, unsigned model) {
    struct cost_cpu cpu = {name, family, model};
    struct cost_figure busy, idle;
    cost_power_find(&cpu, &busy, &idle);
    cr_assert(busy.low <= busy.value && busy.value <= busy.high, "%s", name);
    cr_assert(idle.low <= idle.value && idle.value <= idle.high && idle.high < busy.high && idle.low < busy.low, "%s",
              name);
    return busy.value;
}

Test(cost_power, by_name_then_family_then_assumed) {
    cr_near(busy_w("AMD EPYC 9654 96-Core Processor", 0x19, 0x11), 360.0 / 96);
    cr_near(busy_w("AMD EPYC 9654P 96-Core Processor", 0x19, 0x11), 360.0 / 96);
    cr_near(busy_w("Intel(R) Xeon(R) Platinum 8480+", 6, 143), 350.0 / 56);
    cr_near(busy_w("Intel(R) Xeon(R) Platinum 8380 CPU @ 2.30GHz", 6, 106), 270.0 / 40);
    cr_near(busy_w("AMD EPYC 9B14", 0x19, 0x11), 360.0 / 96);
    cr_near(busy_w("AMD EPYC", 0x1a, 2), 500.0 / 128);
    cr_near(busy_w("AMD EPYC 7R13 Processor", 0x19, 1), 280.0 / 64);
    cr_near(busy_w("Intel(R) Xeon(R) CPU @ 2.80GHz", 6, 85), 205.0 / 28);
    double assumed = busy_w("unknown", 0, 0);
    cr_near(assumed, 7.934);
    cr_near(busy_w("AMD Ryzen 9 7950X3D 16-Core Processor", 0x19, 0x61), assumed);
    cr_near(busy_w("EPYC 96540", 0, 0), assumed);
}

/* ---- rates ------------------------------------------------------------------------------------------------------- */

static const struct cost_cpu cpu = {"AMD EPYC 7763 64-Core Processor", 0x19, 1};

Test(cost_rates, every_region_is_whole) {
    size_t n = 0;
    for (; cost_region_names[n]; n++) {
        moesaic_cost_options o = {.size = sizeof o, .region = cost_region_names[n]};
        struct cost_rates r;
        cr_assert_eq(cost_rates_make(&o, &cpu, &r, NULL), MOESAIC_OK);
        cr_assert(r.intensity.value > 20 && r.intensity.value < 1000, "%s", o.region);
        cr_assert(r.price.value >= 0.05 && r.price.value < 0.30, "%s", o.region);
        cr_assert(r.price.low <= r.price.value && r.price.value <= r.price.high);
        cr_assert_eq(r.intensity.source, COST_MODELLED);
        cr_assert_gt(strlen(r.price.how), 0);
    }
    cr_assert_eq(n, 27);
    struct cost_rates r;
    cr_assert_eq(cost_rates_make(&(moesaic_cost_options){.region = "us-ny"}, &cpu, &r, NULL), MOESAIC_OK);
    cr_near(r.intensity.value, 29418e9 / 124040e6);
    cr_near(r.price.value, 0.0687);
    cr_near(r.price.high, 0.0687);
}

Test(cost_rates, what_is_given_stands) {
    moesaic_cost_options o = {.region = "fr", .has_price = true, .has_intensity = true, .pue = 1.4};
    struct cost_rates r;
    cr_assert_eq(cost_rates_make(&o, &cpu, &r, NULL), MOESAIC_OK);
    cr_assert_eq(r.price.source, COST_GIVEN);
    cr_assert_eq(r.price.value, 0);
    cr_assert_eq(r.intensity.source, COST_GIVEN);
    cr_assert_eq(r.intensity.high, 0);
    cr_assert_eq(r.pue.source, COST_GIVEN);
    cr_near(r.pue.value, 1.4);
    cr_assert_eq(cost_rates_make(&(moesaic_cost_options){0}, &cpu, &r, NULL), MOESAIC_OK);
    cr_assert_str_eq(r.region, "world");
    cr_assert_eq(r.pue.value, 1);
    cr_assert_eq(r.pue.source, COST_MODELLED);
}

static void refused(moesaic_cost_options o, const char *what) {
    struct cost_rates r = {.region = "untouched"};
    moesaic_error error;
    cr_assert_eq(cost_rates_make(&o, &cpu, &r, &error), MOESAIC_E_USAGE, "%s", what);
    cr_assert_not_null(strstr(error.message, what), "'%s' in: %s", what, error.message);
    cr_assert_str_eq(r.region, "untouched");
}

Test(cost_rates, nonsense_is_refused_by_name) {
    refused((moesaic_cost_options){.region = "nowhere"}, "region");
    refused((moesaic_cost_options){.has_price = true, .price = -0.1}, "price");
    refused((moesaic_cost_options){.has_price = true, .price = NAN}, "price");
    refused((moesaic_cost_options){.has_intensity = true, .intensity = INFINITY}, "intensity");
    refused((moesaic_cost_options){.pue = 0.9}, "pue");
    refused((moesaic_cost_options){.pue = NAN}, "pue");
}

/* ---- cost -------------------------------------------------------------------------------------------------------- */

static const struct cost_rates rates = {.price = {0.10, 0.05, 0.20},
                                        .intensity = {400, 400, 400},
                                        .pue = {1.5, 1.5, 1.5},
                                        .core_busy_w = {4, 3, 6, COST_MODELLED},
                                        .core_idle_w = {1, 0.5, 1.5, COST_MODELLED},
                                        .dram_j_per_byte = {2e-10, 0, 3e-10, COST_MODELLED}};

static void figure_is(struct cost_figure f, double value, double low, double high, enum cost_source source) {
    cr_near(f.value, value);
    cr_near(f.low, low);
    cr_near(f.high, high);
    cr_assert_eq(f.source, source);
}

/* 500 tokens in 2 s on 10 cores, half of the time busy, with 5 GB read: a core at rest 1 W, the rest 3 W. */
Test(cost, modelled_by_hand) {
    struct cost_work work = {.tokens = 500, .seconds = 2, .bytes = 5e9, .flops = 3e12, .busy = 0.5, .cores = 10};
    struct cost c;
    cost_make(&rates, &work, &c);
    figure_is(c.idle_j, 2 * 10 * 1 * 2 * 1.5, 30, 90, COST_MODELLED);
    figure_is(c.active_j, 2 * 10 * 0.5 * 3 * 2 * 1.5, 75, 135, COST_MODELLED);
    figure_is(c.dram_j, 1 * 2 * 1.5, 0, 4.5, COST_MODELLED);
    figure_is(c.energy_j, 153, 105, 229.5, COST_MODELLED);
    figure_is(c.money, 153 / 3.6e6 * 0.10, 105 / 3.6e6 * 0.05, 229.5 / 3.6e6 * 0.20, COST_MODELLED);
    figure_is(c.carbon_g, 153 / 3.6e6 * 400, 105 / 3.6e6 * 400, 229.5 / 3.6e6 * 400, COST_MODELLED);
    figure_is(c.tokens_per_j, 1000 / 153.0, 1000 / 229.5, 1000 / 105.0, COST_MODELLED);
    figure_is(c.gflops_per_w, 6000 / 153.0, 6000 / 229.5, 6000 / 105.0, COST_MODELLED);
}

/* 0.1 s between readings: each may be a millisecond late, 2 % in all. */
Test(cost, measured_by_hand) {
    struct cost_work work = {.tokens = 100,
                             .seconds = 0.09,
                             .bytes = 1e9,
                             .busy = 1,
                             .cores = 2,
                             .measured = true,
                             .dram_measured = true,
                             .metered_s = 0.1,
                             .package_j = 5,
                             .dram_j = 0.4,
                             .idle_w = 20};
    struct cost c;
    cost_make(&rates, &work, &c);
    figure_is(c.idle_j, 30, 29.4, 30.6, COST_MEASURED);
    figure_is(c.active_j, 45, 44.1, 45.9, COST_MEASURED);
    figure_is(c.dram_j, 6, 5.88, 6.12, COST_MEASURED);
    figure_is(c.energy_j, 81, 79.38, 82.62, COST_MEASURED);
    work.dram_measured = false;
    cost_make(&rates, &work, &c);
    figure_is(c.dram_j, 3, 0, 4.5, COST_MODELLED);
    cr_assert_eq(c.energy_j.source, COST_MODELLED, "a sum is as sure as its least part");
    work.idle_w = 80; /* what else ran during the measurement at rest does not make the active part negative */
    cost_make(&rates, &work, &c);
    figure_is(c.idle_j, 75, 73.5, 76.5, COST_MEASURED);
    cr_assert_eq(c.active_j.value, 0);
    work.metered_s = 0.003; /* too short for counters of a millisecond */
    cost_make(&rates, &work, &c);
    cr_assert_eq(c.idle_j.source, COST_MODELLED);
}

Test(cost, documents_name_every_source) {
    struct cost_work work = {.tokens = 1000, .seconds = 1, .busy = 1, .cores = 1};
    struct cost_rates r;
    struct cost c;
    cr_assert_eq(cost_rates_make(&(moesaic_cost_options){.has_price = true, .price = 0.08}, &cpu, &r, NULL),
                 MOESAIC_OK);
    cost_make(&r, &work, &c);
    json_value *document = cost_json(&c), *rates_document = cost_rates_json(&r);
    const json_value *energy = json_get(document, "energy_j");
    cr_assert_str_eq(json_text(json_get(energy, "source"), NULL), "modelled");
    cr_near(json_number(json_get(energy, "value")), 280.0 / 64);
    cr_assert_str_eq(json_text(json_get(json_get(rates_document, "price_usd_per_kwh"), "source"), NULL), "given");
    cr_assert_eq(json_count(document), 8);
    cr_assert_eq(json_count(rates_document), 7);
    json_free(document);
    json_free(rates_document);
}
