/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: an artifact from anywhere, its checksums mended so that what lies behind them is reached, is refused, or
 * can be verified, bound and read without harm. The seed is what tests/unit/artifact_fixture.c writes. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include "artifact_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void fuzz_mend(uint8_t *data, size_t bytes) {
    struct artifact_header h;
    if (bytes < sizeof h)
        return;
    memcpy(&h, data, sizeof h);
    h.file_bytes = bytes;
    if (h.metadata_offset >= sizeof h && h.metadata_offset < bytes)
        h.tail_checksum = XXH3_64bits(data + h.metadata_offset, bytes - h.metadata_offset);
    h.header_checksum = XXH3_64bits(&h, offsetof(struct artifact_header, header_checksum));
    memcpy(data, &h, sizeof h);
}

static void fuzz_use(const struct artifact *artifact) {
    static float values[1 << 14];
    struct model_weights *weights = NULL;
    artifact_verify(artifact, NULL);
    for (size_t i = 0; i < artifact_tensors(artifact); i++) {
        const struct artifact_tensor *t = artifact_tensor_at(artifact, i);
        if (artifact_find(artifact, t->name) != t)
            abort();
        if (t->weight.rows && t->weight.cols <= sizeof values / sizeof *values) {
            weight_dequantize(&t->weight, 0, 1, values);
            weight_dequantize(&t->weight, t->weight.rows - 1, t->weight.rows, values);
        }
    }
    if (!artifact_bind(artifact, &weights, NULL))
        model_weights_destroy(weights);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    char path[64];
    uint8_t *mended = malloc(bytes ? bytes : 1);
    int descriptor = memfd_create("fuzz", 0);
    if (!mended || descriptor < 0)
        abort();
    memcpy(mended, data, bytes);
    fuzz_mend(mended, bytes);
    if (write(descriptor, mended, bytes) != (ssize_t)bytes)
        abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    struct artifact *artifact = NULL;
    moesaic_error error = {0};
    moesaic_status status = artifact_open(path, &artifact, &error);
    if (status == MOESAIC_OK)
        fuzz_use(artifact);
    else if ((status != MOESAIC_E_INPUT && status != MOESAIC_E_UNSUPPORTED) || !error.message[0] || artifact)
        abort();
    artifact_close(artifact);
    close(descriptor);
    free(mended);
    return 0;
}
