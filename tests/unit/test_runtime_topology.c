/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of the topology (synthetic, XML, this machine) and of control group limits. */
#include <criterion/criterion.h>

#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cgroup_internal.h"
#include "runtime.h"

static struct topology *opened(const struct topology_source *source) {
    struct topology *topology = NULL;
    moesaic_error error = {0};
    cr_assert_eq(topology_open(source, &topology, &error), MOESAIC_OK, "%s", error.message);
    return topology;
}

static struct topology *synthetic(const char *text) {
    return opened(&(struct topology_source){.synthetic = text});
}

static void refused(struct topology_source source, moesaic_status wanted, const char *why) {
    struct topology *topology = NULL;
    moesaic_error error = {0};
    cr_expect_eq(topology_open(&source, &topology, &error), wanted);
    cr_expect_null(topology);
    cr_expect(strstr(error.message, why), "%s", error.message);
    cr_expect_eq(topology_open(&source, &topology, NULL), wanted);
}

/* Cores of each node, as text. */
static const char *cores_of(const struct topology *topology) {
    static char text[1024];
    struct topology_core core[64];
    unsigned count = topology_cores(topology, core, 64);
    cr_assert_leq(count, 64);
    size_t used = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < count; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%u@%u", i ? " " : "", core[i].pu_os_index,
                                 core[i].node);
    return text;
}

Test(runtime_topology, siblings_are_not_doubled) {
    struct topology *topology = synthetic("node:2 core:2 pu:2");
    cr_assert_not(topology_is_this_machine(topology));
    cr_assert_eq(topology_nodes(topology), 2);
    cr_assert_str_eq(cores_of(topology), "0@0 2@0 4@1 6@1");
    cr_assert_eq(topology_node_at(topology, 1)->os_index, 1);
    cr_assert_eq(topology_node_at(topology, 1)->cores, 2);
    cr_assert_eq(topology_node_at(topology, 1)->pus, 4);
    cr_assert_gt(topology_node_at(topology, 1)->memory_bytes, 0);
    struct topology_core two[3] = {[2] = {77, 77}};
    cr_assert_eq(topology_cores(topology, two, 2), 4);
    cr_assert_eq(two[2].node, 77);
    topology_close(topology);
    topology_close(NULL);
}

Test(runtime_topology, threads_without_cores_count_as_cores) {
    struct topology *topology = synthetic("node:2 pu:3");
    cr_assert_str_eq(cores_of(topology), "0@0 1@0 2@0 3@1 4@1 5@1");
    topology_close(topology);
}

Test(runtime_topology, memory_only_node_gets_no_cores) {
    struct topology *topology = synthetic("[numa(memory=1TB)] pack:2 [numa(memory=64GB)] core:2 pu:1");
    cr_assert_eq(topology_nodes(topology), 3);
    unsigned empty = 0;
    for (unsigned i = 0; i < 3; i++) {
        const struct topology_node *node = topology_node_at(topology, i);
        empty += node->cores == 0;
        cr_assert_eq(node->cores, node->pus);
    }
    cr_assert_eq(empty, 1);
    struct topology_core core[4];
    cr_assert_eq(topology_cores(topology, core, 4), 4);
    cr_assert(core[0].node == core[1].node && core[2].node == core[3].node && core[0].node != core[2].node);
    topology_close(topology);
}

Test(runtime_topology, uneven_indexes_keep_nodes_together) {
    struct topology *topology = synthetic("node:2 core:2 pu:1(indexes=3,1,2,0)");
    struct topology_core core[4];
    cr_assert_eq(topology_cores(topology, core, 4), 4);
    for (unsigned i = 0; i < 4; i++)
        cr_assert_eq(core[i].node, i / 2);
    topology_close(topology);
}

