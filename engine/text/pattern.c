/* SPDX-License-Identifier: Apache-2.0 */
/* Compiling patterns and walking over their matches with PCRE2. */
#include "pattern_internal.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

struct pattern {
    char *text; /* the literal, or the source of the expression for messages */
    size_t bytes;
    pcre2_code *code; /* NULL for a literal */
    bool jit;
};

enum {
    STACK_START_BYTES = 32 * 1024,
    STACK_MAX_BYTES = 16 * 1024 * 1024,
    /* Backtracking allowed for one match: the published patterns need a few steps per character. */
    STEPS_BASE = 20000,
    STEPS_PER_BYTE = 64
};

void pattern_destroy(struct pattern *pattern) {
    if (!pattern)
        return;
    pcre2_code_free(pattern->code);
    free(pattern->text);
    free(pattern);
}

const char *pattern_literal(const struct pattern *pattern, size_t *ret_bytes) {
    *ret_bytes = pattern->bytes;
    return pattern->code ? NULL : pattern->text;
}

static moesaic_status compile_code(struct pattern *pattern, const struct text_buffer *translated, const char *place,
                                   moesaic_error *error) {
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context)
        return status_no_memory(error, "pattern", pattern->bytes);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    int number;
    PCRE2_SIZE offset;
    pattern->code = pcre2_compile((PCRE2_SPTR)translated->data, translated->bytes,
                                  PCRE2_UTF | PCRE2_NO_UTF_CHECK | PCRE2_NEVER_BACKSLASH_C, &number, &offset, context);
    pcre2_compile_context_free(context);
    if (!pattern->code) {
        PCRE2_UCHAR message[128];
        if (number == PCRE2_ERROR_HEAP_FAILED)
            return status_no_memory(error, "pattern", pattern->bytes);
        if (pcre2_get_error_message(number, message, sizeof message) < 0)
            message[0] = 0;
        return status_set(error, MOESAIC_E_INPUT, "%s: pattern \"%.100s\": %s", place, pattern->text,
                          (const char *)message);
    }
    /* Without executable memory the interpreter does the same, slower. */
    pattern->jit = pcre2_jit_compile(pattern->code, PCRE2_JIT_COMPLETE) == 0;
    return MOESAIC_OK;
}

static moesaic_status compile(struct pattern *pattern, const char *place, moesaic_error *error) {
    struct pattern_syntax syntax = {.begin = pattern->text, .at = pattern->text, .end = pattern->text + pattern->bytes};
    moesaic_status status;
    if (pattern_translate(&syntax))
        status = compile_code(pattern, &syntax.out, place, error);
    else if (!*syntax.problem)
        status = status_no_memory(error, "pattern", pattern->bytes);
    else
        status = status_set(error, MOESAIC_E_INPUT, "%s: pattern \"%.100s\": %s at byte %zu", place, pattern->text,
                            syntax.problem, (size_t)(syntax.at - syntax.begin));
    text_buffer_done(&syntax.out);
    return status;
}

moesaic_status pattern_create(const char *text, size_t bytes, bool literal, const char *place,
                              struct pattern **ret_pattern, moesaic_error *error) {
    if (bytes == 0)
        return status_set(error, MOESAIC_E_INPUT, "%s: an empty pattern is not supported", place);
    moesaic_status status;
    struct pattern *pattern = calloc(1, sizeof *pattern);
    if (!pattern || !(pattern->text = malloc(bytes + 1))) {
        status = status_no_memory(error, "pattern", bytes);
        goto fail;
    }
    memcpy(pattern->text, text, bytes);
    pattern->text[bytes] = 0;
    pattern->bytes = bytes;
    if (!literal && (status = compile(pattern, place, error)) != MOESAIC_OK)
        goto fail;
    *ret_pattern = pattern;
    return MOESAIC_OK;
fail:
    pattern_destroy(pattern);
    return status;
}

void pattern_scratch_done(struct pattern_scratch *scratch) {
    pcre2_match_data_free(scratch->data);
    pcre2_match_context_free(scratch->context);
    pcre2_jit_stack_free(scratch->stack);
    *scratch = (struct pattern_scratch){0};
}

static bool prepare(struct pattern_scratch *scratch) {
    if (!scratch->data)
        scratch->data = pcre2_match_data_create(1, NULL);
    if (!scratch->context)
        scratch->context = pcre2_match_context_create(NULL);
    return scratch->data && scratch->context;
}

