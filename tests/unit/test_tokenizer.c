/* SPDX-License-Identifier: Apache-2.0 */
/* The eight reference tokenizers against what the `tokenizers` library makes of 205 strings each. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer_fixture.h"

static void expect_golden_ids(const struct tokenizer *tokenizer, const json_value *line, const char *key,
                              bool add_special) {
    moesaic_error error = {0};
    size_t bytes, count = 0;
    int32_t *ids = NULL;
    const char *text = json_text(json_get(line, "text"), &bytes);
    const json_value *expected = json_get(line, key);
    cr_assert_eq(tokenizer_encode(tokenizer, text, bytes, add_special, true, &ids, &count, &error), MOESAIC_OK, "%s",
                 error.message);
    cr_expect_eq(count, json_count(expected), "\"%.60s\": %zu %s, expected %zu", text, count, key,
                 json_count(expected));
    for (size_t i = 0; i < count && i < json_count(expected); i++)
        cr_expect_eq(ids[i], json_int(json_at(expected, i)), "\"%.60s\": %s[%zu]", text, key, i);
    free(ids);
}

static void expect_golden_text(const struct tokenizer *tokenizer, const json_value *line, const char *key,
                               bool skip_special) {
    moesaic_error error = {0};
    const json_value *array = json_get(line, "ids_no_special");
    size_t count = json_count(array), bytes = 0, stream_bytes = 0, expected_bytes;
    const char *expected = json_text(json_get(line, key), &expected_bytes);
    int32_t *ids = calloc(count + 1, sizeof *ids);
    char *text = NULL;
    for (size_t i = 0; i < count; i++)
        ids[i] = (int32_t)json_int(json_at(array, i));
    cr_assert_eq(tokenizer_decode(tokenizer, ids, count, skip_special, &text, &bytes, &error), MOESAIC_OK, "%s",
                 error.message);
    cr_expect(bytes == expected_bytes && memcmp(text, expected, bytes) == 0, "%s is \"%s\", expected \"%s\"", key,
              text, expected);
    char *streamed = fixture_stream(tokenizer, ids, count, skip_special, &stream_bytes);
    cr_expect(stream_bytes == bytes && memcmp(streamed, text, bytes) == 0, "streamed \"%s\", not \"%s\"", streamed,
              text);
    free(streamed);
    free(text);
    free(ids);
}

static void expect_golden_line(const struct tokenizer *tokenizer, const char *text, size_t bytes) {
    moesaic_error error = {0};
    json_value *line = NULL;
    cr_assert_eq(json_parse(text, bytes, NULL, "golden", &line, &error), MOESAIC_OK, "%s", error.message);
    expect_golden_ids(tokenizer, line, "ids", true);
    expect_golden_ids(tokenizer, line, "ids_no_special", false);
    expect_golden_text(tokenizer, line, "decoded", false);
    expect_golden_text(tokenizer, line, "decoded_skip_special", true);
    json_free(line);
}

static void expect_golden(const char *name) {
    moesaic_error error = {0};
    struct tokenizer *tokenizer = fixture_tokenizer("tokenizers", name);
    struct file_map map;
    size_t lines = 0;
    cr_assert_eq(file_map_open(fixture_path("tokenizers", name, "tokenizer_golden.jsonl"), &map, &error), MOESAIC_OK,
                 "%s", error.message);
    for (const char *at = (const char *)map.data, *end = at + map.bytes; at < end; lines++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        stop = stop ? stop : end;
        expect_golden_line(tokenizer, at, (size_t)(stop - at));
        at = stop + 1;
    }
    cr_expect_eq(lines, 205, "%zu lines", lines);
    file_map_close(&map);
    tokenizer_destroy(tokenizer);
}

Test(tokenizer_golden, deepseek_v3) { expect_golden("deepseek_v3"); }
Test(tokenizer_golden, glm4) { expect_golden("glm4"); }
Test(tokenizer_golden, gpt_oss) { expect_golden("gpt_oss"); }
Test(tokenizer_golden, llama3) { expect_golden("llama3"); }
Test(tokenizer_golden, mistral_v3) { expect_golden("mistral_v3"); }
Test(tokenizer_golden, mixtral) { expect_golden("mixtral"); }
Test(tokenizer_golden, olmoe) { expect_golden("olmoe"); }
Test(tokenizer_golden, qwen3) { expect_golden("qwen3"); }
