/* SPDX-License-Identifier: Apache-2.0 */
/* The roofs: every byte is read once, and operations are counted for every round. */
#include <stdio.h>
#include <string.h>

#include "check.h"

unsigned check_roof_read(const struct kernel_entry *entry, const struct kernel_table *reference) {
    struct check_random random = {.state = 5};
    unsigned failed = 0;
    for (size_t words = 0; words < 400; words++) {
        struct guarded data = guarded_alloc(words * 8, 8);
        for (size_t i = 0; i < data.bytes; i++)
            data.data[i] = (uint8_t)check_random_u64(&random);
        uint64_t expected = reference->roof_read(data.data, data.bytes, 1);
        for (unsigned streams = 1; streams <= ROOF_STREAMS_MAX; streams *= 2) {
            uint64_t got = ((kernel_read_fn *)entry->function)(data.data, data.bytes, streams);
            failed += !check_bytes(entry, "words", &expected, &got, sizeof got);
        }
        guarded_free(&data);
    }
    return failed;
}

unsigned check_roof_peak(const struct kernel_entry *entry, const struct kernel_table *reference) {
    kernel_peak_fn *peak = (kernel_peak_fn *)entry->function;
    kernel_peak_fn *least = strcmp(entry->slot, "roof_f32") == 0 ? reference->roof_f32 : reference->roof_int8;
    return peak(0) != 0 || peak(1) < least(1) || peak(1000) != 1000 * peak(1);
}
