/* SPDX-License-Identifier: Apache-2.0 */
/* Chat templates written in a test, rendered over small conversations. */
#include "template_fixture.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_value *fixture_json(const char *text) {
    moesaic_error error = {0};
    json_value *root = NULL;
    cr_assert_eq(json_parse(text, strlen(text), NULL, "test", &root, &error), MOESAIC_OK, "%s", error.message);
    return root;
}

char *fixture_render(const char *source, const char *kwargs) {
    moesaic_error error = {0};
    struct chat_template *template = NULL;
    char *text = NULL;
    size_t bytes = 0;
    json_value *messages = fixture_json("[{\"role\": \"user\", \"content\": \"hi\"}]");
    json_value *variables = fixture_json(kwargs ? kwargs : "{}");
    struct chat_template_input input = {.messages = messages, .kwargs = variables, .now = "2025-02-03T04:05:06"};
    moesaic_status status = chat_template_create(source, strlen(source), "test", &template, &error);
    if (!status)
        status = chat_template_render(template, &input, &text, &bytes, &error);
    if (status) {
        text = malloc(sizeof error.message + 1);
        cr_assert(text);
        snprintf(text, sizeof error.message + 1, "!%s", error.message);
    }
    chat_template_destroy(template);
    json_free(messages);
    json_free(variables);
    return text;
}

void fixture_expect(const char *source, const char *kwargs, const char *expected) {
    char *text = fixture_render(source, kwargs);
    bool equal = expected[0] == '!' ? !strncmp(text, expected, strlen(expected)) : !strcmp(text, expected);
    cr_expect(equal, "%s\n  got      \"%s\"\n  expected \"%s\"", source, text, expected);
    free(text);
}
