/* SPDX-License-Identifier: Apache-2.0 */
/* The chat template against the reference's renderings: published templates over conversations with tools and errors.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "template_fixture.h"

static struct chat_template_input input_of(const json_value *golden, const struct text_settings *settings) {
    struct chat_template_input input = {
        .messages = json_get(golden, "messages"),
        .tools = json_get(golden, "tools"),
        .kwargs = json_get(golden, "kwargs"),
        .add_generation_prompt = json_truth(json_get(golden, "add_generation_prompt")),
        .now = json_text(json_get(golden, "now"), NULL),
        .bos_token = settings->bos,
        .eos_token = settings->eos,
        .pad_token = settings->pad,
        .unk_token = settings->unk,
    };
    return input;
}

static void check_golden(const struct chat_template *template, const struct text_settings *settings,
                         const json_value *golden, const char *name, size_t line) {
    moesaic_error error = {0};
    char *text = NULL;
    size_t bytes = 0, expected_bytes = 0;
    struct chat_template_input input = input_of(golden, settings);
    moesaic_status status = chat_template_render(template, &input, &text, &bytes, &error);
    const char *expected = json_text(json_get(golden, "text"), &expected_bytes);
    if (expected) {
        cr_expect_eq(status, MOESAIC_OK, "%s:%zu: %s", name, line, error.message);
        cr_expect(bytes == expected_bytes && text && !memcmp(text, expected, bytes), "%s:%zu: got\n%s\nexpected\n%s",
                  name, line, text ? text : "", expected);
    } else {
        char start[512];
        snprintf(start, sizeof start, "%s: %s", json_text(json_get(golden, "error_kind"), NULL),
                 json_text(json_get(golden, "error"), NULL));
        cr_expect_eq(status, MOESAIC_E_INPUT, "%s:%zu", name, line);
        cr_expect(!strncmp(error.message, start, strlen(start)), "%s:%zu: got \"%s\", expected \"%s\"", name, line,
                  error.message, start);
    }
    free(text);
}

static void check_family(const char *name) {
    char path[4096], *line = NULL;
    struct text_settings settings = {0};
    struct chat_template *template = NULL;
    moesaic_error error = {0};
    const char *data = getenv("MOESAIC_TEST_DATA");
    cr_assert(data, "MOESAIC_TEST_DATA is not set");
    snprintf(path, sizeof path, "%s/tokenizers/%s", data, name);
    cr_assert_eq(text_settings_read(path, &settings, &error), MOESAIC_OK, "%s", error.message);
    cr_assert_eq(chat_template_create(settings.chat_template, settings.chat_template_bytes, path, &template, &error),
                 MOESAIC_OK, "%s", error.message);
    strcat(path, "/chat_golden.jsonl");
    FILE *file = fopen(path, "r");
    cr_assert(file, "%s", path);
    size_t capacity = 0, count = 0;
    for (ssize_t bytes; (bytes = getline(&line, &capacity, file)) > 0; count++) {
        json_value *golden = fixture_json(line);
        check_golden(template, &settings, golden, name, count + 1);
        json_free(golden);
    }
    cr_expect_eq(count, 22);
    fclose(file);
    free(line);
    chat_template_destroy(template);
    text_settings_done(&settings);
}

Test(template_golden, deepseek_v3) {
    check_family("deepseek_v3");
}
Test(template_golden, glm4) {
    check_family("glm4");
}
Test(template_golden, gpt_oss) {
    check_family("gpt_oss");
}
Test(template_golden, llama3) {
    check_family("llama3");
}
Test(template_golden, mistral_v3) {
    check_family("mistral_v3");
}
Test(template_golden, mixtral) {
    check_family("mixtral");
}
Test(template_golden, olmoe) {
    check_family("olmoe");
}
Test(template_golden, qwen3) {
    check_family("qwen3");
}
