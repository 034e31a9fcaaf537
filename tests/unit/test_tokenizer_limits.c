/* SPDX-License-Identifier: Apache-2.0 */
/* What tokenizers refuse, how long they take, and the questions they answer. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tokenizer_fixture.h"

/* ---- refusals ---------------------------------------------------------------------------------------------------- */

static void expect_refused(const char *json, const char *words) {
    moesaic_error error = {0};
    struct tokenizer *tokenizer = NULL;
    cr_expect_eq(tokenizer_create(json, strlen(json), "some/tokenizer.json", &tokenizer, &error), MOESAIC_E_INPUT,
                 "%.100s", json);
    cr_expect_null(tokenizer);
    cr_expect(strstr(error.message, words), "\"%s\" does not say \"%s\"", error.message, words);
    cr_expect(strncmp(error.message, "some/tokenizer.json", 19) == 0, "%s", error.message);
    cr_expect(!strchr(error.message, '\n'));
}

Test(tokenizer_refuses, documents) {
    expect_refused("", "some/tokenizer.json");
    expect_refused("[]", "not an object");
    expect_refused("{}", "model: missing");
    expect_refused("{\"version\":\"2.0\"}", "version");
    expect_refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]},\"extra\":1}", "\"extra\"");
    expect_refused("{\"model\":{\"type\":\"WordPiece\",\"vocab\":{}}}", "model: type \"WordPiece\"");
}

Test(tokenizer_refuses, models) {
    expect_refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0}}}", "\"merges\"");
    expect_refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":-1},\"merges\":[]}}", "model.vocab: id -1");
    expect_refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":4294967295},\"merges\":[]}}", "id 4294967295");
    expect_refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":1.5},\"merges\":[]}}", "not an integer");
    expect_refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]}}", "same id 0");
    expect_refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a a\"]}}",
                   "model.merges[0]: token \"aa\"");
    expect_refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[[\"a\",\"b\"]]}}",
                   "model.merges[0]: token \"b\"");
    expect_refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[\"a a a\"]}}", "model.merges[0]");
    expect_refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"dropout\":0.1}}", "dropout");
    expect_refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"fuse_unk\":1}}", "fuse_unk");
    expect_refused("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"new\":1}}", "model: unknown key");
    expect_refused("{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\"]]}}", "model.vocab[0]");
    expect_refused("{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"a\",0]],\"unk_id\":1}}", "unk_id");
}

/* A tokenizer with one token and a further member. */
static void expect_part_refused(const char *member, const char *words) {
    char json[2048];
    snprintf(json, sizeof json, "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]},%s}", member);
    expect_refused(json, words);
}

Test(tokenizer_refuses, components) {
    expect_part_refused("\"normalizer\":{\"type\":\"Magic\"}", "normalizer: type \"Magic\"");
    expect_part_refused("\"normalizer\":{\"type\":\"NFC\",\"strength\":2}", "normalizer: unknown key \"strength\"");
    expect_part_refused("\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{}]}",
                        "normalizer.normalizers[1]");
    expect_part_refused("\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"(a\"},\"content\":\"\"}",
                        "normalizer.pattern");
    expect_part_refused("\"pre_tokenizer\":{\"type\":\"UnicodeScripts\"}", "pre_tokenizer: type");
    expect_part_refused("\"pre_tokenizer\":{\"type\":\"ByteLevel\"}", "add_prefix_space");
    expect_part_refused("\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"a\"},\"behavior\":\"Burnt\","
                        "\"invert\":false}",
                        "Burnt");
    expect_part_refused("\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Glob\":\"a\"},\"behavior\":\"Isolated\","
                        "\"invert\":false}",
                        "Glob");
    expect_part_refused("\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"__\"}", "replacement");
    expect_part_refused("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":"
                        "\"x\",\"type_id\":0}}],\"pair\":[],\"special_tokens\":{}}",
                        "special token \"x\"");
    expect_part_refused("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":"
                        "\"x\",\"type_id\":0}}],\"pair\":[],\"special_tokens\":{\"x\":{\"id\":\"x\",\"ids\":[7]}}}",
                        "no token has the id 7");
    expect_part_refused("\"decoder\":{\"type\":\"CTC\"}", "decoder: type \"CTC\"");
    expect_part_refused("\"added_tokens\":[{\"id\":1,\"content\":\"x\"}]", "added_tokens[0]");
    expect_part_refused("\"added_tokens\":{}", "added_tokens");
}

Test(tokenizer_refuses, patterns) {
    static const char *const sources[] = {"(",     ")",     "[a",        "a{3,1}",  "*a",       "(?x:a)", "\\\\p{Foo}",
                                          "\\\\1", "(?~a)", "[\\\\d-z]", "(?i:st)", "a{99999}", "\\\\X"};
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        char member[256];
        snprintf(member, sizeof member,
                 "\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"%s\"},"
                 "\"content\":\"\"}",
                 sources[i]);
        expect_part_refused(member, "normalizer.pattern: pattern");
    }
}

