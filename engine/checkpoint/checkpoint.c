/* SPDX-License-Identifier: Apache-2.0 */
/* Opens a checkpoint folder: configuration, one or many safetensors shards, every tensor by name. */
#include "checkpoint_internal.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONFIG_BYTES_MAX = 16 << 20, INDEX_BYTES_MAX = 64 << 20, SHARDS_MAX = 4096 };

static const char single_file[] = "model.safetensors", index_file[] = "model.safetensors.index.json";

static char *join_path(const char *folder, const char *name, moesaic_error *error) {
    size_t bytes = strlen(folder) + strlen(name) + 2;
    char *path = malloc(bytes);
    if (!path) {
        status_no_memory(error, folder, bytes);
        return NULL;
    }
    const char *slash = folder[0] && folder[strlen(folder) - 1] == '/' ? "" : "/";
    snprintf(path, bytes, "%s%s%s", folder, slash, name);
    return path;
}

static bool has_suffix(const char *text, const char *suffix) {
    size_t bytes = strlen(text), tail = strlen(suffix);
    return bytes >= tail && strcmp(text + bytes - tail, suffix) == 0;
}

/* ---- what else a path may be ---- */

/* A path that is no folder: says what it is, by content, and what to give instead. */
static moesaic_status refuse_file(const char *path, moesaic_error *error) {
    struct file_map map;
    moesaic_status status = file_map_open(path, &map, error);
    if (status != MOESAIC_OK)
        return status;
    if (map.bytes >= 4 && memcmp(map.data, "GGUF", 4) == 0)
        status = status_set(error, MOESAIC_E_UNSUPPORTED, "%s: GGUF files are not supported yet", path);
    else if (has_suffix(path, ".gguf"))
        status =
            status_set(error, MOESAIC_E_INPUT, "%s: not a GGUF file: the magic at offset 0 is \"%.*s\", not \"GGUF\"",
                       path, map.bytes < 4 ? (int)map.bytes : 4, (const char *)map.data);
    else if (has_suffix(path, ".safetensors"))
        status = status_set(error, MOESAIC_E_INPUT,
                            "%s: one safetensors file is no model: give the folder that holds it", path);
    else
        status =
            status_set(error, MOESAIC_E_INPUT, "%s: not a model: expected a checkpoint folder with config.json", path);
    file_map_close(&map);
    return status;
}

/* A folder without config.json may hold a GGUF file, of which there is more to say. */
static moesaic_status refuse_folder(const char *folder, moesaic_error *error) {
    char *path = NULL;
    DIR *stream = opendir(folder);
    moesaic_status status =
        status_set(error, MOESAIC_E_INPUT, "%s: holds no config.json, as a checkpoint folder does", folder);
    if (!stream)
        return status;
    for (struct dirent *entry = readdir(stream); entry && !path; entry = readdir(stream)) {
        if (!has_suffix(entry->d_name, ".gguf"))
            continue;
        path = join_path(folder, entry->d_name, error);
        status = path ? refuse_file(path, error) : MOESAIC_E_MEMORY;
    }
    closedir(stream);
    free(path);
    return status;
}

/* ---- configuration ---- */

static moesaic_status read_json_file(const char *folder, const char *name, bool optional, json_value **ret_root,
                                     char **ret_path, moesaic_error *error) {
    const struct json_limits limits = {.max_bytes = CONFIG_BYTES_MAX};
    char *path = join_path(folder, name, error);
    if (!path)
        return MOESAIC_E_MEMORY;
    moesaic_status status = MOESAIC_OK;
    if (file_is_regular(path))
        status = json_parse_file(path, &limits, ret_root, error);
    else if (!optional)
        status = refuse_folder(folder, error);
    if (status == MOESAIC_OK && ret_path)
        *ret_path = path;
    else
        free(path);
    return status;
}

static moesaic_status read_config(struct checkpoint *checkpoint, moesaic_error *error) {
    json_value *root = NULL, *generation = NULL;
    char *where = NULL;
    moesaic_status status = read_json_file(checkpoint->path, "config.json", false, &root, &where, error);
    if (status == MOESAIC_OK)
        status = read_json_file(checkpoint->path, "generation_config.json", true, &generation, NULL, error);
    if (status == MOESAIC_OK)
        status = config_read(root, generation, where, &checkpoint->config, error);
    json_free(generation);
    json_free(root);
    free(where);
    return status;
}

/* ---- shards ---- */

/* One line of the index: a tensor and the file that holds it. */
struct index_entry {
    const char *tensor, *file;
};

static int compare_entries(const void *a, const void *b) {
    const struct index_entry *x = a, *y = b;
    return strcmp(x->file, y->file);
}

