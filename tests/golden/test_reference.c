/* SPDX-License-Identifier: Apache-2.0 */
/* Position encodings, windows, biases and activations that the larger checkpoints leave out, against transformers
 * (tests/golden/make_reference.py). */
#include "golden.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CASES_MAX = 64, TOKENS_MAX = 2048 };
static const double tolerance = 2e-4; /* of the logits' standard deviation */

static json_value *cases_read(void) {
    json_value *root;
    moesaic_error error = {0};
    cr_assert_eq(json_parse_file(golden_path("reference/cases.json"), &(struct json_limits){0}, &root, &error),
                 MOESAIC_OK, "%s", error.message);
    return root;
}

/* A checkpoint folder for one case: its configuration, and a link to the weights. */
static void open_case(const json_value *description, struct golden_engine *engine) {
    char folder[] = "/tmp/moesaic-reference-XXXXXX", config[96], weights[96], source[256];
    size_t bytes;
    char *text = json_dump(json_get(description, "config"), false, &bytes);
    cr_assert_not_null(text);
    cr_assert_not_null(mkdtemp(folder));
    snprintf(config, sizeof config, "%s/config.json", folder);
    snprintf(weights, sizeof weights, "%s/model.safetensors", folder);
    snprintf(source, sizeof source, "reference/%s", json_text(json_get(description, "weights"), NULL));
    cr_assert_eq(file_write_atomic(config, text, bytes, NULL), MOESAIC_OK);
    cr_assert_eq(symlink(golden_path(source), weights), 0);
    golden_open(engine, folder, (struct golden_setup){0});
    unlink(config);
    unlink(weights);
    rmdir(folder);
    free(text);
}

static size_t read_ids(const json_value *description, int32_t *ids) {
    const json_value *list = json_get(description, "ids");
    size_t count = json_count(list);
    cr_assert(count > 0 && count <= TOKENS_MAX);
    for (size_t i = 0; i < count; i++)
        ids[i] = (int32_t)json_int(json_at(list, i));
    return count;
}

static void check_last_rows(const char *name, const struct golden_run *run) {
    struct safetensors *file;
    cr_assert_eq(safetensors_open(golden_path("reference/expected.safetensors"), &file, NULL), MOESAIC_OK);
    const struct tensor *tensor = safetensors_find(file, name);
    cr_assert_not_null(tensor, "%s has no reference", name);
    cr_assert_eq(tensor->shape[1], run->vocab);
    size_t rows = tensor->shape[0], count = rows * run->vocab;
    float *expected = malloc(count * sizeof *expected);
    cr_assert_not_null(expected);
    memcpy(expected, tensor->data, count * sizeof *expected);
    const float *logits = run->logits + (run->tokens - rows) * run->vocab;
    double deviation = golden_deviation(expected, count), largest = 0;
    for (size_t i = 0; i < count; i++)
        largest = fabs((double)logits[i] - expected[i]) <= largest ? largest : fabs((double)logits[i] - expected[i]);
    cr_assert(largest <= tolerance * deviation, "%s: logits differ by %g, deviation %g", name, largest, deviation);
    free(expected);
    safetensors_close(file);
}

static char *names[CASES_MAX];

ParameterizedTestParameters(reference, logits) {
    json_value *root = cases_read();
    void *cursor = NULL;
    const char *key;
    const json_value *value;
    size_t count = 0;
    while (count < CASES_MAX && json_next(root, &cursor, &key, &value)) {
        names[count] = cr_malloc(strlen(key) + 1);
        strcpy(names[count++], key);
    }
    json_free(root);
    return cr_make_param_array(char *, names, count);
}

ParameterizedTest(char **name, reference, logits) {
    static int32_t ids[TOKENS_MAX];
    struct golden_engine engine;
    struct golden_run run;
    json_value *root = cases_read();
    const json_value *description = json_get(root, *name);
    size_t count = read_ids(description, ids);
    open_case(description, &engine);
    golden_evaluate(&engine, ids, count, 0, 100, &run);
    check_last_rows(*name, &run);
    golden_run_done(&run);
    golden_close(&engine);
    json_free(root);
}
