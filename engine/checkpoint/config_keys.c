/* SPDX-License-Identifier: Apache-2.0 */
/* Keys of config.json by name, so that none that changes the result is passed over in silence.
 *
 * Every key is of one of three kinds: read by the family at hand or known to change nothing at inference; known to
 * change the result of some model, and then refused here unless its value is the neutral one; or unknown, and then
 * named in a warning. */
#include "checkpoint_internal.h"

#include <stdio.h>
#include <string.h>

enum {
    L = 1 << FAMILY_LLAMA,
    M = 1 << FAMILY_MIXTRAL,
    Q2 = 1 << FAMILY_QWEN2_MOE,
    Q3 = 1 << FAMILY_QWEN3_MOE,
    O = 1 << FAMILY_OLMOE,
    ALL = L | M | Q2 | Q3 | O
};

/* The value, beside null, with which a key changes nothing. */
typedef enum neutral {
    ANY,    /* every value */
    OFF,    /* false, 0, "", [] or {} */
    ON,     /* true */
    FACTOR, /* the number 1 */
    STEP,   /* 0, false or the number 1 */
    SOFTMAX,
    GREEDY,
    ROPE,
    SILU
} neutral;

struct config_key {
    const char *name;
    unsigned families; /* that read it: their reader judges the value */
    neutral neutral;   /* for the others */
};