static void expect_bad_file(const char *name, const char *words) {
    moesaic_error error = {0};
    struct tokenizer *tokenizer = NULL;
    struct file_map map;
    cr_assert_eq(file_map_open(fixture_path("bad", name, "tokenizer.json"), &map, &error), MOESAIC_OK);
    cr_expect_eq(tokenizer_create((const char *)map.data, map.bytes, "tokenizer.json", &tokenizer, &error),
                 MOESAIC_E_INPUT);
    cr_expect(strstr(error.message, words), "%s", error.message);
    file_map_close(&map);
}

Test(tokenizer_refuses, bad_files) {
    expect_bad_file("tokenizer-huge-ids", "tokenizer.json: model.vocab: id 4294967295");
    expect_bad_file("tokenizer-merge-missing-token", "tokenizer.json: model.merges[");
}

static moesaic_status encode_status(const char *json, const char *text, size_t bytes, moesaic_error *error) {
    struct tokenizer *tokenizer = fixture_tokenizer_from(json);
    int32_t *ids = NULL;
    size_t count;
    moesaic_status status = tokenizer_encode(tokenizer, text, bytes, true, true, &ids, &count, error);
    free(ids);
    tokenizer_destroy(tokenizer);
    return status;
}

Test(tokenizer_refuses, texts) {
    static const char plain[] = "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[],\"unk_token\":\"u\"}}";
    moesaic_error error = {0};
    cr_expect_eq(encode_status(plain, "aa\xc3(", 4, &error), MOESAIC_E_INPUT);
    cr_expect(strstr(error.message, "byte 2"), "%s", error.message);
    cr_expect_eq(encode_status(plain, "a\xed\xa0\x80", 4, &error), MOESAIC_E_INPUT);
    cr_expect_eq(encode_status(plain, "ab", 2, &error), MOESAIC_E_INPUT);
    cr_expect(strstr(error.message, "U+0062"), "%s", error.message);
    cr_expect_eq(encode_status(plain, "", 0, &error), MOESAIC_OK);
}

/* Chained replacements and nested repetitions end in a message, not in all the memory or all the time. */
Test(tokenizer_refuses, explosions, .timeout = 20) {
    static char json[8192], text[100];
    char content[41];
    moesaic_error error = {0};
    memset(content, 'a', sizeof content - 1);
    content[sizeof content - 1] = 0;
    memset(text, 'a', sizeof text);
    size_t n = (size_t)snprintf(json, sizeof json,
                                "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]},"
                                "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[");
    for (int i = 0; i < 12; i++)
        n += (size_t)snprintf(json + n, sizeof json - n,
                              "%s{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},"
                              "\"content\":\"%s\"}",
                              i ? "," : "", content);
    snprintf(json + n, sizeof json - n, "]}}");
    cr_expect_eq(encode_status(json, text, sizeof text, &error), MOESAIC_E_INPUT);
    cr_expect(strstr(error.message, "grow"), "%s", error.message);
    cr_expect_eq(encode_status("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]},\"pre_tokenizer\":"
                               "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(a+)+[bc]\"},\"behavior\":\"Removed\","
                               "\"invert\":false}}",
                               text, sizeof text, &error),
                 MOESAIC_E_INPUT);
    cr_expect(strstr(error.message, "backtracking"), "%s", error.message);
}

/* ---- time -------------------------------------------------------------------------------------------------------- */

