/* SPDX-License-Identifier: Apache-2.0 */
/* Files: whole files mapped read-only, and writes that leave the old file or the whole new one. */
#include "runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const uint8_t file_nothing[1]; /* what an empty file maps to */

static moesaic_status file_failed(moesaic_error *error, const char *path, const char *doing) {
    int code = errno;
    char text[128];
    return status_set(error, MOESAIC_E_IO, "%s: cannot %s: %s", path, doing, strerror_r(code, text, sizeof text));
}

/* Opens a regular file and says its size. Without O_NONBLOCK opening a FIFO would wait for its writer. */
static moesaic_status file_open(const char *path, int *ret_descriptor, size_t *ret_bytes, moesaic_error *error) {
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (descriptor < 0)
        return file_failed(error, path, "open");
    struct stat info;
    moesaic_status status = MOESAIC_OK;
    if (fstat(descriptor, &info) != 0)
        status = file_failed(error, path, "read its size");
    else if (!S_ISREG(info.st_mode))
        status = status_set(error, MOESAIC_E_IO, "%s: not a regular file", path);
    else if (info.st_size < 0 || (uint64_t)info.st_size > SIZE_MAX)
        status = status_set(error, MOESAIC_E_IO, "%s: too large to map", path);
    if (status != MOESAIC_OK) {
        close(descriptor);
        return status;
    }
    *ret_descriptor = descriptor;
    *ret_bytes = (size_t)info.st_size;
    return MOESAIC_OK;
}

moesaic_status file_map_open(const char *path, struct file_map *ret_map, moesaic_error *error) {
    int descriptor = -1;
    size_t bytes = 0;
    moesaic_status status = file_open(path, &descriptor, &bytes, error);
    if (status != MOESAIC_OK)
        return status;
    if (bytes == 0) {
        close(descriptor);
        *ret_map = (struct file_map){.data = file_nothing, .bytes = 0};
        return MOESAIC_OK;
    }
    void *data = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (data == MAP_FAILED)
        status = file_failed(error, path, "map");
    close(descriptor);
    if (status == MOESAIC_OK)
        *ret_map = (struct file_map){.data = data, .bytes = bytes};
    return status;
}

void file_map_close(struct file_map *map) {
    if (!map)
        return;
    if (map->bytes > 0)
        munmap((void *)(uintptr_t)map->data, map->bytes);
    *map = (struct file_map){0};
}

void file_map_huge(const struct file_map *map) {
    if (map->bytes > 0)
        (void)madvise((void *)(uintptr_t)map->data, map->bytes, MADV_HUGEPAGE);
}

bool file_is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool file_is_regular(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

static bool file_write_all(int descriptor, const uint8_t *data, size_t bytes) {
    while (bytes > 0) {
        ssize_t written = write(descriptor, data, bytes);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        data += written;
        bytes -= (size_t)written;
    }
    return true;
}

/* Creates a file that did not exist, named after `path`, with the mode that the umask leaves. */
static int file_create_beside(const char *path, char *name, size_t name_bytes) {
    static _Atomic unsigned serial;
    for (int tries = 0; tries < 100; tries++) {
        snprintf(name, name_bytes, "%s.%ld-%u.tmp", path, (long)getpid(), atomic_fetch_add(&serial, 1));
        int descriptor = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (descriptor >= 0 || errno != EEXIST)
            return descriptor;
    }
    return -1;
}

/* Makes the rename itself durable. File systems that cannot sync a folder say EINVAL; the data is safe all the same. */
static void file_sync_folder_of(char *name) {
    char *slash = strrchr(name, '/');
    const char *folder = ".";
    if (slash == name)
        folder = "/";
    else if (slash) {
        *slash = '\0';
        folder = name;
    }
    int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor >= 0) {
        (void)fsync(descriptor);
        close(descriptor);
    }
}

/* Fills the new file `name` and renames it to `path`, or removes it. Closes the descriptor; cuts `name`. */
static moesaic_status file_replace(const char *path, char *name, int descriptor, const void *data, size_t bytes,
                                   moesaic_error *error) {
    moesaic_status status = MOESAIC_OK;
    if (!file_write_all(descriptor, data, bytes) || fsync(descriptor) != 0)
        status = file_failed(error, path, "write");
    if (close(descriptor) != 0 && status == MOESAIC_OK)
        status = file_failed(error, path, "write");
    if (status == MOESAIC_OK && rename(name, path) != 0)
        status = file_failed(error, path, "rename the new file to it");
    if (status == MOESAIC_OK)
        file_sync_folder_of(name);
    else
        unlink(name);
    return status;
}

moesaic_status file_write_atomic(const char *path, const void *data, size_t bytes, moesaic_error *error) {
    struct stat info;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode)) /* rename would replace a device such as /dev/null */
        return status_set(error, MOESAIC_E_IO, "%s: exists and is not a regular file", path);
    size_t name_bytes = strlen(path) + 48;
    char *name = malloc(name_bytes);
    if (!name)
        return status_no_memory(error, path, name_bytes);
    int descriptor = file_create_beside(path, name, name_bytes);
    moesaic_status status = descriptor < 0 ? file_failed(error, path, "create a file beside it")
                                           : file_replace(path, name, descriptor, data, bytes, error);
    free(name);
    return status;
}

moesaic_status file_write_by(const char *path, const char *by, const void *data, size_t bytes, moesaic_error *error) {
    char *name = strdup(by);
    if (!name)
        return status_no_memory(error, path, strlen(by));
    int descriptor = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    moesaic_status status = descriptor < 0 ? file_failed(error, by, "create")
                                           : file_replace(path, name, descriptor, data, bytes, error);
    free(name);
    return status;
}
