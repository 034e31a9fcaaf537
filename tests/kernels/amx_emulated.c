/* SPDX-License-Identifier: Apache-2.0 */
/* The AMX kernels compiled with emulated tiles, under names of their own; nothing on other architectures. */
#include "check.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "amx_emulated.h"

#define many_amx many_amx_emulated
#define roof_int8_amx roof_int8_amx_emulated
kernel_product_fn many_amx_emulated;
kernel_peak_fn roof_int8_amx_emulated;
#include "../../quant/kernels/amx/many.c"

const struct kernel_entry emulated_entries[] = {
    {"many", "amx_emulated", CPU_AVX512, offsetof(struct kernel_table, many), (void (*)(void))many_amx_emulated},
    {"roof_int8", "amx_emulated", CPU_AVX512, offsetof(struct kernel_table, roof_int8),
     (void (*)(void))roof_int8_amx_emulated},
};
const size_t emulated_entries_count = sizeof emulated_entries / sizeof *emulated_entries;
#else
const struct kernel_entry emulated_entries[] = {{0}};
const size_t emulated_entries_count = 0;
#endif
