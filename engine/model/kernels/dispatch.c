/* SPDX-License-Identifier: Apache-2.0 */
/* The choice of the forward pass's kernels for this process. */
#include "kernels/model_kernels.h"

const struct model_kernels *model_kernels(void) {
#if defined(__x86_64__)
    uint32_t bundles = cpu_bundles();
    if (bundles & CPU_AVX512)
        return &model_kernels_avx512;
    if (bundles & CPU_AVX2)
        return &model_kernels_avx2;
#endif
    return &model_kernels_ref;
}
