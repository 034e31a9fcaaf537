/* SPDX-License-Identifier: Apache-2.0 */
/* NEON products on packed weights: byte products widened in two steps. */
#define PACKED_DOT 0
#define PACKED_MATRIX 0
#include "group_internal.h"

PACKED_KERNELS(neon)
