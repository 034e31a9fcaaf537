/* SPDX-License-Identifier: Apache-2.0 */
/* Text: a model's tokenizer and chat template. */
#ifndef MOESAIC_TEXT_H
#define MOESAIC_TEXT_H

#include <moesaic/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Ids of the UTF-8 text [text, text + bytes). `special` adds what the tokenizer's own template adds (BOS and the like);
 * special tokens written in the text are recognised either way. *ret_ids is freed with moesaic_free and is not NULL
 * even when *ret_count is 0. Thread-safe. Errors: INPUT with the byte offset of invalid UTF-8, MEMORY. */
MOESAIC_API moesaic_status moesaic_tokenize(const moesaic_model *model, const char *text, size_t bytes, bool special,
                                            int32_t **ret_ids, size_t *ret_count, moesaic_error *error);
/* Text of `count` ids, NUL-terminated, freed with moesaic_free; bytes that are no UTF-8 become U+FFFD. `skip_special`
 * leaves special tokens out. Thread-safe. Errors: INPUT naming the position of an id out of range, MEMORY. */
MOESAIC_API moesaic_status moesaic_detokenize(const moesaic_model *model, const int32_t *ids, size_t count,
                                              bool skip_special, char **ret_text, size_t *ret_bytes,
                                              moesaic_error *error);
/* Id of a token by its text (special tokens included), or -1. Thread-safe. */
MOESAIC_API int32_t moesaic_token_id(const moesaic_model *model, const char *text, size_t bytes);
/* Number of ids the tokenizer knows (vocabulary and added tokens). Thread-safe. */
MOESAIC_API size_t moesaic_token_count(const moesaic_model *model);

/* Renders the model's chat template. `request` is a JSON object
 * {"messages":[...],"tools":[...],"add_generation_prompt":true,"kwargs":{...},"now":"..."}; only messages is required.
 * *ret_text is NUL-terminated and freed with moesaic_free. Thread-safe. Errors: INPUT (no template, a request that is
 * not of that form, or the template's own raise_exception with its message), MEMORY. */
MOESAIC_API moesaic_status moesaic_template_render(const moesaic_model *model, const char *request, size_t bytes,
                                                   char **ret_text, size_t *ret_bytes, moesaic_error *error);

#ifdef __cplusplus
}
#endif
#endif
