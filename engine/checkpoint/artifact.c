/* SPDX-License-Identifier: Apache-2.0 */
/* Reading artifacts: the map, the header, the tables, and every check that using them relies on. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "artifact_internal.h"

/* More than any model has, and few enough that tables of this size are read without harm. */
enum { RUNS_MAX = 1 << 24, TENSORS_MAX = 1 << 26, FILES_MAX = 1 << 10, METADATA_MAX = 256 << 20 };

static moesaic_status refuse(const struct artifact *a, moesaic_error *error, const char *what, const char *why) {
    return status_set(error, MOESAIC_E_INPUT, "artifact: %s: %s (%s)", what, why, a->path);
}

/* Whether [offset, offset + bytes) lies in the file at or behind `begin`, offset a multiple of `unit`. */
static bool lies_in(const struct artifact *a, uint64_t begin, uint64_t offset, uint64_t bytes, uint64_t unit) {
    return offset >= begin && offset <= a->map.bytes && bytes <= a->map.bytes - offset && offset % unit == 0;
}

static bool table_lies_in(const struct artifact *a, uint64_t offset, uint64_t count, uint64_t limit, size_t record) {
    return count <= limit && lies_in(a, a->header.metadata_offset, offset, count * record, 8);
}

static moesaic_status header_check(struct artifact *a, moesaic_error *error) {
    struct artifact_header *h = &a->header;
    if (a->map.bytes < ARTIFACT_ALIGN)
        return refuse(a, error, "header", "the file is shorter than one");
    memcpy(h, a->map.data, sizeof *h);
    if (memcmp(h->magic, artifact_magic, sizeof artifact_magic))
        return refuse(a, error, "header", "not an artifact (magic at offset 0)");
    if (h->version != ARTIFACT_VERSION || h->header_bytes != sizeof *h)
        return status_set(error, MOESAIC_E_UNSUPPORTED, "artifact: version %" PRIu32 ", this program reads %d (%s)",
                          h->version, ARTIFACT_VERSION, a->path);
    if (XXH3_64bits(h, offsetof(struct artifact_header, header_checksum)) != h->header_checksum)
        return refuse(a, error, "header", "its checksum differs (offset 128)");
    if (h->incompatible & ~(uint64_t)ARTIFACT_LOWRANK)
        return status_set(error, MOESAIC_E_UNSUPPORTED, "artifact: unknown feature bits %#" PRIx64 " (%s)",
                          h->incompatible, a->path);
    if (h->file_bytes != a->map.bytes)
        return status_set(error, MOESAIC_E_INPUT, "artifact: the file has %zu bytes, its header says %" PRIu64 " (%s)",
                          a->map.bytes, h->file_bytes, a->path);
    if (!lies_in(a, ARTIFACT_ALIGN, h->metadata_offset, h->metadata_bytes, 8) || h->metadata_bytes > METADATA_MAX)
        return refuse(a, error, "metadata", "it lies outside the file");
    if (!table_lies_in(a, h->runs_offset, h->runs, RUNS_MAX, sizeof(struct artifact_run_record)) ||
        !table_lies_in(a, h->tensors_offset, h->tensors, TENSORS_MAX, sizeof(struct artifact_tensor_record)) ||
        !table_lies_in(a, h->files_offset, h->files, FILES_MAX, sizeof(struct artifact_file_record)) ||
        !lies_in(a, h->metadata_offset, h->names_offset, h->names_bytes, 1))
        return refuse(a, error, "tables", "they lie outside the file");
    const uint8_t *tail = a->map.data + h->metadata_offset;
    if (XXH3_64bits(tail, a->map.bytes - h->metadata_offset) != h->tail_checksum)
        return refuse(a, error, "tables", "their checksum differs");
    return MOESAIC_OK;
}

