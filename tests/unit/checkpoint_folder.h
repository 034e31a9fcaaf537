/* SPDX-License-Identifier: Apache-2.0 */
/* Temporary checkpoint folders for tests: made of files from the test data, texts and rewritten tensors. */
#ifndef CHECKPOINT_FOLDER_H
#define CHECKPOINT_FOLDER_H

#include <criterion/criterion.h>

#include "checkpoint.h"

struct folder {
    char path[256];
};

struct folder folder_make(void);
void folder_remove(const struct folder *folder);
/* "FOLDER/name"; a static buffer, valid until the fourth next call. */
const char *folder_file(const struct folder *folder, const char *name);
/* Path below the test data; a static buffer, valid until the fourth next call. */
const char *data_path(const char *relative);
void folder_write(const struct folder *folder, const char *name, const void *data, size_t bytes);
void folder_copy(const struct folder *folder, const char *from, const char *name);
/* Links every file of a folder of the test data into the folder; files that it has already stay. */
void folder_link_all(const struct folder *folder, const char *data_folder);

/* A tensor on its way from one file to another: `drop` leaves it out, changed fields are written as they stand. */
struct edit {
    char name[160];
    tensor_type type;
    uint32_t rank;
    uint64_t shape[8];
    const uint8_t *data;
    uint64_t bytes;
    bool drop;
};
typedef void edit_function(struct edit *edit, void *user);
/* Writes a copy of the safetensors file `from` to `to`, each tensor as `edit` leaves it. */
void tensors_rewrite(const char *from, const char *to, edit_function *edit, void *user);
/* Opens a checkpoint that must open. */
struct checkpoint *opened(const char *path);
/* Opens one that must not: its status must be `status` and its message one line that holds `a` and `b`. */
void refused(const char *path, moesaic_status status, const char *a, const char *b);

#endif
