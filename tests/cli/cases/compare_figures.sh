# Every figure of a comparison against the same made from the models' logits files by other code; a model against itself; the
# same report from another number of threads; what is refused.
base=$DATA/checkpoints/qwen3_moe
moesaic compress "$base" -o packed.moe --calib "$DATA/texts/calib.txt" --calib-tokens 300 --no-report -q
compare() { moesaic compare "$base" "$@" --text "tales=$DATA/texts/eval_tales.txt" --tokens 64 --window 64 --no-speed; }
compare packed.moe --json --threads 1 >one.json
compare packed.moe --json --threads 2 --report-json file.json -o page.html >two.json
cmp one.json two.json && cmp file.json <(head -c -1 two.json) && echo "threads change no bit of the report"
compare "$base" --json >same.json
ids=$(python3 -c "import json, sys; print(json.dumps(open(sys.argv[1], encoding='utf-8').read()))" "$DATA/texts/eval_tales.txt" |
    moesaic tokenize "$base" --no-special | python3 -c "import json, sys; print(*json.load(sys.stdin)[:64], sep=',')")
moesaic logits "$base" --ids "$ids" -o base.safetensors
moesaic logits packed.moe --ids "$ids" -o packed.safetensors
python3 - "$ids" <<'END'
import json, math, sys, tensor_file

ids = [int(i) for i in sys.argv[1].split(",")]


def tensors(path):
    for name, tensor in tensor_file.read(path).items():
        flat, wide = tensor_file.numbers(tensor).tolist(), tensor[1][1]
        yield name, [flat[i:i + wide] for i in range(0, len(flat), wide)]


def log_softmax(row):
    top = max(row)
    norm = top + math.log(math.fsum(math.exp(x - top) for x in row))
    return [x - norm for x in row]


base, packed = dict(tensors("base.safetensors")), dict(tensors("packed.safetensors"))
report, same = json.load(open("one.json")), json.load(open("same.json"))
kl, agree, base_nll, nll = [], 0, 0, 0
for at in range(63):
    p, q = log_softmax(base["logits"][at]), log_softmax(packed["logits"][at])
    kl.append(math.fsum(math.exp(a) * (a - b) for a, b in zip(p, q)))
    agree += p.index(max(p)) == q.index(max(q))
    base_nll -= p[ids[at + 1]]
    nll -= q[ids[at + 1]]
quality = report["quality"]
wanted = {"scored": 63, "kl_mean": math.fsum(kl) / 63, "kl_median": sorted(kl)[31], "kl_p99": max(kl), "kl_max": max(kl),
          "top1": agree / 63, "base_perplexity": math.exp(base_nll / 63), "perplexity": math.exp(nll / 63)}
for key, value in wanted.items():
    assert abs(quality[key] - value) <= 2e-4 * abs(value) + 1e-7, (key, quality[key], value)
worst = kl.index(max(kl))
assert report["worst"][0]["token"] == worst + 1, (report["worst"][0], worst)
for layer in report["routing_drift"]:
    name = f"router.{layer['layer']}.experts"
    changed = sum(set(a) != set(b) for a, b in zip(base[name][:63], packed[name][:63]))
    assert abs(layer["changed"] - changed / 63) < 1e-6, (layer, changed)
for expert in report["by_expert"]:
    rows = [i for i in range(63) if expert["expert"] in base[f"router.{expert['layer']}.experts"][i]]
    mean = math.fsum(kl[i] for i in rows) / len(rows) if rows else 0
    assert expert["tokens"] == len(rows) and abs(expert["kl_mean"] - mean) <= 2e-4 * mean + 1e-7, (expert, mean)
for split in ("texts", "by_frequency", "by_position"):
    assert sum(part["scored"] for part in report[split]) == 63, split
assert sum(report["histogram"]["counts"]) == 63
print("figures agree with the logits")
q = same["quality"]
assert q["kl_max"] == 0 and q["top1"] == 1 and q["perplexity_ratio"] == 1 and same["deploy"] == "optimized"
print("a model does not differ from itself")
page = open("page.html", encoding="utf-8").read()
assert page.endswith("</html>\n") and "<script" not in page and "http" not in page.replace("http-equiv", "")
print("the page needs nothing else")
END
code() { local have=0; "$@" >out 2>err || have=$?; echo "$have: $(cat err)"; }
code compare packed.moe -q --gate kl_max=1e-9
code compare packed.moe -q --gate kl_max=1e-9 --justify "the bench is not ready"
code compare packed.moe -q --gate kl_max=99 --gate top1=0
code compare packed.moe --gate speed=1
code compare packed.moe --gate kl_mean=much
code compare packed.moe --gate decode_ratio=1
code compare "$DATA/checkpoints/llama"
code moesaic compare "$base" packed.moe
