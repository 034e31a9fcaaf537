/* SPDX-License-Identifier: Apache-2.0 */
/* Building JSON documents to be written to files, in the order given. */
#include "runtime.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

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

char *json_dump(const json_value *root, bool indented, size_t *ret_bytes) {
    size_t shape = indented ? JSON_INDENT(1) : JSON_COMPACT;
    char *text = json_dumps(root, shape | JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
    if (text && ret_bytes)
        *ret_bytes = strlen(text);
    return text;
}
