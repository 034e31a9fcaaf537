/* SPDX-License-Identifier: Apache-2.0 */
/* The plan as JSON, schema moesaic.plan/1: written whole, read back bounded and strictly. Integers only, so that
 * neither locale nor rounding touches it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "placement_internal.h"

#define PLAN_SCHEMA "moesaic.plan/1"
enum { PLAN_BYTES_MAX = 256 << 20, PLAN_DEPTH_MAX = 6 };

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static void plan_print_pieces(FILE *out, const struct placement_plan *plan, uint32_t item) {
    fputc('[', out);
    for (uint32_t p = plan->piece_at[item]; p < plan->piece_at[item + 1]; p++) {
        const struct placement_piece *piece = &plan->pieces[p];
        fprintf(out, "%s[%u,%u,%u,%u,%u,%u]", p > plan->piece_at[item] ? "," : "", piece->node, piece->reader,
                piece->gate_begin, piece->gate_end, piece->down_begin, piece->down_end);
    }
    fputc(']', out);
}

/* One layer a line. */
static void plan_print_layers(FILE *out, const struct placement_plan *plan, bool histogram) {
    uint32_t experts = plan->model.experts;
    for (uint32_t layer = 0; layer < plan->model.layers; layer++) {
        fputs(layer > 0 ? ",\n  [" : "\n  [", out);
        for (uint32_t expert = 0; expert < experts; expert++) {
            uint32_t item = layer * experts + expert;
            fputs(expert > 0 ? "," : "", out);
            if (histogram)
                fprintf(out, "%" PRIu64, plan->histogram[item]);
            else
                plan_print_pieces(out, plan, item);
        }
        fputc(']', out);
    }
}

static void plan_print(FILE *out, const struct placement_plan *plan) {
    fprintf(out, "{\"schema\":\"" PLAN_SCHEMA "\",\n\"policy\":\"%s\",\n", placement_policy_name(plan->policy));
    fprintf(out, "\"model\":{\"layers\":%u,\"experts\":%u,\"hidden\":%u,\"bytes\":%" PRIu64 "},\n", plan->model.layers,
            plan->model.experts, plan->model.hidden, plan->model.bytes);
    fprintf(out, "\"nodes\":%u,\n\"batch\":%u,\n\"simulated_step_ns\":%" PRIu64 ",\n\"histogram\":[", plan->nodes,
            plan->batch, plan->predicted_step_ns);
    plan_print_layers(out, plan, true);
    fputs("],\n\"pieces\":[", out);
    if (plan->policy != PLACEMENT_INTERLEAVE)
        plan_print_layers(out, plan, false);
    fputs("]}\n", out);
}

moesaic_status placement_plan_text(const struct placement_plan *plan, char **ret_text, size_t *ret_bytes,
                                   moesaic_error *error) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (out == NULL)
        return status_no_memory(error, "the text of a plan", 0);
    plan_print(out, plan);
    bool failed = ferror(out) != 0;
    failed = fclose(out) != 0 || failed;
    if (failed) {
        free(text);
        return status_no_memory(error, "the text of a plan", bytes);
    }
    *ret_text = text;
    *ret_bytes = bytes;
    return MOESAIC_OK;
}

