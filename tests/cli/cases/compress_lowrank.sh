# Low-rank terms: counted, the same bytes and the same tokens whatever the threads, the instruction set, kills and places;
# exported as the dense sum; and where rounding is coarse, nearer to the base than without.
[ "$(nproc)" -gt 1 ] || exit 77 # a thread for each of two nodes
common="--no-report -q --calib $DATA/texts/calib.txt --quant rtn:int2-g64"
model=$DATA/checkpoints/qwen2_moe
options="$common --calib-tokens 600 --compensate lowrank:5"
moesaic compress "$model" -o out.moe $options
for cpu in scalar avx2; do
    MOESAIC_CPU=$cpu moesaic compress "$model" -o same.moe $options --threads $([ $cpu = scalar ] && echo 1 || echo 2)
    cmp out.moe same.moe
done
moesaic compress "$model" -o without.moe $common --calib-tokens 600
ids=$(seq -s, 20 83)
moesaic logits out.moe --ids "$ids" -o one.safetensors -q
MOESAIC_CPU=scalar moesaic logits out.moe --ids "$ids" -o two.safetensors --threads 1 -q
cmp one.safetensors two.safetensors
moesaic export out.moe -o dense -q
moesaic logits dense --ids "$ids" -o dense.safetensors -q
moesaic logits without.moe --ids "$ids" -o without.safetensors -q
moesaic inspect out.moe --verify --json >with.json
moesaic inspect without.moe --json >without.json
python3 - <<'END'
import json, tensor_file
def logits(name):
    return tensor_file.numbers(tensor_file.read(f"{name}.safetensors")["logits"])
def miss(a, b):  # of the middle one of 64 tokens: a router that flips is no error of the export
    vocab = len(a) // 64
    squares = [(x - y) ** 2 for x, y in zip(a, b)]
    return sorted(sum(squares[i:i + vocab]) for i in range(0, len(squares), vocab))[32]
one, dense, without = logits("one"), logits("dense"), logits("without")
print("exported with the term", miss(one, dense) < 0.1 * miss(one, without))
a, b = json.load(open("with.json")), json.load(open("without.json"))
factors = [t for t in a["tensors"] if ".lowrank_" in t["name"]]
# Two MoE layers of 12 experts and a shared one, a dense layer: rows + columns of three matrices each, 5 times; of the
# experts 4 for a token.
numbers = 5 * 3 * (2 * (12 * (128 + 32) + (128 + 192)) + (128 + 256))
active = 5 * 3 * (2 * (4 * (128 + 32) + (128 + 192)) + (128 + 256))
print(len(factors) == 2 * 3 * (2 * 13 + 1), sum(t["bytes"] for t in factors) == 2 * numbers,
      a["bytes"] - b["bytes"] == 2 * numbers, a["total_parameters"] == b["total_parameters"],
      a["flops_per_token"] - b["flops_per_token"] == 2 * active, a["bits_per_weight"] > b["bits_per_weight"])
END
moesaic compress -o with.moe $common --calib-tokens 1024 --compensate lowrank:8
moesaic compress -o base.moe $common --calib-tokens 1024
moesaic compare "$DATA/fable-moe" with.moe --against without=base.moe --text "$DATA/texts/eval_tales.txt" --tokens 1024 \
    --no-speed --json | python3 -c "
import json, sys
r = json.load(sys.stdin)
print('nearer', r['quality']['kl_mean'] < 0.95 * r['opponents'][0]['kl_mean'], {p['method'] for p in r['parts']})"
head -c 3000 "$DATA/texts/eval_tales.txt" >text
ask() { moesaic run with.moe -p "Once upon a time" -n 24 --temp 0 --json "$@" 2>message |
    python3 -c "import json, sys; print(json.load(sys.stdin)['ids'])"; }
ask --plan none >want
moesaic trace with.moe --text text -o trace.safetensors -q >/dev/null
export HWLOC_SYNTHETIC="pack:2 [numa(memory=1GB)] core:1 pu:1" HWLOC_THISSYSTEM=1
moesaic place with.moe --trace trace.safetensors --local-gbs 20 --policy slice -o slice.plan -q >/dev/null
ask --plan slice.plan >have
cmp want have
echo "sliced: $(grep -c 'NUMA node 1 was to hold' message || true)"
unset HWLOC_SYNTHETIC HWLOC_THISSYSTEM
python3 -m kill_compress 3600000 $common --calib-tokens 1024 --compensate lowrank:8
moesaic compress -o killed.moe $common --calib-tokens 1024 --compensate lowrank:8 --resume
cmp with.moe killed.moe && echo 'the same'
for bad in lowrank lowrank:0 lowrank:2x eora:4 lowrank:4000; do
    moesaic compress "$model" -o none.moe $common --calib-tokens 600 --compensate $bad 2>err || echo "$? $(cat err)"
done
