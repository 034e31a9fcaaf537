/* SPDX-License-Identifier: Apache-2.0 */
/* AVX-VNNI products on packed weights: the AVX2 kernels with the byte dot product. */
#define PACKED_VNNI 1
#include "../avx2/packed_internal.h"
#include "../roof_internal.h"

FEW_DENSE(avxvnni)
FEW_SET(lines, FORMAT_LINES, 512)

FEW_SET(int4_48, FORMAT_INT4_48, 192)
FEW_KERNEL(few_int4_48_avxvnni, &int4_48)
FEW_SET(int4_mask, FORMAT_INT4_MASK, 0)
FEW_OR_MANY_KERNEL(few_int4_mask_avxvnni, &int4_mask, &lines)

MANY_KERNEL(many_avxvnni, &lines)

ROOF_PEAK(int8_avxvnni, "x", 12, _mm256_setzero_si256(), _mm256_set1_epi8(3), _mm256_set1_epi8(-5),
          dot(FORMAT_INT4, sum, a, b), 32)
