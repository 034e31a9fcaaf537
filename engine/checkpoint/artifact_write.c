/* SPDX-License-Identifier: Apache-2.0 */
/* Writing artifacts: runs as they are finished, a journal to go on from, the header last. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "artifact_internal.h"

struct writer_name {
    uint64_t offset;
    uint32_t bytes;
};

struct artifact_writer {
    char *path, *partial, *journal;
    char *draft; /* of the journal, while it is replaced */
    int file;
    uint64_t at; /* end of what is written */
    uint64_t fingerprint;
    struct artifact_run_record *run;
    struct artifact_tensor_record *tensor;
    struct artifact_file_record *carried;
    size_t runs, run_capacity, tensors, tensor_capacity, files, file_capacity;
    char *names;
    size_t names_bytes, names_capacity;
    XXH3_state_t *hash; /* of the run at hand */
    bool in_run, failed;
    json_value *notes; /* array */
};

static moesaic_status write_failed(struct artifact_writer *w, int why, moesaic_error *error) {
    w->failed = true;
    return status_set(error, MOESAIC_E_IO, "artifact: cannot write: %s (%s, offset %" PRIu64 ")", strerror(why),
                      w->partial, w->at);
}

static moesaic_status write_bytes(struct artifact_writer *w, const void *data, size_t bytes, moesaic_error *error) {
    for (const uint8_t *from = data; bytes;) {
        ssize_t wrote = pwrite(w->file, from, bytes, (off_t)w->at);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return write_failed(w, wrote ? errno : ENOSPC, error);
        if (w->in_run && XXH3_64bits_update(w->hash, from, (size_t)wrote) == XXH_ERROR)
            return write_failed(w, EINVAL, error);
        from += wrote;
        bytes -= (size_t)wrote;
        w->at += (uint64_t)wrote;
    }
    return MOESAIC_OK;
}

static moesaic_status pad_to(struct artifact_writer *w, size_t unit, moesaic_error *error) {
    static const uint8_t zeros[ARTIFACT_ALIGN];
    size_t pad = (unit - w->at % unit) % unit;
    return write_bytes(w, zeros, pad, error);
}

/* Room for one more element of `size` bytes behind `count`. */
static bool grow(void **io_array, size_t count, size_t *io_capacity, size_t size) {
    if (count < *io_capacity)
        return true;
    size_t capacity = *io_capacity ? *io_capacity * 2 : 64;
    void *larger = realloc(*io_array, capacity * size);
    if (!larger)
        return false;
    *io_array = larger;
    *io_capacity = capacity;
    return true;
}

static moesaic_status name_add(struct artifact_writer *w, const char *name, struct writer_name *ret,
                               moesaic_error *error) {
    size_t bytes = strlen(name);
    if (!bytes || bytes > ARTIFACT_NAME_MAX)
        return status_set(error, MOESAIC_E_USAGE, "artifact: a name of %zu bytes, expected 1 to %d", bytes,
                          ARTIFACT_NAME_MAX);
    while (w->names_capacity - w->names_bytes < bytes) {
        char *larger = realloc(w->names, w->names_capacity * 2 + ARTIFACT_NAME_MAX);
        if (!larger)
            return status_no_memory(error, "artifact names", w->names_capacity * 2);
        w->names = larger;
        w->names_capacity = w->names_capacity * 2 + ARTIFACT_NAME_MAX;
    }
    memcpy(w->names + w->names_bytes, name, bytes);
    *ret = (struct writer_name){w->names_bytes, (uint32_t)bytes};
    w->names_bytes += bytes;
    return MOESAIC_OK;
}

/* ---- the journal ------------------------------------------------------------------------------------------------- */

/* The tables so far as they will stand in the file, in hexadecimal, so that the journal is one JSON document. */
static json_value *hex_make(const void *data, size_t bytes) {
    static const char digits[] = "0123456789abcdef";
    char *text = malloc(bytes * 2 + 1);
    for (size_t i = 0; text && i < bytes; i++) {
        text[2 * i] = digits[((const uint8_t *)data)[i] >> 4];
        text[2 * i + 1] = digits[((const uint8_t *)data)[i] & 15];
    }
    json_value *value = text ? json_make_text(text, bytes * 2) : NULL;
    free(text);
    return value;
}

