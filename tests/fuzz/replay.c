/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target over the files of its corpus, and over each cut short and with single bytes changed: what the
 * fuzzer once found stays found, on every compiler. usage: replay FOLDER. Prints TAP. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { FILES_MAX = 4096, BYTES_MAX = 1 << 20, VARIANTS = 48 };

static size_t file_read(const char *folder, const char *name, uint8_t *data) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    size_t bytes = file ? fread(data, 1, BYTES_MAX, file) : 0;
    if (file)
        fclose(file);
    return bytes;
}

/* Each input in a block of exactly its size, so that a sanitizer sees the first byte read behind it. */
static void target_run(const uint8_t *data, size_t bytes) {
    uint8_t *exact = malloc(bytes ? bytes : 1);
    if (!exact)
        exit(1);
    memcpy(exact, data, bytes);
    LLVMFuzzerTestOneInput(exact, bytes);
    free(exact);
}

static void variants_run(uint8_t *data, size_t bytes) {
    uint64_t state = bytes * 0x9e3779b97f4a7c15u + 1;
    for (int i = 0; i < VARIANTS && bytes; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        size_t at = (size_t)(state >> 33) % bytes;
        uint8_t kept = data[at];
        target_run(data, at);
        data[at] = (uint8_t)(state >> 24);
        target_run(data, bytes);
        data[at] = kept;
    }
}

int main(int argc, char **argv) {
    static uint8_t data[BYTES_MAX];
    struct dirent **entries;
    int count = argc == 2 ? scandir(argv[1], &entries, NULL, alphasort) : -1, done = 0;
    if (count < 0) {
        fprintf(stderr, "usage: replay FOLDER\n");
        return 2;
    }
    for (int i = 0; i < count; i++) {
        if (entries[i]->d_name[0] != '.') {
            size_t bytes = file_read(argv[1], entries[i]->d_name, data);
            target_run(data, bytes);
            variants_run(data, bytes);
            printf("ok %d - %s\n", ++done, entries[i]->d_name);
            fflush(stdout);
        }
        free(entries[i]);
    }
    free(entries);
    printf("1..%d\n", done);
    return done ? 0 : 1;
}
