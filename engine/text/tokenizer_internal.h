/* SPDX-License-Identifier: Apache-2.0 */
/* Private to engine/text: the parts of a tokenizer, one file each, in the order text passes through them. */
#ifndef TOKENIZER_INTERNAL_H
#define TOKENIZER_INTERNAL_H

#include "pattern_internal.h"
#include "text.h"

/* ---- reading components ------------------------------------------------------------------------------------------ */

/* Where a component stands in the file, for messages: "tokenizer.json: pre_tokenizer.pretokenizers[0]". */
enum { TOKENIZER_PLACE_BYTES = 256, TOKENIZER_NESTING_MAX = 16, TOKENIZER_STAGES_MAX = 64 };
struct component {
    const json_value *value;
    char place[TOKENIZER_PLACE_BYTES];
    unsigned depth;
};
/* The member `key` of a component (index SIZE_MAX), or the index-th element of its array `key`, as a component. */
struct component component_member(const struct component *from, const char *key, size_t index, const json_value *value);
/* Fails, naming the key, when the object has a key that is not in the NULL-terminated list. */
moesaic_status component_check_keys(const struct component *component, const char *const *keys, moesaic_error *error);
/* "type" of a component; INPUT when it is no object or has none. */
moesaic_status component_type(const struct component *component, const char **ret_type, moesaic_error *error);
moesaic_status component_unknown(const struct component *component, const char *type, moesaic_error *error);
/* Required members of one kind. Texts are owned by the document. */
moesaic_status component_text(const struct component *component, const char *key, const char **ret_text,
                              size_t *ret_bytes, moesaic_error *error);
moesaic_status component_bool(const struct component *component, const char *key, bool *ret_value,
                              moesaic_error *error);
moesaic_status component_char(const struct component *component, const char *key, const char **ret_text,
                              size_t *ret_bytes, moesaic_error *error); /* exactly one character */
/* The array `key` of a sequence, not nested too deeply. */
moesaic_status component_array(const struct component *component, const char *key, const json_value **ret_array,
                               moesaic_error *error);
/* {"String": ...} or {"Regex": ...}. */
moesaic_status component_pattern(const struct component *component, struct pattern **ret_pattern, moesaic_error *error);
/* Copies a text with a NUL behind it. */
moesaic_status tokenizer_copy_text(const char *text, size_t bytes, char **ret_copy, moesaic_error *error);

/* ---- vocabulary -------------------------------------------------------------------------------------------------- */

struct token {
    const char *text; /* in the pool, NUL-terminated */
    uint32_t bytes;
    int32_t id;
};
/* The model's tokens: by id and by text. Ids may have holes, memory does not grow with them. */
struct vocab {
    struct token *tokens; /* [count], by id */
    size_t count;
    uint32_t *slots; /* open addressing by text: index + 1 into tokens, 0 empty */
    size_t mask;
    char *pool;
};
/* From an object of text: id, or an array of [text, score] whose ids are the indices (`unigram`). */
moesaic_status vocab_read(struct vocab *vocab, const struct component *component, bool unigram, moesaic_error *error);
void vocab_done(struct vocab *vocab);
const struct token *vocab_find(const struct vocab *vocab, const char *text, size_t bytes); /* NULL: none */
const struct token *vocab_at(const struct vocab *vocab, int32_t id);                       /* NULL: none */

/* ---- the text on its way ----------------------------------------------------------------------------------------- */

/* A stretch of the current text, or a token already found (id >= 0). `origin_bytes` counts the leading bytes that come
 * from the first character of the whole text: the Metaspace scheme "first" looks for them. */
struct piece {
    size_t begin, bytes, origin_bytes;
    int32_t id;
};
struct pieces {
    struct piece *data;
    size_t count, capacity;
};

struct id_list {
    int32_t *data;
    size_t count, capacity;
};
bool id_list_reserve(struct id_list *list, size_t extra);
static inline bool id_list_push(struct id_list *list, int32_t id) {
    if (list->count == list->capacity && !id_list_reserve(list, 1))
        return false;
    list->data[list->count++] = id;
    return true;
}

