/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: any bytes are refused as a chat template with a message, or compile and then render a conversation with
 * tools, or fail to, the same way twice. */
#include <stdlib.h>
#include <string.h>

#include "text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static const char conversation[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \" Be brief. \"}, {\"role\": \"user\", \"content\": "
    "\"h\\u00e9 \\u4f60\"},"
    " {\"role\": \"assistant\", \"content\": \"<think>a</think>b\", \"tool_calls\": [{\"id\": \"abcdefghi\", \"type\": "
    "\"function\","
    " \"function\": {\"name\": \"f\", \"arguments\": {\"a\": [1, 2.5, null, true]}}}]}, {\"role\": \"tool\", "
    "\"content\": \"1\"}],"
    " \"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\", \"description\": \"d\", \"parameters\": "
    "{\"type\": \"object\","
    " \"properties\": {\"a\": {\"type\": \"array\", \"items\": {\"type\": \"number\"}}}, \"required\": [\"a\"]}}}],"
    " \"kwargs\": {\"n\": 5, \"x\": 2.5, \"s\": \"Hello World\", \"l\": [3, 1, 2], \"d\": {\"b\": 1, \"a\": [1]}}}";

static void fuzz_require(bool condition) {
    if (!condition)
        abort();
}

static char *fuzz_render(const struct chat_template *template, const json_value *root) {
    struct chat_template_input input = {
        .messages = json_get(root, "messages"),
        .tools = json_get(root, "tools"),
        .kwargs = json_get(root, "kwargs"),
        .add_generation_prompt = true,
        .now = "2025-02-03T04:05:06",
        .bos_token = "<s>",
        .eos_token = "</s>",
    };
    char *text = NULL;
    size_t bytes = 0;
    moesaic_error error = {0};
    moesaic_status status = chat_template_render(template, &input, &text, &bytes, &error);
    fuzz_require((status == MOESAIC_OK) == (text != NULL));
    fuzz_require(status == MOESAIC_OK ||
                 ((status == MOESAIC_E_INPUT || status == MOESAIC_E_MEMORY) && error.message[0]));
    for (size_t i = 0; i < bytes;) {
        unsigned span = utf8_span(text + i, bytes - i);
        fuzz_require(span > 0);
        i += span;
    }
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct chat_template *template = NULL;
    moesaic_error error = {0};
    moesaic_status status = chat_template_create((const char *)data, bytes, "fuzz", &template, &error);
    fuzz_require((status == MOESAIC_OK) == (template != NULL));
    if (status) {
        fuzz_require((status == MOESAIC_E_INPUT || status == MOESAIC_E_MEMORY) && error.message[0]);
        return 0;
    }
    json_value *root = NULL;
    if (json_parse(conversation, sizeof conversation - 1, NULL, "conversation", &root, NULL) == MOESAIC_OK) {
        char *first = fuzz_render(template, root), *second = fuzz_render(template, root);
        fuzz_require(first && second ? !strcmp(first, second) : first == second);
        free(first);
        free(second);
    }
    json_free(root);
    chat_template_destroy(template);
    return 0;
}
