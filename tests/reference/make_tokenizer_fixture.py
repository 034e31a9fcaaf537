# SPDX-License-Identifier: Apache-2.0
"""Writes stages.jsonl, patterns.jsonl and random.jsonl: what Hugging Face's `tokenizers` (0.23.3) makes of small
tokenizers that each show one stage, of patterns, and of random strings under the reference tokenizers.
    python3 make_tokenizer_fixture.py tests/data/tokenizers

stages.jsonl: {"name", "tokenizer", "add_special", "parse_special", "texts": [{"text", "ids", "decoded"}],
"decodes": [{"ids", "decoded"}]}; patterns.jsonl: {"pattern", "text", "parts"}, parts as an isolating split gives them;
random.jsonl: {"tokenizer", "text", "ids", "decoded"}, ids without special tokens added.
"""
import json
import pathlib
import random
import sys

from tokenizers import Regex, Tokenizer, pre_tokenizers

CHARACTERS = "abcdeABt'1239.- _▁éÉ漢"
VOCAB = {c: i for i, c in enumerate(CHARACTERS)}
FREE = len(VOCAB)


def bpe(vocab=VOCAB, merges=(), **settings):
    return {"type": "BPE", "vocab": dict(vocab), "merges": list(merges), **settings}


def sequence(key, *parts):
    return {"type": "Sequence", key: list(parts)}


def split(behavior, invert=False, pattern=None):
    return {"type": "Split", "pattern": pattern or {"Regex": "[.-]"}, "behavior": behavior, "invert": invert}


def added(token_id, content, **flags):
    token = {"id": token_id, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": False}
    token.update(flags)
    return token


def metaspace(scheme, whole=False):
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": not whole}


def byte_level(prefix=False, regex=True):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}


def template(single, ids):
    return {"type": "TemplateProcessing", "single": single, "pair": [],
            "special_tokens": {"x": {"id": "x", "ids": ids, "tokens": ["q"] * len(ids)}}}