/* Copies a name behind the others in a->names; NULL when it is out of range or not one line of text. */
static char *name_take(const struct artifact *a, char **io_end, uint64_t offset, uint32_t bytes) {
    const struct artifact_header *h = &a->header;
    if (!bytes || bytes > ARTIFACT_NAME_MAX || offset > h->names_bytes || bytes > h->names_bytes - offset)
        return NULL;
    char *name = *io_end;
    memcpy(name, a->map.data + h->names_offset + offset, bytes);
    for (uint32_t i = 0; i < bytes; i++)
        if (name[i] < ' ' || name[i] > '~')
            return NULL;
    name[bytes] = 0;
    *io_end += bytes + 1;
    return name;
}

static moesaic_status runs_read(struct artifact *a, moesaic_error *error) {
    const uint8_t *at = a->map.data + a->header.runs_offset;
    for (uint64_t i = 0; i < a->header.runs; i++) {
        struct artifact_run_record r;
        char what[64];
        memcpy(&r, at + i * sizeof r, sizeof r);
        a->run[i] = (struct artifact_run){(artifact_part)r.part, r.layer, r.expert, r.offset, r.bytes, r.checksum};
        if (r.part > ARTIFACT_HEAD || !lies_in(a, ARTIFACT_ALIGN, r.offset, r.bytes, ARTIFACT_ALIGN)) {
            snprintf(what, sizeof what, "run %" PRIu64, i);
            return refuse(a, error, what, "it has an unknown kind or lies outside the file");
        }
    }
    return MOESAIC_OK;
}

static moesaic_status tensor_read(struct artifact *a, uint64_t i, char **io_names, moesaic_error *error) {
    struct artifact_tensor_record r;
    memcpy(&r, a->map.data + a->header.tensors_offset + i * sizeof r, sizeof r);
    char what[64];
    snprintf(what, sizeof what, "tensor %" PRIu64, i);
    const char *name = name_take(a, io_names, r.name_offset, r.name_bytes);
    if (!name)
        return refuse(a, error, what, "its name is out of range");
    if (r.run >= a->header.runs)
        return refuse(a, error, name, "it belongs to no run");
    const struct artifact_run *run = &a->run[r.run];
    if (r.offset % ARTIFACT_TENSOR_ALIGN || r.offset < run->offset || r.offset - run->offset > run->bytes ||
        r.bytes > run->bytes - (r.offset - run->offset))
        return refuse(a, error, name, "it lies outside its run");
    struct weight w = {.format = (number_format)r.format,
                       .layout = (weight_layout)r.layout,
                       .group = r.group,
                       .rows = r.rows,
                       .cols = r.cols,
                       .data = a->map.data + r.offset,
                       .bytes = r.bytes,
                       .factor = r.factor};
    moesaic_error why;
    if (weight_check(&w, &why))
        return refuse(a, error, name, why.message);
    a->tensor[i] = (struct artifact_tensor){name, r.run, w};
    return MOESAIC_OK;
}

static moesaic_status files_read(struct artifact *a, char **io_names, moesaic_error *error) {
    for (uint64_t i = 0; i < a->header.files; i++) {
        struct artifact_file_record r;
        memcpy(&r, a->map.data + a->header.files_offset + i * sizeof r, sizeof r);
        char *name = name_take(a, io_names, r.name_offset, r.name_bytes);
        if (!name || strchr(name, '/') || !lies_in(a, ARTIFACT_ALIGN, r.offset, r.bytes, 1))
            return refuse(a, error, "carried files", "a name or an offset is out of range");
        a->file[i] = (struct artifact_carried){name, a->map.data + r.offset, r.bytes, r.checksum};
    }
    return MOESAIC_OK;
}

static int by_name_compare(const void *x, const void *y, void *user) {
    const struct artifact_tensor *tensor = user;
    return strcmp(tensor[*(const uint32_t *)x].name, tensor[*(const uint32_t *)y].name);
}

