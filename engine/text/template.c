/* SPDX-License-Identifier: Apache-2.0 */
/* The chat template's door: compiles a source, and renders conversations the way transformers' apply_chat_template
 * does. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "template_internal.h"

enum {
    COMPILE_MEMORY_BYTES_MAX = 128 << 20,
    RENDER_MEMORY_BYTES_BASE = 64 << 20, /* grows with the input: see template_from_json */
    RENDER_OUTPUT_BYTES_BASE = 16 << 20,
};

/* ---- around both jobs -------------------------------------------------------------------------------------------- */

/* Numbers and dates are read and written in the C locale, whatever the process has set; for this thread only. */
struct locale_guard {
    locale_t c, before;
};

static bool locale_enter(struct locale_guard *guard) {
    guard->c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (guard->c == (locale_t)0)
        return false;
    guard->before = uselocale(guard->c);
    return true;
}

static void locale_leave(const struct locale_guard *guard) {
    uselocale(guard->before);
    freelocale(guard->c);
}

static moesaic_status report(const struct tfault *fault, const char *where, moesaic_error *error) {
    if (fault->line)
        return status_set(error, fault->status, "%s: %s (chat template of %s, line %u)", fault->kind, fault->message,
                          where, (unsigned)fault->line);
    return status_set(error, fault->status, "%s: %s (chat template of %s)", fault->kind, fault->message, where);
}

/* ---- compilation ------------------------------------------------------------------------------------------------- */

static bool check_utf8(struct tstate *s, const char *source, size_t bytes) {
    for (size_t at = 0; at < bytes;) {
        unsigned step = utf8_span(source + at, bytes - at);
        if (step == 0)
            return template_fail(s, "UnicodeDecodeError", "invalid UTF-8 at byte %zu", at);
        at += step;
    }
    return true;
}

/* Copies the source with every line break as "\n" and without the last one. */
static char *normalise(struct tstate *s, const char *source, size_t bytes, size_t *ret_bytes) {
    char *copy = template_alloc(s, bytes + 1, 1);
    size_t used = 0;
    if (!copy)
        return NULL;
    for (size_t i = 0; i < bytes; i++) {
        bool pair = source[i] == '\r' && i + 1 < bytes && source[i + 1] == '\n';
        if (!pair)
            copy[used++] = source[i] == '\r' ? '\n' : source[i];
    }
    *ret_bytes = used - (used && copy[used - 1] == '\n');
    return copy;
}

static bool compile(struct tstate *s, const char *source, size_t bytes, struct tbody *ret_body) {
    if (bytes > TEMPLATE_SOURCE_BYTES_MAX)
        return template_fail_limit(s, MOESAIC_E_INPUT, "bytes of source", TEMPLATE_SOURCE_BYTES_MAX);
    if (!check_utf8(s, source, bytes))
        return false;
    size_t normal_bytes;
    char *normal = normalise(s, source, bytes, &normal_bytes);
    return normal && template_parse(s, normal, normal_bytes, ret_body) && template_bind(s, ret_body);
}

moesaic_status chat_template_create(const char *source, size_t bytes, const char *where, struct chat_template **ret,
                                    moesaic_error *error) {
    struct tstate s = {.arena.limit_bytes = COMPILE_MEMORY_BYTES_MAX};
    struct chat_template *template = calloc(1, sizeof *template);
    struct locale_guard guard;
    moesaic_status status;
    if (!template || !(template->where = strdup(where)) || !locale_enter(&guard)) {
        status = status_no_memory(error, "a chat template", sizeof *template + strlen(where));
        goto fail;
    }
    bool ok = compile(&s, source, bytes, &template->body);
    locale_leave(&guard);
    template->arena = s.arena;
    if (!ok) {
        status = report(&s.fault, where, error);
        goto fail;
    }
    *ret = template;
    return MOESAIC_OK;
fail:
    chat_template_destroy(template);
    return status;
}

void chat_template_destroy(struct chat_template *template) {
    if (!template)
        return;
    template_arena_done(&template->arena);
    free(template->where);
    free(template);
}

/* ---- the conversation -------------------------------------------------------------------------------------------- */

