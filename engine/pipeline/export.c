/* SPDX-License-Identifier: Apache-2.0 */
/* Export: a model as a Hugging Face folder, its packed weights (with low-rank terms) as plain BF16 and its pruning as
 * masks. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "pipeline.h"

enum { PATH_BYTES = 4096, SHARD_BYTES_LOG2 = 31, ROWS_BUFFER_BYTES = 4 << 20 };

/* One tensor to be written, of a checkpoint or of an artifact. */
struct export_tensor {
    const char *name;
    tensor_type type;
    uint32_t rank;
    uint64_t shape[8];
    uint64_t bytes;
    const uint8_t *data; /* a checkpoint's bytes as they are; NULL: `weight` is dequantized */
    const struct weight *weight;
    struct expert_term term; /* added to it */
};

struct exporter {
    const struct model *model;
    const char *path;
    struct export_tensor *tensor;
    size_t tensors, shards;
    moesaic_progress_callback *progress;
    void *user;
    uint64_t done, total;
    moesaic_export_result result;
};

static moesaic_status path_join(const struct exporter *e, const char *name, char path[PATH_BYTES],
                                moesaic_error *error) {
    if ((size_t)snprintf(path, PATH_BYTES, "%s/%s", e->path, name) < PATH_BYTES)
        return MOESAIC_OK;
    return status_set(error, MOESAIC_E_USAGE, "export: the path is too long (%.64s...)", e->path);
}

static moesaic_status folder_make(const char *path, moesaic_error *error) {
    if (mkdir(path, 0777) == 0)
        return MOESAIC_OK;
    if (errno != EEXIST)
        return status_set(error, MOESAIC_E_IO, "export: cannot make the folder: %s (%s)", strerror(errno), path);
    DIR *folder = opendir(path);
    if (!folder)
        return status_set(error, MOESAIC_E_IO, "export: cannot open the folder: %s (%s)", strerror(errno), path);
    bool empty = true;
    for (struct dirent *entry; (entry = readdir(folder));)
        empty &= !strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..");
    closedir(folder);
    return empty ? MOESAIC_OK : status_set(error, MOESAIC_E_USAGE, "export: the folder is not empty (%s)", path);
}

/* ---- files beside the weights ------------------------------------------------------------------------------------ */

static moesaic_status file_write(struct exporter *e, const char *name, const void *data, size_t bytes,
                                 moesaic_error *error) {
    char path[PATH_BYTES];
    moesaic_status status = path_join(e, name, path, error);
    if (!status)
        status = file_write_atomic(path, data, bytes, error);
    e->result.files += !status;
    e->result.bytes += status ? 0 : bytes;
    return status;
}

static moesaic_status files_copy(struct exporter *e, moesaic_error *error) {
    moesaic_status status = MOESAIC_OK;
    const struct artifact *artifact = model_artifact(e->model);
    for (size_t i = 0; artifact && !status && i < artifact_files(artifact); i++) {
        const char *data;
        size_t bytes;
        if (artifact_file(artifact, artifact_file_name(artifact, i), &data, &bytes))
            status = file_write(e, artifact_file_name(artifact, i), data, bytes, error);
    }
    for (size_t i = 0; !artifact && !status && checkpoint_carried_files[i]; i++) {
        char path[PATH_BYTES];
        struct file_map file;
        int length = snprintf(path, sizeof path, "%s/%s", checkpoint_path(model_checkpoint(e->model)),
                              checkpoint_carried_files[i]);
        if ((size_t)length >= sizeof path || !file_is_regular(path))
            continue;
        status = file_map_open(path, &file, error);
        if (status)
            break;
        status = file_write(e, checkpoint_carried_files[i], file.data, file.bytes, error);
        file_map_close(&file);
    }
    return status;
}

/* ---- tensors ----------------------------------------------------------------------------------------------------- */

static moesaic_status tensors_of_checkpoint(struct exporter *e, const struct checkpoint *c, moesaic_error *error) {
    e->tensors = checkpoint_count(c);
    e->tensor = calloc(e->tensors + 1, sizeof *e->tensor);
    if (!e->tensor)
        return status_no_memory(error, "export", e->tensors * sizeof *e->tensor);
    for (size_t i = 0; i < e->tensors; i++) {
        const struct tensor *t = checkpoint_at(c, i);
        struct export_tensor *out = &e->tensor[i];
        if (t->type == TENSOR_OTHER)
            return status_set(error, MOESAIC_E_UNSUPPORTED, "export: %s has a type that cannot be written", t->name);
        *out = (struct export_tensor){
            .name = t->name, .type = t->type, .rank = t->rank, .bytes = t->bytes, .data = t->data};
        memcpy(out->shape, t->shape, sizeof out->shape);
    }
    return MOESAIC_OK;
}

