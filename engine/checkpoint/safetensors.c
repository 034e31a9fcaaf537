/* SPDX-License-Identifier: Apache-2.0 */
/* Reader of .safetensors files: maps the file and believes nothing of its header that it has not checked. */
#include "checkpoint_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_AT = 8 }; /* behind the length of the header, a little-endian 64-bit number */

struct safetensors {
    struct file_map map;
    char *names;                   /* every tensor's name, NUL-terminated, one after another */
    struct tensor *tensors;        /* [count], in the order of their data */
    const struct tensor **by_name; /* [count] */
    size_t count;
};

/* ---- element types ---- */

static const struct tensor_type_info tensor_types[] = {
    {"F32", TENSOR_F32, 32},
    {"F16", TENSOR_F16, 16},
    {"BF16", TENSOR_BF16, 16},
    {"I32", TENSOR_I32, 32},
    {"I64", TENSOR_I64, 64},
    {"U8", TENSOR_U8, 8},
    {"I8", TENSOR_I8, 8},
    {"U16", TENSOR_U16, 16},
    {"F64", TENSOR_OTHER, 64},
    {"U64", TENSOR_OTHER, 64},
    {"U32", TENSOR_OTHER, 32},
    {"I16", TENSOR_OTHER, 16},
    {"BOOL", TENSOR_OTHER, 8},
    {"C64", TENSOR_OTHER, 64},
    {"F8_E4M3", TENSOR_OTHER, 8},
    {"F8_E5M2", TENSOR_OTHER, 8},
    {"F8_E8M0", TENSOR_OTHER, 8},
    {"F8_E4M3FNUZ", TENSOR_OTHER, 8},
    {"F8_E5M2FNUZ", TENSOR_OTHER, 8},
    {"F6_E2M3", TENSOR_OTHER, 6},
    {"F6_E3M2", TENSOR_OTHER, 6},
    {"F4", TENSOR_OTHER, 4},
};
enum { N_TENSOR_TYPES = sizeof tensor_types / sizeof *tensor_types };

const struct tensor_type_info *tensor_type_named(const char *name) {
    for (size_t i = 0; i < N_TENSOR_TYPES; i++)
        if (strcmp(tensor_types[i].name, name) == 0)
            return &tensor_types[i];
    return NULL;
}

const struct tensor_type_info *tensor_type_of(tensor_type type) {
    for (size_t i = 0; i < N_TENSOR_TYPES; i++)
        if (tensor_types[i].type == type && type != TENSOR_OTHER)
            return &tensor_types[i];
    return NULL;
}

bool tensor_bytes(unsigned bits, uint32_t rank, const uint64_t *shape, uint64_t *ret_bytes) {
    uint64_t total = bits;
    for (uint32_t i = 0; i < rank; i++)
        if (__builtin_mul_overflow(total, shape[i], &total))
            return false;
    if (total % 8 != 0)
        return false;
    *ret_bytes = total / 8;
    return true;
}

const char *tensor_shape_text(uint32_t rank, const uint64_t *shape, char *text, size_t bytes) {
    size_t used = (size_t)snprintf(text, bytes, "[");
    for (uint32_t i = 0; i < rank && used < bytes; i++)
        used += (size_t)snprintf(text + used, bytes - used, "%s%" PRIu64, i ? ", " : "", shape[i]);
    if (used < bytes)
        snprintf(text + used, bytes - used, "]");
    return text;
}

/* ---- one tensor's entry ---- */

static moesaic_status tensor_bad(moesaic_error *error, const char *path, const char *name, const char *why) {
    return status_set(error, MOESAIC_E_INPUT, "%s: tensor \"%.128s\": %s", path, name, why);
}