void pattern_walk_start(struct pattern_walk *walk, const struct pattern *pattern, struct pattern_scratch *scratch,
                        const char *text, size_t bytes) {
    *walk = (struct pattern_walk){
        .pattern = pattern, .scratch = scratch, .text = text, .bytes = bytes, .last_end = SIZE_MAX};
}

/* One match from `at` on by the compiled code: PCRE2's return value. A JIT stack is given only when the machine's own
 * does not do, and the interpreter, whose memory is the heap, has the last word. */
static int match_code(struct pattern_walk *walk) {
    struct pattern_scratch *scratch = walk->scratch;
    PCRE2_SPTR subject = (PCRE2_SPTR)walk->text;
    int rc = PCRE2_ERROR_JIT_STACKLIMIT;
    if (walk->pattern->jit) {
        rc = pcre2_jit_match(walk->pattern->code, subject, walk->bytes, walk->at, 0, scratch->data, scratch->context);
        if (rc == PCRE2_ERROR_JIT_STACKLIMIT && !scratch->stack) {
            scratch->stack = pcre2_jit_stack_create(STACK_START_BYTES, STACK_MAX_BYTES, NULL);
            if (!scratch->stack)
                return PCRE2_ERROR_NOMEMORY;
            pcre2_jit_stack_assign(scratch->context, NULL, scratch->stack);
            rc = pcre2_jit_match(walk->pattern->code, subject, walk->bytes, walk->at, 0, scratch->data,
                                 scratch->context);
        }
    }
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(walk->pattern->code, subject, walk->bytes, walk->at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                         scratch->data, scratch->context);
    return rc;
}

static moesaic_status find_code(struct pattern_walk *walk, bool *ret_found, moesaic_error *error) {
    if (!prepare(walk->scratch))
        return status_no_memory(error, "pattern matcher", sizeof *walk->scratch);
    size_t left = walk->bytes - walk->at;
    size_t steps = STEPS_BASE + (left < UINT32_MAX / 128 ? left : UINT32_MAX / 128) * STEPS_PER_BYTE;
    pcre2_set_match_limit(walk->scratch->context, (uint32_t)steps);
    pcre2_set_heap_limit(walk->scratch->context, (uint32_t)(20000 + (left < UINT32_MAX ? left : UINT32_MAX) / 4));
    int rc = match_code(walk);
    if (rc == PCRE2_ERROR_NOMEMORY)
        return status_no_memory(error, "pattern matcher", STACK_MAX_BYTES);
    if (rc < 0 && rc != PCRE2_ERROR_NOMATCH)
        return status_set(error, MOESAIC_E_INPUT,
                          "pattern \"%.100s\": too much backtracking on %zu bytes of text (PCRE2 error %d)",
                          walk->pattern->text, left, rc);
    *ret_found = rc >= 0;
    if (rc >= 0) {
        const PCRE2_SIZE *offsets = pcre2_get_ovector_pointer(walk->scratch->data);
        walk->begin = offsets[0];
        walk->end = offsets[1];
    }
    return MOESAIC_OK;
}

static moesaic_status find_literal(struct pattern_walk *walk, bool *ret_found) {
    const struct pattern *pattern = walk->pattern;
    const char *from = walk->text + walk->at;
    const char *hit = pattern->bytes == 1 ? memchr(from, pattern->text[0], walk->bytes - walk->at)
                                          : memmem(from, walk->bytes - walk->at, pattern->text, pattern->bytes);
    *ret_found = hit != NULL;
    if (hit) {
        walk->begin = (size_t)(hit - walk->text);
        walk->end = walk->begin + pattern->bytes;
    }
    return MOESAIC_OK;
}

moesaic_status pattern_walk_next(struct pattern_walk *walk, bool *ret_found, moesaic_error *error) {
    while (walk->at <= walk->bytes) {
        bool found = false;
        moesaic_status status = walk->pattern->code ? find_code(walk, &found, error) : find_literal(walk, &found);
        if (status != MOESAIC_OK)
            return status;
        if (!found)
            break;
        if (walk->begin == walk->end && walk->end == walk->last_end) {
            walk->at += walk->at < walk->bytes ? unicode_length(walk->text[walk->at]) : 1;
            continue;
        }
        walk->at = walk->last_end = walk->end;
        *ret_found = true;
        return MOESAIC_OK;
    }
    *ret_found = false;
    return MOESAIC_OK;
}
