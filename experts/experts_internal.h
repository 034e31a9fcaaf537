/* SPDX-License-Identifier: Apache-2.0 */
/* The experts' kernels (one source, compiled for each ISA) and what their files share. */
#ifndef EXPERTS_INTERNAL_H
#define EXPERTS_INTERNAL_H

#include "experts.h"

/* gate[i] = act(gate[i] + gate_bias[i]) * (up[i] + up_bias[i]), or the clamped form of it; a bias that is NULL is not
 * added. */
typedef void expert_gated_fn(float *gate, const float *up, const float *gate_bias, const float *up_bias,
                             const struct expert_activation *activation, size_t count);

struct expert_kernels {
    expert_gated_fn *gated[ACTIVATION_TYPES];
    void (*combine)(float *io, size_t cols, const float *rows, const uint32_t *place, const float *weight, uint32_t k,
                    const float *shared, float gate);
    void (*add)(float *io, const float *x, size_t cols);
};
extern const struct expert_kernels expert_kernels_ref;
#if defined(__x86_64__)
extern const struct expert_kernels expert_kernels_avx2, expert_kernels_avx512;
#endif
/* The newest set that this process may use. */
const struct expert_kernels *expert_kernels(void);

/* Rows [begin, end) of act(gate x) * (up x) of one job, all of one part, into its inner rows; `scratch`
 * [n, end - begin]. */
void expert_ffn_up(const struct expert_job *job, const struct expert_part *part,
                   const struct expert_activation *activation, const struct expert_input *x, size_t begin, size_t end,
                   float *scratch);
/* Rows [begin, end) of down(inner) of one job, all of one part, into its output rows. */
void expert_ffn_down(const struct expert_job *job, const struct expert_part *part, size_t hidden, size_t begin,
                     size_t end);
/* All of a feed-forward as one part. */
struct expert_part expert_part_whole(const struct ffn_weights *weights, size_t intermediate, size_t hidden);

#endif
