/* SPDX-License-Identifier: Apache-2.0 */
/* The chat template's language, piece by piece. The expected texts are what Jinja 3.1 writes when transformers sets it
 * up; integers over 64 bits and tags that reach for other templates are refused here, and were not taken from it. */
#include <criterion/criterion.h>

#include "template_fixture.h"

static const char variables[] = "{\"n\": 5, \"x\": 2.5, \"s\": \"Hello World\", \"u\": \"Z\\u00fcrich "
                                "\\u4f60\\u597d\", \"l\": [3, 1, 2], \"nul\": null,"
                                " \"d\": {\"b\": 1, \"a\": [1, 2.0, null, true], \"C\": \"x\"}, \"html\": \"<b>&'\","
                                " \"users\": [{\"name\": \"Bob\", \"age\": 30, \"city\": \"NY\"}, {\"name\": "
                                "\"alice\", \"age\": 25, \"city\": \"LA\"},"
                                " {\"name\": \"Carl\", \"age\": 30, \"city\": \"ny\"}]}";

struct rendering {
    const char *source, *expected;
};

static void expect_all(const struct rendering *all, size_t count) {
    for (size_t i = 0; i < count; i++)
        fixture_expect(all[i].source, variables, all[i].expected);
}
#define EXPECT_ALL(all) expect_all(all, sizeof all / sizeof *all)

Test(template_language, white_space) {
    static const struct rendering all[] = {
        {"a\n  {% if n %}\n  b\n  {% endif %}\nc\n", "a\n  b\nc"},
        {"a\n  {%- if n %}\n  b\n  {%- endif %}\nc\n\n", "a  bc\n"},
        {"x\n\t {%+ if n %}\ny{% endif %}", "x\n\t y"},
        {"  {{ n }}\n  {{- n }}\n{{ n -}}  \n  y", "  55\n5y"},
        {"a\r\nb\rc\r\n{% if n %}\r\nx\r\n{% endif %}\r\n", "a\nb\nc\nx\n"},
        {"{% if n %}x{% endif %}\n   \n  {% if n %}y{% endif %}   \n", "x   \ny   "},
        {"{% if n %}x{% endif +%}\ny", "x\ny"},
        {"\n\n  {# c #}\n x {# d #} \n", "\n\n x  "},
        {"{{ n }}{# c -#}\n\n x", "5x"},
        {"{% raw %}\n a {{ b }}\n  {% endraw %}\nb", "\n a {{ b }}\nb"},
        {"\xc2\xa0\xe2\x80\x83{%- if n %}x{% endif %}", "x"},
    };
    EXPECT_ALL(all);
}

Test(template_language, literals) {
    static const struct rendering all[] = {
        {"{{ [1, 'a', none, true, 1.5, [2], {'k': 'v'}, (1,)] }}", "[1, 'a', None, True, 1.5, [2], {'k': 'v'}, (1,)]"},
        {"{{ ['it\\'s', \"a\\\"b\", \"a'b\\\"c\", \"\\n\\x00\\u200b\"] }}",
         "[\"it's\", 'a\"b', 'a\\'b\"c', '\\n\\x00\\u200b']"},
        {"{{ 'a' 'b' \"c\" }}{{ '\\x41\\u0042\\101\\q' }}", "abcABA\\q"},
        {"{{ 0x1F }} {{ 0b101 }} {{ 1_000 }} {{ 1.5e3 }}", "31 5 1000 1500.0"},
        {"{{ {1: 2, 1.0: 3, true: 4} }}", "{1: 4}"},
        {"{{ 1, 2 }}{{ () }}", "(1, 2)()"},
    };
    EXPECT_ALL(all);
}

