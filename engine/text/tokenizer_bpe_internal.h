/* SPDX-License-Identifier: Apache-2.0 */
/* Private to the BPE model: its tables. */
#ifndef TOKENIZER_BPE_INTERNAL_H
#define TOKENIZER_BPE_INTERNAL_H

#include "tokenizer_internal.h"

#define BPE_NO_MERGE UINT32_MAX
enum { BPE_SMALL_CODES = 512 };

struct bpe_merge {
    uint64_t pair; /* left id and right id, plus one: 0 is an empty slot */
    uint32_t rank;
    int32_t merged;
};

struct bpe {
    const struct vocab *vocab;
    struct bpe_merge *merges; /* open addressing by pair */
    size_t merges_mask;
    uint64_t *joints; /* open addressing: pairs of characters that some merge joins, plus one; 0 is an empty slot */
    size_t joints_mask;
    int32_t small_ids[BPE_SMALL_CODES]; /* tokens of the characters below, -1 none */
    int32_t byte_ids[256];              /* of "<0x00>" and so on */
    int32_t unknown;                    /* -1: named, but not in the vocabulary */
    bool has_unknown, fuse_unknown, byte_fallback, ignore_merges;
    char *prefix, *suffix; /* NULL: none */
    size_t prefix_bytes, suffix_bytes;
};

static inline size_t bpe_hash(uint64_t key) {
    key *= 0x9e3779b97f4a7c15u;
    return (size_t)(key ^ key >> 32);
}

static inline uint64_t bpe_pair(uint32_t left, uint32_t right) {
    return ((uint64_t)left << 32 | right) + 1;
}

/* Rank of the merge of two tokens and what they become, or BPE_NO_MERGE. */
static inline uint32_t bpe_find_merge(const struct bpe *bpe, int32_t left, int32_t right, int32_t *ret_merged) {
    uint64_t pair = bpe_pair((uint32_t)left, (uint32_t)right);
    for (size_t at = bpe_hash(pair) & bpe->merges_mask; bpe->merges[at].pair; at = (at + 1) & bpe->merges_mask)
        if (bpe->merges[at].pair == pair) {
            *ret_merged = bpe->merges[at].merged;
            return bpe->merges[at].rank;
        }
    return BPE_NO_MERGE;
}

/* Whether any merge joins a token ending with one character to a token beginning with the other. */
static inline bool bpe_may_join(const struct bpe *bpe, uint32_t last, uint32_t first) {
    uint64_t pair = bpe_pair(last, first);
    for (size_t at = bpe_hash(pair) & bpe->joints_mask; bpe->joints[at]; at = (at + 1) & bpe->joints_mask)
        if (bpe->joints[at] == pair)
            return true;
    return false;
}

/* Token of one character by itself, -1 if there is none. */
static inline int32_t bpe_character_id(const struct bpe *bpe, const char *text, size_t bytes) {
    if (bytes <= 2) {
        uint32_t code = unicode_get(text);
        if (code < BPE_SMALL_CODES)
            return bpe->small_ids[code];
    }
    const struct token *token = vocab_find(bpe->vocab, text, bytes);
    return token ? token->id : -1;
}

#endif
