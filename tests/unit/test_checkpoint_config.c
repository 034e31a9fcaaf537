/* SPDX-License-Identifier: Apache-2.0 */
/* config.json of each family: both spellings, every default, every refusal by name. */
#include <criterion/criterion.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint.h"

/* Reads a configuration from text with ' for "; `generation` may be NULL. */
static moesaic_status read_texts(const char *text, const char *generation, struct model_config *config,
                                 moesaic_error *error) {
    json_value *roots[2] = {NULL, NULL};
    const char *texts[2] = {text, generation};
    for (int i = 0; i < 2 && texts[i]; i++) {
        char *copy = strdup(texts[i]);
        for (char *p = copy; *p; p++)
            *p = *p == '\'' ? '"' : *p;
        cr_assert_eq(json_parse(copy, strlen(copy), NULL, "test", &roots[i], error), MOESAIC_OK, "%s: %s", copy,
                     error->message);
        free(copy);
    }
    moesaic_status status = config_read(roots[0], roots[1], "f/config.json", config, error);
    json_free(roots[0]);
    json_free(roots[1]);
    return status;
}

/* The smallest configuration of a family, with `more` after it: of duplicate keys the last wins. */
static char *with(const char *family, const char *more) {
    char *text = malloc(strlen(more) + 512);
    sprintf(text,
            "{'model_type':'%s','hidden_size':64,'num_hidden_layers':4,'num_attention_heads':4,"
            "'num_key_value_heads':2,'vocab_size':100,'intermediate_size':96%s%s%s}",
            family, strcmp(family, "llama") ? ",'num_experts_per_tok':2" : "", *more ? "," : "", more);
    return text;
}

static struct model_config *accepted(const char *family, const char *more) {
    struct model_config *config = calloc(1, sizeof *config);
    moesaic_error error = {0};
    char *text = with(family, more);
    cr_assert_eq(read_texts(text, NULL, config, &error), MOESAIC_OK, "%s: %s: %s", family, more, error.message);
    free(text);
    return config;
}

static void refused(const char *family, const char *more, moesaic_status status, const char *why) {
    static struct model_config config;
    moesaic_error error = {0};
    char *text = with(family, more);
    memset(&config, 0x55, sizeof config);
    cr_expect_eq(read_texts(text, NULL, &config, &error), status, "%s: %s: %s", family, more, error.message);
    cr_expect_eq(config.hidden, 0x55555555, "the output was touched");
    cr_expect(strstr(error.message, "f/config.json") && strstr(error.message, why),
              "%s: %s: \"%s\" does not hold \"%s\"", family, more, error.message, why);
    free(text);
}

/* ---- defaults of absent keys, as transformers' configuration classes have them ---- */

static struct model_config bare(const char *family) {
    struct model_config config;
    moesaic_error error = {0};
    char text[64];
    snprintf(text, sizeof text, "{'model_type':'%s'}", family);
    cr_assert_eq(read_texts(text, NULL, &config, &error), MOESAIC_OK, "%s: %s", family, error.message);
    cr_expect_str_eq(config.model_type, family);
    cr_expect(!config.tied_head && config.activation.type == ACTIVATION_SILU && config.rope.type == ROPE_DEFAULT);
    cr_expect_eq(config.rotary_dim, config.head_dim);
    for (uint32_t i = 0; i < config.layers; i++)
        cr_expect(config.layer[i].window == 0 && config.layer[i].moe == (config.experts > 0));
    return config;
}

Test(config, defaults_of_llama) {
    struct model_config c = bare("llama");
    cr_expect(c.hidden == 4096 && c.layers == 32 && c.heads == 32 && c.kv_heads == 32 && c.head_dim == 128);
    cr_expect(c.vocab == 32000 && c.intermediate == 11008 && c.experts == 0 && c.top_k == 0);
    cr_expect(c.norm_epsilon == 1e-6 && c.rope.theta == 1e4 && c.max_position == 2048);
    cr_expect(!c.q_bias && !c.o_bias && !c.mlp_bias && c.qk_norm == QK_NORM_NONE);
    cr_expect(c.bos == 1 && c.pad == -1 && c.n_eos == 1 && c.eos[0] == 2);
}

