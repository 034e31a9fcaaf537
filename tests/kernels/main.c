/* SPDX-License-Identifier: Apache-2.0 */
/* check_kernels ISA: checks every kernel of one ISA; exit 77 where this CPU (as MOESAIC_CPU shows it) has none of
 * it. */
#include <stdio.h>
#include <string.h>

#include "check.h"

enum { EXIT_SKIPPED = 77 };

static const struct {
    const char *slot_prefix;
    check_fn *check;
} checks[] = {
    {"rows_", check_product_rows},
    {"quantize", check_quantize},
    {"unpack_", check_unpack},
    {"few_", check_few},
    {"many", check_many},
    {"roof_read", check_roof_read},
    {"roof_int8", check_roof_peak},
    {"roof_f32", check_roof_peak},
};

static check_fn *check_of(const char *slot) {
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++)
        if (strncmp(slot, checks[i].slot_prefix, strlen(checks[i].slot_prefix)) == 0)
            return checks[i].check;
    return NULL;
}

static void run(const struct kernel_entry *entry, const char *isa, const struct kernel_table *reference,
                struct check_outcome *outcome) {
    if (strcmp(entry->isa, isa) != 0)
        return;
    if ((cpu_bundles() & entry->bundle) != entry->bundle) {
        outcome->absent++;
        return;
    }
    check_fn *check = check_of(entry->slot);
    unsigned bad = check ? check(entry, reference) : 1;
    printf("%s %s %s\n", bad ? "FAIL" : "ok", entry->slot, entry->isa);
    outcome->passed += bad == 0;
    outcome->failed += bad != 0;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: check_kernels ISA\n");
        return 2;
    }
    struct kernel_table reference;
    struct check_outcome outcome = {0};
    kernels_fill(&reference, CPU_SCALAR);
    for (size_t i = 0; i < kernel_entries_count; i++)
        run(&kernel_entries[i], argv[1], &reference, &outcome);
    for (size_t i = 0; i < emulated_entries_count; i++)
        run(&emulated_entries[i], argv[1], &reference, &outcome);
    check_lanes(argv[1], &outcome);
    printf("%u passed, %u failed, %u not on this CPU\n", outcome.passed, outcome.failed, outcome.absent);
    if (outcome.failed > 0)
        return 1;
    return outcome.passed > 0 ? 0 : EXIT_SKIPPED;
}