/* transformers offers a message's reasoning under each of the names that templates ask for. */
static bool alias_reasoning(struct tstate *s, struct tdict **io_message) {
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    const struct tpair *pair = NULL;
    for (size_t i = 0; !pair && i < sizeof names / sizeof *names; i++)
        if (!template_dict_find_text(s, *io_message, names[i], &pair))
            return false;
    if (!pair)
        return true;
    struct tvalue reasoning = pair->value, message = {.kind = TV_DICT, .dict = *io_message};
    struct tdict *aliased = template_dict_new(s);
    if (!aliased || !template_dict_set_text(s, aliased, "thinking", reasoning) ||
        !template_dict_update(s, aliased, message) ||
        !template_dict_set_text(s, aliased, "reasoning_content", reasoning))
        return false;
    *io_message = aliased;
    return true;
}

/* A message without the keys whose value is null: templates expect them absent. */
static bool read_message(struct tstate *s, const json_value *json, struct tvalue *ret) {
    struct tdict *message = template_dict_new(s);
    const char *key;
    const json_value *member;
    if (!message)
        return false;
    for (void *cursor = NULL; json_next(json, &cursor, &key, &member);) {
        struct tvalue v;
        if (json_kind_of(member) == JSON_KIND_NULL)
            continue;
        if (!template_from_json(s, member, &v) || !template_dict_set_text(s, message, key, v))
            return false;
    }
    if (!alias_reasoning(s, &message))
        return false;
    *ret = (struct tvalue){.kind = TV_DICT, .dict = message};
    return true;
}

static bool check_objects(struct tstate *s, const json_value *list, const char *what) {
    if (json_kind_of(list) != JSON_KIND_ARRAY)
        return template_fail(s, "TypeError", "%s must be an array of objects", what);
    for (size_t i = 0; i < json_count(list); i++)
        if (json_kind_of(json_at(list, i)) != JSON_KIND_OBJECT)
            return template_fail(s, "TypeError", "%s[%zu] is not an object", what, i);
    return true;
}

static bool set_messages(struct tstate *s, const json_value *messages) {
    if (!check_objects(s, messages, "messages"))
        return false;
    size_t count = json_count(messages);
    struct tvalue *items = template_alloc(s, count, sizeof *items), list;
    if (count == 0)
        return template_fail(s, "ValueError",
                             "Cannot apply chat template to an empty conversation. Provide at least one "
                             "message.");
    for (size_t i = 0; items && i < count; i++)
        if (!read_message(s, json_at(messages, i), &items[i]))
            return false;
    return items && template_list_of(s, TV_LIST, items, count, &list) &&
           template_dict_set_text(s, s->context, "messages", list);
}

/* An optional array of objects; none where it is absent. */
static bool set_objects(struct tstate *s, const char *name, const json_value *list) {
    struct tvalue v = template_none();
    if (json_kind_of(list) != JSON_KIND_NULL && (!check_objects(s, list, name) || !template_from_json(s, list, &v)))
        return false;
    return template_dict_set_text(s, s->context, name, v);
}

static bool set_token(struct tstate *s, const char *name, const char *token) {
    struct tvalue v;
    return !token || (template_string_text(s, token, &v) && template_dict_set_text(s, s->context, name, v));
}

/* Further variables; they may replace special tokens, but not what has a place of its own. */
static bool set_kwargs(struct tstate *s, const json_value *kwargs) {
    static const char *const taken[] = {"messages", "tools", "add_generation_prompt"};
    struct tvalue v;
    if (json_kind_of(kwargs) == JSON_KIND_NULL)
        return true;
    if (json_kind_of(kwargs) != JSON_KIND_OBJECT)
        return template_fail(s, "TypeError", "kwargs must be an object");
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        if (json_get(kwargs, taken[i]))
            return template_fail(s, "TypeError", "got multiple values for keyword argument '%s'", taken[i]);
    return template_from_json(s, kwargs, &v) && template_dict_update(s, s->context, v);
}

static bool set_context(struct tstate *s, const struct chat_template_input *input) {
    s->context = template_dict_new(s);
    return s->context && template_functions_add(s, s->context) && set_token(s, "bos_token", input->bos_token) &&
           set_token(s, "eos_token", input->eos_token) && set_token(s, "pad_token", input->pad_token) &&
           set_token(s, "unk_token", input->unk_token) && set_kwargs(s, input->kwargs) &&
           set_messages(s, input->messages) && set_objects(s, "tools", input->tools) &&
           set_objects(s, "documents", input->documents ? input->documents : json_get(input->kwargs, "documents")) &&
           template_dict_set_text(s, s->context, "add_generation_prompt", template_bool(input->add_generation_prompt));
}

