# The benchmark: as many measurements as asked for, a step's time by part and its barriers, at most six a layer and two at its
# ends.
moesaic bench "$DATA/checkpoints/qwen3_moe" -p 160 -n 4 -r 3 -b 1,2 --threads 2 --json >bench.json
layers=$(python3 -c "import json, sys; print(json.load(open(sys.argv[1]))['num_hidden_layers'])" "$DATA/checkpoints/qwen3_moe/config.json")
python3 - "$layers" <<'END'
import json, sys

layers, bench = int(sys.argv[1]), json.load(open("bench.json"))
print(sorted(bench))
for spread in (bench["read_bytes_s"], bench["int8_ops_s"], bench["f32_flops_s"]):
    values = sorted(spread["values"])
    print(len(values), [spread["low"], spread["median"], spread["high"]] == values)
for run in (bench["prompt"], *bench["decode"]):
    print(run.get("batch", "prompt"), len(run["tok_s"]["values"]), sorted(run["parts"]),
          0.5 < sum(run["parts"].values()) < 1.001, "barriers", round(run["barriers_per_layer"] * layers) - 6 * layers)
    # A fraction is of the roof beside it, which is part of its repetition's.
    fractions = sorted(speed * run["bytes_per_token"] / roof
                       for speed, roof in zip(run["tok_s"]["values"], bench["read_bytes_s"]["values"]))
    print(0.6 * fractions[1] < run["read_fraction"] < 1.6 * fractions[1])
    tokens = 3 * (160 if "batch" not in run else 4 * run["batch"])  # of all counted repetitions
    total = tokens * run["bytes_per_token"]
    print(len(run["layers"]) == layers, 0 < sum(l["bytes_local"] for l in run["layers"]) < total * (1 + 1e-9),
          all(l["barrier_ns"] > 0 and l["distinct_experts"] > 0 for l in run["layers"]))
END
