/* SPDX-License-Identifier: Apache-2.0 */
/* Fills a kernel table from what the CPU says: references first, then overrides from oldest to newest. */
#include <pthread.h>
#include <stddef.h>

#include "kernels.h"

void kernels_fill(struct kernel_table *table, uint32_t bundles) {
#define SLOT(slot, type)
#define KERNEL(slot, isa, bundle)                                                                                      \
    if ((bundles & (uint32_t)(bundle)) == (uint32_t)(bundle))                                                          \
        table->slot = slot##_##isa;
#include "kernels.def"
#undef SLOT
#undef KERNEL
}

const struct kernel_entry kernel_entries[] = {
#define SLOT(slot, type)
#define KERNEL(slot, isa, bundle)                                                                                      \
    {#slot, #isa, (uint32_t)(bundle), offsetof(struct kernel_table, slot), (void (*)(void))slot##_##isa},
#include "kernels.def"
#undef SLOT
#undef KERNEL
};
const size_t kernel_entries_count = sizeof kernel_entries / sizeof *kernel_entries;

/* A table for a set of bundles; a process meets few sets, since cpu_limit only takes away. */
struct kernel_choice {
    uint32_t bundles;
    struct kernel_table table;
};

static struct kernel_choice *choice_for(uint32_t bundles) {
    static struct kernel_choice made[33]; /* one a bit taken away, and the first */
    static size_t count;
    for (size_t i = 0; i < count; i++)
        if (made[i].bundles == bundles)
            return &made[i];
    struct kernel_choice *choice = &made[count++];
    choice->bundles = bundles;
    kernels_fill(&choice->table, bundles);
    return choice;
}

const struct kernel_table *kernels(void) {
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static _Atomic(struct kernel_choice *) current;
    struct kernel_choice *choice = atomic_load_explicit(&current, memory_order_acquire);
    if (choice && choice->bundles == cpu_bundles())
        return &choice->table;
    pthread_mutex_lock(&mutex);
    choice = choice_for(cpu_bundles());
    atomic_store_explicit(&current, choice, memory_order_release);
    pthread_mutex_unlock(&mutex);
    return &choice->table;
}