Test(config, defaults_of_mixtral) {
    struct model_config c = bare("mixtral");
    cr_expect(c.hidden == 4096 && c.layers == 32 && c.heads == 32 && c.kv_heads == 8 && c.head_dim == 128);
    cr_expect(c.moe_intermediate == 14336 && c.experts == 8 && c.top_k == 2 && c.norm_topk_prob);
    cr_expect(c.norm_epsilon == 1e-5 && c.rope.theta == 1e6 && c.max_position == 131072);
    cr_expect(c.bos == 1 && c.n_eos == 1 && c.eos[0] == 2);
}

Test(config, defaults_of_qwen2_moe) {
    struct model_config c = bare("qwen2_moe");
    cr_expect(c.hidden == 2048 && c.layers == 24 && c.heads == 16 && c.kv_heads == 16 && c.vocab == 151936);
    cr_expect(c.intermediate == 5632 && c.moe_intermediate == 1408 && c.shared_intermediate == 5632 && c.shared_gate);
    cr_expect(c.experts == 60 && c.top_k == 4 && !c.norm_topk_prob && c.norm_epsilon == 1e-6);
    cr_expect(c.q_bias && c.k_bias && c.v_bias && !c.o_bias && c.rope.theta == 1e4 && c.max_position == 32768);
    cr_expect(c.bos == -1 && c.pad == -1 && c.n_eos == 0);
}

Test(config, defaults_of_qwen3_moe) {
    struct model_config c = bare("qwen3_moe");
    cr_expect(c.hidden == 2048 && c.layers == 24 && c.heads == 32 && c.kv_heads == 4 && c.head_dim == 64);
    cr_expect(c.intermediate == 6144 && c.moe_intermediate == 768 && c.shared_intermediate == 0 && !c.shared_gate);
    cr_expect(c.experts == 128 && c.top_k == 8 && !c.norm_topk_prob && c.qk_norm == QK_NORM_HEAD);
    cr_expect(!c.q_bias && c.rope.theta == 1e4 && c.max_position == 32768 && c.n_eos == 0);
}

Test(config, defaults_of_olmoe) {
    struct model_config c = bare("olmoe");
    cr_expect(c.hidden == 2048 && c.layers == 16 && c.heads == 16 && c.kv_heads == 16 && c.vocab == 50304);
    cr_expect(c.moe_intermediate == 2048 && c.experts == 64 && c.top_k == 8 && !c.norm_topk_prob);
    cr_expect(c.qk_norm == QK_NORM_FULL && c.clip_qkv == 0 && c.norm_epsilon == 1e-5 && c.max_position == 4096);
    cr_expect(c.pad == 1 && c.n_eos == 1 && c.eos[0] == 50279);
}

/* ---- values ---- */

Test(config, architecture_alone_names_the_family) {
    struct model_config config;
    moesaic_error error = {0};
    cr_assert_eq(read_texts("{'architectures':['OlmoeForCausalLM']}", NULL, &config, &error), MOESAIC_OK);
    cr_expect_eq(config.family, FAMILY_OLMOE);
    cr_expect_str_eq(config.architecture, "OlmoeForCausalLM");
}

Test(config, reads_both_names_of_the_experts) {
    struct model_config *a = accepted("qwen3_moe", "'num_experts':6"),
                        *b = accepted("qwen3_moe", "'num_local_experts':6"),
                        *c = accepted("mixtral", "'num_experts':6,'num_local_experts':6");
    cr_expect(a->experts == 6 && b->experts == 6 && c->experts == 6);
    free(a), free(b), free(c);
    a = accepted("qwen2_moe", "'num_experts':0");
    cr_expect(a->experts == 0 && a->top_k == 0 && !a->layer[0].moe);
    free(a);
}

