/* SPDX-License-Identifier: Apache-2.0 */
/* Artifacts: what is written is read back; whatever is damaged is refused, or found by verification, and never harms.
 */
#include <criterion/criterion.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "artifact_fixture.h"
#include "artifact_internal.h"

/* ---- files ------------------------------------------------------------------------------------------------------- */

static char folder[64], path[96];
static uint8_t *good;
static size_t good_bytes;

static void bytes_read(const char *from, uint8_t **ret_bytes, size_t *ret_count) {
    FILE *file = fopen(from, "rb");
    cr_assert(file != NULL, "no %s", from);
    *ret_bytes = malloc(1 << 20);
    *ret_count = fread(*ret_bytes, 1, 1 << 20, file);
    fclose(file);
}

static void fixture_make(void) {
    uint32_t layers;
    moesaic_error error = {0};
    strcpy(folder, "/tmp/moesaic-artifact-XXXXXX");
    cr_assert(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/tiny.moe", folder);
    cr_assert_eq(artifact_fixture_write(path, 1, false, true, &layers, &error), MOESAIC_OK, "%s", error.message);
    bytes_read(path, &good, &good_bytes);
}

static void fixture_remove(void) {
    artifact_discard(path, NULL);
    unlink(path);
    rmdir(folder);
    free(good);
}

/* Checksums made to agree with damaged bytes, so that what lies behind them is looked at. */
static void checksums_mend(uint8_t *bytes, size_t count) {
    struct artifact_header h;
    memcpy(&h, bytes, sizeof h);
    if (h.metadata_offset < count)
        h.tail_checksum = XXH3_64bits(bytes + h.metadata_offset, count - h.metadata_offset);
    h.header_checksum = XXH3_64bits(&h, offsetof(struct artifact_header, header_checksum));
    memcpy(bytes, &h, sizeof h);
}

/* Opens and, where that succeeds, verifies, binds and reads every weight. Returns the first failure. */
static moesaic_status use(const uint8_t *bytes, size_t count, moesaic_error *error) {
    char name[64];
    static float values[1 << 16];
    struct artifact *artifact = NULL;
    struct model_weights *weights = NULL;
    int fd = memfd_create("artifact", 0);
    cr_assert(fd >= 0 && write(fd, bytes, count) == (ssize_t)count);
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    moesaic_status status = artifact_open(name, &artifact, error), bound = MOESAIC_OK;
    if (!status) {
        status = artifact_verify(artifact, error);
        bound = artifact_bind(artifact, &weights, status ? NULL : error);
        for (size_t i = 0; i < artifact_tensors(artifact); i++) {
            const struct weight *w = &artifact_tensor_at(artifact, i)->weight;
            if (w->rows && w->cols && w->rows <= sizeof values / sizeof *values / w->cols)
                weight_dequantize(w, 0, w->rows, values);
        }
    }
    model_weights_destroy(weights);
    artifact_close(artifact);
    close(fd);
    return status ? status : bound;
}

static bool is_refusal(moesaic_status status) {
    return status == MOESAIC_E_INPUT || status == MOESAIC_E_UNSUPPORTED;
}

/* ---- whole ------------------------------------------------------------------------------------------------------- */

TestSuite(artifact, .init = fixture_make, .fini = fixture_remove);

Test(artifact, is_read_back_as_it_was_written) {
    moesaic_error error = {0};
    struct artifact *a;
    cr_assert(artifact_recognized(path));
    cr_assert_eq(artifact_open(path, &a, &error), MOESAIC_OK, "%s", error.message);
    cr_assert_eq(artifact_runs(a), 5);
    cr_assert_eq(artifact_tensors(a), 20);
    cr_assert_eq(artifact_bytes(a), good_bytes);
    for (size_t i = 0; i < artifact_runs(a); i++) {
        const struct artifact_run *run = artifact_run_at(a, i);
        cr_assert_eq(run->offset % 4096, 0);
        cr_assert_eq(XXH3_64bits(good + run->offset, run->bytes), run->checksum);
    }
    for (size_t i = 0; i < artifact_tensors(a); i++)
        cr_assert_eq(artifact_find(a, artifact_tensor_at(a, i)->name), artifact_tensor_at(a, i));
    const struct artifact_tensor *up = artifact_find(a, "model.layers.0.mlp.experts.0.up_proj.weight");
    cr_assert_eq(up->weight.format, FORMAT_INT4_MASK);
    cr_assert_eq(artifact_run_at(a, up->run)->part, ARTIFACT_EXPERT);
    cr_assert_null(artifact_find(a, "model.layers.0.mlp.experts.2.up_proj.weight"));
    struct expert_term term;
    cr_assert_not(artifact_term(a, "model.layers.0.mlp.experts.1.up_proj.weight", &term));
    cr_assert(artifact_term(a, "model.layers.0.mlp.experts.1.down_proj.weight", &term));
    cr_assert(term.left.cols == 3 && term.right.rows == 3 && term.left.rows == 32 && term.right.cols == 32);
    struct model_weights *weights;
    cr_assert_eq(artifact_bind(a, &weights, &error), MOESAIC_OK, "%s", error.message);
    const struct ffn_weights *expert = &weights->layers[0].experts[1];
    cr_assert(expert->term[2].left.data == term.left.data && expert->term[2].right.data == term.right.data);
    cr_assert_null(expert->term[0].left.data);
    model_weights_destroy(weights);
    const char *text;
    size_t bytes;
    cr_assert(artifact_file(a, "config.json", &text, &bytes) && text[0] == '{' && text[bytes - 1] == '}');
    cr_assert_not(artifact_file(a, "tokenizer.json", &text, &bytes));
    cr_assert_eq(artifact_config(a)->experts, 2);
    cr_assert_str_eq(json_text(json_get(artifact_metadata(a), "schema"), NULL), "moesaic.artifact/1");
    artifact_close(a);
    cr_assert_eq(use(good, good_bytes, &error), MOESAIC_OK, "%s", error.message);
}

Test(artifact, is_the_same_bytes_when_written_again_or_gone_on_with) {
    uint32_t layers = 9;
    uint8_t *again;
    size_t bytes;
    moesaic_error error = {0};
    cr_assert_eq(artifact_fixture_write(path, 2, false, false, &layers, &error), MOESAIC_OK);
    cr_assert_eq(artifact_fixture_write(path, 3, true, true, &layers, &error), MOESAIC_E_USAGE,
                 "another fingerprint went on with the journal");
    cr_assert_eq(artifact_fixture_write(path, 2, true, true, &layers, &error), MOESAIC_OK, "%s", error.message);
    cr_assert_eq(layers, 1);
    bytes_read(path, &again, &bytes);
    cr_assert(bytes == good_bytes && !memcmp(again, good, bytes));
    free(again);
}

/* Whatever lies in journal and partial file, a resumed run ends in the same bytes: it goes on or starts anew. */
Test(artifact, resumes_over_damage) {
    char journal[128], partial[128];
    snprintf(journal, sizeof journal, "%s.journal", path);
    snprintf(partial, sizeof partial, "%s.partial", path);
    for (int damage = 0; damage < 4; damage++) {
        uint32_t layers;
        uint8_t *again, byte = 0x5a;
        size_t bytes;
        cr_assert_eq(artifact_fixture_write(path, 2, false, false, &layers, NULL), MOESAIC_OK);
        if (damage == 0)
            cr_assert_eq(truncate(journal, 100), 0);
        if (damage == 1)
            cr_assert_eq(truncate(partial, 4096 + 64), 0);
        if (damage == 2) {
            FILE *file = fopen(partial, "r+b");
            cr_assert(file && !fseek(file, 4096 + 10, SEEK_SET) && fwrite(&byte, 1, 1, file) == 1);
            fclose(file);
        }
        if (damage == 3)
            unlink(partial);
        cr_assert_eq(artifact_fixture_write(path, 2, true, true, &layers, NULL), MOESAIC_OK);
        cr_assert_eq(layers, 0, "damage %d went unnoticed", damage);
        bytes_read(path, &again, &bytes);
        cr_assert(bytes == good_bytes && !memcmp(again, good, bytes), "damage %d", damage);
        free(again);
    }
}

Test(artifact, discards_what_is_unfinished_and_nothing_else) {
    char draft[128], deep[PATH_MAX];
    uint32_t layers;
    moesaic_error error = {0};
    snprintf(draft, sizeof draft, "%s.journal.tmp", path);
    cr_assert_eq(artifact_fixture_write(path, 2, false, false, &layers, NULL), MOESAIC_OK);
    cr_assert_eq(mkdir(draft, 0777), 0);
    cr_assert_eq(artifact_discard(path, &error), MOESAIC_E_IO);
    cr_assert(strstr(error.message, draft) != NULL, "%s", error.message);
    cr_assert_eq(rmdir(draft), 0);
    fclose(fopen(draft, "w"));
    for (int time = 0; time < 2; time++)
        cr_assert_eq(artifact_discard(path, &error), MOESAIC_OK, "%s", error.message);
    cr_assert_eq(unlink(path), 0, "the artifact went too");
    cr_assert_eq(rmdir(folder), 0, "something was left");
    memset(deep, 'x', sizeof deep - 1);
    deep[sizeof deep - 1] = 0;
    cr_assert_eq(artifact_discard(deep, &error), MOESAIC_E_IO);
}

Test(artifact, is_the_seed_of_the_fuzzer) {
    char seed[4096];
    uint8_t *bytes;
    size_t count;
    snprintf(seed, sizeof seed, "%s/../fuzz/corpus/artifact/tiny.moe", getenv("MOESAIC_TEST_DATA"));
    bytes_read(seed, &bytes, &count);
    cr_assert(count == good_bytes && !memcmp(bytes, good, count), "copy the fixture's artifact over the seed");
    free(bytes);
}

/* ---- damaged ----------------------------------------------------------------------------------------------------- */

Test(artifact, is_refused_when_cut_anywhere) {
    moesaic_error error;
    for (size_t count = 0; count < good_bytes; count += count + 200 < good_bytes ? 61 : 1)
        cr_assert(is_refusal(use(good, count, &error)), "cut to %zu of %zu bytes", count, good_bytes);
}

/* Each bit anywhere: header and tables are found at opening, runs and files by verification. */
Test(artifact, hides_no_flipped_bit) {
    moesaic_error error;
    for (size_t at = 0; at < good_bytes; at += at < 4096 + 256 || at + 4096 > good_bytes ? 1 : 7) {
        uint8_t kept = good[at];
        good[at] ^= (uint8_t)(1u << at % 8);
        cr_assert(is_refusal(use(good, good_bytes, &error)), "byte %zu", at);
        good[at] = kept;
    }
}

/* Where `text` lies in the names of `bytes`. */
static uint8_t *name_find(uint8_t *bytes, const char *text) {
    struct artifact_header h;
    memcpy(&h, bytes, sizeof h);
    uint8_t *at = bytes + h.names_offset;
    while (at + strlen(text) <= bytes + h.names_offset + h.names_bytes && memcmp(at, text, strlen(text)))
        at++;
    cr_assert_eq(memcmp(at, text, strlen(text)), 0, "no %s", text);
    return at;
}

/* A low-rank term without the feature bit, with an unknown one, without its other factor, beside a matrix of another
 * run, and without a matrix. */
Test(artifact, takes_no_term_that_is_not_whole) {
    static const char left[] = "model.layers.0.mlp.experts.1.down_proj.weight.lowrank_left";
    static const char right[] = "model.layers.0.mlp.experts.1.down_proj.weight.lowrank_right";
    for (int damage = 0; damage < 5; damage++) {
        moesaic_error error = {0};
        uint8_t *bad = malloc(good_bytes);
        memcpy(bad, good, good_bytes);
        if (damage == 0)
            bad[offsetof(struct artifact_header, incompatible)] = 0;
        if (damage == 1)
            bad[offsetof(struct artifact_header, incompatible)] |= 2;
        if (damage == 2)
            name_find(bad, left)[sizeof left - 2] = 'x';
        if (damage >= 3) {
            uint8_t digit = damage == 3 ? '0' : '9';
            name_find(bad, left)[strlen("model.layers.0.mlp.experts.")] = digit;
            name_find(bad, right)[strlen("model.layers.0.mlp.experts.")] = digit;
        }
        checksums_mend(bad, good_bytes);
        cr_assert_eq(use(bad, good_bytes, &error), damage == 1 ? MOESAIC_E_UNSUPPORTED : MOESAIC_E_INPUT, "damage %d",
                     damage);
        cr_assert(strstr(error.message, damage == 1 ? "feature" : "low-rank"), "damage %d: %s", damage, error.message);
        free(bad);
    }
}

/* Tables that agree with their checksums and lie: refused, or taken without harm. Fields of the header and every record
 * are set to the values that overflow. */
Test(artifact, survives_lies_that_are_signed) {
    static const uint8_t values[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    struct artifact_header h;
    moesaic_error error;
    size_t refused = 0, tried = 0;
    uint8_t *bad = malloc(good_bytes);
    memcpy(&h, good, sizeof h);
    for (size_t at = 8; at < good_bytes; at = at + 1 == sizeof h ? h.metadata_offset : at + 1) {
        for (size_t i = 0; i < sizeof values; i++) {
            memcpy(bad, good, good_bytes);
            bad[at] = values[i];
            checksums_mend(bad, good_bytes);
            moesaic_status status = use(bad, good_bytes, &error);
            cr_assert(!status || is_refusal(status), "byte %zu as %u: status %d", at, values[i], status);
            refused += is_refusal(status);
            tried++;
        }
    }
    cr_assert(refused * 4 > tried, "only %zu of %zu were refused", refused, tried);
    free(bad);
}
