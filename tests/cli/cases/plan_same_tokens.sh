# The same tokens wherever the experts are: on one node, and on two where one cannot be bound because this machine does
# not have it, which is a warning that names the node.
[ "$(nproc)" -gt 1 ] || exit 77 # a thread for each of two nodes
head -c 3000 "$DATA/texts/eval_tales.txt" >text
moesaic trace --text text -o trace.safetensors -q >/dev/null
ask() { moesaic run -p "Once upon a time" -n 24 --temp 0 --json "$@" 2>message |
    python3 -c "import json, sys; print(json.load(sys.stdin)['ids'])"; }
ask --plan none >want
moesaic place --trace trace.safetensors --local-gbs 20 --policy whole -o one.plan -q >/dev/null
ask --plan one.plan >have
cmp want have
export HWLOC_SYNTHETIC="pack:2 [numa(memory=1GB)] core:1 pu:1" HWLOC_THISSYSTEM=1
for policy in slice whole replicate interleave; do
    moesaic place --trace trace.safetensors --local-gbs 20 --policy $policy -o $policy.plan -q >/dev/null
    ask --plan $policy.plan >have
    cmp want have
    echo "$policy: $(grep -c 'NUMA node 1 was to hold' message || true)"
done
ask >have
cmp want have
echo "by itself: $(grep -c 'NUMA node 1 was to hold' message || true)"
unset HWLOC_SYNTHETIC HWLOC_THISSYSTEM
code=0
moesaic run -p hello -n 1 --plan slice.plan 2>message >/dev/null || code=$?
echo "$code $(cat message)"