Test(config, reads_heads) {
    struct model_config *c = accepted("qwen3_moe", "'head_dim':32");
    cr_expect(c->head_dim == 32 && c->rotary_dim == 32 && c->heads == 4 && c->kv_heads == 2);
    free(c);
    c = accepted("llama", "'head_dim':null,'num_key_value_heads':null");
    cr_expect(c->head_dim == 16 && c->kv_heads == 4);
    free(c);
    c = accepted("llama", "'head_dim':20,'partial_rotary_factor':0.51");
    cr_expect_eq(c->rotary_dim, 10);
    free(c);
}

Test(config, reads_biases) {
    struct model_config *c = accepted("qwen2_moe", "'qkv_bias':false");
    cr_expect(!c->q_bias && !c->o_bias);
    free(c);
    c = accepted("qwen3_moe", "'attention_bias':true");
    cr_expect(c->q_bias && c->k_bias && c->v_bias && c->o_bias);
    free(c);
    c = accepted("llama", "'attention_bias':true,'mlp_bias':true");
    cr_expect(c->q_bias && c->o_bias && c->mlp_bias);
    free(c);
}

Test(config, reads_layers) {
    struct model_config *c = accepted("qwen3_moe", "'decoder_sparse_step':2,'mlp_only_layers':[3,99,-1]");
    cr_expect(!c->layer[0].moe && c->layer[1].moe && !c->layer[2].moe && !c->layer[3].moe);
    free(c);
}

Test(config, reads_windows_as_each_family_does) {
    struct model_config *c = accepted("mixtral", "'sliding_window':8,'use_sliding_window':false");
    cr_expect(c->layer[0].window == 8 && c->layer[3].window == 8);
    free(c);
    c = accepted("qwen3_moe", "'sliding_window':8,'use_sliding_window':true,'max_window_layers':1");
    cr_expect(c->layer[0].window == 8 && c->layer[3].window == 8);
    free(c);
    c = accepted("qwen3_moe", "'sliding_window':8,'use_sliding_window':false");
    cr_expect_eq(c->layer[0].window, 0);
    free(c);
    c = accepted("qwen3_moe", "'use_sliding_window':true");
    cr_expect_eq(c->layer[0].window, 4096);
    free(c);
    c = accepted("qwen2_moe", "'sliding_window':8,'use_sliding_window':true,'max_window_layers':3");
    cr_expect(c->layer[0].window == 8 && !c->layer[1].window && c->layer[2].window == 8 && !c->layer[3].window);
    free(c);
    c = accepted("qwen2_moe", "'sliding_window':8,'use_sliding_window':true,'layer_types':['full_attention',"
                              "'sliding_attention','full_attention','sliding_attention']");
    cr_expect(!c->layer[0].window && c->layer[1].window == 8 && !c->layer[2].window && c->layer[3].window == 8);
    free(c);
    c = accepted("qwen2_moe", "'sliding_window':0");
    cr_expect_eq(c->layer[0].window, 0);
    free(c);
    c = accepted("llama", "'sliding_window':2048"); /* not below max_position_embeddings: never felt */
    cr_expect_eq(c->layer[0].window, 0);
    free(c);
}

Test(config, reads_activations) {
    static const struct {
        const char *name;
        activation_type type;
    } names[] = {{"silu", ACTIVATION_SILU},
                 {"swish", ACTIVATION_SILU},
                 {"gelu", ACTIVATION_GELU},
                 {"gelu_new", ACTIVATION_GELU_TANH},
                 {"gelu_pytorch_tanh", ACTIVATION_GELU_TANH}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char more[64];
        snprintf(more, sizeof more, "'hidden_act':'%s'", names[i].name);
        struct model_config *c = accepted("mixtral", more);
        cr_expect_eq(c->activation.type, names[i].type, "%s", names[i].name);
        free(c);
    }
}

