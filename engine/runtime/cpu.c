/* SPDX-License-Identifier: Apache-2.0 */
/* CPU feature bundles: detected once, checked against the OS's register support, narrowed by name. */
#include "runtime.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

/* What a bundle builds on, all the way down. A bundle counts as present only with all of it, and a cap keeps all of it.
 * AVX-VNNI is a side branch: no AVX-512 level asks for it. */
enum {
    CPU_NEEDS_AVX512 = CPU_AVX2,
    CPU_NEEDS_AVX512VNNI = CPU_NEEDS_AVX512 | CPU_AVX512,
    CPU_NEEDS_AVX512VBMI2 = CPU_NEEDS_AVX512VNNI | CPU_AVX512VNNI,
    CPU_NEEDS_AVX512BF16 = CPU_NEEDS_AVX512VNNI | CPU_AVX512VNNI,
    CPU_NEEDS_AMX = CPU_NEEDS_AVX512VBMI2 | CPU_AVX512VBMI2 | CPU_AVX512BF16
};
static const struct cpu_level {
    const char *name;
    uint32_t bundle, needs;
} cpu_levels[] = {
    {"scalar", CPU_SCALAR, 0},
    {"avx2", CPU_AVX2, 0},
    {"avxvnni", CPU_AVXVNNI, CPU_AVX2},
    {"avx512", CPU_AVX512, CPU_NEEDS_AVX512},
    {"avx512vnni", CPU_AVX512VNNI, CPU_NEEDS_AVX512VNNI},
    {"avx512vbmi2", CPU_AVX512VBMI2, CPU_NEEDS_AVX512VBMI2},
    {"avx512bf16", CPU_AVX512BF16, CPU_NEEDS_AVX512BF16},
    {"amx", CPU_AMX, CPU_NEEDS_AMX},
    {"neon", CPU_NEON, 0},
    {"neondot", CPU_NEONDOT, CPU_NEON},
    {"i8mm", CPU_I8MM, CPU_NEON | CPU_NEONDOT},
    {"sve", CPU_SVE, CPU_NEON},
};
enum { CPU_LEVELS = sizeof cpu_levels / sizeof cpu_levels[0] };

static pthread_once_t cpu_once = PTHREAD_ONCE_INIT;
static _Atomic uint32_t cpu_usable;
static char cpu_model[64] = "unknown";

#if defined(__x86_64__)
static bool bit(uint32_t word, unsigned index) {
    return word >> index & 1;
}

/* XCR0: which register state the OS saves. Reading it needs OSXSAVE. */
static uint64_t cpu_saved_state(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

/* Linux gives tile registers only to processes that ask (arch_prctl ARCH_REQ_XCOMP_PERM for XTILEDATA); it refuses when
 * an alternate signal stack is too small for them. */
static bool cpu_ask_for_tiles(void) {
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

/* Bundles by their own feature bits (Intel SDM vol. 2A, CPUID; AMD APM vol. 3, appendix E). */
static uint32_t cpu_detect(uint32_t allowed) {
    enum { STATE_YMM = 0x6, STATE_ZMM = 0xE6, STATE_TILES = 0x60000 };
    uint32_t a, b, c, d, a1 = 0, b1, c1, d1, found = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !bit(c, 27) || !bit(c, 28))
        return 0;
    bool fma_f16c = bit(c, 12) && bit(c, 29);
    uint64_t state = cpu_saved_state();
    if ((state & STATE_YMM) != STATE_YMM || !__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return 0;
    if (a >= 1)
        __get_cpuid_count(7, 1, &a1, &b1, &c1, &d1);
    if (fma_f16c && bit(b, 5) && bit(b, 8)) /* AVX2, BMI2 */
        found |= CPU_AVX2;
    if (bit(a1, 4))
        found |= CPU_AVXVNNI;
    if ((state & STATE_ZMM) == STATE_ZMM) {
        if (bit(b, 16) && bit(b, 17) && bit(b, 28) && bit(b, 30) && bit(b, 31)) /* F, DQ, CD, BW, VL */
            found |= CPU_AVX512;
        if (bit(c, 11))
            found |= CPU_AVX512VNNI;
        if (bit(c, 1) && bit(c, 6)) /* VBMI, VBMI2 */
            found |= CPU_AVX512VBMI2;
        if (bit(a1, 5))
            found |= CPU_AVX512BF16;
    }
    if ((state & STATE_TILES) == STATE_TILES && bit(d, 24) && bit(d, 25) && (allowed & CPU_AMX) && cpu_ask_for_tiles())
        found |= CPU_AMX;
    return found;
}

bool cpu_family_model(unsigned *ret_family, unsigned *ret_model) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d))
        return false;
    unsigned family = a >> 8 & 15, model = a >> 4 & 15;
    if (family == 6 || family == 15)
        model += (a >> 16 & 15) << 4;
    *ret_family = family + (family == 15 ? a >> 20 & 255 : 0);
    *ret_model = model;
    return true;
}

