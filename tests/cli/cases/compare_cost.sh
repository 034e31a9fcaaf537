# The report's costs: sums and ranges, what is given stands, energy counters where there are some, and what is refused.
base=$DATA/checkpoints/qwen3_moe
moesaic compress "$base" -o packed.moe --calib "$DATA/texts/calib.txt" --calib-tokens 300 --no-report -q --quant rtn:int8
compare() { moesaic compare "$base" packed.moe --text "tales=$DATA/texts/eval_tales.txt" --tokens 64 "$@"; }
compare --json --region us-ny --pue 1.25 -o page.html >report.json
compare --json --price 0.08 --intensity 0 >given.json
compare --json --no-speed >no_speed.json
# Counters that rise by a joule a millisecond, and go round.
python3 - <<'END' &
import os, time

files = []
os.makedirs("powercap/intel-rapl:0:0")
os.makedirs("powercap/intel-rapl:0")
for domain, name in (("intel-rapl:0", "package-0"), ("intel-rapl:0:0", "dram")):
    open(f"powercap/{domain}/name", "w").write(name + "\n")
    open(f"powercap/{domain}/max_energy_range_uj", "w").write("399999999999\n")
    files.append(os.open(f"powercap/{domain}/energy_uj", os.O_CREAT | os.O_WRONLY))
begin = time.monotonic()
while not os.path.exists("stop") and time.monotonic() < begin + 60:
    energy = 399_999_000_000 + int((time.monotonic() - begin) * 1e9)
    for i, file in enumerate(files):
        os.pwrite(file, b"%012d\n" % (energy // (1 + 3 * i) % 400_000_000_000), 0)
    open("ready", "w").close()
    time.sleep(0.0002)
END
meter=$!
while [ ! -e ready ]; do sleep 0.01; done
MOESAIC_POWERCAP=powercap moesaic compare "$DATA/fable-moe" "$DATA/fable-moe" --text "$DATA/texts/eval_tales.txt" \
    --tokens 300 --threads 1 --json >measured.json
touch stop
wait $meter
python3 - <<'END'
import json

load = lambda name: json.load(open(name))
report, given, measured = load("report.json")["cost"], load("given.json")["cost"], load("measured.json")["cost"]
near = lambda a, b: abs(a - b) <= 1e-6 * abs(b)
for cost in (report, given, measured):
    price, grid = cost["price_usd_per_kwh"], cost["intensity_g_per_kwh"]
    for model in ("base", "optimized"):
        for part in ("prompt", "decode"):
            f = cost[model][part]
            for key, figure in f.items():
                assert 0 <= figure["low"] <= figure["value"] <= figure["high"] and figure["how"], (key, figure)
                assert figure["source"] in ("measured", "modelled", "given"), figure
            kwh = f["energy_j"]["value"] / 3.6e6
            assert f["energy_j"]["value"] > 0
            assert near(sum(f[k]["value"] for k in ("idle_j", "active_j", "dram_j")), f["energy_j"]["value"]), f
            assert near(kwh * price["value"], f["money_usd"]["value"]) and near(kwh * grid["value"], f["carbon_g"]["value"]), f
            assert near(1000 / f["energy_j"]["value"], f["tokens_per_joule"]["value"])
    ratio = cost["optimized"]["decode"]["energy_j"]["value"] / cost["base"]["decode"]["energy_j"]["value"]
    assert near(ratio, cost["decode_energy_ratio"])
assert "cost" not in load("no_speed.json")
print("energy x price is money, energy x intensity is carbon, low <= value <= high")
# The model from its own inputs: the speed measured, and the rates.
full = load("report.json")
seconds = 1000 / full["speed"]["base"]["decode_tok_s"] * report["base"]["cores"] * 1.25
idle, busy = (report[k]["value"] for k in ("core_idle_w", "core_busy_w"))
f = report["base"]["decode"]
assert near(f["idle_j"]["value"], seconds * idle) and near(f["active_j"]["value"], seconds * (busy - idle)), f
print("the model follows from the speed")
assert report["region"] == "us-ny" and report["pue"]["source"] == "given" and report["pue"]["value"] == 1.25
assert given["price_usd_per_kwh"]["source"] == given["intensity_g_per_kwh"]["source"] == "given"
assert given["base"]["decode"]["carbon_g"]["high"] == 0
assert report["price_usd_per_kwh"]["source"] == "modelled" and "EIA" in report["price_usd_per_kwh"]["how"]
print("what is given stands")
f, rest = measured["base"]["decode"], measured["idle_w"]
joules = 1e6 / load("measured.json")["speed"]["base"]["decode_tok_s"]
assert rest["source"] == f["idle_j"]["source"] == f["energy_j"]["source"] == "measured", f
assert 500 < rest["value"] < 2000, rest
assert joules / 3 < f["idle_j"]["value"] + f["active_j"]["value"] < 3 * joules, (joules, f)
assert joules / 12 < f["dram_j"]["value"] < joules, (joules, f)
print("counters are believed")
page = open("page.html", encoding="utf-8").read()
assert "Cost of 1,000 tokens" in page and "Electric Power Annual" in page
END
code() { local have=0; "$@" >out 2>err || have=$?; echo "$have: $(cut -c1-70 err)"; }
code compare --region nowhere
code compare --price -0.1
code compare --price nan
code compare --pue 0.5
code compare --intensity much
code moesaic compress "$base" -o other.moe --calib "$DATA/texts/calib.txt" --region nowhere