/* ---- the clock --------------------------------------------------------------------------------------------------- */

/* `count` digits at *io_at, which moves behind them, in [low, high]. */
static bool read_digits(const char **io_at, int count, int low, int high, int *ret) {
    int value = 0;
    for (int i = 0; i < count; i++, ++*io_at) {
        if (**io_at < '0' || **io_at > '9')
            return false;
        value = value * 10 + (**io_at - '0');
    }
    *ret = value;
    return value >= low && value <= high;
}

static bool read_date(const char **io_at, struct tm *clock) {
    bool ok = read_digits(io_at, 4, 1, 9999, &clock->tm_year) && *(*io_at)++ == '-' &&
              read_digits(io_at, 2, 1, 12, &clock->tm_mon) && *(*io_at)++ == '-' &&
              read_digits(io_at, 2, 1, 31, &clock->tm_mday);
    clock->tm_year -= 1900;
    clock->tm_mon -= 1;
    return ok;
}

/* Hours and minutes, then seconds and their fraction where there are any. */
static bool read_time(const char **io_at, struct tm *clock, int *ret_microseconds) {
    if (!read_digits(io_at, 2, 0, 23, &clock->tm_hour) || *(*io_at)++ != ':' ||
        !read_digits(io_at, 2, 0, 59, &clock->tm_min))
        return false;
    if (**io_at != ':')
        return true;
    ++*io_at;
    if (!read_digits(io_at, 2, 0, 59, &clock->tm_sec))
        return false;
    if (**io_at != '.')
        return true;
    ++*io_at;
    for (int unit = 100000, digit; read_digits(io_at, 1, 0, 9, &digit); unit /= 10)
        *ret_microseconds += digit * unit;
    return true;
}

/* "2025-02-03T04:05:06", the time and a fraction of a second optional. */
static bool read_clock(struct tstate *s, const char *now) {
    const char *at = now;
    bool ok = read_date(&at, &s->clock);
    if (ok && *at) {
        ok = *at == 'T' || *at == ' ';
        at++;
        ok = ok && read_time(&at, &s->clock, &s->clock_microseconds) && !*at;
    }
    return ok || template_fail(s, "ValueError", "Invalid isoformat string: '%s'", now);
}

static bool set_clock(struct tstate *s, const char *now) {
    struct timespec time;
    if (now) {
        if (!read_clock(s, now))
            return false;
        timegm(&s->clock); /* fills in the day of the week and of the year */
        return true;
    }
    clock_gettime(CLOCK_REALTIME, &time);
    s->clock_microseconds = (int)(time.tv_nsec / 1000);
    return localtime_r(&time.tv_sec, &s->clock) || template_fail(s, "OSError", "the local time is not available");
}

/* ---- rendering --------------------------------------------------------------------------------------------------- */

static bool render(struct tstate *s, const struct chat_template *template, const struct chat_template_input *input,
                   struct tbuilder *output) {
    if (!set_clock(s, input->now) || !set_context(s, input))
        return false;
    s->output_limit_bytes = RENDER_OUTPUT_BYTES_BASE + (s->arena.limit_bytes - RENDER_MEMORY_BYTES_BASE) / 4;
    output->limit_bytes = s->output_limit_bytes;
    s->output = output;
    return template_run(s, &template->body);
}

moesaic_status chat_template_render(const struct chat_template *template, const struct chat_template_input *input,
                                    char **ret_text, size_t *ret_bytes, moesaic_error *error) {
    struct tstate s = {.arena.limit_bytes = RENDER_MEMORY_BYTES_BASE};
    struct tbuilder output = {0};
    struct locale_guard guard;
    moesaic_status status = MOESAIC_OK;
    if (!locale_enter(&guard))
        return status_no_memory(error, "a locale", sizeof guard);
    bool ok = render(&s, template, input, &output);
    locale_leave(&guard);
    size_t bytes = output.buffer ? output.buffer->used : 0;
    char *text = ok ? malloc(bytes + 1) : NULL;
    if (!ok) {
        status = report(&s.fault, template->where, error);
    } else if (!text) {
        status = status_no_memory(error, "a rendered conversation", bytes + 1);
    } else {
        if (bytes)
            memcpy(text, output.buffer->data, bytes);
        text[bytes] = '\0';
        *ret_text = text;
        *ret_bytes = bytes;
    }
    template_arena_done(&s.arena);
    return status;
}
