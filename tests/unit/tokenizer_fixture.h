/* SPDX-License-Identifier: Apache-2.0 */
/* Tokenizers for tests: the reference files, and small ones written in the test. */
#ifndef TOKENIZER_FIXTURE_H
#define TOKENIZER_FIXTURE_H

#include "text.h"

/* Names of the folders of tests/data/tokenizers that hold a tokenizer, NULL-terminated. */
extern const char *const tokenizer_names[];

/* Path below the test data; the text is valid until the next call. */
const char *fixture_path(const char *folder, const char *name, const char *file);
/* A tokenizer of the test data, or from JSON text; the test fails when it cannot be made. */
struct tokenizer *fixture_tokenizer(const char *folder, const char *name);
struct tokenizer *fixture_tokenizer_from(const char *json);
/* Calls `check` with every line of a file of JSON lines in tests/data/tokenizers; returns how many there were. */
typedef void fixture_line(const json_value *line, void *user);
size_t fixture_lines(const char *folder, const char *file, fixture_line *check, void *user);
/* Fails the test unless the text, or the text of the ids, under keys "text", "ids" and "decoded" of `expected` agrees.
 */
void fixture_expect_encode(const struct tokenizer *tokenizer, const char *name, const json_value *expected,
                           const char *ids_key, bool add_special, bool parse_special);
void fixture_expect_decode(const struct tokenizer *tokenizer, const char *name, const json_value *expected,
                           const char *ids_key, const char *text_key, bool skip_special);
/* Decodes through a stream, checking that every piece is whole characters; the caller frees. */
char *fixture_stream(const struct tokenizer *tokenizer, const int32_t *ids, size_t count, bool skip_special,
                     size_t *ret_bytes);

#endif
