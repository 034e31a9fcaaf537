# Bits per expert under one budget: met within 1 %, the same bytes whatever the threads, the instruction set and kills;
# spent where the routing says; and refused in one line when it cannot be.
common="--calib $DATA/texts/calib.txt --calib-tokens 64 --quant rtn:int4-g64 --no-report"
within() { # within FILE: the share of the budget that is used, and what of the experts became what
    python3 -c "
import json, os, sys
r = json.load(open('$1.json'))
b = r['budget']
if '$2' == 'file':
    assert b['used'] == os.path.getsize('$1.moe') == r['bytes'], b
formats = {e['format'] for e in r['experts']}
used = {f: sum(e['tokens'] for e in r['experts'] if e['format'] == f) / sum(e['format'] == f for e in r['experts']) for f in formats}
print(0.99 < b['used'] / b['bytes'] <= 1, len(formats) > 1, 0 <= b['gap'] < 0.01, b['error'] > 0)
print('busy experts get more bits:', max(used, key=used.get) > min(used, key=used.get))"
}
moesaic compress -o bits.moe $common --budget 3.6bpw --threads 2 --json >bits.json
within bits file
moesaic inspect bits.moe --verify -q >/dev/null
moesaic compress -o active.moe $common --calib-tokens 640 --budget active:3.4MB --json >active.json
within active active
small="$DATA/bad/_valid $common --calib-tokens 300 --quant gptq:int4-g64 --budget 30bpw -q"
moesaic compress $small -o two.moe --threads 2
MOESAIC_CPU=scalar moesaic compress $small -o one.moe --threads 1
cmp two.moe one.moe
python3 -m kill_compress 4000000 $common --budget 3.6bpw -q
moesaic compress -o killed.moe $common --budget 3.6bpw --resume --json >killed.json
python3 -c "
import json
r, whole = json.load(open('killed.json')), json.load(open('bits.json'))
print(r['resumed_layers'] > 0, r['budget'] == whole['budget'], r['experts'] == whole['experts'])"
cmp bits.moe killed.moe
check() { # check OPTION...: status and message
    moesaic compress -o none.moe $common "$@" 2>err || echo "$? $(cat err)"
}
moesaic compress -o low.moe $common --budget 2.75bpw -q
moesaic inspect low.moe --json | python3 -c "
import json, sys
r = json.load(sys.stdin)
print({t['format'] for t in r['tensors'] if 'q_proj' in t['name'] or 'embed' in t['name']})"
check --budget 1bpw
check --budget active:1MB
check --budget 3
check --budget active:fast
check --budget 3bpw --drop-experts reap:0.25
