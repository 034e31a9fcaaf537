# The report beside the artifact holds dense alternatives against it, says which of them are no larger and better, and leaves
# nothing behind; where they cannot be written, it goes without them.
options="--calib $DATA/texts/calib.txt --calib-tokens 600 --preset int4-sparse50"
model=$DATA/bad/_valid
moesaic compress "$model" -o out.moe $options --json >out.json
moesaic compress "$model" -o out.moe $options --no-opponents >plain.txt
grep -c beside plain.txt || true
moesaic compress "$model" -o out.moe $options >text
ls
python3 - <<'EOF'
import json
result, beside = json.load(open("out.json")), json.load(open("out.report.json"))
report = result["report"]
assert [o["kl_mean"] for o in report["opponents"]] == [o["kl_mean"] for o in beside["opponents"]]
bits = [o["expert_bits_per_weight"] for o in report["opponents"]]
print([(o["name"], o["scored"] == report["quality"]["scored"]) for o in report["opponents"]], bits)
for o in report["opponents"]:
    wins = o["file_bytes"] <= 1.01 * report["optimized"]["file_bytes"] and o["kl_mean"] < report["quality"]["kl_mean"]
    assert o["better"] == wins, o
    line = next(line for line in open("text") if o["name"] in line)
    assert ("better" in line) == wins and f"{o['kl_mean']:.5f}" in line, line
    assert (f"<b>{o['name']}</b> is no larger" in open("out.report.html").read()) == wins, o
EOF
moesaic compress "$model" -o dense.moe --calib "$DATA/texts/calib.txt" --calib-tokens 600 --json |
    python3 -c "import json, sys; print(len(json.load(sys.stdin)['report']['opponents']))"
head -c 60000 "$DATA/texts/calib.txt" >calib
options="-o small.moe --calib calib --calib-tokens 64 --quant rtn:int2-g64"
trap '' XFSZ
(ulimit -f 8192 && moesaic compress $options) 2>&1 >text | sed 's/-[A-Za-z0-9]*\/.*/-.../'
ls -d *opponents* 2>/dev/null || grep -c beside text || true
