/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: a tokenizer.json from anywhere is refused, or it encodes and decodes any text within bounds. What
 * follows the first NUL byte is the text; the same text is decoded from the ids at once and id by id. */
#include <stdlib.h>
#include <string.h>

#include "text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { FUZZ_TEXT_MAX = 2048 };

static void fuzz_require(bool condition) {
    if (!condition)
        abort();
}

/* Streaming must give what decoding at once gives. */
static void fuzz_stream(const struct tokenizer *tokenizer, const int32_t *ids, size_t count, const char *expected,
                        size_t expected_bytes) {
    struct tokenizer_stream *stream;
    size_t at = 0, piece_bytes;
    const char *piece;
    if (tokenizer_stream_create(tokenizer, false, &stream, NULL) != MOESAIC_OK)
        return;
    for (size_t i = 0; i <= count; i++) {
        moesaic_status status = i < count ? tokenizer_stream_push(stream, ids[i], &piece, &piece_bytes, NULL)
                                          : tokenizer_stream_finish(stream, &piece, &piece_bytes, NULL);
        fuzz_require(status == MOESAIC_OK && piece_bytes <= expected_bytes - at);
        fuzz_require(memcmp(piece, expected + at, piece_bytes) == 0);
        at += piece_bytes;
    }
    fuzz_require(at == expected_bytes);
    tokenizer_stream_destroy(stream);
}

static void fuzz_text(const struct tokenizer *tokenizer, const char *text, size_t bytes) {
    int32_t *ids;
    size_t count, decoded_bytes;
    char *decoded;
    if (tokenizer_encode(tokenizer, text, bytes, true, true, &ids, &count, NULL) != MOESAIC_OK)
        return;
    for (size_t i = 0; i < count; i++)
        fuzz_require(ids[i] >= 0 && (size_t)ids[i] < tokenizer_size(tokenizer));
    if (tokenizer_decode(tokenizer, ids, count, false, &decoded, &decoded_bytes, NULL) == MOESAIC_OK) {
        fuzz_require(decoded[decoded_bytes] == 0);
        fuzz_stream(tokenizer, ids, count, decoded, decoded_bytes);
        free(decoded);
    }
    free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static const char sample[] =
        "It's 12,345 o'clock:\n\n  na\xc3\xafve \xe6\xbc\xa2\xe5\xad\x97 \xf0\x9f\x91\x8d </s>";
    const uint8_t *end = bytes ? memchr(data, 0, bytes) : NULL;
    size_t json_bytes = end ? (size_t)(end - data) : bytes;
    size_t text_bytes = end ? bytes - json_bytes - 1 : 0;
    struct tokenizer *tokenizer;
    moesaic_error error;
    if (tokenizer_create((const char *)data, json_bytes, "fuzz", &tokenizer, &error) != MOESAIC_OK) {
        fuzz_require(strlen(error.message) > 0 && !strchr(error.message, '\n'));
        return 0;
    }
    if (text_bytes <= FUZZ_TEXT_MAX)
        fuzz_text(tokenizer, (const char *)data + json_bytes + (end != NULL), text_bytes);
    fuzz_text(tokenizer, sample, sizeof sample - 1);
    tokenizer_destroy(tokenizer);
    return 0;
}
