/* SPDX-License-Identifier: Apache-2.0 */
/* The safetensors reader on hand-made files, well formed and damaged, and the writer. */
#include "checkpoint_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Header text with ' for ", so that it can stand in C; `data_bytes` zero bytes follow. */
static void write_file(const struct folder *folder, const char *text, uint64_t length, size_t data_bytes) {
    size_t bytes = strlen(text);
    uint8_t *file = calloc(8 + bytes + data_bytes, 1);
    for (int i = 0; i < 8; i++)
        file[i] = (uint8_t)(length >> (8 * i));
    for (size_t i = 0; i < bytes; i++)
        file[8 + i] = (uint8_t)(text[i] == '\'' ? '"' : text[i]);
    folder_write(folder, "x.safetensors", file, 8 + bytes + data_bytes);
    free(file);
}

static moesaic_status open_text(const struct folder *folder, const char *text, size_t data_bytes,
                                struct safetensors **ret_file, moesaic_error *error) {
    write_file(folder, text, strlen(text), data_bytes);
    return safetensors_open(folder_file(folder, "x.safetensors"), ret_file, error);
}

Test(safetensors, reads_every_kind_of_entry) {
    struct folder folder = folder_make();
    struct safetensors *file;
    moesaic_error error = {0};
    const char *text = "{'b':{'dtype':'BF16','shape':[2,3],'data_offsets':[1,13]},'__metadata__':{'format':'pt'},"
                       "'a':{'shape':[],'data_offsets':[13,17],'dtype':'F32'},"
                       "'empty':{'dtype':'I64','shape':[0,4],'data_offsets':[13,13]},"
                       "'f8':{'dtype':'F8_E4M3','shape':[1],'data_offsets':[0,1]},"
                       "'f4':{'dtype':'F4','shape':[2,2],'data_offsets':[17,19]}}   ";
    cr_assert_eq(open_text(&folder, text, 19, &file, &error), MOESAIC_OK, "%s", error.message);
    cr_expect_eq(safetensors_count(file), 5);
    cr_expect_null(safetensors_at(file, 5));
    const struct tensor *a = safetensors_find(file, "a"), *b = safetensors_find(file, "b");
    cr_assert(a && b);
    cr_expect(a->type == TENSOR_F32 && a->rank == 0 && a->bytes == 4);
    cr_expect(b->type == TENSOR_BF16 && b->rank == 2 && b->shape[0] == 2 && b->shape[1] == 3 && b->bytes == 12);
    cr_expect_eq(a->data - b->data, 12);
    cr_expect_str_eq(b->type_name, "BF16");
    cr_expect_eq(safetensors_find(file, "empty")->bytes, 0);
    cr_expect_eq(safetensors_find(file, "f8")->type, TENSOR_OTHER);
    cr_expect_str_eq(safetensors_find(file, "f4")->type_name, "F4");
    cr_expect_null(safetensors_find(file, "__metadata__"));
    cr_expect_null(safetensors_find(file, "c"));
    safetensors_close(file);
    folder_remove(&folder);
}

Test(safetensors, reads_a_file_without_tensors) {
    struct folder folder = folder_make();
    struct safetensors *file;
    cr_assert_eq(open_text(&folder, "{}", 0, &file, NULL), MOESAIC_OK);
    cr_expect_eq(safetensors_count(file), 0);
    cr_expect_null(safetensors_find(file, "a"));
    safetensors_close(file);
    safetensors_close(NULL);
    folder_remove(&folder);
}