static moesaic_status read_type(const json_value *entry, const char *path, struct tensor *tensor, unsigned *ret_bits,
                                moesaic_error *error) {
    const char *name = json_text(json_get(entry, "dtype"), NULL);
    if (!name)
        return tensor_bad(error, path, tensor->name, "dtype is missing or not a string");
    const struct tensor_type_info *info = tensor_type_named(name);
    if (!info)
        return status_set(error, MOESAIC_E_INPUT, "%s: tensor \"%.128s\": unknown dtype \"%.32s\"", path, tensor->name,
                          name);
    tensor->type = info->type;
    tensor->type_name = info->name;
    *ret_bits = info->bits;
    return MOESAIC_OK;
}

static bool read_size(const json_value *value, uint64_t *ret_size) {
    if (json_kind_of(value) != JSON_KIND_INTEGER || json_int(value) < 0)
        return false;
    *ret_size = (uint64_t)json_int(value);
    return true;
}

static moesaic_status read_shape(const json_value *entry, const char *path, struct tensor *tensor,
                                 moesaic_error *error) {
    const json_value *shape = json_get(entry, "shape");
    if (json_kind_of(shape) != JSON_KIND_ARRAY)
        return tensor_bad(error, path, tensor->name, "shape is missing or not an array");
    size_t rank = json_count(shape);
    if (rank > SAFETENSORS_RANK_MAX)
        return status_set(error, MOESAIC_E_INPUT, "%s: tensor \"%.128s\": %zu dimensions where at most %d are allowed",
                          path, tensor->name, rank, SAFETENSORS_RANK_MAX);
    for (size_t i = 0; i < rank; i++)
        if (!read_size(json_at(shape, i), &tensor->shape[i]))
            return status_set(error, MOESAIC_E_INPUT,
                              "%s: tensor \"%.128s\": dimension %zu of the shape is not an integer >= 0", path,
                              tensor->name, i);
    tensor->rank = (uint32_t)rank;
    return MOESAIC_OK;
}

/* Sets data and bytes from data_offsets, which count from the end of the header. */
static moesaic_status read_offsets(const json_value *entry, const char *path, const uint8_t *data, uint64_t data_bytes,
                                   unsigned bits, struct tensor *tensor, moesaic_error *error) {
    const json_value *offsets = json_get(entry, "data_offsets");
    uint64_t begin, end, needed;
    if (json_kind_of(offsets) != JSON_KIND_ARRAY || json_count(offsets) != 2 ||
        !read_size(json_at(offsets, 0), &begin) || !read_size(json_at(offsets, 1), &end))
        return tensor_bad(error, path, tensor->name, "data_offsets is not an array of two integers >= 0");
    if (begin > end || end > data_bytes)
        return status_set(error, MOESAIC_E_INPUT,
                          "%s: tensor \"%.128s\": data_offsets [%" PRIu64 ", %" PRIu64
                          "] lie outside the file's %" PRIu64 " bytes of data",
                          path, tensor->name, begin, end, data_bytes);
    char text[200];
    tensor_shape_text(tensor->rank, tensor->shape, text, sizeof text);
    if (!tensor_bytes(bits, tensor->rank, tensor->shape, &needed))
        return status_set(error, MOESAIC_E_INPUT, "%s: tensor \"%.128s\": shape %s of %s has no size in bytes", path,
                          tensor->name, text, tensor->type_name);
    if (needed != end - begin)
        return status_set(error, MOESAIC_E_INPUT,
                          "%s: tensor \"%.128s\": %s %s takes %" PRIu64 " bytes but data_offsets [%" PRIu64 ", %" PRIu64
                          "] hold %" PRIu64,
                          path, tensor->name, tensor->type_name, text, needed, begin, end, end - begin);
    tensor->data = data + begin;
    tensor->bytes = needed;
    return MOESAIC_OK;
}

static moesaic_status read_entry(const json_value *entry, const char *path, const uint8_t *data, uint64_t data_bytes,
                                 struct tensor *tensor, moesaic_error *error) {
    if (json_kind_of(entry) != JSON_KIND_OBJECT)
        return tensor_bad(error, path, tensor->name, "its header entry is not an object");
    unsigned bits = 0;
    moesaic_status status = read_type(entry, path, tensor, &bits, error);
    if (status == MOESAIC_OK)
        status = read_shape(entry, path, tensor, error);
    if (status == MOESAIC_OK)
        status = read_offsets(entry, path, data, data_bytes, bits, tensor, error);
    return status;
}

