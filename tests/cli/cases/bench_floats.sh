# What is multiplied in floats counts apart: all of a checkpoint; of an artifact in integers attention and the router alone.
moesaic compress "$DATA/checkpoints/qwen3_moe" -o packed.moe --preset int4-all --calib "$DATA/texts/calib.txt" --calib-tokens 300 \
    --no-report -q
for model in "$DATA/checkpoints/qwen3_moe" packed.moe; do
    moesaic bench "$model" -p 160 -n 4 -r 1 --threads 1 --json >bench.json
    python3 - "$DATA/checkpoints/qwen3_moe/config.json" <<'END'
import json, sys

config, bench = json.load(open(sys.argv[1])), json.load(open("bench.json"))
attention = 4 * config["num_attention_heads"] * config["head_dim"] * config["num_hidden_layers"]
router = 2 * config["hidden_size"] * config["num_experts"] * config["num_hidden_layers"]
for run, positions in ((bench["prompt"], 80.5), (bench["decode"][0], 162.5)):
    floats, every = run["float_flops_per_token"], run["flops_per_token"]
    print(floats == every, floats == positions * attention + router,
          (run["int8_fraction"] > 0) == (floats < every), run["f32_fraction"] > 0)
END
done