static const struct config_key config_keys[] = {
    /* Read by all. */
    {"architectures", ALL, ANY},
    {"model_type", ALL, ANY},
    {"hidden_size", ALL, ANY},
    {"num_hidden_layers", ALL, ANY},
    {"num_attention_heads", ALL, ANY},
    {"num_key_value_heads", ALL, ANY},
    {"head_dim", ALL, ANY},
    {"vocab_size", ALL, ANY},
    {"intermediate_size", ALL, ANY},
    {"hidden_act", ALL, ANY},
    {"rms_norm_eps", ALL, ANY},
    {"max_position_embeddings", ALL, ANY},
    {"tie_word_embeddings", ALL, ANY},
    {"rope_theta", ALL, ANY},
    {"rope_scaling", ALL, ANY},
    {"rope_parameters", ALL, ANY},
    {"partial_rotary_factor", ALL, ANY},
    {"original_max_position_embeddings", ALL, ANY},
    {"sliding_window", ALL, ANY},
    {"use_sliding_window", ALL, ANY},
    {"layer_types", ALL, ANY},
    {"max_window_layers", ALL, ANY},
    {"bos_token_id", ALL, ANY},
    {"pad_token_id", ALL, ANY},
    {"eos_token_id", ALL, ANY},
    {"use_qk_norm", ALL, ANY},
    {"qk_norm", ALL, ANY},
    {"qk_layernorm", ALL, ANY},
    /* Read by some, and of effect in them only. */
    {"num_experts", M | Q2 | Q3 | O, OFF},
    {"num_local_experts", M | Q2 | Q3 | O, OFF},
    {"num_experts_per_tok", M | Q2 | Q3 | O, OFF},
    {"norm_topk_prob", Q2 | Q3 | O, ON},
    {"moe_intermediate_size", Q2 | Q3, OFF},
    {"shared_expert_intermediate_size", Q2, OFF},
    {"decoder_sparse_step", Q2 | Q3, STEP},
    {"mlp_only_layers", Q2 | Q3, OFF},
    {"qkv_bias", Q2, OFF},
    {"attention_bias", L | Q3 | O, OFF},
    {"mlp_bias", L, OFF},
    {"clip_qkv", O, OFF},
    /* Without effect on the forward pass. */
    {"_name_or_path", 0, ANY},
    {"_attn_implementation", 0, ANY},
    {"_attn_implementation_autoset", 0, ANY},
    {"_flash_attn_2_enabled", 0, ANY},
    {"_commit_hash", 0, ANY},
    {"is_llama_config", 0, ANY},
    {"attn_implementation", 0, ANY},
    {"use_flash_attn", 0, ANY},
    {"use_flash_attention", 0, ANY},
    {"transformers_version", 0, ANY},
    {"torch_dtype", 0, ANY},
    {"dtype", 0, ANY},
    {"auto_map", 0, ANY},
    {"tokenizer_class", 0, ANY},
    {"attention_dropout", 0, ANY},
    {"hidden_dropout", 0, ANY},
    {"resid_pdrop", 0, ANY},
    {"embd_pdrop", 0, ANY},
    {"initializer_range", 0, ANY},
    {"use_cache", 0, ANY},
    {"output_router_logits", 0, ANY},
    {"router_aux_loss_coef", 0, ANY},
    {"router_z_loss_coef", 0, ANY},
    {"router_jitter_noise", 0, ANY},
    {"aux_loss_alpha", 0, ANY},
    {"seq_aux", 0, ANY},
    {"pretraining_tp", 0, ANY},
    {"ep_size", 0, ANY},
    {"gradient_checkpointing", 0, ANY},
    {"output_attentions", 0, ANY},
    {"output_hidden_states", 0, ANY},
    {"return_dict", 0, ANY},
    {"use_return_dict", 0, ANY},
    {"torchscript", 0, ANY},
    {"chunk_size_feed_forward", 0, ANY},
    {"id2label", 0, ANY},
    {"label2id", 0, ANY},
    {"num_labels", 0, ANY},
    {"problem_type", 0, ANY},
    {"finetuning_task", 0, ANY},
    {"task_specific_params", 0, ANY},
    {"num_nextn_predict_layers", 0, ANY},
    {"num_return_sequences", 0, ANY},
    {"unsloth_version", 0, ANY},
    {"unsloth_fixed", 0, ANY},
    {"is_decoder", 0, ANY},
    {"sep_token_id", 0, ANY},
    {"unk_token_id", 0, ANY},
    {"decoder_start_token_id", 0, ANY},
    {"max_length", 0, ANY},
    {"min_length", 0, ANY},
    {"do_sample", 0, ANY},
    {"early_stopping", 0, ANY},
    {"num_beams", 0, ANY},
    {"num_beam_groups", 0, ANY},
    {"diversity_penalty", 0, ANY},
    {"temperature", 0, ANY},
    {"top_k", 0, ANY},
    {"top_p", 0, ANY},
    {"typical_p", 0, ANY},
    {"repetition_penalty", 0, ANY},
    {"length_penalty", 0, ANY},
    {"no_repeat_ngram_size", 0, ANY},
    {"encoder_no_repeat_ngram_size", 0, ANY},
    {"bad_words_ids", 0, ANY},
    {"output_scores", 0, ANY},
    {"return_dict_in_generate", 0, ANY},
    {"forced_bos_token_id", 0, ANY},
    {"forced_eos_token_id", 0, ANY},
    {"remove_invalid_values", 0, ANY},
    {"exponential_decay_length_penalty", 0, ANY},
    {"suppress_tokens", 0, ANY},
    {"begin_suppress_tokens", 0, ANY},
    {"use_bfloat16", 0, ANY},
    {"tf_legacy_loss", 0, ANY},
    {"max_sequence_length", 0, ANY},
    {"seq_length", 0, ANY},
    {"model_max_length", 0, ANY},
    {"tokenizer_model_max_length", 0, ANY},
    {"prefix", 0, ANY},
    /* Of effect in models that none of these families is. */
    {"quantization_config", 0, OFF},
    {"compression_config", 0, OFF},
    {"text_config", 0, OFF},
    {"vision_config", 0, OFF},
    {"per_layer_config", 0, OFF},
    {"is_encoder_decoder", 0, OFF},
    {"add_cross_attention", 0, OFF},
    {"tie_encoder_decoder", 0, OFF},
    {"pruned_heads", 0, OFF},
    {"scoring_func", 0, SOFTMAX},
    {"score_function", 0, SOFTMAX},
    {"moe_router_score_function", 0, SOFTMAX},
    {"router_activation", 0, SOFTMAX},
    {"topk_method", 0, GREEDY},
    {"routed_scaling_factor", 0, FACTOR},
    {"router_scale", 0, FACTOR},
    {"route_scale", 0, FACTOR},
    {"moe_topk_scaling_factor", 0, FACTOR},
    {"n_group", 0, STEP},
    {"topk_group", 0, STEP},
    {"num_expert_group", 0, STEP},
    {"n_routed_experts", 0, OFF},
    {"n_shared_experts", 0, OFF},
    {"num_shared_experts", 0, OFF},
    {"num_zero_experts", 0, OFF},
    {"zero_expert_num", 0, OFF},
    {"shared_intermediate_size", 0, OFF},
    {"moe_shared_expert_intermediate_size", 0, OFF},
    {"moe_num_shared_experts", 0, OFF},
    {"moe_num_experts", 0, OFF},
    {"moe_top_k", 0, OFF},
    {"moe_topk", 0, OFF},
    {"first_k_dense_replace", 0, OFF},
    {"moe_layer_freq", 0, STEP},
    {"moe_layer_start_index", 0, OFF},
    {"interleave_moe_layer_step", 0, STEP},
    {"norm_min", 0, OFF},
    {"use_routing_bias", 0, OFF},
    {"moe_router_enable_expert_bias", 0, OFF},
    {"expert_bias", 0, OFF},
    {"swiglu_limit", 0, OFF},
    {"residual_moe", 0, OFF},
    {"parallel_attn_mlp_res", 0, OFF},
    {"q_lora_rank", 0, OFF},
    {"kv_lora_rank", 0, OFF},
    {"qk_rope_head_dim", 0, OFF},
    {"qk_nope_head_dim", 0, OFF},
    {"v_head_dim", 0, OFF},
    {"use_mla", 0, OFF},
    {"attention_sink", 0, OFF},
    {"attention_sinks", 0, OFF},
    {"attention_chunk_size", 0, OFF},
    {"attn_output_gate", 0, OFF},
    {"full_attention_interval", 0, STEP},
    {"linear_num_key_heads", 0, OFF},
    {"sliding_window_pattern", 0, STEP},
    {"attn_logit_softcapping", 0, OFF},
    {"final_logit_softcapping", 0, OFF},
    {"attn_logit_softcap", 0, OFF},
    {"final_logit_softcap", 0, OFF},
    {"query_pre_attn_scalar", 0, OFF},
    {"attention_multiplier", 0, OFF},
    {"attention_scale", 0, OFF},
    {"embedding_multiplier", 0, FACTOR},
    {"residual_multiplier", 0, FACTOR},
    {"logits_scaling", 0, FACTOR},
    {"logit_scale", 0, FACTOR},
    {"logits_scale", 0, FACTOR},
    {"output_multiplier_scale", 0, FACTOR},
    {"lm_head_multiplier", 0, FACTOR},
    {"scale_emb", 0, FACTOR},
    {"scale_depth", 0, OFF},
    {"dim_model_base", 0, OFF},
    {"embedding_scale", 0, FACTOR},
    {"mup_width_multiplier", 0, FACTOR},
    {"use_parallel_residual", 0, OFF},
    {"parallel_residual", 0, OFF},
    {"parallel_attn", 0, OFF},
    {"alibi", 0, OFF},
    {"position_embedding_type", 0, ROPE},
    {"rotary_pct", 0, FACTOR},
    {"rotary_percent", 0, FACTOR},
    {"rope_pct", 0, FACTOR},
    {"rope_ratio", 0, FACTOR},
    {"rope_interleave", 0, OFF},
    {"rope_interleaved", 0, OFF},
    {"use_mrope", 0, OFF},
    {"mrope_section", 0, OFF},
    {"rope_local_base_freq", 0, OFF},
    {"no_rope_layers", 0, OFF},
    {"no_rope_layer_interval", 0, OFF},
    {"use_dynamic_ntk", 0, OFF},
    {"use_logn_attn", 0, OFF},
    {"use_bias", 0, OFF},
    {"bias", 0, OFF},
    {"add_bias_linear", 0, OFF},
    {"add_qkv_bias", 0, OFF},
    {"attention_out_bias", 0, OFF},
    {"attention_qkv_bias", 0, OFF},
    {"o_bias", 0, OFF},
    {"lm_head_bias", 0, OFF},
    {"norm_bias", 0, OFF},
    {"use_qkv_bias", 0, OFF},
    {"norm_after", 0, OFF},
    {"norm_reorder", 0, OFF},
    {"use_post_norm", 0, OFF},
    {"hidden_activation", 0, SILU},
    {"activation_function", 0, SILU},
    {"hc_mult", 0, OFF},
    {"layer_group_size", 0, OFF},
};
enum { N_CONFIG_KEYS = sizeof config_keys / sizeof *config_keys, UNKNOWN_NAMED_MAX = 8 };

