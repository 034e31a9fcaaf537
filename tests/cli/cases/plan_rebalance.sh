# Opt-in rebalancing: traffic that is not what the plan was made for moves experts between steps, the log says what was
# decided and what it gained, and no figure changes. It needs a plan of whole experts.
[ "$(nproc)" -gt 1 ] || exit 77 # a thread for each of two nodes
head -c 12000 "$DATA/texts/eval_tales.txt" >text
moesaic trace --text text -o trace.safetensors -q >/dev/null
ask() { moesaic eval --text text --json "$@" 2>message |
    python3 -c "import json, sys; e = json.load(sys.stdin); print(e['nll'], e['scored'])"; }
ask --plan none >want
export HWLOC_SYNTHETIC="pack:2 [numa(memory=1GB)] core:1 pu:1" HWLOC_THISSYSTEM=1
moesaic place --trace trace.safetensors --local-gbs 20 --policy whole -o whole.plan -q >/dev/null
# Other traffic than this text's, and all its experts on the first node but one that it never chose.
python3 - <<'END'
import json

plan = json.load(open("whole.plan"))
for layer, (counts, pieces) in enumerate(zip(plan["histogram"], plan["pieces"])):
    plan["histogram"][layer] = [1000 if e == 0 else 1 for e in range(len(counts))]
    for expert, piece in enumerate(pieces):
        piece[0][:2] = [1, 1] if expert == 0 else [0, 0]
json.dump(plan, open("other.plan", "w"))
END
ask --plan other.plan -v --rebalance >have
cmp want have
grep -o 'rebalance 1: migrate' message
grep -c 'moves of .* 0 failed, gain .* % simulated' message | sed 's/^[1-9].*/some moved/'
ask --plan other.plan -v >have
cmp want have
grep -c rebalance message || true
moesaic place --trace trace.safetensors --local-gbs 20 --policy slice -o slice.plan -q >/dev/null
for plan in slice.plan none; do
    code=0
    moesaic run -p hello -n 1 --plan $plan --rebalance >/dev/null 2>message || code=$?
    echo "$code $(tail -n 1 message)"
done