Test(template_language, numbers) {
    static const struct rendering all[] = {
        {"{{ 7 / 2 }} {{ 10 / 5 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 2 ** 3 ** 2 }}", "3.5 2.0 -4 2 -2 64"},
        {"{{ 0.1 + 0.2 }} {{ 1e16 }} {{ 1e15 }} {{ 1e-5 }} {{ 1 / 3 }}",
         "0.30000000000000004 1e+16 1000000000000000.0 1e-05 0.3333333333333333"},
        {"{{ -7.5 // 2 }} {{ 7.5 % -2 }} {{ 2 ** -1 }} {{ true + true }}", "-4.0 -0.5 0.5 2"},
        {"{{ 2.5|round }} {{ 3.5|round }} {{ 2.675|round(2) }} {{ 42.55|round(1, 'floor') }} {{ 1250|round(-2) }}",
         "2.0 4.0 2.67 42.5 1200"},
        {"{{ -0.01|round(1, 'ceil') }} {{ -0.01|round(1) }}", "0.0 -0.0"},
        {"{{ '42.7'|int }} {{ 'x'|int(7) }} {{ '0x1f'|int(0, 16) }} {{ ' 1_0 '|int }} {{ '1e3'|float }}",
         "42 7 31 10 1000.0"},
        {"{{ 1 == 1.0 }} {{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 9007199254740993 == 9007199254740992.0 }}",
         "True True False False"},
        {"{{ 9223372036854775807 + 1 }}", "!OverflowError"},
        {"{{ 1 // 0 }}", "!ZeroDivisionError: integer division or modulo by zero"},
        {"{{ 1 + 'a' }}", "!TypeError: unsupported operand type(s) for +: 'int' and 'str'"},
    };
    EXPECT_ALL(all);
}

Test(template_language, text_methods) {
    static const struct rendering all[] = {
        {"{{ s[1:3] }}|{{ s[::-1] }}|{{ u[-1] }}|{{ u[7:] }}|{{ s[100] }}",
         "el|dlroW olleH|\xe5\xa5\xbd|\xe4\xbd\xa0\xe5\xa5\xbd|"},
        {"{{ ' a b '.split() }}{{ 'a,b,c'.split(',', 1) }}{{ 'a,b,c'.rsplit(',', 1) }}{{ ' a  b '.split(none, 1) }}",
         "['a', 'b']['a', 'b,c']['a,b', 'c']['a', 'b ']"},
        {"{{ 'xyaxy'.lstrip('yx') }}{{ 'xxaxx'.strip('x') }}{{ 'abc'.partition('b') }}", "axya('a', 'b', 'c')"},
        {"{{ 'abc'.startswith(('x', 'ab')) }}{{ 'abc'.endswith('bc') }}{{ 'abc'.startswith('b', 1) }}", "TrueTrueTrue"},
        {"{{ 'abc'.replace('', '-') }}{{ 'aaa'.replace('a', 'b', 2) }}{{ 'abab'.count('ab') }}", "-a-b-c-bba2"},
        {"{{ u.find('\xe5\xa5\xbd') }}{{ 'abc'.rfind('z') }}", "8-1"},
        {"{{ '\xc3\x9f\xce\x91\xce\xa3'.lower() }}{{ 'stra\xc3\x9f' 'e'.upper() }}", "\xc3\x9f\xce\xb1\xcf\x82STRASSE"},
        {"{{ \"they're\".title() }}{{ \"they're\"|title }}{{ 'aB'.swapcase() }}", "They'ReThey'reAb"},
        {"{{ 'a\\nb\\r\\nc\\n'.splitlines() }}", "['a', 'b', 'c']"},
        {"{{ '{:>5}|{:05.1f}|{:,}|{a[0].b}'.format(1, 2.25, 1234567, a=[{'b': 3}]) }}", "    1|002.2|1,234,567|3"},
        {"{{ '%s %5.1f %x %(k)s' % {'k': 1} }}", "!TypeError"},
        {"{{ '%s|%05.1f|%-3d|%x%%' % ('a', 2.25, 7, 255) }}", "a|002.2|7  |ff%"},
        {"{{ '{:.3}|{:.4}|{:.2%}|{:08.2f}|{:+d}'.format(297.94, 3.0, 0.125, -1.5, 7) }}",
         "2.98e+02|3.0|12.50%|-0001.50|+7"},
        {"{{ 'abc'.foo }}{{ 'abc'.foo() }}", "!UndefinedError: 'str object' has no attribute 'foo'"},
    };
    EXPECT_ALL(all);
}

