/* SPDX-License-Identifier: Apache-2.0 */
/* Temporary checkpoint folders for tests. */
#include "checkpoint_folder.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *joined(const char *folder, const char *name) {
    static char buffers[4][2048];
    static unsigned turn;
    char *buffer = buffers[turn++ % 4];
    snprintf(buffer, sizeof buffers[0], "%s/%s", folder, name);
    return buffer;
}

struct folder folder_make(void) {
    struct folder folder;
    snprintf(folder.path, sizeof folder.path, "%s/moesaic-test-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    cr_assert_not_null(mkdtemp(folder.path));
    return folder;
}

const char *folder_file(const struct folder *folder, const char *name) {
    return joined(folder->path, name);
}

const char *data_path(const char *relative) {
    const char *root = getenv("MOESAIC_TEST_DATA");
    cr_assert_not_null(root, "MOESAIC_TEST_DATA is not set");
    return joined(root, relative);
}

void folder_remove(const struct folder *folder) {
    DIR *stream = opendir(folder->path);
    cr_assert_not_null(stream);
    for (struct dirent *entry = readdir(stream); entry; entry = readdir(stream))
        if (entry->d_name[0] != '.')
            cr_assert_eq(unlink(folder_file(folder, entry->d_name)), 0, "%s", entry->d_name);
    closedir(stream);
    cr_assert_eq(rmdir(folder->path), 0);
}

void folder_write(const struct folder *folder, const char *name, const void *data, size_t bytes) {
    unlink(folder_file(folder, name)); /* never through a link into the test data */
    FILE *stream = fopen(folder_file(folder, name), "wb");
    cr_assert_not_null(stream);
    cr_assert_eq(fwrite(data, 1, bytes, stream), bytes);
    cr_assert_eq(fclose(stream), 0);
}

void folder_copy(const struct folder *folder, const char *from, const char *name) {
    struct file_map map;
    cr_assert_eq(file_map_open(from, &map, NULL), MOESAIC_OK, "%s", from);
    folder_write(folder, name, map.data, map.bytes);
    file_map_close(&map);
}

void folder_link_all(const struct folder *folder, const char *data_folder) {
    char from[1024];
    snprintf(from, sizeof from, "%s", data_path(data_folder));
    DIR *stream = opendir(from);
    cr_assert_not_null(stream, "%s", from);
    for (struct dirent *entry = readdir(stream); entry; entry = readdir(stream)) {
        const char *to = folder_file(folder, entry->d_name);
        struct stat info;
        if (entry->d_name[0] == '.' || lstat(to, &info) == 0)
            continue;
        cr_assert_eq(symlink(joined(from, entry->d_name), to), 0, "%s", to);
    }
    closedir(stream);
}

static size_t edited(struct safetensors *file, edit_function *edit, void *user, struct edit *edits) {
    size_t count = 0;
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const struct tensor *tensor = safetensors_at(file, i);
        struct edit *one = &edits[count];
        *one = (struct edit){.type = tensor->type, .rank = tensor->rank, .data = tensor->data, .bytes = tensor->bytes};
        snprintf(one->name, sizeof one->name, "%s", tensor->name);
        memcpy(one->shape, tensor->shape, sizeof one->shape);
        edit(one, user);
        count += !one->drop;
    }
    return count;
}

void tensors_rewrite(const char *from, const char *to, edit_function *edit, void *user) {
    moesaic_error error = {0};
    struct safetensors *file;
    struct safetensors_writer *writer;
    cr_assert_eq(safetensors_open(from, &file, &error), MOESAIC_OK, "%s", error.message);
    struct edit *edits = calloc(safetensors_count(file) + 1, sizeof *edits);
    size_t count = edited(file, edit, user, edits);
    cr_assert_eq(safetensors_writer_open(to, &writer, &error), MOESAIC_OK, "%s", error.message);
    for (size_t i = 0; i < count; i++)
        cr_assert_eq(
            safetensors_writer_declare(writer, edits[i].name, edits[i].type, edits[i].rank, edits[i].shape, &error),
            MOESAIC_OK, "%s", error.message);
    for (size_t i = 0; i < count; i++)
        cr_assert_eq(safetensors_writer_data(writer, edits[i].data, edits[i].bytes, &error), MOESAIC_OK, "%s",
                     error.message);
    cr_assert_eq(safetensors_writer_finish(writer, &error), MOESAIC_OK, "%s", error.message);
    safetensors_writer_close(writer);
    free(edits);
    safetensors_close(file);
}

struct checkpoint *opened(const char *path) {
    struct checkpoint *checkpoint = NULL;
    moesaic_error error = {0};
    cr_assert_eq(checkpoint_open(path, &checkpoint, &error), MOESAIC_OK, "%s", error.message);
    return checkpoint;
}

void refused(const char *path, moesaic_status status, const char *a, const char *b) {
    struct checkpoint *checkpoint = NULL;
    moesaic_error error = {0};
    moesaic_status got = checkpoint_open(path, &checkpoint, &error);
    cr_expect_eq(got, status, "%s: %s: %s", path, moesaic_status_name(got), error.message);
    cr_expect_eq(error.status, got, "%s", path);
    cr_expect_null(checkpoint, "%s: the output was touched", path);
    cr_expect(strstr(error.message, a) && strstr(error.message, b), "\"%s\" does not hold \"%s\" and \"%s\"",
              error.message, a, b);
    cr_expect_null(strchr(error.message, '\n'));
    checkpoint_close(checkpoint);
}
