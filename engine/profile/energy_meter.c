/* SPDX-License-Identifier: Apache-2.0 */
/* Linux' powercap counters (Documentation/power/powercap): energy of the CPU packages and of their memory. */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "profile.h"

enum { SUBDOMAINS_MAX = 8 };
/* More than any package draws: in a shorter time than its range takes at this power a counter goes round once at
 * most. */
static const double package_power_limit_w = 1000;

/* Reads a small file, text of one line without its newline. */
static bool file_line(int file, char text[64]) {
    ssize_t bytes = pread(file, text, 63, 0);
    if (bytes <= 0)
        return false;
    text[bytes] = 0;
    text[strcspn(text, "\n")] = 0;
    return true;
}

static bool file_number(int file, uint64_t *ret_number) {
    char text[64], *end;
    if (!file_line(file, text) || text[0] < '0' || text[0] > '9')
        return false;
    *ret_number = strtoull(text, &end, 10);
    return !*end;
}

static int domain_open(const char *root, const char *domain, const char *name) {
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s/%s/%s", root, domain, name);
    return length < (int)sizeof path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
}

/* The domain's "name": "package-0", "dram", "psys", ... False when there is no such domain. */
static bool domain_name(const char *root, const char *domain, char text[64]) {
    int file = domain_open(root, domain, "name");
    bool named = file >= 0 && file_line(file, text);
    if (file >= 0)
        close(file);
    return named;
}

static bool counter_open(const char *root, const char *domain, struct energy_counter *ret_counter) {
    int range = domain_open(root, domain, "max_energy_range_uj");
    struct energy_counter counter = {.file = domain_open(root, domain, "energy_uj")};
    bool good = range >= 0 && counter.file >= 0 && file_number(range, &counter.range_uj) && counter.range_uj &&
                file_number(counter.file, &counter.last_uj) && counter.last_uj <= counter.range_uj;
    if (range >= 0)
        close(range);
    if (!good && counter.file >= 0)
        close(counter.file);
    if (good)
        *ret_counter = counter;
    return good;
}

/* What went through a counter since its last reading. */
static bool counter_read(struct energy_counter *counter, double seconds, uint64_t *io_total_uj) {
    uint64_t now, last = counter->last_uj;
    if (!file_number(counter->file, &now) || now > counter->range_uj ||
        seconds * package_power_limit_w * 1e6 > (double)counter->range_uj)
        return false;
    *io_total_uj += now >= last ? now - last : counter->range_uj - last + now;
    counter->last_uj = now;
    return true;
}

/* The memory counter among a package's parts. */
static void dram_open(struct energy_meter *meter, const char *root, unsigned domain) {
    char part[64], name[64];
    for (unsigned i = 0; i < SUBDOMAINS_MAX; i++) {
        snprintf(part, sizeof part, "intel-rapl:%u:%u", domain, i);
        if (!domain_name(root, part, name) || strcmp(name, "dram"))
            continue;
        meter->drams += counter_open(root, part, &meter->dram[meter->drams]);
        return;
    }
}

static void drams_close(struct energy_meter *meter) {
    while (meter->drams)
        close(meter->dram[--meter->drams].file);
}

void energy_meter_open(const char *root, uint64_t now_ns, struct energy_meter *ret_meter) {
    struct energy_meter meter = {.last_ns = now_ns};
    char domain[64], name[64];
    bool whole = true;
    /* AMD's counters go by Intel's name too. Others, as intel-rapl-mmio, count the same packages once more. */
    for (unsigned i = 0; whole && i < 2 * ENERGY_PACKAGES_MAX; i++) {
        snprintf(domain, sizeof domain, "intel-rapl:%u", i);
        if (!domain_name(root, domain, name) || strncmp(name, "package", 7))
            continue;
        whole = meter.packages < ENERGY_PACKAGES_MAX && counter_open(root, domain, &meter.package[meter.packages]);
        if (whole) {
            meter.packages++;
            dram_open(&meter, root, i);
        }
    }
    if (meter.drams < meter.packages)
        drams_close(&meter);
    if (!whole)
        energy_meter_close(&meter);
    *ret_meter = meter;
}

bool energy_meter_read(struct energy_meter *meter, uint64_t now_ns) {
    double seconds = (double)(now_ns - meter->last_ns) * 1e-9;
    bool good = meter->packages > 0;
    for (unsigned i = 0; good && i < meter->packages; i++)
        good = counter_read(&meter->package[i], seconds, &meter->package_uj);
    for (unsigned i = 0; good && i < meter->drams; i++)
        good = counter_read(&meter->dram[i], seconds, &meter->dram_uj);
    meter->last_ns = now_ns;
    if (!good)
        energy_meter_close(meter);
    return good;
}

void energy_meter_close(struct energy_meter *meter) {
    drams_close(meter);
    while (meter->packages)
        close(meter->package[--meter->packages].file);
}