/* ---- the whole header ---- */

/* Finds the header's JSON text: its length must fit the file and the format's own bound. */
static moesaic_status find_header(const struct file_map *map, const char *path, size_t *ret_bytes,
                                  moesaic_error *error) {
    if (map->bytes < HEADER_AT)
        return status_set(error, MOESAIC_E_INPUT, "%s: %zu bytes are too few for a safetensors header (offset 0)", path,
                          map->bytes);
    uint64_t bytes = 0;
    for (int i = HEADER_AT - 1; i >= 0; i--)
        bytes = bytes << 8 | map->data[i];
    if (bytes > SAFETENSORS_HEADER_MAX || bytes > map->bytes - HEADER_AT)
        return status_set(error, MOESAIC_E_INPUT,
                          "%s: the header length at offset 0 is %" PRIu64
                          ": the file has %zu bytes behind it and %d are "
                          "allowed",
                          path, bytes, map->bytes - HEADER_AT, SAFETENSORS_HEADER_MAX);
    if (bytes == 0 || map->data[HEADER_AT] != '{')
        return status_set(error, MOESAIC_E_INPUT, "%s: the header at offset %d does not begin with '{'", path,
                          HEADER_AT);
    *ret_bytes = (size_t)bytes;
    return MOESAIC_OK;
}

static moesaic_status check_metadata(const json_value *metadata, const char *path, moesaic_error *error) {
    if (json_kind_of(metadata) != JSON_KIND_OBJECT)
        return status_set(error, MOESAIC_E_INPUT, "%s: __metadata__ is not an object", path);
    void *cursor = NULL;
    const char *key;
    const json_value *value;
    while (json_next(metadata, &cursor, &key, &value))
        if (json_kind_of(value) != JSON_KIND_STRING)
            return status_set(error, MOESAIC_E_INPUT, "%s: __metadata__ key \"%.64s\" is not a string", path, key);
    return MOESAIC_OK;
}

static bool is_metadata(const char *key) {
    return strcmp(key, "__metadata__") == 0;
}

/* Counts the tensors and makes room for them and their names. Both are bounded by the size of the header. */
static moesaic_status make_room(struct safetensors *file, const json_value *header, const char *path,
                                moesaic_error *error) {
    size_t name_bytes = 1, count = 0;
    void *cursor = NULL;
    const char *key;
    const json_value *value;
    while (json_next(header, &cursor, &key, &value)) {
        if (is_metadata(key))
            continue;
        count++;
        name_bytes += strlen(key) + 1;
    }
    file->names = malloc(name_bytes);
    file->tensors = calloc(count + 1, sizeof *file->tensors);
    file->by_name = calloc(count + 1, sizeof *file->by_name);
    if (!file->names || !file->tensors || !file->by_name)
        return status_no_memory(error, path, name_bytes + count * (sizeof *file->tensors + sizeof *file->by_name));
    return MOESAIC_OK;
}

static moesaic_status read_tensors(struct safetensors *file, const json_value *header, size_t header_bytes,
                                   const char *path, moesaic_error *error) {
    const uint8_t *data = file->map.data + HEADER_AT + header_bytes;
    uint64_t data_bytes = file->map.bytes - HEADER_AT - header_bytes;
    char *name = file->names;
    void *cursor = NULL;
    const char *key;
    const json_value *value;
    while (json_next(header, &cursor, &key, &value)) {
        moesaic_status status;
        if (is_metadata(key)) {
            status = check_metadata(value, path, error);
        } else {
            struct tensor *tensor = &file->tensors[file->count++];
            size_t bytes = strlen(key) + 1;
            tensor->name = memcpy(name, key, bytes);
            name += bytes;
            status = read_entry(value, path, data, data_bytes, tensor, error);
        }
        if (status != MOESAIC_OK)
            return status;
    }
    return MOESAIC_OK;
}

