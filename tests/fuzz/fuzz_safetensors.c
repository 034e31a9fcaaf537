/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: a safetensors file from anywhere is refused, or each of its tensors lies inside it, whole and apart. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* Reads the first and last byte of every tensor, finds each by its name and adds up what they take. */
static void fuzz_walk(const struct safetensors *file, size_t file_bytes) {
    volatile uint8_t read = 0;
    size_t total = 0;
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const struct tensor *tensor = safetensors_at(file, i);
        if (tensor->rank > 8 || !tensor->type_name || safetensors_find(file, tensor->name) != tensor)
            abort();
        if (i > 0 && tensor->data < safetensors_at(file, i - 1)->data + safetensors_at(file, i - 1)->bytes)
            abort();
        if (tensor->bytes > 0)
            read = (uint8_t)(read + tensor->data[0] + tensor->data[tensor->bytes - 1]);
        total += tensor->bytes;
    }
    if (total > file_bytes)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    char path[64];
    int descriptor = memfd_create("fuzz", 0);
    if (descriptor < 0 || write(descriptor, data, bytes) != (ssize_t)bytes)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    struct safetensors *file = NULL;
    moesaic_error error = {0};
    moesaic_status status = safetensors_open(path, &file, &error);
    if (status == MOESAIC_OK)
        fuzz_walk(file, bytes);
    else if (status != MOESAIC_E_INPUT || !error.message[0] || file)
        abort();
    safetensors_close(file);
    close(descriptor);
    return 0;
}