Test(config, reads_numbers) {
    struct model_config *c = accepted("olmoe", "'rms_norm_eps':1e-3,'clip_qkv':8,'max_position_embeddings':1e6,"
                                               "'norm_topk_prob':true,'tie_word_embeddings':true");
    cr_expect(c->norm_epsilon == 1e-3 && c->clip_qkv == 8 && c->max_position == 1000000 && c->norm_topk_prob);
    cr_expect(c->tied_head);
    free(c);
}

Test(config, reads_special_tokens) {
    struct model_config config;
    moesaic_error error = {0};
    cr_assert_eq(read_texts("{'model_type':'llama','eos_token_id':[5,6],'bos_token_id':null,'pad_token_id':-1}", NULL,
                            &config, &error),
                 MOESAIC_OK);
    cr_expect(config.n_eos == 2 && config.eos[1] == 6 && config.bos == -1 && config.pad == -1);
    cr_assert_eq(read_texts("{'model_type':'llama','eos_token_id':5}", "{'eos_token_id':[7,8,9]}", &config, &error),
                 MOESAIC_OK);
    cr_expect(config.n_eos == 3 && config.eos[2] == 9 && config.bos == 1);
    cr_assert_eq(read_texts("{'model_type':'llama','eos_token_id':5}", "{}", &config, &error), MOESAIC_OK);
    cr_expect(config.n_eos == 1 && config.eos[0] == 5);
    cr_assert_eq(read_texts("{'model_type':'llama','eos_token_id':null}", NULL, &config, &error), MOESAIC_OK);
    cr_expect_eq(config.n_eos, 0);
    cr_expect_eq(read_texts("{'model_type':'llama'}", "{'eos_token_id':'x'}", &config, &error), MOESAIC_E_INPUT);
    cr_expect(strstr(error.message, "f/generation_config.json: key \"eos_token_id\""), "%s", error.message);
    cr_expect_eq(read_texts("{'model_type':'llama'}", "[]", &config, &error), MOESAIC_E_INPUT);
}

/* ---- rope ---- */

Test(config, rope_in_both_spellings) {
    struct model_config *c = accepted("llama", "'rope_theta':5e5,'rope_scaling':null");
    cr_expect(c->rope.type == ROPE_DEFAULT && c->rope.theta == 5e5 && c->rope.factor == 1);
    free(c);
    c = accepted("llama", "'rope_theta':7,'rope_parameters':{'rope_type':'default','rope_theta':9}");
    cr_expect(c->rope.type == ROPE_DEFAULT && c->rope.theta == 9);
    free(c);
    c = accepted("mixtral", "'rope_scaling':{'type':'linear','factor':4.0}");
    cr_expect(c->rope.type == ROPE_LINEAR && c->rope.theta == 1e6 && c->rope.factor == 4);
    free(c);
    c = accepted("llama", "'rope_scaling':{'type':'dynamic','factor':2}");
    cr_expect(c->rope.type == ROPE_DYNAMIC && c->rope.factor == 2);
    free(c);
    c = accepted("llama", "'rope_scaling':{},'rope_parameters':{'rope_type':'linear','factor':3,"
                          "'partial_rotary_factor':0.5}");
    cr_expect(c->rope.type == ROPE_LINEAR && c->rope.factor == 3 && c->rotary_dim == 8);
    free(c);
}

Test(config, rope_llama3) {
    struct model_config *c = accepted("llama", "'rope_scaling':{'rope_type':'llama3','factor':8,'low_freq_factor':1,"
                                               "'high_freq_factor':4,'original_max_position_embeddings':8192}");
    cr_expect(c->rope.type == ROPE_LLAMA3 && c->rope.factor == 8 && c->rope.low_freq_factor == 1);
    cr_expect(c->rope.high_freq_factor == 4 && c->rope.original_max_position == 8192);
    free(c);
}

