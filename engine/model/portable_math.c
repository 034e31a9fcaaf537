/* SPDX-License-Identifier: Apache-2.0 */
/* Elementary functions by exact range reduction and Taylor sums. Compiled without contraction, so that every target
 * rounds the same operations. */
#include "portable_math.h"

#include <math.h>

/* log x = e log 2 + 2 atanh((m - 1) / (m + 1)) for x = m 2^e, m in [sqrt 1/2, sqrt 2): the ratio is under 0.172. */
double portable_log(double x) {
    int exponent;
    double m = frexp(x, &exponent);
    if (m < 0.70710678118654752) {
        m *= 2;
        exponent--;
    }
    double ratio = (m - 1) / (m + 1), square = ratio * ratio, sum = 0;
    for (int k = 23; k >= 1; k -= 2)
        sum = sum * square + 1.0 / k;
    return exponent * 0.69314718055994531 + 2 * ratio * sum;
}

/* e^x = 2^n e^r, |r| <= log 2 / 2; log 2 in two parts, of which n times the first is exact. */
double portable_exp(double x) {
    double n = rint(x * 1.4426950408889634);
    double r = (x - n * 0x1.62e42feep-1) - n * 0x1.a39ef35793c76p-33, sum = 1;
    for (int k = 16; k >= 1; k--)
        sum = sum * r / k + 1;
    return ldexp(sum, (int)n);
}

double portable_power(double base, double exponent) { return portable_exp(exponent * portable_log(base)); }

/* x = n pi/2 + r with pi/2 in three parts, of which n times the first two are exact for |n| < 2^25. */
void portable_sincos(double x, double *ret_sine, double *ret_cosine) {
    double n = rint(x * 0.63661977236758134);
    double r = ((x - n * 0x1.921fb54p+0) - n * 0x1.10b4610p-30) - n * 0x1.a62633145c06ep-58;
    double square = r * r, sine = 1, cosine = 1;
    for (int k = 18; k >= 2; k -= 2) {
        sine = 1 - sine * square / (k * (k + 1));
        cosine = 1 - cosine * square / (k * (k - 1));
    }
    sine *= r;
    int quadrant = (int)((long long)n & 3);
    *ret_sine = quadrant == 0 ? sine : quadrant == 1 ? cosine : quadrant == 2 ? -sine : -cosine;
    *ret_cosine = quadrant == 0 ? cosine : quadrant == 1 ? -sine : quadrant == 2 ? -cosine : sine;
}