TEXT = {"Sequence": {"id": "A", "type_id": 0}}
SPECIAL = {"SpecialToken": {"id": "x", "type_id": 0}}
LLAMA_DECODER = sequence("decoders", {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                         {"type": "ByteFallback"}, {"type": "Fuse"},
                         {"type": "Strip", "content": " ", "start": 1, "stop": 0})


def stage_cases():
    """Yields (name, parts of a tokenizer.json, texts, id lists to decode, add_special, parse_special)."""
    def case(name, parts, texts, decodes=(), add_special=True, parse_special=True):
        return name, parts, list(texts), list(decodes), add_special, parse_special

    merged = dict(VOCAB)
    for token in ["ab", "abc", "bc", ".-", "a.", "-a", ".a", "--", "..", "12", "123"]:
        merged[token] = len(merged)
    merges = [["a", "b"], ["b", "c"], ["ab", "c"], [".", "-"], ["a", "."], ["-", "a"], [".", "a"], ["-", "-"],
              [".", "."], ["1", "2"], ["12", "3"]]
    model = bpe(merged, merges)
    for behavior in ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]:
        for invert in (False, True):
            yield case(f"split {behavior} {invert}", {"model": model, "pre_tokenizer": split(behavior, invert)},
                       ["a.-a", "..a--a.", "-"])
    yield case("merges by rank", {"model": model}, ["abc", "abcabc", "aabbcc", "1231212", "abc" * 40])
    yield case("merges as strings", {"model": bpe(merged, [" ".join(m) for m in merges[:3]])}, ["abcab"])
    yield case("ignore merges", {"model": bpe({**merged, "cab": 99}, merges, ignore_merges=True)}, ["cab", "cabc"])

    unknown = {**VOCAB, "<unk>": 90}
    yield case("unknown dropped", {"model": bpe()}, ["axb", "xyz"])
    yield case("unknown each", {"model": bpe(unknown, unk_token="<unk>")}, ["axyb", "x"])
    yield case("unknown fused", {"model": bpe(unknown, unk_token="<unk>", fuse_unk=True)}, ["axyb", "xyaz"])
    fallback = dict(unknown)
    for byte in "한\n".encode():
        fallback[f"<0x{byte:02X}>"] = 100 + byte
    prepend = sequence("normalizers", {"type": "Prepend", "prepend": "▁"},
                       {"type": "Replace", "pattern": {"String": " "}, "content": "▁"})
    korean = [100 + byte for byte in "한".encode()]
    yield case("byte fallback",
               {"model": bpe(fallback, unk_token="<unk>", fuse_unk=True, byte_fallback=True), "normalizer": prepend,
                "decoder": LLAMA_DECODER}, ["한 a\n", " a", "x한y", "  "],
               [korean, korean[:2], korean + korean[:1], [0] + korean[1:] + [1], [17, 17, 0], [17], []])
    yield case("affixes",
               {"model": bpe({"a": 0, "##a": 1, "a</w>": 2, "##a</w>": 3, "b": 4, "##b": 5, "aa": 6, "ab": 7, "u": 8},
                             [["a", "##a"], ["a", "##b"]], unk_token="u", continuing_subword_prefix="##",
                             end_of_word_suffix="</w>"),
                "pre_tokenizer": {"type": "WhitespaceSplit"}, "decoder": {"type": "BPEDecoder", "suffix": "</w>"}},
               ["a aa aaa aba", "b"], [[2, 2], [0, 2, 4]])
    pieces = [["<unk>", 0.0], ["▁", -2.0], ["a", -1.0], ["b", -1.5], ["ab", -2.5], ["▁a", -2.9], ["abb", -3.0],
              ["c", -9.0], ["▁ab", -4.4]]
    unigram = {"type": "Unigram", "unk_id": 0, "vocab": pieces, "byte_fallback": False}
    yield case("unigram", {"model": unigram, "pre_tokenizer": metaspace("always"), "decoder": metaspace("always")},
               ["ab abb a", "xab xy c", "aabbabb"])
    with_bytes = pieces + [[f"<0x{byte:02X}>", -20.0] for byte in "한".encode()]
    yield case("unigram bytes", {"model": {**unigram, "vocab": with_bytes, "byte_fallback": True},
                                 "decoder": LLAMA_DECODER}, ["a한b", "한한", "한x"])

    for scheme in ("first", "always", "never"):
        for whole in (False, True):
            yield case(f"metaspace {scheme} {whole}",
                       {"model": bpe(), "added_tokens": [added(FREE, "<s>", special=True)],
                        "pre_tokenizer": metaspace(scheme, whole), "decoder": metaspace(scheme, whole)},
                       ["a b", "a<s>b <s> a", " a", "▁a"])
    yield case("byte level with prefix",
               {"model": bpe({"a": 0, "Ġ": 1, "b": 2, "Ã": 3, "©": 4, "Ġa": 5, "'": 6, "s": 7, "漢": 8}, [["Ġ", "a"]]),
                "pre_tokenizer": byte_level(True), "decoder": byte_level()},
               ["a a", "  a", " é", "b's a"], [[3], [4, 3], [3, 4, 3], [8, 0], [3, 8, 4]])
    for individual in (False, True):
        yield case(f"digits {individual}",
                   {"model": model, "pre_tokenizer": {"type": "Digits", "individual_digits": individual}}, ["a123b12"])
    yield case("punctuation", {"model": model, "pre_tokenizer": {"type": "Punctuation", "behavior": "Contiguous"}},
               ["a.-a--b"])
    yield case("whitespace", {"model": model, "pre_tokenizer": {"type": "Whitespace"}}, ["ab .-a  12"])
    yield case("delimiter", {"model": model, "pre_tokenizer": {"type": "CharDelimiterSplit", "delimiter": "b"}},
               ["abcab"])
    yield case("fixed length", {"model": model, "pre_tokenizer": {"type": "FixedLength", "length": 2}},
               ["abcabc", "漢abab"])
    yield case("splits in sequence",
               {"model": model,
                "pre_tokenizer": sequence("pretokenizers", split("Isolated", False, {"Regex": "\\p{N}{1,2}"}),
                                          split("Removed", False, {"String": " "}))}, ["ab 123 12"])
    yield case("normalizers in sequence",
               {"model": bpe(),
                "normalizer": sequence("normalizers", {"type": "Strip", "strip_left": True, "strip_right": False},
                                       {"type": "Lowercase"}, {"type": "NFD"},
                                       {"type": "Replace", "pattern": {"Regex": "\\p{M}"}, "content": "-"},
                                       {"type": "NFC"})}, ["  É AB ", "e\u0301"])

    for flags in ({}, {"lstrip": True}, {"rstrip": True}, {"lstrip": True, "rstrip": True}, {"single_word": True},
                  {"special": True}):
        content = "cd" if "single_word" in flags else "<s>"
        yield case("added " + " ".join(flags), {"model": bpe(), "added_tokens": [added(FREE, content, **flags)]},
                   [f"a  {content}  b", content * 2, f"{content} {content}", f"a{content}b{content}_{content}",
                    f"é{content}"])
    yield case("added longest", {"model": bpe(), "added_tokens": [added(FREE, "ab"), added(FREE + 1, "abc"),
                                                                  added(FREE + 2, "bcd")]}, ["abcd", "ababcabd"])
    yield case("added blanks", {"model": bpe(), "added_tokens": [added(FREE, "<x>", rstrip=True), added(FREE + 1, "  "),
                                                                 added(FREE + 2, "<y>", lstrip=True)]},
               ["<x>  a", "<x>   a", "a  <y>a", "<x>    <y>", "   <y>"])
    yield case("added normalized",
               {"model": bpe(), "normalizer": {"type": "Lowercase"},
                "added_tokens": [added(FREE, "AB", normalized=True), added(FREE + 1, "BA")]}, ["ABBA", "abba", "aBbA"])
    yield case("added ids as given by the library",
               {"model": bpe({"a": 0, "b": 1, "c": 5}), "added_tokens": [added(2, "b"), added(3, "XX")]}, ["aXXbc"])
    yield case("special not parsed", {"model": bpe(), "added_tokens": [added(FREE, "ab", special=True),
                                                                       added(FREE + 1, "bc")]},
               ["abcab", "bcab"], (), True, False)
    for on in (True, False):
        yield case(f"template {on}", {"model": bpe(), "post_processor": template([SPECIAL, TEXT, SPECIAL], [3, 4])},
                   ["ab", ""], (), on)
        yield case(f"template in sequence {on}",
                   {"model": bpe(), "post_processor": sequence("processors", byte_level(),
                                                               template([SPECIAL, TEXT], [3]))}, ["ab"], (), on)
    yield case("roberta", {"model": bpe(), "post_processor": {"type": "RobertaProcessing", "sep": ["a", 1],
                                                              "cls": ["b", 2], "trim_offsets": True,
                                                              "add_prefix_space": True}}, ["ab"])
    yield case("no decoder", {"model": bpe()}, ["ab c"])
    yield case("strip each token",
               {"model": bpe({"a": 0, "  a": 1, "a  ": 2, " a a ": 3}),
                "decoder": {"type": "Strip", "content": " ", "start": 1, "stop": 1}}, [], [[1, 2, 3, 0], [3, 3]])
    yield case("replace after fuse",
               {"model": bpe({"a": 0, "b": 1, "ab": 2}),
                "decoder": sequence("decoders", {"type": "Fuse"},
                                    {"type": "Replace", "pattern": {"String": "aba"}, "content": "-"})}, [],
               [[0, 1, 0], [0, 1, 0, 1, 0], [2, 2, 2], [0, 1], [2, 1, 2, 0]])
    yield case("replace by expression after fuse",
               {"model": bpe({"a": 0, "b": 1, "ab": 2}),
                "decoder": sequence("decoders", {"type": "Fuse"},
                                    {"type": "Replace", "pattern": {"Regex": "a+b?"}, "content": "-"})}, [],
               [[0, 0, 1, 0], [2, 0, 2], []])

    # What Unicode versions disagree on: U+180E is no blank, U+0085 is; the others are of Unicode 15 to 16.
    recent = {c: i for i, c in enumerate("ab.\u180e\x85\U0002ebf0\U0001e4d0\U0001e4ec\U0001e4f0\U0001fac6\u1c89 ")}
    for pattern in (r"\s+", r"\p{L}+", r"\p{N}+", r"\p{M}+", r"\p{S}+", r"[^\s\p{L}\p{N}]+", r"\p{Cn}+", r"\P{L}+",
                    r"\p{Lu}", r"\p{Han}+", r"\w+"):
        yield case("unicode " + pattern, {"model": bpe(recent),
                                          "pre_tokenizer": split("Removed", False, {"Regex": pattern})},
                   ["a\u180e\x85 .\U0002ebf0b\U0001e4d0.\U0001e4ec\U0001e4f0.\U0001fac6\u1c89"])
    marks = "ea\u0301\u0323\u0334é\U0001e4ec\U0001e4ed한\u1112\u1161\u11abÅ\u212b\U00011938\U00011935\U00011930ẹ\u0302"
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        yield case(form, {"model": bpe({c: i for i, c in enumerate(marks)}), "normalizer": {"type": form}},
                   ["e\u0301", "e\u0301\u0323", "\u1112\u1161\u11ab", "\u212b", "a\U0001e4ec\u0334",
                    "\U00011935\U00011930", "e\u0334\u0301"])


