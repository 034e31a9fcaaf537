/* SPDX-License-Identifier: Apache-2.0 */
/* The search for a weight that is no number, made only when a step's results were none. */
#include <inttypes.h>
#include <string.h>

#include "checkpoint.h"

/* NaN and infinity have all bits of the exponent set. */
static bool half_is_finite(const uint8_t *at, uint16_t exponent) {
    uint16_t bits;
    memcpy(&bits, at, sizeof bits);
    return (bits & exponent) != exponent;
}

static bool float_is_finite(const uint8_t *at) {
    uint32_t bits;
    memcpy(&bits, at, sizeof bits);
    return (bits & 0x7f800000u) != 0x7f800000u;
}

static bool element_is_finite(const struct tensor *tensor, uint64_t element) {
    if (tensor->type == TENSOR_F32)
        return float_is_finite(tensor->data + element * 4);
    return half_is_finite(tensor->data + element * 2, tensor->type == TENSOR_F16 ? 0x7c00 : 0x7f80);
}

/* Index of the first element that is not finite, or the number of elements. Other types than floats have none. */
static uint64_t first_nonfinite(const struct tensor *tensor, uint64_t *ret_elements) {
    bool is_float = tensor->type == TENSOR_F32 || tensor->type == TENSOR_F16 || tensor->type == TENSOR_BF16;
    uint64_t elements = is_float ? tensor->bytes / (tensor->type == TENSOR_F32 ? 4 : 2) : 0, i = 0;
    while (i < elements && element_is_finite(tensor, i))
        i++;
    *ret_elements = elements;
    return i;
}

moesaic_status checkpoint_check_finite(const struct checkpoint *checkpoint, moesaic_error *error) {
    for (size_t t = 0; t < checkpoint_count(checkpoint); t++) {
        const struct tensor *tensor = checkpoint_at(checkpoint, t);
        uint64_t elements, at = first_nonfinite(tensor, &elements);
        if (at < elements)
            return status_set(error, MOESAIC_E_NONFINITE,
                              "%s/%s: tensor \"%.128s\": element %" PRIu64 " is NaN or infinite",
                              checkpoint_path(checkpoint), checkpoint_shard_name(checkpoint, tensor->shard),
                              tensor->name, at);
    }
    return MOESAIC_OK;
}
