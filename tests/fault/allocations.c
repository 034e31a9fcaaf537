/* SPDX-License-Identifier: Apache-2.0 */
/* malloc and its kin, in front of the C library's (or the sanitizer's). */
#include "allocations.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what stands behind ------------------------------------------------------------------------------------------ */

static struct {
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    int (*posix_memalign)(void **, size_t, size_t);
    void (*free)(void *);
} real;

__attribute__((constructor)) static void real_find(void) {
    if (real.free)
        return;
    real.malloc = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
    real.calloc = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "calloc");
    real.realloc = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
    real.posix_memalign = (int (*)(void **, size_t, size_t))dlsym(RTLD_NEXT, "posix_memalign");
    real.free = (void (*)(void *))dlsym(RTLD_NEXT, "free");
}

/* ---- who asks ---------------------------------------------------------------------------------------------------- */

enum { RANGES_MAX = 8 };
static struct {
    uintptr_t begin, end;
} range[RANGES_MAX];
static atomic_size_t ranges;

static int range_add(struct dl_phdr_info *info, size_t size, void *user) {
    (void)size, (void)user;
    const char *name = info->dlpi_name;
    if (*name && !strstr(name, "/libjansson") && !strstr(name, "/libpcre2-8") && !strstr(name, "/libc.so"))
        return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type == PT_LOAD && (segment->p_flags & PF_X) && ranges < RANGES_MAX) {
            range[ranges].begin = info->dlpi_addr + segment->p_vaddr;
            range[ranges].end = range[ranges].begin + segment->p_memsz;
            ranges++;
        }
    }
    return 0;
}

__attribute__((constructor)) static void ranges_find(void) {
    dl_iterate_phdr(range_add, NULL);
}

static bool is_counted(const void *caller) {
    size_t n = ranges;
    for (size_t i = 0; i < n; i++)
        if ((uintptr_t)caller >= range[i].begin && (uintptr_t)caller < range[i].end)
            return true;
    return false;
}

/* ---- counted blocks, in a table with open addressing ------------------------------------------------------------- */

enum { SLOTS = 1 << 20 };
static void *slot[SLOTS];
static size_t live;
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static void *const removed = &live; /* a slot that searches go past */

static size_t slot_of(const void *block) {
    return (size_t)(((uintptr_t)block >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 44);
}

static void block_add(void *block) {
    pthread_mutex_lock(&table_lock);
    size_t at = slot_of(block);
    while (slot[at] && slot[at] != removed)
        at = (at + 1) % SLOTS;
    slot[at] = block;
    if (++live == SLOTS / 2) {
        fputs("allocations: the table is full\n", stderr);
        abort();
    }
    pthread_mutex_unlock(&table_lock);
}

static bool block_remove(const void *block) {
    pthread_mutex_lock(&table_lock);
    size_t at = slot_of(block);
    while (slot[at] && slot[at] != block)
        at = (at + 1) % SLOTS;
    bool found = slot[at] != NULL;
    if (found) {
        slot[at] = slot[(at + 1) % SLOTS] ? removed : NULL;
        live--;
    }
    pthread_mutex_unlock(&table_lock);
    return found;
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static atomic_size_t counted, fail_at;
static atomic_bool failed;

void allocations_fail_at(size_t n) {
    failed = false;
    fail_at = n ? counted + n : 0;
}
bool allocations_failed(void) {
    return failed;
}
size_t allocations_counted(void) {
    return counted;
}
size_t allocations_live(void) {
    pthread_mutex_lock(&table_lock);
    size_t n = live;
    pthread_mutex_unlock(&table_lock);
    return n;
}

/* Counts a request; true when it is the one to fail. */
static bool refused(bool is_ours) {
    if (!is_ours || ++counted != fail_at)
        return false;
    failed = true;
    errno = ENOMEM;
    return true;
}

static void *given(void *block, bool is_ours) {
    if (block && is_ours)
        block_add(block);
    return block;
}

void *malloc(size_t bytes) {
    real_find();
    bool ours = is_counted(__builtin_return_address(0));
    return refused(ours) ? NULL : given(real.malloc(bytes), ours);
}

void *calloc(size_t count, size_t size) {
    real_find();
    bool ours = is_counted(__builtin_return_address(0));
    return refused(ours) ? NULL : given(real.calloc(count, size), ours);
}

void *realloc(void *block, size_t bytes) {
    real_find();
    bool ours = is_counted(__builtin_return_address(0));
    if (refused(ours))
        return NULL;
    bool known = block && block_remove(block);
    void *moved = real.realloc(block, bytes);
    if (!moved && known && bytes)
        block_add(block);
    return given(moved, ours);
}

int posix_memalign(void **ret_block, size_t alignment, size_t bytes) {
    real_find();
    bool ours = is_counted(__builtin_return_address(0));
    if (refused(ours))
        return ENOMEM;
    int status = real.posix_memalign(ret_block, alignment, bytes);
    if (!status)
        given(*ret_block, ours);
    return status;
}

void *aligned_alloc(size_t alignment, size_t bytes) {
    real_find();
    bool ours = is_counted(__builtin_return_address(0));
    void *block = NULL;
    if (refused(ours) || real.posix_memalign(&block, alignment < sizeof(void *) ? sizeof(void *) : alignment, bytes))
        return NULL;
    return given(block, ours);
}

void free(void *block) {
    if (!block)
        return;
    real_find();
    block_remove(block);
    real.free(block);
}
