# Shapes and names of the file; the logits are those of the reference.
ids=$(python3 -c "import json; print(*json.load(open('$DATA/fable-moe/golden.json'))['prompts']['short']['ids'], sep=',')")
moesaic logits --ids "$ids" -o out.safetensors --hidden
python3 - <<'END'
import json, os, statistics, struct
def tensors(path):
    raw = open(path, "rb").read()
    size = struct.unpack("<Q", raw[:8])[0]
    head = json.loads(raw[8:8 + size])
    return {n: (t["dtype"], t["shape"], raw[8 + size + t["data_offsets"][0]:8 + size + t["data_offsets"][1]])
            for n, t in head.items() if n != "__metadata__"}
have, want = tensors("out.safetensors"), tensors(os.environ["DATA"] + "/fable-moe/golden.safetensors")
golden = json.load(open(os.environ["DATA"] + "/fable-moe/golden.json"))
T = len(golden["prompts"]["short"]["ids"])
print(have["logits"][:2] == ("F32", [T, 4096]), sorted(have) == sorted(
    ["logits"] + [f"{k}.{l}{s}" for l in range(6) for k, s in (("router", ".experts"), ("router", ".weights"), ("hidden", ""))]))
floats = lambda t: struct.unpack(f"<{len(t[2]) // 4}f", t[2])
reference = floats(want["short.logits"])
worst = max(abs(a - b) for a, b in zip(floats(have["logits"]), reference, strict=True))
print(worst < 2e-4 * statistics.pstdev(reference))
END