Test(runtime_topology, impossible_descriptions_are_refused_fast, .timeout = 10) {
    static const char *const bad[] = {"", "bogus", "node:0 pu:1", "pu:-1", "pack:2 pu:", "(((", "]]] pu:2"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refused((struct topology_source){.synthetic = bad[i]}, MOESAIC_E_INPUT, "not a synthetic description");
    refused((struct topology_source){.synthetic = "core:64 pu:4000000000"}, MOESAIC_E_INPUT, "objects");
    refused((struct topology_source){.synthetic = "pu:99999999999999999999999"}, MOESAIC_E_INPUT, "objects");
    refused((struct topology_source){.synthetic = "0x100000000 0x100000000 1"}, MOESAIC_E_INPUT, "objects");
    refused((struct topology_source){.synthetic = "pack:8000 [numa] [numa] [numa] pu:1"}, MOESAIC_E_INPUT, "objects");
    refused((struct topology_source){.synthetic = "node:65 pu:1"}, MOESAIC_E_UNSUPPORTED, "65 NUMA nodes");
    char text[5000];
    memset(text, ' ', sizeof text);
    memcpy(text + sizeof text - 5, "pu:1", 5);
    refused((struct topology_source){.synthetic = text}, MOESAIC_E_INPUT, "topology");
}

static void write_text(const char *path, const char *text) {
    cr_assert_eq(file_write_atomic(path, text, strlen(text), NULL), MOESAIC_OK);
}

Test(runtime_topology, xml) {
    char path[] = "/tmp/moesaic-test-XXXXXX";
    int descriptor = mkstemp(path);
    cr_assert_geq(descriptor, 0);
    close(descriptor);
    write_text(path,
               "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE topology SYSTEM \"hwloc2.dtd\">\n"
               "<topology version=\"2.0\">\n"
               "<object type=\"Machine\" os_index=\"0\" cpuset=\"0x00000003\" complete_cpuset=\"0x00000003\" "
               "allowed_cpuset=\"0x00000003\" nodeset=\"0x00000004\" complete_nodeset=\"0x00000004\" "
               "allowed_nodeset=\"0x00000004\" gp_index=\"1\">\n"
               "<object type=\"NUMANode\" os_index=\"2\" cpuset=\"0x00000003\" complete_cpuset=\"0x00000003\" "
               "nodeset=\"0x00000004\" complete_nodeset=\"0x00000004\" gp_index=\"2\" local_memory=\"4096000\"/>\n"
               "<object type=\"Core\" os_index=\"0\" cpuset=\"0x00000003\" complete_cpuset=\"0x00000003\" "
               "nodeset=\"0x00000004\" complete_nodeset=\"0x00000004\" gp_index=\"3\">\n"
               "<object type=\"PU\" os_index=\"0\" cpuset=\"0x00000001\" complete_cpuset=\"0x00000001\" "
               "nodeset=\"0x00000004\" complete_nodeset=\"0x00000004\" gp_index=\"4\"/>\n"
               "<object type=\"PU\" os_index=\"1\" cpuset=\"0x00000002\" complete_cpuset=\"0x00000002\" "
               "nodeset=\"0x00000004\" complete_nodeset=\"0x00000004\" gp_index=\"5\"/>\n"
               "</object>\n</object>\n</topology>\n");
    struct topology *topology = opened(&(struct topology_source){.xml_path = path});
    cr_assert_not(topology_is_this_machine(topology));
    cr_assert_eq(topology_node_at(topology, 0)->os_index, 2);
    cr_assert_eq(topology_node_at(topology, 0)->memory_bytes, 4096000);
    cr_assert_str_eq(cores_of(topology), "0@0");
    topology_close(topology);
    write_text(path, "<?xml version=\"1.0\"?><topology version=\"2.0\"><object type=\"Mach");
    refused((struct topology_source){.xml_path = path}, MOESAIC_E_INPUT, path);
    write_text(path, "");
    refused((struct topology_source){.xml_path = path}, MOESAIC_E_INPUT, path);
    write_text(path, "\x7f"
                     "ELF not a topology");
    refused((struct topology_source){.xml_path = path}, MOESAIC_E_INPUT, path);
    refused((struct topology_source){.xml_path = "/nonexistent.xml"}, MOESAIC_E_IO, "/nonexistent.xml");
    remove(path);
}

/* Binds every thread of the process: the runner has some of its own, and the union of all counts. */
static void bind_process(unsigned pu) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(pu, &one);
    DIR *tasks = opendir("/proc/self/task");
    cr_assert_not_null(tasks);
    for (struct dirent *entry; (entry = readdir(tasks)) != NULL;)
        if (entry->d_name[0] != '.')
            cr_assert_eq(sched_setaffinity(atoi(entry->d_name), sizeof one, &one), 0);
    closedir(tasks);
}

Test(runtime_topology, this_machine_respects_affinity) {
    struct topology *topology = opened(NULL);
    cr_assert(topology_is_this_machine(topology));
    cr_assert_geq(topology_nodes(topology), 1);
    unsigned cores = topology_cores(topology, NULL, 0);
    cr_assert_geq(cores, 1);
    struct topology_core *core = calloc(cores, sizeof *core);
    topology_cores(topology, core, cores);
    topology_close(topology);
    bind_process(core[cores - 1].pu_os_index);
    topology = opened(&(struct topology_source){0});
    struct topology_core left;
    cr_assert_eq(topology_cores(topology, &left, 1), 1);
    cr_assert_eq(left.pu_os_index, core[cores - 1].pu_os_index);
    topology_close(topology);
    free(core);
}

/* ---- control groups ---- */

static char root[64];

