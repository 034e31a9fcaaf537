/* SPDX-License-Identifier: Apache-2.0 */
/* AVX512-VNNI peak: vpdpbusd between registers. */
#include "../roof_internal.h"
#include "dot_internal.h"

ROOF_PEAK(int8_avx512vnni, "v", 16, _mm512_setzero_si512(), _mm512_set1_epi8(3), _mm512_set1_epi8(-5),
          dot_register(sum, a, b), 64)
