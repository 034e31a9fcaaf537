/* SPDX-License-Identifier: Apache-2.0 */
/* Measuring this machine: the results are whole and plausible. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "placement/placement.h"

Test(placement_measure, this_machine) {
    struct topology *topology = NULL;
    struct machine_speeds *speeds = calloc(1, sizeof *speeds);
    moesaic_error error = {0};
    cr_assert_not_null(speeds);
    cr_assert_eq(topology_open(&(struct topology_source){0}, &topology, &error), MOESAIC_OK, "%s", error.message);
    moesaic_status status = machine_speeds_measure(topology, (uint64_t)32 << 20, speeds, &error);
    cr_assert_eq(status, MOESAIC_OK, "%s", error.message);
    cr_expect(speeds->measured);
    cr_expect_eq(speeds->nodes, topology_nodes(topology));
    cr_expect_gt(speeds->exchange_s, 0);
    cr_expect_lt(speeds->exchange_s, 0.01);
    for (unsigned r = 0; r < speeds->nodes; r++)
        for (unsigned m = 0; m < speeds->nodes; m++) {
            bool usable = speeds->node[r].cores > 0 && speeds->node[m].memory_bytes > 0;
            cr_expect_eq(speeds->read_bps[r][m] > 50e6, usable, "%u from %u: %g", r, m, speeds->read_bps[r][m]);
            cr_expect_eq(speeds->write_bps[r][m] > 50e6, usable, "%u to %u: %g", r, m, speeds->write_bps[r][m]);
            cr_expect_lt(speeds->read_bps[r][m], 20e12);
        }
    for (unsigned n = 0; n < speeds->nodes; n++)
        cr_expect_eq(speeds->node[n].int8_ops > 1e7, speeds->node[n].cores > 0, "%g", speeds->node[n].int8_ops);
    topology_close(topology);
    free(speeds);
}
