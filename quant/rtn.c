/* SPDX-License-Identifier: Apache-2.0 */
/* Scales of groups, by the largest weight or searched, and codes rounded to nearest. */
#include <math.h>

#include "compress_internal.h"

enum { SEARCH_STEPS = 40, SEARCH_POLISH = 2, SAMPLE_ROWS = 8 };

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

/* The weights of one group in a few rows, side by side so that a vector works on all rows at once. Pruned weights and
 * rows beyond the last have weight and importance 0, which add nothing to any sum. */
struct scale_sample {
    size_t count;
    double w[JOB_GROUP_MAX][SAMPLE_ROWS], h[JOB_GROUP_MAX][SAMPLE_ROWS];
    double extreme[SAMPLE_ROWS]; /* each row's weight of the largest magnitude, with its sign */
};

static void sample_gather(const struct compress_job *job, const double *weights, size_t group, size_t row,
                          struct scale_sample *sample) {
    size_t begin = group * job->options->group, end = begin + job->options->group;
    *sample = (struct scale_sample){.count = (job->cols < end ? job->cols : end) - begin};
    for (size_t k = 0; k < sample->count; k++) {
        for (size_t r = 0; r < SAMPLE_ROWS && row + r < job->rows; r++) {
            size_t i = (begin + k) * job->rows + row + r;
            if (job->mask != NULL && !job->mask[i])
                continue;
            sample->w[k][r] = weights[i];
            sample->h[k][r] = job->h[(begin + k) * (job->cols + 1)];
            if (fabs(weights[i]) > fabs(sample->extreme[r]))
                sample->extreme[r] = weights[i];
        }
    }
}

/* A scale for each row: what it stores, what it loses, and the least-squares scale for the codes it chooses. */
struct scale_choice {
    uint16_t bits[SAMPLE_ROWS];
    double step[SAMPLE_ROWS], error[SAMPLE_ROWS], fitted[SAMPLE_ROWS];
};

static void choice_measure(const struct scale_sample *sample, int low, int high, struct scale_choice *choice) {
    double error[SAMPLE_ROWS] = {0}, top[SAMPLE_ROWS] = {0}, bottom[SAMPLE_ROWS] = {0};
    for (size_t k = 0; k < sample->count; k++) {
        for (size_t r = 0; r < SAMPLE_ROWS; r++) {
            double w = sample->w[k][r], h = sample->h[k][r];
            double code = code_nearest(w, choice->step[r], low, high), miss = w - code * choice->step[r];
            error[r] += h * miss * miss;
            top[r] += h * w * code;
            bottom[r] += h * code * code;
        }
    }
    for (size_t r = 0; r < SAMPLE_ROWS; r++) {
        choice->error[r] = error[r];
        choice->fitted[r] = bottom[r] > 0.0 ? top[r] / bottom[r] : choice->step[r];
    }
}

/* Tries scale[r] * clip in every row and keeps it where it is better than the best so far. */
static void choice_try(const struct compress_job *job, const struct scale_sample *sample, const double *scale,
                       double clip, struct scale_choice *best) {
    struct scale_choice tried;
    for (size_t r = 0; r < SAMPLE_ROWS; r++)
        tried.bits[r] = scale_round(clip * scale[r], job->factor, &tried.step[r]);
    choice_measure(sample, job->low, job->high, &tried);
    for (size_t r = 0; r < SAMPLE_ROWS; r++) {
        if (!(tried.error[r] < best->error[r]))
            continue;
        best->bits[r] = tried.bits[r];
        best->step[r] = tried.step[r];
        best->error[r] = tried.error[r];
        best->fitted[r] = tried.fitted[r];
    }
}

/* Codes reach one further down than up. So two families of scales are tried at each step of clipping: one that puts the
 * extreme weight at `high`, and one, with the sign that fits, that puts it at `low`. The best is polished by the
 * least-squares scale of its own codes. */
static void scale_search(const struct compress_job *job, const struct scale_sample *sample, struct scale_choice *best) {
    double plain[SAMPLE_ROWS], turned[SAMPLE_ROWS], fitted[SAMPLE_ROWS];
    for (size_t r = 0; r < SAMPLE_ROWS; r++) {
        plain[r] = fabs(sample->extreme[r]) / job->high;
        turned[r] = sample->extreme[r] / job->low;
        best->error[r] = INFINITY;
    }
    choice_try(job, sample, plain, 1.0, best);
    for (int i = 0; i < SEARCH_STEPS; i++) {
        double clip = 1.05 - i * (0.7 / (SEARCH_STEPS - 1));
        choice_try(job, sample, plain, clip, best);
        choice_try(job, sample, turned, clip, best);
    }
    for (int i = 0; i < SEARCH_POLISH; i++) {
        for (size_t r = 0; r < SAMPLE_ROWS; r++)
            fitted[r] = best->fitted[r];
        choice_try(job, sample, fitted, 1.0, best);
    }
}

void scale_group(struct compress_job *job, const double *weights, size_t group) {
    struct scale_sample sample;
    struct scale_choice choice = {0};
    for (size_t row = 0; row < job->rows; row += SAMPLE_ROWS) {
        sample_gather(job, weights, group, row, &sample);
        if (job->options->quant != QUANT_RTN)
            scale_search(job, &sample, &choice);
        for (size_t r = 0; r < SAMPLE_ROWS && row + r < job->rows; r++) {
            size_t at = group * job->rows + row + r;
            if (job->options->quant == QUANT_RTN)
                choice.bits[r] = scale_round(fabs(sample.extreme[r]) / job->high, job->factor, &choice.step[r]);
            job->scales[at] = choice.bits[r];
            job->steps[at] = choice.step[r];
        }
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