/* Shards lie in the folder itself: a name with a separator could lead out of it. */
static bool is_plain_name(const char *name) {
    return has_suffix(name, ".safetensors") && name[0] != '.' && strlen(name) < 256 && !strchr(name, '/') &&
           !strchr(name, '\\');
}

static moesaic_status read_entries(const json_value *map, const char *where, struct index_entry *entries,
                                   moesaic_error *error) {
    void *cursor = NULL;
    const char *key;
    const json_value *value;
    size_t count = 0;
    while (json_next(map, &cursor, &key, &value)) {
        const char *file = json_text(value, NULL);
        if (!file)
            return status_set(error, MOESAIC_E_INPUT, "%s: weight_map: tensor \"%.128s\": its file is not a string",
                              where, key);
        if (!is_plain_name(file))
            return status_set(
                error, MOESAIC_E_INPUT,
                "%s: weight_map: tensor \"%.128s\": \"%.128s\" is not the name of a .safetensors file inside "
                "the folder",
                where, key, file);
        entries[count++] = (struct index_entry){key, file};
    }
    qsort(entries, count, sizeof *entries, compare_entries);
    return MOESAIC_OK;
}

static moesaic_status open_shard(struct checkpoint *checkpoint, const char *name, moesaic_error *error) {
    uint32_t shard = checkpoint->n_shards;
    char *path = join_path(checkpoint->path, name, error);
    if (!path)
        return MOESAIC_E_MEMORY;
    moesaic_status status = MOESAIC_OK;
    checkpoint->shard_names[shard] = strdup(name);
    if (!checkpoint->shard_names[shard])
        status = status_no_memory(error, path, strlen(name) + 1);
    else
        checkpoint->n_shards++;
    if (status == MOESAIC_OK && !file_is_regular(path))
        status = status_set(error, MOESAIC_E_INPUT, "%s: no such file, though %s names it", path, index_file);
    if (status == MOESAIC_OK)
        status = safetensors_open(path, &checkpoint->shards[shard], error);
    free(path);
    return status;
}

/* Opens each file that the sorted entries name and looks their tensors up in it. */
static moesaic_status open_entries(struct checkpoint *checkpoint, const struct index_entry *entries, size_t count,
                                   const char *where, moesaic_error *error) {
    size_t shards = 0;
    for (size_t i = 0; i < count; i++)
        shards += i == 0 || strcmp(entries[i].file, entries[i - 1].file) != 0;
    if (shards == 0 || shards > SHARDS_MAX)
        return status_set(error, MOESAIC_E_INPUT, "%s: weight_map names %zu files where 1 to %d are allowed", where,
                          shards, SHARDS_MAX);
    checkpoint->shard_names = calloc(shards, sizeof *checkpoint->shard_names);
    checkpoint->shards = calloc(shards, sizeof *checkpoint->shards);
    if (!checkpoint->shard_names || !checkpoint->shards)
        return status_no_memory(error, where, shards * 2 * sizeof(void *));
    moesaic_status status = MOESAIC_OK;
    for (size_t i = 0; i < count && status == MOESAIC_OK; i++) {
        if (i == 0 || strcmp(entries[i].file, entries[i - 1].file) != 0)
            status = open_shard(checkpoint, entries[i].file, error);
        if (status == MOESAIC_OK && !safetensors_find(checkpoint->shards[checkpoint->n_shards - 1], entries[i].tensor))
            status = status_set(error, MOESAIC_E_INPUT, "%s: weight_map: tensor \"%.128s\" is not in \"%.128s\"", where,
                                entries[i].tensor, entries[i].file);
    }
    return status;
}

static moesaic_status open_index(struct checkpoint *checkpoint, const char *where, moesaic_error *error) {
    const struct json_limits limits = {.max_bytes = INDEX_BYTES_MAX, .max_depth = 16, .reject_duplicates = true};
    json_value *root = NULL;
    struct index_entry *entries = NULL;
    moesaic_status status = json_parse_file(where, &limits, &root, error);
    if (status != MOESAIC_OK)
        return status;
    const json_value *map = json_get(root, "weight_map");
    size_t count = json_count(map);
    if (json_kind_of(map) != JSON_KIND_OBJECT) {
        status = status_set(error, MOESAIC_E_INPUT, "%s: key \"weight_map\" is missing or not an object", where);
        goto done;
    }
    entries = calloc(count + 1, sizeof *entries);
    if (!entries) {
        status = status_no_memory(error, where, (count + 1) * sizeof *entries);
        goto done;
    }
    status = read_entries(map, where, entries, error);
    if (status == MOESAIC_OK)
        status = open_entries(checkpoint, entries, count, where, error);
done:
    free(entries);
    json_free(root);
    return status;
}