Test(config, rope_yarn) {
    struct model_config *c = accepted("qwen3_moe", "'max_position_embeddings':400,'rope_scaling':{'rope_type':'yarn',"
                                                   "'original_max_position_embeddings':100}");
    cr_expect(c->rope.type == ROPE_YARN && c->rope.factor == 4 && c->rope.attention_factor < 0 && c->rope.truncate);
    cr_expect(c->rope.beta_fast == 32 && c->rope.beta_slow == 1 && c->rope.mscale == 0 && c->rope.mscale_all_dim == 0);
    free(c);
    c = accepted("qwen3_moe", "'rope_scaling':{'rope_type':'yarn','factor':4,'attention_factor':0.5,'beta_fast':0,"
                              "'beta_slow':2,'mscale':0.7,'mscale_all_dim':0.9,'truncate':false}");
    cr_expect(c->rope.factor == 4 && c->rope.attention_factor == 0.5 && c->rope.beta_fast == 32);
    cr_expect(c->rope.beta_slow == 2 && c->rope.mscale == 0.7 && c->rope.mscale_all_dim == 0.9 && !c->rope.truncate);
    cr_expect_eq(c->rope.original_max_position, 0);
    free(c);
}

#define EIGHT(x) x "," x "," x "," x "," x "," x "," x "," x

Test(config, rope_longrope) {
    struct model_config *c =
        accepted("mixtral", "'max_position_embeddings':64,'original_max_position_embeddings':16,'rope_scaling':{"
                            "'rope_type':'longrope','original_max_position_embeddings':32,"
                            "'short_factor':[" EIGHT("1") "],'long_factor':[" EIGHT("2.5") "]}");
    cr_expect(c->rope.type == ROPE_LONGROPE && c->rope.n_factors == 8 && c->rope.original_max_position == 16);
    cr_expect(c->rope.factor == 4 && c->rope.attention_factor < 0);
    cr_expect(c->rope.short_factor[7] == 1 && c->rope.long_factor[7] == 2.5);
    free(c);
}

/* ---- refusals ---- */