moesaic_status placement_plan_write(const struct placement_plan *plan, const char *path, moesaic_error *error) {
    char *text = NULL;
    size_t bytes = 0;
    moesaic_status status = placement_plan_text(plan, &text, &bytes, error);
    if (status == MOESAIC_OK)
        status = file_write_atomic(path, text, bytes, error);
    free(text);
    return status;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static moesaic_status plan_check_keys(const json_value *object, const char *const *known, size_t count,
                                      const char *where, moesaic_error *error) {
    void *cursor = NULL;
    const char *key;
    const json_value *value;
    while (json_next(object, &cursor, &key, &value)) {
        bool found = false;
        for (size_t k = 0; k < count; k++)
            found = found || strcmp(key, known[k]) == 0;
        if (!found)
            return status_set(error, MOESAIC_E_INPUT, "plan: unknown key '%s' (%s)", key, where);
    }
    for (size_t k = 0; k < count; k++)
        if (json_kind_of(json_get(object, known[k])) == JSON_KIND_NULL)
            return status_set(error, MOESAIC_E_INPUT, "plan: key '%s' is missing (%s)", known[k], where);
    return MOESAIC_OK;
}

static moesaic_status plan_read_u32(const json_value *object, const char *key, int64_t low, int64_t high,
                                    const char *where, uint32_t *ret_value, moesaic_error *error) {
    int64_t value = low;
    moesaic_status status = json_read_int(object, key, low, high, where, &value, error);
    if (status == MOESAIC_OK)
        *ret_value = (uint32_t)value;
    return status;
}

static moesaic_status plan_read_u64(const json_value *object, const char *key, const char *where, uint64_t *ret_value,
                                    moesaic_error *error) {
    int64_t value = 0;
    moesaic_status status = json_read_int(object, key, 0, INT64_MAX, where, &value, error);
    if (status == MOESAIC_OK)
        *ret_value = (uint64_t)value;
    return status;
}

static moesaic_status plan_read_fingerprint(const json_value *model, const char *where,
                                            struct placement_fingerprint *print, moesaic_error *error) {
    static const char *const keys[] = {"layers", "experts", "hidden", "bytes"};
    if (json_kind_of(model) != JSON_KIND_OBJECT)
        return status_set(error, MOESAIC_E_INPUT, "plan: 'model' is not an object (%s)", where);
    moesaic_status status = plan_check_keys(model, keys, sizeof keys / sizeof keys[0], where, error);
    if (status == MOESAIC_OK)
        status = plan_read_u32(model, "layers", 1, ROUTING_LAYERS_MAX, where, &print->layers, error);
    if (status == MOESAIC_OK)
        status = plan_read_u32(model, "experts", 1, ROUTING_EXPERTS_MAX, where, &print->experts, error);
    if (status == MOESAIC_OK)
        status = plan_read_u32(model, "hidden", 1, 1 << 24, where, &print->hidden, error);
    if (status == MOESAIC_OK)
        status = plan_read_u64(model, "bytes", where, &print->bytes, error);
    return status;
}

/* Everything but histogram and pieces, into `head`. */
static moesaic_status plan_read_head(const json_value *root, const char *where, struct placement_plan *head,
                                     moesaic_error *error) {
    static const char *const keys[] = {"schema",    "policy", "model", "nodes", "batch", "simulated_step_ns",
                                       "histogram", "pieces"};
    if (json_kind_of(root) != JSON_KIND_OBJECT)
        return status_set(error, MOESAIC_E_INPUT, "plan: not a JSON object (%s)", where);
    moesaic_status status = plan_check_keys(root, keys, sizeof keys / sizeof keys[0], where, error);
    if (status != MOESAIC_OK)
        return status;
    size_t bytes;
    const char *schema = json_text(json_get(root, "schema"), &bytes), *policy;
    if (schema == NULL || strcmp(schema, PLAN_SCHEMA) != 0)
        return status_set(error, MOESAIC_E_INPUT, "plan: schema is '%.40s', expected '" PLAN_SCHEMA "' (%s)",
                          schema != NULL ? schema : "", where);
    policy = json_text(json_get(root, "policy"), &bytes);
    if (policy == NULL || !placement_policy_from_name(policy, &head->policy))
        return status_set(error, MOESAIC_E_INPUT,
                          "plan: policy is '%.40s', must be interleave, slice, whole or replicate (%s)",
                          policy != NULL ? policy : "", where);
    status = plan_read_fingerprint(json_get(root, "model"), where, &head->model, error);
    if (status == MOESAIC_OK)
        status = plan_read_u32(root, "nodes", 1, TOPOLOGY_NODES_MAX, where, &head->nodes, error);
    if (status == MOESAIC_OK)
        status = plan_read_u32(root, "batch", 1, ROUTING_TOKENS_MAX, where, &head->batch, error);
    if (status == MOESAIC_OK)
        status = plan_read_u64(root, "simulated_step_ns", where, &head->predicted_step_ns, error);
    return status;
}

/* `value` is an array of `layers` arrays of `experts` elements. */
static moesaic_status plan_check_shape(const json_value *value, const struct placement_fingerprint *print,
                                       const char *key, const char *where, moesaic_error *error) {
    if (json_kind_of(value) != JSON_KIND_ARRAY || json_count(value) != print->layers)
        return status_set(error, MOESAIC_E_INPUT, "plan: '%s' is not an array of %u layers (%s)", key, print->layers,
                          where);
    for (uint32_t layer = 0; layer < print->layers; layer++) {
        const json_value *row = json_at(value, layer);
        if (json_kind_of(row) != JSON_KIND_ARRAY || json_count(row) != print->experts)
            return status_set(error, MOESAIC_E_INPUT, "plan: '%s', layer %u is not an array of %u experts (%s)", key,
                              layer, print->experts, where);
    }
    return MOESAIC_OK;
}

/* Every expert's pieces are an array of bounded length; counts them all. */
static moesaic_status plan_count_pieces(const json_value *layers, const struct placement_fingerprint *print,
                                        const char *where, uint32_t *ret_pieces, moesaic_error *error) {
    uint64_t pieces = 0;
    for (uint32_t layer = 0; layer < print->layers; layer++)
        for (uint32_t expert = 0; expert < print->experts; expert++) {
            const json_value *list = json_at(json_at(layers, layer), expert);
            if (json_kind_of(list) != JSON_KIND_ARRAY || json_count(list) > PLACEMENT_PIECES_MAX)
                return status_set(error, MOESAIC_E_INPUT,
                                  "plan: layer %u, expert %u: not an array of at most %d pieces (%s)", layer, expert,
                                  PLACEMENT_PIECES_MAX, where);
            pieces += json_count(list);
        }
    *ret_pieces = (uint32_t)pieces; /* at most 2^22 x 2^8, and each took two bytes of a file under 2^28 */
    return MOESAIC_OK;
}

static moesaic_status plan_read_piece(const json_value *value, uint32_t item, const struct placement_plan *plan,
                                      const char *where, struct placement_piece *ret_piece, moesaic_error *error) {
    const int64_t limit[6] = {plan->nodes - 1, plan->nodes - 1,    1 << 24,
                              1 << 24,         plan->model.hidden, plan->model.hidden};
    int64_t number[6];
    bool fine = json_kind_of(value) == JSON_KIND_ARRAY && json_count(value) == 6;
    for (size_t i = 0; i < 6 && fine; i++) {
        const json_value *element = json_at(value, i);
        number[i] = json_int(element);
        fine = json_kind_of(element) == JSON_KIND_INTEGER && number[i] >= 0 && number[i] <= limit[i];
    }
    if (!fine)
        return status_set(error, MOESAIC_E_INPUT,
                          "plan: layer %u, expert %u: a piece is six integers, node and reader below %u and two row "
                          "ranges (%s)",
                          item / plan->model.experts, item % plan->model.experts, plan->nodes, where);
    *ret_piece = (struct placement_piece){.node = (uint16_t)number[0],
                                          .reader = (uint16_t)number[1],
                                          .gate_begin = (uint32_t)number[2],
                                          .gate_end = (uint32_t)number[3],
                                          .down_begin = (uint32_t)number[4],
                                          .down_end = (uint32_t)number[5]};
    return MOESAIC_OK;
}

static moesaic_status plan_read_pieces(const json_value *layers, const char *where, struct placement_plan *plan,
                                       moesaic_error *error) {
    uint32_t experts = plan->model.experts, at = 0;
    for (uint32_t item = 0; item < plan->model.layers * experts; item++) {
        const json_value *list = json_at(json_at(layers, item / experts), item % experts);
        for (size_t p = 0; p < json_count(list); p++) {
            moesaic_status status = plan_read_piece(json_at(list, p), item, plan, where, &plan->pieces[at++], error);
            if (status != MOESAIC_OK)
                return status;
        }
        plan->piece_at[item + 1] = at;
    }
    return MOESAIC_OK;
}

static moesaic_status plan_read_histogram(const json_value *layers, const char *where, struct placement_plan *plan,
                                          moesaic_error *error) {
    uint32_t experts = plan->model.experts;
    for (uint32_t item = 0; item < plan->model.layers * experts; item++) {
        const json_value *count = json_at(json_at(layers, item / experts), item % experts);
        if (json_kind_of(count) != JSON_KIND_INTEGER || json_int(count) < 0 || json_int(count) >> 40 != 0)
            return status_set(error, MOESAIC_E_INPUT,
                              "plan: histogram of layer %u, expert %u is not an integer from 0 to 2^40 (%s)",
                              item / experts, item % experts, where);
        plan->histogram[item] = (uint64_t)json_int(count);
    }
    return MOESAIC_OK;
}

static moesaic_status plan_from_json(const json_value *root, const char *where, struct placement_plan **ret_plan,
                                     moesaic_error *error) {
    struct placement_plan head = {0}, *plan = NULL;
    uint32_t pieces = 0;
    moesaic_status status = plan_read_head(root, where, &head, error);
    if (status != MOESAIC_OK)
        return status;
    const json_value *layers = json_get(root, "pieces"), *histogram = json_get(root, "histogram");
    bool interleaved = head.policy == PLACEMENT_INTERLEAVE;
    status = plan_check_shape(histogram, &head.model, "histogram", where, error);
    if (status == MOESAIC_OK && interleaved && (json_kind_of(layers) != JSON_KIND_ARRAY || json_count(layers) != 0))
        status = status_set(error, MOESAIC_E_INPUT, "plan: 'pieces' of an interleaved plan is not [] (%s)", where);
    if (status == MOESAIC_OK && !interleaved)
        status = plan_check_shape(layers, &head.model, "pieces", where, error);
    if (status == MOESAIC_OK && !interleaved)
        status = plan_count_pieces(layers, &head.model, where, &pieces, error);
    if (status == MOESAIC_OK)
        status = placement_plan_allocate(head.model.layers * head.model.experts, pieces, &plan, error);
    if (status != MOESAIC_OK)
        return status;
    head.piece_at = plan->piece_at;
    head.pieces = plan->pieces;
    head.histogram = plan->histogram;
    *plan = head;
    status = plan_read_histogram(histogram, where, plan, error);
    if (status == MOESAIC_OK && !interleaved)
        status = plan_read_pieces(layers, where, plan, error);
    if (status != MOESAIC_OK) {
        placement_plan_destroy(plan);
        return status;
    }
    *ret_plan = plan;
    return MOESAIC_OK;
}

moesaic_status placement_plan_parse(const char *text, size_t bytes, const char *where, struct placement_plan **ret_plan,
                                    moesaic_error *error) {
    const struct json_limits limits = {
        .max_bytes = PLAN_BYTES_MAX, .max_depth = PLAN_DEPTH_MAX, .reject_duplicates = true};
    json_value *root = NULL;
    moesaic_status status = json_parse(text, bytes, &limits, where, &root, error);
    if (status == MOESAIC_OK)
        status = plan_from_json(root, where, ret_plan, error);
    json_free(root);
    return status;
}

moesaic_status placement_plan_read(const char *path, struct placement_plan **ret_plan, moesaic_error *error) {
    struct file_map map = {0};
    moesaic_status status = file_map_open(path, &map, error);
    if (status == MOESAIC_OK)
        status = placement_plan_parse((const char *)map.data, map.bytes, path, ret_plan, error);
    file_map_close(&map);
    return status;
}