/* Processor time of this thread: other work on the machine does not count. */
static double cpu_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* A megabyte of `unit`, over and over; seconds would be minutes if anything were quadratic. */
static void expect_linear(const struct tokenizer *tokenizer, const char *name, const char *unit) {
    enum { BYTES = 1000000 };
    size_t unit_bytes = strlen(unit), bytes = 1 + BYTES / unit_bytes * unit_bytes, count, decoded_bytes;
    moesaic_error error = {0};
    char *text = malloc(bytes), *decoded = NULL;
    int32_t *ids = NULL;
    cr_assert(text);
    *text = 'x'; /* Metaspace does not tell a first blank from the one it puts there */
    for (size_t i = 1; i < bytes; i += unit_bytes)
        memcpy(text + i, unit, unit_bytes);
    double start = cpu_seconds();
    cr_assert_eq(tokenizer_encode(tokenizer, text, bytes, false, true, &ids, &count, &error), MOESAIC_OK, "%s: %s",
                 name, error.message);
    double seconds = cpu_seconds() - start;
    cr_expect_lt(seconds, 3.0, "%s: \"%s\": %g s", name, unit, seconds);
    cr_assert_eq(tokenizer_decode(tokenizer, ids, count, false, &decoded, &decoded_bytes, &error), MOESAIC_OK);
    cr_expect(decoded_bytes == bytes && memcmp(decoded, text, bytes) == 0, "%s: \"%s\" comes back changed", name, unit);
    free(decoded);
    free(ids);
    free(text);
}

static void expect_all_linear(const char *unit) {
    for (size_t i = 0; tokenizer_names[i]; i++) {
        struct tokenizer *tokenizer = fixture_tokenizer("tokenizers", tokenizer_names[i]);
        expect_linear(tokenizer, tokenizer_names[i], unit);
        tokenizer_destroy(tokenizer);
    }
}

Test(tokenizer_linear, letters, .timeout = 60) {
    expect_all_linear("a");
}
Test(tokenizer_linear, capitals, .timeout = 60) {
    expect_all_linear("A");
}
Test(tokenizer_linear, blanks, .timeout = 60) {
    expect_all_linear(" ");
}
Test(tokenizer_linear, newlines, .timeout = 60) {
    expect_all_linear("\n");
}
Test(tokenizer_linear, digits, .timeout = 60) {
    expect_all_linear("7");
}
Test(tokenizer_linear, ideographs, .timeout = 60) {
    expect_all_linear("\xe6\xbc\xa2");
}
Test(tokenizer_linear, quotes, .timeout = 60) {
    expect_all_linear("'");
}

/* Marks in an order that canonical ordering must turn round: sorted by insertion this takes minutes. */
Test(tokenizer_linear, marks, .timeout = 60) {
    enum { PAIRS = 200000 };
    static const char pair[] = "\xcc\x81\xcc\xa3"; /* U+0301 of class 230, U+0323 of class 220 */
    moesaic_error error = {0};
    struct tokenizer *tokenizer = fixture_tokenizer("tokenizers", "qwen3");
    char *text = malloc(4 * PAIRS);
    int32_t *ids = NULL;
    size_t count;
    cr_assert(text);
    for (size_t i = 0; i < PAIRS; i++)
        memcpy(text + 4 * i, pair, 4);
    double start = cpu_seconds();
    cr_assert_eq(tokenizer_encode(tokenizer, text, 4 * PAIRS, false, true, &ids, &count, &error), MOESAIC_OK, "%s",
                 error.message);
    cr_expect_lt(cpu_seconds() - start, 3.0);
    free(ids);
    free(text);
    tokenizer_destroy(tokenizer);
}

/* ---- questions --------------------------------------------------------------------------------------------------- */

