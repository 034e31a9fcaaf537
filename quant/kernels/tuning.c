/* SPDX-License-Identifier: Apache-2.0 */
/* Where the kernels change over, by machine class; results do not depend on it. Measure with bench_kernels --tokens. */
#include "kernels.h"

size_t kernels_many_tokens(number_format format, uint32_t bundles) {
    /* Not measured: half the rows of a tile, eight times the products of VNNI a cycle. */
    if (bundles & CPU_AMX)
        return 8;
    /* NEON unpacks for every four tokens otherwise. */
    if (bundles & CPU_NEON)
        return 5;
    /* INT8, INT4 and INT2 expand in one or two operations: as fast packed (Zen 5, 64 tokens: INT4 0.77 of the peak,
     * unpacked lines 0.73). The others gain from 20 to 30 tokens on, in 256 bits from 6 to 8 on. */
    if (format == FORMAT_INT8 || format == FORMAT_INT4 || format == FORMAT_INT2)
        return SIZE_MAX;
    return bundles & CPU_AVX512 ? 24 : 8;
}
