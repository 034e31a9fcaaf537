# Whole layers go: those whose influence, worked out here from the hidden states, is least. The bytes depend on neither
# threads nor instruction set nor an interruption, and what a layer is stays with it under its new number.
head -c 2000 "$DATA/texts/calib.txt" >text
common="--no-report --quant rtn:int4-g64 --drop-layers influence:0.34"
moesaic compress -o out.moe --calib text $common --json >out.json
python3 -c "import json, sys; print(json.dumps(open('text', encoding='utf-8', errors='replace').read()))" |
    moesaic tokenize --no-special >ids.json
python3 - <<'EOF'
import json, subprocess
ids = json.load(open("ids.json"))
for window, begin in enumerate(range(0, len(ids), 512)):
    subprocess.run(["moesaic", "logits", "--ids", ",".join(map(str, ids[begin:begin + 512])), "--hidden", "-o",
                    f"{window}.safetensors", "-q"], check=True)
EOF
python3 - "$DATA/fable-moe" <<'EOF'
import array, glob, json, math, operator, pathlib, struct, sys
def tensors(path):
    data = pathlib.Path(path).read_bytes()
    end = 8 + struct.unpack("<Q", data[:8])[0]
    return {n: data[end + t["data_offsets"][0]:end + t["data_offsets"][1]]
            for n, t in json.loads(data[8:end]).items() if n != "__metadata__"}
def dot(a, b):
    return sum(map(operator.mul, a, b))
ids, width = json.load(open("ids.json")), 256
table = next(t for p in glob.glob(sys.argv[1] + "/*.safetensors") for n, t in tensors(p).items() if n == "model.embed_tokens.weight")
def embedding(token):
    halves = array.array("H", table[2 * token * width:2 * (token + 1) * width])
    return array.array("f", array.array("I", [h << 16 for h in halves]).tobytes())
sums = [0.0] * 6
for window, begin in enumerate(range(0, len(ids), 512)):
    t = tensors(f"{window}.safetensors")
    hidden = [array.array("f", t[f"hidden.{layer}"]) for layer in range(6)]
    for row in range(len(hidden[0]) // width):
        before = embedding(ids[begin + row])
        for layer in range(6):
            behind = hidden[layer][row * width:(row + 1) * width]
            sums[layer] += dot(before, behind) / math.sqrt(dot(before, before) * dot(behind, behind))
            before = behind
scores = [1 - s / len(ids) for s in sums]
layers = json.load(open("out.json"))["layers"]
print("scores", all(abs(l["influence"] - s) < 1e-6 for l, s in zip(layers, scores)), len(layers))
least = sorted(range(6), key=scores.__getitem__)[:2]
print("dropped", [l["source"] for l in layers if l["layer"] is None] == sorted(least))
print("numbers", [l["layer"] for l in layers if l["layer"] is not None])
EOF
moesaic inspect out.moe --verify --json | python3 -c "import json, sys; print(json.load(sys.stdin)['layers'])"
for threads in 1 2; do
    MOESAIC_CPU=$([ $threads = 1 ] && echo scalar || echo avx2) \
        moesaic compress -o same.moe --calib text $common --threads $threads -q
    cmp out.moe same.moe
done
python3 -m kill_compress 3100000 --calib text $common -q
moesaic compress -o killed.moe --calib text $common --resume --json |
    python3 -c "import json, sys; print(0 < json.load(sys.stdin)['resumed_layers'] < 4)"
cmp out.moe killed.moe && echo same

# The comparison finds each layer's twin; a recipe counts layers as the checkpoint does.
kept=$(python3 -c "import json; print([l['source'] for l in json.load(open('out.json'))['layers'] if l['layer'] is not None])")
moesaic compare "$DATA/fable-moe" out.moe --text "$DATA/texts/eval_tales.txt" --tokens 256 --no-speed --json |
    python3 -c "
import json, sys
r = json.load(sys.stdin)
drift = {d['layer']: d['changed'] for d in r['routing_drift']}
print('drift', list(drift) == $kept == r['layers']['kept'], drift[0] < 0.05)"
echo '{"exceptions":[{"layers":[4,4],"format":"int8","quant":"rtn","refine":0}]}' >recipe
moesaic compress -o other.moe --calib text $common --recipe recipe --json | python3 -c "
import json, sys
r = json.load(sys.stdin)
new = {l['layer']: l['source'] for l in r['layers']}
print('exception', {new[p['layer']] for p in r['experts'] if p['format'] == 'int8-g64'})"

# Dense and sliding layers: against the same layers put together by hand.
cp -r "$DATA/checkpoints/qwen2_moe" whole
python3 - <<'EOF'
import json
c = json.load(open("whole/config.json"))
c.update(use_sliding_window=True, sliding_window=8)
json.dump(c, open("whole/config.json", "w"), indent=1)
EOF
for share in 0.34 0.67; do
    moesaic compress whole -o cut.moe --no-report --calib text --quant none --attention bf16 --head bf16 \
        --drop-layers influence:$share --json >cut.json
    python3 - <<'EOF'
import json, pathlib, re, shutil, struct
shutil.rmtree("hand", ignore_errors=True)
pathlib.Path("hand").mkdir()
kept = [l["source"] for l in json.load(open("cut.json"))["layers"] if l["layer"] is not None]
header, body = {}, b""
for path in sorted(pathlib.Path("whole").glob("*.safetensors")):
    if path.name.startswith("golden"):
        continue
    data = path.read_bytes()
    end = 8 + struct.unpack("<Q", data[:8])[0]
    for name, t in json.loads(data[8:end]).items():
        layer = re.match(r"model\.layers\.(\d+)\.", name)
        if name == "__metadata__" or (layer and int(layer[1]) not in kept):
            continue
        if layer:
            name = name.replace(layer[0], f"model.layers.{kept.index(int(layer[1]))}.")
        begin, stop = t["data_offsets"]
        header[name] = {**t, "data_offsets": [len(body), len(body) + stop - begin]}
        body += data[end + begin:end + stop]
head = json.dumps(header).encode()
pathlib.Path("hand/model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + body)
c = json.load(open("whole/config.json"))
dense = c["mlp_only_layers"]
c.update(num_hidden_layers=len(kept), mlp_only_layers=[i for i, l in enumerate(kept) if l in dense],
         layer_types=["sliding_attention" if l % 2 == 0 else "full_attention" for l in kept])
json.dump(c, open("hand/config.json", "w"))
for name in ("tokenizer.json", "tokenizer_config.json"):
    shutil.copy(f"whole/{name}", f"hand/{name}")
EOF
    ids=$(seq -s, 1 40)
    moesaic logits cut.moe --ids "$ids" -o cut.safetensors -q
    moesaic logits hand --ids "$ids" -o hand.safetensors -q
    cmp cut.safetensors hand.safetensors && echo "same logits"
    rm -rf folder
    moesaic export cut.moe -o folder -q
    moesaic logits folder --ids "$ids" -o folder.safetensors -q
    cmp folder.safetensors hand.safetensors && echo "same logits"
done
moesaic compress whole -o both.moe --no-report --calib text --drop-layers influence:0.34 --drop-experts reap:0.25 --json |
    python3 -c "
import json, sys
r = json.load(sys.stdin)
print('both', sorted({p['layer'] for p in r['experts']}), max(p['expert'] for p in r['experts']))"
refuse() {
    moesaic compress -o none.moe --calib text --no-report --drop-layers "$1" 2>err || echo "$? $(cat err)"
}
refuse influence:0.01
refuse influence:0.95
refuse often:0.5
refuse 2