Test(template_language, collections) {
    static const struct rendering all[] = {
        {"{{ d.b }}{{ d['a'][3] }}{{ d.a.0 }}{{ d.get('q', 7) }}{{ d.items()|list }}",
         "1True17[('b', 1), ('a', [1, 2.0, None, True]), ('C', 'x')]"},
        {"{{ l[1:] }}{{ l[::-1] }}{{ l[-1] }}{{ l + [4] }}{{ (1,) * 2 }}", "[1, 2][2, 1, 3]2[3, 1, 2, 4](1, 1)"},
        {"{{ d.keys() }}{{ 'b' in d }}{{ 'z' not in d }}{{ none in [none] }}",
         "dict_keys(['b', 'a', 'C'])TrueTrueTrue"},
        {"{{ range(5, 1, -2)|list }}{{ range(3) }}{{ dict({'x': 1}, **{'y': 2}) }}",
         "[5, 3]range(0, 3){'x': 1, 'y': 2}"},
        {"{{ l.append(4) }}", "!SecurityError: access to attribute 'append' of 'list' object is unsafe."},
        {"{{ d.update({}) }}", "!SecurityError"},
        {"{{ ''.__class__.__mro__ }}", "!SecurityError"},
        {"{{ d.missing.deeper }}", "!UndefinedError: 'dict object' has no attribute 'missing'"},
        {"{{ {[1]: 2} }}", "!TypeError: unhashable type: 'list'"},
        {"{{ range(100001) }}", "!OverflowError: Range too big."},
    };
    EXPECT_ALL(all);
}

Test(template_language, undefined) {
    static const struct rendering all[] = {
        {"[{{ missing }}]{{ missing|length }}{{ missing|default('x') }}{{ missing is defined }}", "[]0xFalse"},
        {"{% for i in missing %}x{% else %}e{% endfor %}{{ missing == other }}{{ 1 in missing }}", "eTrueFalse"},
        {"{{ missing.x }}", "!UndefinedError: 'missing' is undefined"},
        {"{{ missing + 1 }}", "!UndefinedError"},
        {"{{ missing() }}", "!UndefinedError"},
        {"{{ missing|tojson }}", "!TypeError: Object of type Undefined is not JSON serializable"},
        {"{{ 1 if false }}{{ (1 if false) is defined }}", "False"},
        {"{{ bos_token is defined }}{{ tools is none }}{{ documents is none }}", "FalseTrueTrue"},
    };
    EXPECT_ALL(all);
}

Test(template_language, filters) {
    static const struct rendering all[] = {
        {"{{ d|tojson }}", "{\"b\": 1, \"a\": [1, 2.0, null, true], \"C\": \"x\"}"},
        {"{{ [1, {}]|tojson(indent=2) }}", "[\n  1,\n  {}\n]"},
        {"{{ d|tojson(separators=(',', ':'), sort_keys=true) }}", "{\"C\":\"x\",\"a\":[1,2.0,null,true],\"b\":1}"},
        {"{{ html|tojson }}{{ u|tojson(ensure_ascii=true) }}", "\"<b>&'\"\"Z\\u00fcrich \\u4f60\\u597d\""},
        {"{{ users|map(attribute='name')|join(', ') }}", "Bob, alice, Carl"},
        {"{{ users|selectattr('age', 'equalto', 30)|map(attribute='name')|list }}", "['Bob', 'Carl']"},
        {"{{ users|rejectattr('age', 'gt', 26)|list|length }}", "1"},
        {"{{ users|sort(attribute='name')|map(attribute='name')|list }}", "['alice', 'Bob', 'Carl']"},
        {"{{ users|sort(attribute='age,name', reverse=true)|map(attribute='name')|join('/') }}", "Carl/Bob/alice"},
        {"{% for c, us in users|groupby('city') %}{{ c }}:{{ us|length }};{% endfor %}", "LA:1;NY:2;"},
        {"{{ l|sort|first }}{{ l|max }}{{ l|sum }}{{ l|reverse|list }}{{ ['a', 'A']|unique|list }}",
         "136[2, 1, 3]['a']"},
        {"{{ l|batch(2, 0)|list }}{{ l|slice(2)|list }}", "[[3, 1], [2, 0]][[3, 1], [2]]"},
        {"{{ {'b': 1, 'A': 2}|dictsort }}{{ {'b': 2, 'a': 1}|dictsort(by='value') }}",
         "[('A', 2), ('b', 1)][('a', 1), ('b', 2)]"},
        {"{{ 'a\\nb\\n\\nc'|indent(2) }}|{{ 'a\\nb'|indent('> ', true) }}", "a\n  b\n\n  c|> a\n> b"},
        {"{{ ''|default('x', true) }}{{ none|d('y') }}{{ 'a b'|urlencode }}{{ 'foo bar baz qux'|truncate(9) }}",
         "xNonea%20bfoo..."},
        {"{{ html|e }}{{ (html|safe) + '<' }}{{ html|safe ~ '<' }}", "&lt;b&gt;&amp;&#39;<b>&'&lt;<b>&'<"},
        {"{{ l|select('odd')|length }}", "!TypeError: object of type 'generator' has no len()"},
        {"{{ 1|nosuch }}", "!TemplateAssertionError: No filter named 'nosuch'."},
        {"{% if false %}{{ 1|nosuch }}{% endif %}ok", "ok"},
        {"{% if true %}{{ 1|nosuch }}{% endif %}", "!TemplateRuntimeError: No filter named 'nosuch' found."},
    };
    EXPECT_ALL(all);
}

