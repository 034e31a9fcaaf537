/* SPDX-License-Identifier: Apache-2.0 */
/* Tests of arenas and of aligned memory; built once with jemalloc and once without, for both backends. */
#include <criterion/criterion.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime.h"

#if !defined(ARENA_BACKEND) && (defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__))
#define ARENA_BACKEND "hwloc" /* the sanitizer is the allocator: nothing asks for jemalloc, which is left out */
#elif !defined(ARENA_BACKEND)
#define ARENA_BACKEND "jemalloc"
#endif

static struct topology *machine(const char *synthetic) {
    struct topology *topology = NULL;
    struct topology_source source = {.synthetic = synthetic};
    cr_assert_eq(topology_open(&source, &topology, NULL), MOESAIC_OK);
    return topology;
}

Test(runtime_memory, the_backend_is_the_one_linked) {
    cr_assert_str_eq(arena_backend(), ARENA_BACKEND);
}

Test(runtime_memory, blocks_are_aligned_zeroed_and_apart) {
    struct topology *topology = machine(NULL);
    struct arena *arena = NULL;
    moesaic_error error = {0};
    cr_assert_eq(arena_create(topology, 0, false, &arena, &error), MOESAIC_OK, "%s", error.message);
    enum { BLOCKS = 200 };
    uint8_t *block[BLOCKS];
    size_t bytes[BLOCKS];
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t alignment = (size_t)1 << i % 15;
        bytes[i] = i * i * 7 % 30000 + (i % 50 == 0 ? 3 << 20 : 0);
        block[i] = arena_alloc(arena, bytes[i], alignment);
        cr_assert_not_null(block[i]);
        cr_assert_eq((uintptr_t)block[i] % alignment, 0);
        for (size_t j = 0; j < bytes[i]; j++)
            cr_assert_eq(block[i][j], 0);
        memset(block[i], (int)i + 1, bytes[i]);
    }
    size_t total = 0;
    for (size_t i = 0; i < BLOCKS; i++)
        total += bytes[i];
    cr_assert_geq(arena_bytes(arena), total);
    for (size_t i = 0; i < BLOCKS; i += 2)
        arena_free(arena, block[i]);
    for (size_t i = 1; i < BLOCKS; i += 2)
        for (size_t j = 0; j < bytes[i]; j++)
            cr_assert_eq(block[i][j], (uint8_t)(i + 1));
    for (size_t i = 1; i < BLOCKS; i += 2)
        arena_free(arena, block[i]);
    arena_free(arena, NULL);
    cr_assert_eq(arena_bytes(arena), 0);
    arena_destroy(arena);
    topology_close(topology);
}

/* Resident pages of this process, from the kernel. */
static size_t resident_bytes(void) {
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long pages = 0, resident = 0;
    cr_assert_eq(fscanf(file, "%lu %lu", &pages, &resident), 2);
    fclose(file);
    return (size_t)resident * 4096;
}

Test(runtime_memory, destroying_gives_everything_back) {
    struct topology *topology = machine(NULL);
    size_t before = resident_bytes();
    for (int round = 0; round < 20; round++) {
        struct arena *arena;
        cr_assert_eq(arena_create(topology, 0, round % 2 == 0, &arena, NULL), MOESAIC_OK);
        for (int i = 0; i < 4; i++)
            memset(arena_alloc(arena, 4 << 20, 64), 1, 4 << 20);
        cr_assert_geq(resident_bytes(), before + (8 << 20));
        arena_destroy(arena);
    }
    cr_assert_lt(resident_bytes(), before + (24 << 20), "20 rounds of 16 MiB were kept");
    arena_destroy(NULL);
    topology_close(topology);
}

Test(runtime_memory, huge_page_blocks_start_on_one) {
    struct topology *topology = machine(NULL);
    struct arena *arena;
    cr_assert_eq(arena_create(topology, 0, true, &arena, NULL), MOESAIC_OK);
    uint8_t *block = arena_alloc(arena, 16 << 20, 2 << 20);
    cr_assert_not_null(block);
    cr_assert_eq((uintptr_t)block % (2 << 20), 0);
    block[0] = block[(16 << 20) - 1] = 1;
    arena_destroy(arena);
    topology_close(topology);
}

Test(runtime_memory, refuses_what_cannot_be) {
    struct topology *topology = machine("node:2 core:1 pu:1");
    struct arena *arena = NULL;
    moesaic_error error = {0};
    cr_assert_eq(arena_create(topology, 2, false, &arena, &error), MOESAIC_E_USAGE);
    cr_assert_str_eq(error.message, "arena: NUMA node 2, expected 0 to 1");
    cr_assert_null(arena);
    cr_assert_eq(arena_create(topology, 1, false, &arena, &error), MOESAIC_OK); /* bound as if, on a made-up machine */
    cr_assert_null(arena_alloc(arena, SIZE_MAX, 64));
    cr_assert_null(arena_alloc(arena, SIZE_MAX / 2 - 100, 64));
    cr_assert_null(arena_alloc(arena, (size_t)1 << 60, 64));
    cr_assert_null(arena_alloc(arena, 64, 48));
    cr_assert_null(arena_alloc(arena, 64, ~(SIZE_MAX >> 1)));
    cr_assert_eq(arena_bytes(arena), 0);
    void *nothing = arena_alloc(arena, 0, 0);
    cr_assert_not_null(nothing);
    arena_free(arena, nothing);
    arena_destroy(arena);
    topology_close(topology);
}

static void *churn(void *argument) {
    struct arena *arena = argument;
    uint8_t *block[16] = {0};
    for (unsigned i = 0; i < 2000; i++) {
        unsigned slot = i * 7 % 16;
        arena_free(arena, block[slot]);
        size_t bytes = 100 + i * 37 % 9000;
        block[slot] = arena_alloc(arena, bytes, 64);
        if (!block[slot])
            return arena;
        block[slot][0] = block[slot][bytes - 1] = (uint8_t)i;
    }
    for (unsigned i = 0; i < 16; i++)
        arena_free(arena, block[i]);
    return NULL;
}

Test(runtime_memory, threads_may_share_an_arena) {
    struct topology *topology = machine(NULL);
    struct arena *arena;
    cr_assert_eq(arena_create(topology, 0, false, &arena, NULL), MOESAIC_OK);
    pthread_t thread[4];
    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&thread[i], NULL, churn, arena), 0);
    for (int i = 0; i < 4; i++) {
        void *failed;
        pthread_join(thread[i], &failed);
        cr_assert_null(failed);
    }
    cr_assert_eq(arena_bytes(arena), 0);
    arena_destroy(arena);
    topology_close(topology);
}

Test(runtime_memory, zeroed_memory) {
    cr_assert_null(memory_zeroed(SIZE_MAX / 2, 3));
    cr_assert_null(memory_zeroed(SIZE_MAX - 10, 1));
    void *nothing = memory_zeroed(0, 8);
    cr_assert_not_null(nothing);
    free(nothing);
    uint8_t *block = memory_zeroed(33, 5);
    cr_assert_eq((uintptr_t)block % 64, 0);
    for (size_t i = 0; i < 165; i++)
        cr_assert_eq(block[i], 0);
    free(block);
}