/* Bytes of a hexadecimal string that is a whole number of records; malloc'ed. NULL when it is not. */
static void *hex_read(const json_value *value, size_t record, size_t *ret_records) {
    size_t length;
    const char *text = json_text(value, &length);
    if (!text || length % (2 * record))
        return NULL;
    uint8_t *data = malloc(length / 2 + 1);
    for (size_t i = 0; data && i < length; i++) {
        const char *digits = "0123456789abcdef", *digit = text[i] ? strchr(digits, text[i]) : NULL;
        if (!digit) {
            free(data);
            return NULL;
        }
        data[i / 2] = (uint8_t)(i % 2 ? data[i / 2] | (digit - digits) : (digit - digits) << 4);
    }
    *ret_records = length / 2 / record;
    return data;
}

static moesaic_status journal_write(struct artifact_writer *w, uint32_t layers, moesaic_error *error) {
    char fingerprint[20];
    snprintf(fingerprint, sizeof fingerprint, "%016" PRIx64, w->fingerprint);
    json_value *root = json_make_object();
    size_t bytes, notes_bytes;
    char *notes_text = json_dump(w->notes, false, &notes_bytes);
    bool whole = json_put(root, "schema", json_make_text("moesaic.journal/1", 17)) &
                 json_put(root, "fingerprint", json_make_text(fingerprint, 16)) &
                 json_put(root, "layers", json_make_integer(layers)) &
                 json_put(root, "bytes", json_make_integer((int64_t)w->at)) &
                 json_put(root, "runs", hex_make(w->run, w->runs * sizeof *w->run)) &
                 json_put(root, "tensors", hex_make(w->tensor, w->tensors * sizeof *w->tensor)) &
                 json_put(root, "names", hex_make(w->names, w->names_bytes)) &
                 json_put(root, "notes", notes_text ? json_make_text(notes_text, notes_bytes) : NULL);
    char *text = whole ? json_dump(root, false, &bytes) : NULL;
    free(notes_text);
    json_free(root);
    if (!text)
        return status_no_memory(error, "artifact journal", 0);
    moesaic_status status = file_write_by(w->journal, w->draft, text, bytes, error);
    free(text);
    return status;
}

/* Whether the runs of the journal are in the partial file as they were written. */
static bool runs_are_there(const struct artifact_writer *w, uint64_t bytes) {
    struct file_map map;
    if (file_map_open(w->partial, &map, NULL))
        return false;
    bool there = map.bytes >= bytes;
    for (size_t i = 0; there && i < w->runs; i++)
        there = w->run[i].offset <= bytes && w->run[i].bytes <= bytes - w->run[i].offset &&
                XXH3_64bits(map.data + w->run[i].offset, w->run[i].bytes) == w->run[i].checksum;
    file_map_close(&map);
    return there;
}

static bool tables_are_sound(const struct artifact_writer *w, uint64_t bytes) {
    for (size_t i = 0; i < w->tensors; i++) {
        const struct artifact_tensor_record *t = &w->tensor[i];
        if (t->name_offset > w->names_bytes || t->name_bytes > w->names_bytes - t->name_offset || t->offset > bytes ||
            t->bytes > bytes - t->offset || t->run >= w->runs)
            return false;
    }
    return true;
}

static bool journal_take(struct artifact_writer *w, const json_value *root, uint32_t *ret_layers) {
    int64_t layers = -1, bytes = -1;
    size_t notes_bytes;
    const char *notes = json_text(json_get(root, "notes"), &notes_bytes);
    if (json_read_int(root, "layers", 0, CONFIG_LAYERS_MAX, "journal", &layers, NULL) ||
        json_read_int(root, "bytes", ARTIFACT_ALIGN, INT64_MAX, "journal", &bytes, NULL) || layers < 0 || bytes < 0 ||
        !notes)
        return false;
    w->run = hex_read(json_get(root, "runs"), sizeof *w->run, &w->runs);
    w->tensor = hex_read(json_get(root, "tensors"), sizeof *w->tensor, &w->tensors);
    w->names = hex_read(json_get(root, "names"), 1, &w->names_bytes);
    w->run_capacity = w->runs;
    w->tensor_capacity = w->tensors;
    w->names_capacity = w->names_bytes;
    json_value *parsed = NULL;
    if (!w->run || !w->tensor || !w->names || json_parse(notes, notes_bytes, NULL, "journal", &parsed, NULL))
        return false;
    json_free(w->notes);
    w->notes = parsed;
    w->at = (uint64_t)bytes;
    *ret_layers = (uint32_t)layers;
    return tables_are_sound(w, w->at) && runs_are_there(w, w->at);
}

static void tables_forget(struct artifact_writer *w) {
    free(w->run);
    free(w->tensor);
    free(w->names);
    json_free(w->notes);
    w->run = NULL;
    w->tensor = NULL;
    w->names = NULL;
    w->runs = w->run_capacity = w->tensors = w->tensor_capacity = w->names_bytes = w->names_capacity = 0;
    w->notes = json_make_array();
    w->at = ARTIFACT_ALIGN;
}

