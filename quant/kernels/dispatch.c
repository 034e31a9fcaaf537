/* SPDX-License-Identifier: Apache-2.0 */
/* Fills the kernel table once from what the CPU says: references first, then overrides from oldest to newest. */
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

const struct kernel_table *kernels(void) {
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static struct kernel_table table;
    static _Atomic uint64_t filled_for; /* bundles + 1; 0: never filled */
    uint64_t wanted = (uint64_t)cpu_bundles() + 1;
    if (atomic_load_explicit(&filled_for, memory_order_acquire) == wanted)
        return &table;
    pthread_mutex_lock(&mutex);
    if (atomic_load_explicit(&filled_for, memory_order_relaxed) != wanted) {
        kernels_fill(&table, (uint32_t)(wanted - 1));
        atomic_store_explicit(&filled_for, wanted, memory_order_release);
    }
    pthread_mutex_unlock(&mutex);
    return &table;
}