Test(template_language, tests) {
    static const struct rendering all[] = {
        {"{{ 1 is number }}{{ true is number }}{{ true is integer }}{{ 1.0 is float }}", "TrueTrueFalseTrue"},
        {"{{ d is mapping }}{{ l is sequence }}{{ s is iterable }}{{ n is iterable }}{{ s is string }}",
         "TrueTrueTrueFalseTrue"},
        {"{{ n is divisibleby 5 }}{{ n is odd }}{{ n is in [5] }}{{ n is not in [5] }}{{ n is eq 5 }}",
         "TrueTrueTrueFalseTrue"},
        {"{{ none is none }}{{ nul is sameas none }}{{ 1 is true }}{{ range is callable }}", "TrueTrueFalseTrue"},
        {"{{ n is defined is true }}", "!TemplateSyntaxError: You cannot chain multiple tests with is"},
    };
    EXPECT_ALL(all);
}

Test(template_language, loops) {
    static const struct rendering all[] = {
        {"{% for i in l %}{{ loop.index }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }};{% endfor %}",
         "12TrueFalse;21FalseFalse;30FalseTrue;"},
        {"{% for i in l %}{{ loop.previtem }}<{{ loop.nextitem }} {% endfor %}", "<1 3<2 1< "},
        {"{% for i in l if i > 1 %}{{ i }}{{ loop.length }}{% endfor %}", "3222"},
        {"{% for k, v in d.items() if k != 'a' %}{{ k }}={{ v }}{{ ', ' if not loop.last }}{% endfor %}", "b=1, C=x"},
        {"{% for i in l %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}", "32"},
        {"{% for i in l %}{% if i == 1 %}{% break %}{% endif %}{{ i }}{% else %}E{% endfor %}", "3"},
        {"{% for i in l %}{% continue %}{% else %}E{% endfor %}", "E"},
        {"{% for i in [[1, [2]], [3]] recursive %}{% if i is iterable %}[{{ loop(i) }}]{% else %}{{ i }}@{{ loop.depth "
         "}}"
         "{% endif %}{% endfor %}",
         "[1@2[2@3]][3@2]"},
        {"{% for i in [1, 1, 2] %}{{ loop.changed(i) }}{{ loop.cycle('a', 'b') }}{% endfor %}", "TrueaFalsebTruea"},
        {"{% for a, b in [(1, 2, 3)] %}{% endfor %}", "!ValueError: too many values to unpack (expected 2)"},
        {"{% for i in n %}{% endfor %}", "!TypeError: 'int' object is not iterable"},
        {"{% break %}", "!SyntaxError: 'break' outside loop"},
        {"{% for i in l %}{% set loop = 1 %}{% endfor %}", "!TemplateAssertionError"},
    };
    EXPECT_ALL(all);
}

Test(template_language, scopes) {
    static const struct rendering all[] = {
        {"{% set a = 1 %}{% for i in l %}{{ a }}{% set a = i %}{{ a }}{% endfor %}{{ a }}", "1311121"},
        {"{% set ns = namespace(a=0) %}{% for i in l %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}", "6"},
        {"{% for i in l %}{{ n }}{% endfor %}{% set n = 1 %}{{ n }}", "1"}, /* n is the template's own from the start */
        {"{% if false %}{% set n = 1 %}{% endif %}{{ n }}", "5"},
        {"{% if true %}{% set q = 1 %}{% endif %}{{ q }}", "1"},
        {"{% macro m() %}{{ later }}{% endmacro %}{% set later = 5 %}{{ m() }}", "5"},
        {"{% macro m() %}{{ n }}{% set n = 9 %}{{ n }}{% endmacro %}{{ m() }}{{ n }}", "595"},
        {"{% with a = 1, b = n %}{{ a }}{{ b }}{% endwith %}{{ a }}", "15"},
        {"{% generation %}{{ n }}{% set z = 1 %}{% endgeneration %}{{ z }}", "5"},
        {"{% set x | upper %}a{{ n }}{% endset %}{{ x }}{% filter replace('a', 'b') %}aa{% endfilter %}", "A5bb"},
        {"{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set (c, d2), e = (3, 4), 5 %}{{ c }}{{ d2 }}{{ e }}", "12345"},
        {"{% set d.x = 1 %}", "!TemplateRuntimeError: cannot assign attribute on non-namespace object"},
        {"{% set ns = namespace(_a=1) %}",
         "!SecurityError: Chat templates cannot store underscore-prefixed attributes"},
    };
    EXPECT_ALL(all);
}