/* Goes on from the journal where it can; otherwise everything starts anew, whatever the journal says. */
static moesaic_status journal_resume(struct artifact_writer *w, uint32_t *ret_layers, moesaic_error *error) {
    json_value *root;
    char fingerprint[20];
    if (!file_is_regular(w->journal) || !file_is_regular(w->partial) || json_parse_file(w->journal, NULL, &root, NULL))
        return MOESAIC_OK;
    snprintf(fingerprint, sizeof fingerprint, "%016" PRIx64, w->fingerprint);
    const char *theirs = json_text(json_get(root, "fingerprint"), NULL);
    moesaic_status status = MOESAIC_OK;
    if (theirs && strcmp(theirs, fingerprint)) {
        status =
            status_set(error, MOESAIC_E_USAGE, "resume: what was begun had other inputs or options (%s)", w->journal);
    } else if (!theirs || !journal_take(w, root, ret_layers)) {
        tables_forget(w);
        *ret_layers = 0;
    }
    json_free(root);
    return status;
}

/* ---- the writer -------------------------------------------------------------------------------------------------- */

/* What stands beside the artifact until it is finished. */
enum { PARTIAL, JOURNAL, DRAFT, UNFINISHED };
static const char *const unfinished[UNFINISHED] = {".partial", ".journal", ".journal.tmp"};

static char *with_suffix(const char *path, const char *suffix) {
    char *text = malloc(strlen(path) + strlen(suffix) + 1);
    if (text) {
        memcpy(text, path, strlen(path));
        memcpy(text + strlen(path), suffix, strlen(suffix) + 1);
    }
    return text;
}

moesaic_status artifact_writer_open(const char *path, uint64_t fingerprint, bool resume,
                                    struct artifact_writer **ret_writer, uint32_t *ret_layers, moesaic_error *error) {
    struct artifact_writer *w = calloc(1, sizeof *w);
    if (!w)
        return status_no_memory(error, "artifact writer", sizeof *w);
    uint32_t layers = 0;
    moesaic_status status = MOESAIC_OK;
    w->file = -1;
    w->fingerprint = fingerprint;
    w->path = strdup(path);
    w->partial = with_suffix(path, unfinished[PARTIAL]);
    w->journal = with_suffix(path, unfinished[JOURNAL]);
    w->draft = with_suffix(path, unfinished[DRAFT]);
    w->hash = XXH3_createState();
    tables_forget(w);
    if (!w->path || !w->partial || !w->journal || !w->draft || !w->hash || !w->notes)
        status = status_no_memory(error, "artifact writer", strlen(path) * 4);
    if (!status && resume)
        status = journal_resume(w, &layers, error);
    if (!status) {
        w->file = open(w->partial, O_RDWR | O_CREAT | O_CLOEXEC | (layers ? 0 : O_TRUNC), 0666);
        /* What lies behind the journal's end was not finished. */
        if (w->file < 0 || ftruncate(w->file, (off_t)w->at))
            status = status_set(error, MOESAIC_E_IO, "artifact: cannot open for writing: %s (%s)", strerror(errno),
                                w->partial);
    }
    if (!status && !layers)
        unlink(w->journal);
    if (status) {
        artifact_writer_close(w);
        return status;
    }
    *ret_writer = w;
    *ret_layers = layers;
    return MOESAIC_OK;
}

moesaic_status artifact_writer_begin(struct artifact_writer *w, artifact_part part, uint32_t layer, uint32_t expert,
                                     moesaic_error *error) {
    moesaic_status status = pad_to(w, ARTIFACT_ALIGN, error);
    if (status)
        return status;
    if (!grow((void **)&w->run, w->runs, &w->run_capacity, sizeof *w->run))
        return status_no_memory(error, "artifact runs", w->runs * sizeof *w->run);
    w->run[w->runs++] = (struct artifact_run_record){(uint32_t)part, layer, expert, 0, w->at, 0, 0};
    XXH3_64bits_reset(w->hash);
    w->in_run = true;
    return MOESAIC_OK;
}

