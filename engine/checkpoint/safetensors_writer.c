/* SPDX-License-Identifier: Apache-2.0 */
/* Writer of .safetensors files: a header of declared tensors, then their bytes, streamed; the file appears when whole.
 */
#include "checkpoint_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DATA_ALIGNMENT = 64 }; /* of the first tensor within the file, so that readers may map it as it lies */

struct safetensors_writer {
    char *path, *temporary;
    FILE *stream;
    json_value *header;
    uint64_t declared, written; /* bytes of data */
    bool header_written, failed;
};

static moesaic_status writer_failed(struct safetensors_writer *writer, const char *doing, moesaic_error *error) {
    char text[128];
    int code = errno;
    writer->failed = true;
    return status_set(error, MOESAIC_E_IO, "%s: cannot %s: %s", writer->path, doing,
                      strerror_r(code, text, sizeof text));
}

/* Creates a file that did not exist beside the path; rename would replace a device such as /dev/null. */
static moesaic_status writer_create(struct safetensors_writer *writer, size_t name_bytes, moesaic_error *error) {
    static _Atomic unsigned serial;
    struct stat info;
    if (stat(writer->path, &info) == 0 && !S_ISREG(info.st_mode))
        return status_set(error, MOESAIC_E_IO, "%s: exists and is not a regular file", writer->path);
    snprintf(writer->temporary, name_bytes, "%s.%ld-%u.tmp", writer->path, (long)getpid(),
             atomic_fetch_add(&serial, 1));
    int descriptor = open(writer->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor < 0)
        return writer_failed(writer, "create a file beside it", error);
    writer->stream = fdopen(descriptor, "wb");
    if (writer->stream)
        return MOESAIC_OK;
    close(descriptor);
    unlink(writer->temporary);
    return status_no_memory(error, writer->path, BUFSIZ);
}

moesaic_status safetensors_writer_open(const char *path, struct safetensors_writer **ret_writer, moesaic_error *error) {
    struct safetensors_writer *writer = calloc(1, sizeof *writer);
    if (!writer)
        return status_no_memory(error, path, sizeof *writer);
    size_t name_bytes = strlen(path) + 48;
    json_value *metadata = json_make_object();
    writer->path = strdup(path);
    writer->temporary = malloc(name_bytes);
    writer->header = json_make_object();
    bool made = json_put(metadata, "format", json_make_text("pt", 2)); /* transformers asks for it */
    made = json_put(writer->header, "__metadata__", made ? metadata : (json_free(metadata), NULL));
    moesaic_status status = made && writer->path && writer->temporary ? writer_create(writer, name_bytes, error)
                                                                      : status_no_memory(error, path, name_bytes);
    if (status != MOESAIC_OK) {
        safetensors_writer_close(writer);
        return status;
    }
    *ret_writer = writer;
    return MOESAIC_OK;
}

static moesaic_status put_entry(struct safetensors_writer *writer, const char *name, const char *type, uint32_t rank,
                                const uint64_t *shape, uint64_t bytes, moesaic_error *error) {
    json_value *entry = json_make_object(), *dimensions = json_make_array(), *offsets = json_make_array();
    bool made = true;
    for (uint32_t i = 0; i < rank; i++)
        made = json_push(dimensions, json_make_integer((int64_t)shape[i])) && made;
    made = json_push(offsets, json_make_integer((int64_t)writer->declared)) && made;
    made = json_push(offsets, json_make_integer((int64_t)(writer->declared + bytes))) && made;
    made = json_put(entry, "dtype", json_make_text(type, strlen(type))) && made;
    made = json_put(entry, "shape", dimensions) && made;
    made = json_put(entry, "data_offsets", offsets) && made;
    made = json_put(writer->header, name, entry) && made;
    writer->failed |= !made;
    return made ? MOESAIC_OK : status_no_memory(error, writer->path, strlen(name));
}

