/* SPDX-License-Identifier: Apache-2.0 */
/* A stage's input in every form that its weights consume: floats, and INT8 for each group size in use. */
#include "experts.h"

static const uint32_t form_group[EXPERT_FORMS] = {0, 32, 64, 128};

size_t expert_input_bytes(unsigned forms, size_t rows, size_t cols) {
    size_t bytes = 0;
    for (unsigned f = 1; f < EXPERT_FORMS; f++)
        if (forms >> f & 1)
            bytes += size_round_up(activations_bytes(rows, cols, form_group[f]), 64);
    return bytes;
}

void expert_input_bind(struct expert_input *input, unsigned forms, const float *values, size_t rows, size_t cols,
                       size_t stride, void *scratch) {
    uint8_t *at = scratch;
    input->forms = forms;
    for (unsigned f = 0; f < EXPERT_FORMS; f++) {
        if (f > 0 && !(forms >> f & 1))
            continue;
        input->form[f] = (struct activations){.values = values, .tokens = rows, .cols = cols, .stride = stride};
        if (f == 0)
            continue;
        activations_bind(&input->form[f], form_group[f], at);
        at += size_round_up(activations_bytes(rows, cols, form_group[f]), 64);
    }
}

void expert_input_quantize(struct expert_input *input, size_t begin, size_t end) {
    for (unsigned f = 1; f < EXPERT_FORMS; f++)
        if (input->forms >> f & 1)
            activations_quantize(&input->form[f], begin, end);
}