static const struct {
    const char *text;
    size_t data_bytes;
    const char *why;
} damaged[] = {
    {"{'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4]},'b':{'dtype':'F32','shape':[1],'data_offsets':[8,12]}}", 12,
     "tensor \"b\": its data begins at offset 8, leaving a hole behind the tensor before it, which ends at 4"},
    {"{'a':{'dtype':'F32','shape':[2],'data_offsets':[0,8]},'b':{'dtype':'F32','shape':[2],'data_offsets':[4,12]}}", 12,
     "tensor \"b\": its data begins at offset 4, inside"},
    {"{'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4]},'b':{'dtype':'F32','shape':[1],'data_offsets':[0,4]}}", 4,
     "its data begins at offset 0, inside"},
    {"{'a':{'dtype':'F32','shape':[1],'data_offsets':[4,8]}}", 8, "tensor \"a\": its data begins at offset 4"},
    {"{'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4]}}", 5, "1 bytes at the end belong to no tensor"},
    {"{}", 3, "3 bytes at the end"},
    {"{'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4]}}", 3, "tensor \"a\": data_offsets [0, 4] lie outside"},
    {"{'a':{'dtype':'F32','shape':[1],'data_offsets':[4,0]}}", 4, "tensor \"a\": data_offsets [4, 0] lie outside"},
    {"{'a':{'dtype':'F32','shape':[1],'data_offsets':[-4,0]}}", 4, "tensor \"a\": data_offsets is not an array of two"},
    {"{'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4,8]}}", 4,
     "tensor \"a\": data_offsets is not an array of two"},
    {"{'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4.0]}}", 4,
     "tensor \"a\": data_offsets is not an array of two"},
    {"{'a':{'dtype':'F32','shape':[1],'data_offsets':'x'}}", 4, "tensor \"a\": data_offsets is not an array of two"},
    {"{'a':{'dtype':'F32','shape':[1]}}", 4, "tensor \"a\": data_offsets is not"},
    {"{'a':{'dtype':'F32','shape':[1],'data_offsets':[0,18446744073709551615]}}", 4,
     "tensor \"a\": data_offsets is not"},
    {"{'a':{'dtype':'F32','shape':[2],'data_offsets':[0,4]}}", 4,
     "F32 [2] takes 8 bytes but data_offsets [0, 4] hold 4"},
    {"{'a':{'dtype':'F32','shape':[0],'data_offsets':[0,4]}}", 4, "F32 [0] takes 0 bytes"},
    {"{'a':{'dtype':'F32','shape':[4294967296,4294967296],'data_offsets':[0,4]}}", 4,
     "shape [4294967296, 4294967296] of F32 has no size in bytes"},
    {"{'a':{'dtype':'F32','shape':[2305843009213693952,8],'data_offsets':[0,0]}}", 0, "has no size in bytes"},
    {"{'a':{'dtype':'F4','shape':[3],'data_offsets':[0,2]}}", 2, "has no size in bytes"},
    {"{'a':{'dtype':'F32','shape':[-1],'data_offsets':[0,4]}}", 4, "tensor \"a\": dimension 0 of the shape"},
    {"{'a':{'dtype':'F32','shape':[1,'x'],'data_offsets':[0,4]}}", 4, "tensor \"a\": dimension 1 of the shape"},
    {"{'a':{'dtype':'F32','shape':[1.5],'data_offsets':[0,4]}}", 4, "tensor \"a\": dimension 0 of the shape"},
    {"{'a':{'dtype':'F32','shape':1,'data_offsets':[0,4]}}", 4, "tensor \"a\": shape is missing or not an array"},
    {"{'a':{'dtype':'F32','shape':[1,1,1,1,1,1,1,1,1],'data_offsets':[0,4]}}", 4, "tensor \"a\": 9 dimensions"},
    {"{'a':{'dtype':'F31','shape':[1],'data_offsets':[0,4]}}", 4, "tensor \"a\": unknown dtype \"F31\""},
    {"{'a':{'dtype':7,'shape':[1],'data_offsets':[0,4]}}", 4, "tensor \"a\": dtype is missing or not a string"},
    {"{'a':[1]}", 0, "tensor \"a\": its header entry is not an object"},
    {"{'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4]},'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4]}}", 4,
     "duplicate key \"a\""},
    {"{'a\\u0000b':{'dtype':'F32','shape':[1],'data_offsets':[0,4]}}", 4, "NUL in a key"},
    {"{'__metadata__':[]}", 0, "__metadata__ is not an object"},
    {"{'__metadata__':{'k':1}}", 0, "__metadata__ key \"k\" is not a string"},
    {"{'a':{'dtype':'F32','shape':[[[[[[[[1]]]]]]]],'data_offsets':[0,4]}}", 4, "nested too deeply"},
    {"{'a':", 0, "invalid JSON"},
    {" {}", 0, "does not begin with '{'"},
    {"[]", 0, "does not begin with '{'"},
    {"", 0, "does not begin with '{'"},
};