moesaic_status safetensors_writer_declare(struct safetensors_writer *writer, const char *name, tensor_type type,
                                          uint32_t rank, const uint64_t *shape, moesaic_error *error) {
    const struct tensor_type_info *info = tensor_type_of(type);
    uint64_t bytes = 0;
    if (!info || rank > SAFETENSORS_RANK_MAX || !tensor_bytes(info->bits, rank, shape, &bytes) ||
        bytes > (uint64_t)INT64_MAX - writer->declared)
        return status_set(error, MOESAIC_E_USAGE, "%s: tensor \"%.128s\" has a type or a shape that cannot be written",
                          writer->path, name);
    if (writer->header_written || json_get(writer->header, name))
        return status_set(error, MOESAIC_E_USAGE, "%s: tensor \"%.128s\" is declared %s", writer->path, name,
                          writer->header_written ? "after data was written" : "twice");
    for (size_t i = 0; name[i];) {
        unsigned span = utf8_span(name + i, strlen(name + i));
        if (span == 0)
            return status_set(error, MOESAIC_E_USAGE, "%s: a tensor's name is not UTF-8: \"%.128s\"", writer->path,
                              name);
        i += span;
    }
    moesaic_status status = put_entry(writer, name, info->name, rank, shape, bytes, error);
    if (status == MOESAIC_OK)
        writer->declared += bytes;
    return status;
}

static moesaic_status write_header(struct safetensors_writer *writer, moesaic_error *error) {
    size_t bytes = 0;
    char *text = json_dump(writer->header, false, &bytes);
    if (!text)
        return status_no_memory(error, writer->path, bytes);
    size_t padded = size_round_up(bytes + 8, DATA_ALIGNMENT) - 8;
    moesaic_status status = MOESAIC_OK;
    char blanks[DATA_ALIGNMENT];
    memset(blanks, ' ', sizeof blanks);
    uint8_t length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (uint8_t)((uint64_t)padded >> (8 * i));
    if (padded > SAFETENSORS_HEADER_MAX)
        status = status_set(error, MOESAIC_E_USAGE, "%s: too many tensors for one safetensors file", writer->path);
    else if (fwrite(length, 1, sizeof length, writer->stream) != sizeof length ||
             fwrite(text, 1, bytes, writer->stream) != bytes ||
             fwrite(blanks, 1, padded - bytes, writer->stream) != padded - bytes)
        status = writer_failed(writer, "write", error);
    free(text);
    writer->header_written = true;
    return status;
}

moesaic_status safetensors_writer_data(struct safetensors_writer *writer, const void *data, size_t bytes,
                                       moesaic_error *error) {
    if (bytes > writer->declared - writer->written)
        return status_set(error, MOESAIC_E_USAGE, "%s: %zu bytes of data where %" PRIu64 " more were declared",
                          writer->path, bytes, writer->declared - writer->written);
    moesaic_status status = writer->header_written ? MOESAIC_OK : write_header(writer, error);
    if (status == MOESAIC_OK && fwrite(data, 1, bytes, writer->stream) != bytes)
        status = writer_failed(writer, "write", error);
    if (status == MOESAIC_OK)
        writer->written += bytes;
    else
        writer->failed = true;
    return status;
}

moesaic_status safetensors_writer_finish(struct safetensors_writer *writer, moesaic_error *error) {
    if (writer->failed || !writer->stream || writer->written != writer->declared)
        return status_set(error, MOESAIC_E_USAGE,
                          "%s: finished after a failure, twice, or with %" PRIu64 " of %" PRIu64
                          " declared bytes written",
                          writer->path, writer->written, writer->declared);
    moesaic_status status = writer->header_written ? MOESAIC_OK : write_header(writer, error);
    if (status == MOESAIC_OK && (fflush(writer->stream) != 0 || fsync(fileno(writer->stream)) != 0))
        status = writer_failed(writer, "write", error);
    FILE *stream = writer->stream;
    writer->stream = NULL;
    if (fclose(stream) != 0 && status == MOESAIC_OK)
        status = writer_failed(writer, "write", error);
    if (status == MOESAIC_OK && rename(writer->temporary, writer->path) != 0)
        status = writer_failed(writer, "rename the new file to it", error);
    if (status != MOESAIC_OK)
        unlink(writer->temporary);
    return status;
}

void safetensors_writer_close(struct safetensors_writer *writer) {
    if (!writer)
        return;
    if (writer->stream) {
        fclose(writer->stream);
        unlink(writer->temporary);
    }
    json_free(writer->header);
    free(writer->temporary);
    free(writer->path);
    free(writer);
}
