/* SPDX-License-Identifier: Apache-2.0 */
/* Elementary functions in double whose bits do not depend on the C library or the CPU. */
#ifndef PORTABLE_MATH_H
#define PORTABLE_MATH_H

/* Each within about 1e-15 of the true value, relative; libm chooses its variant by the CPU at hand, these do not. */
double portable_log(double x);                  /* x > 0, finite */
double portable_exp(double x);                  /* |x| < 700 */
double portable_power(double base, double exponent); /* base > 0; |exponent * log base| < 700 */
/* Sine and cosine, absolute error under 1e-14 for |x| <= 2^25. */
void portable_sincos(double x, double *ret_sine, double *ret_cosine);

#endif