/* model.safetensors, else what the index names. */
static moesaic_status open_shards(struct checkpoint *checkpoint, moesaic_error *error) {
    const struct index_entry single = {NULL, single_file};
    moesaic_status status = MOESAIC_E_MEMORY;
    char *single_path = join_path(checkpoint->path, single_file, error);
    char *index_path = single_path ? join_path(checkpoint->path, index_file, error) : NULL;
    if (!index_path)
        goto done;
    if (file_is_regular(single_path)) {
        checkpoint->shard_names = calloc(1, sizeof *checkpoint->shard_names);
        checkpoint->shards = calloc(1, sizeof *checkpoint->shards);
        if (!checkpoint->shard_names || !checkpoint->shards)
            status = status_no_memory(error, single_path, 2 * sizeof(void *));
        else
            status = open_shard(checkpoint, single.file, error);
    } else if (file_is_regular(index_path)) {
        status = open_index(checkpoint, index_path, error);
    } else {
        status = status_set(error, MOESAIC_E_INPUT, "%s: holds neither %s nor %s", checkpoint->path, single_file,
                            index_file);
    }
done:
    free(index_path);
    free(single_path);
    return status;
}

/* ---- tensors ---- */

static int compare_tensors(const void *a, const void *b) {
    const struct tensor *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* Copies the tensors of all shards into one list sorted by name; a name in two shards is an error. */
static moesaic_status gather_tensors(struct checkpoint *checkpoint, moesaic_error *error) {
    size_t count = 0;
    for (uint32_t i = 0; i < checkpoint->n_shards; i++)
        count += safetensors_count(checkpoint->shards[i]);
    checkpoint->tensors = calloc(count + 1, sizeof *checkpoint->tensors);
    if (!checkpoint->tensors)
        return status_no_memory(error, checkpoint->path, (count + 1) * sizeof *checkpoint->tensors);
    struct tensor *next = checkpoint->tensors;
    for (uint32_t i = 0; i < checkpoint->n_shards; i++) {
        for (size_t j = 0; j < safetensors_count(checkpoint->shards[i]); j++) {
            *next = *safetensors_at(checkpoint->shards[i], j);
            next++->shard = i;
        }
    }
    checkpoint->n_tensors = count;
    qsort(checkpoint->tensors, count, sizeof *checkpoint->tensors, compare_tensors);
    for (size_t i = 1; i < count; i++) {
        const struct tensor *a = &checkpoint->tensors[i - 1], *b = &checkpoint->tensors[i];
        if (strcmp(a->name, b->name) == 0)
            return status_set(error, MOESAIC_E_INPUT, "%s: tensor \"%.128s\" is both in %.100s and in %.100s",
                              checkpoint->path, a->name, checkpoint_shard_name(checkpoint, a->shard),
                              checkpoint_shard_name(checkpoint, b->shard));
    }
    return MOESAIC_OK;
}

/* A head that is stored though the configuration ties it to the embedding is what the reference computes with. */
static void untie_stored_head(struct checkpoint *checkpoint) {
    if (!checkpoint->config.tied_head || !checkpoint_find(checkpoint, "lm_head.weight") ||
        !checkpoint_find(checkpoint, "model.embed_tokens.weight"))
        return;
    checkpoint->config.tied_head = false;
    log_line(LOG_WARNING, "%s: config.json ties the head to the embedding, but lm_head.weight is stored and is used",
             checkpoint->path);
}

moesaic_status checkpoint_open(const char *path, struct checkpoint **ret_checkpoint, moesaic_error *error) {
    if (!file_is_folder(path))
        return refuse_file(path, error);
    struct checkpoint *checkpoint = calloc(1, sizeof *checkpoint);
    if (!checkpoint)
        return status_no_memory(error, path, sizeof *checkpoint);
    moesaic_status status = MOESAIC_OK;
    checkpoint->path = strdup(path);
    if (!checkpoint->path)
        status = status_no_memory(error, path, strlen(path) + 1);
    if (status == MOESAIC_OK)
        status = read_config(checkpoint, error);
    if (status == MOESAIC_OK)
        status = open_shards(checkpoint, error);
    if (status == MOESAIC_OK)
        status = gather_tensors(checkpoint, error);
    if (status != MOESAIC_OK)
        goto fail;
    untie_stored_head(checkpoint);
    status = checkpoint_check(checkpoint, error);
    if (status != MOESAIC_OK)
        goto fail;
    *ret_checkpoint = checkpoint;
    return MOESAIC_OK;
fail:
    checkpoint_close(checkpoint);
    return status;
}

void checkpoint_close(struct checkpoint *checkpoint) {
    if (!checkpoint)
        return;
    free(checkpoint->tensors);
    for (uint32_t i = 0; i < checkpoint->n_shards; i++) {
        safetensors_close(checkpoint->shards[i]);
        free(checkpoint->shard_names[i]);
    }
    free(checkpoint->shards);
    free(checkpoint->shard_names);
    free(checkpoint->path);
    free(checkpoint);
}

const char *checkpoint_path(const struct checkpoint *checkpoint) {
    return checkpoint->path;
}

const struct model_config *checkpoint_config(const struct checkpoint *checkpoint) {
    return &checkpoint->config;
}

size_t checkpoint_count(const struct checkpoint *checkpoint) {
    return checkpoint->n_tensors;
}

const struct tensor *checkpoint_at(const struct checkpoint *checkpoint, size_t index) {
    return index < checkpoint->n_tensors ? &checkpoint->tensors[index] : NULL;
}

static int compare_name_to(const void *key, const void *element) {
    return strcmp(key, ((const struct tensor *)element)->name);
}

const struct tensor *checkpoint_find(const struct checkpoint *checkpoint, const char *name) {
    return bsearch(name, checkpoint->tensors, checkpoint->n_tensors, sizeof *checkpoint->tensors, compare_name_to);
}

const char *checkpoint_shard_name(const struct checkpoint *checkpoint, uint32_t shard) {
    return shard < checkpoint->n_shards ? checkpoint->shard_names[shard] : "";
}

/* ---- checked tensors ---- */

moesaic_status checkpoint_tensor(const struct checkpoint *checkpoint, const char *name, uint32_t rank,
                                 const uint64_t *shape, const struct tensor **ret_tensor, moesaic_error *error) {
    const struct tensor *tensor = checkpoint_find(checkpoint, name);
    if (!tensor)
        return status_set(error, MOESAIC_E_INPUT, "%s: tensor \"%.128s\" is missing, though config.json implies it",
                          checkpoint->path, name);
    if (tensor->rank != rank || memcmp(tensor->shape, shape, rank * sizeof *shape) != 0) {
        char have[200], want[200];
        return status_set(error, MOESAIC_E_INPUT, "%s/%s: tensor \"%.128s\": shape %s where config.json implies %s",
                          checkpoint->path, checkpoint_shard_name(checkpoint, tensor->shard), name,
                          tensor_shape_text(tensor->rank, tensor->shape, have, sizeof have),
                          tensor_shape_text(rank, shape, want, sizeof want));
    }
    *ret_tensor = tensor;
    return MOESAIC_OK;
}

moesaic_status checkpoint_tensor_rows(const struct checkpoint *checkpoint, const struct tensor *tensor, uint64_t at,
                                      uint64_t rows, uint64_t cols, struct weight *ret_weight, moesaic_error *error) {
    number_format format;
    switch (tensor->type) {
    case TENSOR_F32:
        format = FORMAT_F32;
        break;
    case TENSOR_F16:
        format = FORMAT_F16;
        break;
    case TENSOR_BF16:
        format = FORMAT_BF16;
        break;
    default:
        return status_set(error, MOESAIC_E_UNSUPPORTED,
                          "%s/%s: tensor \"%.128s\": weights of type %s are not supported (F32, F16 and BF16 are)",
                          checkpoint->path, checkpoint_shard_name(checkpoint, tensor->shard), tensor->name,
                          tensor->type_name);
    }
    uint64_t element = format == FORMAT_F32 ? 4 : 2;
    *ret_weight = (struct weight){.format = format,
                                  .layout = LAYOUT_ROWS,
                                  .rows = rows,
                                  .cols = cols,
                                  .data = tensor->data + at * cols * element,
                                  .bytes = rows * cols * element,
                                  .factor = 1};
    return MOESAIC_OK;
}

moesaic_status checkpoint_weight(const struct checkpoint *checkpoint, const char *name, uint64_t rows, uint64_t cols,
                                 struct weight *ret_weight, moesaic_error *error) {
    const uint64_t shape[2] = {rows, cols};
    const struct tensor *tensor;
    moesaic_status status = checkpoint_tensor(checkpoint, name, cols ? 2 : 1, shape, &tensor, error);
    if (status != MOESAIC_OK)
        return status;
    return checkpoint_tensor_rows(checkpoint, tensor, 0, rows, cols ? cols : 1, ret_weight, error);
}

const char *const checkpoint_carried_files[] = {"config.json",
                                                "generation_config.json",
                                                "tokenizer.json",
                                                "tokenizer_config.json",
                                                "special_tokens_map.json",
                                                "chat_template.jinja",
                                                "LICENSE",
                                                "LICENSE.txt",
                                                "LICENSE.md",
                                                "NOTICE",
                                                NULL};
