/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: a config.json from anywhere is refused, or every number in it is one that the forward pass can work
 * with. The same text serves as generation_config.json. */
#include <math.h>
#include <stdlib.h>

#include "checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void fuzz_require(bool condition) {
    if (!condition)
        abort();
}

static void fuzz_check_rope(const struct model_config *config) {
    const struct rope_config *rope = &config->rope;
    fuzz_require(isfinite(rope->theta) && rope->theta >= 1 && isfinite(rope->factor) && rope->factor > 0);
    fuzz_require(config->rotary_dim >= 2 && config->rotary_dim % 2 == 0 && config->rotary_dim <= config->head_dim);
    fuzz_require(rope->attention_factor == -1 || rope->attention_factor > 0);
    fuzz_require(rope->type != ROPE_LLAMA3 || rope->high_freq_factor > rope->low_freq_factor);
    fuzz_require(rope->type != ROPE_YARN || (rope->theta > 1 && rope->beta_fast > 0 && rope->beta_slow > 0));
    fuzz_require(rope->type != ROPE_DYNAMIC || config->rotary_dim > 2);
    fuzz_require(rope->type != ROPE_LONGROPE || rope->n_factors == config->rotary_dim / 2);
    for (uint32_t i = 0; i < rope->n_factors; i++)
        fuzz_require(rope->short_factor[i] > 0 && rope->long_factor[i] > 0);
}

static void fuzz_check(const struct model_config *config) {
    fuzz_require(config->hidden > 0 && config->layers > 0 && config->layers <= CONFIG_LAYERS_MAX && config->vocab > 0);
    fuzz_require(config->kv_heads > 0 && config->heads % config->kv_heads == 0 && config->head_dim > 0);
    fuzz_require(config->top_k <= config->experts && (config->experts == 0) == (config->top_k == 0));
    fuzz_require(config->experts == 0 || config->moe_intermediate > 0);
    fuzz_require(isfinite(config->norm_epsilon) && config->norm_epsilon >= 0 && config->clip_qkv >= 0);
    fuzz_require(config->max_position > 0 && config->n_eos <= CONFIG_EOS_MAX);
    for (uint32_t i = 0; i < config->layers; i++)
        fuzz_require(config->layer[i].moe ? config->experts > 0 : config->intermediate > 0);
    fuzz_check_rope(config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static struct model_config config;
    json_value *root = NULL;
    moesaic_error error = {0};
    if (json_parse((const char *)data, bytes, NULL, "config.json", &root, NULL) != MOESAIC_OK)
        return 0;
    moesaic_status status = config_read(root, root, "config.json", &config, &error);
    if (status == MOESAIC_OK)
        fuzz_check(&config);
    else
        fuzz_require((status == MOESAIC_E_INPUT || status == MOESAIC_E_UNSUPPORTED) && error.message[0]);
    json_free(root);
    return 0;
}
