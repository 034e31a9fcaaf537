/* SPDX-License-Identifier: Apache-2.0 */
/* Tokenizers for tests. */
#include "tokenizer_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unicode_internal.h"

const char *const tokenizer_names[] = {"deepseek_v3", "glm4",    "gpt_oss", "llama3", "mistral_v3",
                                       "mixtral",     "olmoe",   "qwen3",   NULL};

const char *fixture_path(const char *folder, const char *name, const char *file) {
    static char path[4096];
    const char *data = getenv("MOESAIC_TEST_DATA");
    cr_assert(data, "MOESAIC_TEST_DATA is not set");
    snprintf(path, sizeof path, "%s/%s/%s/%s", data, folder, name, file);
    return path;
}

struct tokenizer *fixture_tokenizer(const char *folder, const char *name) {
    moesaic_error error = {0};
    struct tokenizer *tokenizer = NULL;
    struct file_map map;
    const char *path = fixture_path(folder, name, "tokenizer.json");
    cr_assert_eq(file_map_open(path, &map, &error), MOESAIC_OK, "%s", error.message);
    cr_assert_eq(tokenizer_create((const char *)map.data, map.bytes, path, &tokenizer, &error), MOESAIC_OK, "%s",
                 error.message);
    file_map_close(&map);
    return tokenizer;
}

struct tokenizer *fixture_tokenizer_from(const char *json) {
    moesaic_error error = {0};
    struct tokenizer *tokenizer = NULL;
    cr_assert_eq(tokenizer_create(json, strlen(json), "test.json", &tokenizer, &error), MOESAIC_OK, "%s",
                 error.message);
    return tokenizer;
}

void fixture_expect_ids(const struct tokenizer *tokenizer, const char *text, bool add_special, bool parse_special,
                        const int32_t *ids) {
    moesaic_error error = {0};
    int32_t *got = NULL;
    size_t count = 0, expected = 0;
    cr_assert_eq(tokenizer_encode(tokenizer, text, strlen(text), add_special, parse_special, &got, &count, &error),
                 MOESAIC_OK, "%s", error.message);
    while (ids[expected] >= 0)
        expected++;
    cr_assert_eq(count, expected, "\"%s\": %zu ids, expected %zu", text, count, expected);
    for (size_t i = 0; i < count; i++)
        cr_assert_eq(got[i], ids[i], "\"%s\": id %zu is %d, expected %d", text, i, (int)got[i], (int)ids[i]);
    free(got);
}

char *fixture_stream(const struct tokenizer *tokenizer, const int32_t *ids, size_t count, bool skip_special,
                     size_t *ret_bytes) {
    moesaic_error error = {0};
    struct tokenizer_stream *stream = NULL;
    struct text_buffer all = {0};
    cr_assert_eq(tokenizer_stream_create(tokenizer, skip_special, &stream, &error), MOESAIC_OK, "%s", error.message);
    for (size_t i = 0; i <= count; i++) {
        const char *text;
        size_t bytes, offset;
        moesaic_status status = i < count ? tokenizer_stream_push(stream, ids[i], &text, &bytes, &error)
                                          : tokenizer_stream_finish(stream, &text, &bytes, &error);
        cr_assert_eq(status, MOESAIC_OK, "%s", error.message);
        cr_assert(unicode_valid(text, bytes, &offset), "half a character after id %zu", i);
        cr_assert(text_buffer_append(&all, text, bytes));
    }
    tokenizer_stream_destroy(stream);
    cr_assert(text_buffer_append(&all, "", 1));
    *ret_bytes = all.bytes - 1;
    return all.data;
}
