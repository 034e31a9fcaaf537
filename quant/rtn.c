/* SPDX-License-Identifier: Apache-2.0 */
/* Scales of groups, by the largest weight or searched, and codes rounded to nearest. */
#include <math.h>

#include "compress_internal.h"

enum { SEARCH_STEPS = 40, SEARCH_POLISH = 2 };

/* With the largest scale at 2^10 in FP16's terms, groups 2^24 times smaller still have normal scales. */
float compress_factor(float largest, number_format format) {
    int high = (1 << (number_format_bits(format) - 1)) - 1;
    if (!(largest > 0.0f))
        return 1.0f;
    int exponent = ilogb((double)largest / high) - 10;
    return ldexpf(1.0f, exponent < -100 ? -100 : exponent > 100 ? 100 : exponent);
}

double scale_factor(const float *w, size_t count, number_format format) {
    float largest = 0.0f;
    for (size_t i = 0; i < count; i++)
        largest = fmaxf(largest, fabsf(w[i]));
    return compress_factor(largest, format);
}

uint16_t scale_round(double scale, double factor, double *ret_step) {
    const double largest = 65504.0;
    double units = scale / factor;
    uint16_t bits = half_from_float((float)(units > largest ? largest : units < -largest ? -largest : units));
    *ret_step = half_to_float(bits) * factor;
    return bits;
}

/* The kept weights of one row and group. */
struct scale_sample {
    double w[JOB_GROUP_MAX], h[JOB_GROUP_MAX];
    size_t count;
    double extreme; /* the weight of the largest magnitude, with its sign */
};

static void sample_gather(const struct compress_job *job, const double *weights, size_t group, size_t row,
                          struct scale_sample *sample) {
    size_t begin = group * job->options->group, end = begin + job->options->group;
    sample->count = 0;
    sample->extreme = 0.0;
    for (size_t k = begin; k < end && k < job->cols; k++) {
        if (job->mask != NULL && !job->mask[k * job->rows + row])
            continue;
        double w = weights[k * job->rows + row];
        sample->w[sample->count] = w;
        sample->h[sample->count++] = job->h[k * job->cols + k];
        if (fabs(w) > fabs(sample->extreme))
            sample->extreme = w;
    }
}

/* Squared error of the sample with this step; also the least-squares step for the codes it chose. */
static double sample_error(const struct scale_sample *sample, double step, int low, int high, double *ret_fitted) {
    double error = 0.0, top = 0.0, bottom = 0.0;
    for (size_t i = 0; i < sample->count; i++) {
        double code = code_nearest(sample->w[i], step, low, high), miss = sample->w[i] - code * step;
        error += sample->h[i] * miss * miss;
        top += sample->h[i] * sample->w[i] * code;
        bottom += sample->h[i] * code * code;
    }
    *ret_fitted = bottom > 0.0 ? top / bottom : step;
    return error;
}

/* Best scale found so far for one sample. */
struct scale_best {
    double error, step, fitted;
    uint16_t bits;
};

static bool scale_try(const struct compress_job *job, const struct scale_sample *sample, double scale,
                      struct scale_best *best) {
    struct scale_best candidate;
    candidate.bits = scale_round(scale, job->factor, &candidate.step);
    candidate.error = sample_error(sample, candidate.step, job->low, job->high, &candidate.fitted);
    if (!(candidate.error < best->error))
        return false;
    *best = candidate;
    return true;
}

/* Codes reach one further down than up. So two families of scales are tried at each step of clipping: one that puts the
 * extreme weight at `high`, and one, with the sign that fits, that puts it at `low`. The best is polished by the
 * least-squares scale of its own codes. */
static void scale_search(const struct compress_job *job, const struct scale_sample *sample, struct scale_best *best) {
    double plain = fabs(sample->extreme) / job->high, turned = sample->extreme / job->low;
    scale_try(job, sample, plain, best);
    for (int i = 0; i < SEARCH_STEPS; i++) {
        double clip = 1.05 - i * (0.7 / (SEARCH_STEPS - 1));
        scale_try(job, sample, clip * plain, best);
        scale_try(job, sample, clip * turned, best);
    }
    for (int i = 0; i < SEARCH_POLISH && scale_try(job, sample, best->fitted, best); i++)
        continue;
}

void scale_group(struct compress_job *job, const double *weights, size_t group) {
    struct scale_sample sample;
    for (size_t row = 0; row < job->rows; row++) {
        struct scale_best best = {.error = INFINITY};
        sample_gather(job, weights, group, row, &sample);
        if (job->options->quant == QUANT_RTN)
            best.bits = scale_round(fabs(sample.extreme) / job->high, job->factor, &best.step);
        else if (sample.extreme != 0.0)
            scale_search(job, &sample, &best);
        job->scales[group * job->rows + row] = best.bits;
        job->steps[group * job->rows + row] = best.step;
    }
}

void rtn_codes(struct compress_job *job) {
    for (size_t k = 0; k < job->cols; k++) {
        const double *steps = job->steps + k / job->options->group * job->rows;
        for (size_t i = k * job->rows, row = 0; row < job->rows; i++, row++) {
            bool kept = job->mask == NULL || job->mask[i];
            double code = kept ? code_nearest(job->q[i], steps[row], job->low, job->high) : 0.0;
            job->codes[i] = (int8_t)code;
            job->q[i] = code * steps[row];
        }
    }
}