static moesaic_status tensors_of_artifact(struct exporter *e, const struct artifact *a, moesaic_error *error) {
    size_t count = artifact_tensors(a);
    e->tensor = calloc(count + 1, sizeof *e->tensor);
    if (!e->tensor)
        return status_no_memory(error, "export", count * sizeof *e->tensor);
    for (size_t i = 0; i < count; i++) {
        const struct artifact_tensor *t = artifact_tensor_at(a, i);
        const struct weight *w = &t->weight;
        if (artifact_is_factor(t))
            continue;
        struct export_tensor *out = &e->tensor[e->tensors++];
        *out = (struct export_tensor){.name = t->name,
                                      .type = TENSOR_BF16,
                                      .rank = w->cols == 1 ? 1 : 2,
                                      .shape = {w->rows, w->cols},
                                      .bytes = w->rows * w->cols * 2,
                                      .weight = w};
        artifact_term(a, t->name, &out->term);
    }
    return MOESAIC_OK;
}

static moesaic_status dequantized_write(struct safetensors_writer *writer, const struct export_tensor *t,
                                        moesaic_error *error) {
    const struct weight *w = t->weight;
    uint64_t rows = ROWS_BUFFER_BYTES / (w->cols * sizeof(float)) + 1;
    rows = rows < w->rows ? rows : w->rows;
    float *values = calloc(rows * w->cols, sizeof *values);
    if (!values)
        return status_no_memory(error, "export", rows * w->cols * sizeof *values);
    moesaic_status status = MOESAIC_OK;
    for (uint64_t row = 0; !status && row < w->rows; row += rows) {
        uint64_t end = w->rows - row < rows ? w->rows : row + rows, count = (end - row) * w->cols;
        weight_dequantize(w, row, end, values);
        if (t->term.left.data)
            expert_term_sum(&t->term, row, end, values);
        /* In place: the i-th half lies in front of the i-th float's end. */
        uint16_t *halves = (uint16_t *)values;
        for (uint64_t i = 0; i < count; i++) {
            uint16_t half = bfloat_from_float(values[i]);
            memcpy(&halves[i], &half, sizeof half);
        }
        status = safetensors_writer_data(writer, halves, count * 2, error);
    }
    free(values);
    return status;
}

/* First tensor behind the shard that begins with `begin`. */
static size_t shard_end(const struct exporter *e, size_t begin) {
    uint64_t bytes = 0;
    size_t end = begin;
    while (end < e->tensors && (end == begin || bytes + e->tensor[end].bytes <= (uint64_t)1 << SHARD_BYTES_LOG2))
        bytes += e->tensor[end++].bytes;
    return end;
}

static void shard_name(const struct exporter *e, size_t shard, char name[64]) {
    if (e->shards == 1)
        snprintf(name, 64, "model.safetensors");
    else
        snprintf(name, 64, "model-%05zu-of-%05zu.safetensors", shard + 1, e->shards);
}

static moesaic_status shard_data(struct exporter *e, struct safetensors_writer *writer, size_t begin, size_t end,
                                 moesaic_error *error) {
    moesaic_status status = MOESAIC_OK;
    for (size_t i = begin; !status && i < end; i++) {
        const struct export_tensor *t = &e->tensor[i];
        if (e->progress && e->progress(e->user, e->done, e->total))
            return status_set(error, MOESAIC_E_CANCELLED, "export: cancelled");
        status = t->data ? safetensors_writer_data(writer, t->data, t->bytes, error)
                         : dequantized_write(writer, t, error);
        e->done += t->bytes;
    }
    return status;
}

static moesaic_status shard_write(struct exporter *e, size_t shard, size_t begin, size_t end, moesaic_error *error) {
    char name[64], path[PATH_BYTES];
    struct safetensors_writer *writer;
    shard_name(e, shard, name);
    moesaic_status status = path_join(e, name, path, error);
    if (!status)
        status = safetensors_writer_open(path, &writer, error);
    if (status)
        return status;
    for (size_t i = begin; !status && i < end; i++)
        status = safetensors_writer_declare(writer, e->tensor[i].name, e->tensor[i].type, e->tensor[i].rank,
                                            e->tensor[i].shape, error);
    if (!status)
        status = shard_data(e, writer, begin, end, error);
    if (!status)
        status = safetensors_writer_finish(writer, error);
    safetensors_writer_close(writer);
    e->result.files += !status;
    return status;
}