moesaic_status artifact_writer_tensor(struct artifact_writer *w, const char *name, const struct weight *weight,
                                      moesaic_error *error) {
    struct writer_name named;
    moesaic_status status = pad_to(w, ARTIFACT_TENSOR_ALIGN, error);
    if (!status)
        status = name_add(w, name, &named, error);
    if (status)
        return status;
    if (!grow((void **)&w->tensor, w->tensors, &w->tensor_capacity, sizeof *w->tensor))
        return status_no_memory(error, "artifact tensors", w->tensors * sizeof *w->tensor);
    w->tensor[w->tensors++] = (struct artifact_tensor_record){.name_offset = named.offset,
                                                              .name_bytes = named.bytes,
                                                              .run = (uint32_t)w->runs - 1,
                                                              .format = (uint16_t)weight->format,
                                                              .layout = (uint16_t)weight->layout,
                                                              .group = weight->group,
                                                              .rows = weight->rows,
                                                              .cols = weight->cols,
                                                              .offset = w->at,
                                                              .bytes = weight->bytes,
                                                              .factor = weight->factor};
    return write_bytes(w, weight->data, weight->bytes, error);
}

moesaic_status artifact_writer_end(struct artifact_writer *w, moesaic_error *error) {
    moesaic_status status = pad_to(w, ARTIFACT_TENSOR_ALIGN, error);
    struct artifact_run_record *run = &w->run[w->runs - 1];
    run->bytes = w->at - run->offset;
    run->checksum = XXH3_64bits_digest(w->hash);
    w->in_run = false;
    return status;
}

moesaic_status artifact_writer_checkpoint(struct artifact_writer *w, uint32_t layers, const json_value *notes,
                                          moesaic_error *error) {
    char *text = notes ? json_dump(notes, false, NULL) : NULL;
    json_value *copy = NULL;
    if (notes && (!text || json_parse(text, strlen(text), NULL, "notes", &copy, NULL))) {
        free(text);
        return status_no_memory(error, "artifact notes", 0);
    }
    free(text);
    if (copy && !json_push(w->notes, copy))
        return status_no_memory(error, "artifact notes", 0);
    if (fdatasync(w->file))
        return write_failed(w, errno, error);
    return journal_write(w, layers, error);
}

const json_value *artifact_writer_notes(const struct artifact_writer *w) {
    return w->notes;
}
static const struct artifact_tensor_record *tensor_find(const struct artifact_writer *w, const char *name) {
    size_t bytes = strlen(name);
    for (size_t i = 0; i < w->tensors; i++)
        if (w->tensor[i].name_bytes == bytes && !memcmp(w->names + w->tensor[i].name_offset, name, bytes))
            return &w->tensor[i];
    return NULL;
}

bool artifact_writer_has(const struct artifact_writer *w, const char *name) {
    return tensor_find(w, name) != NULL;
}

moesaic_status artifact_writer_read(struct artifact_writer *w, const char *name, struct weight *ret_weight,
                                    void **ret_memory, moesaic_error *error) {
    const struct artifact_tensor_record *t = tensor_find(w, name);
    if (!t)
        return status_set(error, MOESAIC_E_USAGE, "artifact: %s is not written yet (%s)", name, w->partial);
    uint8_t *data = memory_zeroed(t->bytes, 1);
    if (!data)
        return status_no_memory(error, name, t->bytes);
    struct weight weight = {.format = (number_format)t->format,
                            .layout = (weight_layout)t->layout,
                            .group = t->group,
                            .rows = t->rows,
                            .cols = t->cols,
                            .data = data,
                            .bytes = t->bytes,
                            .factor = t->factor};
    if (pread(w->file, data, t->bytes, (off_t)t->offset) != (ssize_t)t->bytes || weight_check(&weight, NULL)) {
        free(data);
        return status_set(error, MOESAIC_E_IO, "artifact: cannot read %s back (%s)", name, w->partial);
    }
    *ret_weight = weight;
    *ret_memory = data;
    return MOESAIC_OK;
}

moesaic_status artifact_writer_file(struct artifact_writer *w, const char *name, const void *data, size_t bytes,
                                    moesaic_error *error) {
    struct writer_name named;
    moesaic_status status = pad_to(w, ARTIFACT_TENSOR_ALIGN, error);
    if (!status)
        status = name_add(w, name, &named, error);
    if (status)
        return status;
    if (!grow((void **)&w->carried, w->files, &w->file_capacity, sizeof *w->carried))
        return status_no_memory(error, "artifact files", w->files * sizeof *w->carried);
    w->carried[w->files++] =
        (struct artifact_file_record){named.offset, named.bytes, 0, w->at, bytes, XXH3_64bits(data, bytes)};
    return write_bytes(w, data, bytes, error);
}

/* ---- the end ----------------------------------------------------------------------------------------------------- */

