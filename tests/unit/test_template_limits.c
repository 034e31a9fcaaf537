/* SPDX-License-Identifier: Apache-2.0 */
/* Chat templates that would run for ever, and conversations that are none: each is refused with a message. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "template_fixture.h"

/* `open` as often as said, then `middle`, then `close` as often. */
static char *nested(const char *start, const char *open, const char *middle, const char *close, const char *end,
                    size_t times) {
    size_t bytes = strlen(start) + (strlen(open) + strlen(close)) * times + strlen(middle) + strlen(end) + 1;
    char *text = malloc(bytes), *at = text;
    cr_assert(text);
    at = stpcpy(at, start);
    for (size_t i = 0; i < times; i++)
        at = stpcpy(at, open);
    at = stpcpy(at, middle);
    for (size_t i = 0; i < times; i++)
        at = stpcpy(at, close);
    stpcpy(at, end);
    return text;
}

static void expect_nested(const char *start, const char *open, const char *middle, const char *close, const char *end,
                          const char *expected) {
    char *source = nested(start, open, middle, close, end, 20000);
    fixture_expect(source, NULL, expected);
    free(source);
}

Test(template_limits, nesting) {
    expect_nested("{{ ", "(", "1", ")", " }}", "!TemplateSyntaxError");
    expect_nested("{{ ", "[", "", "]", " }}", "!TemplateSyntaxError");
    expect_nested("{{ ", "not ", "1", "", " }}", "!TemplateSyntaxError");
    expect_nested("{{ ", "-", "1", "", " }}", "!TemplateSyntaxError");
    expect_nested("{{ 1", "+1", "", "", " }}", "!TemplateSyntaxError");
    expect_nested("{{ 1", "|string", "", "", " }}", "!TemplateSyntaxError");
    expect_nested("{{ a", ".b", "", "", " }}", "!TemplateSyntaxError");
    expect_nested("{{ ", "1 if 0 else ", "2", "", " }}", "!TemplateSyntaxError");
    expect_nested("", "{% if 1 %}", "x", "{% endif %}", "", "!TemplateSyntaxError");
    expect_nested("{% if 0 %}", "{% elif 0 %}", "{% else %}x", "", "{% endif %}", "x");
}

Test(template_limits, recursion) {
    static const char *const sources[] = {
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% macro m(x) %}{% filter upper %}{% for a in [1] %}{{ (1 ~ m(x))|int }}{% endfor %}{% endfilter %}{% "
        "endmacro %}"
        "{{ m(1) }}",
        "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% set ns = namespace(x=[]) %}{% for i in range(5000) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x={}) %}{% for i in range(5000) %}{% set ns.x = {'a': ns.x} %}{% endfor %}{{ "
        "ns.x|tojson }}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(5000) %}{% set ns.x = ns.x|map('string') %}{% endfor %}"
        "{{ ns.x|list }}",
        "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}",
    };
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++)
        fixture_expect(sources[i], NULL, "!RecursionError");
}

Test(template_limits, work_and_memory) {
    static const char *const sources[] = {
        "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
        "{% for i in range(100000) %}{% for j in range(100000) %}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{% endfor %}{% endfor "
        "%}",
        "{% set ns = namespace(x='aaaa') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
        "{{ 'a' * 9223372036854775807 }}",
        "{{ [1] * 9223372036854775807 }}",
        "{{ 'a'.ljust(9223372036854775807) }}",
        "{{ '%99999999d' % 1 }}",
        "{{ [[1]]|tojson(indent=999999999) }}",
        "{{ range(100000)|join('x' * 100000) }}",
        "{{ ('a' * 1000000).rfind(('a' * 500000) + 'b') }}",
        "{{ ('a' * 1000000).strip('b' * 100000 + 'a') }}",
    };
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++)
        fixture_expect(sources[i], NULL, "!SecurityError: the template needs more than the limit of ");
}

Test(template_limits, growth_in_place) {
    /* A conversation built by repeated concatenation costs linear memory: 8 MB of text within the base limit. */
    fixture_expect("{% set ns = namespace(x='') %}{% set part = 'y' * 1000 %}{% for i in range(8000) %}"
                   "{% set ns.x = ns.x + part %}{% endfor %}{{ ns.x|length }}",
                   NULL, "8000000");
    /* ...and text that shares its beginning stays apart. */
    fixture_expect(
        "{% set a = 'x' ~ 'y' %}{% set b = a + '1' %}{% set c = a + '2' %}{% set d = b + '3' %}{{ a }} {{ b }} {{ c }}"
        " {{ d }}",
        NULL, "xy xy1 xy2 xy13");
}

Test(template_limits, sources) {
    moesaic_error error = {0};
    struct chat_template *template = NULL;
    char *large = nested("", "x", "", "", "", (1 << 20) + 1);
    cr_expect_eq(chat_template_create(large, (1 << 20) + 1, "big", &template, &error), MOESAIC_E_INPUT);
    cr_expect(strstr(error.message, "big"), "%s", error.message);
    free(large);
    cr_expect_eq(chat_template_create("a\xff", 2, "bad", &template, &error), MOESAIC_E_INPUT);
    cr_expect(strstr(error.message, "invalid UTF-8 at byte 1"), "%s", error.message);
    cr_expect_null(template);
    chat_template_destroy(NULL);
}