Test(safetensors, refuses_damaged_headers) {
    struct folder folder = folder_make();
    for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++) {
        struct safetensors *file = NULL;
        moesaic_error error = {0};
        cr_expect_eq(open_text(&folder, damaged[i].text, damaged[i].data_bytes, &file, &error), MOESAIC_E_INPUT,
                     "accepted: %s", damaged[i].text);
        cr_expect_null(file);
        cr_expect(strstr(error.message, "x.safetensors: ") && strstr(error.message, damaged[i].why), "%s: %s",
                  damaged[i].text, error.message);
    }
    folder_remove(&folder);
}

Test(safetensors, refuses_header_lengths_beyond_the_file) {
    struct folder folder = folder_make();
    static const uint64_t lengths[] = {3, 100000001, UINT64_C(1) << 63, UINT64_MAX, UINT64_MAX - 7};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct safetensors *file;
        moesaic_error error = {0};
        write_file(&folder, "{}", lengths[i], 0);
        cr_expect_eq(safetensors_open(folder_file(&folder, "x.safetensors"), &file, &error), MOESAIC_E_INPUT);
        cr_expect(strstr(error.message, "the header length at offset 0"), "%s", error.message);
    }
    folder_write(&folder, "x.safetensors", "\2\0\0\0\0\0\0", 7);
    struct safetensors *file;
    moesaic_error error = {0};
    cr_expect_eq(safetensors_open(folder_file(&folder, "x.safetensors"), &file, &error), MOESAIC_E_INPUT);
    cr_expect(strstr(error.message, "7 bytes are too few"), "%s", error.message);
    cr_expect_eq(safetensors_open(folder_file(&folder, "absent"), &file, &error), MOESAIC_E_IO);
    folder_remove(&folder);
}

/* Every prefix of a valid file is damaged, whatever the length. */
Test(safetensors, refuses_every_truncation) {
    struct folder folder = folder_make();
    write_file(&folder, "{'a':{'dtype':'F16','shape':[3],'data_offsets':[0,6]}}", 54, 6);
    struct file_map map;
    cr_assert_eq(file_map_open(folder_file(&folder, "x.safetensors"), &map, NULL), MOESAIC_OK);
    for (size_t bytes = 0; bytes < map.bytes; bytes++) {
        struct safetensors *file;
        folder_write(&folder, "cut", map.data, bytes);
        cr_expect_eq(safetensors_open(folder_file(&folder, "cut"), &file, NULL), MOESAIC_E_INPUT, "%zu bytes", bytes);
    }
    file_map_close(&map);
    folder_remove(&folder);
}

/* ---- writer ---- */

static void declared(struct safetensors_writer *writer, const char *name, tensor_type type, uint32_t rank,
                     const uint64_t *shape) {
    moesaic_error error = {0};
    cr_assert_eq(safetensors_writer_declare(writer, name, type, rank, shape, &error), MOESAIC_OK, "%s", error.message);
}

Test(safetensors_writer, is_read_back) {
    struct folder folder = folder_make();
    char path[512];
    snprintf(path, sizeof path, "%s", folder_file(&folder, "out.safetensors"));
    struct safetensors_writer *writer;
    struct safetensors *file;
    moesaic_error error = {0};
    const float numbers[6] = {1, 2, 3, 4, 5, 6};
    const int32_t ids[2] = {7, -8};
    cr_assert_eq(safetensors_writer_open(path, &writer, &error), MOESAIC_OK, "%s", error.message);
    declared(writer, "logits \"quoted\" \xC3\xA9", TENSOR_F32, 2, (const uint64_t[]){2, 3});
    declared(writer, "none", TENSOR_BF16, 1, (const uint64_t[]){0});
    declared(writer, "ids", TENSOR_I32, 1, (const uint64_t[]){2});
    cr_assert_eq(safetensors_writer_data(writer, numbers, 8, &error), MOESAIC_OK);
    cr_assert_eq(safetensors_writer_data(writer, numbers + 2, 16, &error), MOESAIC_OK);
    cr_expect(access(path, F_OK) != 0, "the file appeared before it was whole");
    cr_assert_eq(safetensors_writer_data(writer, ids, sizeof ids, &error), MOESAIC_OK);
    cr_assert_eq(safetensors_writer_finish(writer, &error), MOESAIC_OK, "%s", error.message);
    safetensors_writer_close(writer);
    cr_assert_eq(safetensors_open(path, &file, &error), MOESAIC_OK, "%s", error.message);
    const struct tensor *logits = safetensors_find(file, "logits \"quoted\" \xC3\xA9");
    cr_assert_not_null(logits);
    cr_expect(logits->rank == 2 && logits->shape[0] == 2 && logits->shape[1] == 3 && logits->type == TENSOR_F32);
    cr_expect_arr_eq(logits->data, numbers, sizeof numbers);
    cr_expect_eq((uintptr_t)logits->data % 64, 0);
    cr_expect_arr_eq(safetensors_find(file, "ids")->data, ids, sizeof ids);
    cr_expect_eq(safetensors_find(file, "none")->shape[0], 0);
    safetensors_close(file);
    folder_remove(&folder);
}