static int compare_data(const void *a, const void *b) {
    const struct tensor *x = a, *y = b;
    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes); /* empty tensors stand before what begins at their place */
}

/* The data of all tensors must tile the rest of the file exactly. */
static moesaic_status check_tiling(struct safetensors *file, size_t header_bytes, const char *path,
                                   moesaic_error *error) {
    qsort(file->tensors, file->count, sizeof *file->tensors, compare_data);
    const uint8_t *start = file->map.data + HEADER_AT + header_bytes, *expected = start;
    for (size_t i = 0; i < file->count; i++) {
        const struct tensor *tensor = &file->tensors[i];
        if (tensor->data != expected)
            return status_set(
                error, MOESAIC_E_INPUT,
                "%s: tensor \"%.128s\": its data begins at offset %zu, %s the tensor before it, which ends "
                "at %zu",
                path, tensor->name, (size_t)(tensor->data - start),
                tensor->data < expected ? "inside" : "leaving a hole behind", (size_t)(expected - start));
        expected += tensor->bytes;
    }
    size_t left = (size_t)(file->map.data + file->map.bytes - expected);
    if (left > 0)
        return status_set(error, MOESAIC_E_INPUT, "%s: %zu bytes at the end belong to no tensor (data offset %zu)",
                          path, left, (size_t)(expected - start));
    return MOESAIC_OK;
}

static int compare_names(const void *a, const void *b) {
    const struct tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static void sort_names(struct safetensors *file) {
    for (size_t i = 0; i < file->count; i++)
        file->by_name[i] = &file->tensors[i];
    qsort(file->by_name, file->count, sizeof *file->by_name, compare_names);
}

static moesaic_status read_file(struct safetensors *file, const char *path, moesaic_error *error) {
    size_t header_bytes = 0;
    moesaic_status status = find_header(&file->map, path, &header_bytes, error);
    if (status != MOESAIC_OK)
        return status;
    const struct json_limits limits = {.max_bytes = SAFETENSORS_HEADER_MAX, .max_depth = 8, .reject_duplicates = true};
    json_value *header = NULL;
    status = json_parse((const char *)file->map.data + HEADER_AT, header_bytes, &limits, path, &header, error);
    if (status == MOESAIC_OK)
        status = make_room(file, header, path, error);
    if (status == MOESAIC_OK)
        status = read_tensors(file, header, header_bytes, path, error);
    if (status == MOESAIC_OK)
        status = check_tiling(file, header_bytes, path, error);
    if (status == MOESAIC_OK)
        sort_names(file);
    json_free(header);
    return status;
}

moesaic_status safetensors_open(const char *path, struct safetensors **ret_file, moesaic_error *error) {
    struct safetensors *file = calloc(1, sizeof *file);
    if (!file)
        return status_no_memory(error, path, sizeof *file);
    moesaic_status status = file_map_open(path, &file->map, error);
    if (status == MOESAIC_OK)
        status = read_file(file, path, error);
    if (status != MOESAIC_OK) {
        safetensors_close(file);
        return status;
    }
    *ret_file = file;
    return MOESAIC_OK;
}

void safetensors_close(struct safetensors *file) {
    if (!file)
        return;
    free(file->by_name);
    free(file->tensors);
    free(file->names);
    file_map_close(&file->map);
    free(file);
}

size_t safetensors_count(const struct safetensors *file) {
    return file->count;
}

const struct tensor *safetensors_at(const struct safetensors *file, size_t index) {
    return index < file->count ? &file->tensors[index] : NULL;
}

static int compare_name_to(const void *key, const void *element) {
    const struct tensor *const *tensor = element;
    return strcmp(key, (*tensor)->name);
}

const struct tensor *safetensors_find(const struct safetensors *file, const char *name) {
    const struct tensor *const *found =
        bsearch(name, file->by_name, file->count, sizeof *file->by_name, compare_name_to);
    return found ? *found : NULL;
}
