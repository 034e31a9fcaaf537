/* SPDX-License-Identifier: Apache-2.0 */
/* malloc and its kin, in front of the C library's (or the sanitizer's). */
#include "allocations.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <sched.h>
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

/* The sanitizers' dlsym asks for memory itself: so much is at hand until it has answered. */
static _Alignas(16) char early[1 << 16];
static size_t early_used;
static bool finding;

static void *early_take(size_t bytes) {
    size_t at = early_used;
    early_used += (bytes + 15) / 16 * 16;
    if (early_used > sizeof early)
        abort();
    return early + at;
}

static bool is_early(const void *block) {
    return (const char *)block >= early && (const char *)block < early + sizeof early;
}

__attribute__((constructor)) static void real_find(void) {
    if (real.free || finding)
        return;
    finding = true;
    real.malloc = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
    real.calloc = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "calloc");
    real.realloc = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
    real.posix_memalign = (int (*)(void **, size_t, size_t))dlsym(RTLD_NEXT, "posix_memalign");
    real.free = (void (*)(void *))dlsym(RTLD_NEXT, "free");
    finding = false;
}

/* False only to dlsym, while it looks for them. */
static bool real_known(void) {
    real_find();
    return real.free != NULL;
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
    bool counted_library = strstr(name, "/libjansson") || strstr(name, "/libpcre2-8");
#ifndef SANITIZED /* whose run-time library uses libc's and ends the process when that fails */
    counted_library |= strstr(name, "/libc.so") != NULL;
#endif
    if (*name && !counted_library)
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
static atomic_flag table_lock = ATOMIC_FLAG_INIT; /* a mutex is the sanitizers', and not there yet when they begin */
static void *const removed = &live; /* a slot that searches go past */

static void table_enter(void) {
    while (atomic_flag_test_and_set_explicit(&table_lock, memory_order_acquire))
        sched_yield();
}

static void table_leave(void) {
    atomic_flag_clear_explicit(&table_lock, memory_order_release);
}

static size_t slot_of(const void *block) {
    return (size_t)(((uintptr_t)block >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 44);
}

static void block_add(void *block) {
    table_enter();
    size_t at = slot_of(block);
    while (slot[at] && slot[at] != removed)
        at = (at + 1) % SLOTS;
    slot[at] = block;
    if (++live == SLOTS / 2) {
        fputs("allocations: the table is full\n", stderr);
        abort();
    }
    table_leave();
}

static bool block_remove(const void *block) {
    table_enter();
    size_t at = slot_of(block);
    while (slot[at] && slot[at] != block)
        at = (at + 1) % SLOTS;
    bool found = slot[at] != NULL;
    if (found) {
        slot[at] = slot[(at + 1) % SLOTS] ? removed : NULL;
        live--;
    }
    table_leave();
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
    table_enter();
    size_t n = live;
    table_leave();
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
    if (!real_known())
        return early_take(bytes);
    bool ours = is_counted(__builtin_return_address(0));
    return refused(ours) ? NULL : given(real.malloc(bytes), ours);
}

void *calloc(size_t count, size_t size) {
    if (!real_known())
        return early_take(count * size); /* used once, and zero from the start */
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
    if (!block || is_early(block))
        return;
    real_find();
    block_remove(block);
    real.free(block);
}

/* LeakSanitizer asks this: glibc's dlopen, which hwloc and OpenMP call, forgets a list of libraries when its second
 * allocation fails. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
    return "leak:_dl_map_object_deps\n";
}
