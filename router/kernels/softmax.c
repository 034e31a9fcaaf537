/* SPDX-License-Identifier: Apache-2.0 */
/* Exponentials of a row for softmax, on 16 lanes; compiled once per ISA with KERNELS set to the table's name. */
#include "lanes.h"
#include "router_internal.h"

static float row_largest(const float *x, size_t count) {
    lanes largest = lanes_set(-INFINITY);
    size_t i = 0;
    for (; i + LANES <= count; i += LANES)
        largest = lanes_max(largest, lanes_load(x + i));
    if (i < count)
        largest = lanes_max(largest, lanes_keep(lanes_load_n(x + i, count - i), 0, count - i, largest));
    return lanes_largest(largest);
}

static float exponentials(float *x, size_t count) {
    const lanes zero = lanes_set(0.0f), largest = lanes_set(row_largest(x, count));
    lanes sum = zero;
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        lanes e = lanes_exp(lanes_sub(lanes_load(x + i), largest));
        lanes_store(x + i, e);
        sum = lanes_add(sum, e);
    }
    if (i < count) {
        lanes e = lanes_exp(lanes_sub(lanes_load_n(x + i, count - i), largest));
        lanes_store_n(x + i, e, count - i);
        sum = lanes_add(sum, lanes_keep(e, 0, count - i, zero));
    }
    return lanes_sum(sum);
}

const struct router_kernels KERNELS = {.exponentials = exponentials};