PATTERNS = [
    (r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+", "It's 12  o'clock,\n\n now"),
    (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
     r"|\s+(?!\S)|\s+", "IT'S 'ſ 12345 (x)\r\n  \n y  "),
    (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"
     r"|\s+(?!\S)|\s", "We'LL go: 1234567  \n"),
    (r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+"
     r"|\p{N}{1,3}|\s+", "Abc漢字Deか 12漢"),
    (r"[^(\s|[.,!?…。，、।۔،])]+", "hello (a|b) x,y।z"),
    (r"(?i:k)", "kK\u212a"), (r"a(?i)b|c", "aC B aB C"), ("^", "a\nb\n"), ("$", "a\nb\n"), ("a$", "a\na"),
    (r"[a[bc]]", "xabcx"), (r"[a-z&&[^b]]", "abc"), (r"[^a-z&&[^b]]", "abcB"), (r"a{2}+", "aaaaa"), (r"a{2}?", "aaaa"),
    (r"a{1,2}?", "aaaa"), (r"a{1,2}+", "aaaaa"), (r"a{,2}", "aaaa"), (r"a**", "aaab"), (r"[]a]", "]a"),
    (r"[\w-]", "a-"), (r"x{", "x{"), (r"x{,", "x{,"), (r"\Z", "a\n"), (r"\b", "ab cd"), (r"\B", "ab cd"),
    (r"x*", "axxb"), (r"(?=b)", "abab"), (r"(?<=a)b", "abb"), (r"(?<!a)b", "abb"), (r"(?>a+)b", "aab"),
    (r"\N", "a\n"), (r"\O", "a\n"), (r"\R", "a\r\nb"), (r"\p{Letter}", "a1"), (r"\p{^L}", "a1"), (r"\pL", "aL1pL"),
    (r"[[:alpha:]]+|[[:punct:]]", "ab.1+"), (r"[[:^alpha:]]", "a1"), (r"[--a]", "a-.b"), (r"[&&a]", "a&"),
    (r"\x41\u0042\x{43}", "ABC"), (r"[\b]", "\b"), (r"(?m:a.)", "a\n"), (r".", "a\nb"), (r"\h", "fg"),
    (r"[^\S\n]", " \n"), (r"[^\P{L}]", "a1"), (r"\w", ".²a¾"), (r"[\w]", ".²a¾"), (r"(?<n>a)b", "ab"),
    (r"(?#comment)a", "ba"), (r"\p{Mn}|\p{Mc}", "a\u0301\U0001171e\u0903"), (r"[\p{Cn}\p{Cf}]", "\u0378\u00ad"),
]


def blocks_text(rng, length):
    blocks = [(0x20, 0x7f), (0x80, 0x250), (0x300, 0x370), (0x370, 0x530), (0x590, 0x900), (0x900, 0x1100),
              (0x1100, 0x1200), (0x1ab0, 0x1b00), (0x2000, 0x2100), (0x3000, 0x3100), (0x4e00, 0x4f00),
              (0xac00, 0xad00), (0xfb00, 0xfe00), (0x10a00, 0x11000), (0x11900, 0x12000), (0x1e000, 0x1f000),
              (0x1f300, 0x1fb00), (0x2eb00, 0x2ee70), (0xe0000, 0xe0080), (0x10fff0, 0x110000)]
    low, high = rng.choice(blocks)
    return "".join(chr(rng.randrange(low, high)) for _ in range(length))


def random_text(rng, specials):
    words = ("The don't IT'S we'LL o'clock 'ſ K'd naïve cafe\u0301 \u212b A\u030a 한국어 \u1112\u1161\u11ab 漢字 ひらがな "
             "か\u3099 ﬁ ẞ İ Привет Ωμέγα עברית हिन्दी ไทย 👩‍👩‍👧 🇩🇪 👍🏽 … “q” 1234567 3.14 ١٢٣ １２３ ½ camelCase a@b.c "
             "http://x.y/z?q=1").split()
    blanks = [" ", "  ", "   ", "\n", "\r\n", "\t", "\n\n", "\x0b", "\x85", "\xa0", "\u180e", "\u2003", "\u200b",
              "\u2028", "\u3000", "\ufeff", "      "]
    parts = []
    for _ in range(rng.randrange(1, 9)):
        kind = rng.randrange(6)
        parts.append(rng.choice(words) if kind < 2 else rng.choice(blanks) if kind == 2 else
                     blocks_text(rng, rng.randrange(1, 4)) if kind == 3 else rng.choice(specials) if kind == 4 else
                     chr(rng.randrange(0x20)) if rng.random() < 0.3 else rng.choice(["'", "a", "A", "1", "-"]) * 3)
    return "".join(parts)


def dump(path, rows):
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")


def stage_rows():
    for name, parts, texts, decodes, add_special, parse_special in stage_cases():
        document = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
                    "pre_tokenizer": None, "post_processor": None, "decoder": None, **parts}
        tokenizer = Tokenizer.from_str(json.dumps(document))
        tokenizer.encode_special_tokens = not parse_special
        encoded = [(text, tokenizer.encode(text, add_special_tokens=add_special).ids) for text in texts]
        yield {"name": name, "tokenizer": parts, "add_special": add_special, "parse_special": parse_special,
               "texts": [{"text": text, "ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False)}
                         for text, ids in encoded],
               "decodes": [{"ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False)}
                           for ids in decodes]}


def pattern_rows():
    for pattern, text in PATTERNS:
        splitter = pre_tokenizers.Split(Regex(pattern), "isolated")
        yield {"pattern": pattern, "text": text, "parts": [part for part, _ in splitter.pre_tokenize_str(text)]}


def random_rows(folder, each=50):
    rng = random.Random(20240607)
    for path in sorted(folder.glob("*/tokenizer.json")):
        tokenizer = Tokenizer.from_file(str(path))
        specials = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
        for _ in range(each):
            text = random_text(rng, specials)
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            yield {"tokenizer": path.parent.name, "text": text, "ids": ids,
                   "decoded": tokenizer.decode(ids, skip_special_tokens=False)}


if __name__ == "__main__":
    target = pathlib.Path(sys.argv[1])
    dump(target / "stages.jsonl", stage_rows())
    dump(target / "patterns.jsonl", pattern_rows())
    dump(target / "random.jsonl", random_rows(target))
