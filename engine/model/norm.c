/* SPDX-License-Identifier: Apache-2.0 */
/* RMSNorm (Zhang and Sennrich, 2019): x / sqrt(mean x^2 + epsilon) * gain. */
#include "forward_internal.h"

#include <math.h>

float norm_inverse(const struct model_kernels *kernels, const float *x, size_t count, float epsilon) {
    return 1.0f / sqrtf(kernels->sum_squares(x, count) / (float)count + epsilon);
}

void norm_row(const struct forward *f, const float *x, const float *gain, float *out) {
    size_t hidden = f->config->hidden;
    f->kernels->scale_gain(x, norm_inverse(f->kernels, x, hidden, f->epsilon), gain, hidden, out);
}

void model_final_norm(const struct model *model, const float *x, float *out) {
    const struct model_config *config = model_config(model);
    const struct model_kernels *kernels = model_kernels();
    float inverse = norm_inverse(kernels, x, config->hidden, (float)config->norm_epsilon);
    kernels->scale_gain(x, inverse, model_weights(model)->final_norm, config->hidden, out);
}
