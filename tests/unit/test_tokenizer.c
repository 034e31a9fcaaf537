/* SPDX-License-Identifier: Apache-2.0 */
/* Tokenizers against what the `tokenizers` library makes of the same files: the eight reference tokenizers over 205
 * strings each and over random ones, small tokenizers that show one stage each, and patterns. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pattern_internal.h"
#include "tokenizer_fixture.h"

static void expect_golden_line(const json_value *line, void *user) {
    const struct tokenizer *tokenizer = user;
    fixture_expect_encode(tokenizer, "golden", line, "ids", true, true);
    fixture_expect_encode(tokenizer, "golden", line, "ids_no_special", false, true);
    fixture_expect_decode(tokenizer, "golden", line, "ids_no_special", "decoded", false);
    fixture_expect_decode(tokenizer, "golden", line, "ids_no_special", "decoded_skip_special", true);
}

static void expect_golden(const char *name) {
    struct tokenizer *tokenizer = fixture_tokenizer("tokenizers", name);
    cr_expect_eq(fixture_lines(name, "tokenizer_golden.jsonl", expect_golden_line, tokenizer), 205);
    tokenizer_destroy(tokenizer);
}

Test(tokenizer_golden, deepseek_v3) {
    expect_golden("deepseek_v3");
}
Test(tokenizer_golden, glm4) {
    expect_golden("glm4");
}
Test(tokenizer_golden, gpt_oss) {
    expect_golden("gpt_oss");
}
Test(tokenizer_golden, llama3) {
    expect_golden("llama3");
}
Test(tokenizer_golden, mistral_v3) {
    expect_golden("mistral_v3");
}
Test(tokenizer_golden, mixtral) {
    expect_golden("mixtral");
}
Test(tokenizer_golden, olmoe) {
    expect_golden("olmoe");
}
Test(tokenizer_golden, qwen3) {
    expect_golden("qwen3");
}

/* The lines are grouped by tokenizer, so that each is read once. */
struct current {
    char name[32];
    struct tokenizer *tokenizer;
};

static void expect_random_line(const json_value *line, void *user) {
    struct current *current = user;
    const char *name = json_text(json_get(line, "tokenizer"), NULL);
    if (strcmp(name, current->name) != 0) {
        tokenizer_destroy(current->tokenizer);
        snprintf(current->name, sizeof current->name, "%s", name);
        current->tokenizer = fixture_tokenizer("tokenizers", name);
    }
    fixture_expect_encode(current->tokenizer, name, line, "ids", false, true);
    fixture_expect_decode(current->tokenizer, name, line, "ids", "decoded", false);
}

Test(tokenizer, random_strings) {
    struct current current = {0};
    cr_expect_eq(fixture_lines(".", "random.jsonl", expect_random_line, &current), 400);
    tokenizer_destroy(current.tokenizer);
}

static void expect_stage_line(const json_value *line, void *user) {
    (void)user;
    const char *name = json_text(json_get(line, "name"), NULL);
    bool add_special = json_truth(json_get(line, "add_special"));
    bool parse_special = json_truth(json_get(line, "parse_special"));
    char *json = json_dump(json_get(line, "tokenizer"), false, NULL);
    cr_assert(json, "%s", name);
    struct tokenizer *tokenizer = fixture_tokenizer_from(json);
    const json_value *texts = json_get(line, "texts"), *decodes = json_get(line, "decodes");
    cr_expect(json_count(texts) + json_count(decodes) > 0, "%s", name);
    for (size_t i = 0; i < json_count(texts); i++) {
        fixture_expect_encode(tokenizer, name, json_at(texts, i), "ids", add_special, parse_special);
        fixture_expect_decode(tokenizer, name, json_at(texts, i), "ids", "decoded", false);
    }
    for (size_t i = 0; i < json_count(decodes); i++)
        fixture_expect_decode(tokenizer, name, json_at(decodes, i), "ids", "decoded", false);
    tokenizer_destroy(tokenizer);
    free(json);
}

Test(tokenizer, stages) {
    cr_expect_eq(fixture_lines(".", "stages.jsonl", expect_stage_line, NULL), 70);
}

/* The next part of the text must be [begin, end); empty ones are not listed. */
static void expect_part(const json_value *parts, size_t *io_part, const struct pattern_walk *walk, size_t begin,
                        size_t end) {
    size_t bytes;
    if (begin == end)
        return;
    const char *part = json_text(json_at(parts, *io_part), &bytes);
    cr_expect(part && bytes == end - begin && memcmp(part, walk->text + begin, bytes) == 0,
              "part %zu of \"%s\" is \"%.*s\", expected \"%s\"", *io_part, walk->text, (int)(end - begin),
              walk->text + begin, part ? part : "(none)");
    ++*io_part;
}

static void expect_pattern_line(const json_value *line, void *user) {
    (void)user;
    moesaic_error error = {0};
    struct pattern *pattern = NULL;
    struct pattern_scratch scratch = {0};
    struct pattern_walk walk;
    size_t bytes, text_bytes, part = 0, done = 0;
    const char *source = json_text(json_get(line, "pattern"), &bytes);
    const char *text = json_text(json_get(line, "text"), &text_bytes);
    const json_value *parts = json_get(line, "parts");
    cr_assert_eq(pattern_create(source, bytes, false, "test", &pattern, &error), MOESAIC_OK, "%s", error.message);
    pattern_walk_start(&walk, pattern, &scratch, text, text_bytes);
    for (bool found = true; found;) {
        cr_assert_eq(pattern_walk_next(&walk, &found, &error), MOESAIC_OK, "%s", error.message);
        expect_part(parts, &part, &walk, done, found ? walk.begin : text_bytes);
        if (found)
            expect_part(parts, &part, &walk, walk.begin, walk.end);
        done = walk.end;
    }
    cr_expect_eq(part, json_count(parts), "%s on \"%s\": %zu parts", source, text, part);
    pattern_scratch_done(&scratch);
    pattern_destroy(pattern);
}

Test(tokenizer, patterns) {
    cr_expect_eq(fixture_lines(".", "patterns.jsonl", expect_pattern_line, NULL), 54);
}