static void cpu_find_model(void) {
    uint32_t words[12];
    for (unsigned i = 0; i < 3; i++)
        if (!__get_cpuid(0x80000002 + i, &words[i * 4], &words[i * 4 + 1], &words[i * 4 + 2], &words[i * 4 + 3]))
            return;
    char brand[sizeof words + 1];
    memcpy(brand, words, sizeof words);
    brand[sizeof words] = '\0';
    size_t start = strspn(brand, " "), end = strlen(brand);
    while (end > start && brand[end - 1] == ' ')
        end--;
    brand[end] = '\0';
    if (end > start)
        snprintf(cpu_model, sizeof cpu_model, "%s", brand + start);
}
#else
#if defined(__aarch64__)
static uint32_t cpu_detect(uint32_t allowed) {
    unsigned long base = getauxval(AT_HWCAP), more = getauxval(AT_HWCAP2);
    uint32_t found = 0;
    if (base & 1UL << 1) /* HWCAP_ASIMD */
        found |= CPU_NEON;
    if (base & 1UL << 20) /* HWCAP_ASIMDDP */
        found |= CPU_NEONDOT;
    if (more & 1UL << 13) /* HWCAP2_I8MM */
        found |= CPU_I8MM;
    if (base & 1UL << 22) /* HWCAP_SVE */
        found |= CPU_SVE;
    return found & allowed;
}
#else
static uint32_t cpu_detect(uint32_t allowed) {
    return 0;
}
#endif

bool cpu_family_model(unsigned *ret_family, unsigned *ret_model) {
    return false;
}

/* Arm says no name in user space: "model name" of /proc/cpuinfo where the kernel writes one, else the part number. */
static void cpu_find_model(void) {
    FILE *file = fopen("/proc/cpuinfo", "re");
    if (!file)
        return;
    char line[256], part[64] = "";
    bool named = false;
    while (!named && fgets(line, sizeof line, file)) {
        named = sscanf(line, "model name : %63[^\n]", cpu_model) == 1;
        if (!*part)
            (void)sscanf(line, "CPU part : %63[^\n]", part);
    }
    if (!named && *part)
        snprintf(cpu_model, sizeof cpu_model, "CPU part %.50s", part);
    fclose(file);
}
#endif

static const struct cpu_level *cpu_level_named(const char *name) {
    for (unsigned i = 0; i < CPU_LEVELS; i++)
        if (strcmp(cpu_levels[i].name, name) == 0)
            return &cpu_levels[i];
    return NULL;
}

static uint32_t cpu_level_set(const struct cpu_level *level) {
    return level->bundle | level->needs;
}

static void cpu_start(void) {
    uint32_t allowed = UINT32_MAX;
    const char *cap = getenv("MOESAIC_CPU");
    if (cap && *cap) {
        const struct cpu_level *level = cpu_level_named(cap);
        if (level)
            allowed = cpu_level_set(level);
        else
            log_line(LOG_WARNING, "MOESAIC_CPU: unknown level \"%s\" is ignored", cap);
    }
    uint32_t found = cpu_detect(allowed) & allowed, usable = 0;
    for (unsigned i = 0; i < CPU_LEVELS; i++) /* oldest first: what a level needs has been decided before it */
        if ((found & cpu_levels[i].bundle) && (usable & cpu_levels[i].needs) == cpu_levels[i].needs)
            usable |= cpu_levels[i].bundle;
    atomic_store(&cpu_usable, usable);
    cpu_find_model();
}

uint32_t cpu_bundles(void) {
    pthread_once(&cpu_once, cpu_start);
    return atomic_load_explicit(&cpu_usable, memory_order_relaxed);
}

moesaic_status cpu_limit(const char *level, moesaic_error *error) {
    const struct cpu_level *found = cpu_level_named(level);
    if (!found)
        return status_set(error, MOESAIC_E_USAGE,
                          "instruction set \"%s\": unknown (expected scalar, avx2, avxvnni, avx512, avx512vnni, "
                          "avx512vbmi2, avx512bf16, amx, neon, neondot, i8mm or sve)",
                          level);
    pthread_once(&cpu_once, cpu_start);
    atomic_fetch_and(&cpu_usable, cpu_level_set(found));
    return MOESAIC_OK;
}

const char *cpu_bundles_text(uint32_t bundles, char *text, size_t bytes) {
    size_t used = 0;
    if (bytes > 0)
        snprintf(text, bytes, "%s", bundles ? "" : "scalar");
    for (unsigned i = 0; i < CPU_LEVELS && used < bytes; i++)
        if (bundles & cpu_levels[i].bundle)
            used += (size_t)snprintf(text + used, bytes - used, "%s%s", used ? " " : "", cpu_levels[i].name);
    return text;
}

const char *cpu_model_name(void) {
    pthread_once(&cpu_once, cpu_start);
    return cpu_model;
}
