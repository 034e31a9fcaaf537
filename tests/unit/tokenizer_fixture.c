/* SPDX-License-Identifier: Apache-2.0 */
/* Tokenizers for tests. */
#include "tokenizer_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "unicode_internal.h"

const char *const tokenizer_names[] = {"deepseek_v3", "glm4",  "gpt_oss", "llama3", "mistral_v3",
                                       "mixtral",     "olmoe", "qwen3",   NULL};

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

size_t fixture_lines(const char *folder, const char *file, fixture_line *check, void *user) {
    moesaic_error error = {0};
    struct file_map map;
    size_t lines = 0;
    cr_assert_eq(file_map_open(fixture_path("tokenizers", folder, file), &map, &error), MOESAIC_OK, "%s",
                 error.message);
    for (const char *at = (const char *)map.data, *end = at + map.bytes; at < end; lines++) {
        json_value *line = NULL;
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        stop = stop ? stop : end;
        cr_assert_eq(json_parse(at, (size_t)(stop - at), NULL, file, &line, &error), MOESAIC_OK, "%s", error.message);
        check(line, user);
        json_free(line);
        at = stop + 1;
    }
    file_map_close(&map);
    return lines;
}

void fixture_expect_encode(const struct tokenizer *tokenizer, const char *name, const json_value *expected,
                           const char *ids_key, bool add_special, bool parse_special) {
    moesaic_error error = {0};
    size_t bytes, count = 0;
    int32_t *ids = NULL;
    const char *text = json_text(json_get(expected, "text"), &bytes);
    const json_value *array = json_get(expected, ids_key);
    cr_assert_eq(tokenizer_encode(tokenizer, text, bytes, add_special, parse_special, &ids, &count, &error), MOESAIC_OK,
                 "%s: %s", name, error.message);
    cr_expect_eq(count, json_count(array), "%s: \"%.60s\": %zu %s, expected %zu", name, text, count, ids_key,
                 json_count(array));
    for (size_t i = 0; i < count && i < json_count(array); i++)
        cr_expect_eq(ids[i], json_int(json_at(array, i)), "%s: \"%.60s\": %s[%zu] is %d", name, text, ids_key, i,
                     (int)ids[i]);
    free(ids);
}

void fixture_expect_decode(const struct tokenizer *tokenizer, const char *name, const json_value *expected,
                           const char *ids_key, const char *text_key, bool skip_special) {
    moesaic_error error = {0};
    const json_value *array = json_get(expected, ids_key);
    size_t count = json_count(array), bytes = 0, streamed_bytes = 0, wanted_bytes;
    const char *wanted = json_text(json_get(expected, text_key), &wanted_bytes);
    int32_t *ids = calloc(count + 1, sizeof *ids);
    char *text = NULL;
    cr_assert(ids && wanted);
    for (size_t i = 0; i < count; i++)
        ids[i] = (int32_t)json_int(json_at(array, i));
    cr_assert_eq(tokenizer_decode(tokenizer, ids, count, skip_special, &text, &bytes, &error), MOESAIC_OK, "%s: %s",
                 name, error.message);
    cr_expect(bytes == wanted_bytes && memcmp(text, wanted, bytes) == 0, "%s: %s is \"%s\", expected \"%s\"", name,
              text_key, text, wanted);
    char *streamed = fixture_stream(tokenizer, ids, count, skip_special, &streamed_bytes);
    cr_expect(streamed_bytes == bytes && memcmp(streamed, text, bytes) == 0, "%s: streamed \"%s\", not \"%s\"", name,
              streamed, text);
    free(streamed);
    free(text);
    free(ids);
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
