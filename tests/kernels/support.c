/* SPDX-License-Identifier: Apache-2.0 */
/* What the checks share: random numbers, guarded memory and comparisons. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"

uint64_t check_random_u64(struct check_random *random) {
    uint64_t z = random->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

size_t check_random_below(struct check_random *random, size_t limit) {
    return (size_t)(check_random_u64(random) % limit);
}

float check_random_float(struct check_random *random) {
    float ordinary = (float)(int64_t)check_random_u64(random) * 0x1p-63f;
    switch (check_random_below(random, 32)) {
    case 0:
        return 0.0f;
    case 1:
        return -0.0f;
    case 2:
        return ordinary * 0x1p-130f;
    case 3:
        return ordinary * 0x1p+40f;
    case 4:
        return ordinary * 0x1p-20f;
    default:
        return ordinary;
    }
}

struct guarded guarded_alloc(size_t bytes, size_t alignment) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct guarded result = {.bytes = bytes, .map_bytes = size_round_up(bytes + alignment, page) + page};
    result.map = mmap(NULL, result.map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (result.map == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    uint8_t *end = (uint8_t *)result.map + result.map_bytes - page;
    if (mprotect(end, page, PROT_NONE) != 0) {
        perror("mprotect");
        exit(1);
    }
    result.data = (uint8_t *)((uintptr_t)(end - bytes) & ~(uintptr_t)(alignment - 1));
    return result;
}

void guarded_free(struct guarded *guarded) { munmap(guarded->map, guarded->map_bytes); }

static bool same_float(float a, float b) { return (isnan(a) && isnan(b)) || float_bits(a) == float_bits(b); }

bool check_floats(const struct kernel_entry *entry, const char *what, const float *expected, const float *got,
                  size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (!same_float(expected[i], got[i])) {
            printf("# %s %s: %s: float %zu is %a, expected %a\n", entry->slot, entry->isa, what, i, (double)got[i],
                   (double)expected[i]);
            return false;
        }
    }
    return true;
}

bool check_bytes(const struct kernel_entry *entry, const char *what, const void *expected, const void *got,
                 size_t bytes) {
    const uint8_t *a = expected, *b = got;
    for (size_t i = 0; i < bytes; i++) {
        if (a[i] != b[i]) {
            printf("# %s %s: %s: byte %zu is %u, expected %u\n", entry->slot, entry->isa, what, i, b[i], a[i]);
            return false;
        }
    }
    return true;
}
