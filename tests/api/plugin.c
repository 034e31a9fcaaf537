/* SPDX-License-Identifier: Apache-2.0 */
/* A host program with an allocator of its own that loads the library at run time and lets it work: argv[1] is the
 * library, argv[2] a model. Every block that the library frees must be one that this allocator gave it. */
#include <dlfcn.h>
#include <errno.h>
#include <moesaic/moesaic.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* A bump allocator with a marked header: enough for one short run, and intolerant of foreign blocks. */
struct header {
    size_t bytes, mark;
};
enum { ARENA_BYTES = 1 << 30, MARK = 0x6d6f6573 };
static _Atomic size_t arena_used;

static char *arena(void) {
    static char *_Atomic base;
    char *known = base;
    if (!known) {
        char *fresh =
            mmap(NULL, ARENA_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (__atomic_compare_exchange_n(&base, &known, fresh, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            known = fresh;
        else
            munmap(fresh, ARENA_BYTES);
    }
    return known;
}

static void *take(size_t bytes, size_t alignment) {
    size_t need = (bytes + 2 * alignment + sizeof(struct header) + 15) & ~(size_t)15;
    size_t at = __atomic_fetch_add(&arena_used, need, __ATOMIC_RELAXED);
    if (at + need > ARENA_BYTES)
        return NULL;
    char *block = arena() + ((at + sizeof(struct header) + alignment - 1) & ~(alignment - 1));
    ((struct header *)block)[-1] = (struct header){bytes, MARK};
    return block;
}

void *malloc(size_t bytes) { return take(bytes, 16); }
void *calloc(size_t count, size_t size) { return take(count * size, 16); } /* fresh pages are zero and never reused */
void *memalign(size_t alignment, size_t bytes) { return take(bytes, alignment < 16 ? 16 : alignment); }
void *aligned_alloc(size_t alignment, size_t bytes) { return memalign(alignment, bytes); }
int posix_memalign(void **ret, size_t alignment, size_t bytes) {
    *ret = memalign(alignment, bytes);
    return *ret ? 0 : ENOMEM;
}
void free(void *block) {
    if (block && ((struct header *)block)[-1].mark != MARK) {
        static const char message[] = "plugin: a block of another allocator was freed\n";
        fwrite(message, 1, sizeof message - 1, stderr);
        _Exit(9);
    }
}
void *realloc(void *block, size_t bytes) {
    void *larger = malloc(bytes);
    if (block && larger) {
        size_t have = ((struct header *)block)[-1].bytes;
        memcpy(larger, block, have < bytes ? have : bytes);
        free(block);
    }
    return larger;
}

static int print_token(void *user, const moesaic_token *token) {
    fwrite(token->text, 1, token->text_bytes, user);
    return 0;
}

#define SYMBOL(name) __typeof__(&name) p_##name = (__typeof__(&name))dlsym(library, #name)

int main(int argc, char **argv) {
    void *library = argc > 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!library) {
        fprintf(stderr, "plugin: %s\n", argc > 2 ? dlerror() : "usage: plugin LIBRARY MODEL");
        return 2;
    }
    SYMBOL(moesaic_model_open);
    SYMBOL(moesaic_model_release);
    SYMBOL(moesaic_engine_create);
    SYMBOL(moesaic_engine_destroy);
    SYMBOL(moesaic_sequence_create);
    SYMBOL(moesaic_sequence_destroy);
    SYMBOL(moesaic_sequence_append_text);
    SYMBOL(moesaic_sequence_generate);
    moesaic_error error;
    moesaic_model *model = NULL;
    moesaic_engine *engine = NULL;
    moesaic_sequence *sequence = NULL;
    const char *prompt = "Once upon a time";
    moesaic_status status = p_moesaic_model_open(argv[2], NULL, &model, &error);
    if (!status)
        status = p_moesaic_engine_create(model, NULL, &engine, &error);
    if (!status)
        status = p_moesaic_sequence_create(engine, NULL, &sequence, &error);
    if (!status)
        status = p_moesaic_sequence_append_text(sequence, prompt, strlen(prompt), true, &error);
    if (!status)
        status = p_moesaic_sequence_generate(sequence, NULL, 32, print_token, stdout, NULL, &error);
    if (status)
        fprintf(stderr, "plugin: %s\n", error.message);
    p_moesaic_sequence_destroy(sequence);
    p_moesaic_engine_destroy(engine);
    p_moesaic_model_release(model);
    fflush(stdout);
    return status;
}