Test(template_language, macros) {
    static const struct rendering all[] = {
        {"{% macro m(a, b=2, c=a) %}{{ a }}-{{ b }}-{{ c }} {% endmacro %}{{ m(1) }}{{ m(1, c=5) }}{{ m(b=1, a=2) }}",
         "1-2-1 1-2-5 2-1-2 "},
        {"{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}{{ m(*[1, 2], **{'y': 4}) }}",
         "1(2,){'x': 3}1(2,){'y': 4}"},
        {"{% macro m() %}<{{ caller(1, b=2) }}>{% endmacro %}{% call(a, b) m() %}{{ a }}{{ b }}{{ n }}{% endcall %}",
         "<125>"},
        {"{% macro m(a) %}{{ a is defined }}{% endmacro %}{{ m() }}", "False"},
        {"{% macro f(k) %}{{ 1 if k <= 1 else k * f(k - 1)|int }}{% endmacro %}{{ f(5) }}", "120"},
        {"{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", "!TypeError: macro 'm' takes not more than 1 argument(s)"},
        {"{% macro m(a) %}{% endmacro %}{{ m(b=2) }}", "!TypeError: macro 'm' takes no keyword argument 'b'"},
        {"{% macro m(a) %}{{ a.x }}{% endmacro %}{{ m() }}", "!UndefinedError: parameter 'a' was not provided"},
    };
    EXPECT_ALL(all);
}

Test(template_language, functions) {
    static const struct rendering all[] = {
        {"{{ strftime_now('%Y-%m-%d %H:%M:%S %a %d %b %j %f|%-d|%z') }}",
         "2025-02-03 04:05:06 Mon 03 Feb 034 000000|3|"},
        {"{{ raise_exception('boom: ' ~ n) }}", "!raise_exception: boom: 5 (chat template of test, line 1)"},
        {"{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.current }}", "aba"},
        {"{% set j = joiner('; ') %}{% for i in l %}{{ j() }}{{ i }}{% endfor %}", "3; 1; 2"},
        {"{{ namespace(a=1) }}{{ namespace({'a': 2}).a }}", "<Namespace {'a': 1}>2"},
    };
    EXPECT_ALL(all);
}

Test(template_language, syntax_errors) {
    static const struct rendering all[] = {
        {"a\nb\n{% if n %}",
         "!TemplateSyntaxError: Unexpected end of template. Jinja was looking for the following tags: "
         "'elif' or 'else' or 'endif'. The innermost block that needs to be closed is 'if'. (chat "
         "template of test, line 3)"},
        {"{% nosuchtag %}", "!TemplateSyntaxError: Encountered unknown tag 'nosuchtag'."},
        {"{% include 'x' %}", "!TemplateSyntaxError: the tag 'include' is not supported"},
        {"{{ n", "!TemplateSyntaxError: unexpected end of template, expected 'end of print statement'."},
        {"{{ (1 }}", "!TemplateSyntaxError: unexpected '}', expected ')'"},
        {"{{ n $ 1 }}", "!TemplateSyntaxError: unexpected char '$' at 5"},
        {"{# x", "!TemplateSyntaxError: Missing end of comment tag"},
        {"{{ f(a=1, 2) }}", "!TemplateSyntaxError: invalid syntax for function call expression"},
        {"{{ f(a=1, a=2) }}", "!SyntaxError: keyword argument repeated: a"},
        {"{% set 1 = 2 %}", "!TemplateSyntaxError: can't assign to 'const'"},
        {"{{ a b }}", "!TemplateSyntaxError: expected token 'end of print statement', got 'b'"},
    };
    EXPECT_ALL(all);
}
