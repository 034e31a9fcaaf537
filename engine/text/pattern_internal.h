/* SPDX-License-Identifier: Apache-2.0 */
/* Private to engine/text: the patterns of tokenizer.json, which are Oniguruma's (Ruby syntax), run on PCRE2. */
#ifndef PATTERN_INTERNAL_H
#define PATTERN_INTERNAL_H

#include "unicode_internal.h"

/* A compiled pattern: immutable, shared by threads. */
struct pattern;

/* Compiles a string to be found as it stands (`literal`) or a regular expression. `place` names
 * the source in messages. Errors: INPUT (syntax, or a construct that is not supported), MEMORY. */
moesaic_status pattern_create(const char *text, size_t bytes, bool literal, const char *place,
                              struct pattern **ret_pattern, moesaic_error *error);
void pattern_destroy(struct pattern *pattern); /* accepts NULL */
/* The string a literal pattern looks for; NULL for a regular expression. */
const char *pattern_literal(const struct pattern *pattern, size_t *ret_bytes);

/* Memory of the matcher, for one thread; a zeroed struct is ready, it fills itself when first used. */
struct pattern_scratch {
    void *data, *context, *stack; /* PCRE2's */
};
void pattern_scratch_done(struct pattern_scratch *scratch); /* accepts a zeroed struct */

/* A walk over the matches in one text, in order, not overlapping, by the rule of Oniguruma's bindings: an empty match
 * right after another match is passed over. */
struct pattern_walk {
    const struct pattern *pattern;
    struct pattern_scratch *scratch;
    const char *text; /* well-formed UTF-8 */
    size_t bytes;
    size_t at;         /* where the next search starts */
    size_t last_end;   /* end of the last match, SIZE_MAX before the first */
    size_t begin, end; /* the current match */
};
void pattern_walk_start(struct pattern_walk *walk, const struct pattern *pattern, struct pattern_scratch *scratch,
                        const char *text, size_t bytes);
/* Finds the next match; *ret_found is false after the last. Errors: INPUT (the pattern backtracks without end), MEMORY.
 */
moesaic_status pattern_walk_next(struct pattern_walk *walk, bool *ret_found, moesaic_error *error);

/* ---- translation ------------------------------------------------------------------------------------------------- */

/* State of a translation from Oniguruma's syntax to PCRE2's. The output uses explicit character sets, so that it means
 * the same whatever Unicode version PCRE2 was built with, from 14 on. */
struct pattern_syntax {
    const char *begin, *at, *end; /* the pattern, well-formed UTF-8 */
    struct text_buffer out;
    unsigned depth;
    bool ignore_case;
    const char *problem; /* what is wrong at `at`, NULL while all is well; "" when memory ran out */
};
bool pattern_translate(struct pattern_syntax *syntax);
bool pattern_fail(struct pattern_syntax *syntax, const char *problem); /* false */
bool pattern_put(struct pattern_syntax *syntax, const char *text);
/* Appends to `out` the set that stands at `at`: [...] */
bool pattern_class(struct pattern_syntax *syntax);
/* Appends a set that one of the escapes \d \s \w \h (upper case: negated) stands for; false without a problem set when
 * `letter` is none of them. */
bool pattern_class_escape(struct pattern_syntax *syntax, char letter, bool *ret_taken);
/* Appends the set of word characters, as \w and \b mean them. */
bool pattern_class_word(struct text_buffer *out);
/* Appends the set of \p{...}, \P{...}, \p{^...}; `at` is behind the p. */
bool pattern_class_property(struct pattern_syntax *syntax, bool negated);
/* Reads an escape that stands for one character; `at` is behind the backslash. *ret_taken: whether it is one. */
bool pattern_escaped_code(struct pattern_syntax *syntax, uint32_t *ret_code, bool *ret_taken);
/* Appends one character, escaped where PCRE2 needs it, to any buffer. */
bool pattern_append_code(struct text_buffer *out, uint32_t code);

#endif
