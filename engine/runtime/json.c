/* SPDX-License-Identifier: Apache-2.0 */
/* Accessors through which the library looks at a JSON document, and typed, ranged reading of settings. */
#include "runtime.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>

void json_free(json_value *root) {
    json_decref(root);
}

json_kind json_kind_of(const json_value *value) {
    if (!value)
        return JSON_KIND_NULL;
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return JSON_KIND_OBJECT;
    case JSON_ARRAY:
        return JSON_KIND_ARRAY;
    case JSON_STRING:
        return JSON_KIND_STRING;
    case JSON_INTEGER:
        return JSON_KIND_INTEGER;
    case JSON_REAL:
        return JSON_KIND_REAL;
    case JSON_TRUE:
    case JSON_FALSE:
        return JSON_KIND_BOOL;
    case JSON_NULL:
        break;
    }
    return JSON_KIND_NULL;
}

const json_value *json_get(const json_value *object, const char *key) {
    return json_object_get(object, key);
}

size_t json_count(const json_value *array_or_object) {
    return json_is_object(array_or_object) ? json_object_size(array_or_object) : json_array_size(array_or_object);
}

const json_value *json_at(const json_value *array, size_t index) {
    return json_array_get(array, index);
}

bool json_next(const json_value *object, void **cursor, const char **ret_key, const json_value **ret_value) {
    json_t *walked = (json_t *)(uintptr_t)object; /* jansson's iterators take no const, but read only */
    *cursor = *cursor ? json_object_iter_next(walked, *cursor) : json_object_iter(walked);
    if (!*cursor)
        return false;
    *ret_key = json_object_iter_key(*cursor);
    *ret_value = json_object_iter_value(*cursor);
    return true;
}

const char *json_text(const json_value *string, size_t *ret_bytes) {
    if (!json_is_string(string))
        return NULL;
    if (ret_bytes)
        *ret_bytes = json_string_length(string);
    return json_string_value(string);
}

bool json_truth(const json_value *boolean) {
    return json_is_true(boolean);
}

int64_t json_int(const json_value *integer) {
    return json_integer_value(integer);
}

double json_number(const json_value *number) {
    return json_number_value(number);
}

/* ---- settings ---- */

static const char *json_kind_name(const json_value *value) {
    static const char *const names[] = {"null",     "a boolean", "an integer", "a number",
                                        "a string", "an array",  "an object"};
    return names[json_kind_of(value)];
}

static moesaic_status json_wrong_kind(const json_value *value, const char *key, const char *wanted, const char *where,
                                      moesaic_error *error) {
    if (json_is_real(value))
        return status_set(error, MOESAIC_E_INPUT, "%s: %s is %.17g, expected %s", where, key, json_real_value(value),
                          wanted);
    return status_set(error, MOESAIC_E_INPUT, "%s: %s is %s, expected %s", where, key, json_kind_name(value), wanted);
}

moesaic_status json_read_int(const json_value *object, const char *key, int64_t low, int64_t high, const char *where,
                             int64_t *io_value, moesaic_error *error) {
    const json_value *value = json_get(object, key);
    if (json_kind_of(value) == JSON_KIND_NULL)
        return MOESAIC_OK;
    int64_t number;
    if (json_is_integer(value)) {
        number = json_integer_value(value);
    } else {
        double real = json_is_real(value) ? json_real_value(value) : 0.5;
        if (real != trunc(real))
            return json_wrong_kind(value, key, "an integer", where, error);
        /* -2^63 and 2^63 are exact doubles; what lies between converts without overflow. */
        if (real < -0x1p63 || real >= 0x1p63)
            return status_set(error, MOESAIC_E_INPUT, "%s: %s is %.17g, expected %" PRId64 " to %" PRId64, where, key,
                              real, low, high);
        number = (int64_t)real;
    }
    if (number < low || number > high)
        return status_set(error, MOESAIC_E_INPUT, "%s: %s is %" PRId64 ", expected %" PRId64 " to %" PRId64, where, key,
                          number, low, high);
    *io_value = number;
    return MOESAIC_OK;
}

moesaic_status json_read_double(const json_value *object, const char *key, double low, double high, const char *where,
                                double *io_value, moesaic_error *error) {
    const json_value *value = json_get(object, key);
    if (json_kind_of(value) == JSON_KIND_NULL)
        return MOESAIC_OK;
    if (!json_is_number(value))
        return json_wrong_kind(value, key, "a number", where, error);
    double number = json_number_value(value);
    if (!(number >= low && number <= high))
        return status_set(error, MOESAIC_E_INPUT, "%s: %s is %.9g, expected %.9g to %.9g", where, key, number, low,
                          high);
    *io_value = number;
    return MOESAIC_OK;
}

moesaic_status json_read_bool(const json_value *object, const char *key, const char *where, bool *io_value,
                              moesaic_error *error) {
    const json_value *value = json_get(object, key);
    if (json_kind_of(value) == JSON_KIND_NULL)
        return MOESAIC_OK;
    if (!json_is_boolean(value))
        return json_wrong_kind(value, key, "true or false", where, error);
    *io_value = json_is_true(value);
    return MOESAIC_OK;
}
