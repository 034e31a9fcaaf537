# Whole experts go: the others keep their weights under new numbers, the configuration follows, and the bytes depend on
# neither threads nor instruction set nor an interruption.
model=$DATA/bad/_valid
common="--no-report --calib $DATA/texts/calib.txt --calib-tokens 600 --quant none --attention bf16 --head bf16"
moesaic compress "$model" -o out.moe $common --drop-experts reap:0.5 --json >out.json
moesaic export out.moe -o folder -q
python3 - "$model" <<'EOF'
import json, pathlib, sys, tensor_file
before, after = ({name: t[2] for name, t in tensor_file.read_folder(f).items()} for f in (sys.argv[1], "folder"))
old, new = (json.loads(pathlib.Path(f, "config.json").read_text()) for f in (sys.argv[1], "folder"))
parts = json.load(open("out.json"))["experts"]
kept = [p["source"] for p in parts]
print("experts", old["num_experts"], "->", new["num_experts"], {k for k in old if old[k] != new.get(k)})
print("numbers", [p["expert"] for p in parts], kept == sorted(set(kept)) and max(kept) < old["num_experts"])
names = [f"model.layers.0.mlp.experts.{{}}.{m}_proj.weight" for m in ("gate", "up", "down")]
print("weights", all(after[n.format(p["expert"])] == before[n.format(p["source"])] for p in parts for n in names))
row = 2 * old["hidden_size"]
router = [before["model.layers.0.mlp.gate.weight"][e * row:(e + 1) * row] for e in kept]
print("router", after["model.layers.0.mlp.gate.weight"] == b"".join(router))
EOF
moesaic run out.moe --ids 1,2,3 -n 8 --ignore-eos --json |
    python3 -c "import json, sys; print(json.load(sys.stdin)['completion_tokens'])"
for threads in 1 2; do
    MOESAIC_CPU=$([ $threads = 1 ] && echo scalar || echo avx2) \
        moesaic compress "$model" -o same.moe $common --drop-experts reap:0.5 --threads $threads -q
    cmp out.moe same.moe
done
for seed in 1 2 3 4 5 6; do
    moesaic compress "$model" -o seed.moe $common --drop-experts random:0.5 --seed $seed --json |
        python3 -c "import json, sys; print([p['source'] for p in json.load(sys.stdin)['experts']])"
done | sort -u | wc -l
moesaic compress "$model" -o none.moe $common --drop-experts frequency:0.9 2>err || echo "$? $(cat err)"
moesaic compress "$model" -o none.moe $common --drop-experts often:0.5 2>err || echo "$? $(cat err)"
moesaic compress "$model" -o none.moe $common --drop-experts reap:1 2>err || echo "$? $(cat err)"

# On from where a kill stopped it, in layers of fewer and narrower experts.
common="--no-report --calib $DATA/texts/calib.txt --calib-tokens 128 --quant rtn:int4-g64 --drop-experts reap:0.25"
common="$common --prune structured:0.25"
moesaic compress -o whole.moe $common -q
python3 -m kill_compress 4000000 $common -q
moesaic compress -o killed.moe $common --resume --json |
    python3 -c "import json, sys; print(0 < json.load(sys.stdin)['resumed_layers'] < 6)"
cmp whole.moe killed.moe && echo same
