/* SPDX-License-Identifier: Apache-2.0 */
/* AVX512-VNNI products: with few tokens for formats whose blocks are all of one size, with many for all. */
#include "few_internal.h"

FEW_DENSE(avx512vnni)

/* Unpacked lines look like INT8; the zero point is the weight's own. */
MANY_KERNEL(many_avx512vnni, &int8)