Test(tokenizer, questions) {
    struct tokenizer *tokenizer = fixture_tokenizer("tokenizers", "llama3");
    size_t bytes;
    cr_expect_gt(tokenizer_size(tokenizer), 888);
    cr_expect_eq(tokenizer_id_of(tokenizer, "<|begin_of_text|>", 17), 888);
    cr_expect_eq(tokenizer_id_of(tokenizer, "no such token", 13), -1);
    cr_expect_str_eq(tokenizer_token_text(tokenizer, 888, &bytes), "<|begin_of_text|>");
    cr_expect_eq(bytes, 17);
    cr_expect(tokenizer_is_special(tokenizer, 888));
    cr_expect_not(tokenizer_is_special(tokenizer, 0));
    cr_expect_null(tokenizer_token_text(tokenizer, -1, NULL));
    cr_expect_null(tokenizer_token_text(tokenizer, (int32_t)tokenizer_size(tokenizer), NULL));
    cr_expect_not(tokenizer_is_special(tokenizer, INT32_MAX));
    tokenizer_destroy(tokenizer);
    tokenizer_destroy(NULL);
}

/* Ids may have holes, and memory does not grow with the largest. */
Test(tokenizer, holes) {
    struct tokenizer *tokenizer =
        fixture_tokenizer_from("{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":2000000000},\"merges\":[]}}");
    const int32_t ids[] = {0, 1, 2000000000}, outside[] = {0, 2000000001}, negative[] = {-1};
    moesaic_error error = {0};
    char *text = NULL;
    size_t bytes;
    cr_expect_eq(tokenizer_size(tokenizer), 2000000001);
    cr_expect_null(tokenizer_token_text(tokenizer, 1, NULL));
    cr_assert_eq(tokenizer_decode(tokenizer, ids, 3, false, &text, &bytes, &error), MOESAIC_OK);
    cr_expect_str_eq(text, "a b");
    free(text);
    cr_expect_eq(tokenizer_decode(tokenizer, outside, 2, false, &text, &bytes, &error), MOESAIC_E_INPUT);
    cr_expect(strstr(error.message, "2000000001 at position 1"), "%s", error.message);
    cr_expect_eq(tokenizer_decode(tokenizer, negative, 1, false, &text, &bytes, &error), MOESAIC_E_INPUT);
    tokenizer_destroy(tokenizer);
}

/* A stream says nothing of half a character, and goes on after an id without a token. */
Test(tokenizer, stream_holds_half_characters) {
    struct tokenizer *tokenizer = fixture_tokenizer_from(
        "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"\xc3\xa6\":0,\"\xc2\xbc\":1,\"\xc2\xa2\":2,\"a\":3},\"merges\":[]},"
        "\"decoder\":{\"type\":\"ByteLevel\"}}");
    static const struct {
        int32_t id;
        const char *text;
    } steps[] = {{0, ""},
                 {1, ""},
                 {2, "\xe6\xbc\xa2"},
                 {3, "a"},
                 {0, ""},
                 {77, ""},
                 {3, "\xef\xbf\xbd"
                     "a"},
                 {0, ""}};
    struct tokenizer_stream *stream = NULL;
    moesaic_error error = {0};
    const char *text;
    size_t bytes;
    cr_assert_eq(tokenizer_stream_create(tokenizer, false, &stream, &error), MOESAIC_OK);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        cr_assert_eq(tokenizer_stream_push(stream, steps[i].id, &text, &bytes, &error), MOESAIC_OK);
        cr_expect(bytes == strlen(steps[i].text) && memcmp(text, steps[i].text, bytes) == 0, "step %zu: %.*s", i,
                  (int)bytes, text);
    }
    cr_expect_eq(tokenizer_stream_push(stream, -1, &text, &bytes, &error), MOESAIC_E_INPUT);
    cr_assert_eq(tokenizer_stream_finish(stream, &text, &bytes, &error), MOESAIC_OK);
    cr_expect(bytes == 3 && memcmp(text, "\xef\xbf\xbd", 3) == 0);
    cr_assert_eq(tokenizer_stream_push(stream, 3, &text, &bytes, &error), MOESAIC_OK);
    cr_expect(bytes == 1 && *text == 'a');
    tokenizer_stream_destroy(stream);
    tokenizer_stream_destroy(NULL);
    tokenizer_destroy(tokenizer);
}

/* ---- threads ----------------------------------------------------------------------------------------------------- */

