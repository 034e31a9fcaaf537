/* SPDX-License-Identifier: Apache-2.0 */
/* Rotary position encoding (Su et al., 2021) and its scalings, rounded to F32 step by step as transformers'
 * modeling_rope_utils does, so that long contexts agree with it. */
#include "forward_internal.h"
#include "portable_math.h"

#include <math.h>

static double original_length(const struct model_config *config) {
    int64_t original = config->rope.original_max_position;
    return (double)(original > 0 ? original : config->max_position);
}

/* base^(2 i / dim) */
static float period(double base, uint32_t dim, uint32_t i) {
    float exponent = (float)(2 * i) / (float)dim;
    return (float)portable_power((double)(float)base, exponent);
}

/* NTK-aware scaling: the base grows with the length beyond the trained one. */
static double dynamic_base(const struct model_config *config, size_t capacity) {
    const struct rope_config *rope = &config->rope;
    double trained = (double)config->max_position, length = (double)capacity > trained ? (double)capacity : trained;
    double stretch = rope->factor * length / trained - (rope->factor - 1), dim = config->rotary_dim;
    return rope->theta * portable_power(stretch, dim / (dim - 2));
}

/* Llama 3.1: long wavelengths are divided by the factor, short ones kept, those between blended. */
static float llama3_frequency(const struct model_config *config, float inverse) {
    const struct rope_config *rope = &config->rope;
    float wavelength = (float)(2 * 3.14159265358979323846) / inverse, length = (float)original_length(config);
    float low = (float)rope->low_freq_factor, high = (float)rope->high_freq_factor, factor = (float)rope->factor;
    if (wavelength < (float)(original_length(config) / rope->high_freq_factor))
        return inverse;
    if (wavelength > (float)(original_length(config) / rope->low_freq_factor))
        return inverse / factor;
    float smooth = (length / wavelength - low) / (high - low);
    return (1 - smooth) * inverse / factor + smooth * inverse;
}

/* Dimension whose wavelength turns `rotations` times in the trained length (YaRN, Peng et al., 2023). */
static double yarn_dimension(const struct model_config *config, double rotations) {
    double turns = original_length(config) / (rotations * 2 * 3.14159265358979323846);
    return config->rotary_dim * portable_log(turns) / (2 * portable_log(config->rope.theta));
}

/* Share of the interpolated frequency in pair i: 0 below the fast bound, 1 above the slow one. */
static float yarn_ramp(const struct model_config *config, uint32_t i) {
    double low = yarn_dimension(config, config->rope.beta_fast), high = yarn_dimension(config, config->rope.beta_slow);
    if (config->rope.truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = low > 0 ? low : 0;
    high = high < config->rotary_dim - 1 ? high : config->rotary_dim - 1;
    if (low == high)
        high += 0.001;
    float ramp = ((float)i - (float)low) / (float)(high - low);
    return ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
}

static float yarn_frequency(const struct model_config *config, uint32_t i) {
    float turn = period(config->rope.theta, config->rotary_dim, i), keep = 1 - yarn_ramp(config, i);
    return 1 / ((float)config->rope.factor * turn) * (1 - keep) + 1 / turn * keep;
}

static double yarn_magnitude(double factor, double scale) {
    return factor <= 1 ? 1 : 0.1 * scale * portable_log(factor) + 1;
}

static float attention_factor(const struct model_config *config) {
    const struct rope_config *rope = &config->rope;
    if (rope->type != ROPE_YARN && rope->type != ROPE_LONGROPE)
        return 1;
    if (rope->attention_factor >= 0)
        return (float)rope->attention_factor;
    if (rope->type == ROPE_LONGROPE)
        return rope->factor <= 1 ? 1
                                 : (float)sqrt(1 + portable_log(rope->factor) / portable_log(original_length(config)));
    if (rope->mscale > 0 && rope->mscale_all_dim > 0)
        return (float)(yarn_magnitude(rope->factor, rope->mscale) / yarn_magnitude(rope->factor, rope->mscale_all_dim));
    return (float)yarn_magnitude(rope->factor, 1);
}

void rope_frequencies(const struct model_config *config, size_t capacity, float *ret_inverse, float *ret_scale) {
    const struct rope_config *rope = &config->rope;
    const double *stretch = (double)capacity > original_length(config) ? rope->long_factor : rope->short_factor;
    double base = rope->type == ROPE_DYNAMIC ? dynamic_base(config, capacity) : rope->theta;
    for (uint32_t i = 0; i < config->rotary_dim / 2; i++) {
        float turn = period(base, config->rotary_dim, i), inverse = 1 / turn;
        if (rope->type == ROPE_LINEAR)
            inverse /= (float)rope->factor;
        else if (rope->type == ROPE_LLAMA3)
            inverse = llama3_frequency(config, inverse);
        else if (rope->type == ROPE_YARN)
            inverse = yarn_frequency(config, i);
        else if (rope->type == ROPE_LONGROPE)
            inverse = 1 / ((float)stretch[i] * turn);
        ret_inverse[i] = inverse;
    }
    *ret_scale = attention_factor(config);
}

void rope_angles(const float *inverse, float scale, size_t half, uint32_t position, float *cosine, float *sine) {
    for (size_t i = 0; i < half; i++) {
        double s, c;
        float angle = inverse[i] * (float)position;
        portable_sincos(angle, &s, &c);
        cosine[i] = (float)c * scale;
        sine[i] = (float)s * scale;
    }
}