static moesaic_status names_sort(struct artifact *a, moesaic_error *error) {
    for (uint32_t i = 0; i < a->header.tensors; i++)
        a->by_name[i] = i;
    qsort_r(a->by_name, a->header.tensors, sizeof *a->by_name, by_name_compare, a->tensor);
    for (uint64_t i = 1; i < a->header.tensors; i++)
        if (!strcmp(a->tensor[a->by_name[i]].name, a->tensor[a->by_name[i - 1]].name))
            return refuse(a, error, a->tensor[a->by_name[i]].name, "a second tensor of this name");
    return MOESAIC_OK;
}

/* ---- low-rank terms ---------------------------------------------------------------------------------------------- */

const char *const artifact_factor_suffix[2] = {".lowrank_left", ".lowrank_right"};

size_t artifact_factor_of(const char *name, size_t bytes) {
    for (int side = 0; side < 2; side++) {
        size_t suffix = strlen(artifact_factor_suffix[side]);
        if (bytes > suffix && !memcmp(name + bytes - suffix, artifact_factor_suffix[side], suffix))
            return bytes - suffix;
    }
    return 0;
}

bool artifact_is_factor(const struct artifact_tensor *tensor) {
    return artifact_factor_of(tensor->name, strlen(tensor->name)) > 0;
}

bool artifact_term(const struct artifact *a, const char *matrix, struct expert_term *ret_term) {
    const struct artifact_tensor *factor[2];
    for (int side = 0; side < 2; side++) {
        char name[ARTIFACT_NAME_MAX + 16];
        snprintf(name, sizeof name, "%s%s", matrix, artifact_factor_suffix[side]);
        factor[side] = a->factors ? artifact_find(a, name) : NULL;
        if (!factor[side])
            return false;
    }
    *ret_term = (struct expert_term){factor[0]->weight, factor[1]->weight};
    return true;
}

/* Every factor stands beside its matrix and the other factor. */
static moesaic_status terms_check(struct artifact *a, moesaic_error *error) {
    for (uint64_t i = 0; i < a->header.tensors; i++)
        a->factors += artifact_is_factor(&a->tensor[i]);
    for (uint64_t i = 0; i < a->header.tensors && a->factors; i++) {
        const struct artifact_tensor *t = &a->tensor[i], *matrix;
        char name[ARTIFACT_NAME_MAX + 1];
        struct expert_term term;
        if (!artifact_is_factor(t))
            continue;
        snprintf(name, sizeof name, "%.*s", (int)artifact_factor_of(t->name, strlen(t->name)), t->name);
        matrix = artifact_find(a, name);
        if (!matrix || matrix->run != t->run || !artifact_term(a, name, &term) ||
            !expert_term_fits(&term, &matrix->weight) || !(a->header.incompatible & ARTIFACT_LOWRANK))
            return refuse(a, error, t->name, "not a factor of the low-rank term of a matrix beside it");
    }
    return MOESAIC_OK;
}

static moesaic_status tables_read(struct artifact *a, moesaic_error *error) {
    const struct artifact_header *h = &a->header;
    /* Names of a hostile file may overlap: what is copied is bounded by what the file holds. */
    uint64_t wanted = 0;
    for (uint64_t i = 0; i < h->tensors; i++) {
        struct artifact_tensor_record r;
        memcpy(&r, a->map.data + h->tensors_offset + i * sizeof r, sizeof r);
        wanted += r.name_bytes;
    }
    if (wanted > h->names_bytes)
        return refuse(a, error, "tables", "the tensors' names are longer than the names");
    uint64_t names = wanted + h->tensors + h->files * (ARTIFACT_NAME_MAX + 1);
    a->run = calloc(h->runs + 1, sizeof *a->run);
    a->tensor = calloc(h->tensors + 1, sizeof *a->tensor);
    a->by_name = calloc(h->tensors + 1, sizeof *a->by_name);
    a->file = calloc(h->files + 1, sizeof *a->file);
    a->names = calloc(names + 1, 1);
    if (!a->run || !a->tensor || !a->by_name || !a->file || !a->names)
        return status_no_memory(error, "artifact tables", h->tensors * sizeof *a->tensor + names);
    char *end = a->names;
    moesaic_status status = runs_read(a, error);
    for (uint64_t i = 0; !status && i < h->tensors; i++)
        status = tensor_read(a, i, &end, error);
    if (!status)
        status = files_read(a, &end, error);
    if (!status)
        status = names_sort(a, error);
    return status ? status : terms_check(a, error);
}