/* Appends a part of the tail to the file and to its checksum. */
static moesaic_status tail_write(struct artifact_writer *w, const void *data, size_t bytes, uint64_t *ret_offset,
                                 moesaic_error *error) {
    *ret_offset = w->at;
    moesaic_status status = write_bytes(w, data, bytes, error);
    return status ? status : pad_to(w, 8, error);
}

static moesaic_status header_write(struct artifact_writer *w, struct artifact_header *h, moesaic_error *error) {
    uint8_t block[ARTIFACT_ALIGN] = {0};
    h->file_bytes = w->at;
    h->header_checksum = XXH3_64bits(h, offsetof(struct artifact_header, header_checksum));
    memcpy(block, h, sizeof *h);
    w->at = 0;
    moesaic_status status = write_bytes(w, block, sizeof block, error);
    w->at = h->file_bytes;
    return status;
}

static moesaic_status tail_make(struct artifact_writer *w, const char *metadata, size_t metadata_bytes,
                                struct artifact_header *h, moesaic_error *error) {
    moesaic_status status = pad_to(w, ARTIFACT_TENSOR_ALIGN, error);
    XXH3_64bits_reset(w->hash);
    w->in_run = true; /* the checksum goes over the whole tail */
    h->metadata_bytes = metadata_bytes;
    h->runs = w->runs;
    h->tensors = w->tensors;
    h->files = w->files;
    h->names_bytes = w->names_bytes;
    if (!status)
        status = tail_write(w, metadata, metadata_bytes, &h->metadata_offset, error);
    if (!status)
        status = tail_write(w, w->run, w->runs * sizeof *w->run, &h->runs_offset, error);
    if (!status)
        status = tail_write(w, w->tensor, w->tensors * sizeof *w->tensor, &h->tensors_offset, error);
    if (!status)
        status = tail_write(w, w->carried, w->files * sizeof *w->carried, &h->files_offset, error);
    if (!status)
        status = tail_write(w, w->names, w->names_bytes, &h->names_offset, error);
    w->in_run = false;
    h->tail_checksum = XXH3_64bits_digest(w->hash);
    return status;
}

/* The folder's entry, so that the rename outlives a power cut. */
static void folder_sync(const char *path) {
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(folder);
}

moesaic_status artifact_writer_finish(struct artifact_writer *w, const json_value *metadata, moesaic_error *error) {
    struct artifact_header h = {.version = ARTIFACT_VERSION, .header_bytes = sizeof h};
    memcpy(h.magic, artifact_magic, sizeof h.magic);
    for (size_t i = 0; i < w->tensors; i++)
        if (artifact_factor_of(w->names + w->tensor[i].name_offset, w->tensor[i].name_bytes))
            h.incompatible = ARTIFACT_LOWRANK;
    size_t bytes;
    char *text = json_dump(metadata, false, &bytes);
    if (!text)
        return status_no_memory(error, "artifact metadata", 0);
    moesaic_status status = tail_make(w, text, bytes, &h, error);
    free(text);
    if (!status)
        status = header_write(w, &h, error);
    if (status)
        return status;
    if (fsync(w->file))
        return write_failed(w, errno, error);
    /* Advice: what the page cache holds in small pages is read anew when it is mapped, in huge ones (artifact_open). */
    (void)posix_fadvise(w->file, 0, 0, POSIX_FADV_DONTNEED);
    if (rename(w->partial, w->path))
        return status_set(error, MOESAIC_E_IO, "artifact: cannot rename to %s: %s", w->path, strerror(errno));
    folder_sync(w->path);
    unlink(w->journal);
    unlink(w->draft);
    return MOESAIC_OK;
}

void artifact_writer_close(struct artifact_writer *w) {
    if (!w)
        return;
    if (w->file >= 0)
        close(w->file);
    tables_forget(w);
    json_free(w->notes);
    free(w->carried);
    XXH3_freeState(w->hash);
    free(w->draft);
    free(w->journal);
    free(w->partial);
    free(w->path);
    free(w);
}

moesaic_status artifact_discard(const char *path, moesaic_error *error) {
    char name[PATH_MAX]; /* no memory is asked for: callers clean up behind any failure */
    moesaic_status status = MOESAIC_OK;
    for (int i = 0; i < UNFINISHED; i++) {
        if ((size_t)snprintf(name, sizeof name, "%s%s", path, unfinished[i]) >= sizeof name)
            errno = ENAMETOOLONG;
        else if (!unlink(name) || errno == ENOENT)
            continue;
        if (!status)
            status = status_set(error, MOESAIC_E_IO, "artifact: cannot remove: %s (%s)", strerror(errno), name);
    }
    return status;
}
