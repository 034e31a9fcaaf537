/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: ids from anywhere through the decoders of three kinds of tokenizers. The first byte chooses the
 * tokenizer and what is skipped; each further pair of bytes is an id, signed, little endian. */
#include <stdlib.h>
#include <string.h>

#include "text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { FUZZ_IDS_MAX = 4096, FUZZ_KINDS = 3 };

/* Byte-level; SentencePiece with bytes; Unigram behind Metaspace without a list of stages. Holes in the ids of the
 * second. */
static const char *const fuzz_sources[FUZZ_KINDS] = {
    "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"\xc3\x83\":1,\"\xc2\xa9\":2,\"\xc4\xa0\":3,\"\xc3\xb0\":4,"
    "\"\xc5\x81\":5,\"\xc4\xb3\":6,\"\xe6\xbc\xa2\":7},\"merges\":[]},\"decoder\":{\"type\":\"ByteLevel\"},"
    "\"added_tokens\":[{\"id\":8,\"content\":\"<s>\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
    "\"normalized\":false,\"special\":true}]}",
    "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"\xe2\x96\x81\":1,\"\xe2\x96\x81"
    "a\":2,\"<0xE6>\":3,\"<0xBC>\":4,"
    "\"<0xA2>\":5,\"<0x41>\":6,\"<0x+A>\":7,\"<unk>\":9},\"merges\":[[\"\xe2\x96\x81\",\"a\"]],\"byte_fallback\":true,"
    "\"unk_token\":\"<unk>\"},\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":"
    "{\"String\":\"\xe2\x96\x81\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},"
    "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a a\"},\"content\":\"-\"},"
    "{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":2}]}}",
    "{\"model\":{\"type\":\"Unigram\",\"vocab\":[[\"<unk>\",0],[\"\xe2\x96\x81\",-1],[\"ab\",-2],[\"ab</w>\",-2.5],"
    "[\"  \",-3]],\"unk_id\":0},\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Metaspace\","
    "\"replacement\":\"\xe2\x96\x81\"},{\"type\":\"BPEDecoder\",\"suffix\":\"</w>\"},{\"type\":\"Replace\","
    "\"pattern\":{\"Regex\":\" +\"},\"content\":\"_\"}]}}",
};

static void fuzz_require(bool condition) {
    if (!condition)
        abort();
}

static const struct tokenizer *fuzz_tokenizer(unsigned kind) {
    static struct tokenizer *tokenizers[FUZZ_KINDS];
    if (!tokenizers[kind])
        fuzz_require(tokenizer_create(fuzz_sources[kind], strlen(fuzz_sources[kind]), "fuzz", &tokenizers[kind],
                                      NULL) == MOESAIC_OK);
    return tokenizers[kind];
}

/* Whether the bytes of a piece begin and end with whole characters. */
static bool fuzz_whole(const char *text, size_t bytes) {
    size_t lead = bytes;
    if (bytes == 0)
        return true;
    do
        lead--;
    while (lead > 0 && ((unsigned char)text[lead] & 0xc0) == 0x80);
    unsigned char c = (unsigned char)text[lead];
    size_t length = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    return ((unsigned char)text[0] & 0xc0) != 0x80 && bytes - lead == length;
}

static void fuzz_stream(const struct tokenizer *tokenizer, const int32_t *ids, size_t count, bool skip_special,
                        const char *expected, size_t expected_bytes) {
    struct tokenizer_stream *stream;
    size_t at = 0, bytes;
    const char *text;
    fuzz_require(tokenizer_stream_create(tokenizer, skip_special, &stream, NULL) == MOESAIC_OK);
    for (size_t i = 0; i <= count; i++) {
        moesaic_status status = i < count ? tokenizer_stream_push(stream, ids[i], &text, &bytes, NULL)
                                          : tokenizer_stream_finish(stream, &text, &bytes, NULL);
        fuzz_require(status == MOESAIC_OK && fuzz_whole(text, bytes) && bytes <= expected_bytes - at);
        fuzz_require(memcmp(text, expected + at, bytes) == 0);
        at += bytes;
    }
    fuzz_require(at == expected_bytes);
    tokenizer_stream_destroy(stream);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static int32_t ids[FUZZ_IDS_MAX];
    if (bytes < 1 || bytes / 2 > FUZZ_IDS_MAX)
        return 0;
    const struct tokenizer *tokenizer = fuzz_tokenizer(data[0] / 2 % FUZZ_KINDS);
    bool skip_special = data[0] & 1, valid = true;
    size_t count = (bytes - 1) / 2, text_bytes;
    for (size_t i = 0; i < count; i++) {
        ids[i] = (int16_t)(data[1 + 2 * i] | data[2 + 2 * i] << 8);
        valid = valid && ids[i] >= 0 && (size_t)ids[i] < tokenizer_size(tokenizer);
    }
    char *text;
    moesaic_status status = tokenizer_decode(tokenizer, ids, count, skip_special, &text, &text_bytes, NULL);
    fuzz_require(status == (valid ? MOESAIC_OK : MOESAIC_E_INPUT));
    if (status == MOESAIC_OK) {
        fuzz_stream(tokenizer, ids, count, skip_special, text, text_bytes);
        free(text);
    }
    return 0;
}
