/* SPDX-License-Identifier: Apache-2.0 */
/* CPU quota and memory limit of the process's control groups, versions 1 and 2 (Linux, Documentation/admin-guide). */
#include "cgroup_internal.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "runtime.h"

enum { CGROUP_PATH_BYTES = PATH_MAX, CGROUP_LINE_BYTES = 2 * PATH_MAX };

/* Reads the start of a small file as text. */
static bool cgroup_text(const char *folder, const char *name, char *text, size_t bytes) {
    char path[CGROUP_PATH_BYTES];
    if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, name) >= sizeof path)
        return false;
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    size_t length = fread(text, 1, bytes - 1, file);
    text[length] = '\0';
    fclose(file);
    return length > 0;
}

static void cgroup_lower_cpus(struct cgroup_limits *limits, double quota, double period) {
    if (quota > 0 && period > 0 && (limits->cpus == 0 || quota / period < limits->cpus))
        limits->cpus = quota / period;
}

static void cgroup_lower_memory(struct cgroup_limits *limits, unsigned long long bytes) {
    /* Version 1 writes the largest page-aligned int64 for "unlimited". */
    if (bytes > 0 && bytes < (unsigned long long)INT64_MAX / 2 &&
        (limits->memory_bytes == 0 || bytes < limits->memory_bytes))
        limits->memory_bytes = bytes;
}

/* Limits of one group, in whichever of the files it has. "max" and -1 mean unlimited. */
static void cgroup_read_folder(const char *folder, struct cgroup_limits *limits) {
    char text[128], period_text[128];
    double quota, period;
    unsigned long long bytes;
    if (cgroup_text(folder, "cpu.max", text, sizeof text) && sscanf(text, "%lf %lf", &quota, &period) == 2)
        cgroup_lower_cpus(limits, quota, period);
    if (cgroup_text(folder, "memory.max", text, sizeof text) && sscanf(text, "%llu", &bytes) == 1)
        cgroup_lower_memory(limits, bytes);
    if (cgroup_text(folder, "cpu.cfs_quota_us", text, sizeof text) &&
        cgroup_text(folder, "cpu.cfs_period_us", period_text, sizeof period_text) && sscanf(text, "%lf", &quota) == 1 &&
        sscanf(period_text, "%lf", &period) == 1)
        cgroup_lower_cpus(limits, quota, period);
    if (cgroup_text(folder, "memory.limit_in_bytes", text, sizeof text) && sscanf(text, "%llu", &bytes) == 1)
        cgroup_lower_memory(limits, bytes);
}

/* Reads the group `path` of the hierarchy mounted at `mount` and the groups above it up to the mount point.
 * `mount_root` is the group that is visible there: inside a container the path may lie outside of it, then the mount
 * point is all. */
static void cgroup_read_path(const char *root, const char *mount, const char *mount_root, const char *path,
                             struct cgroup_limits *limits) {
    size_t skip = strcmp(mount_root, "/") == 0 ? 0 : strlen(mount_root);
    bool inside =
        strncmp(path, mount_root, skip) == 0 && (path[skip] == '/' || path[skip] == '\0') && !strstr(path, "/..");
    char folder[CGROUP_PATH_BYTES];
    size_t top = (size_t)snprintf(folder, sizeof folder, "%s%s", root, mount);
    int length = snprintf(folder, sizeof folder, "%s%s%s", root, mount, inside ? path + skip : "");
    if (length < 0 || (size_t)length >= sizeof folder)
        return;
    for (;;) {
        cgroup_read_folder(folder, limits);
        char *slash = strrchr(folder, '/');
        if (!slash || (size_t)(slash - folder) < top)
            return;
        *slash = '\0';
    }
}

/* Whether a comma-separated list holds a word. */
static bool cgroup_lists(const char *list, const char *word) {
    size_t length = strlen(word);
    for (const char *p = list; (p = strstr(p, word)) != NULL; p += length)
        if ((p == list || p[-1] == ',') && (p[length] == ',' || p[length] == '\0'))
            return true;
    return false;
}

/* The process's path in the version 2 hierarchy (`controller` empty) or in the version 1 hierarchy of a controller.
 * Lines read "id:controllers:path". */
static bool cgroup_find_path(const char *root, const char *controller, char *path, size_t bytes) {
    char line[CGROUP_LINE_BYTES];
    snprintf(line, sizeof line, "%s/proc/self/cgroup", root);
    FILE *file = fopen(line, "re");
    if (!file)
        return false;
    bool found = false;
    while (!found && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group)
            continue;
        *group++ = '\0';
        controllers++;
        if (*controller ? cgroup_lists(controllers, controller) : *controllers == '\0')
            found = (size_t)snprintf(path, bytes, "%s", group) < bytes;
    }
    fclose(file);
    return found;
}

/* Reads the limits of a hierarchy wherever it is mounted. Lines of mountinfo read
 * "id parent device root mount-point options ... - type source super-options". */
static void cgroup_read_hierarchy(const char *root, const char *controller, struct cgroup_limits *limits) {
    char path[CGROUP_PATH_BYTES], line[CGROUP_LINE_BYTES];
    if (!cgroup_find_path(root, controller, path, sizeof path))
        return;
    snprintf(line, sizeof line, "%s/proc/self/mountinfo", root);
    FILE *file = fopen(line, "re");
    if (!file)
        return;
    while (fgets(line, sizeof line, file)) {
        char mount_root[CGROUP_PATH_BYTES], mount[CGROUP_PATH_BYTES], type[64], options[1024];
        const char *tail = strstr(line, " - ");
        if (!tail || sscanf(line, "%*s %*s %*s %4095s %4095s", mount_root, mount) != 2 ||
            sscanf(tail, " - %63s %*s %1023s", type, options) != 2)
            continue;
        bool ours = *controller ? strcmp(type, "cgroup") == 0 && cgroup_lists(options, controller)
                                : strcmp(type, "cgroup2") == 0;
        if (ours)
            cgroup_read_path(root, mount, mount_root, path, limits);
    }
    fclose(file);
}

struct cgroup_limits cgroup_limits_read(const char *root) {
    struct cgroup_limits limits = {0};
    cgroup_read_hierarchy(root, "", &limits);
    cgroup_read_hierarchy(root, "cpu", &limits);
    cgroup_read_hierarchy(root, "memory", &limits);
    return limits;
}

double topology_cpu_quota(void) {
    return cgroup_limits_read("").cpus;
}

uint64_t topology_memory_limit(void) {
    return cgroup_limits_read("").memory_bytes;
}
