# Shapes and names of the file; the logits are those of the reference.
ids=$(python3 -c "import json; print(*json.load(open('$DATA/fable-moe/golden.json'))['prompts']['short']['ids'], sep=',')")
moesaic logits --ids "$ids" -o out.safetensors --hidden
python3 - <<'END'
import json, os, statistics
from tensor_file import numbers, read
have, want = read("out.safetensors"), read(os.environ["DATA"] + "/fable-moe/golden.safetensors")
golden = json.load(open(os.environ["DATA"] + "/fable-moe/golden.json"))
T = len(golden["prompts"]["short"]["ids"])
print(have["logits"][:2] == ("F32", [T, 4096]), sorted(have) == sorted(
    ["logits"] + [f"{k}.{l}{s}" for l in range(6) for k, s in (("router", ".experts"), ("router", ".weights"), ("hidden", ""))]))
reference = numbers(want["short.logits"])
worst = max(abs(a - b) for a, b in zip(numbers(have["logits"]), reference, strict=True))
print(worst < 2e-4 * statistics.pstdev(reference))
END
