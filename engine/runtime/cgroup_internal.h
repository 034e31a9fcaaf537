/* SPDX-License-Identifier: Apache-2.0 */
/* What the control groups of this process allow. */
#ifndef CGROUP_INTERNAL_H
#define CGROUP_INTERNAL_H

#include <stdint.h>

struct cgroup_limits {
    double cpus;           /* CPUs' worth of time, 0: unlimited */
    uint64_t memory_bytes; /* 0: unlimited */
};

/* Reads /proc/self/cgroup, /proc/self/mountinfo and the limit files of versions 1 and 2, of the process's group and of
 * every group above it that is mounted; the smallest limit counts. All paths are taken under `root` ("" for the real
 * ones; tests give a folder). What cannot be read does not limit. Thread-safe. */
struct cgroup_limits cgroup_limits_read(const char *root);

#endif