static bool is_number(const json_value *value) {
    return json_kind_of(value) == JSON_KIND_INTEGER || json_kind_of(value) == JSON_KIND_REAL;
}

static bool is_off(const json_value *value) {
    switch (json_kind_of(value)) {
    case JSON_KIND_NULL:
        return true;
    case JSON_KIND_BOOL:
        return !json_truth(value);
    case JSON_KIND_INTEGER:
    case JSON_KIND_REAL:
        return json_number(value) == 0;
    case JSON_KIND_STRING:
        return json_text(value, NULL)[0] == '\0';
    case JSON_KIND_ARRAY:
    case JSON_KIND_OBJECT:
        return json_count(value) == 0;
    }
    return false;
}

static bool is_text(const json_value *value, const char *text) {
    const char *have = json_text(value, NULL);
    return have && strcmp(have, text) == 0;
}

static bool is_neutral(const json_value *value, neutral rule) {
    if (json_kind_of(value) == JSON_KIND_NULL)
        return true;
    switch (rule) {
    case ANY:
        return true;
    case OFF:
        return is_off(value);
    case ON:
        return json_kind_of(value) == JSON_KIND_BOOL && json_truth(value);
    case FACTOR:
        return is_number(value) && json_number(value) == 1;
    case STEP:
        return is_off(value) || (is_number(value) && json_number(value) == 1);
    case SOFTMAX:
        return is_text(value, "softmax");
    case GREEDY:
        return is_text(value, "greedy");
    case ROPE:
        return is_text(value, "rope") || is_text(value, "rotary");
    case SILU:
        return is_text(value, "silu") || is_text(value, "swish");
    }
    return false;
}

