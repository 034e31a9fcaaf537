/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: any text is refused with a message, or read into a document that can be walked and whose settings are in
 * the range asked for. The first byte chooses the limits. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "runtime.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void fuzz_require(bool condition) {
    if (!condition)
        abort();
}

static void fuzz_check_text(const char *text, size_t bytes) {
    for (size_t i = 0; i < bytes;) {
        unsigned span = utf8_span(text + i, bytes - i);
        fuzz_require(span > 0);
        i += span;
    }
}

static size_t fuzz_walk(const json_value *value, size_t depth) {
    size_t values = 1, bytes = 0;
    fuzz_require(depth <= 8);
    const char *text = json_text(value, &bytes);
    if (text)
        fuzz_check_text(text, bytes);
    fuzz_require(json_kind_of(value) != JSON_KIND_REAL || isfinite(json_number(value)));
    if (json_kind_of(value) == JSON_KIND_ARRAY)
        for (size_t i = 0; i < json_count(value); i++)
            values += fuzz_walk(json_at(value, i), depth + 1);
    void *cursor = NULL;
    const char *key;
    const json_value *member;
    while (json_next(value, &cursor, &key, &member)) {
        fuzz_check_text(key, strlen(key));
        fuzz_require(json_get(value, key) == member);
        values += fuzz_walk(member, depth + 1);
        int64_t number = -1;
        moesaic_status status = json_read_int(value, key, 0, 100, "fuzz", &number, NULL);
        fuzz_require(status == MOESAIC_OK ? number >= -1 && number <= 100 : number == -1);
    }
    return values;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    if (bytes == 0)
        return 0;
    struct json_limits limits = {.max_bytes = 1 << 16,
                                 .max_depth = 7,
                                 .max_values = 200,
                                 .reject_duplicates = data[0] & 1,
                                 .allow_nonfinite = data[0] & 2};
    json_value *root = NULL;
    moesaic_error error = {0};
    moesaic_status status = json_parse((const char *)data + 1, bytes - 1, &limits, "fuzz", &root, &error);
    fuzz_require((status == MOESAIC_OK) == (root != NULL));
    if (status == MOESAIC_OK)
        fuzz_require(fuzz_walk(root, 0) <= limits.max_values);
    else
        fuzz_require(status == MOESAIC_E_INPUT && error.message[0]);
    json_free(root);
    return 0;
}