static void make_root(void) {
    snprintf(root, sizeof root, "/tmp/moesaic-test-XXXXXX");
    cr_assert_not_null(mkdtemp(root));
}

static void remove_root(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", root);
    cr_assert_eq(system(command), 0);
}

/* Writes a file under the root, with the folders above it. */
static void put(const char *path, const char *text) {
    char full[512];
    snprintf(full, sizeof full, "%s%s", root, path);
    for (char *slash = strchr(full + strlen(root) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(full, 0700);
        *slash = '/';
    }
    write_text(full, text);
}

#define MOUNT_2 "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"

Test(runtime_cgroup, nothing_readable_is_unlimited, .init = make_root, .fini = remove_root) {
    struct cgroup_limits limits = cgroup_limits_read(root);
    cr_assert(limits.cpus == 0 && limits.memory_bytes == 0);
    cr_assert_geq(topology_cpu_quota(), 0);
}

Test(runtime_cgroup, version_2_takes_the_smallest_on_the_way_up, .init = make_root, .fini = remove_root) {
    put("/proc/self/cgroup", "0::/outer/inner\n");
    put("/proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n" MOUNT_2);
    put("/sys/fs/cgroup/outer/cpu.max", "150000 100000\n");
    put("/sys/fs/cgroup/outer/memory.max", "max\n");
    put("/sys/fs/cgroup/outer/inner/cpu.max", "max 100000\n");
    put("/sys/fs/cgroup/outer/inner/memory.max", "1073741824\n");
    put("/sys/fs/cgroup/other/cpu.max", "1000 100000\n");
    struct cgroup_limits limits = cgroup_limits_read(root);
    cr_assert_float_eq(limits.cpus, 1.5, 1e-9);
    cr_assert_eq(limits.memory_bytes, 1073741824);
    put("/sys/fs/cgroup/outer/inner/cpu.max", "50000 100000\n");
    cr_assert_float_eq(cgroup_limits_read(root).cpus, 0.5, 1e-9);
    put("/sys/fs/cgroup/outer/cpu.max", "garbage");
    put("/sys/fs/cgroup/outer/inner/cpu.max", "-5 100000\n");
    cr_assert_eq(cgroup_limits_read(root).cpus, 0);
}

Test(runtime_cgroup, a_container_sees_its_own_mount, .init = make_root, .fini = remove_root) {
    put("/proc/self/cgroup", "0::/../../docker/abc\n");
    put("/proc/self/mountinfo", MOUNT_2);
    put("/sys/fs/cgroup/cpu.max", "200000 100000\n");
    cr_assert_float_eq(cgroup_limits_read(root).cpus, 2, 1e-9);
    put("/proc/self/cgroup", "0::/docker/abc/job\n");
    put("/proc/self/mountinfo", "30 24 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup rw\n");
    put("/sys/fs/cgroup/job/cpu.max", "100000 100000\n");
    cr_assert_float_eq(cgroup_limits_read(root).cpus, 1, 1e-9);
}

Test(runtime_cgroup, version_1, .init = make_root, .fini = remove_root) {
    put("/proc/self/cgroup", "5:memory:/job\n4:cpuacct,cpu:/job\n3:cpuset:/\n");
    put("/proc/self/mountinfo", "31 24 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpuacct,cpu\n"
                                "32 24 0:28 / /sys/fs/cgroup/memory rw shared:1 - cgroup cgroup rw,memory\n"
                                "33 24 0:29 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n");
    put("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "250000\n");
    put("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n");
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
    put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    put("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "536870912\n");
    put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    struct cgroup_limits limits = cgroup_limits_read(root);
    cr_assert_float_eq(limits.cpus, 2.5, 1e-9);
    cr_assert_eq(limits.memory_bytes, 536870912);
    put("/sys/fs/cgroup/memory/job/memory.limit_in_bytes", "9223372036854771712\n");
    cr_assert_eq(cgroup_limits_read(root).memory_bytes, 0);
}

Test(runtime_cgroup, hostile_files_do_no_harm, .init = make_root, .fini = remove_root) {
    char line[20000];
    memset(line, 'x', sizeof line - 1);
    line[sizeof line - 1] = '\0';
    memcpy(line, "0::/", 4);
    put("/proc/self/cgroup", line);
    put("/proc/self/mountinfo", MOUNT_2);
    cr_assert_eq(cgroup_limits_read(root).cpus, 0);
    put("/proc/self/cgroup", "0::/\n::\n:\n\n");
    memcpy(line, "1 2 3 ", 6);
    put("/proc/self/mountinfo", line);
    put("/sys/fs/cgroup/cpu.max", "100000 0\n");
    cr_assert_eq(cgroup_limits_read(root).cpus, 0);
}