static void *encode_often(void *tokenizer) {
    static const char text[] = "Once upon a time, in 1001 nights, it's \xe6\xbc\xa2\xe5\xad\x97 and cafe\xcc\x81.";
    int32_t *first = NULL;
    size_t first_count = 0;
    for (int i = 0; i < 200; i++) {
        int32_t *ids = NULL;
        size_t count;
        if (tokenizer_encode(tokenizer, text, sizeof text - 1, true, true, &ids, &count, NULL) != MOESAIC_OK)
            break;
        if (first && (count != first_count || memcmp(ids, first, count * sizeof *ids) != 0)) {
            free(ids);
            break;
        }
        if (first)
            free(ids);
        first = first ? first : ids;
        first_count = count;
        if (i == 199) {
            free(first);
            return tokenizer;
        }
    }
    free(first);
    return NULL;
}

Test(tokenizer, threads_share_one) {
    enum { THREADS = 4 };
    struct tokenizer *tokenizer = fixture_tokenizer("tokenizers", "qwen3");
    pthread_t threads[THREADS];
    void *result;
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, encode_often, tokenizer), 0);
    for (int i = 0; i < THREADS; i++) {
        cr_assert_eq(pthread_join(threads[i], &result), 0);
        cr_expect_eq(result, tokenizer, "thread %d", i);
    }
    tokenizer_destroy(tokenizer);
}

/* ---- settings beside the tokenizer ------------------------------------------------------------------------------- */

static struct text_settings read_settings(const char *folder, const char *name) {
    moesaic_error error = {0};
    struct text_settings settings;
    cr_assert_eq(text_settings_read(fixture_path(folder, name, ""), &settings, &error), MOESAIC_OK, "%s",
                 error.message);
    return settings;
}

Test(text_settings, reference_files) {
    struct text_settings settings = read_settings("tokenizers", "mixtral");
    cr_expect_str_eq(settings.bos, "<s>");
    cr_expect_str_eq(settings.eos, "</s>");
    cr_expect_str_eq(settings.unk, "<unk>");
    cr_expect_null(settings.pad);
    cr_expect(settings.chat_template && strlen(settings.chat_template) == settings.chat_template_bytes);
    text_settings_done(&settings);
    settings = read_settings("tokenizers", "qwen3");
    cr_expect_null(settings.bos);
    cr_expect_str_eq(settings.pad, "<|endoftext|>");
    text_settings_done(&settings);
    cr_expect_null(settings.eos);
}

Test(text_settings, files_and_their_order) {
    char folder[] = "/tmp/moesaic-settings-XXXXXX", path[64];
    moesaic_error error = {0};
    struct text_settings settings;
    cr_assert(mkdtemp(folder));
    static const struct {
        const char *file, *text;
    } files[] = {
        {"special_tokens_map.json", "{\"bos_token\":{\"content\":\"<a>\"},\"eos_token\":\"<b>\"}"},
        {"tokenizer_config.json", "{\"eos_token\":\"<c>\",\"chat_template\":[{\"name\":\"default\",\"template\":\"D\"},"
                                  "{\"name\":\"tool_use\",\"template\":\"T\"},{\"name\":\"rag\",\"template\":\"R\"}]}"},
        {"chat_template.jinja", "J\n"},
    };
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i].file);
        cr_assert_eq(file_write_atomic(path, files[i].text, strlen(files[i].text), &error), MOESAIC_OK, "%s",
                     error.message);
        cr_assert_eq(text_settings_read(folder, &settings, &error), MOESAIC_OK, "%s", error.message);
        cr_expect_str_eq(settings.bos, "<a>");
        cr_expect_str_eq(settings.eos, i ? "<c>" : "<b>");
        if (i)
            cr_expect_str_eq(settings.chat_template, i == 1 ? "D" : "J\n");
        if (i)
            cr_expect_str_eq(settings.tool_template, "T");
        text_settings_done(&settings);
    }
    snprintf(path, sizeof path, "%s/%s", folder, files[1].file);
    cr_assert_eq(file_write_atomic(path, "{\"bos_token\":3}", 15, &error), MOESAIC_OK);
    cr_expect_eq(text_settings_read(folder, &settings, &error), MOESAIC_E_INPUT);
    cr_expect(strstr(error.message, "tokenizer_config.json: bos_token"), "%s", error.message);
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i].file);
        remove(path);
    }
    remove(folder);
    cr_expect_eq(text_settings_read(folder, &settings, &error), MOESAIC_OK); /* every file may be missing */
    text_settings_done(&settings);
}
