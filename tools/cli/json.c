/* SPDX-License-Identifier: Apache-2.0 */
/* JSON documents that are whole or not there: a part that cannot be made takes the document with it. */
#include <stdlib.h>

#include "cli.h"

void cli_json_set(json_t **object, const char *key, json_t *value) {
    if (json_object_set_new(*object, key, value)) {
        json_decref(*object);
        *object = NULL;
    }
}

void cli_json_add(json_t **array, json_t *value) {
    if (json_array_append_new(*array, value)) {
        json_decref(*array);
        *array = NULL;
    }
}

/* Twice into a buffer of ours: json_dumps (2.14) leaves a key out when its buffer cannot grow, and reports nothing. */
char *cli_json_text(const json_t *document) {
    const size_t shape = JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(9);
    size_t bytes = json_dumpb(document, NULL, 0, shape);
    char *text = bytes ? malloc(bytes + 1) : NULL;
    if (text && json_dumpb(document, text, bytes, shape) != bytes) {
        free(text);
        return NULL;
    }
    if (text)
        text[bytes] = 0;
    return text;
}

int cli_json_fail(const char *what) {
    fprintf(stderr, "moesaic: %s: cannot be written as JSON (out of memory, not UTF-8, or not a finite number)\n",
            what);
    return EXIT_FAILED;
}

int cli_json_print(json_t *document) {
    char *text = cli_json_text(document);
    json_decref(document);
    if (!text)
        return cli_json_fail("output");
    puts(text);
    free(text);
    return cli_flush();
}