static moesaic_status config_from_files(struct artifact *a, moesaic_error *error) {
    const char *text, *generation_text;
    size_t bytes, generation_bytes;
    char where[ARTIFACT_NAME_MAX + 64];
    struct json_limits limits = {.allow_nonfinite = true};
    json_value *root = NULL, *generation = NULL;
    snprintf(where, sizeof where, "%.*s: config.json", ARTIFACT_NAME_MAX, a->path);
    if (!artifact_file(a, "config.json", &text, &bytes))
        return refuse(a, error, "config.json", "it is not carried");
    moesaic_status status = json_parse(text, bytes, &limits, where, &root, error);
    if (!status && artifact_file(a, "generation_config.json", &generation_text, &generation_bytes))
        status = json_parse(generation_text, generation_bytes, &limits, where, &generation, error);
    if (!status)
        status = config_read(root, generation, where, &a->config, error);
    json_free(generation);
    json_free(root);
    return status;
}

/* Without stdio, whose want of memory would read as "not an artifact". */
bool artifact_recognized(const char *path) {
    uint8_t begin[sizeof artifact_magic] = {0};
    int file = file_is_regular(path) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return false;
    ssize_t got = read(file, begin, sizeof begin);
    close(file);
    return got == (ssize_t)sizeof begin && !memcmp(begin, artifact_magic, sizeof begin);
}

moesaic_status artifact_open(const char *path, struct artifact **ret_artifact, moesaic_error *error) {
    struct artifact *a = calloc(1, sizeof *a);
    if (!a)
        return status_no_memory(error, "artifact", sizeof *a);
    a->path = strdup(path);
    moesaic_status status =
        a->path ? file_map_open(path, &a->map, error) : status_no_memory(error, "path", strlen(path));
    if (!status) {
        file_map_huge(&a->map);
        status = header_check(a, error);
    }
    if (!status) {
        const char *metadata = (const char *)a->map.data + a->header.metadata_offset;
        status = json_parse(metadata, a->header.metadata_bytes, NULL, path, &a->metadata, error);
    }
    if (!status)
        status = tables_read(a, error);
    if (!status)
        status = config_from_files(a, error);
    if (status) {
        artifact_close(a);
        return status;
    }
    *ret_artifact = a;
    return MOESAIC_OK;
}

void artifact_close(struct artifact *a) {
    if (!a)
        return;
    json_free(a->metadata);
    free(a->names);
    free(a->file);
    free(a->by_name);
    free(a->tensor);
    free(a->run);
    file_map_close(&a->map);
    free(a->path);
    free(a);
}

const char *artifact_path(const struct artifact *a) {
    return a->path;
}
const struct model_config *artifact_config(const struct artifact *a) {
    return &a->config;
}
const json_value *artifact_metadata(const struct artifact *a) {
    return a->metadata;
}
uint64_t artifact_bytes(const struct artifact *a) {
    return a->map.bytes;
}
size_t artifact_runs(const struct artifact *a) {
    return a->header.runs;
}
const struct artifact_run *artifact_run_at(const struct artifact *a, size_t index) {
    return &a->run[index];
}
size_t artifact_tensors(const struct artifact *a) {
    return a->header.tensors;
}
const struct artifact_tensor *artifact_tensor_at(const struct artifact *a, size_t index) {
    return &a->tensor[index];
}
size_t artifact_files(const struct artifact *a) {
    return a->header.files;
}
const char *artifact_file_name(const struct artifact *a, size_t index) {
    return a->file[index].name;
}

