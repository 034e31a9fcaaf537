/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of the forward pass: a step allocates nothing, and every allocation may fail.
 *
 * This program brings its own malloc, over glibc's, which counts and can be told to fail. */
#include "../golden/golden.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OWN_MALLOC 0 /* the sanitizer brings its own */
#else
#define OWN_MALLOC 1
#endif

static _Atomic uint64_t allocations, living;
static _Atomic int64_t fail_after = INT64_MAX; /* allocations that still succeed */

#if OWN_MALLOC
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);
void __libc_free(void *block);

static bool allowed(void) {
    atomic_fetch_add(&allocations, 1);
    return atomic_fetch_sub(&fail_after, 1) > 0;
}

static void *counted(void *block) {
    if (block)
        atomic_fetch_add(&living, 1);
    return block;
}

void *malloc(size_t bytes) { return allowed() ? counted(__libc_malloc(bytes)) : NULL; }
void *calloc(size_t count, size_t size) { return allowed() ? counted(__libc_calloc(count, size)) : NULL; }
void *aligned_alloc(size_t alignment, size_t bytes) {
    return allowed() ? counted(__libc_memalign(alignment, bytes)) : NULL;
}
int posix_memalign(void **ret, size_t alignment, size_t bytes) {
    return (*ret = aligned_alloc(alignment, bytes)) ? 0 : ENOMEM;
}
void *realloc(void *block, size_t bytes) {
    if (!block)
        return malloc(bytes);
    return allowed() ? __libc_realloc(block, bytes) : NULL;
}
void free(void *block) {
    if (block)
        atomic_fetch_sub(&living, 1);
    __libc_free(block);
}
#endif

static void need_own_malloc(void) {
    if (!OWN_MALLOC)
        cr_skip_test("the sanitizer's malloc is in the way");
}

static void step(struct golden_engine *engine, struct model_context *context, size_t count) {
    static const int32_t ids[200] = {5, 4, 3, 2, 1};
    struct forward_item item = {.context = context, .ids = ids, .count = count, .want = FORWARD_LAST_LOGITS};
    cr_assert_eq(forward_step(engine->forward, &item, 1, NULL, NULL), MOESAIC_OK);
}

Test(memory, a_step_allocates_nothing) {
    static const char *const models[] = {"checkpoints/llama", "checkpoints/qwen2_moe", "fable-moe"};
    need_own_malloc();
    for (size_t i = 0; i < 3; i++) {
        struct golden_engine engine;
        struct model_context *context;
        golden_open(&engine, models[i], (struct golden_setup){.threads = 3, .kv = KV_F16});
        cr_assert_eq(model_context_create(engine.model, engine.pool, 700, &context, NULL), MOESAIC_OK);
        cr_assert_eq(model_context_reserve(context, 700, NULL), MOESAIC_OK);
        uint64_t before = allocations;
        step(&engine, context, 200); /* wide */
        step(&engine, context, 200);
        step(&engine, context, 200); /* into a second segment: narrow steps split */
        step(&engine, context, 7);
        step(&engine, context, 1);
        cr_assert_eq(allocations, before, "%s: %zu allocations in five steps", models[i],
                     (size_t)(allocations - before));
        model_context_destroy(context);
        golden_close(&engine);
    }
}

/* Runs `create` with the first, the second ... allocation failing until it succeeds; nothing may stay behind. */
static void fail_each(moesaic_status (*create)(struct golden_engine *engine, moesaic_error *error),
                      struct golden_engine *engine) {
    for (int64_t n = 0; n < 1000; n++) {
        moesaic_error error = {0};
        uint64_t before = living;
        fail_after = n;
        moesaic_status status = create(engine, &error);
        fail_after = INT64_MAX;
        cr_assert_eq(living, before, "allocation %d failed and left something behind", (int)n);
        if (status == MOESAIC_OK) {
            cr_assert_gt(n, 0);
            return;
        }
        cr_assert_eq(status, MOESAIC_E_MEMORY, "allocation %d: status %d, %s", (int)n, status, error.message);
        cr_assert_neq(error.message[0], '\0');
    }
    cr_assert_fail("still failing after 1000 allocations");
}

static moesaic_status create_forward(struct golden_engine *engine, moesaic_error *error) {
    struct forward *forward = NULL;
    struct forward_options options = {.max_step_tokens = 64, .max_items = 4, .max_logits_rows = 4};
    moesaic_status status = forward_create(engine->model, engine->team, &options, NULL, &forward, error);
    forward_destroy(forward);
    return status;
}

static moesaic_status create_context(struct golden_engine *engine, moesaic_error *error) {
    struct kv_shape shape = model_kv_shape(engine->model, KV_F32);
    struct kv_pool *pool = NULL;
    struct model_context *context = NULL;
    moesaic_status status = kv_pool_create(&shape, 0, &pool, error);
    if (!status)
        status = model_context_create(engine->model, pool, 300, &context, error);
    if (!status)
        status = model_context_reserve(context, 300, error);
    model_context_destroy(context);
    kv_pool_destroy(pool);
    return status;
}

static moesaic_status create_stats(struct golden_engine *engine, moesaic_error *error) {
    struct router_stats stats;
    (void)engine;
    moesaic_status status = router_stats_init(&stats, 16, 2, true, error);
    router_stats_done(&stats);
    return status;
}

Test(memory, every_allocation_may_fail) {
    struct golden_engine engine;
    need_own_malloc();
    golden_open(&engine, "checkpoints/qwen2_moe", (struct golden_setup){0});
    fail_each(create_forward, &engine);
    fail_each(create_context, &engine);
    fail_each(create_stats, &engine);
    golden_close(&engine);
}
