# Traces and plans of another model, files that are no traces, and wrong usage: each refused by name.
head -c 3000 "$DATA/texts/eval_tales.txt" >text
moesaic trace --text text -o trace.safetensors -q >/dev/null
python3 - <<'END'
import json, struct
from tensor_file import read, write
trace = read("trace.safetensors")
(_, (L, T, k), experts), (_, _, sequence) = trace["experts"], trace["sequence"]
u16 = lambda *values: struct.pack(f"<{len(values)}H", *values)
i32 = lambda *values: struct.pack(f"<{len(values)}i", *values)
write("layers", {"experts": ("U16", [L - 1, T, k], experts[:(L - 1) * T * k * 2]), "sequence": ("I32", [T], sequence)})
write("topk", {"experts": ("U16", [L, T * k, 1], experts), "sequence": ("I32", [T], sequence)})
write("id", {"experts": ("U16", [L, T, k], u16(60000) + experts[2:]), "sequence": ("I32", [T], sequence)})
write("twice", {"experts": ("U16", [L, T, k], experts[:2] * 2 + experts[4:]), "sequence": ("I32", [T], sequence)})
write("short", {"experts": ("U16", [L, T, k], experts), "sequence": ("I32", [T - 1], sequence[4:])})
write("order", {"experts": ("U16", [L, T, k], experts), "sequence": ("I32", [T], i32(-2 ** 31) + sequence[4:])})
write("type", {"experts": ("I32", [L, T, k], experts * 2), "sequence": ("I32", [T], sequence)})
write("rank", {"experts": ("U16", [L, T * k], experts), "sequence": ("I32", [T], sequence)})
write("none", {"sequence": ("I32", [T], sequence)})
write("empty", {"experts": ("U16", [L, 0, k], b""), "sequence": ("I32", [0], b"")})
plan = {"schema": "moesaic.plan/1", "policy": "interleave", "model": {"layers": 2, "experts": 4, "hidden": 64,
        "bytes": 4096}, "nodes": 2, "batch": 1, "simulated_step_ns": 1, "histogram": [[0] * 4] * 2, "pieces": []}
json.dump(plan, open("other.plan", "w"))
json.dump(dict(plan, nodes=-1), open("bad.plan", "w"))
END
check() {
    code=0
    moesaic place --synthetic "pack:2 [numa(memory=1GB)] core:8 pu:1" "$@" 2>message >/dev/null || code=$?
    echo "$code $(cut -c 1-110 message)"
}
for name in layers topk id twice short order type rank none empty text missing; do
    check --trace $name
done
check --trace trace.safetensors --against other.plan
check --trace trace.safetensors --against bad.plan
check --trace trace.safetensors --against missing.plan
for plan in other.plan bad.plan missing.plan; do
    code=0
    moesaic run -p hello -n 1 --plan $plan 2>message >/dev/null || code=$?
    echo "$code $(cut -c 1-110 message)"
done
check --trace trace.safetensors --policy fastest
check --trace trace.safetensors --batch 4000
check --trace trace.safetensors -o /nonexistent/plan.json
check