static const struct {
    const char *family, *more;
    moesaic_status status;
    const char *why;
} bad[] = {
    {"phimoe", "", MOESAIC_E_UNSUPPORTED, "model_type \"phimoe\""},
    {"llama", "'architectures':['LlamaForSequenceClassification']", MOESAIC_E_UNSUPPORTED,
     "architecture \"LlamaForSequenceClassification\""},
    {"llama", "'architectures':['MixtralForCausalLM']", MOESAIC_E_INPUT, "name different families"},
    {"llama", "'hidden_size':0", MOESAIC_E_INPUT, "hidden_size is 0"},
    {"llama", "'hidden_size':'64'", MOESAIC_E_INPUT, "hidden_size"},
    {"llama", "'hidden_size':64.5", MOESAIC_E_INPUT, "hidden_size"},
    {"llama", "'hidden_size':1e300", MOESAIC_E_INPUT, "hidden_size"},
    {"llama", "'num_hidden_layers':1025", MOESAIC_E_INPUT, "num_hidden_layers is 1025"},
    {"llama", "'num_attention_heads':-1", MOESAIC_E_INPUT, "num_attention_heads is -1"},
    {"llama", "'num_attention_heads':128", MOESAIC_E_INPUT, "gives no head size"},
    {"llama", "'num_key_value_heads':3", MOESAIC_E_INPUT, "not a multiple of num_key_value_heads 3"},
    {"llama", "'num_key_value_heads':0", MOESAIC_E_INPUT, "num_key_value_heads is 0"},
    {"llama", "'vocab_size':1099511627776", MOESAIC_E_INPUT, "vocab_size is 1099511627776"},
    {"llama", "'head_dim':15", MOESAIC_E_INPUT, "head_dim 15"},
    {"llama", "'head_dim':0", MOESAIC_E_INPUT, "head_dim is 0"},
    {"llama", "'partial_rotary_factor':0", MOESAIC_E_INPUT, "partial_rotary_factor 0"},
    {"llama", "'partial_rotary_factor':1.5", MOESAIC_E_INPUT, "partial_rotary_factor"},
    {"llama", "'rms_norm_eps':-1", MOESAIC_E_INPUT, "rms_norm_eps"},
    {"llama", "'max_position_embeddings':0", MOESAIC_E_INPUT, "max_position_embeddings is 0"},
    {"llama", "'tie_word_embeddings':1", MOESAIC_E_INPUT, "tie_word_embeddings"},
    {"llama", "'hidden_act':'relu'", MOESAIC_E_UNSUPPORTED, "key \"hidden_act\" is \"relu\""},
    {"llama", "'hidden_act':3", MOESAIC_E_INPUT, "key \"hidden_act\" is 3"},
    {"llama", "'num_experts':4", MOESAIC_E_UNSUPPORTED, "key \"num_experts\" is 4: not supported for llama"},
    {"llama", "'sliding_window':8", MOESAIC_E_UNSUPPORTED, "key \"sliding_window\" is 8"},
    {"olmoe", "'sliding_window':8", MOESAIC_E_UNSUPPORTED, "key \"sliding_window\" is 8"},
    {"mixtral", "'sliding_window':0", MOESAIC_E_INPUT, "sliding_window is 0"},
    {"mixtral", "'attention_bias':true", MOESAIC_E_UNSUPPORTED, "key \"attention_bias\" is true"},
    {"mixtral", "'norm_topk_prob':false", MOESAIC_E_UNSUPPORTED, "key \"norm_topk_prob\" is false"},
    {"mixtral", "'num_local_experts':0", MOESAIC_E_INPUT, "num_local_experts is 0"},
    {"mixtral", "'num_local_experts':4,'num_experts':5", MOESAIC_E_INPUT, "num_experts has another value"},
    {"mixtral", "'num_experts_per_tok':9", MOESAIC_E_INPUT, "num_experts_per_tok 9 exceeds num_experts 8"},
    {"mixtral", "'num_experts_per_tok':0", MOESAIC_E_INPUT, "num_experts_per_tok is 0"},
    {"mixtral", "'num_local_experts':65536", MOESAIC_E_INPUT, "num_local_experts is 65536"},
    {"mixtral", "'shared_expert_intermediate_size':8", MOESAIC_E_UNSUPPORTED, "shared_expert_intermediate_size"},
    {"mixtral", "'clip_qkv':8", MOESAIC_E_UNSUPPORTED, "key \"clip_qkv\" is 8"},
    {"olmoe", "'clip_qkv':0", MOESAIC_E_INPUT, "key \"clip_qkv\" is 0"},
    {"qwen3_moe", "'qkv_bias':true", MOESAIC_E_UNSUPPORTED, "key \"qkv_bias\""},
    {"qwen3_moe", "'decoder_sparse_step':0", MOESAIC_E_INPUT, "decoder_sparse_step is 0"},
    {"qwen3_moe", "'mlp_only_layers':3", MOESAIC_E_INPUT, "key \"mlp_only_layers\" is 3"},
    {"qwen3_moe", "'mlp_only_layers':['x']", MOESAIC_E_INPUT, "key \"mlp_only_layers\" is \"x\""},
    {"qwen3_moe", "'layer_types':['linear_attention','full_attention','full_attention','full_attention']",
     MOESAIC_E_UNSUPPORTED, "key \"layer_types\" is \"linear_attention\""},
    {"qwen2_moe", "'layer_types':['full_attention']", MOESAIC_E_INPUT, "key \"layer_types\" is an array of 1"},
    {"qwen2_moe", "'layer_types':['sliding_attention','full_attention','full_attention','full_attention']",
     MOESAIC_E_INPUT, "no sliding window is set"},
    {"mixtral",
     "'sliding_window':8,'layer_types':['full_attention','full_attention','full_attention','full_attention']",
     MOESAIC_E_UNSUPPORTED, "key \"layer_types\""},
    {"mixtral", "'use_qk_norm':true", MOESAIC_E_UNSUPPORTED, "key \"use_qk_norm\" is true"},
    {"qwen3_moe", "'use_qk_norm':false", MOESAIC_E_UNSUPPORTED, "key \"use_qk_norm\" is false"},
    {"qwen3_moe", "'scoring_func':'sigmoid'", MOESAIC_E_UNSUPPORTED, "key \"scoring_func\" is \"sigmoid\""},
    {"qwen3_moe", "'routed_scaling_factor':2.5", MOESAIC_E_UNSUPPORTED, "key \"routed_scaling_factor\" is 2.5"},
    {"qwen3_moe", "'n_group':4", MOESAIC_E_UNSUPPORTED, "key \"n_group\" is 4"},
    {"qwen3_moe", "'embedding_multiplier':0", MOESAIC_E_UNSUPPORTED, "key \"embedding_multiplier\" is 0"},
    {"llama", "'attn_logit_softcapping':50.0", MOESAIC_E_UNSUPPORTED, "key \"attn_logit_softcapping\" is 50"},
    {"llama", "'position_embedding_type':'alibi'", MOESAIC_E_UNSUPPORTED, "key \"position_embedding_type\""},
    {"llama", "'quantization_config':{'quant_method':'gptq'}", MOESAIC_E_UNSUPPORTED, "quantized with \"gptq\""},
    {"llama", "'text_config':{'a':1}", MOESAIC_E_UNSUPPORTED, "key \"text_config\""},
    {"llama", "'eos_token_id':-2", MOESAIC_E_INPUT, "key \"eos_token_id\" is -2"},
    {"llama", "'eos_token_id':[1,'x']", MOESAIC_E_INPUT, "key \"eos_token_id\" is \"x\""},
    {"llama", "'eos_token_id':[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]", MOESAIC_E_INPUT, "too many ids"},
    {"llama", "'bos_token_id':4294967296", MOESAIC_E_INPUT, "bos_token_id is 4294967296"},
    /* rope */
    {"llama", "'rope_theta':0", MOESAIC_E_INPUT, "rope_theta is 0"},
    {"llama", "'rope_theta':-1e4", MOESAIC_E_INPUT, "rope_theta is -10000"},
    {"llama", "'rope_theta':'big'", MOESAIC_E_INPUT, "rope_theta"},
    {"llama", "'rope_scaling':[]", MOESAIC_E_INPUT, "key \"rope_scaling\" is an array"},
    {"llama", "'rope_scaling':{'type':'su','factor':2}", MOESAIC_E_UNSUPPORTED, "key \"type\" is \"su\""},
    {"llama", "'rope_scaling':{'rope_type':3}", MOESAIC_E_INPUT, "key \"rope_type\" is 3"},
    {"llama", "'rope_scaling':{'type':'default','mrope_section':[1,2]}", MOESAIC_E_UNSUPPORTED, "\"mrope_section\""},
    {"qwen2_moe", "'rope_parameters':{'full_attention':{'rope_type':'default'}}", MOESAIC_E_UNSUPPORTED,
     "\"full_attention\""},
    {"llama", "'rope_scaling':{'type':'linear'}", MOESAIC_E_INPUT, "key \"factor\" is absent"},
    {"llama", "'rope_scaling':{'type':'linear','factor':0}", MOESAIC_E_INPUT, "key \"factor\" is 0"},
    {"llama", "'rope_scaling':{'type':'linear','factor':-2}", MOESAIC_E_INPUT, "factor is -2"},
    {"llama", "'head_dim':2,'rope_scaling':{'type':'dynamic','factor':2}", MOESAIC_E_INPUT, "dynamic rope needs"},
    {"llama", "'rope_scaling':{'type':'yarn'}", MOESAIC_E_INPUT, "key \"factor\" is absent"},
    {"llama", "'rope_theta':1,'rope_scaling':{'type':'yarn','factor':2}", MOESAIC_E_INPUT, "key \"rope_theta\" is 1"},
    {"llama", "'rope_scaling':{'type':'yarn','factor':2,'truncate':1}", MOESAIC_E_INPUT, "truncate"},
    {"llama", "'rope_scaling':{'type':'yarn','factor':2,'beta_fast':-1}", MOESAIC_E_INPUT, "beta_fast is -1"},
    {"llama", "'rope_scaling':{'type':'yarn','factor':2,'attention_factor':0}", MOESAIC_E_INPUT, "attention_factor"},
    {"llama", "'rope_scaling':{'type':'yarn','factor':2,'original_max_position_embeddings':0}", MOESAIC_E_INPUT,
     "original_max_position_embeddings is 0"},
    {"llama", "'rope_scaling':{'type':'llama3','factor':8,'high_freq_factor':4}", MOESAIC_E_INPUT,
     "key \"low_freq_factor\" is absent"},
    {"llama", "'rope_scaling':{'type':'llama3','factor':8,'low_freq_factor':4,'high_freq_factor':4}", MOESAIC_E_INPUT,
     "key \"high_freq_factor\" is 4"},
    {"llama", "'rope_scaling':{'type':'longrope','factor':2,'short_factor':[1],'long_factor':[1]}", MOESAIC_E_INPUT,
     "key \"short_factor\" is an array of 1"},
    {"llama",
     "'rope_scaling':{'type':'longrope','factor':2,'short_factor':[" EIGHT("1") "],'long_factor':[1,1,1,1,1,1,"
                                                                                "1,0]}",
     MOESAIC_E_INPUT, "key \"long_factor\" is 0"},
    {"llama",
     "'rope_scaling':{'type':'longrope','factor':2,'original_max_position_embeddings':1,'short_factor':[" EIGHT(
         "1") "],'long_factor':[" EIGHT("1") "]}",
     MOESAIC_E_INPUT, "original_max_position_embeddings"},
};