static moesaic_status render_json(const char *messages, const char *tools, const char *kwargs, const char *now,
                                  const char *source, char **ret_text, moesaic_error *error) {
    struct chat_template *template = NULL;
    size_t bytes = 0;
    cr_assert_eq(chat_template_create(source, strlen(source), "test", &template, error), MOESAIC_OK, "%s",
                 error->message);
    json_value *m = fixture_json(messages), *t = fixture_json(tools), *k = fixture_json(kwargs);
    struct chat_template_input input = {.messages = m, .tools = t, .kwargs = k, .now = now, .eos_token = "</s>"};
    moesaic_status status = chat_template_render(template, &input, ret_text, &bytes, error);
    json_free(m);
    json_free(t);
    json_free(k);
    chat_template_destroy(template);
    return status;
}

Test(template_limits, conversations) {
    static const char hello[] = "[{\"role\": \"user\", \"content\": \"hi\"}]";
    const struct {
        const char *messages, *tools, *kwargs, *now, *expected;
    } bad[] = {
        {"{}", "null", "{}", NULL, "messages must be an array"},
        {"[]", "null", "{}", NULL, "empty conversation"},
        {"[1]", "null", "{}", NULL, "messages[0] is not an object"},
        {hello, "[\"x\"]", "{}", NULL, "tools[0] is not an object"},
        {hello, "null", "[]", NULL, "kwargs must be an object"},
        {hello, "null", "{\"messages\": 1}", NULL, "multiple values for keyword argument 'messages'"},
        {hello, "null", "{}", "yesterday", "Invalid isoformat string"},
        {hello, "null", "{}", "2025-13-01", "Invalid isoformat string"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        moesaic_error error = {0};
        char *text = NULL;
        cr_expect_eq(render_json(bad[i].messages, bad[i].tools, bad[i].kwargs, bad[i].now, "x", &text, &error),
                     MOESAIC_E_INPUT, "%zu", i);
        cr_expect(strstr(error.message, bad[i].expected), "%s", error.message);
        cr_expect_null(text);
    }
}

Test(template_limits, input_as_transformers_passes_it) {
    const struct {
        const char *messages, *kwargs, *source, *expected;
    } all[] = {
        {"[{\"role\": \"a\", \"content\": null, \"x\": {\"y\": null}}]", "{}",
         "{{ 'content' in messages[0] }}{{ messages[0].x }}", "False{'y': None}"},
        {"[{\"reasoning\": \"r\"}]", "{}", "{{ messages[0] }}",
         "{'thinking': 'r', 'reasoning': 'r', 'reasoning_content': 'r'}"},
        {"[{\"thinking\": \"t\", \"reasoning_content\": \"r\"}]", "{}", "{{ messages[0] }}",
         "{'thinking': 't', 'reasoning_content': 'r'}"},
        {"[{}]", "{\"eos_token\": \"E\", \"documents\": [{\"t\": 1}]}", "{{ eos_token }}{{ documents[0].t }}", "E1"},
        {"[{}]", "{}", "{{ eos_token }}{{ add_generation_prompt }}{{ strftime_now('%Y')|int > 2000 }}",
         "</s>FalseTrue"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        moesaic_error error = {0};
        char *text = NULL;
        cr_expect_eq(render_json(all[i].messages, "null", all[i].kwargs, NULL, all[i].source, &text, &error),
                     MOESAIC_OK, "%s", error.message);
        cr_expect_str_eq(text ? text : "", all[i].expected);
        free(text);
    }
}

struct shared {
    const struct chat_template *template;
    const json_value *messages;
    char *text;
};

static void *render_shared(void *argument) {
    struct shared *shared = argument;
    struct chat_template_input input = {.messages = shared->messages, .now = "2025-02-03T04:05:06"};
    size_t bytes = 0;
    if (chat_template_render(shared->template, &input, &shared->text, &bytes, NULL))
        shared->text = NULL;
    return NULL;
}

Test(template_limits, threads_share_a_template) {
    static const char source[] = "{% macro m(x) %}{{ 'a' + 'b' ~ x }}{% endmacro %}"
                                 "{% for i in range(200) %}{{ m(i) + messages[0].content }}{% endfor %}";
    struct chat_template *template = NULL;
    moesaic_error error = {0};
    cr_assert_eq(chat_template_create(source, strlen(source), "test", &template, &error), MOESAIC_OK, "%s",
                 error.message);
    json_value *messages = fixture_json("[{\"content\": \"hi\"}]");
    struct shared shared[4];
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) {
        shared[i] = (struct shared){.template = template, .messages = messages};
        cr_assert_eq(pthread_create(&threads[i], NULL, render_shared, &shared[i]), 0);
    }
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < 4; i++) {
        cr_expect(shared[i].text && !strncmp(shared[i].text, "ab0hiab1hi", 10) &&
                  !strcmp(shared[i].text, shared[0].text));
    }
    for (size_t i = 0; i < 4; i++)
        free(shared[i].text);
    json_free(messages);
    chat_template_destroy(template);
}