const struct artifact_tensor *artifact_find(const struct artifact *a, const char *name) {
    size_t low = 0, high = a->header.tensors;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, a->tensor[a->by_name[middle]].name);
        if (!order)
            return &a->tensor[a->by_name[middle]];
        *(order < 0 ? &high : &low) = order < 0 ? middle : middle + 1;
    }
    return NULL;
}

moesaic_status artifact_tensor(const struct artifact *a, const char *name, uint32_t rank, const uint64_t *shape,
                               const struct artifact_tensor **ret_tensor, moesaic_error *error) {
    const struct artifact_tensor *t = artifact_find(a, name);
    if (!t)
        return refuse(a, error, name, "the tensor is missing, though config.json implies it");
    if (rank > 2 || t->weight.rows != shape[0] || t->weight.cols != (rank == 2 ? shape[1] : 1))
        return status_set(error, MOESAIC_E_INPUT,
                          "artifact: %s: shape [%" PRIu64 ", %" PRIu64 "] is not what config.json implies (%s)", name,
                          t->weight.rows, t->weight.cols, a->path);
    *ret_tensor = t;
    return MOESAIC_OK;
}

bool artifact_file(const struct artifact *a, const char *name, const char **ret_data, size_t *ret_bytes) {
    for (uint64_t i = 0; i < a->header.files; i++) {
        if (strcmp(a->file[i].name, name))
            continue;
        *ret_data = (const char *)a->file[i].data;
        *ret_bytes = a->file[i].bytes;
        return true;
    }
    return false;
}

const char *artifact_run_text(const struct artifact_run *run, char *text, size_t bytes) {
    switch (run->part) {
    case ARTIFACT_EMBEDDING:
        snprintf(text, bytes, "the embedding");
        break;
    case ARTIFACT_LAYER:
        snprintf(text, bytes, "layer %" PRIu32, run->layer);
        break;
    case ARTIFACT_EXPERT:
        snprintf(text, bytes, "expert %" PRIu32 " of layer %" PRIu32, run->expert, run->layer);
        break;
    case ARTIFACT_HEAD:
        snprintf(text, bytes, "the head");
        break;
    }
    return text;
}

/* The bytes between *io_at and the next part, at `begin`, are filling: zero. Moves *io_at behind the part. */
static moesaic_status filling_check(const struct artifact *a, uint64_t *io_at, uint64_t begin, uint64_t bytes,
                                    moesaic_error *error) {
    for (uint64_t at = *io_at; at < begin; at++)
        if (a->map.data[at])
            return status_set(error, MOESAIC_E_INPUT,
                              "artifact: a byte between the parts is not zero (%s, offset %" PRIu64 ")", a->path, at);
    if (begin < *io_at)
        return status_set(error, MOESAIC_E_INPUT,
                          "artifact: parts overlap or are out of order (%s, offset %" PRIu64 ")", a->path, begin);
    *io_at = begin + bytes;
    return MOESAIC_OK;
}

moesaic_status artifact_verify(const struct artifact *a, moesaic_error *error) {
    char what[80];
    uint64_t at = a->header.header_bytes;
    moesaic_status status = MOESAIC_OK;
    for (uint64_t i = 0; !status && i < a->header.runs; i++) {
        const struct artifact_run *run = &a->run[i];
        if (XXH3_64bits(a->map.data + run->offset, run->bytes) != run->checksum)
            return status_set(error, MOESAIC_E_INPUT, "artifact: %s: its checksum differs (%s, offset %" PRIu64 ")",
                              artifact_run_text(run, what, sizeof what), a->path, run->offset);
        status = filling_check(a, &at, run->offset, run->bytes, error);
    }
    for (uint64_t i = 0; !status && i < a->header.files; i++) {
        const struct artifact_carried *file = &a->file[i];
        if (XXH3_64bits(file->data, file->bytes) != file->checksum)
            return refuse(a, error, file->name, "its checksum differs");
        status = filling_check(a, &at, (uint64_t)(file->data - a->map.data), file->bytes, error);
    }
    return status ? status : filling_check(a, &at, a->header.metadata_offset, 0, error);
}