static moesaic_status index_write(struct exporter *e, moesaic_error *error) {
    json_value *root = json_make_object(), *metadata = json_make_object(), *map = json_make_object();
    bool whole = json_put(metadata, "total_size", json_make_integer((int64_t)e->total));
    for (size_t shard = 0, begin = 0, end; begin < e->tensors; shard++, begin = end) {
        char name[64];
        shard_name(e, shard, name);
        end = shard_end(e, begin);
        for (size_t i = begin; i < end; i++)
            whole &= json_put(map, e->tensor[i].name, json_make_text(name, strlen(name)));
    }
    whole &= json_put(root, "metadata", metadata);
    whole &= json_put(root, "weight_map", map);
    size_t bytes;
    char *text = whole ? json_dump(root, true, &bytes) : NULL;
    json_free(root);
    moesaic_status status = text ? file_write(e, "model.safetensors.index.json", text, bytes, error)
                                 : status_no_memory(error, "export index", 0);
    free(text);
    return status;
}

static moesaic_status weights_write(struct exporter *e, moesaic_error *error) {
    moesaic_status status = MOESAIC_OK;
    for (size_t begin = 0; begin < e->tensors; begin = shard_end(e, begin))
        e->shards++;
    for (size_t i = 0; i < e->tensors; i++)
        e->total += e->tensor[i].bytes;
    for (size_t shard = 0, begin = 0, end; !status && begin < e->tensors; shard++, begin = end) {
        end = shard_end(e, begin);
        status = shard_write(e, shard, begin, end, error);
    }
    e->result.bytes += e->done;
    return status || e->shards == 1 ? status : index_write(e, error);
}

/* ---- masks ------------------------------------------------------------------------------------------------------- */

static bool is_masked(const struct weight *w) {
    return w->format == FORMAT_INT4_24 || w->format == FORMAT_INT4_48 || w->format == FORMAT_INT4_MASK;
}

static moesaic_status mask_data(struct safetensors_writer *writer, const struct weight *w, moesaic_error *error) {
    struct quant_rows *rows;
    moesaic_status status = weight_unpack(w, &rows, error);
    if (status)
        return status;
    status = safetensors_writer_data(writer, rows->mask, rows->rows * rows->cols, error);
    quant_rows_destroy(rows);
    return status;
}

/* masks.safetensors: NAME U8 [rows, cols], 1 where the matrix NAME keeps its weight. */
static moesaic_status masks_write(struct exporter *e, moesaic_error *error) {
    char path[PATH_BYTES];
    struct safetensors_writer *writer;
    moesaic_status status = path_join(e, "masks.safetensors", path, error);
    if (!status)
        status = safetensors_writer_open(path, &writer, error);
    if (status)
        return status;
    for (size_t i = 0; !status && i < e->tensors; i++)
        if (is_masked(e->tensor[i].weight))
            status = safetensors_writer_declare(writer, e->tensor[i].name, TENSOR_U8, 2, e->tensor[i].shape, error);
    for (size_t i = 0; !status && i < e->tensors; i++) {
        if (!is_masked(e->tensor[i].weight))
            continue;
        status = mask_data(writer, e->tensor[i].weight, error);
        e->result.bytes += e->tensor[i].bytes / 2;
    }
    if (!status)
        status = safetensors_writer_finish(writer, error);
    safetensors_writer_close(writer);
    e->result.files += !status;
    return status;
}

static bool has_masks(const struct exporter *e) {
    for (size_t i = 0; i < e->tensors; i++)
        if (e->tensor[i].weight && is_masked(e->tensor[i].weight))
            return true;
    return false;
}

moesaic_status pipeline_export(const struct model *model, const char *path, moesaic_progress_callback *progress,
                               void *user, moesaic_export_result *ret_result, moesaic_error *error) {
    struct exporter e = {.model = model, .path = path, .progress = progress, .user = user};
    const struct artifact *artifact = model_artifact(model);
    moesaic_status status = folder_make(path, error);
    if (!status)
        status = artifact ? tensors_of_artifact(&e, artifact, error)
                          : tensors_of_checkpoint(&e, model_checkpoint(model), error);
    if (!status)
        status = files_copy(&e, error);
    if (!status)
        status = weights_write(&e, error);
    if (!status && has_masks(&e))
        status = masks_write(&e, error);
    free(e.tensor);
    if (!status)
        *ret_result = e.result;
    return status;
}