/* One call of tokenizer_encode. */
struct encode_run {
    const struct tokenizer *tokenizer;
    const char *text;           /* current text: the caller's, then one of the buffers */
    struct text_buffer made[2]; /* made[turn] takes the next text */
    unsigned turn;
    struct pieces pieces, next;
    size_t limit_bytes; /* of any text made on the way */
    struct pattern_scratch scratch;
    moesaic_error *error;
};
void encode_run_done(struct encode_run *run);
/* Text may grow on its way, though not without measure: a file could ask for any growth by chained replacements. */
enum { RUN_GROWTH_MAX = 256, RUN_GROWTH_BASE_BYTES = 65536 };
moesaic_status run_check_size(struct encode_run *run, const struct text_buffer *out);
/* Appends a piece to the next list; empty ones are dropped, as the reference does. */
bool run_emit(struct encode_run *run, const struct piece *piece);
/* Makes the next list the current one. */
void run_swap_pieces(struct encode_run *run);
moesaic_status run_no_memory(struct encode_run *run);
/* Rewrites every stretch of text into the next buffer by `map`, which appends the new text of [text, text + bytes) to
 * `out` and updates io_origin, the piece's origin_bytes. */
typedef moesaic_status run_map(struct encode_run *run, const void *stage, const char *text, size_t bytes,
                               size_t *io_origin, struct text_buffer *out);
moesaic_status run_map_pieces(struct encode_run *run, run_map *map, const void *stage);

/* ---- added tokens ------------------------------------------------------------------------------------------------ */

struct added_token {
    char *text;  /* content */
    char *match; /* what is looked for and what decoding starts from, when that is not the content; else NULL */
    size_t bytes, match_bytes;
    int32_t id;
    bool single_word, lstrip, rstrip, normalized, special;
};
struct added_node { /* of a trie of bytes */
    uint32_t child, sibling;
    int32_t token; /* index, -1 none */
    unsigned char byte;
};
struct added_trie {
    struct added_node *nodes;
    size_t count;
    uint32_t roots[256]; /* node of each first byte, 0 none */
};
struct added_vocab {
    struct added_token *tokens; /* by id */
    size_t count;
    uint32_t *slots; /* open addressing by content: index + 1 into tokens, 0 empty */
    size_t mask;
    struct added_trie raw, normalized; /* before and after normalization */
};
/* Reads "added_tokens"; the tokenizer's vocabulary and normalizers are ready. */
moesaic_status added_read(struct tokenizer *tokenizer, const json_value *array, const char *where,
                          moesaic_error *error);
void added_done(struct added_vocab *added);
moesaic_status added_split(struct encode_run *run, const struct added_trie *trie, bool parse_special);
const struct added_token *added_find(const struct added_vocab *added, const char *text, size_t bytes);
const struct added_token *added_at(const struct added_vocab *added, int32_t id);

/* ---- normalizers ------------------------------------------------------------------------------------------------- */

typedef enum normalizer_kind {
    NORMALIZER_FORM,
    NORMALIZER_PREPEND,
    NORMALIZER_REPLACE,
    NORMALIZER_STRIP,
    NORMALIZER_LOWERCASE,
    NORMALIZER_BYTES
} normalizer_kind;
struct normalizer {
    normalizer_kind kind;
    unicode_form form;
    char *text; /* PREPEND, REPLACE */
    size_t bytes;
    struct pattern *pattern;
    bool left, right; /* STRIP */
};
struct normalizers {
    struct normalizer *data;
    size_t count;
};
moesaic_status normalizers_read(struct normalizers *normalizers, const struct component *component,
                                moesaic_error *error);
void normalizers_done(struct normalizers *normalizers);
moesaic_status normalizers_run(struct encode_run *run);

/* Replaces every match; shared with Metaspace. Updates io_origin. */
moesaic_status normalize_replace(struct encode_run *run, const struct pattern *pattern, const char *content,
                                 size_t content_bytes, const char *text, size_t bytes, size_t *io_origin,
                                 struct text_buffer *out);
/* Writes every byte as the printable character GPT-2 gave it; shared with the pre-tokenizer. */
run_map bytes_to_characters;
/* Character of each byte in that alphabet, and back: byte of a code point, or -1. */
uint32_t byte_character(unsigned char byte);
int character_byte(uint32_t code);

/* ---- pre-tokenizers ---------------------------------------------------------------------------------------------- */

