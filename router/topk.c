/* SPDX-License-Identifier: Apache-2.0 */
/* The k largest of a row of values, ties to the lowest index. */
#include "router.h"

#include <math.h>

/* Insertion into a list kept in order: one comparison for most values, since few beat the smallest that is kept. */
void router_top_k(const float *values, uint32_t count, uint32_t k, uint32_t *ret_index) {
    float kept[ROUTER_TOP_K_MAX];
    uint32_t filled = 0;
    for (uint32_t i = 0; i < count; i++) {
        float value = values[i] == values[i] ? values[i] : -INFINITY;
        if (filled == k && !(value > kept[k - 1]))
            continue;
        uint32_t at = filled < k ? filled++ : k - 1;
        for (; at > 0 && value > kept[at - 1]; at--) {
            kept[at] = kept[at - 1];
            ret_index[at] = ret_index[at - 1];
        }
        kept[at] = value;
        ret_index[at] = i;
    }
}
