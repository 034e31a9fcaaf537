/* SPDX-License-Identifier: Apache-2.0 */
/* Door of engine/text: text becomes token ids and token ids become text; a conversation becomes a prompt. */
#ifndef TEXT_H
#define TEXT_H

#include "runtime.h"

/* ---- tokenizer --------------------------------------------------------------------------------------------------- */

/* A tokenizer.json as the Hugging Face `tokenizers` library defines it: added tokens, normalizer, pre-tokenizer, model
 * (BPE or Unigram), post-processor, decoder. Immutable once created; every function that takes a const tokenizer may be
 * called from any number of threads at once. */
struct tokenizer;

/* Builds a tokenizer from the bytes of a tokenizer.json; `where` (usually its path) goes into messages. The bytes are
 * not needed afterwards. A component or a setting that this library does not know is MOESAIC_E_INPUT naming its key.
 * Memory is proportional to `bytes`. Errors: INPUT, MEMORY. */
moesaic_status tokenizer_create(const char *json, size_t bytes, const char *where, struct tokenizer **ret_tokenizer,
                                moesaic_error *error);
void tokenizer_destroy(struct tokenizer *tokenizer); /* accepts NULL */

/* Ids of the UTF-8 text [text, text + bytes). `add_special` adds what the post-processor adds (BOS and the like);
 * `parse_special` recognises special tokens written in the text (added tokens that are not special are always
 * recognised). *ret_ids is malloc'ed and not NULL even when *ret_count is 0. Time is O(bytes log bytes).
 * Errors: INPUT with the byte offset of invalid UTF-8 or of a character that no token can spell, MEMORY. */
moesaic_status tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t bytes, bool add_special,
                                bool parse_special, int32_t **ret_ids, size_t *ret_count, moesaic_error *error);

/* Text of `count` ids: malloc'ed, NUL-terminated; bytes that are no UTF-8 become U+FFFD. `skip_special` leaves special
 * tokens out; ids in holes of the vocabulary are no text. Errors: INPUT naming the position of an id outside
 * [0, tokenizer_size), MEMORY. */
moesaic_status tokenizer_decode(const struct tokenizer *tokenizer, const int32_t *ids, size_t count, bool skip_special,
                                char **ret_text, size_t *ret_bytes, moesaic_error *error);

/* Decodes ids one at a time. The concatenation of what push and finish return is what tokenizer_decode returns for all
 * ids at once; each piece is whole UTF-8 characters. One thread at a time; the tokenizer outlives the stream. */
struct tokenizer_stream;
moesaic_status tokenizer_stream_create(const struct tokenizer *tokenizer, bool skip_special,
                                       struct tokenizer_stream **ret_stream, moesaic_error *error);
void tokenizer_stream_destroy(struct tokenizer_stream *stream); /* accepts NULL */
/* Takes the next id; what can be printed now, maybe nothing, is [*ret_text, *ret_text + *ret_bytes), valid until the
 * next call. An id that no token has is no text: models often have a few more outputs than their tokenizer has tokens.
 * Errors: INPUT (a negative id; the stream is unchanged), MEMORY (the stream can only be destroyed). */
moesaic_status tokenizer_stream_push(struct tokenizer_stream *stream, int32_t id, const char **ret_text,
                                     size_t *ret_bytes, moesaic_error *error);
/* What was held back; the stream is then as new. */
moesaic_status tokenizer_stream_finish(struct tokenizer_stream *stream, const char **ret_text, size_t *ret_bytes,
                                       moesaic_error *error);

/* One more than the largest id, added tokens included. Ids may have holes: tokenizer_token_text is then NULL. */
size_t tokenizer_size(const struct tokenizer *tokenizer);
/* Id of the token spelt exactly so (as the file spells it), or -1. */
int32_t tokenizer_id_of(const struct tokenizer *tokenizer, const char *text, size_t bytes);
/* Spelling of a token as the file has it, NUL-terminated, owned by the tokenizer; NULL when no token has this id. */
const char *tokenizer_token_text(const struct tokenizer *tokenizer, int32_t id, size_t *ret_bytes);
/* Whether the id is an added token marked special; false for ids out of range. */
bool tokenizer_is_special(const struct tokenizer *tokenizer, int32_t id);

/* ---- settings beside the tokenizer: special tokens and the chat template's source ------------------------------- */

/* Strings are malloc'ed and NUL-terminated, or NULL where the files name none. */
struct text_settings {
    char *bos, *eos, *pad, *unk;
    char *chat_template; /* chat_template.jinja, else the "chat_template" (or the one named "default") of the config */
    size_t chat_template_bytes;
    char *tool_template; /* the one named "tool_use", where there is a list of templates */
    size_t tool_template_bytes;
};
/* Reads tokenizer_config.json, special_tokens_map.json and chat_template.jinja of `folder`, each where present;
 * tokenizer_config.json wins over special_tokens_map.json, chat_template.jinja over both. Errors: INPUT, IO, MEMORY. */
moesaic_status text_settings_read(const char *folder, struct text_settings *ret_settings, moesaic_error *error);
/* The same files one by one, from memory: their names in the order they are applied, NULL-terminated, and the applying
 * of one. `where` goes into messages. A failure leaves what was applied before; text_settings_done frees it. */
extern const char *const text_settings_files[];
moesaic_status text_settings_apply(struct text_settings *settings, const char *name, const char *text, size_t bytes,
                                   const char *where, moesaic_error *error);
void text_settings_done(struct text_settings *settings); /* accepts a zeroed struct */

/* ---- chat template ----------------------------------------------------------------------------------------------- */

/* A compiled chat template: the part of Jinja that published templates use, with the settings and the additions of
 * transformers' apply_chat_template (trim_blocks, lstrip_blocks, loop controls, `generation`, tojson without HTML
 * escapes, raise_exception, strftime_now, the immutable sandbox). Integers have 64 bits; an overflow is an error.
 * Steps, memory, output and depth are bounded, so that no template runs away. Immutable: any number of threads may
 * render at once. */
struct chat_template;

/* Compiles `bytes` bytes of UTF-8; `where` (usually the file name) goes into messages. The source is not needed
 * afterwards. Errors: INPUT naming the reference's Python exception and the line, MEMORY. */
moesaic_status chat_template_create(const char *source, size_t bytes, const char *where,
                                    struct chat_template **ret_template, moesaic_error *error);
void chat_template_destroy(struct chat_template *chat); /* accepts NULL */

/* What a conversation offers to its template. Everything belongs to the caller and is only read. As in transformers,
 * keys of a message whose value is null are dropped, and a message's reasoning is offered as `thinking` and
 * `reasoning_content` alike. */
struct chat_template_input {
    const json_value *messages;  /* array of at least one object */
    const json_value *tools;     /* array of objects, or NULL: none */
    const json_value *documents; /* array of objects, or NULL: none */
    const json_value *kwargs;    /* object of further variables, or NULL; these win over the special tokens */
    bool add_generation_prompt;
    const char *now;             /* "2025-02-03T04:05:06" for strftime_now; NULL: the local time */
    const char *bos_token, *eos_token, *pad_token, *unk_token; /* UTF-8; NULL: undefined */
};
/* Renders to *ret_text: malloc'ed, NUL-terminated, *ret_bytes long (it may hold NUL). A message of the template's own
 * raise_exception is INPUT with "raise_exception: " and the message; other failures of the template are INPUT with the
 * Python exception's name and the line. MEMORY: out of memory, or over the limit of memory or output. */
moesaic_status chat_template_render(const struct chat_template *chat, const struct chat_template_input *input,
                                    char **ret_text, size_t *ret_bytes, moesaic_error *error);

#endif