Test(safetensors_writer, refuses_misuse) {
    struct folder folder = folder_make();
    struct safetensors_writer *writer;
    moesaic_error error = {0};
    const uint64_t two[1] = {2}, huge[2] = {UINT64_C(1) << 40, UINT64_C(1) << 40};
    cr_assert_eq(safetensors_writer_open(folder_file(&folder, "out"), &writer, &error), MOESAIC_OK);
    declared(writer, "a", TENSOR_F32, 1, two);
    cr_expect_eq(safetensors_writer_declare(writer, "a", TENSOR_F32, 1, two, &error), MOESAIC_E_USAGE);
    cr_expect(strstr(error.message, "twice"), "%s", error.message);
    cr_expect_eq(safetensors_writer_declare(writer, "__metadata__", TENSOR_F32, 1, two, &error), MOESAIC_E_USAGE);
    cr_expect_eq(safetensors_writer_declare(writer, "b", TENSOR_OTHER, 1, two, &error), MOESAIC_E_USAGE);
    cr_expect_eq(safetensors_writer_declare(writer, "b", TENSOR_F32, 9, two, &error), MOESAIC_E_USAGE);
    cr_expect_eq(safetensors_writer_declare(writer, "b", TENSOR_F32, 2, huge, &error), MOESAIC_E_USAGE);
    cr_expect_eq(safetensors_writer_declare(writer, "\xFF", TENSOR_F32, 1, two, &error), MOESAIC_E_USAGE);
    cr_expect_eq(safetensors_writer_data(writer, "123456789", 9, &error), MOESAIC_E_USAGE);
    cr_expect_eq(safetensors_writer_data(writer, "1234", 4, &error), MOESAIC_OK);
    cr_expect_eq(safetensors_writer_declare(writer, "c", TENSOR_F32, 1, two, &error), MOESAIC_E_USAGE);
    cr_expect_eq(safetensors_writer_finish(writer, &error), MOESAIC_E_USAGE);
    cr_expect(strstr(error.message, "4 of 8"), "%s", error.message);
    safetensors_writer_close(writer);
    cr_expect_eq(safetensors_writer_open("/nonexistent/out", &writer, &error), MOESAIC_E_IO);
    cr_expect_eq(safetensors_writer_open("/dev/null", &writer, &error), MOESAIC_E_IO);
    safetensors_writer_close(NULL);
    cr_expect_eq(rmdir(folder.path), 0, "an unfinished writer left a file");
}

Test(safetensors_writer, keeps_the_old_file_until_finished) {
    struct folder folder = folder_make();
    struct safetensors_writer *writer;
    folder_write(&folder, "out", "old", 3);
    cr_assert_eq(safetensors_writer_open(folder_file(&folder, "out"), &writer, NULL), MOESAIC_OK);
    declared(writer, "a", TENSOR_U8, 1, (const uint64_t[]){1});
    cr_assert_eq(safetensors_writer_data(writer, "x", 1, NULL), MOESAIC_OK);
    struct file_map map;
    cr_assert_eq(file_map_open(folder_file(&folder, "out"), &map, NULL), MOESAIC_OK);
    cr_expect(map.bytes == 3 && memcmp(map.data, "old", 3) == 0);
    file_map_close(&map);
    cr_assert_eq(safetensors_writer_finish(writer, NULL), MOESAIC_OK);
    cr_expect_eq(safetensors_writer_finish(writer, NULL), MOESAIC_E_USAGE);
    safetensors_writer_close(writer);
    struct safetensors *file;
    cr_assert_eq(safetensors_open(folder_file(&folder, "out"), &file, NULL), MOESAIC_OK);
    cr_expect_eq(safetensors_count(file), 1);
    safetensors_close(file);
    folder_remove(&folder);
}