Test(config, refuses_by_name) {
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(bad[i].family, bad[i].more, bad[i].status, bad[i].why);
}

Test(config, refuses_what_is_no_configuration) {
    struct model_config config;
    moesaic_error error = {0};
    cr_expect_eq(read_texts("[]", NULL, &config, &error), MOESAIC_E_INPUT);
    cr_expect_eq(read_texts("{}", NULL, &config, &error), MOESAIC_E_INPUT);
    cr_expect(strstr(error.message, "neither \"model_type\" nor \"architectures\""), "%s", error.message);
}

/* ---- keys that change nothing, and unknown ones ---- */

static char logged[512];
static void keep_log(void *user, log_level level, const char *line) {
    (void)user;
    cr_expect_eq(level, LOG_WARNING);
    snprintf(logged, sizeof logged, "%s", line);
}

Test(config, takes_neutral_values_and_names_unknown_keys) {
    log_set(keep_log, NULL);
    free(accepted("llama", "'scoring_func':'softmax','routed_scaling_factor':1.0,'n_group':1,'num_experts':0,"
                           "'attn_logit_softcapping':null,'clip_qkv':null,'decoder_sparse_step':1,'mlp_only_layers':[],"
                           "'norm_topk_prob':true,'torch_dtype':'bfloat16','dtype':'float32','pretraining_tp':2,"
                           "'router_jitter_noise':0.1,'quantization_config':null,'_name_or_path':'x','unseen':false"));
    free(accepted("qwen3_moe", "'use_qk_norm':true,'qkv_bias':false,'shared_expert_intermediate_size':0"));
    cr_expect_str_empty(logged);
    free(accepted("llama", "'flux_capacitor':1.21,'unseen':null"));
    cr_expect(strstr(logged, "f/config.json: 1 unknown keys are not applied: flux_capacitor"), "%s", logged);
    log_set(NULL, NULL);
}