static const struct config_key *find_key(const char *name) {
    for (size_t i = 0; i < N_CONFIG_KEYS; i++)
        if (strcmp(config_keys[i].name, name) == 0)
            return &config_keys[i];
    return NULL;
}

static void refuse_key(struct config_reader *reader, const char *key, const json_value *value) {
    const char *method = json_text(json_get(value, "quant_method"), NULL);
    char why[128];
    if (method)
        snprintf(why, sizeof why, "checkpoints quantized with \"%.32s\" are not supported", method);
    else
        snprintf(why, sizeof why, "not supported for %s", reader->family_name);
    config_refuse(reader, MOESAIC_E_UNSUPPORTED, key, value, why);
}

void config_check_keys(struct config_reader *reader) {
    char names[400] = "";
    size_t unknown = 0;
    void *cursor = NULL;
    const char *key;
    const json_value *value;
    while (json_next(reader->root, &cursor, &key, &value)) {
        const struct config_key *known = find_key(key);
        if (known) {
            if (!(known->families & 1u << reader->family) && !is_neutral(value, known->neutral))
                refuse_key(reader, key, value);
        } else if (!is_off(value) && unknown++ < UNKNOWN_NAMED_MAX) {
            size_t used = strlen(names);
            snprintf(names + used, sizeof names - used, "%s%.40s", used ? ", " : "", key);
        }
    }
    if (reader->status == MOESAIC_OK && unknown > 0)
        log_line(LOG_WARNING, "%s: %zu unknown keys are not applied: %s%s", reader->where, unknown, names,
                 unknown > UNKNOWN_NAMED_MAX ? ", ..." : "");
}