typedef enum splitter_kind { SPLITTER_PATTERN, SPLITTER_BYTES, SPLITTER_METASPACE, SPLITTER_LENGTH } splitter_kind;
typedef enum split_behavior {
    SPLIT_REMOVED,
    SPLIT_ISOLATED,
    SPLIT_MERGED_PREVIOUS,
    SPLIT_MERGED_NEXT,
    SPLIT_CONTIGUOUS
} split_behavior;
typedef enum prepend_scheme { PREPEND_NEVER, PREPEND_FIRST, PREPEND_ALWAYS } prepend_scheme;
struct splitter {
    splitter_kind kind;
    struct pattern *pattern; /* NULL: no split (bytes, metaspace) */
    struct pattern *blank;   /* METASPACE: what is replaced */
    split_behavior behavior;
    bool invert, prefix_space;
    prepend_scheme prepend;
    char replacement[UNICODE_UTF8_MAX];
    size_t replacement_bytes;
    size_t length;
};
struct splitters {
    struct splitter *data;
    size_t count;
};
moesaic_status splitters_read(struct splitters *splitters, const struct component *component, moesaic_error *error);
void splitters_done(struct splitters *splitters);
moesaic_status splitters_run(struct encode_run *run);

/* Metaspace's settings, shared by pre-tokenizer and decoder. */
moesaic_status metaspace_read(const struct component *component, const char **ret_replacement, size_t *ret_bytes,
                              prepend_scheme *ret_prepend, bool *ret_split, moesaic_error *error);

/* ---- models ------------------------------------------------------------------------------------------------------ */

struct bpe;
moesaic_status bpe_read(const struct vocab *vocab, const struct component *component, struct bpe **ret_bpe,
                        moesaic_error *error);
void bpe_destroy(struct bpe *bpe);
/* Appends the ids of every piece. */
moesaic_status bpe_run(struct encode_run *run, const struct bpe *bpe, struct id_list *ids);

struct unigram;
moesaic_status unigram_read(const struct vocab *vocab, const struct component *component, struct unigram **ret_unigram,
                            moesaic_error *error);
void unigram_destroy(struct unigram *unigram);
moesaic_status unigram_run(struct encode_run *run, const struct unigram *unigram, struct id_list *ids);

/* Ids of "<0x00>" to "<0xFF>", -1 where the vocabulary has none. */
void vocab_byte_ids(const struct vocab *vocab, int32_t ret_ids[256]);

/* ---- post-processor ---------------------------------------------------------------------------------------------- */

enum { POST_TEXT = -1 };
/* What is put around the text: ids, and POST_TEXT where the text goes. */
moesaic_status post_read(struct id_list *post, const struct component *component, moesaic_error *error);

/* ---- decoder ----------------------------------------------------------------------------------------------------- */

typedef enum decoder_kind {
    DECODER_BYTES,
    DECODER_REPLACE,
    DECODER_BYTE_FALLBACK,
    DECODER_FUSE,
    DECODER_STRIP,
    DECODER_METASPACE,
    DECODER_SUFFIX
} decoder_kind;
struct decoder {
    decoder_kind kind;
    struct pattern *pattern;
    char *text; /* REPLACE: content; STRIP, METASPACE: the character */
    size_t bytes;
    size_t start, stop; /* STRIP */
    bool drop_first;    /* METASPACE */
};
struct decoders {
    struct decoder *data;
    size_t count;
    bool present; /* without a decoder tokens are joined by blanks */
};
moesaic_status decoders_read(struct decoders *decoders, const struct component *component, moesaic_error *error);
void decoders_done(struct decoders *decoders);

/* ---- tokenizer --------------------------------------------------------------------------------------------------- */

struct tokenizer {
    struct vocab vocab;
    struct bpe *bpe; /* one of the two */
    struct unigram *unigram;
    struct normalizers normalizers;
    struct splitters splitters;
    struct added_vocab added;
    struct id_list post; /* empty: the text alone */
    struct decoders decoders;
    size_t size;
};
/* Text that decoding starts from, NULL when no token has the id; *ret_special: skipped with the special tokens. */
const char *tokenizer_decode_text(const struct tokenizer *tokenizer, int32_t id, size_t *ret_bytes, bool *ret_special);

#endif
