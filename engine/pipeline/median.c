/* SPDX-License-Identifier: Apache-2.0 */
/* The median, in which repeated measurements are reported. */
#include <stdlib.h>

#include "pipeline.h"

static int by_value(const void *x, const void *y) {
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

double median_of(double *values, size_t count) {
    qsort(values, count, sizeof *values, by_value);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}
