/* SPDX-License-Identifier: Apache-2.0 */
/* Building JSON documents to be written to files, in the order given. */
#include "runtime.h"

#include <jansson.h>
#include <stdlib.h>

json_value *json_make_object(void) { return json_object(); }
json_value *json_make_array(void) { return json_array(); }
json_value *json_make_text(const char *text, size_t bytes) { return json_stringn(text, bytes); }
json_value *json_make_integer(int64_t value) { return json_integer(value); }
json_value *json_make_real(double value) { return json_real(value); }
json_value *json_make_bool(bool value) { return json_boolean(value); }

bool json_put(json_value *object, const char *key, json_value *value) {
    return json_object_set_new(object, key, value) == 0;
}

bool json_push(json_value *array, json_value *value) { return json_array_append_new(array, value) == 0; }

/* Twice into a buffer of ours: json_dumps (2.14) leaves a key out when its buffer cannot grow, and reports nothing. */
char *json_dump(const json_value *root, bool indented, size_t *ret_bytes) {
    size_t shape = (indented ? JSON_INDENT(1) : JSON_COMPACT) | JSON_ENCODE_ANY | JSON_REAL_PRECISION(9);
    size_t bytes = json_dumpb(root, NULL, 0, shape);
    char *text = bytes ? malloc(bytes + 1) : NULL;
    if (!text)
        return NULL;
    if (json_dumpb(root, text, bytes, shape) != bytes) {
        free(text);
        return NULL;
    }
    text[bytes] = 0;
    if (ret_bytes)
        *ret_bytes = bytes;
    return text;
}
