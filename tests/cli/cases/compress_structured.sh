# Experts become narrower: rows of gate and up stay as they are, down is fitted to them, the configuration follows.
model=$DATA/bad/_valid
common="--no-report --calib $DATA/texts/calib.txt --calib-tokens 600 --quant none --attention bf16 --head bf16"
moesaic compress "$model" -o out.moe $common --prune structured:0.5 --json >out.json
moesaic export out.moe -o folder -q
python3 - "$model" <<'EOF'
import json, pathlib, sys, tensor_file
def rows(tensor):
    _, shape, data = tensor
    return [data[2 * shape[1] * i:2 * shape[1] * (i + 1)] for i in range(shape[0])]
before, after = (tensor_file.read_folder(f) for f in (sys.argv[1], "folder"))
old, new = (json.loads(pathlib.Path(f, "config.json").read_text()) for f in (sys.argv[1], "folder"))
print({k: (old[k], new[k]) for k in old if old[k] != new[k]})
kept, fitted = [], 0
for e in range(old["num_experts"]):
    gate, up, down = (f"model.layers.0.mlp.experts.{e}.{m}_proj.weight" for m in ("gate", "up", "down"))
    whole = list(zip(rows(before[gate]), rows(before[up])))
    kept.append([whole.index(pair) for pair in zip(rows(after[gate]), rows(after[up]))])
    columns = [b"".join(r[2 * i:2 * i + 2] for i in kept[-1]) for r in rows(before[down])]
    fitted += columns != rows(after[down]) and after[down][1] == [old["hidden_size"], new["moe_intermediate_size"]]
print("kept", all(k == sorted(set(k)) for k in kept), len(set(map(tuple, kept))), "fitted", fitted)
parts = json.load(open("out.json"))["experts"]
print({(p["method"], p["format"], p["density"]) for p in parts}, all(0 < p["error"] < 1 for p in parts))
EOF
for cpu in scalar avx2; do
    MOESAIC_CPU=$cpu moesaic compress "$model" -o same.moe $common --prune structured:0.5 -q \
        --threads $([ $cpu = scalar ] && echo 1 || echo 2)
    cmp out.moe same.moe
done
# Where the experts' width goes by another name; with other methods on what is left.
moesaic compress "$DATA/checkpoints/olmoe" -o olmoe.moe --no-report --calib "$DATA/texts/calib.txt" \
    --calib-tokens 600 -q \
    --preset int4-sparse50 --prune structured:0.5 --drop-experts frequency:0.25
moesaic run olmoe.moe --ids 1,2,3 -n 8 --ignore-eos --json |
    python3 -c "import json, sys; print(json.load(sys.stdin)['completion_tokens'])"
moesaic compress "$model" -o none.moe $common --prune structured:0.1 2>err || echo "$? $(cat err)"
moesaic compress "$model" -o none.moe $common --prune structured:2:4 2>err || echo "$? $(cat err)"
